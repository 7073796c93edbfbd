//! CBOR byte strings for bytes and digests: without these, serde would write lists of numbers.

use std::fmt;

use bytes::Bytes;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Digest;

/// Bytes of any length.
pub(super) struct Buf(pub(super) Bytes);

impl Serialize for Buf {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Buf {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Buf, D::Error> {
        deserializer.deserialize_byte_buf(BufVisitor)
    }
}

struct BufVisitor;

impl Visitor<'_> for BufVisitor {
    type Value = Buf;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a byte string")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Buf, E> {
        Ok(Buf(Bytes::copy_from_slice(bytes)))
    }

    fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Buf, E> {
        Ok(Buf(bytes.into()))
    }
}

/// A digest.
#[derive(Clone, Copy)]
pub(super) struct Hash(pub(super) Digest);

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Hash, D::Error> {
        let Buf(bytes) = Buf::deserialize(deserializer)?;
        let digest = bytes.as_ref().try_into().map_err(|_| D::Error::custom("a digest has 32 bytes"))?;
        Ok(Hash(digest))
    }
}

/// For `#[serde(with)]` on a field that is a [`Digest`].
pub(super) mod digest {
    use super::{Deserialize, Deserializer, Digest, Hash, Serialize, Serializer};

    pub(in crate::protocol) fn serialize<S: Serializer>(
        digest: &Digest,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        Hash(*digest).serialize(serializer)
    }

    pub(in crate::protocol) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Digest, D::Error> {
        Ok(Hash::deserialize(deserializer)?.0)
    }
}
