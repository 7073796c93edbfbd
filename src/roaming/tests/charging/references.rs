//! Both sides' own references of a session are in whatever is said within it, whoever leaves them out (RULES 6).

use super::super::agreements::offer_to;
use super::*;

/// A yes that names the CPO's own reference.
const STARTED: &str = r#"{"Result":true,"StatusCode":{"Code":"000"},"CPOPartnerSessionID":"C-7"}"#;

pub(super) const AUTHORIZED: &str =
    r#"{"AuthorizationStatus":"Authorized","StatusCode":{"Code":"000"},"EMPPartnerSessionID":"E-9"}"#;

pub(super) fn question(medium: &str) -> String {
    format!(
        r#"{{"OperatorID":"CH*ABC","EvseID":"CH*ABC*E1","CPOPartnerSessionID":"C-1","Identification":{{{medium}}}}}"#
    )
}

fn notification(id: &str) -> String {
    format!(
        r#"{{"Type":"End","SessionID":"{id}","EvseID":"CH*ABC*E1","OperatorID":"CH*ABC","ChargingEnd":"2027-01-15T08:00:00Z"}}"#
    )
}

/// With these references in it.
fn with(body: &str, cpo: &str, emp: &str) -> String {
    body.replacen('{', &format!(r#"{{"CPOPartnerSessionID":"{cpo}","EMPPartnerSessionID":"{emp}","#), 1)
}

/// Two nodes whose parties have agreed on reservations as well.
pub(super) fn agreed_on_all() -> (World, usize, usize) {
    let (mut world, a, b) = agreed();
    let mut offer = offer_to(&emp(), world.now(), 365);
    if let AgreementAct::Offer { services, .. } = &mut offer {
        *services = BTreeSet::from([Service::Reservation]);
    }
    let id = world.settle(a, offer).unwrap();
    world.run(3_000);
    world.settle(b, AgreementAct::Accept(id)).unwrap();
    world.run(3_000);
    (world, a, b)
}

impl World {
    /// What the backend of `asked` hears when that of `asks` says this, and its yes.
    fn passes_on(
        &mut self,
        (asks, asked): (usize, usize),
        operation: SessionOperation,
        body: &str,
    ) -> String {
        let call = self.charge(asks, operation, body);
        self.run(1_000);
        let heard = self.nodes[asked].charging.calls[0].2.clone();
        let by_card = operation == SessionOperation::AuthorizeStop;
        self.backend_says(asked, if by_card { AUTHORIZED } else { YES });
        self.run(1_000);
        assert_eq!(self.heard(asks, call).unwrap().0, 200);
        heard
    }

    fn starts_anew(&mut self, node: usize) {
        self.kill(node);
        self.start(node);
        self.connect_all();
        self.run(5_000);
    }
}

#[test]
fn stops_and_notifications_of_remote_sessions_name_both_references() {
    for (start, stop) in [
        (SessionOperation::RemoteStart, SessionOperation::RemoteStop),
        (SessionOperation::ReservationStart, SessionOperation::ReservationStop),
    ] {
        let (mut world, a, b) = agreed_on_all();
        world.charge(b, start, &remote_start("CH*ABC*E1"));
        world.run(1_000);
        world.backend_says(a, STARTED);
        world.run(1_000);
        let id = world.session(b).session;
        let (told, stop_body) = (notification(&id), remote_stop(&id));
        for again in [false, true] {
            assert_eq!(
                world.passes_on((a, b), SessionOperation::Notification, &told),
                with(&told, "C-7", "mine"),
                "{again}"
            );
            assert_eq!(world.passes_on((b, a), stop, &stop_body), with(&stop_body, "C-7", "mine"));
            // What is said stays.
            let own = with(&stop_body, "other", "another");
            assert_eq!(world.passes_on((b, a), stop, &own), own);
            [a, b].into_iter().for_each(|node| world.starts_anew(node));
        }
    }
}

#[test]
fn what_follows_a_card_names_both_references() {
    let (mut world, a, b) = agreed();
    let card = question(r#""RFIDMifareFamilyIdentification":{"UID":"1234ABCD"}"#);
    world.charge(a, SessionOperation::AuthorizeStart, &card);
    world.run(1_000);
    world.backend_says(b, AUTHORIZED);
    world.run(1_000);
    let id = world.session(a).session;
    let told = notification(&id);
    assert_eq!(world.passes_on((a, b), SessionOperation::Notification, &told), with(&told, "C-1", "E-9"));
    let stop = card.replace(r#""CPOPartnerSessionID":"C-1","#, "").replacen(
        '{',
        &format!(r#"{{"SessionID":"{id}","#),
        1,
    );
    assert_eq!(world.passes_on((a, b), SessionOperation::AuthorizeStop, &stop), with(&stop, "C-1", "E-9"));
    let stop = remote_stop(&id);
    assert_eq!(world.passes_on((b, a), SessionOperation::RemoteStop, &stop), with(&stop, "C-1", "E-9"));
}

#[test]
fn a_stop_that_overtook_its_answer_names_what_the_answer_said() {
    let (mut world, a, b) = agreed();
    world.start_charging(b);
    world.run(1_000);
    let stop = remote_stop(&world.session(b).session);
    world.charge(b, SessionOperation::RemoteStop, &stop);
    world.run(1_000);
    world.backend_says(a, STARTED);
    world.run(1_000);
    assert_eq!(world.nodes[a].charging.calls[0].2, with(&stop, "C-7", "mine"));
}

#[test]
fn the_notice_of_a_late_start_names_both_references() {
    let (mut world, _, b, _) = late(LateStart::Auto, STARTED);
    world.run(5_000);
    let notice = &world.nodes[b].charging.calls[0].2;
    let both = r#""CPOPartnerSessionID":"C-7","EMPPartnerSessionID":"mine""#;
    assert!(notice.contains(both), "{notice}");
}
