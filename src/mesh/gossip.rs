//! Announcements to everybody: gossipsub without its own signatures (an announcement is signed by its
//! writer), named by content, passed on only after the engine's verdict.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use bytes::Bytes;
use libp2p::PeerId;
use libp2p::gossipsub::{
    self, ConfigBuilder, IdentTopic, MessageAcceptance, MessageAuthenticity, MessageId, PeerScoreParams,
    PeerScoreThresholds, PublishError, TopicScoreParams, ValidationMode,
};
use sha2::{Digest as _, Sha256};

use super::actor::Actor;
use super::crowd::COLOCATED_MAX;
use super::event::{GossipToken, MeshEvent, Penalty};
use super::transport::node_id;
use super::{Config, MeshError};
use crate::protocol::{GOSSIP_BYTES_MAX, Topic, Verdict};

/// Room for gossipsub's own frame around a message, in bytes.
const ENVELOPE_BYTES: usize = 4 * 1024;

/// How long a message is known as a duplicate; longer than any path through the mesh.
const DUPLICATE_CACHE: Duration = Duration::from_secs(120);

/// Messages that wait for one peer: at 64 KiB 16 MB, dropped when they are older than a few seconds.
const QUEUE_MESSAGES_MAX: usize = 256;

/// Messages in one RPC: a flush of a whole queue.
const MESSAGES_PER_RPC_MAX: usize = 256;

/// Message ids offered or asked for in one heartbeat: 1,000 ids are 20 s at 50 messages a second.
const CONTROL_MESSAGES_MAX: usize = 1_000;

/// Heartbeats for which a message can still be judged, and asked for by others.
const HISTORY_HEARTBEATS: usize = 12;

/// Score below which a peer gets no gossip from us: one offence of the application, or two invalid
/// messages.
const GOSSIP_THRESHOLD: f64 = -30.0;

/// Score below which we do not publish to a peer.
const PUBLISH_THRESHOLD: f64 = -60.0;

/// Score below which everything a peer gossips is ignored: three invalid messages in a minute.
const GRAYLIST_THRESHOLD: f64 = -80.0;

/// What each of the nodes on one machine loses where there are more than [`COLOCATED_MAX`]: so much times the square of
/// how many are too many.
const COLOCATION_WEIGHT: f64 = -0.5;

pub(super) fn build(config: &Config) -> Result<gossipsub::Behaviour, MeshError> {
    let failed = |why: String| MeshError::Build { part: "gossip", why };
    let mut settings = ConfigBuilder::default();
    for topic in Topic::ALL {
        let (topic, partners) = (ident(topic, config).hash(), partners(topic));
        settings
            .mesh_n_for_topic(partners.wanted, topic.clone())
            .mesh_n_low_for_topic(partners.low, topic.clone())
            .mesh_n_high_for_topic(partners.high, topic.clone())
            .mesh_outbound_min_for_topic(partners.own, topic);
    }
    let settings = settings
        .protocol_id_prefix(format!("/chargemesh/{}/gossip", config.network))
        .validation_mode(ValidationMode::Anonymous)
        .message_id_fn(|message| message_id(message.topic.as_str(), &message.data))
        .validate_messages()
        .flood_publish(true)
        .max_transmit_size(GOSSIP_BYTES_MAX + ENVELOPE_BYTES)
        .duplicate_cache_time(DUPLICATE_CACHE)
        .heartbeat_interval(Duration::from_millis(config.heartbeat_ms))
        .heartbeat_initial_delay(Duration::from_millis(config.heartbeat_ms))
        .history_length(HISTORY_HEARTBEATS)
        .history_gossip(3)
        .connection_handler_queue_len(QUEUE_MESSAGES_MAX)
        .publish_queue_duration(Duration::from_secs(5))
        .forward_queue_duration(Duration::from_secs(2))
        .max_publish_messages(MESSAGES_PER_RPC_MAX)
        .max_control_messages_sent(CONTROL_MESSAGES_MAX)
        .build()
        .map_err(|error| failed(error.to_string()))?;
    let mut behaviour =
        gossipsub::Behaviour::new(MessageAuthenticity::Anonymous, settings).map_err(|e| failed(e.into()))?;
    behaviour.with_peer_score(score_params(config), thresholds()).map_err(failed)?;
    Ok(behaviour)
}

