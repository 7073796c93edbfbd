//! What a scenario may say: whatever cannot run, or would not show what it seems to, is refused before it begins.
//! Each error names the key, its value and what is allowed.

mod schedule;

use std::fmt::Display;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::de::DeserializeOwned;

use super::{LinkSettings, OneCut, Scenario, Span};
use crate::charging::AWAY_AFTER_MS;
use crate::liars::FIRST_OPERATOR;
use crate::people::{IDS, VALID_DAYS};
use crate::report::units::digits;
use crate::world::REVOCATION_PATIENCE;

pub(crate) use schedule::check_evses;

/// Charging points of all operators together: the largest register has a million.
const EVSES_MAX: u32 = 10_000_000;

/// Cards of one provider: UIDs have sixteen bits for the card.
const CARDS_MAX: u32 = 1 << 16;

/// Charges: contracts have eight digits for the number.
const CHARGES_MAX: u32 = 100_000_000;

/// Moments that are drawn for one kind of act: each is kept in memory.
const MOMENTS_MAX: f64 = 1e6;

/// Credentials are valid from a day before the start: a clock that is later by more sees none.
const CLOCK_SKEW_MAX: Span = Span::from_secs(86_400);

/// Settings of the nodes that the simulation sets itself.
const OWN_MESH: [&str; 6] =
    ["network", "listen", "announce", "bootstrap", "bootstrap_only", "memory_bytes_max"];
const OWN_REPLICATION: [&str; 1] = ["replicate"];

/// Refuses what cannot run.
///
/// # Errors
/// The first key that is wrong, its value, and what is allowed.
pub(super) fn check(scenario: &Scenario) -> Result<()> {
    names(scenario)?;
    nodes(scenario)?;
    times(scenario)?;
    link(scenario.link)?;
    workload(scenario)?;
    sessions(scenario)?;
    faults(scenario)?;
    liars(scenario)?;
    limits(scenario)?;
    settings::<chargemesh::mesh::Config>("mesh", &scenario.mesh, &OWN_MESH)?;
    settings::<chargemesh::roaming::Config>("replication", &scenario.replication, &OWN_REPLICATION)?;
    settings::<chargemesh::roaming::ChargingConfig>("charging", &scenario.charging, &[])?;
    schedule::check(scenario, scenario.schedule.as_deref().unwrap_or_default())
}

fn must(holds: bool, key: &str, value: impl Display, allowed: impl Display) -> Result<()> {
    ensure!(holds, "{key} = {value}: must be {allowed}");
    Ok(())
}

fn count(key: &str, value: u32, least: u32, most: u32) -> Result<()> {
    must((least..=most).contains(&value), key, value, format_args!("{least} to {most}"))
}

fn share(key: &str, value: f64) -> Result<()> {
    must((0.0..=1.0).contains(&value), key, value, "0 to 1")
}

fn some_time(key: &str, value: Span) -> Result<()> {
    must(!value.0.is_zero(), key, value, "more than 0")
}

/// How often something happens in a time; `unit_s`: what the rate is for, in seconds.
fn rate(key: &str, value: f64, unit_s: f64, time: Span) -> Result<()> {
    let most = MOMENTS_MAX * unit_s / time.0.as_secs_f64();
    let allowed = format!("0 to {}, which is {MOMENTS_MAX} times in {time}", digits(most));
    must((0.0..=most).contains(&value), key, value, allowed)
}

/// Shortest and longest time.
fn range(key: &str, [shortest, longest]: [Span; 2]) -> Result<()> {
    let value = format!("[{shortest}, {longest}]");
    let holds = shortest <= longest && !longest.0.is_zero();
    must(holds, key, value, "the shortest time and the longest, which is more than 0")
}

fn some<T>(key: &str, kinds: &[T]) -> Result<()> {
    must(!kinds.is_empty(), key, "[]", "one kind at least")
}

fn names(scenario: &Scenario) -> Result<()> {
    // Files and directories bear it.
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let name = &scenario.name;
    let plain = !name.is_empty() && !name.starts_with(['-', '.']) && name.chars().all(fits);
    must(
        plain,
        "name",
        format_args!("{name:?}"),
        "letters, digits, `-`, `_` and `.`, a letter or digit first",
    )?;
    let bugs = chargemesh::planted::BUGS.map(|(name, _)| name);
    match &scenario.planted {
        Some(bug) => must(
            bugs.contains(&&**bug),
            "planted",
            format_args!("{bug:?}"),
            format_args!("one of {}", bugs.join(", ")),
        ),
        None => Ok(()),
    }
}

