//! What came through the hub beside feeds.

use super::{Acknowledged, BridgedChanges, BridgedRecord, DataQuery, Delta, StatusQuery};
use crate::identity::PartyId;
use crate::oicp::id::EvseKey;
use crate::oicp::record::summarise;
use crate::protocol::Kind;
use crate::storage::testing::{
    Opened, feed, gone, head_change, key, memory, open, record, records, status, wait,
};
use crate::storage::{Area, DataPage};

const PLACE: Option<(f64, f64)> = Some((47.0, 8.0));

fn emp() -> Option<PartyId> {
    Some(PartyId::parse("EMP:DEXYZ").unwrap())
}

fn bridged(key: &EvseKey, text: &str) -> BridgedRecord {
    let id = key.as_str();
    let body = format!(
        r#"{{"EvseID":"{id}","T":"{text}","GeoCoordinates":{{"Google":{{"Coordinates":"47.0 8.0"}}}},"RenewableEnergy":true}}"#
    );
    BridgedRecord {
        summary: summarise(&body).unwrap(),
        body: body.into(),
        operator_id: "CH*HUB".into(),
        operator: "CHHUB".into(),
        operator_name: "Through the hub".into(),
        at_unix_ms: 5,
    }
}

fn put(opened: &mut Opened, of: &[(u32, &str)], now: u64) -> usize {
    let list = of.iter().map(|(number, text)| bridged(&key(*number), text)).collect();
    opened.directory.bridge(&BridgedChanges { records: list, ..BridgedChanges::default() }, now).unwrap()
}

fn texts(page: &DataPage) -> Vec<String> {
    let of = |row: &super::DataRow| {
        let text = String::from_utf8(row.payload.to_vec()).unwrap();
        match text.split_once(r#""T":""#) {
            Some((_, rest)) => rest.split('"').next().unwrap().to_owned(),
            None => text,
        }
    };
    page.rows.iter().map(of).collect()
}

fn pulled(opened: &Opened, query: DataQuery) -> (Vec<String>, u64) {
    let page = wait(opened.reader.data_page(query)).unwrap();
    (texts(&page), page.total)
}

fn all(puller: Option<PartyId>) -> DataQuery {
    DataQuery { size: 2_000, puller, ..DataQuery::default() }
}

/// 1 and 2 are signed; 2, 3 and 4 came through the hub.
fn opened() -> Opened {
    let mut opened = open(&memory());
    let public = feed("CH*ABC", Kind::Data);
    let signed = vec![record(1, 1, "one", PLACE), record(2, 2, "two", PLACE)];
    let changes = [records(&public, signed), head_change(&public, 1, 2, [0; 32])];
    opened.directory.commit(&changes, 1_000_000).unwrap();
    opened.directory.set_hub_partners(&[emp().unwrap()]).unwrap();
    assert_eq!(put(&mut opened, &[(2, "hub 2"), (3, "hub 3"), (4, "hub 4")], 1_000_000), 3);
    opened
}

#[test]
fn emps_of_this_node_see_it_behind_the_view_and_a_signed_record_wins() {
    let mut opened = opened();
    let seen = |opened: &Opened, puller| pulled(opened, all(puller)).0;
    assert_eq!(
        pulled(&opened, all(emp())),
        (vec!["one".into(), "two".into(), "hub 3".into(), "hub 4".into()], 4)
    );
    assert_eq!(seen(&opened, None), ["one", "two"], "nobody else does");
    for party in ["CPO:CHABC", "EMP:DEOTH"] {
        assert_eq!(seen(&opened, Some(PartyId::parse(party).unwrap())), ["one", "two"], "{party}");
    }
    for size in 1..=5 {
        let page = |page| pulled(&opened, DataQuery { page, size, ..all(emp()) });
        let paged: Vec<String> = (0..5).flat_map(|number| page(number).0).collect();
        assert_eq!(paged, ["one", "two", "hub 3", "hub 4"], "pages of {size}");
        assert_eq!(page(9), (vec![], 4));
    }
    let around = DataQuery { center: Some(Area { lat: 47.0, lon: 8.0, radius_km: 1.0 }), ..all(emp()) };
    assert_eq!(
        pulled(&opened, around.clone()),
        (vec!["one".into(), "two".into(), "hub 3".into(), "hub 4".into()], 4)
    );
    let far = DataQuery { center: Some(Area { lat: 48.0, lon: 8.0, radius_km: 1.0 }), ..all(emp()) };
    assert_eq!(pulled(&opened, far).1, 0);
    let operator = crate::identity::CanonicalId::parse("CH*HUB").unwrap();
    assert_eq!(pulled(&opened, DataQuery { operators: vec![operator], ..all(emp()) }).0, ["hub 3", "hub 4"]);

    // The signed record goes: what the hub says counts; it comes back: it does not.
    let public = feed("CH*ABC", Kind::Data);
    opened.directory.commit(&[records(&public, vec![gone(2, 3)])], 2_000_000).unwrap();
    assert_eq!(seen(&opened, emp()), ["one", "hub 2", "hub 3", "hub 4"]);
    opened.directory.commit(&[records(&public, vec![record(4, 4, "four", PLACE)])], 3_000_000).unwrap();
    assert_eq!(seen(&opened, emp()), ["one", "four", "hub 2", "hub 3"]);
    opened.directory.set_hub_partners(&[]).unwrap();
    assert_eq!(seen(&opened, emp()), ["one", "four"], "the hub was turned off");
    assert_eq!(wait(opened.reader.bridged_operators()).unwrap(), []);
}

