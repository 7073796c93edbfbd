//! EMPs whose node answers for them: what an upload changes, whom it authorizes, and who may stop a session.

mod card_filters;

use super::agreements::emp;
use super::charging::{agreed, agreed_with};
use super::*;
use crate::oicp::charging::PushAuthenticationData;
use crate::oicp::reading::Reading;
use crate::protocol::{SessionOperation, SessionPhase};
use crate::roaming::{AuthenticationPush, BackendAnswer, ChargingConfig};

const HASH: &str = "$2a$10$abcdefghijklmnopqrstuv./0123456789ABCDEFGHIJKLMNOPQRS";
const QR: &str = r#""QRCodeIdentification":{"EvcoID":"CH-EMP-C12345678-X""#;

fn card(uid: &str) -> String {
    format!(r#""RFIDMifareFamilyIdentification":{{"UID":"{uid}"}}"#)
}

fn with_expiry(uid: &str, expiry: &str) -> String {
    format!(r#""RFIDIdentification":{{"UID":"{uid}","RFID":"mifareCls","ExpiryDate":"{expiry}"}}"#)
}

fn with_contract(uid: &str, contract: &str) -> String {
    format!(r#""RFIDIdentification":{{"UID":"{uid}","RFID":"mifareCls","EvcoID":"{contract}"}}"#)
}

fn hashed() -> String {
    format!(r#"{QR},"HashedPIN":{{"Value":"{HASH}","Function":"Bcrypt"}}}}"#)
}

fn start(medium: &str) -> String {
    format!(r#"{{"OperatorID":"CH*ABC","EvseID":"CH*ABC*E1","Identification":{{{medium}}}}}"#)
}

fn stop(session: &str, medium: &str) -> String {
    format!(r#"{{"OperatorID":"CH*ABC","SessionID":"{session}","Identification":{{{medium}}}}}"#)
}

impl World {
    fn upload(&mut self, node: usize, action: &str, media: &[String]) -> (bool, StatusCode) {
        let records: Vec<String> =
            media.iter().map(|medium| format!("{{\"Identification\":{{{medium}}}}}")).collect();
        let body = format!(
            r#"{{"ActionType":"{action}","ProviderAuthenticationData":{{"ProviderID":"CH-EMP","AuthenticationDataRecord":[{}]}}}}"#,
            records.join(",")
        );
        let push = PushAuthenticationData::parse(body.as_bytes(), Reading::Strict).unwrap();
        self.calls += 1;
        let (call, party) = (CallId(self.calls), emp().party());
        let push = AuthenticationPush::new(push).unwrap();
        self.handle(node, Input::PushAuthentication { call, party, push });
        self.nodes[node].replies.remove(&call).unwrap()
    }

    fn uploaded(&self, node: usize) -> usize {
        let stored = self.nodes[node].store.media.len();
        assert_eq!(self.core(node).media_of(&emp().party()), stored, "what is stored is what is known");
        stored
    }

    /// What a card's question comes to within a second.
    fn authorize(&mut self, cpo: usize, medium: &str) -> String {
        let call = self.charge(cpo, SessionOperation::AuthorizeStart, &start(medium));
        self.run(1_000);
        self.heard(cpo, call).unwrap().1
    }

    fn stop_with(&mut self, cpo: usize, session: &str, medium: &str) -> String {
        let call = self.charge(cpo, SessionOperation::AuthorizeStop, &stop(session, medium));
        self.run(1_000);
        self.heard(cpo, call).unwrap().1
    }

    fn restart(&mut self, node: usize) {
        self.kill(node);
        self.run(1_000);
        self.start(node);
        self.connect_all();
        self.run(3_000);
    }
}

/// As `agreed`, but the EMP has no backend.
fn offline() -> (World, usize, usize) {
    let (mut world, a, b) = agreed();
    world.nodes[b].charging.no_backend = true;
    world.restart(b);
    (world, a, b)
}

fn session_id(answer: &str) -> String {
    answer.split("\"SessionID\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
}

fn is_no(answer: &str, code: &str) -> bool {
    answer.contains("NotAuthorized") && answer.contains(&format!("\"{code}\""))
}

fn is_yes(answer: &str) -> bool {
    answer.contains("\"Authorized\"") && answer.contains("CH-EMP")
}

#[test]
fn an_upload_changes_all_that_it_may_or_nothing() {
    let (mut world, _, b) = offline();
    let [one, two, three] = ["0000000A", "0000000B", "0000000C"].map(card);
    let table: [(&str, Vec<String>, &str, usize); 13] = [
        ("fullLoad", vec![one.clone(), two.clone()], "000", 2),
        ("insert", vec![three.clone(), two.clone()], "009", 2),
        ("insert", vec![three.clone(), hashed()], "000", 4),
        ("update", vec![three.clone(), card("0000000D")], "009", 4),
        ("update", vec![with_expiry("0000000c", "2099-01-01T00:00:00Z")], "000", 4),
        ("insert", vec![with_contract("0000000E", "DE-XYZ-C12345678-X")], "019", 4),
        ("fullLoad", vec![one.clone(), with_contract("0000000E", "DE-XYZ-C12345678-X")], "019", 4),
        ("insert", vec![with_contract("0000000E", "CH-EMP-C12345678-X")], "000", 5),
        ("delete", vec![one.clone(), card("0000000F")], "000", 4),
        ("fullLoad", vec![two.clone(), two.clone()], "000", 1),
        ("delete", vec![], "000", 1),
        ("fullLoad", vec![], "000", 0),
        ("update", vec![two.clone()], "009", 0),
    ];
    for (action, media, code, left) in table {
        let (result, status) = world.upload(b, action, &media);
        assert_eq!((status.code.as_str(), result), (code, code == "000"), "{action} {media:?}");
        assert_eq!(world.uploaded(b), left, "{action} {media:?}");
        assert!(!format!("{status:?}").contains("0000000"), "a refusal names no card: {status:?}");
    }
}

#[test]
fn a_push_in_clear_text_does_not_reach_the_core() {
    let body = format!(
        r#"{{"ActionType":"insert","ProviderAuthenticationData":{{"ProviderID":"CH-EMP","AuthenticationDataRecord":[{{"Identification":{{{}}}}},{{"Identification":{{{QR},"PIN":"1"}}}}}}]}}}}"#,
        card("0000000A")
    );
    let push = PushAuthenticationData::parse(body.as_bytes(), Reading::Strict).unwrap();
    assert_eq!(AuthenticationPush::new(push).unwrap_err(), 1);
}

#[test]
fn an_emp_without_backend_is_answered_for_also_after_a_restart() {
    let (mut world, a, b) = offline();
    let nothing_known = world.authorize(a, &card("0000000a"));
    assert!(is_no(&nothing_known, "106"), "who uploaded nothing does not answer: {nothing_known}");
    let media = [
        card("0000000a"),
        with_expiry("0000000B", "2000-01-01T00:00:00Z"),
        r#""PlugAndChargeIdentification":{"EvcoID":"CH-EMP-C11111111-X"}"#.to_owned(),
    ];
    assert!(world.upload(b, "fullLoad", &media).0);
    for round in 0..2 {
        let yes = world.authorize(a, &card("0000000A"));
        assert!(is_yes(&yes), "round {round}: {yes}");
        let ours = session_id(&yes);
        let held = world.core(b).sessions().find(|session| session.session == ours).unwrap();
        assert!(held.offline && held.phase == SessionPhase::Active, "the same session on both sides");
        assert!(is_yes(&world.authorize(a, &media[2])));
        assert!(is_no(&world.authorize(a, &card("0000000B")), "102"), "it has expired");
        assert!(is_no(&world.authorize(a, &card("0000000C")), "102"));
        let contract = r#""PlugAndChargeIdentification":{"EvcoID":"CH-EMP-C22222222-X"}"#;
        assert!(is_no(&world.authorize(a, contract), "105"));
        world.restart(b);
    }
    assert_eq!(world.nodes[b].charging.called, 0);
}

#[test]
fn only_the_medium_that_started_it_stops_it() {
    let (mut world, a, b) = offline();
    assert!(world.upload(b, "fullLoad", &[card("0000000A"), card("0000000B"), hashed()]).0);
    let id = session_id(&world.authorize(a, &card("0000000A")));
    let with_pin = format!(r#"{QR},"PIN":"1234"}}"#);
    assert!(is_no(&world.stop_with(a, &id, &card("0000000B")), "102"));
    assert!(is_no(&world.stop_with(a, &id, &with_pin), "101"));
    let contract = r#""PlugAndChargeIdentification":{"EvcoID":"CH-EMP-C12345678-X"}"#;
    assert!(is_no(&world.stop_with(a, &id, contract), "105"));
    // Who started it may stop it, though his card was taken back meanwhile, and the node restarted.
    assert!(world.upload(b, "fullLoad", &[]).0);
    world.restart(b);
    let stopped = world.stop_with(a, &id, &card("0000000a"));
    assert!(is_yes(&stopped) && stopped.contains(&id), "{stopped}");
}

#[test]
fn a_qr_code_counts_with_its_pin() {
    let (mut world, a, b) = offline();
    assert!(world.upload(b, "fullLoad", &[hashed()]).0);
    let with_pin = format!(r#"{QR},"PIN":"1234"}}"#);
    for matches in [true, false] {
        let call = world.charge(a, SessionOperation::AuthorizeStart, &start(&with_pin));
        world.run(1_000);
        assert!(world.heard(a, call).is_none(), "nothing is said before the PIN was compared");
        let (check, pin, hash) = world.nodes[b].charging.pins.remove(0);
        assert_eq!((pin.expose(), hash.expose()), ("1234", HASH));
        world.handle(b, Input::PinChecked { call: check, matches });
        // A second answer to one check is none.
        world.handle(b, Input::PinChecked { call: check, matches: true });
        world.run(1_000);
        let said = world.heard(a, call).unwrap().1;
        assert!(if matches { is_yes(&said) } else { is_no(&said, "101") }, "{said}");
    }
}

#[test]
fn too_many_pins_at_once_are_refused() {
    let (mut world, a, b) = offline();
    assert!(world.upload(b, "fullLoad", &[hashed()]).0);
    let with_pin = start(&format!(r#"{QR},"PIN":"1234"}}"#));
    let calls: Vec<CallId> =
        (0..70).map(|_| world.charge(a, SessionOperation::AuthorizeStart, &with_pin)).collect();
    world.run(1_000);
    assert_eq!(world.nodes[b].charging.pins.len(), 64);
    let refused = calls.iter().filter(|call| world.heard(a, **call).is_some()).count();
    assert_eq!(refused, 6);
}

#[test]
fn an_upload_answers_for_a_backend_that_is_down_if_the_settings_say_so() {
    for offline_fallback in [true, false] {
        let config = ChargingConfig { offline_fallback, ..ChargingConfig::default() };
        let (mut world, a, b) = agreed_with([ChargingConfig::default(), config]);
        let broken = || BackendAnswer::Answered { http_status: 500, body: Bytes::new() };
        assert!(world.upload(b, "fullLoad", &[card("0000000A")]).0);
        for answer in [BackendAnswer::NotSent("off".into()), BackendAnswer::Silent("slow".into()), broken()] {
            let call = world.charge(a, SessionOperation::AuthorizeStart, &start(&card("0000000A")));
            world.run(1_000);
            assert!(world.heard(a, call).is_none(), "the backend is asked first");
            world.backend(b, answer.clone());
            world.run(1_000);
            let said = world.heard(a, call).unwrap().1;
            assert_eq!(is_yes(&said), offline_fallback, "{answer:?}: {said}");
        }
        // Of a card that was not uploaded nothing is known while the backend is down.
        let call = world.charge(a, SessionOperation::AuthorizeStart, &start(&card("0000000B")));
        world.run(1_000);
        world.backend(b, BackendAnswer::NotSent("off".into()));
        world.run(1_000);
        assert!(is_no(&world.heard(a, call).unwrap().1, "106"));
        // What the backend says counts, whatever was uploaded.
        let call = world.charge(a, SessionOperation::AuthorizeStart, &start(&card("0000000A")));
        world.run(1_000);
        world.backend_says(b, r#"{"AuthorizationStatus":"NotAuthorized","StatusCode":{"Code":"210"}}"#);
        world.run(1_000);
        assert!(world.heard(a, call).unwrap().1.contains("NotAuthorized"));
        assert_eq!(world.nodes[b].charging.called, 5, "nobody is asked twice");
    }
}
