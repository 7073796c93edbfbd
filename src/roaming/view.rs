//! What the core knows, for people, metrics and tests.

use super::feed::FeedState;
use super::{ClockState, Conflict, OurParty, Roaming};
use crate::identity::{IdConflict, PartyId};
use crate::oicp::id::EvseKey;
use crate::protocol::{Digest, FeedId, Kind};

/// A snapshot of the core.
#[derive(Clone, Debug)]
pub struct View {
    /// All feeds.
    pub feeds: Vec<FeedSummary>,
    /// EVSEs that several parties claim: kind, EVSE, state, and whether a peer told us.
    pub conflicts: Vec<(Kind, EvseKey, Conflict, bool)>,
    /// Held pushes.
    pub held: Vec<super::change::HeldPush>,
    /// Agreements and offers of our parties.
    pub agreements: Vec<super::AgreementSummary>,
    /// Partners, and whether they are connected.
    pub partners: Vec<super::PartnerSummary>,
    /// Data records in the view of everybody; what closed audiences see is not among them.
    pub view_evses: u64,
    /// Statuses in the view of everybody.
    pub view_statuses: u64,
    /// Records taken into others' feeds since the start.
    pub records_accepted: u64,
    /// Messages of which something was wrong for everybody, since the start.
    pub records_refused: u64,
    /// Feeds asked for as a whole since the start.
    pub full_loads: u64,
    /// Objects in the registry.
    pub registry_objects: u64,
    /// One hash over them: equal at two nodes that know the same.
    pub registry_root: Digest,
    /// Ids that several claim (decisions.md 20).
    pub id_conflicts: Vec<IdConflict>,
    /// The parties of this node.
    pub parties: Vec<OwnParty>,
    /// Version of the trust list, and the first second in which it is too old, Unix time.
    pub trust_list: (u64, u64),
    /// How our clock stands to those of others.
    pub clock: ClockState,
    /// When a peer's registry was compared with ours last, in unix milliseconds.
    pub registry_compared_unix_ms: Option<u64>,
    /// The issuers of the trust list that showed a status list, by name: from when it is, and the first second in
    /// which it counts no more, Unix time.
    pub status_lists: Vec<(String, u64, u64)>,
    /// How many EMPs were told of cards.
    pub card_questions: super::CardQuestions,
    /// Messages to and from each partner since the start: directly, and through the hub.
    pub messages_by_way: Vec<(PartyId, [u64; 2])>,
}

/// Under what a party of this node speaks, and until when.
#[derive(Clone, Debug)]
pub struct OwnParty {
    /// Who.
    pub party: PartyId,
    /// Epoch of the delegation.
    pub epoch: u64,
    /// First second in which the delegation counts no more, Unix time.
    pub delegation_until_unix_s: u64,
    /// The same of the credential.
    pub credential_until_unix_s: u64,
    /// Whether credential, org key or delegation was declared dead: nobody believes what it says.
    pub revoked: bool,
}

/// One feed.
#[derive(Clone, Debug)]
pub struct FeedSummary {
    /// Which.
    pub feed: FeedId,
    /// OperatorID as its party spells it.
    pub operator_id: String,
    /// OperatorName.
    pub operator_name: String,
    /// Records.
    pub count: u64,
    /// Records that are not shown.
    pub shadowed: u64,
    /// Number of the last change.
    pub seq: u64,
    /// Incarnation of the applied head.
    pub incarnation: u64,
    /// Root of the applied head.
    pub root: Digest,
    /// Whether what we hold is what the newest head says.
    pub in_sync: bool,
    /// `ok`, `repairing`, `inconsistent` or `equivocated`.
    pub state: &'static str,
    /// When the writer signed the newest head, in unix milliseconds.
    pub confirmed_at_unix_ms: u64,
    /// Whether we write it.
    pub own: bool,
}

