//! The settings of replication and guard rails, each with unit and reason.

use serde::{Deserialize, Serialize};

/// Whose feeds a node holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Replicate {
    /// `all` if a party of the node is an EMP or HUB, or if it has no party that publishes; else `own`.
    Auto,
    /// Everybody's public feeds.
    All,
    /// Only those that parties of this node write.
    Own,
}

/// `[replication]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whose feeds this node holds: `auto`, `all` or `own`. A CPO's node needs only its own.
    pub replicate: Replicate,
    /// A push that would remove more than this share of a feed's records is held, in percent.
    pub guard_share_percent: u8,
    /// ... and more than this number of records: small operators change as they like.
    pub guard_records: u64,
    /// Pushes that may wait for confirmation at once.
    pub held_pushes_max: usize,
    /// A party's heads are announced again after this time without a change, in seconds.
    pub heartbeat_s: u64,
    /// Heads are compared with a random peer this often, in seconds.
    pub compare_s: u64,
    /// After a connection or a gap heads are compared this often, in seconds ...
    pub compare_soon_s: u64,
    /// ... for this long, in seconds.
    pub compare_soon_for_s: u64,
    /// A feed without a fresh head is dropped after this time, in days.
    pub stale_after_days: u64,
    /// Wait for a frame of a repair answer, in seconds; then another peer is asked.
    pub sync_timeout_s: u64,
    /// Repairs under way at once: each holds one feed's compressed answer in memory.
    pub syncs_max: usize,
    /// Compressed bytes of one repair answer: 50 bytes for each of a million EVSEs, and room.
    pub sync_bytes_max: usize,
    /// Records in one feed.
    pub records_max: u64,
    /// Feeds that a node holds: two for each of some thousand parties.
    pub feeds_max: usize,
    /// Announcements of one feed per second, averaged over ten seconds; what is more is repaired later.
    pub announcements_per_s: u32,
    /// How long a starting node asks peers for its own feeds before it writes, in milliseconds.
    pub own_check_ms: u64,
    /// Messages held while their sender's credential is asked for.
    pub unknown_sender_messages_max: usize,
    /// ... for this long, in milliseconds.
    pub unknown_sender_ms: u64,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            replicate: Replicate::Auto,
            guard_share_percent: 20,
            guard_records: 10,
            held_pushes_max: 16,
            heartbeat_s: 300,
            compare_s: 60,
            compare_soon_s: 5,
            compare_soon_for_s: 120,
            stale_after_days: 30,
            sync_timeout_s: 15,
            syncs_max: 8,
            sync_bytes_max: 96 * 1024 * 1024,
            records_max: 2_000_000,
            feeds_max: 20_000,
            announcements_per_s: 100,
            own_check_ms: 2_000,
            unknown_sender_messages_max: 256,
            unknown_sender_ms: 2_000,
        }
    }
}
