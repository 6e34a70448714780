//! Clients of every system that speaks the Kafka protocol.
//!
//! The codec is a crate's; everything that decides the outcome of an operation is here, since a client that
//! repeats a request by itself, or calls an error definite that is not, would falsify the history.
//!
//! - [`LogClient`], [`TableClient`] and [`StreamClient`] are called by the workloads, [`create_topics`] makes their topics;
//! - beneath them: a producer, a consumer with its group membership, and the view of the cluster they share,
//!   with one connection to each broker in use.
//!
//! # The outcome of an operation
//!
//! | what the client saw | sends, puts, deletes | `commit` | polls and other reads |
//! |---|---|---|---|
//! | acknowledged | `Ok`, with the offset | `Ok` | `Ok` |
//! | `acks=0`: written to the connection | `Ok`, offset unknown: no broker will ever say more | – | – |
//! | no connection, no leader known, nothing written yet | `Fail` | `Fail` | `Fail` |
//! | time-out, broken connection after that | `Info` | `Info` | `Fail` |
//! | an error of the lists below | `Fail` | `Fail` | `Fail` |
//! | any other error | `Info` | `Info` | `Fail` |
//!
//! *Appended nothing*: UNKNOWN_TOPIC_OR_PARTITION, UNKNOWN_TOPIC_ID, CORRUPT_MESSAGE, MESSAGE_TOO_LARGE,
//! RECORD_LIST_TOO_LARGE, INVALID_RECORD, INVALID_TIMESTAMP, INVALID_TOPIC_EXCEPTION, INVALID_REQUIRED_ACKS,
//! INVALID_REQUEST, UNSUPPORTED_VERSION, UNSUPPORTED_FOR_MESSAGE_FORMAT, UNSUPPORTED_COMPRESSION_TYPE, POLICY_VIOLATION,
//! the failed authorizations, NOT_ENOUGH_REPLICAS, OUT_OF_ORDER_SEQUENCE_NUMBER, INVALID_PRODUCER_EPOCH,
//! UNKNOWN_PRODUCER_ID, PRODUCER_FENCED. A leader finds these before it appends: Kafka's `ReplicaManager` and
//! `ProducerStateManager` validate first, and the protocol's table of errors says of NOT_ENOUGH_REPLICAS that messages
//! "are rejected". Jepsen's tests of Redpanda complete the same ones as failed. Not among them, though they sound like it:
//! - NOT_LEADER_OR_FOLLOWER: a leader that is deposed while it waits for its followers answers so for what it has
//!   appended (KAFKA-13574);
//! - NOT_ENOUGH_REPLICAS_AFTER_APPEND: its name says it;
//! - REQUEST_TIMED_OUT, NETWORK_EXCEPTION, UNKNOWN_SERVER_ERROR, KAFKA_STORAGE_ERROR, and errors without a name.
//!
//! DUPLICATE_SEQUENCE_NUMBER is an acknowledgement without an offset: only this producer has the number.
//!
//! *Committed nothing*: COORDINATOR_LOAD_IN_PROGRESS, ILLEGAL_GENERATION, UNKNOWN_MEMBER_ID, REBALANCE_IN_PROGRESS,
//! FENCED_INSTANCE_ID, INVALID_GROUP_ID, OFFSET_METADATA_TOO_LARGE, UNKNOWN_TOPIC_OR_PARTITION, INVALID_REQUEST,
//! UNSUPPORTED_VERSION and the failed authorizations, which a coordinator finds before it writes. COORDINATOR_NOT_AVAILABLE
//! and NOT_COORDINATOR leave it open: Kafka's coordinator answers so when the append of a commit to its own log fails,
//! with NOT_ENOUGH_REPLICAS_AFTER_APPEND and NOT_LEADER_OR_FOLLOWER too (`GroupMetadataManager`).
//!
//! An attempt to process inputs in a transaction is `Fail` unless the request to commit it was made: whatever it left open
//! is aborted. That request is `Fail` where the coordinator finds before it writes that it may not be done
//! (COORDINATOR_LOAD_IN_PROGRESS, CONCURRENT_TRANSACTIONS, INVALID_PRODUCER_EPOCH, PRODUCER_FENCED,
//! INVALID_PRODUCER_ID_MAPPING, INVALID_TXN_STATE, INVALID_REQUEST, UNSUPPORTED_VERSION and the failed authorization), and
//! open where it does not answer or answers otherwise. Requests that an earlier transaction, which is still ending, makes
//! the coordinator refuse (CONCURRENT_TRANSACTIONS) are repeated, but for that to end one: they have had no effect.
//!
//! A poll is a read even if it commits the messages of earlier polls: it returns messages only if it is
//! answered.
//!
//! # Retries
//!
//! None, unless the user asks for `retries`: then the same batch is sent again, as one operation, which is
//! `Ok` if one attempt was acknowledged, and `Fail` only if none of them can have had an effect.

mod assignor;
mod cluster;
mod connection;
mod consumer;
mod copies;
mod fetch;
mod group;
mod log_client;
mod metadata;
mod murmur2;
mod offsets;
mod partition;
mod producer;
mod refusal;
mod stream_client;
mod table_client;
mod topics;
mod transaction;
mod versions;

use std::sync::Arc;
use std::time::Duration;

use duress_history::log::Log;
use duress_history::stream::Stream;
use duress_history::table::Table;

use crate::client::{Addresses, Clients};

pub use consumer::Committing;
pub(crate) use copies::copies;
pub(crate) use group::USUAL_SESSION;
pub use log_client::LogClient;
#[cfg(test)]
pub(crate) use metadata::{Leadership, Replicas};
pub(crate) use metadata::{Metadata, metadata};
pub(crate) use partition::Partition;
pub use producer::{Acks, Idempotence};
pub use stream_client::{Processing, StreamClient};
pub use table_client::TableClient;
pub use topics::{NewTopic, create_topics};

/// Returns clients of every system that speaks the Kafka protocol.
pub(crate) fn clients(address: Addresses, options: ClientOptions) -> Clients {
    let (log, stream, table) = (Arc::clone(&address), Arc::clone(&address), address);
    Clients::default()
        .with::<Log>(move |seat| {
            Ok(Box::new(LogClient::new(seat.place, log(&seat.node)?, options, seat.timeout)))
        })
        .with::<Stream>(move |seat| {
            Ok(Box::new(StreamClient::new(seat.place, stream(&seat.node)?, options, seat.timeout)))
        })
        .with::<Table>(move |seat| {
            Ok(Box::new(TableClient::new(seat.place, table(&seat.node)?, options, seat.timeout)))
        })
}

/// How a client sends and consumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientOptions {
    /// The work of a leader before it acknowledges a message.
    pub acks: Acks,
    /// Whether messages bear sequence numbers. With [`Acks::None`] they never do.
    pub idempotence: Idempotence,
    /// How often the same batch is sent again at most.
    pub retries: u32,
    /// When a member of the group commits.
    pub committing: Committing,
    /// How workers process a stream.
    pub processing: Processing,
    /// After how long without a sign of life a member is taken for dead.
    pub session: Duration,
}
