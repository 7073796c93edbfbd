//! A made-up world of charging points, the same for every run with the same seed: operators, sites with some
//! charging points each, records of about 1.3 KB that compress like those of a real register (44 bytes each
//! in bulk), crowded in cities as real ones are.

use chargemesh::oicp::id::{EvseId, EvseKey};

/// Operators of the world, unless a flag says otherwise.
pub(crate) const OPERATORS: usize = 200;

/// Places where charging points crowd.
const CITIES: usize = 2_000;

/// Statuses that a charging point takes.
pub(crate) const STATUSES: [&str; 4] = ["Available", "Occupied", "OutOfService", "Unknown"];

/// A small generator of numbers that look random (Steele, Lea and Flood 2014: SplitMix64).
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// Dice of a seed and a number within it.
    pub(crate) fn new(seed: u64, number: u64) -> Dice {
        Dice(seed ^ number.wrapping_mul(0xa076_1d64_78bd_642f))
    }

    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below a limit, which is not 0.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    /// A number from 0 up to 1.
    pub(crate) fn part(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn pick<'l, T: ?Sized>(&mut self, list: &[&'l T]) -> &'l T {
        list[self.below(list.len())]
    }
}

/// One charging point.
#[derive(Clone, Debug)]
pub(crate) struct Evse {
    /// EvseID as its operator spells it.
    pub(crate) evse_id: String,
    /// Latitude in degrees.
    pub(crate) lat: f64,
    /// Longitude in degrees.
    pub(crate) lon: f64,
    /// The EVSE data record (OICP 2.3 `EvseDataRecord`).
    pub(crate) json: String,
}

/// The world.
#[derive(Clone, Debug)]
pub(crate) struct World {
    /// What everything follows from.
    pub(crate) seed: u64,
    /// How many operators there are.
    pub(crate) operators: usize,
    /// How many charging points they have together.
    pub(crate) evses: usize,
    /// Where charging points crowd: share of all up to here, latitude, longitude.
    cities: Vec<(f64, f64, f64)>,
}

impl World {
    /// A world of `evses` charging points.
    pub(crate) fn new(seed: u64, operators: usize, evses: usize) -> World {
        let mut dice = Dice::new(seed, u64::MAX);
        let mut sum = 0.0;
        let mut cities: Vec<_> = (0..CITIES)
            .map(|rank| {
                sum += 1.0 / (rank as f64 + 50.0);
                (sum, 37.0 + 21.0 * dice.part(), -8.0 + 31.0 * dice.part())
            })
            .collect();
        cities.iter_mut().for_each(|city| city.0 /= sum);
        World { seed, operators: operators.max(1), evses, cities }
    }

    /// An OperatorID, such as `DE*A07`.
    pub(crate) fn operator_id(&self, operator: usize) -> String {
        const COUNTRIES: [&str; 4] = ["DE", "CH", "FR", "NL"];
        let letter = |number: usize| char::from(b'A' + (number % 26) as u8);
        let (tens, ones) = (operator / 10, operator % 10);
        format!("{}*{}{}{ones}", COUNTRIES[operator % 4], letter(tens / 26), letter(tens))
    }

    /// How many charging points an operator has.
    pub(crate) fn evses_of(&self, operator: usize) -> usize {
        (self.evses + self.operators - 1 - operator) / self.operators
    }

    /// An EvseID of an operator.
    pub(crate) fn evse_id(&self, operator: usize, number: usize) -> String {
        format!("{}*E{number:06}", self.operator_id(operator))
    }

    /// The canonical key of an EvseID of an operator.
    pub(crate) fn key(&self, operator: usize, number: usize) -> EvseKey {
        let id = EvseId::parse(&self.evse_id(operator, number));
        id.map(|id| id.key().clone()).expect("made-up ids follow the grammar")
    }

    /// The first status of a charging point.
    pub(crate) fn status(&self, operator: usize, number: usize) -> &'static str {
        let mut dice = Dice::new(self.seed ^ 3, (operator << 32 | number) as u64);
        STATUSES[dice.below(STATUSES.len())]
    }

    /// A place where there are charging points.
    pub(crate) fn place(&self, dice: &mut Dice) -> (f64, f64) {
        if dice.part() < 0.4 {
            return (36.0 + 23.0 * dice.part(), -9.0 + 33.0 * dice.part());
        }
        let share = dice.part();
        let at = self.cities.partition_point(|city| city.0 < share).min(self.cities.len() - 1);
        let (_, lat, lon) = self.cities[at];
        // Three throws are bell-shaped enough; the sigma is about 4 km.
        let mut throw = || (dice.part() + dice.part() + dice.part() - 1.5) * 2.0 * 0.036;
        (lat + throw(), lon + throw() * 1.5)
    }

    /// All charging points of an operator, site by site, in the order of their keys.
    pub(crate) fn evses(&self, operator: usize) -> impl Iterator<Item = Evse> {
        let mut dice = Dice::new(self.seed, operator as u64);
        let phone = format!("+4930{:07}", dice.below(9_999_999));
        let operator_id = self.operator_id(operator);
        let (mut site, mut left) = (Site::default(), 0);
        (0..self.evses_of(operator)).map(move |number| {
            if left == 0 {
                left = 1 + dice.below(6);
                site = Site::new(self, &mut dice);
            }
            left -= 1;
            let evse_id = format!("{operator_id}*E{number:06}");
            let json = site.record(&evse_id, &phone, number);
            Evse { evse_id, lat: site.lat, lon: site.lon, json }
        })
    }
}

