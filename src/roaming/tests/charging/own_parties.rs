//! A CPO and an EMP of one node: they share one record, and each is asked and answered as by another's node.

use super::*;

/// A node of both, without backends or with.
fn both(no_backend: bool) -> World {
    let mut world = World::new(1);
    let node = world.add(&[cpo(), emp()]);
    world.nodes[node].charging.no_backend = no_backend;
    world.kill(node);
    world.start(node);
    allow(&mut world);
    world.run(3_000);
    world.push(node, Kind::Data, ActionType::FullLoad, &[("CH*ABC*E1", "one")]);
    world.run(1_000);
    world
}

fn allow(world: &mut World) {
    let rule = |person: Person| Rule {
        whom: Whom { party: Some(person.party()), ..Whom::default() },
        services: BTreeSet::new(),
        allow: true,
    };
    let rules = vec![rule(cpo()), rule(emp())];
    let core = world.nodes[0].core.take().unwrap();
    world.nodes[0].core = Some(core.with_policy(Policy { rules }));
}

/// A backend of one of the two asks.
fn asks(world: &mut World, person: &Person, operation: SessionOperation, body: &str) -> CallId {
    world.calls += 1;
    let call = CallId(world.calls);
    let request = Box::new(ChargeRequest::parse(operation, body.as_bytes(), Reading::Strict).unwrap());
    let evse = Some(crate::roaming::EvseSeen { compatible: true });
    let body = Bytes::copy_from_slice(body.as_bytes());
    world.handle(0, Input::Charge { call, party: person.party(), request, body, evse });
    call
}

fn notification(id: &str) -> String {
    format!(
        r#"{{"Type":"Start","SessionID":"{id}","EvseID":"CH*ABC*E1","OperatorID":"CH*ABC","ChargingStart":"2027-01-15T08:00:00Z"}}"#
    )
}

#[test]
fn an_emp_starts_and_stops_at_a_station_of_its_own_node() {
    let mut world = both(false);
    let start = asks(&mut world, &emp(), SessionOperation::RemoteStart, &remote_start("CH*ABC*E1"));
    assert_eq!(world.nodes[0].charging.calls[0].1, SessionOperation::RemoteStart);
    world.backend_says(0, YES);
    let id = world.session(0).session;
    assert!(world.heard(0, start).unwrap().1.contains(&id));
    assert_eq!(world.phases(0), [SessionPhase::Active]);
    // Each side speaks within the session, and the other side's backend hears it.
    let told = asks(&mut world, &cpo(), SessionOperation::Notification, &notification(&id));
    assert_eq!(world.nodes[0].charging.calls[0].1, SessionOperation::Notification);
    world.backend_says(0, YES);
    assert!(world.heard(0, told).unwrap().1.contains("true"));
    // The driver may stop by card, too.
    let by_card = format!(r#"{{"SessionID":"{id}",{}"#, CARD.strip_prefix('{').unwrap());
    let stop = asks(&mut world, &cpo(), SessionOperation::AuthorizeStop, &by_card);
    let (_, _, body) = &world.nodes[0].charging.calls[0];
    assert!(body.contains("1234ABCD"), "as the UID is said at a start");
    world.backend_says(0, r#"{"AuthorizationStatus":"Authorized","StatusCode":{"Code":"000"}}"#);
    assert!(world.heard(0, stop).unwrap().1.contains("\"Authorized\""));
    let stop = asks(&mut world, &emp(), SessionOperation::RemoteStop, &remote_stop(&id));
    world.backend_says(0, YES);
    assert!(world.heard(0, stop).unwrap().1.contains("true"));
    assert_eq!(world.nodes[0].charging.called, 4);
}

#[test]
fn a_card_that_an_emp_of_the_node_uploaded_is_told_to_nobody() {
    let mut world = both(true);
    let body = r#"{"ActionType":"fullLoad","ProviderAuthenticationData":{"ProviderID":"CH-EMP","AuthenticationDataRecord":[{"Identification":{"RFIDMifareFamilyIdentification":{"UID":"1234ABCD"}}}]}}"#;
    let push =
        crate::oicp::charging::PushAuthenticationData::parse(body.as_bytes(), Reading::Strict).unwrap();
    let push = crate::roaming::AuthenticationPush::new(push).unwrap();
    world.handle(0, Input::PushAuthentication { call: CallId(77), party: emp().party(), push });
    let call = asks(&mut world, &cpo(), SessionOperation::AuthorizeStart, CARD);
    let id = world.session(0).session;
    let (_, said) = world.heard(0, call).expect("at once");
    assert!(said.contains("\"Authorized\"") && said.contains(&id), "{said}");
    let stop = CARD.replacen('{', &format!(r#"{{"SessionID":"{id}","#), 1);
    let call = asks(&mut world, &cpo(), SessionOperation::AuthorizeStop, &stop);
    assert!(world.heard(0, call).unwrap().1.contains("\"Authorized\""));
    let other =
        asks(&mut world, &cpo(), SessionOperation::AuthorizeStart, &CARD.replace("1234abcd", "FFFFFFFF"));
    assert!(world.heard(0, other).unwrap().1.contains("\"102\""));
    assert_eq!(world.phases(0).len(), 2);
}

#[test]
fn a_crash_or_a_late_answer_settles_as_between_two_nodes() {
    let mut world = both(false);
    asks(&mut world, &emp(), SessionOperation::RemoteStart, &remote_start("CH*ABC*E1"));
    world.kill(0);
    world.nodes[0].charging.calls.clear();
    world.start(0);
    allow(&mut world);
    world.run(5_000);
    assert_eq!(world.phases(0), [SessionPhase::Unconfirmed]);
    assert_eq!(world.nodes[0].charging.called, 1);

    let mut world = both(false);
    let call = asks(&mut world, &emp(), SessionOperation::RemoteStart, &remote_start("CH*ABC*E1"));
    world.run(61_000);
    assert!(world.heard(0, call).unwrap().1.contains("\"310\""));
    world.backend_says(0, YES);
    world.run(5_000);
    assert_eq!(world.phases(0), [SessionPhase::Active]);
    assert_eq!(world.nodes[0].charging.calls[0].1, SessionOperation::Notification, "its EMP hears of it");
}
