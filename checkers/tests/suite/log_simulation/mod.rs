//! Histories of a real partitioned log under concurrent clients, made without threads or time: a seeded generator decides
//! who moves next. An operation takes effect at one of its steps, and one of unknown outcome at any later time or never, so
//! without a defect every history keeps every promise of its mode.

mod broker;

use std::collections::{BTreeMap, BTreeSet};

use duress_history::log::{Log, LogMicro, Offset, Offsets, Start};
use duress_history::{Completion, Event, OpType, Operation, Process, Scalar, pairs};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A way in which the log breaks its own answers; it happens once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    None,
    /// A message is acknowledged and not appended.
    LoseAcknowledged,
    /// The last messages of a partition are cut off.
    Truncate,
    /// A message is appended twice.
    AppendTwice,
    /// A poll returns a message that was never sent.
    Phantom,
    /// A message is appended and refused.
    AppendRefused,
    /// A poll leaves out a message between others.
    SkipWithin,
    /// A consumer's position moves forward by itself.
    SkipBetween,
    /// A consumer's position moves back by itself.
    PollBack,
    /// A message is put where there was a gap.
    Overtake,
    /// An acknowledgement has the offset before.
    WrongOffset,
    /// The committed offset of a partition is forgotten.
    CommitLost,
    /// The committed offset of a partition moves forward by itself, and its consumer with it.
    CommitAhead,
}

/// When members of the group commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// Before a poll is answered.
    Before,
    /// With the next poll.
    After,
}

/// How messages are consumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consumers {
    /// By assignment, and by subscription now and then.
    Log,
    /// By subscription.
    Queue(Commit),
}

/// The shape of a simulated history.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub operations: usize,
    pub partitions: usize,
    pub processes: usize,
    /// The number of operations in a thousand that are never answered.
    pub crashed_per_mille: u32,
    pub consumers: Consumers,
    /// Whether acknowledgements have offsets.
    pub offsets: bool,
    pub defect: Defect,
}

/// A simulated history, and the truth about it.
pub struct Simulated {
    pub events: Vec<Event<Log>>,
    pub operations: Vec<Operation<Log>>,
    /// Whether the defect happened.
    pub happened: bool,
    /// Messages by partition, in the end.
    pub logs: Vec<Vec<Option<i64>>>,
}

impl Simulated {
    /// Returns the values that were acknowledged.
    pub fn acknowledged(&self) -> BTreeSet<i64> {
        let answers = self.operations.iter().filter_map(|operation| match &operation.completion {
            Completion::Ok { answer: Log::Send(micros), .. } => Some(micros),
            _ => None,
        });
        let values = answers.flatten().filter_map(|micro| match micro {
            LogMicro::Send { value: Scalar::Int(value), .. } => Some(*value),
            _ => None,
        });
        values.collect()
    }
}

/// An operation on its way.
struct Open {
    action: Log,
    /// Its answer, once it took effect.
    answer: Option<Log>,
    /// It is refused without any effect.
    refused: bool,
}

#[derive(Default)]
struct Client {
    number: u64,
    open: Option<Open>,
    assigned: Option<BTreeSet<usize>>,
    positions: BTreeMap<usize, usize>,
    /// As a member: the generation it knows, and what its last answer brought it to.
    member: Option<u64>,
    consumed: BTreeMap<usize, usize>,
}

struct World {
    random: ChaCha8Rng,
    shape: Shape,
    events: Vec<Event<Log>>,
    logs: Vec<Vec<Option<i64>>>,
    clients: Vec<Client>,
    processes: u64,
    sent: i64,
    late: Vec<Vec<LogMicro>>,
    committed: Vec<Option<usize>>,
    generation: u64,
    /// By partition: the process that has it in this generation.
    owners: Vec<Option<u64>>,
    members: BTreeSet<u64>,
    dead: Vec<u64>,
    /// The offset of the last message that each client was given of a partition, as long as it keeps its place there.
    given: BTreeMap<(u64, usize), usize>,
    /// The messages that members received.
    delivered: BTreeSet<(usize, usize)>,
    /// The message that the group was made to pass by.
    passed: Option<(usize, usize)>,
    /// The defect happens at one of the next chances.
    due: bool,
    spent: bool,
    /// The process whose answer shows the defect.
    struck: Option<u64>,
    happened: bool,
}

