//! Words of the command line that are more than numbers: concurrency, options, promises.

use duress_history::Promise;
pub use duress_settings::duration;

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

/// Parses the name of a promise: `linearizable`, `at-least-once`, `serializable`.
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
    /// No concurrency.
    #[error("invalid concurrency \"{0}\": use a number from 1 to 10000, or 3n for three processes a node")]
    Concurrency(String),
    /// Not a promise.
    #[error(
        "\"{0}\" is not a promise: write one of {registers} (for example bounded-staleness=3 or bounded-staleness=500ms; the last \
         five may be joined by +), or eventual; of {messages}; or of {transactions}",
        registers = Promise::OF_REGISTERS.join(", "),
        messages = Promise::OF_MESSAGES.join(", "),
        transactions = Promise::OF_TRANSACTIONS.join(", ")
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
    fn concurrency_may_be_per_node() {
        assert_eq!(Concurrency::parse("3n").map(|c| c.processes(5)), Ok(15));
        assert_eq!(Concurrency::parse("n").map(|c| c.processes(5)), Ok(5));
        assert_eq!(Concurrency::parse("7").map(|c| c.processes(5)), Ok(7));
        for bad in ["", "0", "0n", "-3", "3m", "99999999999"] {
            assert!(Concurrency::parse(bad).is_err(), "{bad}");
        }
    }
}
