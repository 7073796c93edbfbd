//! CBOR and zstd with limits: nothing that arrives can recurse, repeat or grow without bound.

use std::cell::RefCell;
use std::io::Read;

use serde::Serialize;
use serde::de::DeserializeOwned;
use zstd::zstd_safe::{self, DCtx, ResetDirective};

/// Deepest nesting of CBOR that is read.
const DEPTH_MAX: usize = 16;

/// Largest window of a zstd frame, as a power of two in bytes: what [`super::SYNC_CHUNK_BYTES_MAX`] needs.
/// A frame may ask for more, and the decoder would set it aside at once.
const WINDOW_LOG_MAX: u32 = 22;

/// zstd level: 3 gives 43 to 50 bytes per EVSE in key order; higher levels cost more than they save.
const ZSTD_LEVEL: i32 = 3;

thread_local! {
    /// Kept, because making one costs as much as checking half a signature (measured) and every announcement
    /// needs it. It keeps a window of 4 MiB at most ([`WINDOW_LOG_MAX`]).
    static DECOMPRESSOR: RefCell<DCtx<'static>> = RefCell::new(DCtx::create());
}

/// Why bytes of another node could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    /// More bytes than the limit.
    #[error("{what} has {size} bytes, the limit is {limit}")]
    TooLarge {
        /// What was read.
        what: &'static str,
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// Not CBOR of the expected shape, or nested too deeply.
    #[error("{what} is not readable: {why}")]
    Malformed {
        /// What was read.
        what: &'static str,
        /// What the decoder said.
        why: String,
    },
    /// The shape is right, a value is not.
    #[error("{what}: {rule}")]
    Invalid {
        /// What was read.
        what: &'static str,
        /// The rule that is broken.
        rule: &'static str,
    },
    /// Of a kind that this version does not know (`decisions.md` 21): not wrong, only new.
    #[error("{what}: kind {kind} is not known to this version")]
    UnknownKind {
        /// What was read.
        what: &'static str,
        /// The kind's number.
        kind: u8,
    },
}

/// Encodes a value as CBOR.
pub(super) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Writing into a Vec cannot fail, and our own types have no unserialisable value.
    let written = ciborium::into_writer(value, &mut bytes);
    debug_assert!(written.is_ok());
    bytes
}

/// Why bytes cannot be decoded, and where.
fn in_words<E>(error: ciborium::de::Error<E>, size_bytes: usize) -> String {
    use ciborium::de::Error;
    match error {
        // Bytes in memory end, and have no other fault.
        Error::Io(_) if size_bytes == 0 => "it is empty".to_owned(),
        Error::Io(_) => format!("it ends too early, after {size_bytes} bytes"),
        Error::Syntax(at) => format!("there is no CBOR at byte {at}"),
        Error::Semantic(Some(at), why) => format!("it has another form at byte {at}: {why}"),
        Error::Semantic(None, why) => format!("it has another form: {why}"),
        Error::RecursionLimitExceeded => "it is nested too deeply".to_owned(),
    }
}

/// Decodes CBOR of at most `limit` bytes; trailing bytes are refused.
pub(super) fn decode<T: DeserializeOwned>(
    what: &'static str,
    bytes: &[u8],
    limit: usize,
) -> Result<T, ProtocolError> {
    if bytes.len() > limit {
        return Err(ProtocolError::TooLarge { what, size: bytes.len(), limit });
    }
    let mut rest = bytes;
    let value = ciborium::de::from_reader_with_recursion_limit(&mut rest, DEPTH_MAX)
        .map_err(|error| ProtocolError::Malformed { what, why: in_words(error, bytes.len()) })?;
    if !rest.is_empty() {
        return Err(ProtocolError::Invalid { what, rule: "bytes after the end" });
    }
    Ok(value)
}

/// Compresses bytes with zstd.
pub fn compress(bytes: &[u8]) -> Vec<u8> {
    // Compression of a slice into memory fails only on allocation errors, which abort anyway.
    zstd::bulk::compress(bytes, ZSTD_LEVEL).unwrap_or_default()
}

/// Decompresses zstd to at most `limit` bytes.
pub fn decompress(what: &'static str, bytes: &[u8], limit: usize) -> Result<Vec<u8>, ProtocolError> {
    let malformed = |error: std::io::Error| ProtocolError::Malformed { what, why: error.to_string() };
    let mut plain = Vec::with_capacity(bytes.len().saturating_mul(4).min(limit));
    DECOMPRESSOR.with_borrow_mut(|context| {
        // Whatever became of the frame before: this one begins anew.
        let reset = context.reset(ResetDirective::SessionAndParameters);
        reset.map_err(|code| malformed(std::io::Error::other(zstd_safe::get_error_name(code))))?;
        let mut reader = zstd::stream::read::Decoder::with_context(bytes, context);
        reader.window_log_max(WINDOW_LOG_MAX).map_err(malformed)?;
        reader.take(limit as u64 + 1).read_to_end(&mut plain).map_err(malformed)
    })?;
    if plain.len() > limit {
        return Err(ProtocolError::TooLarge { what, size: plain.len(), limit });
    }
    Ok(plain)
}
