//! Quantities in a fault mix: `50ms`, `-2s`, `10%`, `20ms/s`, `1mbit`.

use std::time::Duration;

use duress_arena::Probability;

/// Nanoseconds in `50ms`, `2s`, `100us`; a sign is allowed.
pub(crate) fn signed_nanos(text: &str) -> Option<i64> {
    let split = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(split);
    let factor = match unit {
        "us" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" => 60e9,
        "h" => 3600e9,
        _ => return None,
    };
    let nanos = number.parse::<f64>().ok()? * factor;
    // Within ten years either way.
    (nanos.abs() <= 3.2e17).then_some(nanos as i64)
}

/// Parses a positive duration of at most an hour.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let nanos = u64::try_from(signed_nanos(text)?).ok()?;
    (1..=3_600_000_000_000).contains(&nanos).then(|| Duration::from_nanos(nanos))
}

/// Parses `10%`: above 0, at most 100.
pub(crate) fn probability(text: &str) -> Option<Probability> {
    let percent: f64 = text.strip_suffix('%')?.parse().ok()?;
    if !(0.0001..=100.0).contains(&percent) {
        return None;
    }
    Probability::from_millionths((percent * 10_000.0).round() as u32).ok()
}

/// Parses the parts per billion of `20ms/s`: the gain of a clock per second.
pub(crate) fn drift(text: &str) -> Option<i64> {
    signed_nanos(text.strip_suffix("/s")?)
}

/// Parses the bits a second of `64kbit` or `1.5mbit`: at most 100mbit, since a faster link cannot be told
/// from an open one.
pub(crate) fn rate(text: &str) -> Option<u64> {
    let (number, factor) = match (text.strip_suffix("kbit"), text.strip_suffix("mbit")) {
        (Some(number), _) => (number, 1e3),
        (_, Some(number)) => (number, 1e6),
        _ => return None,
    };
    let bits = number.parse::<f64>().ok()? * factor;
    (8e3..=1e8).contains(&bits).then_some(bits as u64)
}

/// Bits a second in the unit that reads best.
pub(crate) fn show_rate(bits: u64) -> String {
    match bits {
        0..1_000_000 => format!("{}kbit", bits as f64 / 1e3),
        _ => format!("{}mbit", bits as f64 / 1e6),
    }
}

/// Nanoseconds in the unit that reads best.
pub(crate) fn show_nanos(nanos: i64) -> String {
    match nanos.abs() {
        0..1_000_000 => format!("{}us", nanos as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{}ms", nanos as f64 / 1e6),
        _ => format!("{}s", nanos as f64 / 1e9),
    }
}

/// Formats a duration in the unit that reads best.
pub(crate) fn show_duration(duration: Duration) -> String {
    show_nanos(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
}

/// Formats a probability as `10%`.
pub(crate) fn show_probability(probability: Probability) -> String {
    format!("{}%", f64::from(probability.millionths()) / 10_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_print_as_they_are_parsed() {
        for text in ["50ms", "-2s", "1.5s", "100us"] {
            assert_eq!(signed_nanos(text).map(show_nanos).as_deref(), Some(text));
        }
        assert_eq!(probability("10%").map(show_probability).as_deref(), Some("10%"));
        assert_eq!(drift("20ms/s"), Some(20_000_000));
        assert_eq!(rate("1.5mbit").map(show_rate).as_deref(), Some("1.5mbit"));
        assert_eq!(rate("101mbit"), None);
        for bad in ["", "5", "ms", "5 ms", "10", "nans", "infs"] {
            assert_eq!(signed_nanos(bad), None, "{bad}");
        }
        for bad in ["0%", "101%", "-5%", "10", "nan%"] {
            assert_eq!(probability(bad), None, "{bad}");
        }
    }
}
