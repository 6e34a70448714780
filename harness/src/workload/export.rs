//! A history written in the form of another program.

use std::fmt;
use std::io;

use clap::ValueEnum;
use duress_history::porcupine::PorcupineError;
use duress_history::txn::{ListAppend, RwRegister};
use duress_history::{Payload, ReadError, edn, import, porcupine};

use crate::judge::Recording;

/// The form of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Jepsen's history.edn
    Jepsen,
    /// Porcupine's operations, as JSON
    Porcupine,
    /// Elle's: Jepsen's, of transactions on lists and registers
    Elle,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Jepsen => "jepsen",
            Self::Porcupine => "porcupine",
            Self::Elle => "elle",
        })
    }
}

/// Why a history cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The form has no place for such operations.
    #[error("the format {format} cannot hold histories of {model}: {why}; choose --format jepsen")]
    Model {
        /// The format.
        format: Format,
        /// The vocabulary.
        model: &'static str,
        /// The histories that it holds.
        why: &'static str,
    },
    /// The form has no place for some of it.
    #[error(transparent)]
    Porcupine(#[from] PorcupineError),
    /// The output fails.
    #[error("cannot write")]
    Write(#[from] io::Error),
}

/// The vocabularies of transactions.
const TRANSACTIONS: [&str; 2] = [ListAppend::NAME, RwRegister::NAME];
/// The vocabularies whose operations have one argument and one answer each.
const PLAIN: [&str; 8] =
    ["register", "cas-register", "mutex", "fenced-mutex", "kv-append", "set", "counter", "total-queue"];

/// Returns the history in `recording` in another form.
///
/// # Errors
/// [`ExportError`].
pub fn export<A: Payload>(recording: &Recording, format: Format) -> Result<Vec<u8>, ExportError> {
    let refused = |why| Err(ExportError::Model { format, model: A::NAME, why });
    match format {
        Format::Elle if !TRANSACTIONS.contains(&A::NAME) => {
            return refused("it holds transactions on lists and registers");
        }
        Format::Porcupine if !PLAIN.contains(&A::NAME) => {
            return refused("it holds operations on one object, with one argument and one answer");
        }
        _ => {}
    }
    let history = import::read::<A>(&recording.paths, &recording.options)?;
    let mut bytes = Vec::new();
    match format {
        Format::Jepsen | Format::Elle => edn::write(&history, &mut bytes)?,
        Format::Porcupine => porcupine::write(history, &mut bytes)?,
    }
    Ok(bytes)
}
