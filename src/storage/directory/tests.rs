//! Tests of the directory: differences, versions, views, places, repair answers, and a model.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::geo::distance_km;
use super::*;
use crate::protocol::{FeedId, Have, Kind, SyncRequest};
use crate::roaming::change::DirectoryChange;
use crate::storage::testing::{
    DAY_MS, Opened, feed, gone, head_change, key, memory, open, record, records, root, status, visibility,
    wait,
};

const HOUR_MS: u64 = 60 * 60 * 1000;

fn all() -> DataQuery {
    DataQuery { size: 2_000, ..DataQuery::default() }
}

fn shown(page: &DataPage) -> Vec<(String, String)> {
    let text = |row: &DataRow| String::from_utf8(row.payload.to_vec()).unwrap();
    page.rows.iter().map(|row| (row.key.to_string(), text(row))).collect()
}

fn deltas(opened: &Opened, since_unix_ms: u64) -> Vec<(String, Delta, String)> {
    let page = wait(opened.reader.data_delta(since_unix_ms, all())).unwrap().unwrap();
    assert_eq!(page.total, page.rows.len() as u64);
    let texts = shown(&page);
    page.rows.iter().zip(texts).map(|(row, (key, text))| (key, row.delta.unwrap(), text)).collect()
}

/// Name, the batch before the last call, the batches after it, the difference.
type DeltaCase =
    (&'static str, Vec<DirectoryChange>, Vec<Vec<DirectoryChange>>, Option<(Delta, &'static str)>);

/// Everything below happens to record 1 of one feed, an hour apart; the difference is taken from after
/// the first batch.
#[test]
fn a_delta_is_the_net_difference() {
    let feed = &feed("CH*ABC", Kind::Data);
    let other = &crate::storage::testing::feed("CH*XYZ", Kind::Data);
    let put = |seq, text| records(feed, vec![record(1, seq, text, None)]);
    let end = |seq| records(feed, vec![gone(1, seq)]);
    let taken_over = vec![visibility(feed, 1, false), records(other, vec![record(1, 1, "b", None)])];
    let cases: Vec<DeltaCase> = vec![
        ("nothing happened", vec![put(1, "a")], vec![], None),
        ("inserted", vec![], vec![vec![put(1, "a")]], Some((Delta::Insert, "a"))),
        ("updated", vec![put(1, "a")], vec![vec![put(2, "b")]], Some((Delta::Update, "b"))),
        ("deleted, with its old content", vec![put(1, "a")], vec![vec![end(2)]], Some((Delta::Delete, "a"))),
        ("inserted and deleted", vec![], vec![vec![put(1, "a")], vec![end(2)]], None),
        (
            "inserted, then updated",
            vec![],
            vec![vec![put(1, "a")], vec![put(2, "b")]],
            Some((Delta::Insert, "b")),
        ),
        (
            "updated, then deleted",
            vec![put(1, "a")],
            vec![vec![put(2, "b")], vec![end(3)]],
            Some((Delta::Delete, "a")),
        ),
        ("deleted, then the same again", vec![put(1, "a")], vec![vec![end(2)], vec![put(3, "a")]], None),
        (
            "deleted, then another",
            vec![put(1, "a")],
            vec![vec![end(2)], vec![put(3, "b")]],
            Some((Delta::Update, "b")),
        ),
        ("updated and back", vec![put(1, "a")], vec![vec![put(2, "b")], vec![put(3, "a")]], None),
        (
            "updated twice in one commit",
            vec![put(1, "a")],
            vec![vec![put(2, "b"), put(3, "c")]],
            Some((Delta::Update, "c")),
        ),
        ("hidden", vec![put(1, "a")], vec![vec![visibility(feed, 1, false)]], Some((Delta::Delete, "a"))),
        (
            "hidden and shown",
            vec![put(1, "a")],
            vec![vec![visibility(feed, 1, false)], vec![visibility(feed, 1, true)]],
            None,
        ),
        (
            "shown",
            vec![put(1, "a"), visibility(feed, 1, false)],
            vec![vec![visibility(feed, 1, true)]],
            Some((Delta::Insert, "a")),
        ),
        ("another feed's record is shown", vec![put(1, "a")], vec![taken_over], Some((Delta::Update, "b"))),
        (
            "the feed was dropped",
            vec![put(1, "a")],
            vec![vec![DirectoryChange::Dropped { feed: feed.clone() }]],
            Some((Delta::Delete, "a")),
        ),
    ];
    for (what, before, after, expected) in cases {
        let mut opened = open(&memory());
        let unrelated = records(other, vec![record(9, 9, "unrelated", None)]);
        opened.directory.commit(&[unrelated], 0).unwrap();
        opened.directory.commit(&before, HOUR_MS).unwrap();
        for (n, batch) in (2..).zip(after) {
            opened.directory.commit(&batch, n * HOUR_MS).unwrap();
        }
        let found = deltas(&opened, HOUR_MS + 60_000);
        let expected = expected.map(|(delta, text)| (key(1).to_string(), delta, text.to_owned()));
        assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "{what}");
    }
}

