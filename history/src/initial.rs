//! What is assumed of registers beyond what a history says of them.

use std::convert::Infallible;
use std::str::FromStr;

use crate::scalar::{Scalar, Value};
use crate::syntax::Forms;

/// What is assumed of registers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assumed {
    /// What each of them holds before the first operation.
    pub initial: Initial,
    /// What a read says that answered nil.
    pub nil_reads: NilReads,
}

/// What registers hold before the first operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Initial {
    /// All the same value; `None` is nil: they were never written.
    Known(Option<Scalar>),
    /// Each a value of its own, which is not known: the store was not empty.
    Any,
}

impl Default for Initial {
    /// Never written.
    fn default() -> Self {
        Self::Known(None)
    }
}

impl From<Option<Scalar>> for Assumed {
    /// That registers hold this value at first.
    fn from(initial: Option<Scalar>) -> Self {
        Self { initial: Initial::Known(initial), nil_reads: NilReads::default() }
    }
}

/// What a read says that answered nil.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NilReads {
    /// That there is nothing.
    #[default]
    Observed,
    /// Nothing: the client did not learn what there is.
    Unknown,
}

impl FromStr for Initial {
    type Err = Infallible;

    /// Reads `any`, `nil`, or a value as EDN and JSON have it: `0` is the number and `"0"` the string. Anything else is
    /// the string that it is.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        let mut json = String::new();
        let mut forms = Forms::new(text, 1);
        let whole = forms.form("a value", &mut json).is_ok() && forms.peek() == Ok(None);
        let value = serde_json::from_str::<Option<Value>>(&json).ok().filter(|_| whole);
        Ok(match (text.trim(), value) {
            ("any", _) => Self::Any,
            (_, Some(value)) => Self::Known(value.map(|Value(value)| value)),
            (plain, None) => Self::Known(Some(Scalar::from(plain))),
        })
    }
}
