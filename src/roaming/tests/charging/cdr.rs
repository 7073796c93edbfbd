//! Charge detail records between nodes: what is lost, late, doubled, forged, or hidden by a crash; and that each
//! counts once, with its receipts at both sides.

use super::super::agreements::{cpo, emp};
use super::super::*;
use super::{YES, agreed, agreed_with};
use crate::identity::{Chain, Receipt, SignedCdr};
use crate::oicp::charging::{ChargeDetailRecord, SessionId};
use crate::protocol::{CdrState, SessionMessage, SessionPhase};
use crate::roaming::change::StoredCdr;
use crate::roaming::{BackendAnswer, ChargingConfig};

const REJECTED: &str = r#"{"Result":false,"StatusCode":{"Code":"022"}}"#;
pub(super) const STRANGER: &str = "7bca5b5d-0e5c-4b2f-9d1c-2f5a3a9c1e11";

/// A record of a session; spelling and unknown fields are to survive.
pub(super) fn cdr(session: &str, kwh: &str) -> String {
    format!(
        r#"{{ "SessionID":"{session}","EvseID":"CH*ABC*E1","Identification":{{"RemoteIdentification":{{"EvcoID":"CH-EMP-C12345678-X"}}}},"ChargingStart":"2027-01-15T07:00:00Z","ChargingEnd":"2027-01-15T07:30:00.000+00:00","SessionStart":"2027-01-15T07:00:00Z","SessionEnd":"2027-01-15T07:30:00Z","ConsumedEnergy":{kwh},"x-own":1.50}}"#
    )
}

impl World {
    pub(super) fn bring(&mut self, node: usize, body: &str, replaces: Option<Digest>) -> CallId {
        self.calls += 1;
        let call = CallId(self.calls);
        let read = ChargeDetailRecord::parse(body.as_bytes(), Reading::Strict).unwrap();
        let arrival = self.arrival(node, &read);
        let party = replaces.is_none().then(|| self.nodes[node].people[0].party());
        let body = Bytes::copy_from_slice(body.as_bytes());
        self.handle(node, Input::Cdr { call, party, arrival, body, replaces });
        call
    }

    /// Brings a record and gives the code of the answer, which comes at once or from storage.
    pub(super) fn brought(&mut self, node: usize, body: &str) -> String {
        let call = self.bring(node, body, None);
        self.said(node, call)
    }

    pub(super) fn said(&mut self, node: usize, call: CallId) -> String {
        if self.heard(node, call).is_none() {
            self.run(5);
        }
        let (_, said) = self.heard(node, call).expect("an answer");
        let at = said.find(r#""Code":""#).unwrap() + 8;
        said[at..at + 3].to_owned()
    }

    /// All of them are off for days, have new delegations, and meet again.
    pub(super) fn asleep(&mut self, nodes: &[usize], days: u64) {
        nodes.iter().for_each(|node| self.kill(*node));
        self.run(days * 86_400_000);
        for node in nodes {
            self.nodes[*node].people[0].epoch += 1;
            self.nodes[*node].people[0].days += days;
            self.start(*node);
        }
        self.connect_all();
        self.run(5_000);
    }

    /// A session that runs, and its id.
    pub(super) fn running(&mut self, a: usize, b: usize) -> String {
        let before: Vec<String> = self.core(b).sessions().map(|session| session.session.clone()).collect();
        self.start_charging(b);
        self.run(1_000);
        self.backend_says(a, YES);
        self.run(1_000);
        let mut after = self.core(b).sessions().map(|session| session.session.clone());
        after.find(|id| !before.contains(id)).unwrap()
    }

    /// The EMP's backend answers the record that it was given first.
    pub(super) fn backend_takes(&mut self, node: usize, answer: BackendAnswer) -> String {
        let (call, body) = self.nodes[node].charging.given.remove(0);
        self.handle(node, Input::BackendAnswered { call, answer });
        body
    }

    pub(super) fn stored(&self, node: usize) -> Vec<StoredCdr> {
        self.nodes[node].store.cdrs.values().cloned().collect()
    }

    pub(super) fn states(&self, node: usize) -> Vec<(CdrState, bool)> {
        self.stored(node).iter().map(|cdr| (cdr.state, cdr.is_open)).collect()
    }

    pub(super) fn verdicts(&self, node: usize) -> Vec<Vec<&'static str>> {
        let of = |cdr: &StoredCdr| {
            let read = |bytes: &Bytes| Receipt::read_stored(bytes).unwrap().verdict.as_str();
            cdr.record.receipts.iter().map(read).collect()
        };
        self.stored(node).iter().map(of).collect()
    }

