//! The register vocabularies: `register` over many keys, `cas-register` with one.
//!
//! | `f` | `value` of `register` | of `cas-register` |
//! |---|---|---|
//! | `read` | `[k, null]` invoked, `[k, v]` answered; `v` is null if the register is empty | `null`, `v` |
//! | `write` | `[k, v]` | `v` |
//! | `delete` | `[k, null]`, `k` | `null` |
//! | `cas` | `[k, [old, new]]`, `[k, old, new]` | `[old, new]` |
//!
//! A deleted register looks like one that was never written.
//!
//! If the event has a field `key`, it names the register in both vocabularies, and the value is bare. Other
//! programs call these operations `get`, `put`, `set`, `compare-and-set` and `del` too.

use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::event::{Fields, OpType, Payload, PayloadError};
use crate::scalar::{Scalar, Value};

const KNOWN: &str = "read, write, delete, cas";

/// An operation on one register.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RegisterOp {
    /// Read; `None` in an invocation, and in an answer when the register is empty: never written, or deleted.
    Read(Option<Scalar>),
    /// Write this value.
    Write(Scalar),
    /// Empty the register.
    Delete,
    /// Replace `old` by `new` if the register holds `old`.
    Cas {
        /// The value it must hold.
        old: Option<Scalar>,
        /// The value it gets.
        new: Scalar,
    },
}

impl RegisterOp {
    fn f(&self) -> &'static str {
        match self {
            Self::Read(_) => "read",
            Self::Write(_) => "write",
            Self::Delete => "delete",
            Self::Cas { .. } => "cas",
        }
    }

    fn completed_by(&self, completion: &Self) -> bool {
        match (self, completion) {
            (Self::Read(_), Self::Read(_)) => true,
            _ => self == completion,
        }
    }
}

/// An operation on one of many registers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Register {
    /// The register's key.
    pub key: Scalar,
    /// The operation.
    pub op: RegisterOp,
}

/// An operation on the only register there is, or on one that a field of its own names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CasRegister {
    /// The register's key, if there is more than one.
    pub key: Option<Scalar>,
    /// The operation.
    pub op: RegisterOp,
}

impl From<RegisterOp> for CasRegister {
    /// On the only register there is.
    fn from(op: RegisterOp) -> Self {
        Self { key: None, op }
    }
}

/// Reads an operation without a key whose values are plain ([`Scalar::plain`]), many times faster than serde does; `None`
/// leaves any other to it.
fn plain(f: &str, value: &str) -> Option<RegisterOp> {
    let or_null = |json: &str| if json == "null" { Some(None) } else { Scalar::plain(json).map(Some) };
    Some(match f {
        "read" => RegisterOp::Read(or_null(value)?),
        "write" => RegisterOp::Write(Scalar::plain(value)?),
        "cas" => {
            let (old, new) = cut(value)?;
            RegisterOp::Cas { old: or_null(old)?, new: Scalar::plain(new)? }
        }
        _ => return None,
    })
}

/// Cuts a vector at its first comma. Of plain elements there are two, or the second is not plain.
fn cut(json: &str) -> Option<(&str, &str)> {
    json.strip_prefix('[')?.strip_suffix(']')?.split_once(',')
}

/// Reads `value`, or null without one.
fn json<'a, T: Deserialize<'a>>(value: Option<&'a RawValue>) -> serde_json::Result<T> {
    serde_json::from_str(value.map_or("null", RawValue::get))
}

/// Parses an operation without a key: `op`'s name as the vocabulary has it, and its value.
fn bare(model: &'static str, f: &str, value: Option<&RawValue>) -> Result<RegisterOp, PayloadError> {
    if let Some(op) = plain(f, value.map_or("null", RawValue::get)) {
        return Ok(op);
    }
    let shape = |f, expected| move |source| PayloadError::shape(model, f, value, expected, source);
    match f {
        "read" => {
            let value: Option<Value> = json(value).map_err(shape("read", "a value or null"))?;
            Ok(RegisterOp::Read(value.map(|Value(value)| value)))
        }
        "write" => {
            let Value(value) = json(value).map_err(shape("write", "a value"))?;
            Ok(RegisterOp::Write(value))
        }
        "delete" => {
            let () = json(value).map_err(shape("delete", "null"))?;
            Ok(RegisterOp::Delete)
        }
        "cas" => {
            let (old, Value(new)): (Option<Value>, _) = json(value).map_err(shape("cas", "[old, new]"))?;
            Ok(RegisterOp::Cas { old: old.map(|Value(old)| old), new })
        }
        _ => Err(PayloadError::UnknownF { model, f: f.to_owned(), known: KNOWN }),
    }
}

