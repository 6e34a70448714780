//! Transactions: which producer may write under a transactional id, and what becomes of what it wrote.
//!
//! [`Coordinator`] is a state machine without I/O and without a clock, as that of [groups](crate::group) is: its state is
//! in the internal topic [`TRANSACTIONS_TOPIC`], and it answers that something is done only after its record was appended
//! and replicated. In reading order: `state`, `coordinator`, `record`, `error`.
//!
//! Source: Kafka improvement proposals 98 (transactions), 360 and 588 (what a fenced producer may do).

mod coordinator;
mod error;
mod record;
mod state;

pub use coordinator::{Action, Coordinator, Ending, Load, Reply};
pub use error::TransactionError;
pub use state::Stage;

/// The internal, compacted topic that holds the state of transactions.
pub const TRANSACTIONS_TOPIC: &str = "__transaction_state";
