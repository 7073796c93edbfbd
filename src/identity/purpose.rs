//! What signed objects are for, and how large each may be.

/// What a signed object is for. Part of what is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// Which issuers a node trusts.
    TrustList,
    /// An issuer vouches for a party.
    PartyCredential,
    /// An org key lets a node act.
    NodeDelegation,
    /// Where a party's node can be reached.
    PartyCard,
    /// Position and root of a feed.
    FeedHead,
    /// Changes of a feed together with its new head.
    FeedAnnouncement,
    /// All heads of a party, said again when nothing changed.
    Heartbeat,
    /// Two contradicting signed claims, shown to those they concern.
    ConflictNotice,
    /// A message between two parties.
    Envelope,
    /// What became of a charge detail record at the other side.
    Receipt,
    /// Something is dead before its time.
    Tombstone,
    /// A new org key follows an old one.
    Rotation,
    /// A party asks an issuer to vouch for it.
    PartyRequest,
    /// Which of its credentials an issuer declares dead.
    StatusList,
    /// Two parties agree who may do what.
    Agreement,
    /// A party lets another publish under its main id.
    SubGrant,
    /// A node's word about what its log holds of a session.
    EvidenceSeal,
    /// A charge detail record, as the CPO's node vouches for it.
    SignedCdr,
}

impl Purpose {
    /// Every purpose, in the order of the enum.
    pub const ALL: [Purpose; 18] = [
        Purpose::TrustList,
        Purpose::PartyCredential,
        Purpose::NodeDelegation,
        Purpose::PartyCard,
        Purpose::FeedHead,
        Purpose::FeedAnnouncement,
        Purpose::Heartbeat,
        Purpose::ConflictNotice,
        Purpose::Envelope,
        Purpose::Receipt,
        Purpose::Tombstone,
        Purpose::Rotation,
        Purpose::PartyRequest,
        Purpose::StatusList,
        Purpose::Agreement,
        Purpose::SubGrant,
        Purpose::EvidenceSeal,
        Purpose::SignedCdr,
    ];

    /// The text in the protected header.
    pub fn tag(self) -> &'static str {
        match self {
            Purpose::TrustList => "trust-list",
            Purpose::PartyCredential => "party-credential",
            Purpose::NodeDelegation => "node-delegation",
            Purpose::PartyCard => "party-card",
            Purpose::FeedHead => "feed-head",
            Purpose::FeedAnnouncement => "feed-announcement",
            Purpose::Heartbeat => "heartbeat",
            Purpose::ConflictNotice => "conflict-notice",
            Purpose::Envelope => "envelope",
            Purpose::Receipt => "receipt",
            Purpose::Tombstone => "tombstone",
            Purpose::Rotation => "rotation",
            Purpose::PartyRequest => "party-request",
            Purpose::StatusList => "status-list",
            Purpose::Agreement => "agreement",
            Purpose::SubGrant => "sub-grant",
            Purpose::EvidenceSeal => "evidence-seal",
            Purpose::SignedCdr => "charge-detail-record",
        }
    }

    /// Largest whole object of this purpose, bytes, signature included.
    pub fn size_bytes_max(self) -> usize {
        match self {
            // 1,000 ids of 8 bytes and the names.
            Purpose::PartyCredential | Purpose::NodeDelegation | Purpose::PartyRequest => 16 * 1024,
            // The numbers of 8,192 entries.
            Purpose::EvidenceSeal => 66 * 1024,
            // Fits a Kademlia record (decisions.md 22).
            Purpose::PartyCard => 8 * 1024,
            // A few thousand issuers' grants and pins; read from a local file.
            Purpose::TrustList => 1024 * 1024,
            Purpose::FeedHead | Purpose::Receipt | Purpose::Agreement => 4 * 1024,
            // They carry the credential that they are about.
            Purpose::Tombstone | Purpose::Rotation | Purpose::SubGrant => 18 * 1024,
            // 10,000 hashes.
            Purpose::StatusList => 324 * 1024,
            Purpose::Heartbeat | Purpose::ConflictNotice => 64 * 1024,
            // The OICP message at its limit (`signed_cdr`), and who sends it to whom.
            Purpose::SignedCdr => 201 * 1024,
            // Batches of records and OICP messages; the transport has the tighter limit.
            Purpose::FeedAnnouncement | Purpose::Envelope => 1024 * 1024,
        }
    }

    pub(super) fn of_tag(tag: &str) -> Option<Purpose> {
        Purpose::ALL.into_iter().find(|purpose| purpose.tag() == tag)
    }
}
