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

/// Parses the number of nodes: `3`, or the names of that many, `n1,n2,n3`.
pub fn nodes(text: &str) -> Result<usize, WordError> {
    if let Ok(count) = text.parse::<i64>() {
        return usize::try_from(count).map_err(|_| WordError::Nodes(text.to_owned()));
    }
    named_nodes(&text.split(',').collect::<Vec<_>>())
}

/// Returns the number of nodes of these names, which are those that nodes have here, in any order.
pub fn named_nodes(names: &[impl AsRef<str>]) -> Result<usize, WordError> {
    let known: Vec<String> = (1..=names.len()).map(|number| format!("n{number}")).collect();
    let foreign = |name: &&str| !known.iter().any(|known| known == name);
    let mut given: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    given.sort_unstable();
    let twice = given.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0]);
    match given.iter().copied().find(foreign).or(twice) {
        // A number is how many there are to be.
        Some(name) => {
            Err(WordError::Node { count: name.parse().unwrap_or(names.len()), name: name.to_owned() })
        }
        None => Ok(names.len()),
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
    /// No number of nodes.
    #[error("invalid number of nodes \"{0}\": use one from 1 to 99")]
    Nodes(String),
    /// No node.
    #[error(
        "duress starts the nodes itself, and calls them n1, n2, …: it cannot use \"{name}\"; use --nodes {count}"
    )]
    Node {
        /// The name.
        name: String,
        /// How many nodes there are to be.
        count: usize,
    },
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
    fn nodes_are_a_number_or_their_names() {
        assert_eq!((nodes("3"), nodes("n2,n1,n3"), nodes("n1")), (Ok(3), Ok(3), Ok(1)));
        for (bad, named) in [("db1,db2", "db1"), ("n1,n1", "n1"), ("n0", "n0"), ("n2", "n2"), ("", "")] {
            let count = bad.split(',').count();
            assert_eq!(nodes(bad), Err(WordError::Node { name: named.to_owned(), count }), "{bad}");
        }
        assert_eq!(nodes("-1"), Err(WordError::Nodes("-1".to_owned())));
        assert_eq!(named_nodes(&["3"]), Err(WordError::Node { name: "3".to_owned(), count: 3 }));
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
