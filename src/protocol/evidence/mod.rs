//! Evidence: what a node's log proves about one session, as one file that anybody can check.
//!
//! The log is append-only; each entry holds the hash of the entry before it and of one far before it ([`LogTail`]), so
//! that a file can show the place of its entries in a log of millions by a few dozen hashes, without a word about
//! other sessions. `src/protocol/EVIDENCE.md` describes the file field by field.

mod inner;
mod log;
#[cfg(test)]
mod tests;
mod verify;
mod words;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use log::{LogHead, LogTail, SALT_BYTES, content_hash, leaf_hash, log_path, skips_to};
pub use verify::{EvidenceFault, EvidenceReport, Said, Told, verify_evidence};
pub use words::{carries_pin, is_evidence, oicp_of, what_is_said};

use super::Digest;
use super::codec::{ProtocolError, decode, encode};
use super::wire::{Buf, Hash, Limited};
use crate::identity::evidence_seal::{EVIDENCE_ENTRIES_MAX, EVIDENCE_SECTIONS};
use crate::identity::{Chain, PartyId, hash_of};

/// Largest file in bytes: a session with a charge detail record at its limit, sent again for a day.
pub const EVIDENCE_FILE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Most entries of others between those of a file: some dozens for each entry of the session.
pub const EVIDENCE_STEPS_MAX: usize = 256 * 1024;

/// Most credential chains of a file: a new delegation of each side every week, for two years.
pub const EVIDENCE_CHAINS_MAX: usize = 256;

/// Most objects of the registry in a file: those of the parties of one session.
pub const EVIDENCE_OBJECTS_MAX: usize = 1_024;

/// What a file begins with.
const MAGIC: &str = "chargemesh evidence";

/// Version of the file's form.
const FILE_VERSION: u8 = 1;

/// Names of the sections, in their order.
const SECTIONS: [&str; EVIDENCE_SECTIONS] = ["log", "path", "chains", "registry"];

/// Which way a message went. The numbers are part of what is hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Direction {
    /// From a party of this node to another's.
    Sent = 1,
    /// From another's to a party of this node.
    Received = 2,
    /// Between two parties of this node.
    Within = 3,
}

impl Direction {
    /// Reads the number of a direction.
    pub fn of_code(code: u8) -> Option<Direction> {
        [Direction::Sent, Direction::Received, Direction::Within].into_iter().find(|way| *way as u8 == code)
    }

    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Direction::Sent => "sent",
            Direction::Received => "received",
            Direction::Within => "within",
        }
    }
}

/// A message and the salt that it is hashed with. Both are deleted together (`decisions.md` 29).
#[derive(Clone, PartialEq, Eq)]
pub struct SaltedMessage {
    /// Random.
    pub salt: [u8; SALT_BYTES],
    /// The envelope as it was signed.
    pub message: Bytes,
}

impl std::fmt::Debug for SaltedMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // It names drivers.
        write!(f, "SaltedMessage({} bytes)", self.message.len())
    }
}

/// One entry of the log about the session of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvidenceEntry {
    /// Its number in the log, from 1.
    pub number: u64,
    /// When it was logged, unix milliseconds.
    pub at_unix_ms: u64,
    /// Which way the message went.
    pub direction: Direction,
    /// SHA-256 of salt and message.
    pub content_hash: Digest,
    /// Salt and message; `None` once they were deleted, and of a message that carries a PIN.
    pub content: Option<SaltedMessage>,
    /// Hash of the entry before it.
    pub previous: Digest,
    /// Hash of the entry that its number [skips to](skips_to).
    pub skipped: Digest,
}

/// An entry of another session, which leads from one entry of a file to the next: nothing but hashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvidenceStep {
    /// Its number in the log.
    pub number: u64,
    /// The hash of its content.
    pub leaf: Digest,
    /// Hash of the entry before it.
    pub previous: Digest,
    /// Hash of the entry that its number skips to.
    pub skipped: Digest,
}

