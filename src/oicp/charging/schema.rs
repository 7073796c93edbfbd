//! The published tables of the messages of charging (TYPES sections 5 and 6), walked by the same checker as
//! those of [`crate::oicp::schema`].

use super::identification::OPTIONS;
use super::medium::{HashedPin, PIN_CHARACTERS_MAX, Uid};
use super::session_id::{PARTNER_SESSION_CHARACTERS_MAX, SessionId};
use crate::oicp::evco::EvcoId;
use crate::oicp::schema::{ACTION_TYPES, Extra, Field, Kind, Need, Table, field, is_provider, list, text};
use crate::oicp::time::is_date_time;

/// Most characters of a product id; the tables say 50, the schemas 100 (TYPES section 4).
const PRODUCT_CHARACTERS_MAX: usize = 100;

/// Most characters of one signed meter value (RULES section 14).
const SIGNED_VALUE_CHARACTERS_MAX: usize = 3000;

const SESSION: Kind = Kind::Pattern(is_session);
const INSTANT: Kind = Kind::Pattern(is_date_time);
const PROVIDER: Kind = Kind::Pattern(is_provider);
const CONTRACT: Kind = Kind::Pattern(is_contract);
const PRODUCT: Field = field("PartnerProductID", Need::Free, text(PRODUCT_CHARACTERS_MAX));
const CPO_SESSION: Field = field("CPOPartnerSessionID", Need::Free, text(PARTNER_SESSION_CHARACTERS_MAX));
/// The EMP OpenAPI document spells it with a small d in reservations (GAPS A15).
const EMP_SESSION: Field = Field {
    name: "EMPPartnerSessionID",
    kind: text(PARTNER_SESSION_CHARACTERS_MAX),
    need: Need::Free,
    variants: &[("EMPPartnerSessionId", true)],
};

const fn identification(need: Need) -> Field {
    field("Identification", need, Kind::Object(&IDENTIFICATION))
}

const fn table(fields: &'static [Field]) -> Table {
    Table { extra: Extra::None, fields }
}

static MIFARE: Table = table(&[field("UID", Need::Filled, Kind::Pattern(is_uid))]);
static RFID: Table = table(&[
    field("UID", Need::Filled, Kind::Pattern(is_uid)),
    field("EvcoID", Need::Free, CONTRACT),
    field("RFID", Need::Filled, Kind::Choice(&["mifareCls", "mifareDes", "calypso", "nfc", "mifareFamily"])),
    field("PrintedNumber", Need::Free, text(150)),
    field("ExpiryDate", Need::Free, INSTANT),
]);
static LEGACY_HASH: Table = table(&[
    field("Function", Need::Free, text(50)),
    field("Salt", Need::Free, text(100)),
    field("Value", Need::Free, text(100)),
]);
static HASHED_PIN: Table = table(&[
    field("Value", Need::Filled, Kind::Pattern(is_hash)),
    field("Function", Need::Filled, Kind::Choice(&["Bcrypt"])),
    field("LegacyHashData", Need::Free, Kind::Object(&LEGACY_HASH)),
]);
static QR_CODE: Table = table(&[
    field("EvcoID", Need::Filled, CONTRACT),
    field("HashedPIN", Need::Free, Kind::Object(&HASHED_PIN)),
    field("PIN", Need::Free, text(PIN_CHARACTERS_MAX)),
]);
static CONTRACT_ONLY: Table = table(&[field("EvcoID", Need::Filled, CONTRACT)]);

/// IdentificationType. That it holds exactly one option is checked by its reader.
static IDENTIFICATION: Table = table(&IDENTIFICATION_FIELDS);
static IDENTIFICATION_FIELDS: [Field; 5] = [
    field(OPTIONS[0], Need::Free, Kind::Object(&MIFARE)),
    field(OPTIONS[1], Need::Free, Kind::Object(&RFID)),
    field(OPTIONS[2], Need::Free, Kind::Object(&QR_CODE)),
    field(OPTIONS[3], Need::Free, Kind::Object(&CONTRACT_ONLY)),
    field(OPTIONS[4], Need::Free, Kind::Object(&CONTRACT_ONLY)),
];

/// eRoamingAuthorizeStart.
pub(super) static AUTHORIZE_START: Table = table(&[
    field("SessionID", Need::Free, SESSION),
    CPO_SESSION,
    EMP_SESSION,
    field("OperatorID", Need::Filled, Kind::Operator),
    field("EvseID", Need::Free, Kind::Evse),
    identification(Need::Filled),
    PRODUCT,
]);

/// eRoamingAuthorizeStop; the product is only in its example (GAPS A24).
pub(super) static AUTHORIZE_STOP: Table = table(&[
    field("SessionID", Need::Filled, SESSION),
    CPO_SESSION,
    EMP_SESSION,
    field("OperatorID", Need::Filled, Kind::Operator),
    field("EvseID", Need::Free, Kind::Evse),
    identification(Need::Filled),
    PRODUCT,
]);

