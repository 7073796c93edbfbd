//! Questions and answers on the exchange streams.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::agreement::AgreementPapers;
use super::announcement::Announcement;
use super::card_filter::CardFilter;
use super::codec::{ProtocolError, decode, encode};
use super::wire::{Buf, Hash, Limited};
use super::{Digest, EXCHANGE_FRAME_BYTES_MAX, FeedId, Head, KEY_BYTES_MAX, SignedHead};
use crate::identity::Chain;

/// Most marks in one question: every feed that a node may hold, at some 45 bytes each.
const MARKS_MAX: usize = 20_000;

/// Most signed heads in one answer, at some 350 bytes each; who lacks more asks again.
const HEADS_MAX: usize = 2_048;

/// Most parties in one conflict notice.
const CLAIMS_MAX: usize = 16;

/// The beginning of the hash of an object of the registry: enough that nobody can make two that begin alike.
pub type ObjectName = [u8; 16];

/// Most names in one answer: what fits a frame; a registry with 10,000 parties has a third of it.
const NAMES_MAX: usize = 60_000;

/// Most objects asked for at once, at some 600 bytes each; what does not fit a frame is asked for again.
pub const OBJECTS_MAX: usize = 1_024;
/// Most chains in one introduction, at some kilobytes each: the parties of one node.
pub const INTRODUCED_CHAINS_MAX: usize = 16;

/// Bytes of a root in a [`HeadMark`]: enough that nobody can make two roots that begin alike.
const ROOT_PREFIX_BYTES: usize = 16;

/// What a node asks another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// "These are the heads I hold; which of yours are newer or unknown to me?"
    Heads(Vec<HeadMark>),
    /// "Of these feeds alone, which heads of yours are newer?" The question of a node that holds only its
    /// own feeds: one that it holds nothing of is marked with zeros.
    HeadsOf(Vec<HeadMark>),
    /// The credential chain behind a delegation hash.
    Chain(Digest),
    /// "This is the root of my registry; what is in yours, if it is another?"
    Registry(Digest),
    /// The objects of the registry with these names.
    Objects(Vec<ObjectName>),
    /// "You and somebody else publish the same EVSE": told to both publishers.
    Conflict(ConflictNotice),
    /// "These are the parties that I speak for; who are yours?" At most [`INTRODUCED_CHAINS_MAX`].
    Introduce(Vec<Chain>),
    /// What is known of an agreement that the other is a party of. Answered [`Answer::Noted`] if it holds the
    /// same or more now, [`Answer::NotFound`] if it does not take it.
    Agreement(Box<AgreementPapers>),
    /// A signed envelope of a party that the asker speaks for. Answered by [`Answer::Message`], or by
    /// [`Answer::WhoAreYou`] if its sender has not introduced itself.
    Message(Bytes),
    /// What a writer gossips of a public feed, of a feed with a closed audience: told to its members alone.
    Announce(Box<Announcement>),
    /// Which cards an EMP that the asker speaks for knows: it is not to be asked for others. Answered
    /// [`Answer::Noted`], or [`Answer::NotFound`] if it is of no use there.
    CardFilter(Box<CardFilter>),
}

/// A head in short form: enough to see who is behind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
    /// The first bytes of the root hash.
    pub root_prefix: [u8; ROOT_PREFIX_BYTES],
    /// The name of a closed audience ([`super::Audience::name`]); `None` for the public. Who does not know the
    /// members learns nothing of them.
    pub audience: Option<Digest>,
}

impl HeadMark {
    /// The mark of a head.
    pub fn of(head: &Head) -> HeadMark {
        let mut mark = HeadMark::nothing(&head.feed);
        (mark.epoch, mark.incarnation, mark.seq) = head.position();
        mark.root_prefix.iter_mut().zip(head.root).for_each(|(to, from)| *to = from);
        mark
    }

    /// The mark of a feed of which nothing is known.
    pub fn nothing(feed: &FeedId) -> HeadMark {
        HeadMark {
            party: feed.party.to_text(),
            kind: feed.kind.code(),
            epoch: 0,
            incarnation: 0,
            seq: 0,
            root_prefix: [0; ROOT_PREFIX_BYTES],
            audience: feed.audience.name(),
        }
    }