fn nodes(scenario: &Scenario) -> Result<()> {
    let Scenario { nodes, liars, evses, .. } = scenario;
    // Liars have operators of their own, behind those of the nodes.
    let cpo_max = if liars.nodes == 0 { IDS } else { FIRST_OPERATOR };
    count("liars.nodes", liars.nodes, 0, IDS - FIRST_OPERATOR)?;
    count("nodes.cpo", nodes.cpo, 1, cpo_max)?;
    // A card is held where a second provider may say yes to it.
    count("nodes.emp", nodes.emp, if scenario.sessions.per_s > 0.0 { 2 } else { 1 }, IDS)?;
    // Without any nobody finds anybody.
    count("nodes.bootstrap", nodes.bootstrap, 1, IDS)?;
    let allowed = format!("{} (one for each of nodes.cpo) to {EVSES_MAX}", nodes.cpo);
    must((nodes.cpo..=EVSES_MAX).contains(evses), "evses", evses, allowed)
}

fn times(scenario: &Scenario) -> Result<()> {
    let Scenario { stagger, warm_up, duration, settle, check_every, faults, .. } = scenario;
    let named =
        [("warm_up", warm_up), ("duration", duration), ("settle", settle), ("check_every", check_every)];
    for (key, time) in named {
        some_time(key, *time)?;
    }
    let allowed = format!("at most {duration}, duration: else nobody looks meanwhile");
    must(check_every <= duration, "check_every", check_every, allowed)?;
    let spelled = scenario.schedule.iter().flatten().map(|entry| Duration::from_millis(entry.act.lasts_ms()));
    let crash = faults.crash.iter().map(|crash| crash.down[1].0);
    let partition = faults.partition.iter().map(|partition| partition.lasts[1].0);
    let slow_link = faults.slow_link.iter().map(|slow| slow.lasts[1].0);
    let longest =
        spelled.chain(crash).chain(partition).chain(slow_link).chain([scenario.sessions.away.0]).max();
    let starts = stagger.0.saturating_mul(scenario.node_count());
    let rest = [starts, warm_up.0, settle.0, longest.unwrap_or_default()];
    let all = rest.into_iter().fold(duration.0, Duration::saturating_add);
    let allowed = format!(
        "so short that with all starts, warm_up, settle and the longest fault it is below {VALID_DAYS}d, when credentials \
         end"
    );
    must(all < Duration::from_secs(VALID_DAYS * 86_400), "duration", duration, allowed)
}

fn link(link: LinkSettings) -> Result<()> {
    share("link.loss", link.loss)
}

fn workload(scenario: &Scenario) -> Result<()> {
    let (workload, duration) = (scenario.workload, scenario.duration);
    rate("workload.status_per_s", workload.status_per_s, 1.0, duration)?;
    rate("workload.data_per_s", workload.data_per_s, 1.0, duration)?;
    // Each provider has one credential.
    count("workload.revocations", workload.revocations, 0, scenario.nodes.emp)
}

fn sessions(scenario: &Scenario) -> Result<()> {
    let (sessions, duration) = (scenario.sessions, scenario.duration);
    let begin = if sessions.until.0.is_zero() { duration } else { sessions.until.min(duration) };
    rate("sessions.per_s", sessions.per_s, 1.0, begin)?;
    count("sessions.contracts", sessions.contracts, 0, scenario.nodes.cpo)?;
    count("sessions.cards", sessions.cards, 1, CARDS_MAX)?;
    share("sessions.faulty", sessions.faulty)?;
    share("sessions.again", sessions.again)?;
    share("sessions.doubles", sessions.doubles)?;
    share("sessions.cdrs", sessions.cdrs)?;
    let after = Span(Duration::from_millis(AWAY_AFTER_MS));
    let down_in_time = begin.0.saturating_add(after.0) < duration.0;
    let allowed = format!("0, or sessions.until more than {after} before the end, {duration}");
    must(sessions.away.0.is_zero() || down_in_time, "sessions.away", sessions.away, allowed)
}

