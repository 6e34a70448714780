//! Times recorded in other units, converted to one unit.
//!
//! Times are whole numbers, of nanoseconds in Jepsen's histories and in ours. Fractions count seconds, unless
//! they are too large for that; then milliseconds or microseconds since 1970. Only differences matter, and
//! not even their unit matters to a verdict.

use crate::History;

/// A time as it was recorded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Time {
    Whole(i64),
    Fraction(f64),
}

impl Time {
    /// Parses the time encoded by the JSON text `json`: a number, or a number in a string; `None` for
    /// anything else, which is only a remark.
    pub(crate) fn parse(json: &str) -> Option<Self> {
        let plain = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(json);
        if let Ok(whole) = plain.parse() {
            return Some(Self::Whole(whole));
        }
        let number: f64 = plain.parse().ok().filter(|number: &f64| number.is_finite())?;
        let whole = number.fract() == 0.0 && !plain.contains('.');
        // A conversion from floats saturates.
        Some(if whole { Self::Whole(number as i64) } else { Self::Fraction(number) })
    }
}

/// The unit of a history's times.
#[derive(Default)]
pub(crate) struct Clock {
    /// The factor for fractions; `None` while all times are whole.
    scale: Option<f64>,
}

impl Clock {
    /// `time` in the history's unit. The first fraction changes the unit, and the times that `history` has so far.
    pub(crate) fn read<A>(&mut self, time: Time, history: &mut History<A>) -> i64 {
        // Whole parts by themselves: large ones leave no digits for the fraction.
        let scaled = |number: f64, scale: f64| {
            let whole = (number.trunc() as i64).saturating_mul(scale as i64);
            whole.saturating_add((number.fract() * scale).round() as i64)
        };
        match (time, self.scale) {
            (Time::Whole(whole), None) => whole,
            (Time::Whole(whole), Some(scale)) => whole.saturating_mul(scale as i64),
            (Time::Fraction(number), Some(scale)) => scaled(number, scale),
            (Time::Fraction(number), None) => {
                let scale = match number.abs() {
                    ..1e10 => 1e9,
                    1e10..1e13 => 1e6,
                    1e13..1e16 => 1e3,
                    _ => 1.0,
                };
                self.scale = Some(scale);
                let known = |time: &mut u64| {
                    if *time as i64 != super::order::MISSING {
                        *time = (*time as i64).saturating_mul(scale as i64) as u64;
                    }
                };
                history.events.iter_mut().for_each(|event| known(&mut event.time));
                history.nemesis.iter_mut().for_each(|event| known(&mut event.time));
                scaled(number, scale)
            }
        }
    }
}
