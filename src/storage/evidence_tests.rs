//! The log in the ledger: a restart, a file about one session among many, and what deleting leaves.

use bytes::Bytes;

use super::testing::{memory, open, session_record, wait};
use super::*;
use crate::identity::{Chain, PartyId};
use crate::protocol::evidence::{
    Direction, EvidenceEntry, LogTail, SaltedMessage, content_hash, leaf_hash, skips_to,
};
use crate::protocol::{SessionPhase, SessionRecord};
use crate::roaming::change::{LedgerChange, NewEvidence, PersonalData};

fn party(text: &str) -> PartyId {
    PartyId::parse(text).unwrap()
}

/// A log of messages about sessions named by numbers, each logged at its number.
fn logged(sessions: &[u32]) -> Vec<LedgerChange> {
    let mut tail = LogTail::default();
    let log = sessions.iter().map(|session| {
        let (number, session) = (tail.head().number + 1, format!("session-{session}"));
        let message = Bytes::from(format!("message {number}"));
        let content_hash = content_hash(&[1; 16], &message);
        let place = tail.append(leaf_hash(number, Direction::Sent, &session, &content_hash));
        let entry = EvidenceEntry {
            number,
            at_unix_ms: number,
            direction: Direction::Sent,
            content_hash,
            content: Some(SaltedMessage { salt: [1; 16], message }),
            previous: place.previous,
            skipped: place.skipped,
        };
        LedgerChange::Evidence(Box::new(NewEvidence {
            entry,
            hash: place.hash(),
            session,
            ours: party("CPO:CHABC"),
            partner: party("EMP:DEEMP"),
            signer: [number as u8 % 2; 32],
            what: "says something".to_owned(),
        }))
    });
    let chain = |name: u8| LedgerChange::EvidenceChain {
        delegation: [name; 32],
        chain: Chain { credential: vec![name], delegation: vec![name, name] },
    };
    log.chain([chain(0), chain(1), chain(1)]).collect()
}

fn session(name: &str, is_over: bool, changed_unix_ms: u64) -> LedgerChange {
    let record = SessionRecord {
        phase: if is_over { SessionPhase::Closed } else { SessionPhase::Active },
        ..session_record(name, changed_unix_ms)
    };
    LedgerChange::Session {
        session: name.to_owned(),
        is_over,
        changed_unix_ms,
        record: record.encode(),
        account: None,
    }
}

fn media(reader: &Reader) -> Vec<bool> {
    let mut stored = wait(reader.sessions(0)).unwrap();
    stored.sort();
    let of = |(name, bytes): &(String, Bytes)| SessionRecord::decode(name, bytes).unwrap().medium.is_some();
    stored.iter().map(of).collect()
}

