//! eRoamingAuthorizeStart and eRoamingAuthorizeStop: a CPO asks whether somebody may charge, or stop.

use super::body::Body;
use super::identification::{Identification, Media};
use super::schema::{AUTHORIZE_START, AUTHORIZE_STOP};
use super::session_id::{PartnerSessions, SessionId};
use crate::oicp::finding::{Fault, Finding};
use crate::oicp::id::{EvseId, OperatorId};
use crate::oicp::json;
use crate::oicp::json_write::Writer;
use crate::oicp::reading::Reading;

/// eRoamingAuthorizeStart.
#[derive(Debug, Clone, PartialEq)]
pub struct AuthorizeStart {
    /// From the CPO without meaning (the hub makes the session, GAPS C13); from the hub the session.
    pub session_id: Option<SessionId>,
    /// The partners' references.
    pub partners: PartnerSessions,
    /// The CPO that asks.
    pub operator_id: OperatorId,
    /// Where.
    pub evse_id: Option<EvseId>,
    /// Who.
    pub identification: Identification,
    /// PartnerProductID.
    pub product_id: Option<Box<str>>,
    /// Deviations, at most [`crate::oicp::push::FINDINGS_MAX`].
    pub findings: Vec<Finding>,
}

impl AuthorizeStart {
    /// Reads the body of the request.
    ///
    /// # Errors
    /// [`Fault`] (HTTP 400): not JSON, a mandatory field absent or unreadable, a medium that authorizations
    /// may not hold; in strict reading every deviation of severity `Error` or `OwnerMustSupply`.
    pub fn parse(body: &[u8], reading: Reading) -> Result<AuthorizeStart, Fault> {
        let root = json::parse(body, reading)?;
        let body = Body::open(&root, &AUTHORIZE_START, reading)?;
        Ok(AuthorizeStart {
            session_id: body.session(),
            partners: body.partners(),
            operator_id: body.needed_operator()?,
            evse_id: body.evse(),
            identification: body.needed_identification(Media::Authorization)?,
            product_id: body.owned_text("PartnerProductID"),
            findings: body.findings(),
        })
    }

    /// The message as this node would write it; a received one travels as it came instead.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut writer = Writer::with_capacity(512);
        writer.begin_object().key("SessionID").string_or_null(session_text(self.session_id.as_ref()));
        self.partners.write(&mut writer);
        writer.key("OperatorID").string(self.operator_id.as_str());
        writer.key("EvseID").string_or_null(self.evse_id.as_ref().map(EvseId::as_str));
        writer.key("Identification");
        self.identification.write(&mut writer);
        writer.key("PartnerProductID").string_or_null(self.product_id.as_deref()).end_object();
        writer.finish()
    }
}

/// eRoamingAuthorizeStop.
#[derive(Debug, Clone, PartialEq)]
pub struct AuthorizeStop {
    /// The session to stop.
    pub session_id: SessionId,
    /// The partners' references.
    pub partners: PartnerSessions,
    /// The CPO that asks.
    pub operator_id: OperatorId,
    /// Where.
    pub evse_id: Option<EvseId>,
    /// Who wants to stop.
    pub identification: Identification,
    /// Deviations, at most [`crate::oicp::push::FINDINGS_MAX`].
    pub findings: Vec<Finding>,
}

impl AuthorizeStop {
    /// Reads the body of the request.
    ///
    /// # Errors
    /// As [`AuthorizeStart::parse`]; also without a SessionID.
    pub fn parse(body: &[u8], reading: Reading) -> Result<AuthorizeStop, Fault> {
        let root = json::parse(body, reading)?;
        let body = Body::open(&root, &AUTHORIZE_STOP, reading)?;
        Ok(AuthorizeStop {
            session_id: body.needed_session()?,
            partners: body.partners(),
            operator_id: body.needed_operator()?,
            evse_id: body.evse(),
            identification: body.needed_identification(Media::Authorization)?,
            findings: body.findings(),
        })
    }

