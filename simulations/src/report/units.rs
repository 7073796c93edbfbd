//! Figures as a person reads them.

/// A unit of a plot's axis or of a figure: all of its numbers are divided by the same factor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Unit {
    pub(super) factor: f64,
    pub(super) name: &'static str,
}

/// The unit in which the largest number of bytes is 1 or more.
pub(super) fn bytes_unit(largest: f64) -> Unit {
    let units = [("GB", 1e9), ("MB", 1e6), ("kB", 1e3)];
    let fits = units.into_iter().find(|(_, factor)| largest >= *factor);
    let (name, factor) = fits.unwrap_or(("bytes", 1.0));
    Unit { factor, name }
}

/// The unit for times up to this many seconds: two of the unit at least, or it would be too coarse.
pub(super) fn time_unit(largest_s: f64) -> Unit {
    let (name, factor) = match largest_s {
        s if s >= 7_200.0 => ("h", 3_600.0),
        s if s >= 600.0 => ("min", 60.0),
        _ => ("s", 1.0),
    };
    Unit { factor, name }
}

/// Three digits that matter, without zeros behind the point.
pub(crate) fn digits(value: f64) -> String {
    let decimals = match value.abs() {
        v if v >= 99.95 || v == 0.0 => 0,
        v if v >= 9.995 => 1,
        v if v >= 0.9995 => 2,
        _ => 3,
    };
    let text = format!("{value:.decimals$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        thousands(&text)
    }
}

/// A whole number with a comma between each three digits.
pub(crate) fn count(value: u64) -> String {
    thousands(&value.to_string())
}

fn thousands(digits: &str) -> String {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |rest| ("-", rest));
    let mut text = String::from(sign);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Milliseconds: `85 ms`, `2.1 s`, `12.5 min`.
pub(crate) fn milliseconds(ms: f64) -> String {
    match ms {
        ms if ms < 999.5 => format!("{} ms", digits(ms)),
        ms if ms < 599_500.0 => format!("{} s", digits(ms / 1e3)),
        ms if ms < 7_199_000.0 => format!("{} min", digits(ms / 6e4)),
        ms => format!("{} h", digits(ms / 3.6e6)),
    }
}

/// Bytes: `512 bytes`, `1.5 MB`.
pub(crate) fn bytes(value: f64) -> String {
    let unit = bytes_unit(value.abs());
    format!("{} {}", digits(value / unit.factor), unit.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        let cases = [
            (0.0, "0"),
            (0.25, "0.25"),
            (0.0012, "0.001"),
            (1.0, "1"),
            (9.999, "10"),
            (12.34, "12.3"),
            (99.96, "100"),
            (1234.0, "1,234"),
            (-1_234_567.0, "-1,234,567"),
            (123.0, "123"),
        ];
        for (value, text) in cases {
            assert_eq!(digits(value), text);
        }
        assert_eq!(count(1_000_000), "1,000,000");
        assert_eq!(count(999), "999");
    }

    #[test]
    fn units_follow_the_size() {
        let cases = [
            (85.0, "85 ms"),
            (999.9, "1 s"),
            (2_100.0, "2.1 s"),
            (119_000.0, "119 s"),
            (210_000.0, "210 s"),
            (750_000.0, "12.5 min"),
            (7.2e6, "2 h"),
        ];
        for (ms, text) in cases {
            assert_eq!(milliseconds(ms), text);
        }
        assert_eq!(bytes(512.0), "512 bytes");
        assert_eq!(bytes(1_500_000.0), "1.5 MB");
        assert_eq!(time_unit(190.0).name, "s");
        assert_eq!(time_unit(22_000.0).name, "h");
    }
}
