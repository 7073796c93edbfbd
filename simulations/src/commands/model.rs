//! `model`.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use anyhow::Result;

use super::again::plain;
use crate::model::{self, Outcome, Settings};

/// What `model` can be told.
#[derive(clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    settings: Settings,
    /// The last line of the output is JSON.
    #[arg(long)]
    json: bool,
    /// No progress.
    #[arg(long)]
    quiet: bool,
}

/// Runs the model.
pub(super) fn run(options: &Options) -> Result<ExitCode> {
    let terminal = std::io::stderr().is_terminal() && !options.quiet;
    let progress = |line: &str| {
        if terminal {
            eprint!("\r\x1b[K{line}");
        }
    };
    let outcome = model::run(&options.settings, &progress)?;
    if terminal {
        eprintln!();
    }
    print(&options.settings, &outcome);
    if options.json {
        println!("{}", line(&options.settings, &outcome)?);
    }
    Ok(if outcome.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The run in one line for other programs.
fn line(settings: &Settings, outcome: &Outcome) -> Result<serde_json::Value> {
    let mut line = serde_json::json!({
        "scenario": "model",
        "seed": settings.seed,
        "nodes": settings.nodes,
        "operators": settings.operators,
        "evses": settings.evses,
    });
    if let (Some(line), serde_json::Value::Object(outcome)) =
        (line.as_object_mut(), serde_json::to_value(outcome)?)
    {
        line.extend(outcome);
    }
    Ok(line)
}

fn print(settings: &Settings, outcome: &Outcome) {
    let Settings { nodes, operators, evses, seed, .. } = settings;
    let held = if outcome.ok { "all invariants held" } else { "FAILED" };
    println!("model, seed {seed}: {held}");
    println!("  {nodes} nodes, {operators} operators with {evses} EVSEs");
    println!("  {} events, trace {}", outcome.events, outcome.trace_hash);
    let (sim_s, wall_s, rss_mb) = (outcome.sim_seconds, outcome.wall_seconds, outcome.rss_mb);
    let pace = sim_s / wall_s.max(1e-9);
    println!("  {sim_s:.0} s of virtual time in {wall_s:.1} s ({pace:.1} a second), {rss_mb:.0} MB");
    let delivery = &outcome.delivery;
    println!(
        "  {} deliveries: p50 {} ms, p99 {} ms, max {} ms",
        delivery.count, delivery.p50_ms, delivery.p99_ms, delivery.max_ms
    );
    println!("  {}", outcome.counts);
    for violation in &outcome.violations {
        println!("  VIOLATED: {violation}");
    }
    if !outcome.ok {
        let Settings { seconds, loss, churn, pushes_per_s, .. } = settings;
        println!(
            "  again: {}",
            plain(&format!(
                "model --nodes {nodes} --operators {operators} --evses {evses} --seconds {seconds} --seed {seed} \
                 --loss {loss} --churn {churn} --pushes-per-s {pushes_per_s}"
            ))
        );
    }
}
