//! Consumer groups: which member reads which partitions, and how far the group has read.
//!
//! [`Coordinator`] is a state machine without I/O and without a clock: it is called with requests and the time, and
//! returns [`Action`]s: replies to requests, at once or when the other members have done their part, and records to append
//! to the internal topic [`OFFSETS_TOPIC`]. It answers that something is done only after its record was appended and
//! replicated; so another broker that becomes leader of the group's partition of that topic restores the same state by
//! reading it ([`Coordinator::begin_load`]).
//!
//! The protocol is the classic one, in which a member of the group computes the assignment: [`membership`] says how.
//! Memberships are dynamic: the versions of the requests that carry a `group.instance.id` are not offered.
//!
//! Offsets that a transaction commits count with the transaction: [`transactions`].
//!
//! Sources: the Kafka manual, "Protocol", and improvement proposals 62 (two time-outs), 394 (members are known before
//! they join).

mod coordinator;
mod error;
mod keeping;
mod member;
mod membership;
mod rebalance;
mod record;
mod state;
mod transactions;

pub use crate::internal::{Content, Token, WriteId, partition_of};
pub use coordinator::{Action, Coordinator, GroupOptions, Load, Reply};
pub use error::GroupError;
pub use member::{Described, DescribedMember, JoinRequest, MemberIds, Protocol};
pub use membership::{CommitFence, Departure};
pub use rebalance::{Joined, JoinedMember};
pub use record::{Committed, OffsetsOnLoad, TopicPartition, UndecodableRecord};
pub use transactions::{Stability, TransactionalOffsets};

/// The internal, compacted topic that holds the groups.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";
