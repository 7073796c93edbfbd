//! The text of a node's settings: written anew, or changed in single lines.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, ensure};
use chargemesh::config::Config;

use super::files::{self, CREDENTIAL, DELEGATION, MESSAGE_KEY, TRUST_LIST};

/// What the settings of a new node are made of.
pub(super) struct Settings<'a> {
    pub(super) title: String,
    pub(super) network: &'a str,
    /// Who signed the trust list; none if the node has only pins.
    pub(super) trust_signer: Option<String>,
    pub(super) listen: &'a [String],
    pub(super) announce: &'a [String],
    pub(super) bootstrap: &'a [String],
    /// Id as typed and name; none for a bootstrap node.
    pub(super) party: Option<(&'a str, &'a str)>,
    pub(super) facade: Option<SocketAddr>,
    /// Keys of the only backend and of the admin API, where the facade can be reached from elsewhere.
    pub(super) facade_keys: Option<(String, String)>,
}

impl Settings<'_> {
    /// The text of `node.toml`.
    pub(super) fn to_toml(&self) -> String {
        let mut text = format!(
            "# {}\n# Only what differs from the defaults: `bootstrap/node.toml` of the source explains every setting.\n\
             # Paths are relative to this file. The environment (CHARGEMESH_MESH__LISTEN) and flags go over it.\n",
            self.title
        );
        let trust = [
            ("Whom this node believes, besides its own pins ...", "trust", quoted(TRUST_LIST)),
            (
                "... if the list is signed by this key; empty: only its own pins.",
                "trust_signer",
                quoted(self.trust_signer.as_deref().unwrap_or_default()),
            ),
        ];
        section(&mut text, "[node]", &trust);
        section(&mut text, "[mesh]", &self.mesh_lines());
        let mut facade = Vec::new();
        if let Some(address) = self.facade {
            facade.push(("Where backends reach it: OICP over HTTP.", "listen", quoted(&address.to_string())));
        }
        if let Some((_, admin)) = &self.facade_keys {
            facade.push(("For `chargemesh peers` and /metrics; keep it secret.", "admin_key", quoted(admin)));
        }
        section(&mut text, "[facade]", &facade);
        if self.facade_keys.is_some() {
            let tls = [
                (
                    "Other machines reach it, so it speaks TLS: PEM, and mode 0600 for the key.",
                    "certificate",
                    quoted("keys/facade.crt"),
                ),
                (
                    "Without a certificate: allow_plain_http in [facade], if a proxy does TLS.",
                    "key",
                    quoted("keys/facade.key"),
                ),
            ];
            section(&mut text, "[facade.tls]", &tls);
        }
        let Some((id, name)) = self.party else { return text };
        if let Some((backend, _)) = &self.facade_keys {
            let backend = [
                (
                    "It stands in the base URL (/k/KEY) or is the password of HTTP Basic; keep it secret.",
                    "key",
                    quoted(backend),
                ),
                ("For whom this backend may act.", "parties", format!("[{}]", quoted(id))),
            ];
            section(&mut text, "[[facade.backend]]", &backend);
        }
        let party = [
            ("For whom this node speaks.", "id", quoted(id)),
            ("OperatorName in everything that it publishes.", "name", quoted(name)),
            ("Signs what it says; the delegation names this key.", "message_key", quoted(MESSAGE_KEY)),
            ("An issuer's word for the party.", "credential", quoted(CREDENTIAL)),
            ("The org key's word for this node.", "delegation", quoted(DELEGATION)),
        ];
        section(&mut text, "[[parties]]", &party);
        text
    }

    fn mesh_lines(&self) -> Vec<Line> {
        let mut lines = vec![
            ("Nodes of other networks are never heard.", "network", quoted(self.network)),
            ("Where it listens for other nodes.", "listen", list(self.listen)),
        ];
        if !self.announce.is_empty() {
            lines.push(("Under which addresses others reach it.", "announce", list(self.announce)));
        }
        lines.push(("Nodes that it asks first for all others.", "bootstrap", list(self.bootstrap)));
        if self.party.is_none() {
            lines.push(("It only helps others to find each other.", "bootstrap_only", "true".to_owned()));
        }
        lines
    }
}

