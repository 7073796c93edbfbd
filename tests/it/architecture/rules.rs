//! The rules, each as a function from a file to what is wrong with it.

use std::fmt;

use super::source::{Source, block_end};

/// Longest file in lines.
const FILE_LINES_MAX: usize = 500;
/// Longest function in lines, signature included.
const FUNCTION_LINES_MAX: usize = 80;

/// Modules that never block, await, read a clock, draw randomness or touch the outside.
const PURE: [&str; 4] = ["oicp", "identity", "protocol", "roaming"];

/// Which module may name which other modules of the crate. `node` and `lib` may name all.
const MAY_USE: [(&str, &[&str]); 15] = [
    ("oicp", &[]),
    ("identity", &[]),
    ("protocol", &["oicp", "identity"]),
    ("roaming", &["oicp", "identity", "protocol"]),
    ("mesh", &["identity", "protocol"]),
    ("storage", &["oicp", "identity", "protocol", "roaming::change"]),
    ("tls", &[]),
    ("outbound", &["oicp", "tls"]),
    ("pins", &["oicp"]),
    ("engine", &["oicp", "identity", "protocol", "roaming", "mesh", "storage", "outbound", "pins"]),
    ("facade", &["oicp", "identity", "engine", "storage", "pins", "tls"]),
    ("hub", &["oicp", "identity", "protocol", "roaming", "storage", "outbound", "engine"]),
    ("backend", &["oicp", "outbound", "tls", "engine::Clock"]),
    (
        "config",
        &[
            "mesh::Config",
            "storage::Config",
            "facade::Config",
            "facade::config",
            "facade::BackendConfig",
            "roaming::Config",
            "roaming::POLICY_RULES_MAX",
            "roaming::Policy",
            "roaming::ChargingConfig",
            "outbound::Config",
            "hub::HubConfig",
            "roaming::VISIBILITY_RULES_MAX",
            "roaming::Visibility",
            "engine::Config",
            "identity",
        ],
    ),
    ("cli", &[]),
];

const MODULES: [&str; 16] = [
    "oicp", "identity", "protocol", "roaming", "mesh", "storage", "outbound", "engine", "facade", "backend",
    "config", "node", "cli", "pins", "tls", "hub",
];

/// Which library may be named in which modules. A library that is not here may be named anywhere.
const LIBRARIES: [(&str, &[&str]); 25] = [
    ("bcrypt", &["pins"]),
    ("libp2p", &["mesh"]),
    ("libp2p_stream", &["mesh"]),
    ("rusqlite", &["storage"]),
    ("rusqlite_migration", &["storage"]),
    ("reqwest", &["outbound"]),
    ("rustls", &["tls"]),
    ("tokio_rustls", &["facade", "backend"]),
    ("x509_parser", &["tls"]),
    ("axum", &["facade", "backend"]),
    ("tower", &["facade", "backend"]),
    ("tower_http", &["facade"]),
    ("prometheus_client", &["facade"]),
    ("utoipa", &["facade"]),
    ("clap", &["cli", "main"]),
    ("indicatif", &["cli"]),
    ("tracing_subscriber", &["cli", "main", "node"]),
    ("ed25519_dalek", &["identity"]),
    ("coset", &["identity"]),
    ("bip39", &["identity"]),
    ("ciborium", &["identity", "protocol"]),
    ("zstd", &["protocol", "facade"]),
    ("serde_json", &["oicp", "facade"]),
    ("toml", &["config"]),
    ("anyhow", &["cli", "main", "node"]),
];

/// What a pure module must not name. A word with no `::` or `.` is matched whole.
const IMPURE: [&str; 19] = [
    "tokio",
    "async",
    ".await",
    "HashMap",
    "HashSet",
    "SystemTime",
    "Instant::now",
    "time::Instant",
    "Timestamp::now",
    "Zoned::now",
    "getrandom",
    "thread_rng",
    "OsRng",
    "std::fs",
    "std::net",
    "std::env",
    "std::thread",
    "std::process",
    "println",
];

/// What was found.
pub(crate) struct Violation {
    file: String,
    line: usize,
    what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.what)
    }
}

fn violation(source: &Source, at: usize, what: String) -> Violation {
    Violation { file: source.name.clone(), line: source.line(at), what }
}

/// Every place where `word` stands as a whole word.
fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let part_of_word = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    let starts_as_word = part_of_word(word.as_bytes().first());
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = at.checked_sub(1).and_then(|before| code.as_bytes().get(before));
        let after = code.as_bytes().get(at + word.len());
        !(part_of_word(after) || starts_as_word && part_of_word(before))
    })
}

/// The crate paths that a file names, as `module` or `module::item`, groups opened.
fn crate_paths(code: &str) -> Vec<(usize, String)> {
    let mut paths = Vec::new();
    for at in words(code, "crate") {
        let Some(rest) = code[at + 5..].strip_prefix("::") else { continue };
        if let Some(group) = rest.strip_prefix('{') {
            let end = block_end(rest, 0).saturating_sub(2).min(group.len());
            paths.extend(split_group(&group[..end]).into_iter().map(|path| (at, path)));
        } else {
            paths.push((at, head_of(rest)));
        }
    }
    paths
}

