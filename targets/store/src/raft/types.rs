//! The replicated state, a shard: in this mode the one that holds every key.

use duress_consensus::Applied;

use crate::command::{Answer, Query};
use crate::sharded::shard::Shard;

/// A shared view of the state.
pub type StateView = duress_consensus::StateView<Shard>;

/// Answers queries, all as of one state.
pub fn answer_all(applied: &Applied<Shard>, queries: &[Query]) -> Vec<Answer> {
    queries.iter().map(|query| applied.state.answer(query)).collect()
}
