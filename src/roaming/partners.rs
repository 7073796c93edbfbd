//! Partners: with whom money changes hands. A node keeps a connection to the nodes of each, so that a start is one
//! round trip and "unreachable" is known at once; a partner that is not connected is looked for.
//!
//! Where its nodes may be is hearsay: chains of agreements, cards in Kademlia, the writer of a feed. It leads to a
//! dial and to nothing else; a node speaks for a party when it has introduced itself (`introductions`).

use std::collections::{BTreeMap, BTreeSet};

use super::Roaming;
use super::agreements::Kept;
use super::effect::{Action, Effects, Report};
use super::input::Now;
use super::policy::Decision;
use crate::identity::delegation::SLOT_MAX;
use crate::identity::{CardError, PartyCard, PartyId, Service, Speaker, TrustContext, VerifiedCard, kad_key};
use crate::protocol::{Digest, FeedId, Kind, NodeId};

/// Nodes that are kept: as many as the mesh keeps, some for each of some hundred partners.
const NODES_MAX: usize = 512;

/// How often it is looked who is missing, in milliseconds, if nothing happens.
const CHECK_MS: u64 = 1_000;

/// Cards looked for at once: each search asks some twenty nodes.
const LOOKUPS_MAX: usize = 8;

/// How long a search may take, in milliseconds: longer than Kademlia's own limit of 30 s.
const LOOKUP_MS_MAX: u64 = 45_000;

/// Wait before a partner that is away is looked for again, in milliseconds; it doubles ...
const WAIT_MS_MIN: u64 = 5_000;

/// ... up to this, in milliseconds.
const WAIT_MS_MAX: u64 = 300_000;

/// Wait before the cards of a partner that is connected are looked at again, in milliseconds: it may have taken
/// another node beside the one we know.
const WAIT_CONNECTED_MS: u64 = 3_600_000;

/// One round of so many goes through all places even if nothing was found at the first: cards lie from the first
/// place on, and looking at all eight costs as much as eight rounds.
const THOROUGH_EVERY: u32 = 8;

/// How long a node that was said to speak for a partner, and says otherwise itself, is not kept, in milliseconds.
const REFUTED_MS: u64 = 600_000;

/// Such nodes that are remembered of one partner: two for each of its places.
const REFUTED_MAX: usize = 16;

/// Why a card that was found leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartnerCardError {
    /// It does not hold, or not here.
    #[error(transparent)]
    Card(#[from] CardError),
    /// It belongs elsewhere.
    #[error("the card is filed under another party's key")]
    OtherPlace,
}

/// A partner as it was seen last, for people and tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartnerSummary {
    /// Who.
    pub party: PartyId,
    /// Its connected nodes, by slot.
    pub nodes: Vec<NodeId>,
    /// Since when it has none and is looked for, in unix milliseconds.
    pub looked_for_since_unix_ms: Option<u64>,
}

/// All partners.
#[derive(Debug, Default)]
pub(super) struct Partners {
    /// Those that the policy names.
    named: Option<BTreeSet<PartyId>>,
    /// What each live agreement leads to. Bounded by the agreements.
    agreed: BTreeMap<Digest, Option<Agreed>>,
    /// Bounded by agreements and rules of the policy.
    sought: BTreeMap<PartyId, Sought>,
    /// The nodes that are kept.
    kept: BTreeSet<NodeId>,
    /// On the monotonic clock.
    check_at_ms: u64,
}

/// Between a party of ours and a partner.
#[derive(Clone, Debug)]
struct Agreed {
    partner: PartyId,
    /// The node that signed for it.
    node: Option<NodeId>,
}

/// Where a partner is.
#[derive(Debug)]
struct Sought {
    connected: Vec<NodeId>,
    /// Since when it is not connected, in unix milliseconds.
    away_since_unix_ms: Option<u64>,
    /// When it is looked for next, on the monotonic clock.
    look_at_ms: u64,
    /// When it was looked for last.
    looked_ms: u64,
    wait_ms: u64,
    round: u32,
    /// The place that is looked at now, and until when.
    looking: Option<(u8, u64)>,
    /// By place: number of the newest card, and the node that it names.
    cards: BTreeMap<u8, (u64, NodeId)>,
    /// Where else its nodes may be.
    hints: BTreeSet<NodeId>,
    /// Nodes that do not speak for it, and until when that is remembered, on the monotonic clock.
    refuted: BTreeMap<NodeId, u64>,
}

