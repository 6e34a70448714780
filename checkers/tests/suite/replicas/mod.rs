//! Histories of registers with one order of writes and replicas that lag behind it, made without threads or time.
//!
//! Writes and compare-and-sets take effect, at one of their steps, at the end of a list. Each replica has come to some
//! prefix of the list, and answers reads from that. At the end the replicas have come to all of it, and each key is read at
//! each of them.

use std::collections::BTreeMap;

use duress_history::register::{Register, RegisterOp};
use duress_history::{Event, NodeId, OpType, Operation, Process, Scalar, pairs};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A way in which the system breaks its promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    None,
    /// One write in twenty is acknowledged and not made.
    LostWrite,
    /// A compare-and-set compares with what some replica holds.
    StaleCas,
    /// One read in fifty is answered with a value that was never written.
    Phantom,
    /// A write that is refused is made all the same.
    Aborted,
    /// At the end one replica stays where it was.
    Stuck,
    /// At the end all replicas stay where the slowest of them was.
    AllStuck,
}

/// The shape of a simulated history.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub operations: usize,
    pub keys: i64,
    pub processes: usize,
    pub nodes: usize,
    /// The number of operations in a thousand that are never answered.
    pub crashed_per_mille: u32,
    /// Values repeat below this; 0 where each is written once.
    pub values_below: i64,
    pub defect: Defect,
}

/// A history, and the index from which its final phase begins.
pub struct Simulated {
    pub operations: Vec<Operation<Register>>,
    pub settled: u64,
}

enum Stage {
    Waiting,
    Answered(OpType, RegisterOp),
}

struct Client {
    process: u64,
    node: usize,
    pending: Option<(i64, RegisterOp, Stage)>,
}

struct World {
    random: ChaCha8Rng,
    shape: Shape,
    events: Vec<Event<Register>>,
    /// By key, its values, oldest first.
    values: BTreeMap<i64, Vec<Scalar>>,
    /// By node and key, how many of those it has.
    reached: BTreeMap<(usize, i64), usize>,
    written: i64,
    next_process: u64,
}

pub fn simulate(seed: u64, shape: Shape) -> Simulated {
    let mut world = World {
        random: ChaCha8Rng::seed_from_u64(seed),
        shape,
        events: Vec::new(),
        values: BTreeMap::new(),
        reached: BTreeMap::new(),
        written: 0,
        next_process: shape.processes as u64,
    };
    let mut clients: Vec<Client> = (0..shape.processes)
        .map(|at| Client { process: at as u64, node: at % shape.nodes, pending: None })
        .collect();
    let mut orphans: Vec<(i64, RegisterOp)> = Vec::new();
    let mut started = 0;
    while started < shape.operations || clients.iter().any(|client| client.pending.is_some()) {
        world.replicate();
        if !orphans.is_empty() && world.random.random_range(0..20) == 0 {
            let (key, op) = orphans.swap_remove(world.random.random_range(0..orphans.len()));
            world.apply(key, &op, 0);
        }
        let at = world.random.random_range(0..clients.len());
        let more = started < shape.operations;
        started += usize::from(world.step(&mut clients[at], more, &mut orphans));
    }
    let settled = world.events.len() as u64;
    world.settle(&mut orphans);
    Simulated { operations: pairs::pair(world.events).expect("clients do one thing at a time"), settled }
}

impl World {
    /// Moves one client; returns whether it began an operation.
    fn step(&mut self, client: &mut Client, more: bool, orphans: &mut Vec<(i64, RegisterOp)>) -> bool {
        match client.pending.take() {
            None if more => {
                let (key, op) = self.invent();
                self.event(client.process, client.node, OpType::Invoke, key, op.clone());
                client.pending = Some((key, op, Stage::Waiting));
                true
            }
            None => false,
            Some((key, op, stage)) if self.random.random_range(0..2000) < self.shape.crashed_per_mille => {
                self.event(client.process, client.node, OpType::Info, key, op.clone());
                client.process = self.next_process;
                self.next_process += 1;
                if matches!(stage, Stage::Waiting) && !matches!(op, RegisterOp::Read(_)) {
                    orphans.push((key, op));
                }
                false
            }
            Some((key, op, Stage::Waiting)) => {
                let (op_type, answer) = self.apply(key, &op, client.node);
                client.pending = Some((key, op, Stage::Answered(op_type, answer)));
                false
            }
            Some((key, _, Stage::Answered(op_type, answer))) => {
                self.event(client.process, client.node, op_type, key, answer);
                false
            }
        }
    }