#[test]
fn a_last_call_has_a_margin_and_ends_with_the_history() {
    let feed = &feed("CH*ABC", Kind::Data);
    let mut opened = open(&memory());
    opened.directory.commit(&[records(feed, vec![record(1, 1, "a", None)])], 10 * DAY_MS).unwrap();
    opened.directory.commit(&[records(feed, vec![record(2, 2, "b", None)])], 11 * DAY_MS).unwrap();
    assert_eq!(wait(opened.reader.data_delta(9 * DAY_MS, all())).unwrap(), None);
    assert_eq!(deltas(&opened, 11 * DAY_MS).len(), 1, "59 seconds may lie between two clocks");
    assert_eq!(deltas(&opened, 11 * DAY_MS + 60_000).len(), 0);
    opened
        .directory
        .commit(&[records(feed, vec![record(2, 3, "c", None), gone(1, 4)])], 12 * DAY_MS)
        .unwrap();
    assert_eq!(
        opened.directory.prune(43 * DAY_MS, 1_000).unwrap(),
        5,
        "two versions, two commits, a tombstone"
    );
    assert_eq!(wait(opened.reader.data_delta(12 * DAY_MS, all())).unwrap(), None);
    assert_eq!(deltas(&opened, 14 * DAY_MS).len(), 0);
    assert_eq!(shown(&wait(opened.reader.data_page(all())).unwrap()), [(key(2).to_string(), "c".to_owned())]);
    let gone = DataQuery { as_of: Some(CommitVersion(1)), ..all() };
    assert!(matches!(wait(opened.reader.data_page(gone)), Err(StorageError::VersionGone { version: 1 })));
}

#[test]
fn pages_of_one_pull_are_one_snapshot() {
    let feed = &feed("CH*ABC", Kind::Data);
    let mut opened = open(&memory());
    let place = Some((47.0, 8.0));
    let first = (0..10).map(|n| record(n, u64::from(n) + 1, "old", place)).collect();
    let version = opened.directory.commit(&[records(feed, first)], 1).unwrap();
    let around = Some(Area { lat: 47.0, lon: 8.0, radius_km: 1.0 });
    for center in [None, around] {
        let mut rows = Vec::new();
        for page in 0..4 {
            let query = DataQuery { page, size: 3, as_of: Some(version), center, ..all() };
            let answer = wait(opened.reader.data_page(query)).unwrap();
            assert_eq!((answer.total, answer.version), (10, version));
            rows.extend(shown(&answer));
            let seq = u64::from(page) * 10 + 100;
            let changes = vec![
                record(page, seq, "new", place),
                gone(9 - page, seq + 1),
                record(50 + page, seq + 2, "new", place),
            ];
            opened.directory.commit(&[records(feed, changes)], 2).unwrap();
        }
        let expected: Vec<_> = (0..10).map(|n| (key(n).to_string(), "old".to_owned())).collect();
        assert_eq!(rows, expected);
    }
}

#[test]
fn filters_apply_together() {
    let feed = &feed("CH*ABC", Kind::Data);
    let mut opened = open(&memory());
    let rows = (0..12).map(|n| record(n, u64::from(n) + 1, "x", None)).collect();
    opened.directory.commit(&[records(feed, rows), head_change(feed, 1, 12, [0; 32])], 1).unwrap();
    let count = |query: DataQuery| wait(opened.reader.data_page(query)).unwrap().total;
    let filter = DataFilter { renewable_energy: Some(true), ..DataFilter::default() };
    assert_eq!(count(DataQuery { filter: filter.clone(), ..all() }), 6);
    assert_eq!(count(DataQuery { filter, countries: vec!["CHE".into()], ..all() }), 2);
    let modes = |mode: &str| DataFilter { authentication_modes: vec![mode.into()], ..DataFilter::default() };
    assert_eq!(count(DataQuery { filter: modes("REMOTE"), ..all() }), 12);
    assert_eq!(count(DataQuery { filter: modes("REMOT"), ..all() }), 0);
    let operators = |id: &str| vec![crate::identity::CanonicalId::parse(id).unwrap()];
    assert_eq!(count(DataQuery { operators: operators("CH*ABC"), ..all() }), 12);
    assert_eq!(count(DataQuery { operators: operators("CH*XYZ"), ..all() }), 0);
    let row = wait(opened.reader.data_record(key(3), None)).unwrap().unwrap();
    assert_eq!((&*row.operator_id, &*row.operator_name), ("CH*ABC", "Operator"));
}