/// Returns the name of a partition.
pub fn key(partition: usize) -> Scalar {
    Scalar::from(format!("t0-{partition}").as_str())
}

fn partition(key: &Scalar) -> usize {
    let text = key.to_string();
    text.trim_start_matches("t0-").parse().expect("a partition")
}

impl World {
    fn event(&mut self, client: usize, op_type: OpType, action: Log) {
        let index = self.events.len() as u64;
        self.events.push(Event {
            index,
            time: index * 1_000,
            process: Process(self.clients[client].number),
            op_type,
            action,
            node: None,
            error: None,
        });
    }

    fn chance(&mut self, one_in: u32) -> bool {
        self.random.random_range(0..one_in) == 0
    }

    /// Whether the defect `kind` happens now, to show in the answer to `client`.
    fn strikes(&mut self, kind: Defect, client: Option<usize>) -> bool {
        let now = self.due && !self.spent && self.shape.defect == kind;
        if now {
            self.spent = true;
            self.struck = client.map(|client| self.clients[client].number);
            self.happened = client.is_none();
        }
        now
    }

    fn any_partition(&mut self) -> usize {
        self.random.random_range(0..self.shape.partitions)
    }

    fn some_partitions(&mut self) -> Vec<usize> {
        let count = self.random.random_range(1..=3_usize);
        let some: BTreeSet<usize> = (0..count).map(|_| self.any_partition()).collect();
        some.into_iter().collect()
    }

    fn invent(&mut self, client: usize) -> Log {
        let queue = matches!(self.shape.consumers, Consumers::Queue(_));
        let consumes = self.clients[client].assigned.is_some() || self.clients[client].member.is_some();
        match self.random.random_range(0..100) {
            0..45 => {
                let count = 1 + self.random.random_range(0..3_usize) / 2;
                let sends = (0..count).map(|_| {
                    let key = key(self.any_partition());
                    self.sent += 1;
                    LogMicro::Send { key, value: Scalar::Int(self.sent), offset: None }
                });
                Log::Send(sends.collect())
            }
            45..85 if consumes => Log::Poll(vec![LogMicro::Poll(None)]),
            // Their answers name every partition: if there are many, they are requested less often.
            85..88 if self.chance(1 + self.shape.partitions as u32 / 10) => Log::Committed(None),
            88..90 if self.chance(1 + self.shape.partitions as u32 / 10) => Log::EndOffsets(None),
            90..92 if queue && consumes => Log::Commit(None),
            90..94 if !queue && self.clients[client].assigned.is_some() => {
                let at = self.any_partition();
                let offset = self.random.random_range(0..=self.logs[at].len()) as u64;
                Log::Seek(BTreeMap::from([(key(at), Offset(offset))]))
            }
            94 => Log::Crash,
            _ if queue || self.chance(8) => Log::Subscribe(vec![Scalar::from("t0")]),
            _ => {
                let keys = self.some_partitions().into_iter().map(key).collect();
                Log::Assign { keys, from: if self.chance(3) { Start::Beginning } else { Start::Position } }
            }
        }
    }