/// What a file holds besides its seal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EvidenceParts {
    /// The entries about the session, ascending, at most [`EVIDENCE_ENTRIES_MAX`].
    pub entries: Vec<EvidenceEntry>,
    /// The entries that lead to them from the log's last one, ascending.
    pub steps: Vec<EvidenceStep>,
    /// The credential chains of all who signed.
    pub chains: Vec<Chain>,
    /// What the registry holds about them, in the order in which it was learned.
    pub registry: Vec<Bytes>,
}

/// What a node's log holds about a session.
#[derive(Clone, Debug)]
pub struct LoggedSession {
    /// SessionID.
    pub session: String,
    /// The party of this node whose messages these are.
    pub party: PartyId,
    /// The last entry of the log.
    pub head: LogHead,
    /// The entries, what leads to them, and the chains of who signed; the registry is not the log's business.
    pub parts: EvidenceParts,
}

/// The sections of a file as they are hashed.
#[derive(Clone, Debug)]
pub struct EncodedParts([Vec<u8>; EVIDENCE_SECTIONS]);

/// A file that could be read; nothing of it is proven.
#[derive(Clone, Debug)]
pub struct OpenedEvidence {
    /// What is in it.
    pub parts: EvidenceParts,
    /// The seal as it was signed.
    pub seal: Vec<u8>,
    /// SHA-256 of each section.
    pub sections: [Digest; EVIDENCE_SECTIONS],
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryWire {
    number: u64,
    at: u64,
    direction: u8,
    content: Hash,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    salt: Option<Buf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message: Option<Buf>,
    previous: Hash,
    skipped: Hash,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StepWire {
    number: u64,
    leaf: Hash,
    previous: Hash,
    skipped: Hash,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChainWire {
    credential: Buf,
    delegation: Buf,
}

type FileWire = (String, u8, Buf, Buf, Buf, Buf, Buf);

impl EvidenceParts {
    /// The sections, to be sealed.
    pub fn encode(&self) -> EncodedParts {
        let entries: Vec<EntryWire> = self.entries.iter().map(entry_to_wire).collect();
        let steps: Vec<StepWire> = self.steps.iter().map(step_to_wire).collect();
        let chain = |chain: &Chain| ChainWire {
            credential: Buf(Bytes::copy_from_slice(&chain.credential)),
            delegation: Buf(Bytes::copy_from_slice(&chain.delegation)),
        };
        let chains: Vec<ChainWire> = self.chains.iter().map(chain).collect();
        let registry: Vec<Buf> = self.registry.iter().cloned().map(Buf).collect();
        EncodedParts([encode(&entries), encode(&steps), encode(&chains), encode(&registry)])
    }
}

impl EncodedParts {
    /// SHA-256 of each section.
    pub fn hashes(&self) -> [Digest; EVIDENCE_SECTIONS] {
        let Self([log, path, chains, registry]) = self;
        [hash_of(log), hash_of(path), hash_of(chains), hash_of(registry)]
    }

    /// The whole file.
    pub fn into_file(self, seal: &[u8]) -> Vec<u8> {
        let [log, path, chains, registry] = self.0.map(|section| Buf(section.into()));
        let seal = Buf(Bytes::copy_from_slice(seal));
        let file: FileWire = (MAGIC.to_owned(), FILE_VERSION, log, path, chains, registry, seal);
        encode(&file)
    }
}

/// Reads a file. Nothing of it is proven: see [`verify_evidence`].
///
/// # Errors
/// [`EvidenceFault`] with the section that cannot be read.
pub fn open_evidence(bytes: &[u8]) -> Result<OpenedEvidence, EvidenceFault> {
    let unreadable = |error: ProtocolError| EvidenceFault::new("file", error.to_string());
    // An array of seven, and the text that it begins with.
    let begins = [vec![0x87], encode(&MAGIC)].concat();
    if !bytes.starts_with(&begins) && !begins.starts_with(bytes) {
        return Err(EvidenceFault::new("file", "this is no evidence file: it begins with other bytes"));
    }
    let file: FileWire = decode("evidence file", bytes, EVIDENCE_FILE_BYTES_MAX).map_err(unreadable)?;
    if file.0 != MAGIC {
        return Err(EvidenceFault::new("file", "this is no evidence file".to_owned()));
    }
    if file.1 != FILE_VERSION {
        let why = format!("version {} of the file is not read by this release", file.1);
        return Err(EvidenceFault::new("file", why));
    }
    // One encoding only: no byte of the frame is without a meaning.
    if encode(&file) != bytes {
        return Err(EvidenceFault::new(
            "file",
            "its frame is not in the one form that is written".to_owned(),
        ));
    }
    let (_, _, Buf(log), Buf(path), Buf(chains), Buf(registry), Buf(seal)) = file;
    let in_section = |name: &'static str| {
        move |error: ProtocolError| EvidenceFault::new(format!("section `{name}`"), error.to_string())
    };
    let [log_name, path_name, chains_name, registry_name] = SECTIONS;
    let max = EVIDENCE_FILE_BYTES_MAX;
    let Limited(entries): Limited<EntryWire, EVIDENCE_ENTRIES_MAX> =
        decode("list of entries", &log, max).map_err(in_section(log_name))?;
    let Limited(steps): Limited<StepWire, EVIDENCE_STEPS_MAX> =
        decode("list of steps", &path, max).map_err(in_section(path_name))?;
    let Limited(chain_list): Limited<ChainWire, EVIDENCE_CHAINS_MAX> =
        decode("list of chains", &chains, max).map_err(in_section(chains_name))?;
    let Limited(objects): Limited<Buf, EVIDENCE_OBJECTS_MAX> =
        decode("list of objects", &registry, max).map_err(in_section(registry_name))?;
    let chain = |wire: ChainWire| Chain {
        credential: wire.credential.0.into(),
        delegation: wire.delegation.0.into(),
    };
    Ok(OpenedEvidence {
        parts: EvidenceParts {
            entries: entries.into_iter().map(entry_of_wire).collect::<Result<_, _>>()?,
            steps: steps.into_iter().map(step_of_wire).collect(),
            chains: chain_list.into_iter().map(chain).collect(),
            registry: objects.into_iter().map(|Buf(object)| object).collect(),
        },
        seal: seal.into(),
        sections: [hash_of(&log), hash_of(&path), hash_of(&chains), hash_of(&registry)],
    })
}

fn entry_to_wire(entry: &EvidenceEntry) -> EntryWire {
    let content = entry.content.as_ref();
    EntryWire {
        number: entry.number,
        at: entry.at_unix_ms,
        direction: entry.direction as u8,
        content: Hash(entry.content_hash),
        salt: content.map(|content| Buf(Bytes::copy_from_slice(&content.salt))),
        message: content.map(|content| Buf(content.message.clone())),
        previous: Hash(entry.previous),
        skipped: Hash(entry.skipped),
    }
}

fn entry_of_wire(wire: EntryWire) -> Result<EvidenceEntry, EvidenceFault> {
    let number = wire.number;
    let fault =
        |field: &str, why: &str| EvidenceFault::new(format!("entry {number}, {field}"), why.to_owned());
    let content = match (wire.salt, wire.message) {
        (Some(Buf(salt)), Some(Buf(message))) => {
            let salt = salt.as_ref().try_into().map_err(|_| fault("salt", "a salt has 16 bytes"))?;
            Some(SaltedMessage { salt, message })
        }
        (None, None) => None,
        _ => return Err(fault("salt and message", "one of them is there without the other")),
    };
    let direction = Direction::of_code(wire.direction)
        .ok_or_else(|| fault("direction", "it is 1 (sent), 2 (received) or 3 (within)"))?;
    Ok(EvidenceEntry {
        number,
        at_unix_ms: wire.at,
        direction,
        content_hash: wire.content.0,
        content,
        previous: wire.previous.0,
        skipped: wire.skipped.0,
    })
}

fn step_to_wire(step: &EvidenceStep) -> StepWire {
    StepWire {
        number: step.number,
        leaf: Hash(step.leaf),
        previous: Hash(step.previous),
        skipped: Hash(step.skipped),
    }
}

fn step_of_wire(wire: StepWire) -> EvidenceStep {
    EvidenceStep {
        number: wire.number,
        leaf: wire.leaf.0,
        previous: wire.previous.0,
        skipped: wire.skipped.0,
    }
}