impl Roaming {
    /// What the core knows.
    pub fn view(&self) -> View {
        let feeds: Vec<FeedSummary> = self.feeds.iter().map(|(id, feed)| self.summary(id, feed)).collect();
        let public = |kind| feeds.iter().filter(move |f| f.feed.kind == kind && f.feed.audience.is_public());
        let shown = |kind| public(kind).map(|f| f.count - f.shadowed).sum();
        let seen = self.claims.conflicts().map(|((kind, key), c)| (*kind, key.clone(), c.clone(), false));
        let told = self.noticed.iter().map(|((kind, key), c)| (*kind, key.clone(), c.clone(), true));
        let trust = self.speakers.trust();
        View {
            conflicts: seen.chain(told).collect(),
            held: self.held.values().cloned().collect(),
            agreements: self.agreements(),
            partners: self.partners(),
            view_evses: shown(Kind::Data),
            view_statuses: shown(Kind::Status),
            records_accepted: self.records_accepted,
            records_refused: self.records_refused,
            full_loads: self.full_loads,
            parties: self.parties.values().map(|ours| self.own_party(ours)).collect(),
            trust_list: (trust.seq, trust.valid_until_unix_s),
            clock: self.clock_check.state(),
            registry_compared_unix_ms: self.compared.map(|compared| compared.unix_ms),
            status_lists: self.status_lists(),
            registry_objects: self.speakers.registry().len() as u64,
            registry_root: self.speakers.registry_root_now(),
            id_conflicts: self.id_conflicts().cloned().collect(),
            card_questions: self.card_questions().clone(),
            messages_by_way: self.messages_by_way().map(|(party, counts)| (party.clone(), counts)).collect(),
            feeds,
        }
    }

    /// Whether this node holds everybody's feeds.
    pub fn replicates_all(&self) -> bool {
        self.replicate_all
    }

    fn summary(&self, id: &FeedId, feed: &super::Feed) -> FeedSummary {
        let newest = feed.newest.as_ref().map(|known| &known.head);
        let applied = feed.applied.as_ref().map(|known| &known.head);
        let state = match feed.state {
            FeedState::Equivocated { .. } => "equivocated",
            FeedState::Inconsistent => "inconsistent",
            FeedState::Ok if feed.in_sync() && !feed.applying => "ok",
            FeedState::Ok => "repairing",
        };
        FeedSummary {
            feed: id.clone(),
            operator_id: newest.map(|head| head.operator_id.clone()).unwrap_or_default(),
            operator_name: newest.map(|head| head.operator_name.clone()).unwrap_or_default(),
            count: feed.tree.count(),
            shadowed: self.hidden(id, feed),
            seq: feed.seq(),
            incarnation: applied.map_or(0, |head| head.incarnation),
            root: applied.map_or([0; 32], |head| head.root),
            in_sync: feed.in_sync() && !feed.applying,
            state,
            confirmed_at_unix_ms: newest.map_or(0, |head| head.created_unix_ms),
            own: feed.own,
        }
    }

    fn own_party(&self, ours: &OurParty) -> OwnParty {
        let (credential_until_unix_s, delegation_until_unix_s) = ours.speaker.ends();
        OwnParty {
            party: ours.party.clone(),
            epoch: ours.speaker.epoch(),
            delegation_until_unix_s,
            credential_until_unix_s,
            revoked: self.revoked.contains(&ours.party),
        }
    }

    fn status_lists(&self) -> Vec<(String, u64, u64)> {
        let list = |issuer: &crate::identity::Issuer| {
            let list = self.speakers.registry().status_list(issuer.key.as_bytes())?;
            Some((issuer.name.clone(), list.created_unix_s, list.valid_until_unix_s))
        };
        self.speakers.trust().issuers.iter().filter_map(list).collect()
    }

    /// Records of a feed that are not in the view: lost claims, and ids that nobody trusted vouches for.
    fn hidden(&self, id: &FeedId, feed: &super::Feed) -> u64 {
        if !id.audience.is_public() {
            return feed.tree.iter().filter(|e| !self.is_shown_to_members(id, &e.key)).count() as u64;
        }
        let lost = self.claims.conflicts().filter(|((kind, _), conflict)| {
            *kind == id.kind
                && conflict.claimed_by.contains(&id.party)
                && conflict.shown.as_ref() != Some(&id.party)
        });
        let untrusted = match &feed.speaker {
            Some(speaker) if !speaker.untrusted_prefixes().is_empty() => {
                let prefixes = speaker.untrusted_prefixes();
                feed.tree.iter().filter(|e| prefixes.iter().any(|p| p.as_str() == e.key.operator())).count()
            }
            _ => 0,
        };
        lost.count() as u64 + untrusted as u64
    }
}