/// Returns the key that an event has in a field of its own.
fn own_key(model: &'static str, fields: Fields<'_>) -> Result<Option<Scalar>, PayloadError> {
    if !fields.has_key() {
        return Ok(None);
    }
    let expected = "a number, a string or a boolean as its `key`";
    json(fields.key).map_err(|source| PayloadError::shape(model, "key", fields.key, expected, source))
}

/// Returns the operation of an event that names its register elsewhere.
fn keyless(
    model: &'static str,
    op_type: OpType,
    f: &str,
    value: Option<&RawValue>,
    invoked: Option<&RegisterOp>,
) -> Result<RegisterOp, PayloadError> {
    match invoked {
        // The value of a read's invocation is ignored.
        _ if op_type == OpType::Invoke && f == "read" => Ok(RegisterOp::Read(None)),
        // The answer says no more than that it happened.
        Some(invoked @ (RegisterOp::Write(_) | RegisterOp::Delete | RegisterOp::Cas { .. }))
            if invoked.f() == f && value.is_none_or(|value| value.get() == "null") =>
        {
            Ok(invoked.clone())
        }
        _ => bare(model, f, value),
    }
}

/// Returns the two elements of `value`, if it has two.
fn pair(value: Option<&RawValue>) -> Option<(&RawValue, &RawValue)> {
    // An error of serde's costs more than all the rest of an event.
    let json = value?.get();
    if json.starts_with('[') { serde_json::from_str(json).ok() } else { None }
}

/// Returns the name that others' `f` has here.
fn spelled(f: &str) -> &str {
    if matches!(f, "read" | "write" | "cas") {
        return f;
    }
    let names: [(&str, &[&str]); 4] = [
        ("read", &["read", "get", "r"]),
        ("write", &["write", "put", "set", "w"]),
        ("delete", &["delete", "del"]),
        (
            "cas",
            &[
                "cas",
                "compare-and-set",
                "compare-and-swap",
                "compareandset",
                "compareandswap",
                "compare_and_set",
            ],
        ),
    ];
    let same = |name: &&str| name.eq_ignore_ascii_case(f);
    names.into_iter().find(|(_, others)| others.iter().any(same)).map_or(f, |(name, _)| name)
}

impl Payload for Register {
    const NAME: &'static str = "register";

    fn f(&self) -> &'static str {
        self.op.f()
    }

    fn serialize_value<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.op {
            RegisterOp::Read(value) => (&self.key, value).serialize(serializer),
            RegisterOp::Write(value) => (&self.key, value).serialize(serializer),
            RegisterOp::Delete => (&self.key, ()).serialize(serializer),
            RegisterOp::Cas { old, new } => (&self.key, (old, new)).serialize(serializer),
        }
    }

    fn parse(_: OpType, f: &str, value: Option<&RawValue>) -> Result<Self, PayloadError> {
        if let Some((key, value)) = value.and_then(|value| cut(value.get()))
            && let (Some(key), Some(op)) = (Scalar::plain(key), plain(f, value))
        {
            return Ok(Self { key, op });
        }
        let shape = |f, expected| move |source| PayloadError::shape(Self::NAME, f, value, expected, source);
        match f {
            "read" => {
                let (key, read): (_, Option<Value>) =
                    json(value).map_err(shape("read", "[key, value or null], or a field `key`"))?;
                Ok(Self { key, op: RegisterOp::Read(read.map(|Value(read)| read)) })
            }
            "write" => {
                let (key, Value(written)) =
                    json(value).map_err(shape("write", "[key, value], or a field `key`"))?;
                Ok(Self { key, op: RegisterOp::Write(written) })
            }
            "delete" => {
                let expected = "[key, null], a key, or a field `key`";
                let (key, ()) = json::<(Scalar, ())>(value)
                    .or_else(|error| json(value).map(|key| (key, ())).map_err(|_| error))
                    .map_err(shape("delete", expected))?;
                Ok(Self { key, op: RegisterOp::Delete })
            }
            "cas" => {
                let nested = json::<(Scalar, (Option<Value>, Value))>(value);
                let flat =
                    || json::<(Scalar, Option<Value>, Value)>(value).map(|(key, old, new)| (key, (old, new)));
                let (key, (old, Value(new))) = nested
                    .or_else(|error| flat().map_err(|_| error))
                    .map_err(shape("cas", "[key, [old, new]], or a field `key`"))?;
                Ok(Self { key, op: RegisterOp::Cas { old: old.map(|Value(old)| old), new } })
            }
            _ => Err(PayloadError::UnknownF { model: Self::NAME, f: f.to_owned(), known: KNOWN }),
        }
    }

    fn completed_by(&self, completion: &Self) -> bool {
        self.key == completion.key && self.op.completed_by(&completion.op)
    }

    fn read(
        op_type: OpType,
        f: &str,
        fields: Fields<'_>,
        invoked: Option<&Self>,
    ) -> Result<Self, PayloadError> {
        if let Some(key) = own_key(Self::NAME, fields)? {
            // Some name the key twice.
            let inner = pair(fields.value).filter(|(named, _)| {
                f != "cas" && serde_json::from_str::<Scalar>(named.get()).is_ok_and(|named| named == key)
            });
            let value = inner.map_or(fields.value, |(_, value)| Some(value));
            let op = keyless(Self::NAME, op_type, f, value, invoked.map(|invoked| &invoked.op))?;
            return Ok(Self { key, op });
        }
        match (Self::parse(op_type, f, fields.value), invoked) {
            // The completion leaves out what its invocation has said: the key, or everything.
            (Err(error @ PayloadError::Shape { .. }), Some(Self { key, op }))
                if pair(fields.value).is_none() =>
            {
                let is_read = matches!(op, RegisterOp::Read(_));
                if is_read && fields.is_empty() {
                    return Err(error);
                }
                let op = keyless(Self::NAME, op_type, f, fields.value, Some(op)).map_err(|_| error)?;
                Ok(Self { key: key.clone(), op })
            }
            (parsed, _) => parsed,
        }
    }

    fn spelled(f: &str) -> &str {
        spelled(f)
    }
}

