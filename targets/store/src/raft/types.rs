//! The entries of the log, and their effect on the state.

use duress_consensus::state_machine::{self, State};
pub use duress_consensus::types::{Appended, Batch, LeaderId, LogId};
use serde::{Deserialize, Serialize};

use crate::command::{Answer, Command, KeyValues, Query, Reply};

openraft::declare_raft_types!(
    /// The types of this store's consensus.
    pub TypeConfig:
        D = Batch,
        R = Replies,
        NodeId = u64,
        Node = openraft::BasicNode,
        Entry = openraft::Entry<TypeConfig>,
        SnapshotData = std::io::Cursor<Vec<u8>>,
        AsyncRuntime = openraft::TokioRuntime,
);

/// The handle on a running consensus.
pub type Raft = openraft::Raft<TypeConfig>;
/// The state as of a position in the log.
pub type Applied = state_machine::Applied<KeyValues>;
/// A shared view of the state.
pub type StateView = state_machine::StateView<KeyValues>;
/// The state machine that applies the log.
pub type StateMachine = state_machine::StateMachine<TypeConfig, KeyValues>;

/// The replies to the commands of a [`Batch`], in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replies(pub Vec<Reply>);

impl State<TypeConfig> for KeyValues {
    fn apply(&mut self, _: u64, batch: &Batch) -> Result<Replies, postcard::Error> {
        let commands: Vec<Command> = batch.commands()?;
        Ok(Replies(commands.iter().map(|command| KeyValues::apply(self, command)).collect()))
    }

    fn nothing_applied() -> Replies {
        Replies::default()
    }
}

/// Answers queries, all as of one state.
pub fn answer_all(applied: &Applied, queries: &[Query]) -> Vec<Answer> {
    queries.iter().map(|query| applied.state.answer(query)).collect()
}
