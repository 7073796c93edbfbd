//! Backends that gave up before they heard that their start succeeded, and nodes that died before they could say it.

use super::*;
use crate::oicp::charging::SessionId;

impl World {
    pub(in crate::roaming::tests) fn told_of_charging(&mut self, node: usize, action: Action) {
        let asked = &mut self.nodes[node];
        let input = match action {
            Action::FindCdrs { session, subject } => {
                let found = Some(Box::new(asked.store.cdrs_of(session.as_str())));
                let facts = subject.map(|subject| asked.store.cdr_facts(&subject));
                Input::CdrsFound { session, found: found.filter(|_| !asked.charging.disk_is_away), facts }
            }
            Action::ReplyStarted { session, answers, .. } => {
                let heard = !asked.charging.impatient;
                for (call, answer) in answers.into_iter().filter(|_| heard) {
                    asked.charging.told(Action::ReplyOicp { call, answer });
                }
                Input::StartTold { session, heard }
            }
            other => return asked.charging.told(other),
        };
        self.deliver(node, None, 1, Event::Input(input));
    }

    /// What a node's backend is being told of a session that it did not ask for just now.
    fn notices(&self, node: usize) -> Vec<&str> {
        let calls = self.nodes[node].charging.calls.iter();
        calls
            .filter(|(_, operation, _)| *operation == SessionOperation::Notification)
            .map(|(.., body)| body.as_str())
            .collect()
    }

    /// What a node's backend is being asked.
    fn backend_is_asked(&self, node: usize) -> Vec<SessionOperation> {
        self.nodes[node].charging.calls.iter().map(|(_, operation, _)| *operation).collect()
    }

    fn comes_back(&mut self, node: usize) {
        self.kill(node);
        self.nodes[node].charging.calls_gone();
        self.start(node);
        self.connect_all();
        self.run(10_000);
    }
}

/// Two nodes whose parties have agreed; the EMP's stops what starts late.
fn late_ones_are_stopped() -> (World, usize, usize) {
    let config = ChargingConfig { late_start: LateStart::Stop, ..ChargingConfig::default() };
    agreed_with([ChargingConfig::default(), config])
}

#[test]
fn a_backend_that_gave_up_before_the_answer_is_told_as_of_a_late_start() {
    let (mut world, a, b) = agreed();
    world.nodes[b].charging.impatient = true;
    let call = world.start_charging(b);
    world.run(1_000);
    world.backend_says(a, YES);
    world.run(1_000);
    assert!(world.heard(b, call).is_none());
    let id = world.session(b).session;
    let [notice] = world.notices(b)[..] else { panic!("{:?}", world.nodes[b].charging.calls) };
    assert!(notice.contains(&id) && notice.contains("Start"), "{notice}");
    // It does not answer; it is told again, also after a crash, until it does.
    world.comes_back(b);
    assert_eq!(world.notices(b).len(), 1);
    world.backend_says(b, YES);
    world.comes_back(b);
    assert_eq!((world.notices(b).len(), world.phases(b)), (0, vec![SessionPhase::Active]));
    assert_eq!(world.nodes[a].charging.called, 1, "the station was asked once");
}

#[test]
fn a_retry_of_a_backend_that_gave_up_hears_of_the_first_start() {
    let (mut world, a, b) = agreed();
    world.nodes[b].charging.impatient = true;
    world.start_charging(b);
    world.run(1_000);
    world.backend_says(a, YES);
    world.run(1_000);
    world.nodes[b].charging.impatient = false;
    let retry = world.start_charging(b);
    let id = world.session(b).session;
    assert!(world.heard(b, retry).unwrap().1.contains(&id), "{:?}", world.heard(b, retry));
    world.run(1_000);
    world.comes_back(b);
    assert_eq!((world.notices(b).len(), world.phases(b).len()), (0, 1));
    assert_eq!(world.nodes[a].charging.called, 1);
}

