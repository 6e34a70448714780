//! Words of the command line that are more than numbers: durations, concurrency, options.

use std::time::Duration;

use duress_history::Promise;

/// Parses `30`, `30s`, `500ms`, `2m`, `1.5h`; a bare number is seconds.
pub fn duration(text: &str) -> Result<Duration, WordError> {
    let wrong = || WordError::Duration(text.to_owned());
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

/// How many processes there are at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concurrency {
    /// So many.
    Processes(usize),
    /// So many for each node.
    PerNode(usize),
}

impl Concurrency {
    /// Parses `15` or `3n`.
    pub fn parse(text: &str) -> Result<Self, WordError> {
        let wrong = || WordError::Concurrency(text.to_owned());
        let (number, per_node) = match text.strip_suffix('n') {
            Some("") => ("1", true),
            Some(number) => (number, true),
            None => (text, false),
        };
        let number: usize = number.parse().map_err(|_| wrong())?;
        if !(1..=10_000).contains(&number) {
            return Err(wrong());
        }
        Ok(if per_node { Self::PerNode(number) } else { Self::Processes(number) })
    }

    /// Returns the number of processes for `nodes` nodes.
    #[must_use]
    pub fn processes(self, nodes: usize) -> usize {
        match self {
            Self::Processes(number) => number,
            Self::PerNode(number) => number * nodes,
        }
    }
}

/// Parses `key=value`.
pub fn option(text: &str) -> Result<(String, String), WordError> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(WordError::Option(text.to_owned())),
    }
}

/// Parses the name of a promise: `linearizable`, `at-least-once`.
pub fn promise(text: &str) -> Result<Promise, WordError> {
    Promise::named(text).ok_or_else(|| WordError::Promise(text.to_owned()))
}

/// How often an operation is drawn, beside the weights of others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weight {
    /// The operation, as the workload calls it.
    pub operation: String,
    /// Its weight.
    pub weight: u32,
}

impl Weight {
    /// Parses `sends=3`.
    pub fn parse(text: &str) -> Result<Self, WordError> {
        let parsed = text.split_once('=').and_then(|(operation, weight)| {
            Some(Self { operation: operation.to_owned(), weight: weight.parse().ok()? })
        });
        parsed.ok_or_else(|| WordError::Weight(text.to_owned()))
    }
}

/// A word that is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WordError {
    /// No duration.
    #[error("invalid duration \"{0}\": use 30, 30s, 500ms, 2m or 1h, at most a year")]
    Duration(String),
    /// No concurrency.
    #[error("invalid concurrency \"{0}\": use a number from 1 to 10000, or 3n for three processes a node")]
    Concurrency(String),
    /// Not a promise.
    #[error(
        "\"{0}\" is not a promise: write linearizable or stale-reads, or exactly-once, at-least-once, at-most-once or \
         best-effort"
    )]
    Promise(String),
    /// No option.
    #[error("invalid option \"{0}\": use key=value")]
    Option(String),
    /// No weight.
    #[error("invalid weight \"{0}\": use operation=number")]
    Weight(String),
}

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

    #[test]
    fn concurrency_may_be_per_node() {
        assert_eq!(Concurrency::parse("3n").map(|c| c.processes(5)), Ok(15));
        assert_eq!(Concurrency::parse("n").map(|c| c.processes(5)), Ok(5));
        assert_eq!(Concurrency::parse("7").map(|c| c.processes(5)), Ok(7));
        for bad in ["", "0", "0n", "-3", "3m", "99999999999"] {
            assert!(Concurrency::parse(bad).is_err(), "{bad}");
        }
    }
}