#[test]
fn statuses_are_filtered_and_spelled_as_in_the_data() {
    let (data, states) = (&feed("CH*ABC", Kind::Data), &feed("CH*ABC", Kind::Status));
    let mut opened = open(&memory());
    let changes = [
        records(data, vec![record(1, 1, "x", Some((47.0, 8.0))), record(2, 2, "x", Some((48.0, 8.0)))]),
        records(states, vec![status(1, 1, "Available"), status(2, 2, "Occupied"), status(3, 3, "Available")]),
        head_change(states, 1, 3, [0; 32]),
    ];
    opened.directory.commit(&changes, 1).unwrap();
    let ids = |query| {
        let rows = wait(opened.reader.statuses(query)).unwrap();
        rows.into_iter().map(|row| row.evse_id.into_string()).collect::<Vec<_>>()
    };
    let query = StatusQuery { status: Some("Available".into()), ..StatusQuery::default() };
    assert_eq!(ids(query), ["CH*ABC*E00001".to_owned(), key(3).to_string()]);
    let area = Area { lat: 48.0, lon: 8.0, radius_km: 5.0 };
    assert_eq!(ids(StatusQuery { center: Some(area), ..StatusQuery::default() }), ["CH*ABC*E00002"]);
    let found = wait(opened.reader.statuses_by_key(vec![key(2), key(7), key(3)], None)).unwrap();
    let found: Vec<_> = found.iter().map(|(key, row)| (key.clone(), &*row.status)).collect();
    assert_eq!(found, [(key(2), "Occupied"), (key(3), "Available")]);
    opened.directory.commit(&[visibility(states, 2, false)], 2).unwrap();
    assert_eq!(wait(opened.reader.statuses_by_key(vec![key(2)], None)).unwrap(), []);
}

#[test]
fn a_radius_finds_what_brute_force_finds() {
    let coordinate = (-90.0f64..=90.0, -180.0f64..=180.0);
    let near_edges = (80.0f64..=90.0, 170.0f64..=180.0);
    let points = proptest::collection::vec(prop_oneof![coordinate.clone(), near_edges.clone()], 1..60);
    let center = prop_oneof![coordinate, near_edges];
    proptest!(ProptestConfig::with_cases(64), |(points in points, center in center, radius_km in 0.0f64..4000.0)| {
        let mut opened = open(&memory());
        let rows = (0u32..).zip(&points).map(|(n, point)| record(n, u64::from(n), "x", Some(*point))).collect();
        opened.directory.commit(&[records(&feed("CH*ABC", Kind::Data), rows)], 1).unwrap();
        let area = Area { lat: center.0, lon: center.1, radius_km };
        let page = wait(opened.reader.data_page(DataQuery { center: Some(area), ..all() })).unwrap();
        let found: Vec<_> = page.rows.iter().map(|row| row.key.clone()).collect();
        let expected: Vec<_> = (0u32..).zip(&points)
            .filter(|(_, point)| distance_km(center, **point) <= radius_km).map(|(n, _)| key(n)).collect();
        prop_assert_eq!(found, expected);
    });
}

/// How many buckets, and the keys with whether they are alive.
type Answered = (Option<usize>, Vec<(String, bool)>);

fn answer(opened: &Opened, feed: &FeedId, have: Have) -> Option<Answered> {
    let request = SyncRequest { feed: feed.clone(), have };
    let answer = wait(opened.reader.feed_answer(request)).unwrap()?;
    let entries = answer.chunks.iter().flat_map(|chunk| chunk.decode().unwrap());
    let entries = entries.map(|entry| (entry.key, entry.value.is_some())).collect();
    Some((answer.start.buckets.map(|buckets| buckets.len()), entries))
}

