//! Why a request was refused.

use std::fmt;

use crate::nearest::hint;
use crate::values::Values;

/// A request that a program cannot meet, or settings that it cannot read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// No such mode, option, bug or program.
    #[error("{owner} has no {what} \"{given}\"{}; {}", hint(nearest.as_deref()), accepted_words(accepted))]
    Unknown {
        /// The program.
        owner: String,
        /// The kind of word.
        what: Setting,
        /// The word given.
        given: String,
        /// The words accepted.
        accepted: Vec<String>,
        /// The accepted word nearest to it.
        nearest: Option<String>,
    },
    /// The option exists and cannot have that value.
    #[error("option {option} of {owner} cannot be \"{given}\"{}; accepted: {accepted}", hint(nearest.as_deref()))]
    Value {
        /// The program.
        owner: String,
        /// The option.
        option: String,
        /// The value given.
        given: String,
        /// The values accepted.
        accepted: Box<Values>,
        /// The accepted word nearest to it.
        nearest: Option<String>,
    },
    /// The option or bug exists, but not in this mode.
    #[error("{what} \"{name}\" of {owner} does not apply to mode {mode}, only to {}", modes.join(", "))]
    OtherMode {
        /// The program.
        owner: String,
        /// An option or a bug.
        what: Setting,
        /// Its name.
        name: String,
        /// The requested mode.
        mode: String,
        /// The modes it applies to.
        modes: Vec<String>,
    },
    /// The bug cannot show with this value of an option.
    #[error("bug {bug} of {owner} cannot show with {option}={given}, only with {option}={}", needed.join(" or "))]
    BugOption {
        /// The program.
        owner: String,
        /// The bug.
        bug: String,
        /// The option.
        option: String,
        /// Its value.
        given: String,
        /// The values with which the bug can show.
        needed: Vec<String>,
    },
    /// The bug cannot show in so small a cluster.
    #[error("bug {bug} of {owner} needs at least {needed} nodes, not {given}")]
    BugNodes {
        /// The program.
        owner: String,
        /// The bug.
        bug: String,
        /// The number of nodes.
        given: usize,
        /// The fewest nodes with which the bug can show.
        needed: usize,
    },
    /// A cluster that cannot be laid out as these settings have it.
    #[error("{owner} cannot be deployed: {reason}")]
    Unfit {
        /// The program.
        owner: String,
        /// The obstacle.
        reason: String,
    },
    /// A cluster of no nodes.
    #[error("{owner} needs at least one node")]
    NoNodes {
        /// The program.
        owner: String,
    },
    /// Settings without an option that the mode has.
    #[error("the settings of mode {mode} lack option {option}")]
    Missing {
        /// The option.
        option: String,
        /// The mode.
        mode: String,
    },
    /// Settings in which an option, or `--bug`, has a value that the program does not know.
    #[error("option {option} cannot be \"{given}\"")]
    Unreadable {
        /// The option.
        option: String,
        /// Its value.
        given: String,
    },
}

/// A kind of word that a user gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// `--mode`.
    Mode,
    /// The name in `-o name=value`.
    Option,
    /// `--bug`.
    Bug,
    /// The name in `--program name=path`.
    Program,
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Mode => "mode",
            Self::Option => "option",
            Self::Bug => "bug",
            Self::Program => "program",
        })
    }
}

fn accepted_words(accepted: &[String]) -> String {
    if accepted.is_empty() { "it has none".to_owned() } else { format!("accepted: {}", accepted.join(", ")) }
}
