//! The core's view as people, metrics and tests see it.

use std::collections::BTreeMap;

use super::agreements::agreement_view;
use super::cdrs::CdrCounts;
use super::handle::{
    ConflictView, FeedView, IssuerView, NodeView, OwnPartyView, PartyView, StatusListView, TrustSummary,
};
use super::peer_view::{HeldView, PartnerView, PeerView};
use super::sessions::{CardsView, MessagesView};
use crate::identity::{IssuerClass, KeyPurpose, PartyId};
use crate::mesh::PeerInfo;
use crate::roaming::{
    CardQuestions, FeedSummary, IssuerSummary, OwnParty, PartnerSummary, PartySummary, TrustView, View,
};

/// The trust list in use.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct TrustListView {
    /// Its version.
    pub seq: u64,
    /// First second in which it is too old, Unix time.
    pub until_unix_s: u64,
}

/// Joins what the core and the mesh know.
pub(crate) fn node_view(
    node: &str,
    parties: Vec<String>,
    view: View,
    (session_counts, (open_cdrs, overdue_cdrs)): (BTreeMap<&'static str, u64>, CdrCounts),
    peers: Vec<PeerInfo>,
) -> NodeView {
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
        partners: view.partners.iter().map(|partner| partner_view(partner, &peers)).collect(),
        peers: peers.iter().map(peer_view).collect(),
        held: view.held.iter().map(held_view).collect(),
        agreements: view.agreements.iter().map(agreement_view).collect(),
        view_evses: view.view_evses,
        view_statuses: view.view_statuses,
        records_accepted: view.records_accepted,
        records_refused: view.records_refused,
        full_loads: view.full_loads,
        registry_objects: view.registry_objects,
        registry_root: hex(&view.registry_root),
        id_conflicts: view.id_conflicts.iter().map(|conflict| conflict.party.to_text()).collect(),
        own: view.parties.iter().map(own_view).collect(),
        trust_list: TrustListView { seq: view.trust_list.0, until_unix_s: view.trust_list.1 },
        registry_compared_unix_ms: view.registry_compared_unix_ms,
        status_lists: view.status_lists.into_iter().map(status_list_view).collect(),
        session_counts,
        open_cdrs,
        overdue_cdrs,
        cards: cards_view(view.card_questions),
        messages: view.messages_by_way.iter().map(messages_view).collect(),
        clock_off_ms: view.clock.off_ms(),
        signs: !view.clock.is_wrong(),
    }
}

fn messages_view((party, [direct, hub]): &(PartyId, [u64; 2])) -> MessagesView {
    MessagesView { partner: party.to_text(), direct: *direct, hub: *hub }
}

fn cards_view(cards: CardQuestions) -> CardsView {
    let CardQuestions { questions, told, spared, by_told } = cards;
    CardsView { questions, emps_told: told, emps_spared: spared, by_emps_told: by_told }
}

fn status_list_view((issuer, created_unix_s, until_unix_s): (String, u64, u64)) -> StatusListView {
    StatusListView { issuer, created_unix_s, until_unix_s }
}

fn own_view(own: &OwnParty) -> OwnPartyView {
    OwnPartyView {
        party: own.party.to_text(),
        epoch: own.epoch,
        delegation_until_unix_s: own.delegation_until_unix_s,
        credential_until_unix_s: own.credential_until_unix_s,
        revoked: own.revoked,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The core's view of who is who as people see it.
pub(crate) fn trust_summary(trust: &TrustView, ours: &[String]) -> TrustSummary {
    let conflicts: Vec<String> = trust.conflicts.iter().map(|conflict| conflict.party.to_text()).collect();
    let issuer = |issuer: &IssuerSummary| IssuerView {
        name: issuer.name.clone(),
        key: issuer.key.to_text(KeyPurpose::Issuer),
        class: match issuer.class {
            IssuerClass::Registrar => "registrar",
            IssuerClass::Attester => "attester",
        },
        status_list_seq: issuer.status_list_seq,
        status_list_until_unix_s: issuer.status_list_until_unix_s,
    };
    let party = |party: &PartySummary| PartyView {
        party: party.party.to_text(),
        legal_name: party.legal_name.clone(),
        org_key: party.org_key.to_text(KeyPurpose::Org),
        vouched_by: party.vouched_by.clone(),
        until_unix_s: party.until_unix_s,
        sub_ids: party.sub_ids.clone(),
        rotations: party.rotations,
        standing: party.standing.as_str(),
    };
    TrustSummary {
        list_seq: trust.list_seq,
        list_until_unix_s: trust.list_until_unix_s,
        objects: trust.objects,
        root: hex(&trust.root),
        compared_unix_ms: trust.compared_unix_ms,
        stale: trust.is_stale,
        issuers: trust.issuers.iter().map(issuer).collect(),
        parties: trust.parties.iter().map(party).collect(),
        own_conflicts: conflicts.iter().filter(|party| ours.contains(party)).cloned().collect(),
        conflicts,
    }
}

fn feed_view(feed: &FeedSummary) -> FeedView {
    FeedView {
        party: feed.feed.party.to_text(),
        kind: feed.feed.kind.name(),
        audience: feed.feed.audience.to_texts(),
        operator_id: feed.operator_id.clone(),
        operator_name: feed.operator_name.clone(),
        count: feed.count,
        shadowed: feed.shadowed,
        seq: feed.seq,
        incarnation: feed.incarnation,
        root: hex(&feed.root),
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

fn partner_view(partner: &PartnerSummary, peers: &[PeerInfo]) -> PartnerView {
    let of_partner = peers.iter().filter(|peer| partner.nodes.contains(&peer.node));
    PartnerView {
        party: partner.party.to_text(),
        connected: !partner.nodes.is_empty(),
        nodes: of_partner.map(|peer| peer.node_text.clone()).collect(),
        looked_for_since_unix_ms: partner.looked_for_since_unix_ms,
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
