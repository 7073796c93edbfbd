//! What the core wants to be remembered: the changes that storage commits before anything is done.

use bytes::Bytes;

pub use super::charging::{CdrFacts, CdrSubject};
use crate::identity::{Chain, PartyId, SignedCdr};
use crate::oicp::charging::{HashedPin, MediumKey};
use crate::oicp::id::EvseKey;
use crate::oicp::record::Summary;
use crate::protocol::evidence::EvidenceEntry;
use crate::protocol::{
    CdrRecord, CdrState, Digest, FeedId, Head, Kind, SessionPhase, SessionRecord, SignedHead,
};

/// A new version of one record, or its end.
#[derive(Clone, Debug)]
pub struct RecordChange {
    /// The EVSE.
    pub key: EvseKey,
    /// Number of the change within its feed.
    pub seq: u64,
    /// When the writer took the change, in unix milliseconds.
    pub at_unix_ms: u64,
    /// The value as the writer signed it: JSON text of a data record, status text; `None` deletes.
    pub value: Option<Bytes>,
    /// SHA-256 of the value; zero for a delete.
    pub hash: Digest,
    /// What pulls filter by; only for data records.
    pub summary: Option<Box<Summary>>,
    /// Whether the record is in the view, or shadowed by another feed's.
    pub visible: bool,
}

/// A change of the directory: what others publish, and our own feeds as they see them. Rebuildable.
#[derive(Clone, Debug)]
pub enum DirectoryChange {
    /// A credential chain that was verified, by the hash of its delegation.
    Chain {
        /// SHA-256 of the delegation.
        delegation: Digest,
        /// The chain as received.
        chain: Chain,
    },
    /// Records of one feed.
    Records {
        /// The feed.
        feed: FeedId,
        /// New versions and deletes; at most one per key.
        records: Vec<RecordChange>,
    },
    /// Records that enter or leave the view because another feed changed.
    Visibility {
        /// The feed whose record it is.
        feed: FeedId,
        /// The EVSE.
        key: EvseKey,
        /// Whether it is in the view from now on.
        visible: bool,
    },
    /// A feed's head that was applied: the records are those it was signed over.
    Head {
        /// The head.
        head: Head,
        /// As signed.
        signed: SignedHead,
        /// When this node heard it, in unix milliseconds.
        received_unix_ms: u64,
    },
    /// Everything of a feed is dropped: it was stale for too long.
    Dropped {
        /// The feed.
        feed: FeedId,
    },
    /// Two heads of one feed, epoch, incarnation and seq with different roots: kept as proof.
    Equivocation {
        /// The feed.
        feed: FeedId,
        /// The head that was known first.
        first: SignedHead,
        /// The other one.
        second: SignedHead,
    },
    /// A claim conflict began or changed.
    Conflict {
        /// The EVSE.
        key: EvseKey,
        /// Kind of the feeds.
        kind: Kind,
        /// The party that is shown; `None` in a tie.
        shown: Option<PartyId>,
        /// All parties that claim the EVSE; fewer than two: the conflict is over.
        claimed_by: Vec<PartyId>,
    },
}

/// A change of the ledger: what this node promised. Committed durably before anybody hears of it.
#[derive(Clone, Debug)]
pub enum LedgerChange {
    /// Records of a feed of our own.
    Records {
        /// The feed.
        feed: FeedId,
        /// New versions and deletes; at most one per key. `summary` and `visible` are not kept.
        records: Vec<RecordChange>,
    },
    /// The head of a feed of our own.
    Head {
        /// The head.
        head: Head,
        /// As signed.
        signed: SignedHead,
    },
    /// An object of the registry: who is who must survive, also who was first.
    Identity {
        /// SHA-256 of its bytes.
        hash: Digest,
        /// As it was signed.
        bytes: Bytes,
        /// When this node first held it, unix time in seconds.
        received_unix_s: u64,
        /// An object that it takes the place of.
        outdone: Option<Digest>,
    },
    /// A trust list is in use: no lower version of the same signer is taken any more, also after a restart.
    TrustListSeen {
        /// Public key of who signed it.
        signer: Digest,
        /// Its version.
        seq: u64,
    },
    /// A destructive push that waits for confirmation (`decisions.md` 12).
    Held {
        /// The push.
        push: HeldPush,
    },
    /// A held push was confirmed, replaced or given up.
    HeldDone {
        /// Its number.
        id: u64,
    },
    /// A session as it is now.
    Session {
        /// SessionID.
        session: String,
        /// Whether nothing follows any more.
        is_over: bool,
        /// When it changed, unix milliseconds.
        changed_unix_ms: u64,
        /// A [`crate::protocol::SessionRecord`], encoded.
        record: Bytes,
        /// In which account it is; `None` while several are asked.
        account: Option<Box<SessionAccount>>,
    },
    /// A charge detail record as it is now. What identifies it and its content never change.
    Cdr {
        /// The row.
        cdr: Box<StoredCdr>,
    },
    /// An agreement or offer that a party of ours has a part in, as it is now.
    Agreement {
        /// The hash of the offer.
        id: Digest,
        /// All that proves it ([`crate::protocol::AgreementPapers`]).
        papers: Bytes,
    },
    /// Media that an EMP of ours uploaded, changed or took back.
    Media {
        /// The EMP.
        party: PartyId,
        /// At most one for each medium.
        changes: Vec<MediumChange>,
    },
    /// A message that matters, at the end of the log.
    Evidence(Box<NewEvidence>),
    /// Who signed it, if the chain is not known yet.
    EvidenceChain {
        /// SHA-256 of the delegation.
        delegation: Digest,
        /// As received.
        chain: Chain,
    },
    /// Personal data is deleted; the log's hashes stay.
    PersonalDataErased(PersonalData),
    /// A month-end statement that both sides signed.
    Statement {
        /// The statement, in short.
        statement: Box<SignedStatement>,
    },
    /// An agreement that was over made room.
    AgreementForgotten {
        /// The hash of its offer.
        id: Digest,
    },
}

