//! Storage of one node: what it was told to remember, as numbers of facts; what it reads at a start, and how
//! it answers repair questions.

use std::collections::BTreeMap;

use bytes::Bytes;
use chargemesh::protocol::{
    BUCKETS, Digest, Have, SyncChunk, SyncEntry, SyncFrame, SyncRequest, SyncStart, bucket_of,
};
use chargemesh::roaming::change::{DirectoryChange, LedgerChange, RecordChange};
use chargemesh::roaming::{Entry, RestoredFeed, Snapshot, Tree};

use super::facts::{Facts, Feed, HeadId, Version, VersionId};

/// Records in one chunk of an answer.
const CHUNK_RECORDS: usize = 64;

/// A feed as stored.
#[derive(Clone, Debug, Default)]
pub(super) struct Stored {
    /// The applied head, and when it was heard, in unix milliseconds.
    head: Option<(HeadId, u64)>,
    /// By charging point: its newest version, or its end.
    versions: Vec<Option<VersionId>>,
    /// "Changes since" is answered from here on.
    horizon_seq: u64,
}

/// Both databases of a node.
#[derive(Debug, Default)]
pub(super) struct Store {
    directory: BTreeMap<Feed, Stored>,
    ledger: BTreeMap<Feed, Stored>,
    chains: Vec<Digest>,
    /// Objects of the registry, and when each was first held, in unix seconds.
    identity: Vec<(Bytes, u64)>,
}

/// A newer head was stored: which feed, and which changes were new.
pub(super) struct Applied {
    pub(super) feed: Feed,
    pub(super) incarnation: u64,
    pub(super) seq: u64,
}

impl Stored {
    fn put(&mut self, feed: Feed, records: Vec<RecordChange>, facts: &mut Facts) -> Result<(), String> {
        for record in records {
            if record.visible != record.value.is_some() {
                return Err(format!("{} is not shown, and nobody else claims it", record.key.as_str()));
            }
            let text = record.key.as_str().to_owned();
            let Some(id) = facts.version(feed, record) else { return Err(format!("{text} is foreign")) };
            let evse = facts.version_of(id).evse;
            if self.versions.len() <= evse {
                self.versions.resize(evse + 1, None);
            }
            self.versions[evse] = Some(id);
        }
        Ok(())
    }

    /// As `storage::directory` does: if not every change up to the new head went through here, "changes
    /// since" begins anew. `Err` if the feed became older.
    fn put_head(&mut self, id: HeadId, received_unix_ms: u64, facts: &Facts) -> Result<(), String> {
        let new = &facts.head_of(id).0;
        let old = self.head.map(|(old, _)| &facts.head_of(old).0);
        if let Some(old) = old.filter(|old| old.position() > new.position()) {
            return Err(format!("{} went from {:?} back to {:?}", new.feed, old.position(), new.position()));
        }
        let follows = old.is_some_and(|old| {
            let news = |id: &&VersionId| (old.seq + 1..=new.seq).contains(&facts.version_of(**id).seq);
            let news = self.versions.iter().flatten().filter(news).count() as u64;
            old.incarnation == new.incarnation && news == new.seq - old.seq
        });
        if !follows {
            self.horizon_seq = new.seq;
        }
        self.head = Some((id, received_unix_ms));
        Ok(())
    }

    /// The head's number.
    pub(super) fn head(&self) -> Option<HeadId> {
        self.head.map(|(id, _)| id)
    }

    /// Numbers of all versions and ends, by charging point.
    pub(super) fn versions(&self) -> &[Option<VersionId>] {
        &self.versions
    }

