//! Many identities that want to be all that one node sees of the network.

use std::time::Duration;

use bytes::Bytes;
use chargemesh::protocol::{Answer, NodeId, Question, SyncFrame, SyncRequest, Verdict};

use super::liar::{Act, Liar, Served};

/// Identities of one machine.
pub(super) const IDENTITIES: u32 = 12;

/// Holds on to the victim, and gives nothing.
pub(super) struct Eclipse;

impl Act for Eclipse {
    fn every(&self) -> Duration {
        Duration::from_secs(1)
    }

    /// It keeps the victim's attention: a partner's connection is not closed.
    fn tick(&mut self, liar: &mut Liar) {
        for node in liar.peers.clone() {
            liar.ask(node, &Question::HeadsOf(Vec::new()));
        }
    }

    fn gossip(&mut self, _: &mut Liar, _: &Bytes) -> Option<Verdict> {
        None
    }

    fn asked(&mut self, liar: &mut Liar, _: &NodeId, _: &Question) -> Option<Answer> {
        liar.did();
        Some(Answer::Heads(Vec::new()))
    }

    fn served(&mut self, _: &mut Liar, _: &NodeId, _: &SyncRequest) -> Served {
        Served::Frames(vec![SyncFrame::Unavailable])
    }
}
