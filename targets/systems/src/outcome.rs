//! The outcome of an operation: it happened, it certainly did not, or that cannot be known.
//!
//! | what the client saw | a read | a possible change |
//! |---|---|---|
//! | a definite answer | `Ok` | `Ok` |
//! | an answer saying that the comparison failed | – | `Fail` (precondition) |
//! | an error that the target's contract calls definite | `Fail` | `Fail` |
//! | no connection: refused, unreachable, or not within the time-out | `Fail` | `Fail` |
//! | the kept connection broke before one byte of this request was accepted | `Fail` | `Fail` |
//! | time-out, broken connection, or an unreadable answer after that | `Fail` | `Info` |
//! | any other error of the target | `Fail` | `Info` |
//!
//! Why each is sound:
//! - A read changes nothing, so a read without an answer may count as never having happened, whatever its
//!   fate.
//! - A failed or timed-out connection attempt sent no byte of the request: the socket is closed before the
//!   client could write to it, and no client here sends data with the SYN. If the peer does accept the
//!   connection later it finds it closed.
//! - "Connection refused" is only ever seen while opening a connection for this very request, never for an
//!   earlier one.
//! - A request of which some bytes were accepted by the kernel may arrive whole: it may have happened.
//! - No client here repeats a request by itself, since a repeated request could be executed twice.
//!
//! The rules agree with those of published tests of the same systems: connection refused and the target's definite errors
//! complete as `fail`, time-outs and socket errors of a write as `info`, and idempotent reads always as `fail`.

use std::borrow::Cow;
use std::fmt;

use duress_history::Scalar;
use duress_history::bank::Bank;
use duress_history::counter::{Counter, CounterOp};
use duress_history::echo::Echo;
use duress_history::fenced_mutex::FencedMutex;
use duress_history::job::Job;
use duress_history::log::Log;
use duress_history::register::{Register, RegisterOp};
use duress_history::set::{Set, SetOp};
use duress_history::stream::Stream;
use duress_history::table::Table;
use duress_history::txn::{Act, Answer, Txn};
use duress_history::unique_ids::UniqueIds;
use serde::{Deserialize, Serialize};

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<A> {
    /// It happened, with this answer.
    Ok(A),
    /// It certainly did not happen, and never will.
    Fail(Cause),
    /// It may have happened, may yet happen, or may never happen.
    Info(Cause),
}

impl<A: Action> Outcome<A> {
    /// Returns the outcome of `asked` when its request failed for the reason in `failure`.
    #[must_use]
    pub fn failed(asked: &A, failure: RequestError) -> Self {
        match (asked.effect(), failure.reach) {
            (Effect::None, _) | (_, Reach::Nothing) => Self::Fail(failure.cause),
            (Effect::Some, Reach::Unknown) => Self::Info(failure.cause),
        }
    }
}

/// An operation of a client.
pub trait Action {
    /// Whether doing it changes anything that another operation could see.
    fn effect(&self) -> Effect;
}

/// Whether an operation can change anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It only reads.
    None,
    /// It may change something.
    Some,
}

impl Action for Register {
    fn effect(&self) -> Effect {
        match self.op {
            RegisterOp::Read(_) => Effect::None,
            RegisterOp::Write(_) | RegisterOp::Delete | RegisterOp::Cas { .. } => Effect::Some,
        }
    }
}

impl Action for Set {
    fn effect(&self) -> Effect {
        match self.op {
            SetOp::Read(_) => Effect::None,
            SetOp::Add(_) => Effect::Some,
        }
    }
}

impl Action for Counter {
    fn effect(&self) -> Effect {
        match self.op {
            CounterOp::Read(_) => Effect::None,
            CounterOp::Add(_) => Effect::Some,
        }
    }
}

impl Action for Log {
    /// A poll may commit the messages of earlier polls, but returns messages only if it is answered itself.
    /// Assigning, subscribing and seeking stay within the client.
    fn effect(&self) -> Effect {
        match self {
            Self::Send(_) | Self::Txn(_) | Self::Commit(_) | Self::Crash => Effect::Some,
            Self::Poll(_)
            | Self::Assign { .. }
            | Self::Subscribe(_)
            | Self::Seek(_)
            | Self::Committed(_)
            | Self::EndOffsets(_) => Effect::None,
        }
    }
}

impl Action for Table {
    fn effect(&self) -> Effect {
        match self {
            Self::Put { .. } | Self::Delete { .. } => Effect::Some,
            Self::ReadLog(_) | Self::EndOffsets(_) => Effect::None,
        }
    }
}

