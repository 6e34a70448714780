//! The records inside an uncompressed batch, as far as a broker must read them: keys, tombstones, timestamps.
//!
//! A record is `length attributes timestamp-delta offset-delta key value headers`; numbers are zigzag varints, −1 is
//! the length of an absent key or value. Source: the Kafka manual, "Message Format", section "Record".

use bytes::Bytes;

use super::batch::{BatchFault, BatchHeader, CONTROL, HEADER_BYTES, NO_PRODUCER, TRANSACTIONAL};

/// One record, borrowed from its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordView<'a> {
    /// Offset minus the batch's base offset.
    pub offset_delta: i32,
    /// Timestamp minus the batch's base timestamp, ms.
    pub timestamp_delta: i64,
    /// The key, if it has one.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The whole record with its length.
    whole: &'a [u8],
    /// Everything after the timestamp delta.
    after_timestamp: &'a [u8],
    attributes: u8,
}

impl RecordView<'_> {
    /// The record's bytes, unchanged.
    pub(super) fn copy_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.whole);
    }

    /// The record's bytes with another timestamp delta.
    pub(super) fn copy_with_delta(&self, timestamp_delta: i64, out: &mut Vec<u8>) {
        let mut head = vec![self.attributes];
        put_varint(timestamp_delta, &mut head);
        let length = head.len() + self.after_timestamp.len();
        put_varint(i64::try_from(length).expect("a record is shorter than its batch"), out);
        out.extend_from_slice(&head);
        out.extend_from_slice(self.after_timestamp);
    }
}

/// Decodes the records of a whole, uncompressed batch, in order.
///
/// Each is checked to lie within the batch and to have a larger offset than the one before; the last item is an
/// error if bytes are left over or records are missing.
pub fn records<'a>(
    header: &BatchHeader,
    batch: &'a [u8],
) -> impl Iterator<Item = Result<RecordView<'a>, BatchFault>> + use<'a> {
    let mut rest = batch.get(HEADER_BYTES..header.size).unwrap_or_default();
    let (count, last_delta) = (header.record_count, header.last_offset_delta);
    let mut index = 0;
    let mut least_delta = 0;
    std::iter::from_fn(move || {
        if index == count {
            index += 1;
            return (!rest.is_empty()).then_some(Err(BatchFault::Trailing(rest.len())));
        }
        if index > count {
            return None;
        }
        match decode(&mut rest) {
            Some(record) if record.offset_delta >= least_delta && record.offset_delta <= last_delta => {
                index += 1;
                least_delta = record.offset_delta + 1;
                Some(Ok(record))
            }
            _ => {
                let fault = BatchFault::Record(index);
                index = count + 1;
                Some(Err(fault))
            }
        }
    })
}

fn decode<'a>(rest: &mut &'a [u8]) -> Option<RecordView<'a>> {
    let start = *rest;
    let length = usize::try_from(take_varint(rest)?).ok()?;
    let mut body = rest.get(..length)?;
    *rest = &rest[length..];
    let whole = &start[..start.len() - rest.len()];
    let (&attributes, after) = body.split_first()?;
    body = after;
    let timestamp_delta = take_varint(&mut body)?;
    let after_timestamp = body;
    let offset_delta = i32::try_from(take_varint(&mut body)?).ok()?;
    let key = take_bytes(&mut body)?;
    let value = take_bytes(&mut body)?;
    let headers = take_varint(&mut body)?;
    for _ in 0..headers {
        take_bytes(&mut body)??;
        take_bytes(&mut body)?;
    }
    (headers >= 0 && body.is_empty()).then_some(RecordView {
        offset_delta,
        timestamp_delta,
        key,
        value,
        whole,
        after_timestamp,
        attributes,
    })
}

/// Outer `None`: not decodable. Inner `None`: absent.
#[expect(clippy::option_option, reason = "a record's key or value can be absent, and its encoding broken")]
fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let length = take_varint(rest)?;
    if length == -1 {
        return Some(None);
    }
    let length = usize::try_from(length).ok()?;
    let bytes = rest.get(..length)?;
    *rest = &rest[length..];
    Some(Some(bytes))
}

fn take_varint(rest: &mut &[u8]) -> Option<i64> {
    let mut zigzag: u64 = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        zigzag |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed());
        }
    }
    None
}

fn put_varint(number: i64, out: &mut Vec<u8>) {
    let mut zigzag = ((number << 1) ^ (number >> 63)).cast_unsigned();
    while zigzag >= 0x80 {
        out.push((zigzag & 0x7f) as u8 | 0x80);
        zigzag >>= 7;
    }
    out.push(zigzag as u8);
}

/// A record for a batch made by the broker itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnRecord {
    /// The key.
    pub key: Option<Bytes>,
    /// The value; `None` is a tombstone.
    pub value: Option<Bytes>,
}

/// Builds one uncompressed batch without a producer, every record with the timestamp `now_ms`. Base offset and epoch
/// are set when it is appended.
///
/// # Panics
/// There are no records, or more than a batch can count.
pub fn build_batch(records: &[OwnRecord], now_ms: i64) -> Bytes {
    build(records, now_ms, 0, (NO_PRODUCER, -1))
}

/// As [`build_batch`], of records that are part of a transaction of the producer: an id and an epoch.
///
/// # Panics
/// There are no records, or more than a batch can count.
pub fn build_transactional(records: &[OwnRecord], now_ms: i64, producer: (i64, i16)) -> Bytes {
    build(records, now_ms, TRANSACTIONAL, producer)
}

/// Returns a control batch that ends a transaction of the producer.
pub(super) fn build_marker(record: &OwnRecord, now_ms: i64, producer: (i64, i16)) -> Bytes {
    build(std::slice::from_ref(record), now_ms, TRANSACTIONAL | CONTROL, producer)
}

fn build(
    records: &[OwnRecord],
    now_ms: i64,
    attributes: i16,
    (producer_id, producer_epoch): (i64, i16),
) -> Bytes {
    assert!(!records.is_empty(), "a batch has at least one record");
    let count = i32::try_from(records.len()).expect("a batch counts its records in 31 bits");
    let mut encoded = Vec::new();
    let mut body = Vec::new();
    for (delta, record) in (0_i64..).zip(records) {
        body.clear();
        body.push(0);
        put_varint(0, &mut body);
        put_varint(delta, &mut body);
        put_bytes(record.key.as_deref(), &mut body);
        put_bytes(record.value.as_deref(), &mut body);
        put_varint(0, &mut body);
        put_varint(i64::try_from(body.len()).expect("a length fits"), &mut encoded);
        encoded.extend_from_slice(&body);
    }
    let header = BatchHeader {
        base_offset: 0,
        size: HEADER_BYTES + encoded.len(),
        leader_epoch: 0,
        crc: 0,
        attributes,
        last_offset_delta: count - 1,
        base_timestamp: now_ms,
        max_timestamp: now_ms,
        producer_id,
        producer_epoch,
        base_sequence: -1,
        record_count: count,
    };
    header.encode(&encoded).into()
}

fn put_bytes(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    match bytes {
        None => put_varint(-1, out),
        Some(bytes) => {
            put_varint(i64::try_from(bytes.len()).expect("a length fits"), out);
            out.extend_from_slice(bytes);
        }
    }
}
