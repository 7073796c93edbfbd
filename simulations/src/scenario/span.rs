//! Lengths of time as scenarios and the command line spell them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A length of time as text: `250ms`, `5s`, `10m`, `6h`, `14d`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Span(pub(crate) Duration);

impl Span {
    pub(crate) const fn from_secs(seconds: u64) -> Span {
        Span(Duration::from_secs(seconds))
    }

    pub(crate) fn ms(self) -> u64 {
        self.0.as_millis() as u64
    }
}

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Span, String> {
        let wrong = || format!("`{text}` is no length of time, such as 250ms, 5s, 10m, 6h, 14d");
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
        let unit_ms = match &text[digits..] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        let ms = number.checked_mul(unit_ms).ok_or_else(|| format!("`{text}` is too long"))?;
        Ok(Span(Duration::from_millis(ms)))
    }
}

impl std::fmt::Display for Span {
    fn fmt(&self, text: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];
        let fits = units.into_iter().find(|(_, unit_ms)| self.ms() > 0 && self.ms().is_multiple_of(*unit_ms));
        let (unit, unit_ms) = fits.unwrap_or(("ms", 1));
        write!(text, "{}{unit}", self.ms() / unit_ms)
    }
}

impl From<Span> for String {
    fn from(span: Span) -> String {
        format!("{}ms", span.ms())
    }
}