/// eRoamingAuthorizeRemoteStart and eRoamingAuthorizeRemoteReservationStart.
pub(super) static REMOTE_START: Table = table(&[
    field("SessionID", Need::Free, SESSION),
    CPO_SESSION,
    EMP_SESSION,
    field("ProviderID", Need::Filled, PROVIDER),
    field("EvseID", Need::Filled, Kind::Evse),
    identification(Need::Filled),
    PRODUCT,
    field("Duration", Need::Free, Kind::Decimal),
]);

/// eRoamingAuthorizeRemoteStop and eRoamingAuthorizeRemoteReservationStop.
pub(super) static REMOTE_STOP: Table = table(&[
    field("SessionID", Need::Filled, SESSION),
    CPO_SESSION,
    EMP_SESSION,
    field("ProviderID", Need::Filled, PROVIDER),
    field("EvseID", Need::Filled, Kind::Evse),
]);

const TYPE: Field = field("Type", Need::Filled, Kind::Choice(&["Start", "Progress", "End", "Error"]));
/// Mandatory for the CPO document only (GAPS C17).
const OPERATOR: Field = field("OperatorID", Need::Free, Kind::Operator);

/// eRoamingChargingNotificationStart.
pub(super) static NOTIFICATION_START: Table = table(&[
    TYPE,
    field("SessionID", Need::Filled, SESSION),
    CPO_SESSION,
    EMP_SESSION,
    identification(Need::Free),
    field("EvseID", Need::Filled, Kind::Evse),
    field("ChargingStart", Need::Filled, INSTANT),
    field("SessionStart", Need::Free, INSTANT),
    field("MeterValueStart", Need::Free, Kind::Decimal),
    OPERATOR,
    PRODUCT,
]);

/// eRoamingChargingNotificationProgress.
pub(super) static NOTIFICATION_PROGRESS: Table = table(&[
    TYPE,
    field("SessionID", Need::Filled, SESSION),
    CPO_SESSION,
    EMP_SESSION,
    identification(Need::Free),
    field("EvseID", Need::Filled, Kind::Evse),
    field("ChargingStart", Need::Filled, INSTANT),
    field("EventOccurred", Need::Filled, INSTANT),
    field("ChargingDuration", Need::Free, Kind::Decimal),
    field("SessionStart", Need::Free, INSTANT),
    field("ConsumedEnergyProgress", Need::Free, Kind::Decimal),
    field("MeterValueStart", Need::Free, Kind::Decimal),
    field("MeterValueInBetween", Need::Free, Kind::Readings),
    OPERATOR,
    PRODUCT,
]);

/// eRoamingChargingNotificationEnd.
pub(super) static NOTIFICATION_END: Table = table(&[
    TYPE,
    field("SessionID", Need::Filled, SESSION),
    CPO_SESSION,
    EMP_SESSION,
    identification(Need::Free),
    field("EvseID", Need::Filled, Kind::Evse),
    field("ChargingStart", Need::Free, INSTANT),
    field("ChargingEnd", Need::Filled, INSTANT),
    field("SessionStart", Need::Free, INSTANT),
    field("SessionEnd", Need::Free, INSTANT),
    field("ConsumedEnergy", Need::Free, Kind::Decimal),
    field("MeterValueStart", Need::Free, Kind::Decimal),
    field("MeterValueEnd", Need::Free, Kind::Decimal),
    field("MeterValueInBetween", Need::Free, Kind::Readings),
    OPERATOR,
    PRODUCT,
    field("PenaltyTimeStart", Need::Free, INSTANT),
]);

/// eRoamingChargingNotificationError; both spellings of its classes (GAPS A1).
pub(super) static NOTIFICATION_ERROR: Table = table(&[
    TYPE,
    field("SessionID", Need::Filled, SESSION),
    CPO_SESSION,
    EMP_SESSION,
    identification(Need::Free),
    field("EvseID", Need::Filled, Kind::Evse),
    field(
        "ErrorType",
        Need::Filled,
        Kind::Choice(&["ConnectorError", "CriticalError", "Connector Error", "Critical Error"]),
    ),
    field("ErrorAdditionalInfo", Need::Free, text(250)),
    OPERATOR,
]);

static SIGNED_VALUE: Table = table(&[
    field("SignedMeteringValue", Need::Free, text(SIGNED_VALUE_CHARACTERS_MAX)),
    field("MeteringStatus", Need::Free, Kind::Choice(&["Start", "Progress", "End"])),
]);
/// `MeteringCheck` is a live field of the hub that no document has (RULES section 7).
static CALIBRATION: Table = table(&[
    field("CalibrationLawCertificateID", Need::Free, text(100)),
    field("PublicKey", Need::Free, text(1000)),
    field("MeteringSignatureUrl", Need::Free, text(200)),
    field("MeteringSignatureEncodingFormat", Need::Free, text(50)),
    field("SignedMeteringValuesVerificationInstruction", Need::Free, text(400)),
    field("MeteringCheck", Need::Free, text(50)),
]);