    /// Epoch, incarnation and seq: see [`Head::position`].
    pub fn position(&self) -> (u64, u64, u64) {
        (self.epoch, self.incarnation, self.seq)
    }

    /// Whether it is the mark of this very head; asked for every feed in every comparison.
    pub fn is_of(&self, head: &Head) -> bool {
        let party = &head.feed.party;
        self.position() == head.position()
            && head.root.starts_with(&self.root_prefix)
            && self.kind == head.feed.kind.code()
            && self.audience == head.feed.audience.name()
            && self.party.split_once(':') == Some((party.role.as_str(), party.id.as_str()))
    }

    /// Whether a head is newer than this one, or another one of the same position.
    pub fn is_outdone_by(&self, head: &Head) -> bool {
        head.position() > self.position()
            || head.position() == self.position() && !head.root.starts_with(&self.root_prefix)
    }
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
    /// All parties that claim it, as `ROLE:ID`, at most 16; fewer than two: the conflict is over.
    pub claimed_by: Vec<String>,
}

/// What the other answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Signed heads that the asker lacks, or has in an older form.
    Heads(Vec<SignedHead>),
    /// A credential chain.
    Chain(Chain),
    /// The names of all objects of the registry, those to be read first in front.
    Names(Vec<ObjectName>),
    /// Objects of the registry as they were signed; fewer than asked for if they do not fit.
    Objects(Vec<Bytes>),
    /// The chains of the parties that it speaks for, at most [`INTRODUCED_CHAINS_MAX`].
    Chains(Vec<Chain>),
    /// Taken note of.
    Noted,
    /// A signed envelope that answers one.
    Message(Bytes),
    /// Who speaks there is not known here (any more): introduce yourself and ask again.
    WhoAreYou,
    /// The question is of a kind that this version does not know (`decisions.md` 21).
    Unsupported,
    /// Known kind, but no such thing here.
    NotFound,
}

#[derive(Serialize, Deserialize)]
struct MarkWire(
    String,
    u8,
    u64,
    u64,
    u64,
    Buf,
    #[serde(default, skip_serializing_if = "Option::is_none")] Option<Hash>,
);

#[derive(Serialize, Deserialize)]
enum QuestionWire {
    #[serde(rename = "h")]
    Heads(Limited<MarkWire, MARKS_MAX>),
    #[serde(rename = "o")]
    HeadsOf(Limited<MarkWire, MARKS_MAX>),
    #[serde(rename = "c")]
    Chain(Hash),
    #[serde(rename = "x")]
    Conflict(ConflictNotice),
    #[serde(rename = "r")]
    Registry(Hash),
    #[serde(rename = "i")]
    Objects(Buf),
    #[serde(rename = "p")]
    Introduce(Limited<ChainWire, INTRODUCED_CHAINS_MAX>),
    #[serde(rename = "g")]
    Agreement(Buf),
    #[serde(rename = "m")]
    Message(Buf),
    #[serde(rename = "a")]
    Announce(Buf),
    #[serde(rename = "f")]
    CardFilter(Buf),
}

#[derive(Serialize, Deserialize)]
struct ChainWire(Buf, Buf);

#[derive(Serialize, Deserialize)]
enum AnswerWire {
    #[serde(rename = "h")]
    Heads(Limited<Buf, HEADS_MAX>),
    #[serde(rename = "c")]
    Chain(Buf, Buf),
    #[serde(rename = "r")]
    Names(Buf),
    #[serde(rename = "i")]
    Objects(Limited<Buf, OBJECTS_MAX>),
    #[serde(rename = "p")]
    Chains(Limited<ChainWire, INTRODUCED_CHAINS_MAX>),
    #[serde(rename = "n")]
    Noted,
    #[serde(rename = "m")]
    Message(Buf),
    #[serde(rename = "w")]
    WhoAreYou,
    #[serde(rename = "u")]
    Unsupported,
    #[serde(rename = "0")]
    NotFound,
}

