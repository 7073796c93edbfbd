//! Questions and answers on the exchange streams.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::codec::{ProtocolError, decode, encode};
use super::wire::{Buf, Hash};
use super::{Digest, EXCHANGE_FRAME_BYTES_MAX, KEY_BYTES_MAX, SignedHead};
use crate::identity::Chain;

/// Most heads in one question or answer: two feeds each of some thousand parties.
const HEADS_MAX: usize = 2048;

/// What a node asks another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// "These are the heads I hold; which of yours are newer or unknown to me?" Each head is
    /// (delegation, epoch, incarnation, seq, root prefix) in short form.
    Heads(Vec<HeadMark>),
    /// The credential chain behind a delegation hash.
    Chain(Digest),
    /// "You and somebody else publish the same EVSE": told to both publishers.
    Conflict(ConflictNotice),
}

/// A head in short form: enough to see who is behind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HeadMark {
    /// The party, as `ROLE:ID`.
    pub party: String,
    /// Kind of the feed.
    pub kind: u8,
    /// Delegation epoch.
    pub epoch: u64,
    /// Incarnation.
    pub incarnation: u64,
    /// Last change.
    pub seq: u64,
    /// Root hash.
    #[serde(with = "super::wire::digest")]
    pub root: Digest,
}

/// Two parties publish one EVSE.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConflictNotice {
    /// The canonical key of the EVSE.
    pub key: String,
    /// Kind of the feeds.
    pub kind: u8,
    /// The party that is shown, as `ROLE:ID`; `None` if it is a tie and nobody is.
    pub shown: Option<String>,
    /// All parties that claim it, as `ROLE:ID`.
    pub claimed_by: Vec<String>,
}

/// What the other answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Signed heads that the asker lacks, or has in an older form.
    Heads(Vec<SignedHead>),
    /// A credential chain.
    Chain(Chain),
    /// Taken note of.
    Noted,
    /// The question is of a kind that this version does not know (`decisions.md` 21).
    Unsupported,
    /// Known kind, but no such thing here.
    NotFound,
}

#[derive(Serialize, Deserialize)]
enum QuestionWire {
    #[serde(rename = "h")]
    Heads(Vec<HeadMark>),
    #[serde(rename = "c")]
    Chain(Hash),
    #[serde(rename = "x")]
    Conflict(ConflictNotice),
}

#[derive(Serialize, Deserialize)]
enum AnswerWire {
    #[serde(rename = "h")]
    Heads(Vec<Buf>),
    #[serde(rename = "c")]
    Chain(Buf, Buf),
    #[serde(rename = "n")]
    Noted,
    #[serde(rename = "u")]
    Unsupported,
    #[serde(rename = "0")]
    NotFound,
}

impl Question {
    /// Encodes a question.
    pub fn encode(&self) -> Bytes {
        let wire = match self {
            Question::Heads(marks) => QuestionWire::Heads(marks.clone()),
            Question::Chain(hash) => QuestionWire::Chain(Hash(*hash)),
            Question::Conflict(notice) => QuestionWire::Conflict(notice.clone()),
        };
        encode(&wire).into()
    }

    /// Decodes a question of another node.
    pub fn decode(bytes: &[u8]) -> Result<Question, ProtocolError> {
        let invalid = |rule| ProtocolError::Invalid { what: "question", rule };
        match decode("question", bytes, EXCHANGE_FRAME_BYTES_MAX)? {
            QuestionWire::Heads(marks) if marks.len() > HEADS_MAX => Err(invalid("too many heads")),
            QuestionWire::Heads(marks) => Ok(Question::Heads(marks)),
            QuestionWire::Chain(hash) => Ok(Question::Chain(hash.0)),
            QuestionWire::Conflict(notice) => {
                let texts = notice.claimed_by.iter().chain(&notice.shown).chain([&notice.key]);
                if notice.claimed_by.len() > 16 || texts.into_iter().any(|t| t.len() > KEY_BYTES_MAX) {
                    return Err(invalid("the conflict notice is too long"));
                }
                Ok(Question::Conflict(notice))
            }
        }
    }
}

impl Answer {
    /// Encodes an answer.
    pub fn encode(&self) -> Bytes {
        let wire = match self {
            Answer::Heads(heads) => {
                AnswerWire::Heads(heads.iter().map(|h| Buf(h.as_bytes().clone())).collect())
            }
            Answer::Chain(chain) => {
                AnswerWire::Chain(Buf(chain.credential.clone().into()), Buf(chain.delegation.clone().into()))
            }
            Answer::Noted => AnswerWire::Noted,
            Answer::Unsupported => AnswerWire::Unsupported,
            Answer::NotFound => AnswerWire::NotFound,
        };
        encode(&wire).into()
    }

    /// Decodes an answer of another node.
    pub fn decode(bytes: &[u8]) -> Result<Answer, ProtocolError> {
        match decode("answer", bytes, EXCHANGE_FRAME_BYTES_MAX)? {
            AnswerWire::Heads(heads) if heads.len() > HEADS_MAX => {
                Err(ProtocolError::Invalid { what: "answer", rule: "too many heads" })
            }
            AnswerWire::Heads(heads) => Ok(Answer::Heads(
                heads.into_iter().map(|buf| SignedHead::from_bytes(buf.0)).collect::<Result<_, _>>()?,
            )),
            AnswerWire::Chain(credential, delegation) => {
                Ok(Answer::Chain(Chain { credential: credential.0.to_vec(), delegation: delegation.0.to_vec() }))
            }
            AnswerWire::Noted => Ok(Answer::Noted),
            AnswerWire::Unsupported => Ok(Answer::Unsupported),
            AnswerWire::NotFound => Ok(Answer::NotFound),
        }
    }
}
