//! What the nodes had at the end, node by node.

use std::collections::BTreeMap;

use super::super::scale::{Scale, ticks_to};
use super::super::svg::{Axis, Key, Plot, colour};
use super::super::{Report, Role, units};
use super::{Drawing, Pair, axis_from_zero};

/// Up to that many nodes each has its number below its bar.
const NUMBERED_MAX: usize = 40;

fn look(role: Role) -> (&'static str, &'static str) {
    match role {
        Role::Unknown => ("nodes", colour::MAIN),
        Role::Bootstrap => ("bootstrap nodes", colour::GREEN),
        Role::Operator => ("operators", colour::MAIN),
        Role::Provider => ("providers", colour::YELLOW),
        Role::Liar => ("liars", colour::PURPLE),
    }
}

/// The mean over all nodes: a baseline does not keep each of them.
fn mean_bytes(report: &Report) -> f64 {
    let all = report.samples.last().map_or(0, |sample| sample.bytes_sent);
    all as f64 / f64::from(report.nodes.max(1))
}

/// Bytes that each node sent, most first.
pub(super) fn bytes(pair: Pair<'_>) -> Drawing {
    let report = pair.report;
    let mut nodes = report.totals.clone();
    nodes.sort_by_key(|node| (std::cmp::Reverse(node.bytes_sent), node.node));
    let most = |report: &Report| {
        let most = report.totals.iter().map(|node| node.bytes_sent).max().unwrap_or(0) as f64;
        most.max(mean_bytes(report))
    };
    let unit = units::bytes_unit(pair.largest(most));
    let y = axis_from_zero(pair.largest(most), 1.05, unit.factor, format!("bytes sent ({})", unit.name));
    let x = Axis {
        scale: Scale::Linear { from: 0.0, to: nodes.len() as f64 },
        ticks: match nodes.len() {
            // The numbers are written for the places, not for the values.
            count if count <= NUMBERED_MAX => nodes
                .iter()
                .enumerate()
                .map(|(place, node)| (place as f64 + 0.5, node.node.to_string()))
                .collect(),
            count => ticks_to(count as f64, 10).into_iter().map(|tick| (tick, units::digits(tick))).collect(),
        },
        title: match nodes.len() {
            count if count <= NUMBERED_MAX => "node (its number), those that sent most first".into(),
            _ => "nodes, those that sent most first".into(),
        },
    };
    let what = format!("each sent {} in the mean", units::bytes(mean_bytes(report)));
    let mut plot = Plot::new("Bytes per node", &pair.subtitle(&what), &x, &y, 0.0);
    let mut roles: Vec<Role> = Vec::new();
    for (place, node) in nodes.iter().enumerate() {
        let (name, fill) = look(node.role);
        if !roles.contains(&node.role) {
            roles.push(node.role);
            plot.legend(Key::Bar(fill), name);
        }
        let text = format!("node {}: {}", node.node, units::bytes(node.bytes_sent as f64));
        plot.bar(place as f64, place as f64 + 1.0, node.bytes_sent as f64, fill, &text);
    }
    plot.legend(Key::Level(colour::SECOND), "mean");
    plot.mark_y(mean_bytes(report), colour::SECOND);
    if let Some(baseline) = pair.baseline {
        plot.legend(Key::Line(colour::LIGHT), "baseline");
        plot.legend(Key::Level(colour::SECOND_LIGHT), "its mean");
        plot.line(&staircase(baseline, nodes.len()), colour::LIGHT, true);
        plot.mark_y(mean_bytes(baseline), colour::SECOND_LIGHT);
    }
    Drawing {
        name: "bytes-per-node",
        caption: "Who carries the load. A few bars far above the mean are nodes that work for all others.",
        svg: plot.finish(),
    }
}

/// The upper edge of the baseline's bars, spread over as many places as this run has.
fn staircase(baseline: &Report, places: usize) -> Vec<(f64, f64)> {
    let mut bytes: Vec<u64> = baseline.totals.iter().map(|node| node.bytes_sent).collect();
    bytes.sort_unstable_by(|a, b| b.cmp(a));
    let width = places as f64 / bytes.len().max(1) as f64;
    let mut points: Vec<_> =
        bytes.iter().enumerate().map(|(place, bytes)| (place as f64 * width, *bytes as f64)).collect();
    points.extend(points.last().map(|(_, bytes)| (places as f64, *bytes)));
    points
}

