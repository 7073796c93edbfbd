//! Storage in memory: what the real one does with changes, and how it answers repair questions.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::identity::{Chain, PartyId, Role};
use crate::oicp::charging::MediumKey;
use crate::oicp::id::EvseKey;
use crate::oicp::price_key::{EVERYBODY, PriceOf};
use crate::oicp::record::summarise;
use crate::protocol::evidence::{
    EvidenceParts, EvidenceStep, LogHead, LogTail, LoggedSession, leaf_hash, log_path,
};
use crate::protocol::{
    Audience, BUCKETS, Digest, FeedId, Have, Head, Kind, Members, SessionPhase, SessionRecord, SignedHead,
    SyncChunk, SyncEntry, SyncFrame, SyncRequest, SyncStart, bucket_of,
};
use crate::roaming::change::{
    CdrFacts, CdrSubject, CdrsOfSession, DirectoryChange, HeldPush, KnownMedium, LedgerChange, MediumChange,
    NewEvidence, PersonalData, RecordChange, StoredCdr,
};
use crate::roaming::{Entry, Misplaced, RestoredFeed, Snapshot, Tree, Visibility};

/// Records in one chunk: few, so that small feeds need several.
const CHUNK_RECORDS: usize = 3;

#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) seq: u64,
    pub(super) at_unix_ms: u64,
    pub(super) value: Bytes,
    pub(super) hash: Digest,
    pub(super) visible: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct StoredFeed {
    pub(super) head: Option<(Head, SignedHead, u64)>,
    pub(super) rows: BTreeMap<EvseKey, Row>,
    tombstones: BTreeMap<EvseKey, (u64, u64)>,
    /// "Changes since" is answered from here on.
    horizon_seq: u64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Store {
    chains: BTreeMap<Digest, Chain>,
    pub(super) feeds: BTreeMap<FeedId, StoredFeed>,
    pub(super) ledger: BTreeMap<FeedId, StoredFeed>,
    held: BTreeMap<u64, HeldPush>,
    pub(super) identity: Vec<(Digest, Bytes, u64)>,
    pub(super) agreements: BTreeMap<Digest, Bytes>,
    pub(super) sessions: BTreeMap<String, Bytes>,
    pub(super) cdrs: BTreeMap<(String, Digest, bool), StoredCdr>,
    pub(super) media: BTreeMap<(PartyId, MediumKey), KnownMedium>,
    pub(super) log: Vec<NewEvidence>,
    log_chains: BTreeMap<Digest, Chain>,
    pub(super) equivocations: Vec<(SignedHead, SignedHead)>,
    pub(super) conflicts: BTreeMap<(Kind, EvseKey), (Option<PartyId>, Vec<PartyId>)>,
}

impl StoredFeed {
    fn records(&mut self, records: Vec<RecordChange>) {
        let mut keys: Vec<EvseKey> = records.iter().map(|record| record.key.clone()).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), records.len(), "at most one record per key in one change");
        for RecordChange { key, seq, at_unix_ms, value, hash, visible, .. } in records {
            match value {
                Some(value) => {
                    self.tombstones.remove(&key);
                    self.rows.insert(key, Row { seq, at_unix_ms, value, hash, visible });
                }
                None => {
                    self.rows.remove(&key);
                    self.tombstones.insert(key, (seq, at_unix_ms));
                }
            }
        }
    }

    /// `true` if all changes up to the new head went through here.
    fn head(&mut self, head: Head, signed: SignedHead, received_unix_ms: u64) {
        let follows = |old: &Head| {
            let all = self.rows.values().map(|row| row.seq).chain(self.tombstones.values().map(|t| t.0));
            let news = all.filter(|seq| *seq > old.seq && *seq <= head.seq).count() as u64;
            old.incarnation == head.incarnation && old.seq <= head.seq && news == head.seq - old.seq
        };
        if self.head.as_ref().is_none_or(|(old, ..)| !follows(old)) {
            self.horizon_seq = head.seq;
        }
        self.head = Some((head, signed, received_unix_ms));
    }

    fn restored(&self) -> Option<RestoredFeed> {
        let (head, signed, received_unix_ms) = self.head.clone()?;
        let entry = |(key, row): (&EvseKey, &Row)| Entry {
            key: key.clone(),
            seq: row.seq,
            at_unix_ms: row.at_unix_ms,
            hash: row.hash,
        };
        Some(RestoredFeed { head, signed, received_unix_ms, entries: self.rows.iter().map(entry).collect() })
    }

    pub(super) fn tree(&self) -> Tree {
        let mut tree = Tree::default();
        for (key, row) in &self.rows {
            let Row { seq, at_unix_ms, hash, .. } = *row;
            tree.put(Entry { key: key.clone(), seq, at_unix_ms, hash });
        }
        tree
    }

    fn entries(&self, which: impl Fn(&EvseKey, u64) -> bool, tombstones: bool) -> Vec<SyncEntry> {
        let mut entries: BTreeMap<&EvseKey, SyncEntry> = BTreeMap::new();
        for (key, row) in self.rows.iter().filter(|(key, row)| which(key, row.seq)) {
            let (text, value) = (key.as_str().to_owned(), Some(row.value.clone()));
            entries.insert(key, SyncEntry { key: text, seq: row.seq, at_unix_ms: row.at_unix_ms, value });
        }
        for (key, (seq, at_unix_ms)) in
            self.tombstones.iter().filter(|(key, t)| tombstones && which(key, t.0))
        {
            let text = key.as_str().to_owned();
            entries.insert(key, SyncEntry { key: text, seq: *seq, at_unix_ms: *at_unix_ms, value: None });
        }
        entries.into_values().collect()
    }
}

