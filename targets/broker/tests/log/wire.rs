//! Batches as another implementation encodes and decodes them.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use duress_broker::log::BatchHeader;
use kafka_protocol::records::{
    Compression, NO_PARTITION_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, Record,
    RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};

/// The producer and number of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbered {
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub sequence: i32,
}

/// Key, value and timestamp of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plain {
    pub key: Option<String>,
    pub value: Option<String>,
    pub timestamp: i64,
}

pub fn value(value: impl ToString, timestamp: i64) -> Plain {
    Plain { key: None, value: Some(value.to_string()), timestamp }
}

/// Returns one batch as a producer sends it.
pub fn batch(records: &[Plain], numbered: Option<Numbered>) -> Bytes {
    let records: Vec<_> = (0_i32..)
        .zip(records)
        .map(|(at, plain)| Record {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
            producer_id: numbered.map_or(NO_PRODUCER_ID, |numbered| numbered.producer_id),
            producer_epoch: numbered.map_or(NO_PRODUCER_EPOCH, |numbered| numbered.producer_epoch),
            timestamp_type: TimestampType::Creation,
            offset: i64::from(at),
            sequence: numbered.map_or(NO_SEQUENCE.wrapping_add(at), |numbered| numbered.sequence + at),
            timestamp: plain.timestamp,
            key: plain.key.clone().map(Bytes::from),
            value: plain.value.clone().map(Bytes::from),
            headers: Default::default(),
        })
        .collect();
    let mut bytes = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    RecordBatchEncoder::encode(&mut bytes, &records, &options).unwrap();
    let header = BatchHeader::verify(&bytes).unwrap();
    assert_eq!(header.size, bytes.len(), "the codec made one batch of these records");
    bytes.freeze()
}

/// Returns every record in some batches, as another implementation understands them.
pub fn decode(batches: &Bytes) -> Vec<Record> {
    let sets = RecordBatchDecoder::decode_all(&mut batches.clone()).unwrap();
    sets.into_iter().flat_map(|set| set.records).collect()
}

/// Returns the batches in some bytes, one by one.
pub fn split(batches: &Bytes) -> Vec<(BatchHeader, Bytes)> {
    let mut rest = batches.clone();
    let mut split = Vec::new();
    while !rest.is_empty() {
        let header = BatchHeader::verify(&rest).unwrap();
        split.push((header, rest.split_to(header.size)));
    }
    split
}

/// Returns the segments in a folder, in order.
pub fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    paths.sort();
    paths
}

/// Returns a copy of a log's folder, as a crash at this moment would leave it.
pub fn copy_of(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    copy
}

/// Everything a log has, read in small portions.
pub fn read_all(log: &duress_broker::log::PartitionLog) -> Bytes {
    let mut all = BytesMut::new();
    let mut from = log.log_start_offset();
    loop {
        let portion = log.read(from, 200, log.log_end_offset()).unwrap();
        let Some((last, _)) = split(&portion).pop() else { break };
        from = last.next_offset();
        all.extend_from_slice(&portion);
    }
    all.freeze()
}
