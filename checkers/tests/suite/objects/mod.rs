//! Histories of one object under concurrent clients, with replicas that may lag behind, made without threads or time.
//!
//! A change takes effect, at one of its steps, at the end of a list of states. A read returns the last, or,
//! if replicas lag behind, the one that its replica has come to. At the end every replica has come to all,
//! and is read.

use duress_history::{Event, NodeId, OpType, Operation, Payload, Process, pairs};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The operations on an object.
pub trait Object: Payload {
    type State: Clone + Default;
    fn is_read(&self) -> bool;
    /// Returns the object's state afterwards.
    fn changed(&self, state: &Self::State) -> Self::State;
    /// Returns the operation's answer.
    fn answered(&self, state: &Self::State) -> Self;
}

/// A way in which the system breaks its promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    None,
    /// One change in twenty is acknowledged and not made.
    Lost,
    /// One read in ten returns the value of a few changes ago.
    Stale,
    /// One change in twenty is refused and made all the same.
    Refused,
    /// One change in twenty is made twice.
    Twice,
    /// At the end one replica stays where it was.
    Stuck,
    /// At the end all replicas lack the last changes.
    AllStuck,
}

/// The shape of a simulated history.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub operations: usize,
    pub processes: usize,
    pub nodes: usize,
    /// The number of operations in a thousand that are never answered.
    pub crashed_per_mille: u32,
    /// The number of reads in ten operations.
    pub reads_per_ten: u32,
    /// Whether replicas lag behind.
    pub lagging: bool,
    pub defect: Defect,
}

struct World<A: Object> {
    random: ChaCha8Rng,
    shape: Shape,
    events: Vec<Event<A>>,
    states: Vec<A::State>,
    /// By node, how many states it has.
    reached: Vec<usize>,
    next_process: u64,
}

enum Stage<A> {
    Waiting(A),
    Answered(OpType, A),
}

/// Returns a history of `shape`, the same for the same `seed`, and the index from which its final phase
/// begins. `invent` gives the nth change, and a read.
pub fn simulate<A: Object>(
    seed: u64,
    shape: Shape,
    mut invent: impl FnMut(&mut ChaCha8Rng, usize) -> A,
    read: &A,
) -> (Vec<Operation<A>>, u64) {
    let mut world = World {
        random: ChaCha8Rng::seed_from_u64(seed),
        shape,
        events: Vec::new(),
        states: vec![A::State::default()],
        reached: vec![1; shape.nodes],
        next_process: shape.processes as u64,
    };
    let mut clients: Vec<(u64, Option<Stage<A>>)> =
        (0..shape.processes).map(|at| (at as u64, None)).collect();
    let mut orphans: Vec<A> = Vec::new();
    let (mut started, mut changes) = (0, 0);
    while started < shape.operations || clients.iter().any(|(_, stage)| stage.is_some()) {
        world.replicate();
        if !orphans.is_empty() && world.random.random_range(0..20) == 0 {
            let orphan = orphans.swap_remove(world.random.random_range(0..orphans.len()));
            world.apply(&orphan, 0);
        }
        let at = world.random.random_range(0..clients.len());
        let node = at % shape.nodes;
        let process = clients[at].0;
        clients[at].1 = match clients[at].1.take() {
            None if started == shape.operations => None,
            None => {
                started += 1;
                let action = if world.random.random_range(0..10) < shape.reads_per_ten {
                    read.clone()
                } else {
                    changes += 1;
                    invent(&mut world.random, changes)
                };
                world.event(process, node, OpType::Invoke, action.clone());
                Some(Stage::Waiting(action))
            }
            Some(stage) if world.random.random_range(0..2000) < shape.crashed_per_mille => {
                let (Stage::Waiting(action) | Stage::Answered(_, action)) = &stage;
                let asked = if action.is_read() { read.clone() } else { action.clone() };
                world.event(process, node, OpType::Info, asked);
                clients[at].0 = world.next_process;
                world.next_process += 1;
                if let Stage::Waiting(action) = stage
                    && !action.is_read()
                {
                    orphans.push(action);
                }
                None
            }
            Some(Stage::Waiting(action)) => {
                let (op_type, answer) = world.apply(&action, node);
                Some(Stage::Answered(op_type, answer))
            }
            Some(Stage::Answered(op_type, answer)) => {
                world.event(process, node, op_type, answer);
                None
            }
        };
    }
    let settled = world.events.len() as u64;
    world.settle(read);
    (pairs::pair(world.events).expect("clients do one thing at a time"), settled)
}

impl<A: Object> World<A> {
    fn replicate(&mut self) {
        let (node, all) = (self.random.random_range(0..self.shape.nodes), self.states.len());
        let reached = self.reached[node];
        self.reached[node] = if self.shape.lagging { self.random.random_range(reached..=all) } else { all };
    }

    fn apply(&mut self, action: &A, node: usize) -> (OpType, A) {
        let (defect, chance) = (self.shape.defect, self.random.random_range(0..100));
        let last = self.states.len() - 1;
        if action.is_read() {
            let at = match (self.shape.lagging, defect) {
                (true, _) => self.reached[node] - 1,
                (false, Defect::Stale) if chance < 10 => last.saturating_sub(5),
                (false, _) => last,
            };
            return (OpType::Ok, action.answered(&self.states[at]));
        }
        let mut now = self.states[last].clone();
        if !(defect == Defect::Lost && chance < 5) {
            now = action.changed(&now);
        }
        if defect == Defect::Twice && chance < 5 {
            now = action.changed(&now);
        }
        self.states.push(now);
        let refused = defect == Defect::Refused && chance < 5;
        (if refused { OpType::Fail } else { OpType::Ok }, action.clone())
    }

    /// Everything is healed: replicas come to agree, and each is read.
    fn settle(&mut self, read: &A) {
        let last = self.states.len() - 1;
        for node in 0..self.shape.nodes {
            let at = match self.shape.defect {
                Defect::Stuck if node == 0 => last.saturating_sub(10),
                Defect::AllStuck => last.saturating_sub(10),
                _ => last,
            };
            let process = self.next_process;
            self.next_process += 1;
            self.event(process, node, OpType::Invoke, read.clone());
            let answer = read.answered(&self.states[at]);
            self.event(process, node, OpType::Ok, answer);
        }
    }

    fn event(&mut self, process: u64, node: usize, op_type: OpType, action: A) {
        let index = self.events.len() as u64;
        self.events.push(Event {
            index,
            time: index * 1_000,
            process: Process(process),
            op_type,
            action,
            node: Some(NodeId::new(format!("n{node}"))),
            error: None,
        });
    }
}
