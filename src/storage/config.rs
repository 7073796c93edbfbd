//! Settings of storage.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Settings of storage: where the databases are, and how much a reader may cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Directory of the two databases and the lock file. Made if it is missing.
    pub data_dir: PathBuf,
    /// Connections that answer pulls and repairs, each on a thread of its own.
    pub readers: usize,
    /// Questions that may wait for a reader; more are refused as busy.
    pub read_queue_max: usize,
    /// Batches that may wait for the writer; more wait outside.
    pub write_queue_max: usize,
    /// Cost limit of one question in steps of SQLite's virtual machine; about 40 million are done in a
    /// second, so the default stands for about ten seconds. Steps, because storage has no clock.
    pub read_steps_max: u64,
    /// Most rows of one answer that is not paged (all statuses).
    pub answer_rows_max: usize,
    /// Page cache of one writer in KiB.
    pub writer_cache_kib: u32,
    /// Page cache of one reader in KiB.
    pub reader_cache_kib: u32,
    /// How long old versions and tombstones are kept, in days; a delta pull that goes further back is
    /// answered in full (`decisions.md` 13).
    pub history_days: u32,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            data_dir: PathBuf::from("data"),
            readers: 2,
            read_queue_max: 64,
            write_queue_max: 64,
            read_steps_max: 400_000_000,
            answer_rows_max: 2_000_000,
            writer_cache_kib: 16 * 1024,
            reader_cache_kib: 4 * 1024,
            history_days: 30,
        }
    }
}