    /// Everything is healed: replicas come to agree, and each key is read at each of them.
    fn settle(&mut self, orphans: &mut Vec<(i64, RegisterOp)>) {
        let stuck = self.random.random_range(0..self.shape.nodes);
        for key in 0..self.shape.keys {
            let all = self.values.entry(key).or_default().len();
            let slowest = (0..self.shape.nodes).map(|node| self.reached(node, key)).min().unwrap_or(0);
            for node in 0..self.shape.nodes {
                let reached = match self.shape.defect {
                    Defect::Stuck if node == stuck => continue,
                    Defect::AllStuck => slowest,
                    _ => all,
                };
                self.reached.insert((node, key), reached);
            }
        }
        for key in 0..self.shape.keys {
            for node in 0..self.shape.nodes {
                // Operations in progress may take effect even now, and then at all replicas.
                if self.shape.defect == Defect::None
                    && !orphans.is_empty()
                    && self.random.random_range(0..10) == 0
                {
                    let (key, op) = orphans.swap_remove(self.random.random_range(0..orphans.len()));
                    self.apply(key, &op, 0);
                    let all = self.values.entry(key).or_default().len();
                    self.reached.extend((0..self.shape.nodes).map(|node| ((node, key), all)));
                }
                let process = self.next_process;
                self.next_process += 1;
                self.event(process, node, OpType::Invoke, key, RegisterOp::Read(None));
                let value = self.held(node, key);
                self.event(process, node, OpType::Ok, key, RegisterOp::Read(value));
            }
        }
    }

    fn replicate(&mut self) {
        let (node, key) =
            (self.random.random_range(0..self.shape.nodes), self.random.random_range(0..self.shape.keys));
        let (reached, all) = (self.reached(node, key), self.values.entry(key).or_default().len());
        if reached < all {
            let next = self.random.random_range(reached..=all);
            self.reached.insert((node, key), next);
        }
    }

    fn reached(&self, node: usize, key: i64) -> usize {
        self.reached.get(&(node, key)).copied().unwrap_or(0)
    }

    fn held(&self, node: usize, key: i64) -> Option<Scalar> {
        let reached = self.reached(node, key);
        reached.checked_sub(1).map(|last| self.values[&key][last].clone())
    }

    fn apply(&mut self, key: i64, op: &RegisterOp, node: usize) -> (OpType, RegisterOp) {
        let (defect, chance) = (self.shape.defect, self.random.random_range(0..100));
        let now = self.values.entry(key).or_default().last().cloned();
        match op {
            RegisterOp::Read(_) if defect == Defect::Phantom && chance < 2 => {
                (OpType::Ok, RegisterOp::Read(Some(Scalar::from("never written"))))
            }
            RegisterOp::Read(_) => (OpType::Ok, RegisterOp::Read(self.held(node, key))),
            RegisterOp::Write(value) => {
                if !(defect == Defect::LostWrite && chance < 5) {
                    self.values.entry(key).or_default().push(value.clone());
                }
                let refused = defect == Defect::Aborted && chance < 5;
                (if refused { OpType::Fail } else { OpType::Ok }, op.clone())
            }
            RegisterOp::Delete => unreachable!("deletes are not invented"),
            RegisterOp::Cas { old, new } => {
                let found = if defect == Defect::StaleCas { self.held(node, key) } else { now };
                if *old != found {
                    return (OpType::Fail, op.clone());
                }
                self.values.entry(key).or_default().push(new.clone());
                (OpType::Ok, op.clone())
            }
        }
    }

    fn invent(&mut self) -> (i64, RegisterOp) {
        let key = self.random.random_range(0..self.shape.keys);
        let op = match self.random.random_range(0..10) {
            0..5 => RegisterOp::Read(None),
            5..8 => RegisterOp::Write(self.new_value()),
            _ => {
                let node = self.random.random_range(0..self.shape.nodes);
                let old = match self.shape.defect {
                    Defect::StaleCas => self.held(node, key),
                    _ => self.values.entry(key).or_default().last().cloned(),
                };
                RegisterOp::Cas { old, new: self.new_value() }
            }
        };
        (key, op)
    }

    fn new_value(&mut self) -> Scalar {
        self.written += 1;
        Scalar::Int(match self.shape.values_below {
            0 => self.written,
            below => self.random.random_range(0..below),
        })
    }

    fn event(&mut self, process: u64, node: usize, op_type: OpType, key: i64, op: RegisterOp) {
        let index = self.events.len() as u64;
        self.events.push(Event {
            index,
            time: index * 1_000,
            process: Process(process),
            op_type,
            action: Register { key: Scalar::Int(key), op },
            node: Some(NodeId::new(format!("n{node}"))),
            error: None,
        });
    }
}
