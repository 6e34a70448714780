//! The state machine: the replicated state and its snapshots.
//!
//! The state is in memory; the last snapshot, in the database, and the log after it survive a restart.

use std::io::Cursor;
use std::sync::{Arc, PoisonError, RwLock};

use openraft::storage::RaftStateMachine;
use openraft::{Entry, OptionalSend, RaftSnapshotBuilder, Snapshot, StorageIOError};
use serde::{Deserialize, Serialize};

use crate::disk::{Contents, Disk, DiskError, META};
use crate::state::{Encode, Replicated};
use crate::types::{LogId, Replies, SnapshotMeta, StorageError, StoredMembership, TypeConfig};

const SNAPSHOT: &str = "snapshot";

/// A snapshot as it is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StoredSnapshot {
    meta: SnapshotMeta,
    data: Vec<u8>,
}

impl StoredSnapshot {
    /// Reads the last snapshot, if there is one.
    ///
    /// # Errors
    /// The database cannot be read or decoded.
    pub fn load(contents: &Contents<'_>) -> Result<Option<Self>, DiskError> {
        contents.meta(SNAPSHOT)
    }

    fn to_openraft(&self) -> Snapshot<TypeConfig> {
        Snapshot { meta: self.meta.clone(), snapshot: Box::new(Cursor::new(self.data.clone())) }
    }
}

/// The entries that a snapshot holds of those up to its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotContents {
    /// All of them.
    Everything,
    /// All but those that were applied last, together: the position is taken now, the contents as they were before. A
    /// defect.
    LacksLastBatch,
    /// All of them, but for the changes of members since the snapshot before: its members are those of that one. A defect.
    FormerMembers,
}

/// Applies entries, builds and installs snapshots.
pub struct StateMachine {
    disk: Disk,
    state: Arc<dyn Replicated>,
    snapshot: LastSnapshot,
    contents: SnapshotContents,
    /// The state before the last batch, with [`SnapshotContents::LacksLastBatch`].
    before_last_batch: Option<Encode>,
}

impl StateMachine {
    /// Returns a state machine that continues from the last snapshot.
    ///
    /// # Errors
    /// The snapshot cannot be decoded.
    pub fn new(
        disk: Disk,
        snapshot: Option<StoredSnapshot>,
        state: Arc<dyn Replicated>,
        contents: SnapshotContents,
    ) -> Result<Self, postcard::Error> {
        if let Some(snapshot) = &snapshot {
            state.decode(&snapshot.data)?(&snapshot.meta);
        }
        let snapshot = Arc::new(RwLock::new(snapshot.map(Arc::new)));
        Ok(Self { disk, state, snapshot, contents, before_last_batch: None })
    }
}

/// The last snapshot; written by the database's thread, so that memory and disk agree on which one is the last.
type LastSnapshot = Arc<RwLock<Option<Arc<StoredSnapshot>>>>;

async fn store(disk: &Disk, last: &LastSnapshot, snapshot: Arc<StoredSnapshot>) -> Result<(), StorageError> {
    let signature = snapshot.meta.signature();
    let last = Arc::clone(last);
    disk.commit(move |transaction| {
        let mut last = last.write().unwrap_or_else(PoisonError::into_inner);
        // A build and an install may overlap; the one that covers less must not replace the other, because the log
        // is purged up to the greater.
        if last.as_ref().is_some_and(|old| old.meta.last_log_id > snapshot.meta.last_log_id) {
            return Ok(());
        }
        let record = postcard::to_stdvec(&*snapshot).expect("snapshots have no part that cannot be encoded");
        transaction.open_table(META)?.insert(SNAPSHOT, &record[..])?;
        *last = Some(snapshot);
        Ok(())
    })
    .await
    .map_err(|error| StorageIOError::write_snapshot(Some(signature), &error).into())
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        Ok(self.state.position())
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Replies>, StorageError>
    where
        I: IntoIterator<Item = Entry<TypeConfig>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        if self.contents == SnapshotContents::LacksLastBatch {
            self.before_last_batch = Some(self.state.copy().2);
        }
        let applied = self.state.apply(&mut entries.into_iter());
        applied.map_err(|(position, error)| StorageIOError::apply(position, &error).into())
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        let (last_log_id, last_membership, copy) = self.state.copy();
        let encode = self.before_last_batch.take().unwrap_or(copy);
        let former = || {
            let last = self.snapshot.read().unwrap_or_else(PoisonError::into_inner);
            last.as_ref().map(|snapshot| snapshot.meta.last_membership.clone())
        };
        let last_membership = match self.contents {
            SnapshotContents::FormerMembers => former().unwrap_or(last_membership),
            SnapshotContents::Everything | SnapshotContents::LacksLastBatch => last_membership,
        };
        let snapshot_id =
            last_log_id.map_or_else(|| "empty".into(), |id| format!("{}-{}", id.leader_id, id.index));
        SnapshotBuilder {
            disk: self.disk.clone(),
            meta: SnapshotMeta { last_log_id, last_membership, snapshot_id },
            encode,
            snapshot: Arc::clone(&self.snapshot),
        }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError> {
        let data = snapshot.into_inner();
        let install = self
            .state
            .decode(&data)
            .map_err(|error| StorageIOError::read_snapshot(Some(meta.signature()), &error))?;
        let stored = Arc::new(StoredSnapshot { meta: meta.clone(), data });
        store(&self.disk, &self.snapshot, stored).await?;
        tracing::info!(position = ?meta.last_log_id.map(|id| id.index), "snapshot installed");
        install(meta);
        self.before_last_batch = None;
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<TypeConfig>>, StorageError> {
        let current = self.snapshot.read().unwrap_or_else(PoisonError::into_inner);
        Ok(current.as_deref().map(StoredSnapshot::to_openraft))
    }
}

/// Encodes a copy of the state as a snapshot while the original is changed.
pub struct SnapshotBuilder {
    disk: Disk,
    meta: SnapshotMeta,
    encode: Encode,
    snapshot: LastSnapshot,
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    async fn build_snapshot(&mut self) -> Result<Snapshot<TypeConfig>, StorageError> {
        let meta = self.meta.clone();
        let position = meta.last_log_id;
        let data = (self.encode)()
            .map_err(|error| StorageIOError::write_snapshot(Some(meta.signature()), &error))?;
        let stored = Arc::new(StoredSnapshot { meta, data });
        store(&self.disk, &self.snapshot, Arc::clone(&stored)).await?;
        tracing::info!(position = ?position.map(|id| id.index), bytes = stored.data.len(), "snapshot taken");
        Ok(stored.to_openraft())
    }
}
