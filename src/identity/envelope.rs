//! Envelope: one message of a party to another, signed by the sender's node. What is in it is the business of
//! `protocol`; who said it to whom, when, and for how long it counts, is said here.

use ciborium::value::Value;

use super::delegation::PEER_ID_LENGTH_MAX;
use super::fields::{self, FieldError, Fields};
use super::id::PartyId;
use super::key::SecretKey;
use super::purpose::Purpose;
use super::sealed::{Content, Hash, SealError, Unverified, Verified, open, seal};
use super::speaker::Speaker;

/// Longest life of an envelope, milliseconds: ten minutes (decisions.md 26). What takes longer is wrapped anew.
pub const ENVELOPE_VALIDITY_MS_MAX: u64 = 600_000;
/// Largest body, bytes: an OICP message of a session and some words around it. A charge detail record with ten
/// signed meter values of 3,000 characters is the largest.
pub const ENVELOPE_BODY_BYTES_MAX: usize = 256 * 1024;
/// Bytes of a message's id.
pub const MESSAGE_ID_LENGTH: usize = 16;
/// Longest text of a party (`CPO:+999*999`) with some room, bytes.
const PARTY_LENGTH_MAX: usize = 24;

const ID: i64 = 1;
const TO: i64 = 2;
const CREATED_MS: i64 = 3;
const EXPIRES_MS: i64 = 4;
const REPLY_TO: i64 = 5;
const BODY: i64 = 6;
const NODE: i64 = 7;

/// The name of one message, random; a repeated message has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub [u8; MESSAGE_ID_LENGTH]);

/// A message with its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Its name.
    pub id: MessageId,
    /// To whom.
    pub to: PartyId,
    /// Peer id of the node that it is for, at most [`PEER_ID_LENGTH_MAX`] bytes: what one node of a party carried
    /// out no other one of it must carry out again.
    pub node: Vec<u8>,
    /// The message that this one answers.
    pub reply_to: Option<MessageId>,
    /// When it was signed, unix milliseconds.
    pub created_unix_ms: u64,
    /// First millisecond in which it counts no more; at most [`ENVELOPE_VALIDITY_MS_MAX`] later.
    pub expires_unix_ms: u64,
    /// The message; at most [`ENVELOPE_BODY_BYTES_MAX`].
    pub body: Vec<u8>,
}

impl Envelope {
    /// Signs it with the message key of the party that `speaker` speaks for.
    ///
    /// # Errors
    /// [`SealError::Content`] if a limit is broken, [`SealError::TooLarge`].
    pub fn issue(
        &self,
        network: &str,
        speaker: &Speaker,
        message_key: &SecretKey,
    ) -> Result<Vec<u8>, SealError> {
        self.check()?;
        let mut entries = vec![
            (ID, fields::bytes(&self.id.0)),
            (TO, Value::from(self.to.to_text())),
            (NODE, fields::bytes(&self.node)),
            (CREATED_MS, fields::number(self.created_unix_ms)),
            (EXPIRES_MS, fields::number(self.expires_unix_ms)),
            (BODY, fields::bytes(&self.body)),
        ];
        entries.extend(self.reply_to.map(|id| (REPLY_TO, fields::bytes(&id.0))));
        let payload = fields::encode(entries);
        seal(Purpose::Envelope, network, speaker.delegation_hash(), message_key, &payload)
    }

    /// The hash of the delegation that the sender names; nothing is proven yet.
    ///
    /// # Errors
    /// As [`open`].
    pub fn claimed_signer(bytes: &[u8], network: &str) -> Result<Hash, SealError> {
        Ok(*open(bytes, Purpose::Envelope, network)?.signer())
    }

    /// When the sender says that it signed it, in unix milliseconds: the time at which it is to be judged in hindsight.
    /// Nothing is proven yet.
    ///
    /// # Errors
    /// As [`open`], and [`SealError::Content`].
    pub fn claimed_created(bytes: &[u8], network: &str) -> Result<u64, SealError> {
        let unsealed = open(bytes, Purpose::Envelope, network)?;
        Ok(Envelope::decode(unsealed.payload_unproven())?.created_unix_ms)
    }

    /// Reads an envelope that this speaker should have signed. Time and address are the caller's business.
    ///
    /// # Errors
    /// [`SealError::Signer`] if it names another delegation, and every other [`SealError`].
    pub fn open(bytes: &[u8], network: &str, speaker: &Speaker) -> Result<Verified<Envelope>, SealError> {
        let unverified = Unverified::<Envelope>::new(bytes, network)?;
        if unverified.signer() != speaker.delegation_hash() {
            return Err(SealError::Signer);
        }
        unverified.verify(speaker.message_key())
    }

    fn check(&self) -> Result<(), FieldError> {
        let lives = self.expires_unix_ms.checked_sub(self.created_unix_ms);
        if !lives.is_some_and(|ms| (1..=ENVELOPE_VALIDITY_MS_MAX).contains(&ms)) {
            let expected = "a time after it was created, at most ten minutes later";
            return Err(FieldError::Wrong { key: EXPIRES_MS, name: "expires", expected });
        }
        if !(1..=PEER_ID_LENGTH_MAX).contains(&self.node.len()) {
            return Err(FieldError::Wrong { key: NODE, name: "node", expected: "1 to 64 bytes" });
        }
        if self.body.len() > ENVELOPE_BODY_BYTES_MAX {
            let expected = "a body of at most 256 KiB";
            return Err(FieldError::Wrong { key: BODY, name: "body", expected });
        }
        Ok(())
    }
}

impl Content for Envelope {
    const PURPOSE: Purpose = Purpose::Envelope;

    fn decode(payload: &[u8]) -> Result<Envelope, FieldError> {
        let mut fields = Fields::read(payload)?;
        let expected = "role and canonical id, as in CPO:CHSCH";
        let envelope =
            Envelope {
                id: message_id(fields.bytes(ID, "id", MESSAGE_ID_LENGTH)?, ID, "id")?,
                to: PartyId::parse(&fields.text(TO, "to", PARTY_LENGTH_MAX)?)
                    .map_err(|_| FieldError::Wrong { key: TO, name: "to", expected })?,
                node: fields.bytes(NODE, "node", PEER_ID_LENGTH_MAX)?,
                created_unix_ms: fields.number(CREATED_MS, "created")?,
                expires_unix_ms: fields.number(EXPIRES_MS, "expires")?,
                reply_to: match fields.bytes_maybe(REPLY_TO, "reply to", MESSAGE_ID_LENGTH)? {
                    Some(bytes) => Some(message_id(bytes, REPLY_TO, "reply to")?),
                    None => None,
                },
                body: fields.bytes(BODY, "body", ENVELOPE_BODY_BYTES_MAX)?,
            };
        envelope.check()?;
        Ok(envelope)
    }
}

fn message_id(bytes: Vec<u8>, key: i64, name: &'static str) -> Result<MessageId, FieldError> {
    let wrong = FieldError::Wrong { key, name, expected: "16 bytes" };
    bytes.try_into().map(MessageId).map_err(|_| wrong)
}
