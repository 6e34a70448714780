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
    /// Acquisitions of a lock were answered with fencing tokens that do not grow in their order.
    NonmonotonicFence,
    /// No order of the operations agrees with real time and with every answer; no simpler name fits.
    Nonlinearizable,
    /// Long after everything had been healed, two replicas returned different values, and no operation that
    /// may have taken effect in between explains it.
    Diverged,
    /// A read of a counter lies outside of the range that adds allow.
    OutOfRange,
    /// A reply has another payload than its request.
    WrongEcho,
    /// A poll gave a message that had not been sent to that partition by then.
    NeverSent,
    /// Logs: one message is at more than one offset of its partition. Sets: one answer has an element twice. Queues: what
    /// went in once came out twice. Identifiers: one was generated twice.
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
    /// Transactions wrote over each other in a cycle.
    #[serde(rename = "G0")]
    G0,
    /// The same, where the order of a process's transactions takes part.
    #[serde(rename = "G0-process")]
    G0Process,
    /// The same, where real time takes part.
    #[serde(rename = "G0-realtime")]
    G0Realtime,
    /// A transaction read what a failed transaction wrote.
    #[serde(rename = "G1a")]
    G1a,
    /// A transaction read what another had written and then wrote over itself: an intermediate state.
    #[serde(rename = "G1b")]
    G1b,
    /// The same as G1c, where the order of a process's transactions takes part.
    #[serde(rename = "G1c-process")]
    G1cProcess,
    /// The same as G1c, where real time takes part.
    #[serde(rename = "G1c-realtime")]
    G1cRealtime,
    /// A cycle in which one transaction read what the next wrote over, and in no other step.
    #[serde(rename = "G-single")]
    GSingle,
    /// The same, where the order of a process's transactions takes part.
    #[serde(rename = "G-single-process")]
    GSingleProcess,
    /// The same, where real time takes part: a read that is too old.
    #[serde(rename = "G-single-realtime")]
    GSingleRealtime,
    /// A cycle in which transactions read what the next wrote over, never in two steps in a row.
    #[serde(rename = "G-nonadjacent")]
    GNonadjacent,
    /// The same, where the order of a process's transactions takes part.
    #[serde(rename = "G-nonadjacent-process")]
    GNonadjacentProcess,
    /// The same, where real time takes part.
    #[serde(rename = "G-nonadjacent-realtime")]
    GNonadjacentRealtime,
    /// A cycle in which transactions read what the next wrote over: write skew.
    #[serde(rename = "G2-item")]
    G2Item,
    /// The same, where the order of a process's transactions takes part.
    #[serde(rename = "G2-item-process")]
    G2ItemProcess,
    /// The same, where real time takes part.
    #[serde(rename = "G2-item-realtime")]
    G2ItemRealtime,
    /// No order of the transactions, one after the other, explains every answer.
    #[serde(rename = "not-serializable")]
    NotSerializable,
    /// The same, where the order of a process's transactions takes part.
    #[serde(rename = "not-serializable-process")]
    NotSerializableProcess,
    /// The same, where real time takes part.
    #[serde(rename = "not-serializable-realtime")]
    NotSerializableRealtime,
    /// A read within a transaction does not agree with what the transaction read or wrote before.
    #[serde(rename = "internal")]
    Internal,
    /// A list holds what a failed transaction appended, and what others appended after it.
    #[serde(rename = "dirty-update")]
    DirtyUpdate,
    /// Transactions that read a version of a register and wrote the next put its versions into a cycle.
    #[serde(rename = "cyclic-versions")]
    CyclicVersions,
    /// Two reads of a list cannot be of one list that only grows.
    #[serde(rename = "incompatible-order")]
    IncompatibleOrder,
    /// A list holds an element twice that was appended once.
    #[serde(rename = "duplicate-elements")]
    DuplicateElements,
    /// A transaction read one object from another transaction, and missed what that wrote to a second one.
    #[serde(rename = "fractured-read")]
    FracturedRead,
    /// A transaction read what, as it had to know, had been written over.
    #[serde(rename = "causality-violation")]
    CausalityViolation,
    /// A process read a register as if an earlier write of its own were not there.
    ReadYourWritesViolation,
    /// A process read a register as if a write that it had seen before were not there.
    MonotonicReadsViolation,
    /// A process saw a write, or made it, and then read as if an earlier one of the writing process were not there.
    MonotonicWritesViolation,
    /// A process saw a write, or made it, and then read as if one were not there that the writing process had seen before that.
    WritesFollowReadsViolation,
    /// A transaction read what it had written itself, and had not committed.
    PrecommittedRead,
    /// Two reads saw two writes in opposite orders.
    LongFork,
    /// The balances of a read do not add up to the total.
    WrongTotal,
    /// An account has less than nothing.
    NegativeValue,
    /// An account was not found.
    NilBalance,
    /// A document of a job was loaded, and no part of it is in the result.
    LostTask,
    /// A job's result has several parts of one document: its words are counted more than once.
    DoubledTask,
    /// A part of a job's result has other counts than the words of its document.
    WrongCount,
    /// A part of a job's result is there, although no execution of its task can have written it.
    PhantomPart,
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
            Self::NonmonotonicFence => "nonmonotonic-fence",
            Self::Nonlinearizable => "nonlinearizable",
            Self::Diverged => "diverged",
            Self::OutOfRange => "out-of-range",
            Self::WrongEcho => "wrong-echo",
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
            Self::G0 => "G0",
            Self::G0Process => "G0-process",
            Self::G0Realtime => "G0-realtime",
            Self::G1a => "G1a",
            Self::G1b => "G1b",
            Self::G1cProcess => "G1c-process",
            Self::G1cRealtime => "G1c-realtime",
            Self::GSingle => "G-single",
            Self::GSingleProcess => "G-single-process",
            Self::GSingleRealtime => "G-single-realtime",
            Self::GNonadjacent => "G-nonadjacent",
            Self::GNonadjacentProcess => "G-nonadjacent-process",
            Self::GNonadjacentRealtime => "G-nonadjacent-realtime",
            Self::G2Item => "G2-item",
            Self::G2ItemProcess => "G2-item-process",
            Self::G2ItemRealtime => "G2-item-realtime",
            Self::NotSerializable => "not-serializable",
            Self::NotSerializableProcess => "not-serializable-process",
            Self::NotSerializableRealtime => "not-serializable-realtime",
            Self::Internal => "internal",
            Self::DirtyUpdate => "dirty-update",
            Self::CyclicVersions => "cyclic-versions",
            Self::IncompatibleOrder => "incompatible-order",
            Self::DuplicateElements => "duplicate-elements",
            Self::FracturedRead => "fractured-read",
            Self::CausalityViolation => "causality-violation",
            Self::ReadYourWritesViolation => "read-your-writes-violation",
            Self::MonotonicReadsViolation => "monotonic-reads-violation",
            Self::MonotonicWritesViolation => "monotonic-writes-violation",
            Self::WritesFollowReadsViolation => "writes-follow-reads-violation",
            Self::PrecommittedRead => "precommitted-read",
            Self::LongFork => "long-fork",
            Self::WrongTotal => "wrong-total",
            Self::NegativeValue => "negative-value",
            Self::NilBalance => "nil-balance",
            Self::LostTask => "lost-task",
            Self::DoubledTask => "doubled-task",
            Self::WrongCount => "wrong-count",
            Self::PhantomPart => "phantom-part",
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
