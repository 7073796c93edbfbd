//! Pictures of the cards that EMPs know, for single partners (`protocol::CardFilter`): ours, told to the partners
//! that the settings name, and partners', by which EMPs are left out of a question about a card.
//!
//! A picture lives as long as the connection that it came over. When cards are added, it is withdrawn at once and told
//! anew a little later: an EMP is rather asked in vain than not asked for a card that it knows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::identity::{PartyId, Role};
use crate::oicp::charging::Identification;
use crate::protocol::{Answer, CARD_FILTER_KEY_BYTES, CardFilter, NodeId, Question};
use crate::roaming::effect::Effects;
use crate::roaming::input::Now;
use crate::roaming::{Pending, Roaming};

/// Bytes of partners' pictures that are kept: those of some hundred large EMPs. Beyond it an EMP is asked as if it had
/// told nothing.
const HELD_BYTES_MAX: usize = 96 * 1024 * 1024;

/// Wait before a picture that changed is told anew, in milliseconds: an upload comes in parts.
const ANEW_MS: u64 = 10_000;

/// PartyList that an EMP may name.
pub(super) const PARTNERS_MAX: usize = 1_024;

/// How the media of cards begin; every other medium names its EMP.
const CARD: &str = "rfid:";

/// Parties as a list of `ROLE:ID`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct PartyList(Vec<PartyId>);

impl PartyList {
    /// A list.
    #[must_use]
    pub fn new(parties: Vec<PartyId>) -> PartyList {
        PartyList(parties)
    }
}

impl TryFrom<Vec<String>> for PartyList {
    type Error = String;

    fn try_from(texts: Vec<String>) -> Result<PartyList, String> {
        if texts.len() > PARTNERS_MAX {
            return Err(format!("name at most {PARTNERS_MAX} parties"));
        }
        let read = |text: &String| PartyId::parse(text).map_err(|error| format!("{text:?}: {error}"));
        texts.iter().map(read).collect::<Result<_, _>>().map(PartyList)
    }
}

impl From<PartyList> for Vec<String> {
    fn from(partners: PartyList) -> Vec<String> {
        partners.0.iter().map(PartyId::to_text).collect()
    }
}

/// What a partner's node was told of an EMP of ours.
#[derive(Debug)]
struct Told {
    /// The state of the EMP's media that it was told; `None`: that there is no picture.
    version: Option<u64>,
    /// Whether it took it; unknown while it is under way.
    taken: Option<bool>,
    /// When it is told again at the earliest, on the monotonic clock.
    again_at_ms: u64,
}

/// Pictures of ours and of others.
#[derive(Debug, Default)]
pub(in crate::roaming) struct CardFilters {
    /// How often the media of each EMP of ours have changed.
    versions: BTreeMap<PartyId, u64>,
    told: BTreeMap<(NodeId, PartyId), Told>,
    held: BTreeMap<(NodeId, PartyId), CardFilter>,
    /// What our pictures' keys are made from.
    secret: Option<[u8; 16]>,
}

impl CardFilters {
    /// A peer is gone.
    pub(in crate::roaming) fn forget(&mut self, node: &NodeId) {
        self.told.retain(|(of, _), _| of != node);
        self.held.retain(|(of, _), _| of != node);
    }

    /// How many pictures of others are held.
    #[cfg(test)]
    pub(in crate::roaming) fn held_count(&self) -> usize {
        self.held.len()
    }
}

impl Roaming {
    /// What an EMP of ours uploaded has changed.
    pub(super) fn media_changed(&mut self, party: &PartyId, now: Now, fx: &mut Effects) {
        *self.charging.card_filters.versions.entry(party.clone()).or_default() += 1;
        self.tick_card_filters(now, fx);
    }

    /// Tells partners what they do not know yet.
    pub(in crate::roaming) fn tick_card_filters(&mut self, now: Now, fx: &mut Effects) {
        if self.charging.config.card_filter_for.0.is_empty() {
            return;
        }
        let partners = self.charging.config.card_filter_for.0.clone();
        let emps: Vec<PartyId> =
            self.parties.keys().filter(|party| party.role == Role::Emp).cloned().collect();
        for partner in partners.iter().filter(|partner| partner.role == Role::Cpo) {
            for node in self.nodes_of(partner, now) {
                for emp in &emps {
                    self.tell_card_filter(&node, partner, emp, now, fx);
                }
            }
        }
    }

