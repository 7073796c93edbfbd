//! What two nodes say to each other about a session, inside an envelope.
//!
//! A session begins with an `Ask` and everything that is asked later names it. Whoever asked and heard nothing
//! asks what became of it until it knows: that question has no effect, so it may come as often as it likes.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::codec::{ProtocolError, decode, encode};
use super::wire::{Buf, Limited};
use crate::identity::envelope::{ENVELOPE_BODY_BYTES_MAX, MESSAGE_ID_LENGTH};
use crate::identity::{Chain, MessageId, Purpose};

/// Longest SessionID in bytes: that of a UUID's text.
pub(super) const SESSION_ID_BYTES_MAX: usize = 36;

/// Most parties asked for one authorization: contracts of one operator.
pub const SESSION_ASKED_MAX: usize = 1_024;

/// Most receipts of one charge detail record: it is received, perhaps kept, and accepted or rejected.
pub const RECEIPTS_MAX: usize = 8;

/// What is asked of the other side's backend. The numbers are the wire's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum SessionOperation {
    /// May this card charge here? Begins a session.
    AuthorizeStart = 1,
    /// May this card end the session?
    AuthorizeStop = 2,
    /// Begin to charge. Begins a session.
    RemoteStart = 3,
    /// End the session.
    RemoteStop = 4,
    /// Reserve the EVSE. Begins a session.
    ReservationStart = 5,
    /// End the reservation.
    ReservationStop = 6,
    /// Something happened in the session.
    Notification = 7,
}

impl SessionOperation {
    /// Every operation.
    pub const ALL: [SessionOperation; 7] = [
        SessionOperation::AuthorizeStart,
        SessionOperation::AuthorizeStop,
        SessionOperation::RemoteStart,
        SessionOperation::RemoteStop,
        SessionOperation::ReservationStart,
        SessionOperation::ReservationStop,
        SessionOperation::Notification,
    ];

    /// Whether it begins a session.
    pub fn begins(self) -> bool {
        matches!(
            self,
            SessionOperation::AuthorizeStart
                | SessionOperation::RemoteStart
                | SessionOperation::ReservationStart
        )
    }

    /// For people and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            SessionOperation::AuthorizeStart => "AuthorizeStart",
            SessionOperation::AuthorizeStop => "AuthorizeStop",
            SessionOperation::RemoteStart => "AuthorizeRemoteStart",
            SessionOperation::RemoteStop => "AuthorizeRemoteStop",
            SessionOperation::ReservationStart => "AuthorizeRemoteReservationStart",
            SessionOperation::ReservationStop => "AuthorizeRemoteReservationStop",
            SessionOperation::Notification => "ChargingNotification",
        }
    }

    pub(super) fn of_code(code: u8) -> Option<SessionOperation> {
        SessionOperation::ALL.into_iter().find(|operation| *operation as u8 == code)
    }
}

/// What became of what was asked.
#[derive(Clone, PartialEq, Eq)]
pub enum AskOutcome {
    /// The backend, or the node for it, answered with this OICP message.
    Answered(Bytes),
    /// The node refuses with this OICP status code; the backend was not asked.
    Refused(String),
    /// The backend was asked and has not answered yet.
    Pending,
    /// It never came in time, and will not be carried out any more.
    NeverCame,
    /// The backend was asked, and whether it did it is not known: it did not answer, or answered what nobody
    /// can read, or a crash hid the answer.
    Unconfirmed,
}

impl fmt::Debug for AskOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Not the message: it names drivers.
            AskOutcome::Answered(oicp) => write!(f, "Answered({} bytes)", oicp.len()),
            AskOutcome::Refused(code) => write!(f, "Refused({code})"),
            AskOutcome::Pending => f.write_str("Pending"),
            AskOutcome::NeverCame => f.write_str("NeverCame"),
            AskOutcome::Unconfirmed => f.write_str("Unconfirmed"),
        }
    }
}

/// What one party's node says to another's about a session. Its Debug names the session, not what is said.
#[derive(Clone, PartialEq, Eq)]
pub enum SessionMessage {
    /// Ask your backend.
    Ask {
        /// SessionID.
        session: String,
        /// What.
        operation: SessionOperation,
        /// How long the answer is waited for, from the sending on, in milliseconds.
        budget_ms: u32,
        /// The OICP message.
        oicp: Bytes,
    },
    /// The answer to `Ask` and `Query`.
    Outcome {
        /// SessionID.
        session: String,
        /// What became of it.
        outcome: AskOutcome,
    },
    /// What became of what I asked?
    Query {
        /// SessionID.
        session: String,
        /// The envelope that asked.
        ask: MessageId,
    },
    /// You answered `Authorized` and another was faster, or your answer came too late: the session is not
    /// yours. Answered by `Released`.
    Release {
        /// SessionID.
        session: String,
    },
    /// It is forgotten.
    Released {
        /// SessionID.
        session: String,
    },
    /// A charge detail record, as often as it takes. Answered by `Receipts`.
    Cdr {
        /// SessionID.
        session: String,
        /// A [`SignedCdr`](crate::identity::SignedCdr); the same bytes at every attempt.
        signed: Bytes,
        /// Of the node that signed it.
        chain: Chain,
    },
    /// All that was said of a charge detail record. The answer to `Cdr`, and said again until the other side took
    /// note; then answered by `Noted`.
    Receipts {
        /// SessionID.
        session: String,
        /// Each a [`Receipt`](crate::identity::Receipt), the oldest first.
        receipts: Vec<Bytes>,
        /// Of the nodes that signed them.
        chains: Vec<Chain>,
    },
    /// The receipts are committed.
    Noted {
        /// SessionID.
        session: String,
    },
}

