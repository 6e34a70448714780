//! Histories of one queue under concurrent clients, made without threads or time: no value goes in twice.

use std::collections::VecDeque;

use duress_checkers::queue::Order;
use duress_history::total_queue::TotalQueue;
use duress_history::{Event, OpType, Operation, Process, Scalar, pairs};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The shape of a simulated history.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub operations: usize,
    pub processes: usize,
    pub order: Order,
    /// The number of operations in a thousand that are never answered.
    pub crashed_per_mille: u32,
}

/// A client's operation: the request, and the answer once it has taken effect.
type Open = Option<(TotalQueue, Option<TotalQueue>)>;

/// Returns a history of `shape`, the same for the same `seed`.
///
/// An operation takes effect at one of the steps between its invocation and its answer. One without an answer takes effect
/// or not.
pub fn simulate(seed: u64, shape: Shape) -> Vec<Operation<TotalQueue>> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut events: Vec<Event<TotalQueue>> = Vec::with_capacity(2 * shape.operations);
    let mut queue: VecDeque<i64> = VecDeque::new();
    let mut clients: Vec<(u64, Open)> = (0..shape.processes as u64).map(|process| (process, None)).collect();
    let (mut started, mut next_process) = (0, shape.processes as u64);
    while started < shape.operations || clients.iter().any(|(_, open)| open.is_some()) {
        let at = random.random_range(0..clients.len());
        let (process, open) = &mut clients[at];
        let event = match open.take() {
            None if started == shape.operations => None,
            None => {
                started += 1;
                let asked = match random.random_range(0..2) {
                    0 => TotalQueue::Enqueue(Scalar::Int(started as i64)),
                    _ => TotalQueue::Dequeue(None),
                };
                *open = Some((asked.clone(), None));
                Some((*process, OpType::Invoke, asked))
            }
            Some((asked, _)) if random.random_range(0..2_000) < shape.crashed_per_mille => {
                let ended = (*process, OpType::Info, asked);
                *process = next_process;
                next_process += 1;
                Some(ended)
            }
            Some((asked, None)) => {
                let answer = match &asked {
                    TotalQueue::Enqueue(Scalar::Int(value)) => {
                        queue.push_back(*value);
                        asked.clone()
                    }
                    _ => TotalQueue::Dequeue(taken(&mut queue, shape.order, &mut random).map(Scalar::Int)),
                };
                *open = Some((asked, Some(answer)));
                None
            }
            Some((_, Some(answer))) => Some((*process, OpType::Ok, answer)),
        };
        if let Some((process, op_type, action)) = event {
            let index = events.len() as u64;
            let (process, time) = (Process(process), index * 1_000);
            events.push(Event { index, time, process, op_type, action, node: None, error: None });
        }
    }
    pairs::pair(events).expect("clients do one thing at a time")
}

fn taken(queue: &mut VecDeque<i64>, order: Order, random: &mut ChaCha8Rng) -> Option<i64> {
    match order {
        _ if queue.is_empty() => None,
        Order::Fifo => queue.pop_front(),
        Order::Lifo => queue.pop_back(),
        Order::Least => {
            let least = queue.iter().min().copied();
            queue.retain(|value| Some(*value) != least);
            least
        }
        Order::Any => queue.swap_remove_back(random.random_range(0..queue.len())),
    }
}
