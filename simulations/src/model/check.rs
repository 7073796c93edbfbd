//! What must hold when everybody has had time.

use std::collections::{BTreeMap, HashSet};

use anyhow::Result;
use chargemesh::protocol::Digest;
use chargemesh::roaming::FeedSummary;

use super::facts::{Feed, VersionId, kind_of};
use super::queue::Node;
use super::world::World;
use crate::reference::Published;

/// What a node's core says of a feed.
type Position = (u64, u64, u64, Digest);

fn position(feed: &FeedSummary) -> Position {
    (feed.incarnation, feed.seq, feed.count, feed.root)
}

impl World {
    /// After the load everybody has everything.
    pub(super) fn check_loaded(&mut self) {
        let (written, mut missing) = (self.written(), 0);
        for node in 0..self.settings.nodes {
            let held = self.held(node);
            missing += self.wanted(node, &written).filter(|(feed, at)| held.get(feed) != Some(*at)).count();
        }
        if missing > 0 {
            self.violate(
                0,
                &format!("not loaded everywhere: {missing} feeds of nodes are not their writers'"),
            );
        }
    }

    /// In the end everybody has what its writer has, and shows what the writers' backends were told.
    ///
    /// # Errors
    /// Never yet.
    pub(super) fn check_settled(&mut self) -> Result<()> {
        let written = self.written();
        if written.len() != 2 * self.publishers.len() {
            self.violate(0, &format!("only {} feeds are written", written.len()));
        }
        for publisher in 0..self.publishers.len() {
            if self.publishers[publisher].waiting.is_some() {
                self.violate(publisher as Node, "a push was never answered");
            }
        }
        let shown = self.shown(self.settings.nodes - 1);
        let settled = self.reference.settle(&shown).cloned();
        let wanted = match settled {
            Ok(wanted) => self.wanted_versions(&wanted),
            Err(half) => {
                self.violate(0, &half);
                BTreeMap::new()
            }
        };
        let mut sound = HashSet::new();
        for node in 0..self.settings.nodes {
            if let Err(what) = self.check_node(node, &written, &wanted, &mut sound) {
                self.violate(node, &what);
            }
        }
        Ok(())
    }

    /// What the writers themselves have.
    fn written(&self) -> BTreeMap<Feed, Position> {
        let own = |node: usize| {
            let held = self.held(node as Node).into_iter();
            held.filter(move |(feed, _)| feed / 2 == node)
        };
        (0..self.publishers.len()).flat_map(own).collect()
    }

    fn held(&self, node: Node) -> BTreeMap<Feed, Position> {
        let view = self.hosts[node as usize].core.as_ref().map(|core| core.view());
        let feeds = view.into_iter().flat_map(|view| view.feeds);
        feeds.filter_map(|feed| Some((self.facts.feed(&feed.feed)?, position(&feed)))).collect()
    }

    /// What a node should have: everything, or what it writes itself.
    fn wanted<'a>(
        &'a self,
        node: Node,
        written: &'a BTreeMap<Feed, Position>,
    ) -> impl Iterator<Item = (&'a Feed, &'a Position)> {
        let core = self.hosts[node as usize].core.as_ref();
        let all = core.is_none_or(|core| core.replicates_all());
        written.iter().filter(move |(feed, _)| all || *feed / 2 == node as usize)
    }

    /// The records that a node's storage shows.
    fn shown(&self, node: Node) -> Published {
        let store = &self.hosts[node as usize].store;
        let feeds = (0..2 * self.publishers.len()).filter_map(|feed| Some((feed, store.feed(feed)?)));
        let records = feeds.flat_map(|(feed, stored)| {
            stored.alive(&self.facts).map(move |version| {
                ((kind_of(feed), version.key.clone()), version.value.clone().unwrap_or_default())
            })
        });
        records.collect()
    }

    /// The reference's records by feed and place.
    fn wanted_versions(&self, published: &Published) -> BTreeMap<Feed, Published> {
        let mut wanted: BTreeMap<Feed, Published> =
            (0..2 * self.publishers.len()).map(|feed| (feed, Published::new())).collect();
        for ((kind, key), value) in published {
            let feed = self.facts.feed_of(*kind, key);
            if let Some(records) = feed.and_then(|feed| wanted.get_mut(&feed)) {
                records.insert((*kind, key.clone()), value.clone());
            }
        }
        wanted
    }

    fn check_node(
        &self,
        node: Node,
        written: &BTreeMap<Feed, Position>,
        wanted: &BTreeMap<Feed, Published>,
        sound: &mut HashSet<(Feed, Vec<Option<VersionId>>)>,
    ) -> Result<(), String> {
        let host = &self.hosts[node as usize];
        let core = host.core.as_ref().ok_or("is down")?;
        let view = core.view();
        if let Some(feed) = view.feeds.iter().find(|feed| !feed.in_sync || feed.state != "ok") {
            return Err(format!("{} is {}, in_sync {}", feed.feed, feed.state, feed.in_sync));
        }
        let conflicts = view.conflicts.len();
        if conflicts > 0 || view.records_refused > 0 {
            return Err(format!("{conflicts} conflicts, {} refused", view.records_refused));
        }
        let held = self.held(node);
        let others = held.keys().find(|feed| !written.contains_key(feed));
        if held.len() != view.feeds.len() || others.is_some() {
            return Err("holds a feed that nobody writes".to_owned());
        }
        for (feed, at) in self.wanted(node, written) {
            if held.get(feed) != Some(at) {
                let held = held.get(feed);
                return Err(format!("feed {feed} is {held:?}, its writer has {at:?}"));
            }
            self.check_stored(node, *feed, at, &wanted[feed], sound)?;
        }
        Ok(())
    }

    /// Storage has what the core says, and that is what the reference says.
    fn check_stored(
        &self,
        node: Node,
        feed: Feed,
        at: &Position,
        wanted: &Published,
        sound: &mut HashSet<(Feed, Vec<Option<VersionId>>)>,
    ) -> Result<(), String> {
        let stored =
            self.hosts[node as usize].store.feed(feed).ok_or(format!("feed {feed} is not stored"))?;
        let head = stored.head().map(|id| &self.facts.head_of(id).0);
        if head.is_none_or(|head| (head.incarnation, head.seq, head.count, head.root) != *at) {
            return Err(format!("the stored head of feed {feed} is {head:?}, the core says {at:?}"));
        }
        // Most nodes hold the same versions: that they yield the root is seen once.
        if !sound.insert((feed, stored.versions().to_vec())) {
            return Ok(());
        }
        if stored.tree(&self.facts).root() != at.3 {
            return Err(format!("the stored records of feed {feed} do not yield its root"));
        }
        let shown: Published = stored
            .alive(&self.facts)
            .map(|version| ((kind_of(feed), version.key.clone()), version.value.clone().unwrap_or_default()))
            .collect();
        if shown != *wanted {
            let (shown, wanted) = (shown.len(), wanted.len());
            return Err(format!("feed {feed}: {shown} records, the reference has other {wanted}"));
        }
        Ok(())
    }
}
