//! Repair and cold start: a feed that is behind is asked for at a peer, checked as a whole against the
//! writer-signed head that the answer began with, and only then taken (`decisions.md` 6, 10).

use std::collections::VecDeque;

use super::change::{DirectoryChange, LedgerChange};
use super::effect::{Action, Effects, Misdeed, Refusal, Report};
use super::feed::{Feed, KnownHead};
use super::input::{Now, SyncId};
use super::judge::Stop;
use super::records::{self, Checked};
use super::speakers::Knowledge;
use super::tree::Tree;
use super::{Pending, Roaming};
use crate::oicp::id::EvseKey;
use crate::planted::{Bug, planted};
use crate::protocol::{
    FeedId, Have, Head, NodeId, Question, SyncChunk, SyncEntry, SyncFrame, SyncRequest, SyncStart, bucket_of,
};

/// How much longer than the wait for one frame a whole answer may take.
const ANSWER_TIMEOUTS_MAX: u64 = 20;

/// Wait for the first frame of an answer, in milliseconds; it doubles with every peer that was asked in
/// vain. A peer that takes the question and says nothing delays a repair by this much.
const FIRST_FRAME_MS: u64 = 4_000;

/// How long a peer that let a repair hang is asked last, in milliseconds.
const SILENT_MS: u64 = 60_000;

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Since,
    Buckets,
    All,
}

/// A repair under way.
#[derive(Debug)]
pub(super) struct Job {
    feed: FeedId,
    peer: NodeId,
    asked: Asked,
    /// When the next frame must be here, on the monotonic clock ...
    deadline_ms: u64,
    /// ... and when the last: a peer that drips frames holds one of few places.
    end_ms: u64,
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
    /// The key that came last: they come in order, each once.
    last_key: Option<EvseKey>,
    /// A record that the writer may not publish. If the root matches, it is he who signed it.
    out_of_scope: bool,
    bytes: usize,
    records: u64,
}

