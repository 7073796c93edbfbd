//! The registry among nodes: what is news is gossiped, roots are compared with peers, and what is missing is
//! asked for. A node that starts hears of it before it takes a peer's heads, so that what was revoked is not
//! believed once more.

use bytes::Bytes;

use super::change::LedgerChange;
use super::effect::{Action, Effects, Misdeed, Refusal, Report};
use super::input::{CallId, GossipId, Now};
use super::{Pending, Roaming};
use crate::identity::{self, Added, IdConflict, PartyId, Registry, RegistryError};
use crate::oicp::status_code::{Code, StatusCode};
use crate::protocol::{Answer, Digest, FeedId, NodeId, OBJECTS_MAX, ObjectName, Question, Topic, Verdict};

/// Time between two comparisons with one random peer, in milliseconds: for what gossip lost.
const COMPARE_MS: u64 = 60_000;

/// Bytes of one answer with objects: it has to fit one frame of an exchange stream.
const OBJECT_BYTES_PER_ANSWER_MAX: usize = 768 * 1024;

/// How often what was not vouched for is tried again at a start: each time one rotation further back.
const ROUNDS_MAX: usize = 8;

/// How long a starting node waits for the registry of its first peers before it takes heads, in milliseconds.
const HEARD_MS_MAX: u64 = 5_000;

/// What this node holds of an object of a name.
fn name_of(hash: &Digest) -> ObjectName {
    let mut name = ObjectName::default();
    name.iter_mut().zip(hash).for_each(|(to, from)| *to = *from);
    name
}

impl Roaming {
    /// An object that a peer gossips.
    pub(super) fn identity_announced(
        &mut self,
        from: &NodeId,
        gossip: GossipId,
        bytes: &Bytes,
        now: Now,
        fx: &mut Effects,
    ) {
        let verdict = match self.learn(bytes, now, fx) {
            Ok(true) => Verdict::Accept,
            Ok(false) => Verdict::Ignore,
            Err(error) => {
                let verdict = verdict_of(&error);
                let why = match verdict {
                    Verdict::Reject => Refusal::Malformed(error.to_string()),
                    _ => Refusal::Chain(error.to_string()),
                };
                fx.actions.push(Action::Report(Report::Refused { from: from.clone(), why }));
                verdict
            }
        };
        fx.actions.push(Action::Judge { gossip, verdict });
    }

    /// The operator of this node hands in an object: kept, and told to everybody.
    pub(super) fn hand_in(&mut self, call: CallId, bytes: &Bytes, now: Now, fx: &mut Effects) {
        let (result, status) = match self.learn(bytes, now, fx) {
            Ok(news) => {
                let text = if news { "taken in and told to everybody" } else { "known already; told again" };
                fx.actions.push(Action::Publish { topic: Topic::Identity, bytes: bytes.clone() });
                (true, StatusCode::with_info(Code::Success, text))
            }
            Err(error) => (false, StatusCode::with_info(Code::DataError, &error.to_string())),
        };
        fx.actions.push(Action::Reply { call, result, status });
    }

    /// Takes an object into the registry; says whether it is news. What hangs on it is judged anew.
    pub(super) fn learn(&mut self, bytes: &Bytes, now: Now, fx: &mut Effects) -> Result<bool, RegistryError> {
        let added = self.speakers.learn(bytes).inspect_err(|error| self.tell_full(error, fx))?;
        let Added::New { hash, party, outdone } = added else { return Ok(false) };
        fx.ledger.push(LedgerChange::Identity {
            hash,
            bytes: bytes.clone(),
            received_unix_s: now.unix_s(),
            outdone,
        });
        self.news_of(party.as_ref(), now, fx);
        Ok(true)
    }

    /// An issuer vouches for more parties than are kept: told once for each.
    fn tell_full(&mut self, error: &RegistryError, fx: &mut Effects) {
        if let RegistryError::IssuerFull { issuer, max } = error
            && self.full_issuers.insert(*issuer)
        {
            let name = self.speakers.trust().issuer(issuer).map(|issuer| issuer.name.clone());
            let issuer = name.unwrap_or_default();
            fx.actions.push(Action::Report(Report::IssuerFull { issuer, max: *max }));
        }
    }