impl Question {
    /// Encodes a question.
    pub fn encode(&self) -> Bytes {
        let wire = match self {
            Question::Heads(marks) => QuestionWire::Heads(marks_to_wire(marks)),
            Question::HeadsOf(marks) => QuestionWire::HeadsOf(marks_to_wire(marks)),
            Question::Chain(hash) => QuestionWire::Chain(Hash(*hash)),
            Question::Registry(root) => QuestionWire::Registry(Hash(*root)),
            Question::Objects(names) => QuestionWire::Objects(names_to_wire(names, OBJECTS_MAX)),
            Question::Conflict(notice) => {
                let mut notice = notice.clone();
                notice.claimed_by.truncate(CLAIMS_MAX);
                QuestionWire::Conflict(notice)
            }
            Question::Introduce(chains) => QuestionWire::Introduce(chains_to_wire(chains)),
            Question::Agreement(papers) => QuestionWire::Agreement(Buf(papers.encode())),
            Question::Message(envelope) => QuestionWire::Message(Buf(envelope.clone())),
            Question::Announce(announcement) => QuestionWire::Announce(Buf(announcement.encode())),
            Question::CardFilter(filter) => QuestionWire::CardFilter(Buf(filter.encode())),
        };
        encode(&wire).into()
    }

    /// Decodes a question of another node.
    pub fn decode(bytes: &[u8]) -> Result<Question, ProtocolError> {
        let invalid = |rule| ProtocolError::Invalid { what: "question", rule };
        match decode("question", bytes, EXCHANGE_FRAME_BYTES_MAX)? {
            QuestionWire::Heads(marks) => Ok(Question::Heads(marks_from_wire(marks)?)),
            QuestionWire::HeadsOf(marks) => Ok(Question::HeadsOf(marks_from_wire(marks)?)),
            QuestionWire::Chain(hash) => Ok(Question::Chain(hash.0)),
            QuestionWire::Registry(root) => Ok(Question::Registry(root.0)),
            QuestionWire::Objects(names) => {
                let names = names_from_wire(&names, OBJECTS_MAX);
                names.map(Question::Objects).ok_or(invalid("the names of objects are cut or too many"))
            }
            QuestionWire::Conflict(notice) => {
                let texts = notice.claimed_by.iter().chain(&notice.shown).chain([&notice.key]);
                if notice.claimed_by.len() > CLAIMS_MAX || texts.into_iter().any(|t| t.len() > KEY_BYTES_MAX)
                {
                    return Err(invalid("the conflict notice is too long"));
                }
                Ok(Question::Conflict(notice))
            }
            QuestionWire::Introduce(chains) => Ok(Question::Introduce(chains_from_wire(chains))),
            QuestionWire::Agreement(Buf(papers)) => {
                Ok(Question::Agreement(Box::new(AgreementPapers::decode(&papers)?)))
            }
            QuestionWire::Message(Buf(envelope)) => Ok(Question::Message(envelope)),
            QuestionWire::Announce(Buf(bytes)) => {
                Ok(Question::Announce(Box::new(Announcement::decode(&bytes)?)))
            }
            QuestionWire::CardFilter(Buf(bytes)) => {
                Ok(Question::CardFilter(Box::new(CardFilter::decode(&bytes)?)))
            }
        }
    }
}

fn names_to_wire(names: &[ObjectName], max: usize) -> Buf {
    Buf(names.iter().take(max).flatten().copied().collect::<Vec<u8>>().into())
}

fn names_from_wire(names: &Buf, max: usize) -> Option<Vec<ObjectName>> {
    let (names, rest) = names.0.as_chunks();
    (rest.is_empty() && names.len() <= max).then(|| names.to_vec())
}

fn chains_to_wire(chains: &[Chain]) -> Limited<ChainWire, INTRODUCED_CHAINS_MAX> {
    let wire =
        |chain: &Chain| ChainWire(Buf(chain.credential.clone().into()), Buf(chain.delegation.clone().into()));
    Limited(chains.iter().take(INTRODUCED_CHAINS_MAX).map(wire).collect())
}

