//! Exit codes, and the errors that choose them.

use std::fmt;
use std::process::ExitCode;

/// How the program ends. The numbers are part of its interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Everything asked for was done; a check found the promise kept.
    Valid,
    /// A check found an anomaly.
    Anomaly,
    /// A check could not be finished.
    Unknown,
    /// The run itself proves nothing.
    Broken,
    /// An anomaly that a matrix expects did not appear, or too seldom.
    MissingAnomaly,
    /// Some of a matrix was not run: its budget was used up, or the user interrupted.
    NotRun,
    /// The command line or an input file is at fault.
    Usage,
    /// Our own fault, or the machine's.
    Internal,
}

impl Exit {
    /// The number that the shell sees.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Valid => 0,
            Self::Anomaly => 1,
            Self::Unknown => 2,
            Self::Broken => 3,
            Self::MissingAnomaly => 4,
            Self::NotRun => 5,
            Self::Usage => 254,
            Self::Internal => 255,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// An error that ends the program, and the exit code it calls for.
#[derive(Debug)]
pub struct Failure {
    /// How the program ends.
    pub exit: Exit,
    /// What went wrong, with its causes.
    pub error: anyhow::Error,
    /// What the user can do about it.
    pub hint: Option<String>,
}

impl Failure {
    /// The command line or an input is at fault.
    pub fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self { exit: Exit::Usage, error: error.into(), hint: None }
    }

    /// The machine or this program is at fault.
    pub fn internal(error: impl Into<anyhow::Error>) -> Self {
        Self { exit: Exit::Internal, error: error.into(), hint: None }
    }

    /// Adds what the user can do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    /// One line: the error and its causes, then the hint.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.error)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}