impl Payload for CasRegister {
    const NAME: &'static str = "cas-register";

    fn f(&self) -> &'static str {
        self.op.f()
    }

    fn serialize_value<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.op {
            RegisterOp::Read(value) => value.serialize(serializer),
            RegisterOp::Write(value) => value.serialize(serializer),
            RegisterOp::Delete => serializer.serialize_unit(),
            RegisterOp::Cas { old, new } => (old, new).serialize(serializer),
        }
    }

    fn parse(_: OpType, f: &str, value: Option<&RawValue>) -> Result<Self, PayloadError> {
        bare(Self::NAME, f, value).map(Self::from)
    }

    fn completed_by(&self, completion: &Self) -> bool {
        self.key == completion.key && self.op.completed_by(&completion.op)
    }

    fn read(
        op_type: OpType,
        f: &str,
        fields: Fields<'_>,
        invoked: Option<&Self>,
    ) -> Result<Self, PayloadError> {
        let key = own_key(Self::NAME, fields)?.or_else(|| invoked.and_then(|invoked| invoked.key.clone()));
        // The history has many registers, not one whose values are vectors of two.
        if key.is_none() && f != "cas" && pair(fields.value).is_some() {
            return Err(PayloadError::Keyed { model: Self::NAME, keyed: Register::NAME });
        }
        let op = keyless(Self::NAME, op_type, f, fields.value, invoked.map(|invoked| &invoked.op))?;
        Ok(Self { key, op })
    }

    fn spelled(f: &str) -> &str {
        spelled(f)
    }

    fn key(&self) -> Option<&Scalar> {
        self.key.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Puts white space into vectors, which are not plain then.
    fn wide(json: &str) -> String {
        let mut quoted = false;
        json.split_inclusive(|next: char| {
            quoted ^= next == '"';
            !quoted && "[],".contains(next)
        })
        .map(|piece| format!("{piece} "))
        .collect()
    }

    #[test]
    fn plain_values_are_read_as_serde_reads_them() {
        let scalars = [
            "null",
            "0",
            "-0",
            "-7",
            "9223372036854775807",
            "9223372036854775808",
            "1.5",
            "1e3",
            "true",
            r#""""#,
            r#""a,b""#,
            r#""a]""#,
            r#""[""#,
            r#""\u0041""#,
            r#""null""#,
            r#"{"number":"1/2"}"#,
            "[1]",
        ];
        let pairs = scalars.iter().flat_map(|one| scalars.map(|other| format!("[{one},{other}]")));
        let pairs: Vec<String> = pairs.chain(["[]".to_owned(), "[1,2,3]".to_owned()]).collect();
        let keyed = pairs.iter().map(|pair| format!("[1,{pair}]"));
        for json in pairs.iter().cloned().chain(keyed) {
            let spaced = wide(&json);
            let [tight, wide] =
                [&json, &spaced].map(|json| serde_json::from_str::<&RawValue>(json).expect("JSON"));
            for f in ["read", "write", "cas"] {
                let register = |value| Register::parse(OpType::Ok, f, Some(value)).ok();
                assert_eq!(register(tight), register(wide), "{f} {json}");
                let single = |value| CasRegister::parse(OpType::Ok, f, Some(value)).ok();
                assert_eq!(single(tight), single(wide), "{f} {json}");
            }
        }
        for json in scalars {
            let Ok(Value(serde)) = serde_json::from_str(json) else { continue };
            assert!(Scalar::plain(json).is_none_or(|plain| plain == serde), "{json}");
        }
    }
}
