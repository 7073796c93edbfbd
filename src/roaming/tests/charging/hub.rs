//! Two ways: between the nodes, and through a hub that is played by hand. What begins on one stays on it, nothing takes
//! effect twice, and what only the hub attests is nobody's signature and nobody's gossip.

mod both_ways;
mod contracts;
mod reservations;

use super::super::agreements::{cpo, emp};
use super::super::*;
use super::cdr::{STRANGER, cdr};
use super::{CARD, NO, YES, agreed, remote_start, remote_stop};
use crate::oicp::charging::ChargeDetailRecord;
use crate::protocol::{CdrState, SessionOperation, SessionPhase, Via};
use crate::roaming::{BackendAnswer, ChargeRequest, ChargingConfig, HubRoute, Routing, Ways};

/// A SessionID of the hub.
pub(super) const GIVEN: &str = "0e5c4b2f-1111-4b2f-9d1c-2f5a3a9c1e11";

fn by_hub(ours: &Person, way: Routing) -> Ways {
    let routes = vec![HubRoute { partner: None, service: None, way }];
    Ways { parties: BTreeSet::from([ours.party()]), routes }
}

/// The CPO's and the EMP's node in agreement, each with these ways; `None`: it is no partner of the hub.
pub(super) fn both(cpo_way: Option<Routing>, emp_way: Option<Routing>) -> (World, usize, usize) {
    let (mut world, a, b) = agreed();
    for (node, person, way) in [(a, cpo(), cpo_way), (b, emp(), emp_way)] {
        let Some(way) = way else { continue };
        world.nodes[node].charging.ways = by_hub(&person, way);
        world.kill(node);
        world.start(node);
    }
    world.connect_all();
    world.run(5_000);
    (world, a, b)
}

