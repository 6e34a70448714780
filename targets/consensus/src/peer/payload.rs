//! The encoding of messages as payloads.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Encodes a message.
pub fn encode<T: Serialize>(message: &T) -> Bytes {
    postcard::to_stdvec(message).expect("messages have no part that cannot be encoded").into()
}

/// Decodes a message; `None` if it is not one, which only another program or version can have sent.
pub fn decode<T: DeserializeOwned>(payload: &[u8]) -> Option<T> {
    postcard::from_bytes(payload)
        .inspect_err(|error| tracing::warn!(%error, "cannot decode a peer's message"))
        .ok()
}
