//! What a schedule that is spelled out may say: entries in the order of time, about nodes, parties and EVSEs that there
//! are.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};

use super::{CARDS_MAX, CHARGES_MAX, count, must};
use crate::scenario::{Death, Scenario};
use crate::schedule::{Act, Entry, STATUSES};

/// Refuses what cannot happen, or would not. How many EVSEs an operator of the register has is known when it is read:
/// [`check_evses`].
///
/// # Errors
/// The first entry that is wrong.
pub(super) fn check(scenario: &Scenario, entries: &[Entry]) -> Result<()> {
    let end_ms = scenario.duration.ms();
    let mut before_ms = 0;
    each(entries, |entry| {
        let allowed = format!("{before_ms} (that of the entry before) to {end_ms} (duration)");
        must((before_ms..=end_ms).contains(&entry.at_ms), "at_ms", entry.at_ms, allowed)?;
        before_ms = entry.at_ms;
        act(scenario, &entry.act)
    })
}

/// Refuses EVSEs that their operators have not. `evses_of`: how many each has.
///
/// # Errors
/// The first entry that is wrong.
pub(crate) fn check_evses(entries: &[Entry], evses_of: &[u32]) -> Result<()> {
    each(entries, |entry| {
        let (operator, evses) = match &entry.act {
            Act::Status { operator, changes } => {
                (*operator, changes.iter().map(|(evse, _)| *evse).collect::<Vec<_>>())
            }
            Act::Update { operator, evses, .. }
            | Act::Delete { operator, evses }
            | Act::Insert { operator, evses, .. } => (*operator, evses.clone()),
            Act::Start(start) => (start.operator, vec![start.evse]),
            _ => return Ok(()),
        };
        count("operator", operator, 0, (evses_of.len() as u32).saturating_sub(1))?;
        let has = evses_of[operator as usize];
        let named = evses.iter().collect::<BTreeSet<_>>().len();
        must(named == evses.len(), "evses", format_args!("{evses:?}"), "each of them once")?;
        evses.iter().try_for_each(|evse| {
            let allowed = format!("below {has}: so many has operator {operator}");
            must(*evse < has, "evse", evse, allowed)
        })
    })
}

/// Tells which entry is wrong.
fn each(entries: &[Entry], mut check: impl FnMut(&Entry) -> Result<()>) -> Result<()> {
    entries.iter().enumerate().try_for_each(|(index, entry)| {
        check(entry).with_context(|| format!("schedule, entry {} (at_ms = {})", index + 1, entry.at_ms))
    })
}