    /// Something is known of a party that was not: its chains count anew, and somebody may claim its id.
    fn news_of(&mut self, party: Option<&PartyId>, now: Now, fx: &mut Effects) {
        let own: Vec<Digest> = self.parties.values().map(|ours| *ours.speaker.delegation_hash()).collect();
        let judged = self.speakers.judge_anew(party, &own, now);
        for speaker in judged.changed {
            let of_speaker = |feed: &super::Feed| {
                feed.speaker.as_ref().is_some_and(|s| s.delegation_hash() == speaker.delegation_hash())
            };
            let feeds = self.feeds.iter().filter(|(_, feed)| !feed.own && of_speaker(feed));
            let feeds: Vec<FeedId> = feeds.map(|(id, _)| id.clone()).collect();
            feeds.iter().for_each(|feed_id| self.speaks(feed_id, speaker.clone(), fx));
        }
        if party.is_some_and(|party| self.speakers.trust().pin(party).is_some()) {
            // A rotation may lead from the pinned key to what was of no use before.
            self.refused_objects.clear();
        }
        for gone in judged.fallen {
            let party = gone.party().clone();
            let report = match self.speakers.is_replaced(&gone, now.unix_s()) {
                true => Report::Replaced { party },
                false => Report::Revoked { party, own: false },
            };
            fx.actions.push(Action::Report(report));
        }
        self.judge_agreements(party, fx);
        if party.is_none_or(|party| self.parties.contains_key(party)) {
            self.judge_own(now, fx);
        }
        if let Some(party) = party {
            self.settle_id(party, now, fx);
        }
    }

    /// Another trust list: what was of no use may be of use now, and other claims may count.
    pub(super) fn judge_registry_anew(&mut self, now: Now, fx: &mut Effects) {
        self.refused_objects.clear();
        self.full_issuers.clear();
        let parties: Vec<PartyId> = self.speakers.registry().parties().cloned().collect();
        for party in &parties {
            self.settle_id(party, now, fx);
        }
        self.registry_at_ms = now.mono_ms;
    }

    /// Whether what we speak with is dead; told once.
    pub(super) fn judge_own(&mut self, now: Now, fx: &mut Effects) {
        let is_dead = |ours: &&super::OurParty| {
            let verified = self.speakers.verify(&ours.chain, now.unix_s());
            matches!(verified, Err(identity::ChainError::Revoked { .. }))
        };
        let dead: std::collections::BTreeSet<PartyId> =
            self.parties.values().filter(is_dead).map(|ours| ours.party.clone()).collect();
        for party in dead.difference(&self.revoked) {
            fx.actions.push(Action::Report(Report::Revoked { party: party.clone(), own: true }));
        }
        self.revoked = dead;
    }

    /// Who claims a party's id; told if it is not as it was.
    fn settle_id(&mut self, party: &PartyId, now: Now, fx: &mut Effects) {
        let conflict = self.speakers.id_conflict(party, now);
        let before = self.id_conflicts.get(party);
        if before == conflict.as_ref() {
            return;
        }
        let own = self.parties.contains_key(party);
        match conflict {
            Some(conflict) => {
                let report = Report::IdConflict { conflict: conflict.clone(), own };
                fx.actions.push(Action::Report(report));
                self.id_conflicts.insert(party.clone(), conflict);
            }
            None => {
                self.id_conflicts.remove(party);
                fx.actions.push(Action::Report(Report::IdConflictOver { party: party.clone() }));
            }
        }
    }

    /// The registry as storage remembers it, and the credentials of our own parties.
    pub(super) fn reload_registry(&mut self, objects: Vec<(Bytes, u64)>, now: Now) {
        self.hold_again(objects);
        let mut fx = Effects::default();
        let own: Vec<Bytes> =
            self.parties.values().map(|ours| Bytes::from(ours.chain.credential.clone())).collect();
        for credential in own {
            // A node may not trust its own issuer; its peers decide for themselves.
            let _untrusted = self.learn(&credential, now, &mut fx);
        }
        let parties: Vec<PartyId> = self.speakers.registry().parties().cloned().collect();
        for party in parties {
            if let Some(conflict) = self.speakers.id_conflict(&party, now) {
                self.id_conflicts.insert(party, conflict);
            }
        }
        // What would be told is seen in the view; a start is no news.
        self.judge_own(now, &mut fx);
        self.pending_ledger = fx.ledger;
    }

    /// Objects with the time when each was first held. What nobody trusted here vouches for any more is not held
    /// any more; some count only with another that came later, as what was signed before a rotation to the key
    /// that is pinned now.
    fn hold_again(&mut self, mut objects: Vec<(Bytes, u64)>) {
        for _ in 0..ROUNDS_MAX {
            let before = objects.len();
            // In the order in which they were first held.
            objects.retain(|(bytes, _)| matches!(self.speakers.learn(bytes), Err(RegistryError::Untrusted)));
            if objects.is_empty() || objects.len() == before {
                return;
            }
        }
    }

    /// A peer is there: what does it know?
    pub(super) fn compare_registry(&mut self, node: &NodeId, now: Now, fx: &mut Effects) {
        let root = self.speakers.registry_root();
        self.ask(node.clone(), Pending::Registry, Question::Registry(root), now, fx);
    }