    /// The message as this node would write it.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut writer = Writer::with_capacity(512);
        writer.begin_object().key("SessionID").string(self.session_id.as_str());
        self.partners.write(&mut writer);
        writer.key("OperatorID").string(self.operator_id.as_str());
        writer.key("EvseID").string_or_null(self.evse_id.as_ref().map(EvseId::as_str));
        writer.key("Identification");
        self.identification.write(&mut writer);
        writer.end_object();
        writer.finish()
    }
}

pub(super) fn session_text(session_id: Option<&SessionId>) -> Option<&str> {
    session_id.map(SessionId::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: &str = r#"{"CPOPartnerSessionID":"1234XYZ","OperatorID":"DE*ABC","EvseID":"DE*ABC*E1",
        "Identification":{"RFIDMifareFamilyIdentification":{"UID":"04a2b3c4d5e6f7"},"RemoteIdentification":null},
        "SessionID":null,"PartnerProductID":"AC 1","Later":{"n":1.50}}"#;

    #[test]
    fn a_start_is_read_in_both_readings() {
        for reading in [Reading::Strict, Reading::Tolerant] {
            let start = AuthorizeStart::parse(START.as_bytes(), reading).unwrap();
            assert_eq!(start.identification.uid().unwrap().expose(), "04A2B3C4D5E6F7");
            assert_eq!(start.partners.cpo.as_ref().unwrap().as_str(), "1234XYZ");
            assert_eq!((start.session_id, start.partners.emp.clone()), (None, None));
            assert_eq!(start.evse_id.as_ref().unwrap().key().as_str(), "DEABCE1");
            assert!(!format!("{start:?}").contains("04A2"));
            let again = AuthorizeStart::parse(start.to_json().as_bytes(), Reading::Strict).unwrap();
            assert_eq!(AuthorizeStart { findings: Vec::new(), ..start }, again);
        }
    }

    #[test]
    fn media_of_authorizations() {
        let with = |media: &str| {
            let body = format!("{{\"OperatorID\":\"DE*ABC\",\"Identification\":{{{media}}}}}");
            AuthorizeStart::parse(body.as_bytes(), Reading::Strict).map_err(|fault| fault.to_json())
        };
        assert!(with(r#""QRCodeIdentification":{"EvcoID":"DE-DCB-C12345678-X","PIN":"ab 1"}"#).is_ok());
        assert!(with(r#""PlugAndChargeIdentification":{"EvcoID":"DE-DCB-C12345678-X"}"#).is_ok());
        for (media, field) in [
            (
                r#""RemoteIdentification":{"EvcoID":"DE-DCB-C12345678-X"}"#,
                "identification.remoteIdentification",
            ),
            (r#""RFIDIdentification":{"UID":"1234ABCD","RFID":"nfc"}"#, "identification.rfidIdentification"),
            (
                r#""QRCodeIdentification":{"EvcoID":"DE-DCB-C12345678-X"}"#,
                "identification.qrCodeIdentification.pin",
            ),
            (r#""RFIDMifareFamilyIdentification":{"UID":"12345ABCD"}"#, ".uid"),
            (r#""RFIDMifareFamilyIdentification":null"#, "\"identification\""),
        ] {
            let fault = with(media).unwrap_err();
            assert!(fault.contains(field), "{media}: {fault}");
        }
    }

    #[test]
    fn a_stop_needs_its_session() {
        let body =
            START.replace("\"SessionID\":null", "\"SessionID\":\"F98efba4-02d8-4fa0-b810-9a9d50d2c527\"");
        let stop = AuthorizeStop::parse(body.as_bytes(), Reading::Strict).unwrap();
        assert_eq!(stop.session_id.as_str(), "f98efba4-02d8-4fa0-b810-9a9d50d2c527");
        assert!(AuthorizeStop::parse(stop.to_json().as_bytes(), Reading::Strict).is_ok());
        for reading in [Reading::Strict, Reading::Tolerant] {
            assert!(AuthorizeStop::parse(START.as_bytes(), reading).is_err());
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused() {
        bolero::check!().for_each(|bytes: &[u8]| {
            for reading in [Reading::Strict, Reading::Tolerant] {
                let _ = (AuthorizeStart::parse(bytes, reading), AuthorizeStop::parse(bytes, reading));
            }
        });
    }
}
