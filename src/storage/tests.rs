//! Tests of what both databases share: restarts, locks, versions, a full disk, group commit, limits.

use std::path::Path;

use bytes::Bytes;
use rusqlite::Connection;

use super::testing::{
    feed, gone, head, head_change, key, memory, open, record, records, root, status, threads, wait,
};
use super::*;
use crate::identity::Chain;
use crate::protocol::Kind;
use crate::roaming::change::{DirectoryChange, HeldPush, LedgerChange, RecordChange};

fn config() -> Config {
    Config::default()
}

fn some_changes() -> Vec<DirectoryChange> {
    let (data, states) = (&feed("CH*ABC", Kind::Data), &feed("CH*ABC", Kind::Status));
    let rows = vec![
        record(1, 1, "x", Some((47.0, 8.0))),
        RecordChange { visible: false, ..record(2, 2, "y", None) },
    ];
    vec![
        DirectoryChange::Chain {
            delegation: [4; 32],
            chain: Chain { credential: vec![1, 2], delegation: vec![3] },
        },
        head_change(data, 3, 2, root(&rows)),
        records(data, rows),
        records(states, vec![status(1, 1, "Available")]),
        head_change(states, 3, 1, [8; 32]),
        DirectoryChange::Conflict {
            key: key(2),
            kind: Kind::Data,
            shown: None,
            claimed_by: vec![data.party.clone(), feed("CH*XYZ", Kind::Data).party],
        },
    ]
}

#[test]
fn after_a_restart_everything_is_as_it_was_committed() {
    let dir = tempfile::tempdir().unwrap();
    let read = |opened: &super::testing::Opened| {
        let reader = &opened.reader;
        let feeds = wait(reader.restore_directory()).unwrap();
        (
            feeds,
            wait(reader.chains()).unwrap(),
            wait(reader.conflicts()).unwrap(),
            wait(reader.counts()).unwrap(),
        )
    };
    let before = {
        let mut opened = open(&Place::directory(dir.path()).unwrap());
        opened.directory.commit(&some_changes(), 1).unwrap();
        read(&opened)
        // Dropped without an end: what a killed process leaves is the same files.
    };
    let after = read(&open(&Place::directory(dir.path()).unwrap()));
    assert_eq!(before, after);
    let (feeds, chains, conflicts, counts) = after;
    assert_eq!((feeds.len(), chains.len(), conflicts.len()), (2, 1, 1));
    assert_eq!((counts.view_evses, counts.view_statuses), (1, 1));
    let visible: Vec<bool> = feeds[0].entries.iter().map(|entry| entry.visible).collect();
    assert_eq!(visible, [true, false]);
    assert_eq!(feeds[0].entries[0].hash, record(1, 1, "x", None).hash);
    assert_eq!(feeds[1].entries[0].hash, status(1, 1, "Available").hash);
    assert_eq!(feeds[0].head.operator_id, "CH*ABC");
}

#[test]
fn what_belongs_to_no_head_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let rows = records(&feed("CH*ABC", Kind::Data), vec![record(1, 1, "x", None)]);
    open(&Place::directory(dir.path()).unwrap()).directory.commit(&[rows], 1).unwrap();
    let opened = open(&Place::directory(dir.path()).unwrap());
    assert_eq!(
        wait(opened.reader.data_page(DataQuery { size: 9, ..DataQuery::default() })).unwrap().total,
        0
    );
}

