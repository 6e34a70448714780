//! How the operations of a stream are described in a witness.

use duress_history::Scalar;
use duress_history::log::{Offset, Offsets};
use duress_history::stream::{Progress, Stream, StreamRecord, Then};

use super::facts::match_up;
use crate::delivery::describe::Places;
use crate::witness::Describe;

/// The outputs of an attempt that a witness shows.
const SHOWN: usize = 4;

impl Describe for Stream {
    type Focus = Places;

    fn describe(&self, Places { key, offsets }: &Places) -> String {
        match self {
            Self::Send { partition, key, value, offset } => {
                let place = offset.map_or_else(String::new, |offset| format!(" -> {offset}"));
                format!("send {value} of {key} to {partition}{place}")
            }
            Self::Process { worker, attempt, then, outputs } => {
                let asked = match then {
                    Then::Commit => "",
                    Then::Abort => " and abort",
                    Then::Die => " and die",
                };
                let outputs = outputs.iter().flatten().filter(|output| output.partition == *key);
                let mut written: Vec<String> =
                    outputs.map(|output| describe_output(&output.key, output.count, &output.value)).collect();
                let more = written.len().saturating_sub(SHOWN);
                written.truncate(SHOWN);
                if more > 0 {
                    written.push(format!("{more} more"));
                }
                let written =
                    if written.is_empty() { String::new() } else { format!(" -> {}", written.join(", ")) };
                format!("process{asked}, attempt {attempt} of worker {worker}{written}")
            }
            Self::Read { read: None, .. } => "read".to_owned(),
            Self::Read { read: Some(read), .. } => {
                let Some(part) = read.get(key) else { return format!("read {key} -> nothing") };
                let shown: Vec<String> = part
                    .records
                    .iter()
                    .filter(|StreamRecord { offset: Offset(offset), .. }| offsets.contains(offset))
                    .map(describe_record)
                    .collect();
                let found = if shown.is_empty() { String::new() } else { format!(" -> {}", shown.join(" ")) };
                format!("read {key} from {} below {}{found}", part.from, part.next)
            }
            Self::Progress(None) => "progress".to_owned(),
            Self::Progress(Some(Progress { committed, inputs, outputs })) => {
                let of = |offsets: &Offsets| {
                    let at = offsets.iter().find(|(partition, _)| match_up(partition, key));
                    at.map_or_else(|| "none".to_owned(), |(_, offset)| offset.to_string())
                };
                let (committed, inputs, outputs) = (of(committed), of(inputs), of(outputs));
                format!("progress of {key} -> committed {committed} of {inputs}, outputs end at {outputs}")
            }
        }
    }
}

/// Describes an output: `a#3 of 7`, the third of the key a, for the input 7.
pub(super) fn describe_output(key: &Scalar, count: u64, value: &Scalar) -> String {
    format!("{key}#{count} of {value}")
}

/// Describes an output that was read.
pub(super) fn describe_record(record: &StreamRecord) -> String {
    format!("{}@{}", describe_output(&record.key, record.count, &record.value), record.offset)
}
