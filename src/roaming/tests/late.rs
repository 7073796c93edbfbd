//! Starts that succeed after their backend gave up: it hears of it, whatever message brings the news, or the charging
//! is stopped, once.

use super::charging::{YES, agreed_with};
use super::*;
use crate::protocol::{SessionOperation, SessionPhase};
use crate::roaming::{BackendAnswer, ChargingConfig, LateStart};

/// The operator's backend thinks about a start, and the EMP's heard that no answer came.
fn in_doubt(late_start: LateStart) -> (World, usize, usize) {
    let config = ChargingConfig { late_start, remote_ms: 2_000, ..ChargingConfig::default() };
    let (mut world, a, b) = agreed_with([ChargingConfig::default(), config]);
    let call = world.start_charging(b);
    world.run(6_000);
    assert!(world.heard(b, call).unwrap().1.contains("\"310\""));
    assert_eq!(world.phases(b), [SessionPhase::InDoubt]);
    (world, a, b)
}

/// The operator's backend says that the charging of a session began.
fn notify(world: &mut World, node: usize) {
    let id = world.session(node).session;
    let notification = format!(
        r#"{{"Type":"Start","SessionID":"{id}","EvseID":"CH*ABC*E1","OperatorID":"CH*ABC","ChargingStart":"2027-01-15T08:00:00Z"}}"#
    );
    world.charge(node, SessionOperation::Notification, &notification);
}

fn last_asked(world: &World, node: usize) -> SessionOperation {
    world.nodes[node].charging.calls.last().unwrap().1
}

#[test]
fn a_notification_that_comes_before_the_late_answer_is_a_late_start_too() {
    let (mut world, a, b) = in_doubt(LateStart::Stop);
    notify(&mut world, a);
    world.run(5_000);
    assert_eq!(world.phases(b), [SessionPhase::Active]);
    assert_eq!(last_asked(&world, a), SessionOperation::RemoteStop);
}

#[test]
fn a_backend_that_misses_the_notification_hears_of_the_late_start_again() {
    let (mut world, a, b) = in_doubt(LateStart::Auto);
    notify(&mut world, a);
    world.run(500);
    assert_eq!(last_asked(&world, b), SessionOperation::Notification);
    world.backend(b, BackendAnswer::Silent("off".into()));
    world.run(5_000);
    world.backend_says(b, YES);
    world.run(60_000);
    assert_eq!(world.nodes[b].charging.called, 2);
    assert!(!world.session(b).to_tell_backend);
}

#[test]
fn a_notification_answers_the_retry_that_waits() {
    let (mut world, a, b) = in_doubt(LateStart::Auto);
    let retry = world.start_charging(b);
    world.run(200);
    assert!(world.heard(b, retry).is_none());
    notify(&mut world, a);
    world.run(500);
    assert!(world.heard(b, retry).unwrap().1.contains("\"000\""));
}

#[test]
fn a_late_start_is_stopped_once_however_often_that_is_said() {
    let (mut world, a, b) = in_doubt(LateStart::Stop);
    world.backend_says(a, YES);
    world.run(4_000);
    assert_eq!((last_asked(&world, a), world.nodes[a].charging.called), (SessionOperation::RemoteStop, 2));
    // The answer is lost with the connection, and the stop said again.
    world.disconnect(a, b);
    world.run(1_000);
    world.connect(a, b);
    world.run(10_000);
    assert_eq!(world.nodes[a].charging.called, 2);
    assert!(!world.session(b).to_tell_backend);
}

#[test]
fn a_late_start_is_stopped_when_the_backend_is_there_again() {
    let (mut world, a, b) = in_doubt(LateStart::Stop);
    world.backend_says(a, YES);
    world.run(4_000);
    world.backend(a, BackendAnswer::NotSent("refused".into()));
    world.run(5_000);
    assert_eq!(world.nodes[a].charging.called, 3);
    world.backend_says(a, YES);
    world.run(60_000);
    assert_eq!(world.nodes[a].charging.called, 3);
    assert!(!world.session(b).to_tell_backend);
}
