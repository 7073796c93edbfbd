//! From values to places on an axis, and which values get a tick.

/// How values lie along an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scale {
    Linear {
        from: f64,
        to: f64,
    },
    /// Both ends above 0.
    Log {
        from: f64,
        to: f64,
    },
}

impl Scale {
    /// Where a value lies: 0 at the begin of the axis, 1 at its end. What is beyond the axis is at its end.
    pub(super) fn at(self, value: f64) -> f64 {
        let share = match self {
            Scale::Linear { from, to } => (value - from) / (to - from),
            Scale::Log { from, to } => (value.max(f64::MIN_POSITIVE) / from).ln() / (to / from).ln(),
        };
        if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 }
    }

    /// Ticks of a logarithmic scale: 1, 2, 5 of each power of ten, or only the powers if that would be too many.
    pub(super) fn log_ticks(from: f64, to: f64, ticks_max: usize) -> Vec<f64> {
        let powers = (from.log10().floor() as i32)..=(to.log10().ceil() as i32);
        let of = |mantissas: &'static [f64]| -> Vec<f64> {
            let all = powers.clone().flat_map(|power| mantissas.iter().map(move |m| m * 10f64.powi(power)));
            all.filter(|tick| *tick >= from * (1.0 - 1e-9) && *tick <= to * (1.0 + 1e-9)).collect()
        };
        let fine = of(&[1.0, 2.0, 5.0]);
        if fine.len() <= ticks_max { fine } else { of(&[1.0]) }
    }
}

/// Ticks of a linear scale from 0 to where it ends, at most that many.
pub(super) fn ticks_to(end: f64, ticks_max: usize) -> Vec<f64> {
    multiples(step(end, ticks_max), end)
}

/// The smallest of 1, 2, 5 times a power of ten that divides up to `largest` in few enough steps.
fn step(largest: f64, ticks_max: usize) -> f64 {
    let raw = largest / ticks_max.max(1) as f64;
    if !raw.is_finite() || raw <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf(raw.log10().floor());
    let mantissa = raw / power;
    let nice = [1.0, 2.0, 5.0].into_iter().find(|nice| *nice >= mantissa - 1e-9).unwrap_or(10.0);
    nice * power
}

fn multiples(step: f64, to: f64) -> Vec<f64> {
    let count = (to / step + 1e-9).floor() as u64;
    (0..=count).map(|number| number as f64 * step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_place_values() {
        let linear = Scale::Linear { from: 0.0, to: 200.0 };
        assert_eq!(linear.at(50.0), 0.25);
        assert_eq!(linear.at(999.0), 1.0);
        let log = Scale::Log { from: 10.0, to: 1_000.0 };
        assert!((log.at(100.0) - 0.5).abs() < 1e-12);
        assert_eq!(log.at(0.0), 0.0);
        assert_eq!(Scale::Linear { from: 0.0, to: 0.0 }.at(0.0), 0.0);
    }

    #[test]
    fn linear_ticks_are_round() {
        let cases: [(f64, usize, &[f64]); 5] = [
            (187.0, 5, &[0.0, 50.0, 100.0, 150.0]),
            (9.0, 5, &[0.0, 2.0, 4.0, 6.0, 8.0]),
            (1.0, 5, &[0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
            (0.0, 5, &[0.0]),
            (100.0, 4, &[0.0, 50.0, 100.0]),
        ];
        for (end, ticks_max, expected) in cases {
            let ticks = ticks_to(end, ticks_max);
            assert_eq!(ticks.len(), expected.len(), "{end}: {ticks:?}");
            assert!(ticks.iter().zip(expected).all(|(is, should)| (is - should).abs() < 1e-9), "{ticks:?}");
        }
    }

    #[test]
    fn log_ticks_become_fewer() {
        assert_eq!(Scale::log_ticks(8.0, 120.0, 10), [10.0, 20.0, 50.0, 100.0]);
        assert_eq!(Scale::log_ticks(8.0, 12_000.0, 6), [10.0, 100.0, 1_000.0, 10_000.0]);
    }
}