    /// Both hold the same records, closed, with the same receipts.
    pub(super) fn settled(&self, a: usize, b: usize, state: CdrState) {
        assert_eq!(self.states(a), vec![(state, false); self.stored(a).len()]);
        assert_eq!(self.states(a), self.states(b));
        assert_eq!(self.verdicts(a), self.verdicts(b));
        let content = |node| -> Vec<_> {
            self.stored(node).into_iter().map(|cdr| (cdr.session, cdr.hash, cdr.signed)).collect()
        };
        assert_eq!(content(a), content(b));
        assert_eq!(self.core(a).open_cdrs().0.len() + self.core(b).open_cdrs().0.len(), 0);
    }

    /// Gives a node a message of a partner as if it had just come.
    pub(super) fn message_to(&mut self, node: usize, from: &Person, sender: usize, body: SessionMessage) {
        let ours = from.ours(&node_id(sender));
        let now = self.now().unix_ms;
        self.calls += 1;
        let envelope = crate::identity::Envelope {
            id: MessageId(u128::from(self.calls).to_be_bytes()),
            to: self.nodes[node].people[0].party(),
            node: node_id(node).as_bytes().to_vec(),
            reply_to: None,
            created_unix_ms: now,
            expires_unix_ms: now + 60_000,
            body: body.encode(),
        };
        let bytes = envelope.issue(NETWORK, &ours.speaker, &ours.message_key).unwrap();
        self.count += 1;
        let ask = AskId(self.count);
        // The answer goes to nobody who asked.
        self.nodes[node].asks.insert(ask, (sender, RequestId(0)));
        let bytes = crate::protocol::Question::Message(bytes.into()).encode();
        self.handle(node, Input::Asked { from: node_id(sender), ask, bytes });
    }
}

pub(super) fn yes() -> BackendAnswer {
    BackendAnswer::Answered { http_status: 200, body: YES.into() }
}

/// The record as a CPO's node would sign it.
pub(super) fn signed(
    by: &Person,
    at: usize,
    session: &str,
    now_unix_ms: u64,
    kwh: &str,
) -> (Bytes, Chain, Digest) {
    let ours = by.ours(&node_id(at));
    let content = SignedCdr {
        session: session.to_owned(),
        from: by.party(),
        to: emp().party(),
        created_unix_ms: now_unix_ms,
        replaces: None,
        oicp: cdr(session, kwh).into_bytes(),
    };
    let bytes = content.issue(NETWORK, &ours.speaker, &ours.message_key).unwrap();
    (bytes.into(), ours.chain, content.cdr_hash())
}

#[test]
fn a_record_goes_to_the_emp_and_its_receipts_come_back() {
    let (mut world, a, b) = agreed();
    let id = world.running(a, b);
    assert_eq!(world.brought(a, &cdr(&id, "10.10")), "000");
    assert_eq!(world.states(a), [(CdrState::Waiting, true)]);
    world.run(1_000);
    assert_eq!(
        (world.states(a), world.states(b)),
        (vec![(CdrState::Received, true)], vec![(CdrState::Received, true)])
    );
    assert_eq!((world.phases(a), world.phases(b)), (vec![SessionPhase::Closed], vec![SessionPhase::Closed]));
    let given = world.backend_takes(b, yes());
    assert_eq!(given, cdr(&id, "10.10"), "byte for byte");
    world.run(1_000);
    world.settled(a, b, CdrState::Accepted);
    assert_eq!(world.verdicts(a), [["received", "accepted"]]);
    world.run(2 * 3_600_000);
    assert_eq!(world.nodes[b].charging.given_ever.len(), 1);
}

#[test]
fn a_session_is_known_as_long_as_its_record_is_on_its_way() {
    const DAY_MS: u64 = 24 * 3_600_000;
    let (mut world, a, b) = agreed();
    let id = world.running(a, b);
    world.disconnect(a, b);
    assert_eq!(world.brought(a, &cdr(&id, "10.10")), "000");
    world.run(DAY_MS + 3_600_000);
    assert_eq!(world.phases(a), [SessionPhase::Closed], "or who asks about it hears that it never came");
    world.kill(a);
    world.start(a);
    world.connect(a, b);
    world.run(3_600_000);
    world.backend_takes(b, yes());
    world.run(3_600_000);
    world.settled(a, b, CdrState::Accepted);
    world.run(DAY_MS);
    assert!(world.phases(a).is_empty(), "not for ever");
}

