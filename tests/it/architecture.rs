//! The rules of `src/ARCHITECTURE.md` as tests: who may use whom, which library lives where, what a
//! pure module must not name, and the size of things. Each rule is also tried on a small bad sample,
//! so that a rule which cannot fail is found out.

mod rules;
mod source;

use std::path::{Path, PathBuf};

use rules::Violation;
use source::Source;

/// What may stand at the top level, besides hidden files.
const TOP_LEVEL: [&str; 13] = [
    "ARCHITECTURE.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "bootstrap",
    "clippy.toml",
    "deny.toml",
    "keys",
    "rustfmt.toml",
    "simulations",
    "src",
    "tests",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every file under `dir` with one of these endings, sorted, build products left out.
fn files_under(dir: &Path, endings: &[&str], found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && name != ".git" {
                files_under(&path, endings, found);
            }
        } else if endings.iter().any(|ending| name.ends_with(ending)) {
            found.push(path);
        }
    }
}

fn sources(below: &str) -> Vec<Source> {
    let mut found = Vec::new();
    files_under(&root().join(below), &[".rs"], &mut found);
    assert!(!found.is_empty(), "no Rust file below {below}: is the test looking in the right place?");
    found
        .iter()
        .map(|path| {
            let name = path.strip_prefix(root()).unwrap_or(path).to_string_lossy().into_owned();
            let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{name}: {error}"));
            Source::new(&name, &text)
        })
        .collect()
}

fn assert_clean(sources: &[Source], rule: fn(&Source) -> Vec<Violation>) {
    let all: Vec<String> = sources.iter().flat_map(rule).map(|violation| violation.to_string()).collect();
    assert!(all.is_empty(), "{} violation(s):\n{}", all.len(), all.join("\n"));
}

#[test]
fn modules_use_only_whom_they_may() {
    assert_clean(&sources("src"), rules::imports);
}

#[test]
fn libraries_stay_in_their_module() {
    assert_clean(&sources("src"), rules::libraries);
}

#[test]
fn library_types_are_not_re_exported() {
    assert_clean(&sources("src"), rules::re_exports);
}

#[test]
fn pure_modules_are_pure() {
    assert_clean(&sources("src"), rules::purity);
}

#[test]
fn every_file_says_what_it_is_for() {
    for below in ["src", "tests"] {
        assert_clean(&sources(below), rules::module_comment);
    }
}

#[test]
fn files_and_functions_fit() {
    for below in ["src", "tests"] {
        assert_clean(&sources(below), rules::file_length);
    }
    assert_clean(&sources("src"), rules::function_length);
}

#[test]
fn nothing_is_bound_to_one_machine() {
    let mut found = Vec::new();
    for below in ["src", "tests", "bootstrap", "keys", "simulations", ".ci", ".config"] {
        files_under(&root().join(below), &[".rs", ".md", ".toml", ".sql", "run"], &mut found);
    }
    found.extend(["Cargo.toml", "README.md", "clippy.toml", "deny.toml"].map(|name| root().join(name)));
    let all: Vec<String> = (found.iter())
        .filter_map(|path| Some((path, std::fs::read_to_string(path).ok()?)))
        .flat_map(|(path, text)| rules::machine_paths(&path.to_string_lossy(), &text))
        .map(|violation| violation.to_string())
        .collect();
    assert!(all.is_empty(), "{}", all.join("\n"));
}

