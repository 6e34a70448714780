//! Keys and values: an integer, a string, or any other value by its canonical JSON text.

use std::fmt;

use arcstr::ArcStr;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Error, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value as Json;

/// A key or a value of a register. Cheap to clone: two words.
///
/// Two scalars are the same value exactly when they are equal, so that each value has one form. Numbers are compared
/// by value: `3.0`, `3N` and `3M` are the integer 3. A number is never a string: `3` and `"3"` differ.
///
/// Ordered integers first, then strings, so that reports list keys in a stable order. Nil is not a scalar: where it is
/// possible, it is an `Option`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scalar {
    /// A whole number.
    Int(i64),
    /// A string. EDN keywords and symbols become strings too.
    Text(ArcStr),
    /// Any other value, as its canonical JSON text: `true`, `1.5`, `[1,2]`, `{"a":1}`; numbers that JSON
    /// lacks are `{"number":"1/2"}`, `{"number":"NaN"}` and, beyond 64 bits,
    /// `{"number":"18446744073709551616"}`.
    Other(ArcStr),
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(number) => fmt::Display::fmt(number, f),
            Self::Text(text) => f.pad(text),
            Self::Other(json) => f.pad(number_inside(json).unwrap_or(json)),
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
        Self::Text(ArcStr::from(text))
    }
}

impl From<bool> for Scalar {
    fn from(value: bool) -> Self {
        Self::Other(if value { arcstr::literal!("true") } else { arcstr::literal!("false") })
    }
}

/// `1/2`, of `{"number":"1/2"}`.
fn number_inside(json: &str) -> Option<&str> {
    json.strip_prefix("{\"number\":\"")?.strip_suffix("\"}")
}

impl Scalar {
    /// The expected form of a scalar, in words.
    pub(crate) const EXPECTED: &str = "a number, a string or a boolean";

    /// Returns the kind of value, with its article, for messages: `a number`, `a string`, …
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Int(_) => "a number",
            Self::Text(_) => "a string",
            Self::Other(json) => match json.as_bytes()[0] {
                b't' | b'f' => "a boolean",
                b'[' => "a vector",
                b'{' if number_inside(json).is_none() => "a map",
                _ => "a number",
            },
        }
    }

    /// Returns the value of the JSON text `json` if that is a whole number or a string without escapes, as most are.
    pub(crate) fn plain(json: &str) -> Option<Self> {
        match json.as_bytes() {
            [b'"', inner @ .., b'"'] if !inner.iter().any(|byte| matches!(byte, b'"' | b'\\')) => {
                Some(Self::from(&json[1..=inner.len()]))
            }
            _ => json.parse().ok().map(Self::Int),
        }
    }

    /// Returns the whole number `number`.
    pub(crate) fn whole(number: u64) -> Self {
        i64::try_from(number).map_or_else(|_| Self::other(&number.to_string()), Self::Int)
    }

    /// Returns the value whose canonical JSON text is `json`.
    fn other(json: &str) -> Self {
        Self::Other(ArcStr::from(json))
    }

    /// Returns the number `number`; integral ones are [`Scalar::Int`].
    fn float<E: Error>(number: f64) -> Result<Self, E> {
        /// Up to here every whole number has a float of its own.
        const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
        if number.fract() == 0.0 {
            if number.abs() <= EXACT_MAX {
                return Ok(Self::Int(number as i64));
            }
            // A JSON integer beyond 64 bits comes here too, its last digits lost: two values may have become one.
            return Err(E::custom(format_args!(
                "{number:e} has more digits than a number can keep: record it as a string"
            )));
        }
        Ok(Self::other(&Json::from(number).to_string()))
    }

    /// Returns the vector or map `json`.
    fn composite<E: Error>(json: &Json) -> Result<Self, E> {
        let mut text = String::new();
        canonical(json, &mut text)?;
        Ok(Self::other(&text))
    }
}

/// Appends the canonical JSON text of `json`: without white space, fields by name, whole numbers without a
/// fraction.
fn canonical<E: Error>(json: &Json, text: &mut String) -> Result<(), E> {
    match json {
        Json::Array(elements) => {
            text.push('[');
            for (at, element) in elements.iter().enumerate() {
                if at > 0 {
                    text.push(',');
                }
                canonical(element, text)?;
            }
            text.push(']');
        }
        Json::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|(name, _)| *name);
            text.push('{');
            for (at, (name, value)) in fields.into_iter().enumerate() {
                if at > 0 {
                    text.push(',');
                }
                text.push_str(&Json::from(name.as_str()).to_string());
                text.push(':');
                canonical(value, text)?;
            }
            text.push('}');
        }
        Json::Number(number) if number.is_f64() => {
            let number = Scalar::float(number.as_f64().unwrap_or(f64::NAN))?;
            text.push_str(&number.to_string());
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => text.push_str(&json.to_string()),
    }
    Ok(())
}

impl Serialize for Scalar {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Int(number) => serializer.serialize_i64(*number),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Other(json) => {
                let json: Json = serde_json::from_str(json).map_err(serde::ser::Error::custom)?;
                json.serialize(serializer)
            }
        }
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Written out because serde's `untagged` buffers each value: twice the time on a hot path.
        deserializer.deserialize_any(ScalarVisitor::<false>)
    }
}

/// Reads a scalar; with `COMPOSITE`, vectors and maps too.
pub(crate) struct ScalarVisitor<const COMPOSITE: bool>;

impl<'de, const COMPOSITE: bool> Visitor<'de> for ScalarVisitor<COMPOSITE> {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if COMPOSITE { "a value" } else { Scalar::EXPECTED })
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Scalar, E> {
        Ok(Scalar::Int(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Scalar, E> {
        Ok(Scalar::whole(number))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Scalar, E> {
        Scalar::float(number)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Scalar, E> {
        Ok(Scalar::from(value))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Scalar, E> {
        Ok(Scalar::from(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, access: A) -> Result<Scalar, A::Error> {
        if !COMPOSITE {
            return Err(A::Error::invalid_type(Unexpected::Seq, &self));
        }
        let json = Json::deserialize(SeqAccessDeserializer::new(access))?;
        Scalar::composite(&json)
    }

    fn visit_map<M: MapAccess<'de>>(self, access: M) -> Result<Scalar, M::Error> {
        let json = Json::deserialize(MapAccessDeserializer::new(access))?;
        let scalar = Scalar::composite(&json)?;
        match &scalar {
            Scalar::Other(text) if !COMPOSITE && number_inside(text).is_none() => {
                Err(M::Error::invalid_type(Unexpected::Map, &self))
            }
            _ => Ok(scalar),
        }
    }
}

/// The value of a register: any [`Scalar`], vectors and maps among them.
pub(crate) struct Value(pub(crate) Scalar);

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor::<true>).map(Value)
    }
}
