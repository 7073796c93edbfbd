//! How a node remembers a session: one row of the ledger.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::codec::{ProtocolError, decode, encode};
use super::session::{SESSION_ASKED_MAX, SessionOperation, message_id};
use super::wire::{Buf, Limited};
use crate::identity::envelope::ENVELOPE_BODY_BYTES_MAX;
use crate::identity::{MessageId, PartyId};

/// Largest stored session in bytes: an OICP answer at the limit of an envelope, and some words.
pub(super) const SESSION_RECORD_BYTES_MAX: usize = ENVELOPE_BODY_BYTES_MAX + 16 * 1024;

/// Most messages of one session whose ids are stored.
const SESSION_SEEN_MAX: usize = 64;

/// How far a session has come. The numbers are those of storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum SessionPhase {
    /// Asked, and no answer yet: at the side that asked.
    Requested = 1,
    /// The backend is being asked: at the side that was asked.
    Calling = 2,
    /// The answer did not come in time: at the side that asked. It goes on asking what became of it.
    InDoubt = 3,
    /// Nobody knows whether the backend did it. Settled by a notification, a stop, a CDR, or expiry.
    Unconfirmed = 4,
    /// Both sides said yes.
    Active = 5,
    /// It did not come to be: refused, never received, or released.
    Refused = 6,
    /// Its CDR was taken.
    Closed = 7,
    /// Nothing was heard of it for very long.
    Expired = 8,
}

impl SessionPhase {
    /// Every phase.
    pub const ALL: [SessionPhase; 8] = [
        SessionPhase::Requested,
        SessionPhase::Calling,
        SessionPhase::InDoubt,
        SessionPhase::Unconfirmed,
        SessionPhase::Active,
        SessionPhase::Refused,
        SessionPhase::Closed,
        SessionPhase::Expired,
    ];

    /// For people and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            SessionPhase::Requested => "requested",
            SessionPhase::Calling => "calling",
            SessionPhase::InDoubt => "in doubt",
            SessionPhase::Unconfirmed => "unconfirmed",
            SessionPhase::Active => "active",
            SessionPhase::Refused => "refused",
            SessionPhase::Closed => "closed",
            SessionPhase::Expired => "expired",
        }
    }

    /// Whether nothing follows any more.
    pub fn is_over(self) -> bool {
        matches!(self, SessionPhase::Refused | SessionPhase::Closed | SessionPhase::Expired)
    }

    /// The phase with this number.
    pub fn of_code(code: u8) -> Option<SessionPhase> {
        SessionPhase::ALL.into_iter().find(|phase| *phase as u8 == code)
    }
}

/// Over which way a session goes, and a charge detail record. The numbers are those of storage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Via {
    /// Between the nodes of both parties, each message signed.
    #[default]
    Direct = 0,
    /// Through the central hub, which alone says who the other side is.
    Hub = 1,
}

impl Via {
    /// Every way.
    pub const ALL: [Via; 2] = [Via::Direct, Via::Hub];

    /// For people and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Via::Direct => "direct",
            Via::Hub => "hub",
        }
    }

    /// Who vouches for what came this way: the party by its signature, or only the bridge.
    pub fn attested(self) -> &'static str {
        match self {
            Via::Direct => "party-signed",
            Via::Hub => "bridge-attested",
        }
    }

    pub(super) fn of_code(code: u8) -> Option<Via> {
        Via::ALL.into_iter().find(|via| *via as u8 == code)
    }

    /// Of old rows, which do not name it.
    pub(super) fn is_direct(code: &u8) -> bool {
        *code == Via::Direct as u8
    }
}