/// A message that matters, with its place in the log.
#[derive(Clone, Debug)]
pub struct NewEvidence {
    /// Number, time, direction and hashes, salt and message.
    pub entry: EvidenceEntry,
    /// The hash of the entry itself.
    pub hash: Digest,
    /// SessionID.
    pub session: String,
    /// Our party.
    pub ours: PartyId,
    /// The other side.
    pub partner: PartyId,
    /// The hash of the delegation that signed.
    pub signer: Digest,
    /// What it says, without naming a driver.
    pub what: String,
}

/// Which personal data is deleted: messages with their salts, what sessions know of drivers, and charge detail records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PersonalData {
    /// Of one session that is over.
    Session(String),
    /// Of sessions that were over, and messages that were logged, before this time, in unix milliseconds. A part of them:
    /// it is said again until all is done.
    Before(u64),
}

/// A charge detail record that a party of ours sent or received.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredCdr {
    /// SessionID.
    pub session: String,
    /// SHA-256 of the OICP message.
    pub hash: Digest,
    /// Whether a partner sent it.
    pub incoming: bool,
    /// Our party.
    pub ours: PartyId,
    /// The other side.
    pub partner: PartyId,
    /// Operator part of the EvseID, in canonical spelling.
    pub operator: String,
    /// Whether something is still to be done with it.
    pub is_open: bool,
    /// How far it has come.
    pub state: CdrState,
    /// When it was committed here, unix milliseconds.
    pub stored_unix_ms: u64,
    /// SessionEnd, unix milliseconds.
    pub ended_unix_ms: u64,
    /// The record that it corrects, by hash.
    pub replaces: Option<Digest>,
    /// A [`SignedCdr`], or the message alone if it came through the hub; `None` once its personal data was deleted.
    pub signed: Option<Bytes>,
    /// What else is known of it.
    pub record: CdrRecord,
}

impl StoredCdr {
    /// The OICP message, as the CPO's backend sent it; `None` if its content was deleted or is damaged.
    pub fn oicp(&self) -> Option<Bytes> {
        oicp_of(self.signed.as_ref()?)
    }
}

/// The OICP message in what is stored of a charge detail record: within the CPO's signature, or alone if it came
/// through the hub. A signed object never begins like JSON.
pub fn oicp_of(stored: &Bytes) -> Option<Bytes> {
    match stored.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') => Some(stored.clone()),
        _ => SignedCdr::read_stored(stored).ok().map(|cdr| cdr.oicp.into()),
    }
}

impl std::fmt::Debug for StoredCdr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the message: it names a driver.
        f.debug_struct("StoredCdr")
            .field("session", &self.session)
            .field("incoming", &self.incoming)
            .field("ours", &self.ours)
            .field("partner", &self.partner)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// What storage knows of a session and its charge detail records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CdrsOfSession {
    /// The session, if it ever was.
    pub session: Option<SessionRecord>,
    /// Its records, in the order in which they came.
    pub cdrs: Vec<StoredCdr>,
}

/// What is known of a medium that an EMP uploaded: no more than is needed to answer for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownMedium {
    /// The hash of its PIN; only of QR codes.
    pub pin: Option<HashedPin>,
    /// From then on it counts no more, in unix milliseconds.
    pub until_unix_ms: Option<u64>,
}

/// A medium as it is now, or its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediumChange {
    /// Which.
    pub key: MediumKey,
    /// What is known of it; `None` deletes.
    pub known: Option<KnownMedium>,
}

/// A push that would remove more than the guard rail allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldPush {
    /// Number for the confirm command.
    pub id: u64,
    /// The feed it would change.
    pub feed: FeedId,
    /// SHA-256 of the body, so that identical repeats join it.
    pub digest: Digest,
    /// The body as received.
    pub body: Bytes,
    /// When it came, in unix milliseconds.
    pub at_unix_ms: u64,
    /// How many records it would remove.
    pub removes: u64,
    /// How many records the feed has.
    pub of: u64,
}

/// In which two parties' account a session is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionAccount {
    /// Our party.
    pub ours: PartyId,
    /// The other side.
    pub partner: PartyId,
    /// When it began here, unix milliseconds.
    pub opened_unix_ms: u64,
    /// How far it has come.
    pub phase: SessionPhase,
    /// Under which SessionID the partner's node knows it; `None`: it goes through the hub.
    pub known_as: Option<String>,
}

impl SessionAccount {
    /// That of a session, if there is another side already.
    pub fn of(record: &SessionRecord) -> Option<Box<SessionAccount>> {
        Some(Box::new(SessionAccount {
            ours: record.ours.clone(),
            partner: record.partner.clone()?,
            opened_unix_ms: record.opened_unix_ms,
            phase: record.phase,
            known_as: record.direct_id().map(str::to_owned),
        }))
    }
}

/// A month-end statement that both sides signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedStatement {
    /// Our party.
    pub ours: PartyId,
    /// The other side.
    pub partner: PartyId,
    /// The month, as in `2026-11`.
    pub month: String,
    /// The digest of the statement.
    pub digest: Digest,
    /// How many records count.
    pub records: u64,
    /// Their energy in kWh.
    pub energy: String,
    /// When the second side signed it, by our clock, in unix milliseconds.
    pub agreed_unix_ms: u64,
    /// The envelope in which we signed it; empty as long as only the partner asked: it holds ours.
    pub signed_by_us: Bytes,
    /// ... and that of the partner.
    pub signed_by_partner: Bytes,
}