impl Partners {
    /// Something happened that may concern a partner.
    pub(super) fn look_soon(&mut self) {
        if !self.sought.is_empty() {
            self.check_at_ms = 0;
        }
    }

    /// Another policy names and denies others.
    pub(super) fn policy_changed(&mut self) {
        self.named = None;
        self.agreed.clear();
        self.check_at_ms = 0;
    }

    /// An agreement began or ended.
    pub(super) fn agreements_changed(&mut self) {
        self.check_at_ms = 0;
    }

    /// Whether it is time.
    pub(super) fn is_due(&self, now_ms: u64) -> bool {
        self.check_at_ms <= now_ms
    }

    fn under_way(&self) -> usize {
        self.sought.values().filter(|sought| sought.looking.is_some()).count()
    }
}

impl Sought {
    fn new(now: Now) -> Sought {
        Sought {
            connected: Vec::new(),
            away_since_unix_ms: Some(now.unix_ms),
            look_at_ms: now.mono_ms,
            looked_ms: 0,
            wait_ms: WAIT_MS_MIN,
            round: 0,
            looking: None,
            cards: BTreeMap::new(),
            hints: BTreeSet::new(),
            refuted: BTreeMap::new(),
        }
    }

    fn sees(&mut self, connected: Vec<NodeId>, now: Now) {
        match (self.away_since_unix_ms, connected.is_empty()) {
            (Some(_), false) => {
                (self.away_since_unix_ms, self.wait_ms) = (None, WAIT_MS_MIN);
                // Its cards are looked at once in any case: it may have more nodes.
                if self.round > 0 {
                    self.look_at_ms = now.mono_ms + WAIT_CONNECTED_MS;
                }
            }
            (None, true) => {
                (self.away_since_unix_ms, self.wait_ms) = (Some(now.unix_ms), WAIT_MS_MIN);
                // At once, but not for each time that a link flickers.
                self.look_at_ms = now.mono_ms.max(self.looked_ms + WAIT_MS_MIN);
            }
            _ => {}
        }
        self.connected = connected;
    }

    /// Nodes that may be its, beside those that are connected. `elsewhere` are nodes that said for whom they speak.
    fn candidates(&mut self, elsewhere: &BTreeSet<NodeId>, now: Now) -> BTreeSet<NodeId> {
        self.refuted.retain(|_, until_ms| *until_ms > now.mono_ms);
        let named = self.cards.values().map(|(_, node)| node);
        let hinted = self.hints.iter().filter(|_| self.connected.is_empty());
        let all: BTreeSet<NodeId> =
            named.chain(hinted).filter(|node| !self.connected.contains(node)).cloned().collect();
        for node in all.intersection(elsewhere) {
            if self.refuted.len() < REFUTED_MAX {
                self.refuted.entry(node.clone()).or_insert(now.mono_ms + REFUTED_MS);
            }
        }
        let holds = |node: &NodeId| !self.refuted.contains_key(node) && !elsewhere.contains(node);
        all.into_iter().filter(holds).collect()
    }
}

impl Roaming {
    /// The connected nodes that speak for a party now: they introduced themselves with a delegation of it that
    /// nobody has revoked. By slot; empty if the party cannot be reached.
    pub fn nodes_of(&self, party: &PartyId, now: Now) -> Vec<NodeId> {
        let of_party = self.introduced_speakers(now).filter(|(_, speaker)| speaker.party() == party);
        let alive = of_party.filter(|(_, speaker)| !self.is_dead(speaker));
        let nodes: BTreeSet<(u8, &NodeId)> = alive.map(|(node, speaker)| (speaker.slot(), node)).collect();
        nodes.into_iter().map(|(_, node)| node.clone()).collect()
    }

