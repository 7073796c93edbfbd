//! Sessions between nodes: what is lost, late, doubled or hidden by a crash, and that both sides agree in the end.

mod cdr;
mod cdr_facts;
mod cdr_faults;
mod evidence;
mod heard;
mod hub;
mod lost;
mod named;
mod own_parties;
mod references;
mod under_way;

use super::agreements::{cpo, emp};
use super::*;
use crate::identity::Service;
use crate::oicp::charging::{HashedPin, Pin};
use crate::oicp::reading::Reading;
use crate::protocol::{SessionOperation, SessionPhase, SessionRecord};
use crate::roaming::{
    BackendAnswer, BackendCallId, BackendTraits, ChargeRequest, ChargingConfig, HttpAnswer, LateStart, Ways,
};

/// What a node said to its backends.
#[derive(Default)]
pub(super) struct Told {
    pub(super) answers: BTreeMap<CallId, HttpAnswer>,
    /// Calls of its backends that are not answered yet.
    pub(super) calls: Vec<(BackendCallId, SessionOperation, String)>,
    /// All calls there ever were.
    pub(super) called: usize,
    pub(super) config: ChargingConfig,
    /// Whether its parties have no backend.
    pub(super) no_backend: bool,
    /// Charge detail records that its backends were given and have not answered.
    pub(super) given: Vec<(BackendCallId, String)>,
    /// All of them there ever were.
    pub(super) given_ever: Vec<String>,
    /// Whether sessions cannot be looked up.
    pub(super) disk_is_away: bool,
    /// PINs that are to be compared.
    pub(super) pins: Vec<(BackendCallId, Pin, HashedPin)>,
    /// Its ways through the hub.
    pub(super) ways: Ways,
    /// What it said to the hub and what has no answer yet: with what, under which id, and the message.
    pub(super) to_hub: Vec<(BackendCallId, Option<SessionOperation>, String, String)>,
    /// What it said to peers.
    pub(super) said: Vec<Bytes>,
    /// What became of lost sessions.
    pub(super) lost: BTreeMap<CallId, Result<Vec<Digest>, String>>,
    /// Whether its backends give up before they are answered.
    pub(super) impatient: bool,
}

impl Told {
    pub(super) fn told(&mut self, action: Action) {
        match action {
            Action::ReplyOicp { call, answer } => {
                assert!(self.answers.insert(call, answer).is_none(), "every call is answered once");
            }
            Action::CallBackend { call, operation, body, .. } => {
                self.called += 1;
                self.calls.push((call, operation, String::from_utf8(body.to_vec()).unwrap()));
            }
            Action::ForwardCdr { call, path_id, body, .. } => {
                assert!(["CH*ABC", "FR*CPO"].contains(&path_id.as_str()), "{path_id}");
                let body = String::from_utf8(body.to_vec()).unwrap();
                self.given_ever.push(body.clone());
                self.given.push((call, body));
            }
            Action::CallHub { call, operation, path_id, body, .. } => {
                self.to_hub.push((call, operation, path_id, String::from_utf8(body.to_vec()).unwrap()));
            }
            Action::LostSessionTaken { call, taken } => drop(self.lost.insert(call, taken)),
            Action::CheckPin { call, pin, hash } => self.pins.push((call, pin, hash)),
            other => panic!("{other:?} is not about sessions"),
        }
    }

    /// The process that asked is gone.
    pub(super) fn calls_gone(&mut self) {
        self.calls.clear();
    }

    pub(super) fn settings(&self, core: Roaming, people: &[Person]) -> Roaming {
        let online = people.iter().filter(|_| !self.no_backend);
        let backends = online.map(|person| (person.party(), BackendTraits { notifications: true })).collect();
        core.with_charging(self.config.clone(), backends).with_ways(self.ways.clone())
    }
}

pub(super) const YES: &str = r#"{"Result":true,"StatusCode":{"Code":"000"}}"#;
pub(super) const NO: &str = r#"{"Result":false,"StatusCode":{"Code":"602"}}"#;

