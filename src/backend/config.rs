//! Settings of a backend that is played.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::behaviour::Behaviours;
use super::operation::Kind;
use crate::engine::Clock;
use crate::oicp::charging::Uid;
use crate::oicp::evco::EvcoId;
use crate::oicp::id::{OperatorId, ProviderId};

/// Settings of a backend.
#[derive(Clone)]
pub struct Config {
    /// The side that it plays.
    pub kind: Kind,
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// How it behaves at first.
    pub behaviours: Behaviours,
    /// The cards that an EMP authorizes; without cards and contracts it authorizes everybody.
    pub cards: Vec<Uid>,
    /// The contracts that an EMP authorizes, whatever the medium.
    pub contracts: Vec<EvcoId>,
    /// The EMP's own id in its answers; without it that of the contract, if the medium names one.
    pub provider: Option<ProviderId>,
    /// What a CPO does after a remote start; nothing without it.
    pub play: Option<Play>,
    /// Says when something was received.
    pub clock: Arc<dyn Clock>,
}

impl Config {
    /// A backend that answers everything well, on a free port of loopback.
    #[must_use]
    pub fn new(kind: Kind, clock: Arc<dyn Clock>) -> Config {
        Config {
            kind,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            behaviours: Behaviours::default(),
            cards: Vec::new(),
            contracts: Vec::new(),
            provider: None,
            play: None,
            clock,
        }
    }
}

/// How a CPO plays the session of a remote start that it accepted: notifications of its start, of its progress
/// and of its end, and its charge detail record.
#[derive(Clone)]
pub struct Play {
    /// Base URL of the CPO's own node.
    pub node: String,
    /// The key that the node asks for.
    pub key: Option<String>,
    /// The CPO.
    pub operator: OperatorId,
    /// How long the session lasts, unless it is stopped before.
    pub length: Duration,
}

impl fmt::Debug for Play {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may hold the key.
        f.debug_struct("Play")
            .field("operator", &self.operator)
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}
