//! Transactions of many clients on an atomic store, simulated: strict serializable, however long.

use std::collections::{BinaryHeap, HashMap};

use duress_history::txn::{Act, Answer, Elements, Held, Micro, Txn};
use duress_history::{Completion, Operation, Process, Scalar};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// How long a history is, and what it looks like.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub transactions: usize,
    pub clients: u64,
    /// The number of transactions in a thousand that are never answered.
    pub crashed_per_mille: u32,
    /// The number of keys in use at a time; each is replaced after `writes_per_key` writes.
    pub keys: usize,
    pub writes_per_key: u32,
    pub seed: u64,
}

/// The value of a key in the store.
pub trait Kept: Answer {
    fn after(kept: Option<&Self>, value: i64) -> Self;
    fn nothing() -> Self;
}

impl Kept for Elements {
    fn after(kept: Option<&Self>, value: i64) -> Self {
        let before = kept.map_or(&[][..], |Elements(list)| list);
        Self(before.iter().cloned().chain([Scalar::from(value)]).collect())
    }

    fn nothing() -> Self {
        Self(Box::default())
    }
}

impl Kept for Held {
    fn after(_: Option<&Self>, value: i64) -> Self {
        Self(Some(Scalar::from(value)))
    }

    fn nothing() -> Self {
        Self(None)
    }
}

/// Events of a simulation at a time: a client begins, its transaction takes effect, it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Begin(u64),
    Effect(usize),
    Answer(usize),
}

/// Such a history.
pub fn simulate<R: Kept>(shape: &Shape) -> Vec<Operation<Txn<R>>> {
    let mut random = ChaCha8Rng::seed_from_u64(shape.seed);
    let mut turns: BinaryHeap<std::cmp::Reverse<(u64, Turn)>> =
        (0..shape.clients).map(|client| std::cmp::Reverse((client, Turn::Begin(client)))).collect();
    let mut kept: HashMap<i64, R> = HashMap::new();
    // Keys in use, each with how often it was written, and the next to be used.
    let mut keys: Vec<(i64, u32)> = (0..shape.keys as i64).map(|key| (key, 0)).collect();
    let (mut next_key, mut next_process, mut index) = (shape.keys as i64, shape.clients, 0);
    let mut values: HashMap<i64, i64> = HashMap::new();
    let mut operations: Vec<Operation<Txn<R>>> = Vec::with_capacity(shape.transactions);
    let mut process_of: Vec<u64> = (0..shape.clients).collect();
    let mut clients: Vec<u64> = Vec::new();
    while let Some(std::cmp::Reverse((time, turn))) = turns.pop() {
        match turn {
            Turn::Begin(_) if operations.len() == shape.transactions => {}
            Turn::Begin(client) => {
                let micros = (0..random.random_range(1..=4)).map(|_| {
                    let slot = (random.random_range(0..shape.keys * shape.keys) as f64).sqrt() as usize;
                    let (key, writes) = &mut keys[slot];
                    let name = Scalar::from(*key);
                    if random.random_bool(0.5) {
                        return Micro { key: name, act: Act::Read(None) };
                    }
                    let value = values.entry(*key).or_default();
                    *value += 1;
                    let act = Act::Write(Scalar::from(*value));
                    *writes += 1;
                    if *writes == shape.writes_per_key {
                        (*key, *writes) = (next_key, 0);
                        next_key += 1;
                    }
                    Micro { key: name, act }
                });
                let action = Txn { micros: micros.collect() };
                let op = operations.len();
                let process = Process(process_of[client as usize]);
                let completion = Completion::Info { at: None, error: None };
                operations.push(Operation { process, node: None, index, time, action, completion });
                clients.push(client);
                index += 1;
                let effect = time + random.random_range(1..5_000_000);
                turns.push(std::cmp::Reverse((effect, Turn::Effect(op))));
                if random.random_range(0..1_000) < shape.crashed_per_mille {
                    process_of[client as usize] = next_process;
                    next_process += 1;
                    turns.push(std::cmp::Reverse((time + 10_000_000, Turn::Begin(client))));
                } else {
                    let answer = effect + random.random_range(1..5_000_000);
                    turns.push(std::cmp::Reverse((answer, Turn::Answer(op))));
                }
            }
            Turn::Effect(op) => {
                let mut answer = operations[op].action.clone();
                for micro in &mut answer.micros {
                    let Scalar::Int(key) = micro.key else { unreachable!("keys are numbers here") };
                    match &mut micro.act {
                        Act::Write(Scalar::Int(value)) => {
                            let after = R::after(kept.get(&key), *value);
                            kept.insert(key, after);
                        }
                        Act::Write(_) => unreachable!("values are numbers here"),
                        Act::Read(answer) => {
                            *answer = Some(kept.get(&key).cloned().unwrap_or_else(R::nothing))
                        }
                    }
                }
                operations[op].completion = Completion::Ok { index: u64::MAX, time: u64::MAX, answer };
            }
            Turn::Answer(op) => {
                let Completion::Ok { index: at, time: when, .. } = &mut operations[op].completion else {
                    unreachable!("it took effect");
                };
                (*at, *when) = (index, time);
                index += 1;
                turns.push(std::cmp::Reverse((
                    time + random.random_range(1..1_000_000),
                    Turn::Begin(clients[op]),
                )));
            }
        }
    }
    // A transaction that was never answered took effect, and its client does not know it.
    for operation in &mut operations {
        if matches!(operation.completion, Completion::Ok { index: u64::MAX, .. }) {
            operation.completion = Completion::Info { at: None, error: None };
        }
    }
    operations
}