/// An answer before it is cut into frames, so that liars can change it.
pub(super) struct Reply {
    pub(super) start: SyncStart,
    pub(super) entries: Vec<SyncEntry>,
}

impl Reply {
    pub(super) fn frames(self) -> Vec<Bytes> {
        let chunks = self.entries.chunks(CHUNK_RECORDS).map(SyncChunk::encode).map(SyncFrame::Chunk);
        let frames = [SyncFrame::Start(self.start)].into_iter().chain(chunks).chain([SyncFrame::End]);
        frames.map(|frame| frame.encode()).collect()
    }
}

impl Store {
    pub(super) fn commit(&mut self, ledger: Vec<LedgerChange>, directory: Vec<DirectoryChange>) {
        for change in ledger {
            match change {
                LedgerChange::Records { feed, records } => {
                    self.ledger.entry(feed).or_default().records(records)
                }
                LedgerChange::Head { head, signed } => {
                    let created = head.created_unix_ms;
                    self.ledger.entry(head.feed.clone()).or_default().head(head, signed, created);
                }
                LedgerChange::Identity { hash, bytes, received_unix_s, outdone } => {
                    self.identity.retain(|(held, ..)| Some(*held) != outdone);
                    self.identity.push((hash, bytes, received_unix_s));
                }
                // Of the node, not of the core.
                LedgerChange::TrustListSeen { .. } => {}
                LedgerChange::Held { push } => drop(self.held.insert(push.id, push)),
                LedgerChange::HeldDone { id } => drop(self.held.remove(&id)),
                LedgerChange::Agreement { id, papers } => drop(self.agreements.insert(id, papers)),
                LedgerChange::Session { session, record, .. } => {
                    let read = |bytes: &Bytes| SessionRecord::decode(&session, bytes).unwrap();
                    let new = read(&record);
                    // As in `storage::sessions`: what never came replaces nothing that did.
                    let keeps = |old: SessionRecord| {
                        old.phase != SessionPhase::Refused && new.opened_unix_ms > old.opened_unix_ms
                    };
                    let kept = self.sessions.get(&session).map(read).is_some_and(keeps);
                    if new.phase != SessionPhase::Refused || !kept {
                        self.sessions.insert(session, record);
                    }
                }
                LedgerChange::Cdr { cdr } => {
                    let key = (cdr.session.clone(), cdr.hash, cdr.incoming);
                    self.cdrs.insert(key, *cdr);
                }
                LedgerChange::Media { party, changes } => {
                    for MediumChange { key, known } in changes {
                        match known {
                            Some(known) => drop(self.media.insert((party.clone(), key), known)),
                            None => drop(self.media.remove(&(party.clone(), key))),
                        }
                    }
                }
                LedgerChange::Statement { .. } => {}
                LedgerChange::AgreementForgotten { id } => drop(self.agreements.remove(&id)),
                LedgerChange::Evidence(new) => self.log.push(*new),
                LedgerChange::EvidenceChain { delegation, chain } => {
                    self.log_chains.insert(delegation, chain);
                }
                LedgerChange::PersonalDataErased(what) => {
                    let meant = |new: &NewEvidence| match &what {
                        PersonalData::Session(session) => new.session == *session,
                        PersonalData::Before(unix_ms) => new.entry.at_unix_ms < *unix_ms,
                    };
                    self.log.iter_mut().filter(|new| meant(new)).for_each(|new| new.entry.content = None);
                }
            }
        }
        directory.into_iter().for_each(|change| self.directory(change));
    }

