//! The end of a stream: the workers process what is left, and then all outputs are read.

use std::collections::BTreeMap;
use std::time::Duration;

use duress_history::log::{Offset, Offsets};
use duress_history::stream::{Progress, ReadFrom, Stream, Then};
use duress_history::{Event, OpType, Process, Scalar};

use super::mix::{Part, process};
use crate::workload::generator::{Context, Generator, Next};

/// How long to wait before the progress is asked for again.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// After so many failures in a row another process reads.
const PATIENCE: u32 = 3;

/// Returns the partitions of `ends` that `reached` does not cover.
fn behind(ends: &Offsets, reached: &Offsets) -> Vec<Scalar> {
    let is_behind =
        |(partition, end): &(&Scalar, &Offset)| reached.get(*partition).copied().unwrap_or_default() < **end;
    ends.iter().filter(is_behind).map(|(partition, _)| partition.clone()).collect()
}

/// Lets the workers process until the group's committed offsets are the ends of the inputs.
#[derive(Debug)]
pub struct Drain {
    deadline: Duration,
    attempts: u64,
    asked: Option<Process>,
    ask_at: Duration,
    progress: Option<Progress>,
}

impl Drain {
    /// Continues after so many attempts, giving up at `deadline` since clients began.
    #[must_use]
    pub fn new(attempts: u64, deadline: Duration) -> Self {
        Self { deadline, attempts, asked: None, ask_at: Duration::ZERO, progress: None }
    }

    /// Returns the number of the last attempt.
    #[must_use]
    pub fn attempts(&self) -> u64 {
        self.attempts
    }

    /// Returns the partitions that the workers are not known to have worked off; `None` if there are none.
    #[must_use]
    pub fn left(&self) -> Option<Vec<Scalar>> {
        let Some(Progress { committed, inputs, .. }) = &self.progress else { return Some(Vec::new()) };
        let left = behind(inputs, committed);
        (!left.is_empty()).then_some(left)
    }
}

impl Generator<Stream> for Drain {
    fn next(&mut self, context: &Context) -> Next<Stream> {
        let Context { now, slot, process: free, .. } = *context;
        if now >= self.deadline || self.left().is_none() {
            return Next::Done;
        }
        if Part::of(slot) == Part::Worker {
            self.attempts += 1;
            return Next::Op(process(slot, self.attempts, Then::Commit));
        }
        if self.asked.is_none() && self.ask_at <= now {
            self.asked = Some(free);
            self.ask_at = now + LOOK_AGAIN;
            return Next::Op(Stream::Progress(None));
        }
        Next::Pending
    }

    fn update(&mut self, event: &Event<Stream>) {
        if event.op_type == OpType::Invoke || self.asked != Some(event.process) {
            return;
        }
        self.asked = None;
        if let (OpType::Ok, Stream::Progress(Some(progress))) = (event.op_type, &event.action) {
            self.progress = Some(progress.clone());
        }
    }
}

/// Asks for the ends, has one process read all outputs from the beginning to there, and asks again: ends that moved
/// meanwhile are read up to as well.
#[derive(Debug)]
pub struct FinalReads {
    deadline: Duration,
    ends: Option<Offsets>,
    reached: Offsets,
    /// The process that reads, and its failures in a row.
    reader: Option<(Process, u32)>,
    asked: Option<Process>,
    stage: Stage,
}

/// The next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Ask for the ends.
    Ask,
    /// Read what is not known to have been read.
    Read,
    /// Nothing: the ends were asked for after everything up to them had been read.
    Done,
}

impl FinalReads {
    /// Reads, giving up at `deadline` since clients began.
    #[must_use]
    pub fn new(deadline: Duration) -> Self {
        let (reached, stage) = (BTreeMap::new(), Stage::Ask);
        Self { deadline, ends: None, reached, reader: None, asked: None, stage }
    }

    /// Returns the partitions that are not known to have been read to their ends; `None` if there are none.
    #[must_use]
    pub fn left(&self) -> Option<Vec<Scalar>> {
        (self.stage != Stage::Done)
            .then(|| self.ends.as_ref().map_or_else(Vec::new, |ends| behind(ends, &self.reached)))
    }
}

impl Generator<Stream> for FinalReads {
    fn next(&mut self, context: &Context) -> Next<Stream> {
        let Context { now, process, .. } = *context;
        if now >= self.deadline || self.stage == Stage::Done {
            return Next::Done;
        }
        if self.asked.is_some() {
            return Next::At(self.deadline);
        }
        if self.stage == Stage::Ask {
            self.asked = Some(process);
            return Next::Op(Stream::Progress(None));
        }
        let from = match self.reader {
            Some((reader, _)) if reader == process => ReadFrom::Position,
            Some(_) => return Next::Pending,
            None => {
                self.reader = Some((process, 0));
                self.reached.clear();
                ReadFrom::Beginning
            }
        };
        self.asked = Some(process);
        Next::Op(Stream::Read { from, read: None })
    }

