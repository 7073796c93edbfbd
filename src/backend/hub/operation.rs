//! What the hub is asked for: the operations of OPERATIONS 1, who calls them, where, and how often.

use std::fmt;
use std::str::FromStr;

use crate::backend::Kind;

/// An operation of the hub. PullAuthenticationData is none of OICP 2.3's, but old backends call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HubOperation {
    /// PushEvseData.
    PushData,
    /// PullEvseData.
    PullData,
    /// PushEvseStatus.
    PushStatus,
    /// PullEvseStatus.
    PullStatus,
    /// PullEvseStatusByID.
    PullStatusById,
    /// PullEvseStatusByOperatorID.
    PullStatusByOperator,
    /// AuthorizeStart.
    AuthorizeStart,
    /// AuthorizeStop.
    AuthorizeStop,
    /// AuthorizeRemoteStart.
    RemoteStart,
    /// AuthorizeRemoteStop.
    RemoteStop,
    /// AuthorizeRemoteReservationStart.
    ReservationStart,
    /// AuthorizeRemoteReservationStop.
    ReservationStop,
    /// ChargingNotification of any type.
    Notification,
    /// ChargeDetailRecord.
    ChargeDetailRecord,
    /// GetChargeDetailRecords.
    GetChargeDetailRecords,
    /// PushAuthenticationData.
    PushAuthenticationData,
    /// PullAuthenticationData (2.2).
    PullAuthenticationData,
    /// PushPricingProductData.
    PushProducts,
    /// PushEVSEPricing.
    PushPricing,
    /// PullPricingProductData.
    PullProducts,
    /// PullEVSEPricing.
    PullPricing,
}

/// Name, caller, path, calls per minute (OPERATIONS 5; 0: no limit is published).
type Row = (&'static str, Kind, &'static str, u32);

/// In the order of [`HubOperation::ALL`], which is that of the enumeration.
const ROWS: [Row; 21] = [
    ("push-data", Kind::Cpo, "/api/oicp/evsepush/v23/operators/{id}/data-records", 375),
    ("pull-data", Kind::Emp, "/api/oicp/evsepull/v23/providers/{id}/data-records", 100),
    ("push-status", Kind::Cpo, "/api/oicp/evsepush/v21/operators/{id}/status-records", 2_000),
    ("pull-status", Kind::Emp, "/api/oicp/evsepull/v21/providers/{id}/status-records", 6),
    ("pull-status-by-id", Kind::Emp, "/api/oicp/evsepull/v21/providers/{id}/status-records-by-id", 300),
    (
        "pull-status-by-operator",
        Kind::Emp,
        "/api/oicp/evsepull/v21/providers/{id}/status-records-by-operator-id",
        75,
    ),
    ("authorize-start", Kind::Cpo, "/api/oicp/charging/v21/operators/{id}/authorize/start", 200),
    ("authorize-stop", Kind::Cpo, "/api/oicp/charging/v21/operators/{id}/authorize/stop", 50),
    ("remote-start", Kind::Emp, "/api/oicp/charging/v21/providers/{id}/authorize-remote/start", 100),
    ("remote-stop", Kind::Emp, "/api/oicp/charging/v21/providers/{id}/authorize-remote/stop", 200),
    ("reservation-start", Kind::Emp, "/api/oicp/reservation/v11/providers/{id}/reservation-start-request", 0),
    ("reservation-stop", Kind::Emp, "/api/oicp/reservation/v11/providers/{id}/reservation-stop-request", 0),
    ("notification", Kind::Cpo, "/api/oicp/notificationmgmt/v11/charging-notifications", 100),
    ("cdr", Kind::Cpo, "/api/oicp/cdrmgmt/v22/operators/{id}/charge-detail-record", 350),
    ("get-cdrs", Kind::Emp, "/api/oicp/cdrmgmt/v22/providers/{id}/get-charge-detail-records-request", 200),
    ("push-authdata", Kind::Emp, "/api/oicp/authdata/v21/providers/{id}/push-request", 50),
    ("pull-authdata", Kind::Cpo, "/api/oicp/authdata/v21/operators/{id}/pull-request", 6),
    ("push-products", Kind::Cpo, "/api/oicp/dynamicpricing/v10/operators/{id}/pricing-products", 6),
    ("push-pricing", Kind::Cpo, "/api/oicp/dynamicpricing/v10/operators/{id}/evse-pricing", 6),
    ("pull-products", Kind::Emp, "/api/oicp/dynamicpricing/v10/providers/{id}/pricing-products", 300),
    ("pull-pricing", Kind::Emp, "/api/oicp/dynamicpricing/v10/providers/{id}/evse-pricing", 280),
];

impl HubOperation {
    /// All of them.
    pub const ALL: [HubOperation; 21] = [
        HubOperation::PushData,
        HubOperation::PullData,
        HubOperation::PushStatus,
        HubOperation::PullStatus,
        HubOperation::PullStatusById,
        HubOperation::PullStatusByOperator,
        HubOperation::AuthorizeStart,
        HubOperation::AuthorizeStop,
        HubOperation::RemoteStart,
        HubOperation::RemoteStop,
        HubOperation::ReservationStart,
        HubOperation::ReservationStop,
        HubOperation::Notification,
        HubOperation::ChargeDetailRecord,
        HubOperation::GetChargeDetailRecords,
        HubOperation::PushAuthenticationData,
        HubOperation::PullAuthenticationData,
        HubOperation::PushProducts,
        HubOperation::PushPricing,
        HubOperation::PullProducts,
        HubOperation::PullPricing,
    ];

    fn row(self) -> Row {
        // Every operation has its row; the first one stands in for the compiler.
        let [first, ..] = ROWS;
        ROWS.get(self as usize).copied().unwrap_or(first)
    }

    /// The name, as in `push-data`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.row().0
    }

    /// The side that calls the hub.
    #[must_use]
    pub fn caller(self) -> Kind {
        self.row().1
    }

    /// The path; `{id}` stands for the caller's id, its `*` literal or as `%2A`.
    #[must_use]
    pub fn path(self) -> &'static str {
        self.row().2
    }

    /// Calls per minute that the real hub takes of one partner; 0 where no limit is published.
    #[must_use]
    pub fn published_limit(self) -> u32 {
        self.row().3
    }
}

impl fmt::Display for HubOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for HubOperation {
    type Err = String;

    fn from_str(text: &str) -> Result<HubOperation, String> {
        HubOperation::ALL.into_iter().find(|operation| operation.as_str() == text).ok_or_else(|| {
            let all = HubOperation::ALL.map(HubOperation::as_str).join(", ");
            format!("`{text}` is no operation of the hub: write one of {all}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_its_row() {
        for (index, operation) in HubOperation::ALL.into_iter().enumerate() {
            assert_eq!(operation as usize, index);
            assert_eq!(operation.as_str().parse(), Ok(operation));
        }
        assert_eq!(HubOperation::PullPricing.published_limit(), 280);
        assert_eq!(HubOperation::ReservationStop.as_str(), "reservation-stop");
    }
}
