//! CBOR maps with integer keys, read with every limit in place: the form of all payloads here.

use std::collections::BTreeMap;

use ciborium::value::{Integer, Value};
use thiserror::Error;

use super::id::CanonicalId;
use super::key::PublicKey;

/// Deepest nesting of a payload: map, array, map or array, scalar, with some room to grow.
const CBOR_DEPTH_MAX: usize = 8;
/// Most keys of one map. The largest object has 12; later versions may add some.
const MAP_ENTRIES_MAX: usize = 64;

/// What was wrong with the content of a signed object: always the sender's fault.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FieldError {
    /// Not CBOR, nested too deep, not a map of integer keys, or bytes behind its end.
    #[error("the payload is not one CBOR map with integer keys (depth at most 8, nothing behind it)")]
    NotAMap,
    /// The same key twice.
    #[error("key {key} is in the map twice")]
    Twice {
        /// The key.
        key: i64,
    },
    /// A key that must be there is not.
    #[error("key {key} ({name}) is missing")]
    Missing {
        /// The key.
        key: i64,
        /// What it means.
        name: &'static str,
    },
    /// A value of the wrong type, range or length.
    #[error("key {key} ({name}): expected {expected}")]
    Wrong {
        /// The key.
        key: i64,
        /// What it means.
        name: &'static str,
        /// What should be there.
        expected: &'static str,
    },
}

/// Writes a map in the key order of RFC 8949 section 4.2.1, so that the same object is the same bytes.
pub(super) fn encode(mut entries: Vec<(i64, Value)>) -> Vec<u8> {
    entries.sort_by_key(|(key, _)| (*key < 0, key.unsigned_abs()));
    let map = entries.into_iter().map(|(key, value)| (Value::from(key), value)).collect();
    to_bytes(&Value::Map(map))
}

/// CBOR of a value. Writing into a `Vec` cannot fail for the values built in this module.
fn to_bytes(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    if ciborium::into_writer(value, &mut bytes).is_err() {
        // Unreachable for a Vec; an empty payload is refused by every decoder, so nothing false leaves.
        bytes.clear();
    }
    bytes
}

/// Reads one CBOR value that fills `bytes` exactly.
pub(super) fn read_value(bytes: &[u8]) -> Result<Value, FieldError> {
    let mut rest = bytes;
    let value: Value = ciborium::de::from_reader_with_recursion_limit(&mut rest, CBOR_DEPTH_MAX)
        .map_err(|_| FieldError::NotAMap)?;
    if rest.is_empty() { Ok(value) } else { Err(FieldError::NotAMap) }
}

/// The entries of a decoded map; each is taken out once, what is left over is of a later version.
#[derive(Debug)]
pub(super) struct Fields(BTreeMap<i64, Value>);

impl Fields {
    /// Decodes a payload.
    pub(super) fn read(bytes: &[u8]) -> Result<Fields, FieldError> {
        Fields::of(read_value(bytes)?)
    }

    /// Takes an already decoded map.
    pub(super) fn of(value: Value) -> Result<Fields, FieldError> {
        let Value::Map(entries) = value else { return Err(FieldError::NotAMap) };
        if entries.len() > MAP_ENTRIES_MAX {
            return Err(FieldError::NotAMap);
        }
        let mut fields = BTreeMap::new();
        for (key, value) in entries {
            let Value::Integer(key) = key else { return Err(FieldError::NotAMap) };
            let key = i64::try_from(key).map_err(|_| FieldError::NotAMap)?;
            if fields.insert(key, value).is_some() {
                return Err(FieldError::Twice { key });
            }
        }
        Ok(Fields(fields))
    }

    /// A non-empty text of at most `length_max` bytes without control characters.
    pub(super) fn text(
        &mut self,
        key: i64,
        name: &'static str,
        length_max: usize,
    ) -> Result<String, FieldError> {
        let value = self.must(key, name)?;
        short_text(value, length_max).ok_or(FieldError::Wrong { key, name, expected: "a short text" })
    }

    /// Such a text, or an empty one if the key is not there.
    pub(super) fn text_maybe(
        &mut self,
        key: i64,
        name: &'static str,
        length_max: usize,
    ) -> Result<String, FieldError> {
        if self.0.contains_key(&key) { self.text(key, name, length_max) } else { Ok(String::new()) }
    }

    /// Bytes, of at most `length_max`.
    pub(super) fn bytes(
        &mut self,
        key: i64,
        name: &'static str,
        length_max: usize,
    ) -> Result<Vec<u8>, FieldError> {
        match self.must(key, name)? {
            Value::Bytes(bytes) if bytes.len() <= length_max => Ok(bytes),
            _ => Err(FieldError::Wrong { key, name, expected: "a short byte string" }),
        }
    }

    /// Such bytes, if the key is there.
    pub(super) fn bytes_maybe(
        &mut self,
        key: i64,
        name: &'static str,
        length_max: usize,
    ) -> Result<Option<Vec<u8>>, FieldError> {
        if self.0.contains_key(&key) { self.bytes(key, name, length_max).map(Some) } else { Ok(None) }
    }

