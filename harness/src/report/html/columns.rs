//! Every operation of a run, column by column, small enough for a page.
//!
//! | column | of each operation, by invocation |
//! |---|---|
//! | `start` | microseconds since the invocation before it |
//! | `took` | microseconds until its end |
//! | `lane` | its lane, zigzag of the difference to the operation before |
//! | `kind` | four times its function, plus 0 ok, 1 fail, 2 info, 3 never ended |
//! | `index` | difference to the index of the invocation before it |
//! | `error` | one more than its error, or 0 |
//!
//! The values, which are most of it, stand in blocks of [`BLOCK`] operations, so that a browser need not unpack any
//! before the reader asks for one.

use super::history::{Ending, RunHistory};
use super::pack::{Column, deflated};

/// Operations whose values stand together.
pub const BLOCK: usize = 4096;
/// How much all values may take, packed, in bytes. Those of the blocks around anomalies come first.
const VALUES_MAX: usize = 14 << 20;

/// The packed columns.
#[derive(Clone, Debug)]
pub struct Columns {
    /// Each column by its name.
    pub columns: Vec<(&'static str, String)>,
    /// The blocks of values: each a packed JSON list, or empty where there was no room.
    pub values: Vec<String>,
    /// How many operations have no value here.
    pub left_out: usize,
}

/// Packs the operations of `history`; around the times `moments`, in nanoseconds, values are kept before others.
#[must_use]
pub fn columns(history: &RunHistory, moments: &[u64]) -> Columns {
    let [mut start, mut took, mut lane, mut kind, mut index, mut error] =
        std::array::from_fn::<_, 6, _>(|_| Column::default());
    let (mut last_start, mut last_lane, mut last_index) = (0, 0_i64, 0);
    for operation in &history.operations {
        let micros = operation.start / 1000;
        start.push(micros.saturating_sub(last_start));
        last_start = micros.max(last_start);
        took.push((operation.end - operation.start) / 1000);
        let this_lane = i64::from(operation.lane);
        lane.push(zigzag(this_lane - last_lane));
        last_lane = this_lane;
        kind.push(u64::from(operation.function) * 4 + operation.ending as u64);
        index.push(operation.index.saturating_sub(last_index));
        last_index = operation.index.max(last_index);
        error.push(operation.error.map_or(0, |place| u64::from(place) + 1));
    }
    let (values, left_out) = values(history, moments);
    let columns = vec![
        ("start", start),
        ("took", took),
        ("lane", lane),
        ("kind", kind),
        ("index", index),
        ("error", error),
    ];
    Columns {
        columns: columns.into_iter().map(|(name, column)| (name, column.packed())).collect(),
        values,
        left_out,
    }
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn values(history: &RunHistory, moments: &[u64]) -> (Vec<String>, usize) {
    let blocks: Vec<_> = history.operations.chunks(BLOCK).collect();
    let distance = |block: usize| {
        let first = blocks[block][0].start;
        let last = blocks[block][blocks[block].len() - 1].start;
        let from = |moment: &u64| first.saturating_sub(*moment).max(moment.saturating_sub(last));
        let interesting = blocks[block].iter().any(|operation| operation.ending != Ending::Ok);
        (moments.iter().map(from).min().unwrap_or(0), !interesting)
    };
    let mut order: Vec<usize> = (0..blocks.len()).collect();
    order.sort_by_key(|block| (distance(*block), *block));
    let mut packed = vec![String::new(); blocks.len()];
    let (mut size, mut left_out) = (0, 0);
    for block in order {
        if size < VALUES_MAX {
            let values: Vec<&str> = blocks[block].iter().map(|operation| &*operation.value).collect();
            packed[block] = deflated(super::pack::json(&values).as_bytes());
            size += packed[block].len();
        } else {
            left_out += blocks[block].len();
        }
    }
    (packed, left_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zigzag_keeps_small_differences_small() {
        assert_eq!([0, -1, 1, -2, 2].map(zigzag), [0, 1, 2, 3, 4]);
        assert_eq!(zigzag(i64::MIN), u64::MAX);
    }
}