fn yes(session: &str) -> BackendAnswer {
    let body = format!(r#"{{"Result":true,"StatusCode":{{"Code":"000"}},"SessionID":"{session}"}}"#);
    BackendAnswer::Answered { http_status: 200, body: body.into() }
}

fn no(http_status: u16, code: &str, info: &str) -> BackendAnswer {
    let status = format!(r#"{{"StatusCode":{{"Code":"{code}","Description":"{info}"}}}}"#);
    BackendAnswer::Answered { http_status, body: status.into() }
}

impl World {
    /// The hub answers what it was told first; gives with what, under which id, and the message.
    fn hub_says(&mut self, node: usize, answer: BackendAnswer) -> (Option<SessionOperation>, String, String) {
        let (call, operation, path_id, body) = self.nodes[node].charging.to_hub.remove(0);
        self.handle(node, Input::BackendAnswered { call, answer });
        (operation, path_id, body)
    }

    /// The hub asks on behalf of a partner.
    fn hub_asks(&mut self, node: usize, partner: &Person, operation: SessionOperation, body: &str) -> CallId {
        self.calls += 1;
        let call = CallId(self.calls);
        let request = Box::new(ChargeRequest::parse(operation, body.as_bytes(), Reading::Tolerant).unwrap());
        let body = Bytes::copy_from_slice(body.as_bytes());
        self.handle(node, Input::HubAsks { call, partner: partner.party(), request, body });
        call
    }

    pub(super) fn hub_brings(&mut self, node: usize, partner: &Person, body: &str) -> String {
        self.calls += 1;
        let call = CallId(self.calls);
        let read = ChargeDetailRecord::parse(body.as_bytes(), Reading::Tolerant).unwrap();
        let arrival = self.arrival(node, &read);
        let body = Bytes::copy_from_slice(body.as_bytes());
        self.handle(node, Input::HubCdr { call, partner: partner.party(), arrival, body });
        self.said(node, call)
    }

    fn counted(&self, node: usize, partner: &Person) -> [u64; 2] {
        let partner = partner.party();
        self.core(node)
            .messages_by_way()
            .find(|(party, _)| **party == partner)
            .map_or([0, 0], |found| found.1)
    }

    fn both_called(&self, a: usize, b: usize) -> (usize, usize) {
        (self.nodes[a].charging.called, self.nodes[b].charging.called)
    }

    /// A session that the hub began at the CPO's node, and that runs.
    fn begun_by_hub(&mut self, a: usize) {
        let start = with_session(&remote_start("CH*ABC*E1"), GIVEN);
        let call = self.hub_asks(a, &emp(), SessionOperation::RemoteStart, &start);
        self.backend_says(a, YES);
        let (http, said) = self.heard(a, call).unwrap();
        assert!(http == 200 && said.contains("true") && said.contains(GIVEN), "{said}");
    }

    /// A session that the EMP began through the hub, and that runs.
    pub(super) fn begun_at_hub(&mut self, b: usize) {
        let call = self.start_charging(b);
        self.hub_says(b, yes(GIVEN));
        let (_, said) = self.heard(b, call).unwrap();
        assert!(said.contains("true") && said.contains(GIVEN), "{said}");
    }
}

fn with_session(body: &str, session: &str) -> String {
    body.replacen('{', &format!(r#"{{"SessionID":"{session}","#), 1)
}

#[test]
fn what_the_routes_send_to_the_hub_stays_on_that_way() {
    let (mut world, a, b) = both(None, Some(Routing::Hub));
    let call = world.start_charging(b);
    assert_eq!(world.session(b).via, Via::Hub, "committed before anybody hears of it");
    let (operation, path_id, body) = world.hub_says(b, yes(GIVEN));
    assert_eq!((operation, path_id.as_str()), (Some(SessionOperation::RemoteStart), "CH-EMP"));
    assert!(body.contains(r#""SessionID":null"#) && body.contains("CH-EMP-C12345678-X"), "{body}");
    let (http, said) = world.heard(b, call).unwrap();
    assert!(http == 200 && said.contains(GIVEN) && said.contains("mine"), "{said}");
    world.run(100);
    // A restart changes no way.
    world.kill(b);
    world.start(b);
    world.connect_all();
    world.run(5_000);
    let running: Vec<_> = world.core(b).sessions().filter(|s| s.phase == SessionPhase::Active).collect();
    assert!(running.len() == 1 && running[0].session == GIVEN && running[0].via == Via::Hub);
    assert_eq!(world.core(b).sessions().count(), 1, "it is listed once, not under its first id, too");
    let stop = world.charge(b, SessionOperation::RemoteStop, &remote_stop(GIVEN));
    let (operation, _, body) =
        world.hub_says(b, BackendAnswer::Answered { http_status: 200, body: YES.into() });
    assert!(operation == Some(SessionOperation::RemoteStop) && body.contains(GIVEN), "{body}");
    assert_eq!(world.heard(b, stop).unwrap().0, 200);
    world.run(120_000);
    assert_eq!(world.both_called(a, b), (0, 0), "nothing went to its node");
    let counted = world.counted(b, &cpo());
    assert!(counted[0] == 0 && counted[1] >= 1, "{counted:?}");
}

#[test]
fn the_hub_is_used_only_if_no_node_can_be_reached_and_direct_sessions_need_no_hub() {
    let (mut world, a, b) = both(None, Some(Routing::DirectThenHub));
    let first = world.start_charging(b);
    world.run(1_000);
    world.backend_says(a, YES);
    world.run(1_000);
    assert!(world.heard(b, first).unwrap().1.contains("true"));
    assert!(world.nodes[b].charging.to_hub.is_empty());
    let id = world.session(b).session;
    world.kill(a);
    world.run(100);
    // The session that began directly stays there: a stop does not go to the hub.
    let stop = world.charge(b, SessionOperation::RemoteStop, &remote_stop(&id));
    assert!(world.heard(b, stop).unwrap().1.contains("\"310\"") && world.nodes[b].charging.to_hub.is_empty());
    world.begun_at_hub(b);
    assert_eq!(world.counted(b, &cpo())[1], 1);
}

#[test]
fn a_start_that_may_have_been_heard_directly_is_never_said_to_the_hub() {
    let (mut world, a, b) = both(None, Some(Routing::DirectThenHub));
    let call = world.start_charging(b);
    world.run(60);
    assert_eq!(world.nodes[a].charging.called, 1);
    world.disconnect(a, b);
    world.run(70_000);
    assert!(world.heard(b, call).unwrap().1.contains("\"310\""));
    assert!(world.nodes[b].charging.to_hub.is_empty());
}

#[test]
fn a_partner_of_the_hub_alone_is_reached_and_one_that_the_policy_forbids_is_not() {
    let (mut world, _, b) = both(None, Some(Routing::DirectThenHub));
    let foreign = remote_start("FR*XYZ*E1");
    let call = world.charge(b, SessionOperation::RemoteStart, &foreign);
    world.hub_says(b, yes(GIVEN));
    assert!(world.heard(b, call).unwrap().1.contains("true"));
    let whom = Whom { party: Some(Person::new("FR*XYZ", 9).party()), ..Whom::default() };
    world.nodes[b].policy.rules.push(Rule { whom, services: BTreeSet::new(), allow: false });
    world.kill(b);
    world.start(b);
    let call = world.charge(b, SessionOperation::RemoteStart, &foreign);
    let (_, said) = world.heard(b, call).unwrap();
    assert!(said.contains("\"300\"") && world.nodes[b].charging.to_hub.is_empty(), "{said}");
}

#[test]
fn the_code_of_the_hub_is_read_from_the_body_whatever_the_http_status() {
    for (answer, code, phase) in [
        (no(200, "602", ""), "602", SessionPhase::Refused),
        (no(403, "210", "No active subscription found"), "210", SessionPhase::Refused),
        (no(404, "300", "Partner not found"), "300", SessionPhase::Refused),
        // It did not look at it.
        (no(429, "000", ""), "310", SessionPhase::Refused),
        (BackendAnswer::NotSent("refused".into()), "310", SessionPhase::Refused),
        // The operator may have begun.
        (no(200, "310", ""), "310", SessionPhase::Unconfirmed),
        (no(500, "001", ""), "310", SessionPhase::Unconfirmed),
        (BackendAnswer::Answered { http_status: 502, body: "<html>".into() }, "310", SessionPhase::InDoubt),
        (BackendAnswer::Silent("timed out".into()), "310", SessionPhase::InDoubt),
    ] {
        let what = format!("{answer:?}");
        let (mut world, _, b) = both(None, Some(Routing::Hub));
        let call = world.start_charging(b);
        world.hub_says(b, answer);
        world.run(12_000);
        let (_, said) = world.heard(b, call).unwrap();
        assert!(said.contains(&format!("\"{code}\"")), "{what}: {said}");
        assert_eq!(world.phases(b), [phase], "{what}");
        // Nobody is asked what became of it, and nothing is said twice.
        world.run(120_000);
        assert!(world.nodes[b].charging.to_hub.is_empty() && world.phases(b) == [phase], "{what}");
    }
    let (mut world, _, b) = both(None, Some(Routing::Hub));
    let call = world.start_charging(b);
    let BackendAnswer::Answered { body, .. } = yes(GIVEN) else { unreachable!() };
    world.hub_says(b, BackendAnswer::Answered { http_status: 500, body });
    assert!(world.heard(b, call).unwrap().1.contains("true"), "a yes is a yes");
}

#[test]
fn the_hub_reaches_our_operator_within_the_request_and_only_its_own_sessions() {
    let (mut world, a, b) = both(Some(Routing::DirectThenHub), None);
    // A session between the nodes is closed to the hub.
    world.start_charging(b);
    world.run(1_000);
    world.backend_says(a, YES);
    world.run(1_000);
    let direct = world.session(a).session;
    let stop = world.hub_asks(a, &emp(), SessionOperation::RemoteStop, &remote_stop(&direct));
    let (http, said) = world.heard(a, stop).unwrap();
    assert!(http == 200 && said.contains("\"400\"") && said.contains("\"Result\":false"), "{said}");
    let again = with_session(&remote_start("CH*ABC*E1"), &direct);
    let start = world.hub_asks(a, &emp(), SessionOperation::RemoteStart, &again);
    assert!(world.heard(a, start).unwrap().1.contains("\"400\""));
    assert_eq!(world.nodes[a].charging.called, 1);

    let foreign = Person::new("FR*EMP", 9).emp();
    let body = with_session(&remote_start("CH*ABC*E1"), GIVEN).replace("CH*EMP", "FR*EMP");
    let start = world.hub_asks(a, &foreign, SessionOperation::RemoteStart, &body);
    world.backend_says(a, YES);
    assert!(world.heard(a, start).unwrap().1.contains(GIVEN));
    // The same request again is answered, and not carried out.
    let start = world.hub_asks(a, &foreign, SessionOperation::RemoteStart, &body);
    assert!(world.heard(a, start).unwrap().1.contains("true"));
    assert_eq!(world.nodes[a].charging.called, 2);
    // Another partner's name does not open the session.
    let stop = world.hub_asks(a, &emp(), SessionOperation::RemoteStop, &remote_stop(GIVEN));
    assert!(world.heard(a, stop).unwrap().1.contains("\"400\""));
    let body = remote_stop(GIVEN).replace("CH*EMP", "FR*EMP");
    // What was not done may come again in the same words; what was done may not.
    for (answer, called) in [(NO, 3), (YES, 4)] {
        let stop = world.hub_asks(a, &foreign, SessionOperation::RemoteStop, &body);
        world.backend_says(a, answer);
        assert!(world.heard(a, stop).is_some());
        assert_eq!(world.nodes[a].charging.called, called);
    }
    let stop = world.hub_asks(a, &foreign, SessionOperation::RemoteStop, &body);
    assert!(world.heard(a, stop).unwrap().1.contains("true") && world.nodes[a].charging.called == 4);
}

#[test]
fn whom_the_routes_keep_direct_the_hub_cannot_speak_for() {
    let (mut world, a, _) = both(Some(Routing::Direct), None);
    let body = with_session(&remote_start("CH*ABC*E1"), GIVEN);
    let call = world.hub_asks(a, &emp(), SessionOperation::RemoteStart, &body);
    assert!(world.heard(a, call).unwrap().1.contains("\"210\""));
    assert_eq!(world.nodes[a].charging.called, 0);
}

#[test]
fn the_same_start_over_both_ways_starts_once() {
    for hub_first in [true, false] {
        let (mut world, a, b) = both(Some(Routing::DirectThenHub), None);
        let body = with_session(&remote_start("CH*ABC*E1"), GIVEN);
        if hub_first {
            world.begun_by_hub(a);
            let call = world.start_charging(b);
            world.run(1_000);
            let (_, said) = world.heard(b, call).unwrap();
            let id = world.session(b).session;
            assert!(said.contains("true") && said.contains(&id), "{said}");
            // Its stop finds the session, under the id that the backend knows.
            world.charge(b, SessionOperation::RemoteStop, &remote_stop(&id));
            world.run(1_000);
            assert!(world.nodes[a].charging.calls[0].2.contains(GIVEN));
        } else {
            world.start_charging(b);
            world.run(1_000);
            world.backend_says(a, YES);
            world.run(1_000);
            let id = world.session(a).session;
            let call = world.hub_asks(a, &emp(), SessionOperation::RemoteStart, &body);
            assert!(world.heard(a, call).unwrap().1.contains(GIVEN));
            let stop = world.hub_asks(a, &emp(), SessionOperation::RemoteStop, &remote_stop(GIVEN));
            assert!(world.nodes[a].charging.calls[0].2.contains(&id));
            world.backend_says(a, YES);
            assert!(world.heard(a, stop).unwrap().1.contains(GIVEN));
        }
        assert_eq!(world.nodes[a].charging.called, 2, "hub first: {hub_first}");
        assert_eq!(world.phases(a), [SessionPhase::Active]);
    }
}

#[test]
fn a_card_is_known_at_the_hub_if_nobody_else_knows_it() {
    let (mut world, a, b) = both(Some(Routing::DirectThenHub), None);
    let call = world.charge(a, SessionOperation::AuthorizeStart, CARD);
    world.run(1_000);
    assert!(world.nodes[a].charging.to_hub.is_empty(), "who is under contract is asked first");
    world.backend_says(b, r#"{"AuthorizationStatus":"NotAuthorized","StatusCode":{"Code":"102"}}"#);
    world.run(1_000);
    let body = format!(
        r#"{{"SessionID":"{GIVEN}","ProviderID":"FR-XYZ","AuthorizationStatus":"Authorized","StatusCode":{{"Code":"000"}}}}"#
    );
    let (operation, path_id, asked) =
        world.hub_says(a, BackendAnswer::Answered { http_status: 200, body: body.into() });
    assert_eq!((operation, path_id.as_str()), (Some(SessionOperation::AuthorizeStart), "CH*ABC"));
    assert!(asked.contains("1234ABCD") && asked.contains(r#""SessionID":null"#), "{asked}");
    let (_, said) = world.heard(a, call).unwrap();
    assert!(said.contains(GIVEN) && said.contains("FR-XYZ"), "{said}");
    // Its record goes where it began, and the hub's word is not the EMP's.
    assert_eq!(world.brought(a, &cdr(GIVEN, "10.0")), "000");
    let (operation, _, body) =
        world.hub_says(a, BackendAnswer::Answered { http_status: 200, body: YES.into() });
    assert!(operation.is_none() && body == cdr(GIVEN, "10.0"));
    assert_eq!(world.states(a), [(CdrState::Kept, false)]);
    assert!(world.stored(a)[0].record.receipts.is_empty());

    // Without the hub it is refused in time; both say no.
    let call = world.charge(a, SessionOperation::AuthorizeStart, CARD);
    world.run(1_000);
    world.backend_says(b, r#"{"AuthorizationStatus":"NotAuthorized","StatusCode":{"Code":"102"}}"#);
    world.run(1_000);
    world.hub_says(a, BackendAnswer::NotSent("off".into()));
    assert!(world.heard(a, call).unwrap().1.contains("\"102\""));
}

#[test]
fn a_card_question_of_the_hub_is_answered_and_its_record_counts_once() {
    let (mut world, a, b) = both(None, Some(Routing::DirectThenHub));
    let foreign = Person::new("FR*CPO", 9);
    let question = with_session(CARD, GIVEN).replace("CH*ABC", "FR*CPO");
    let call = world.hub_asks(b, &foreign, SessionOperation::AuthorizeStart, &question);
    world.backend_says(b, r#"{"AuthorizationStatus":"Authorized","StatusCode":{"Code":"000"}}"#);
    let (_, said) = world.heard(b, call).unwrap();
    assert!(said.contains(GIVEN) && said.contains(r#""ProviderID":"CH-EMP""#), "{said}");
    let notice = format!(
        r#"{{"Type":"Start","SessionID":"{GIVEN}","EvseID":"FR*CPO*E1","OperatorID":"FR*CPO","ChargingStart":"2027-01-15T08:00:00Z"}}"#
    );
    for _ in 0..2 {
        let told = world.hub_asks(b, &foreign, SessionOperation::Notification, &notice);
        if !world.nodes[b].charging.calls.is_empty() {
            world.backend_says(b, YES);
        }
        assert!(world.heard(b, told).unwrap().1.contains("\"000\""));
    }
    assert_eq!(world.nodes[b].charging.called, 2, "the same notification once");
    let body = cdr(GIVEN, "10.0").replace("CH*ABC*E1", "FR*CPO*E1");
    assert_eq!(
        world.hub_brings(b, &Person::new("FR*OTH", 8), &body.replace("FR*CPO*E1", "FR*OTH*E1")),
        "400"
    );
    assert_eq!(world.hub_brings(b, &foreign, &body), "000");
    let (call, given) = world.nodes[b].charging.given.remove(0);
    assert_eq!(given, body, "unchanged");
    world.handle(b, Input::BackendAnswered { call, answer: super::cdr::yes() });
    world.run(10);
    assert_eq!(world.hub_brings(b, &foreign, &body), "000", "it is known");
    assert_eq!(world.hub_brings(b, &foreign, &body.replace("10.0", "11.0")), "400", "one per session");
    assert_eq!(world.hub_brings(b, &foreign, &body.replace(GIVEN, STRANGER)), "400");
    world.run(60_000);
    assert_eq!(world.states(b), [(CdrState::Accepted, false)]);
    let stored = &world.stored(b)[0];
    assert!(stored.record.via == Via::Hub && stored.record.signers.is_empty(), "{stored:?}");
    assert_eq!(stored.oicp().unwrap(), body.as_bytes());
    assert_eq!(world.nodes[b].charging.given_ever.len(), 1);
    let _ = a;
}

#[test]
fn a_session_that_the_hub_gave_up_is_settled_over_the_way_that_takes_its_record() {
    let short = ChargingConfig { remote_ms: 2_000, ..ChargingConfig::default() };
    let (mut world, a, b) = super::agreed_with([short.clone(), short]);
    for (node, person) in [(a, cpo()), (b, emp())] {
        world.nodes[node].charging.ways = by_hub(&person, Routing::DirectThenHub);
        world.kill(node);
        world.start(node);
    }
    world.run(100);
    // The EMP's side, while no node of the CPO is there: the hub stops to wait.
    let call = world.start_charging(b);
    world.hub_says(b, no(200, "310", "timeout"));
    assert!(world.heard(b, call).unwrap().1.contains("\"310\""));
    // The CPO's side: its backend is slow, and says yes when nobody waits any more.
    let start = with_session(&remote_start("CH*ABC*E1"), GIVEN);
    let asked = world.hub_asks(a, &emp(), SessionOperation::RemoteStart, &start);
    world.run(2_500);
    assert!(world.heard(a, asked).unwrap().1.contains("\"Result\":false"));
    world.backend_says(a, YES);
    assert_eq!(world.phases(a), [SessionPhase::Active], "it runs");
    world.connect_all();
    world.run(5_000);
    assert_eq!(world.brought(a, &cdr(GIVEN, "10.0")), "000");
    world.hub_says(a, no(404, "400", "Session is not valid"));
    world.run(5_000);
    let body = world.backend_takes(b, super::cdr::yes());
    assert_eq!(body, cdr(GIVEN, "10.0"));
    world.run(5_000);
    world.settled(a, b, CdrState::Accepted);
    let closed = world.core(b).sessions().filter(|session| session.phase == SessionPhase::Closed);
    assert_eq!(closed.map(|session| session.session.as_str()).collect::<Vec<_>>(), [GIVEN]);
}

#[test]
fn a_record_whose_first_answer_was_lost_is_known_to_be_taken() {
    let (mut world, a, _) = both(Some(Routing::DirectThenHub), None);
    world.begun_by_hub(a);
    world.brought(a, &cdr(GIVEN, "10.0"));
    world.hub_says(a, BackendAnswer::NotSent("off".into()));
    world.run(120_000);
    world.hub_says(a, no(404, "400", "Session found but status is not valid CLOSED!"));
    assert_eq!(world.states(a), [(CdrState::Kept, false)]);
    world.run(120_000);
    assert!(world.nodes[a].charging.to_hub.is_empty());
}

#[test]
fn nothing_that_came_through_the_hub_is_told_to_anybody_or_logged_as_evidence() {
    let (mut world, a, b) = both(Some(Routing::DirectThenHub), Some(Routing::DirectThenHub));
    let foreign = Person::new("FR*CPO", 9);
    world.begun_by_hub(a);
    let question = with_session(CARD, STRANGER).replace("CH*ABC", "FR*CPO");
    world.hub_asks(b, &foreign, SessionOperation::AuthorizeStart, &question);
    world.backend_says(
        b,
        r#"{"AuthorizationStatus":"Authorized","StatusCode":{"Code":"000"},"ProviderID":"CH*EMP"}"#,
    );
    let body = cdr(STRANGER, "10.0").replace("CH*ABC*E1", "FR*CPO*E1");
    assert_eq!(world.hub_brings(b, &foreign, &body), "000");
    world.backend_takes(b, super::cdr::yes());
    // Peers come and go, and a node that may ask everything asks what became of these sessions.
    for node in [a, b] {
        world.kill(node);
        world.start(node);
    }
    world.connect_all();
    for (node, from, person) in [(b, a, cpo()), (a, b, emp())] {
        for session in [GIVEN, STRANGER] {
            let ask = MessageId([7; 16]);
            let query = crate::protocol::SessionMessage::Query { session: session.to_owned(), ask };
            let release = crate::protocol::SessionMessage::Release { session: session.to_owned() };
            world.message_to(node, &person, from, query);
            world.message_to(node, &person, from, release);
        }
    }
    world.run(600_000);
    let contains = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).any(|window| window == what);
    for node in [a, b] {
        let published = world.nodes[node].published.iter().map(|(_, bytes)| bytes);
        for bytes in published {
            assert!(!contains(bytes, GIVEN.as_bytes()) && !contains(bytes, STRANGER.as_bytes()));
        }
        for bytes in &world.nodes[node].charging.said {
            for secret in ["ConsumedEnergy", "1234abcd", "CH-EMP-C12345678-X"] {
                assert!(!contains(bytes, secret.as_bytes()), "{secret}");
            }
        }
        for session in [GIVEN, STRANGER] {
            let logged = world.nodes[node].store.log.iter().filter(|entry| entry.session == session);
            for content in logged.filter_map(|new| new.entry.content.clone()) {
                let message = content.message;
                assert!(!contains(&message, b"ConsumedEnergy") && !contains(&message, b"EvseID"));
            }
        }
    }
    let by_hub = world.core(b).sessions().find(|session| session.session == STRANGER).unwrap();
    assert_eq!(by_hub.via.attested(), "bridge-attested");
    assert!(world.stored(b).iter().all(|cdr| cdr.record.receipts.is_empty()));
}
