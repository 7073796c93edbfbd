//! A node with the central hub as a peer, in a process of its own: its memory is neither the played hub's nor that
//! of the backend that asks.

use std::io::BufRead as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use chargemesh::hub::{HubConfig, HubLimits};
use chargemesh::node::Settings;

use crate::child::Child;
use crate::http::Client;
use crate::measure::{self, Memory};
use crate::{Options, parties};

/// Name of the node.
const NAME: &str = "bridge";

/// How often the node calls the hub.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Pace {
    /// Without the limits of calls per minute, at the node and at the hub.
    #[arg(long)]
    pub(crate) unlimited: bool,
    /// Pulls data and statuses every so many seconds, instead of every 86,400 and 300 s as the settings say.
    #[arg(long)]
    pub(crate) pull_s: Option<u64>,
}

impl Pace {
    /// `[hub]` with these; the rest as by default.
    pub(crate) fn hub(self, url: &str, party: &str) -> HubConfig {
        let usual = HubConfig::default();
        let mut limits = HubLimits::default();
        if self.unlimited {
            (limits.push_data, limits.push_status) = (0, 0);
            (limits.pull_data, limits.pull_status, limits.pull_status_by_operator_id) = (0, 0, 0);
        }
        HubConfig {
            url: url.to_owned(),
            parties: vec![party.to_owned()],
            pull_data_s: self.pull_s.unwrap_or(usual.pull_data_s),
            pull_status_s: self.pull_s.unwrap_or(usual.pull_status_s),
            limits,
            ..usual
        }
    }

    /// The limits of the played hub.
    pub(crate) fn of_hub(self) -> chargemesh::backend::Limits {
        if self.unlimited {
            chargemesh::backend::Limits::none()
        } else {
            chargemesh::backend::Limits::default()
        }
    }

    /// For people.
    pub(crate) fn name(self) -> &'static str {
        if self.unlimited { "no limits" } else { "limits as published" }
    }
}

/// What the child process is told.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Told {
    data_dir: PathBuf,
    hub_url: String,
    party: String,
    #[command(flatten)]
    pace: Pace,
}

/// The node; it ends with this value.
pub(crate) struct HubNode {
    child: Child,
    facade: SocketAddr,
}

impl HubNode {
    /// Starts it for one party, such as `EMP:DEEMP`.
    ///
    /// # Errors
    /// Whatever goes wrong.
    pub(crate) fn start(
        options: &Options,
        data_dir: &Path,
        hub_url: &str,
        party: &str,
        pace: Pace,
    ) -> Result<HubNode> {
        let mut told = vec![data_dir.display().to_string(), hub_url.to_owned(), party.to_owned()];
        if pace.unlimited {
            told.push("--unlimited".to_owned());
        }
        if let Some(pull_s) = pace.pull_s {
            told.extend(["--pull-s".to_owned(), pull_s.to_string()]);
        }
        let mut child = Child::start(&options.child("hub-node", &told))?;
        let facade = child.expect("ready")?.parse()?;
        Ok(HubNode { child, facade })
    }

    /// Where its facade listens.
    pub(crate) fn facade(&self) -> SocketAddr {
        self.facade
    }

    /// The memory of its process.
    ///
    /// # Errors
    /// If it is gone.
    pub(crate) fn memory(&mut self) -> Result<Memory> {
        self.child.tell("memory")?;
        let figures = self.child.expect("memory")?;
        let (rss, peak) = figures.split_once(' ').context("two figures")?;
        Ok(Memory { rss_mb: rss.parse()?, peak_mb: peak.parse()? })
    }
}

/// A value of a node's metrics; not a number while it has none.
///
/// # Errors
/// If the connection ends.
pub(crate) fn metric(http: &mut Client, name: &str) -> Result<f64> {
    let (_, text) = http.get("/metrics")?;
    let line = std::str::from_utf8(text)?.lines().find(|line| line.starts_with(name));
    Ok(line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(f64::NAN))
}

/// The child process: the node, until the parent is gone.
///
/// # Errors
/// Whatever goes wrong.
pub(crate) fn serve(told: &Told) -> Result<()> {
    let runtime = crate::runtime()?;
    let mut settings = parties::settings(&told.data_dir, Some(&told.party), &[]);
    settings = Settings { hub: told.pace.hub(&told.hub_url, &told.party), ..settings };
    let node = runtime.block_on(parties::start(NAME, &told.party, settings))?;
    println!("ready {}", node.facade_address().context("the node has no facade")?);
    for line in std::io::stdin().lock().lines() {
        if line? == "memory" {
            let Memory { rss_mb, peak_mb } = measure::memory()?;
            println!("memory {rss_mb} {peak_mb}");
        }
    }
    runtime.block_on(node.shutdown());
    Ok(())
}
