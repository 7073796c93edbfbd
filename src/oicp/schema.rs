//! The published tables of the messages built here, as data: which fields there are, what they hold, which
//! are mandatory (TYPES sections 5 to 8). Validation and repair walk the same tables.

use super::id::{EvseId, OperatorId, ProviderId};
use super::time;

/// What a field holds.
pub(super) enum Kind {
    /// A text of so many characters.
    Text { min: usize, max: usize },
    /// A text of a pattern.
    Pattern(fn(&str) -> bool),
    /// A text out of an enumeration.
    Choice(&'static [&'static str]),
    /// A JSON boolean.
    Flag,
    /// A number with an advisory largest value (GAPS B8).
    Number { advised_max: u32 },
    /// Electrical power in kilowatts: as a number, 0 is suspicious.
    Power,
    /// An exact decimal of any size, as number or as numeric text (GAPS A23).
    Decimal,
    /// Meter readings: a list, or the object that the examples print (GAPS A4).
    Readings,
    /// An EvseID.
    Evse,
    /// An OperatorID.
    Operator,
    /// A date-time.
    Instant,
    /// A position, in one notation.
    Position,
    /// The middle of a search: several notations at once are no breach (GAPS A24).
    Center,
    /// A list; `lone_ok`: one document prints a single value.
    List { of: &'static Kind, lone_ok: bool },
    /// An object.
    Object(&'static Table),
}

/// Whether a field has to be there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Mandatory, and a text or list may not be empty.
    Filled,
    /// Mandatory, but a list may be empty.
    Present,
    /// Optional.
    Free,
    /// Optional and assigned by the hub: without business in a push.
    HubAssigned,
}

pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) need: Need,
    /// Other spellings: `true` if one of the role documents prints it itself.
    pub(super) variants: &'static [(&'static str, bool)],
}

/// The spellings of the operator filter of pulls, each in any case.
pub(super) const OPERATOR_FILTER: &[&str] = &["OperatorIDs", "OperatorID"];

/// The fields of one object.
pub(super) struct Table {
    pub(super) fields: &'static [Field],
    /// Which whole-object rules apply.
    pub(super) extra: Extra,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Extra {
    None,
    EvseDataRecord,
}

impl Table {
    /// The field of that exact name.
    pub(super) fn exact(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// The field that a deviating spelling means.
    pub(super) fn meant(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.means(name))
    }
}

impl Field {
    /// True if the spelling means this field.
    pub(super) fn means(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
            || self.variants.iter().any(|(other, _)| *other == name)
            || self.is_operator_filter_as(name)
    }

    /// True if a role document prints this spelling.
    pub(super) fn prints(&self, name: &str) -> bool {
        self.variants.iter().any(|(other, printed)| *other == name && *printed)
            || self.is_operator_filter_as(name)
    }

