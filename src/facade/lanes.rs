//! Pushes of one party go one after the other (RULES 2, GAPS C33): a fair queue per party, bounded.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::identity::PartyId;

/// One queue per party of this node.
pub(super) struct Lanes {
    lanes: BTreeMap<PartyId, Lane>,
}

struct Lane {
    /// Those that push or wait.
    places: Arc<Semaphore>,
    /// The one that pushes; tokio's semaphore serves in order of arrival.
    turn: Arc<Semaphore>,
}

/// The right to push; passes on when dropped.
pub(super) struct Turn {
    _turn: OwnedSemaphorePermit,
    _place: OwnedSemaphorePermit,
}

impl Lanes {
    pub(super) fn new(parties: &[PartyId], waiters_max: usize) -> Lanes {
        let lane = || Lane {
            places: Arc::new(Semaphore::new(waiters_max.saturating_add(1).min(Semaphore::MAX_PERMITS))),
            turn: Arc::new(Semaphore::new(1)),
        };
        Lanes { lanes: parties.iter().map(|party| (party.clone(), lane())).collect() }
    }

    /// Waits for the party's turn; `None` if too many wait already.
    pub(super) async fn turn(&self, party: &PartyId) -> Option<Turn> {
        let lane = self.lanes.get(party)?;
        let place = Arc::clone(&lane.places).try_acquire_owned().ok()?;
        let turn = Arc::clone(&lane.turn).acquire_owned().await.ok()?;
        Some(Turn { _turn: turn, _place: place })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_pushes_one_waits_the_third_is_refused() {
        let party = PartyId::parse("CPO:DEABC").unwrap();
        let lanes = Lanes::new(std::slice::from_ref(&party), 1);
        let first = lanes.turn(&party).await.unwrap();
        let second = lanes.turn(&party);
        tokio::pin!(second);
        assert!(futures::poll!(second.as_mut()).is_pending());
        assert!(lanes.turn(&party).await.is_none());
        drop(first);
        assert!(second.await.is_some());
    }
}