#[derive(Serialize, Deserialize)]
enum OutcomeWire {
    #[serde(rename = "a")]
    Answered(Buf),
    #[serde(rename = "r")]
    Refused(String),
    #[serde(rename = "p")]
    Pending,
    #[serde(rename = "n")]
    NeverCame,
    #[serde(rename = "u")]
    Unconfirmed,
}

#[derive(Serialize, Deserialize)]
enum MessageWire {
    #[serde(rename = "a")]
    Ask(String, u8, u32, Buf),
    #[serde(rename = "o")]
    Outcome(String, OutcomeWire),
    #[serde(rename = "q")]
    Query(String, Buf),
    #[serde(rename = "r")]
    Release(String),
    #[serde(rename = "x")]
    Released(String),
    #[serde(rename = "c")]
    Cdr(String, Buf, ChainWire),
    #[serde(rename = "t")]
    Receipts(String, Limited<Buf, RECEIPTS_MAX>, Limited<ChainWire, RECEIPTS_MAX>),
    #[serde(rename = "k")]
    Noted(String),
}

/// A credential and the delegation under it.
#[derive(Serialize, Deserialize)]
pub(super) struct ChainWire(Buf, Buf);

pub(super) fn chain_to_wire(chain: &Chain) -> ChainWire {
    ChainWire(Buf(chain.credential.clone().into()), Buf(chain.delegation.clone().into()))
}

pub(super) fn chain_from_wire(ChainWire(credential, delegation): ChainWire) -> Chain {
    Chain { credential: credential.0.to_vec(), delegation: delegation.0.to_vec() }
}

impl fmt::Debug for SessionMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let session = self.session();
        match self {
            SessionMessage::Ask { operation, .. } => write!(f, "Ask({session}, {operation:?})"),
            SessionMessage::Outcome { outcome, .. } => write!(f, "Outcome({session}, {outcome:?})"),
            _ => write!(f, "SessionMessage({session})"),
        }
    }
}

impl SessionMessage {
    /// The session that it is about.
    pub fn session(&self) -> &str {
        match self {
            SessionMessage::Ask { session, .. }
            | SessionMessage::Outcome { session, .. }
            | SessionMessage::Query { session, .. }
            | SessionMessage::Release { session }
            | SessionMessage::Released { session }
            | SessionMessage::Cdr { session, .. }
            | SessionMessage::Receipts { session, .. }
            | SessionMessage::Noted { session } => session,
        }
    }

    /// The body of an envelope.
    pub fn encode(&self) -> Vec<u8> {
        encode(&match self {
            SessionMessage::Ask { session, operation, budget_ms, oicp } => {
                MessageWire::Ask(session.clone(), *operation as u8, *budget_ms, Buf(oicp.clone()))
            }
            SessionMessage::Outcome { session, outcome } => {
                MessageWire::Outcome(session.clone(), outcome_to_wire(outcome))
            }
            SessionMessage::Query { session, ask } => {
                MessageWire::Query(session.clone(), Buf(Bytes::copy_from_slice(&ask.0)))
            }
            SessionMessage::Release { session } => MessageWire::Release(session.clone()),
            SessionMessage::Released { session } => MessageWire::Released(session.clone()),
            SessionMessage::Cdr { session, signed, chain } => {
                MessageWire::Cdr(session.clone(), Buf(signed.clone()), chain_to_wire(chain))
            }
            SessionMessage::Receipts { session, receipts, chains } => MessageWire::Receipts(
                session.clone(),
                Limited(receipts.iter().cloned().map(Buf).collect()),
                Limited(chains.iter().map(chain_to_wire).collect()),
            ),
            SessionMessage::Noted { session } => MessageWire::Noted(session.clone()),
        })
    }

