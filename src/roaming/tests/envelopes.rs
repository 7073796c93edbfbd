//! Envelopes in the wrong hands: resent, held back, sent to another node, without their signature, of another version.
//! Each test shows first that the bytes would work.

use super::agreements::{cpo, emp};
use super::charging::{YES, agreed, agreed_with, remote_start, remote_stop};
use super::*;
use crate::identity::{Envelope, MessageId};
use crate::protocol::{Question, SessionMessage, SessionOperation, SessionPhase, SessionRecord};
use crate::roaming::{ChargingConfig, Refusal};

impl World {
    /// The envelope that is under way to a node, as somebody on the way sees it.
    fn overheard(&self, to: usize) -> Bytes {
        let message = |delivery: &Delivery| match &delivery.event {
            Event::Ask { bytes, .. } if delivery.to == to => match Question::decode(bytes) {
                Ok(Question::Message(envelope)) => Some(envelope),
                _ => None,
            },
            _ => None,
        };
        self.queue.values().find_map(message).expect("an envelope is under way")
    }

    /// It does not arrive.
    fn withheld(&mut self, to: usize) -> Bytes {
        let envelope = self.overheard(to);
        let is_it = |delivery: &Delivery| matches!(&delivery.event, Event::Ask { bytes, .. } if *bytes == Question::Message(envelope.clone()).encode());
        self.queue.retain(|_, delivery| !is_it(delivery));
        envelope
    }

    fn resent(&mut self, to: usize, from: usize, envelope: &Bytes) {
        self.asked(to, from, &Question::Message(envelope.clone()));
        self.run(1_000);
    }

    /// Stops and starts a node, and lets it meet the others again.
    fn restarted(&mut self, node: usize) {
        self.kill(node);
        self.nodes[node].charging.calls_gone();
        self.run(1_000);
        self.start(node);
        self.connect_all();
        self.run(4_000);
    }

    /// The same, but its memory of sessions is lost.
    fn without_memory(&mut self, node: usize) {
        self.nodes[node].store.sessions.clear();
        self.restarted(node);
        self.nodes[node].store.sessions.clear();
    }

    fn called(&self, node: usize) -> usize {
        self.nodes[node].charging.called
    }

    fn refusals(&self, node: usize) -> Vec<&Refusal> {
        let reports = self.nodes[node].reports.iter();
        reports.filter_map(|r| if let Report::Refused { why, .. } = r { Some(why) } else { None }).collect()
    }
}

#[test]
fn a_start_that_is_resent_is_not_carried_out_again_not_even_after_a_restart() {
    let (mut world, a, b) = agreed();
    world.start_charging(b);
    let stolen = world.overheard(a);
    world.run(1_000);
    world.backend_says(a, YES);
    world.run(1_000);
    world.resent(a, b, &stolen);
    assert_eq!(world.called(a), 1);
    world.restarted(a);
    world.resent(a, b, &stolen);
    assert_eq!(world.called(a), 1, "after a restart");
    assert_eq!(world.phases(a), [SessionPhase::Active]);
    // The attack: who does not remember obeys.
    world.without_memory(a);
    world.resent(a, b, &stolen);
    assert_eq!(world.called(a), 2, "the bytes are good");
    // When nobody would remember it any more, its time is over.
    world.run(600_000);
    world.without_memory(a);
    world.resent(a, b, &stolen);
    assert_eq!(world.called(a), 2);
    assert!(matches!(world.refusals(a).last(), Some(Refusal::Time)), "{:?}", world.refusals(a));
}

#[test]
fn a_stop_that_is_resent_is_not_carried_out_again_not_even_after_a_restart() {
    let (mut world, a, b) = agreed();
    world.start_charging(b);
    world.run(1_000);
    world.backend_says(a, YES);
    world.run(1_000);
    world.charge(b, SessionOperation::RemoteStop, &remote_stop(&world.session(b).session));
    let stolen = world.overheard(a);
    world.run(1_000);
    world.backend_says(a, YES);
    world.run(1_000);
    assert_eq!(world.called(a), 2);
    world.resent(a, b, &stolen);
    world.restarted(a);
    world.resent(a, b, &stolen);
    assert_eq!(world.called(a), 2);
    // The attack: the session is known, that it was stopped is not.
    let session = world.session(a);
    let forgotten = SessionRecord { seen: Vec::new(), ..session };
    world.nodes[a].store.sessions.insert(forgotten.session.clone(), forgotten.encode());
    world.restarted(a);
    world.resent(a, b, &stolen);
    assert_eq!(world.called(a), 3, "the bytes are good");
}

#[test]
fn a_start_that_was_held_back_does_not_begin_after_it_was_said_that_it_never_came() {
    for attack in [false, true] {
        let config = ChargingConfig { remote_ms: 2_000, ..ChargingConfig::default() };
        let (mut world, a, b) = agreed_with([ChargingConfig::default(), config]);
        let call = world.start_charging(b);
        let held_back = world.withheld(a);
        world.run(10_000);
        assert!(world.heard(b, call).unwrap().1.contains("\"310\""));
        assert_eq!(world.phases(b), [SessionPhase::Refused], "it was asked, and is told that it never came");
        world.resent(a, b, &held_back);
        assert_eq!(world.called(a), 0);
        if attack {
            world.without_memory(a);
        } else {
            world.restarted(a);
        }
        world.resent(a, b, &held_back);
        assert_eq!(world.called(a), usize::from(attack), "remembered over a restart");
    }
}

