//! Messages about books are read as they were said, and nothing else is.

use super::*;

fn mark(number: u8, state: MarkState) -> CdrMark {
    CdrMark { session: format!("{number:036}"), hash: [number; 32], state }
}

fn session(number: usize, phase: SessionPhase) -> SessionMark {
    SessionMark { session: format!("{number:036}"), phase: Some(phase) }
}

#[test]
fn messages_are_read_as_they_were_said() {
    let day = |day| DayMark { day, records: 3, hash: [7; 32] };
    let statement =
        StatementMark { month: "2026-11".into(), digest: [9; 32], records: 2, energy: "7.3".into() };
    for message in [
        BooksMessage::AskDays { from: 20_000, days: 31 },
        BooksMessage::Days(vec![day(20_000), day(20_002)]),
        BooksMessage::AskDay { day: 20_000, after: 4 },
        BooksMessage::Day(vec![mark(1, MarkState::Good), mark(2, MarkState::Rejected)]),
        BooksMessage::Missing(vec![mark(1, MarkState::Rejected)]),
        BooksMessage::Resending(1),
        BooksMessage::Statement(statement),
        BooksMessage::AskSessionDays { from: 20_000, days: BOOKS_DAYS_MAX as u32 },
        BooksMessage::AskSessionDay { day: 20_000, after: 7 },
        BooksMessage::AskSessions(vec![format!("{:036}", 1), "2".into()]),
        BooksMessage::Sessions(
            SessionPhase::ALL.iter().enumerate().map(|(at, phase)| session(at, *phase)).collect(),
        ),
        BooksMessage::Sessions(vec![SessionMark { session: "3".into(), phase: None }]),
        BooksMessage::AskEvidence(format!("{:036}", 1)),
        BooksMessage::Evidence(Bytes::from_static(b"evidence")),
        BooksMessage::TakeEvidence { session: "1".into(), evidence: Bytes::from_static(b"evidence") },
        BooksMessage::Taken,
        BooksMessage::Refused("why".into()),
    ] {
        assert_eq!(BooksMessage::decode(&message.encode()).unwrap(), message);
    }
    let many = (0..BOOKS_MARKS_MAX).map(|number| mark((number % 250) as u8, MarkState::Good)).collect();
    let full = BooksMessage::Day(many).encode();
    assert!(full.len() < ENVELOPE_BODY_BYTES_MAX / 2, "{}", full.len());
    let many = (0..BOOKS_MARKS_MAX + 1).map(|number| session(number, SessionPhase::Active)).collect();
    let full = BooksMessage::Sessions(many).encode();
    assert!(full.len() < ENVELOPE_BODY_BYTES_MAX / 2, "{}", full.len());
    let BooksMessage::Sessions(read) = BooksMessage::decode(&full).unwrap() else { panic!() };
    assert_eq!(read.len(), BOOKS_MARKS_MAX);
    let evidence = vec![7; BOOKS_EVIDENCE_BYTES_MAX].into();
    let full = BooksMessage::TakeEvidence { session: "s".repeat(SESSION_ID_BYTES_MAX), evidence };
    assert!(full.encode().len() <= ENVELOPE_BODY_BYTES_MAX);
    assert_eq!(BooksMessage::decode(&full.encode()).unwrap(), full);
}

#[test]
fn what_no_node_says_is_refused() {
    let day = |day| DayMark { day, records: 3, hash: [7; 32] };
    let long = CdrMark { session: "s".repeat(37), ..mark(1, MarkState::Good) };
    for message in [
        BooksMessage::AskDays { from: 1, days: 0 },
        BooksMessage::AskDays { from: 1, days: BOOKS_DAYS_MAX as u32 + 1 },
        BooksMessage::Days(vec![day(2), day(2)]),
        BooksMessage::Day(vec![long]),
        BooksMessage::AskSessionDays { from: 1, days: 0 },
        BooksMessage::AskSessionDays { from: 1, days: BOOKS_DAYS_MAX as u32 + 1 },
        BooksMessage::AskSessions(vec!["s".repeat(37)]),
        BooksMessage::Sessions(vec![SessionMark { session: "s".repeat(37), phase: None }]),
        BooksMessage::AskEvidence("s".repeat(37)),
        BooksMessage::Evidence(vec![0; BOOKS_EVIDENCE_BYTES_MAX + 1].into()),
        BooksMessage::TakeEvidence { session: "s".repeat(37), evidence: Bytes::new() },
        BooksMessage::TakeEvidence {
            session: "s".into(),
            evidence: vec![0; BOOKS_EVIDENCE_BYTES_MAX + 1].into(),
        },
    ] {
        assert!(BooksMessage::decode(&message.encode()).is_err(), "{message:?}");
    }
    // What a later version says is refused, and nothing else of it is believed.
    let later = encode(&[("Z", "something")].into_iter().collect::<std::collections::BTreeMap<_, _>>());
    assert!(BooksMessage::decode(&later).is_err());
    let unknown = SessionWire("s".into(), SessionPhase::ALL.len() as u8 + 1);
    assert!(BooksMessage::decode(&encode(&BooksWire::Sessions(Limited(vec![unknown])))).is_err());
    let names = vec!["s".to_owned(); BOOKS_MISSING_MAX + 1];
    let too_many = encode(&[("N", names)].into_iter().collect::<std::collections::BTreeMap<_, _>>());
    assert!(BooksMessage::decode(&too_many).is_err());
    bolero::check!().for_each(|bytes: &[u8]| drop(BooksMessage::decode(bytes)));
}

#[test]
fn the_hash_of_a_day_knows_every_record_and_no_order() {
    let mut marks = [mark(1, MarkState::Good), mark(2, MarkState::Good)];
    let one = DayMark::of(5, &mut marks);
    marks.reverse();
    assert_eq!(DayMark::of(5, &mut marks), one);
    let mut rejected = [mark(1, MarkState::Good), mark(2, MarkState::Rejected)];
    assert_ne!(DayMark::of(5, &mut rejected).hash, one.hash);
    assert_ne!(DayMark::of(5, &mut rejected[..1]).hash, one.hash);
}

#[test]
fn the_hash_of_a_day_knows_what_ran_and_what_is_unclear() {
    let of = |phases: &[SessionPhase]| {
        let mut marks: Vec<SessionMark> =
            phases.iter().enumerate().map(|(at, phase)| session(at, *phase)).rev().collect();
        DayMark::of_sessions(5, &mut marks)
    };
    let (active, unclear) = (SessionPhase::Active, SessionPhase::InDoubt);
    let one = of(&[active, unclear]);
    assert_eq!((one.day, one.records), (5, 2));
    for same in [SessionPhase::Closed, SessionPhase::Expired] {
        assert_eq!(of(&[same, SessionPhase::Unconfirmed]), one);
    }
    for other in [&[active, active][..], &[unclear, active], &[active], &[active, SessionPhase::Refused]] {
        assert_ne!(of(other).hash, one.hash, "{other:?}");
    }
}