    /// A list of operators is the filter of pulls, which each service spells in another way (GAPS A11).
    fn is_operator_filter_as(&self, name: &str) -> bool {
        matches!(self.kind, Kind::List { of: Kind::Operator, .. })
            && OPERATOR_FILTER.iter().any(|spelling| spelling.eq_ignore_ascii_case(name))
    }
}

pub(super) const fn field(name: &'static str, need: Need, kind: Kind) -> Field {
    Field { name, kind, need, variants: &[] }
}

pub(super) const fn text(max: usize) -> Kind {
    Kind::Text { min: 0, max }
}

pub(super) const fn list(of: &'static Kind) -> Kind {
    Kind::List { of, lone_ok: false }
}

pub(super) const PLUGS: &[&str] = &[
    "Small Paddle Inductive",
    "Large Paddle Inductive",
    "AVCON Connector",
    "Tesla Connector",
    "NEMA 5-20",
    "Type E French Standard",
    "Type F Schuko",
    "Type G British Standard",
    "Type J Swiss Standard",
    "Type 1 Connector (Cable Attached)",
    "Type 2 Outlet",
    "Type 2 Connector (Cable Attached)",
    "Type 3 Outlet",
    "IEC 60309 Single Phase",
    "IEC 60309 Three Phase",
    "CCS Combo 2 Plug (Cable Attached)",
    "CCS Combo 1 Plug (Cable Attached)",
    "CHAdeMO",
];
pub(super) const ACCESSIBILITY: &[&str] =
    &["Free publicly accessible", "Restricted access", "Paying publicly accessible", "Test Station"];
pub(super) const AUTHENTICATION_MODES: &[&str] = &[
    "NFC RFID Classic",
    "NFC RFID DESFire",
    "PnC",
    "REMOTE",
    "Direct Payment",
    "No Authentication Required",
];
pub(super) const CALIBRATION_LAW: &[&str] = &["Local", "External", "Not Available"];
pub(super) const EVSE_STATUSES: &[&str] =
    &["Available", "Reserved", "Occupied", "OutOfService", "EvseNotFound", "Unknown"];
pub(super) const ACTION_TYPES: &[&str] = &["fullLoad", "update", "insert", "delete"];
const DELTA_TYPES: &[&str] = &["update", "insert", "delete"];
const LOCATIONS: &[&str] = &["OnStreet", "ParkingLot", "ParkingGarage", "UndergroundParkingGarage"];
const CHARGING_MODES: &[&str] = &["Mode_1", "Mode_2", "Mode_3", "Mode_4", "CHAdeMO"];
const PAYMENT_OPTIONS: &[&str] = &["No Payment", "Direct", "Contract"];
const SERVICES: &[&str] = &[
    "Reservation",
    "DynamicPricing",
    "ParkingSensors",
    "MaximumPowerCharging",
    "PredictiveChargePointUsage",
    "ChargingPlans",
    "RoofProvided",
    "None",
];
const POWER_TYPES: &[&str] = &["AC_1_PHASE", "AC_3_PHASE", "DC"];
const ENERGIES: &[&str] = &[
    "Solar",
    "Wind",
    "HydroPower",
    "GeothermalEnergy",
    "Biomass",
    "Coal",
    "NuclearEnergy",
    "Petroleum",
    "NaturalGas",
];
pub(super) const DAYS: &[&str] = &[
    "Everyday",
    "Workdays",
    "Weekend",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];

/// Spelled-out limits of the Number kinds that have none.
const NO_ADVICE: u32 = u32::MAX;

static INFO_TEXT: Table = Table {
    extra: Extra::None,
    fields: &[
        field("lang", Need::Filled, Kind::Pattern(is_language)),
        field("value", Need::Filled, text(150)),
    ],
};
pub(super) static PERIOD: Table = Table {
    extra: Extra::None,
    fields: &[
        field("begin", Need::Filled, Kind::Pattern(is_hour_minute)),
        field("end", Need::Filled, Kind::Pattern(is_hour_minute)),
    ],
};
static OPENING_TIMES: Table = Table {
    extra: Extra::None,
    fields: &[
        field("Period", Need::Filled, Kind::List { of: &Kind::Object(&PERIOD), lone_ok: true }),
        field("on", Need::Filled, Kind::Choice(DAYS)),
    ],
};
static ADDRESS: Table = Table {
    extra: Extra::None,
    fields: &[
        field("Country", Need::Filled, Kind::Pattern(is_country)),
        field("City", Need::Filled, Kind::Text { min: 1, max: 50 }),
        field("Street", Need::Filled, Kind::Text { min: 2, max: 100 }),
        field("PostalCode", Need::Filled, text(10)),
        field("HouseNum", Need::Filled, text(10)),
        field("Floor", Need::Free, text(5)),
        field("Region", Need::Free, text(50)),
        field("ParkingFacility", Need::Free, Kind::Flag),
        field("ParkingSpot", Need::Free, text(5)),
        field("TimeZone", Need::Free, Kind::Pattern(is_time_zone)),
    ],
};
static FACILITY: Table = Table {
    extra: Extra::None,
    fields: &[
        field("PowerType", Need::Filled, Kind::Choice(POWER_TYPES)),
        field("Voltage", Need::Free, Kind::Number { advised_max: 999 }),
        field("Amperage", Need::Free, Kind::Number { advised_max: 99 }),
        field("Power", Need::Filled, Kind::Power),
        Field {
            name: "ChargingModes",
            kind: list(&Kind::Choice(CHARGING_MODES)),
            need: Need::Free,
            variants: &[("Charging Modes", true)],
        },
    ],
};
static ENERGY_SOURCE: Table = Table {
    extra: Extra::None,
    fields: &[
        field("Energy", Need::Free, Kind::Choice(ENERGIES)),
        field("Percentage", Need::Free, Kind::Number { advised_max: 99 }),
    ],
};
static ENVIRONMENT: Table = Table {
    extra: Extra::None,
    fields: &[
        field("CO2Emission", Need::Free, Kind::Number { advised_max: NO_ADVICE }),
        field("NuclearWaste", Need::Free, Kind::Number { advised_max: NO_ADVICE }),
    ],
};

/// EvseDataRecordType and PullEvseDataRecordType in one.
pub(super) static DATA_RECORD: Table = Table {
    extra: Extra::EvseDataRecord,
    fields: &[
        field("deltaType", Need::HubAssigned, Kind::Choice(DELTA_TYPES)),
        field("lastUpdate", Need::HubAssigned, Kind::Instant),
        field("EvseID", Need::Filled, Kind::Evse),
        field("ChargingPoolID", Need::Free, Kind::Pattern(is_charging_pool)),
        Field {
            name: "ChargingStationID",
            kind: text(50),
            need: Need::Free,
            variants: &[("ChargingStationId", true)],
        },
        field("ChargingStationNames", Need::Filled, list(&Kind::Object(&INFO_TEXT))),
        field("HardwareManufacturer", Need::Free, text(50)),
        field("ChargingStationImage", Need::Free, text(200)),
        field("SubOperatorName", Need::Free, text(100)),
        field("Address", Need::Filled, Kind::Object(&ADDRESS)),
        field("GeoCoordinates", Need::Filled, Kind::Position),
        field("Plugs", Need::Filled, list(&Kind::Choice(PLUGS))),
        field("DynamicPowerLevel", Need::Free, Kind::Flag),
        field("ChargingFacilities", Need::Filled, list(&Kind::Object(&FACILITY))),
        field("RenewableEnergy", Need::Filled, Kind::Flag),
        field("EnergySource", Need::Free, list(&Kind::Object(&ENERGY_SOURCE))),
        field("EnvironmentalImpact", Need::Free, Kind::Object(&ENVIRONMENT)),
        field("CalibrationLawDataAvailability", Need::Filled, Kind::Choice(CALIBRATION_LAW)),
        field("AuthenticationModes", Need::Filled, list(&Kind::Choice(AUTHENTICATION_MODES))),
        field("MaxCapacity", Need::Free, Kind::Number { advised_max: NO_ADVICE }),
        field("PaymentOptions", Need::Filled, list(&Kind::Choice(PAYMENT_OPTIONS))),
        field("ValueAddedServices", Need::Filled, list(&Kind::Choice(SERVICES))),
        field("Accessibility", Need::Filled, Kind::Choice(ACCESSIBILITY)),
        field("AccessibilityLocation", Need::Free, Kind::Choice(LOCATIONS)),
        field("HotlinePhoneNumber", Need::Filled, Kind::Pattern(is_phone_number)),
        field("AdditionalInfo", Need::Free, list(&Kind::Object(&INFO_TEXT))),
        field("ChargingStationLocationReference", Need::Free, list(&Kind::Object(&INFO_TEXT))),
        field("GeoChargingPointEntrance", Need::Free, Kind::Position),
        field("IsOpen24Hours", Need::Filled, Kind::Flag),
        field("OpeningTimes", Need::Free, list(&Kind::Object(&OPENING_TIMES))),
        field("HubOperatorID", Need::Free, Kind::Operator),
        field("ClearinghouseID", Need::Free, text(20)),
        field("IsHubjectCompatible", Need::Filled, Kind::Flag),
        field("DynamicInfoAvailable", Need::Filled, Kind::Choice(&["true", "false", "auto"])),
        field("OperatorID", Need::Free, Kind::Operator),
        field("OperatorName", Need::Free, text(100)),
    ],
};

/// EvseStatusRecordType.
pub(super) static STATUS_RECORD: Table = Table {
    extra: Extra::None,
    fields: &[
        field("EvseID", Need::Filled, Kind::Evse),
        field("EvseStatus", Need::Filled, Kind::Choice(EVSE_STATUSES)),
    ],
};

/// eRoamingPushEvseData with its operator block.
pub(super) static PUSH_DATA: Table = Table {
    extra: Extra::None,
    fields: &[
        field("ActionType", Need::Filled, Kind::Choice(ACTION_TYPES)),
        field("OperatorEvseData", Need::Filled, Kind::Object(&OPERATOR_DATA)),
    ],
};
static OPERATOR_DATA: Table = Table {
    extra: Extra::None,
    fields: &[
        field("OperatorID", Need::Filled, Kind::Operator),
        field("OperatorName", Need::Filled, text(100)),
        field("EvseDataRecord", Need::Present, list(&Kind::Object(&DATA_RECORD))),
    ],
};

/// eRoamingPushEvseStatus with its operator block. The name is optional (GAPS B17).
pub(super) static PUSH_STATUS: Table = Table {
    extra: Extra::None,
    fields: &[
        field("ActionType", Need::Filled, Kind::Choice(ACTION_TYPES)),
        field("OperatorEvseStatus", Need::Filled, Kind::Object(&OPERATOR_STATUS)),
    ],
};
static OPERATOR_STATUS: Table = Table {
    extra: Extra::None,
    fields: &[
        field("OperatorID", Need::Filled, Kind::Operator),
        field("OperatorName", Need::Free, text(100)),
        field("EvseStatusRecord", Need::Present, list(&Kind::Object(&STATUS_RECORD))),
    ],
};

static SEARCH_CENTER: Table = Table {
    extra: Extra::None,
    fields: &[
        field("GeoCoordinates", Need::Filled, Kind::Center),
        field("Radius", Need::Filled, Kind::Number { advised_max: NO_ADVICE }),
    ],
};

/// eRoamingPullEVSEData.
pub(super) static PULL_DATA: Table = Table {
    extra: Extra::None,
    fields: &[
        field("ProviderID", Need::Filled, Kind::Pattern(is_provider)),
        field("SearchCenter", Need::Free, Kind::Object(&SEARCH_CENTER)),
        field("LastCall", Need::Free, Kind::Pattern(time::is_date_time)),
        field(
            "GeoCoordinatesResponseFormat",
            Need::Filled,
            Kind::Choice(&["Google", "DegreeMinuteSeconds", "DecimalDegree"]),
        ),
        field("CountryCodes", Need::Free, list(&Kind::Pattern(is_country))),
        field("OperatorIds", Need::Free, list(&Kind::Operator)),
        field("AuthenticationModes", Need::Free, list(&Kind::Choice(AUTHENTICATION_MODES))),
        field("Accessibility", Need::Free, list(&Kind::Choice(ACCESSIBILITY))),
        field("CalibrationLawDataAvailability", Need::Free, list(&Kind::Choice(CALIBRATION_LAW))),
        field("RenewableEnergy", Need::Free, Kind::Flag),
        field("IsHubjectCompatible", Need::Free, Kind::Flag),
        field("IsOpen24Hours", Need::Free, Kind::Flag),
    ],
};

/// eRoamingPullEVSEStatus; the table itself prints `EVSEStatus`, the example `EvseStatus` (GAPS A12).
pub(super) static PULL_STATUS: Table = Table {
    extra: Extra::None,
    fields: &[
        field("ProviderID", Need::Filled, Kind::Pattern(is_provider)),
        field("SearchCenter", Need::Free, Kind::Object(&SEARCH_CENTER)),
        Field {
            name: "EvseStatus",
            kind: Kind::Choice(EVSE_STATUSES),
            need: Need::Free,
            variants: &[("EVSEStatus", true)],
        },
    ],
};

/// eRoamingPullEVSEStatusByID.
pub(super) static PULL_STATUS_BY_ID: Table = Table {
    extra: Extra::None,
    fields: &[
        field("ProviderID", Need::Filled, Kind::Pattern(is_provider)),
        field("EvseID", Need::Filled, list(&Kind::Evse)),
    ],
};

/// eRoamingPullEVSEStatusByOperatorID.
pub(super) static PULL_STATUS_BY_OPERATOR: Table = Table {
    extra: Extra::None,
    fields: &[
        field("ProviderID", Need::Filled, Kind::Pattern(is_provider)),
        field("OperatorID", Need::Filled, list(&Kind::Operator)),
    ],
};

pub(super) fn is_provider(text: &str) -> bool {
    ProviderId::parse(text).is_ok()
}

pub(super) fn is_operator(text: &str) -> bool {
    OperatorId::parse(text).is_ok()
}

fn is_country(text: &str) -> bool {
    text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase())
}