    /// The records that there are.
    pub(super) fn alive<'a>(&self, facts: &'a Facts) -> impl Iterator<Item = &'a Version> {
        let versions = self.versions.iter().flatten().map(|id| facts.version_of(*id));
        versions.filter(|version| version.value.is_some())
    }

    /// The hash tree over the records.
    pub(super) fn tree(&self, facts: &Facts) -> Tree {
        let mut tree = Tree::default();
        self.alive(facts).for_each(|version| drop(tree.put(entry(version))));
        tree
    }

    fn restored(&self, facts: &Facts) -> Option<RestoredFeed> {
        let (id, received_unix_ms) = self.head?;
        let (head, signed) = facts.head_of(id).clone();
        Some(RestoredFeed { head, signed, received_unix_ms, entries: self.alive(facts).map(entry).collect() })
    }
}

fn entry(version: &Version) -> Entry {
    let Version { key, seq, at_unix_ms, hash, .. } = version;
    Entry { key: key.clone(), seq: *seq, at_unix_ms: *at_unix_ms, hash: *hash }
}

impl Store {
    /// The directory's feed.
    pub(super) fn feed(&self, feed: Feed) -> Option<&Stored> {
        self.directory.get(&feed)
    }

    /// Remembers. Says which feeds of the directory have a new head.
    ///
    /// # Errors
    /// If what it is told cannot be true.
    pub(super) fn commit(
        &mut self,
        ledger: Vec<LedgerChange>,
        directory: Vec<DirectoryChange>,
        facts: &mut Facts,
    ) -> Result<Vec<Applied>, String> {
        let number = |facts: &Facts, feed: &_| facts.feed(feed).ok_or_else(|| format!("{feed} is nobody's"));
        for change in ledger {
            match change {
                LedgerChange::Records { feed, records } => {
                    let feed = number(facts, &feed)?;
                    self.ledger.entry(feed).or_default().put(feed, records, facts)?;
                }
                LedgerChange::Head { head, signed } => {
                    let (feed, created) = (number(facts, &head.feed)?, head.created_unix_ms);
                    let id = facts.head(head, signed);
                    self.ledger.entry(feed).or_default().put_head(id, created, facts)?;
                }
                LedgerChange::Identity { bytes, received_unix_s, .. } => {
                    self.identity.push((bytes, received_unix_s));
                }
                LedgerChange::Held { .. } | LedgerChange::HeldDone { .. } => {
                    return Err("a push was held, and none removes much".to_owned());
                }
                LedgerChange::TrustListSeen { .. } => {}
                LedgerChange::Agreement { .. } | LedgerChange::AgreementForgotten { .. } => {
                    return Err("an agreement, and nobody offered one".to_owned());
                }
                LedgerChange::Media { .. } => return Err("media, and nobody uploads any".to_owned()),
                LedgerChange::Evidence(_)
                | LedgerChange::EvidenceChain { .. }
                | LedgerChange::PersonalDataErased(_) => {
                    return Err("a message about a session, and nobody charges".to_owned());
                }
                LedgerChange::Cdr { .. } => return Err("a record, and nobody charges".to_owned()),
                LedgerChange::Session { .. } => return Err("a session, and nobody charges".to_owned()),
                LedgerChange::Statement { .. } => return Err("a statement, and nobody charges".to_owned()),
            }
        }
        let mut applied = Vec::new();
        for change in directory {
            match change {
                DirectoryChange::Chain { delegation, chain } => {
                    facts.keep_chain(delegation, chain);
                    self.chains.push(delegation);
                }
                DirectoryChange::Records { feed, records } => {
                    let feed = number(facts, &feed)?;
                    self.directory.entry(feed).or_default().put(feed, records, facts)?;
                }
                DirectoryChange::Head { head, signed, received_unix_ms } => {
                    let (feed, incarnation, seq) = (number(facts, &head.feed)?, head.incarnation, head.seq);
                    let id = facts.head(head, signed);
                    self.directory.entry(feed).or_default().put_head(id, received_unix_ms, facts)?;
                    applied.push(Applied { feed, incarnation, seq });
                }
                DirectoryChange::Visibility { visible: true, .. } => {}
                DirectoryChange::Visibility { key, .. } => {
                    return Err(format!("{} was hidden, and nobody else claims it", key.as_str()));
                }
                DirectoryChange::Dropped { feed } => drop(self.directory.remove(&number(facts, &feed)?)),
                DirectoryChange::Equivocation { feed, .. } => {
                    return Err(format!("the writer of {feed} is taken for a liar"));
                }
                DirectoryChange::Conflict { key, .. } => {
                    return Err(format!("a conflict about {}, which one party has", key.as_str()));
                }
            }
        }
        Ok(applied)
    }

