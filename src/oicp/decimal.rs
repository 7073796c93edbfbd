//! Exact decimal numbers of messages: energy and meter readings keep the text they came in, and are compared
//! and added without binary floating point (TYPES section 2).

use std::cmp::Ordering;
use std::fmt;

use super::json::Node;

/// Most digits before the point, and most behind it: far beyond any meter, and two of them still add up
/// within 128 bits.
pub const DIGITS_MAX: usize = 18;

/// Largest power of ten in an exponent: what [`DIGITS_MAX`] can hold.
const EXPONENT_MAX: i32 = 36;

/// Smallest unit that is computed with: 10^-18.
const UNITS_PER_ONE: i128 = 1_000_000_000_000_000_000;

/// A decimal number with its received spelling. Equality and order are those of the value: `22.0` equals `22`.
#[derive(Clone)]
pub struct Decimal {
    text: Box<str>,
    units: i128,
}

impl Decimal {
    /// Reads the spelling of a JSON number; `None` if it is none, or has more than [`DIGITS_MAX`] digits on
    /// one side of its point.
    #[must_use]
    pub fn parse(text: &str) -> Option<Decimal> {
        if !super::check::is_number(text) || text.trim() != text {
            return None;
        }
        Some(Decimal { text: text.into(), units: units(text)? })
    }

    /// A JSON number, or a text that holds one (GAPS A23); `None` for anything else.
    #[must_use]
    pub fn read(node: &Node<'_>) -> Option<Decimal> {
        match node.number_text() {
            Some(spelling) => Decimal::parse(spelling),
            None => Decimal::parse(node.as_str()?.trim()),
        }
    }

    /// A whole number.
    #[must_use]
    pub fn whole(number: i64) -> Decimal {
        let units = i128::from(number).saturating_mul(UNITS_PER_ONE);
        Decimal { text: number.to_string().into(), units }
    }

    /// The spelling as received, or the shortest one of a computed value.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// True below zero.
    #[must_use]
    pub fn is_negative(&self) -> bool {
        self.units < 0
    }

    /// True for zero.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.units == 0
    }

    /// Digits behind the point that matter: 2 for `1.250`.
    #[must_use]
    pub fn decimals(&self) -> usize {
        let shown = shown(self.units);
        shown.split_once('.').map_or(0, |(_, fraction)| fraction.len())
    }

    /// The exact sum; `None` if it has too many digits.
    #[must_use]
    pub fn plus(&self, other: &Decimal) -> Option<Decimal> {
        made(self.units.checked_add(other.units)?)
    }

    /// The exact difference; `None` if it has too many digits.
    #[must_use]
    pub fn minus(&self, other: &Decimal) -> Option<Decimal> {
        made(self.units.checked_sub(other.units)?)
    }

    /// Which part of a whole it is, in thousandths, rounded down; 0 for a whole that is not above zero.
    #[must_use]
    pub fn per_mille_of(&self, whole: &Decimal) -> u32 {
        let part = match self.units.checked_mul(1_000) {
            Some(units) if whole.units > 0 => units / whole.units,
            // So large that the last digits of both do not matter.
            _ if whole.units >= 1_000 => self.units / (whole.units / 1_000),
            _ => 0,
        };
        u32::try_from(part.max(0)).unwrap_or(u32::MAX)
    }

    /// The shortest plain spelling of the value: `22` for `22.0`, `0.001` for `1e-3`. Equal values have equal
    /// spellings.
    #[must_use]
    pub fn shortest(&self) -> String {
        shown(self.units)
    }
}

fn made(units: i128) -> Option<Decimal> {
    let limit = UNITS_PER_ONE.checked_mul(UNITS_PER_ONE)?;
    (units.checked_abs()? < limit).then(|| Decimal { text: shown(units).into(), units })
}

