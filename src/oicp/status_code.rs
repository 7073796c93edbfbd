//! OICP status codes (CodeType, RULES 12.2) and the `StatusCode` object that carries them.

use super::json::Node;
use super::json_write::Writer;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $description:literal;)*) => {
        /// The 31 status codes of OICP 2.3.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// All codes in order of their number.
            pub const ALL: &[Code] = &[$(Code::$name),*];

            /// The three digits on the wire.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$name => $text),* }
            }

            /// A short standard wording for the `Description` field.
            #[must_use]
            pub fn description(self) -> &'static str {
                match self { $(Code::$name => $description),* }
            }

            /// The code with these three digits; `None` for a number OICP 2.3 does not have.
            #[must_use]
            pub fn parse(text: &str) -> Option<Code> {
                match text { $($text => Some(Code::$name),)* _ => None }
            }
        }
    };
}

codes! {
    /// Received and carried out.
    Success = "000", "Success";
    /// The hub failed inside.
    HubSystemError = "001", "Hubject system error";
    /// The hub's store failed.
    HubDatabaseError = "002", "Hubject database error";
    /// Records could not be written: an insert of existing or an update of missing ones.
    DataTransactionError = "009", "Data transaction error";
    /// The id does not belong to the caller, or the partner is locked.
    UnauthorizedAccess = "017", "Unauthorized Access";
    /// EvseIDs that are foreign, or twice in one push.
    InconsistentEvseId = "018", "Inconsistent EvseID";
    /// Foreign EvcoIDs.
    InconsistentEvcoId = "019", "Inconsistent EvcoID";
    /// A partner's general error.
    SystemError = "021", "System error";
    /// The content of a request does not make sense.
    DataError = "022", "Data error";
    /// QR code: invalid credentials.
    QrCodeInvalidCredentials = "101", "QR Code Authentication failed - Invalid credentials";
    /// RFID: invalid UID.
    RfidInvalidUid = "102", "RFID Authentication failed - invalid UID";
    /// RFID: the card could not be read.
    RfidCardNotReadable = "103", "RFID Authentication failed - card not readable";
    /// Plug and charge: invalid EvcoID.
    PlcInvalidEvcoId = "105", "PLC Authentication failed - invalid EvcoID";
    /// Nobody answered positively.
    NoPositiveAuthentication = "106", "No positive authentication response";
    /// QR code app: timeout.
    QrCodeTimeout = "110", "QR Code App Authentication failed - time out error";
    /// ISO 15118: invalid underlying EvcoID.
    PlcInvalidUnderlyingEvcoId = "120", "PLC (ISO/IEC 15118) Authentication failed - invalid underlying EvcoID";
    /// ISO 15118: invalid certificate.
    PlcInvalidCertificate = "121", "PLC (ISO/IEC 15118) Authentication failed - invalid certificate";
    /// ISO 15118: timeout.
    PlcTimeout = "122", "PLC (ISO/IEC 15118) Authentication failed - time out error";
    /// The contract is locked.
    EvcoIdLocked = "200", "EvcoID locked";
    /// No contract between the partners.
    NoValidContract = "210", "No valid contract";
    /// The partner is not known.
    PartnerNotFound = "300", "Partner not found";
    /// The partner did not answer.
    PartnerDidNotRespond = "310", "Partner did not respond";
    /// The partner does not offer the service.
    ServiceNotAvailable = "320", "Service not available";
    /// The session is unknown, foreign or closed.
    SessionInvalid = "400", "Session is invalid";
    /// The charging point cannot be reached.
    CommunicationToEvseFailed = "501", "Communication to EVSE failed";
    /// No vehicle is plugged in.
    NoEvConnected = "510", "No EV connected to EVSE";
    /// Somebody else reserved it.
    EvseAlreadyReserved = "601", "EVSE already reserved";
    /// Somebody else uses it.
    EvseAlreadyInUse = "602", "EVSE already in use/wrong token";
    /// No such EVSE.
    UnknownEvseId = "603", "Unknown EVSE ID";
    /// Remote operations are refused there.
    EvseNotHubjectCompatible = "604", "EVSE ID is not Hubject compatible";
    /// Out of service.
    EvseOutOfService = "700", "EVSE out of service";
}

/// Longest `Description` (characters).
pub const DESCRIPTION_CHARACTERS_MAX: usize = 200;
/// Longest `AdditionalInfo` (characters).
pub const ADDITIONAL_INFO_CHARACTERS_MAX: usize = 1000;

