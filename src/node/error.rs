//! Why a node does not start.

use crate::engine::EngineError;
use crate::facade::FacadeError;
use crate::identity::{ChainError, IdError, PartyId};
use crate::mesh::MeshError;
use crate::outbound::OutboundError;
use crate::roaming::ReloadError;
use crate::storage::StorageError;

use super::load::LoadError;

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A file that the settings name cannot be used.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The databases cannot be opened.
    #[error("storage: {0}")]
    Storage(#[source] StorageError),
    /// What is stored cannot be read back.
    #[error("storage: {0}")]
    Restore(#[source] EngineError),
    /// The mesh cannot be started.
    #[error(transparent)]
    Mesh(MeshError),
    /// The mesh stopped while the node was starting.
    #[error("mesh: it stopped while the node was starting")]
    MeshStopped,
    /// The facade cannot be started.
    #[error("facade: {0}")]
    Facade(#[source] FacadeError),
    /// A backend of the settings cannot be used.
    #[error("outbound.backend: {0}")]
    Backend(#[source] OutboundError),
    /// The central hub cannot be used.
    #[error("hub: {0}")]
    HubData(#[source] crate::hub::HubStartError),
    /// The hub of the settings cannot be used.
    #[error("hub.url: {0}")]
    Hub(#[source] OutboundError),
    /// A backend's party cannot be read.
    #[error("outbound.backend.party: {source}; write ROLE:ID, for example CPO:DE*ABC")]
    BackendParty {
        /// What is wrong.
        source: IdError,
    },
    /// The node key cannot be replaced while the node runs.
    #[error("the node key is another than the running one: a new node key needs a restart")]
    OtherNodeKey,
    /// What was loaded anew cannot take the place of what is in use.
    #[error(transparent)]
    Reload(#[from] ReloadError),
    /// The engine did not take what was loaded anew.
    #[error(transparent)]
    Engine(EngineError),
    /// A lower version of the trust list than one that was in use here.
    #[error(
        "the trust list has the version {seq}, and this node has used version {seen} of the same signer: somebody \
         has put an old list back, which may lack what was withdrawn since. Install the newest list"
    )]
    TrustListRolledBack {
        /// Version of the list.
        seq: u64,
        /// Highest version that was ever in use.
        seen: u64,
    },
    /// A party's own credential does not hold here.
    #[error(
        "the credential of {party} does not hold: {source}. Is its issuer in the trust list of this node?"
    )]
    Credential {
        /// The party.
        party: PartyId,
        /// Why.
        source: ChainError,
    },
    /// A party's delegation names another key or node than this one has.
    #[error("the delegation of {party} {what}: issue a new one with the org key")]
    Delegation {
        /// The party.
        party: PartyId,
        /// What does not fit.
        what: &'static str,
    },
}