fn chains_from_wire(chains: Limited<ChainWire, INTRODUCED_CHAINS_MAX>) -> Vec<Chain> {
    let chain = |ChainWire(credential, delegation): ChainWire| Chain {
        credential: credential.0.to_vec(),
        delegation: delegation.0.to_vec(),
    };
    chains.0.into_iter().map(chain).collect()
}

fn marks_to_wire(marks: &[HeadMark]) -> Limited<MarkWire, MARKS_MAX> {
    let wire = |mark: &HeadMark| {
        let root = Buf(Bytes::copy_from_slice(&mark.root_prefix));
        MarkWire(
            mark.party.clone(),
            mark.kind,
            mark.epoch,
            mark.incarnation,
            mark.seq,
            root,
            mark.audience.map(Hash),
        )
    };
    Limited(marks.iter().take(MARKS_MAX).map(wire).collect())
}

fn marks_from_wire(marks: Limited<MarkWire, MARKS_MAX>) -> Result<Vec<HeadMark>, ProtocolError> {
    let mark = |MarkWire(party, kind, epoch, incarnation, seq, Buf(root), audience): MarkWire| {
        let rule = "the root's prefix has another length";
        let root_prefix =
            root.as_ref().try_into().map_err(|_| ProtocolError::Invalid { what: "question", rule })?;
        let audience = audience.map(|Hash(name)| name);
        Ok(HeadMark { party, kind, epoch, incarnation, seq, root_prefix, audience })
    };
    marks.0.into_iter().map(mark).collect()
}

impl Answer {
    /// Encodes an answer.
    pub fn encode(&self) -> Bytes {
        let wire = match self {
            Answer::Heads(heads) => {
                AnswerWire::Heads(Limited(heads.iter().map(|h| Buf(h.as_bytes().clone())).collect()))
            }
            Answer::Chain(chain) => {
                AnswerWire::Chain(Buf(chain.credential.clone().into()), Buf(chain.delegation.clone().into()))
            }
            Answer::Names(names) => AnswerWire::Names(names_to_wire(names, NAMES_MAX)),
            Answer::Objects(objects) => {
                AnswerWire::Objects(Limited(objects.iter().take(OBJECTS_MAX).cloned().map(Buf).collect()))
            }
            Answer::Chains(chains) => AnswerWire::Chains(chains_to_wire(chains)),
            Answer::Noted => AnswerWire::Noted,
            Answer::Message(envelope) => AnswerWire::Message(Buf(envelope.clone())),
            Answer::WhoAreYou => AnswerWire::WhoAreYou,
            Answer::Unsupported => AnswerWire::Unsupported,
            Answer::NotFound => AnswerWire::NotFound,
        };
        encode(&wire).into()
    }

    /// Decodes an answer of another node.
    pub fn decode(bytes: &[u8]) -> Result<Answer, ProtocolError> {
        match decode("answer", bytes, EXCHANGE_FRAME_BYTES_MAX)? {
            AnswerWire::Heads(heads) => Ok(Answer::Heads(
                heads.0.into_iter().map(|buf| SignedHead::from_bytes(buf.0)).collect::<Result<_, _>>()?,
            )),
            AnswerWire::Chain(credential, delegation) => Ok(Answer::Chain(Chain {
                credential: credential.0.to_vec(),
                delegation: delegation.0.to_vec(),
            })),
            AnswerWire::Names(names) => {
                let rule = "the names of objects are cut or too many";
                let names = names_from_wire(&names, NAMES_MAX);
                names.map(Answer::Names).ok_or(ProtocolError::Invalid { what: "answer", rule })
            }
            AnswerWire::Objects(objects) => {
                Ok(Answer::Objects(objects.0.into_iter().map(|object| object.0).collect()))
            }
            AnswerWire::Chains(chains) => Ok(Answer::Chains(chains_from_wire(chains))),
            AnswerWire::Noted => Ok(Answer::Noted),
            AnswerWire::Message(Buf(envelope)) => Ok(Answer::Message(envelope)),
            AnswerWire::WhoAreYou => Ok(Answer::WhoAreYou),
            AnswerWire::Unsupported => Ok(Answer::Unsupported),
            AnswerWire::NotFound => Ok(Answer::NotFound),
        }
    }
}