/// A session as one node remembers it.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionRecord {
    /// SessionID: a lower-case UUID.
    pub session: String,
    /// What it began with.
    pub operation: SessionOperation,
    /// Whether our side asked.
    pub asked_by_us: bool,
    /// Our party.
    pub ours: PartyId,
    /// The other side; `None` while several are asked.
    pub partner: Option<PartyId>,
    /// How far it has come.
    pub phase: SessionPhase,
    /// The envelope that asked first.
    pub ask: MessageId,
    /// First millisecond in which the ask counts no more, unix time.
    pub ask_expires_unix_ms: u64,
    /// EvseID as it was sent.
    pub evse: Option<String>,
    /// What identifies the driver, in the one spelling that is compared. Personal data.
    pub medium: Option<String>,
    /// Further media that may stop it without the EMP, in the same spelling. Personal data.
    pub stop_media: Vec<String>,
    /// The OICP answer to the ask.
    pub answer: Option<Bytes>,
    /// CPOPartnerSessionID.
    pub cpo_partner_session: Option<String>,
    /// EMPPartnerSessionID.
    pub emp_partner_session: Option<String>,
    /// Who was asked as well and has yet to hear that the session is not theirs.
    pub to_release: Vec<PartyId>,
    /// Messages of the session that our backend was asked about: none is carried out twice.
    pub seen: Vec<MessageId>,
    /// Whether the EMP's node answered from pushed authentication data.
    pub offline: bool,
    /// Whether our backend has yet to be told that a start succeeded late.
    pub to_tell_backend: bool,
    /// Over which way it goes; it stays on it.
    pub via: Via,
    /// Another SessionID that it is known by: it was begun over the other way, too, or the hub gave it its own.
    pub alias: Option<String>,
    /// When it began here, unix milliseconds.
    pub opened_unix_ms: u64,
    /// When it changed last, unix milliseconds.
    pub changed_unix_ms: u64,
}

impl std::fmt::Debug for SessionRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Neither media nor OICP messages: they name drivers.
        f.debug_struct("SessionRecord")
            .field("session", &self.session)
            .field("operation", &self.operation)
            .field("asked_by_us", &self.asked_by_us)
            .field("ours", &self.ours)
            .field("partner", &self.partner)
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}

#[derive(Serialize, Deserialize)]
struct RecordWire {
    op: u8,
    us: bool,
    ours: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    other: Option<String>,
    phase: u8,
    ask: Buf,
    until: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    evse: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    medium: Option<String>,
    stop: Limited<String, SESSION_ASKED_MAX>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    answer: Option<Buf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cpo: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    emp: Option<String>,
    free: Limited<String, SESSION_ASKED_MAX>,
    seen: Limited<Buf, SESSION_SEEN_MAX>,
    offline: bool,
    tell: bool,
    #[serde(default, skip_serializing_if = "Via::is_direct")]
    via: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    alias: Option<String>,
    opened: u64,
    changed: u64,
}

impl SessionRecord {
    /// As storage keeps it, beside its SessionID.
    pub fn encode(&self) -> Bytes {
        let texts = |parties: &[PartyId]| Limited(parties.iter().map(PartyId::to_text).collect());
        encode(&RecordWire {
            op: self.operation as u8,
            us: self.asked_by_us,
            ours: self.ours.to_text(),
            other: self.partner.as_ref().map(PartyId::to_text),
            phase: self.phase as u8,
            ask: Buf(Bytes::copy_from_slice(&self.ask.0)),
            until: self.ask_expires_unix_ms,
            evse: self.evse.clone(),
            medium: self.medium.clone(),
            stop: Limited(self.stop_media.clone()),
            answer: self.answer.clone().map(Buf),
            cpo: self.cpo_partner_session.clone(),
            emp: self.emp_partner_session.clone(),
            free: texts(&self.to_release),
            seen: Limited(self.seen.iter().map(|id| Buf(Bytes::copy_from_slice(&id.0))).collect()),
            offline: self.offline,
            tell: self.to_tell_backend,
            via: self.via as u8,
            alias: self.alias.clone(),
            opened: self.opened_unix_ms,
            changed: self.changed_unix_ms,
        })
        .into()
    }

    /// The SessionID under which the partner's node knows it without the hub; `None` if it does not, or only may.
    pub fn direct_id(&self) -> Option<&str> {
        match (self.via, self.asked_by_us) {
            (Via::Direct, _) => Some(&self.session),
            // The same start came directly as well, and joined it.
            (Via::Hub, false) => self.alias.as_deref(),
            (Via::Hub, true) => None,
        }
    }

    /// Deletes what names the driver, of a session that is over.
    pub fn forget_driver(&mut self) {
        (self.medium, self.answer) = (None, None);
        self.stop_media.clear();
    }