    /// Lets an operation take effect; its answer.
    fn apply(&mut self, client: usize, action: &Log, acknowledged: bool) -> Log {
        let lengths = |logs: &[Vec<Option<i64>>]| {
            logs.iter().enumerate().map(|(at, log)| (key(at), Offset(log.len() as u64))).collect()
        };
        match action {
            Log::Send(micros) => Log::Send(self.send(micros, acknowledged.then_some(client))),
            Log::Poll(_) => Log::Poll(vec![LogMicro::Poll(Some(self.poll(client)))]),
            Log::Assign { keys, from } => {
                let number = self.clients[client].number;
                self.leave(number);
                self.given.retain(|(process, _), _| *process != number || *from == Start::Position);
                let client = &mut self.clients[client];
                if client.member.take().is_some() {
                    client.positions.clear();
                }
                let keys_at: BTreeSet<usize> = keys.iter().map(partition).collect();
                if *from == Start::Beginning {
                    client.positions.extend(keys_at.iter().map(|at| (*at, 0)));
                }
                self.given.retain(|(process, at), _| *process != number || keys_at.contains(at));
                client.assigned = Some(keys_at);
                action.clone()
            }
            Log::Subscribe(_) => {
                self.join(client);
                action.clone()
            }
            Log::Seek(offsets) => {
                for (key, Offset(offset)) in offsets {
                    self.given.remove(&(self.clients[client].number, partition(key)));
                    self.clients[client].positions.insert(partition(key), *offset as usize);
                }
                action.clone()
            }
            Log::Commit(_) => Log::Commit(Some(self.commit(client))),
            Log::Committed(_) => Log::Committed(Some(self.committed_offsets())),
            Log::EndOffsets(_) => Log::EndOffsets(Some(lengths(&self.logs))),
            Log::Txn(_) | Log::Crash => action.clone(),
        }
    }

    fn committed_offsets(&self) -> Offsets {
        let known = self.committed.iter().enumerate();
        known.filter_map(|(at, offset)| offset.map(|offset| (key(at), Offset(offset as u64)))).collect()
    }

    /// The client's process is never used again.
    fn retire(&mut self, client: usize) {
        let number = self.clients[client].number;
        if self.members.contains(&number) {
            self.dead.push(number);
        }
        self.processes += 1;
        self.clients[client] = Client { number: self.processes, ..Client::default() };
    }

    fn complete(&mut self, client: usize, answer: Log) {
        // The messages of an answer count as consumed once it is given.
        if let Log::Poll(micros) = &answer
            && self.clients[client].member == Some(self.generation)
        {
            for micro in micros {
                let LogMicro::Poll(Some(polled)) = micro else { continue };
                for (key, messages) in polled {
                    let next = messages.last().map_or(0, |(offset, _)| offset.0 as usize + 1);
                    self.clients[client].consumed.insert(partition(key), next);
                }
            }
        }
        if let (Log::Poll(micros), Some(_)) = (&answer, self.clients[client].member) {
            for micro in micros {
                let LogMicro::Poll(Some(polled)) = micro else { continue };
                for (key, messages) in polled {
                    let offsets =
                        messages.iter().map(|(Offset(offset), _)| (partition(key), *offset as usize));
                    self.delivered.extend(offsets);
                }
            }
        }
        self.happened |= self.struck == Some(self.clients[client].number);
        self.struck = self.struck.filter(|number| *number != self.clients[client].number);
        self.event(client, OpType::Ok, answer);
    }

    /// One client moves.
    fn step(&mut self) {
        let client = self.random.random_range(0..self.clients.len());
        let crashes = self.random.random_range(0..2_000) < self.shape.crashed_per_mille;
        let Some(mut open) = self.clients[client].open.take() else {
            let action = self.invent(client);
            self.event(client, OpType::Invoke, action.clone());
            let refused = self.chance(30) && !matches!(action, Log::Crash);
            self.clients[client].open = Some(Open { action, answer: None, refused });
            return;
        };
        if matches!(open.action, Log::Crash) || crashes {
            self.event(client, OpType::Info, open.action.clone());
            if let (Log::Send(micros), None) = (open.action, &open.answer) {
                self.late.push(micros);
            }
            self.retire(client);
            return;
        }
        if open.refused {
            if matches!(open.action, Log::Send(_)) && self.strikes(Defect::AppendRefused, None) {
                self.apply(client, &open.action, false);
            }
            self.event(client, OpType::Fail, open.action);
            return;
        }
        match open.answer.take() {
            Some(answer) => self.complete(client, answer),
            None => {
                open.answer = Some(self.apply(client, &open.action, true));
                self.clients[client].open = Some(open);
            }
        }
    }