/// Whoever takes part is there.
fn act(scenario: &Scenario, act: &Act) -> Result<()> {
    let nodes = scenario.nodes;
    let (publishers, all) = (nodes.bootstrap, scenario.node_count());
    let providers = nodes.bootstrap + nodes.cpo;
    let hosts = providers + nodes.emp;
    let within = |key: &str, value: u32, from: u32, end: u32| count(key, value, from, end - 1);
    match act {
        Act::Status { changes, .. } => changes.iter().try_for_each(|(_, status)| {
            let allowed = format!("0 to {}", STATUSES.len() - 1);
            must(*status < STATUSES.len(), "status", status, allowed)
        }),
        Act::Revoke { provider, node } => {
            within("provider", *provider, 0, nodes.emp)?;
            within("node", *node, publishers, hosts)
        }
        Act::Start(start) => {
            let per_s = scenario.sessions.per_s;
            must(per_s > 0.0, "sessions.per_s", per_s, "more than 0: else nobody has a contract")?;
            within("provider", start.provider, 0, nodes.emp)?;
            within("card", start.card, 0, CARDS_MAX)?;
            within("charge", start.charge, 0, CHARGES_MAX)?;
            start.other.map_or(Ok(()), |other| within("other", other, 0, nodes.emp))
        }
        // Only those publish nothing that the disk could lose.
        Act::Crash { node, kind: Death::Damage, .. } => within("node", *node, providers, hosts),
        Act::Crash { node, .. } | Act::Checkpoint { node } => within("node", *node, 0, hosts),
        Act::Partition { nodes, .. } => {
            nodes.iter().try_for_each(|node| within("nodes", *node, 0, all))?;
            let named = nodes.iter().collect::<BTreeSet<_>>().len() as u32;
            let allowed = format!("1 to {} nodes: else nobody is cut off", all - 1);
            must((1..all).contains(&named), "nodes", format_args!("{nodes:?}"), allowed)
        }
        Act::SlowLink { a, b, .. } => within("a", *a, 0, all).and_then(|()| within("b", *b, 0, all)),
        // Which EVSEs there are is known later.
        Act::Update { .. } | Act::Delete { .. } | Act::Insert { .. } => Ok(()),
        Act::Renew { .. } | Act::Again { .. } | Act::Stop { .. } | Act::Notify { .. } | Act::Cdr { .. } => {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{changed, read};
    use super::*;

    #[test]
    fn a_schedule_names_only_what_there_is() {
        // Nodes: 0 bootstrap, 1 and 2 operators, 3 and 4 providers.
        let good = [
            r#"act = "status", operator = 0, changes = [[1, 3]]"#,
            r#"act = "crash", node = 4, kind = "damage", down_ms = 10"#,
            r#"act = "partition", kind = "split", nodes = [0, 4], lasts_ms = 10"#,
        ];
        let bad = [
            (r#"act = "status", operator = 0, changes = [[0, 4]]"#, "status = 4: must be 0 to 3"),
            (r#"act = "revoke", provider = 2, node = 1"#, "provider = 2: must be 0 to 1"),
            (r#"act = "revoke", provider = 1, node = 0"#, "node = 0: must be 1 to 4"),
            (r#"act = "crash", node = 1, kind = "damage", down_ms = 10"#, "node = 1: must be 3 to 4"),
            (r#"act = "crash", node = 5, kind = "power", down_ms = 10"#, "node = 5: must be 0 to 4"),
            (r#"act = "partition", kind = "split", nodes = [5], lasts_ms = 10"#, "nodes = 5: must be 0 to 4"),
            (
                r#"act = "partition", kind = "split", nodes = [], lasts_ms = 10"#,
                "nodes = []: must be 1 to 4 nodes",
            ),
            (
                r#"act = "partition", kind = "one-way", nodes = [0, 1, 2, 3, 4], lasts_ms = 10"#,
                "nodes = [0, 1, 2, 3, 4]: must be 1 to 4 nodes",
            ),
            (r#"act = "slow-link", a = 0, b = 9, latency_ms = 1, lasts_ms = 10"#, "b = 9: must be 0 to 4"),
            (r#"act = "explode", node = 1"#, "unknown variant `explode`, expected one of `status`"),
            (r#"act = "checkpoint", node = 1, nodes = 2"#, "unknown field `nodes`"),
            (
                r#"act = "start", charge = 1, how = "card", provider = 0, operator = 0, evse = 0, card = 0, play = "yes""#,
                "sessions.per_s = 0: must be more than 0",
            ),
        ];
        let with = |entry: &str| read(&changed(&format!("schedule = [{{ at_ms = 5, {entry} }}]")));
        for entry in good {
            with(entry).unwrap();
        }
        for (entry, wanted) in bad {
            let error = with(entry).map(drop).map_err(|error| format!("{error:#}"));
            assert!(
                error.as_ref().is_err_and(|error| error.contains(wanted)),
                "{entry}: {error:?}, not {wanted}"
            );
        }
    }

    #[test]
    fn a_schedule_is_in_order_and_within_the_duration() {
        let entry = |at_ms: u32| format!(r#"{{ at_ms = {at_ms}, act = "checkpoint", node = 1 }}"#);
        let of = |times: [u32; 2]| {
            read(&changed(&format!("schedule = [{}, {}]", entry(times[0]), entry(times[1])))).map(drop)
        };
        of([0, 10_000]).unwrap();
        for (times, wanted) in [
            (
                [7, 5],
                "entry 2 (at_ms = 5): at_ms = 5: must be 7 (that of the entry before) to 10000 (duration)",
            ),
            ([7, 10_001], "at_ms = 10001: must be 7"),
        ] {
            let error = format!("{:#}", of(times).unwrap_err());
            assert!(error.contains(wanted), "{error}");
        }
    }

    #[test]
    fn evses_are_their_operators() {
        let entry = |act: &str| -> Entry { toml::from_str(&format!("at_ms = 5\n{act}")).unwrap() };
        for (act, wanted) in [
            ("act = 'status'\noperator = 0\nchanges = [[1, 3]]", ""),
            ("act = 'status'\noperator = 2\nchanges = [[0, 0]]", "operator = 2: must be 0 to 1"),
            (
                "act = 'status'\noperator = 1\nchanges = [[1, 0]]",
                "evse = 1: must be below 1: so many has operator 1",
            ),
            ("act = 'delete'\noperator = 0\nevses = [2]", "evse = 2: must be below 2"),
            ("act = 'delete'\noperator = 0\nevses = [1, 1]", "evses = [1, 1]: must be each of them once"),
        ] {
            let told = check_evses(&[entry(act)], &[2, 1])
                .map_or_else(|error| format!("{error:#}"), |()| String::new());
            assert!(
                told.contains(wanted) && told.is_empty() == wanted.is_empty(),
                "{act}: {told:?}, not {wanted}"
            );
        }
    }
}
