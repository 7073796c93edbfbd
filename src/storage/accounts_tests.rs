//! Accounts by the end of their sessions, page by page, from their indices.

use super::*;
use crate::storage::testing::{memory, open};

const DAY_MS: u64 = 86_400_000;

fn cpo() -> PartyId {
    PartyId::parse("CPO:DEXYZ").unwrap()
}

fn emp() -> PartyId {
    PartyId::parse("EMP:DEABC").unwrap()
}

struct Put {
    session: u64,
    hash: u8,
    state: u8,
    ended_unix_ms: u64,
    replaces: Option<u8>,
    is_open: bool,
}

fn put(connection: &Connection, Put { session, hash, state, ended_unix_ms, replaces, is_open }: Put) {
    let sql = "INSERT INTO cdrs(session, hash, incoming, ours, partner, operator, is_open, state, stored_unix_ms,
        ended_unix_ms, replaces, signed, record) VALUES (?, ?, 0, ?, ?, 'DEXYZ', ?, ?, ?, ?, ?, x'01', x'02')";
    let values = params![
        format!("{session:036}"),
        [hash; 32],
        cpo().to_text(),
        emp().to_text(),
        is_open,
        state,
        Number(ended_unix_ms + 5),
        Number(ended_unix_ms),
        replaces.map(|hash| [hash; 32]),
    ];
    connection.prepare_cached(sql).unwrap().execute(values).unwrap();
}

fn row(session: u64, state: u8, ended_unix_ms: u64) -> Put {
    Put { session, hash: 1, state, ended_unix_ms, replaces: None, is_open: state == 1 }
}

fn account(from_unix_ms: u64, until_unix_ms: u64) -> Account {
    Account { ours: cpo(), partner: emp(), from_unix_ms, until_unix_ms }
}

