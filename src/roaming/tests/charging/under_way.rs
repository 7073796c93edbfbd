//! What is under way to a partner: how much there is at once, and what becomes of it when the connection breaks.

use super::*;

#[test]
fn no_more_is_under_way_to_a_partner_than_the_settings_allow() {
    let config = ChargingConfig { in_flight_per_partner_max: 2, ..ChargingConfig::default() };
    let (mut world, a, b) = agreed_with([ChargingConfig::default(), config]);
    let start = |world: &mut World, contract: u32| {
        let body = remote_start("CH*ABC*E1").replace("C12345678", &format!("C{contract:08}"));
        world.charge(b, SessionOperation::RemoteStart, &body)
    };
    let calls: Vec<CallId> = (0..3).map(|contract| start(&mut world, contract)).collect();
    let (_, refused) = world.heard(b, calls[2]).unwrap();
    assert!(refused.contains("\"310\"") && refused.contains("too much is under way"), "{refused}");
    world.run(1_000);
    assert_eq!(world.nodes[a].charging.called, 2);
    world.backend_says(a, YES);
    world.backend_says(a, YES);
    world.run(1_000);
    assert!(calls[..2].iter().all(|call| world.heard(b, *call).unwrap().1.contains("true")));
    // There is room again.
    start(&mut world, 3);
    world.run(1_000);
    assert_eq!(world.nodes[a].charging.called, 3);
}

#[test]
fn sessions_that_are_over_give_way_to_new_ones_and_open_ones_do_not() {
    let config = ChargingConfig { sessions_max: 2, ..ChargingConfig::default() };
    let (mut world, a, b) = agreed_with([config, ChargingConfig::default()]);
    let start = |world: &mut World, contract: u32, answer: &str| {
        let body = remote_start("CH*ABC*E1").replace("C12345678", &format!("C{contract:08}"));
        let called = world.nodes[a].charging.called;
        let call = world.charge(b, SessionOperation::RemoteStart, &body);
        world.run(1_000);
        if world.nodes[a].charging.called > called {
            world.backend_says(a, answer);
            world.run(1_000);
        }
        world.heard(b, call).unwrap().1
    };
    // Two that its backend refuses take all places, and give them back.
    for contract in 0..2 {
        assert!(start(&mut world, contract, NO).contains("false"));
    }
    assert_eq!(world.phases(a), [SessionPhase::Refused; 2]);
    for contract in 2..4 {
        assert!(start(&mut world, contract, YES).contains("true"), "{contract}");
    }
    assert_eq!(world.phases(a), [SessionPhase::Active; 2]);
    assert!(start(&mut world, 4, YES).contains("false"), "those that are open stay");
    assert_eq!(world.phases(a), [SessionPhase::Active; 2]);
}

#[test]
fn a_stop_outlives_its_connection_and_is_carried_out_once() {
    let (mut world, a, b) = agreed();
    world.start_charging(b);
    world.run(1_000);
    world.backend_says(a, YES);
    world.run(1_000);
    let id = world.session(b).session;
    // Before it arrives, while the backend is asked, and after it has answered.
    for (run_ms, answered) in [(0, false), (1_000, false), (1_000, true)] {
        let called = world.nodes[a].charging.called;
        let stop = world.charge(b, SessionOperation::RemoteStop, &remote_stop(&id));
        world.run(run_ms);
        if answered {
            world.backend_says(a, YES);
        }
        world.disconnect(a, b);
        world.run(2_000);
        assert!(world.heard(b, stop).is_none(), "it waits for the next connection");
        world.connect(a, b);
        world.run(3_000);
        if !answered {
            world.backend_says(a, YES);
            world.run(1_000);
        }
        let (_, said) = world.heard(b, stop).unwrap();
        assert!(said.contains("true"), "after {run_ms} ms, {answered}: {said}");
        assert_eq!(world.nodes[a].charging.called, called + 1);
    }
    // Nobody comes back: it is answered at its deadline.
    let stop = world.charge(b, SessionOperation::RemoteStop, &remote_stop(&id));
    world.disconnect(a, b);
    world.run(59_000);
    assert!(world.heard(b, stop).is_none());
    world.run(1_500);
    let (_, said) = world.heard(b, stop).unwrap();
    assert!(said.contains("\"310\"") && said.contains("send it again"), "{said}");
}

