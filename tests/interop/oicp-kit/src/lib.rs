//! What the interoperability tests need: a network of running nodes, backends made of `oicp-kit`, and the list of
//! what was shown and what could not be.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

pub mod backends;
pub mod network;
pub mod verdicts;

use serde::de::DeserializeOwned;
use serde_json::Value;

/// A message of the other implementation, from what it looks like on the wire.
///
/// # Panics
/// If the other implementation does not read it.
#[must_use]
pub fn message<T: DeserializeOwned>(json: Value) -> T {
    let text = json.to_string();
    serde_json::from_value(json).unwrap_or_else(|error| panic!("{error}: {text}"))
}
