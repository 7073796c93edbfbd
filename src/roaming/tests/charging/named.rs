//! Media that name their EMP: in which spelling it hears of them, and in whose words the CPO hears of its refusal.

use super::references::{AUTHORIZED, agreed_on_all, question};
use super::*;

const CONTRACT: &str = "CH-EMP-C12345678-X";
const CARD_OF: &str = r#""RFIDMifareFamilyIdentification":{"UID":"1234ABCD"}"#;

pub(super) fn plug(contract: &str) -> String {
    format!(r#""PlugAndChargeIdentification":{{"EvcoID":"{contract}"}}"#)
}

pub(super) fn code(contract: &str) -> String {
    format!(r#""QRCodeIdentification":{{"EvcoID":"{contract}","PIN":"geheim"}}"#)
}

pub(super) fn refusal(code: &str) -> String {
    format!(
        r#"{{"SessionID":"7bca5b5d-0e5c-4b2f-9d1c-2f5a3a9c1e11","EMPPartnerSessionID":"E-9","AuthorizationStatus":"NotAuthorized","StatusCode":{{"Code":"{code}","Description":"its words","AdditionalInfo":"its reason"}}}}"#
    )
}

#[test]
fn the_refusal_of_the_emp_that_a_medium_names_comes_in_its_own_words() {
    let (mut world, a, b) = agreed();
    let (plug, code) = (plug(CONTRACT), code(CONTRACT));
    for (medium, said, heard) in [
        (&plug, "105", Ok("105")),
        (&plug, "120", Ok("120")),
        (&plug, "121", Ok("121")),
        (&plug, "122", Ok("122")),
        (&plug, "200", Ok("200")),
        (&code, "110", Ok("110")),
        // These speak of who asks, or say nothing.
        (&plug, "017", Err("105")),
        (&plug, "400", Err("105")),
        (&plug, "000", Err("105")),
        (&code, "999", Err("101")),
        // A card is asked of all.
        (&CARD_OF.to_owned(), "121", Err("102")),
    ] {
        let call = world.charge(a, SessionOperation::AuthorizeStart, &question(medium));
        world.run(1_000);
        world.backend_says(b, &refusal(said));
        world.run(1_000);
        let (http, answer) = world.heard(a, call).unwrap();
        assert_eq!(http, 200, "{medium} {said}");
        let status = match heard {
            Ok(code) => format!(
                r#""StatusCode":{{"Code":"{code}","Description":"its words","AdditionalInfo":"its reason"}}"#
            ),
            Err(code) => format!(r#""StatusCode":{{"Code":"{code}","#),
        };
        assert!(answer.contains(&status), "{medium} {said}: {answer}");
        assert_eq!(answer.contains("its reason"), heard.is_ok(), "{medium} {said}: {answer}");
        let ours = r#""SessionID":null,"CPOPartnerSessionID":"C-1","EMPPartnerSessionID":null"#;
        assert!(answer.contains("NotAuthorized") && answer.contains(ours), "{answer}");
    }
    assert!(world.phases(a).iter().chain(&world.phases(b)).all(|phase| *phase == SessionPhase::Refused));
    // Nobody answers: that is said in our words.
    let call = world.charge(a, SessionOperation::AuthorizeStart, &question(&plug));
    world.run(9_000);
    assert!(world.heard(a, call).unwrap().1.contains("\"106\""));
}

#[test]
fn a_contract_is_said_in_upper_case_and_is_one_medium_in_any() {
    let (mut world, a, b) = agreed_on_all();
    for medium in [plug as fn(&str) -> String, code] {
        let mut sessions = Vec::new();
        for contract in [CONTRACT.to_lowercase(), CONTRACT.to_owned()] {
            let known: Vec<String> = world.core(a).sessions().map(|known| known.session.clone()).collect();
            world.charge(a, SessionOperation::AuthorizeStart, &question(&medium(&contract)));
            world.run(1_000);
            let asked = world.nodes[b].charging.calls[0].2.clone();
            assert!(asked.contains(&medium(CONTRACT)), "{asked}");
            world.backend_says(b, AUTHORIZED);
            world.run(1_000);
            let new = world.core(a).sessions().find(|session| !known.contains(&session.session)).unwrap();
            let id = new.session.clone();
            sessions.push(new.medium.clone());
            let stop = question(&medium(&contract)).replacen('{', &format!(r#"{{"SessionID":"{id}","#), 1);
            world.charge(a, SessionOperation::AuthorizeStop, &stop);
            world.run(1_000);
            let asked = world.nodes[b].charging.calls[0].2.clone();
            assert!(asked.contains(&medium(CONTRACT)), "{asked}");
            world.backend_says(b, AUTHORIZED);
            world.run(1_000);
        }
        assert_eq!(sessions[0], sessions[1]);
    }
    for operation in [SessionOperation::RemoteStart, SessionOperation::ReservationStart] {
        let called = world.nodes[a].charging.called;
        let start = remote_start("CH*ABC*E1");
        for body in [start.replace(CONTRACT, &CONTRACT.to_lowercase()), start] {
            world.charge(b, operation, &body);
            world.run(500);
        }
        let asked = world.nodes[a].charging.calls[0].2.clone();
        assert!(asked.contains(&format!(r#""EvcoID":"{CONTRACT}""#)), "{asked}");
        assert_eq!(world.nodes[a].charging.called, called + 1, "the second is the same start");
        world.backend_says(a, YES);
        world.run(1_000);
    }
}