    /// 32 bytes, if the key is there.
    pub(super) fn hash_maybe(
        &mut self,
        key: i64,
        name: &'static str,
    ) -> Result<Option<[u8; 32]>, FieldError> {
        let wrong = FieldError::Wrong { key, name, expected: "32 bytes" };
        match self.0.remove(&key) {
            None => Ok(None),
            Some(Value::Bytes(bytes)) => bytes.try_into().map(Some).map_err(|_| wrong),
            Some(_) => Err(wrong),
        }
    }

    /// An unsigned integer of at most 63 bits (RFC 8392 times, counters, epochs).
    pub(super) fn number(&mut self, key: i64, name: &'static str) -> Result<u64, FieldError> {
        match self.must(key, name)? {
            Value::Integer(number) => i64::try_from(number).ok().and_then(|n| u64::try_from(n).ok()),
            _ => None,
        }
        .ok_or(FieldError::Wrong { key, name, expected: "an integer from 0 to 2^63-1" })
    }

    /// An array of at most `count_max` values.
    pub(super) fn array(
        &mut self,
        key: i64,
        name: &'static str,
        count_max: usize,
    ) -> Result<Vec<Value>, FieldError> {
        match self.must(key, name)? {
            Value::Array(values) if values.len() <= count_max => Ok(values),
            _ => Err(FieldError::Wrong { key, name, expected: "an array within its limit" }),
        }
    }

    /// An array of short texts.
    pub(super) fn texts(
        &mut self,
        key: i64,
        name: &'static str,
        count_max: usize,
        length_max: usize,
    ) -> Result<Vec<String>, FieldError> {
        self.array(key, name, count_max)?
            .into_iter()
            .map(|value| {
                short_text(value, length_max).ok_or(FieldError::Wrong {
                    key,
                    name,
                    expected: "an array of short texts",
                })
            })
            .collect()
    }

    /// An array of canonical ids, in canonical spelling and strictly ascending, so none is there twice.
    pub(super) fn ids(
        &mut self,
        key: i64,
        name: &'static str,
        count_max: usize,
    ) -> Result<Vec<CanonicalId>, FieldError> {
        let wrong = FieldError::Wrong { key, name, expected: "canonical ids in ascending order" };
        let mut ids: Vec<CanonicalId> = Vec::new();
        for text in self.texts(key, name, count_max, super::id::ID_WIRE_LENGTH_MAX)? {
            let id = CanonicalId::parse(&text).map_err(|_| wrong.clone())?;
            if id.as_str() != text || ids.last().is_some_and(|last| *last >= id) {
                return Err(wrong);
            }
            ids.push(id);
        }
        Ok(ids)
    }

    /// A usable public key.
    pub(super) fn key(&mut self, key: i64, name: &'static str) -> Result<PublicKey, FieldError> {
        let bytes = self.bytes(key, name, 32)?;
        PublicKey::from_slice(&bytes).map_err(|_| FieldError::Wrong {
            key,
            name,
            expected: "an Ed25519 public key",
        })
    }

    /// A value that must be there.
    pub(super) fn must(&mut self, key: i64, name: &'static str) -> Result<Value, FieldError> {
        self.0.remove(&key).ok_or(FieldError::Missing { key, name })
    }
}

fn short_text(value: Value, length_max: usize) -> Option<String> {
    match value {
        Value::Text(text)
            if !text.is_empty() && text.len() <= length_max && !text.chars().any(char::is_control) =>
        {
            Some(text)
        }
        _ => None,
    }
}

/// A number as a CBOR value.
pub(super) fn number(value: u64) -> Value {
    Value::Integer(Integer::from(value))
}

/// Bytes as a CBOR value.
pub(super) fn bytes(value: &[u8]) -> Value {
    Value::Bytes(value.to_vec())
}

/// Texts as a CBOR array.
pub(super) fn texts<'a>(values: impl Iterator<Item = &'a str>) -> Value {
    Value::Array(values.map(|text| Value::Text(text.to_owned())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_written_in_one_order_and_read_back() {
        let one = encode(vec![(-1, number(1)), (4, number(2)), (1, Value::from("x")), (-70_001, number(3))]);
        let two = encode(vec![(1, Value::from("x")), (-70_001, number(3)), (4, number(2)), (-1, number(1))]);
        assert_eq!(one, two);
        let mut fields = Fields::read(&one).unwrap();
        assert_eq!(fields.text(1, "x", 5).unwrap(), "x");
        assert_eq!(fields.number(-70_001, "n").unwrap(), 3);
        assert_eq!(fields.number(99, "n"), Err(FieldError::Missing { key: 99, name: "n" }));
    }

    #[test]
    fn doubled_keys_trailing_bytes_and_deep_nesting_are_refused() {
        assert_eq!(Fields::read(&[0xa2, 1, 1, 1, 2]).unwrap_err(), FieldError::Twice { key: 1 });
        assert_eq!(Fields::read(&[0xa1, 1, 1, 0]).unwrap_err(), FieldError::NotAMap);
        assert_eq!(Fields::read(&[]).unwrap_err(), FieldError::NotAMap);
        let mut deep = vec![0xa1, 1];
        deep.extend([0x81; 1000]);
        deep.push(0);
        assert_eq!(Fields::read(&deep).unwrap_err(), FieldError::NotAMap);
    }

    #[test]
    fn any_bytes_are_read_or_refused_and_never_panic() {
        bolero::check!().for_each(|input: &[u8]| {
            let _ = Fields::read(input);
        });
    }
}
