//! Small histories, drawn: transactions one after the other, made wrong in one way or in none.

use proptest::collection::vec;
use proptest::prelude::*;

use super::definitions::{Act, Data, Ended, Seen, Small, Transaction};

/// The random choices from which a history is made.
#[derive(Clone, Debug)]
pub struct Drawn {
    transactions: Vec<DrawnTransaction>,
    /// The order in which transactions take effect: each is swapped with another.
    swaps: Vec<usize>,
    defects: Vec<Defect>,
}

#[derive(Clone, Debug)]
struct DrawnTransaction {
    process: u32,
    gap: u64,
    length: u64,
    ended: u32,
    acts: Vec<(bool, u8)>,
}

/// How a history is made wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    None,
    /// Answers come from other states than the latest: so many transactions ago.
    Stale(usize, usize),
    Swapped(usize),
    /// One of the reads is answered with something else that was written, or with nothing.
    Answered(usize, usize),
}

impl Arbitrary for Drawn {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with((): ()) -> BoxedStrategy<Self> {
        let transaction =
            (0_u32..3, 0_u64..4, 1_u64..8, 0_u32..12, vec((any::<bool>(), 0_u8..2), 2..4)).prop_map(
                |(process, gap, length, ended, acts)| DrawnTransaction { process, gap, length, ended, acts },
            );
        let defect = prop_oneof![
            1 => Just(Defect::None),
            6 => (0_usize..5, 1_usize..4).prop_map(|(at, ago)| Defect::Stale(at, ago)),
            2 => (0_usize..8).prop_map(Defect::Swapped),
            6 => (0_usize..8, 0_usize..8).prop_map(|(read, value)| Defect::Answered(read, value)),
        ];
        (vec(transaction, 2..6), vec(0_usize..6, 6), vec(defect, 0..4))
            .prop_map(|(transactions, swaps, defects)| Self { transactions, swaps, defects })
            .boxed()
    }
}

/// The history that is drawn.
pub fn simulate<D: Data>(drawn: &Drawn) -> Small {
    let mut free = [0_u64; 3];
    let mut next_process = 3;
    let mut process_of = [0, 1, 2];
    let mut history = Small::default();
    for (number, transaction) in drawn.transactions.iter().enumerate() {
        let slot = transaction.process as usize;
        // Times differ: no two events are at one.
        let begin = (free[slot] + transaction.gap) * 16 + 2 * number as u64 + 1;
        let end = begin + transaction.length * 16;
        free[slot] = end / 16 + 1;
        let ended = match transaction.ended {
            0 => Ended::Fail,
            1 => Ended::Info,
            _ => Ended::Ok,
        };
        let mut value = 10 * number as u32 + 10;
        let acts = transaction.acts.iter().map(|(writes, key)| {
            value += 1;
            if *writes { Act::Write(*key, value) } else { Act::Read(*key, Seen::new()) }
        });
        let acts = acts.collect();
        history.transactions.push(Transaction { process: process_of[slot], begin, end, ended, acts });
        if ended == Ended::Info {
            process_of[slot] = next_process;
            next_process += 1;
        }
    }
    // They take effect by their ends, but for some that are swapped.
    let mut order: Vec<usize> = (0..history.transactions.len()).collect();
    order.sort_by_key(|at| history.transactions[*at].end);
    for (at, defect) in drawn.defects.iter().enumerate() {
        if let Defect::Swapped(with) = defect {
            let (one, other) = (drawn.swaps[at] % order.len(), with % order.len());
            order.swap(one, other);
        }
    }
    let mut states: Vec<std::collections::HashMap<u8, Seen>> = vec![Default::default()];
    for (turn, at) in order.into_iter().enumerate() {
        let stale = drawn.defects.iter().find_map(|defect| match defect {
            Defect::Stale(when, ago) if *when == turn => Some(*ago),
            _ => None,
        });
        let mut seen = states[(states.len() - 1).saturating_sub(stale.unwrap_or(0))].clone();
        let mut latest = states[states.len() - 1].clone();
        let transaction = &mut history.transactions[at];
        let mut reads = 0;
        for act in &mut transaction.acts {
            match act {
                Act::Write(key, value) => {
                    for state in [&mut seen, &mut latest] {
                        let before = state.entry(*key).or_default();
                        *before = D::written(before, *value);
                    }
                }
                // Every other read is old.
                Act::Read(key, answer) => {
                    reads += 1;
                    let state = if reads % 2 == 1 { &seen } else { &latest };
                    *answer = state.get(key).cloned().unwrap_or_default();
                }
            }
        }
        let happens = match transaction.ended {
            Ended::Ok => true,
            Ended::Info => at % 2 == 0,
            Ended::Fail => false,
        };
        states.push(if happens { latest } else { states[states.len() - 1].clone() });
    }
    for defect in &drawn.defects {
        if let Defect::Answered(read, value) = defect {
            answer::<D>(&mut history, *read, *value);
        }
    }
    history
}

/// Answers a read otherwise: with a value that any transaction wrote to the object, which a list has at its end then, or with less.
fn answer<D: Data>(history: &mut Small, read: usize, value: usize) {
    let mut written: Vec<(u8, u32)> = Vec::new();
    let mut reads: Vec<(u8, &mut Seen)> = Vec::new();
    for act in history.transactions.iter_mut().flat_map(|transaction| &mut transaction.acts) {
        match act {
            Act::Write(key, value) => written.push((*key, *value)),
            Act::Read(key, seen) => reads.push((*key, seen)),
        }
    }
    if reads.is_empty() {
        return;
    }
    let at = read % reads.len();
    let (key, seen) = &mut reads[at];
    let values: Vec<u32> = written.iter().filter(|(of, _)| of == key).map(|(_, value)| *value).collect();
    match values.get(value % (values.len() + 1)) {
        Some(value) if seen.contains(value) => seen.retain(|held| held != value),
        Some(value) => **seen = D::written(seen, *value),
        None => {
            seen.pop();
        }
    }
}
