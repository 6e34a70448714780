//! The end of the file after a power loss.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use duress_broker::log::{LogConfig, PartitionLog, TornTail};

use crate::wire::{batch, copy_of, decode, read_all, segments, value};

#[test]
fn cut_at_any_byte_it_keeps_the_whole_batches_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = PartitionLog::open(dir.path(), LogConfig::default()).unwrap();
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

        let (mut log, recovery) = PartitionLog::open(copy.path(), LogConfig::default()).unwrap();
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
fn torn_in_the_middle_it_ends_there_unless_what_follows_is_kept() {
    for (torn_tail, offsets) in [(TornTail::Cut, vec![0, 1]), (TornTail::Keep, vec![0, 1, 4, 5])] {
        let dir = tempfile::tempdir().unwrap();
        let options = LogConfig { torn_tail, ..LogConfig::default() };
        let (mut log, _) = PartitionLog::open(dir.path(), options.clone()).unwrap();
        let mut starts = Vec::new();
        for at in 0..6 {
            starts.push(log.size_bytes());
            log.append_leader(&batch(&[value(at, 0)], None), 0, 0).unwrap();
        }
        drop(log);
        // The blocks in the middle did not make it to the device, those behind did.
        let file = OpenOptions::new().write(true).open(&segments(dir.path())[0]).unwrap();
        let hole = vec![0; (starts[4] - starts[2]) as usize - 5];
        file.write_all_at(&hole, starts[2] + 3).unwrap();

        for _ in 0..2 {
            let (log, _) = PartitionLog::open(dir.path(), options.clone()).unwrap();
            let read: Vec<_> = decode(&read_all(&log)).iter().map(|record| record.offset).collect();
            assert_eq!(read, offsets, "{torn_tail:?}");
            assert_eq!(log.log_end_offset(), offsets.last().unwrap() + 1);
        }
        let (mut log, _) = PartitionLog::open(dir.path(), options).unwrap();
        let end = log.log_end_offset();
        assert_eq!(log.append_leader(&batch(&[value("after", 0)], None), 0, 0).unwrap().base_offset, end);
        assert_eq!(decode(&read_all(&log)).last().unwrap().value.as_deref(), Some(&b"after"[..]));
        log.truncate_to(3).unwrap();
        assert!(log.log_end_offset() <= 3);
    }
}
