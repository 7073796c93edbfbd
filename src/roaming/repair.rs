//! Repair and cold start: a feed that is behind is asked for at a peer, checked as a whole against the
//! writer-signed head that the answer began with, and only then taken (`decisions.md` 6, 10).

use std::collections::VecDeque;

use super::change::{DirectoryChange, LedgerChange};
use super::effect::{Action, Effects, Misdeed, Refusal, Report};
use super::feed::{Feed, FeedState, KnownHead};
use super::input::{Now, SyncId};
use super::judge::Stop;
use super::records::{self, Checked};
use super::tree::Tree;
use super::{Pending, Roaming};
use crate::oicp::id::EvseKey;
use crate::protocol::{
    FeedId, Have, NodeId, Question, SyncChunk, SyncEntry, SyncFrame, SyncRequest, SyncStart, bucket_of,
};

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Since,
    Buckets,
    All,
}

/// A repair under way.
#[derive(Debug)]
pub struct Job {
    feed: FeedId,
    peer: NodeId,
    asked: Asked,
    deadline_ms: u64,
    answer: Option<Staged>,
}

/// An answer as far as it has come. Only what decides is kept unpacked.
#[derive(Debug)]
struct Staged {
    known: KnownHead,
    speaker: std::sync::Arc<crate::identity::Speaker>,
    tree: Tree,
    /// The buckets that are sent whole; `None`: changes to what we have.
    buckets: Option<Vec<u8>>,
    /// Keys that were in those buckets before.
    cleared: Vec<EvseKey>,
    chunks: VecDeque<SyncChunk>,
    bytes: usize,
    records: u64,
}

/// A verified answer that is being written, slice by slice, so that nobody waits long for storage.
#[derive(Debug)]
pub struct Slices {
    feed: FeedId,
    known: KnownHead,
    speaker: std::sync::Arc<crate::identity::Speaker>,
    chunks: VecDeque<SyncChunk>,
    gone: Vec<EvseKey>,
    before: Tree,
    records: u64,
}

impl Roaming {
    /// A feed is behind: ask for it as soon as there is room.
    pub(super) fn want(&mut self, feed_id: &FeedId, now: Now, fx: &mut Effects) {
        let syncs = self.jobs.len();
        let jitter = self.random();
        let Some(feed) = self.feeds.get_mut(feed_id) else { return };
        let idle =
            feed.sync.is_none() && !feed.applying && !feed.in_sync() && feed.retry_at_ms <= now.mono_ms;
        if !idle || syncs >= self.config.syncs_max || matches!(feed.state, FeedState::Equivocated { .. }) {
            return;
        }
        let sources = feed.sources.iter().filter(|node| self.peers.contains_key(*node));
        let others = self.peers.keys().filter(|node| !feed.sources.contains(*node));
        let Some(peer) = sources.chain(others).find(|node| !feed.tried.contains(*node)).cloned() else {
            feed.tried.clear();
            feed.back_off(now, jitter);
            return;
        };
        let asked = match (&feed.applied, feed.mismatches) {
            (None, _) => Asked::All,
            (Some(_), 0) => Asked::Since,
            (Some(_), 1) => Asked::Buckets,
            (Some(_), _) => Asked::All,
        };
        let have = match (asked, &feed.applied) {
            (Asked::Since, Some(known)) => {
                Have::Since { incarnation: known.head.incarnation, seq: known.head.seq }
            }
            (Asked::Buckets, _) => Have::Buckets(feed.tree.bucket_hashes().to_vec()),
            (Asked::All | Asked::Since, _) => Have::Nothing,
        };
        self.last_id += 1;
        let sync = SyncId(self.last_id);
        feed.sync = Some(sync);
        let bytes = SyncRequest { feed: feed_id.clone(), have }.encode();
        let deadline_ms = now.mono_ms + self.config.sync_timeout_s * 1_000;
        self.jobs.insert(
            sync,
            Job { feed: feed_id.clone(), peer: peer.clone(), asked, deadline_ms, answer: None },
        );
        fx.actions.push(Action::Sync { to: peer, sync, bytes });
    }

    /// A frame of an answer.
    pub(super) fn sync_frame(&mut self, sync: SyncId, bytes: &[u8], now: Now, fx: &mut Effects) {
        let Some(mut job) = self.jobs.remove(&sync) else { return };
        job.deadline_ms = now.mono_ms + self.config.sync_timeout_s * 1_000;
        let frame = match SyncFrame::decode(bytes) {
            Ok(frame) => frame,
            Err(_) => return self.sync_broken(sync, job, Some(Misdeed::Malformed), now, fx),
        };
        match (frame, job.answer.is_some()) {
            (SyncFrame::Start(start), false) => self.sync_start(sync, job, start, now, fx),
            (SyncFrame::Chunk(chunk), true) => match self.stage(&mut job, chunk) {
                Ok(()) => drop(self.jobs.insert(sync, job)),
                Err(misdeed) => self.sync_broken(sync, job, Some(misdeed), now, fx),
            },
            (SyncFrame::End, true) => self.sync_end(sync, job, now, fx),
            (SyncFrame::Unavailable, false) => self.sync_broken(sync, job, None, now, fx),
            _ => self.sync_broken(sync, job, Some(Misdeed::Malformed), now, fx),
        }
    }