#[test]
fn the_log_goes_on_where_it_was_and_answers_for_one_session() {
    let mut opened = open(&memory());
    assert_eq!(wait(opened.reader.log_tail()).unwrap().head().number, 0);
    let sessions: Vec<u32> = (0..2_000).map(|number| number % 500).collect();
    let mut changes = logged(&sessions);
    opened.ledger.commit(&changes).unwrap();
    let mut tail = wait(opened.reader.log_tail()).unwrap();
    changes.truncate(2_000);
    let Some(LedgerChange::Evidence(last)) = changes.pop() else { panic!() };
    assert_eq!((tail.head().number, tail.head().hash), (2_000, last.hash));
    let next = tail.append([5; 32]);
    assert_eq!((next.previous, skips_to(2_001)), (last.hash, 2_000));

    let found = wait(opened.reader.logged("session-3".to_owned(), None)).unwrap().unwrap();
    let numbers: Vec<u64> = found.parts.entries.iter().map(|entry| entry.number).collect();
    assert_eq!(numbers, [4, 504, 1_004, 1_504]);
    assert_eq!((found.party, found.head.number), (party("CPO:CHABC"), 2_000));
    // Two ways for each entry, each as long as the logarithm of 2,000 at most.
    assert!(found.parts.steps.len() < 4 * 2 * 11, "{} steps", found.parts.steps.len());
    assert_eq!(found.parts.chains.len(), 1, "all of them were signed under one delegation");
    for entry in &found.parts.entries {
        let Some(LedgerChange::Evidence(new)) = changes.get(entry.number as usize - 1) else { panic!() };
        assert_eq!(*entry, new.entry);
    }
    assert!(wait(opened.reader.logged("session-none".to_owned(), None)).unwrap().is_none());
    let between = |partner| Some((party("CPO:CHABC"), party(partner)));
    let same = wait(opened.reader.logged("session-3".to_owned(), between("EMP:DEEMP"))).unwrap().unwrap();
    assert_eq!((&same.parts, same.head, same.party), (&found.parts, found.head, party("CPO:CHABC")));
    let other = wait(opened.reader.logged("session-3".to_owned(), between("EMP:DEXYZ"))).unwrap();
    assert!(other.is_none(), "what others said is told to nobody");

    let lines = wait(opened.reader.log_lines(Some("session-3".to_owned()), Some(1_504), 2)).unwrap();
    assert_eq!(lines.iter().map(|line| line.number).collect::<Vec<_>>(), [1_004, 504]);
    assert_eq!(wait(opened.reader.log_lines(None, None, 3)).unwrap()[0].number, 2_000);
}

#[test]
fn personal_data_of_one_session_is_deleted_and_its_hashes_stay() {
    let mut opened = open(&memory());
    opened.ledger.commit(&logged(&[1, 2, 1])).unwrap();
    let sessions = [session("session-1", true, 5), session("session-2", true, 5)];
    opened.ledger.commit(&sessions).unwrap();
    let before = wait(opened.reader.logged("session-1".to_owned(), None)).unwrap().unwrap().parts;
    let erase = PersonalData::Session("session-1".to_owned());
    opened.ledger.commit(&[LedgerChange::PersonalDataErased(erase)]).unwrap();
    let after = wait(opened.reader.logged("session-1".to_owned(), None)).unwrap().unwrap().parts;
    assert!(after.entries.iter().all(|entry| entry.content.is_none()));
    let without = |entry: &EvidenceEntry| EvidenceEntry { content: None, ..entry.clone() };
    assert_eq!(after.entries, before.entries.iter().map(without).collect::<Vec<_>>());
    assert_eq!(media(&opened.reader), [false, true]);
    let other = wait(opened.reader.logged("session-2".to_owned(), None)).unwrap().unwrap();
    assert!(other.parts.entries[0].content.is_some());
}

#[test]
fn what_is_old_goes_in_parts_and_sessions_that_go_on_keep_what_they_need() {
    let mut opened = open(&memory());
    let sessions: Vec<u32> = (0..5_000).map(|number| number % 3).collect();
    opened.ledger.commit(&logged(&sessions)).unwrap();
    let known = [
        session("session-0", true, 10),
        session("session-1", false, 10),
        session("session-2", true, 10),
        session("session-9", true, 4_900),
    ];
    opened.ledger.commit(&known).unwrap();
    let mut rounds = 0;
    while wait(opened.reader.has_personal_data(4_801)).unwrap() {
        rounds += 1;
        opened.ledger.commit(&[LedgerChange::PersonalDataErased(PersonalData::Before(4_801))]).unwrap();
    }
    assert_eq!(rounds, 2, "3,200 messages of sessions that are over, 2,000 at once");
    let erased = |number: &str| {
        let found = wait(opened.reader.logged(format!("session-{number}"), None)).unwrap().unwrap();
        found.parts.entries.iter().filter(|entry| entry.content.is_none()).count()
    };
    assert_eq!((erased("0"), erased("1"), erased("2")), (1_600, 0, 1_600));
    assert_eq!(media(&opened.reader), [false, true, false, true]);
}
