//! The benchmarks of the product against bare peers, measured interleaved in one run: A B A B, the median of
//! the pairs counts. See `../../README.md`.

mod accounts;
mod bare_exchange;
mod bare_gossip;
mod bare_http;
mod bare_sqlite;
mod cdr_durable;
mod charging_pair;
mod child;
mod client;
mod cold_sync;
mod credentials;
mod evses;
mod facade_throughput;
mod http;
mod hub_million;
mod hub_node;
mod hub_push;
mod measure;
mod parties;
mod prefill;
mod radius_query;
mod radius_rows;
mod remote_start;
mod slow_link;
mod status_fanout;
mod status_ingest;
mod wire;

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

use evses::World;

/// Charging points of the world, unless a flag says otherwise.
const EVSES: usize = 1_000_000;

/// Benchmarks of chargemesh.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    benchmark: Benchmark,
}

/// What every benchmark can be told.
#[derive(Clone, Debug, clap::Args)]
struct Options {
    /// Charging points of the world; 20000 make a quick run. Without it 1,000,000, for hub_push 18,427.
    #[arg(long, global = true)]
    evses: Option<usize>,
    /// Operators of the world.
    #[arg(long, global = true, default_value_t = evses::OPERATORS)]
    operators: usize,
    /// Pairs of product and bare peer.
    #[arg(long, global = true, default_value_t = 5)]
    pairs: usize,
    /// What the made-up data follows from.
    #[arg(long, global = true, default_value_t = 1)]
    seed: u64,
    /// Directory for the databases, emptied afterwards; up to 8 GB for a million charging points. Should be
    /// on a real disk.
    #[arg(long, global = true, default_value = "target/scratch")]
    dir: PathBuf,
}

#[derive(Subcommand)]
#[command(rename_all = "snake_case")]
enum Benchmark {
    /// 1: a remote start from backend to backend, one after the other and 64 at once.
    RemoteStartLoopback,
    /// 2: the same through a link of 20 ms one way.
    RemoteStartWan,
    /// 4: cost of one delivered status update, and delivery with nodes killed.
    StatusFanoutCost {
        #[command(flatten)]
        shape: status_fanout::Shape,
    },
    /// 5: statuses a second that a node takes which holds everything.
    StatusIngest {
        /// Batches of 100 statuses in each pair.
        #[arg(long, default_value_t = 1_000)]
        batches: usize,
    },
    /// 7: an empty node until everything answers.
    ColdSync,
    /// 9: PullEvseData around a point.
    RadiusQuery {
        /// Notation of coordinates that the puller asks for.
        #[arg(long, default_value = "Google")]
        notation: String,
    },
    /// 10: a charge detail record until its receipt is back.
    CdrDurable {
        /// Records that the CPO's node holds already.
        #[arg(long, default_value_t = 0)]
        stored: usize,
    },
    /// 11: what the facade takes from one backend.
    FacadeThroughput,
    /// Credentials of all parties: size on disk, and time to verify them at a start. Without a bare peer.
    Credentials {
        /// Parties in the mesh.
        #[arg(long, default_value_t = 10_000)]
        parties: usize,
    },
    /// Questions about charge detail records, with many stored. Without a bare peer.
    Accounts {
        /// Records in the ledger.
        #[arg(long, default_value_t = 1_000_000)]
        records: usize,
    },
    /// What others publish at the central hub, at a node that keeps it: time and memory. Without a bare peer.
    HubMillion {
        #[command(flatten)]
        pace: hub_node::Pace,
    },
    /// What a backend pushes to its node, until the central hub has all of it.
    HubPush {
        /// Records of one call of the backend; 0: all in one.
        #[arg(long = "per-call", default_value_t = 0)]
        per_call: usize,
        #[command(flatten)]
        pace: hub_node::Pace,
    },
    /// The node of hub_million and hub_push, started by them.
    #[command(hide = true, name = "hub-node")]
    HubNode {
        #[command(flatten)]
        told: hub_node::Told,
    },
    /// The peers of cold_sync, started by it.
    #[command(hide = true, name = "cold-sync-sources")]
    ColdSyncSources { dir: PathBuf },
    /// The peer of status_ingest, started by it.
    #[command(hide = true, name = "status-ingest-sender")]
    StatusIngestSender { now_ms: u64, batches: usize },
}

fn main() -> Result<()> {
    let Arguments { options, benchmark } = Arguments::parse();
    match benchmark {
        Benchmark::RemoteStartLoopback => remote_start::loopback(&options),
        Benchmark::RemoteStartWan => remote_start::wan(&options),
        Benchmark::StatusFanoutCost { shape } => status_fanout::run(&options, shape),
        Benchmark::StatusIngest { batches } => status_ingest::run(&options, batches),
        Benchmark::ColdSync => cold_sync::run(&options),
        Benchmark::RadiusQuery { notation } => radius_query::run(&options, &notation),
        Benchmark::CdrDurable { stored } => cdr_durable::run(&options, stored),
        Benchmark::FacadeThroughput => facade_throughput::run(&options),
        Benchmark::Credentials { parties } => credentials::run(&options, parties),
        Benchmark::Accounts { records } => accounts::run(&options, records),
        Benchmark::HubMillion { pace } => hub_million::run(&options, pace),
        Benchmark::HubPush { per_call, pace } => hub_push::run(&options, per_call, pace),
        Benchmark::HubNode { told } => hub_node::serve(&told),
        Benchmark::ColdSyncSources { dir } => cold_sync::sources(&options, &dir),
        Benchmark::StatusIngestSender { now_ms, batches } => status_ingest::sender(&options, now_ms, batches),
    }
}

impl Options {
    /// Charging points of the world.
    fn evses(&self) -> usize {
        self.evses.unwrap_or(EVSES)
    }

    fn world(&self) -> World {
        World::new(self.seed, self.operators, self.evses())
    }

    /// An empty directory that goes with the returned value.
    fn scratch(&self, benchmark: &str) -> Result<Scratch> {
        let path = self.dir.join(format!("{benchmark}-{}", std::process::id()));
        std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Scratch(path))
    }

    /// Arguments for a child process in the same world.
    fn child(&self, command: &str, arguments: &[String]) -> Vec<String> {
        let numbers =
            [self.evses() as u64, self.operators as u64, self.seed].map(|number| number.to_string());
        let [evses, operators, seed] = numbers;
        let flags =
            ["--evses".to_owned(), evses, "--operators".to_owned(), operators, "--seed".to_owned(), seed];
        flags.into_iter().chain([command.to_owned()]).chain(arguments.iter().cloned()).collect()
    }
}

/// A directory that is removed in the end.
struct Scratch(PathBuf);

impl Scratch {
    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("{} could not be removed: {error}", self.0.display());
        }
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

/// Waits until the parent process closes our input, as it does when it ends.
fn until_parent_ends() {
    // An error means the same: nobody is there any more.
    let _ended = std::io::stdin().read_to_end(&mut Vec::new());
}