/// A verified answer that is being written, slice by slice, so that nobody waits long for storage.
#[derive(Debug)]
pub(super) struct Slices {
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
        let (jitter, choice) = (self.random(), self.random() as usize);
        let closed = !feed_id.audience.is_public();
        let members: Vec<NodeId> = (self.introduced_nodes().into_iter())
            .filter(|node| closed && self.may_see(node, feed_id, now))
            .collect();
        let Some(feed) = self.feeds.get_mut(feed_id) else { return };
        let idle =
            feed.sync.is_none() && !feed.applying && feed.is_behind() && feed.retry_at_ms <= now.mono_ms;
        if !idle || syncs >= self.config.syncs_max || self.peers.is_empty() {
            return;
        }
        let untried = |node: &&NodeId| self.peers.contains_key(*node) && !feed.tried.contains(*node);
        let mut able: Vec<&NodeId> = feed.sources.iter().filter(untried).collect();
        if able.is_empty() {
            // Who showed us a head of a closed audience's feed knows of it; nobody else but members may be asked.
            able =
                self.peers.keys().filter(untried).filter(|node| !closed || members.contains(node)).collect();
        }
        let silent =
            |node: &NodeId| self.peers.get(node).is_some_and(|peer| peer.silent_until_ms > now.mono_ms);
        if able.iter().any(|node| !silent(node)) {
            able.retain(|node| !silent(node));
        }
        let Some(peer) = able.get(choice % able.len().max(1)).map(|node| (*node).clone()) else {
            feed.tried.clear();
            feed.back_off(now, jitter);
            return;
        };
        self.ask_for(feed_id, peer, now, fx);
    }

    fn ask_for(&mut self, feed_id: &FeedId, peer: NodeId, now: Now, fx: &mut Effects) {
        let sync = SyncId(self.next_id());
        let Some(feed) = self.feeds.get_mut(feed_id) else { return };
        let asked = match (&feed.applied, feed.mismatches) {
            (None, _) => Asked::All,
            (Some(_), 0) => Asked::Since,
            (Some(_), 1) => Asked::Buckets,
            (Some(_), _) => Asked::All,
        };
        self.full_loads += u64::from(asked == Asked::All);
        let have = match (asked, &feed.applied) {
            (Asked::Since, Some(known)) => {
                Have::Since { incarnation: known.head.incarnation, seq: known.head.seq }
            }
            (Asked::Buckets, _) => Have::Buckets(feed.tree.bucket_hashes().to_vec()),
            (Asked::All | Asked::Since, _) => Have::Nothing,
        };
        feed.sync = Some(sync);
        let bytes = SyncRequest { feed: feed_id.clone(), have }.encode();
        let timeout_ms = self.config.sync_timeout_s * 1_000;
        let job = Job {
            feed: feed_id.clone(),
            peer: peer.clone(),
            asked,
            deadline_ms: now.mono_ms + timeout_ms.min(FIRST_FRAME_MS << feed.tried.len().min(8)),
            end_ms: now.mono_ms + timeout_ms * ANSWER_TIMEOUTS_MAX,
            answer: None,
        };
        self.jobs.insert(sync, job);
        fx.actions.push(Action::Sync { to: peer, sync, bytes });
    }

    /// A frame of an answer.
    pub(super) fn sync_frame(&mut self, sync: SyncId, bytes: &[u8], now: Now, fx: &mut Effects) {
        let Some(mut job) = self.jobs.remove(&sync) else { return };
        job.deadline_ms = (now.mono_ms + self.config.sync_timeout_s * 1_000).min(job.end_ms);
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
                let to = job.peer.clone();
                self.ask(to, Pending::Chain(delegation), Question::Chain(delegation), now, fx);
                return self.sync_broken(sync, job, None, now, fx);
            }
            Err(Stop::Refused(Refusal::Malformed(_) | Refusal::Scope(_))) => {
                return self.sync_broken(sync, job, Some(Misdeed::Malformed), now, fx);
            }
            Err(Stop::Refused(_)) => return self.sync_broken(sync, job, None, now, fx),
        };
        let Some(feed) = self.feeds.get(&job.feed) else { return };
        let changes_unasked = start.buckets.is_none() && job.asked != Asked::Since;
        if head.feed != job.feed || changes_unasked {
            return self.sync_broken(sync, job, Some(Misdeed::Malformed), now, fx);
        }
        if !is_progress(feed, &head) || self.is_stale(&head, now) {
            return self.sync_broken(sync, job, None, now, fx);
        }
        let mut tree = feed.tree.clone();
        let mut cleared = Vec::new();
        for bucket in start.buckets.iter().flatten() {
            cleared.extend(tree.clear_bucket(usize::from(*bucket)).into_iter().map(|entry| entry.key));
        }
        job.answer = Some(Staged {
            known: KnownHead { head, signed: start.head },
            speaker,
            tree,
            buckets: start.buckets,
            cleared,
            chunks: VecDeque::new(),
            last_key: None,
            out_of_scope: false,
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
        let head = &staged.known.head;
        let too_many = staged.records > head.count.saturating_add(head.seq);
        if entries.is_empty() || too_many || staged.bytes > self.config.sync_bytes_max {
            return Err(Misdeed::FalseAnswer);
        }
        for entry in entries {
            staged.add(entry)?;
        }
        // Deletes come among the others in key order, so what we had counts too.
        if staged.tree.count() > self.config.records_max.saturating_mul(2) {
            return Err(Misdeed::FalseAnswer);
        }
        staged.chunks.push_back(chunk);
        Ok(())
    }

    fn sync_end(&mut self, sync: SyncId, mut job: Job, now: Now, fx: &mut Effects) {
        let Some(mut staged) = job.answer.take() else { return };
        let Some(feed) = self.feeds.get_mut(&job.feed) else { return };
        let head = &staged.known.head;
        if !staged.tree.adds_up_to(head) {
            feed.mismatches += 1;
            if job.asked != Asked::All {
                // It may be our own past that does not fit: ask the same peer for more before blaming it.
                return self.ask_for(&job.feed, job.peer, now, fx);
            }
            if staged.speaker.peer_id() == job.peer.as_bytes() {
                // Nobody but the writer can have got it wrong.
                self.inconsistent(&job.feed, now, fx);
            }
            return self.sync_broken(sync, job, Some(Misdeed::FalseAnswer), now, fx);
        }
        if staged.out_of_scope {
            self.inconsistent(&job.feed, now, fx);
            return self.sync_broken(sync, job, None, now, fx);
        }
        if !is_progress(feed, head) {
            // Gossip was faster, or the writer was found to show two histories.
            return self.sync_broken(sync, job, None, now, fx);
        }
        feed.sync = None;
        feed.applying = true;
        let before = std::mem::replace(&mut feed.tree, staged.tree);
        let gone = staged.cleared.into_iter().filter(|key| feed.tree.get(key).is_none()).collect();
        if feed.newest.as_ref().is_none_or(|newest| newest.head.position() <= head.position()) {
            self.speaks(&job.feed, staged.speaker.clone(), fx);
        }
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
        let entries = entries.unwrap_or_default().into_iter();
        // It decoded when it was staged, and its bytes are the same.
        let checked = entries.filter_map(|entry| check_entry(&slices.known, &slices.speaker, &entry).ok());
        let before = &slices.before;
        let mut news: Vec<Checked> =
            checked.filter(|c| c.value.is_none() || before.get(&c.key) != c.entry().as_ref()).collect();
        if planted(Bug::TombstoneForgotten) {
            news.retain(|checked| checked.value.is_some());
            slices.gone.clear();
        }
        self.records_accepted += news.iter().filter(|checked| checked.value.is_some()).count() as u64;
        self.keep(&slices.feed, news, fx);
        if !slices.chunks.is_empty() {
            self.slices.push_front(slices);
            return;
        }
        let seq = slices.known.head.seq;
        let delete =
            |key| Checked { key, seq, at_unix_ms: now.unix_ms, value: None, hash: [0; 32], summary: None };
        self.keep(&slices.feed, slices.gone.drain(..).map(delete).collect(), fx);
        self.applied(slices, now, fx);
    }

    fn keep(&mut self, feed_id: &FeedId, checked: Vec<Checked>, fx: &mut Effects) {
        if checked.is_empty() {
            return;
        }
        let records: Vec<_> = checked.into_iter().map(|checked| self.shown(feed_id, checked, fx)).collect();
        if self.writes(&feed_id.party) {
            fx.ledger.push(LedgerChange::Records { feed: feed_id.clone(), records: records.clone() });
        }
        fx.directory.push(DirectoryChange::Records { feed: feed_id.clone(), records });
    }

    fn applied(&mut self, slices: Slices, now: Now, fx: &mut Effects) {
        let Some(feed) = self.feeds.get_mut(&slices.feed) else { return };
        feed.applying = false;
        let known = feed.settled(slices.known);
        if feed.own {
            let (head, signed) = (known.head.clone(), known.signed.clone());
            fx.ledger.push(LedgerChange::Head { head, signed });
            // Ours again. What we write from now on is a new incarnation.
            self.incarnation = self.incarnation.max(known.head.incarnation.saturating_add(1));
        }
        fx.directory.push(super::publish::head_change(&known, now));
        let (feed, records) = (slices.feed.clone(), slices.records);
        fx.actions.push(Action::Report(Report::Repaired { feed, records }));
        self.want(&slices.feed, now, fx);
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
            feed.failed_at(job.peer);
        }
        self.want(&job.feed, now, fx);
    }

    /// Another trust list: what is under way for a feed that goes is broken off, the rest goes on under
    /// what its signer is granted now.
    pub(super) fn judge_repairs_anew(&mut self, dropped: &[FeedId], now: Now, fx: &mut Effects) {
        self.slices.retain(|slices| !dropped.contains(&slices.feed));
        for (sync, mut job) in std::mem::take(&mut self.jobs) {
            if dropped.contains(&job.feed) {
                fx.actions.push(Action::CancelSync { sync });
                continue;
            }
            let signer = job.answer.as_ref().map(|staged| *staged.speaker.delegation_hash());
            match (&mut job.answer, signer.map(|delegation| self.speakers.of(&delegation, now))) {
                (Some(staged), Some(Knowledge::Known(speaker))) => staged.speaker = speaker,
                (Some(_), _) => {
                    self.sync_broken(sync, job, None, now, fx);
                    continue;
                }
                (None, _) => {}
            }
            self.jobs.insert(sync, job);
        }
        for slices in &mut self.slices {
            if let Knowledge::Known(speaker) = self.speakers.of(slices.speaker.delegation_hash(), now) {
                slices.speaker = speaker;
            }
        }
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
            let hung = self.jobs.get(&sync).map(|job| job.peer.clone());
            if let Some(peer) = hung.and_then(|peer| self.peers.get_mut(&peer)) {
                peer.silent_until_ms = now.mono_ms + SILENT_MS;
            }
            self.sync_failed(sync, now, fx);
        }
        let wanted = |feed: &Feed| {
            feed.is_behind() && feed.sync.is_none() && !feed.applying && feed.retry_at_ms <= now.mono_ms
        };
        let wanted: Vec<FeedId> =
            self.feeds.iter().filter(|(_, feed)| wanted(feed)).map(|(id, _)| id.clone()).collect();
        for feed_id in wanted {
            if self.jobs.len() >= self.config.syncs_max {
                return;
            }
            self.want(&feed_id, now, fx);
        }
    }
}

