//! Sessions that one side lost: made anew from the other's log as they were, taken once, and from no forged, stripped
//! or foreign evidence.

use super::super::people::everybody;
use super::super::*;
use super::cdr::cdr;
use super::{CARD, YES, agreed, remote_start, remote_stop};
use crate::protocol::evidence::{
    EvidenceEntry, EvidenceParts, LogTail, LoggedSession, SaltedMessage, content_hash, leaf_hash,
};
use crate::protocol::{
    AskOutcome, CdrState, Direction, SessionMessage, SessionOperation, SessionPhase, SessionRecord,
};
use crate::roaming::change::CdrsOfSession;
use crate::roaming::{FoundAgain, LostFor, LostSession, NotRebuilt, OwnHand, rebuilt};

const AUTHORIZED: &str = r#"{"AuthorizationStatus":"Authorized","StatusCode":{"Code":"000"},"EMPPartnerSessionID":"theirs","AuthorizationStopIdentifications":[{"RFIDMifareFamilyIdentification":{"UID":"AAAA1111"}}]}"#;
const NO: &str = r#"{"Result":false,"StatusCode":{"Code":"501"}}"#;
const SESSION: &str = "b2688855-7f00-4002-6d8e-48d883f6abb6";

impl World {
    fn hand(&self, node: usize) -> OwnHand {
        let own = self.nodes[node].people[0].ours(&node_id(node));
        OwnHand { party: own.party, org_key: *own.speaker.org_key(), slot: own.speaker.slot() }
    }

    /// What the log of `keeper` proves to `loser`.
    fn proven(&self, loser: usize, keeper: usize, logged: LoggedSession) -> Result<LostSession, NotRebuilt> {
        let session = logged.session.clone();
        let file = self.core(keeper).evidence_for_partner(logged, self.now()).unwrap();
        let partner = self.nodes[keeper].people[0].party();
        rebuilt(&file, &everybody(), &session, &self.hand(loser), &partner)
    }

