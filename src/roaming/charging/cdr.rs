//! Charge detail records that are not settled yet: sent to the partner's node or to our backend until each has its
//! last receipt. What is settled is in storage alone; a session that memory forgot is looked up there.
//!
//! At least once on the wire, exactly once in effect: one record counts per session, known by the hash of its bytes.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::cdr_findings::{CdrArrival, CdrFacts, CdrSubject};
use super::cdr_serve::Brought;
use super::lost::is_place_holder;
use super::{Asker, Session};
use crate::identity::{Chain, Hash, PartyId, Receipt, hash_of};
use crate::oicp::charging::{CdrFinding, SessionId};
use crate::planted::{Bug, planted};
use crate::protocol::{CDR_FINDING_BYTES_MAX, CDR_FINDINGS_MAX, CdrState, Digest};
use crate::roaming::change::{CdrsOfSession, LedgerChange, StoredCdr};
use crate::roaming::effect::{Action, Effects, Report};
use crate::roaming::input::{BackendCallId, CallId, Now};
use crate::roaming::{Roaming, TICK_IDLE_MS};

/// First wait before a record is sent again, in milliseconds; it doubles ...
pub(super) const WAIT_MS_MIN: u64 = 1_000;

/// ... up to this, in milliseconds: a partner that comes back is told at once anyhow.
const WAIT_MS_MAX: u64 = 300_000;

/// Records that are looked at in one tick: so many that a full outbox is through in seconds, and a tick stays short.
const DUE_MAX: usize = 256;

/// A record that found all places taken is looked at when one becomes free, or after this time, in milliseconds.
const CROWDED_MS: u64 = 200;

/// Records without a place that are looked at when one becomes free: it may be of another partner.
const CROWDED_MAX: usize = 8;

/// Records that wait for storage to say what it knows of their session; more are refused.
const LOOKUPS_MAX: usize = 1_024;

/// How often it is looked for records that wait too long, in milliseconds.
const ALARM_CHECK_MS: u64 = 10_000;

/// What names a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CdrKey {
    pub(super) session: SessionId,
    pub(super) hash: Digest,
    pub(super) incoming: bool,
}

/// A record for which something is still to be done.
#[derive(Debug)]
pub(super) struct OpenCdr {
    pub(super) stored: StoredCdr,
    /// When it is sent next, on the monotonic clock.
    pub(super) due_ms: u64,
    /// The wait after that.
    wait_ms: u64,
    /// Whether it was told that it waits too long.
    overdue: bool,
    /// Its turn among those that found all places taken.
    turn: Option<u64>,
}

/// Who waits for what storage knows of a session.
#[derive(Debug)]
pub(super) enum CdrWaiter {
    /// A backend of ours brings a record.
    Ours {
        call: CallId,
        /// `None`: whose the session is.
        party: Option<PartyId>,
        arrival: Box<CdrArrival>,
        body: Bytes,
        replaces: Option<Digest>,
    },
    /// A partner's node brings one, verified.
    Theirs { asker: Asker, brought: Brought },
    /// The hub brings one.
    Hub { call: CallId, partner: PartyId, arrival: Box<CdrArrival>, body: Bytes },
    /// A partner's node brings receipts, verified.
    Receipts { asker: Asker, receipts: Vec<ReadReceipt> },
}

impl CdrWaiter {
    /// What the directory has to be asked for it. Of what our backends and the hub bring it was asked before.
    fn subject(&self) -> Option<CdrSubject> {
        let CdrWaiter::Theirs { asker, brought } = self else { return None };
        Some(CdrSubject::of(brought.record.as_ref()?, Some(&asker.ours)))
    }
}

/// A session that is looked up, and those who wait for that.
#[derive(Debug)]
struct Lookup {
    /// What the directory is asked with it.
    subject: Option<CdrSubject>,
    waiting: Vec<CdrWaiter>,
}

/// A receipt that was verified.
#[derive(Clone, Debug)]
pub(super) struct ReadReceipt {
    pub(super) receipt: Receipt,
    pub(super) bytes: Bytes,
    pub(super) signer: Digest,
}

/// All records that are not settled.
#[derive(Debug, Default)]
pub(super) struct Cdrs {
    pub(super) open: BTreeMap<CdrKey, OpenCdr>,
    due: BTreeSet<(u64, CdrKey)>,
    /// Records that found all places taken, in their order.
    crowded: BTreeSet<(u64, CdrKey)>,
    turns: u64,
    /// Calls of our backend.
    pub(super) calls: BTreeMap<BackendCallId, CdrKey>,
    lookups: BTreeMap<SessionId, Lookup>,
    alarm_at_ms: u64,
}

impl Cdrs {
    pub(super) fn is_busy(&self, now_ms: u64) -> bool {
        self.due.first().is_some_and(|(due_ms, _)| *due_ms <= now_ms + TICK_IDLE_MS)
    }

