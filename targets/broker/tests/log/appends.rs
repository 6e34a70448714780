//! The storage engine: appending, reading, truncating, opening again.

use bytes::Bytes;
use duress_broker::log::{BatchHeader, LogConfig, Novelty, OwnRecord, PartitionLog, Recovery, build_batch};

fn batch(values: &[&str]) -> Bytes {
    let records: Vec<_> = values
        .iter()
        .map(|value| OwnRecord { key: None, value: Some(Bytes::copy_from_slice(value.as_bytes())) })
        .collect();
    build_batch(&records, 1000)
}

#[test]
fn what_was_appended_is_read_and_is_there_after_opening_again() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, recovery) = PartitionLog::open(dir.path(), LogConfig::default()).unwrap();
    assert_eq!(recovery, Recovery::default());
    for (at, epoch) in [(0, 0), (2, 0), (4, 3)] {
        let appended = log.append_leader(&batch(&["a", "b"]), epoch, 1000).unwrap();
        assert_eq!(
            (appended.base_offset, appended.last_offset, appended.novelty),
            (at, at + 1, Novelty::New)
        );
    }
    log.persist(1000).unwrap();
    let read = log.read(3, 1 << 20, 6).unwrap();
    let header = BatchHeader::verify(&read).unwrap();
    assert_eq!((header.base_offset, header.leader_epoch), (2, 0));
    assert_eq!(read.len(), 2 * header.size);
    assert_eq!(log.read(0, 1, 6).unwrap().len(), header.size, "at least one batch");
    assert_eq!(log.read(0, 1 << 20, 3).unwrap().len(), header.size, "no batch that reaches the bound");
    drop(log);

    let (mut log, recovery) = PartitionLog::open(dir.path(), LogConfig::default()).unwrap();
    assert!(recovery.cuts.is_empty());
    assert_eq!(log.read(3, 1 << 20, 6).unwrap(), read);
    assert_eq!(log.end_offset_for_epoch(1).map(|end| (end.epoch, end.end_offset)), Some((0, 4)));
    log.truncate_to(3).unwrap();
    assert_eq!((log.log_end_offset(), log.latest_epoch()), (2, Some(0)));
}
