//! Keys and values as the text that systems without types store.

use duress_history::Scalar;

use crate::outcome::{CauseKind, RequestError};

/// `scalar` as text: numbers in decimal, texts as they are.
///
/// # Errors
/// A definite [`RequestError`], before anything is sent, for a text that looks like a number: it would be read back as
/// one, or name the same key as one, and the history would accuse the system of what the harness did.
pub(crate) fn encode(scalar: &Scalar) -> Result<String, RequestError> {
    match scalar {
        Scalar::Int(number) => Ok(number.to_string()),
        Scalar::Text(text) if canonical_number(text).is_some() => Err(RequestError::definite(
            CauseKind::Rejected,
            format!("the text \"{text}\" cannot be told from the number: not sent"),
        )),
        Scalar::Text(text) => Ok(text.to_string()),
        Scalar::Other(_) => Err(RequestError::definite(
            CauseKind::Rejected,
            format!("{scalar} is {}, which cannot be stored as text: not sent", scalar.kind()),
        )),
    }
}

/// The scalar that is stored as `bytes`.
///
/// # Errors
/// An open [`RequestError`] for bytes that are not UTF-8, which nothing here ever writes.
pub(crate) fn decode(bytes: &[u8]) -> Result<Scalar, RequestError> {
    let text = std::str::from_utf8(bytes).map_err(|cause| {
        RequestError::open(CauseKind::Unreadable, format!("a value that is not UTF-8: {cause}"))
    })?;
    Ok(canonical_number(text).map_or_else(|| Scalar::from(text), Scalar::Int))
}

/// The text of the key of an operation on one of many objects.
///
/// # Errors
/// As [`encode`], and where there is no key: a system keeps objects by name.
pub(crate) fn of_key(key: Option<&Scalar>) -> Result<String, RequestError> {
    let unnamed = || RequestError::definite(CauseKind::Rejected, "an object without a key: not sent");
    encode(key.ok_or_else(unnamed)?)
}

/// The number that is stored as `bytes`.
///
/// # Errors
/// An open [`RequestError`] for anything else.
pub(crate) fn number(bytes: &[u8]) -> Result<i64, RequestError> {
    match decode(bytes)? {
        Scalar::Int(number) => Ok(number),
        other => Err(RequestError::open(CauseKind::Unreadable, format!("{other} where a number was stored"))),
    }
}

/// The number that is written exactly like this; `007`, `+7` and `-0` are texts.
fn canonical_number(text: &str) -> Option<i64> {
    text.parse::<i64>().ok().filter(|number| number.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for scalar in [0.into(), (-5).into(), i64::MIN.into(), i64::MAX.into(), Scalar::from("x")] {
            assert_eq!(decode(encode(&scalar).unwrap().as_bytes()).unwrap(), scalar);
        }
        for text in ["", "007", "+7", "-0", "9223372036854775808", "7 ", "nil"] {
            assert_eq!(decode(encode(&text.into()).unwrap().as_bytes()).unwrap(), Scalar::from(text));
        }
    }

    #[test]
    fn a_text_that_would_come_back_as_a_number_is_not_sent() {
        let refused = encode(&"7".into()).unwrap_err();
        assert_eq!(refused.cause.kind, CauseKind::Rejected);
        assert_eq!(refused.reach, crate::outcome::Reach::Nothing);
    }
}
