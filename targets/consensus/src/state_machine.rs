//! The replicated state and its snapshots.
//!
//! The state is in memory; the last snapshot, in the database, and the log after it survive a restart.

use std::io::Cursor;
use std::marker::PhantomData;
use std::sync::{Arc, PoisonError, RwLock};

use openraft::storage::RaftStateMachine;
use openraft::{Entry, EntryPayload, OptionalSend, RaftSnapshotBuilder, Snapshot, StorageIOError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::disk::{Contents, Disk, DiskError, META};
use crate::types::{Batch, Consensus, LogId, SnapshotMeta, StorageError, StoredMembership};

const SNAPSHOT: &str = "snapshot";

/// The state that a subject replicates.
///
/// Only the commands may determine it: no clock, no random number, no order of a hash table.
pub trait State<C: Consensus>:
    Clone + Default + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// Executes the commands of one entry, which is at `index` of the log, in their order.
    ///
    /// # Errors
    /// The commands cannot be decoded.
    fn apply(&mut self, index: u64, batch: &Batch) -> Result<C::R, postcard::Error>;

    /// The answer to an entry without commands.
    fn nothing_applied() -> C::R;
}

/// The state as of a position in the log.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Applied<S> {
    /// The position.
    pub last_applied: Option<LogId>,
    /// The members as of it.
    pub membership: StoredMembership,
    /// The subject's state as of it.
    pub state: S,
}

impl<S> Applied<S> {
    /// Applies the next entry.
    fn apply<C: Consensus>(&mut self, entry: Entry<C>) -> Result<C::R, postcard::Error>
    where
        S: State<C>,
    {
        let reply = match entry.payload {
            EntryPayload::Blank => S::nothing_applied(),
            EntryPayload::Membership(members) => {
                self.membership = StoredMembership::new(Some(entry.log_id), members);
                S::nothing_applied()
            }
            EntryPayload::Normal(batch) => self.state.apply(entry.log_id.index, &batch)?,
        };
        self.last_applied = Some(entry.log_id);
        Ok(reply)
    }
}

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

    fn to_openraft<C: Consensus>(&self) -> Snapshot<C> {
        Snapshot { meta: self.meta.clone(), snapshot: Box::new(Cursor::new(self.data.clone())) }
    }
}

/// A shared view of the state. Cheap to clone.
#[derive(Debug, Clone)]
pub struct StateView<S> {
    // Readers read while the state machine's task applies; a lock is held for one read or one batch, and never across
    // an await.
    applied: Arc<watch::Sender<Applied<S>>>,
}

impl<S> StateView<S> {
    /// Reads the state.
    pub fn read<T>(&self, look: impl FnOnce(&Applied<S>) -> T) -> T {
        look(&self.applied.borrow())
    }

    /// Notifies of every change of the state.
    pub fn changes(&self) -> watch::Receiver<Applied<S>> {
        self.applied.subscribe()
    }

    fn write<T>(&self, change: impl FnOnce(&mut Applied<S>) -> T) -> T {
        let mut result = None;
        self.applied.send_modify(|applied| result = Some(change(applied)));
        result.expect("the change was made")
    }
}

/// Applies entries, builds and installs snapshots.
pub struct StateMachine<C, S> {
    disk: Disk,
    view: StateView<S>,
    snapshot: LastSnapshot,
    consensus: PhantomData<C>,
}

impl<C: Consensus, S: State<C>> StateMachine<C, S> {
    /// A state machine that continues from the last snapshot.
    ///
    /// # Errors
    /// The snapshot cannot be decoded.
    pub fn new(disk: Disk, snapshot: Option<StoredSnapshot>) -> Result<Self, postcard::Error> {
        let applied = match &snapshot {
            Some(snapshot) => postcard::from_bytes(&snapshot.data)?,
            None => Applied::default(),
        };
        Ok(Self {
            disk,
            view: StateView { applied: Arc::new(watch::Sender::new(applied)) },
            snapshot: Arc::new(RwLock::new(snapshot.map(Arc::new))),
            consensus: PhantomData,
        })
    }

    /// The shared view of the state.
    pub fn view(&self) -> StateView<S> {
        self.view.clone()
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

impl<C: Consensus, S: State<C>> RaftStateMachine<C> for StateMachine<C, S> {
    type SnapshotBuilder = SnapshotBuilder<C, S>;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        Ok(self.view.read(|applied| (applied.last_applied, applied.membership.clone())))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<C::R>, StorageError>
    where
        I: IntoIterator<Item = Entry<C>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let applied = self.view.write(|applied| {
            let mut all = Vec::new();
            for entry in entries {
                let position = entry.log_id;
                all.push(applied.apply(entry).map_err(|error| (position, error))?);
            }
            Ok(all)
        });
        applied.map_err(|(position, error): (LogId, postcard::Error)| {
            StorageIOError::apply(position, &error).into()
        })
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder<C, S> {
        SnapshotBuilder {
            disk: self.disk.clone(),
            applied: self.view.read(Applied::clone),
            snapshot: Arc::clone(&self.snapshot),
            consensus: PhantomData,
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
        let installed: Applied<S> = postcard::from_bytes(&data)
            .map_err(|error| StorageIOError::read_snapshot(Some(meta.signature()), &error))?;
        let stored = Arc::new(StoredSnapshot { meta: meta.clone(), data });
        store(&self.disk, &self.snapshot, stored).await?;
        tracing::info!(position = ?meta.last_log_id.map(|id| id.index), "snapshot installed");
        self.view.write(|applied| {
            *applied = Applied {
                last_applied: meta.last_log_id,
                membership: meta.last_membership.clone(),
                state: installed.state,
            }
        });
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<C>>, StorageError> {
        let current = self.snapshot.read().unwrap_or_else(PoisonError::into_inner);
        Ok(current.as_deref().map(StoredSnapshot::to_openraft))
    }
}

/// Encodes a copy of the state as a snapshot while the original is changed.
pub struct SnapshotBuilder<C, S> {
    disk: Disk,
    applied: Applied<S>,
    snapshot: LastSnapshot,
    consensus: PhantomData<C>,
}

impl<C: Consensus, S: State<C>> RaftSnapshotBuilder<C> for SnapshotBuilder<C, S> {
    async fn build_snapshot(&mut self) -> Result<Snapshot<C>, StorageError> {
        let applied = std::mem::take(&mut self.applied);
        let position = applied.last_applied;
        let id = position.map_or_else(|| "empty".into(), |id| format!("{}-{}", id.leader_id, id.index));
        let meta = SnapshotMeta {
            last_log_id: position,
            last_membership: applied.membership.clone(),
            snapshot_id: id,
        };
        let data = postcard::to_stdvec(&applied)
            .map_err(|error| StorageIOError::write_snapshot(Some(meta.signature()), &error))?;
        let stored = Arc::new(StoredSnapshot { meta, data });
        store(&self.disk, &self.snapshot, Arc::clone(&stored)).await?;
        tracing::info!(position = ?position.map(|id| id.index), bytes = stored.data.len(), "snapshot taken");
        Ok(stored.to_openraft())
    }
}
