//! The end of a queue: the group consumes until the queue is empty.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use duress_history::log::{Log, LogMicro, Offsets};
use duress_history::{Event, OpType, Process, Scalar};

use super::mix::Part;
use crate::workload::generator::{Context, Generator, Next};

/// How long the group consumes between two questions how far it is.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Lets the consumers poll and commit until the group's committed offsets are the partitions' ends.
#[derive(Debug)]
pub struct Drain {
    deadline: Duration,
    topics: Vec<Scalar>,
    keys: Vec<Scalar>,
    ends: Option<Offsets>,
    committed: Offsets,
    /// The process that asks how far the group is, and when the next one asks.
    asked: Option<Process>,
    ask_at: Duration,
    subscribed: BTreeSet<Process>,
    /// Whether a consumer polled since it committed.
    polled: BTreeMap<Process, Polled>,
}

/// The last action of a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Polled {
    Nothing,
    Something,
}

impl Drain {
    /// Drains `keys`, all partitions of `topics`, giving up at `deadline` since clients began.
    #[must_use]
    pub fn new(topics: Vec<Scalar>, keys: Vec<Scalar>, deadline: Duration) -> Self {
        Self {
            deadline,
            topics,
            keys,
            ends: None,
            committed: Offsets::new(),
            asked: None,
            ask_at: Duration::ZERO,
            subscribed: BTreeSet::new(),
            polled: BTreeMap::new(),
        }
    }

    /// Returns the partitions that the group is not known to have worked off.
    #[must_use]
    pub fn left(&self) -> Vec<Scalar> {
        let Some(ends) = &self.ends else { return self.keys.clone() };
        let left = |key: &&Scalar| match ends.get(*key) {
            // A group commits no offset of an empty partition.
            Some(end) => self.committed.get(*key).copied().unwrap_or_default() < *end,
            None => true,
        };
        self.keys.iter().filter(left).cloned().collect()
    }

    fn consume(&mut self, process: Process) -> Log {
        if self.subscribed.insert(process) {
            return Log::Subscribe(self.topics.clone());
        }
        match self.polled.insert(process, Polled::Nothing) {
            Some(Polled::Something) => Log::Commit(None),
            _ => Log::Poll(vec![LogMicro::Poll(None)]),
        }
    }
}

impl Generator<Log> for Drain {
    fn next(&mut self, context: &Context) -> Next<Log> {
        let Context { now, slot, process, .. } = *context;
        if now >= self.deadline || self.left().is_empty() {
            return Next::Done;
        }
        if Part::of(slot, context.slots) == Part::Consumer {
            return Next::Op(self.consume(process));
        }
        // A process that sent or watched before asks now.
        if self.asked.is_none() && self.ask_at <= now {
            self.asked = Some(process);
            self.ask_at = now + LOOK_AGAIN;
            return Next::Op(match self.ends {
                None => Log::EndOffsets(None),
                Some(_) => Log::Committed(None),
            });
        }
        Next::Pending
    }

    fn update(&mut self, event: &Event<Log>) {
        let process = event.process;
        if event.op_type == OpType::Invoke {
            return;
        }
        match (event.op_type, &event.action) {
            (_, Log::EndOffsets(answer)) if self.asked == Some(process) => {
                self.asked = None;
                if event.op_type == OpType::Ok {
                    self.ends = answer.clone();
                    self.ask_at = Duration::ZERO;
                }
            }
            (_, Log::Committed(answer)) if self.asked == Some(process) => {
                self.asked = None;
                if let (OpType::Ok, Some(committed)) = (event.op_type, answer) {
                    self.committed = committed.clone();
                }
            }
            (OpType::Ok, Log::Poll(micros)) => {
                let any = micros.iter().any(|micro| {
                    matches!(micro, LogMicro::Poll(Some(polled)) if polled.values().any(|messages| !messages.is_empty()))
                });
                self.polled.insert(process, if any { Polled::Something } else { Polled::Nothing });
            }
            (OpType::Fail, Log::Subscribe(_)) => {
                self.subscribed.remove(&process);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use duress_history::log::Offset;

    use super::*;

    #[test]
    fn it_ends_when_what_is_committed_is_all_there_is() {
        let key = Scalar::from("t0-0");
        let mut drain = Drain::new(vec![Scalar::from("t0")], vec![key.clone()], Duration::from_secs(9));
        let at = |ms, slot| Context {
            now: Duration::from_millis(ms),
            slot,
            slots: 2,
            process: Process(slot as u64),
        };
        let ok = |slot, action| Event {
            index: 0,
            time: 0,
            process: Process(slot),
            op_type: OpType::Ok,
            action,
            node: None,
            error: None,
        };
        let offsets = |offset| Some([(key.clone(), Offset(offset))].into());
        assert_eq!(drain.next(&at(0, 0)), Next::Op(Log::EndOffsets(None)));
        assert!(matches!(drain.next(&at(0, 1)), Next::Op(Log::Subscribe(_))));
        drain.update(&ok(0, Log::EndOffsets(offsets(3))));
        assert_eq!(drain.next(&at(1, 0)), Next::Op(Log::Committed(None)));
        drain.update(&ok(0, Log::Committed(offsets(1))));
        assert_eq!(drain.next(&at(2, 0)), Next::Pending, "it asks only now and then");
        assert!(matches!(drain.next(&at(3, 1)), Next::Op(Log::Poll(_))));
        let polled = [(key.clone(), vec![(Offset(2), Scalar::from(5))])].into();
        drain.update(&ok(1, Log::Poll(vec![LogMicro::Poll(Some(polled))])));
        assert_eq!(drain.next(&at(4, 1)), Next::Op(Log::Commit(None)));
        assert_eq!(drain.left(), std::slice::from_ref(&key));
        assert_eq!(drain.next(&at(600, 0)), Next::Op(Log::Committed(None)));
        drain.update(&ok(0, Log::Committed(offsets(3))));
        assert_eq!(drain.next(&at(601, 1)), Next::Done);
        assert!(drain.left().is_empty());
    }
}
