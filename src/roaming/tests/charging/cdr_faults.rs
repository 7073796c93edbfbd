//! Charge detail records that are lost on the way, come twice, are forged, or of which a crash hides something.

use super::super::agreements::cpo;
use super::super::*;
use super::cdr::{STRANGER, cdr, signed, yes};
use super::{agreed, agreed_with};
use crate::identity::{Chain, MessageId, Receipt, ReceiptVerdict};
use crate::protocol::{CdrState, SessionMessage, SessionPhase};
use crate::roaming::{CdrArrival, ChargingConfig};

#[test]
fn another_record_of_the_session_is_refused_by_the_emps_node_with_its_word() {
    let (mut world, a, b) = agreed();
    let id = world.running(a, b);
    world.brought(a, &cdr(&id, "10.1"));
    world.run(1_000);
    world.backend_takes(b, yes());
    world.run(1_000);
    // The CPO's node was restored from a backup and knows nothing of it.
    world.nodes[a].store.cdrs.clear();
    let session = world.nodes[a].store.sessions.get(&id).unwrap().clone();
    let mut record = crate::protocol::SessionRecord::decode(&id, &session).unwrap();
    record.phase = SessionPhase::Active;
    world.nodes[a].store.sessions.insert(id.clone(), record.encode());
    world.kill(a);
    world.start(a);
    world.connect_all();
    world.run(5_000);
    assert_eq!(world.brought(a, &cdr(&id, "99.9")), "000");
    world.run(5_000);
    assert_eq!(world.states(a), [(CdrState::Refused, false)]);
    assert_eq!(world.stored(b).len(), 1);
    let receipt = Receipt::read_stored(&world.stored(a)[0].record.receipts[0]).unwrap();
    assert_eq!((receipt.verdict.as_str(), receipt.verdict.code()), ("refused", Some("400")));
    // The same record as before gets the same receipts again.
    world.nodes[a].store.cdrs.clear();
    world.nodes[a].store.sessions.insert(id.clone(), record.encode());
    world.kill(a);
    world.start(a);
    world.connect_all();
    world.run(5_000);
    assert_eq!(world.brought(a, &cdr(&id, "10.1")), "000");
    world.run(5_000);
    let receipts = |node: usize| world.stored(node)[0].record.receipts.clone();
    assert_eq!(receipts(a), receipts(b));
    assert_eq!(world.states(a), [(CdrState::Accepted, false)]);
    assert_eq!(world.nodes[b].charging.given_ever.len(), 1);
}

#[test]
fn a_record_of_a_session_that_the_emp_never_had_is_refused_with_its_word() {
    let (mut world, a, b) = agreed();
    let now = world.now().unix_ms;
    let (bytes, chain, hash) = signed(&cpo(), a, STRANGER, now, "10.1");
    let session = STRANGER.to_owned();
    world.message_to(b, &cpo(), a, SessionMessage::Cdr { session, signed: bytes, chain });
    world.run(1_000);
    assert!(world.stored(b).is_empty());
    let why = world.nodes[b].reports.iter().rev().find_map(|report| match report {
        Report::CdrNotTaken { session, why, .. } if session == STRANGER => Some(why.clone()),
        _ => None,
    });
    assert_eq!(why.as_deref(), Some("refused with 400"), "{hash:?}");
}

#[test]
fn a_forged_record_and_one_of_another_party_are_not_taken() {
    let (mut world, a, b) = agreed();
    let other = || Person::new("CH*OTH", 3);
    let c = world.add(&[other()]);
    world.connect_all();
    world.run(5_000);
    let id = world.running(a, b);
    let now = world.now().unix_ms;
    let (good, chain, _) = signed(&cpo(), a, &id, now, "10.1");
    let mut flipped = good.to_vec();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    let (others, others_chain, _) = signed(&other(), c, &id, now, "10.1");
    let message = |signed: Bytes, chain: &Chain| SessionMessage::Cdr {
        session: id.clone(),
        signed,
        chain: chain.clone(),
    };
    // Altered on the way; signed by somebody else than it is from; a chain that is not the signer's.
    world.message_to(b, &cpo(), a, message(flipped.into(), &chain));
    world.message_to(b, &cpo(), a, message(others.clone(), &others_chain));
    world.message_to(b, &cpo(), a, message(good.clone(), &others_chain));
    // Another CPO brings a record of a session that is not its own, or hands on somebody else's.
    world.message_to(b, &other(), c, message(others, &others_chain));
    world.message_to(b, &other(), c, message(good.clone(), &chain));
    world.run(2_000);
    assert!(world.stored(b).is_empty(), "{:?}", world.stored(b));
    assert_eq!(world.phases(b), [SessionPhase::Active]);
    world.message_to(b, &cpo(), a, message(good, &chain));
    world.run(1_000);
    assert_eq!(world.stored(b).len(), 1, "the real one is");
}

