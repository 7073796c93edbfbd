//! Makes up operators whose records could be real: they pass OICP 2.3 as published, and the same seed gives
//! the same records.

use chargemesh::oicp::id::OperatorId;
use chargemesh::oicp::json_write::Writer;
use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};

use super::generate_places::{COMPANIES, City, Company, MODELS, Model};
use super::world::{Draft, EMP_NODES_GENERATED, World, status_record};

/// Fewest charging points of one generated operator ...
const EVSES_MIN: u32 = 200;

/// ... and how many more at most (plus the rest of a station).
const EVSES_MORE: u32 = 200;

/// How far a station is from its city's centre, in micro-degrees of either axis: some kilometres.
const AROUND_CITY_MICRO: i64 = 45_000;

/// Random numbers of the demo: not for keys.
pub(super) struct Dice(ChaCha12Rng);

impl Dice {
    /// The same seed and purpose give the same numbers.
    pub(super) fn new(seed: u64, purpose: u64) -> Dice {
        let mut rng = ChaCha12Rng::seed_from_u64(seed);
        rng.set_stream(purpose);
        Dice(rng)
    }

    /// 0 to `below - 1`; 0 if `below` is 0.
    pub(super) fn below(&mut self, below: u32) -> u32 {
        // The product of two 32-bit numbers fits 64 bits; its upper half is below `below`.
        ((u64::from(self.0.next_u32()) * u64::from(below)) >> 32) as u32
    }

    /// 0 to just below 1.
    pub(super) fn share(&mut self) -> f64 {
        f64::from(self.0.next_u32()) / (f64::from(u32::MAX) + 1.0)
    }

    /// True in so many of a hundred cases.
    pub(super) fn percent(&mut self, percent: u32) -> bool {
        self.below(100) < percent
    }

    /// One of them; `None` of none.
    pub(super) fn one<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        of.get(self.below(of.len() as u32) as usize)
    }
}

/// Five operators in five countries.
pub(super) fn world(seed: u64) -> World {
    let mut operators = Vec::new();
    for (place, company) in COMPANIES.iter().enumerate() {
        // The table's ids are valid (a test reads them all).
        let Ok(id) = OperatorId::parse(company.operator_id) else { continue };
        let mut dice = Dice::new(seed, place as u64);
        let mut draft = Draft::new(id, company.name);
        let wanted = EVSES_MIN + dice.below(EVSES_MORE);
        let (mut evses, mut station) = (0, 0);
        while evses < wanted {
            station += 1;
            evses += add_station(&mut draft, company, station, &mut dice);
        }
        operators.push(draft.finish());
    }
    operators.sort_by_key(|operator| operator.id.canonical());
    World { operators, emp_nodes: EMP_NODES_GENERATED, is_generated: true }
}

/// Adds one station with all its points; gives their number.
fn add_station(draft: &mut Draft, company: &Company, number: u32, dice: &mut Dice) -> u32 {
    let (Some(city), Some(street)) = (dice.one(company.cities), dice.one(company.streets)) else { return 1 };
    let model = model(dice);
    let station = Station {
        company,
        city,
        street,
        model,
        number,
        house_number: 1 + dice.below(180),
        lat_micro: city.lat_micro + i64::from(dice.below(2 * AROUND_CITY_MICRO as u32)) - AROUND_CITY_MICRO,
        lon_micro: city.lon_micro + i64::from(dice.below(2 * AROUND_CITY_MICRO as u32)) - AROUND_CITY_MICRO,
        renewable: dice.percent(70),
        paying: dice.percent(85),
        always_open: dice.percent(80),
        direct_payment: dice.percent(35),
    };
    for point in 1..=model.points {
        let evse_id = station.evse_id(point);
        draft.record(&evse_id, &station.record(point));
        draft.status(&evse_id, &status_record(&evse_id, status(dice)));
    }
    model.points
}

fn model(dice: &mut Dice) -> &'static Model {
    let total = MODELS.iter().map(|model| model.weight).sum();
    let mut left = dice.below(total);
    for model in &MODELS {
        if left < model.weight {
            return model;
        }
        left -= model.weight;
    }
    &MODELS[0]
}

/// A status as often as it occurs in reality: mostly free.
pub(super) fn status(dice: &mut Dice) -> &'static str {
    match dice.below(100) {
        0..=64 => "Available",
        65..=89 => "Occupied",
        90..=94 => "OutOfService",
        95..=97 => "Unknown",
        _ => "Reserved",
    }
}

