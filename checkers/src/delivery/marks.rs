//! Marks: offsets below which all messages acknowledged earlier must lie.
//!
//! If acknowledgements have no offset, or messages at the end of a partition are missing, the question is how
//! far one must read to be sure. Acknowledged messages are in the log, and later appends come after them. So
//! a message whose send began after the acknowledgement is a mark, at its known offset. A reported end is a
//! mark only if acknowledged messages can be read at once ([`Acknowledged::Readable`]): otherwise the end may
//! lag behind.

use super::facts::{Facts, Op, Partition, Sent};
use super::promise::Acknowledged;

/// The kind of a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MarkKind {
    /// The end of the partition, as an answer gave it.
    End,
    /// A message that was appended.
    Message,
}

/// An operation that shows how far one must read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub(super) op: Op,
    /// Messages acknowledged before the operation began lie below this offset.
    pub(super) below: u64,
    pub(super) kind: MarkKind,
}

/// Returns the latest mark of a partition that a reader of everything below `reached` has reached.
///
/// Time O(marks).
pub(super) fn latest(partition: &Partition<'_>, reached: u64, acknowledged: Acknowledged) -> Option<Mark> {
    let message = |sent: &Sent<'_>| {
        let below = sent.lowest()?.saturating_add(1);
        Some(Mark { op: sent.op, below, kind: MarkKind::Message })
    };
    let reaches = |mark: &Mark| mark.below <= reached;
    // Both are in order of invocation.
    let message = partition.sends.iter().rev().filter_map(message).find(reaches);
    if acknowledged == Acknowledged::Appended {
        return message;
    }
    let ends = partition.ends.iter().rev();
    let end = ends.map(|(op, end)| Mark { op: *op, below: *end, kind: MarkKind::End }).find(reaches);
    message.into_iter().chain(end).max_by_key(|mark| mark.op)
}

/// Describes a mark, after the sentence that it came after the missing message.
pub(super) fn describe(mark: &Mark) -> String {
    match mark.kind {
        MarkKind::Message => {
            format!("Its message is at offset {}, behind everything that was there.", mark.below - 1)
        }
        MarkKind::End => format!("By its answer, everything lies below offset {}.", mark.below),
    }
}

/// Returns the poll that shows the offset of a mark's message; `None` if the mark itself does.
pub(super) fn shown_by(facts: &Facts<'_>, partition: &Partition<'_>, mark: &Mark) -> Option<Op> {
    if mark.kind == MarkKind::End {
        return None;
    }
    let offset = mark.below - 1;
    let sends = partition.sends.partition_point(|sent| sent.op < mark.op);
    let own = |sent: &&Sent<'_>| sent.op == mark.op;
    let sent = partition.sends[sends..].iter().take_while(own).find(|sent| sent.lowest() == Some(offset))?;
    if sent.acknowledged_at() == Some(offset) && facts.answered(mark.op).is_some() {
        return None;
    }
    partition.at(offset).iter().find(|record| record.value == sent.value).map(|record| record.op)
}