    fn directory(&mut self, change: DirectoryChange) {
        match change {
            DirectoryChange::Chain { delegation, chain } => drop(self.chains.insert(delegation, chain)),
            DirectoryChange::Records { feed, records } => {
                self.feeds.entry(feed).or_default().records(records)
            }
            DirectoryChange::Visibility { feed, key, visible } => {
                if let Some(row) = self.feeds.entry(feed).or_default().rows.get_mut(&key) {
                    row.visible = visible;
                }
            }
            DirectoryChange::Head { head, signed, received_unix_ms } => {
                self.feeds.entry(head.feed.clone()).or_default().head(head, signed, received_unix_ms);
            }
            DirectoryChange::Dropped { feed } => drop(self.feeds.remove(&feed)),
            DirectoryChange::Equivocation { first, second, .. } => self.equivocations.push((first, second)),
            DirectoryChange::Conflict { key, kind, shown, claimed_by } => {
                if claimed_by.len() < 2 {
                    self.conflicts.remove(&(kind, key));
                } else {
                    self.conflicts.insert((kind, key), (shown, claimed_by));
                }
            }
        }
    }

    /// What the composition root reads at a start; our own feeds are published again where the directory
    /// lacks them.
    pub(super) fn snapshot(&mut self) -> Snapshot {
        for (feed_id, own) in &self.ledger {
            let head = |feed: &StoredFeed| feed.head.as_ref().map(|(head, ..)| (head.seq, head.root));
            if self.feeds.get(feed_id).and_then(head) != head(own) {
                self.feeds.insert(feed_id.clone(), own.clone());
            }
        }
        Snapshot {
            chains: self.chains.values().cloned().collect(),
            equivocations: self.equivocations.clone(),
            feeds: self.feeds.values().filter_map(StoredFeed::restored).collect(),
            own_feeds: self.ledger.values().filter_map(StoredFeed::restored).collect(),
            held: self.held.values().cloned().collect(),
            identity: self.identity.iter().map(|(_, bytes, at)| (bytes.clone(), *at)).collect(),
            agreements: self.agreements.values().cloned().collect(),
            sessions: (self.sessions.iter())
                .map(|(session, record)| SessionRecord::decode(session, record).expect("as it was encoded"))
                .collect(),
            cdrs: self.cdrs.values().filter(|cdr| cdr.is_open).cloned().collect(),
            media: (self.media.iter())
                .map(|((party, key), known)| (party.clone(), key.clone(), known.clone()))
                .collect(),
            log: self.log_tail(),
        }
    }

    fn log_tail(&self) -> LogTail {
        let head = |number: u64| LogHead { number, hash: self.log[number as usize - 1].hash };
        LogTail::restore(LogTail::numbers(self.log.len() as u64).map(head).collect())
    }

    /// As `storage::evidence::of_session`.
    pub(super) fn logged(&self, session: &str) -> LoggedSession {
        let of = |new: &&NewEvidence| new.session == session;
        let entries: Vec<_> = self.log.iter().filter(of).map(|new| new.entry.clone()).collect();
        let numbers: Vec<u64> = entries.iter().map(|entry| entry.number).collect();
        let head = self.log_tail().head();
        let step = |number: u64| {
            let new = &self.log[number as usize - 1];
            let entry = &new.entry;
            let leaf = leaf_hash(entry.at_unix_ms, entry.direction, &new.session, &entry.content_hash);
            EvidenceStep { number, leaf, previous: entry.previous, skipped: entry.skipped }
        };
        let parts = EvidenceParts {
            steps: log_path(head.number, &numbers).into_iter().map(step).collect(),
            chains: self.log_chains.values().cloned().collect(),
            entries,
            registry: Vec::new(),
        };
        let party = self.log.iter().find(of).unwrap().ours.clone();
        LoggedSession { session: session.to_owned(), party, head, parts }
    }