struct Station<'c> {
    company: &'c Company,
    city: &'c City,
    street: &'c str,
    model: &'c Model,
    number: u32,
    house_number: u32,
    lat_micro: i64,
    lon_micro: i64,
    renewable: bool,
    paying: bool,
    always_open: bool,
    direct_payment: bool,
}

impl Station<'_> {
    fn evse_id(&self, point: u32) -> String {
        format!("{}*E{:05}*{point}", self.company.operator_id, self.number)
    }

    fn record(&self, point: u32) -> String {
        let mut writer = Writer::with_capacity(1_500);
        let w = &mut writer;
        w.begin_object();
        w.key("EvseID").string(&self.evse_id(point));
        w.key("ChargingPoolID").string(&format!("{}*P{:05}", self.company.operator_id, self.number));
        w.key("ChargingStationID").string(&format!("{}*S{:05}", self.company.operator_id, self.number));
        w.key("ChargingStationNames").begin_array().begin_object();
        w.key("lang").string(self.company.language);
        w.key("value").string(&format!("{} {}", self.city.name, self.street)).end_object().end_array();
        w.key("HardwareManufacturer").string(self.model.manufacturer);
        self.address(w);
        w.key("GeoCoordinates").begin_object().key("DecimalDegree").begin_object();
        w.key("Latitude").string(&degrees(self.lat_micro));
        w.key("Longitude").string(&degrees(self.lon_micro)).end_object().end_object();
        texts(w, "Plugs", self.model.plugs);
        w.key("DynamicPowerLevel").bool(self.model.points > 2);
        self.facilities(w);
        w.key("RenewableEnergy").bool(self.renewable);
        w.key("CalibrationLawDataAvailability").string("Local");
        self.access(w);
        w.key("HotlinePhoneNumber").string(self.company.hotline);
        self.opening(w);
        w.key("IsHubjectCompatible").bool(true);
        w.key("DynamicInfoAvailable").string("true");
        w.end_object();
        writer.finish()
    }

    fn address(&self, w: &mut Writer) {
        w.key("Address").begin_object();
        w.key("Country").string(self.company.country);
        w.key("City").string(self.city.name);
        w.key("Street").string(self.street);
        w.key("PostalCode").string(self.city.postal_code);
        w.key("HouseNum").string(&self.house_number.to_string());
        w.key("TimeZone").string(self.company.time_zone);
        w.end_object();
    }

    fn facilities(&self, w: &mut Writer) {
        w.key("ChargingFacilities").begin_array();
        for (power_type, voltage, amperage, power, mode) in self.model.facilities {
            w.begin_object().key("PowerType").string(power_type);
            w.key("Voltage").integer(u64::from(*voltage)).key("Amperage").integer(u64::from(*amperage));
            w.key("Power").integer(u64::from(*power));
            texts(w, "ChargingModes", &[mode]);
            w.end_object();
        }
        w.end_array();
    }

    fn access(&self, w: &mut Writer) {
        let modes: &[&str] = match self.direct_payment {
            true => &["NFC RFID Classic", "NFC RFID DESFire", "REMOTE", "Direct Payment"],
            false => &["NFC RFID Classic", "NFC RFID DESFire", "REMOTE"],
        };
        texts(w, "AuthenticationModes", modes);
        let options: &[&str] = match (self.paying, self.direct_payment) {
            (false, _) => &["No Payment"],
            (true, true) => &["Direct", "Contract"],
            (true, false) => &["Contract"],
        };
        texts(w, "PaymentOptions", options);
        texts(w, "ValueAddedServices", &["None"]);
        let accessibility =
            if self.paying { "Paying publicly accessible" } else { "Free publicly accessible" };
        w.key("Accessibility").string(accessibility);
        w.key("AccessibilityLocation").string(if self.always_open { "OnStreet" } else { "ParkingGarage" });
    }

    fn opening(&self, w: &mut Writer) {
        w.key("IsOpen24Hours").bool(self.always_open);
        if self.always_open {
            return;
        }
        w.key("OpeningTimes").begin_array().begin_object();
        w.key("Period").begin_array().begin_object();
        w.key("begin").string("06:00").key("end").string("22:00").end_object().end_array();
        w.key("on").string("Everyday").end_object().end_array();
    }
}

