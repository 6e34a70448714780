//! The types of the consensus, and the entries of its log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use openraft::BasicNode;
pub use openraft::ServerState;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

openraft::declare_raft_types!(
    /// The types of the consensus, the same for every subject: openraft is large, and compiled once for each such set of
    /// types. Commands and replies are therefore encoded, and the state is behind a trait object.
    pub TypeConfig:
        D = Batch,
        R = Replies,
        NodeId = u64,
        Node = BasicNode,
        Entry = openraft::Entry<TypeConfig>,
        SnapshotData = std::io::Cursor<Vec<u8>>,
        AsyncRuntime = openraft::TokioRuntime,
);

/// The position of an entry: the leader that wrote it, and its index.
pub type LogId = openraft::LogId<u64>;
/// A term and the node that leads it or is a candidate in it. Later terms are greater.
pub type LeaderId = openraft::LeaderId<u64>;
/// A term, its candidate, and whether a quorum granted it.
pub type Vote = openraft::Vote<u64>;
/// The members as of a position in the log.
pub type StoredMembership = openraft::StoredMembership<u64, BasicNode>;
/// The identity of a snapshot.
pub type SnapshotMeta = openraft::SnapshotMeta<u64, BasicNode>;
/// A failure of storage, in openraft's form.
pub type StorageError = openraft::StorageError<u64>;
/// An error that has stopped the consensus.
pub type Fatal = openraft::error::Fatal<u64>;
/// The present state of the consensus of one node.
pub type Metrics = openraft::RaftMetrics<u64, BasicNode>;
/// The part of [`Metrics`] that changes with elections only.
pub type ServerMetrics = openraft::metrics::RaftServerMetrics<u64, BasicNode>;

/// Commands, ordered as one entry.
///
/// openraft writes, replicates and acknowledges entry by entry; the commands that waited when the entry was proposed
/// share that cost. The commands are encoded once, by the proposer: every copy that goes to the log or to a peer is a
/// reference to the same bytes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Batch {
    commands: Bytes,
    #[serde(skip)]
    appended: Option<Arc<Appended>>,
}

impl Batch {
    /// Encodes commands.
    pub fn new<T: Serialize>(commands: &[T]) -> Self {
        let commands = postcard::to_stdvec(commands).expect("commands have no part that cannot be encoded");
        Self { commands: commands.into(), appended: None }
    }

    /// Adds a marker that the log of this node will set; it does not travel.
    pub(crate) fn with_marker(mut self, marker: Arc<Appended>) -> Self {
        self.appended = Some(marker);
        self
    }

    /// Decodes the commands.
    ///
    /// # Errors
    /// The bytes are not what [`Batch::new`] wrote.
    pub fn commands<T: DeserializeOwned>(&self) -> Result<Vec<T>, postcard::Error> {
        postcard::from_bytes(&self.commands)
    }

    /// Marks the entry as handed to the log, and returns the marker to set once it is durable.
    pub(crate) fn mark_handed_to_log(&self) -> Option<Arc<Appended>> {
        if let Some(appended) = &self.appended {
            appended.handed_to_log.store(true, Ordering::Release);
        }
        self.appended.clone()
    }
}

/// The replies to the commands of a [`Batch`], in their order; none to an entry without commands.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Replies {
    replies: Bytes,
}

impl Replies {
    /// Encodes replies.
    pub fn new<T: Serialize>(replies: &[T]) -> Self {
        let replies = postcard::to_stdvec(replies).expect("replies have no part that cannot be encoded");
        Self { replies: replies.into() }
    }

    /// Decodes the replies.
    ///
    /// # Errors
    /// They are of another type.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<Vec<T>, postcard::Error> {
        postcard::from_bytes(&self.replies)
    }
}

/// Whether an entry has reached the log of the node that proposed it.
///
/// The consensus answers "forward this to the leader" both for an entry that it never appended and for one that was
/// appended and deleted. Only in the first case is it certain that no node will ever execute it.
#[derive(Debug, Default)]
pub(crate) struct Appended {
    handed_to_log: AtomicBool,
    durable: Notify,
}

impl Appended {
    /// Whether the entry was ever handed to the log.
    pub(crate) fn is_handed_to_log(&self) -> bool {
        self.handed_to_log.load(Ordering::Acquire)
    }

    /// Waits until the entry is durable in this node's log.
    pub(crate) async fn durable(&self) {
        self.durable.notified().await;
    }

    /// The log has durably stored the entry.
    pub(crate) fn set_durable(&self) {
        self.durable.notify_one();
    }
}