#[test]
fn it_is_no_feed_and_in_no_answer_to_another_node() {
    use crate::protocol::{FeedId, Have, SyncRequest};
    let opened = opened();
    let feeds = wait(opened.reader.restore_directory()).unwrap();
    assert_eq!(feeds.len(), 1);
    assert!(feeds.iter().all(|feed| feed.entries.len() == 2));
    assert_eq!(wait(opened.reader.counts()).unwrap().view_evses, 2);
    for party in ["CPO:CHHUB", "HUB:CHHUB", "EMP:DEXYZ"] {
        let feed = FeedId::public(PartyId::parse(party).unwrap(), Kind::Data);
        let asked = SyncRequest { feed, have: Have::Nothing };
        assert!(wait(opened.reader.feed_answer(asked)).unwrap().is_none(), "{party}");
    }
    assert!(wait(opened.reader.data_record(key(3), None)).unwrap().is_none());
    // Only who asks for what came through the hub gets it.
    let (record, status) = wait(opened.reader.bridged_record(key(3))).unwrap().unwrap();
    assert_eq!((record.key, status), (key(3), None));
    assert!(wait(opened.reader.bridged_record(key(1))).unwrap().is_none());
}

#[test]
fn a_delta_tells_what_the_hub_changed() {
    let mut opened = opened();
    let delta = |opened: &Opened, since_ms: u64, puller| {
        let page = wait(opened.reader.data_delta(since_ms + 60_000, all(puller))).unwrap().unwrap();
        let kinds: Vec<Delta> = page.rows.iter().map(|row| row.delta.unwrap()).collect();
        texts(&page).into_iter().zip(kinds).collect::<Vec<_>>()
    };
    assert_eq!(
        put(&mut opened, &[(3, "hub 3"), (4, "hub 4'"), (5, "hub 5")], 2_000_000),
        2,
        "one is as it was"
    );
    let changes = BridgedChanges { gone: vec![key(3), key(9)], ..BridgedChanges::default() };
    assert_eq!(opened.directory.bridge(&changes, 3_000_000).unwrap(), 1);
    let expected = [
        ("hub 3".to_owned(), Delta::Delete),
        ("hub 4'".to_owned(), Delta::Update),
        ("hub 5".to_owned(), Delta::Insert),
    ];
    assert_eq!(delta(&opened, 1_000_000, emp()), expected);
    assert_eq!(delta(&opened, 1_000_000, None), []);
    assert_eq!(delta(&opened, 3_000_000, emp()), []);
}

#[test]
fn statuses_are_shown_with_their_records() {
    let mut opened = opened();
    let statuses = [(2, "Occupied"), (3, "Available"), (9, "Available")];
    let statuses = statuses.map(|(number, text)| (key(number), text.into())).into();
    let changes = BridgedChanges { statuses, ..BridgedChanges::default() };
    opened.directory.bridge(&changes, 2_000_000).unwrap();
    let own =
        records(&feed("CH*ABC", Kind::Status), vec![status(2, 1, "Available"), status(4, 2, "Reserved")]);
    opened.directory.commit(&[own], 2_000_000).unwrap();
    let seen = |query: StatusQuery| {
        let rows = wait(opened.reader.statuses(query)).unwrap();
        rows.into_iter().map(|row| row.status.to_string()).collect::<Vec<_>>()
    };
    let query = |puller| StatusQuery { puller, ..StatusQuery::default() };
    assert_eq!(seen(query(None)), ["Available", "Reserved"]);
    assert_eq!(seen(query(emp())), ["Available", "Reserved", "Available"]);
    assert_eq!(seen(StatusQuery { status: Some("Occupied".into()), ..query(emp()) }), Vec::<String>::new());
    let around = Some(Area { lat: 47.0, lon: 8.0, radius_km: 1.0 });
    assert_eq!(seen(StatusQuery { center: around, ..query(emp()) }).len(), 2, "4 has no signed record");
    let (_, status) = wait(opened.reader.bridged_record(key(3))).unwrap().unwrap();
    assert_eq!(status.unwrap().status.as_ref(), "Available");
    let by_key = |puller| wait(opened.reader.statuses_by_key(vec![key(2), key(3)], puller)).unwrap().len();
    assert_eq!((by_key(None), by_key(emp())), (1, 2));
}

#[test]
fn what_the_hub_took_and_when_is_remembered() {
    let mut opened = opened();
    let party = PartyId::parse("CPO:CHABC").unwrap();
    let mut take = |records: Vec<(EvseKey, Option<[u8; 32]>)>, is_all| {
        let taken = Acknowledged { party: party.clone(), kind: Kind::Data, records, is_all };
        opened.directory.acknowledge(&taken).unwrap();
        wait(opened.reader.hub_acknowledged(party.clone(), Kind::Data))
            .unwrap()
            .into_keys()
            .collect::<Vec<_>>()
    };
    assert_eq!(take(vec![(key(1), Some([1; 32])), (key(2), Some([2; 32]))], true), [key(1), key(2)]);
    assert_eq!(take(vec![(key(1), None), (key(3), Some([3; 32]))], false), [key(2), key(3)]);
    assert_eq!(take(vec![(key(4), Some([4; 32]))], true), [key(4)]);
    opened.directory.mark("pull-data", 5).unwrap();
    opened.directory.mark("pull-data", 6).unwrap();
    assert_eq!(wait(opened.reader.hub_marks()).unwrap(), [("pull-data".to_owned(), 6)].into());
    assert_eq!(wait(opened.reader.bridged_operators()).unwrap(), [("CH*HUB".to_owned(), 3)]);
    assert_eq!(wait(opened.reader.bridged_keys(String::new(), 2)).unwrap(), [key(2), key(3)]);
}
