//! Charging points of nobody: made up from their number when they are asked for, so that a hub can hold a million
//! without keeping one.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::oicp::evse_status::EvseStatus;
use crate::oicp::id::EvseKey;

/// Most of them: 1,296 operators, as many as two characters tell apart.
pub const SEEDS_MAX: u64 = SEEDS_PER_OPERATOR * 1_296;
/// How many one operator has.
pub const SEEDS_PER_OPERATOR: u64 = 10_000;
/// Most changes that are remembered, for deltas.
const CHANGES_MAX: usize = 2_000_000;

const DIGITS: &[u8; 36] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// The charging points `0..count`.
pub(super) struct Seeds {
    count: u64,
    born_ms: i64,
    changed: BTreeMap<u64, i64>,
    gone: Option<(Range<u64>, i64)>,
}

/// What became of one since an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Since {
    Inserted,
    Updated,
    Deleted,
}

impl Seeds {
    pub(super) fn new(count: u64, now_ms: i64) -> Seeds {
        Seeds { count: count.min(SEEDS_MAX), born_ms: now_ms, changed: BTreeMap::new(), gone: None }
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Fewer from now on: the last ones are gone.
    pub(super) fn shrink(&mut self, count: u64, now_ms: i64) {
        if count < self.count {
            self.gone = Some((count..self.count, now_ms));
            self.count = count;
            self.changed.retain(|number, _| *number < count);
        }
    }

    /// These have changed now.
    pub(super) fn touch(&mut self, numbers: Range<u64>, now_ms: i64) {
        for number in numbers.start..numbers.end.min(self.count) {
            if self.changed.len() < CHANGES_MAX || self.changed.contains_key(&number) {
                self.changed.insert(number, now_ms);
            }
        }
    }

    pub(super) fn changed_ms(&self, number: u64) -> i64 {
        self.changed.get(&number).copied().unwrap_or(self.born_ms)
    }

    /// Those that differ from what was valid then, in order of their number.
    pub(super) fn since(&self, then_ms: i64) -> Vec<(u64, Since)> {
        if then_ms < self.born_ms {
            return (0..self.count).map(|number| (number, Since::Inserted)).collect();
        }
        let changed = self.changed.iter().filter(|(_, at)| **at > then_ms);
        let mut found: Vec<_> = changed.map(|(number, _)| (*number, Since::Updated)).collect();
        if let Some((range, _)) = self.gone.as_ref().filter(|(_, at)| *at > then_ms) {
            found.extend(range.clone().map(|number| (number, Since::Deleted)));
        }
        found
    }

    /// The numbers of an operator without separators; empty if it is none of them.
    pub(super) fn of_operator(&self, canonical: &str) -> Range<u64> {
        let place = |byte: u8| DIGITS.iter().position(|digit| *digit == byte).map(|at| at as u64);
        let found = match canonical.as_bytes() {
            [b'X', b'Q', b'S', high, low] => place(*high).zip(place(*low)),
            _ => None,
        };
        let Some((high, low)) = found else { return 0..0 };
        let first = (high * 36 + low) * SEEDS_PER_OPERATOR;
        first.min(self.count)..(first + SEEDS_PER_OPERATOR).min(self.count)
    }

    /// The number of a charging point; `None` if it is none of these.
    pub(super) fn number_of(&self, key: &EvseKey) -> Option<u64> {
        let range = self.of_operator(key.operator());
        let text = key.as_str();
        let number = text.get(text.find(key.operator())? + key.operator().len()..)?;
        let number = number.trim_start_matches(['*', 'E']).parse().ok()?;
        range.contains(&number).then_some(number)
    }

    /// OperatorID of a number.
    pub(super) fn operator(number: u64) -> String {
        let operator = number / SEEDS_PER_OPERATOR;
        let digit = |value: u64| char::from(DIGITS.get((value % 36) as usize).copied().unwrap_or(b'0'));
        format!("XQ*S{}{}", digit(operator / 36), digit(operator))
    }

    /// EvseID of a number.
    pub(super) fn evse_id(number: u64) -> String {
        format!("{}*E{number}", Seeds::operator(number))
    }

    /// Its status; changes whenever it is touched.
    pub(super) fn status(&self, number: u64) -> EvseStatus {
        let at = self.changed_ms(number) as u64;
        if (number ^ at).is_multiple_of(3) { EvseStatus::Occupied } else { EvseStatus::Available }
    }

    /// Its record as its operator might have pushed it: with everything that is mandatory, and of a usual size.
    pub(super) fn record(&self, number: u64) -> String {
        let evse_id = Seeds::evse_id(number);
        let latitude = 47.0 + (number % 1_000) as f64 / 1_000.0;
        let longitude = 7.0 + (number / 1_000 % 1_000) as f64 / 1_000.0;
        let version = self.changed.get(&number).copied().unwrap_or_default();
        format!(
            r#"{{"EvseID":"{evse_id}","ChargingStationID":"S{number}","ChargingStationNames":[{{"lang":"en","value":"Station {number} as of {version}"}}],"Address":{{"Country":"CHE","City":"Beispielstadt","Street":"Beispielstrasse","PostalCode":"8000","HouseNum":"{}"}},"GeoCoordinates":{{"Google":{{"Coordinates":"{latitude:.4} {longitude:.4}"}}}},"Plugs":["Type 2 Outlet"],"DynamicPowerLevel":false,"ChargingFacilities":[{{"PowerType":"AC_3_PHASE","Power":22}}],"RenewableEnergy":true,"CalibrationLawDataAvailability":"Not Available","AuthenticationModes":["NFC RFID Classic","REMOTE"],"PaymentOptions":["Contract"],"ValueAddedServices":["None"],"Accessibility":"Free publicly accessible","HotlinePhoneNumber":"+41441234567","IsOpen24Hours":true,"IsHubjectCompatible":true,"DynamicInfoAvailable":"true"}}"#,
            number % 200 + 1
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oicp::id::{EvseId, OperatorId};
    use crate::oicp::{conform, json};

    #[test]
    fn a_number_is_a_record_and_back() {
        let mut seeds = Seeds::new(400_000, 1_000);
        for number in [0, 9_999, 10_000, 399_999] {
            let id = EvseId::parse(&Seeds::evse_id(number)).unwrap();
            assert_eq!(seeds.number_of(id.key()), Some(number), "{id}");
            let operator = OperatorId::parse(&Seeds::operator(number)).unwrap().canonical();
            assert!(seeds.of_operator(&operator).contains(&number));
            let record = seeds.record(number);
            let node = json::parse_text(&record).unwrap();
            assert!(conform::validate_record(&node).is_empty(), "{:?}", conform::validate_record(&node));
        }
        assert_eq!(seeds.of_operator("DEABC"), 0..0);
        assert_eq!(seeds.since(1_000), vec![]);
        let before = seeds.record(5);
        seeds.touch(5..6, 2_000);
        assert_ne!(seeds.record(5), before);
        seeds.shrink(399_999, 3_000);
        assert_eq!(seeds.since(1_500), vec![(5, Since::Updated), (399_999, Since::Deleted)]);
        assert_eq!(seeds.since(2_000), vec![(399_999, Since::Deleted)]);
        assert_eq!(seeds.since(999).len(), 399_999);
    }
}
