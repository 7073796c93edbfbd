//! CBOR for people: the diagnostic notation of RFC 8949 section 8, and which keys a payload has.

use std::collections::BTreeSet;

use chargemesh::identity::hash_of;
use ciborium::Value;

/// Longest byte string that is written out in a file's decoded part, bytes.
const SHOWN_BYTES_MAX: usize = 64;

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes that are one CBOR value.
pub(crate) fn value_of(bytes: &[u8]) -> Value {
    let mut rest = bytes;
    let value = ciborium::from_reader(&mut rest).unwrap();
    assert!(rest.is_empty(), "bytes behind the value");
    value
}

/// Diagnostic notation; a long byte string is named by its length and SHA-256.
pub(crate) fn shown(value: &Value) -> String {
    let list = |parts: Vec<String>| parts.join(", ");
    match value {
        Value::Integer(number) => i128::from(*number).to_string(),
        Value::Bytes(bytes) if bytes.len() > SHOWN_BYTES_MAX => {
            format!("{} bytes with SHA-256 h'{}'", bytes.len(), hex(&hash_of(bytes)))
        }
        Value::Bytes(bytes) => format!("h'{}'", hex(bytes)),
        Value::Text(text) => format!("{text:?}"),
        Value::Array(values) => format!("[{}]", list(values.iter().map(shown).collect())),
        Value::Map(entries) => {
            let entry = |(key, value): &(Value, Value)| format!("{}: {}", shown(key), shown(value));
            format!("{{{}}}", list(entries.iter().map(entry).collect()))
        }
        Value::Null => "null".to_owned(),
        other => panic!("{other:?} is in no object of the mesh"),
    }
}

/// Every place of a payload once, with the first value there: keys joined by dots, positions of the outermost
/// array as numbers, elements of inner arrays as `[]`.
pub(crate) fn places(payload: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    match payload {
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                walk(value, &index.to_string(), true, &mut found);
            }
        }
        value => walk(value, "", false, &mut found),
    }
    let mut seen = BTreeSet::new();
    found.retain(|(place, _)| seen.insert(place.clone()));
    found
}

fn walk(value: &Value, place: &str, named: bool, found: &mut Vec<(String, String)>) {
    if named {
        found.push((place.to_owned(), shown(value)));
    }
    match value {
        Value::Map(entries) => {
            for (key, value) in entries {
                let dot = if place.is_empty() { "" } else { "." };
                let key = key.as_text().map_or_else(|| shown(key), ToOwned::to_owned);
                walk(value, &format!("{place}{dot}{key}"), true, found);
            }
        }
        Value::Array(values) => {
            values.iter().for_each(|value| walk(value, &format!("{place}[]"), false, found))
        }
        _ => {}
    }
}
