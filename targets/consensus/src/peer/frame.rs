//! The frames between nodes: `length · number · payload`.
//!
//! The length is 4 bytes, big-endian, and counts the number (8 bytes, big-endian) and the payload. The first frame
//! in each direction has number 0 and introduces the node.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::name::NodeName;

/// The number of the first frame in each direction.
pub const HELLO: u64 = 0;

const NUMBER_BYTES: usize = 8;
const LENGTH_BYTES: usize = 4;
/// More than a node ever sends: snapshots travel in chunks of a few megabytes.
const FRAME_BYTES_MAX: usize = 64 << 20;

/// How a node introduces itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The mode and the members; nodes that differ in them refuse each other.
    pub cluster: String,
    /// The node.
    pub node: NodeName,
}

/// A length that no node sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {0} bytes is not a frame of this protocol")]
pub struct FrameLengthError(usize);

/// Appends one frame to `out`.
pub fn put(out: &mut BytesMut, number: u64, payload: &[u8]) {
    out.reserve(LENGTH_BYTES + NUMBER_BYTES + payload.len());
    let length = u32::try_from(NUMBER_BYTES + payload.len()).expect("a payload is below 4 GiB");
    out.put_u32(length);
    out.put_u64(number);
    out.put_slice(payload);
}

/// Takes one whole frame from the front of `input`, if there is one: its number and its payload.
///
/// # Errors
/// The length is not one of this protocol; the connection cannot be used any more.
pub fn take(input: &mut BytesMut) -> Result<Option<(u64, Bytes)>, FrameLengthError> {
    let Some(prefix) = input.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let length = u32::from_be_bytes(*prefix) as usize;
    if !(NUMBER_BYTES..=FRAME_BYTES_MAX).contains(&length) {
        return Err(FrameLengthError(length));
    }
    if input.len() < LENGTH_BYTES + length {
        return Ok(None);
    }
    input.advance(LENGTH_BYTES);
    let mut frame = input.split_to(length).freeze();
    let number = frame.get_u64();
    Ok(Some((number, frame)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_whole_and_in_order() {
        let mut wire = BytesMut::new();
        put(&mut wire, 1, b"first");
        put(&mut wire, 2, b"");
        let mut input = BytesMut::new();
        let mut taken = Vec::new();
        for byte in wire {
            input.put_u8(byte);
            while let Some(frame) = take(&mut input).unwrap() {
                taken.push(frame);
            }
        }
        assert_eq!(taken, [(1, Bytes::from("first")), (2, Bytes::new())]);
    }

    #[test]
    fn an_absurd_length_is_refused() {
        let mut input = BytesMut::from(&b"GET / HTTP/1.1"[..]);
        assert_eq!(take(&mut input), Err(FrameLengthError(0x4745_5420)));
    }
}
