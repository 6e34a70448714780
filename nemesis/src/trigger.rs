//! Events at which a fault may begin instead of at a time.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::quantity;

/// What a fault waits for. Numbers count from when the fault begins to wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// Another node leads than led before.
    LeaderChange,
    /// So much time has passed since a fault took hold.
    Start {
        /// Its number in the schedule; any fault, where none is named.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fault: Option<u32>,
        /// How long ago, in milliseconds.
        after_ms: u64,
    },
    /// So much time has passed since a fault was healed.
    Heal {
        /// Its number in the schedule; any fault, where none is named.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fault: Option<u32>,
        /// How long ago, in milliseconds.
        after_ms: u64,
    },
    /// The n-th operation of a kind on the disk of a node that the fault would strike.
    Disk {
        /// The kind of operation.
        operation: DiskOperation,
        /// Which of them.
        number: u64,
    },
    /// The n-th packet that a node sends or receives that the fault would strike.
    Packet {
        /// Which of them.
        number: u64,
    },
    /// The n-th operation that clients are answered.
    Operation {
        /// Which of them.
        number: u64,
    },
    /// A line that a node writes that the fault would strike.
    Log {
        /// What the line contains.
        text: String,
    },
}

/// A kind of operation on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DiskOperation {
    /// A file or folder is made durable.
    Fsync,
    /// A file is written to.
    Write,
    /// A name is changed.
    Rename,
}

impl DiskOperation {
    const ALL: [(&'static str, Self); 3] =
        [("fsync", Self::Fsync), ("write", Self::Write), ("rename", Self::Rename)];
}

impl fmt::Display for DiskOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL.iter().find(|(_, operation)| operation == self).map_or("", |(name, _)| name))
    }
}

/// How the command line names the events, each with what it is.
pub const EVENTS: [(&str, &str); 9] = [
    ("leader-change", "another node leads"),
    ("start=50ms", "so long after any other fault took hold"),
    ("heal=30ms", "so long after any other fault was healed"),
    (
        "fsync=37",
        "the n-th fsync on the disk of a node that the fault would strike: the disk holds it until then",
    ),
    ("write=37", "the same of writes"),
    ("rename=2", "the same of renames"),
    ("packet=500", "the n-th packet that such a node sends or receives"),
    ("op=200", "the n-th operation that clients are answered"),
    ("log=TEXT", "a line with this text in the output of such a node"),
];

impl Event {
    /// Reads an event as the command line has it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text == "leader-change" {
            return Some(Self::LeaderChange);
        }
        let (name, value) = text.split_once('=')?;
        let number = || value.parse().ok().filter(|number| *number > 0);
        let after_ms = || u64::try_from(quantity::duration(value)?.as_millis()).ok();
        match name {
            "start" => Some(Self::Start { fault: None, after_ms: after_ms()? }),
            "heal" => Some(Self::Heal { fault: None, after_ms: after_ms()? }),
            "packet" => Some(Self::Packet { number: number()? }),
            "op" => Some(Self::Operation { number: number()? }),
            "log" if !value.is_empty() => Some(Self::Log { text: value.to_owned() }),
            _ => {
                let (_, operation) = DiskOperation::ALL.into_iter().find(|(known, _)| *known == name)?;
                Some(Self::Disk { operation, number: number()? })
            }
        }
    }

    /// Whether a disk of the node's own must count for it.
    #[must_use]
    pub fn needs_disk(&self) -> bool {
        matches!(self, Self::Disk { .. })
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let duration = |ms: &u64| quantity::show_duration(Duration::from_millis(*ms));
        match self {
            Self::LeaderChange => f.write_str("leader-change"),
            Self::Start { fault: None, after_ms } => write!(f, "start={}", duration(after_ms)),
            Self::Heal { fault: None, after_ms } => write!(f, "heal={}", duration(after_ms)),
            Self::Start { fault: Some(fault), after_ms } => {
                write!(f, "start of fault {fault}+{}", duration(after_ms))
            }
            Self::Heal { fault: Some(fault), after_ms } => {
                write!(f, "heal of fault {fault}+{}", duration(after_ms))
            }
            Self::Disk { operation, number } => write!(f, "{operation}={number}"),
            Self::Packet { number } => write!(f, "packet={number}"),
            Self::Operation { number } => write!(f, "op={number}"),
            Self::Log { text } => write!(f, "log={text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_read_as_it_is_printed() {
        for (example, _) in EVENTS {
            let event = Event::parse(example).unwrap_or_else(|| panic!("{example} is not read"));
            assert_eq!(event.to_string(), example);
            let json = serde_json::to_string(&event).expect("it serializes");
            assert_eq!(serde_json::from_str::<Event>(&json).expect("it is read back"), event);
        }
        for bad in ["", "fsync", "fsync=0", "fsync=x", "heal=5", "log=", "leader", "crash=1"] {
            assert_eq!(Event::parse(bad), None, "{bad}");
        }
    }
}
