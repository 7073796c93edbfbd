//! A month in UTC.

use std::fmt;
use std::str::FromStr;

use crate::oicp::time::{format_ms, parse_ms};

/// A day in milliseconds.
pub(crate) const DAY_MS: i64 = 86_400_000;

/// Years that are read: from before this protocol to after anybody who reads it.
const YEARS: std::ops::RangeInclusive<u16> = 2000..=9998;

/// A month of a year, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Month {
    year: u16,
    month: u8,
    from_unix_ms: i64,
    until_unix_ms: i64,
}

impl Month {
    /// A month of a year; `None` if there is none such.
    #[must_use]
    pub fn new(year: u16, month: u8) -> Option<Month> {
        if !YEARS.contains(&year) || !(1..=12).contains(&month) {
            return None;
        }
        let begin = |year: u16, month: u8| parse_ms(&format!("{year:04}-{month:02}-01T00:00:00Z"));
        let (next_year, next) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
        let (from_unix_ms, until_unix_ms) = (begin(year, month)?, begin(next_year, next)?);
        Some(Month { year, month, from_unix_ms, until_unix_ms })
    }

    /// The month of an instant in unix milliseconds; `None` far outside of our time.
    #[must_use]
    pub fn of(unix_ms: i64) -> Option<Month> {
        format_ms(unix_ms).get(..7)?.parse().ok()
    }

    /// Its first millisecond.
    #[must_use]
    pub fn from_unix_ms(&self) -> i64 {
        self.from_unix_ms
    }

    /// The first millisecond of the next one.
    #[must_use]
    pub fn until_unix_ms(&self) -> i64 {
        self.until_unix_ms
    }

    /// Whether an instant is in it.
    #[must_use]
    pub fn holds(&self, unix_ms: i64) -> bool {
        (self.from_unix_ms..self.until_unix_ms).contains(&unix_ms)
    }

    /// How many days it has.
    #[must_use]
    pub fn days(&self) -> usize {
        usize::try_from((self.until_unix_ms - self.from_unix_ms) / DAY_MS).unwrap_or(0)
    }

    /// Which day of it an instant is on, from 0; beyond the last one for an instant that is not in it.
    pub(super) fn day_of(&self, unix_ms: i64) -> usize {
        let day = unix_ms.saturating_sub(self.from_unix_ms).div_euclid(DAY_MS);
        usize::try_from(day).unwrap_or(usize::MAX)
    }

    /// For people: `November 2026`. English, as all texts of the node.
    pub(super) fn name(&self) -> String {
        const NAMES: [&str; 12] = [
            "January",
            "February",
            "March",
            "April",
            "May",
            "June",
            "July",
            "August",
            "September",
            "October",
            "November",
            "December",
        ];
        let name = NAMES.get(usize::from(self.month) - 1).copied().unwrap_or_default();
        format!("{name} {}", self.year)
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

/// Not a month.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write a month as in 2026-11")]
pub struct NoMonth;

impl FromStr for Month {
    type Err = NoMonth;

    fn from_str(text: &str) -> Result<Month, NoMonth> {
        let digits = |text: &str, length: usize| {
            (text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit())).then_some(())
        };
        let read = || {
            let (year, month) = text.split_once('-')?;
            digits(year, 4)?;
            digits(month, 2)?;
            Month::new(year.parse().ok()?, month.parse().ok()?)
        };
        read().ok_or(NoMonth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_are_read_and_have_their_days() {
        for (text, days) in [("2026-11", 30), ("2026-12", 31), ("2028-02", 29), ("2100-02", 28)] {
            let month: Month = text.parse().unwrap();
            assert_eq!((month.to_string().as_str(), month.days()), (text, days));
            assert!(month.holds(month.from_unix_ms()) && !month.holds(month.until_unix_ms()));
            assert_eq!(Month::of(month.until_unix_ms() - 1), Some(month));
        }
        for text in ["", "2026", "2026-13", "2026-00", "26-11", "2026-1", "2026-11-01", "+026-11", "9999-12"]
        {
            assert_eq!(text.parse::<Month>(), Err(NoMonth), "{text}");
        }
    }

    #[test]
    fn the_day_is_that_of_utc() {
        let month = Month::new(2026, 11).unwrap();
        let at = |text| month.day_of(parse_ms(text).unwrap());
        assert_eq!((at("2026-11-01T00:30:00Z"), at("2026-11-30T23:59:59.999Z")), (0, 29));
        assert_eq!(at("2026-11-02T00:30:00+01:00"), 0);
        assert_eq!(at("2026-10-31T23:00:00Z"), usize::MAX);
    }
}
