//! The last polls of a log: every partition from its beginning to its end.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use duress_history::log::{Log, LogMicro, Offset, Offsets, Polled, Start};
use duress_history::{Event, OpType, Process, Scalar};

use crate::workload::generator::{Context, Generator, Next};

/// After so many failures in a row another process reads the partitions instead.
const PATIENCE: u32 = 3;

/// Asks how long each partition is, has each read from the beginning by one process until it is there, and asks again:
/// an end that moved meanwhile, as it does where replicas had to catch up, is read up to as well.
#[derive(Debug)]
pub struct FinalPolls {
    deadline: Duration,
    keys: Vec<Scalar>,
    /// The last reported ends, and how far each partition was read.
    ends: Option<Offsets>,
    reached: Offsets,
    asking: Asking,
    /// Partitions without a reader yet.
    todo: VecDeque<Vec<Scalar>>,
    readers: BTreeMap<Process, Reader>,
}

/// The state of the request for the ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asking {
    /// It is due: the known ends are too old.
    Due,
    /// It was sent.
    Open(Process),
    /// The known ends were requested after everything had been read.
    Answered,
}

#[derive(Debug)]
struct Reader {
    keys: Vec<Scalar>,
    failures: u32,
    assigned: bool,
}

impl FinalPolls {
    /// Reads `keys`, spread over `readers` processes, giving up at `deadline` since clients began.
    #[must_use]
    pub fn new(keys: &[Scalar], readers: usize, deadline: Duration) -> Self {
        let shares = readers.clamp(1, keys.len().max(1));
        let mut todo = vec![Vec::new(); shares];
        for (at, key) in keys.iter().enumerate() {
            todo[at % shares].push(key.clone());
        }
        Self {
            deadline,
            keys: keys.to_vec(),
            ends: None,
            reached: Offsets::new(),
            asking: Asking::Due,
            todo: todo.into(),
            readers: BTreeMap::new(),
        }
    }

    /// Returns the partitions that are not known to have been read to their ends.
    #[must_use]
    pub fn unread(&self) -> Vec<Scalar> {
        let Some(ends) = self.ends.as_ref().filter(|_| self.asking == Asking::Answered) else {
            return self.keys.clone();
        };
        self.keys.iter().filter(|key| !ends.contains_key(key) || !self.is_read(key)).cloned().collect()
    }

    fn is_read(&self, key: &Scalar) -> bool {
        let end = self.ends.as_ref().and_then(|ends| ends.get(key)).copied().unwrap_or_default();
        self.reached.get(key).copied().unwrap_or_default() >= end
    }

    fn all_read(&self) -> bool {
        self.todo.is_empty() && self.readers.is_empty()
    }

    fn polled(&mut self, process: Process, polled: &Polled) {
        for (key, messages) in polled {
            if let Some((Offset(last), _)) = messages.last() {
                let reached = self.reached.entry(key.clone()).or_default();
                *reached = (*reached).max(Offset(last + 1));
            }
        }
        let read =
            self.readers.get(&process).is_some_and(|reader| reader.keys.iter().all(|key| self.is_read(key)));
        if read {
            self.readers.remove(&process);
        }
    }

    fn told(&mut self, ends: &Offsets) {
        // An answer after everything was read is final, if it has nothing new.
        self.ends = Some(ends.clone());
        self.asking = Asking::Answered;
        let behind: Vec<Scalar> = self.keys.iter().filter(|key| !self.is_read(key)).cloned().collect();
        if self.all_read() && !behind.is_empty() {
            self.todo.push_back(behind);
        }
    }

    fn failed(&mut self, process: Process) {
        if let Some(reader) = self.readers.get_mut(&process) {
            reader.failures += 1;
            if reader.failures >= PATIENCE
                && let Some(Reader { keys, .. }) = self.readers.remove(&process)
            {
                self.todo.push_back(keys);
            }
        }
    }
}

impl Generator<Log> for FinalPolls {
    fn next(&mut self, context: &Context) -> Next<Log> {
        if context.now >= self.deadline {
            return Next::Done;
        }
        if self.asking == Asking::Due {
            self.asking = Asking::Open(context.process);
            return Next::Op(Log::EndOffsets(None));
        }
        if self.ends.is_none() {
            return Next::At(self.deadline);
        }
        if let Some(reader) = self.readers.get(&context.process) {
            return Next::Op(if reader.assigned {
                Log::Poll(vec![LogMicro::Poll(None)])
            } else {
                Log::Assign { keys: reader.keys.clone(), from: Start::Beginning }
            });
        }
        while let Some(mut keys) = self.todo.pop_front() {
            keys.retain(|key| !self.is_read(key));
            if !keys.is_empty() {
                let reader = Reader { keys: keys.clone(), failures: 0, assigned: false };
                self.readers.insert(context.process, reader);
                return Next::Op(Log::Assign { keys, from: Start::Beginning });
            }
        }
        match self.asking {
            Asking::Answered if self.readers.is_empty() => Next::Done,
            _ => Next::Pending,
        }
    }