    /// What a node reads at its start; its own feeds are published again where the directory lacks them.
    pub(super) fn snapshot(&mut self, facts: &Facts) -> Snapshot {
        for (feed, own) in &self.ledger {
            let head = |stored: &Stored| stored.head().map(|id| &facts.head_of(id).0);
            if self.directory.get(feed).and_then(head).map(|h| h.root) != head(own).map(|h| h.root) {
                self.directory.insert(*feed, own.clone());
            }
        }
        Snapshot {
            chains: self.chains.iter().filter_map(|delegation| facts.chain(delegation)).collect(),
            feeds: self.directory.values().filter_map(|stored| stored.restored(facts)).collect(),
            own_feeds: self.ledger.values().filter_map(|stored| stored.restored(facts)).collect(),
            held: Vec::new(),
            equivocations: Vec::new(),
            identity: self.identity.clone(),
            agreements: Vec::new(),
            sessions: Vec::new(),
            cdrs: Vec::new(),
            media: Vec::new(),
            log: chargemesh::protocol::evidence::LogTail::default(),
        }
    }

    /// The frames that answer a repair question, as `storage::directory` cuts them.
    pub(super) fn answer(&self, request: &SyncRequest, facts: &Facts) -> Vec<Bytes> {
        let frames = self.answer_frames(request, facts);
        let frames = frames.unwrap_or_else(|| vec![SyncFrame::Unavailable]);
        frames.iter().map(SyncFrame::encode).collect()
    }

    fn answer_frames(&self, request: &SyncRequest, facts: &Facts) -> Option<Vec<SyncFrame>> {
        let stored = self.directory.get(&facts.feed(&request.feed)?)?;
        let (head, signed) = facts.head_of(stored.head()?).clone();
        let mut tree = stored.tree(facts);
        if tree.root() != head.root {
            return None;
        }
        let all = || (0..=u8::MAX).collect::<Vec<u8>>();
        let buckets = match &request.have {
            Have::Since { incarnation, seq } if *incarnation == head.incarnation => {
                if *seq > head.seq {
                    return None;
                }
                (*seq < stored.horizon_seq).then(all)
            }
            Have::Buckets(theirs) if theirs.len() == BUCKETS => {
                let ours = tree.bucket_hashes();
                let differs = |bucket: &u8| theirs[usize::from(*bucket)] != ours[usize::from(*bucket)];
                Some(all().into_iter().filter(differs).collect())
            }
            Have::Buckets(_) | Have::Since { .. } | Have::Nothing => Some(all()),
        };
        let wanted = |version: &&Version| match (&buckets, &request.have) {
            (None, Have::Since { seq, .. }) => version.seq > *seq,
            (None, _) => false,
            (Some(sent), _) => {
                version.value.is_some() && sent.contains(&(bucket_of(version.key.as_str()) as u8))
            }
        };
        let versions = stored.versions.iter().flatten().map(|id| facts.version_of(*id));
        let entry = |version: &Version| SyncEntry {
            key: version.key.as_str().to_owned(),
            seq: version.seq,
            at_unix_ms: version.at_unix_ms,
            value: version.value.clone(),
        };
        let entries: Vec<SyncEntry> = versions.filter(wanted).map(entry).collect();
        let chunks = entries.chunks(CHUNK_RECORDS).map(SyncChunk::encode).map(SyncFrame::Chunk);
        let start = SyncFrame::Start(SyncStart { head: signed, buckets });
        Some([start].into_iter().chain(chunks).chain([SyncFrame::End]).collect())
    }
}
