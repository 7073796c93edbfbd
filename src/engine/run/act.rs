//! What the core wants done, done: on the mesh, towards backends, towards callers.

use std::sync::Arc;
use std::time::Duration;

use super::super::backends::{BackendOperation, BackendQuestion, Backends};
use super::super::events::Event;
use super::super::handle::{EngineError, PushOutcome};
use super::super::tell::tell;
use super::super::{partners, pins, serve};
use super::Runner;
use crate::mesh;
use crate::oicp::charging::SessionId;
use crate::protocol::{NodeId, SyncRequest};
use crate::roaming::{Action, BackendCallId, CdrSubject, Input, Misdeed, Report, RequestId};

impl Runner {
    /// Large reads never pass the engine: storage answers from one snapshot, a task sends.
    pub(super) fn serve(&self, from: &NodeId, request: &[u8], responder: mesh::SyncResponder) {
        let Ok(request) = SyncRequest::decode(request) else { return };
        // Who is no member hears what it would hear if there were no such feed.
        let may_see = self.parts.core.may_see(from, &request.feed, self.parts.clock.now());
        let reading = if may_see { self.parts.store.feed_answer(request) } else { serve::nothing() };
        self.parts.spawner.task(Box::pin(serve::serve(reading, responder)));
    }

    pub(super) fn act(&mut self, action: Action) {
        let mesh = &self.parts.mesh;
        match action {
            Action::Publish { topic, bytes } => {
                // What finds no room is brought by repair: peers see the gap with the next head.
                if let Err(error) = mesh.try_publish(topic, bytes) {
                    tracing::warn!(%error, "an announcement was not gossiped; peers will pull it");
                }
            }
            Action::Judge { gossip, verdict } => {
                if let Some(token) = self.gossip.remove(&gossip) {
                    mesh.judge(token, verdict);
                }
            }
            Action::Ask { to, request, bytes, timeout_ms } => self.ask(to, request, bytes, timeout_ms),
            Action::Answer { ask, bytes } => {
                if let Some(token) = self.asks.remove(&ask)
                    && let Err(error) = mesh.answer(token, bytes)
                {
                    tracing::debug!(%error, "an answer found no room; the peer asks again");
                }
            }
            Action::Sync { to, sync, bytes } => {
                if mesh.try_sync(to, mesh::SyncId(sync.0), bytes).is_err() {
                    tracing::debug!("a repair found no room; it is tried again");
                }
            }
            Action::CancelSync { sync } => {
                let _busy = mesh.cancel_sync(mesh::SyncId(sync.0));
            }
            Action::Penalise { node, why } => {
                let penalty = match why {
                    Misdeed::FalseAnswer => mesh::Penalty::SyncMismatch,
                    Misdeed::Malformed => mesh::Penalty::Malformed,
                    Misdeed::Flood => mesh::Penalty::Flood,
                };
                tracing::warn!(%node, ?why, "a peer is penalised");
                let _busy = mesh.penalise(node, penalty);
            }
            Action::CallBackend { call, party, operation, path_id, body, timeout_ms } => {
                let timeout = Duration::from_millis(timeout_ms);
                let operation = BackendOperation::Session(operation);
                let asked = BackendQuestion { party, operation, path_id, body, timeout };
                self.call_backend(&self.parts.backends, call, asked);
            }
            Action::ForwardCdr { call, party, path_id, body, timeout_ms } => {
                let (operation, timeout) =
                    (BackendOperation::ChargeDetailRecord, Duration::from_millis(timeout_ms));
                let asked = BackendQuestion { party, operation, path_id, body, timeout };
                self.call_backend(&self.parts.backends, call, asked);
            }
            Action::CallHub { call, party, operation, path_id, body, timeout_ms } => {
                let timeout = Duration::from_millis(timeout_ms);
                let operation =
                    operation.map_or(BackendOperation::ChargeDetailRecord, BackendOperation::Session);
                let asked = BackendQuestion { party, operation, path_id, body, timeout };
                self.call_backend(&self.parts.hub, call, asked);
            }
            Action::FindCdrs { session, subject } => self.find_cdrs(session, subject),
            Action::CheckPin { call, pin, hash } => {
                let (places, told) = (self.pin_checks.clone(), self.parts.answered.clone());
                pins::check(&self.parts.spawner, places, told, call, (pin, hash));
            }
            Action::ServeBooks { serve, ours, partner, message, signed } => {
                self.serve_books(serve, (ours, partner), message, signed);
            }
            Action::FindCard { key } => partners::find_card(mesh, key),
            Action::KnowAddress { node, address } => partners::know_address(mesh, node, address),
            Action::KeepPartners(nodes) => self.partner_nodes.keep(mesh, nodes),
            Action::Report(report) => self.report(&report),
            reply => self.reply(reply),
        }
    }