    fn sync_start(&mut self, sync: SyncId, mut job: Job, start: SyncStart, now: Now, fx: &mut Effects) {
        let (head, speaker) = match self.verify_head(&start.head, now) {
            Ok(verified) => verified,
            Err(Stop::Unknown(delegation)) => {
                // The answer was cut from a head whose signer we have not met: meet him, then ask again.
                let request = self.request(Pending::Chain(delegation));
                let to = job.peer.clone();
                fx.actions.push(Action::Ask { to, request, bytes: Question::Chain(delegation).encode() });
                return self.sync_broken(sync, job, None, now, fx);
            }
            Err(Stop::Refused(Refusal::Malformed(_) | Refusal::Scope(_))) => {
                return self.sync_broken(sync, job, Some(Misdeed::Malformed), now, fx);
            }
            Err(Stop::Refused(_)) => return self.sync_broken(sync, job, None, now, fx),
        };
        let Some(feed) = self.feeds.get(&job.feed) else { return };
        let older = feed.applied.as_ref().is_some_and(|applied| applied.head.position() > head.position());
        let frozen =
            feed.state == (FeedState::Equivocated { epoch: head.epoch, incarnation: head.incarnation });
        let whole = start.buckets.is_none() && job.asked != Asked::Since;
        if head.feed != job.feed || whole {
            return self.sync_broken(sync, job, Some(Misdeed::Malformed), now, fx);
        }
        if older || frozen {
            return self.sync_broken(sync, job, None, now, fx);
        }
        let mut tree = feed.tree.clone();
        let mut cleared = Vec::new();
        for bucket in start.buckets.iter().flatten() {
            cleared.extend(tree.clear_bucket(usize::from(*bucket)).into_iter().map(|entry| entry.key));
        }
        let known = KnownHead { head, signed: start.head };
        let buckets = start.buckets;
        job.answer = Some(Staged {
            known,
            speaker,
            tree,
            buckets,
            cleared,
            chunks: VecDeque::new(),
            bytes: 0,
            records: 0,
        });
        self.jobs.insert(sync, job);
    }

    /// Checks one chunk and adds it to what is staged.
    fn stage(&self, job: &mut Job, chunk: SyncChunk) -> Result<(), Misdeed> {
        let Some(staged) = &mut job.answer else { return Err(Misdeed::Malformed) };
        staged.bytes += chunk.size_bytes();
        let entries = chunk.decode().map_err(|_| Misdeed::Malformed)?;
        staged.records += entries.len() as u64;
        // An answer holds each record once, and at most as many tombstones as there were changes.
        let too_many = staged.records > staged.known.head.count + staged.known.head.seq;
        if staged.bytes > self.config.sync_bytes_max || too_many {
            return Err(Misdeed::FalseAnswer);
        }
        for entry in entries {
            let checked =
                check_entry(&staged.known, &staged.speaker, entry).map_err(|_| Misdeed::FalseAnswer)?;
            if let Some(buckets) = &staged.buckets
                && !buckets.iter().any(|bucket| usize::from(*bucket) == bucket_of(checked.key.as_str()))
            {
                return Err(Misdeed::FalseAnswer);
            }
            match checked.entry() {
                Some(entry) => staged.tree.put(entry),
                None => staged.tree.remove(&checked.key),
            };
        }
        staged.chunks.push_back(chunk);
        Ok(())
    }

    fn sync_end(&mut self, sync: SyncId, mut job: Job, now: Now, fx: &mut Effects) {
        let Some(mut staged) = job.answer.take() else { return };
        let head = &staged.known.head;
        if staged.tree.count() != head.count || staged.tree.root() != head.root {
            let Some(feed) = self.feeds.get_mut(&job.feed) else { return };
            feed.mismatches += 1;
            if job.asked != Asked::All {
                // It may be our own past that does not fit: ask the same peer for more before blaming it.
                feed.sync = None;
                return self.want(&job.feed.clone(), now, fx);
            }
            self.inconsistent(&job.feed.clone(), now, fx);
            return self.sync_broken(sync, job, Some(Misdeed::FalseAnswer), now, fx);
        }
        let Some(feed) = self.feeds.get_mut(&job.feed) else { return };
        feed.sync = None;
        feed.applying = true;
        feed.speaker = Some(staged.speaker.clone());
        let before = std::mem::replace(&mut feed.tree, staged.tree);
        let gone = staged.cleared.into_iter().filter(|key| feed.tree.get(key).is_none()).collect();
        self.claims_of_speaker(&job.feed);
        self.slices.push_back(Slices {
            feed: job.feed,
            known: staged.known,
            speaker: staged.speaker,
            chunks: staged.chunks,
            gone,
            before,
            records: staged.records,
        });
    }

