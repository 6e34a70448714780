//! Values that are out of their range.

/// A value out of range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} is {value}: {expected}")]
pub struct RangeError {
    /// The plan's field, or the command line's option.
    pub what: &'static str,
    /// Its value.
    pub value: String,
    /// The allowed values.
    pub expected: &'static str,
}

/// An error that quotes `value` unless it is `fine`.
///
/// # Errors
/// [`RangeError`].
pub fn range(
    what: &'static str,
    value: &dyn ToString,
    fine: bool,
    expected: &'static str,
) -> Result<(), RangeError> {
    if fine { Ok(()) } else { Err(RangeError { what, value: value.to_string(), expected }) }
}

/// Whether something can be drawn by these weights.
///
/// # Errors
/// [`RangeError`].
pub fn weights(weights: &[u32]) -> Result<(), RangeError> {
    let sum: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
    range(
        "sum of weights",
        &sum,
        (1..=1_000_000).contains(&sum),
        "at least one weight is positive, all at most a million",
    )
}