#[test]
fn every_test_that_the_table_of_attacks_names_is_there() {
    let table = std::fs::read_to_string(root().join("tests/it/README.md")).unwrap();
    let named =
        table.split('`').filter_map(|text| text.split_once("::")).filter(|(file, _)| file.ends_with(".rs"));
    let missing = |(file, test): &(&str, &str)| {
        let text = std::fs::read_to_string(root().join(file)).unwrap_or_default();
        let (before, _) = text.split_once(&format!("fn {test}()")).unwrap_or_default();
        // `async` may stand between the attribute and the name.
        let mut above = before.lines().rev().take(2).map(str::trim);
        !above.any(|line| line.starts_with("#[") && line.contains("test"))
    };
    let named: Vec<(&str, &str)> = named.collect();
    assert!(named.len() > 30, "the table is read");
    let missing: Vec<_> = named.into_iter().filter(missing).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_top_level_is_as_agreed() {
    let mut surprises: Vec<String> = std::fs::read_dir(root())
        .unwrap_or_else(|error| panic!("{error}"))
        .filter_map(|entry| entry.ok().map(|entry| entry.file_name().to_string_lossy().into_owned()))
        .filter(|name| !name.starts_with('.') && name != "target" && !TOP_LEVEL.contains(&name.as_str()))
        .collect();
    surprises.sort();
    assert!(surprises.is_empty(), "not agreed at the top level: {}", surprises.join(", "));
}

/// The rule must object to the bad sample and must not object to the good one.
fn can_fail(rule: fn(&Source) -> Vec<Violation>, file: &str, bad: &str, good: &str) {
    assert!(!rule(&Source::new(file, bad)).is_empty(), "{file}: nothing found in\n{bad}");
    let found = rule(&Source::new(file, good));
    assert!(found.is_empty(), "{file}: {} in\n{good}", found[0]);
}

#[test]
fn the_import_rule_can_fail() {
    let good = "use crate::protocol::Topic; // crate::engine";
    can_fail(rules::imports, "src/mesh/actor.rs", "use crate::engine::Engine;", good);
    can_fail(rules::imports, "src/mesh/actor.rs", "use crate::{\n  protocol::{Topic}, oicp::id};", good);
    can_fail(rules::imports, "src/oicp/id.rs", "fn f() { crate::identity::x() }", "use crate::oicp::json;");
    can_fail(
        rules::imports,
        "src/storage/x.rs",
        "use crate::roaming::Roaming;",
        "use crate::roaming::change::HeldPush;",
    );
    can_fail(rules::imports, "src/cli/x.rs", "use crate::engine::X;", "use chargemesh::engine::Engine;");
    can_fail(
        rules::imports,
        "src/oicp/id.rs",
        "use crate::mesh::X;",
        "#[cfg(test)]\nmod tests { use crate::mesh::X; }",
    );
}

#[test]
fn the_library_rules_can_fail() {
    can_fail(
        rules::libraries,
        "src/engine/mod.rs",
        "use rusqlite::Connection;",
        "let text = \"rusqlite::Connection\";",
    );
    can_fail(rules::libraries, "src/node/mod.rs", "let x: libp2p::PeerId;", "/* libp2p::PeerId */");
    can_fail(rules::libraries, "src/engine/x.rs", "use {clap::Parser};", "use clapper::Parser;");
    can_fail(
        rules::re_exports,
        "src/mesh/mod.rs",
        "pub use libp2p::PeerId;",
        "use libp2p::PeerId; pub use handle::Mesh;",
    );
}

#[test]
fn the_purity_rule_can_fail() {
    let good = "use std::collections::BTreeMap; // no HashMap, no tokio";
    for bad in [
        "use tokio::sync::mpsc;",
        "async fn f() {}",
        "let x = y.await;",
        "use std::collections::HashMap;",
        "let now = std::time::Instant::now();",
        "let now = SystemTime::now();",
        "getrandom::fill(&mut seed)",
        "let f = std::fs::read(path);",
        "let text = include_str!(x); std::thread::spawn(f)",
    ] {
        can_fail(rules::purity, "src/roaming/x.rs", bad, good);
    }
    assert!(rules::purity(&Source::new("src/mesh/x.rs", "use tokio::sync::mpsc;")).is_empty());
}

#[test]
fn the_size_and_comment_rules_can_fail() {
    can_fail(rules::module_comment, "src/x.rs", "// no\nfn f() {}", "//! What it is for.\nfn f() {}");
    can_fail(rules::file_length, "src/x.rs", &"\n".repeat(501), &"\n".repeat(500));
    let body = |lines| format!("impl X {{ pub fn f() {{\n{}}} }}", "    g('{', \"}\");\n".repeat(lines));
    can_fail(rules::function_length, "src/x.rs", &body(90), &body(70));
    let bad = format!("path = \"{}{}\"", "/ho", "me/someone/x");
    assert!(!rules::machine_paths("x", &bad).is_empty());
    assert!(rules::machine_paths("x", "path = \"keys/node.key\"").is_empty());
}