fn texts(w: &mut Writer, name: &str, values: &[&str]) {
    w.key(name).begin_array();
    for value in values {
        w.string(value);
    }
    w.end_array();
}

/// Micro-degrees as OICP writes degrees: six decimals.
fn degrees(micro: i64) -> String {
    let sign = if micro < 0 { "-" } else { "" };
    format!("{sign}{}.{:06}", micro.unsigned_abs() / 1_000_000, micro.unsigned_abs() % 1_000_000)
}

/// The least that a record needs, for an EVSE of which only the status is known; says that it is made up.
pub(super) fn minimal_record(evse_id: &str, operator_name: &str) -> String {
    let mut writer = Writer::with_capacity(900);
    let w = &mut writer;
    w.begin_object().key("EvseID").string(evse_id);
    w.key("x-chargemesh-generated").bool(true);
    let name: String = operator_name.chars().take(150).collect();
    w.key("ChargingStationNames").begin_array().begin_object();
    w.key("lang").string("en").key("value").string(&name).end_object().end_array();
    w.key("Address").begin_object().key("Country").string("CHE").key("City").string("generated");
    w.key("Street").string("generated").key("PostalCode").string("0000").key("HouseNum").string("0");
    w.end_object();
    w.key("GeoCoordinates").begin_object().key("DecimalDegree").begin_object();
    // Where Switzerland's middle is marked; the real place is not known.
    w.key("Latitude").string("46.801111").key("Longitude").string("8.226667").end_object().end_object();
    texts(w, "Plugs", &["Type 2 Outlet"]);
    w.key("ChargingFacilities").begin_array().begin_object();
    w.key("PowerType").string("AC_3_PHASE").key("Power").integer(11).end_object().end_array();
    w.key("RenewableEnergy").bool(false).key("CalibrationLawDataAvailability").string("Not Available");
    texts(w, "AuthenticationModes", &["REMOTE"]);
    texts(w, "PaymentOptions", &["Contract"]);
    texts(w, "ValueAddedServices", &["None"]);
    w.key("Accessibility").string("Restricted access").key("HotlinePhoneNumber").string("+41000000000");
    w.key("IsOpen24Hours").bool(true).key("IsHubjectCompatible").bool(false);
    w.key("DynamicInfoAvailable").string("true").end_object();
    writer.finish()
}

#[cfg(test)]
mod tests {
    use chargemesh::oicp::conform;
    use chargemesh::oicp::finding::Severity;
    use chargemesh::oicp::json::parse_text;
    use chargemesh::oicp::push::{read_evse_data, read_evse_status};
    use chargemesh::oicp::reading::Reading;

    use super::*;

    #[test]
    fn every_generated_record_passes_the_published_schema() {
        let world = world(7);
        assert_eq!(world.operators.len(), COMPANIES.len());
        for operator in &world.operators {
            let bodies = operator.bodies.as_ref().unwrap();
            let data = read_evse_data(&bodies.data, Reading::Strict).unwrap();
            assert_eq!(data.records.len(), operator.evse_ids.len());
            assert!((200..=404).contains(&data.records.len()), "{}", data.records.len());
            for record in &data.records {
                let findings = conform::validate_record(&parse_text(&record.raw).unwrap());
                assert!(findings.is_empty(), "{findings:?} in {}", record.raw);
                assert!(record.summary.position.is_some());
            }
            let status = read_evse_status(bodies.status.as_ref().unwrap(), Reading::Strict).unwrap();
            assert_eq!(status.records.len(), data.records.len());
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_world() {
        let bodies = |seed| {
            let world = world(seed);
            world.operators.into_iter().map(|o| o.bodies.unwrap().data).collect::<Vec<_>>()
        };
        assert_eq!(bodies(3), bodies(3));
        assert_ne!(bodies(3), bodies(4));
    }

    #[test]
    fn a_minimal_record_is_valid_and_marked() {
        let text = minimal_record("CH*SWI*E10382", "swisscharge");
        let node = parse_text(&text).unwrap();
        let findings = conform::validate_record(&node);
        assert!(findings.iter().all(|f| f.severity < Severity::OwnerMustSupply), "{findings:?}");
        assert_eq!(node.field("x-chargemesh-generated").unwrap().as_bool(), Some(true));
    }

    #[test]
    fn degrees_have_six_decimals() {
        assert_eq!(degrees(-376_300), "-0.376300");
        assert_eq!(degrees(53_550_300), "53.550300");
    }
}
