//! How a backend's message is read: like the hub, or so that real data gets in.

/// The two readings of a message (decisions 14).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Reading {
    /// Any breach of the published schema refuses the message with the hub's FaultBody (HTTP 400).
    #[default]
    Strict,
    /// Deviating names, types and shapes are accepted and reported as findings.
    Tolerant,
}
