//! The core's view as people, metrics and tests see it.

use super::agreements::agreement_view;
use super::handle::{ConflictView, FeedView, HeldView, NodeView, PeerView};
use crate::identity::PartyId;
use crate::mesh::PeerInfo;
use crate::roaming::{FeedSummary, View};

/// Joins what the core and the mesh know.
pub(crate) fn node_view(node: &str, parties: Vec<String>, view: View, peers: Vec<PeerInfo>) -> NodeView {
    let conflict =
        |(kind, key, conflict, told): (crate::protocol::Kind, _, crate::roaming::Conflict, bool)| {
            let key: crate::oicp::id::EvseKey = key;
            ConflictView {
                key: key.as_str().to_owned(),
                kind: kind.name(),
                shown: conflict.shown.as_ref().map(PartyId::to_text),
                claimed_by: conflict.claimed_by.iter().map(PartyId::to_text).collect(),
                reported_by_peer: told,
            }
        };
    NodeView {
        node: node.to_owned(),
        parties,
        feeds: view.feeds.iter().map(feed_view).collect(),
        conflicts: view.conflicts.into_iter().map(conflict).collect(),
        peers: peers.iter().map(peer_view).collect(),
        held: view.held.iter().map(held_view).collect(),
        agreements: view.agreements.iter().map(agreement_view).collect(),
        view_evses: view.view_evses,
        view_statuses: view.view_statuses,
        records_accepted: view.records_accepted,
        records_refused: view.records_refused,
        full_loads: view.full_loads,
    }
}

fn feed_view(feed: &FeedSummary) -> FeedView {
    FeedView {
        party: feed.feed.party.to_text(),
        kind: feed.feed.kind.name(),
        operator_id: feed.operator_id.clone(),
        operator_name: feed.operator_name.clone(),
        count: feed.count,
        shadowed: feed.shadowed,
        seq: feed.seq,
        incarnation: feed.incarnation,
        root: feed.root.iter().map(|byte| format!("{byte:02x}")).collect(),
        in_sync: feed.in_sync,
        state: feed.state,
        confirmed_at_unix_ms: feed.confirmed_at_unix_ms,
        own: feed.own,
    }
}

fn peer_view(peer: &PeerInfo) -> PeerView {
    PeerView {
        node: peer.node_text.clone(),
        address: peer.address.clone(),
        rtt_ms: peer.rtt.map(|rtt| rtt.as_secs_f64() * 1_000.0),
        purpose: peer.purpose.as_str().to_owned(),
    }
}

fn held_view(held: &crate::roaming::change::HeldPush) -> HeldView {
    HeldView {
        id: held.id,
        feed: held.feed.to_string(),
        removes: held.removes,
        of: held.of,
        at_unix_ms: held.at_unix_ms,
    }
}