/// How many partners a topic has in gossipsub's mesh.
struct Partners {
    wanted: usize,
    low: usize,
    high: usize,
    /// Of these, how many at least this node dialled itself.
    own: usize,
}

/// Each topic chooses its partners by itself, and each partner is a connection: what is rare, and is compared
/// anyway, makes do with few.
fn partners(topic: Topic) -> Partners {
    match topic {
        Topic::Status => Partners { wanted: 6, low: 5, high: 9, own: 2 },
        Topic::Data => Partners { wanted: 5, low: 4, high: 8, own: 2 },
        Topic::Pricing | Topic::Heads | Topic::Identity => Partners { wanted: 3, low: 2, high: 5, own: 1 },
    }
}

/// Names a message by its content: whoever writes the same twice says it once.
fn message_id(topic: &str, data: &[u8]) -> MessageId {
    let mut hash = Sha256::new();
    hash.update((topic.len() as u64).to_be_bytes());
    hash.update(topic);
    hash.update(data);
    hash.finalize().iter().take(20).copied().collect::<Vec<u8>>().into()
}

fn thresholds() -> PeerScoreThresholds {
    PeerScoreThresholds {
        gossip_threshold: GOSSIP_THRESHOLD,
        publish_threshold: PUBLISH_THRESHOLD,
        graylist_threshold: GRAYLIST_THRESHOLD,
        ..PeerScoreThresholds::default()
    }
}

fn score_params(config: &Config) -> PeerScoreParams {
    let topics: HashMap<_, _> =
        Topic::ALL.map(|topic| (ident(topic, config).hash(), topic_score_params())).into_iter().collect();
    PeerScoreParams {
        topics,
        topic_score_cap: 50.0,
        // The application's score is given in points already.
        app_specific_weight: 1.0,
        // Whoever has many names on one machine gets what is published, but is nobody's gossip partner there: else some
        // machines could be all the partners that a node has. With as many as a machine may have (`crowd.rs`) the score
        // stays above all thresholds; partners and nodes to keep come on top of that, and are not exempt here: with
        // thirteen on one machine nothing is published to them directly, with fifteen they are not listened to.
        ip_colocation_factor_weight: COLOCATION_WEIGHT,
        ip_colocation_factor_threshold: COLOCATED_MAX as f64,
        // Many nodes on one machine are a test, not an attack.
        ip_colocation_factor_whitelist: HashSet::from([
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
        ]),
        // A node that is busy for a moment is slow, not bad.
        slow_peer_threshold: 50.0,
        ..PeerScoreParams::default()
    }
}

/// A topic may be quiet for hours: silence costs nothing (P3 and P3b off), being early and long in the
/// mesh earns a little, an invalid message costs much, the second one more (P4 is squared).
fn topic_score_params() -> TopicScoreParams {
    TopicScoreParams {
        topic_weight: 1.0,
        time_in_mesh_weight: 0.01,
        time_in_mesh_quantum: Duration::from_secs(1),
        time_in_mesh_cap: 300.0,
        first_message_deliveries_weight: 0.1,
        first_message_deliveries_decay: 0.9,
        first_message_deliveries_cap: 50.0,
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        invalid_message_deliveries_weight: -10.0,
        invalid_message_deliveries_decay: 0.99,
        ..TopicScoreParams::default()
    }
}

pub(super) fn ident(topic: Topic, config: &Config) -> IdentTopic {
    IdentTopic::new(topic.name(&config.network))
}

