//! Durations as words: `30`, `30s`, `500ms`, `2m`.

use std::time::Duration;

/// Parses `30`, `30s`, `500ms`, `2m`, `1.5h`; a bare number is seconds.
///
/// # Errors
/// [`DurationError`], for anything else and for more than a year.
pub fn duration(text: &str) -> Result<Duration, DurationError> {
    let wrong = || DurationError(text.to_owned());
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let seconds = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    let number: f64 = number.trim().parse().map_err(|_| wrong())?;
    // At most a year, so that no sum of times overflows.
    if !(0.0..=31_536_000.0).contains(&(number * seconds)) {
        return Err(wrong());
    }
    Ok(Duration::from_secs_f64(number * seconds))
}

/// A word that is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid duration \"{0}\": use 30, 30s, 500ms, 2m or 1h, at most a year")]
pub struct DurationError(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("30"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for bad in ["", "s", "-1", "1d", "nan", "inf", "1e30", "3 weeks"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
