//! The encoding of messages as payloads. The last byte names the part of the other node that a payload is
//! for.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

const FOR_CONSENSUS: u8 = 0;
const FOR_SUBJECT: u8 = 1;

/// Encodes a message of the subject's own.
pub fn encode<T: Serialize>(message: &T) -> Bytes {
    encode_for(FOR_SUBJECT, message)
}

/// Decodes a message of the subject's own; `None` if it is not one, which only another program or version can have
/// sent.
pub fn decode<T: DeserializeOwned>(payload: &[u8]) -> Option<T> {
    decode_for(FOR_SUBJECT, payload)
}

/// Whether a payload is a message of the consensus, for [`Consensus::answer`](crate::Consensus::answer).
pub fn is_for_consensus(payload: &[u8]) -> bool {
    payload.last() == Some(&FOR_CONSENSUS)
}

pub(crate) fn encode_for_consensus<T: Serialize>(message: &T) -> Bytes {
    encode_for(FOR_CONSENSUS, message)
}

pub(crate) fn decode_for_consensus<T: DeserializeOwned>(payload: &[u8]) -> Option<T> {
    decode_for(FOR_CONSENSUS, payload)
}

fn encode_for<T: Serialize>(part: u8, message: &T) -> Bytes {
    let mut payload = postcard::to_stdvec(message).expect("messages have no part that cannot be encoded");
    payload.push(part);
    payload.into()
}

fn decode_for<T: DeserializeOwned>(part: u8, payload: &[u8]) -> Option<T> {
    let message = payload.strip_suffix(&[part])?;
    postcard::from_bytes(message)
        .inspect_err(|error| tracing::warn!(%error, "cannot decode a peer's message"))
        .ok()
}
