//! Transactions, written in short.

use duress_history::txn::{Act, Answer, Micro, Txn};

/// Returns the transaction of these words: `ax1` appends 1 to x, or writes it, and `rx` reads x.
pub fn txn<R: Answer>(words: &str) -> Txn<R> {
    let micro = |word: &str| {
        let act = match word.split_at(2).1 {
            "" => Act::Read(None),
            value => Act::Write(value.parse::<i64>().unwrap().into()),
        };
        Micro { key: word[1..2].into(), act }
    };
    Txn { micros: words.split_whitespace().map(micro).collect() }
}