/// The value of a checked JSON number in units of 10^-18.
fn units(text: &str) -> Option<i128> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    if exponent.unsigned_abs() > EXPONENT_MAX.unsigned_abs() {
        return None;
    }
    let (sign, digits) = match mantissa.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, mantissa),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = fraction.trim_end_matches('0');
    let all = format!("{whole}{fraction}");
    let all = all.trim_start_matches('0');
    if all.is_empty() {
        return Some(0);
    }
    if all.len() > 2 * DIGITS_MAX {
        return None;
    }
    let power = i64::from(exponent) + DIGITS_MAX as i64 - i64::try_from(fraction.len()).ok()?;
    let mut value: i128 = all.parse().ok()?;
    for _ in 0..power.unsigned_abs() {
        value = if power > 0 {
            value.checked_mul(10)?
        } else if value % 10 == 0 {
            value / 10
        } else {
            return None;
        };
    }
    (value < UNITS_PER_ONE.checked_mul(UNITS_PER_ONE)?).then_some(sign * value)
}

fn shown(units: i128) -> String {
    let sign = if units < 0 { "-" } else { "" };
    let (whole, rest) = (
        units.unsigned_abs() / UNITS_PER_ONE.unsigned_abs(),
        units.unsigned_abs() % UNITS_PER_ONE.unsigned_abs(),
    );
    if rest == 0 {
        return format!("{sign}{whole}");
    }
    let fraction = format!("{rest:0width$}", width = DIGITS_MAX);
    format!("{sign}{whole}.{}", fraction.trim_end_matches('0'))
}

impl PartialEq for Decimal {
    fn eq(&self, other: &Decimal) -> bool {
        self.units == other.units
    }
}

impl Eq for Decimal {}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Decimal) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Decimal) -> Ordering {
        self.units.cmp(&other.units)
    }
}

impl fmt::Debug for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Decimal({})", self.text)
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_exact_and_spelling_is_kept() {
        let read = |text| Decimal::parse(text).unwrap();
        assert_eq!(read("22.0"), read("22"));
        assert_eq!(read("22.0").as_str(), "22.0");
        assert_eq!(read("0.1").plus(&read("0.2")).unwrap(), read("0.3"));
        assert_eq!(read("30.541").minus(&read("30.5")).unwrap().as_str(), "0.041");
        assert_eq!(read("5").minus(&read("7.25")).unwrap().as_str(), "-2.25");
        assert_eq!(read("1e-3"), read("0.001"));
        assert_eq!(read("1.5E2").shortest(), "150");
        assert_eq!(read("-0.0"), read("0"));
        assert!(read("-0.5").is_negative() && !read("-0").is_negative() && read("0.00").is_zero());
        assert!(read("1000") > read("999.999"));
        assert_eq!(read("1.2500").decimals(), 2);
        assert_eq!(Decimal::whole(-7), read("-7.000"));
        assert_eq!((read("2").per_mille_of(&read("3")), read("-1").per_mille_of(&read("3"))), (666, 0));
        assert_eq!((read("5").per_mille_of(&read("0")), read("0").per_mille_of(&read("7"))), (0, 0));
        let most = read(&"9".repeat(DIGITS_MAX));
        assert_eq!(most.per_mille_of(&most), 1_000);
    }

    #[test]
    fn what_cannot_be_computed_is_refused() {
        let wide = format!("1{}", "0".repeat(DIGITS_MAX));
        for bad in [
            "",
            " 1",
            "1 ",
            "+1",
            "01",
            ".5",
            "1.",
            "1e",
            "NaN",
            "1e400",
            "1e-400",
            "1e-2147483648",
            "1e-19",
            &wide,
        ] {
            assert!(Decimal::parse(bad).is_none(), "{bad}");
        }
        let most = Decimal::parse(&"9".repeat(DIGITS_MAX)).unwrap();
        assert!(most.plus(&most).is_none());
    }

    #[test]
    fn any_text_is_read_or_refused() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let Some(number) = std::str::from_utf8(bytes).ok().and_then(Decimal::parse) else { return };
            assert_eq!(Decimal::parse(&number.shortest()).expect("its own spelling"), number);
        });
    }
}