    /// Whether money may change hands with a party now: there is an agreement in force with a party of ours, or the
    /// policy names it, for more than the public directory; it plays another role than that party of ours; and no
    /// rule denies it.
    pub fn is_partner(&self, party: &PartyId, now: Now) -> bool {
        let agreed = |kept: &Kept| kept.is_live(now) && self.partner_in(kept) == Some(party);
        self.is_named(party) || self.agreements.kept.values().any(agreed)
    }

    /// The partners as they were seen last.
    pub fn partners(&self) -> Vec<PartnerSummary> {
        let summary = |(party, sought): (&PartyId, &Sought)| PartnerSummary {
            party: party.clone(),
            nodes: sought.connected.clone(),
            looked_for_since_unix_ms: sought.away_since_unix_ms,
        };
        self.partners.sought.iter().map(summary).collect()
    }

    /// Looks who is missing, looks for them, and says whose connections are to be kept.
    pub(super) fn tick_partners(&mut self, now: Now, fx: &mut Effects) {
        if self.parties.is_empty() || !self.partners.is_due(now.mono_ms) {
            return;
        }
        let mut partners = std::mem::take(&mut self.partners);
        partners.check_at_ms = now.mono_ms + CHECK_MS;
        let hints = self.hints(&mut partners, now);
        let mut connected: BTreeMap<PartyId, BTreeSet<(u8, NodeId)>> = BTreeMap::new();
        for (node, speaker) in self.introduced_speakers(now) {
            if hints.contains_key(speaker.party()) && !self.is_dead(speaker) {
                let nodes = connected.entry(speaker.party().clone()).or_default();
                nodes.insert((speaker.slot(), node.clone()));
            }
        }
        partners.sought.retain(|party, _| hints.contains_key(party));
        for (party, hints) in hints {
            let nodes = connected.remove(&party).unwrap_or_default();
            let sought = partners.sought.entry(party).or_insert_with(|| Sought::new(now));
            sought.hints = hints;
            sought.sees(nodes.into_iter().map(|(_, node)| node).collect(), now);
        }
        self.partners = partners;
        self.look_for_missing(now, fx);
        self.keep_nodes(now, fx);
    }

    /// A card that was looked for.
    pub(super) fn card_found(&mut self, key: &Digest, bytes: &[u8], now: Now, fx: &mut Effects) {
        let Some((party, slot)) = self.looked_for(key) else { return };
        let found = match self.read_card(key, bytes, now) {
            Ok(card) => {
                self.take_card(&party, slot, &card, fx);
                true
            }
            Err(why) => {
                fx.actions.push(Action::Report(Report::PartnerCard { party: party.clone(), why }));
                false
            }
        };
        self.look_further(&party, slot, found, now, fx);
    }

    /// Nobody has the card.
    pub(super) fn card_not_found(&mut self, key: &Digest, now: Now, fx: &mut Effects) {
        if let Some((party, slot)) = self.looked_for(key) {
            self.look_further(&party, slot, false, now, fx);
        }
    }

    /// Every partner, with the nodes that may be its: those that signed for it, and the writers of its feeds.
    fn hints(&self, partners: &mut Partners, now: Now) -> BTreeMap<PartyId, BTreeSet<NodeId>> {
        let named = partners.named.get_or_insert_with(|| {
            let rules = self.agreements.policy.rules.iter().filter_map(|rule| rule.whom.party.as_ref());
            rules.filter(|party| self.is_named(party)).cloned().collect()
        });
        let mut hints: BTreeMap<PartyId, BTreeSet<NodeId>> =
            named.iter().map(|party| (party.clone(), BTreeSet::new())).collect();
        let live = |kept: Option<&Kept>| kept.is_some_and(|kept| kept.is_live(now));
        partners.agreed.retain(|id, _| live(self.agreements.kept.get(id)));
        for (id, kept) in self.agreements.kept.iter().filter(|(_, kept)| live(Some(kept))) {
            let agreed = partners.agreed.entry(*id).or_insert_with(|| self.agreed(kept));
            if let Some(Agreed { partner, node }) = agreed {
                hints.entry(partner.clone()).or_default().extend(node.clone());
            }
        }
        // What is not settled is brought to an end, also after the agreement.
        for party in self.parties_of_open_cdrs() {
            hints.entry(party).or_default();
        }
        for (party, nodes) in &mut hints {
            let feeds = Kind::ALL.map(|kind| self.feeds.get(&FeedId::public(party.clone(), kind)));
            let writers = feeds.into_iter().flatten().filter_map(|feed| feed.speaker.as_ref());
            nodes.extend(writers.filter_map(|speaker| NodeId::from_bytes(speaker.peer_id())));
        }
        hints
    }