#[test]
fn a_backends_no_is_told_and_a_broken_backend_is_asked_again() {
    let (mut world, a, b) = agreed();
    let id = world.running(a, b);
    world.brought(a, &cdr(&id, "10.1"));
    world.run(1_000);
    let broken = [
        BackendAnswer::NotSent("off".into()),
        BackendAnswer::Silent("no answer".into()),
        BackendAnswer::Answered { http_status: 200, body: "<html>".into() },
        BackendAnswer::Answered { http_status: 503, body: YES.into() },
    ];
    for answer in broken {
        world.backend_takes(b, answer);
        world.run(120_000);
        assert_eq!(world.nodes[b].charging.given.len(), 1, "it is asked again");
    }
    world.backend_takes(b, BackendAnswer::Answered { http_status: 200, body: REJECTED.into() });
    world.run(5_000);
    world.settled(a, b, CdrState::Rejected);
    let last = world.stored(a)[0].record.receipts[1].clone();
    assert_eq!(Receipt::read_stored(&last).unwrap().verdict.code(), Some("022"));
}

#[test]
fn the_hubs_checks_refuse_before_anything_is_promised() {
    let (mut world, a, b) = agreed();
    let id = world.running(a, b);
    let good = cdr(&id, "10.1");
    for (body, code) in [
        (cdr(STRANGER, "1"), "400"),
        (good.replace("CH*ABC*E1", "CH*XYZ*E1"), "018"),
        (cdr(&id, "1000.001"), "022"),
        (cdr(&id, "-1"), "022"),
        (good.replace("\"SessionEnd\":\"2027", "\"SessionEnd\":\"2028"), "022"),
        (good.replace("\"ChargingEnd\":\"2027-01-15T07", "\"ChargingEnd\":\"2027-01-15T06"), "022"),
    ] {
        assert_eq!(world.brought(a, &body), code, "{body}");
    }
    assert!(world.stored(a).is_empty());
    assert_eq!(world.brought(b, &good), "400", "the EMP sends none");
    assert_eq!(world.brought(a, &good), "000");
}

#[test]
fn the_same_again_is_taken_once_and_another_is_refused() {
    for refuse_identical_cdr in [false, true] {
        let config = ChargingConfig { refuse_identical_cdr, ..ChargingConfig::default() };
        let (mut world, a, b) = agreed_with([config, ChargingConfig::default()]);
        let id = world.running(a, b);
        // Before it is sent, while it waits for the backend, and after all is done.
        world.brought(a, &cdr(&id, "10.1"));
        for step in 0..3 {
            let again = if refuse_identical_cdr { "400" } else { "000" };
            assert_eq!(world.brought(a, &cdr(&id, "10.1")), again, "{step}");
            assert_eq!(world.brought(a, &cdr(&id, "10.2")), "400", "{step}");
            if step == 1 {
                world.backend_takes(b, yes());
            }
            world.run(2_000);
        }
        world.settled(a, b, CdrState::Accepted);
        assert_eq!((world.stored(a).len(), world.nodes[b].charging.given_ever.len()), (1, 1));
    }
}

#[test]
fn an_emp_without_a_backend_keeps_it() {
    let (mut world, a, b) = agreed();
    let id = world.running(a, b);
    world.nodes[b].charging.no_backend = true;
    world.kill(b);
    world.start(b);
    world.connect_all();
    world.run(3_000);
    world.brought(a, &cdr(&id, "10.1"));
    world.run(2_000);
    world.settled(a, b, CdrState::Kept);
    assert_eq!(world.verdicts(a), [["received", "kept"]]);
    assert!(world.nodes[b].charging.given_ever.is_empty());
}

#[test]
fn a_record_settles_what_was_in_doubt() {
    let (mut world, a, b) = agreed();
    world.start_charging(b);
    world.run(1_000);
    world.backend(a, BackendAnswer::Silent("off".into()));
    world.run(3_000);
    assert_eq!(
        (world.phases(a), world.phases(b)),
        (vec![SessionPhase::Unconfirmed], vec![SessionPhase::Unconfirmed])
    );
    let id = world.session(b).session;
    assert_eq!(world.brought(a, &cdr(&id, "10.1")), "000");
    world.run(2_000);
    world.backend_takes(b, yes());
    world.run(2_000);
    world.settled(a, b, CdrState::Accepted);
    assert_eq!((world.phases(a), world.phases(b)), (vec![SessionPhase::Closed], vec![SessionPhase::Closed]));
    world.run(60_000);
    assert_eq!(world.nodes[b].charging.calls.len(), 0, "nothing is left to ask");
}

