//! Where and what the generated operators are: cities with their centres, streets, and how stations are built.

/// A generated operator and its home.
pub(super) struct Company {
    /// OperatorID.
    pub(super) operator_id: &'static str,
    /// OperatorName; no company of that name is meant.
    pub(super) name: &'static str,
    /// ISO 3166-1 alpha-3.
    pub(super) country: &'static str,
    /// Language of its texts (LanguageCodeType).
    pub(super) language: &'static str,
    /// Hotline (PhoneNumberType).
    pub(super) hotline: &'static str,
    /// UTC offset (TimeZoneType).
    pub(super) time_zone: &'static str,
    /// Where it has stations.
    pub(super) cities: &'static [City],
    /// Street names to draw from.
    pub(super) streets: &'static [&'static str],
}

/// A city.
pub(super) struct City {
    /// Its name.
    pub(super) name: &'static str,
    /// A postal code in it.
    pub(super) postal_code: &'static str,
    /// Latitude of its centre in micro-degrees.
    pub(super) lat_micro: i64,
    /// Longitude of its centre in micro-degrees.
    pub(super) lon_micro: i64,
}

/// A charging station as it is sold.
pub(super) struct Model {
    /// HardwareManufacturer; no maker of that name is meant.
    pub(super) manufacturer: &'static str,
    /// Charging points of one station.
    pub(super) points: u32,
    /// Plugs of each point.
    pub(super) plugs: &'static [&'static str],
    /// ChargingFacilities of each point: power type, volts, amperes, kilowatts, mode.
    pub(super) facilities: &'static [(&'static str, u32, u32, u32, &'static str)],
    /// How often it is built, relative to the others.
    pub(super) weight: u32,
}

const fn city(name: &'static str, postal_code: &'static str, lat_micro: i64, lon_micro: i64) -> City {
    City { name, postal_code, lat_micro, lon_micro }
}

/// The operators of the demo.
pub(super) static COMPANIES: [Company; 5] = [
    Company {
        operator_id: "DE*NLA",
        name: "Nordlicht Ladenetz",
        country: "DEU",
        language: "de",
        hotline: "+4940555010",
        time_zone: "UTC+01:00",
        cities: &[
            city("Hamburg", "20095", 53_550_300, 10_000_700),
            city("Kiel", "24103", 54_323_300, 10_122_800),
            city("Bremen", "28195", 53_079_300, 8_801_700),
            city("Hannover", "30159", 52_375_900, 9_732_000),
            city("Berlin", "10117", 52_520_000, 13_404_900),
        ],
        streets: &["Hafenstraße", "Bahnhofstraße", "Marktplatz", "Lindenallee", "Am Stadtpark", "Ringstraße"],
    },
    Company {
        operator_id: "NL*GRA",
        name: "Grachtenstroom",
        country: "NLD",
        language: "nl",
        hotline: "+31205550102",
        time_zone: "UTC+01:00",
        cities: &[
            city("Amsterdam", "1012 JS", 52_372_800, 4_893_600),
            city("Rotterdam", "3011 AD", 51_922_500, 4_479_200),
            city("Utrecht", "3511 CE", 52_090_700, 5_121_400),
            city("Eindhoven", "5611 EM", 51_441_600, 5_469_700),
        ],
        streets: &["Stationsplein", "Kerkstraat", "Dorpsstraat", "Molenweg", "Havenkade", "Julianalaan"],
    },
    Company {
        operator_id: "FR*VOL",
        name: "Voltaire Recharge",
        country: "FRA",
        language: "fr",
        hotline: "+33155501030",
        time_zone: "UTC+01:00",
        cities: &[
            city("Paris", "75004", 48_856_600, 2_352_200),
            city("Lyon", "69002", 45_764_000, 4_835_700),
            city("Toulouse", "31000", 43_604_700, 1_444_200),
            city("Nantes", "44000", 47_218_400, -1_553_600),
            city("Strasbourg", "67000", 48_573_400, 7_752_100),
        ],
        streets: &["Rue de la Gare", "Avenue des Tilleuls", "Place du Marché", "Quai du Port", "Rue Neuve"],
    },
    Company {
        operator_id: "AT*ALP",
        name: "Alpenstrom Laden",
        country: "AUT",
        language: "de",
        hotline: "+4315550104",
        time_zone: "UTC+01:00",
        cities: &[
            city("Wien", "1010", 48_208_200, 16_373_800),
            city("Graz", "8010", 47_070_700, 15_439_500),
            city("Salzburg", "5020", 47_809_500, 13_055_000),
            city("Innsbruck", "6020", 47_269_200, 11_404_100),
        ],
        streets: &["Hauptplatz", "Bahnhofstraße", "Getreidegasse", "Bergstraße", "Schulgasse", "Uferweg"],
    },
    Company {
        operator_id: "ES*SOL",
        name: "Soleada Carga",
        country: "ESP",
        language: "es",
        hotline: "+34915550105",
        time_zone: "UTC+01:00",
        cities: &[
            city("Madrid", "28013", 40_416_800, -3_703_800),
            city("Barcelona", "08002", 41_385_100, 2_173_400),
            city("Valencia", "46002", 39_469_900, -376_300),
            city("Sevilla", "41001", 37_389_100, -5_984_500),
            city("Zaragoza", "50003", 41_648_800, -889_100),
        ],
        streets: &["Calle Mayor", "Plaza de España", "Avenida del Puerto", "Calle Real", "Paseo del Parque"],
    },
];

/// What they build.
pub(super) static MODELS: [Model; 5] = [
    Model {
        manufacturer: "Wallwerk",
        points: 2,
        plugs: &["Type 2 Outlet"],
        facilities: &[("AC_3_PHASE", 230, 16, 11, "Mode_3")],
        weight: 4,
    },
    Model {
        manufacturer: "Wallwerk",
        points: 2,
        plugs: &["Type 2 Outlet"],
        facilities: &[("AC_3_PHASE", 230, 32, 22, "Mode_3")],
        weight: 6,
    },
    Model {
        manufacturer: "Lanterna",
        points: 1,
        plugs: &["Type 2 Outlet", "Type F Schuko"],
        facilities: &[("AC_1_PHASE", 230, 16, 4, "Mode_3")],
        weight: 1,
    },
    Model {
        manufacturer: "Kestrel Power",
        points: 1,
        plugs: &["CCS Combo 2 Plug (Cable Attached)", "CHAdeMO"],
        facilities: &[("DC", 500, 99, 50, "Mode_4"), ("DC", 500, 99, 50, "CHAdeMO")],
        weight: 2,
    },
    Model {
        manufacturer: "Kestrel Power",
        points: 4,
        plugs: &["CCS Combo 2 Plug (Cable Attached)"],
        facilities: &[("DC", 920, 99, 150, "Mode_4")],
        weight: 2,
    },
];
