//! The lines of a client program.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::outcome::{Cause, CauseKind};

/// The version of the protocol.
pub(super) const VERSION: u32 = 1;
/// The longest part of a line that is quoted.
const QUOTED_CHARS: usize = 200;

/// The first line of a client program.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Hello {
    Hello {
        version: u32,
        #[serde(default)]
        clients: Clients,
    },
}

/// How many clients a process can serve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Clients {
    /// One after the other: it knows that it could not tell several apart.
    One,
    /// It did not say.
    #[default]
    Unsaid,
}

/// An answer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Answer {
    pub(super) id: u64,
    /// The client that had asked, of a program that serves several.
    #[serde(default)]
    pub(super) client: Option<u64>,
    #[serde(rename = "type")]
    pub(super) kind: Kind,
    #[serde(default)]
    pub(super) value: Option<Box<RawValue>>,
    #[serde(default)]
    pub(super) error: Option<String>,
    /// Whether a `fail` is that of a comparison.
    #[serde(default)]
    pub(super) mismatch: bool,
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Ok,
    Fail,
    Info,
}

impl Answer {
    /// Returns the program's own reason.
    pub(super) fn cause(&self) -> Cause {
        let text = match &self.error {
            Some(error) => shortened(error),
            None if self.mismatch => "the comparison failed".to_owned(),
            None => "the client program gave no reason".to_owned(),
        };
        match self.kind {
            Kind::Fail if self.mismatch => Cause::new(CauseKind::Precondition, text),
            Kind::Fail | Kind::Ok => Cause::new(CauseKind::Rejected, text),
            Kind::Info => Cause::new(CauseKind::Unknown, text),
        }
    }
}

/// Returns the beginning of a line, for a reader.
pub(super) fn quoted(line: &[u8]) -> String {
    shortened(&String::from_utf8_lossy(line))
}

fn shortened(text: &str) -> String {
    let printable = |letter: char| if letter.is_control() { '·' } else { letter };
    let mut short: String = text.chars().take(QUOTED_CHARS).map(printable).collect();
    if text.chars().nth(QUOTED_CHARS).is_some() {
        short.push_str(&format!("… ({} bytes)", text.len()));
    }
    short
}
