//! Receipt: what became of a charge detail record at the other side, signed by the EMP's node.

use ciborium::value::Value;

use super::delegation::Operation;
use super::fields::{self, FieldError, Fields};
use super::id::{PartyId, Role};
use super::key::SecretKey;
use super::purpose::Purpose;
use super::sealed::{Content, Hash, SealError, Verified, open};
use super::signed_cdr::{CdrError, addresses, issue, may_sign, opened};
use super::speaker::Speaker;

const SESSION: i64 = 1;
const FROM: i64 = 2;
const TO: i64 = 3;
const AT_MS: i64 = 4;
const CDR: i64 = 5;
const VERDICT: i64 = 6;
const CODE: i64 = 7;

/// Longest word of a verdict, bytes.
const VERDICT_LENGTH_MAX: usize = 16;
/// Characters of a SessionID.
const SESSION_LENGTH_MAX: usize = 36;
/// Digits of an OICP status code.
const CODE_LENGTH: usize = 3;

/// What became of the record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReceiptVerdict {
    /// The EMP's node committed it.
    Received,
    /// The EMP has no backend that takes it: its node keeps it until it is pulled.
    Kept,
    /// The EMP's backend took it.
    Accepted,
    /// The EMP's backend answered with this OICP status code.
    Rejected(String),
    /// The EMP's node refuses it with this OICP status code, as for another record of the session.
    Refused(String),
}

impl ReceiptVerdict {
    /// The word on the wire.
    pub fn as_str(&self) -> &'static str {
        match self {
            ReceiptVerdict::Received => "received",
            ReceiptVerdict::Kept => "kept",
            ReceiptVerdict::Accepted => "accepted",
            ReceiptVerdict::Rejected(_) => "rejected",
            ReceiptVerdict::Refused(_) => "refused",
        }
    }

    /// The OICP status code of a no.
    pub fn code(&self) -> Option<&str> {
        match self {
            ReceiptVerdict::Rejected(code) | ReceiptVerdict::Refused(code) => Some(code),
            ReceiptVerdict::Received | ReceiptVerdict::Kept | ReceiptVerdict::Accepted => None,
        }
    }
}

/// A receipt for one charge detail record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// SessionID, lower case.
    pub session: String,
    /// Of which record: SHA-256 of its OICP message.
    pub cdr: Hash,
    /// The EMP.
    pub from: PartyId,
    /// The CPO.
    pub to: PartyId,
    /// What became of it.
    pub verdict: ReceiptVerdict,
    /// When it was signed, unix milliseconds.
    pub at_unix_ms: u64,
}

impl Receipt {
    /// Signs it with the message key of the EMP's node.
    ///
    /// # Errors
    /// What [`Receipt::open`] would refuse, and [`SealError::Signer`] if the key is not the speaker's.
    pub fn issue(&self, network: &str, speaker: &Speaker, key: &SecretKey) -> Result<Vec<u8>, CdrError> {
        let mut entries = vec![
            (SESSION, Value::from(self.session.as_str())),
            (FROM, Value::from(self.from.to_text())),
            (TO, Value::from(self.to.to_text())),
            (AT_MS, fields::number(self.at_unix_ms)),
            (CDR, fields::bytes(&self.cdr)),
            (VERDICT, Value::from(self.verdict.as_str())),
        ];
        entries.extend(self.verdict.code().map(|code| (CODE, Value::from(code))));
        let bytes = issue(Purpose::Receipt, network, speaker, key, entries)?;
        Receipt::open(&bytes, network, speaker)?;
        Ok(bytes)
    }

    /// Checks a receipt that this speaker should have signed, and that it might when it did.
    ///
    /// # Errors
    /// [`CdrError`]: of another signer, not for CDRs delegated then, or wrong in itself.
    pub fn open(bytes: &[u8], network: &str, speaker: &Speaker) -> Result<Verified<Receipt>, CdrError> {
        let receipt = opened::<Receipt>(bytes, network, speaker)?;
        may_sign(speaker, &receipt.from, Operation::CdrAccept, receipt.at_unix_ms)?;
        Ok(receipt)
    }

    /// Who signed it, by the hash of the delegation, and when, in unix milliseconds, as it says itself. Nothing is
    /// proven yet.
    ///
    /// # Errors
    /// Every [`SealError`] but `Signature`.
    pub fn claimed(bytes: &[u8], network: &str) -> Result<(Hash, u64), SealError> {
        let unsealed = open(bytes, Purpose::Receipt, network)?;
        Ok((*unsealed.signer(), Receipt::decode(unsealed.payload_unproven())?.at_unix_ms))
    }

    /// Reads a receipt that was verified before it was stored.
    ///
    /// # Errors
    /// Every [`SealError`] but `Signature`.
    pub fn read_stored(bytes: &[u8]) -> Result<Receipt, SealError> {
        let header = super::sealed::peek(bytes)?;
        let unsealed = open(bytes, Purpose::Receipt, &header.network)?;
        Ok(Receipt::decode(unsealed.payload_unproven())?)
    }
}

impl Content for Receipt {
    const PURPOSE: Purpose = Purpose::Receipt;

    fn decode(payload: &[u8]) -> Result<Receipt, FieldError> {
        let mut fields = Fields::read(payload)?;
        let (from, to) = addresses(&mut fields, Role::Emp, [(FROM, "from"), (TO, "to")])?;
        let wrong = |key, name, expected| FieldError::Wrong { key, name, expected };
        let word = fields.text(VERDICT, "verdict", VERDICT_LENGTH_MAX)?;
        let mut code = || {
            let code = fields.text(CODE, "code", CODE_LENGTH)?;
            let digits = code.len() == CODE_LENGTH && code.bytes().all(|byte| byte.is_ascii_digit());
            if digits { Ok(code) } else { Err(wrong(CODE, "code", "three digits")) }
        };
        let verdict = match word.as_str() {
            "received" => ReceiptVerdict::Received,
            "kept" => ReceiptVerdict::Kept,
            "accepted" => ReceiptVerdict::Accepted,
            "rejected" => ReceiptVerdict::Rejected(code()?),
            "refused" => ReceiptVerdict::Refused(code()?),
            _ => return Err(wrong(VERDICT, "verdict", "received, kept, accepted, rejected or refused")),
        };
        let cdr = fields.hash_maybe(CDR, "hash of the record")?;
        Ok(Receipt {
            session: fields.text(SESSION, "session", SESSION_LENGTH_MAX)?,
            cdr: cdr.ok_or(FieldError::Missing { key: CDR, name: "hash of the record" })?,
            from,
            to,
            verdict,
            at_unix_ms: fields.number(AT_MS, "at")?,
        })
    }
}