/// The connections of each node at the end, but for bootstrap nodes, as in [`crate::report::Sample`].
fn connections_of(report: &Report) -> Vec<u64> {
    let nodes = report.totals.iter().filter(|node| node.role != Role::Bootstrap);
    nodes.map(|node| node.connections).collect()
}

/// Share of nodes by their number of connections; the key is the smallest number of a bar.
fn shares(report: &Report, width: u64) -> BTreeMap<u64, f64> {
    let counts = connections_of(report);
    let mut shares = BTreeMap::new();
    for count in &counts {
        *shares.entry(count / width * width).or_default() += 1.0 / counts.len() as f64;
    }
    shares
}

/// How many nodes have how many connections at the end.
pub(super) fn connections(pair: Pair<'_>) -> Drawing {
    let most = |report: &Report| connections_of(report).into_iter().max().unwrap_or(0);
    let end = pair.largest(|report| most(report) as f64) as u64 + 1;
    let width = end.div_ceil(50);
    let highest = pair.largest(|report| shares(report, width).into_values().fold(0.0, f64::max));
    let ticks = ticks_to(end as f64, 12).into_iter().filter(|tick| tick.fract() == 0.0);
    // A bar of one number stands around it.
    let shift = if width == 1 { 0.5 } else { 0.0 };
    let x = Axis {
        scale: Scale::Linear { from: -shift, to: end.div_ceil(width).saturating_mul(width) as f64 - shift },
        ticks: ticks.map(|tick| (tick, units::digits(tick))).filter(|(tick, _)| *tick < end as f64).collect(),
        title: "connections at the end".into(),
    };
    let y = axis_from_zero(highest, 1.1, 0.01, "share of nodes (%)".into());
    let mean = units::digits(pair.report.connections_mean().unwrap_or_default());
    let what =
        format!("{mean} connections in the mean, {} at most, without bootstrap nodes", most(pair.report));
    let mut plot = Plot::new("Connections per node at the end", &pair.subtitle(&what), &x, &y, 0.0);
    plot.legend(Key::Bar(colour::MAIN), "this run");
    let ends = |from: u64| (from as f64 - shift, (from + width) as f64 - shift);
    for (from, share) in shares(pair.report, width) {
        let last = from + width - 1;
        let which = if last == from { from.to_string() } else { format!("{from} to {last}") };
        let text = format!("{which} connections: {} % of the nodes", units::digits(share * 100.0));
        plot.bar(ends(from).0, ends(from).1, share, colour::MAIN, &text);
    }
    if let Some(baseline) = pair.baseline {
        plot.legend(Key::Line(colour::LIGHT), "baseline");
        let mut points = vec![(-shift, 0.0)];
        let shares = shares(baseline, width);
        let all = (0..end).step_by(width as usize);
        points.extend(all.map(|from| (ends(from).0, shares.get(&from).copied().unwrap_or(0.0))));
        points.push((ends(end - 1).1, 0.0));
        plot.line(&points, colour::LIGHT, true);
    }
    Drawing {
        name: "connections-per-node",
        caption: "A narrow hill is good: nobody has too few connections to hear everything, nobody too many. Bootstrap \
                  nodes are left out.",
        svg: plot.finish(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::golden;
    use super::*;

    #[test]
    fn bootstrap_nodes_are_left_out_of_connections() {
        let mut report = golden();
        for node in &mut report.totals {
            node.connections = if node.role == Role::Bootstrap { 90 } else { 2 };
        }
        assert_eq!(connections_of(&report), [2; 3]);
        assert_eq!(shares(&report, 1), BTreeMap::from([(2, 1.0)]));
        let svg = connections(Pair { report: &report, baseline: None }).svg;
        assert!(svg.contains("2 connections in the mean, 2 at most, without bootstrap nodes"), "{svg}");
    }

    #[test]
    fn shares_and_stairs() {
        let report = golden();
        let all: f64 = shares(&report, 1).values().sum();
        assert!((all - 1.0).abs() < 1e-9);
        assert_eq!(shares(&report, 100).len(), 1);
        let stairs = staircase(&report, 8);
        assert_eq!(stairs.len(), report.totals.len() + 1);
        assert_eq!(stairs.last().map(|point| point.0), Some(8.0));
        assert!(stairs.is_sorted_by(|a, b| a.1 >= b.1));
    }
}
