//! Date-times: RFC 3339 in full is read, received texts are never respelled (TYPES section 3, GAPS B2).

use std::fmt;

use jiff::Timestamp;

/// A date-time with its received text. Two are equal if their texts are; compare instants with
/// [`Self::unix_ms`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DateTime {
    text: Box<str>,
    unix_ms: i64,
}

impl DateTime {
    /// Reads RFC 3339 with its zone; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<DateTime> {
        Some(DateTime { text: text.into(), unix_ms: parse_ms(text)? })
    }

    /// An instant (milliseconds since 1970, UTC) in the spelling of [`format_ms`].
    #[must_use]
    pub fn from_unix_ms(unix_ms: i64) -> DateTime {
        DateTime { text: format_ms(unix_ms).into(), unix_ms }
    }

    /// The text as received.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The instant in milliseconds since 1970 (UTC).
    #[must_use]
    pub fn unix_ms(&self) -> i64 {
        self.unix_ms
    }
}

impl fmt::Display for DateTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The instant of an RFC 3339 date-time in milliseconds since 1970 (UTC); `None` if it is none or has no zone.
#[must_use]
pub fn parse_ms(text: &str) -> Option<i64> {
    if !is_date_time(text) {
        return None;
    }
    text.parse::<Timestamp>().ok().map(|instant| instant.as_millisecond())
}

/// An instant as the spec's examples write it: UTC, milliseconds, `Z`. An instant outside the years that RFC
/// 3339 can name becomes its nearest limit.
#[must_use]
pub fn format_ms(unix_ms: i64) -> String {
    let limit = if unix_ms < 0 { Timestamp::MIN } else { Timestamp::MAX };
    let instant = Timestamp::from_millisecond(unix_ms).unwrap_or(limit);
    format!("{instant:.3}")
}

/// True for a date-time of RFC 3339 with its zone (`Z` or an offset).
#[must_use]
pub fn is_date_time(text: &str) -> bool {
    let bytes = text.as_bytes();
    let zoned = bytes.ends_with(b"Z")
        || bytes.ends_with(b"z")
        || matches!(bytes.iter().rev().nth(5), Some(b'+' | b'-')) && bytes.iter().rev().nth(2) == Some(&b':');
    let date_and_time = bytes.len() >= 20 && matches!(bytes.get(10), Some(b'T' | b't' | b' '));
    // Bracketed annotations belong to RFC 9557, not to RFC 3339.
    zoned && date_and_time && !text.contains('[') && text.parse::<Timestamp>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_3339_in_full() {
        let table = [
            ("2020-09-23T14:27:43.052Z", Some(1_600_871_263_052)),
            ("2020-09-23T16:27:43.052+02:00", Some(1_600_871_263_052)),
            ("2020-09-23T14:27:43Z", Some(1_600_871_263_000)),
            ("2020-09-23t14:27:43.052999z", Some(1_600_871_263_052)),
            ("2020-09-23T14:27:43", None),
            ("2020-09-23", None),
            ("2020-13-23T14:27:43Z", None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(parse_ms(text), expected, "{text}");
        }
        assert_eq!(format_ms(1_600_871_263_052), "2020-09-23T14:27:43.052Z");
        assert_eq!(parse_ms(&format_ms(0)), Some(0));
    }
}