/// Changes settings of a node's file and leaves every other line as it is. Each change is section, key and value;
/// the value has to stand on one line. Nothing is changed unless the file then says `expected`.
pub(super) fn change(
    file: &Path,
    changes: &[(&str, &str, String)],
    expected: impl FnOnce(&Config) -> bool,
) -> anyhow::Result<()> {
    let old = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let text = changes.iter().fold(old, |text, (section, key, value)| with_line(&text, section, key, value));
    let by_hand = || {
        let lines: Vec<String> =
            changes.iter().map(|(section, key, value)| format!("\n  [{section}] {key} = {value}")).collect();
        format!("{} has a form that is not changed here: set by hand{}", file.display(), lines.concat())
    };
    files::replace_checked(file, text.as_bytes(), |new| {
        let config = Config::load(new, &[]).with_context(by_hand)?;
        ensure!(expected(&config), "{}", by_hand());
        Ok(())
    })
}

/// The text with one line of one section set; made at the section's beginning, or at the end, if it is not there.
fn with_line(text: &str, section: &str, key: &str, value: &str) -> String {
    let header = format!("[{section}]");
    let line = format!("{key} = {value}");
    let mut lines: Vec<&str> = text.lines().collect();
    let Some(begin) = lines.iter().position(|line| line.trim() == header) else {
        return format!("{text}\n{header}\n{line}\n");
    };
    let inside = lines.iter().enumerate().skip(begin + 1);
    let is_key = |line: &str| line.split_once('=').is_some_and(|(name, _)| name.trim() == key);
    let found =
        inside.take_while(|(_, line)| !line.trim_start().starts_with('[')).find(|(_, line)| is_key(line));
    match found.map(|(at, _)| at).and_then(|at| lines.get_mut(at)) {
        Some(old) => *old = &line,
        None => lines.insert(begin + 1, &line),
    }
    lines.join("\n") + "\n"
}

/// Comment, key and value.
type Line = (&'static str, &'static str, String);

fn section(text: &mut String, header: &str, lines: &[Line]) {
    if lines.is_empty() {
        return;
    }
    text.extend(["\n", header, "\n"]);
    for (comment, key, value) in lines {
        text.extend(["# ", comment, "\n", key, " = ", value, "\n"]);
    }
}

/// An array of basic strings.
pub(super) fn list(texts: &[String]) -> String {
    format!("[{}]", texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", "))
}

/// A basic string of TOML 1.0.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            control if control.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(control));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_can_stand_in_the_settings() {
        assert_eq!(quoted("a"), "\"a\"");
        assert_eq!(quoted("Müller \"Strom\" a\\b\n"), "\"Müller \\\"Strom\\\" a\\\\b\\u000A\"");
    }

    #[test]
    fn one_line_of_one_section_changes_and_no_other() {
        let text = "# x\n[node]\na = 1\n[mesh]\n# a = 0\na = 2 # y\n\n[[parties]]\na = 3\n";
        let changed = text.replace("a = 2 # y", "a = 9");
        assert_eq!(with_line(text, "mesh", "a", "9"), changed);
        assert_eq!(with_line(text, "mesh", "b", "9"), text.replace("[mesh]\n", "[mesh]\nb = 9\n"));
        assert_eq!(with_line("a = 1\n", "mesh", "b", "9"), "a = 1\n\n[mesh]\nb = 9\n");
    }

    #[test]
    fn a_form_that_is_not_understood_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("node.toml");
        let text = "[mesh]\nbootstrap = [\n  \"/ip4/192.0.2.1/tcp/1\",\n]\n";
        std::fs::write(&file, text).unwrap();
        let value = list(&["/ip4/192.0.2.2/tcp/1".to_owned()]);
        let said = change(&file, &[("mesh", "bootstrap", value.clone())], |_| true).unwrap_err();
        assert!(said.to_string().contains("by hand") && said.to_string().contains(&value), "{said}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
        change(&file, &[("log", "filter", quoted("warn"))], |config| config.log.filter == "warn").unwrap();
        assert!(std::fs::read_to_string(&file).unwrap().starts_with(text));
    }
}