/// A node of the CPO, one of an EMP, connected and in agreement; the CPO publishes one EVSE.
pub(super) fn agreed_with(configs: [ChargingConfig; 2]) -> (World, usize, usize) {
    let mut world = World::new(1);
    let (a, b) = (world.add(&[cpo()]), world.add(&[emp()]));
    for (node, config) in [a, b].into_iter().zip(configs) {
        world.nodes[node].charging.config = config;
        world.kill(node);
        world.start(node);
    }
    world.connect_all();
    world.run(3_000);
    let id = world.offer(a, &emp(), 365);
    world.run(3_000);
    world.settle(b, AgreementAct::Accept(id)).unwrap();
    world.run(3_000);
    world.push(a, Kind::Data, ActionType::FullLoad, &[("CH*ABC*E1", "one")]);
    world.run(3_000);
    (world, a, b)
}

pub(super) fn agreed() -> (World, usize, usize) {
    agreed_with([ChargingConfig::default(), ChargingConfig::default()])
}

pub(super) fn remote_start(evse: &str) -> String {
    format!(
        r#"{{"ProviderID":"CH*EMP","EvseID":"{evse}","EMPPartnerSessionID":"mine","Identification":{{"RemoteIdentification":{{"EvcoID":"CH-EMP-C12345678-X"}}}}}}"#
    )
}