    /// Simulates events without a client.
    fn environment(&mut self) {
        if !self.late.is_empty() && self.chance(10) {
            let at = self.random.random_range(0..self.late.len());
            let micros = self.late.swap_remove(at);
            self.send(&micros, None);
        }
        if self.chance(20)
            && let Some(number) = self.dead.pop()
        {
            self.leave(number);
        }
        if self.due && !self.spent && self.shape.defect == Defect::Truncate {
            let at = self.any_partition();
            let keep = self.logs[at].len().saturating_sub(2);
            if self.logs[at][keep..].iter().flatten().count() == 2 {
                self.logs[at].truncate(keep);
                (self.spent, self.happened) = (true, true);
            }
        }
    }

    /// Does `action` as a new process without interference, with its answer.
    fn alone(&mut self, client: usize, action: Log) -> Log {
        self.event(client, OpType::Invoke, action.clone());
        let answer = self.apply(client, &action, true);
        self.complete(client, answer.clone());
        answer
    }

    /// All other clients stop; one client sends once more to every partition, and reads everything.
    fn last(&mut self) {
        for client in 0..self.clients.len() {
            if let Some(open) = self.clients[client].open.take() {
                self.event(client, OpType::Info, open.action);
            }
            self.retire(client);
        }
        while let Some(number) = self.dead.pop() {
            self.leave(number);
        }
        for at in 0..self.shape.partitions {
            self.sent += 1;
            let micro = LogMicro::Send { key: key(at), value: Scalar::Int(self.sent), offset: None };
            self.alone(0, Log::Send(vec![micro]));
        }
        self.alone(0, Log::EndOffsets(None));
        let keys = (0..self.shape.partitions).map(key);
        match self.shape.consumers {
            Consumers::Log => {
                self.alone(0, Log::Assign { keys: keys.collect(), from: Start::Beginning });
                while (0..self.shape.partitions)
                    .any(|at| self.clients[0].positions.get(&at) != Some(&self.logs[at].len()))
                {
                    self.alone(0, Log::Poll(vec![LogMicro::Poll(None)]));
                }
            }
            Consumers::Queue(_) => {
                self.alone(0, Log::Subscribe(vec![Scalar::from("t0")]));
                while (0..self.shape.partitions)
                    .any(|at| self.committed[at].unwrap_or_default() < self.logs[at].len())
                {
                    self.alone(0, Log::Poll(vec![LogMicro::Poll(None)]));
                }
            }
        }
        self.alone(0, Log::Committed(None));
    }
}

/// Returns a history of about `shape.operations` operations, the same for the same seed and shape.
pub fn simulate(seed: u64, shape: Shape) -> Simulated {
    let mut world = World {
        random: ChaCha8Rng::seed_from_u64(seed),
        shape,
        events: Vec::new(),
        logs: vec![Vec::new(); shape.partitions],
        clients: (0..shape.processes as u64).map(|number| Client { number, ..Client::default() }).collect(),
        processes: shape.processes as u64,
        sent: 0,
        late: Vec::new(),
        committed: vec![None; shape.partitions],
        generation: 0,
        owners: vec![None; shape.partitions],
        members: BTreeSet::new(),
        dead: Vec::new(),
        given: BTreeMap::new(),
        delivered: BTreeSet::new(),
        passed: None,
        due: false,
        spent: false,
        struck: None,
        happened: false,
    };
    while world.events.len() < 2 * shape.operations {
        world.due = world.events.len() > shape.operations;
        world.environment();
        world.step();
        let forgets = world.due && !world.spent && shape.defect == Defect::CommitLost;
        if forgets
            && let Some(at) = world.committed.iter().position(Option::is_some)
            && let Some(client) = world.clients.iter().position(|client| client.open.is_none())
        {
            world.alone(client, Log::Committed(None));
            world.committed[at] = None;
            (world.spent, world.happened) = (true, true);
            world.alone(client, Log::Committed(None));
        }
    }
    world.last();
    let operations = pairs::pair(world.events.clone()).expect("every client does one thing at a time");
    let (events, happened, logs) = (world.events, world.happened, world.logs);
    let mut simulated = Simulated { events, operations, happened, logs };
    if let Some((at, position)) = world.passed {
        let acknowledged = simulated.acknowledged();
        let value = simulated.logs[at][position].expect("what was passed by is there");
        simulated.happened = !world.delivered.contains(&(at, position)) && acknowledged.contains(&value);
    }
    simulated
}