/// eRoamingChargeDetailRecord.
pub(super) static CHARGE_DETAIL_RECORD: Table = table(&[
    field("SessionID", Need::Filled, SESSION),
    CPO_SESSION,
    EMP_SESSION,
    PRODUCT,
    field("EvseID", Need::Filled, Kind::Evse),
    identification(Need::Filled),
    field("ChargingStart", Need::Filled, INSTANT),
    field("ChargingEnd", Need::Filled, INSTANT),
    field("SessionStart", Need::Filled, INSTANT),
    field("SessionEnd", Need::Filled, INSTANT),
    field("MeterValueStart", Need::Free, Kind::Decimal),
    field("MeterValueEnd", Need::Free, Kind::Decimal),
    field("MeterValueInBetween", Need::Free, Kind::Readings),
    field("ConsumedEnergy", Need::Filled, Kind::Decimal),
    field("SignedMeteringValues", Need::Free, list(&Kind::Object(&SIGNED_VALUE))),
    field("CalibrationLawVerificationInfo", Need::Free, Kind::Object(&CALIBRATION)),
    field("HubOperatorID", Need::Free, Kind::Operator),
    Field { name: "HubProviderID", kind: PROVIDER, need: Need::Free, variants: &[("HubProviderId", true)] },
]);

/// eRoamingGetChargeDetailRecords; one operator or a list, two names of the filter (GAPS A9, A10).
pub(super) static GET_CHARGE_DETAIL_RECORDS: Table = table(&[
    field("ProviderID", Need::Filled, PROVIDER),
    field("From", Need::Filled, INSTANT),
    field("To", Need::Filled, INSTANT),
    field("SessionID", Need::Free, Kind::List { of: &SESSION, lone_ok: true }),
    field("OperatorID", Need::Free, Kind::List { of: &Kind::Operator, lone_ok: true }),
    Field { name: "CDRForwarded", kind: Kind::Flag, need: Need::Free, variants: &[("CDRForwarder", true)] },
]);

/// AuthenticationDataRecordType; the OpenAPI example puts the media into the record itself (GAPS A26).
static AUTHENTICATION_RECORD: Table = table(&[
    identification(Need::Free),
    field(OPTIONS[0], Need::Free, Kind::Object(&MIFARE)),
    field(OPTIONS[1], Need::Free, Kind::Object(&RFID)),
    field(OPTIONS[2], Need::Free, Kind::Object(&QR_CODE)),
    field(OPTIONS[3], Need::Free, Kind::Object(&CONTRACT_ONLY)),
    field(OPTIONS[4], Need::Free, Kind::Object(&CONTRACT_ONLY)),
]);
static PROVIDER_AUTHENTICATION_DATA: Table = table(&[
    field("ProviderID", Need::Filled, PROVIDER),
    field("AuthenticationDataRecord", Need::Present, list(&Kind::Object(&AUTHENTICATION_RECORD))),
]);

/// eRoamingPushAuthenticationData.
pub(super) static PUSH_AUTHENTICATION_DATA: Table = table(&[
    field("ActionType", Need::Filled, Kind::Choice(ACTION_TYPES)),
    field("ProviderAuthenticationData", Need::Filled, Kind::Object(&PROVIDER_AUTHENTICATION_DATA)),
]);

/// The table of a request by the name of its message.
pub(in crate::oicp) fn table_of(message: &str) -> Option<&'static Table> {
    Some(match message {
        "eRoamingAuthorizeStart" => &AUTHORIZE_START,
        "eRoamingAuthorizeStop" => &AUTHORIZE_STOP,
        "eRoamingAuthorizeRemoteStart" | "eRoamingAuthorizeRemoteReservationStart" => &REMOTE_START,
        "eRoamingAuthorizeRemoteStop" | "eRoamingAuthorizeRemoteReservationStop" => &REMOTE_STOP,
        "eRoamingChargingNotificationStart" => &NOTIFICATION_START,
        "eRoamingChargingNotificationProgress" => &NOTIFICATION_PROGRESS,
        "eRoamingChargingNotificationEnd" => &NOTIFICATION_END,
        "eRoamingChargingNotificationError" => &NOTIFICATION_ERROR,
        "eRoamingChargeDetailRecord" => &CHARGE_DETAIL_RECORD,
        "eRoamingGetChargeDetailRecords" => &GET_CHARGE_DETAIL_RECORDS,
        "eRoamingPushAuthenticationData" => &PUSH_AUTHENTICATION_DATA,
        _ => return None,
    })
}

fn is_session(text: &str) -> bool {
    SessionId::parse(text).is_some()
}

fn is_uid(text: &str) -> bool {
    Uid::parse(text).is_some()
}

fn is_contract(text: &str) -> bool {
    EvcoId::parse(text).is_ok()
}

fn is_hash(text: &str) -> bool {
    HashedPin::parse(text).is_some()
}
