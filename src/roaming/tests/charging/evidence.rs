//! The log of messages: both sides keep the same ones, a restart goes on where it was, and each side's file proves what
//! was said.

use super::super::*;
use super::{agreed, agreed_with};
use crate::protocol::evidence::{EvidenceReport, verify_evidence};
use crate::protocol::{Direction, SessionOperation};
use crate::roaming::{ChargingConfig, PersonalData};

const YES: &str = r#"{"Result":true,"StatusCode":{"Code":"000"}}"#;
const START: &str = r#"{"ProviderID":"CH*EMP","EvseID":"CH*ABC*E1","Identification":{"RemoteIdentification":{"EvcoID":"CH-EMP-C12345678-X"}}}"#;

impl World {
    /// A remote start, and its stop, both answered with yes. Returns the SessionID.
    fn charged(&mut self, cpo: usize, emp: usize) -> String {
        self.charge(emp, SessionOperation::RemoteStart, START);
        self.run(1_000);
        self.backend_says(cpo, YES);
        self.run(1_000);
        let newest = self.core(emp).sessions().max_by_key(|record| record.opened_unix_ms);
        let id = newest.unwrap().session.clone();
        let stop = format!(r#"{{"SessionID":"{id}","ProviderID":"CH*EMP","EvseID":"CH*ABC*E1"}}"#);
        self.charge(emp, SessionOperation::RemoteStop, &stop);
        self.run(1_000);
        self.backend_says(cpo, YES);
        self.run(1_000);
        id
    }

    fn evidence(&self, node: usize, session: &str) -> EvidenceReport {
        let logged = self.nodes[node].store.logged(session);
        let file = self.core(node).evidence_file(logged, self.now()).unwrap();
        verify_evidence(&file, self.nodes[node].trust.as_ref()).unwrap_or_else(|fault| panic!("{fault}"))
    }
}

fn said(report: &EvidenceReport) -> Vec<(String, String, u64)> {
    let said = report.told.iter().filter_map(|told| told.said.as_ref());
    said.map(|said| (said.from.to_text(), said.what.clone(), said.created_unix_ms)).collect()
}

#[test]
fn both_sides_hold_the_same_signed_messages() {
    let (mut world, a, b) = agreed();
    let id = world.charged(a, b);
    let (operator, provider) = (world.evidence(a, &id), world.evidence(b, &id));
    assert_eq!(said(&operator), said(&provider));
    let what: Vec<&str> = operator.told.iter().map(|told| &*told.said.as_ref().unwrap().what).collect();
    assert_eq!(
        what,
        [
            "asks AuthorizeRemoteStart, EvseID CH*ABC*E1",
            "answers Result true, code 000",
            "asks AuthorizeRemoteStop, EvseID CH*ABC*E1",
            "answers Result true, code 000",
        ]
    );
    let ways = |report: &EvidenceReport| report.told.iter().map(|told| told.direction).collect::<Vec<_>>();
    let (sent, received) = (Direction::Sent, Direction::Received);
    assert_eq!(ways(&operator), [received, sent, received, sent]);
    assert_eq!(ways(&provider), [sent, received, sent, received]);
    assert_eq!(
        (operator.party.to_text(), provider.party.to_text()),
        ("CPO:CHABC".into(), "EMP:CHEMP".into())
    );
}

#[test]
fn the_log_goes_on_after_a_restart_and_every_file_has_its_place_in_it() {
    let (mut world, a, b) = agreed();
    let mut sessions = Vec::new();
    for round in 0..3 {
        sessions.push(world.charged(a, b));
        if round == 1 {
            for node in [a, b] {
                world.kill(node);
                world.start(node);
            }
            world.connect_all();
            world.run(5_000);
        }
    }
    for node in [a, b] {
        assert_eq!(world.core(node).log_head().0, 12);
        for session in &sessions {
            let report = world.evidence(node, session);
            assert_eq!((report.told.len(), report.head), (4, world.core(node).log_head()));
        }
    }
}

#[test]
fn a_stranger_cannot_fill_the_log() {
    let mut world = World::new(2);
    let (a, b) = (world.add(&[agreements::cpo()]), world.add(&[agreements::emp()]));
    world.connect_all();
    world.run(3_000);
    world.charge(b, SessionOperation::RemoteStart, START);
    world.run(2_000);
    assert_eq!(world.core(a).log_head().0, 0);
}

#[test]
fn personal_data_goes_and_the_log_stays() {
    let (mut world, a, b) = agreed();
    let first = world.charged(a, b);
    let call = CallId(77);
    world.handle(a, Input::Erase { call, what: PersonalData::Session(first.clone()) });
    assert!(world.evidence(a, &first).told[0].said.is_some(), "a session that goes on keeps what it needs");
    let now_ms = world.now().unix_ms;
    world.handle(a, Input::Erase { call: CallId(78), what: PersonalData::Before(now_ms) });
    let second = world.charged(a, b);
    let report = world.evidence(a, &first);
    assert!(report.told.iter().all(|told| told.said.is_none()));
    assert_eq!(world.evidence(a, &second).told.len(), 4);
    assert_eq!(said(&world.evidence(b, &first)).len(), 4, "the other side has its own");
}

#[test]
fn what_is_older_than_the_settings_allow_is_deleted() {
    let config =
        || ChargingConfig { personal_data_days: 1, session_expiry_days: 1, ..ChargingConfig::default() };
    let (mut world, a, b) = agreed_with([config(), config()]);
    let id = world.charged(a, b);
    assert!(world.evidence(a, &id).told[0].said.is_some());
    world.run(86_400_000 + 120_000);
    assert!(world.evidence(a, &id).told.iter().all(|told| told.said.is_none()));
}