#[test]
fn answers_that_are_lost_change_nothing() {
    for cut in 0..40 {
        let (mut world, a, b) = agreed();
        let id = world.running(a, b);
        world.brought(a, &cdr(&id, "10.1"));
        // Somewhere between the sending and the last receipt the link is cut.
        world.run(cut * 4);
        world.disconnect(a, b);
        world.run(3_000);
        if !world.nodes[b].charging.given.is_empty() {
            world.backend_takes(b, yes());
        }
        world.run(3_000);
        world.connect_all();
        world.run(5_000);
        if !world.nodes[b].charging.given.is_empty() {
            world.backend_takes(b, yes());
        }
        world.run(5_000);
        world.settled(a, b, CdrState::Accepted);
        assert_eq!(world.stored(b).len(), 1, "{cut}");
    }
}

#[test]
fn a_crash_of_either_side_loses_and_doubles_nothing() {
    for cut in 0..30 {
        for crashed in [0, 1] {
            let (mut world, a, b) = agreed();
            let id = world.running(a, b);
            let call = world.bring(a, &cdr(&id, "10.1"), None);
            assert_eq!(world.said(a, call), "000");
            world.run(cut * 6);
            if cut % 3 == 0 && !world.nodes[b].charging.given.is_empty() {
                world.backend_takes(b, yes());
                world.run(cut);
            }
            world.kill([a, b][crashed]);
            world.run(2_000);
            if crashed == 1 {
                // What it asked its backend is answered to nobody.
                world.nodes[b].charging.given.clear();
            }
            world.start([a, b][crashed]);
            world.connect_all();
            world.run(5_000);
            while !world.nodes[b].charging.given.is_empty() {
                world.backend_takes(b, yes());
                world.run(1_000);
            }
            world.run(5_000);
            world.settled(a, b, CdrState::Accepted);
            assert_eq!(world.stored(a).len(), 1, "{cut} {crashed}");
        }
    }
}

#[test]
fn two_weeks_away_and_a_renewed_delegation_later_everything_arrives() {
    let (mut world, a, b) = agreed();
    let ids: Vec<String> = (0..5).map(|_| world.running(a, b)).collect();
    world.kill(b);
    for id in &ids {
        assert_eq!(world.brought(a, &cdr(id, "10.1")), "000");
    }
    world.run(2 * 3_600_000);
    let overdue = |world: &World| {
        world.nodes[a].reports.iter().filter(|report| matches!(report, Report::CdrWaits { .. })).count()
    };
    assert_eq!(overdue(&world), 5, "each is told once");
    assert_eq!(world.core(a).open_cdrs().1, 5);
    // Delegations live for days: both sides have new ones when they meet again.
    for day in 1..=14 {
        world.kill(a);
        world.run(86_400_000);
        if day == 4 || day == 9 {
            world.nodes[a].people[0].epoch += 1;
            world.nodes[a].people[0].days = day + 6;
        }
        world.start(a);
        world.run(10_000);
    }
    world.nodes[b].people[0].epoch += 2;
    world.nodes[b].people[0].days = 20;
    world.start(b);
    world.connect_all();
    world.run(10_000);
    while !world.nodes[b].charging.given.is_empty() {
        world.backend_takes(b, yes());
        world.run(1_000);
    }
    world.run(5_000);
    world.settled(a, b, CdrState::Accepted);
    assert_eq!(world.stored(b).len(), 5);
}

#[test]
fn a_session_that_memory_forgot_is_looked_up() {
    let (mut world, a, b) = agreed();
    let id = world.running(a, b);
    world.brought(a, &cdr(&id, "10.1"));
    world.run(1_000);
    world.backend_takes(b, yes());
    world.run(1_000);
    world.asleep(&[a, b], 3);
    assert_eq!((world.phases(a), world.phases(b)), (vec![], vec![]), "forgotten");
    assert_eq!(world.brought(a, &cdr(&id, "10.1")), "000");
    assert_eq!(world.brought(a, &cdr(&id, "10.2")), "400");
    world.nodes[a].charging.disk_is_away = true;
    world.asleep(&[a, b], 1);
    assert_eq!(world.brought(a, &cdr(&id, "10.1")), "002", "who cannot look says so");
    world.settled(a, b, CdrState::Accepted);
}

#[test]
fn two_that_come_at_once_for_a_forgotten_session_are_one() {
    let config = || ChargingConfig { session_expiry_days: 10, ..ChargingConfig::default() };
    let (mut world, a, b) = agreed_with([config(), config()]);
    let id = world.running(a, b);
    // It expired, so that nobody holds it, and was never charged for.
    world.asleep(&[a, b], 11);
    world.asleep(&[a, b], 2);
    assert_eq!((world.phases(a), world.phases(b)), (vec![], vec![]));
    let calls = ["10.1", "10.1", "10.2"].map(|kwh| world.bring(a, &cdr(&id, kwh), None));
    let said = calls.map(|call| world.said(a, call));
    assert_eq!(said, ["000", "000", "400"]);
    assert_eq!(world.stored(a).len(), 1);
    world.run(5_000);
    world.backend_takes(b, yes());
    world.run(5_000);
    world.settled(a, b, CdrState::Accepted);
}

