//! Whom a node believes, for whom it speaks and who may do what with it, as it was loaded last; and what it knows of
//! everybody.

use std::sync::Arc;

use tokio::sync::watch;

use super::handle::{Command, Engine, EngineError};
use crate::identity::{Registry, TrustList};
use crate::roaming::{Now, OurParty, Policy, Roaming};

/// Shortest time between two copies of what is known of everybody, in milliseconds: while a node that joins learns of
/// thousands of parties, one copy for each would cost more than the rest.
const COPY_EVERY_MS: u64 = 2_000;

/// Whom a node believes, for whom it speaks, who may do what. Replaced as a whole.
#[derive(Clone)]
pub(crate) struct Standing {
    /// Whom it believes.
    pub(crate) trust: TrustList,
    /// The parties that it speaks for, with their keys.
    pub(crate) parties: Vec<OurParty>,
    /// Who may do what with them.
    pub(crate) policy: Policy,
}

/// Tells everybody who asks, and those who wait for it. Only the engine replaces it, after the core took
/// it and storage committed what followed; in a node without engine the node itself does.
pub(crate) type Standings = watch::Sender<Arc<Standing>>;

/// What a node knows of everybody, for those who check something apart from the engine: the engine's own state of some
/// seconds ago at most.
pub(crate) type Identities = watch::Sender<Arc<Registry>>;

/// Shows it when it has changed.
pub(crate) struct ShownIdentities {
    identities: Identities,
    /// Which state is shown.
    shown: Option<u64>,
    next_ms: u64,
}

impl ShownIdentities {
    pub(crate) fn new(identities: Identities) -> ShownIdentities {
        ShownIdentities { identities, shown: None, next_ms: 0 }
    }

    /// After what the core learned was committed.
    pub(crate) fn show(&mut self, core: &Roaming, now: Now) {
        let (registry, changes) = core.known_identities();
        if self.shown != Some(changes) && now.mono_ms >= self.next_ms {
            self.shown = Some(changes);
            self.next_ms = now.mono_ms + COPY_EVERY_MS;
            self.identities.send_replace(Arc::new(registry.clone()));
        }
    }
}

impl Engine {
    /// Replaces the trust list, delegations and message keys of the node's parties, and who may do what with them,
    /// while it runs. Returns when they are in use and what is signed under them is committed.
    ///
    /// # Errors
    /// [`EngineError::Reload`] if they cannot be taken; then everything is as before.
    pub async fn reload(
        &self,
        trust: TrustList,
        parties: Vec<OurParty>,
        policy: Policy,
    ) -> Result<(), EngineError> {
        let standing = Arc::new(Standing { trust, parties, policy });
        self.ask(|reply| Command::Reload { standing, reply }).await?
    }
}