    fn tell_card_filter(
        &mut self,
        node: &NodeId,
        partner: &PartyId,
        emp: &PartyId,
        now: Now,
        fx: &mut Effects,
    ) {
        let version = self.charging.card_filters.versions.get(emp).copied().unwrap_or(0);
        let knows_cards = self.media_of(emp) > 0;
        let place = (node.clone(), emp.clone());
        let told = self.charging.card_filters.told.get(&place);
        let next = match told {
            // Who was told nothing asks for everything anyway.
            None if !knows_cards => return,
            None => Some(version),
            Some(Told { taken: None, .. }) => return,
            Some(told) => {
                let wanted = knows_cards.then_some(version);
                let is_due = told.again_at_ms <= now.mono_ms;
                match (told.version == wanted, told.taken == Some(true)) {
                    (true, true) => return,
                    // An old picture must not stay: it would hide the new cards.
                    (false, _) if !is_due && told.version.is_some() => None,
                    _ if is_due => wanted,
                    _ => return,
                }
            }
        };
        let filter = next.and_then(|_| self.card_filter(partner, emp));
        let version = filter.as_ref().and(next);
        let filter = filter.unwrap_or_else(|| CardFilter::withdrawn(emp.to_text()));
        let again_at_ms = now.mono_ms + ANEW_MS;
        self.charging.card_filters.told.insert(place, Told { version, taken: None, again_at_ms });
        let question = Question::CardFilter(Box::new(filter));
        self.ask(node.clone(), Pending::CardFilter(emp.clone()), question, now, fx);
    }

    fn card_filter(&mut self, partner: &PartyId, emp: &PartyId) -> Option<CardFilter> {
        let secret = match self.charging.card_filters.secret {
            Some(secret) => secret,
            None => {
                let secret = self.random_16();
                *self.charging.card_filters.secret.insert(secret)
            }
        };
        // The same for one partner as long as the node runs: of pictures under two keys what is in both is known.
        let hash = Sha256::new().chain_update(secret).chain_update(partner.to_text()).finalize();
        let mut key = [0; CARD_FILTER_KEY_BYTES];
        key.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
        let media = self.charging.media.get(emp)?;
        let cards: Vec<&str> =
            media.keys().map(|key| key.expose()).filter(|medium| medium.starts_with(CARD)).collect();
        CardFilter::of(emp.to_text(), key, cards.into_iter())
    }

    /// A partner's node took a picture of ours, or did not.
    pub(in crate::roaming) fn card_filter_answered(
        &mut self,
        node: &NodeId,
        emp: &PartyId,
        answer: Option<&Answer>,
        now: Now,
    ) {
        let filters = &mut self.charging.card_filters;
        let Some(told) = filters.told.get_mut(&(node.clone(), emp.clone())) else { return };
        // A version that does not know pictures will not learn it while it runs.
        let settled = matches!(answer, Some(Answer::Noted | Answer::Unsupported));
        told.taken = Some(settled);
        told.again_at_ms = told.again_at_ms.max(now.mono_ms + ANEW_MS);
    }

    /// A peer shows which cards its EMP knows.
    pub(in crate::roaming) fn card_filter_told(
        &mut self,
        from: &NodeId,
        filter: CardFilter,
        now: Now,
    ) -> Answer {
        let Ok(emp) = PartyId::parse(&filter.party) else { return Answer::NotFound };
        let ours_asks = self.parties.keys().any(|party| party.role == Role::Cpo);
        if emp.role != Role::Emp || !ours_asks || !self.parties_of(from, now).contains(&emp) {
            return Answer::NotFound;
        }
        let held = &mut self.charging.card_filters.held;
        held.remove(&(from.clone(), emp.clone()));
        if filter.is_withdrawn() {
            return Answer::Noted;
        }
        let bytes: usize = held.values().map(CardFilter::size).sum();
        if bytes + filter.size() > HELD_BYTES_MAX {
            return Answer::NotFound;
        }
        held.insert((from.clone(), emp), filter);
        Answer::Noted
    }

    /// Whether an EMP has said that it cannot know a card: each of its connected nodes, for each answers from what
    /// was uploaded to itself.
    pub(super) fn cannot_know(&self, emp: &PartyId, shown: &Identification, now: Now) -> bool {
        let held = &self.charging.card_filters.held;
        if held.is_empty() || shown.evco_id().is_some() {
            return false;
        }
        let medium = shown.medium_key();
        let says_no = |node: NodeId| {
            held.get(&(node, emp.clone())).is_some_and(|filter| !filter.may_know(medium.expose()))
        };
        let nodes = self.nodes_of(emp, now);
        !nodes.is_empty() && nodes.into_iter().all(says_no)
    }
}
