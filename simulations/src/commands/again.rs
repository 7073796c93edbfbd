//! The command that makes a run once more, for a shell in the directory where this program was started.

use std::path::Path;

/// The manifest of this program.
const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");

macro_rules! built_in {
    ($($feature:tt,)*) => { &[$(($feature, cfg!(feature = $feature)),)*] };
}

/// The features that switch a bug on from the start, and whether this program was built with them.
const BUILT_IN: &[(&str, bool)] = built_in![
    "planted-cdr-dedupe-forgotten",
    "planted-dedup-lost-on-crash",
    "planted-gap-ignored",
    "planted-late-answer-dropped",
    "planted-ledger-not-synced",
    "planted-outbox-forgotten",
    "planted-peers-not-compared",
    "planted-release-not-sent",
    "planted-retry-not-joined",
    "planted-root-not-checked",
    "planted-session-forgotten",
    "planted-stale-head-accepted",
    "planted-tombstone-forgotten",
    "planted-unheard-forgotten",
];

/// The command up to the arguments of the program, with the features that they need.
fn program(features: &[&str]) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let manifest = quoted(&seen_from(Path::new(MANIFEST), &here));
    let features =
        if features.is_empty() { String::new() } else { format!(" --features {}", features.join(",")) };
    format!("cargo run --release --manifest-path {manifest}{features} --")
}

/// The command for arguments that plant nothing.
pub(super) fn plain(arguments: &str) -> String {
    let on = BUILT_IN.iter().filter(|(_, on)| *on).map(|(feature, _)| *feature);
    format!("{} {arguments}", program(&on.collect::<Vec<_>>()))
}

/// The command for one run. `command`: `run` or `replay`; `scenario`: as it was given, name or path; `plant`: the bug.
pub(super) fn again(command: &str, scenario: &str, seed: u64, plant: Option<&str>) -> String {
    let arguments = format!("{command} {} --seed {seed}", quoted(scenario));
    match plant {
        Some(bug) => format!("{} {arguments} --plant {bug}", program(&["planted"])),
        None => plain(&arguments),
    }
}

/// A path as it is short from a directory, if it lies below it.
fn seen_from(path: &Path, directory: &Path) -> String {
    path.strip_prefix(directory).unwrap_or(path).display().to_string()
}

/// As one word of a shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./+,:=@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_named_as_it_was_given() {
        let command = again("run", "scenarios/my own.toml", 7, Some("gap-ignored"));
        let wanted = " --features planted -- run 'scenarios/my own.toml' --seed 7 --plant gap-ignored";
        assert!(command.ends_with(wanted), "{command}");
        let command = again("replay", "chaos-20", 3, None);
        assert!(command.ends_with(" -- replay chaos-20 --seed 3"), "{command}");
    }

    #[test]
    fn the_manifest_is_found_from_where_one_is() {
        let manifest = Path::new("/project/simulations/Cargo.toml");
        for (here, seen) in [
            ("/project", "simulations/Cargo.toml"),
            ("/project/simulations", "Cargo.toml"),
            ("/elsewhere", "/project/simulations/Cargo.toml"),
        ] {
            assert_eq!(seen_from(manifest, Path::new(here)), seen);
        }
    }

    #[test]
    fn a_word_of_a_shell_stays_one() {
        for (text, word) in [
            ("a/b-1.toml", "a/b-1.toml"),
            ("a b", "'a b'"),
            ("it's", r"'it'\''s'"),
            ("$HOME", "'$HOME'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(text), word);
        }
    }

    #[test]
    fn every_bug_has_its_feature() {
        let mut bugs = chargemesh::planted::BUGS.map(|(name, _)| format!("planted-{name}"));
        bugs.sort();
        let features: Vec<&str> = BUILT_IN.iter().map(|(feature, _)| *feature).collect();
        assert_eq!(bugs.to_vec(), features);
    }
}
