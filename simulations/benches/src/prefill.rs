//! A data directory that holds a world already, written past the network: benchmarks that are not about
//! filling a node start with it.

use std::path::Path;

use anyhow::Result;
use bytes::Bytes;
use chargemesh::identity::hash_of;
use chargemesh::oicp::id::EvseKey;
use chargemesh::oicp::record::summarise;
use chargemesh::protocol::{FeedId, Head, Kind, SignedHead};
use chargemesh::roaming::change::{DirectoryChange, RecordChange};
use chargemesh::roaming::{Entry, Tree};
use chargemesh::storage::{Config, Directory, Place};

use crate::evses::World;
use crate::parties::{self, NETWORK};

/// One feed while it is written: its tree and its last head.
pub(crate) struct Writing {
    /// Who writes.
    pub(crate) party: parties::Party,
    /// What the feed holds.
    pub(crate) tree: Tree,
    /// Its last head.
    pub(crate) head: Head,
}

impl Writing {
    /// The feed of an operator as it is after the first full load: every record is one change, in order.
    ///
    /// # Errors
    /// If the operator's id is none.
    pub(crate) fn first(
        world: &World,
        operator: usize,
        kind: Kind,
        now_ms: u64,
        hashes: &[(EvseKey, [u8; 32])],
    ) -> Result<Writing> {
        let party = operator_party(world, operator, now_ms)?;
        let mut tree = Tree::default();
        for (index, (key, hash)) in hashes.iter().enumerate() {
            tree.put(Entry { key: key.clone(), seq: index as u64 + 1, at_unix_ms: now_ms, hash: *hash });
        }
        let head = Head {
            feed: FeedId::public(party.id.clone(), kind),
            epoch: 1,
            incarnation: now_ms / 1_000,
            seq: hashes.len() as u64,
            count: tree.count(),
            root: tree.root(),
            created_unix_ms: now_ms,
            base_seq: hashes.len() as u64,
            body: [0; 32],
            operator_id: world.operator_id(operator),
            operator_name: format!("Operator {operator}"),
        };
        Ok(Writing { party, tree, head })
    }

    /// Signs the head.
    pub(crate) fn sign(&self) -> SignedHead {
        SignedHead::sign(&self.head, NETWORK, self.party.chain.delegation_hash(), &self.party.message_key)
    }
}

/// The party of an operator; all operators' nodes are called alike, for one sender stands for all.
///
/// # Errors
/// If the operator's id is none.
pub(crate) fn operator_party(world: &World, operator: usize, now_ms: u64) -> Result<parties::Party> {
    let canonical = world.operator_id(operator).replace('*', "");
    parties::party(&format!("CPO:{canonical}"), "sender", now_ms / 1_000)
}

/// The statuses of an operator at the start, as hashes.
pub(crate) fn status_hashes(world: &World, operator: usize) -> Vec<(EvseKey, [u8; 32])> {
    let of = |number| (world.key(operator, number), hash_of(world.status(operator, number).as_bytes()));
    (0..world.evses_of(operator)).map(of).collect()
}

/// Writes a data directory that holds all feeds of these kinds.
///
/// # Errors
/// What storage says.
pub(crate) fn fill(dir: &Path, world: &World, kinds: &[Kind], now_ms: u64) -> Result<()> {
    let place = Place::directory(dir)?;
    let mut directory = Directory::open(&place, &Config::default())?;
    for operator in 0..world.operators {
        for kind in kinds {
            directory.commit(&changes(world, operator, *kind, now_ms)?, now_ms)?;
        }
    }
    directory.checkpoint()?;
    Ok(())
}

fn changes(world: &World, operator: usize, kind: Kind, now_ms: u64) -> Result<Vec<DirectoryChange>> {
    let change = |index: usize, key: EvseKey, value: Bytes, summary| RecordChange {
        key,
        seq: index as u64 + 1,
        at_unix_ms: now_ms,
        hash: hash_of(&value),
        value: Some(value),
        summary,
        visible: true,
    };
    let records: Vec<RecordChange> = match kind {
        Kind::Data => world
            .evses(operator)
            .enumerate()
            .map(|(index, evse)| {
                let summary = summarise(&evse.json)?;
                Ok(change(index, summary.key.clone(), evse.json.into(), Some(Box::new(summary))))
            })
            .collect::<Result<_>>()?,
        Kind::Status => (0..world.evses_of(operator))
            .map(|number| {
                let value = Bytes::from_static(world.status(operator, number).as_bytes());
                change(number, world.key(operator, number), value, None)
            })
            .collect(),
        // Operators of the benchmarks publish no prices.
        Kind::Pricing => Vec::new(),
    };
    let hashes: Vec<_> = records.iter().map(|record| (record.key.clone(), record.hash)).collect();
    let writing = Writing::first(world, operator, kind, now_ms, &hashes)?;
    let (feed, signed) = (writing.head.feed.clone(), writing.sign());
    let chain = writing.party.chain;
    Ok(vec![
        DirectoryChange::Chain { delegation: chain.delegation_hash(), chain },
        DirectoryChange::Records { feed, records },
        DirectoryChange::Head { head: writing.head, signed, received_unix_ms: now_ms },
    ])
}
