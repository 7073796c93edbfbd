//! What can be seen of the world from outside: what invariants are checked on.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use chargemesh::engine::NodeView;
use chargemesh::mesh::{MeshCounts, node_id_of_seed};
use chargemesh::node::Node;
use chargemesh::oicp::id::EvseId;
use chargemesh::protocol::{Kind, NodeId};
use chargemesh::storage::{DataQuery, PAGE_SIZE_MAX, RestoredFeed, StatusQuery};

use crate::backend::Calls;
use crate::charging::Wrong;
use crate::determinism::{elapsed, peak_rss_mb};
use crate::network::{NodeNumber, Traffic};
use crate::people::node_seed;
use crate::reference::Published;
use crate::world::{Part, World};

/// One node as it is now.
#[derive(Debug)]
pub(crate) struct NodeSeen {
    pub(crate) number: NodeNumber,
    pub(crate) id: NodeId,
    /// Nodes that it has blocked.
    pub(crate) blocked: Vec<NodeId>,
    pub(crate) part: Part,
    /// `None`: it is down, or only helps others to find each other.
    pub(crate) view: Option<NodeView>,
    pub(crate) traffic: Traffic,
    /// What its mesh counts; nothing if it is down.
    pub(crate) counts: MeshCounts,
}

/// The world as it is now.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Virtual time in milliseconds.
    pub(crate) at_ms: u64,
    pub(crate) nodes: Vec<NodeSeen>,
    /// Parties that there are, as `ROLE:ID`, whether their nodes run or not; liars too.
    pub(crate) parties: BTreeSet<String>,
    /// Of these, those in whose name liars speak.
    pub(crate) liars: BTreeSet<String>,
    pub(crate) calls: Calls,
    /// The first push that was refused, and why.
    pub(crate) refusal: Option<String>,
    /// What was found wrong about sessions while they ran.
    pub(crate) sessions_wrong: Wrong,
    /// How many sessions may have begun.
    pub(crate) sessions_begun: u64,
    /// Nodes that lost their power since the last look.
    pub(crate) lost_power: Vec<NodeNumber>,
    /// Peak of the process.
    pub(crate) rss_mb: f64,
}

/// Position of a feed's head: incarnation, seq, and its root.
pub(crate) type Position = (u64, u64, String);

impl NodeSeen {
    /// The feeds that this node holds, by party and kind.
    pub(crate) fn positions(&self) -> BTreeMap<(String, &'static str), Position> {
        let feeds = self.view.iter().flat_map(|view| &view.feeds);
        feeds
            .map(|feed| ((feed.party.clone(), feed.kind), (feed.incarnation, feed.seq, feed.root.clone())))
            .collect()
    }
}

/// Looks at the whole world. No virtual time passes.
///
/// # Errors
/// If a running node does not answer.
pub(crate) async fn look(world: &mut World) -> Result<Seen> {
    let traffic = world.network.traffic();
    let mut nodes = Vec::new();
    for host in &world.hosts {
        let (mut view, mut blocked, mut counts) = (None, Vec::new(), MeshCounts::default());
        if let Some(node) = host.node() {
            blocked = node.mesh().blocked().await?;
            counts = node.mesh().counts().await?;
            if let Some(engine) = node.engine() {
                view = Some(engine.view().await?);
            }
        }
        let (number, part, traffic) = (host.number, host.part, traffic[host.number as usize]);
        if let Some(view) = &view {
            let purpose = |peer: &chargemesh::engine::PeerView| format!("{} {}", peer.address, peer.purpose);
            let peers: Vec<String> = view.peers.iter().map(purpose).collect();
            tracing::debug!(target: "world", node = number, open = traffic.open, peers = peers.join(", "));
        }
        let id = node_id_of_seed(&node_seed(number))?;
        nodes.push(NodeSeen { number, id, blocked, part, view, traffic, counts });
    }
    let known = world.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (calls, refusal) = (known.calls, known.refusal.clone());
    drop(known);
    let lost_power = std::mem::take(&mut world.lost_power);
    let liars: BTreeSet<String> = world.liars.parties().map(|(party, _)| party).collect();
    let honest = world.hosts.iter().filter_map(|host| host.party.as_ref());
    let parties = honest.map(|party| party.id.to_text()).chain(liars.iter().cloned()).collect();
    let at_ms = elapsed().as_millis() as u64;
    let (sessions_wrong, sessions_begun) = world.charges.seen();
    let rss_mb = peak_rss_mb();
    Ok(Seen {
        at_ms,
        nodes,
        parties,
        liars,
        calls,
        refusal,
        sessions_wrong,
        sessions_begun,
        lost_power,
        rss_mb,
    })
}

impl Seen {
    /// The head of each feed at its writer.
    pub(crate) fn written(&self) -> BTreeMap<(String, &'static str), Position> {
        let own = |node: &NodeSeen| {
            let feeds = node.view.iter().flat_map(|view| &view.feeds).filter(|feed| feed.own);
            feeds.map(|feed| (feed.party.clone(), feed.kind)).collect::<Vec<_>>()
        };
        let of = |node: &NodeSeen| {
            let positions = node.positions();
            own(node)
                .into_iter()
                .filter_map(move |feed| Some((feed.clone(), positions.get(&feed)?.clone())))
                .collect::<Vec<_>>()
        };
        self.nodes.iter().flat_map(of).collect()
    }

    /// Feeds that running nodes asked for as a whole since their starts.
    pub(crate) fn full_loads(&self) -> u64 {
        self.nodes.iter().flat_map(|node| &node.view).map(|view| view.full_loads).sum()
    }

    /// How many (node, feed) there are, and how many of them are what their writer has.
    pub(crate) fn in_sync(&self) -> (u64, u64) {
        let written = self.written();
        let (mut all, mut same) = (0, 0);
        for node in self.nodes.iter().filter(|node| node.view.is_some()) {
            let positions = node.positions();
            all += written.len() as u64;
            same += written.iter().filter(|(feed, head)| positions.get(*feed) == Some(*head)).count() as u64;
        }
        (all, same)
    }
}

/// What a node shows to those who pull.
///
/// # Errors
/// If its storage does not answer.
pub(crate) async fn shown(node: &Node) -> Result<Published> {
    let reader = node.reader().context("a node without a directory")?;
    let mut shown = Published::new();
    let mut query = DataQuery { size: PAGE_SIZE_MAX, ..DataQuery::default() };
    loop {
        let page = reader.data_page(query.clone()).await?;
        let full = page.rows.len() == PAGE_SIZE_MAX as usize;
        shown.extend(page.rows.into_iter().map(|row| ((Kind::Data, row.key), row.payload)));
        if !full {
            break;
        }
        query.page += 1;
        query.as_of = Some(page.version);
    }
    for row in reader.statuses(StatusQuery::default()).await? {
        // Without a data record the key itself is given.
        let key = match EvseId::parse(&row.evse_id) {
            Ok(id) => id.key().clone(),
            Err(_) => chargemesh::oicp::id::EvseKey::parse_canonical(&row.evse_id)?,
        };
        shown.insert((Kind::Status, key), Bytes::copy_from_slice(row.status.as_bytes()));
    }
    Ok(shown)
}

/// All feeds that a node has stored.
///
/// # Errors
/// If its storage does not answer.
pub(crate) async fn stored(node: &Node) -> Result<Vec<RestoredFeed>> {
    let reader = node.reader().context("a node without a directory")?;
    Ok(reader.restore_directory().await?)
}