/// A start as a node of the EMP signs it.
fn signed(world: &World, emp_node: usize, cpo_node: usize, number: u8) -> Bytes {
    let ours = world.nodes[emp_node].people[0].ours(&node_id(emp_node));
    let session = format!("7bca5b5d-0e5c-4b2f-9d1c-2f5a3a9c1e{number:02}");
    let body = remote_start("CH*ABC*E1").replacen('{', &format!("{{\"SessionID\":\"{session}\","), 1);
    let body = body.replace(
        r#""ProviderID":"CH*EMP""#,
        &format!(r#""ProviderID":"{}""#, world.nodes[emp_node].people[0].id),
    );
    let operation = SessionOperation::RemoteStart;
    let message = SessionMessage::Ask { session, operation, budget_ms: 60_000, oicp: body.into() };
    let created_unix_ms = world.now().unix_ms;
    let envelope = Envelope {
        id: MessageId([number; 16]),
        to: cpo().party(),
        node: node_id(cpo_node).as_bytes().to_vec(),
        reply_to: None,
        created_unix_ms,
        expires_unix_ms: created_unix_ms + 60_000,
        body: message.encode(),
    };
    envelope.issue(NETWORK, &ours.speaker, &ours.message_key).unwrap().into()
}

#[test]
fn what_one_node_of_a_party_carried_out_another_one_does_not() {
    let (mut world, a, b) = agreed();
    let second = world.add(&[cpo()]);
    world.connect_all();
    world.run(5_000);
    assert_eq!(world.decision(second, &emp(), crate::identity::Service::Authorization), Decision::Allowed);
    let for_first = signed(&world, b, a, 1);
    world.resent(a, b, &for_first);
    assert_eq!((world.called(a), world.called(second)), (1, 0));
    world.resent(second, b, &for_first);
    assert_eq!((world.called(a), world.called(second)), (1, 0));
    assert!(matches!(world.refusals(second).last(), Some(Refusal::Scope(_))));
    // The attack: it would have, the node's name is all that differs.
    let for_second = signed(&world, b, second, 1);
    world.resent(second, b, &for_second);
    assert_eq!(world.called(second), 1);
}

#[test]
fn an_envelope_is_its_senders_word_and_nobody_elses() {
    let (mut world, a, b) = agreed();
    let thief = world.add(&[Person::new("CH*BAD", 5).emp()]);
    world.connect_all();
    world.run(5_000);
    let stolen = signed(&world, b, a, 2);
    world.resent(a, thief, &stolen);
    assert!(matches!(world.refusals(a).last(), Some(Refusal::Scope(_))), "{:?}", world.refusals(a));
    assert_eq!(world.called(a), 0);
    world.resent(a, b, &stolen);
    assert_eq!(world.called(a), 1, "the bytes are good");
}

#[test]
fn no_signature_another_purpose_and_another_version_are_refused() {
    let (mut world, a, b) = agreed();
    let good = signed(&world, b, a, 3);
    let length = good.len();
    let changed = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = good.to_vec();
        change(&mut bytes);
        assert_ne!(bytes, good);
        Bytes::from(bytes)
    };
    let at = |text: &str| {
        let mut windows = good.windows(text.len());
        windows.position(|window| window == text.as_bytes()).unwrap()
    };
    let (version, purpose) = (at("cm-version") + "cm-version".len(), at("envelope"));
    let bad = [
        // The signature is 64 bytes behind a head of two (RFC 9052).
        ("no signature", changed(&|bytes| bytes.splice(length - 66.., [0x40]).for_each(drop))),
        ("a signature of zeros", changed(&|bytes| bytes[length - 64..].fill(0))),
        ("an older version", changed(&|bytes| bytes[version] = 0)),
        ("a later version", changed(&|bytes| bytes[version] = 2)),
        ("another purpose", changed(&|bytes| bytes[purpose..purpose + 8].copy_from_slice(b"rotation"))),
        ("no signing algorithm", changed(&|bytes| bytes[5] ^= 1)),
        ("nothing but the message", good.slice(version + 1..length - 66)),
        ("a message that was never wrapped", Bytes::from_static(b"\xa1aaf5")),
    ];
    for (what, bytes) in bad {
        let before = world.refusals(a).len();
        world.resent(a, b, &bytes);
        assert_eq!(world.called(a), 0, "{what}");
        assert_eq!(world.refusals(a).len(), before + 1, "{what}");
    }
    world.resent(a, b, &good);
    assert_eq!(world.called(a), 1, "the bytes are good");
}

#[test]
fn who_floods_has_its_own_places_and_nobody_elses() {
    let config = ChargingConfig { in_flight_per_partner_max: 3, ..ChargingConfig::default() };
    let (mut world, a, b) = agreed_with([config, ChargingConfig::default()]);
    let other = Person::new("CH*OTH", 3).emp();
    let c = world.add(std::slice::from_ref(&other));
    world.connect_all();
    world.run(5_000);
    let id = world.offer(a, &other, 365);
    world.run(3_000);
    world.settle(c, AgreementAct::Accept(id)).unwrap();
    world.run(3_000);
    // All of them are good: each would be carried out if it came alone.
    for number in 10..60 {
        let start = signed(&world, b, a, number);
        world.asked(a, b, &Question::Message(start));
    }
    world.run(1_000);
    assert_eq!(world.called(a), 3);
    let start = signed(&world, c, a, 60);
    world.resent(a, c, &start);
    assert_eq!(world.called(a), 4, "the other one is served as before");
    // When its own are answered, it has places again.
    (0..4).for_each(|_| world.backend_says(a, YES));
    let start = signed(&world, b, a, 61);
    world.resent(a, b, &start);
    assert_eq!(world.called(a), 5);
}