    /// Now and then with somebody.
    pub(super) fn tick_registry(&mut self, now: Now, fx: &mut Effects) {
        if now.mono_ms < self.registry_at_ms || self.peers.is_empty() {
            return;
        }
        self.registry_at_ms = now.mono_ms + COMPARE_MS;
        let choice = self.random() as usize % self.peers.len();
        if let Some(node) = self.peers.keys().nth(choice).cloned() {
            self.compare_registry(&node, now, fx);
        }
    }

    /// Whether a peer's heads may be taken: what was revoked is known, or was waited for long enough.
    pub(super) fn registry_heard(&self, now: Now) -> bool {
        self.registry_heard || now.mono_ms >= self.started_ms + HEARD_MS_MAX
    }

    /// What we hold, if it is not the same: tombstones and rotations first.
    pub(super) fn names_for(&mut self, root: &Digest) -> Answer {
        if self.speakers.registry_root() == *root {
            return Answer::Noted;
        }
        Answer::Names(self.speakers.registry().hashes_by_urgency().iter().map(name_of).collect())
    }

    /// The objects that a peer asks for, as many as fit.
    pub(super) fn objects_for(&self, names: &[ObjectName]) -> Answer {
        let registry = self.speakers.registry();
        let mut bytes = 0;
        let objects = names.iter().filter_map(|name| registry.bytes_of_name(name)).take_while(|object| {
            bytes += object.len();
            bytes <= OBJECT_BYTES_PER_ANSWER_MAX
        });
        Answer::Objects(objects.map(|object| Bytes::copy_from_slice(object)).collect())
    }

    /// A peer names what it holds: what we lack is asked for.
    pub(super) fn names_answered(
        &mut self,
        from: &NodeId,
        names: Vec<ObjectName>,
        now: Now,
        fx: &mut Effects,
    ) {
        let registry = self.speakers.registry();
        let lacks = |name: &ObjectName| {
            registry.bytes_of_name(name).is_none() && !self.refused_objects.contains(name)
        };
        let missing: Vec<ObjectName> = names.into_iter().filter(lacks).collect();
        self.ask_objects(from, missing, now, fx);
    }

    fn ask_objects(&mut self, from: &NodeId, mut missing: Vec<ObjectName>, now: Now, fx: &mut Effects) {
        if missing.is_empty() {
            self.registry_compared(now);
            return self.registry_done(from, now, fx);
        }
        let later = missing.split_off(missing.len().min(OBJECTS_MAX));
        let question = Question::Objects(missing.clone());
        self.ask(from.clone(), Pending::Objects { asked: missing, later }, question, now, fx);
    }

    /// Objects came; those that did not are asked for again, unless none came at all.
    pub(super) fn objects_answered(
        &mut self,
        from: &NodeId,
        asked: Vec<ObjectName>,
        later: Vec<ObjectName>,
        objects: Vec<Bytes>,
        now: Now,
        fx: &mut Effects,
    ) {
        let came: std::collections::BTreeSet<ObjectName> =
            objects.iter().map(|object| name_of(&identity::hash_of(object))).collect();
        for object in &objects {
            let Err(error) = self.learn(object, now, fx) else { continue };
            if verdict_of(&error) == Verdict::Reject {
                fx.actions.push(Action::Penalise { node: from.clone(), why: Misdeed::Malformed });
                return self.registry_done(from, now, fx);
            }
            self.refuse_object(name_of(&identity::hash_of(object)));
        }
        if came.is_empty() {
            return self.registry_done(from, now, fx);
        }
        let rest = asked.into_iter().filter(|name| !came.contains(name)).chain(later).collect();
        self.ask_objects(from, rest, now, fx);
    }

    /// What is of no use here is not asked for again and again; forgotten now and then, for trust changes.
    fn refuse_object(&mut self, name: ObjectName) {
        const REFUSED_MAX: usize = 20_000;
        if self.refused_objects.len() >= REFUSED_MAX {
            self.refused_objects.clear();
        }
        self.refused_objects.insert(name);
    }

    /// As much of a peer's registry is here as it gives.
    pub(super) fn registry_done(&mut self, from: &NodeId, now: Now, fx: &mut Effects) {
        if !self.registry_heard {
            self.registry_heard = true;
            self.compare_first(from, now, fx);
        }
    }

    /// What is known of everybody, and a number that is another one whenever it is.
    pub fn known_identities(&self) -> (&Registry, u64) {
        (self.speakers.registry(), self.speakers.registry_changes())
    }

    /// The ids that several claim.
    pub(super) fn id_conflicts(&self) -> impl Iterator<Item = &IdConflict> {
        self.id_conflicts.values()
    }
}

fn verdict_of(error: &RegistryError) -> Verdict {
    match error.verdict() {
        identity::Verdict::Reject => Verdict::Reject,
        identity::Verdict::Ignore => Verdict::Ignore,
    }
}