#[test]
fn the_ledger_remembers_promises_and_how_it_ended() {
    let dir = tempfile::tempdir().unwrap();
    let place = || Place::directory(dir.path()).unwrap();
    let feed = feed("CH*ABC", Kind::Data);
    let (signed_head, signed) = head(&feed, 9, 3, [1; 32]);
    let push = HeldPush {
        id: 1,
        feed: feed.clone(),
        digest: [2; 32],
        body: Bytes::from_static(b"{}"),
        at_unix_ms: 7,
        removes: 8,
        of: 9,
    };
    {
        let mut ledger = Ledger::open(&place(), &config()).unwrap();
        assert!(ledger.restore().unwrap().was_clean, "a new ledger has nothing to lose");
        let rows = vec![record(1, 1, "x", None), record(2, 2, "y", None)];
        let changes = [
            LedgerChange::Records { feed: feed.clone(), records: rows },
            LedgerChange::Records { feed: feed.clone(), records: vec![gone(2, 3)] },
            LedgerChange::Head { head: signed_head.clone(), signed },
            LedgerChange::Held { push: push.clone() },
            LedgerChange::Held { push: HeldPush { id: 2, ..push.clone() } },
            LedgerChange::HeldDone { id: 2 },
            LedgerChange::Agreement { id: [7; 32], papers: Bytes::from_static(b"offer") },
            LedgerChange::Agreement { id: [7; 32], papers: Bytes::from_static(b"agreement") },
            LedgerChange::Agreement { id: [8; 32], papers: Bytes::from_static(b"old") },
            LedgerChange::AgreementForgotten { id: [8; 32] },
        ];
        ledger.commit(&changes).unwrap();
    }
    {
        let mut opened = open(&place());
        let state = opened.ledger.restore().unwrap();
        assert!(!state.was_clean);
        assert_eq!(state.held, [push]);
        assert_eq!(state.feeds[0].head, signed_head);
        assert_eq!(
            state.feeds[0].entries.iter().map(|e| (e.key.clone(), e.seq)).collect::<Vec<_>>(),
            [(key(1), 1)]
        );
        assert_eq!(wait(opened.reader.agreements()).unwrap(), [Bytes::from_static(b"agreement")]);
        let values = wait(opened.reader.own_values(feed, vec![key(1), key(2)])).unwrap();
        assert_eq!(values, [Some(Bytes::from_static(b"x")), None]);
        opened.ledger.close().unwrap();
    }
    let mut ledger = Ledger::open(&place(), &config()).unwrap();
    assert!(ledger.restore().unwrap().was_clean);
    ledger.close().unwrap();
    ledger.commit(&[LedgerChange::HeldDone { id: 1 }]).unwrap();
    drop(ledger);
    assert!(
        !Ledger::open(&place(), &config()).unwrap().restore().unwrap().was_clean,
        "a commit after the end"
    );
}

#[test]
fn a_second_opener_is_refused_until_the_first_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::directory(dir.path()).unwrap();
    let directory = Directory::open(&place, &config()).unwrap();
    drop(place);
    assert!(matches!(Place::directory(dir.path()), Err(StorageError::Locked { .. })));
    drop(directory);
    Place::directory(dir.path()).unwrap();
}

#[test]
fn a_database_of_a_later_version_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    Connection::open(dir.path().join("directory.sqlite"))
        .unwrap()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    let place = Place::directory(dir.path()).unwrap();
    let error = Directory::open(&place, &config()).unwrap_err();
    assert!(matches!(error, StorageError::Newer { found: 99, known: 4, .. }), "{error}");
    assert!(error.to_string().contains("directory.sqlite"), "{error}");
}

#[test]
fn damage_is_told_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("directory.sqlite"), vec![7; 8192]).unwrap();
    let place = Place::directory(dir.path()).unwrap();
    let error = Directory::open(&place, &config()).unwrap_err();
    assert!(matches!(error, StorageError::Corrupt { .. }) && error.to_string().contains("delete"), "{error}");
    drop(place);

    let dir = tempfile::tempdir().unwrap();
    let damage =
        |sql: &str, dir: &Path| Connection::open(dir.join("directory.sqlite")).unwrap().execute_batch(sql);
    let mut opened = open(&Place::directory(dir.path()).unwrap());
    opened.directory.commit(&some_changes(), 1).unwrap();
    damage("UPDATE data SET hash = x'00', seq = -1; UPDATE status SET key = 'nonsense';", dir.path())
        .unwrap();
    let restored = wait(opened.reader.restore_directory());
    assert!(matches!(restored, Err(StorageError::Corrupt { .. })), "{restored:?}");
}

#[test]
fn a_full_disk_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = open(&Place::directory(dir.path()).unwrap());
    opened.directory.commit(&some_changes(), 1).unwrap();
    let before = wait(opened.reader.restore_directory()).unwrap();
    let pages = |count: u32| {
        let connection = super::place::lock(&opened.directory.connection);
        connection.query_row(&format!("PRAGMA max_page_count = {count}"), [], |_| Ok(())).unwrap();
    };
    pages(60);
    let feed = feed("CH*ABC", Kind::Data);
    let text = "x".repeat(2_000);
    let rows = || records(&feed, (10..200).map(|n| record(n, n.into(), &text, Some((47.0, 8.0)))).collect());
    let error = wait_commit(&mut opened.directory, rows()).unwrap_err();
    assert!(matches!(error, StorageError::DiskFull { .. }), "{error}");
    assert_eq!(wait(opened.reader.restore_directory()).unwrap(), before);
    let connection = opened.directory.connection.clone();
    super::place::lock(&connection).query_row("PRAGMA max_page_count = 100000", [], |_| Ok(())).unwrap();
    wait_commit(&mut opened.directory, rows()).unwrap();
    assert_eq!(wait(opened.reader.counts()).unwrap().view_evses, 191);
}

