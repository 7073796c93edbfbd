//! Reading settings from text, and finding the words for what is wrong with them.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;
use toml::{Table, Value};

use super::Config;

/// Why the settings cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}. Make one with `chargemesh init DIR`, or name it with --config", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A line of the file is wrong.
    #[error("{file}, line {line}: {problem}{hint}")]
    Line {
        /// The file.
        file: String,
        /// Counted from 1.
        line: usize,
        /// What is wrong, with the key.
        problem: String,
        /// What to do; empty if there is nothing to add.
        hint: String,
    },
    /// An environment variable or a flag is wrong.
    #[error("{origin}: {problem}{hint}")]
    Overridden {
        /// Which one.
        origin: Origin,
        /// What is wrong.
        problem: String,
        /// What to do.
        hint: String,
    },
    /// Settings that do not go together, or a value outside its range.
    #[error("{key}: {rule}")]
    Rule {
        /// The key.
        key: String,
        /// What it must be, and what to do.
        rule: String,
    },
}

/// Where an override comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// An environment variable.
    Environment(String),
    /// A flag of the command line.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Environment(name) => write!(f, "environment variable {name}"),
            Origin::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// A value that goes over the file's. Later ones win.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// The key, `mesh.listen`.
    pub key: String,
    /// As typed: a TOML value, else plain text, else a list separated by commas.
    pub value: String,
    /// For the error message.
    pub origin: Origin,
}

/// The overrides among environment variables: `CHARGEMESH_MESH__LISTEN` is `mesh.listen`. Variables
/// without `__` are the command line's own and are left alone. Sorted by name.
pub fn environment_overrides(variables: impl IntoIterator<Item = (String, String)>) -> Vec<Override> {
    let mut found: Vec<Override> = (variables.into_iter())
        .filter_map(|(name, value)| {
            let key = name.strip_prefix("CHARGEMESH_").filter(|key| key.contains("__"))?;
            let key = key.to_ascii_lowercase().replace("__", ".");
            Some(Override { key, value, origin: Origin::Environment(name) })
        })
        .collect();
    found.sort_by(|a, b| a.key.cmp(&b.key));
    found
}

/// Reads the file's text and puts the overrides over it.
pub(super) fn parse(text: &str, file: &str, overrides: &[Override]) -> Result<Config, ConfigError> {
    // First the file alone: its errors have a line.
    let mut config: Config = toml::from_str(text).map_err(|error| line_error(text, file, &error))?;
    if overrides.is_empty() {
        return Ok(config);
    }
    let mut table: Table = toml::from_str(text).map_err(|error| line_error(text, file, &error))?;
    for over in overrides {
        (table, config) = apply(&table, over)?;
    }
    Ok(config)
}

/// Tries the readings of an override until one fits the setting's type.
fn apply(table: &Table, over: &Override) -> Result<(Table, Config), ConfigError> {
    let list = over.value.split(',').map(|part| Value::String(part.trim().to_owned())).collect();
    let as_toml = toml::from_str::<Table>(&format!("value = {}", over.value));
    let readings = [
        as_toml.ok().and_then(|mut table| table.remove("value")),
        Some(Value::String(over.value.clone())),
        Some(Value::Array(list)),
    ];
    let mut first = None;
    for value in readings.into_iter().flatten() {
        let mut table = table.clone();
        if !put(&mut table, &over.key, value) {
            let problem = format!("`{}` is no setting", over.key);
            return Err(ConfigError::Overridden {
                origin: over.origin.clone(),
                problem,
                hint: String::new(),
            });
        }
        match Config::deserialize_table(&table) {
            Ok(config) => return Ok((table, config)),
            Err(error) => first = first.or(Some(error)),
        }
    }
    let message = first.map(|error| error.message().to_owned()).unwrap_or_default();
    let (problem, hint) = explain(&message);
    let problem = format!("`{}`: {problem}", over.key);
    Err(ConfigError::Overridden { origin: over.origin.clone(), problem, hint })
}

impl Config {
    fn deserialize_table(table: &Table) -> Result<Config, toml::de::Error> {
        table.clone().try_into()
    }
}

/// Sets `a.b.c`; false if a part on the way is no table.
fn put(table: &mut Table, key: &str, value: Value) -> bool {
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), value);
            true
        }
        Some((head, rest)) => {
            let inner = table.entry(head.to_owned()).or_insert_with(|| Value::Table(Table::new()));
            inner.as_table_mut().is_some_and(|inner| put(inner, rest, value))
        }
    }
}

fn line_error(text: &str, file: &str, error: &toml::de::Error) -> ConfigError {
    let at = error.span().map_or(0, |span| span.start).min(text.len());
    let line = text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1;
    let (problem, hint) = explain(error.message());
    ConfigError::Line { file: file.to_owned(), line, problem, hint }
}

/// Makes "unknown field `lisen`, expected one of …" into what a person needs: the nearest known key.
fn explain(message: &str) -> (String, String) {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let Some(unknown) = message.starts_with("unknown field").then(|| quoted.next()).flatten() else {
        return (message.to_owned(), String::new());
    };
    let nearest = quoted.min_by_key(|known| distance(unknown, known));
    let hint = match nearest {
        Some(known) if distance(unknown, known) <= unknown.len().div_ceil(2) => {
            format!(": did you mean `{known}`?")
        }
        Some(_) | None => ": bootstrap/node.toml lists all settings".to_owned(),
    };
    (format!("unknown key `{unknown}`"), hint)
}

/// Edits between two words (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (to, cell) in b.iter().zip(row.iter_mut().skip(1)) {
            let cost = diagonal + usize::from(from != *to);
            diagonal = *cell;
            left = cost.min(left + 1).min(*cell + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}