    /// A task reads, when it has its place; what it found comes back as an input.
    fn find_cdrs(&self, session: SessionId, subject: Option<CdrSubject>) {
        let (places, told) = (self.cdr_lookups.clone(), self.parts.answered.clone());
        let reading = self.parts.store.cdrs_of(session, subject);
        self.parts.spawner.task(Box::pin(async move {
            let Ok(place) = places.acquire_owned().await else { return };
            let (found, facts) = reading.await;
            drop(place);
            let found = found.map(Box::new);
            // The engine may have stopped.
            let _stopped = told.send(Input::CdrsFound { session, found, facts }).await;
        }));
    }

    fn report(&self, report: &Report) {
        tell(report);
        let now = self.parts.clock.now();
        self.parts.watchers.tell(|| Event::of_report(report, now.unix_ms));
    }

    /// Who waits for an answer gets it; who has gone does not need it, for what was asked is done and committed.
    fn reply(&mut self, action: Action) {
        match action {
            Action::Reply { call, result, status } => {
                if let Some(reply) = self.calls.remove(&call) {
                    // A backend that gave up still has its push done: it was committed.
                    let _gone = reply.send(Ok(PushOutcome { result, status }));
                }
            }
            Action::ReplyOicp { call, answer } => {
                if let Some(reply) = self.charge_calls.remove(&call) {
                    // A backend that gave up asks again, or hears of a late start.
                    let _gone = reply.send(Ok(answer));
                }
            }
            Action::ReplyStarted { session, answers, is_urgent } => {
                let waiting = answers
                    .into_iter()
                    .filter_map(|(call, answer)| self.charge_calls.remove(&call)?.send(Ok(answer)).ok());
                let heard = waiting.count();
                let told = Input::StartTold { session, heard: heard > 0 };
                let waits = heard > 0 && !is_urgent;
                if waits { &mut self.heard } else { &mut self.returned }.push(told);
            }
            Action::Reloaded { call, outcome } => {
                if let Some((standing, reply)) = self.reloads.remove(&call) {
                    if outcome.is_ok() {
                        self.parts.standings.send_replace(standing);
                    }
                    // It is in use, whether anybody waits or not.
                    let _gone = reply.send(outcome.map_err(EngineError::from));
                }
            }
            Action::BooksAnswered { call, answer } => {
                if let Some(reply) = self.books_calls.remove(&call) {
                    // Who compares may have given up.
                    let _gone = reply.send(answer);
                }
            }
            Action::LostSessionTaken { call, taken } => {
                if let Some(reply) = self.lost_calls.remove(&call) {
                    // Who compares may have given up: the session is known all the same.
                    let _gone = reply.send(Ok(taken));
                }
            }
            Action::AgreementDone { call, done } => {
                if let Some(reply) = self.agreement_calls.remove(&call) {
                    let _gone = reply.send(Ok(done));
                }
            }
            _ => {}
        }
    }

    fn ask(&mut self, to: crate::protocol::NodeId, request: RequestId, bytes: bytes::Bytes, timeout_ms: u64) {
        let timeout = Duration::from_millis(timeout_ms);
        if self.parts.mesh.try_ask(to, mesh::RequestId(request.0), bytes, timeout).is_err() {
            // What follows from it may have to be committed: it is an input like any other.
            self.returned.push(Input::AskFailed { request, sent: false });
        }
    }

    /// A task asks the backend; its answer comes back as an input.
    fn call_backend(&self, backends: &Arc<dyn Backends>, call: BackendCallId, asked: BackendQuestion) {
        let (backends, answers) = (backends.clone(), self.parts.answered.clone());
        self.parts.spawner.task(Box::pin(async move {
            let answer = backends.ask(asked).await;
            // The engine may have stopped: then a restart finds the call under way.
            let _stopped = answers.send(Input::BackendAnswered { call, answer }).await;
        }));
    }
}
