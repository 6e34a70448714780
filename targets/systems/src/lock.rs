//! The shared part of clients of locks: what an owner is answered, and why an operation was refused.

use duress_history::fenced_mutex::FencedMutex;

use crate::outcome::{Cause, CauseKind, Outcome, RequestError};

/// Returns the outcome of the acquisition `asked`, which got the fencing token `token`.
pub(crate) fn acquired(asked: &FencedMutex, token: i64) -> Outcome<FencedMutex> {
    Outcome::Ok(FencedMutex { mutex: asked.mutex.clone(), fence: Some(token), lease_ms: None })
}

/// Returns the outcome of an acquisition of a lock that has an owner.
pub(crate) fn taken() -> Outcome<FencedMutex> {
    Outcome::Fail(Cause::new(CauseKind::Precondition, "another client holds the lock"))
}

/// Returns the outcome of a release of a lock that has no owner, or another one.
pub(crate) fn lost() -> Outcome<FencedMutex> {
    Outcome::Fail(Cause::new(CauseKind::Precondition, "the lock is not held with this token"))
}

/// Returns the token of the acquisition that a release is to end.
///
/// # Errors
/// A definite [`RequestError`] if it does not say.
pub(crate) fn token(asked: &FencedMutex) -> Result<i64, RequestError> {
    let unknown = || {
        RequestError::definite(
            CauseKind::Rejected,
            "a release without the token of its acquisition: not sent",
        )
    };
    asked.fence.ok_or_else(unknown)
}
