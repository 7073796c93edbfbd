//! Reservations through the hub, begun by our EMP and by a partner of the hub.

use super::*;

fn reserve(evse: &str) -> String {
    remote_start(evse).replacen('{', r#"{"Duration":15,"#, 1)
}

#[test]
fn our_provider_reserves_through_the_hub_and_gives_the_place_back() {
    let (mut world, a, b) = both(None, Some(Routing::Hub));
    let call = world.charge(b, SessionOperation::ReservationStart, &reserve("CH*ABC*E1"));
    let (operation, path_id, body) = world.hub_says(b, yes(GIVEN));
    assert_eq!((operation, path_id.as_str()), (Some(SessionOperation::ReservationStart), "CH-EMP"));
    assert!(body.contains(r#""Duration":15"#) && body.contains(r#""SessionID":null"#), "{body}");
    let (http, said) = world.heard(b, call).unwrap();
    assert!(http == 200 && said.contains("true") && said.contains(GIVEN), "{said}");
    assert_eq!(world.session(b).via, Via::Hub);

    // A stop of charging is not what ends a reservation, and the hub hears of none.
    let other = world.charge(b, SessionOperation::RemoteStop, &remote_stop(GIVEN));
    assert!(world.heard(b, other).unwrap().1.contains("\"400\""));
    assert!(world.nodes[b].charging.to_hub.is_empty());

    // The hub refuses a first stop, and takes the second.
    for (answer, is_ok) in [(no(404, "400", "Session is not valid"), false), (yes(GIVEN), true)] {
        let stop = world.charge(b, SessionOperation::ReservationStop, &remote_stop(GIVEN));
        let (operation, path_id, body) = world.hub_says(b, answer);
        assert_eq!((operation, path_id.as_str()), (Some(SessionOperation::ReservationStop), "CH-EMP"));
        assert!(body.contains(GIVEN) && body.contains(r#""EMPPartnerSessionID":"mine""#), "{body}");
        let (_, said) = world.heard(b, stop).unwrap();
        assert_eq!(said.contains("\"Result\":true"), is_ok, "{said}");
    }
    world.run(120_000);
    assert_eq!(world.both_called(a, b), (0, 0), "nothing went to its node");
}

#[test]
fn a_reservation_that_the_hub_refuses_is_none() {
    let (mut world, _, b) = both(None, Some(Routing::Hub));
    let call = world.charge(b, SessionOperation::ReservationStart, &reserve("CH*ABC*E1"));
    world.hub_says(b, no(200, "601", "EVSE already reserved"));
    let (_, said) = world.heard(b, call).unwrap();
    assert!(said.contains("\"601\"") && !said.contains("\"Result\":true"), "{said}");
    assert_eq!(world.phases(b), [SessionPhase::Refused]);
}

#[test]
fn the_hub_reserves_at_our_operator_and_only_whoever_reserved_gives_back() {
    let (mut world, a, _) = both(Some(Routing::DirectThenHub), None);
    let body = with_session(&reserve("CH*ABC*E1"), GIVEN);
    let call = world.hub_asks(a, &emp(), SessionOperation::ReservationStart, &body);
    let (_, operation, asked) = world.nodes[a].charging.calls[0].clone();
    assert_eq!(operation, SessionOperation::ReservationStart);
    assert!(asked.contains(GIVEN) && asked.contains(r#""Duration":15"#), "{asked}");
    world.backend_says(a, &YES.replacen('{', r#"{"CPOPartnerSessionID":"C-7","#, 1));
    let (http, said) = world.heard(a, call).unwrap();
    assert!(http == 200 && said.contains("true") && said.contains(GIVEN), "{said}");
    // The same again is answered, and not carried out.
    let again = world.hub_asks(a, &emp(), SessionOperation::ReservationStart, &body);
    assert!(world.heard(a, again).unwrap().1.contains("true"));
    assert_eq!(world.nodes[a].charging.called, 1);

    let foreign = Person::new("FR*EMP", 9).emp();
    let of_other = remote_stop(GIVEN).replace("CH*EMP", "FR*EMP");
    let stop = world.hub_asks(a, &foreign, SessionOperation::ReservationStop, &of_other);
    assert!(world.heard(a, stop).unwrap().1.contains("\"400\""), "another partner's name does not open it");
    assert_eq!(world.nodes[a].charging.called, 1);

    let wrong = world.hub_asks(a, &emp(), SessionOperation::RemoteStop, &remote_stop(GIVEN));
    assert!(
        world.heard(a, wrong).unwrap().1.contains("\"400\""),
        "a stop of charging is not what ends a reservation"
    );
    assert_eq!(world.nodes[a].charging.called, 1);

    let stop = world.hub_asks(a, &emp(), SessionOperation::ReservationStop, &remote_stop(GIVEN));
    let (_, operation, asked) = world.nodes[a].charging.calls[0].clone();
    assert_eq!(operation, SessionOperation::ReservationStop);
    let both = r#""CPOPartnerSessionID":"C-7","EMPPartnerSessionID":"mine""#;
    assert!(asked.contains(GIVEN) && asked.contains(both), "{asked}");
    world.backend_says(a, YES);
    let (http, said) = world.heard(a, stop).unwrap();
    assert!(http == 200 && said.contains("\"Result\":true"), "{said}");
    assert_eq!(world.nodes[a].charging.called, 2);
}
