//! The entries of the log of any subject, and the types of its consensus.

use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use openraft::{BasicNode, RaftTypeConfig};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// The consensus of a subject: [`Batch`]es are ordered, and each is answered with the subject's own type of reply.
pub trait Consensus:
    RaftTypeConfig<
        D = Batch,
        NodeId = u64,
        Node = BasicNode,
        Entry = openraft::Entry<Self>,
        SnapshotData = Cursor<Vec<u8>>,
    >
{
}

impl<C> Consensus for C where
    C: RaftTypeConfig<
            D = Batch,
            NodeId = u64,
            Node = BasicNode,
            Entry = openraft::Entry<C>,
            SnapshotData = Cursor<Vec<u8>>,
        >
{
}

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

/// Whether an entry has reached the log of the node that proposed it.
///
/// The consensus answers "forward this to the leader" both for an entry that it never appended and for one that was
/// appended and deleted. Only in the first case is it certain that no node will ever execute it.
#[derive(Debug, Default)]
pub struct Appended {
    handed_to_log: AtomicBool,
    durable: Notify,
}

impl Appended {
    /// Whether the entry was ever handed to the log.
    pub fn is_handed_to_log(&self) -> bool {
        self.handed_to_log.load(Ordering::Acquire)
    }

    /// Waits until the entry is durable in this node's log.
    pub async fn durable(&self) {
        self.durable.notified().await;
    }

    /// The log has durably stored the entry.
    pub fn set_durable(&self) {
        self.durable.notify_one();
    }
}

impl Batch {
    /// Encodes commands.
    pub fn new<T: Serialize>(commands: &[T]) -> Self {
        let commands = postcard::to_stdvec(commands).expect("commands have no part that cannot be encoded");
        Self { commands: commands.into(), appended: None }
    }

    /// Adds a marker that the log of this node will set; it does not travel.
    pub fn with_marker(mut self, marker: Arc<Appended>) -> Self {
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
    pub fn mark_handed_to_log(&self) -> Option<Arc<Appended>> {
        if let Some(appended) = &self.appended {
            appended.handed_to_log.store(true, Ordering::Release);
        }
        self.appended.clone()
    }
}
