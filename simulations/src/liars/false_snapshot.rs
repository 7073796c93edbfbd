//! Answers repairs with the genuine head, and records that are not those that it was signed over.

use std::time::Duration;

use bytes::Bytes;
use chargemesh::protocol::{Have, Kind, NodeId, SyncEntry, SyncFrame, SyncRequest};

use super::liar::{Act, Liar, Served};
use super::own::whole;

/// Serves what is not so.
pub(super) struct FalseSnapshot;

impl Act for FalseSnapshot {
    fn every(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn tick(&mut self, _: &mut Liar) {}

    fn served(&mut self, liar: &mut Liar, from: &NodeId, request: &SyncRequest) -> Served {
        let Some(feed) = liar.archive.feeds.get(&request.feed).cloned() else {
            return Served::Frames(vec![SyncFrame::Unavailable]);
        };
        let kind = request.feed.kind;
        let mut entries: Vec<SyncEntry> = feed.records.into_values().collect();
        let at = liar.below(entries.len());
        match liar.below(3) {
            _ if entries.is_empty() => {}
            0 => drop(entries.remove(at)),
            1 => entries[at].value = entries[at].value.as_ref().map(|value| altered(kind, value)),
            _ => {
                let mut extra = entries[at].clone();
                extra.key.push('9');
                extra.value = extra.value.map(|value| renamed(kind, &value));
                entries.push(extra);
            }
        }
        // Before everything is asked for, the asker's own past may be what does not fit.
        if request.have == Have::Nothing {
            liar.lied_to(from);
        }
        Served::Frames(whole(feed.newest.signed, entries))
    }
}

/// Another value that can be read as well.
fn altered(kind: Kind, value: &Bytes) -> Bytes {
    match kind {
        Kind::Status if value.as_ref() == b"Available" => Bytes::from_static(b"OutOfService"),
        Kind::Status => Bytes::from_static(b"Available"),
        Kind::Data | Kind::Pricing => {
            Bytes::from(String::from_utf8_lossy(value).replacen('{', r#"{"x-price":"0","#, 1))
        }
    }
}

/// The record of an EVSE whose id is longer by one character.
fn renamed(kind: Kind, value: &Bytes) -> Bytes {
    match kind {
        Kind::Status | Kind::Pricing => value.clone(),
        Kind::Data => {
            let text = String::from_utf8_lossy(value).into_owned();
            let (start, end) = match text.split_once(r#"{"EvseID":""#) {
                Some((_, rest)) => rest.split_once('"').unwrap_or_default(),
                None => return value.clone(),
            };
            Bytes::from(format!(r#"{{"EvseID":"{start}9"{end}"#))
        }
    }
}