    /// A record that is to be sent at a time.
    pub(super) fn put(&mut self, key: CdrKey, stored: StoredCdr, due_ms: u64) {
        let overdue = self.remove(&key).is_some_and(|open| open.overdue);
        self.due.insert((due_ms, key));
        self.open.insert(key, OpenCdr { stored, due_ms, wait_ms: WAIT_MS_MIN, overdue, turn: None });
    }

    pub(super) fn remove(&mut self, key: &CdrKey) -> Option<OpenCdr> {
        let open = self.open.remove(key)?;
        self.due.remove(&(open.due_ms, *key));
        if let Some(turn) = open.turn {
            self.crowded.remove(&(turn, *key));
        }
        Some(open)
    }

    /// It found all places taken; it keeps its turn.
    fn crowded_out(&mut self, key: &CdrKey, now_ms: u64) {
        if let Some(open) = self.open.get_mut(key) {
            let turn = *open.turn.get_or_insert_with(|| {
                self.turns += 1;
                self.turns
            });
            self.crowded.insert((turn, *key));
        }
        self.due_at(key, now_ms + CROWDED_MS);
    }

    /// It found a place, or needs none any more.
    fn has_place(&mut self, key: &CdrKey) {
        if let Some(turn) = self.open.get_mut(key).and_then(|open| open.turn.take()) {
            self.crowded.remove(&(turn, *key));
        }
    }

    pub(super) fn due_at(&mut self, key: &CdrKey, at_ms: u64) {
        if let Some(open) = self.open.get_mut(key) {
            self.due.remove(&(open.due_ms, *key));
            open.due_ms = at_ms;
            self.due.insert((at_ms, *key));
        }
    }

    pub(super) fn calls_backend_for(&self, key: &CdrKey) -> bool {
        self.calls.values().any(|called| called == key)
    }
}

impl Roaming {
    /// How many records are not settled, by direction (`true`: received) and state, and how many of them wait for
    /// too long.
    pub fn open_cdrs(&self) -> (BTreeMap<(bool, CdrState), u64>, u64) {
        let mut counts = BTreeMap::new();
        for open in self.charging.cdrs.open.values() {
            *counts.entry((open.stored.incoming, open.stored.state)).or_default() += 1;
        }
        let overdue = self.charging.cdrs.open.values().filter(|open| open.overdue).count();
        (counts, overdue as u64)
    }

    /// What storage remembers. Whatever was under way is said again.
    pub(in crate::roaming) fn reload_cdrs(&mut self, stored: Vec<StoredCdr>, now: Now) {
        for cdr in stored {
            if planted(Bug::OutboxForgotten) && !cdr.incoming {
                continue;
            }
            if let Some(session) = SessionId::parse(&cdr.session) {
                let key = CdrKey { session, hash: cdr.hash, incoming: cdr.incoming };
                self.charging.cdrs.put(key, cdr, now.mono_ms);
            }
        }
    }

    /// A backend of ours brings a record.
    pub(in crate::roaming) fn cdr_of_backend(
        &mut self,
        (call, party): (CallId, Option<PartyId>),
        arrival: Box<CdrArrival>,
        body: Bytes,
        replaces: Option<Hash>,
        now: Now,
        fx: &mut Effects,
    ) {
        let id = self.resolved(arrival.session);
        self.cdr_came(id, CdrWaiter::Ours { call, party, arrival, body, replaces }, now, fx);
    }

    /// A session in memory that is not closed has no record yet; what else there is storage knows, and what the
    /// directory shows of the EVSE of a partner's record.
    pub(super) fn cdr_came(&mut self, id: SessionId, waiter: CdrWaiter, now: Now, fx: &mut Effects) {
        if let Some(lookup) = self.charging.cdrs.lookups.get_mut(&id) {
            if lookup.waiting.len() >= LOOKUPS_MAX {
                return self.cdr_not_looked_up(waiter, now, fx);
            }
            return lookup.waiting.push(waiter);
        }
        let first = match &waiter {
            CdrWaiter::Ours { replaces, .. } => replaces.is_none(),
            CdrWaiter::Hub { .. } => true,
            CdrWaiter::Theirs { .. } | CdrWaiter::Receipts { .. } => false,
        };
        let is_open = |session: &Session| {
            session.record.phase != crate::protocol::SessionPhase::Closed && !is_place_holder(&session.record)
        };
        if first && self.charging.sessions.get(&id).is_some_and(is_open) {
            return self.cdr_with(id, waiter, None, &mut Vec::new(), now, fx);
        }
        if self.charging.cdrs.lookups.len() >= LOOKUPS_MAX {
            return self.cdr_not_looked_up(waiter, now, fx);
        }
        let subject = waiter.subject();
        fx.actions.push(Action::FindCdrs { session: id, subject: subject.clone() });
        self.charging.cdrs.lookups.insert(id, Lookup { subject, waiting: vec![waiter] });
    }

