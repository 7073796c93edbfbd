//! The form of a vector's file: JSON, read from the top like a page.

use std::collections::BTreeMap;

use chargemesh::identity::{hash_of, peek};
use ciborium::Value;
use serde::Serialize;

use super::notation::{hex, places, shown, value_of};
use super::samples::meanings::{HEADER, Meanings};
use super::samples::{Kid, NETWORK, Sample, secret};

/// One vector. The fields are described in `README.md`.
#[derive(Serialize)]
pub(crate) struct File {
    name: &'static str,
    what: &'static str,
    form: &'static str,
    network: &'static str,
    secret_seeds: BTreeMap<&'static str, String>,
    public_keys: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signed: Option<Signed>,
    payload_fields: Vec<Field>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    records: BTreeMap<String, Record>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    further: BTreeMap<&'static str, String>,
    unsigned_bits: Vec<usize>,
    payload: String,
    object: String,
    hash: String,
}

/// The frame's other three parts.
#[derive(Serialize)]
struct Signed {
    by: &'static str,
    kid_is: &'static str,
    kid_of: &'static str,
    protected_fields: Vec<Field>,
    protected: String,
    unprotected: String,
    signature: String,
}

/// One key of the payload.
#[derive(Serialize)]
struct Field {
    key: String,
    value: String,
    means: &'static str,
}

/// A record of a feed, and what it adds to the root.
#[derive(Serialize)]
pub(crate) struct Record {
    pub(crate) seq: u64,
    pub(crate) at_unix_ms: u64,
    pub(crate) value: String,
    pub(crate) value_hash: String,
    pub(crate) bucket: usize,
    pub(crate) leaf_hash: String,
}

impl File {
    pub(crate) fn of(sample: &Sample) -> File {
        let (signed, payload) = match sample.signed {
            Some((by, kid)) => {
                let (signed, payload) = parts(&sample.bytes, by, kid);
                (Some(signed), payload)
            }
            None => (None, sample.bytes.clone()),
        };
        let keys = || sample.keys.iter().map(|name| (*name, secret(name)));
        File {
            name: sample.name,
            what: sample.what,
            form: if signed.is_some() { "COSE_Sign1" } else { "CBOR" },
            network: NETWORK,
            secret_seeds: keys().map(|(name, key)| (name, hex(key.seed().as_slice()))).collect(),
            public_keys: keys().map(|(name, key)| (name, hex(key.public().as_bytes()))).collect(),
            signed,
            payload_fields: fields(sample.meanings, &value_of(&payload)),
            records: (sample.records.iter())
                .map(|record| (record.key.to_owned(), record.in_file()))
                .collect(),
            further: sample.further.iter().cloned().collect(),
            unsigned_bits: sample.unsigned_bits.to_vec(),
            payload: hex(&payload),
            object: hex(&sample.bytes),
            hash: hex(&hash_of(&sample.bytes)),
        }
    }

    pub(crate) fn to_text(&self) -> String {
        serde_json::to_string_pretty(self).unwrap() + "\n"
    }
}

fn fields(tables: &[Meanings], payload: &Value) -> Vec<Field> {
    let field = |(key, value): (String, String)| {
        let means = tables.iter().flat_map(|table| table.iter()).find(|(place, _)| *place == key);
        let means = means.unwrap_or_else(|| panic!("say what {key} means ({value})")).1;
        Field { key, value, means }
    };
    places(payload).into_iter().map(field).collect()
}

/// Frame and payload, by a decoder other than the one of `identity`.
fn parts(object: &[u8], by: &'static str, kid: Kid) -> (Signed, Vec<u8>) {
    let header = peek(object).unwrap();
    let (kid_is, kid_of, expected) = match kid {
        Kid::PublicKey(key) => ("public key", key, *secret(key).public().as_bytes()),
        Kid::HashOf(object, hash) => ("hash", object, hash),
    };
    assert_eq!(header.signer, expected, "the kid is not the {kid_is} of {kid_of}");
    let Value::Tag(18, frame) = value_of(object) else { panic!("no tag 18") };
    let Value::Array(frame) = *frame else { panic!("no array") };
    let [Value::Bytes(protected), unprotected, Value::Bytes(payload), Value::Bytes(signature)] = &frame[..]
    else {
        panic!("not four parts")
    };
    let signed = Signed {
        by,
        kid_is,
        kid_of,
        protected_fields: fields(&[HEADER], &value_of(protected)),
        protected: hex(protected),
        unprotected: shown(unprotected),
        signature: hex(signature),
    };
    (signed, payload.clone())
}
