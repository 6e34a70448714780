//! How the operations of a table are told in a witness.

use duress_history::Scalar;
use duress_history::log::Offset;
use duress_history::table::{Place, Table, TableRecord};

use crate::cast::Told;
use crate::delivery::told::told_offset;

impl Told for Table {
    /// `key` is a partition here.
    fn told(&self, key: &Scalar, offsets: &[u64]) -> String {
        match self {
            Self::Put { key: put, value, place } => {
                format!("put {put}={value}{}", told_place(place.as_ref()))
            }
            Self::Delete { key: deleted, place } => format!("delete {deleted}{}", told_place(place.as_ref())),
            Self::ReadLog(None) => "read-log".to_owned(),
            Self::ReadLog(Some(partitions)) => {
                let Some(read) = partitions.get(key) else { return format!("read-log {key} -> nothing") };
                let shown: Vec<String> = read
                    .records
                    .iter()
                    .filter(|TableRecord { offset: Offset(offset), .. }| offsets.contains(offset))
                    .map(told_record)
                    .collect();
                match shown.is_empty() {
                    true => format!("read-log {key} below {}", read.next),
                    false => format!("read-log {key} below {} -> {}", read.next, shown.join(" ")),
                }
            }
            Self::EndOffsets(offsets) => told_offset("end-offsets", key, offsets.as_ref()),
        }
    }
}

fn told_place(place: Option<&Place>) -> String {
    place.map_or_else(String::new, |place| format!(" -> {}@{}", place.partition, place.offset))
}

fn told_record(record: &TableRecord) -> String {
    format!("{}@{}", told_content(&record.key, record.value.as_ref()), record.offset)
}

/// What a record says: `a=7`, or `a deleted`.
pub(super) fn told_content(key: &Scalar, value: Option<&Scalar>) -> String {
    match value {
        Some(value) => format!("{key}={value}"),
        None => format!("{key} deleted"),
    }
}