    /// Storage said what it knows of a session; `None`: it could not be read.
    pub(in crate::roaming) fn cdrs_found(
        &mut self,
        id: SessionId,
        found: Option<Box<CdrsOfSession>>,
        facts: Option<CdrFacts>,
        now: Now,
        fx: &mut Effects,
    ) {
        let Some(Lookup { subject, waiting }) = self.charging.cdrs.lookups.remove(&id) else { return };
        let Some(CdrsOfSession { session, mut cdrs }) = found.map(|found| *found) else {
            return waiting.into_iter().for_each(|waiter| self.cdr_not_looked_up(waiter, now, fx));
        };
        if let Some(record) = session {
            let known = &mut self.charging.sessions;
            // Memory had forgotten it when the partner spoke of it.
            if known.get(&id).is_some_and(|session| is_place_holder(&session.record)) {
                known.remove(&id);
            }
            known.entry(id).or_insert_with(|| Session::new(record, now));
        }
        for (_, open) in self.charging.cdrs.open.iter().filter(|(key, _)| key.session == id) {
            let newer = &open.stored;
            cdrs.retain(|cdr| (cdr.hash, cdr.incoming) != (newer.hash, newer.incoming));
            cdrs.push(newer.clone());
        }
        for waiter in waiting {
            match waiter.subject() {
                // Of another EVSE, or for another EMP: the directory is asked again.
                Some(other) if subject.as_ref() != Some(&other) => self.cdr_came(id, waiter, now, fx),
                _ => self.cdr_with(id, waiter, facts.as_ref(), &mut cdrs, now, fx),
            }
        }
    }

    fn cdr_with(
        &mut self,
        id: SessionId,
        waiter: CdrWaiter,
        facts: Option<&CdrFacts>,
        known: &mut Vec<StoredCdr>,
        now: Now,
        fx: &mut Effects,
    ) {
        match waiter {
            CdrWaiter::Ours { call, party, arrival, body, replaces } => {
                let wish = super::cdr_send::CdrWish { call, party, arrival, body, replaces };
                self.take_our_cdr(wish, known, now, fx);
            }
            CdrWaiter::Theirs { asker, mut brought } => {
                brought.facts = facts.cloned();
                self.take_their_cdr(id, asker, brought, known, now, fx);
            }
            CdrWaiter::Hub { call, partner, arrival, body } => {
                self.take_hub_cdr(id, (call, partner), (&arrival, body), known, now, fx);
            }
            CdrWaiter::Receipts { asker, receipts } => {
                self.take_receipts(id, asker, receipts, known, now, fx);
            }
        }
    }

    /// Stores a record as it is now, and forgets it here if it is settled.
    pub(super) fn remember_cdr(&mut self, key: CdrKey, fx: &mut Effects) {
        let Some(open) = self.charging.cdrs.open.get(&key) else { return };
        let stored = &open.stored;
        fx.ledger.push(LedgerChange::Cdr { cdr: Box::new(stored.clone()) });
        fx.actions.push(Action::Report(report(stored)));
        if !stored.is_open {
            self.charging.cdrs.remove(&key);
        }
    }

    pub(super) fn has_room_for_cdr(&self) -> bool {
        self.charging.cdrs.open.len() < self.charging.config.open_cdrs_max
    }

    /// The time of the next attempt, with jitter, so that a thousand records do not come at once.
    pub(super) fn put_off(&mut self, key: &CdrKey, busy_ms: u64, now: Now) {
        let random = self.random();
        let Some(open) = self.charging.cdrs.open.get_mut(key) else { return };
        let wait_ms = open.wait_ms;
        open.wait_ms = (wait_ms * 2).min(WAIT_MS_MAX);
        let at_ms = now.mono_ms + busy_ms + wait_ms / 2 + random % wait_ms.max(1);
        self.charging.cdrs.due_at(key, at_ms);
    }

    /// The time of the next attempt, when one came to nothing sooner than was expected.
    pub(super) fn again(&mut self, key: &CdrKey, now: Now) {
        let random = self.random();
        let Some(open) = self.charging.cdrs.open.get(key) else { return };
        let at_ms = now.mono_ms + open.wait_ms / 2 + random % open.wait_ms.max(1);
        self.charging.cdrs.due_at(key, at_ms);
    }

