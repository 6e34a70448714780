//! Answers in both versions of the protocol.

use bytes::{BufMut, Bytes, BytesMut};
use duress_consensus::{Member, Part};
use redis_protocol::error::RedisProtocolError;
use redis_protocol::resp2::encode::extend_encode as encode2;
use redis_protocol::resp2::types::BytesFrame as Frame2;
use redis_protocol::resp3::encode::complete::extend_encode as encode3;
use redis_protocol::resp3::types::BytesFrame as Frame3;

use super::request::Version;
use crate::command::{Answer, Condition, Reply, StepReply};
use crate::key_values::Value;
use crate::outcome::Failure;
use crate::ring::message::SiblingsReply;
use crate::sharded::slots::SLOTS;

/// An answer, independent of the version of the protocol that the client speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RespReply {
    /// A status, such as `OK`.
    Status(&'static str),
    /// An error, its first word the kind.
    Error(String),
    /// An integer.
    Integer(i64),
    /// Bytes.
    Bulk(Bytes),
    /// No value.
    Null,
    /// No list, which RESP2 tells apart from no value.
    NullArray,
    /// A list.
    Array(Vec<RespReply>),
    /// Names and values, in this order; in RESP2 a list of both in turn.
    Map(Vec<(&'static str, RespReply)>),
}

impl RespReply {
    /// `OK`.
    pub const OK: Self = Self::Status("OK");

    /// Returns the members: of each its name, `voter` or `learner`, its number, and the last index that the leader knows it
    /// to have.
    pub fn members(members: Vec<Member>) -> Self {
        let integer = |number: u64| Self::Integer(i64::try_from(number).unwrap_or(i64::MAX));
        let member = |member: Member| {
            let part = match member.part {
                Part::Voter => "voter",
                Part::Learner => "learner",
            };
            let name = Self::Bulk(member.name.as_str().to_owned().into());
            Self::Array(vec![name, Self::Bulk(part.into()), integer(member.number), integer(member.position)])
        };
        Self::Array(members.into_iter().map(member).collect())
    }

    /// Appends the reply to `out` as the client expects it.
    ///
    /// # Errors
    /// The encoder refuses it.
    pub fn encode(self, version: Version, out: &mut BytesMut) -> Result<(), RedisProtocolError> {
        match (version, self) {
            // The codec has no such frame. It is never within another reply.
            (Version::Two, Self::NullArray) => {
                out.put_slice(b"*-1\r\n");
                Ok(())
            }
            (Version::Two, reply) => encode2(out, &reply.into_frame2(), false).map(drop),
            // The codec's map is a hash map, whose order would differ from reply to reply.
            (Version::Three, Self::Map(pairs)) => {
                out.put_slice(format!("%{}\r\n", pairs.len()).as_bytes());
                pairs.into_iter().try_for_each(|(name, value)| {
                    Self::Bulk(name.into()).encode(version, out)?;
                    value.encode(version, out)
                })
            }
            // An array may hold maps.
            (Version::Three, Self::Array(items)) => {
                out.put_slice(format!("*{}\r\n", items.len()).as_bytes());
                items.into_iter().try_for_each(|item| item.encode(version, out))
            }
            (Version::Three, reply) => encode3(out, &reply.into_frame3(), false).map(drop),
        }
    }

    fn into_frame2(self) -> Frame2 {
        match self {
            Self::Status(text) => Frame2::SimpleString(Bytes::from_static(text.as_bytes())),
            Self::Error(text) => Frame2::Error(text.into()),
            Self::Integer(number) => Frame2::Integer(number),
            Self::Bulk(bytes) => Frame2::BulkString(bytes),
            Self::Null | Self::NullArray => Frame2::Null,
            Self::Array(items) => Frame2::Array(items.into_iter().map(Self::into_frame2).collect()),
            Self::Map(pairs) => {
                let flat = pairs
                    .into_iter()
                    .flat_map(|(name, value)| [Frame2::BulkString(name.into()), value.into_frame2()]);
                Frame2::Array(flat.collect())
            }
        }
    }

    fn into_frame3(self) -> Frame3 {
        let bulk = |data: Bytes| Frame3::BlobString { data, attributes: None };
        match self {
            Self::Status(text) => {
                Frame3::SimpleString { data: Bytes::from_static(text.as_bytes()), attributes: None }
            }
            Self::Error(text) => Frame3::SimpleError { data: text.into(), attributes: None },
            Self::Integer(data) => Frame3::Number { data, attributes: None },
            Self::Bulk(data) => bulk(data),
            Self::Null | Self::NullArray => Frame3::Null,
            Self::Array(_) | Self::Map(_) => unreachable!("`encode` takes them apart"),
        }
    }
}

impl From<Reply> for RespReply {
    fn from(reply: Reply) -> Self {
        match reply {
            Reply::Done => Self::OK,
            Reply::NotDone(_) | Reply::NotDoneToList => Self::Null,
            Reply::Aborted => Self::NullArray,
            Reply::Integer(number) => Self::Integer(number),
            Reply::NotAnInteger => Self::Error("ERR value is not an integer or out of range".into()),
            Reply::Overflow => Self::Error("ERR increment or decrement would overflow".into()),
            Reply::WrongType => Self::wrong_type(),
            Reply::Failed(failure) => failure.into(),
            // To a step of a move, which no client sends.
            Reply::Moved(_) => Self::OK,
            Reply::Executed(steps) => Self::Array(steps.into_iter().map(Into::into).collect()),
        }
    }
}

impl From<StepReply> for RespReply {
    fn from(reply: StepReply) -> Self {
        match reply {
            StepReply::Written(reply) => reply.into(),
            StepReply::Read(answer) => answer.into(),
        }
    }
}

impl From<Value> for RespReply {
    fn from(value: Value) -> Self {
        match value {
            Value::String(bytes) => Self::Bulk(bytes),
            Value::List(elements) => Self::Array(elements.into_iter().map(Self::Bulk).collect()),
        }
    }
}

impl RespReply {
    /// Returns the reply to a write that was to be answered with what its key had before.
    pub fn previous(condition: &Condition, reply: Reply) -> Self {
        match (condition, reply) {
            (Condition::IfEqual(expected), Reply::Done) => Self::Bulk(expected.clone()),
            (Condition::IfAbsent, Reply::Done) => Self::Null,
            (_, Reply::NotDone(current)) => current.map_or(Self::Null, Self::Bulk),
            (_, Reply::NotDoneToList) => Self::wrong_type(),
            (_, other) => other.into(),
        }
    }

    fn wrong_type() -> Self {
        Self::Error("WRONGTYPE Operation against a key holding the wrong kind of value".into())
    }
}

impl From<Answer> for RespReply {
    fn from(answer: Answer) -> Self {
        let value = |value: Option<Bytes>| value.map_or(Self::Null, Self::Bulk);
        let count = |count: u64| Self::Integer(i64::try_from(count).unwrap_or(i64::MAX));
        match answer {
            Answer::Value(one) => value(one),
            Answer::Values(many) => Self::Array(many.into_iter().map(value).collect()),
            Answer::Count(number) => count(number),
            Answer::Elements(elements) => Self::Array(elements.into_iter().map(Self::Bulk).collect()),
            Answer::Versions(versions) => Self::Array(versions.into_iter().map(count).collect()),
            Answer::Scanned { next, keys } => {
                let cursor = if next < SLOTS { next } else { 0 };
                let keys = keys.into_iter().map(Self::Bulk).collect();
                Self::Array(vec![Self::Bulk(cursor.to_string().into()), Self::Array(keys)])
            }
            Answer::Failed(failure) => failure.into(),
            // To a query of a move, which no client asks.
            Answer::HandedOver(_) => Self::Null,
            Answer::WrongType => Self::wrong_type(),
        }
    }
}

impl From<SiblingsReply> for RespReply {
    fn from(reply: SiblingsReply) -> Self {
        match reply {
            SiblingsReply::Values(context, values) => {
                let context = Self::Bulk(context.to_string().into());
                Self::Array(std::iter::once(context).chain(values.into_iter().map(Self::Bulk)).collect())
            }
            SiblingsReply::Written => Self::OK,
        }
    }
}

impl From<Failure> for RespReply {
    fn from(failure: Failure) -> Self {
        Self::Error(failure.to_string())
    }
}