    /// Reads the body of an envelope.
    ///
    /// # Errors
    /// [`ProtocolError::UnknownKind`] for an operation of a later version, else what is wrong.
    pub fn decode(bytes: &[u8]) -> Result<SessionMessage, ProtocolError> {
        const WHAT: &str = "session message";
        let message = match decode(WHAT, bytes, ENVELOPE_BODY_BYTES_MAX)? {
            MessageWire::Ask(session, kind, budget_ms, Buf(oicp)) => {
                let unknown = ProtocolError::UnknownKind { what: WHAT, kind };
                let operation = SessionOperation::of_code(kind).ok_or(unknown)?;
                SessionMessage::Ask { session, operation, budget_ms, oicp }
            }
            MessageWire::Outcome(session, outcome) => {
                SessionMessage::Outcome { session, outcome: outcome_from_wire(outcome) }
            }
            MessageWire::Query(session, Buf(ask)) => {
                SessionMessage::Query { session, ask: message_id(WHAT, &ask)? }
            }
            MessageWire::Release(session) => SessionMessage::Release { session },
            MessageWire::Released(session) => SessionMessage::Released { session },
            MessageWire::Cdr(session, Buf(signed), chain) => {
                SessionMessage::Cdr { session, signed, chain: chain_from_wire(chain) }
            }
            MessageWire::Receipts(session, receipts, chains) => {
                let limit = Purpose::Receipt.size_bytes_max();
                if receipts.0.is_empty() {
                    return Err(ProtocolError::Invalid { what: WHAT, rule: "receipts without a receipt" });
                }
                if receipts.0.iter().any(|receipt| receipt.0.len() > limit) {
                    return Err(ProtocolError::Invalid { what: WHAT, rule: "a receipt is over its limit" });
                }
                let receipts = receipts.0.into_iter().map(|receipt| receipt.0).collect();
                let chains = chains.0.into_iter().map(chain_from_wire).collect();
                SessionMessage::Receipts { session, receipts, chains }
            }
            MessageWire::Noted(session) => SessionMessage::Noted { session },
        };
        if message.session().len() > SESSION_ID_BYTES_MAX {
            return Err(ProtocolError::Invalid { what: WHAT, rule: "the SessionID is too long" });
        }
        Ok(message)
    }
}

fn outcome_to_wire(outcome: &AskOutcome) -> OutcomeWire {
    match outcome {
        AskOutcome::Answered(oicp) => OutcomeWire::Answered(Buf(oicp.clone())),
        AskOutcome::Refused(code) => OutcomeWire::Refused(code.clone()),
        AskOutcome::Pending => OutcomeWire::Pending,
        AskOutcome::NeverCame => OutcomeWire::NeverCame,
        AskOutcome::Unconfirmed => OutcomeWire::Unconfirmed,
    }
}

fn outcome_from_wire(outcome: OutcomeWire) -> AskOutcome {
    match outcome {
        OutcomeWire::Answered(Buf(oicp)) => AskOutcome::Answered(oicp),
        OutcomeWire::Refused(code) => AskOutcome::Refused(code),
        OutcomeWire::Pending => AskOutcome::Pending,
        OutcomeWire::NeverCame => AskOutcome::NeverCame,
        OutcomeWire::Unconfirmed => AskOutcome::Unconfirmed,
    }
}

pub(super) fn message_id(what: &'static str, bytes: &[u8]) -> Result<MessageId, ProtocolError> {
    let rule = "the id of a message has 16 bytes";
    let id: [u8; MESSAGE_ID_LENGTH] = bytes.try_into().map_err(|_| ProtocolError::Invalid { what, rule })?;
    Ok(MessageId(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_as_they_were_said() {
        let session = || "s".to_owned();
        let outcomes = [
            AskOutcome::Answered(Bytes::from_static(b"{\"Result\":true}")),
            AskOutcome::Refused("210".to_owned()),
            AskOutcome::Pending,
            AskOutcome::NeverCame,
            AskOutcome::Unconfirmed,
        ];
        let ask = |operation| SessionMessage::Ask {
            session: session(),
            operation,
            budget_ms: 60_000,
            oicp: Bytes::from_static(b"{}"),
        };
        let messages = SessionOperation::ALL.into_iter().map(ask);
        let messages =
            messages.chain(outcomes.map(|o| SessionMessage::Outcome { session: session(), outcome: o }));
        let query = SessionMessage::Query { session: session(), ask: MessageId([1; 16]) };
        let release =
            [SessionMessage::Release { session: session() }, SessionMessage::Released { session: session() }];
        let chain = || Chain { credential: vec![1], delegation: vec![2] };
        let cdr = [
            SessionMessage::Cdr { session: session(), signed: Bytes::from_static(b"cdr"), chain: chain() },
            SessionMessage::Receipts {
                session: session(),
                receipts: vec![Bytes::from_static(b"one"), Bytes::from_static(b"two")],
                chains: vec![chain()],
            },
            SessionMessage::Noted { session: session() },
        ];
        for message in messages.chain([query]).chain(release).chain(cdr) {
            assert_eq!(SessionMessage::decode(&message.encode()).unwrap(), message);
        }
    }

    #[test]
    fn a_later_versions_operation_is_new_and_not_wrong() {
        let later = encode(&MessageWire::Ask("s".to_owned(), 200, 1, Buf(Bytes::new())));
        let read = SessionMessage::decode(&later);
        assert!(matches!(read, Err(ProtocolError::UnknownKind { kind: 200, .. })), "{read:?}");
        let long = encode(&MessageWire::Release("s".repeat(SESSION_ID_BYTES_MAX + 1)));
        assert!(SessionMessage::decode(&long).is_err());
    }
}
