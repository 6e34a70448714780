//! An operation as the algorithms see it.
//!
//! Registers, compare-and-set registers and locks are one machine: its state is one value out of a few, numbered from
//! 0, and an operation observes a value, replaces it, or does both. A lock is a register of two values, `acquire` a
//! compare-and-set from free to held, `release` one back.

/// A value, numbered per key.
pub(crate) type State = u32;

/// The value that the register holds first.
pub(crate) const INITIAL: State = 0;

/// The effect of an operation on the register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Effect {
    /// It holds this value, before and after.
    Read(State),
    /// It holds this value afterwards, whatever it held before.
    Write(State),
    /// It holds the first value before and the second, a different one, afterwards.
    Cas(State, State),
}

impl Effect {
    /// Returns the value that the register must hold for the operation to take place.
    pub(crate) fn observed(self) -> Option<State> {
        match self {
            Self::Read(value) | Self::Cas(value, _) => Some(value),
            Self::Write(_) => None,
        }
    }

    /// Returns the value that the operation leaves behind, where that is a change.
    pub(crate) fn produced(self) -> Option<State> {
        match self {
            Self::Write(value) | Self::Cas(_, value) => Some(value),
            Self::Read(_) => None,
        }
    }
}

/// One operation that happened, or, without a completion, may have happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) effect: Effect,
    /// The rank of its invocation among the events of its key.
    pub(crate) invoke: u32,
    /// The rank of its completion; `None` when it may take effect at any later time, or never.
    pub(crate) complete: Option<u32>,
    pub(crate) duty: Duty,
    /// The position of its operation among those of its key.
    pub(crate) source: u32,
}

/// Whether a completed operation must take effect before its completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Duty {
    /// It must.
    Required,
    /// It may: in a witness without its beginning, it may have taken effect before that.
    Optional,
}

/// The operations on one register, and its initial value.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    /// By invocation. Every read is completed.
    pub(crate) calls: Vec<Call>,
    /// How many values there are: every [`State`] is below.
    pub(crate) states: u32,
    pub(crate) start: Start,
}

/// The initial value of the register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// This value.
    Known(State),
    /// Some unknown value; perhaps one that no operation names.
    Any,
}
