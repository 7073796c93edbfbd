//! `model`.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use anyhow::Result;

use super::again::plain;
use super::run::joined;
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
    let world = serde_json::json!({
        "scenario": "model",
        "seed": settings.seed,
        "nodes": settings.nodes,
        "operators": settings.operators,
        "evses": settings.evses,
    });
    Ok(joined(world, serde_json::to_value(outcome)?))
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

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::run::tests::assert_holds;
    use super::*;

    /// What is wrong, and what the error says of it.
    const WRONG: &[(&str, &str)] = &[
        ("--nodes=0", "--nodes = 0: must be 2 to 1000000"),
        ("--nodes=1", "--nodes = 1: must be 2 to"),
        ("--nodes=1000001", "--nodes = 1000001: must be 2 to"),
        ("--operators=0", "--operators = 0: must be 1 to 10000, one node each"),
        ("--operators=10001", "--operators = 10001: must be 1 to 10000"),
        ("--nodes=100000 --operators=27041", "--operators = 27041: must be 1 to 27040"),
        ("--nodes=9", "--operators = 10: must be 1 to 9, one node each"),
        ("--evses=0", "--evses = 0: must be 10 (one for each of --operators) to 1000000"),
        ("--evses=9", "--evses = 9: must be 10"),
        ("--evses=4294967295", "--evses = 4294967295: must be 10"),
        ("--seconds=0", "--seconds = 0: must be 31 to 345600"),
        ("--seconds=30", "--seconds = 30: must be 31"),
        ("--seconds=345601", "--seconds = 345601: must be 31"),
        ("--seconds=18446744073709551615", "--seconds = 18446744073709551615: must be 31"),
        ("--loss=nan", "--loss = NaN: must be 0 to 100, in percent"),
        ("--loss=500", "--loss = 500: must be 0 to 100"),
        ("--loss=-1", "--loss = -1: must be 0 to 100"),
        ("--loss -1", "--loss = -1: must be 0 to 100"),
        ("--churn=-3", "--churn = -3: must be 0 to 100, in percent"),
        ("--churn=4000", "--churn = 4000: must be 0 to 100"),
        ("--churn=inf", "--churn = inf: must be 0 to 100"),
        ("--pushes-per-s=nan", "--pushes-per-s = NaN: must be 0 to 11,111, which is 1000000 pushes in 90 s"),
        ("--pushes-per-s=-1", "--pushes-per-s = -1: must be 0 to 11,111"),
        ("--pushes-per-s=inf", "--pushes-per-s = inf: must be 0 to 11,111"),
        ("--pushes-per-s=2000 --seconds=1030", "--pushes-per-s = 2000: must be 0 to 1,000"),
    ];

    const GOOD: &[&str] = &[
        "--seed=0",
        "--nodes=2 --operators=2 --evses=2",
        "--nodes=1000000",
        "--nodes=27040 --operators=27040 --evses=1000000",
        "--seconds=31",
        "--seconds=345600",
        "--loss=0 --churn=0 --pushes-per-s=0",
        "--loss=100 --churn=100 --pushes-per-s=11111",
    ];

    /// The options as they come from the command line.
    #[derive(clap::Parser)]
    struct Program {
        #[command(flatten)]
        options: Options,
    }

    fn settings(arguments: &str) -> Settings {
        let arguments = std::iter::once("model").chain(arguments.split(' '));
        let program = Program::try_parse_from(arguments).map_err(|error| error.to_string());
        program.unwrap().options.settings
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_option_value_and_what_is_allowed() {
        for arguments in GOOD {
            settings(arguments).check().unwrap();
        }
        for (arguments, wanted) in WRONG {
            let error = settings(arguments).check().map_err(|error| format!("{error:#}"));
            assert!(
                error.as_ref().is_err_and(|error| error.contains(wanted)),
                "{arguments}: {error:?}, not {wanted}"
            );
        }
    }

    #[test]
    fn the_line_holds_what_others_look_for() {
        let outcome = Outcome {
            ok: true,
            trace_hash: "00112233445566ff".to_owned(),
            events: 5,
            sim_seconds: 31.0,
            wall_seconds: 0.5,
            rss_mb: 20.0,
            delivery: Default::default(),
            counts: Default::default(),
            violations: Vec::new(),
        };
        assert_holds(&line(&settings("--seed=7"), &outcome).unwrap(), &["nodes", "counts", "violations"]);
    }
}