#[test]
fn a_partners_word_hides_no_session_that_memory_forgot() {
    for at_cpo in [true, false] {
        let config = || ChargingConfig { session_expiry_days: 10, ..ChargingConfig::default() };
        let (mut world, a, b) = agreed_with([config(), config()]);
        let id = world.running(a, b);
        world.asleep(&[a, b], 11);
        world.asleep(&[a, b], 2);
        let (node, sender) = if at_cpo { (a, b) } else { (b, a) };
        let of = world.nodes[sender].people[0].clone();
        let ask = MessageId([7; 16]);
        world.message_to(node, &of, sender, SessionMessage::Query { session: id.clone(), ask });
        assert_eq!(world.phases(node), [SessionPhase::Refused], "what stands for it");
        let call = world.bring(a, &cdr(&id, "10.1"), None);
        assert_eq!(world.said(a, call), "000");
        world.run(5_000);
        world.backend_takes(b, yes());
        world.run(5_000);
        world.settled(a, b, CdrState::Accepted);
    }
}

impl World {
    /// Takes away the next such event that is on its way to a node.
    pub(super) fn intercepted(&mut self, node: usize, wanted: impl Fn(&Event) -> bool) -> Event {
        for _ in 0..60_000 {
            let is_it = |delivery: &Delivery| delivery.to == node && wanted(&delivery.event);
            let at = self.queue.iter().find(|(_, delivery)| is_it(delivery)).map(|(at, _)| *at);
            if let Some(delivery) = at.and_then(|at| self.queue.remove(&at)) {
                return delivery.event;
            }
            self.run(1);
        }
        panic!("nothing of the kind came within a minute")
    }
}

#[test]
fn what_the_disk_refused_was_not_promised_and_comes_again() {
    let (mut world, a, b) = agreed();
    let id = world.running(a, b);
    // At the CPO: storage refuses what the record leads to, and nothing of it is done.
    let refused = |world: &mut World, node: usize, input: Input| {
        let now = world.now();
        drop(world.nodes[node].core.as_mut().unwrap().handle(input, now));
        world.recover(node);
    };
    let body = cdr(&id, "10.1");
    let read = crate::oicp::charging::ChargeDetailRecord::parse(body.as_bytes(), Reading::Strict).unwrap();
    let arrival = Box::new(CdrArrival::new(read, None, world.now().unix_ms));
    let party = Some(cpo().party());
    let (call, sent) = (CallId(77), Bytes::from(body.clone()));
    refused(&mut world, a, Input::Cdr { call, party, arrival, body: sent, replaces: None });
    world.run(3_000);
    assert!(world.stored(a).is_empty() && world.stored(b).is_empty());
    assert_eq!(world.phases(a), [SessionPhase::Active]);

    // At the EMP: it says nothing, and gets it again; when it comes, and when its session was looked up.
    assert_eq!(world.brought(a, &body), "000");
    let is_sent = |event: &Event| matches!(event, Event::Ask { bytes, .. } if bytes.len() > body.len());
    let Event::Ask { bytes, .. } = world.intercepted(b, is_sent) else { unreachable!() };
    refused(&mut world, b, Input::Asked { from: node_id(a), ask: AskId(u64::MAX), bytes });
    let is_found = |event: &Event| matches!(event, Event::Input(Input::CdrsFound { .. }));
    let Event::Input(found) = world.intercepted(b, is_found) else { unreachable!() };
    refused(&mut world, b, found);
    assert!(world.stored(b).is_empty());
    assert_eq!(world.phases(b), [SessionPhase::Active]);
    world.run(30_000);
    world.backend_takes(b, yes());
    world.run(3_000);
    world.settled(a, b, CdrState::Accepted);
}

#[test]
fn nobody_else_s_receipt_settles_a_record() {
    let (mut world, a, b) = agreed();
    let other = Person::new("CH*XYZ", 9).emp();
    let c = world.add(std::slice::from_ref(&other));
    world.connect_all();
    world.run(3_000);
    let offered = world.offer(a, &other, 365);
    world.run(3_000);
    world.settle(c, AgreementAct::Accept(offered)).unwrap();
    world.run(3_000);
    let id = world.running(a, b);
    assert_eq!(world.brought(a, &cdr(&id, "10.1")), "000");
    world.disconnect(a, b);
    let of_record = world.stored(a)[0].clone();
    let ours = other.ours(&node_id(c));
    let receipt = Receipt {
        session: id.clone(),
        cdr: of_record.hash,
        from: other.party(),
        to: cpo().party(),
        verdict: ReceiptVerdict::Accepted,
        at_unix_ms: world.now().unix_ms,
    };
    let receipt = receipt.issue(NETWORK, &ours.speaker, &ours.message_key).unwrap().into();
    let body = SessionMessage::Receipts { session: id, receipts: vec![receipt], chains: vec![ours.chain] };
    world.message_to(a, &other, c, body);
    world.run(1_000);
    assert_eq!(world.states(a), [(CdrState::Waiting, true)]);
    world.connect(a, b);
    world.run(30_000);
    world.backend_takes(b, yes());
    world.run(3_000);
    world.settled(a, b, CdrState::Accepted);
}