    /// From storage.
    ///
    /// # Errors
    /// [`ProtocolError`] if it is damaged.
    pub fn decode(session: &str, bytes: &[u8]) -> Result<SessionRecord, ProtocolError> {
        const WHAT: &str = "stored session";
        let invalid = |rule| ProtocolError::Invalid { what: WHAT, rule };
        let party = |text: &str| PartyId::parse(text).map_err(|_| invalid("a party's id is damaged"));
        let wire: RecordWire = decode(WHAT, bytes, SESSION_RECORD_BYTES_MAX)?;
        Ok(SessionRecord {
            session: session.to_owned(),
            operation: SessionOperation::of_code(wire.op).ok_or(invalid("an unknown operation"))?,
            asked_by_us: wire.us,
            ours: party(&wire.ours)?,
            partner: wire.other.as_deref().map(party).transpose()?,
            phase: SessionPhase::of_code(wire.phase).ok_or(invalid("an unknown phase"))?,
            ask: message_id(WHAT, &wire.ask.0)?,
            ask_expires_unix_ms: wire.until,
            evse: wire.evse,
            medium: wire.medium,
            stop_media: wire.stop.0,
            answer: wire.answer.map(|answer| answer.0),
            cpo_partner_session: wire.cpo,
            emp_partner_session: wire.emp,
            to_release: wire.free.0.iter().map(|text| party(text)).collect::<Result<_, _>>()?,
            seen: wire.seen.0.iter().map(|id| message_id(WHAT, &id.0)).collect::<Result<_, _>>()?,
            offline: wire.offline,
            to_tell_backend: wire.tell,
            via: Via::of_code(wire.via).ok_or(invalid("an unknown way"))?,
            alias: wire.alias,
            opened_unix_ms: wire.opened,
            changed_unix_ms: wire.changed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> SessionRecord {
        SessionRecord {
            session: "7bca5b5d-0e5c-4b2f-9d1c-2f5a3a9c1e11".to_owned(),
            operation: SessionOperation::RemoteStart,
            asked_by_us: true,
            ours: PartyId::parse("EMP:DEDCB").unwrap(),
            partner: Some(PartyId::parse("CPO:DEGEF").unwrap()),
            phase: SessionPhase::InDoubt,
            ask: MessageId([3; 16]),
            ask_expires_unix_ms: 12,
            evse: Some("DE*GEF*E1".to_owned()),
            medium: Some("evco:SECRETCONTRACT".to_owned()),
            stop_media: vec!["rfid:SECRETCARD".to_owned()],
            answer: Some(Bytes::from_static(b"{}")),
            cpo_partner_session: None,
            emp_partner_session: Some("mine".to_owned()),
            to_release: vec![PartyId::parse("EMP:DEXYZ").unwrap()],
            seen: vec![MessageId([8; 16])],
            offline: false,
            to_tell_backend: true,
            via: Via::Hub,
            alias: Some("0e5c4b2f-0e5c-4b2f-9d1c-2f5a3a9c1e11".to_owned()),
            opened_unix_ms: 1,
            changed_unix_ms: 2,
        }
    }

    #[test]
    fn a_session_is_remembered_as_it_was() {
        let old = SessionRecord { via: Via::Direct, alias: None, ..record() };
        for record in [record(), SessionRecord { partner: None, answer: None, medium: None, ..record() }, old]
        {
            let read = SessionRecord::decode(&record.session, &record.encode()).unwrap();
            assert_eq!(read, record);
        }
        let bytes = record().encode();
        for cut in 0..bytes.len() {
            assert!(SessionRecord::decode("s", &bytes[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn a_session_has_the_name_that_both_nodes_know() {
        let name = |via, asked_by_us, alias: Option<&str>| {
            let alias = alias.map(str::to_owned);
            let record = SessionRecord { session: "own".to_owned(), via, asked_by_us, alias, ..record() };
            record.direct_id().map(str::to_owned)
        };
        assert_eq!(name(Via::Direct, true, None).as_deref(), Some("own"));
        assert_eq!(name(Via::Direct, false, Some("hub's")).as_deref(), Some("own"));
        assert_eq!(name(Via::Hub, false, Some("direct")).as_deref(), Some("direct"));
        assert_eq!((name(Via::Hub, false, None), name(Via::Hub, true, Some("before"))), (None, None));
    }

    #[test]
    fn what_names_a_driver_is_not_shown() {
        let shown = format!("{:?}", record());
        assert!(shown.contains("InDoubt") && !shown.contains("SECRET"), "{shown}");
    }
}
