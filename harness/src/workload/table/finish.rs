//! The end of a table: its log, read once more to where it ended.

use std::time::Duration;

use duress_history::log::Offsets;
use duress_history::table::Table;
use duress_history::{Event, OpType, Process};

use crate::workload::generator::{Context, Generator, Next};

/// Asks how long the log is, reads it until a read got there, and asks again: an end that moved meanwhile, as it does where
/// replicas had to catch up, is read up to as well.
#[derive(Debug)]
pub struct FinalTable {
    deadline: Duration,
    ends: Option<Offsets>,
    /// How far the latest read got.
    reached: Offsets,
    /// The process that asks or reads.
    asked: Option<Process>,
    stage: Stage,
}

/// The next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Ask for the ends.
    Ask,
    /// Read partitions that are not known to have been read.
    Read,
    /// Nothing: the ends were requested after a read that got there.
    Done,
}

/// Whether the log was read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// It was.
    ToTheEnd,
    /// It was not, or the end is not known.
    No,
}

impl FinalTable {
    /// Reads, giving up at `deadline` since clients began.
    #[must_use]
    pub fn new(deadline: Duration) -> Self {
        Self { deadline, ends: None, reached: Offsets::new(), asked: None, stage: Stage::Ask }
    }

    /// Whether the log was read to its end.
    #[must_use]
    pub fn read(&self) -> Read {
        if self.stage == Stage::Done { Read::ToTheEnd } else { Read::No }
    }

    fn is_read(&self, ends: &Offsets) -> bool {
        ends.iter().all(|(key, end)| self.reached.get(key).copied().unwrap_or_default() >= *end)
    }
}

impl Generator<Table> for FinalTable {
    fn next(&mut self, context: &Context) -> Next<Table> {
        if context.now >= self.deadline || self.stage == Stage::Done {
            return Next::Done;
        }
        if self.asked.is_some() {
            return Next::At(self.deadline);
        }
        self.asked = Some(context.process);
        Next::Op(match self.stage {
            Stage::Read => Table::ReadLog(None),
            Stage::Ask | Stage::Done => Table::EndOffsets(None),
        })
    }

    fn update(&mut self, event: &Event<Table>) {
        if event.op_type == OpType::Invoke || self.asked != Some(event.process) {
            return;
        }
        self.asked = None;
        match (event.op_type, &event.action) {
            (OpType::Ok, Table::EndOffsets(Some(ends))) => {
                // A table without a record is read all the same, once.
                let there = self.ends.is_some() && self.is_read(ends);
                self.stage = if there { Stage::Done } else { Stage::Read };
                self.ends = Some(ends.clone());
            }
            (OpType::Ok, Table::ReadLog(Some(log))) => {
                self.reached = log.iter().map(|(key, read)| (key.clone(), read.next)).collect();
                if self.ends.as_ref().is_some_and(|ends| self.is_read(ends)) {
                    self.stage = Stage::Ask;
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use duress_history::Scalar;
    use duress_history::log::Offset;
    use duress_history::table::PartitionRead;

    use super::*;

    #[test]
    fn the_log_is_read_until_its_end_stands_still() {
        let mut finals = FinalTable::new(Duration::from_secs(1));
        let process = Process(4);
        let context = Context { now: Duration::ZERO, slot: 0, slots: 1, process };
        let key = || Scalar::from("table-0");
        let ends = |end| Table::EndOffsets(Some([(key(), Offset(end))].into()));
        let read = |next| {
            Table::ReadLog(Some([(key(), PartitionRead { next: Offset(next), records: Vec::new() })].into()))
        };
        let (ask, look) = (Table::EndOffsets(None), Table::ReadLog(None));
        for (asked, answer) in [
            (&ask, ends(5)),
            (&look, read(4)),
            (&look, read(5)),
            (&ask, ends(6)),
            (&look, read(6)),
            (&ask, ends(6)),
        ] {
            assert_eq!(finals.read(), Read::No);
            assert_eq!(finals.next(&context), Next::Op(asked.clone()));
            finals.update(&Event {
                index: 0,
                time: 0,
                process,
                op_type: OpType::Ok,
                action: answer,
                node: None,
                error: None,
            });
        }
        assert_eq!(finals.next(&context), Next::Done);
        assert_eq!(finals.read(), Read::ToTheEnd);
    }
}
