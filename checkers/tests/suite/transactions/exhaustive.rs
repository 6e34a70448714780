//! Every small history: all that two transactions of two operations can do and be answered, and three of one.

use super::definitions::{Act, Data, Ended, Seen, Small, Transaction};

/// How transactions lie in time: for each its process, its beginning and its end.
type Layout = [(u32, u64, u64); 3];

/// At one time, one after the other in one process, one after the other in several, and with one that overlaps two in a row.
const LAYOUTS: [Layout; 4] = [
    [(0, 1, 10), (1, 2, 11), (2, 3, 12)],
    [(0, 1, 2), (0, 3, 4), (0, 5, 6)],
    [(0, 1, 2), (1, 3, 4), (2, 5, 6)],
    [(0, 1, 3), (1, 2, 6), (0, 4, 5)],
];

/// Calls `see` with every history of transactions of so many operations on two objects, where no more than one transaction is of
/// another outcome than the others; the second object is not used before the first.
pub fn every<D: Data>(lengths: &[usize], see: &mut dyn FnMut(&Small)) {
    let count: u32 = lengths.iter().sum::<usize>() as u32;
    for shape in (0..4_u32.pow(count)).filter(|shape| shape % 2 == 0) {
        let mut rest = shape;
        let mut value = 0;
        let mut acts = |length: usize| -> Vec<Act> {
            let next = |_| {
                let (key, reads) = ((rest % 2) as u8, rest / 2 % 2 == 1);
                rest /= 4;
                value += 1;
                if reads { Act::Read(key, Seen::new()) } else { Act::Write(key, value) }
            };
            (0..length).map(next).collect()
        };
        let transactions: Vec<Vec<Act>> = lengths.iter().map(|length| acts(*length)).collect();
        let written = [0, 1].map(|key| {
            let all = transactions.iter().flatten();
            let of_key = all.filter_map(move |act| match act {
                Act::Write(of, value) if *of == key => Some(*value),
                _ => None,
            });
            answers::<D>(&of_key.collect::<Vec<u32>>())
        });
        for layout in &LAYOUTS {
            for (at, ended) in [(0, Ended::Ok), (0, Ended::Info), (0, Ended::Fail), (1, Ended::Info)] {
                let mut history = Small::default();
                for (number, (acts, (process, begin, end))) in transactions.iter().zip(layout).enumerate() {
                    let ended = if number == at { ended } else { Ended::Ok };
                    let acts = acts.clone();
                    history.transactions.push(Transaction {
                        process: *process,
                        begin: *begin,
                        end: *end,
                        ended,
                        acts,
                    });
                }
                // A process does nothing more after a transaction of unknown outcome.
                let process = history.transactions[at].process;
                let later = history.transactions[at + 1..].iter().any(|it| it.process == process);
                if ended == Ended::Info && later {
                    continue;
                }
                answered(&mut history, 0, &written, see);
            }
        }
    }
}

/// Returns every answer that a read of an object may get if these values are written to it.
fn answers<D: Data>(written: &[u32]) -> Vec<Seen> {
    if D::WRITE == "w" {
        return std::iter::once(Seen::new()).chain(written.iter().map(|value| vec![*value])).collect();
    }
    let mut all = vec![Seen::new()];
    let mut at = 0;
    while at < all.len() {
        let before = all[at].clone();
        all.extend(
            written
                .iter()
                .filter(|value| !before.contains(value))
                .map(|value| [&before[..], &[*value]].concat()),
        );
        at += 1;
    }
    all
}

/// Calls `see` with the history, its reads from the `at`th operation on answered in every way.
fn answered(history: &mut Small, at: usize, answers: &[Vec<Seen>; 2], see: &mut dyn FnMut(&Small)) {
    let all = history.transactions.iter_mut().flat_map(|transaction| {
        let is_ok = transaction.ended == Ended::Ok;
        transaction.acts.iter_mut().map(move |act| (is_ok, act))
    });
    let Some((is_ok, act)) = all.into_iter().nth(at) else { return see(history) };
    let (key, is_ok) = match act {
        Act::Read(key, _) => (*key, is_ok),
        Act::Write(..) => return answered(history, at + 1, answers, see),
    };
    // A transaction without an acknowledgement has no answers.
    let many = if is_ok { answers[key as usize].len() } else { 1 };
    for answer in &answers[key as usize][..many] {
        let mut all = history.transactions.iter_mut().flat_map(|transaction| &mut transaction.acts);
        if let Some(Act::Read(_, seen)) = all.nth(at) {
            seen.clone_from(answer);
        }
        answered(history, at + 1, answers, see);
    }
}