/// The first two segments of a path.
fn head_of(path: &str) -> String {
    let path: String =
        path.trim().chars().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':')).collect();
    path.split("::").filter(|part| !part.is_empty()).take(2).collect::<Vec<_>>().join("::")
}

fn split_group(group: &str) -> Vec<String> {
    let mut depth = 0_i32;
    let mut parts = vec![String::new()];
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if c == ',' && depth == 0 {
            parts.push(String::new());
        } else if let Some(last) = parts.last_mut() {
            last.push(c);
        }
    }
    parts.iter().map(|part| head_of(part)).filter(|part| !part.is_empty()).collect()
}

/// A module names only those that it may use.
pub(crate) fn imports(source: &Source) -> Vec<Violation> {
    let module = source.module();
    let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == module) else { return Vec::new() };
    if source.is_test() {
        return Vec::new();
    }
    crate_paths(&source.code)
        .into_iter()
        .filter(|(_, path)| {
            let other = path.split("::").next().unwrap_or("");
            let fits = |allowed: &&str| *allowed == other || *allowed == path.as_str();
            other != module && MODULES.contains(&other) && !allowed.iter().any(fits)
        })
        .map(|(at, path)| violation(source, at, format!("`{module}` must not use `crate::{path}`")))
        .collect()
}

/// A library is named only in the modules that own it.
pub(crate) fn libraries(source: &Source) -> Vec<Violation> {
    let module = source.module();
    let mut found = Vec::new();
    if source.is_test() {
        return found;
    }
    for (library, owners) in LIBRARIES {
        let named = words(&source.code, library).filter(|at| {
            let before = source.code[..*at].trim_end();
            let after = &source.code[at + library.len()..];
            let is_path = after.starts_with("::") && !before.ends_with("::");
            is_path || before.ends_with("use") || before.ends_with("extern crate")
        });
        if !owners.contains(&module) {
            found.extend(named.map(|at| {
                violation(source, at, format!("`{library}` belongs to {}, not `{module}`", owners.join(", ")))
            }));
        }
    }
    found
}

/// Types of the libraries that a module hides stay hidden.
pub(crate) fn re_exports(source: &Source) -> Vec<Violation> {
    let mut found = Vec::new();
    for library in ["libp2p", "rusqlite", "axum", "reqwest", "coset", "ed25519_dalek"] {
        for at in words(&source.code, library) {
            let line_start = source.code[..at].rfind([';', '}']).map_or(0, |end| end + 1);
            if source.code[line_start..at].contains("pub use") {
                found.push(violation(source, at, format!("`{library}` is re-exported")));
            }
        }
    }
    found
}

/// A pure module names nothing that is not pure.
pub(crate) fn purity(source: &Source) -> Vec<Violation> {
    if !PURE.contains(&source.module()) || source.is_test() {
        return Vec::new();
    }
    IMPURE
        .iter()
        .flat_map(|word| words(&source.code, word).map(move |at| (at, word)))
        .map(|(at, word)| violation(source, at, format!("`{word}` in the pure module `{}`", source.module())))
        .collect()
}

/// The file begins with a comment that says what it is for.
pub(crate) fn module_comment(source: &Source) -> Vec<Violation> {
    let said = source.text.lines().next().is_some_and(|line| line.starts_with("//! ") && line.len() > 8);
    if said {
        Vec::new()
    } else {
        vec![violation(source, 0, "the file does not begin with a `//!` comment".into())]
    }
}

/// The file is not too long.
pub(crate) fn file_length(source: &Source) -> Vec<Violation> {
    let lines = source.text.lines().count();
    if lines <= FILE_LINES_MAX {
        return Vec::new();
    }
    vec![violation(source, 0, format!("{lines} lines, at most {FILE_LINES_MAX}: split the file"))]
}

/// No function is too long.
pub(crate) fn function_length(source: &Source) -> Vec<Violation> {
    let mut found = Vec::new();
    for at in words(&source.code, "fn") {
        let rest = &source.code[at..];
        let (Some(open), semicolon) = (rest.find('{'), rest.find(';')) else { continue };
        let is_function = rest[2..].trim_start().starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        // A declaration without a body ends before the next brace.
        if !is_function || semicolon.is_some_and(|semicolon| semicolon < open) {
            continue;
        }
        let end = block_end(&source.code, at + open);
        let lines = source.code[at..end].lines().count();
        if lines > FUNCTION_LINES_MAX && !source.is_test() {
            let name: String =
                rest[2..].trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let what = format!("`{name}` has {lines} lines, at most {FUNCTION_LINES_MAX}");
            found.push(violation(source, at, what));
        }
    }
    found
}

/// No path of somebody's machine.
pub(crate) fn machine_paths(name: &str, text: &str) -> Vec<Violation> {
    // Spelt in parts, or this file would be its own first find.
    let roots = [["/ho", "me/"], ["/ro", "ot/"], ["/wo", "rk/"], ["/Us", "ers/"], ["C:", "\\"]];
    let roots: Vec<String> = roots.iter().map(|parts| parts.concat()).collect();
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if let Some(root) = roots.iter().find(|root| line.contains(root.as_str())) {
            let what = format!("`{root}` is a path of one machine");
            found.push(Violation { file: name.to_owned(), line: index + 1, what });
        }
    }
    found
}
