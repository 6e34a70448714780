//! Keys and values: an integer or a text.

use std::fmt;
use std::sync::Arc;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A key or a value of a register. Cheap to clone.
///
/// Ordered integers first, then texts, so that reports list keys in a stable order.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scalar {
    /// A whole number.
    Int(i64),
    /// A text. EDN keywords and symbols become texts too.
    Text(Arc<str>),
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(number) => fmt::Display::fmt(number, f),
            Self::Text(text) => f.pad(text),
        }
    }
}

impl fmt::Debug for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<i64> for Scalar {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<&str> for Scalar {
    fn from(text: &str) -> Self {
        Self::Text(Arc::from(text))
    }
}

impl Scalar {
    /// What is expected where one stands, in words.
    pub(crate) const EXPECTED: &str = "a whole number or a text";

    /// The whole number `number`.
    pub(crate) fn whole<E: Error>(number: u64) -> Result<Self, E> {
        i64::try_from(number)
            .map(Self::Int)
            .map_err(|_| E::custom(format_args!("{number} is too large: at most {}", i64::MAX)))
    }
}

impl Serialize for Scalar {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Int(number) => serializer.serialize_i64(*number),
            Self::Text(text) => serializer.serialize_str(text),
        }
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Written out because serde's `untagged` buffers each value: twice the time on a hot path.
        struct ScalarVisitor;
        impl Visitor<'_> for ScalarVisitor {
            type Value = Scalar;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(Scalar::EXPECTED)
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<Scalar, E> {
                Ok(Scalar::Int(number))
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<Scalar, E> {
                Scalar::whole(number)
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar::Text(Arc::from(text)))
            }
        }
        deserializer.deserialize_any(ScalarVisitor)
    }
}