    /// A session of this operation that runs.
    fn began(&mut self, (a, b): (usize, usize), operation: SessionOperation) -> String {
        let (asker, asked, said) = match operation {
            SessionOperation::AuthorizeStart => (a, b, AUTHORIZED),
            _ => (b, a, YES),
        };
        let body = match operation {
            SessionOperation::AuthorizeStart => CARD.to_owned(),
            SessionOperation::ReservationStart => {
                remote_start("CH*ABC*E1").replacen('{', r#"{"Duration":15,"#, 1)
            }
            _ => remote_start("CH*ABC*E1"),
        };
        self.charge(asker, operation, &body);
        self.run(1_000);
        self.backend_says(asked, said);
        self.run(1_000);
        let newest = self.core(asker).sessions().max_by_key(|record| record.opened_unix_ms);
        newest.unwrap().session.clone()
    }

    /// The node's database is one from before the session.
    fn loses(&mut self, node: usize, session: &str) {
        self.kill(node);
        self.nodes[node].store.sessions.remove(session).expect("it was there");
        self.nodes[node].store.cdrs.retain(|(of, ..), _| of != session);
        self.start(node);
        self.connect_all();
        self.run(5_000);
    }

    fn record(&self, node: usize, session: &str) -> Option<SessionRecord> {
        self.core(node).sessions().find(|record| record.session == session).cloned()
    }

    /// Gives a node what was proven, and what its storage holds.
    fn taken(&mut self, node: usize, lost: LostSession) -> Result<Vec<Digest>, String> {
        self.calls += 1;
        let call = CallId(self.calls);
        let stored = self.nodes[node].store.cdrs_of(&lost.record.session);
        let found = Ok(Box::new(FoundAgain { lost, stored }));
        self.handle(node, Input::LostSession { waits: LostFor::Call(call), found });
        self.nodes[node].charging.lost.remove(&call).expect("an answer")
    }
}

#[test]
fn a_session_of_every_operation_is_made_anew_at_both_sides_as_it_was() {
    for operation in SessionOperation::ALL.into_iter().filter(|operation| operation.begins()) {
        let (mut world, a, b) = agreed();
        for node in [a, b] {
            let anybody = Rule { whom: Whom::default(), services: BTreeSet::new(), allow: true };
            world.set_rules(node, vec![anybody]);
        }
        let id = world.began((a, b), operation);
        for (loser, keeper) in [(a, b), (b, a)] {
            let was = world.record(loser, &id).unwrap();
            let lost = world.proven(loser, keeper, world.nodes[keeper].store.logged(&id)).unwrap();
            let is = lost.record;
            assert_eq!(was.phase, SessionPhase::Active);
            assert!(is.opened_unix_ms.abs_diff(was.opened_unix_ms) < 1_000, "{operation:?}");
            assert!(is.changed_unix_ms.abs_diff(was.changed_unix_ms) < 2_000, "{operation:?}");
            assert!(is.ask_expires_unix_ms.abs_diff(was.ask_expires_unix_ms) < 2_000, "{operation:?}");
            // Who asks several about a card has no one ask.
            let ask = if was.asked_by_us && operation == SessionOperation::AuthorizeStart {
                was.ask
            } else {
                is.ask
            };
            let (opened_unix_ms, changed_unix_ms) = (was.opened_unix_ms, was.changed_unix_ms);
            let ask_expires_unix_ms = was.ask_expires_unix_ms;
            let is = SessionRecord { ask, opened_unix_ms, changed_unix_ms, ask_expires_unix_ms, ..is };
            assert!(is == was, "{operation:?} at {loser}: {:?} {:?}", is.encode(), was.encode());
            assert_eq!(lost.refused_cdrs, [[0; 32]; 0]);
        }
    }
}

#[test]
fn a_lost_session_goes_on_and_its_record_is_settled_at_both_sides() {
    for lose_emp in [true, false] {
        let (mut world, a, b) = agreed();
        let id = world.began((a, b), SessionOperation::RemoteStart);
        let (loser, keeper) = if lose_emp { (b, a) } else { (a, b) };
        world.loses(loser, &id);
        assert_eq!(world.record(loser, &id), None);
        let lost = world.proven(loser, keeper, world.nodes[keeper].store.logged(&id)).unwrap();
        assert_eq!(world.taken(loser, lost.clone()), Ok(Vec::new()));
        // Once more changes nothing.
        assert_eq!(world.taken(loser, lost), Ok(Vec::new()));
        // It is in the ledger.
        world.kill(loser);
        world.start(loser);
        world.connect_all();
        world.run(5_000);
        assert_eq!(world.record(loser, &id).unwrap().phase, SessionPhase::Active);
        world.charge(b, SessionOperation::RemoteStop, &remote_stop(&id));
        world.run(1_000);
        world.backend_says(a, YES);
        world.run(1_000);
        assert_eq!(world.brought(a, &cdr(&id, "7.50")), "000");
        world.run(2_000);
        world.backend_takes(b, super::cdr::yes());
        world.run(5_000);
        world.settled(a, b, CdrState::Accepted);
        for node in [a, b] {
            assert_eq!(world.record(node, &id).unwrap().phase, SessionPhase::Closed);
        }
    }
}

#[test]
fn a_record_that_was_refused_for_its_lost_session_is_sent_and_taken_again() {
    let (mut world, a, b) = agreed();
    let id = world.began((a, b), SessionOperation::RemoteStart);
    world.loses(b, &id);
    assert_eq!(world.brought(a, &cdr(&id, "7.50")), "000");
    world.run(5_000);
    assert_eq!(world.states(a), [(CdrState::Refused, false)]);
    let lost = world.proven(b, a, world.nodes[a].store.logged(&id)).unwrap();
    let hash = world.stored(a)[0].hash;
    assert_eq!(world.taken(b, lost), Ok(vec![hash]));
    let cdrs = world.stored(a);
    world.handle(a, Input::ResendCdrs { cdrs });
    world.run(2_000);
    world.backend_takes(b, super::cdr::yes());
    world.run(5_000);
    assert_eq!((world.states(a), world.states(b)), (vec![(CdrState::Accepted, false)], world.states(a)));
    assert_eq!(world.verdicts(a), [["refused", "received", "accepted"]]);
    assert_eq!(world.verdicts(b), [["received", "accepted"]]);
}

#[test]
fn what_this_node_decided_itself_is_not_undone_and_what_stands_in_its_place_is() {
    let (mut world, a, b) = agreed();
    let id = world.began((a, b), SessionOperation::RemoteStart);
    let lost = world.proven(b, a, world.nodes[a].store.logged(&id)).unwrap();
    world.loses(b, &id);
    // The operator's backend speaks of the session that is unknown: it must not begin any more.
    let notice = format!(
        r#"{{"Type":"Start","SessionID":"{id}","OperatorID":"CH*ABC","EvseID":"CH*ABC*E1","ChargingStart":"2027-01-15T07:00:00Z"}}"#
    );
    world.charge(a, SessionOperation::Notification, &notice);
    world.run(2_000);
    assert_eq!(world.record(b, &id).unwrap().phase, SessionPhase::Refused);
    assert_eq!(world.taken(b, lost.clone()), Ok(Vec::new()));
    assert_eq!(world.record(b, &id).unwrap().phase, SessionPhase::Active);

    let (mut world, a, b) = agreed();
    let record = {
        world.start_charging(b);
        world.run(1_000);
        world.backend_says(a, NO);
        world.run(1_000);
        world.session(b)
    };
    assert_eq!(record.phase, SessionPhase::Refused);
    let active = SessionRecord { phase: SessionPhase::Active, ..record.clone() };
    let refused = world.taken(b, LostSession { record: active, refused_cdrs: Vec::new() });
    assert_eq!(refused, Err("it is known here, as refused".to_owned()));
    assert_eq!(world.session(b), record);
    let other = crate::identity::PartyId::parse("CPO:CHOTH").unwrap();
    let foreign = SessionRecord { partner: Some(other), ..record.clone() };
    assert!(world.taken(b, LostSession { record: foreign, refused_cdrs: Vec::new() }).is_err());
    let nobody = crate::identity::PartyId::parse("EMP:CHNOB").unwrap();
    let session = SESSION.to_owned();
    let not_ours = LostSession {
        record: SessionRecord { ours: nobody, session, ..record.clone() },
        refused_cdrs: Vec::new(),
    };
    assert!(world.taken(b, not_ours).unwrap_err().contains("no party of this node"));
    world.handle(b, Input::LostSession { waits: LostFor::Call(CallId(999)), found: Err("forged".into()) });
    assert_eq!(world.nodes[b].charging.lost.remove(&CallId(999)), Some(Err("forged".to_owned())));
}

#[test]
fn a_session_whose_record_is_still_here_is_closed() {
    let (mut world, a, b) = agreed();
    let id = world.began((a, b), SessionOperation::RemoteStart);
    let lost = world.proven(b, a, world.nodes[a].store.logged(&id)).unwrap();
    assert_eq!(world.brought(a, &cdr(&id, "7.50")), "000");
    world.run(2_000);
    world.backend_takes(b, super::cdr::yes());
    world.run(5_000);
    let stored = CdrsOfSession { session: None, cdrs: world.stored(b) };
    world.kill(b);
    world.nodes[b].store.sessions.remove(&id);
    world.start(b);
    let found = Ok(Box::new(FoundAgain { lost, stored }));
    world.handle(b, Input::LostSession { waits: LostFor::Call(CallId(999)), found });
    assert_eq!(world.record(b, &id).unwrap().phase, SessionPhase::Closed);
}

/// A message of a played log.
struct Line {
    by_cpo: bool,
    id: u8,
    reply_to: Option<u8>,
    message: SessionMessage,
}

fn asks(by_cpo: bool, id: u8, operation: SessionOperation, oicp: &str) -> Line {
    let oicp = Bytes::copy_from_slice(oicp.as_bytes());
    let message = SessionMessage::Ask { session: SESSION.to_owned(), operation, budget_ms: 60_000, oicp };
    Line { by_cpo, id, reply_to: None, message }
}

fn says(by_cpo: bool, reply_to: u8, oicp: &str) -> Line {
    let outcome = AskOutcome::Answered(Bytes::copy_from_slice(oicp.as_bytes()));
    let message = SessionMessage::Outcome { session: SESSION.to_owned(), outcome };
    Line { by_cpo, id: reply_to + 100, reply_to: Some(reply_to), message }
}

/// The log of the CPO's node (or of the EMP's) with these messages, as whoever keeps it can make it.
fn log(of_cpo: bool, nodes: (usize, usize), people: [&Person; 2], lines: &[Line], now: Now) -> LoggedSession {
    let players = [(people[0], nodes.0), (people[1], nodes.1)];
    let own = players.map(|(person, node)| person.ours(&node_id(node)));
    let mut tail = LogTail::default();
    let mut parts = EvidenceParts {
        chains: own.iter().map(|own| own.chain.clone()).collect(),
        ..EvidenceParts::default()
    };
    for (place, line) in lines.iter().enumerate() {
        let (from, to) = if line.by_cpo { (0, 1) } else { (1, 0) };
        let at_unix_ms = now.unix_ms + place as u64;
        let envelope = crate::identity::Envelope {
            id: MessageId([line.id; 16]),
            to: own[to].party.clone(),
            node: node_id(players[to].1).as_bytes().to_vec(),
            reply_to: line.reply_to.map(|id| MessageId([id; 16])),
            created_unix_ms: at_unix_ms,
            expires_unix_ms: at_unix_ms + 60_000,
            body: line.message.encode(),
        };
        let message: Bytes =
            envelope.issue(NETWORK, &own[from].speaker, &own[from].message_key).unwrap().into();
        let direction = if line.by_cpo == of_cpo { Direction::Sent } else { Direction::Received };
        let salt = [place as u8; 16];
        let content_hash = content_hash(&salt, &message);
        let step = tail.append(leaf_hash(at_unix_ms, direction, SESSION, &content_hash));
        parts.entries.push(EvidenceEntry {
            number: step.number,
            at_unix_ms,
            direction,
            content_hash,
            content: Some(SaltedMessage { salt, message }),
            previous: step.previous,
            skipped: step.skipped,
        });
    }
    let party = own[usize::from(!of_cpo)].party.clone();
    LoggedSession { session: SESSION.to_owned(), party, head: tail.head(), parts }
}

#[test]
fn what_proves_no_session_is_refused_with_the_reason() {
    use SessionOperation::{AuthorizeStart, Notification, RemoteStart, RemoteStop};
    let (world, a, b) = agreed();
    let (cpo, emp) = (world.nodes[a].people[0].clone(), world.nodes[b].people[0].clone());
    let start = || asks(false, 1, RemoteStart, &remote_start("CH*ABC*E1"));
    let card = || asks(true, 1, AuthorizeStart, CARD);
    let notice = || asks(true, 5, Notification, "{}");
    let release = |by_cpo| Line {
        by_cpo,
        id: 9,
        reply_to: None,
        message: SessionMessage::Release { session: SESSION.to_owned() },
    };
    // Who lost it, the messages, and what comes of it.
    let table: Vec<(bool, Vec<Line>, Result<(), NotRebuilt>)> = vec![
        (false, vec![start(), says(true, 1, YES)], Ok(())),
        (true, vec![start(), says(true, 1, YES)], Ok(())),
        (false, vec![card(), says(false, 1, AUTHORIZED)], Ok(())),
        (true, vec![card(), says(false, 1, AUTHORIZED)], Ok(())),
        // The yes came to a question what became of it, which is in no log.
        (false, vec![start(), says(true, 77, YES)], Ok(())),
        // Nobody knew whether it runs, until its CPO spoke of it.
        (false, vec![start(), notice()], Ok(())),
        (true, vec![start(), notice()], Ok(())),
        // Nothing is left of its begin.
        (false, vec![says(true, 1, YES)], Err(NotRebuilt::NoStart)),
        (false, vec![notice()], Err(NotRebuilt::NoStart)),
        (false, vec![], Err(NotRebuilt::NoStart)),
        // It came to nothing.
        (false, vec![start()], Err(NotRebuilt::NeverRan)),
        (true, vec![start()], Err(NotRebuilt::NeverRan)),
        (false, vec![start(), says(true, 1, NO)], Err(NotRebuilt::NeverRan)),
        // The one who asks cannot say yes in the place of the one who is asked.
        (true, vec![start(), says(false, 1, YES)], Err(NotRebuilt::NeverRan)),
        (false, vec![card(), says(true, 1, AUTHORIZED)], Err(NotRebuilt::NeverRan)),
        // Of a card only the EMP's yes to this very question counts, whatever the CPO tells of the station.
        (false, vec![card(), notice()], Err(NotRebuilt::NeverRan)),
        (false, vec![card(), says(false, 33, AUTHORIZED)], Err(NotRebuilt::NeverRan)),
        // A yes to a stop is none to the start.
        (
            false,
            vec![start(), asks(false, 2, RemoteStop, &remote_stop(SESSION)), says(true, 2, YES)],
            Err(NotRebuilt::NeverRan),
        ),
        // A start in the name of the other side.
        (false, vec![asks(true, 1, RemoteStart, &remote_start("CH*ABC*E1"))], Err(NotRebuilt::Unreadable)),
        (true, vec![asks(false, 1, AuthorizeStart, CARD)], Err(NotRebuilt::Unreadable)),
        (false, vec![asks(false, 1, RemoteStart, "{}"), says(true, 1, YES)], Err(NotRebuilt::Unreadable)),
        (false, vec![card(), says(false, 1, AUTHORIZED), release(true)], Err(NotRebuilt::Released)),
    ];
    for (place, (lost_by_cpo, lines, expected)) in table.into_iter().enumerate() {
        let (loser, keeper) = if lost_by_cpo { (a, b) } else { (b, a) };
        let logged = log(!lost_by_cpo, (a, b), [&cpo, &emp], &lines, world.now());
        let found = world.proven(loser, keeper, logged).map(drop);
        assert_eq!(found, expected, "line {place} of the table");
    }
}

#[test]
fn forged_stripped_and_foreign_evidence_is_refused() {
    let (world, a, b) = agreed();
    let (cpo, emp) = (world.nodes[a].people[0].clone(), world.nodes[b].people[0].clone());
    let lines = || {
        let start = asks(false, 1, SessionOperation::RemoteStart, &remote_start("CH*ABC*E1"));
        [start, says(true, 1, YES)]
    };
    let logged = || log(true, (a, b), [&cpo, &emp], &lines(), world.now());
    let (trust, hand) = (everybody(), world.hand(b));
    let file = world.core(a).evidence_for_partner(logged(), world.now()).unwrap();
    let found = |file: &[u8], session: &str, own: &OwnHand, partner: &PartyId| {
        rebuilt(file, &trust, session, own, partner).map(drop)
    };
    assert_eq!(found(&file, SESSION, &hand, &cpo.party()), Ok(()));
    // Any bit, any end.
    for bit in (0..file.len() * 8).step_by(61) {
        let mut forged = file.to_vec();
        forged[bit / 8] ^= 1 << (bit % 8);
        assert!(found(&forged, SESSION, &hand, &cpo.party()).is_err(), "bit {bit}");
    }
    for length in (0..file.len()).step_by(17) {
        assert!(found(&file[..length], SESSION, &hand, &cpo.party()).is_err(), "{length} bytes");
    }
    // Of something else, or somebody else.
    let other = "7bca5b5d-0e5c-4b2f-9d1c-2f5a3a9c1e11";
    assert_eq!(found(&file, other, &hand, &cpo.party()), Err(NotRebuilt::Foreign));
    let third = Person::new("CH*XYZ", 7);
    assert_eq!(found(&file, SESSION, &hand, &third.party()), Err(NotRebuilt::Foreign));
    let third = Person::new("CH*THI", 8).emp();
    let of_third = third.ours(&node_id(5));
    let theirs = OwnHand { party: third.party(), org_key: *of_third.speaker.org_key(), slot: 0 };
    assert_eq!(found(&file, SESSION, &theirs, &cpo.party()), Err(NotRebuilt::Foreign));
    // Somebody who goes by our name with a key of its own, whoever vouches for it.
    let impostor = Person { number: 9, ..emp.clone() };
    let forged = log(true, (a, b), [&cpo, &impostor], &lines(), world.now());
    let refused = world.proven(b, a, forged);
    assert!(matches!(&refused, Err(NotRebuilt::Fault(_))), "{refused:?}");
    // Our own party's other node.
    let other_node = OwnHand { slot: 3, ..hand.clone() };
    let expected = NotRebuilt::OtherNode { party: emp.party(), slot: 0 };
    assert_eq!(found(&file, SESSION, &other_node, &cpo.party()), Err(expected));
    // Without what decides: the keeper may leave out what it likes, and seal that.
    let mut stripped = logged();
    stripped.parts.entries[0].content = None;
    assert_eq!(world.proven(b, a, stripped).map(drop), Err(NotRebuilt::NoStart));
    // A PIN is in no log: our yes says enough, and nobody else's does.
    let card = asks(true, 1, SessionOperation::AuthorizeStart, CARD);
    let mut with_pin = log(true, (a, b), [&cpo, &emp], &[card, says(false, 1, AUTHORIZED)], world.now());
    with_pin.parts.entries[0].content = None;
    let record = world.proven(b, a, with_pin).unwrap().record;
    assert_eq!((record.operation, record.ask), (SessionOperation::AuthorizeStart, MessageId([1; 16])));
    assert_eq!((record.evse, record.medium, record.asked_by_us), (None, None, false));
    assert!(record.answer.is_some());
    let card = asks(true, 1, SessionOperation::AuthorizeStart, CARD);
    let mut of_emp = log(false, (a, b), [&cpo, &emp], &[card, says(false, 1, AUTHORIZED)], world.now());
    of_emp.parts.entries[0].content = None;
    assert_eq!(world.proven(a, b, of_emp).map(drop), Err(NotRebuilt::NoStart));
    let mut stripped = logged();
    stripped.parts.entries[1].content = None;
    assert_eq!(world.proven(b, a, stripped).map(drop), Err(NotRebuilt::NeverRan));
}

#[test]
fn a_talk_of_days_is_handed_out_within_its_bounds() {
    let (world, a, b) = agreed();
    let (cpo, emp) = (world.nodes[a].people[0].clone(), world.nodes[b].people[0].clone());
    let long = format!(r#"{{"x":"{}"}}"#, "y".repeat(30_000));
    let talk = |notices: usize, notice: &str| {
        let start = asks(false, 1, SessionOperation::RemoteStart, &remote_start("CH*ABC*E1"));
        let notices = (0..notices).map(|_| asks(true, 9, SessionOperation::Notification, notice));
        let lines: Vec<Line> = [start, says(true, 1, YES)].into_iter().chain(notices).collect();
        log(true, (a, b), [&cpo, &emp], &lines, world.now())
    };
    for logged in [talk(600, "{}"), talk(20, &long)] {
        let lost = world.proven(b, a, logged).unwrap();
        assert!(lost.record.seen.len() <= 64 && lost.record.answer.is_some());
    }
    // A keeper that hands out more than it should makes nobody check without end.
    let file = world.core(a).evidence_file(talk(300, "{}"), world.now()).unwrap();
    let refused = rebuilt(&file, &everybody(), SESSION, &world.hand(b), &cpo.party()).map(drop);
    assert_eq!(refused, Err(NotRebuilt::TooMany));
    let too_large = talk(2_000, "{}");
    let refused = world.core(a).evidence_for_partner(too_large, world.now()).unwrap_err();
    assert!(refused.to_string().contains("too large"), "{refused}");
}