#[test]
fn a_question_that_comes_again_takes_no_second_place() {
    let (mut world, a, b) = agreed();
    world.start_charging(b);
    world.run(1_000);
    let id = world.session(b).session;
    // While the start is under way, and while the stop is.
    for is_started in [false, true] {
        if is_started {
            world.backend_says(a, YES);
            world.run(1_000);
        }
        let waiting = world.nodes[a].asks.len();
        world.charge(b, SessionOperation::RemoteStop, &remote_stop(&id));
        let said = |event: &Event| matches!(event, Event::Ask { .. });
        let Event::Ask { from, request, bytes } = world.intercepted(a, said) else { unreachable!() };
        for after_ms in 1..5 {
            let event = Event::Ask { from, request, bytes: bytes.clone() };
            world.deliver(a, Some(b), after_ms, event);
        }
        world.run(500);
        assert_eq!(world.nodes[a].asks.len(), waiting + 1, "each but the last is answered");
    }
    while !world.nodes[a].charging.calls.is_empty() {
        world.backend_says(a, YES);
        world.run(1_000);
    }
    assert!(world.nodes[a].asks.is_empty());
}

#[test]
fn a_stop_at_another_evse_is_refused_for_it_before_its_session() {
    let (mut world, a, b) = agreed();
    world.start_charging(b);
    world.run(1_000);
    world.backend_says(a, YES);
    world.run(1_000);
    let id = world.session(b).session;
    let unknown = "11111111-1111-1111-1111-111111111111";
    let stop = |world: &mut World, session: &str, evse: &str, seen: Option<EvseSeen>| {
        let body = remote_stop(session).replace("CH*ABC*E1", evse);
        world.calls += 1;
        let call = CallId(world.calls);
        let operation = SessionOperation::RemoteStop;
        let request = Box::new(ChargeRequest::parse(operation, body.as_bytes(), Reading::Strict).unwrap());
        let party = world.nodes[b].people[0].party();
        world.handle(b, Input::Charge { call, party, request, body: body.into(), evse: seen });
        world.heard(b, call)
    };
    for session in [id.as_str(), unknown] {
        let (status, said) = stop(&mut world, session, "DE*XYZ*E9", None).unwrap();
        assert!(status == 404 && said.contains("\"300\""), "{said}");
        let (status, said) = stop(&mut world, session, "CH*ABC*E999", None).unwrap();
        assert!(status == 200 && said.contains("\"603\""), "{said}");
        let seen = Some(EvseSeen { compatible: false });
        let (status, said) = stop(&mut world, session, "CH*ABC*E2", seen).unwrap();
        assert!(status == 200 && said.contains("\"604\""), "{said}");
    }
    let (status, said) = stop(&mut world, unknown, "CH*ABC*E1", Some(EvseSeen { compatible: true })).unwrap();
    assert!(status == 404 && said.contains("\"400\""), "{said}");
    // Its own EVSE may be gone from the directory meanwhile.
    assert!(stop(&mut world, &id, "CH*ABC*E1", None).is_none(), "it is on its way");
}

#[test]
fn a_session_that_was_shown_to_run_is_not_refused_by_its_backends_later_answer() {
    for answer in [
        BackendAnswer::Answered { http_status: 200, body: NO.into() },
        BackendAnswer::Silent("no answer".into()),
        BackendAnswer::NotSent("refused".into()),
    ] {
        let (mut world, a, b) = agreed();
        let call = world.start_charging(b);
        world.run(1_000);
        let id = world.session(b).session;
        let notification = format!(
            r#"{{"Type":"Start","SessionID":"{id}","EvseID":"CH*ABC*E1","OperatorID":"CH*ABC","ChargingStart":"2027-01-15T08:00:00Z"}}"#
        );
        // The backend tells of the start it was asked for before it answers.
        world.charge(a, SessionOperation::Notification, &notification);
        world.backend(a, answer.clone());
        world.run(2_000);
        let (_, said) = world.heard(b, call).unwrap();
        assert!(said.contains("true"), "{answer:?}: {said}");
        let active = vec![SessionPhase::Active];
        assert_eq!((world.phases(a), world.phases(b)), (active.clone(), active), "{answer:?}");
    }
}

#[test]
fn nodes_whose_introductions_were_lost_on_a_link_that_hung_introduce_themselves_again() {
    let (mut world, a, b) = agreed();
    world.disconnect(a, b);
    world.connect(a, b);
    world.run(1);
    world.sever(a, b);
    world.run(10_000);
    world.start_charging(b);
    world.run(1_000);
    assert_eq!(world.nodes[a].charging.called, 1);
}

#[test]
fn a_start_that_has_to_go_twice_has_its_time_once() {
    let config = ChargingConfig { remote_ms: 2_000, ..ChargingConfig::default() };
    let (mut world, a, b) = agreed_with([ChargingConfig::default(), config]);
    let call = world.start_charging(b);
    for ((at_ms, count), delivery) in std::mem::take(&mut world.queue) {
        world.queue.insert((at_ms + 1_500, count), delivery);
    }
    world.run(1_500);
    // The operator's node knows nobody when it comes.
    world.recover(a);
    world.run(1_000);
    assert!(world.heard(b, call).unwrap().1.contains("\"310\""));
    assert_eq!((world.phases(b), world.nodes[a].charging.called), (vec![SessionPhase::InDoubt], 1));
    world.backend_says(a, YES);
    world.run(5_000);
    let (_, operation, _) = world.nodes[b].charging.calls[0].clone();
    assert_eq!(operation, SessionOperation::Notification, "its backend heard otherwise");
}