    /// Writes one slice of a verified answer.
    pub(super) fn next_slice(&mut self, now: Now, fx: &mut Effects) {
        let Some(mut slices) = self.slices.pop_front() else { return };
        let entries = slices.chunks.pop_front().map(|chunk| chunk.decode().unwrap_or_default());
        // It decoded when it was staged, and its bytes are the same.
        let checked = entries
            .unwrap_or_default()
            .into_iter()
            .filter_map(|entry| check_entry(&slices.known, &slices.speaker, entry).ok());
        let news: Vec<Checked> =
            checked.filter(|c| slices.before.get(&c.key).is_none_or(|old| old.seq != c.seq)).collect();
        self.records_accepted += news.iter().filter(|checked| checked.value.is_some()).count() as u64;
        self.keep(&slices.feed, news, now, fx);
        if !slices.chunks.is_empty() {
            self.slices.push_front(slices);
            return;
        }
        let seq = slices.known.head.seq;
        let delete =
            |key| Checked { key, seq, at_unix_ms: now.unix_ms, value: None, hash: [0; 32], summary: None };
        self.keep(&slices.feed, slices.gone.drain(..).map(delete).collect(), now, fx);
        self.applied(slices, now, fx);
    }

    fn keep(&mut self, feed_id: &FeedId, checked: Vec<Checked>, now: Now, fx: &mut Effects) {
        if checked.is_empty() {
            return;
        }
        let records: Vec<_> =
            checked.into_iter().map(|checked| self.shown(feed_id, checked, now, fx)).collect();
        if self.parties.contains_key(&feed_id.party) {
            fx.ledger.push(LedgerChange::Records { feed: feed_id.clone(), records: records.clone() });
        }
        fx.directory.push(DirectoryChange::Records { feed: feed_id.clone(), records });
    }

    fn applied(&mut self, slices: Slices, now: Now, fx: &mut Effects) {
        let Some(feed) = self.feeds.get_mut(&slices.feed) else { return };
        feed.applying = false;
        feed.settled(slices.known.clone());
        let own = feed.own;
        fx.directory.push(super::publish::head_change(&slices.known, now));
        fx.actions
            .push(Action::Report(Report::Repaired { feed: slices.feed.clone(), records: slices.records }));
        if own {
            // Ours again: a new incarnation says that this is where the history goes on.
            self.incarnation = self.incarnation.max(slices.known.head.incarnation + 1).max(now.unix_s());
            self.heartbeat(std::slice::from_ref(&slices.feed), now, fx);
            self.resume_pushes(now, fx);
        } else {
            self.want(&slices.feed, now, fx);
        }
    }

    /// A stream ended early.
    pub(super) fn sync_failed(&mut self, sync: SyncId, now: Now, fx: &mut Effects) {
        if let Some(job) = self.jobs.remove(&sync) {
            self.sync_broken(sync, job, None, now, fx);
        }
    }

    fn sync_broken(&mut self, sync: SyncId, job: Job, misdeed: Option<Misdeed>, now: Now, fx: &mut Effects) {
        fx.actions.push(Action::CancelSync { sync });
        if let Some(why) = misdeed {
            fx.actions.push(Action::Penalise { node: job.peer.clone(), why });
        }
        if let Some(feed) = self.feeds.get_mut(&job.feed) {
            feed.sync = None;
            feed.sources.remove(&job.peer);
            feed.tried.insert(job.peer);
        }
        self.want(&job.feed, now, fx);
        self.resume_pushes(now, fx);
    }

    /// Repairs that got no frame for too long, and feeds that may be asked for again.
    pub(super) fn tick_repairs(&mut self, now: Now, fx: &mut Effects) {
        let late: Vec<SyncId> = self
            .jobs
            .iter()
            .filter(|(_, job)| job.deadline_ms <= now.mono_ms)
            .map(|(sync, _)| *sync)
            .collect();
        for sync in late {
            self.sync_failed(sync, now, fx);
        }
        let behind = |feed: &Feed| !feed.in_sync() && feed.sync.is_none() && feed.retry_at_ms <= now.mono_ms;
        let wanted: Vec<FeedId> = self
            .feeds
            .iter()
            .filter(|(_, feed)| behind(feed))
            .map(|(id, _)| id.clone())
            .take(self.config.syncs_max)
            .collect();
        for feed_id in wanted {
            self.want(&feed_id, now, fx);
        }
    }
}

fn check_entry(
    known: &KnownHead,
    speaker: &crate::identity::Speaker,
    entry: SyncEntry,
) -> Result<Checked, Refusal> {
    if entry.seq > known.head.seq {
        return Err(Refusal::Malformed("a record is newer than its head".into()));
    }
    records::check(known.head.feed.kind, speaker, &entry.key, entry.seq, entry.at_unix_ms, entry.value)
}