    fn update(&mut self, event: &Event<Stream>) {
        if event.op_type == OpType::Invoke || self.asked != Some(event.process) {
            return;
        }
        self.asked = None;
        match (event.op_type, &event.action) {
            (OpType::Ok, Stream::Progress(Some(progress))) => {
                let there = self.reader.is_some() && behind(&progress.outputs, &self.reached).is_empty();
                self.ends = Some(progress.outputs.clone());
                self.stage = if there { Stage::Done } else { Stage::Read };
            }
            (OpType::Ok, Stream::Read { read: Some(read), .. }) => {
                self.reached.extend(read.iter().map(|(partition, part)| (partition.clone(), part.next)));
                self.reader = Some((event.process, 0));
                if self.ends.as_ref().is_some_and(|ends| behind(ends, &self.reached).is_empty()) {
                    self.stage = Stage::Ask;
                }
            }
            // The process does nothing more.
            (OpType::Info, Stream::Read { .. }) => self.reader = None,
            (_, Stream::Read { .. }) => {
                // A first read that failed may not have gone to the beginning: another process begins anew.
                let failures = self.reader.map_or(0, |(_, failures)| failures + 1);
                let begins_anew = failures >= PATIENCE || self.reached.is_empty();
                self.reader = (!begins_anew).then_some((event.process, failures));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use duress_history::stream::PartRead;

    use super::*;

    const READER: Process = Process(4);

    fn event(process: Process, op_type: OpType, action: Stream) -> Event<Stream> {
        Event { index: 0, time: 0, process, op_type, action, node: None, error: None }
    }

    fn progress(committed: u64, inputs: u64, outputs: u64) -> Stream {
        let at = |name: &str, offset| Offsets::from([(Scalar::from(name), Offset(offset))]);
        let (committed, inputs) = (at("in-0", committed), at("in-0", inputs));
        Stream::Progress(Some(Progress { committed, inputs, outputs: at("out-0", outputs) }))
    }

    fn read(from: ReadFrom, begin: u64, next: u64) -> Stream {
        let part = PartRead { from: Offset(begin), next: Offset(next), records: Vec::new() };
        Stream::Read { from, read: Some([(Scalar::from("out-0"), part)].into()) }
    }

    #[test]
    fn workers_process_until_everything_is_committed() {
        let mut drain = Drain::new(7, Duration::from_secs(9));
        let at = |ms, slot| Context {
            now: Duration::from_millis(ms),
            slot,
            slots: 3,
            process: Process(slot as u64),
        };
        assert_eq!(drain.next(&at(0, 0)), Next::Op(Stream::Progress(None)));
        assert_eq!(drain.next(&at(0, 1)), Next::Op(process(1, 8, Then::Commit)));
        assert_eq!(drain.next(&at(0, 2)), Next::Pending);
        drain.update(&event(Process(0), OpType::Ok, progress(3, 5, 0)));
        assert_eq!(drain.left(), Some(vec![Scalar::from("in-0")]));
        assert_eq!(drain.next(&at(600, 2)), Next::Op(Stream::Progress(None)));
        drain.update(&event(Process(2), OpType::Ok, progress(5, 5, 9)));
        assert_eq!((drain.left(), drain.next(&at(601, 1))), (None, Next::Done));
    }

    #[test]
    fn outputs_are_read_until_their_end_stands_still() {
        let mut finals = FinalReads::new(Duration::from_secs(1));
        let context = Context { now: Duration::ZERO, slot: 0, slots: 1, process: READER };
        let (ask, begin) = (Stream::Progress(None), Stream::Read { from: ReadFrom::Beginning, read: None });
        let on = Stream::Read { from: ReadFrom::Position, read: None };
        for (asked, ended, answer) in [
            (&ask, OpType::Ok, progress(1, 1, 5)),
            (&begin, OpType::Fail, begin.clone()),
            (&begin, OpType::Ok, read(ReadFrom::Beginning, 0, 4)),
            (&on, OpType::Fail, on.clone()),
            (&on, OpType::Ok, read(ReadFrom::Position, 4, 5)),
            (&ask, OpType::Ok, progress(1, 1, 6)),
            (&on, OpType::Ok, read(ReadFrom::Position, 5, 6)),
            (&ask, OpType::Ok, progress(1, 1, 6)),
        ] {
            assert!(finals.left().is_some());
            assert_eq!(finals.next(&context), Next::Op(asked.clone()));
            finals.update(&event(READER, ended, answer));
        }
        assert_eq!((finals.left(), finals.next(&context)), (None, Next::Done));
    }
}