#[test]
fn repair_answers_are_whole_or_since_a_change() {
    for kind in Kind::ALL {
        let feed = &feed("CH*ABC", kind);
        let mut opened = open(&memory());
        let mut rows: Vec<_> = (1..=5).map(|n| record(n, n.into(), "Available", None)).collect();
        let changes = [records(feed, rows.clone()), head_change(feed, 7, 5, root(&rows))];
        opened.directory.commit(&changes, 1).unwrap();
        rows.remove(1);
        rows.push(record(9, 7, "Occupied", None));
        let changes =
            [records(feed, vec![gone(2, 6), rows[4].clone()]), head_change(feed, 7, 7, root(&rows))];
        opened.directory.commit(&changes, 2).unwrap();
        let since = |incarnation, seq| Have::Since { incarnation, seq };
        let (text, all) = (|n| key(n).to_string(), Some(256));
        let whole: Vec<_> = [1, 3, 4, 5, 9].map(|n| (text(n), true)).into();
        assert_eq!(answer(&opened, feed, Have::Nothing), Some((all, whole.clone())));
        assert_eq!(answer(&opened, feed, since(7, 5)), Some((None, vec![(text(2), false), (text(9), true)])));
        assert_eq!(answer(&opened, feed, since(7, 7)), Some((None, vec![])));
        assert_eq!(answer(&opened, feed, since(7, 8)), None, "the asker is ahead");
        assert_eq!(answer(&opened, feed, since(6, 5)), Some((all, whole)), "another incarnation");
        let changes = [head_change(feed, 7, 7, [1; 32])];
        opened.directory.commit(&changes, 3).unwrap();
        assert_eq!(answer(&opened, feed, Have::Nothing), None, "a head that the records do not add up to");
    }
}

#[test]
fn only_differing_buckets_are_sent() {
    let feed = &feed("CH*ABC", Kind::Data);
    let rows: Vec<_> = (1..=40).map(|n| record(n, n.into(), "x", None)).collect();
    let mut opened = open(&memory());
    opened
        .directory
        .commit(&[records(feed, rows.clone()), head_change(feed, 7, 40, root(&rows))], 1)
        .unwrap();
    let mut theirs = vec![[0; 32]; 256];
    for (bucket, hash) in theirs.iter_mut().enumerate() {
        let leaves =
            rows.iter().filter(|row| crate::protocol::bucket_of(row.key.as_str()) == bucket).map(|row| {
                let (key, seq, at_unix_ms, hash) = (row.key.as_str(), row.seq, row.at_unix_ms, row.hash);
                crate::protocol::leaf_hash(&crate::protocol::Leaf { key, seq, at_unix_ms, hash })
            });
        *hash = crate::protocol::bucket_hash(leaves);
    }
    assert_eq!(answer(&opened, feed, Have::Buckets(theirs.clone())), Some((Some(0), vec![])));
    theirs[crate::protocol::bucket_of(key(17).as_str())] = [3; 32];
    let (buckets, entries) = answer(&opened, feed, Have::Buckets(theirs)).unwrap();
    assert_eq!(buckets, Some(1));
    assert!(entries.contains(&(key(17).to_string(), true)) && entries.len() < 5);
}

/// A node that learned a feed late cannot tell of deletes before that.
#[test]
fn changes_before_the_first_knowledge_are_not_listed() {
    let feed = &feed("CH*ABC", Kind::Data);
    let mut rows = vec![record(1, 90, "x", None)];
    let mut opened = open(&memory());
    opened
        .directory
        .commit(&[records(feed, rows.clone()), head_change(feed, 1, 100, root(&rows))], 1)
        .unwrap();
    let buckets = |seq| answer(&opened, feed, Have::Since { incarnation: 1, seq }).unwrap().0;
    assert_eq!((buckets(50), buckets(100)), (Some(256), None));
    rows.push(record(2, 101, "x", None));
    let changes = [records(feed, vec![rows[1].clone()]), head_change(feed, 1, 101, root(&rows))];
    opened.directory.commit(&changes, 2).unwrap();
    let buckets = |seq| answer(&opened, feed, Have::Since { incarnation: 1, seq }).unwrap().0;
    assert_eq!((buckets(99), buckets(100)), (Some(256), None));
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8, bool, u32, u8),
    Delete(u8, bool, u32),
    Flip(u8, bool, u32, bool),
    Drop(u8, bool),
}

fn steps() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let (operator, kind, number) = (0u8..2, any::<bool>(), 0u32..6);
    let target = (operator, kind, number);
    let step = prop_oneof![
        6 => (target.clone(), 0u8..3).prop_map(|((o, k, n), v)| Step::Put(o, k, n, v)),
        2 => target.clone().prop_map(|(o, k, n)| Step::Delete(o, k, n)),
        2 => (target.clone(), any::<bool>()).prop_map(|((o, k, n), v)| Step::Flip(o, k, n, v)),
        1 => target.prop_map(|(o, k, _)| Step::Drop(o, k)),
    ];
    proptest::collection::vec(proptest::collection::vec(step, 0..5), 1..12)
}