impl Staged {
    /// Adds one record or tombstone.
    fn add(&mut self, entry: SyncEntry) -> Result<(), Misdeed> {
        let checked = match check_entry(&self.known, &self.speaker, &entry) {
            Ok(checked) => checked,
            Err(Refusal::Scope(_)) => {
                let key = EvseKey::parse_filed(&entry.key).map_err(|_| Misdeed::FalseAnswer)?;
                self.out_of_scope = true;
                let SyncEntry { seq, at_unix_ms, value, .. } = entry;
                let hash = value.as_deref().map_or([0; 32], records::hash);
                Checked { key, seq, at_unix_ms, value, hash, summary: None }
            }
            Err(_) => return Err(Misdeed::FalseAnswer),
        };
        let asked_for = |buckets: &Vec<u8>| {
            let bucket = bucket_of(checked.key.as_str());
            buckets.iter().any(|asked| usize::from(*asked) == bucket)
        };
        let in_order = self.last_key.as_ref().is_none_or(|last| *last < checked.key);
        if !in_order || !self.buckets.as_ref().is_none_or(asked_for) {
            return Err(Misdeed::FalseAnswer);
        }
        match checked.entry() {
            Some(entry) => self.tree.put(entry),
            None => self.tree.remove(&checked.key),
        };
        self.last_key = Some(checked.key);
        Ok(())
    }
}

/// Whether a head leads on from what we have: newer, and not one of two histories. Without this, two
/// nodes that are both behind would feed each other the same for ever.
fn is_progress(feed: &Feed, head: &Head) -> bool {
    let newer = feed.applied.as_ref().is_none_or(|applied| applied.is_outdone_by(head));
    newer && !feed.is_frozen_for(head)
}

fn check_entry(
    known: &KnownHead,
    speaker: &crate::identity::Speaker,
    entry: &SyncEntry,
) -> Result<Checked, Refusal> {
    if entry.seq > known.head.seq {
        return Err(Refusal::Malformed("a record is newer than its head".into()));
    }
    records::check(
        known.head.feed.kind,
        speaker,
        &entry.key,
        entry.seq,
        entry.at_unix_ms,
        entry.value.clone(),
    )
}