/// What the charging points of one place have in common.
#[derive(Clone, Debug, Default)]
struct Site {
    name: String,
    street: String,
    house: usize,
    city: String,
    postcode: usize,
    lat: f64,
    lon: f64,
    power: usize,
    plug: &'static str,
    kind: &'static str,
    access: &'static str,
    modes: &'static str,
}

impl Site {
    fn new(world: &World, dice: &mut Dice) -> Site {
        const BEGIN: [&str; 20] = [
            "Bahn", "Haupt", "Markt", "Kirch", "Linden", "Garten", "See", "Berg", "Wald", "Schul", "Rosen",
            "Mühlen", "Post", "Ring", "Burg", "Brunn", "Stein", "Wiesen", "Sonnen", "Schloss",
        ];
        const END: [&str; 8] = ["strasse", "weg", "platz", "gasse", "allee", "ufer", "hof", "ring"];
        const TOWN: [&str; 12] =
            ["ingen", "burg", "dorf", "stadt", "heim", "au", "tal", "hausen", "bach", "feld", "wil", "berg"];
        let (lat, lon) = world.place(dice);
        let street = format!("{}{}", dice.pick(&BEGIN), dice.pick(&END));
        let city = format!("{}{}", dice.pick(&BEGIN), dice.pick(&TOWN));
        let fast = dice.below(5) == 0;
        Site {
            name: format!("{city} - {} {}", dice.pick(&BEGIN), dice.below(90)),
            street,
            house: 1 + dice.below(180),
            city,
            postcode: 1_000 + dice.below(90_000),
            lat: (lat * 1e5).round() / 1e5,
            lon: (lon * 1e5).round() / 1e5,
            power: if fast { 50 + 50 * dice.below(6) } else { [11, 22][dice.below(2)] },
            plug: if fast { "CCS Combo 2 Plug (Cable Attached)" } else { "Type 2 Outlet" },
            kind: if fast { "DC" } else { "AC_3_PHASE" },
            access: dice.pick(&[
                "Free publicly accessible",
                "Restricted access",
                "Paying publicly accessible",
            ]),
            modes: dice.pick(&[
                r#""NFC RFID Classic","REMOTE""#,
                r#""REMOTE""#,
                r#""NFC RFID Classic","Direct Payment","REMOTE""#,
            ]),
        }
    }

    fn record(&self, evse_id: &str, phone: &str, number: usize) -> String {
        let Site { name, street, house, city, postcode, lat, lon, power, plug, kind, access, modes } = self;
        let (day, minute) = (number * 7 % 28 + 1, number * 13 % 60);
        format!(
            r#"{{"EvseID":"{evse_id}","ChargingPoolID":null,"ChargingStationID":"{evse_id}","ChargingStationNames":[{{"lang":"en","value":"{name}"}}],"HardwareManufacturer":null,"ChargingStationImage":null,"SubOperatorName":null,"Address":{{"City":"{city}","Country":"DEU","Floor":null,"HouseNum":"{house}","ParkingFacility":null,"ParkingSpot":null,"PostalCode":"{postcode}","Region":null,"Street":"{street}","TimeZone":null}},"GeoCoordinates":{{"Google":{{"Coordinates":"{lat:.5} {lon:.5}"}}}},"Plugs":["{plug}"],"DynamicPowerLevel":null,"ChargingFacilities":[{{"Amperage":32,"Voltage":230,"Power":{power},"PowerType":"{kind}","ChargingModes":["Mode_3"]}}],"RenewableEnergy":true,"EnergySource":null,"EnvironmentalImpact":null,"CalibrationLawDataAvailability":"Not Available","AuthenticationModes":[{modes}],"MaxCapacity":null,"PaymentOptions":["Direct","Contract"],"ValueAddedServices":["None"],"Accessibility":"{access}","AccessibilityLocation":"OnStreet","HotlinePhoneNumber":"{phone}","AdditionalInfo":null,"ChargingStationLocationReference":null,"GeoChargingPointEntrance":null,"IsOpen24Hours":true,"OpeningTimes":null,"ClearinghouseID":null,"HubOperatorID":null,"IsHubjectCompatible":true,"DynamicInfoAvailable":"true","x-updated":"2026-03-{day:02}T08:{minute:02}:49Z"}}"#
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_conforming_and_as_large_as_real_ones() {
        let world = World::new(7, 3, 1_000);
        let evses: Vec<Evse> = (0..3).flat_map(|operator| world.evses(operator)).collect();
        assert_eq!(evses.len(), 1_000);
        for evse in &evses {
            let summary = chargemesh::oicp::record::summarise(&evse.json).unwrap();
            assert_eq!(summary.position.unwrap().lat, evse.lat);
        }
        let mean = evses.iter().map(|evse| evse.json.len()).sum::<usize>() / evses.len();
        assert!((1_200..1_400).contains(&mean), "{mean}");
        let bulk: String = evses.iter().map(|evse| evse.json.as_str()).collect();
        let packed = chargemesh::protocol::compress(bulk.as_bytes()).len() / evses.len();
        assert!((35..60).contains(&packed), "{packed} bytes each");
    }

    #[test]
    fn the_same_seed_makes_the_same_world() {
        let make = || World::new(1, 2, 10).evses(1).map(|evse| evse.json).collect::<Vec<_>>();
        assert_eq!(make(), make());
        assert_eq!(World::new(1, 2, 10).key(1, 3).as_str(), "CHAA1E000003");
    }
}