    fn update(&mut self, event: &Event<Log>) {
        let process = event.process;
        match (event.op_type, &event.action) {
            (OpType::Invoke, _) => return,
            (OpType::Ok, Log::EndOffsets(Some(ends))) if self.asking == Asking::Open(process) => {
                self.told(ends);
            }
            (_, Log::EndOffsets(_)) => {
                if self.asking == Asking::Open(process) {
                    self.asking = Asking::Due;
                }
            }
            (OpType::Ok, Log::Assign { .. }) => {
                if let Some(reader) = self.readers.get_mut(&process) {
                    reader.assigned = true;
                }
            }
            (OpType::Ok, Log::Poll(micros)) => {
                for micro in micros {
                    if let LogMicro::Poll(Some(polled)) = micro {
                        self.polled(process, polled);
                    }
                }
            }
            (OpType::Info, _) => {
                // Its process is gone.
                if let Some(Reader { keys, .. }) = self.readers.remove(&process) {
                    self.todo.push_back(keys);
                }
            }
            _ => self.failed(process),
        }
        // The ends are requested once more after the last message.
        if matches!(event.action, Log::Poll(_)) && self.all_read() && self.asking == Asking::Answered {
            self.asking = Asking::Due;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(process: Process, op_type: OpType, action: Log) -> Event<Log> {
        Event { index: 0, time: 0, process, op_type, action, node: None, error: None }
    }

    /// A log of one partition whose readers receive two messages at a time.
    struct OnePartition {
        length: u64,
        position: BTreeMap<Process, u64>,
    }

    impl OnePartition {
        fn answer(&mut self, process: Process, asked: &Log) -> Log {
            let key = Scalar::from("t0-0");
            let position = self.position.entry(process).or_default();
            match asked {
                Log::EndOffsets(_) => Log::EndOffsets(Some([(key, Offset(self.length))].into())),
                Log::Assign { .. } => {
                    *position = 0;
                    asked.clone()
                }
                Log::Poll(_) => {
                    let until = self.length.min(*position + 2);
                    let messages =
                        (*position..until).map(|at| (Offset(at), Scalar::from(at as i64))).collect();
                    *position = until;
                    Log::Poll(vec![LogMicro::Poll(Some([(key, messages)].into()))])
                }
                other => panic!("nothing else is asked: {other:?}"),
            }
        }
    }

    fn read(mut log: OnePartition, mut meanwhile: impl FnMut(&mut OnePartition, u32)) -> (FinalPolls, u32) {
        let mut finals = FinalPolls::new(&[Scalar::from("t0-0")], 3, Duration::from_secs(1));
        let process = Process(7);
        for asked in 0..100 {
            let context = Context { now: Duration::ZERO, slot: 0, slots: 1, process };
            match finals.next(&context) {
                Next::Op(action) => {
                    finals.update(&event(process, OpType::Invoke, action.clone()));
                    let answer = log.answer(process, &action);
                    finals.update(&event(process, OpType::Ok, answer));
                    meanwhile(&mut log, asked);
                }
                Next::Done => return (finals, asked),
                other => panic!("there is always something to do: {other:?}"),
            }
        }
        panic!("it never ends")
    }

    #[test]
    fn everything_is_read_and_the_ends_are_asked_for_again() {
        let (finals, asked) = read(OnePartition { length: 5, position: BTreeMap::new() }, |_, _| {});
        assert!(finals.unread().is_empty());
        assert_eq!(asked, 1 + 1 + 3 + 1, "ends, assign, three polls, ends");
    }

    #[test]
    fn an_end_that_moves_is_followed() {
        let grow = |log: &mut OnePartition, asked| {
            if asked == 3 {
                log.length = 9;
            }
        };
        let (finals, _) = read(OnePartition { length: 5, position: BTreeMap::new() }, grow);
        assert!(finals.unread().is_empty());
        assert_eq!(finals.reached.values().copied().collect::<Vec<_>>(), [Offset(9)]);
    }

    #[test]
    fn what_could_not_be_read_in_time_is_told() {
        let key = Scalar::from("t0-0");
        let mut finals = FinalPolls::new(std::slice::from_ref(&key), 3, Duration::from_secs(1));
        let process = Process(1);
        let context = |now| Context { now, slot: 0, slots: 1, process };
        assert_eq!(finals.next(&context(Duration::ZERO)), Next::Op(Log::EndOffsets(None)));
        let ends = Log::EndOffsets(Some([(key.clone(), Offset(3))].into()));
        finals.update(&event(process, OpType::Ok, ends));
        for _ in 0..10 {
            let Next::Op(action) = finals.next(&context(Duration::ZERO)) else { panic!("it goes on trying") };
            finals.update(&event(process, OpType::Fail, action));
        }
        assert_eq!(finals.next(&context(Duration::from_secs(1))), Next::Done);
        assert_eq!(finals.unread(), [key]);
    }
}
