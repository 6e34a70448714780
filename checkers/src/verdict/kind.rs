//! The names of anomalies.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An anomaly's name, in the field's words. Each is given only where the witness proves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AnomalyKind {
    /// A read saw a value that no operation wrote.
    PhantomRead,
    /// A read or poll saw a value whose only writers had failed, that is, certainly had not happened.
    AbortedRead,
    /// A read saw a value before any write of it began.
    FutureRead,
    /// A read saw a value that had been overwritten before it began.
    StaleRead,
    /// Registers: an acknowledged write was never seen, and a read that began afterwards saw an older value. Logs: a message
    /// that was acknowledged or read is not in its partition. Sets: no read has an element any more that was known.
    LostWrite,
    /// Two compare-and-sets took effect from one and the same write: one of them is lost.
    LostUpdate,
    /// A compare-and-set succeeded although the value it compared with had been overwritten before it began.
    StaleCas,
    /// Two acquisitions of a lock succeeded, and no operation could release it in between.
    DoubleAcquire,
    /// A release succeeded although the lock cannot have been held.
    UnheldRelease,
    /// No order of the operations agrees with real time and with every answer; no simpler name fits.
    Nonlinearizable,
    /// Long after everything had been healed, two replicas returned different values, and no operation that
    /// may have taken effect in between explains it.
    Diverged,
    /// A read of a counter lies outside of the range that adds allow.
    OutOfRange,
    /// A poll gave a message that had not been sent to that partition by then.
    NeverSent,
    /// Logs: one message is at more than one offset of its partition. Sets: one answer has an element twice.
    Duplicate,
    /// Two answers disagree about which message is at an offset.
    InconsistentOffsets,
    /// Within one operation, a poll left out a message that others were given.
    IntPollSkip,
    /// Within one operation, a poll gave offsets that do not rise.
    IntNonmonotonicPoll,
    /// From one operation to the next, a consumer that kept its place left out a message that others were given.
    PollSkip,
    /// From one operation to the next, a consumer that kept its place was given what lies before it.
    NonmonotonicPoll,
    /// Within one operation, messages were put in another order than they were sent in.
    IntNonmonotonicSend,
    /// Within one operation, messages of others came between those sent.
    IntSendSkip,
    /// A process sent a message after another was acknowledged to it, and it was put before that one.
    NonmonotonicSend,
    /// A message sent after another was acknowledged or read, by another process, was put before that one.
    Reordered,
    /// A group's committed offset went back, and no operation can have committed the lower one.
    CommittedOffsetBack,
    /// A group committed an offset beyond a message that none of its members ever received.
    Undelivered,
    /// A group's members were given a message of one offset more than once.
    Redelivered,
    /// A value that a queue acknowledged never came out of it.
    Lost,
    /// Transactions read from each other in a cycle.
    #[serde(rename = "G1c")]
    G1c,
    /// A transaction read what it had written itself, and had not committed.
    PrecommittedRead,
    /// Folding what remained of a log gives a key a value that it no longer had.
    TableDiverged,
    /// The latest record of a key is gone from the log, and no other of it remains.
    LatestLost,
    /// A node did not serve again in time after a fault was healed. Found by the harness while the system
    /// runs, and independent of the clients' answers.
    NotRecovered,
}

impl AnomalyKind {
    /// Returns the name as printed and as saved.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::PhantomRead => "phantom-read",
            Self::AbortedRead => "aborted-read",
            Self::FutureRead => "future-read",
            Self::StaleRead => "stale-read",
            Self::LostWrite => "lost-write",
            Self::LostUpdate => "lost-update",
            Self::StaleCas => "stale-cas",
            Self::DoubleAcquire => "double-acquire",
            Self::UnheldRelease => "unheld-release",
            Self::Nonlinearizable => "nonlinearizable",
            Self::Diverged => "diverged",
            Self::OutOfRange => "out-of-range",
            Self::NeverSent => "never-sent",
            Self::Duplicate => "duplicate",
            Self::InconsistentOffsets => "inconsistent-offsets",
            Self::IntPollSkip => "int-poll-skip",
            Self::IntNonmonotonicPoll => "int-nonmonotonic-poll",
            Self::PollSkip => "poll-skip",
            Self::NonmonotonicPoll => "nonmonotonic-poll",
            Self::IntNonmonotonicSend => "int-nonmonotonic-send",
            Self::IntSendSkip => "int-send-skip",
            Self::NonmonotonicSend => "nonmonotonic-send",
            Self::Reordered => "reordered",
            Self::CommittedOffsetBack => "committed-offset-back",
            Self::Undelivered => "undelivered",
            Self::Redelivered => "redelivered",
            Self::Lost => "lost",
            Self::G1c => "G1c",
            Self::PrecommittedRead => "precommitted-read",
            Self::TableDiverged => "table-diverged",
            Self::LatestLost => "latest-lost",
            Self::NotRecovered => "not-recovered",
        }
    }
}

impl fmt::Display for AnomalyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
