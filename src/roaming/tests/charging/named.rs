//! Media that name their EMP: in which spelling it hears of them.

use super::references::{AUTHORIZED, agreed_on_all, question};
use super::*;

const CONTRACT: &str = "CH-EMP-C12345678-X";

pub(super) fn plug(contract: &str) -> String {
    format!(r#""PlugAndChargeIdentification":{{"EvcoID":"{contract}"}}"#)
}

pub(super) fn code(contract: &str) -> String {
    format!(r#""QRCodeIdentification":{{"EvcoID":"{contract}","PIN":"geheim"}}"#)
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
