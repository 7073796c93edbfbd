//! Who a node is: its own key, whom it believes, and the parties that it speaks for.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::NodeError;
use crate::identity::{Chain, PartyId, PublicKey, Registry, SecretKey, TrustContext, TrustList};
use crate::mesh;
use crate::roaming::OurParty;

/// Who a node is.
#[derive(Clone)]
pub struct Identity {
    /// Secret seed of the node's ed25519 key, the one that its peer id is made of.
    pub node_seed: Zeroizing<[u8; 32]>,
    /// Whom this node believes.
    pub trust: TrustList,
    /// Who signed its trust list; none if it has only pins, or the list comes from nowhere.
    pub trust_signer: Option<PublicKey>,
    /// The parties that it speaks for; a bootstrap node has none.
    pub parties: Vec<OurParty>,
}

impl Identity {
    /// A node without a party.
    pub fn without_party(node_seed: [u8; 32], trust: TrustList) -> Identity {
        Identity { node_seed: Zeroizing::new(node_seed), trust, trust_signer: None, parties: Vec::new() }
    }

    /// Adds a party, after checking what every peer will check: that its chain holds, and that it speaks
    /// of this node and this key.
    ///
    /// # Errors
    /// [`NodeError::Credential`] and [`NodeError::Delegation`].
    pub fn add_party(
        &mut self,
        network: &str,
        party: PartyId,
        operator_name: &str,
        chain: Chain,
        message_key: SecretKey,
        now_unix_s: u64,
    ) -> Result<(), NodeError> {
        let registry = Registry::empty();
        let context =
            TrustContext { network, trust: &self.trust, registry: &registry, at_unix_s: now_unix_s };
        let verified = chain.verify(&context);
        let speaker = verified.map_err(|source| NodeError::Credential { party: party.clone(), source })?;
        let misfit = |what| NodeError::Delegation { party: party.clone(), what };
        let node = mesh::node_id_of_seed(&self.node_seed).map_err(NodeError::Mesh)?;
        if *speaker.party() != party {
            return Err(misfit("is for another party"));
        }
        if speaker.peer_id() != node.as_bytes() {
            return Err(misfit("names another node"));
        }
        if *speaker.message_key() != message_key.public() {
            return Err(misfit("names another message key"));
        }
        self.parties.push(OurParty {
            party,
            operator_name: operator_name.to_owned(),
            speaker: Arc::new(speaker),
            chain,
            message_key: Arc::new(message_key),
        });
        Ok(())
    }
}
