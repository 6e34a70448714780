//! The vocabularies of transactions, as Jepsen and Elle record them: `list-append` and `rw-register`.
//!
//! | vocabulary | `f` | `value`: operations of one transaction, in their order |
//! |---|---|---|
//! | `list-append` | `txn` | `["append", k, v]` appends v to the list k; `["r", k, null]` reads it, `["r", k, [v, …]]` answered |
//! | `rw-register` | `txn` | `["w", k, v]` writes v to the register k; `["r", k, null]` reads it, `["r", k, v]` answered |
//!
//! Objects are empty at first: a null list is empty, and a null register was never written. Another `f`, as
//! other programs record it, has no meaning, and neither has the completion value of a transaction that
//! failed or has an unknown outcome.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Error, IgnoredAny, SeqAccess, Visitor};
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::event::{OpType, Payload, PayloadError};
use crate::scalar::{Scalar, Value};

/// A transaction: its operations, in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Txn<R> {
    /// Its operations.
    pub micros: Box<[Micro<R>]>,
}

/// One operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Micro<R> {
    /// The list or register.
    pub key: Scalar,
    /// The operation on it.
    pub act: Act<R>,
}

/// The kind of an operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Act<R> {
    /// Appends an element to a list, or writes a register.
    Write(Scalar),
    /// Reads the object; `None` if the read was not answered.
    Read(Option<R>),
}

/// Transactions on lists that only grow and are read whole.
pub type ListAppend = Txn<Elements>;

/// Transactions on registers.
pub type RwRegister = Txn<Held>;

/// The content of a list, in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Elements(pub Box<[Scalar]>);

/// The content of a register; `None` if it was never written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Held(pub Option<Scalar>);

/// The answer to a read of an object.
pub trait Answer:
    Clone + fmt::Debug + PartialEq + Serialize + for<'de> Deserialize<'de> + Send + Sync + 'static
{
    /// The vocabulary's name.
    const NAME: &'static str;
    /// The name of an operation that writes.
    const WRITE: &'static str;
    /// Another name for it.
    const WRITE_ALIAS: &'static str;
    /// The shape of `value`.
    const EXPECTED: &'static str;
}

impl Answer for Elements {
    const NAME: &'static str = "list-append";
    const WRITE: &'static str = "append";
    const WRITE_ALIAS: &'static str = "a";
    const EXPECTED: &'static str = "[[\"append\", k, v], [\"r\", k, [v, …]], …], without predicates";
}

impl Answer for Held {
    const NAME: &'static str = "rw-register";
    const WRITE: &'static str = "w";
    const WRITE_ALIAS: &'static str = "write";
    const EXPECTED: &'static str = "[[\"w\", k, v], [\"r\", k, v], …], without predicates";
}

impl Serialize for Elements {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl Serialize for Held {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Elements {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ElementsVisitor;
        impl<'de> Visitor<'de> for ElementsVisitor {
            type Value = Elements;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_unit<E: Error>(self) -> Result<Elements, E> {
                Ok(Elements(Box::default()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Elements, A::Error> {
                let mut elements = Vec::with_capacity(16);
                while let Some(Value(element)) = access.next_element()? {
                    elements.push(element);
                }
                Ok(Elements(elements.into_boxed_slice()))
            }
        }
        deserializer.deserialize_any(ElementsVisitor)
    }
}

impl<'de> Deserialize<'de> for Held {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value: Option<Value> = Option::deserialize(deserializer)?;
        Ok(Self(value.map(|Value(value)| value)))
    }
}

/// An operation as parsed, before it is known whether it was answered.
struct Parsed<R>(Micro<R>);

impl<'de, R: Answer> Deserialize<'de> for Parsed<R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MicroVisitor<R>(std::marker::PhantomData<R>);
        impl<'de, R: Answer> Visitor<'de> for MicroVisitor<R> {
            type Value = Parsed<R>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an operation [f, k, v], where f is \"{}\" or \"r\"", R::WRITE)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Parsed<R>, A::Error> {
                #[derive(Deserialize)]
                struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
                let missing = |at| A::Error::invalid_length(at, &"three elements");
                let Name(f) = access.next_element()?.ok_or_else(|| missing(0))?;
                let Value(key) = access.next_element()?.ok_or_else(|| missing(1))?;
                let act = if f == R::WRITE || f == R::WRITE_ALIAS {
                    let Value(value) = access.next_element()?.ok_or_else(|| missing(2))?;
                    Act::Write(value)
                } else if f == "r" || f == "read" {
                    let nothing = || serde_json::from_str("null").map_err(A::Error::custom);
                    Act::Read(Some(access.next_element()?.map_or_else(nothing, Ok)?))
                } else {
                    return Err(A::Error::unknown_variant(&f, &[R::WRITE, "r"]));
                };
                if access.next_element::<IgnoredAny>()?.is_some() {
                    return Err(missing(4));
                }
                Ok(Parsed(Micro { key, act }))
            }
        }
        deserializer.deserialize_seq(MicroVisitor(std::marker::PhantomData))
    }
}

impl<R: Answer> Serialize for Micro<R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.act {
            Act::Write(value) => (R::WRITE, &self.key, value).serialize(serializer),
            Act::Read(answer) => ("r", &self.key, answer).serialize(serializer),
        }
    }
}

impl<R: Answer> Payload for Txn<R> {
    const NAME: &'static str = R::NAME;
    const ONLY_F: Option<&'static str> = Some("txn");

    fn f(&self) -> &'static str {
        "txn"
    }

    fn serialize_value<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(Some(self.micros.len()))?;
        for micro in &self.micros {
            seq.serialize_element(micro)?;
        }
        seq.end()
    }

    fn parse(op_type: OpType, f: &str, value: Option<&RawValue>) -> Result<Self, PayloadError> {
        let parsed: serde_json::Result<Vec<Parsed<R>>> =
            serde_json::from_str(value.map_or("null", RawValue::get));
        let parsed = match parsed {
            Ok(parsed) => parsed,
            Err(source) if f == "txn" => {
                return Err(PayloadError::shape(R::NAME, "txn", value, R::EXPECTED, source));
            }
            Err(_) => {
                return Err(PayloadError::UnknownF { model: R::NAME, f: f.to_owned(), known: "txn" });
            }
        };
        let micro = |Parsed(mut micro): Parsed<R>| {
            if let (true, Act::Read(answer)) = (op_type != OpType::Ok, &mut micro.act) {
                *answer = None;
            }
            micro
        };
        Ok(Self { micros: parsed.into_iter().map(micro).collect() })
    }

    fn completed_by(&self, completion: &Self) -> bool {
        let same = |(asked, answered): (&Micro<R>, &Micro<R>)| {
            asked.key == answered.key
                && match (&asked.act, &answered.act) {
                    (Act::Read(_), Act::Read(_)) => true,
                    (Act::Write(asked), Act::Write(answered)) => asked == answered,
                    (Act::Read(_), Act::Write(_)) | (Act::Write(_), Act::Read(_)) => false,
                }
        };
        self.micros.len() == completion.micros.len() && self.micros.iter().zip(&completion.micros).all(same)
    }
}
