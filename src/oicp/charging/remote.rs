//! Remote start and stop, and reservation: an EMP asks a CPO to do something at a charging point.

use super::authorize::session_text;
use super::body::Body;
use super::identification::{Identification, Media};
use super::schema::{REMOTE_START, REMOTE_STOP};
use super::session_id::{PartnerSessions, SessionId};
use crate::oicp::finding::{Fault, Finding};
use crate::oicp::id::{EvseId, ProviderId};
use crate::oicp::json;
use crate::oicp::json_write::Writer;
use crate::oicp::reading::Reading;

/// Longest reservation (minutes): two digits (GAPS C22).
pub const RESERVATION_MINUTES_MAX: u8 = 99;

/// Length of a reservation if none is asked for (minutes, GAPS C22).
pub const RESERVATION_MINUTES_DEFAULT: u8 = 15;

/// eRoamingAuthorizeRemoteStart.
#[derive(Debug, Clone, PartialEq)]
pub struct AuthorizeRemoteStart {
    /// Empty from the EMP (the node makes it), set towards the CPO.
    pub session_id: Option<SessionId>,
    /// The partners' references.
    pub partners: PartnerSessions,
    /// The EMP that asks.
    pub provider_id: ProviderId,
    /// Where.
    pub evse_id: EvseId,
    /// For whom; always [`Identification::Remote`].
    pub identification: Identification,
    /// PartnerProductID.
    pub product_id: Option<Box<str>>,
    /// Deviations, at most [`crate::oicp::push::FINDINGS_MAX`].
    pub findings: Vec<Finding>,
}

/// eRoamingAuthorizeRemoteReservationStart.
#[derive(Debug, Clone, PartialEq)]
pub struct AuthorizeRemoteReservationStart {
    /// All that it shares with a remote start; the product is the reservation product.
    pub start: AuthorizeRemoteStart,
    /// Asked length in minutes, 1 to [`RESERVATION_MINUTES_MAX`].
    pub minutes: Option<u8>,
}

/// eRoamingAuthorizeRemoteStop.
#[derive(Debug, Clone, PartialEq)]
pub struct AuthorizeRemoteStop {
    /// The session to stop.
    pub session_id: SessionId,
    /// The partners' references.
    pub partners: PartnerSessions,
    /// The EMP that asks.
    pub provider_id: ProviderId,
    /// Where.
    pub evse_id: EvseId,
    /// Deviations, at most [`crate::oicp::push::FINDINGS_MAX`].
    pub findings: Vec<Finding>,
}

/// eRoamingAuthorizeRemoteReservationStop: the same fields as a remote stop.
#[derive(Debug, Clone, PartialEq)]
pub struct AuthorizeRemoteReservationStop {
    /// All of it.
    pub stop: AuthorizeRemoteStop,
}

impl AuthorizeRemoteStart {
    /// Reads the body of the request.
    ///
    /// # Errors
    /// [`Fault`] (HTTP 400): not JSON, a mandatory field absent or unreadable, another medium than a remote
    /// identification; in strict reading every deviation of severity `Error` or `OwnerMustSupply`.
    pub fn parse(body: &[u8], reading: Reading) -> Result<AuthorizeRemoteStart, Fault> {
        let root = json::parse(body, reading)?;
        AuthorizeRemoteStart::read(&Body::open(&root, &REMOTE_START, reading)?)
    }

    fn read(body: &Body<'_, '_>) -> Result<AuthorizeRemoteStart, Fault> {
        Ok(AuthorizeRemoteStart {
            session_id: body.session(),
            partners: body.partners(),
            provider_id: body.needed_provider()?,
            evse_id: body.needed_evse()?,
            identification: body.needed_identification(Media::Remote)?,
            product_id: body.owned_text("PartnerProductID"),
            findings: body.findings(),
        })
    }

    /// The message as this node would write it; a received one travels as it came instead.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut writer = Writer::with_capacity(512);
        self.write(&mut writer);
        writer.end_object();
        writer.finish()
    }

    fn write(&self, writer: &mut Writer) {
        writer.begin_object().key("SessionID").string_or_null(session_text(self.session_id.as_ref()));
        self.partners.write(writer);
        writer.key("ProviderID").string(self.provider_id.as_str());
        writer.key("EvseID").string(self.evse_id.as_str()).key("Identification");
        self.identification.write(writer);
        writer.key("PartnerProductID").string_or_null(self.product_id.as_deref());
    }
}

impl AuthorizeRemoteReservationStart {
    /// Reads the body of the request.
    ///
    /// # Errors
    /// As [`AuthorizeRemoteStart::parse`]; also a `Duration` that is not 1 to [`RESERVATION_MINUTES_MAX`].
    pub fn parse(body: &[u8], reading: Reading) -> Result<AuthorizeRemoteReservationStart, Fault> {
        let root = json::parse(body, reading)?;
        let body = Body::open(&root, &REMOTE_START, reading)?;
        let minutes = match body.get("Duration") {
            None => None,
            Some(_) => {
                let minutes = body.whole_number("Duration").and_then(|minutes| u8::try_from(minutes).ok());
                let fits = minutes.filter(|minutes| (1..=RESERVATION_MINUTES_MAX).contains(minutes));
                let problem = || Fault::single("/Duration", "Duration has to be 1 to 99 minutes");
                Some(fits.ok_or_else(problem)?)
            }
        };
        Ok(AuthorizeRemoteReservationStart { start: AuthorizeRemoteStart::read(&body)?, minutes })
    }