#[test]
fn a_retry_that_comes_before_its_backend_heard_of_the_late_start_gets_that_session() {
    let (mut world, a, b, _) = late(LateStart::Auto, YES);
    world.run(5_000);
    // The late notice is under way, and not answered.
    assert_eq!(world.nodes[b].charging.calls.len(), 1);
    let retry = world.start_charging(b);
    let (_, answer) = world.heard(b, retry).unwrap();
    assert!(answer.contains("true") && answer.contains(&world.session(b).session), "{answer}");
    world.run(60_000);
    assert_eq!((world.phases(b).len(), world.nodes[a].charging.called), (1, 1));
}

#[test]
fn a_late_start_that_is_being_stopped_is_not_started_again_meanwhile() {
    let (mut world, a, b, _) = late(LateStart::Stop, YES);
    world.run(5_000);
    assert_eq!(world.nodes[a].charging.called, 2, "the stop");
    let retry = world.start_charging(b);
    let (_, answer) = world.heard(b, retry).unwrap();
    assert!(answer.contains("\"320\"") && answer.contains("is being stopped"), "{answer}");
    world.backend_says(a, YES);
    world.run(1_000);
    world.start_charging(b);
    world.run(1_000);
    assert_eq!((world.phases(b).len(), world.nodes[a].charging.called), (2, 3));
}

#[test]
fn a_reservation_that_came_late_is_given_back_and_not_stopped_like_charging() {
    let config =
        ChargingConfig { late_start: LateStart::Stop, remote_ms: 2_000, ..ChargingConfig::default() };
    let (mut world, a, b) = agreed_with([ChargingConfig::default(), config]);
    for node in [a, b] {
        let anybody = Rule { whom: Whom::default(), services: BTreeSet::new(), allow: true };
        world.set_rules(node, vec![anybody]);
    }
    let reserve = remote_start("CH*ABC*E1").replacen('{', r#"{"Duration":15,"#, 1);
    let call = world.charge(b, SessionOperation::ReservationStart, &reserve);
    world.run(6_000);
    assert!(world.heard(b, call).unwrap().1.contains("\"310\""), "{:?}", world.heard(b, call));
    assert_eq!(world.nodes[a].charging.called, 1, "{:?}", world.heard(b, call));
    world.backend_says(a, YES);
    world.run(5_000);
    let (_, operation, _) = world.nodes[a].charging.calls[0].clone();
    assert_eq!(operation, SessionOperation::ReservationStop);
    world.backend_says(a, YES);
    world.run(60_000);
    assert_eq!((world.nodes[a].charging.called, world.nodes[b].charging.called), (2, 0));
}

#[test]
fn progress_comes_no_more_often_than_every_five_minutes() {
    let (mut world, a, b) = agreed();
    world.start_charging(b);
    world.run(1_000);
    world.backend_says(a, YES);
    world.run(1_000);
    let id = world.session(b).session;
    let progress = format!(
        r#"{{"Type":"Progress","SessionID":"{id}","EvseID":"CH*ABC*E1","OperatorID":"CH*ABC","ChargingStart":"2027-01-15T08:00:00Z","EventOccurred":"2027-01-15T08:05:00Z","ChargingDuration":300000}}"#
    );
    // What was not taken may come again at once.
    for untaken in [BackendAnswer::NotSent("off".into()), BackendAnswer::Silent("slow".into())] {
        let call = world.charge(a, SessionOperation::Notification, &progress);
        world.run(1_000);
        world.backend(b, untaken);
        world.run(1_000);
        assert!(world.heard(a, call).unwrap().1.contains("false"), "{:?}", world.heard(a, call));
    }
    world.charge(a, SessionOperation::Notification, &progress);
    world.run(1_000);
    world.backend_says(b, YES);
    // Another notification that is not taken changes nothing.
    let error = format!(
        r#"{{"Type":"Error","SessionID":"{id}","EvseID":"CH*ABC*E1","OperatorID":"CH*ABC","ErrorType":"CriticalError"}}"#
    );
    world.charge(a, SessionOperation::Notification, &error);
    world.run(1_000);
    world.backend_says(b, NO);
    world.run(1_000);
    let soon = world.charge(a, SessionOperation::Notification, &progress);
    assert!(world.heard(a, soon).unwrap().1.contains("\"022\""));
    world.run(301_000);
    let later = world.charge(a, SessionOperation::Notification, &progress);
    world.run(1_000);
    world.backend_says(b, YES);
    world.run(1_000);
    assert!(world.heard(a, later).unwrap().1.contains("\"000\""));
}
