//! Answers to repair questions: a feed, or what changed of it, with the head that it was cut from.

use rusqlite::{Connection, OptionalExtension, Result, params};
use sha2::{Digest as _, Sha256};

use crate::protocol::{
    BUCKETS, Digest, EMPTY_BUCKET, FeedId, Have, Kind, Leaf, SignedHead, SyncChunk, SyncEntry, SyncRequest,
    SyncStart, bucket_hash, bucket_of, leaf_hash, root_hash,
};
use crate::storage::StorageError;
use crate::storage::value::{Number, audience_text, blob, bytes, digest, number, text};

/// Bytes of a chunk before compression at which it is closed: some hundred records, a slice of a few
/// milliseconds for who applies it.
const CHUNK_BYTES: usize = 256 * 1024;

/// The answer to a repair question, from one snapshot.
#[derive(Clone, Debug)]
pub struct FeedAnswer {
    /// The signed head, and which buckets follow.
    pub start: SyncStart,
    /// Records and tombstones in key order.
    pub chunks: Vec<SyncChunk>,
}

struct Stored {
    id: i64,
    kind: Kind,
    incarnation: u64,
    seq: u64,
    horizon_seq: u64,
    root: Digest,
    signed: SignedHead,
}

/// A record without its value, or a tombstone.
struct Entry {
    key: Box<str>,
    seq: u64,
    at_unix_ms: u64,
    hash: Digest,
    alive: bool,
}

/// Answers a repair question; `None` if the feed is not here, the asker is ahead, or the records do not
/// add up to the head: then somebody else has to answer.
pub(crate) fn feed_answer(
    connection: &Connection,
    request: &SyncRequest,
) -> Result<Option<FeedAnswer>, StorageError> {
    let Some(stored) = stored(connection, request)? else { return Ok(None) };
    let mut entries = live_entries(connection, &stored)?;
    let buckets = bucket_hashes(&entries);
    if root_hash(&buckets) != stored.root {
        return Ok(None);
    }
    let sent = match &request.have {
        Have::Since { incarnation, seq } if *incarnation == stored.incarnation => {
            if *seq > stored.seq {
                return Ok(None);
            }
            (*seq < stored.horizon_seq).then(every_bucket)
        }
        Have::Buckets(theirs) => Some(differing(&buckets, theirs)),
        Have::Since { .. } | Have::Nothing => Some(every_bucket()),
    };
    match (&sent, &request.have) {
        (Some(sent), _) if sent.len() < BUCKETS => {
            entries.retain(|entry| u8::try_from(bucket_of(&entry.key)).is_ok_and(|b| sent.contains(&b)));
        }
        (None, Have::Since { seq, .. }) => {
            entries.retain(|entry| entry.seq > *seq);
            entries.extend(tombstones(connection, stored.id, *seq)?);
            entries.sort_by(|a, b| a.key.cmp(&b.key));
        }
        _ => {}
    }
    let chunks = chunks(connection, &stored, &entries)?;
    Ok(Some(FeedAnswer { start: SyncStart { head: stored.signed, buckets: sent }, chunks }))
}

fn every_bucket() -> Vec<u8> {
    (0..=u8::MAX).collect()
}

fn differing(ours: &[Digest; BUCKETS], theirs: &[Digest]) -> Vec<u8> {
    every_bucket().into_iter().filter(|b| ours.get(usize::from(*b)) != theirs.get(usize::from(*b))).collect()
}

fn stored(connection: &Connection, request: &SyncRequest) -> Result<Option<Stored>> {
    let FeedId { party, kind, audience } = &request.feed;
    connection
        .prepare_cached(
            "SELECT id, incarnation, seq, horizon_seq, root, signed FROM feeds
             WHERE party = ? AND kind = ? AND audience = ? AND signed IS NOT NULL",
        )?
        .query_row(params![party.to_text(), kind.code(), audience_text(audience)], |row| {
            let signed = SignedHead::from_bytes(bytes(row, 5)?)
                .map_err(|error| crate::storage::value::damaged(5, error))?;
            Ok(Stored {
                id: row.get(0)?,
                kind: request.feed.kind,
                incarnation: number(row, 1)?,
                seq: number(row, 2)?,
                horizon_seq: number(row, 3)?,
                root: digest(row, 4)?,
                signed,
            })
        })
        .optional()
}

