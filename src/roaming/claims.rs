//! Who is shown for an EVSE that several parties publish.
//!
//! The view is a pure function of the set of feeds (`decisions.md` 2, 3): the order in which they came
//! does not matter. A losing record stays in its feed, is in no pull, and both publishers are told.

use std::collections::{BTreeMap, BTreeSet};

use crate::identity::{GrantClass, PartyId};
use crate::oicp::id::EvseKey;
use crate::protocol::Kind;

/// A claim conflict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The party that is shown; `None` in a tie.
    pub shown: Option<PartyId>,
    /// All parties that claim the EVSE, in order.
    pub claimed_by: Vec<PartyId>,
}

/// Decides between claims of one EVSE: the lowest class wins, a tie within one class hides all.
pub fn decide(claims: &[(PartyId, GrantClass)]) -> Option<PartyId> {
    let best = claims.iter().map(|(_, class)| *class).min()?;
    let mut winners = claims.iter().filter(|(_, class)| *class == best);
    let winner = winners.next()?;
    winners.next().is_none().then(|| winner.0.clone())
}

/// Which parties may publish what, and which EVSEs are claimed twice.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// Parties by the operator part that they may publish under. Most have one, so that "who else
    /// could claim this EVSE?" is answered without an index over all EVSEs.
    publishers: BTreeMap<String, BTreeSet<PartyId>>,
    conflicts: BTreeMap<(Kind, EvseKey), Conflict>,
}

impl Claims {
    /// A party may publish under this operator part.
    pub(super) fn add_publisher(&mut self, operator: &str, party: &PartyId) {
        if self.publishers.get(operator).is_some_and(|parties| parties.contains(party)) {
            return;
        }
        self.publishers.entry(operator.to_owned()).or_default().insert(party.clone());
    }

    /// Parties that may publish under this operator part.
    pub(super) fn publishers(&self, operator: &str) -> impl Iterator<Item = &PartyId> {
        self.publishers.get(operator).into_iter().flatten()
    }

    /// Parties that may publish under this operator part, if there are several.
    pub(super) fn rivals(&self, operator: &str) -> Option<&BTreeSet<PartyId>> {
        self.publishers.get(operator).filter(|parties| parties.len() > 1)
    }

    /// Records how a conflict stands now and gives how it stood before.
    pub(super) fn settle(&mut self, kind: Kind, key: &EvseKey, now: Option<Conflict>) -> Option<Conflict> {
        match now {
            Some(conflict) => self.conflicts.insert((kind, key.clone()), conflict),
            None => self.conflicts.remove(&(kind, key.clone())),
        }
    }

    /// How a conflict stands; `None` if there is none.
    pub(super) fn get(&self, kind: Kind, key: &EvseKey) -> Option<&Conflict> {
        self.conflicts.get(&(kind, key.clone()))
    }

    /// All conflicts.
    pub(super) fn conflicts(&self) -> impl Iterator<Item = (&(Kind, EvseKey), &Conflict)> {
        self.conflicts.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Role;

    fn party(id: &str) -> PartyId {
        PartyId::new(Role::Cpo, id).unwrap()
    }

    #[test]
    fn precedence() {
        use GrantClass::{CounterSigned, IssuerOnly, MainId};
        let (a, b, c) = (party("CH*AAA"), party("CH*BBB"), party("CH*CCC"));
        let table = [
            (vec![], None),
            (vec![(a.clone(), IssuerOnly)], Some(a.clone())),
            (vec![(a.clone(), MainId), (b.clone(), IssuerOnly)], Some(a.clone())),
            (vec![(a.clone(), IssuerOnly), (b.clone(), CounterSigned)], Some(b.clone())),
            (vec![(a.clone(), MainId), (b.clone(), CounterSigned)], Some(a.clone())),
            (vec![(a.clone(), IssuerOnly), (b.clone(), CounterSigned), (c.clone(), MainId)], Some(c.clone())),
            (vec![(a.clone(), CounterSigned), (b.clone(), CounterSigned), (c.clone(), IssuerOnly)], None),
            (vec![(a.clone(), IssuerOnly), (b.clone(), IssuerOnly)], None),
            (vec![(a.clone(), IssuerOnly), (b.clone(), IssuerOnly), (c.clone(), MainId)], Some(c.clone())),
        ];
        for (claims, shown) in table {
            assert_eq!(decide(&claims), shown, "{claims:?}");
            let reversed: Vec<_> = claims.into_iter().rev().collect();
            assert_eq!(decide(&reversed), shown, "the order of arrival does not matter");
        }
    }
}
