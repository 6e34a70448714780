//! The replicated state: the keys and their values.

use duress_consensus::{Applied, State};

use crate::command::{Answer, Command, Query, Reply};
use crate::key_values::{FORMAT, KeyValues};

/// A shared view of the state.
pub type StateView = duress_consensus::StateView<KeyValues>;

impl State for KeyValues {
    type Command = Command;
    type Reply = Reply;
    const FORMAT: u32 = FORMAT;

    fn apply(&mut self, index: u64, command: Command) -> Reply {
        KeyValues::apply(self, index, &command).0
    }
}

/// Answers queries, all as of one state.
pub fn answer_all(applied: &Applied<KeyValues>, queries: &[Query]) -> Vec<Answer> {
    queries.iter().map(|query| applied.state.answer(query)).collect()
}