type Model = BTreeMap<(FeedId, u32), (String, bool)>;

fn change(model: &mut Model, step: &Step, seq: u64) -> Vec<DirectoryChange> {
    let name = |operator: u8, data: bool| {
        feed(if operator == 0 { "CH*ABC" } else { "CH*XYZ" }, if data { Kind::Data } else { Kind::Status })
    };
    match *step {
        Step::Put(operator, data, number, value) => {
            let feed = name(operator, data);
            let text = format!("value {value}");
            // Only one feed may show an EVSE.
            let taken = model
                .iter()
                .any(|((f, n), (_, seen))| *seen && *n == number && f.kind == feed.kind && *f != feed);
            let mut row = record(number, seq, &text, Some((47.0, 8.0)));
            row.visible = !taken;
            model.insert((feed.clone(), number), (text, !taken));
            vec![records(&feed, vec![row])]
        }
        Step::Delete(operator, data, number) => {
            let feed = name(operator, data);
            model.remove(&(feed.clone(), number));
            vec![records(&feed, vec![gone(number, seq)])]
        }
        Step::Flip(operator, data, number, visible) => {
            let feed = name(operator, data);
            let mut changes = vec![visibility(&feed, number, visible)];
            if visible && model.contains_key(&(feed.clone(), number)) {
                let other = name(1 - operator, data);
                changes.insert(0, visibility(&other, number, false));
                if let Some(row) = model.get_mut(&(other, number)) {
                    row.1 = false;
                }
            }
            if let Some(row) = model.get_mut(&(feed, number)) {
                row.1 = visible;
            }
            changes
        }
        Step::Drop(operator, data) => {
            let feed = name(operator, data);
            model.retain(|(f, _), _| *f != feed);
            vec![DirectoryChange::Dropped { feed }]
        }
    }
}

fn view(model: &Model) -> BTreeMap<String, (FeedId, String)> {
    let shown = model.iter().filter(|((feed, _), (_, visible))| feed.kind == Kind::Data && *visible);
    shown.map(|((feed, n), (text, _))| (key(*n).to_string(), (feed.clone(), text.clone()))).collect()
}

/// Every version's pages, and every difference to the last version, are those of a map.
#[test]
fn the_directory_is_the_model() {
    proptest!(ProptestConfig::with_cases(200), |(batches in steps())| {
        let mut opened = open(&memory());
        let (mut model, mut seq) = (Model::new(), 0);
        opened.directory.commit(&[], 0).unwrap();
        let mut history = vec![(CommitVersion(0), BTreeMap::new())];
        for (n, batch) in (1u64..).zip(&batches) {
            let mut changes = Vec::new();
            for step in batch {
                seq += 1;
                changes.extend(change(&mut model, step, seq));
            }
            let version = opened.directory.commit(&changes, n * HOUR_MS).unwrap();
            history.push((version, view(&model)));
        }
        let last = &history.last().unwrap().1;
        for (n, (version, expected)) in (0u64..).zip(&history) {
            for center in [None, Some(Area { lat: 47.0, lon: 8.0, radius_km: 1.0 })] {
                let page = wait(opened.reader.data_page(DataQuery { as_of: Some(*version), center, ..all() })).unwrap();
                let texts: Vec<_> = expected.iter().map(|(key, (_, text))| (key.clone(), text.clone())).collect();
                prop_assert_eq!(page.total, texts.len() as u64);
                prop_assert_eq!(shown(&page), texts);
            }
            let mut difference = Vec::new();
            for key in expected.keys().chain(last.keys()).collect::<std::collections::BTreeSet<_>>() {
                match (expected.get(key), last.get(key)) {
                    (None, Some(new)) => difference.push((key.clone(), Delta::Insert, new.1.clone())),
                    (Some(old), None) => difference.push((key.clone(), Delta::Delete, old.1.clone())),
                    (Some(old), Some(new)) if old != new => difference.push((key.clone(), Delta::Update, new.1.clone())),
                    _ => {}
                }
            }
            prop_assert_eq!(deltas(&opened, n * HOUR_MS + 60_000), difference);
        }
        for ((feed, number), (text, _)) in &model {
            let values = wait(opened.reader.data_values(feed.clone(), vec![key(*number)])).unwrap();
            prop_assert_eq!(values[0].as_deref(), Some(text.as_bytes()));
        }
    });
}
