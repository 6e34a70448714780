//! The end of the file after a power loss.

use std::fs::OpenOptions;

use duress_broker::log::{BatchHeader, LogOptions, PartitionLog, TornTail};

use crate::wire::{batch, copy_of, decode, read_all, segments, value};

fn options(torn_tail: TornTail) -> LogOptions {
    LogOptions { torn_tail, ..LogOptions::default() }
}

#[test]
fn cut_at_any_byte_it_keeps_the_whole_batches_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = PartitionLog::open(dir.path(), LogOptions::default()).unwrap();
    let mut ends = vec![0];
    for at in 0..4 {
        log.append_leader(&batch(&[value(at, 0), value("x", 0)], None), 0, 0).unwrap();
        ends.push(log.size_bytes());
    }
    drop(log);
    let whole = *ends.last().unwrap();
    for length in 0..=whole {
        let copy = copy_of(dir.path());
        let file = OpenOptions::new().write(true).open(&segments(copy.path())[0]).unwrap();
        file.set_len(length).unwrap();
        let kept = ends.iter().filter(|end| **end <= length).count() - 1;

        let (mut log, recovery) = PartitionLog::open(copy.path(), LogOptions::default()).unwrap();
        assert_eq!(log.log_end_offset(), 2 * kept as i64, "cut to {length} bytes");
        let cut: Vec<_> = recovery.cuts.iter().map(|cut| (cut.position, cut.bytes)).collect();
        let expected: Vec<_> =
            Some((ends[kept], length - ends[kept])).filter(|(_, bytes)| *bytes > 0).into_iter().collect();
        assert_eq!(cut, expected, "cut to {length} bytes");
        log.append_leader(&batch(&[value("after", 0)], None), 0, 0).unwrap();
        let values: Vec<_> =
            decode(&read_all(&log)).into_iter().map(|record| record.value.unwrap()).collect();
        assert_eq!(values.len(), 2 * kept + 1);
        assert_eq!(values.last().unwrap(), "after");
    }
}

#[test]
fn a_tail_that_is_kept_makes_what_follows_unreadable() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = PartitionLog::open(dir.path(), options(TornTail::Keep)).unwrap();
    log.append_leader(&batch(&[value("whole", 0)], None), 0, 0).unwrap();
    log.append_leader(&batch(&[value("torn", 0)], None), 0, 0).unwrap();
    let size = log.size_bytes();
    drop(log);
    OpenOptions::new().write(true).open(&segments(dir.path())[0]).unwrap().set_len(size - 3).unwrap();

    let (mut log, _) = PartitionLog::open(dir.path(), options(TornTail::Keep)).unwrap();
    assert_eq!(log.log_end_offset(), 2, "the torn record counts as there");
    log.append_leader(&batch(&[value("acknowledged", 0)], None), 0, 0).unwrap();
    assert!(log.read(1, 1 << 20, 3).is_err());
    drop(log);
    let (log, _) = PartitionLog::open(dir.path(), LogOptions::default()).unwrap();
    let read = log.read(0, 1 << 20, 3).unwrap();
    assert_eq!(BatchHeader::verify(&read).unwrap().size, read.len(), "only the first batch is left");
}