pub(super) fn remote_stop(session: &str) -> String {
    format!(r#"{{"SessionID":"{session}","ProviderID":"CH*EMP","EvseID":"CH*ABC*E1"}}"#)
}

pub(super) const CARD: &str = r#"{"OperatorID":"CH*ABC","EvseID":"CH*ABC*E1","Identification":{"RFIDMifareFamilyIdentification":{"UID":"1234abcd"}}}"#;

impl World {
    /// A backend of a node's first party asks.
    pub(super) fn charge(&mut self, node: usize, operation: SessionOperation, body: &str) -> CallId {
        self.calls += 1;
        let call = CallId(self.calls);
        let request = Box::new(ChargeRequest::parse(operation, body.as_bytes(), Reading::Strict).unwrap());
        let (party, body) = (self.nodes[node].people[0].party(), Bytes::copy_from_slice(body.as_bytes()));
        let evse = Some(crate::roaming::EvseSeen { compatible: true });
        self.handle(node, Input::Charge { call, party, request, body, evse });
        call
    }

    pub(super) fn start_charging(&mut self, node: usize) -> CallId {
        self.charge(node, SessionOperation::RemoteStart, &remote_start("CH*ABC*E1"))
    }

    /// The node's backend answers what it is asked.
    pub(super) fn backend_says(&mut self, node: usize, body: &str) {
        let body = Bytes::copy_from_slice(body.as_bytes());
        self.backend(node, BackendAnswer::Answered { http_status: 200, body });
    }

    pub(super) fn backend(&mut self, node: usize, answer: BackendAnswer) {
        let (call, ..) = self.nodes[node].charging.calls.remove(0);
        self.handle(node, Input::BackendAnswered { call, answer });
    }

    pub(super) fn heard(&self, node: usize, call: CallId) -> Option<(u16, String)> {
        let answer = self.nodes[node].charging.answers.get(&call)?;
        Some((answer.http_status, String::from_utf8(answer.body.to_vec()).unwrap()))
    }

    pub(super) fn phases(&self, node: usize) -> Vec<SessionPhase> {
        self.core(node).sessions().map(|session| session.phase).collect()
    }

    pub(super) fn session(&self, node: usize) -> SessionRecord {
        self.core(node).sessions().next().unwrap().clone()
    }
}

#[test]
fn a_remote_start_goes_to_the_operator_and_back() {
    let (mut world, a, b) = agreed();
    let call = world.start_charging(b);
    assert_eq!(world.phases(b), [SessionPhase::Requested]);
    world.run(1_000);
    let (_, operation, asked) = world.nodes[a].charging.calls[0].clone();
    assert_eq!(operation, SessionOperation::RemoteStart);
    let id = world.session(b).session;
    assert!(asked.contains(&id) && asked.contains("CH-EMP-C12345678-X"), "{asked}");
    assert_eq!(world.phases(a), [SessionPhase::Calling]);
    world.backend_says(a, YES);
    world.run(1_000);
    let (http, answer) = world.heard(b, call).unwrap();
    assert!(http == 200 && answer.contains(&id) && answer.contains("mine"), "{answer}");
    assert_eq!((world.phases(a), world.phases(b)), (vec![SessionPhase::Active], vec![SessionPhase::Active]));

    let stop = world.charge(b, SessionOperation::RemoteStop, &remote_stop(&id));
    world.run(1_000);
    world.backend_says(a, YES);
    world.run(1_000);
    assert_eq!(world.heard(b, stop).unwrap().0, 200);
    assert_eq!(world.nodes[a].charging.called, 2);
    let stranger = "7bca5b5d-0e5c-4b2f-9d1c-2f5a3a9c1e11";
    let foreign = world.charge(b, SessionOperation::RemoteStop, &remote_stop(stranger));
    let (http, said) = world.heard(b, foreign).unwrap();
    assert!(http == 404 && said.contains("\"400\""), "{said}");
}

#[test]
fn a_no_is_a_no_on_both_sides() {
    let (mut world, a, b) = agreed();
    let call = world.start_charging(b);
    world.run(1_000);
    world.backend_says(a, NO);
    world.run(1_000);
    assert!(world.heard(b, call).unwrap().1.contains("602"));
    assert_eq!(
        (world.phases(a), world.phases(b)),
        (vec![SessionPhase::Refused], vec![SessionPhase::Refused])
    );
}

#[test]
fn who_may_not_is_refused_before_anybody_is_asked() {
    let (mut world, a, b) = agreed();
    let unknown = world.charge(b, SessionOperation::RemoteStart, &remote_start("CH*XYZ*E1"));
    assert!(world.heard(b, unknown).unwrap().1.contains("\"300\""));
    let id = world.core(b).agreements()[0].id;
    world.settle(b, AgreementAct::End(id)).unwrap();
    let no_contract = world.start_charging(b);
    assert!(world.heard(b, no_contract).unwrap().1.contains("\"210\""));
    world.run(3_000);
    let card = world.charge(a, SessionOperation::AuthorizeStart, CARD);
    let (http, said) = world.heard(a, card).unwrap();
    assert!(http == 200 && said.contains("\"210\"") && said.contains("NotAuthorized"), "{said}");
    assert_eq!((world.nodes[a].charging.called, world.nodes[b].charging.called), (0, 0));
    assert_eq!(
        world.core(a).decide(&cpo().party(), &emp().party(), Service::Authorization, world.now()),
        Decision::NoContract
    );
}

#[test]
fn an_unreachable_operator_is_known_at_once() {
    let (mut world, a, b) = agreed();
    world.kill(a);
    world.run(100);
    let call = world.start_charging(b);
    assert!(world.heard(b, call).unwrap().1.contains("\"310\""));
    assert_eq!(world.phases(b), [SessionPhase::Refused]);
}

/// The operator's backend answers after every deadline, with what is said.
fn late(late_start: LateStart, said: &str) -> (World, usize, usize, CallId) {
    let config = ChargingConfig { late_start, remote_ms: 2_000, ..ChargingConfig::default() };
    let (mut world, a, b) = agreed_with([ChargingConfig::default(), config]);
    let call = world.start_charging(b);
    world.run(6_000);
    let (http, answer) = world.heard(b, call).unwrap();
    assert!(
        http == 200 && answer.contains("\"310\"") && answer.contains(&world.session(b).session),
        "{answer}"
    );
    assert_eq!(
        (world.phases(a), world.phases(b)),
        (vec![SessionPhase::Calling], vec![SessionPhase::InDoubt])
    );
    world.backend_says(a, said);
    (world, a, b, call)
}

#[test]
fn a_late_start_is_adopted_and_the_backend_hears_of_it_within_five_seconds() {
    let (mut world, a, b, _) = late(LateStart::Auto, YES);
    world.run(5_000);
    assert_eq!((world.phases(a), world.phases(b)), (vec![SessionPhase::Active], vec![SessionPhase::Active]));
    let (_, operation, notice) = world.nodes[b].charging.calls[0].clone();
    assert_eq!(operation, SessionOperation::Notification);
    assert!(notice.contains(&world.session(b).session) && notice.contains("\"Start\""), "{notice}");
    // A backend that does not take note hears of it again, and then no more.
    world.backend(b, BackendAnswer::Silent("off".into()));
    world.run(5_000);
    world.backend_says(b, YES);
    world.run(60_000);
    assert_eq!(world.nodes[b].charging.called, 2);
    assert_eq!(world.nodes[a].charging.called, 1);
}

#[test]
fn a_late_start_is_stopped_if_the_settings_say_so() {
    let (mut world, a, b, _) = late(LateStart::Stop, YES);
    world.run(5_000);
    let (_, operation, _) = world.nodes[a].charging.calls[0].clone();
    assert_eq!(operation, SessionOperation::RemoteStop);
    world.backend_says(a, YES);
    world.run(60_000);
    assert_eq!((world.nodes[a].charging.called, world.nodes[b].charging.called), (2, 0));
}

#[test]
fn a_late_no_ends_it_on_both_sides() {
    let (mut world, a, b, _) = late(LateStart::Auto, NO);
    world.run(5_000);
    assert_eq!(
        (world.phases(a), world.phases(b)),
        (vec![SessionPhase::Refused], vec![SessionPhase::Refused])
    );
    assert_eq!(world.nodes[b].charging.called, 0);
}

#[test]
fn a_retry_while_in_doubt_joins_the_same_session() {
    let config = ChargingConfig { remote_ms: 2_000, ..ChargingConfig::default() };
    let (mut world, a, b) = agreed_with([ChargingConfig::default(), config]);
    let first: Vec<CallId> = (0..5).map(|_| world.start_charging(b)).collect();
    world.run(6_000);
    assert!(first.iter().all(|call| world.heard(b, *call).unwrap().1.contains("\"310\"")));
    let retries = ["mine", "another"].map(|reference| {
        let body = remote_start("CH*ABC*E1").replace("mine", reference);
        (world.charge(b, SessionOperation::RemoteStart, &body), reference)
    });
    assert_eq!((world.phases(b).len(), world.nodes[a].charging.called), (1, 1));
    world.backend_says(a, YES);
    world.run(3_000);
    for (retry, reference) in retries {
        let (_, answer) = world.heard(b, retry).unwrap();
        assert!(answer.contains("true") && answer.contains(&world.session(b).session), "{answer}");
        let own = format!(r#""EMPPartnerSessionID":"{reference}""#);
        assert_eq!((answer.matches("EMPPartner").count(), answer.contains(&own)), (1, true), "{answer}");
    }
}

#[test]
fn a_silent_backend_leaves_it_unconfirmed_until_something_shows_that_it_lives() {
    for answer in [
        BackendAnswer::Silent("no answer".into()),
        BackendAnswer::Answered { http_status: 200, body: "<html>".into() },
        BackendAnswer::Answered { http_status: 500, body: YES.into() },
    ] {
        let (mut world, a, b) = agreed();
        let call = world.start_charging(b);
        world.run(1_000);
        world.backend(a, answer);
        world.run(3_000);
        assert!(world.heard(b, call).unwrap().1.contains("\"310\""));
        let unconfirmed = (vec![SessionPhase::Unconfirmed], vec![SessionPhase::Unconfirmed]);
        assert_eq!((world.phases(a), world.phases(b)), unconfirmed);
        let id = world.session(b).session;
        let notification = format!(
            r#"{{"Type":"Start","SessionID":"{id}","EvseID":"CH*ABC*E1","OperatorID":"CH*ABC","ChargingStart":"2027-01-15T08:00:00Z"}}"#
        );
        let told = world.charge(a, SessionOperation::Notification, &notification);
        world.run(1_000);
        world.backend_says(b, YES);
        world.run(1_000);
        assert_eq!(world.heard(a, told).unwrap().0, 200);
        assert_eq!(
            (world.phases(a), world.phases(b)),
            (vec![SessionPhase::Active], vec![SessionPhase::Active])
        );
    }
}

#[test]
fn a_crash_hides_no_session_and_nothing_is_asked_twice() {
    // Before the request arrives, while the backend is asked, and after it has answered; either side.
    for (run_ms, answered) in [(0, false), (1_000, false), (1_000, true)] {
        for crashed in [0, 1] {
            let (mut world, a, b) = agreed();
            world.start_charging(b);
            world.run(run_ms);
            if answered {
                world.backend_says(a, YES);
            }
            world.kill([a, b][crashed]);
            world.run(2_000);
            // What it asked its backend may be answered, or not: the one that asked is gone.
            world.nodes[[a, b][crashed]].charging.calls.clear();
            world.start([a, b][crashed]);
            world.connect_all();
            world.run(10_000);
            if crashed == 1 && !answered && !world.nodes[a].charging.calls.is_empty() {
                world.backend_says(a, YES);
            }
            world.run(90_000);
            let what = format!("after {run_ms} ms, answered {answered}, {crashed} crashed");
            assert!(world.nodes[a].charging.called <= 1, "{what}");
            let (at_a, at_b) = (world.phases(a), world.phases(b));
            assert_eq!(at_b.len(), 1, "{what}");
            let agree = at_a == at_b || at_a.is_empty() && at_b == [SessionPhase::Refused];
            assert!(agree, "{what}: {at_a:?} {at_b:?}");
        }
    }
}

#[test]
fn a_stop_that_overtakes_the_answer_to_its_start_waits_for_it() {
    let (mut world, a, b) = agreed();
    let start = world.start_charging(b);
    world.run(1_000);
    let id = world.session(b).session;
    let stop = world.charge(b, SessionOperation::RemoteStop, &remote_stop(&id));
    world.run(1_000);
    assert_eq!(world.nodes[a].charging.called, 1, "the start is not answered yet");
    world.backend_says(a, YES);
    world.run(1_000);
    assert_eq!(world.nodes[a].charging.called, 2);
    world.backend_says(a, YES);
    world.run(1_000);
    assert!(world.heard(b, start).is_some() && world.heard(b, stop).unwrap().1.contains("true"));
}

#[test]
fn the_first_emp_that_says_yes_gets_the_session_and_the_others_hear_it() {
    let other = || Person::new("CH*OTH", 3).emp();
    let (mut world, a, b) = agreed();
    let c = world.add(&[other()]);
    world.connect_all();
    world.run(5_000);
    let id = world.offer(a, &other(), 365);
    world.run(3_000);
    world.settle(c, AgreementAct::Accept(id)).unwrap();
    world.run(3_000);

    let call = world.charge(a, SessionOperation::AuthorizeStart, CARD);
    world.run(1_000);
    let asked = &world.nodes[b].charging.calls[0].2;
    assert!(asked.contains("1234ABCD"), "the UID is upper-cased: {asked}");
    let yes = |provider: &str| {
        format!(
            r#"{{"AuthorizationStatus":"Authorized","StatusCode":{{"Code":"000"}},"ProviderID":"{provider}"}}"#
        )
    };
    world.backend_says(b, &yes("CH*EMP"));
    world.run(1_000);
    let (http, said) = world.heard(a, call).unwrap();
    let id = world.session(a).session;
    assert!(http == 200 && said.contains("CH*EMP") && said.contains(&id), "{said}");
    // A late yes changes nothing: it is released.
    world.backend_says(c, &yes("CH*OTH"));
    world.run(10_000);
    assert_eq!(world.phases(a), [SessionPhase::Active]);
    assert_eq!((world.phases(b), world.phases(c)), (vec![SessionPhase::Active], vec![SessionPhase::Refused]));
    assert!(world.session(a).to_release.is_empty());
    // The card is known now: the other EMP does not hear of it again.
    world.charge(a, SessionOperation::AuthorizeStart, CARD);
    world.run(500);
    assert_eq!((world.nodes[b].charging.called, world.nodes[c].charging.called), (2, 1));
}

#[test]
fn a_card_that_nobody_knows_is_refused_in_time() {
    let (mut world, a, b) = agreed();
    let call = world.charge(a, SessionOperation::AuthorizeStart, CARD);
    world.run(1_000);
    world.backend_says(b, r#"{"AuthorizationStatus":"NotAuthorized","StatusCode":{"Code":"102"}}"#);
    world.run(1_000);
    assert!(world.heard(a, call).unwrap().1.contains("\"102\""));
    let silent = world.charge(a, SessionOperation::AuthorizeStart, CARD);
    world.run(7_800);
    assert!(world.heard(a, silent).is_none());
    world.run(400);
    let (http, said) = world.heard(a, silent).unwrap();
    assert!(http == 200 && said.contains("\"106\""), "{said}");
    world.run(5_000);
    assert!(world.core(b).sessions().all(|session| session.phase == SessionPhase::Refused));
}

#[test]
fn a_session_of_which_nothing_is_heard_ends_with_a_report() {
    let (mut world, a, b) = agreed();
    world.start_charging(b);
    world.run(1_000);
    world.backend(a, BackendAnswer::Silent("off".into()));
    world.run(3_000);
    [a, b].into_iter().for_each(|node| world.kill(node));
    world.run(31 * 86_400_000);
    [a, b].into_iter().for_each(|node| world.start(node));
    world.run(3_000);
    for node in [a, b] {
        assert_eq!(world.phases(node), [SessionPhase::Expired], "{node}");
        let told = |report: &Report| matches!(report, Report::Session { phase: SessionPhase::Expired, .. });
        assert!(world.nodes[node].reports.iter().any(told));
    }
}