/// The live records of a feed in key order.
fn live_entries(connection: &Connection, stored: &Stored) -> Result<Vec<Entry>> {
    let sql = match stored.kind {
        Kind::Data => {
            "SELECT key, seq, at_unix_ms, hash FROM data INDEXED BY data_live
             WHERE feed = ? AND died IS NULL ORDER BY key"
        }
        Kind::Status => "SELECT key, seq, at_unix_ms, status FROM status WHERE feed = ? ORDER BY key",
        Kind::Pricing => "SELECT key, seq, at_unix_ms, value FROM price WHERE feed = ? ORDER BY key",
    };
    let mut statement = connection.prepare_cached(sql)?;
    let entries = statement.query_map([stored.id], |row| {
        let hash = match stored.kind {
            Kind::Data => digest(row, 3)?,
            Kind::Status | Kind::Pricing => Sha256::digest(blob(row, 3)?).into(),
        };
        let (seq, at_unix_ms) = (number(row, 1)?, number(row, 2)?);
        Ok(Entry { key: text(row, 0)?.into(), seq, at_unix_ms, hash, alive: true })
    })?;
    entries.collect()
}

fn tombstones(connection: &Connection, feed: i64, since: u64) -> Result<Vec<Entry>> {
    let mut statement = connection
        .prepare_cached("SELECT key, seq, at_unix_ms FROM tombstones WHERE feed = ? AND seq > ?")?;
    let entries = statement.query_map(params![feed, Number(since)], |row| {
        let (seq, at_unix_ms) = (number(row, 1)?, number(row, 2)?);
        Ok(Entry { key: text(row, 0)?.into(), seq, at_unix_ms, hash: [0; 32], alive: false })
    })?;
    entries.collect()
}

fn bucket_hashes(entries: &[Entry]) -> [Digest; BUCKETS] {
    let mut leaves: Vec<Vec<Digest>> = vec![Vec::new(); BUCKETS];
    for Entry { key, seq, at_unix_ms, hash, .. } in entries {
        if let Some(bucket) = leaves.get_mut(bucket_of(key)) {
            bucket.push(leaf_hash(&Leaf { key, seq: *seq, at_unix_ms: *at_unix_ms, hash: *hash }));
        }
    }
    let mut hashes = [EMPTY_BUCKET; BUCKETS];
    for (hash, leaves) in hashes.iter_mut().zip(leaves) {
        *hash = bucket_hash(leaves.into_iter());
    }
    hashes
}

fn chunks(connection: &Connection, stored: &Stored, entries: &[Entry]) -> Result<Vec<SyncChunk>> {
    let sql = match stored.kind {
        Kind::Data => {
            "SELECT p.body FROM data d JOIN payloads p ON p.id = d.id
             WHERE d.feed = ? AND d.key = ? AND d.died IS NULL"
        }
        Kind::Status => "SELECT status FROM status WHERE feed = ? AND key = ?",
        Kind::Pricing => "SELECT value FROM price WHERE feed = ? AND key = ?",
    };
    let mut statement = connection.prepare_cached(sql)?;
    let mut chunks = Vec::new();
    let mut open = Vec::new();
    let mut size = 0;
    for entry in entries {
        let value = if entry.alive {
            Some(statement.query_row(params![stored.id, entry.key], |row| bytes(row, 0))?)
        } else {
            None
        };
        size += entry.key.len() + value.as_ref().map_or(0, bytes::Bytes::len) + 24;
        let Entry { key, seq, at_unix_ms, .. } = entry;
        open.push(SyncEntry { key: key.to_string(), seq: *seq, at_unix_ms: *at_unix_ms, value });
        if size >= CHUNK_BYTES {
            chunks.push(SyncChunk::encode(&open));
            open.clear();
            size = 0;
        }
    }
    if !open.is_empty() {
        chunks.push(SyncChunk::encode(&open));
    }
    Ok(chunks)
}