    /// As `storage::directory::answer`: `None` if this node cannot serve the feed.
    pub(super) fn answer(&self, request: &SyncRequest) -> Option<Reply> {
        let feed = self.feeds.get(&request.feed)?;
        let (head, signed, _) = feed.head.clone()?;
        let mut tree = feed.tree();
        if tree.root() != head.root {
            return None;
        }
        let all: Vec<u8> = (0..=u8::MAX).collect();
        let buckets = match &request.have {
            Have::Since { incarnation, seq } if *incarnation == head.incarnation => {
                if *seq > head.seq {
                    return None;
                }
                (*seq < feed.horizon_seq).then_some(all)
            }
            Have::Buckets(theirs) => {
                assert_eq!(theirs.len(), BUCKETS);
                let ours = tree.bucket_hashes();
                let differs = |bucket: &u8| theirs[usize::from(*bucket)] != ours[usize::from(*bucket)];
                Some(all.into_iter().filter(differs).collect())
            }
            Have::Since { .. } | Have::Nothing => Some(all),
        };
        let entries = match (&buckets, &request.have) {
            (Some(sent), _) => feed.entries(|key, _| sent.contains(&(bucket_of(key.as_str()) as u8)), false),
            (None, Have::Since { seq, .. }) => feed.entries(|_, s| s > *seq, true),
            (None, _) => unreachable!("only changes have no buckets"),
        };
        Some(Reply { start: SyncStart { head: signed, buckets }, entries })
    }

    /// What the composition root finds of ours in other feeds than the rules say.
    pub(super) fn misplaced(&self, rules: &Visibility) -> Vec<Misplaced> {
        let of = |(feed, stored): (&FeedId, &StoredFeed)| {
            let moved = stored.rows.iter().filter(|(key, _)| rules.audience_of(key) != feed.audience);
            let misplaced = |(key, row): (&EvseKey, &Row)| Misplaced {
                feed: feed.clone(),
                key: key.clone(),
                value: row.value.clone(),
            };
            moved.map(misplaced).collect::<Vec<_>>()
        };
        self.ledger.iter().flat_map(of).collect()
    }

    /// What is known of a session and its charge detail records.
    pub(super) fn cdrs_of(&self, session: &str) -> CdrsOfSession {
        let record = self.sessions.get(session);
        CdrsOfSession {
            session: record.map(|record| SessionRecord::decode(session, record).expect("as it was encoded")),
            cdrs: self.cdrs.values().filter(|cdr| cdr.session == session).cloned().collect(),
        }
    }

    /// What a charge detail record is held against.
    pub(super) fn cdr_facts(&self, subject: &CdrSubject) -> CdrFacts {
        let of = |kind| self.feeds.iter().filter(move |(id, feed)| id.kind == kind && feed.head.is_some());
        let record = |(id, feed): (&FeedId, &StoredFeed)| {
            let row = feed.rows.get(&subject.evse).filter(|row| row.visible)?;
            let summary = summarise(std::str::from_utf8(&row.value).ok()?).ok()?;
            Some((id.audience.clone(), summary.calibration_law))
        };
        let mut calibration_law: Vec<_> = of(Kind::Data).filter_map(record).collect();
        calibration_law.sort_by_key(|(audience, _)| audience.is_public());
        let lists = |tag: &String| {
            let keys = of(Kind::Pricing).flat_map(|(id, feed)| feed.rows.keys().map(move |key| (id, key)));
            let named = keys.filter(|(_, key)| {
                key.operator() == subject.evse.operator()
                    && key.price_of() == Some(PriceOf::Product)
                    && key.as_str().ends_with(tag.as_str())
            });
            let whom = |(id, key): (&FeedId, &EvseKey)| match key.provider() {
                Some(EVERYBODY) => id.audience.clone(),
                provider => {
                    let provider = PartyId::new(Role::Emp, provider.unwrap()).unwrap();
                    Audience::Named(Members::new([provider]).unwrap())
                }
            };
            named.map(whom).collect()
        };
        CdrFacts { calibration_law, product: subject.product.as_ref().map(lists) }
    }

    /// What pulls of everybody show: one value per kind and EVSE.
    pub(super) fn view(&self) -> BTreeMap<(Kind, String), (String, String)> {
        self.view_by(|audience| audience.is_public())
    }

    /// What pulls of a party show.
    pub(super) fn view_of(&self, puller: &PartyId) -> BTreeMap<(Kind, String), (String, String)> {
        let mut view = self.view();
        view.extend(self.view_by(|audience| !audience.is_public() && audience.admits(puller)));
        view
    }

    fn view_by(&self, seen: impl Fn(&Audience) -> bool) -> BTreeMap<(Kind, String), (String, String)> {
        let mut view = BTreeMap::new();
        let feeds = self.feeds.iter().filter(|(id, feed)| feed.head.is_some() && seen(&id.audience));
        for (feed_id, feed) in feeds {
            for (key, row) in feed.rows.iter().filter(|(_, row)| row.visible) {
                let value = String::from_utf8(row.value.to_vec()).unwrap();
                let shown = (feed_id.party.to_text(), value);
                let other = view.insert((feed_id.kind, key.as_str().to_owned()), shown);
                assert!(other.is_none(), "{key} is shown twice");
            }
        }
        view
    }
}