#[test]
fn what_counts_is_read_page_by_page_and_once() {
    let opened = open(&memory());
    let connection = opened.ledger.connection.lock().unwrap();
    let many = ACCOUNT_PAGE_MAX * 2 + 1;
    // Some end in the same millisecond: a page may end between them.
    (0..many).for_each(|number| put(&connection, row(number, 3, 10 * DAY_MS + number / 7)));
    put(&connection, row(many, 3, 11 * DAY_MS));
    put(&connection, row(many + 1, 3, 10 * DAY_MS - 1));
    let account = account(10 * DAY_MS, 11 * DAY_MS);
    let (mut sessions, mut after, mut pages) = (Vec::new(), None, 0);
    loop {
        let (rows, next) = page(&connection, &account, after).unwrap();
        sessions.extend(rows.into_iter().map(|row| row.session));
        pages += 1;
        after = next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!((sessions.len() as u64, pages), (many, 3));
    sessions.sort();
    sessions.dedup();
    assert_eq!(sessions.len() as u64, many);
    assert_eq!(marks(&connection, &account, 10).unwrap().len(), 11);
    let other = Account { partner: PartyId::parse("EMP:DEABD").unwrap(), ..account };
    assert_eq!(page(&connection, &other, None).unwrap(), (Vec::new(), None));
}

#[test]
fn a_correction_counts_in_the_place_of_what_it_corrects() {
    let opened = open(&memory());
    let connection = opened.ledger.connection.lock().unwrap();
    for state in 1..=6 {
        put(&connection, row(state.into(), state, DAY_MS));
    }
    let correction = |session, state| Put { hash: 2, replaces: Some(1), ..row(session, state, DAY_MS) };
    put(&connection, correction(3, 2));
    put(&connection, correction(2, 5));
    let (rows, _) = page(&connection, &account(0, 2 * DAY_MS), None).unwrap();
    let mut counting: Vec<(u8, u8, bool)> =
        rows.iter().map(|row| (row.session[30..].parse().unwrap(), row.hash[0], row.is_rejected)).collect();
    counting.sort_unstable();
    assert_eq!(counting, [(2, 1, false), (3, 2, false), (4, 1, true), (6, 1, false)]);
    let marks = marks(&connection, &account(0, 2 * DAY_MS), 100).unwrap();
    let bad: Vec<MarkState> =
        marks.iter().map(|mark| mark.state).filter(|state| *state != MarkState::Good).collect();
    assert_eq!((marks.len(), bad.len()), (6, 1));
}

#[test]
fn what_needs_attention_is_told_until_it_is_corrected() {
    let opened = open(&memory());
    let connection = opened.ledger.connection.lock().unwrap();
    put(&connection, row(1, 1, 1_000));
    put(&connection, row(2, 1, 9_000));
    put(&connection, row(3, 4, 1_000));
    put(&connection, row(4, 5, 1_000));
    put(&connection, Put { hash: 2, replaces: Some(1), ..row(4, 3, 1_000) });
    let sessions = |rows: Vec<AttentionRow>| -> Vec<u64> {
        rows.iter().map(|row| row.session.parse().unwrap()).collect()
    };
    assert_eq!(sessions(waiting(&connection, 5_000).unwrap()), [1]);
    assert_eq!(sessions(denied(&connection, 0).unwrap()), [3]);
    assert_eq!(sessions(denied(&connection, 5_000).unwrap()), [0; 0]);
}

#[test]
fn every_question_is_answered_from_an_index() {
    let opened = open(&memory());
    let connection = opened.ledger.connection.lock().unwrap();
    let questions = [
        ("cdrs_by_end (ours=? AND partner=? AND ended_unix_ms>? AND ended_unix_ms<?)",
         "SELECT session FROM cdrs WHERE ours = 'a' AND partner = 'b' AND ended_unix_ms >= 1 AND ended_unix_ms < 2
          ORDER BY ended_unix_ms, number"),
        ("cdrs_open (stored_unix_ms<?)",
         "SELECT session FROM cdrs WHERE is_open = 1 AND state IN (1, 2) AND stored_unix_ms < 5 ORDER BY stored_unix_ms"),
        ("cdrs_denied (stored_unix_ms>?)",
         "SELECT session FROM cdrs WHERE state IN (4, 5) AND stored_unix_ms >= 5 ORDER BY stored_unix_ms DESC"),
        ("cdrs_by_partner (partner=?)", "SELECT session FROM cdrs WHERE partner = 'a' ORDER BY number DESC LIMIT 9"),
    ];
    for (index, sql) in questions {
        let plan: Vec<String> = connection
            .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
            .unwrap()
            .query_map([], |row| row.get(3))
            .unwrap()
            .collect::<Result<_>>()
            .unwrap();
        let plan = plan.join("; ");
        assert!(plan.contains(index) && !plan.contains("TEMP B-TREE"), "{plan}");
    }
}

#[test]
fn a_signed_statement_is_kept() {
    let mut opened = open(&memory());
    let statement = |digest: u8, agreed_unix_ms| SignedStatement {
        ours: cpo(),
        partner: emp(),
        month: "2026-11".to_owned(),
        digest: [digest; 32],
        records: 3,
        energy: "7.3".to_owned(),
        agreed_unix_ms,
        signed_by_us: Bytes::from_static(b"ours"),
        signed_by_partner: Bytes::from_static(b"theirs"),
    };
    for one in [statement(1, 10), statement(2, 20), statement(1, 30)] {
        let change = crate::roaming::change::LedgerChange::Statement { statement: Box::new(one) };
        opened.ledger.commit(&[change]).unwrap();
    }
    let unsigned = SignedStatement { signed_by_us: Bytes::new(), ..statement(2, 20) };
    let change = crate::roaming::change::LedgerChange::Statement { statement: Box::new(unsigned) };
    opened.ledger.commit(&[change]).unwrap();
    let connection = opened.ledger.connection.lock().unwrap();
    let kept = statements(&connection, &cpo(), &emp(), "2026-11").unwrap();
    assert_eq!(kept, [statement(1, 30), statement(2, 20)]);
    assert_eq!(statements(&connection, &cpo(), &emp(), "2026-12").unwrap(), []);
}