/// The object `{"Code","Description","AdditionalInfo"}` of answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusCode {
    /// The code as text; a partner may send one that [`Code`] does not know.
    pub code: String,
    /// Standard or own wording.
    pub description: Option<String>,
    /// Free text.
    pub additional_info: Option<String>,
}

impl From<Code> for StatusCode {
    fn from(code: Code) -> StatusCode {
        StatusCode {
            code: code.as_str().to_owned(),
            description: Some(code.description().to_owned()),
            additional_info: None,
        }
    }
}

impl StatusCode {
    /// A code with its standard description and a free text, cut to 1000 characters.
    #[must_use]
    pub fn with_info(code: Code, additional_info: &str) -> StatusCode {
        let cut = additional_info.chars().take(ADDITIONAL_INFO_CHARACTERS_MAX).collect();
        StatusCode { additional_info: Some(cut), ..StatusCode::from(code) }
    }

    /// The same with texts of the published lengths: what a partner wrote may be longer.
    #[must_use]
    pub fn cut(self) -> StatusCode {
        let cut = |text: Option<String>, max: usize| text.map(|text| text.chars().take(max).collect());
        StatusCode {
            description: cut(self.description, DESCRIPTION_CHARACTERS_MAX),
            additional_info: cut(self.additional_info, ADDITIONAL_INFO_CHARACTERS_MAX),
            ..self
        }
    }

    /// The known code, if it is one.
    #[must_use]
    pub fn known(&self) -> Option<Code> {
        Code::parse(&self.code)
    }

    /// Writes the object; absent values are nulls like the hub's.
    pub fn write(&self, writer: &mut Writer) {
        writer.begin_object().key("Code").string(&self.code);
        writer.key("Description").string_or_null(self.description.as_deref());
        writer.key("AdditionalInfo").string_or_null(self.additional_info.as_deref()).end_object();
    }

    /// The short error body `{"StatusCode":{...}}` that the hub sends with statuses other than 200.
    #[must_use]
    pub fn to_fault_json(&self) -> String {
        let mut writer = Writer::new();
        writer.begin_object().key("StatusCode");
        self.write(&mut writer);
        writer.end_object();
        writer.finish()
    }

    /// Reads the object, or a code that stands in its place; `None` if there is no code. Partners also write
    /// numbers instead of texts, and leave off leading zeros.
    #[must_use]
    pub fn read(node: &Node<'_>) -> Option<StatusCode> {
        let code = if node.is_object() { node.field_any_case(&["Code"])? } else { node };
        let digits = code.as_str().or_else(|| code.number_text())?.trim();
        if digits.is_empty() {
            return None;
        }
        let code = format!("{digits:0>3}");
        let text = |name| node.field_any_case(&[name]).and_then(Node::as_str).map(str::to_owned);
        Some(StatusCode { code, description: text("Description"), additional_info: text("AdditionalInfo") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oicp::json::parse_text;

    #[test]
    fn there_are_31_codes_that_round_trip() {
        assert_eq!(Code::ALL.len(), 31);
        for code in Code::ALL {
            assert_eq!(Code::parse(code.as_str()), Some(*code));
            assert!(code.description().len() <= DESCRIPTION_CHARACTERS_MAX);
        }
        assert_eq!(Code::parse("999"), None);
    }

    #[test]
    fn object_is_written_with_nulls_and_read_back() {
        let status = StatusCode::with_info(Code::PartnerNotFound, &"x".repeat(2000));
        let json = status.to_fault_json();
        let node = parse_text(&json).unwrap();
        assert_eq!(StatusCode::read(node.field("StatusCode").unwrap()).unwrap(), status);
        assert_eq!(status.additional_info.unwrap().len(), ADDITIONAL_INFO_CHARACTERS_MAX);
        let long =
            StatusCode { description: Some("ü".repeat(2000)), ..StatusCode::from(Code::Success) }.cut();
        assert_eq!(long.description.unwrap().chars().count(), DESCRIPTION_CHARACTERS_MAX);
        for partner in [r#"{"Code":17}"#, r#"{"code":" 17 "}"#, "17", "\"017\""] {
            let read = StatusCode::read(&parse_text(partner).unwrap()).unwrap();
            assert_eq!(read.known(), Some(Code::UnauthorizedAccess), "{partner}");
        }
        for none in ["{}", "true", "\"\"", r#"{"Code":null}"#] {
            assert_eq!(StatusCode::read(&parse_text(none).unwrap()), None, "{none}");
        }
    }
}
