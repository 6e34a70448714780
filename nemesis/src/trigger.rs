//! Events at which a fault begins, instead of at a fixed time.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::quantity;

/// An event that a fault waits for. Counting begins when the fault begins to wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// Another node becomes the leader.
    LeaderChange,
    /// This much time has passed since a fault took hold.
    Start {
        /// The fault's number in the schedule; `None` for any fault.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fault: Option<u32>,
        /// The time since then, in milliseconds.
        after_ms: u64,
    },
    /// This much time has passed since a fault was healed.
    Heal {
        /// The fault's number in the schedule; `None` for any fault.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fault: Option<u32>,
        /// The time since then, in milliseconds.
        after_ms: u64,
    },
    /// The n-th operation of a kind on the disk of a node that the fault would strike.
    Disk {
        /// The kind of operation.
        operation: DiskOperation,
        /// The number n.
        number: u64,
    },
    /// The n-th packet that a node sends or receives, among the nodes that the fault would strike.
    Packet {
        /// The number n.
        number: u64,
    },
    /// The n-th operation that is answered to a client.
    Operation {
        /// The number n.
        number: u64,
    },
    /// A line in the output of a node that the fault would strike.
    Log {
        /// The text that the line contains.
        text: String,
    },
}

/// A kind of operation on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DiskOperation {
    /// An fsync of a file or folder.
    Fsync,
    /// A write to a file.
    Write,
    /// A rename of a file or folder.
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

/// The events as the command line writes them, each with its meaning.
pub const EVENTS: [(&str, &str); 9] = [
    ("leader-change", "another node becomes the leader"),
    ("start=50ms", "this much time after any other fault took hold"),
    ("heal=30ms", "this much time after any other fault was healed"),
    (
        "fsync=37",
        "the n-th fsync on the disk of a node that the fault would strike; the disk delays it until the fault has begun",
    ),
    ("write=37", "the n-th write on such a disk"),
    ("rename=2", "the n-th rename on such a disk"),
    ("packet=500", "the n-th packet that such a node sends or receives"),
    ("op=200", "the n-th operation that is answered to a client"),
    ("log=TEXT", "a line with this text in the output of such a node"),
];

impl Event {
    /// Parses an event of the command line.
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

    /// Returns whether it counts operations on the node's own disk.
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