    /// Time passed.
    pub(super) fn tick_cdrs(&mut self, now: Now, fx: &mut Effects) {
        let due = self.charging.cdrs.due.iter().take_while(|(due_ms, _)| *due_ms <= now.mono_ms);
        let due: Vec<CdrKey> = due.take(DUE_MAX).map(|(_, key)| *key).collect();
        for key in due {
            self.cdr_due(key, now, fx);
        }
        if now.mono_ms >= self.charging.cdrs.alarm_at_ms {
            self.charging.cdrs.alarm_at_ms = now.mono_ms + ALARM_CHECK_MS;
            self.warn_of_cdrs(now, fx);
        }
    }

    /// Does what is to be done next about a record, or lets it wait for a place.
    pub(super) fn cdr_due(&mut self, key: CdrKey, now: Now, fx: &mut Effects) {
        let Some(open) = self.charging.cdrs.open.get(&key) else { return };
        let stored = &open.stored;
        let done = match (key.incoming, stored.record.to_tell) {
            (false, _) => self.send_cdr(key, now, fx),
            (true, true) => self.tell_receipts(key, now, fx),
            (true, false) => self.forward_cdr(key, now, fx),
        };
        match done {
            true => self.charging.cdrs.has_place(&key),
            false => self.charging.cdrs.crowded_out(&key, now.mono_ms),
        }
    }

    /// A place became free: records that found none have their turn.
    pub(super) fn cdrs_next(&mut self, now: Now, fx: &mut Effects) {
        let next: Vec<CdrKey> =
            self.charging.cdrs.crowded.iter().take(CROWDED_MAX).map(|(_, key)| *key).collect();
        for key in next {
            self.cdr_due(key, now, fx);
        }
    }

    fn warn_of_cdrs(&mut self, now: Now, fx: &mut Effects) {
        let limit_ms = self.charging.config.cdr_alarm_minutes.saturating_mul(60_000);
        for open in self.charging.cdrs.open.values_mut().filter(|open| !open.overdue) {
            let stored = &open.stored;
            let waits_ms = now.unix_ms.saturating_sub(stored.stored_unix_ms);
            if waits_ms >= limit_ms {
                open.overdue = true;
                fx.actions.push(Action::Report(Report::CdrWaits {
                    session: stored.session.clone(),
                    partner: stored.partner.clone(),
                    incoming: stored.incoming,
                    state: stored.state,
                    since_unix_ms: stored.stored_unix_ms,
                }));
            }
        }
    }

    /// Partners are back: what is for them is sent at once.
    pub(super) fn cdrs_soon(&mut self, now: Now) {
        let waits = |open: &&OpenCdr| !open.stored.incoming || open.stored.record.to_tell;
        let partners = self.charging.cdrs.open.values().filter(waits).map(|open| open.stored.partner.clone());
        let partners: BTreeSet<PartyId> = partners.collect();
        let back: BTreeSet<PartyId> =
            partners.into_iter().filter(|party| !self.nodes_of(party, now).is_empty()).collect();
        let soon = self.charging.cdrs.open.iter().filter(|(_, open)| {
            waits(open) && back.contains(&open.stored.partner) && open.wait_ms > WAIT_MS_MIN
        });
        let soon: Vec<CdrKey> = soon.map(|(key, _)| *key).collect();
        for key in soon {
            if let Some(open) = self.charging.cdrs.open.get_mut(&key) {
                open.wait_ms = WAIT_MS_MIN;
            }
            self.charging.cdrs.due_at(&key, now.mono_ms);
        }
    }

    /// The parties with whom a record is not settled.
    pub(in crate::roaming) fn parties_of_open_cdrs(&self) -> BTreeSet<PartyId> {
        let mut parties = BTreeSet::new();
        for open in self.charging.cdrs.open.values() {
            if !parties.contains(&open.stored.partner) {
                parties.insert(open.stored.partner.clone());
            }
        }
        parties
    }
}

pub(super) fn report(stored: &StoredCdr) -> Report {
    Report::Cdr {
        session: stored.session.clone(),
        partner: stored.partner.clone(),
        incoming: stored.incoming,
        state: stored.state,
    }
}

/// A chain once, however often it signed.
pub(super) fn note_signer(stored: &mut StoredCdr, signer: Digest, chain: Option<&Chain>) {
    if !stored.record.signers.contains(&signer) {
        stored.record.signers.push(signer);
    }
    if let Some(chain) = chain
        && !stored.record.chains.contains(chain)
    {
        stored.record.chains.push(chain.clone());
    }
}

/// Findings as they are stored: bounded.
pub(super) fn finding_texts(findings: &[CdrFinding]) -> Vec<String> {
    let text = |finding: &CdrFinding| {
        let mut text = format!("{}: {}", finding.rule.as_str(), finding.message);
        text.truncate(text.floor_char_boundary(CDR_FINDING_BYTES_MAX));
        text
    };
    findings.iter().take(CDR_FINDINGS_MAX).map(text).collect()
}

/// The record's name.
pub(super) fn cdr_hash(oicp: &[u8]) -> Digest {
    hash_of(oicp)
}
