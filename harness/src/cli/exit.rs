//! Exit codes, and the errors that choose them.

use std::fmt;
use std::process::ExitCode;

/// How the program ends. The numbers are part of its interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Everything requested was done; a check found the promise kept.
    Valid,
    /// A check found an anomaly.
    Anomaly,
    /// A check could not be finished.
    Unknown,
    /// The run itself proves nothing.
    Broken,
    /// An anomaly that a matrix expects did not appear, or too seldom.
    MissingAnomaly,
    /// Some of a matrix, or of several runs, was not run: the budget was used up, or the user interrupted.
    NotRun,
    /// The command line or an input file is at fault.
    Usage,
    /// Our own fault, or the machine's.
    Internal,
}

impl Exit {
    const ALL: [Self; 8] = [
        Self::Valid,
        Self::Anomaly,
        Self::Unknown,
        Self::Broken,
        Self::MissingAnomaly,
        Self::NotRun,
        Self::Usage,
        Self::Internal,
    ];

    /// Returns the end of a program of ours that exited with `code`.
    #[must_use]
    pub fn of(code: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|exit| i32::from(exit.code()) == code)
    }

    /// Returns the number that the shell sees.
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
    /// The error, with its causes.
    pub error: anyhow::Error,
    /// The remedy that the user can try.
    pub hint: Option<String>,
}

impl Failure {
    /// Fails because of the command line or an input.
    pub fn usage(error: impl Into<anyhow::Error>) -> Self {
        Self { exit: Exit::Usage, error: error.into(), hint: None }
    }

    /// Fails because of the machine or this program.
    pub fn internal(error: impl Into<anyhow::Error>) -> Self {
        Self { exit: Exit::Internal, error: error.into(), hint: None }
    }

    /// Adds the remedy that the user can try.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    /// Formats one line: the error and its causes, then the hint.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.error)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}
