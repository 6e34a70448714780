//! The records of transactional ids in the internal topic: the key is the id, the value is encoded by postcard.

use bytes::Bytes;

use super::state::Kept;
use crate::log::OwnRecord;

pub(super) fn record(id: &str, kept: &Kept) -> OwnRecord {
    let value = postcard::to_stdvec(kept).expect("plain data with known lengths can be encoded");
    OwnRecord { key: Some(Bytes::copy_from_slice(id.as_bytes())), value: Some(value.into()) }
}

/// Reads a record; `None` if this program did not write it.
pub(super) fn decode(key: &[u8], value: Option<&[u8]>) -> Option<(String, Option<Kept>)> {
    let id = str::from_utf8(key).ok()?.to_owned();
    let kept = match value {
        Some(value) => Some(postcard::from_bytes(value).ok()?),
        None => None,
    };
    Some((id, kept))
}