    fn agreed(&self, kept: &Kept) -> Option<Agreed> {
        let partner = self.partner_in(kept)?.clone();
        let (chain, signed_unix_s) = if partner == kept.terms.offerer {
            (Some(&kept.papers.offerer), kept.terms.created_unix_s)
        } else {
            (kept.papers.accepter.as_ref(), kept.accepted_unix_s?)
        };
        // Its delegation may have ended since; the node may still be there.
        let speaker = chain.and_then(|chain| self.signer(chain, signed_unix_s).ok());
        let node = speaker.and_then(|speaker| NodeId::from_bytes(speaker.peer_id()));
        Some(Agreed { partner, node })
    }

    /// Whom an agreement makes a partner of ours, as long as it is in force.
    fn partner_in<'a>(&self, kept: &'a Kept) -> Option<&'a PartyId> {
        let terms = &kept.terms;
        let (ours, partner) = if self.parties.contains_key(&terms.offerer) {
            (&terms.offerer, &terms.accepter)
        } else {
            (&terms.accepter, &terms.offerer)
        };
        let may = |service: &Service| {
            self.agreements.policy.decide(partner, *service, || true) == Decision::Allowed
        };
        let foreign = !self.parties.contains_key(partner) && partner.role != ours.role;
        let mut paid = terms.services.iter().filter(|service| !service.is_public());
        (foreign && paid.any(may)).then_some(partner)
    }

    /// Whether the policy itself makes a party a partner.
    fn is_named(&self, party: &PartyId) -> bool {
        let policy = &self.agreements.policy;
        let foreign = !self.parties.contains_key(party) && self.parties.keys().any(|p| p.role != party.role);
        let named = |service: Service| {
            let fits = |rule: &super::Rule| {
                let covers = rule.services.is_empty() || rule.services.contains(&service);
                rule.allow && covers && rule.whom.party.as_ref() == Some(party)
            };
            policy.rules.iter().any(fits) && policy.decide(party, service, || false) == Decision::Allowed
        };
        foreign && Service::ALL.into_iter().any(|service| !service.is_public() && named(service))
    }

    /// Whether what a node speaks with was revoked since it showed it.
    fn is_dead(&self, speaker: &Speaker) -> bool {
        let (registry, party) = (self.speakers.registry(), speaker.party());
        let mut credentials = registry.credentials(party).filter(|c| c.hash() == speaker.credential_hash());
        registry.is_delegation_dead(party, speaker.org_key(), speaker.delegation_hash())
            || credentials.any(|credential| registry.is_credential_dead(credential))
    }

    fn look_for_missing(&mut self, now: Now, fx: &mut Effects) {
        let late: Vec<(PartyId, u8)> = (self.partners.sought.iter())
            .filter_map(|(party, sought)| Some((party, sought.looking?)))
            .filter(|(_, (_, until_ms))| *until_ms <= now.mono_ms)
            .map(|(party, (slot, _))| (party.clone(), slot))
            .collect();
        for (party, slot) in late {
            self.look_further(&party, slot, false, now, fx);
        }
        let due = |sought: &Sought| sought.looking.is_none() && sought.look_at_ms <= now.mono_ms;
        let mut waiting: Vec<(u64, PartyId)> = (self.partners.sought.iter())
            .filter(|(_, sought)| due(sought))
            .map(|(party, sought)| (sought.look_at_ms, party.clone()))
            .collect();
        waiting.sort();
        waiting.truncate(LOOKUPS_MAX.saturating_sub(self.partners.under_way()));
        for (_, party) in waiting {
            self.look_at(&party, 0, now, fx);
        }
    }

    fn look_at(&mut self, party: &PartyId, slot: u8, now: Now, fx: &mut Effects) {
        let Some(sought) = self.partners.sought.get_mut(party) else { return };
        sought.looking = Some((slot, now.mono_ms + LOOKUP_MS_MAX));
        sought.looked_ms = now.mono_ms;
        fx.actions.push(Action::FindCard { key: kad_key(self.speakers.network(), party, slot) });
    }

    /// The partner and the place that a key stands for, if it is looked for now.
    fn looked_for(&self, key: &Digest) -> Option<(PartyId, u8)> {
        let network = self.speakers.network();
        let looking =
            self.partners.sought.iter().filter_map(|(party, sought)| Some((party, sought.looking?.0)));
        let mut fitting = looking.filter(|(party, slot)| kad_key(network, party, *slot) == *key);
        fitting.next().map(|(party, slot)| (party.clone(), slot))
    }

    /// Goes on to the next place, or waits for the next round.
    fn look_further(&mut self, party: &PartyId, slot: u8, found: bool, now: Now, fx: &mut Effects) {
        let chance = self.random();
        let Some(sought) = self.partners.sought.get_mut(party) else { return };
        let thorough = sought.round.is_multiple_of(THOROUGH_EVERY) && sought.cards.is_empty();
        if slot < SLOT_MAX && (found || thorough) {
            return self.look_at(party, slot + 1, now, fx);
        }
        sought.looking = None;
        sought.round = sought.round.saturating_add(1);
        let wait_ms = if sought.away_since_unix_ms.is_some() { sought.wait_ms } else { WAIT_CONNECTED_MS };
        sought.wait_ms = WAIT_MS_MAX.min(sought.wait_ms * 2);
        sought.look_at_ms = now.mono_ms + wait_ms + chance % (wait_ms / 4 + 1);
    }

    fn read_card(&self, key: &Digest, bytes: &[u8], now: Now) -> Result<VerifiedCard, PartnerCardError> {
        let (network, trust, registry) =
            (self.speakers.network(), self.speakers.trust(), self.speakers.registry());
        let context = TrustContext { network, trust, registry, at_unix_s: now.unix_s() };
        let card = match PartyCard::verify(bytes, None, &context) {
            // Everybody's credentials are in the registry.
            Err(CardError::CredentialNeeded { hash }) => {
                PartyCard::verify(bytes, registry.bytes(&hash).map(|bytes| &**bytes), &context)
            }
            read => read,
        }?;
        if card.kad_key(network) == *key { Ok(card) } else { Err(PartnerCardError::OtherPlace) }
    }

    /// An older card than one that was seen says nothing.
    fn take_card(&mut self, party: &PartyId, slot: u8, card: &VerifiedCard, fx: &mut Effects) {
        let Some(sought) = self.partners.sought.get_mut(party) else { return };
        let Some(node) = NodeId::from_bytes(card.speaker().peer_id()) else { return };
        let seq = card.card().seq;
        if sought.cards.get(&slot).is_some_and(|(newest, _)| *newest > seq) {
            return;
        }
        sought.cards.insert(slot, (seq, node.clone()));
        for address in card.card().addresses.clone() {
            fx.actions.push(Action::KnowAddress { node: node.clone(), address });
        }
        self.partners.look_soon();
    }

    /// Says whose connections are to be kept, if that is news: first the nodes that are connected, then those that
    /// may be a partner's.
    fn keep_nodes(&mut self, now: Now, fx: &mut Effects) {
        let introduced: BTreeSet<NodeId> = self.introduced_nodes().into_iter().collect();
        let partners = &mut self.partners;
        let mut kept: BTreeSet<NodeId> =
            partners.sought.values().flat_map(|sought| &sought.connected).take(NODES_MAX).cloned().collect();
        for sought in partners.sought.values_mut() {
            for node in sought.candidates(&introduced, now) {
                if kept.len() < NODES_MAX {
                    kept.insert(node);
                }
            }
        }
        if kept != partners.kept {
            fx.actions.push(Action::KeepPartners(kept.iter().cloned().collect()));
            partners.kept = kept;
        }
    }
}