fn faults(scenario: &Scenario) -> Result<()> {
    let (faults, duration) = (&scenario.faults, scenario.duration);
    let skew = faults.clock_skew;
    must(skew <= CLOCK_SKEW_MAX, "faults.clock_skew", skew, format_args!("at most {CLOCK_SKEW_MAX}"))?;
    if let Some(crash) = &faults.crash {
        rate("faults.crash.per_min", crash.per_min, 60.0, duration)?;
        range("faults.crash.down", crash.down)?;
        some("faults.crash.kinds", &crash.kinds)?;
    }
    if let Some(partition) = &faults.partition {
        rate("faults.partition.per_min", partition.per_min, 60.0, duration)?;
        range("faults.partition.lasts", partition.lasts)?;
        some("faults.partition.kinds", &partition.kinds)?;
    }
    if let Some(cut) = faults.cut {
        one_cut(scenario, cut)?;
    }
    if let Some(slow) = &faults.slow_link {
        rate("faults.slow_link.per_min", slow.per_min, 60.0, duration)?;
        range("faults.slow_link.lasts", slow.lasts)?;
        some_time("faults.slow_link.latency", slow.latency)?;
    }
    Ok(())
}

/// What is written and looked at meanwhile shows that it was felt.
fn one_cut(scenario: &Scenario, cut: OneCut) -> Result<()> {
    let Scenario { nodes, duration, check_every, workload, .. } = scenario;
    let both = nodes.cpo >= 2 && nodes.emp >= 2;
    let sides = format!("{} and {}", nodes.cpo, nodes.emp);
    must(both, "nodes.cpo and nodes.emp", sides, "2 or more each: faults.cut needs them on both sides")?;
    must(
        cut.lasts > *check_every,
        "faults.cut.lasts",
        cut.lasts,
        format_args!("more than {check_every}, check_every"),
    )?;
    let ends = Span(cut.at.0.saturating_add(cut.lasts.0));
    must(
        ends <= *duration,
        "faults.cut",
        format_args!("{} for {}", cut.at, cut.lasts),
        format_args!("over within {duration}, duration"),
    )?;
    let per_s = workload.status_per_s;
    must(per_s > 0.0, "workload.status_per_s", per_s, "more than 0: else nobody feels faults.cut")
}

fn liars(scenario: &Scenario) -> Result<()> {
    let liars = &scenario.liars;
    let acts = liars.acts.len();
    must(liars.nodes > 0 || acts == 0, "liars.nodes", liars.nodes, "1 or more, or liars.acts left out")?;
    must(liars.nodes == 0 || acts > 0, "liars.acts", "[]", "one act at least, or liars.nodes 0")?;
    let allowed = format!("{acts} or more: one for each of liars.acts");
    must(acts <= liars.nodes as usize, "liars.nodes", liars.nodes, allowed)
}

fn limits(scenario: &Scenario) -> Result<()> {
    let limits = scenario.limits;
    must(limits.connections > 0, "limits.connections", limits.connections, "1 or more")?;
    let settled = limits.connections_settled;
    must(settled > 0, "limits.connections_settled", settled, "1 or more")?;
    let dials = limits.dials_per_min;
    must(dials.is_finite() && dials >= 0.0, "limits.dials_per_min", dials, "0 or more")?;
    some_time("limits.revoked_within", limits.revoked_within)?;
    let (within, patience) = (limits.revoked_within, Span(REVOCATION_PATIENCE));
    let allowed = format!("at most {patience}: nobody waits longer");
    must(within <= patience, "limits.revoked_within", within, allowed)?;
    let memory_mb = limits.memory_mb_per_node;
    let holds = memory_mb.is_finite() && memory_mb > 0.0;
    must(holds, "limits.memory_mb_per_node", memory_mb, "more than 0")
}