impl Actor {
    /// Publishes, whether this node is subscribed or not.
    pub(super) fn publish(&mut self, topic: Topic, data: Bytes) {
        let name = ident(topic, &self.config);
        self.published.insert(topic);
        let Some(gossip) = self.swarm.behaviour_mut().gossip.as_mut() else { return };
        match gossip.publish(name, data.to_vec()) {
            Ok(_) => self.counts.published += 1,
            // The same words again: they are on their way already.
            Err(PublishError::Duplicate) => {}
            // Heads are compared when a peer connects: it will ask for what it missed.
            Err(PublishError::NoPeersSubscribedToTopic) => self.counts.published_to_nobody += 1,
            Err(error) => {
                self.counts.publish_failed += 1;
                tracing::warn!(?topic, %error, "an announcement was not published; repair will bring it");
            }
        }
    }

    /// Passes the engine's verdict to gossipsub. Whoever passes on what is wrong for everybody has not
    /// judged it himself: that is an offence like others.
    pub(super) fn judge(&mut self, token: &GossipToken, verdict: Verdict) {
        if verdict == Verdict::Reject {
            self.offend(token.source, Penalty::Rejected);
        }
        let acceptance = match verdict {
            Verdict::Accept => MessageAcceptance::Accept,
            Verdict::Ignore => MessageAcceptance::Ignore,
            Verdict::Reject => MessageAcceptance::Reject,
        };
        let Some(gossip) = self.swarm.behaviour_mut().gossip.as_mut() else { return };
        if !gossip.report_message_validation_result(&token.id, &token.source, acceptance) {
            self.counts.verdicts_late += 1;
            tracing::debug!(?verdict, "a verdict came after the message was forgotten");
        }
    }

    pub(super) fn on_gossip(&mut self, event: gossipsub::Event) {
        match event {
            gossipsub::Event::Message { propagation_source: source, message_id: id, message } => {
                let token = GossipToken { id, source };
                match self.topic_of(&message.topic) {
                    Some(topic) if message.data.len() <= GOSSIP_BYTES_MAX => {
                        let from = node_id(&source);
                        self.emit(MeshEvent::Gossip { topic, from, data: message.data.into(), token });
                    }
                    _ => self.judge(&token, Verdict::Reject),
                }
            }
            gossipsub::Event::Subscribed { peer_id, topic } => self.on_subscribed(peer_id, &topic),
            gossipsub::Event::Unsubscribed { peer_id, topic } => {
                let topic = self.topic_of(&topic);
                if let (Some(peer), Some(topic)) = (self.peers.get_mut(&peer_id), topic) {
                    peer.topics.remove(&topic);
                }
            }
            gossipsub::Event::SlowPeer { peer_id, .. } => {
                tracing::debug!(peer = %peer_id, "a peer takes gossip too slowly");
            }
            gossipsub::Event::GossipsubNotSupported { .. } => {}
        }
    }

    fn on_subscribed(&mut self, peer_id: PeerId, topic: &gossipsub::TopicHash) {
        let topic = self.topic_of(topic);
        let (Some(peer), Some(topic)) = (self.peers.get_mut(&peer_id), topic) else { return };
        // Before the peer is up this is told when it is.
        if peer.topics.insert(topic) && peer.up {
            self.emit(MeshEvent::PeerSubscribed { node: node_id(&peer_id), topic });
        }
    }

    fn topic_of(&self, hash: &gossipsub::TopicHash) -> Option<Topic> {
        Topic::ALL.into_iter().find(|topic| ident(*topic, &self.config).hash() == *hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_score_parameters_are_valid_and_silence_costs_nothing() {
        score_params(&Config::default()).validate().unwrap();
        thresholds().validate().unwrap();
        assert_eq!(topic_score_params().mesh_message_deliveries_weight, 0.0);
    }

    #[test]
    fn a_message_is_named_by_topic_and_content() {
        assert_eq!(message_id("a", b"bc"), message_id("a", b"bc"));
        assert_ne!(message_id("a", b"bc"), message_id("ab", b"c"));
        assert_eq!(message_id("a", b"bc").0.len(), 20);
    }
}
