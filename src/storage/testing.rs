//! What the tests of storage share: feeds, records and heads that add up.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::{Config, Directory, Ledger, MemoryDisk, Place, Reader, Runner, ThreadSpawner};
use crate::identity::{MessageId, PartyId, Role};
use crate::oicp::geo::Position;
use crate::oicp::id::{EvseId, EvseKey};
use crate::oicp::record::Summary;
use crate::protocol::{
    BUCKETS, Digest, EMPTY_BUCKET, FeedId, Head, Kind, Leaf, SessionOperation, SessionPhase, SessionRecord,
    SignedHead, Via, bucket_hash, bucket_of, leaf_hash, root_hash,
};
use crate::roaming::change::{DirectoryChange, RecordChange};

pub(super) const DAY_MS: u64 = 24 * 60 * 60 * 1000;

pub(super) fn feed(operator: &str, kind: Kind) -> FeedId {
    FeedId::public(PartyId::new(Role::Cpo, operator).unwrap(), kind)
}

pub(super) fn key(number: u32) -> EvseKey {
    EvseId::parse(&format!("CH*ABC*E{number:05}")).unwrap().key().clone()
}

/// A data record with a value and a place; the value's length decides some filters.
pub(super) fn record(number: u32, seq: u64, value: &str, place: Option<(f64, f64)>) -> RecordChange {
    let key = key(number);
    let summary = Summary {
        key: key.clone(),
        evse_id: format!("CH*ABC*E{number:05}").into(),
        position: place.map(|(lat, lon)| Position { lat, lon }),
        authentication_modes: vec!["REMOTE".into(), "NFC RFID Classic".into()],
        accessibility: Some("Restricted access".into()),
        calibration_law: None,
        renewable_energy: Some(number.is_multiple_of(2)),
        hubject_compatible: Some(true),
        open_24_hours: None,
        country: Some(if number.is_multiple_of(3) { "CHE" } else { "DEU" }.into()),
        dynamic_info: None,
    };
    RecordChange {
        key,
        seq,
        at_unix_ms: seq,
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        hash: Sha256::digest(value).into(),
        summary: Some(Box::new(summary)),
        visible: true,
    }
}

pub(super) fn status(number: u32, seq: u64, value: &str) -> RecordChange {
    RecordChange { summary: None, ..record(number, seq, value, None) }
}

pub(super) fn gone(number: u32, seq: u64) -> RecordChange {
    RecordChange { value: None, summary: None, hash: [0; 32], ..record(number, seq, "", None) }
}

pub(super) fn records(feed: &FeedId, records: Vec<RecordChange>) -> DirectoryChange {
    DirectoryChange::Records { feed: feed.clone(), records }
}

pub(super) fn visibility(feed: &FeedId, number: u32, visible: bool) -> DirectoryChange {
    DirectoryChange::Visibility { feed: feed.clone(), key: key(number), visible }
}

/// The root over records, as the protocol defines it.
pub(super) fn root<'r>(records: impl IntoIterator<Item = &'r RecordChange>) -> Digest {
    let sorted: BTreeMap<&str, &RecordChange> = records.into_iter().map(|r| (r.key.as_str(), r)).collect();
    let mut leaves = vec![Vec::new(); BUCKETS];
    for (key, record) in sorted {
        let RecordChange { seq, at_unix_ms, hash, .. } = record;
        let leaf = Leaf { key, seq: *seq, at_unix_ms: *at_unix_ms, hash: *hash };
        leaves[bucket_of(key)].push(leaf_hash(&leaf));
    }
    let mut buckets = [EMPTY_BUCKET; BUCKETS];
    for (bucket, leaves) in buckets.iter_mut().zip(leaves) {
        *bucket = bucket_hash(leaves.into_iter());
    }
    root_hash(&buckets)
}

pub(super) fn head(feed: &FeedId, incarnation: u64, seq: u64, root: Digest) -> (Head, SignedHead) {
    let head = Head {
        feed: feed.clone(),
        epoch: 1,
        incarnation,
        seq,
        count: 0,
        root,
        created_unix_ms: 1_000 + seq,
        base_seq: seq,
        body: [0; 32],
        operator_id: feed.party.id.to_string(),
        operator_name: "Operator".into(),
    };
    let signed = SignedHead::from_bytes(Bytes::from(format!("{incarnation}/{seq}"))).unwrap();
    (head, signed)
}

pub(super) fn head_change(feed: &FeedId, incarnation: u64, seq: u64, root: Digest) -> DirectoryChange {
    let (head, signed) = head(feed, incarnation, seq, root);
    DirectoryChange::Head { head, signed, received_unix_ms: 5 }
}

/// A session that runs, of EMP:DEDCB with CPO:DEGEF.
pub(super) fn session_record(name: &str, changed_unix_ms: u64) -> SessionRecord {
    SessionRecord {
        session: name.to_owned(),
        operation: SessionOperation::RemoteStart,
        asked_by_us: true,
        ours: PartyId::parse("EMP:DEDCB").unwrap(),
        partner: Some(PartyId::parse("CPO:DEGEF").unwrap()),
        phase: SessionPhase::Active,
        ask: MessageId([3; 16]),
        ask_expires_unix_ms: 12,
        evse: None,
        medium: Some("evco:SECRETCONTRACT".to_owned()),
        stop_media: Vec::new(),
        answer: None,
        cpo_partner_session: None,
        emp_partner_session: None,
        to_release: Vec::new(),
        seen: Vec::new(),
        offline: false,
        to_tell_backend: false,
        via: Via::Direct,
        alias: None,
        opened_unix_ms: 1,
        changed_unix_ms,
    }
}

pub(super) struct Opened {
    pub(super) directory: Directory,
    pub(super) ledger: Ledger,
    pub(super) reader: Reader,
}

pub(super) fn memory() -> Place {
    Place::Memory(MemoryDisk::default())
}

pub(super) fn open(place: &Place) -> Opened {
    let config = Config::default();
    let directory = Directory::open(place, &config).unwrap();
    let ledger = Ledger::open(place, &config).unwrap();
    let reader = Reader::start(&directory, &ledger, &config, &Runner::Inline).unwrap();
    Opened { directory, ledger, reader }
}

/// Runs a future to its end.
pub(super) fn wait<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

pub(super) fn threads() -> Runner {
    let spawner: ThreadSpawner =
        Arc::new(|name, work| std::thread::Builder::new().name(name.into()).spawn(work).map(drop));
    Runner::Threads(spawner)
}