/// Settings of the nodes are the product's, but for those that the simulation sets itself.
fn settings<T: DeserializeOwned>(section: &str, table: &toml::Table, own: &[&str]) -> Result<()> {
    if let Some((key, value)) = table.iter().find(|(key, _)| own.contains(&key.as_str())) {
        must(false, &format!("{section}.{key}"), value, "left out: the simulation sets it itself")?;
    }
    // One by one, so that the error can say which: the library tells it of some errors only.
    for (key, value) in table {
        let one = toml::Table::from_iter([(key.clone(), value.clone())]);
        one.try_into::<T>().map(drop).with_context(|| format!("{section}.{key} = {value}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        name = "a"
        about = "A test."
        nodes = { cpo = 2, emp = 2, bootstrap = 1 }
        evses = 3
        duration = "10s"
        settle = "10s"
    "#;

    /// What is wrong, and what the error says of it.
    const WRONG: &[(&str, &str)] = &[
        (r#"name = "a/b""#, r#"name = "a/b": must be letters"#),
        ("nodes = { cpo = 0, emp = 2, bootstrap = 1 }", "nodes.cpo = 0: must be 1 to"),
        ("nodes = { cpo = 2, emp = 0, bootstrap = 1 }", "nodes.emp = 0: must be 1 to"),
        ("nodes = { cpo = 2, emp = 2, bootstrap = 0 }", "nodes.bootstrap = 0: must be 1 to"),
        ("nodes = { cpo = 4000000000, emp = 2, bootstrap = 1 }", "nodes.cpo = 4000000000"),
        ("evses = 1", "evses = 1: must be 2 (one for each of nodes.cpo) to"),
        ("evses = 4294967295", "evses = 4294967295: must be"),
        (r#"warm_up = "0s""#, "warm_up = 0ms: must be more than 0"),
        (r#"duration = "0s""#, "duration = 0ms: must be more than 0"),
        (r#"duration = "60d""#, "duration = 60d: must be so short"),
        (r#"duration = "99999999999999d""#, "`99999999999999d` is too long"),
        (r#"settle = "0ms""#, "settle = 0ms"),
        (r#"check_every = "0s""#, "check_every = 0ms"),
        (r#"check_every = "11s""#, "check_every = 11s: must be at most 10s, duration"),
        ("link.loss = 1.5", "link.loss = 1.5: must be 0 to 1"),
        ("link.loss = -0.1", "link.loss = -0.1: must be 0 to 1"),
        ("link.loss = nan", "link.loss = NaN: must be 0 to 1"),
        ("workload.status_per_s = -1", "workload.status_per_s = -1: must be 0 to 100,000"),
        ("workload.data_per_s = inf", "workload.data_per_s = inf"),
        ("workload.revocations = 3", "workload.revocations = 3: must be 0 to 2"),
        ("sessions.per_s = -1", "sessions.per_s = -1"),
        ("sessions.contracts = 3", "sessions.contracts = 3: must be 0 to 2"),
        ("sessions.cards = 0", "sessions.cards = 0: must be 1 to"),
        ("sessions.cards = 65537", "sessions.cards = 65537: must be 1 to 65536"),
        ("sessions.faulty = 2", "sessions.faulty = 2: must be 0 to 1"),
        ("sessions.again = 2", "sessions.again = 2"),
        ("sessions.doubles = 2", "sessions.doubles = 2"),
        ("sessions.cdrs = 2", "sessions.cdrs = 2"),
        (r#"sessions.away = "1h""#, "sessions.away = 1h: must be 0, or sessions.until"),
        (r#"faults.clock_skew = "2d""#, "faults.clock_skew = 2d: must be at most 1d"),
        (
            r#"faults.crash = { per_min = -1, down = ["1s", "2s"], kinds = ["power"] }"#,
            "faults.crash.per_min = -1",
        ),
        (
            r#"faults.crash = { per_min = 1, down = ["3s", "2s"], kinds = ["power"] }"#,
            "faults.crash.down = [3s, 2s]: must be the shortest time and the longest",
        ),
        (r#"faults.crash = { per_min = 1, down = ["1s", "2s"], kinds = [] }"#, "faults.crash.kinds = []"),
        (
            r#"faults.crash = { per_min = 1, down = ["1s", "2s"], kinds = ["fire"] }"#,
            "unknown variant `fire`, expected one of `process`, `power`, `damage`",
        ),
        (
            r#"faults.partition = { per_min = 1e9, lasts = ["1s", "2s"], kinds = ["split"] }"#,
            "faults.partition.per_min = 1000000000",
        ),
        (
            r#"faults.partition = { per_min = 1, lasts = ["0s", "0s"], kinds = ["split"] }"#,
            "faults.partition.lasts = [0ms, 0ms]",
        ),
        (r#"faults.partition = { per_min = 1, lasts = ["1s", "2s"], kinds = [] }"#, "faults.partition.kinds"),
        (
            r#"faults.slow_link = { per_min = 1, latency = "0s", lasts = ["1s", "2s"] }"#,
            "faults.slow_link.latency = 0ms",
        ),
        (
            r#"faults.cut = { at = "1s", lasts = "5s" }"#,
            "faults.cut.lasts = 5s: must be more than 5s, check_every",
        ),
        (r#"faults.cut = { at = "4s", lasts = "7s" }"#, "faults.cut = 4s for 7s: must be over within 10s"),
        ("liars.nodes = 1", "liars.acts = []: must be one act at least, or liars.nodes 0"),
        (r#"liars.acts = ["replay"]"#, "liars.nodes = 0: must be 1 or more, or liars.acts left out"),
        (r#"liars = { nodes = 1, acts = ["cheat"] }"#, "unknown variant `cheat`"),
        (
            r#"liars = { nodes = 1, acts = ["forge", "flood"] }"#,
            "liars.nodes = 1: must be 2 or more: one for each",
        ),
        ("limits.connections = 0", "limits.connections = 0"),
        ("limits.connections_settled = 0", "limits.connections_settled = 0"),
        (r#"limits.revoked_within = "2m""#, "limits.revoked_within = 2m: must be at most 1m"),
        ("limits.memory_mb_per_node = 0", "limits.memory_mb_per_node = 0"),
        (r#"planted = "no-such""#, r#"planted = "no-such": must be one of dedup-lost-on-crash"#),
        (r#"source = "swiss""#, "unknown variant `swiss`"),
    ];

    pub(super) fn read(text: &str) -> Result<Scenario> {
        let path = std::env::temp_dir().join(format!(
            "chargemesh-check-{}-{:?}.toml",
            std::process::id(),
            std::thread::current().id()
        ));
        std::fs::write(&path, text)?;
        let scenario = Scenario::read(&path);
        std::fs::remove_file(&path)?;
        if let Err(error) = &scenario {
            let error = format!("{error:#}");
            assert!(error.contains(&path.display().to_string()), "it names no file: {error}");
        }
        scenario
    }

    /// The good one with a key replaced, or with lines in addition.
    pub(super) fn changed(lines: &str) -> String {
        let key = lines.split('=').next().unwrap_or_default().trim();
        let rest =
            GOOD.lines().filter(|line| key.is_empty() || !line.trim().starts_with(&format!("{key} =")));
        format!("{}\n{lines}\n", rest.collect::<Vec<_>>().join("\n"))
    }

    #[test]
    fn what_cannot_run_is_refused_with_key_value_and_what_is_allowed() {
        read(GOOD).unwrap();
        for (lines, wanted) in WRONG {
            let error = read(&changed(lines)).map(drop).map_err(|error| format!("{error:#}"));
            assert!(
                error.as_ref().is_err_and(|error| error.contains(*wanted)),
                "{lines}: {error:?}, not {wanted}"
            );
        }
    }

    #[test]
    fn a_broken_file_does_not_hide_the_others() {
        let directory = std::env::temp_dir().join(format!("chargemesh-each-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        for (file, text) in [("a", GOOD), ("b", "name = 1"), ("c", GOOD)] {
            std::fs::write(directory.join(format!("{file}.toml")), text).unwrap();
        }
        let each = super::super::each_in(&directory.display().to_string()).unwrap();
        std::fs::remove_dir_all(&directory).unwrap();
        let names = each.iter().map(|scenario| match scenario {
            Ok(scenario) => scenario.name.clone(),
            Err(error) => format!("{error:#}"),
        });
        let [a, b, c] = &names.collect::<Vec<_>>()[..] else { panic!("{each:?}") };
        assert_eq!(a, "a");
        assert!(b.contains("b.toml"), "{b}");
        assert!(c.contains(r#"c.toml: name = "a": must be that of the file, `c`"#), "{c}");
    }

    #[test]
    fn settings_of_the_nodes_are_those_of_the_product() {
        read(&changed("mesh.connections_max = 20\ncharging.remote_ms = 10000")).unwrap();
        let cases = [
            (
                "mesh.connections_max = -1",
                "mesh.connections_max = -1: invalid value: integer `-1`, expected u32",
            ),
            ("mesh.conections_max = 20", "mesh.conections_max = 20: unknown field `conections_max`"),
            (r#"mesh.listen = []"#, "mesh.listen = []: must be left out"),
            (
                "charging.remote_ms = true",
                "charging.remote_ms = true: invalid type: boolean `true`, expected u64",
            ),
            ("replication.compare_s = 'a'", "replication.compare_s = "),
        ];
        for (lines, wanted) in cases {
            let error = read(&changed(lines)).map(drop).map_err(|error| format!("{error:#}"));
            assert!(
                error.as_ref().is_err_and(|error| error.contains(wanted)),
                "{lines}: {error:?}, not {wanted}"
            );
        }
    }
}
