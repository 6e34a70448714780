//! The offer of a program: its modes and their promises, its options, and its seeded bugs.

use std::collections::BTreeMap;
use std::fmt;

use crate::values::Values;

/// Everything about a program that a user can set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// The modes of operation; the first is the default.
    pub modes: Vec<Mode>,
    /// The options of all modes.
    pub options: Vec<OptionSpec>,
    /// The seeded bugs.
    pub bugs: Vec<BugSpec>,
    /// The names of the programs that it consists of, each of which another build can replace; if none is named, it
    /// is one program that is named like it.
    pub programs: Vec<String>,
}

impl Offer {
    /// Returns the options that a mode has, in the order of the offer.
    pub fn options_of<'a>(&'a self, mode: &str) -> impl Iterator<Item = &'a OptionSpec> {
        self.options.iter().filter(move |option| option.modes.iter().any(|name| name == mode))
    }
}

/// A mode of operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mode {
    /// The name on the command line.
    pub name: String,
    /// How it works, in one line.
    pub summary: String,
    /// The guarantee it gives its clients, in words.
    pub promises: String,
}

/// An option: `-o name=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionSpec {
    /// The name.
    pub name: String,
    /// The values it accepts.
    pub values: Values,
    /// Its default, which it accepts.
    pub default: String,
    /// Its effect, in one line.
    pub summary: String,
    /// The modes that have it.
    pub modes: Vec<String>,
    /// The values from which it may be drawn at random, because the promise does not depend on them; empty if
    /// the promise depends on the option.
    pub drawn: Vec<String>,
}

impl OptionSpec {
    /// Returns the same option, which may be drawn from `values`. The mode accepts each of them, together
    /// with any drawn values of other options, without a change of the promise.
    #[must_use]
    pub fn drawn<const N: usize>(mut self, values: [&str; N]) -> Self {
        self.drawn = values.map(str::to_owned).to_vec();
        self
    }
}

impl fmt::Display for OptionSpec {
    /// Formats `-o reads=index (index, lease, local): how reads are served`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "-o {}={} ({}): {}", self.name, self.default, self.values, self.summary)?;
        match self.drawn.as_slice() {
            [] => Ok(()),
            drawn => write!(f, " [drawn: {}]", drawn.join(", ")),
        }
    }
}

/// A seeded bug: a defect of the kind that real systems have shipped, off by default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BugSpec {
    /// The name on the command line.
    pub name: String,
    /// The defect of the program.
    pub defect: String,
    /// A real system that had such a defect, or a setting that has the same effect.
    pub resembles: Option<String>,
    /// The anomaly that a client can observe because of it.
    pub anomaly: String,
    /// The modes that can have it.
    pub modes: Vec<String>,
    /// Options on which it depends, with the values with which it can show; the first stands in for a value that is not
    /// given.
    pub options: BTreeMap<String, Vec<String>>,
    /// The fewest nodes with which it can show.
    pub nodes_min: usize,
}

impl BugSpec {
    /// Returns the same bug, which can show only with one of `values` of the option `name`.
    #[must_use]
    pub fn with_option<const N: usize>(mut self, name: &str, values: [&str; N]) -> Self {
        self.options.insert(name.to_owned(), values.map(str::to_owned).to_vec());
        self
    }
}
