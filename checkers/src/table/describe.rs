//! How the operations of a table are described in a witness.

use duress_history::Scalar;
use duress_history::log::Offset;
use duress_history::table::{Place, Table, TableRecord};

use crate::delivery::describe::{Places, describe_offset};
use crate::witness::Describe;

impl Describe for Table {
    type Focus = Places;

    fn describe(&self, Places { key, offsets }: &Places) -> String {
        match self {
            Self::Put { key: put, value, place } => {
                format!("put {put}={value}{}", describe_place(place.as_ref()))
            }
            Self::Delete { key: deleted, place } => {
                format!("delete {deleted}{}", describe_place(place.as_ref()))
            }
            Self::ReadLog(None) => "read-log".to_owned(),
            Self::ReadLog(Some(partitions)) => {
                let Some(read) = partitions.get(key) else { return format!("read-log {key} -> nothing") };
                let shown: Vec<String> = read
                    .records
                    .iter()
                    .filter(|TableRecord { offset: Offset(offset), .. }| offsets.contains(offset))
                    .map(describe_record)
                    .collect();
                match shown.is_empty() {
                    true => format!("read-log {key} below {}", read.next),
                    false => format!("read-log {key} below {} -> {}", read.next, shown.join(" ")),
                }
            }
            Self::EndOffsets(offsets) => describe_offset("end-offsets", key, offsets.as_ref()),
        }
    }
}

fn describe_place(place: Option<&Place>) -> String {
    place.map_or_else(String::new, |place| format!(" -> {}@{}", place.partition, place.offset))
}

fn describe_record(record: &TableRecord) -> String {
    format!("{}@{}", describe_content(&record.key, record.value.as_ref()), record.offset)
}

/// Describes a record: `a=7`, or `a deleted`.
pub(super) fn describe_content(key: &Scalar, value: Option<&Scalar>) -> String {
    match value {
        Some(value) => format!("{key}={value}"),
        None => format!("{key} deleted"),
    }
}
