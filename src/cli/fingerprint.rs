//! What is shown of a party before somebody vouches for it or believes it, and how that is confirmed.

use std::io::{IsTerminal as _, Write as _, stdin, stdout};

use anyhow::{Context as _, bail, ensure};
use chargemesh::identity::{CanonicalId, KeyPurpose, PartyId, PublicKey, fingerprint};

use super::text::shown;

/// Most characters of a foreign name that are shown.
const NAME_CHARACTERS_MAX: usize = 200;
/// Most ids that are listed one by one.
const IDS_SHOWN_MAX: usize = 40;
/// Longest line that is read as an answer, bytes.
const ANSWER_BYTES_MAX: u64 = 256;

/// How somebody says that the six words were compared.
#[derive(clap::Args)]
#[group(multiple = false)]
pub(super) struct Confirm {
    /// The six words as the other side read them to you; nothing is done unless they agree.
    #[arg(long, value_name = "SIX WORDS")]
    words: Option<String>,
    /// Do it without comparing: only where the file came over a way that you trust.
    #[arg(long)]
    yes: bool,
}

impl Confirm {
    /// Returns if it is confirmed that the key is the party's own.
    ///
    /// # Errors
    /// Other words, another answer than yes, or nobody there to ask.
    pub(super) fn check(&self, org_key: &PublicKey, party: &PartyId, what: &str) -> anyhow::Result<()> {
        if let Some(said) = &self.words {
            ensure!(
                fingerprint::is_of(words_of(said), org_key, party),
                "these are not the six words of this file: nothing was done. Ask {party} to read them again; if they \
                 still differ, the file was changed on its way or is somebody else's"
            );
            println!("The six words agree.");
            return Ok(());
        }
        if self.yes {
            return Ok(());
        }
        if !stdin().is_terminal() {
            bail!("compare the six words with {party} on the telephone, then say --words \"...\" (or --yes)");
        }
        print!("Does {party} read you the same six words on the telephone? {what} [yes/no] ");
        stdout().flush().context("the terminal cannot be written to")?;
        let mut answer = String::new();
        std::io::BufRead::read_line(&mut std::io::Read::take(stdin().lock(), ANSWER_BYTES_MAX), &mut answer)
            .context("the terminal cannot be read")?;
        ensure!(answer.trim().eq_ignore_ascii_case("yes"), "not confirmed: nothing was done");
        Ok(())
    }
}

/// The words of a line as commands print it: `CPO:DEGEF: defense airport ...`, `six words  defense airport ...`.
fn words_of(said: &str) -> &str {
    let words = said.rsplit(':').next().unwrap_or(said).trim_start();
    words.strip_prefix("six words ").unwrap_or(words)
}

/// What a credential, request or card says of a party, for people.
pub(super) struct Shown<'a> {
    pub(super) party: &'a PartyId,
    pub(super) name: &'a str,
    pub(super) register_number: &'a str,
    pub(super) sub_ids: &'a [CanonicalId],
    pub(super) org_key: &'a PublicKey,
    pub(super) next_org_key_hash: Option<[u8; 32]>,
}

impl Shown<'_> {
    /// Lines of a name and a value each.
    pub(super) fn lines(&self) -> String {
        let mut text = String::new();
        line(&mut text, "party", &self.party.to_string());
        line(&mut text, "name", &shown(self.name, NAME_CHARACTERS_MAX));
        if !self.register_number.is_empty() {
            line(&mut text, "registered as", &shown(self.register_number, NAME_CHARACTERS_MAX));
        }
        line(&mut text, "further ids", &ids(self.sub_ids));
        line(&mut text, "org key", &self.org_key.to_text(KeyPurpose::Org));
        if let Some(hash) = self.next_org_key_hash {
            line(&mut text, "next key hash", &hex(&hash));
        }
        line(&mut text, "six words", &fingerprint::words(self.org_key, self.party).join(" "));
        text
    }
}

/// One such line.
pub(super) fn line(text: &mut String, name: &str, value: &str) {
    text.push_str(&format!("  {name:<15}{value}\n"));
}

/// Ids for people.
pub(super) fn ids(ids: &[CanonicalId]) -> String {
    let listed: Vec<String> = ids.iter().take(IDS_SHOWN_MAX).map(ToString::to_string).collect();
    match ids.len().checked_sub(IDS_SHOWN_MAX) {
        _ if ids.is_empty() => "none".to_owned(),
        Some(more) if more > 0 => format!("{} and {more} more", listed.join(", ")),
        _ => listed.join(", "),
    }
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_found_in_the_line_that_shows_them() {
        let words = "defense airport mask south duck garlic";
        for line in [words, &format!("CPO:DEGEF: {words}"), &format!("  six words      {words}")] {
            assert_eq!(words_of(line).trim(), words, "{line:?}");
        }
    }
}