#[test]
fn what_nobody_heard_of_is_stopped_where_late_starts_are() {
    for impatient in [false, true] {
        let (mut world, a, b) = late_ones_are_stopped();
        world.nodes[b].charging.impatient = impatient;
        world.start_charging(b);
        world.run(1_000);
        world.backend_says(a, YES);
        world.run(10_000);
        assert_eq!(
            world.backend_is_asked(a),
            if impatient { vec![SessionOperation::RemoteStop] } else { vec![] }
        );
        world.comes_back(b);
        assert_eq!(world.nodes[a].charging.called, 1 + usize::from(impatient), "{impatient}");
    }
}

#[test]
fn a_node_that_dies_before_it_answers_tells_its_backend_afterwards() {
    let (mut world, a, b) = agreed();
    world.start_charging(b);
    world.run(1_000);
    // It commits that it runs, and dies before it hears that its backend heard.
    world.backend_says(a, YES);
    while world.phases(b) != [SessionPhase::Active] {
        world.run(1);
    }
    world.comes_back(b);
    let id = world.session(b).session;
    let [notice] = world.notices(b)[..] else { panic!("{:?}", world.nodes[b].charging.calls) };
    assert!(notice.contains(&id), "{notice}");
    world.backend_says(b, YES);
    world.comes_back(b);
    assert_eq!(world.notices(b).len(), 0);
    // One that heard is not told again.
    let (mut world, a, b) = agreed();
    world.start_charging(b);
    world.run(1_000);
    world.backend_says(a, YES);
    world.run(1_000);
    world.comes_back(b);
    assert_eq!((world.notices(b).len(), world.nodes[a].charging.called), (0, 1));
}

/// Whether the backend heard in the last moment nobody knows: what may be unheard does not charge on.
#[test]
fn a_node_that_dies_before_it_answers_stops_the_start_where_late_ones_are() {
    let (mut world, a, b) = late_ones_are_stopped();
    world.start_charging(b);
    world.run(1_000);
    world.backend_says(a, YES);
    while world.phases(b) != [SessionPhase::Active] {
        world.run(1);
    }
    world.comes_back(b);
    assert_eq!(world.backend_is_asked(a), [SessionOperation::RemoteStop]);
    // It is stopped once.
    world.backend_says(a, YES);
    world.run(1_000);
    world.comes_back(b);
    assert_eq!(world.nodes[a].charging.called, 2);
}

#[test]
fn an_authorization_whose_backend_gave_up_is_given_back() {
    const AUTHORIZED: &str = r#"{"AuthorizationStatus":"Authorized","StatusCode":{"Code":"000"}}"#;
    for impatient in [false, true] {
        let (mut world, a, b) = agreed();
        world.nodes[a].charging.impatient = impatient;
        let call = world.charge(a, SessionOperation::AuthorizeStart, CARD);
        world.run(1_000);
        world.backend_says(b, AUTHORIZED);
        world.run(1_000);
        assert_eq!(world.heard(a, call).is_none(), impatient);
        let phase = if impatient { SessionPhase::Refused } else { SessionPhase::Active };
        assert_eq!((world.phases(a), world.phases(b)), (vec![phase], vec![phase]));
        world.comes_back(a);
        assert_eq!((world.phases(a), world.phases(b)), (vec![phase], vec![phase]));
        assert!(world.session(a).to_release.is_empty());
    }
}

#[test]
fn a_retry_that_gave_up_takes_nothing_from_a_backend_that_heard() {
    let (mut world, a, b) = late_ones_are_stopped();
    world.start_charging(b);
    world.run(1_000);
    world.backend_says(a, YES);
    world.run(1_000);
    let session = SessionId::parse(&world.session(b).session).unwrap();
    world.handle(b, Input::StartTold { session, heard: false });
    world.run(10_000);
    assert_eq!((world.phases(b), world.nodes[a].charging.called), (vec![SessionPhase::Active], 1));
}