    /// The message as this node would write it.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut writer = Writer::with_capacity(512);
        self.start.write(&mut writer);
        writer.key("Duration");
        match self.minutes {
            Some(minutes) => writer.integer(u64::from(minutes)),
            None => writer.null(),
        };
        writer.end_object();
        writer.finish()
    }
}

impl AuthorizeRemoteStop {
    /// Reads the body of the request.
    ///
    /// # Errors
    /// [`Fault`] (HTTP 400): not JSON, a mandatory field absent or unreadable; in strict reading every
    /// deviation of severity `Error` or `OwnerMustSupply`.
    pub fn parse(body: &[u8], reading: Reading) -> Result<AuthorizeRemoteStop, Fault> {
        let root = json::parse(body, reading)?;
        let body = Body::open(&root, &REMOTE_STOP, reading)?;
        Ok(AuthorizeRemoteStop {
            session_id: body.needed_session()?,
            partners: body.partners(),
            provider_id: body.needed_provider()?,
            evse_id: body.needed_evse()?,
            findings: body.findings(),
        })
    }

    /// The message as this node would write it, for a stop of its own.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut writer = Writer::with_capacity(256);
        writer.begin_object().key("SessionID").string(self.session_id.as_str());
        self.partners.write(&mut writer);
        writer.key("ProviderID").string(self.provider_id.as_str());
        writer.key("EvseID").string(self.evse_id.as_str()).end_object();
        writer.finish()
    }
}

impl AuthorizeRemoteReservationStop {
    /// Reads the body of the request.
    ///
    /// # Errors
    /// As [`AuthorizeRemoteStop::parse`].
    pub fn parse(body: &[u8], reading: Reading) -> Result<AuthorizeRemoteReservationStop, Fault> {
        Ok(AuthorizeRemoteReservationStop { stop: AuthorizeRemoteStop::parse(body, reading)? })
    }

    /// The message as this node would write it.
    #[must_use]
    pub fn to_json(&self) -> String {
        self.stop.to_json()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: &str = r#"{"SessionID":null,"CPOPartnerSessionID":null,"EMPPartnerSessionID":"2345ABC",
        "ProviderID":"DE*ICE","EvseID":"DE*XYZ*ETEST1","Identification":{"RFIDMifareFamilyIdentification":null,
        "RemoteIdentification":{"EvcoID":"DE-ICE-C12345678-X"}},"PartnerProductID":null,"Duration":15}"#;

    #[test]
    fn the_hubs_own_request_is_read() {
        let start = AuthorizeRemoteStart::parse(START.as_bytes(), Reading::Strict).unwrap();
        assert_eq!(start.identification.evco_id().unwrap().provider(), "DEICE");
        assert_eq!(start.identification.medium_key().expose(), "remote:DEICEC12345678");
        assert!(!format!("{start:?}").contains("12345678"));
        let again = AuthorizeRemoteStart::parse(start.to_json().as_bytes(), Reading::Strict).unwrap();
        assert_eq!(start, again);
        let other = START.replace("RemoteIdentification", "PlugAndChargeIdentification");
        let fault = AuthorizeRemoteStart::parse(other.as_bytes(), Reading::Tolerant).unwrap_err();
        assert!(fault.to_json().contains("identification.plugAndChargeIdentification"));
    }

    #[test]
    fn reservations_have_two_digits_of_minutes() {
        let parse = |duration: &str| {
            let body = START.replace("\"Duration\":15", &format!("\"Duration\":{duration}"));
            AuthorizeRemoteReservationStart::parse(body.as_bytes(), Reading::Strict)
        };
        for (duration, minutes) in [("15", Some(15)), ("null", None), ("99", Some(99)), ("\"15\"", Some(15))]
        {
            let reservation = parse(duration).unwrap();
            assert_eq!(reservation.minutes, minutes);
            let json = reservation.to_json();
            let again = AuthorizeRemoteReservationStart::parse(json.as_bytes(), Reading::Strict).unwrap();
            assert_eq!(again.minutes, minutes);
        }
        for duration in ["0", "100", "1.5", "-1", "\"soon\""] {
            assert!(parse(duration).is_err(), "{duration}");
        }
    }

    #[test]
    fn stops() {
        let body = r#"{"SessionID":"F98EFBA4-02d8-4fa0-b810-9a9d50d2c527","ProviderID":"DE-DCB","EvseID":"DE*XYZ*E1"}"#;
        let stop = AuthorizeRemoteStop::parse(body.as_bytes(), Reading::Strict).unwrap();
        assert_eq!(AuthorizeRemoteStop::parse(stop.to_json().as_bytes(), Reading::Strict).unwrap(), stop);
        let reservation = AuthorizeRemoteReservationStop::parse(body.as_bytes(), Reading::Strict).unwrap();
        assert_eq!(reservation.stop, stop);
        for missing in ["SessionID", "ProviderID", "EvseID"] {
            let body = body.replace(missing, "Other");
            assert!(AuthorizeRemoteStop::parse(body.as_bytes(), Reading::Tolerant).is_err(), "{missing}");
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused() {
        bolero::check!().for_each(|bytes: &[u8]| {
            for reading in [Reading::Strict, Reading::Tolerant] {
                let _ = AuthorizeRemoteReservationStart::parse(bytes, reading);
                let _ = AuthorizeRemoteReservationStop::parse(bytes, reading);
            }
        });
    }
}
