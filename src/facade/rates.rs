//! How often a caller may call which operation: like the hub, which answers 429 beyond its limits (OPERATIONS 5).

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::metrics::Service;

/// `[facade.rate_limits]`: calls per minute of one caller; 0 is no limit. The numbers are those that the hub
/// publishes; of reservations it publishes none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimits {
    /// Whether there are any.
    pub on: bool,
    /// PushEvseData.
    pub push_evse_data: u32,
    /// PushEvseStatus.
    pub push_evse_status: u32,
    /// PullEvseData.
    pub pull_evse_data: u32,
    /// PullEvseStatus.
    pub pull_evse_status: u32,
    /// PullEvseStatusByID.
    pub pull_evse_status_by_id: u32,
    /// PullEvseStatusByOperatorID.
    pub pull_evse_status_by_operator_id: u32,
    /// AuthorizeStart.
    pub authorize_start: u32,
    /// AuthorizeStop.
    pub authorize_stop: u32,
    /// AuthorizeRemoteStart.
    pub authorize_remote_start: u32,
    /// AuthorizeRemoteStop.
    pub authorize_remote_stop: u32,
    /// AuthorizeRemoteReservationStart.
    pub reservation_start: u32,
    /// AuthorizeRemoteReservationStop.
    pub reservation_stop: u32,
    /// ChargingNotifications, of all four types.
    pub charging_notifications: u32,
    /// PushAuthenticationData.
    pub push_authentication_data: u32,
    /// PullAuthenticationData.
    pub pull_authentication_data: u32,
    /// ChargeDetailRecord.
    pub charge_detail_record: u32,
    /// GetChargeDetailRecords.
    pub get_charge_detail_records: u32,
    /// PushPricingProductData.
    pub push_pricing_product_data: u32,
    /// PushEVSEPricing.
    pub push_evse_pricing: u32,
    /// PullPricingProductData.
    pub pull_pricing_product_data: u32,
    /// PullEVSEPricing.
    pub pull_evse_pricing: u32,
}

impl Default for RateLimits {
    fn default() -> RateLimits {
        RateLimits {
            on: false,
            push_evse_data: 375,
            push_evse_status: 2_000,
            pull_evse_data: 100,
            pull_evse_status: 6,
            pull_evse_status_by_id: 300,
            pull_evse_status_by_operator_id: 75,
            authorize_start: 200,
            authorize_stop: 50,
            authorize_remote_start: 100,
            authorize_remote_stop: 200,
            reservation_start: 0,
            reservation_stop: 0,
            charging_notifications: 100,
            push_authentication_data: 50,
            pull_authentication_data: 6,
            charge_detail_record: 350,
            get_charge_detail_records: 200,
            push_pricing_product_data: 6,
            push_evse_pricing: 6,
            pull_pricing_product_data: 300,
            pull_evse_pricing: 280,
        }
    }
}

impl RateLimits {
    /// Calls per minute; `None`: as many as come.
    fn of(&self, service: Service) -> Option<u32> {
        let per_minute = match service {
            _ if !self.on => 0,
            Service::PushEvseData => self.push_evse_data,
            Service::PushEvseStatus => self.push_evse_status,
            Service::PullEvseData => self.pull_evse_data,
            Service::PullEvseStatus => self.pull_evse_status,
            Service::PullEvseStatusById => self.pull_evse_status_by_id,
            Service::PullEvseStatusByOperatorId => self.pull_evse_status_by_operator_id,
            Service::AuthorizeStart => self.authorize_start,
            Service::AuthorizeStop => self.authorize_stop,
            Service::AuthorizeRemoteStart => self.authorize_remote_start,
            Service::AuthorizeRemoteStop => self.authorize_remote_stop,
            Service::ReservationStart => self.reservation_start,
            Service::ReservationStop => self.reservation_stop,
            Service::ChargingNotification => self.charging_notifications,
            Service::PushAuthenticationData => self.push_authentication_data,
            Service::PullAuthenticationData => self.pull_authentication_data,
            Service::ChargeDetailRecord => self.charge_detail_record,
            Service::GetChargeDetailRecords => self.get_charge_detail_records,
            Service::PushPricingProductData => self.push_pricing_product_data,
            Service::PushEvsePricing => self.push_evse_pricing,
            Service::PullPricingProductData => self.pull_pricing_product_data,
            Service::PullEvsePricing => self.pull_evse_pricing,
        };
        (per_minute > 0).then_some(per_minute)
    }
}

/// A call too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooOften {
    pub(super) per_minute: u32,
    /// Seconds until the next call is taken, rounded up.
    pub(super) wait_s: u32,
}

/// What each caller has left: a bucket of one minute's calls that fills evenly. There are as many as backends times
/// operations.
pub(super) struct Rates {
    limits: RateLimits,
    left: Mutex<BTreeMap<(usize, Service), Bucket>>,
}

struct Bucket {
    /// Time that the calls left are worth.
    credit: Duration,
    counted: Instant,
}

const MINUTE: Duration = Duration::from_secs(60);

impl Rates {
    pub(super) fn new(limits: RateLimits) -> Rates {
        Rates { limits, left: Mutex::default() }
    }

    /// Counts a call of a backend.
    pub(super) fn count(&self, backend: usize, service: Service) -> Result<(), TooOften> {
        self.count_at(backend, service, Instant::now())
    }

    fn count_at(&self, backend: usize, service: Service, now: Instant) -> Result<(), TooOften> {
        let Some(per_minute) = self.limits.of(service) else { return Ok(()) };
        let price = MINUTE / per_minute;
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = left.entry((backend, service)).or_insert(Bucket { credit: MINUTE, counted: now });
        bucket.credit = (bucket.credit + now.duration_since(bucket.counted)).min(MINUTE);
        bucket.counted = now;
        match bucket.credit.checked_sub(price) {
            Some(credit) => {
                bucket.credit = credit;
                Ok(())
            }
            None => {
                let wait = price.saturating_sub(bucket.credit);
                let wait_s = wait.as_millis().div_ceil(1_000).max(1);
                Err(TooOften { per_minute, wait_s: u32::try_from(wait_s).unwrap_or(u32::MAX) })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_caller_has_its_own_minute_of_each_operation() {
        let rates = Rates::new(RateLimits { on: true, ..RateLimits::default() });
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let call = |backend, seconds| rates.count_at(backend, Service::PullEvseStatus, after(seconds));
        for _ in 0..6 {
            assert_eq!(call(1, 0), Ok(()));
        }
        assert_eq!(call(1, 0), Err(TooOften { per_minute: 6, wait_s: 10 }));
        assert_eq!(call(2, 0), Ok(()), "another caller");
        assert_eq!(rates.count_at(1, Service::PullEvseData, start), Ok(()), "another operation");
        assert_eq!(call(1, 10), Ok(()));
        assert!(call(1, 10).is_err());
        assert_eq!((0..9).filter(|_| call(1, 600).is_ok()).count(), 6, "nothing is saved beyond a minute");
        for _ in 0..100 {
            assert_eq!(rates.count(1, Service::ReservationStart), Ok(()), "0 is no limit");
        }
    }

    #[test]
    fn without_limits_nothing_is_refused() {
        let rates = Rates::new(RateLimits::default());
        assert!((0..10_000).all(|_| rates.count(1, Service::PushEvsePricing).is_ok()));
    }
}