impl Action for Stream {
    fn effect(&self) -> Effect {
        match self {
            Self::Send { .. } | Self::Process { .. } => Effect::Some,
            Self::Read { .. } | Self::Progress(_) => Effect::None,
        }
    }
}

impl Action for UniqueIds {
    fn effect(&self) -> Effect {
        Effect::Some
    }
}

impl Action for Bank {
    fn effect(&self) -> Effect {
        match self {
            Self::Read(_) => Effect::None,
            Self::Create(_) | Self::Transfer(_) => Effect::Some,
        }
    }
}

impl Action for Job {
    fn effect(&self) -> Effect {
        match self {
            Self::Gather(_) => Effect::None,
            Self::Load { .. } | Self::Count { .. } => Effect::Some,
        }
    }
}

impl Action for FencedMutex {
    fn effect(&self) -> Effect {
        Effect::Some
    }
}

impl Action for Echo {
    fn effect(&self) -> Effect {
        Effect::None
    }
}

impl<R: Answer> Action for Txn<R> {
    fn effect(&self) -> Effect {
        match self.micros.iter().all(|micro| matches!(micro.act, Act::Read(_))) {
            true => Effect::None,
            false => Effect::Some,
        }
    }
}

/// Why an operation did not succeed: a kind for statistics, and the words for a reader.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {text}")]
pub struct Cause {
    /// The kind of failure.
    pub kind: CauseKind,
    /// The target's or the network's own words.
    pub text: Cow<'static, str>,
    /// For a failed comparison, the value that was there instead, `None` if there was none: present only if
    /// the target promises that this is a read of its own, atomic with the comparison and as good as any
    /// other.
    pub saw: Option<Option<Scalar>>,
}

impl Cause {
    /// Returns a cause of this kind in these words.
    #[must_use]
    pub fn new(kind: CauseKind, text: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, text: text.into(), saw: None }
    }

    /// Returns a failed comparison, with the value that was there instead.
    #[must_use]
    pub fn differs(saw: Option<Scalar>) -> Self {
        let text = "the register did not hold the value compared with";
        Self { saw: Some(saw), ..Self::new(CauseKind::Precondition, text) }
    }
}

/// The kinds of trouble, coarse enough to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CauseKind {
    /// The node refused the connection: no process listened, or it did not serve yet.
    Refused,
    /// The connection could not be opened for another reason.
    Unreachable,
    /// The connection could not be opened in time.
    ConnectTimeout,
    /// The request was sent, at least in part, and no answer came in time.
    Timeout,
    /// The connection broke before the answer was complete.
    ConnectionLost,
    /// The node knew no leader and did nothing.
    NoLeader,
    /// The comparison of a compare-and-set failed, or another transaction was faster.
    Precondition,
    /// The node refused the request, as invalid or for lack of resources, and did nothing.
    Rejected,
    /// The node itself said that it does not know what became of the request, or gave an error that leaves it open.
    Unknown,
    /// The response was not an answer in the target's protocol.
    Unreadable,
}

impl CauseKind {
    /// Returns the name, as statistics print it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::ConnectTimeout => "connect-timeout",
            Self::Timeout => "timeout",
            Self::ConnectionLost => "connection-lost",
            Self::NoLeader => "no-leader",
            Self::Precondition => "precondition",
            Self::Rejected => "rejected",
            Self::Unknown => "unknown",
            Self::Unreadable => "unreadable",
        }
    }
}

impl fmt::Display for CauseKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How much of a request can have taken effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// None of it, now or ever: no byte left, or the target answered with an error that its contract calls
    /// definite.
    Nothing,
    /// Anything from none to all of it.
    Unknown,
}

/// A request that got no positive answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub struct RequestError {
    /// How much of it can have taken effect.
    pub reach: Reach,
    /// Why.
    pub cause: Cause,
}

impl RequestError {
    /// Returns an error of a request that certainly has no effect.
    #[must_use]
    pub fn definite(kind: CauseKind, text: impl Into<Cow<'static, str>>) -> Self {
        Self { reach: Reach::Nothing, cause: Cause::new(kind, text) }
    }

    /// Returns an error of a request that may have an effect.
    #[must_use]
    pub fn open(kind: CauseKind, text: impl Into<Cow<'static, str>>) -> Self {
        Self { reach: Reach::Unknown, cause: Cause::new(kind, text) }
    }
}
