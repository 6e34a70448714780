//! Histories of a real register under concurrent clients, made without threads or time: a seeded generator decides who
//! moves next. An operation takes effect at one of its steps, so without a defect every history is linearizable.

use std::collections::BTreeMap;

use duress_history::register::{Register, RegisterOp};
use duress_history::{Event, OpType, Operation, Process, Scalar, pairs};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A way in which the register breaks its own answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    None,
    /// One read in fifty returns the value before the register's last change.
    StaleRead,
    /// One write in fifty is acknowledged and not made.
    LostWrite,
    /// One compare-and-set in ten compares with the value before the register's last change.
    StaleCas,
}

/// The choice of written values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// Each only once.
    Unique,
    /// Numbers below this.
    Below(i64),
}

/// The shape of a simulated history.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub operations: usize,
    pub keys: i64,
    pub processes: u64,
    /// The number of operations in a thousand that are never answered.
    pub crashed_per_mille: u32,
    pub values: Values,
    pub defect: Defect,
}

struct Pending {
    key: i64,
    op: RegisterOp,
    /// Its answer, once it took effect; `None` in it is a compare-and-set that found another value.
    answer: Option<Option<RegisterOp>>,
}

struct World {
    random: ChaCha8Rng,
    shape: Shape,
    events: Vec<Event<Register>>,
    registers: BTreeMap<i64, Vec<Scalar>>,
    written: i64,
}

impl World {
    fn event(&mut self, process: u64, op_type: OpType, key: i64, op: RegisterOp) {
        let index = self.events.len() as u64;
        self.events.push(Event {
            index,
            time: index * 1_000,
            process: Process(process),
            op_type,
            action: Register { key: Scalar::Int(key), op },
            node: None,
            error: None,
        });
    }

    fn new_value(&mut self) -> Scalar {
        self.written += 1;
        Scalar::Int(match self.shape.values {
            Values::Unique => self.written,
            Values::Below(bound) => self.random.random_range(0..bound),
        })
    }

    fn invent(&mut self) -> Pending {
        let key = self.random.random_range(0..self.shape.keys);
        let op = match self.random.random_range(0..10) {
            0..5 => RegisterOp::Read(None),
            5..8 => RegisterOp::Write(self.new_value()),
            _ => {
                // Mostly one that can succeed: a recent value.
                let now = self.registers.get(&key).and_then(|values| values.last().cloned());
                let old = match self.shape.values {
                    Values::Below(bound) => Some(Scalar::Int(self.random.random_range(0..bound))),
                    Values::Unique => now,
                };
                RegisterOp::Cas { old, new: self.new_value() }
            }
        };
        Pending { key, op, answer: None }
    }

    /// Lets the operation take effect, in the way the register has it.
    fn apply(&mut self, pending: &Pending) -> Option<RegisterOp> {
        let chance = self.random.random_range(0..50);
        let defect = self.shape.defect;
        let values = self.registers.entry(pending.key).or_default();
        let now = values.last().cloned();
        let before = values.len().checked_sub(2).map(|at| values[at].clone());
        match &pending.op {
            RegisterOp::Read(_) => {
                Some(RegisterOp::Read(if defect == Defect::StaleRead && chance == 0 { before } else { now }))
            }
            RegisterOp::Write(value) => {
                if !(defect == Defect::LostWrite && chance == 0) {
                    values.push(value.clone());
                }
                Some(pending.op.clone())
            }
            RegisterOp::Delete => unreachable!("deletes are not invented"),
            RegisterOp::Cas { old, new } => {
                let found = if defect == Defect::StaleCas && chance < 5 { before } else { now };
                (*old == found).then(|| {
                    values.push(new.clone());
                    pending.op.clone()
                })
            }
        }
    }
}

/// Returns the events of a history of `shape`, the same for the same `seed`.
pub fn events(seed: u64, shape: Shape) -> Vec<Event<Register>> {
    let random = ChaCha8Rng::seed_from_u64(seed);
    let mut world = World { random, shape, events: Vec::new(), registers: BTreeMap::new(), written: 0 };
    let mut clients: Vec<(u64, Option<Pending>)> =
        (0..shape.processes).map(|client| (client, None)).collect();
    let mut next_process = shape.processes;
    let mut orphans: Vec<Pending> = Vec::new();
    let mut started = 0;
    while started < shape.operations || clients.iter().any(|(_, pending)| pending.is_some()) {
        if !orphans.is_empty() && world.random.random_range(0..20) == 0 {
            let at = world.random.random_range(0..orphans.len());
            let orphan = orphans.swap_remove(at);
            world.apply(&orphan);
        }
        let at = world.random.random_range(0..clients.len());
        let (process, pending) = (clients[at].0, clients[at].1.take());
        clients[at].1 = match pending {
            None if started < shape.operations => {
                started += 1;
                let pending = world.invent();
                world.event(process, OpType::Invoke, pending.key, pending.op.clone());
                Some(pending)
            }
            None => None,
            Some(pending) if world.random.random_range(0..2000) < shape.crashed_per_mille => {
                world.event(process, OpType::Info, pending.key, pending.op.clone());
                clients[at].0 = next_process;
                next_process += 1;
                if pending.answer.is_none() {
                    orphans.push(pending);
                }
                None
            }
            Some(mut pending) => match pending.answer.take() {
                None => {
                    pending.answer = Some(world.apply(&pending));
                    Some(pending)
                }
                Some(Some(answer)) => {
                    world.event(process, OpType::Ok, pending.key, answer);
                    None
                }
                Some(None) => {
                    world.event(process, OpType::Fail, pending.key, pending.op);
                    None
                }
            },
        };
    }
    world.events
}

/// Returns the operations of a history of `shape`, by invocation.
pub fn operations(seed: u64, shape: Shape) -> Vec<Operation<Register>> {
    pairs::pair(events(seed, shape)).expect("the simulated clients do one thing at a time")
}