fn is_phone_number(text: &str) -> bool {
    text.strip_prefix('+').is_some_and(|digits| {
        (5..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn is_hour_minute(text: &str) -> bool {
    matches!(text.as_bytes(), [a, b, b':', c, d] if [a, b, c, d].iter().all(|byte| byte.is_ascii_digit()))
}

fn is_time_zone(text: &str) -> bool {
    text.strip_prefix("UTC").and_then(|rest| rest.strip_prefix(['+', '-', ','])).is_some_and(is_hour_minute)
}

/// LanguageCodeType: `de`, `de-CH`, `sr-RS-Latn`, each with an optional private part `-x-...`.
fn is_language(text: &str) -> bool {
    let (main, private) = text.split_once("-x-").unwrap_or((text, "x"));
    let mut parts = main.split('-');
    let within = |part: &str, sizes: std::ops::RangeInclusive<usize>, allowed: fn(&u8) -> bool| {
        sizes.contains(&part.len()) && part.bytes().all(|byte| allowed(&byte))
    };
    parts.next().is_some_and(|part| within(part, 2..=3, u8::is_ascii_lowercase))
        && parts.next().is_none_or(|part| within(part, 2..=3, u8::is_ascii_uppercase))
        && parts.next().is_none_or(|part| within(part, 4..=4, u8::is_ascii_alphabetic))
        && parts.next().is_none()
        && within(private, 1..=8, u8::is_ascii_alphanumeric)
}

/// ChargingPoolIDType is an EvseID with `P` for `E`, ISO only.
fn is_charging_pool(text: &str) -> bool {
    text.char_indices().any(|(at, letter)| {
        matches!(letter, 'P' | 'p') && at >= 5 && {
            let mut as_evse = text.to_owned();
            as_evse.replace_range(at..=at, "E");
            EvseId::parse(&as_evse).is_ok_and(|id| id.form() == super::id::IdForm::Iso)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for good in ["de", "deu", "de-CH", "sr-RS-Latn", "de-x-abc", "de-CH-x-1"] {
            assert!(is_language(good), "{good}");
        }
        for bad in ["", "d", "DE", "de-ch", "de-CH-", "de_CH", "de-x-", "string"] {
            assert!(!is_language(bad), "{bad}");
        }
        assert!(is_phone_number("+41800292929") && !is_phone_number("0800") && !is_phone_number("+41 80"));
        assert!(is_time_zone("UTC+01:00") && !is_time_zone("UTC01:00") && !is_time_zone("+01:00"));
        assert!(is_charging_pool("DE*ABC*P1234TEST*1") && !is_charging_pool("DE*ABC*E1"));
        assert!(is_hour_minute("24:00") && !is_hour_minute("9:00"));
        assert!(is_country("CHE") && !is_country("CH"));
    }
}
