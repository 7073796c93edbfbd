//! Tells the mesh where partners may be and whose connections are to be kept.

use crate::mesh::{Mesh, Refused};
use crate::protocol::{Digest, NodeId};

/// Partner nodes that the mesh had no room to hear of yet: the core says them only once.
#[derive(Default)]
pub(super) struct PartnerNodes(Option<Vec<NodeId>>);

impl PartnerNodes {
    /// These are to be kept connected from now on.
    pub(super) fn keep(&mut self, mesh: &Mesh, nodes: Vec<NodeId>) {
        self.0 = Some(nodes);
        self.tell(mesh);
    }

    /// Tells the mesh what it has not taken yet.
    pub(super) fn tell(&mut self, mesh: &Mesh) {
        let Some(nodes) = self.0.take() else { return };
        if mesh.keep_partners(nodes.clone()) == Err(Refused::Busy) {
            self.0 = Some(nodes);
        }
    }
}

/// Looks for a card. One that finds no room is given up by the core after a while, and looked for again.
pub(super) fn find_card(mesh: &Mesh, key: Digest) {
    if let Err(error) = mesh.find_card(key) {
        tracing::debug!(%error, "a partner's card is not looked for now");
    }
}

/// Notes an address. One that finds no room is found again with the next card.
pub(super) fn know_address(mesh: &Mesh, node: NodeId, address: String) {
    if let Err(error) = mesh.add_known_address(node, address) {
        tracing::debug!(%error, "an address of a partner was not noted");
    }
}