#[test]
fn a_correction_takes_the_place_of_a_record_and_both_are_kept() {
    for forward_corrections in [false, true] {
        let config = ChargingConfig { forward_corrections, ..ChargingConfig::default() };
        let (mut world, a, b) = agreed_with([ChargingConfig::default(), config]);
        let id = world.running(a, b);
        world.brought(a, &cdr(&id, "10.1"));
        world.run(1_000);
        world.backend_takes(b, yes());
        world.run(1_000);
        let first = world.stored(a)[0].hash;
        // What says the same corrects nothing.
        let spaced = cdr(&id, "10.1").replace(',', " ,\n") + "\n";
        for same in [cdr(&id, "10.1"), spaced] {
            let call = world.bring(a, &same, Some(first));
            assert_eq!(world.said(a, call), "400");
        }
        for (replaces, code) in [([7; 32], "400"), (first, "000"), (first, "000")] {
            let call = world.bring(a, &cdr(&id, "9.9"), Some(replaces));
            assert_eq!(world.said(a, call), code);
        }
        // What was replaced is replaced once.
        let call = world.bring(a, &cdr(&id, "8.8"), Some(first));
        assert_eq!(world.said(a, call), "400");
        world.run(2_000);
        if forward_corrections {
            assert_eq!(world.backend_takes(b, yes()), cdr(&id, "9.9"));
            world.run(2_000);
            world.settled(a, b, CdrState::Accepted);
        } else {
            let kept = world.stored(b).into_iter().find(|cdr| cdr.replaces == Some(first)).unwrap();
            assert_eq!((kept.state, kept.is_open), (CdrState::Kept, false));
        }
        assert_eq!((world.stored(a).len(), world.stored(b).len()), (2, 2));
        assert_eq!(world.nodes[b].charging.given_ever.len(), if forward_corrections { 2 } else { 1 });
    }
}

#[test]
fn a_full_outbox_refuses_before_it_promises() {
    let config = ChargingConfig { open_cdrs_max: 1, ..ChargingConfig::default() };
    let (mut world, a, b) = agreed_with([config, ChargingConfig::default()]);
    let ids = [world.running(a, b), world.running(a, b)];
    world.kill(b);
    assert_eq!(world.brought(a, &cdr(&ids[0], "1.0")), "000");
    assert_eq!(world.brought(a, &cdr(&ids[1], "1.0")), "001");
    world.start(b);
    world.connect_all();
    world.run(5_000);
    world.backend_takes(b, yes());
    world.run(5_000);
    assert_eq!(world.brought(a, &cdr(&ids[1], "1.0")), "000");
}

#[test]
fn a_place_that_becomes_free_is_taken_at_once() {
    let (mut world, a, b) = agreed();
    let ids: Vec<String> = (0..100).map(|_| world.running(a, b)).collect();
    for id in &ids {
        world.bring(a, &cdr(id, "1.0"), None);
    }
    let begun = world.now().mono_ms;
    while world.stored(b).len() < ids.len() {
        world.run(10);
        assert!(world.now().mono_ms < begun + 10_000, "{} of 100 came", world.stored(b).len());
    }
    // 32 are under way at once: four ways there and three back, each up to 50 ms, and no waiting between.
    let took = world.now().mono_ms - begun;
    assert!(took <= 400, "{took} ms");
}

#[test]
fn no_message_names_a_session_that_cannot_be() {
    let (mut world, a, b) = agreed();
    let now = world.now().unix_ms;
    let (signed, chain, _) = signed(&cpo(), a, STRANGER, now, "1");
    world.message_to(b, &cpo(), a, SessionMessage::Cdr { session: "no uuid".into(), signed, chain });
    world.run(1_000);
    assert!(world.stored(b).is_empty() && SessionId::parse("no uuid").is_none());
}

#[test]
fn a_backend_that_never_answers_leaves_it_to_be_pulled() {
    let config = ChargingConfig { cdr_backend_days: 1, ..ChargingConfig::default() };
    let (mut world, a, b) = agreed_with([ChargingConfig::default(), config]);
    let id = world.running(a, b);
    world.brought(a, &cdr(&id, "10.1"));
    world.run(1_000);
    world.backend_takes(b, BackendAnswer::Silent("no answer".into()));
    world.asleep(&[a, b], 1);
    world.run(3_000);
    world.settled(a, b, CdrState::Kept);
    assert_eq!(world.verdicts(a), [["received", "kept"]]);
    assert_eq!(world.nodes[b].charging.given_ever.len(), 1);
}