fn wait_commit(directory: &mut Directory, change: DirectoryChange) -> Result<CommitVersion, StorageError> {
    directory.commit(&[change], 2)
}

#[test]
fn one_bad_batch_harms_no_other() {
    for runner in [Runner::Inline, threads()] {
        let place = memory();
        let directory = Directory::open(&place, &config()).unwrap();
        let ledger = Ledger::open(&place, &config()).unwrap();
        let reader = Reader::start(&directory, &ledger, &config(), &runner).unwrap();
        // While the test holds the connection the batches gather in the queue.
        let connection = directory.connection.clone();
        let hold = matches!(runner, Runner::Threads(_)).then(|| super::place::lock(&connection));
        let writer = Writer::start(directory, &runner, 64).unwrap();
        let feed = feed("CH*ABC", Kind::Data);
        let waiting: Vec<_> = (0..10)
            .map(|n| {
                let mut row = record(n, n.into(), "x", None);
                if n == 4 {
                    row.seq = u64::MAX;
                }
                writer.try_commit(vec![records(&feed, vec![row])], 1).unwrap()
            })
            .collect();
        drop(hold);
        for (n, answer) in (0..).zip(waiting) {
            assert_eq!(wait(answer).unwrap().is_ok(), n != 4, "{runner:?} {n}");
        }
        let page = wait(reader.data_page(DataQuery { size: 20, ..DataQuery::default() })).unwrap();
        assert_eq!(page.total, 9);
        wait(writer.close()).unwrap();
        assert!(matches!(wait(writer.commit(vec![], 1)), Err(StorageError::Closed)));
    }
}

#[test]
fn threads_write_read_and_give_the_directory_back() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..2 {
        let place = Place::directory(dir.path()).unwrap();
        let (storage, state) = Storage::open(&place, &config(), &threads()).unwrap();
        drop(place);
        assert!(state.was_clean);
        assert_eq!(wait(storage.reader.restore_directory()).unwrap().len(), round * 2);
        wait(storage.directory.commit(some_changes(), 1)).unwrap();
        assert_eq!(wait(storage.reader.version_at_now()).unwrap(), CommitVersion(round as u64 + 1));
        assert_eq!(wait(storage.directory.prune(1, 10)).unwrap(), 0);
        wait(storage.close()).unwrap();
    }
}

#[test]
fn a_question_that_costs_too_much_is_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::directory(dir.path()).unwrap();
    let config = Config { read_steps_max: 5_000, answer_rows_max: 5, ..config() };
    let mut directory = Directory::open(&place, &config).unwrap();
    let ledger = Ledger::open(&place, &config).unwrap();
    let rows = |kind| (0..3_000).map(|n| record(n, n.into(), kind, None)).collect();
    let changes = [
        records(&feed("CH*ABC", Kind::Data), rows("x")),
        records(&feed("CH*ABC", Kind::Status), rows("Available")),
    ];
    directory.commit(&changes, 1).unwrap();
    let reader = Reader::start(&directory, &ledger, &config, &Runner::Inline).unwrap();
    let filter = DataFilter { renewable_energy: Some(false), ..DataFilter::default() };
    let costly = wait(reader.data_page(DataQuery { filter, size: 9, ..DataQuery::default() }));
    assert!(matches!(costly, Err(StorageError::TooCostly)), "{costly:?}");
    let large = wait(reader.statuses(StatusQuery::default()));
    assert!(matches!(large, Err(StorageError::TooLarge { limit: 5, .. })), "{large:?}");
    assert_eq!(wait(reader.data_page(DataQuery { size: 9, ..DataQuery::default() })).unwrap().total, 3_000);
}

#[test]
fn a_full_queue_is_busy() {
    let place = memory();
    let config = Config { readers: 1, read_queue_max: 1, ..config() };
    let directory = Directory::open(&place, &config).unwrap();
    let ledger = Ledger::open(&place, &config).unwrap();
    let connection = directory.connection.clone();
    let reader = Reader::start(&directory, &ledger, &config, &threads()).unwrap();
    let hold = super::place::lock(&connection);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let questions: Vec<_> = (0..8).map(|_| reader.version_at_now()).collect();
        let mut answers = std::pin::pin!(futures::future::join_all(questions));
        assert!(futures::poll!(&mut answers).is_pending());
        drop(hold);
        let answers = answers.await;
        assert!(answers.iter().any(Result::is_ok));
        assert!(answers.iter().any(|answer| matches!(answer, Err(StorageError::Busy))));
    });
}
