//! openraft's own suite for storage, on ours.

use std::sync::Arc;

use duress_store::disk::Disk;
use duress_store::raft::log_store::{LoadedLog, LogStore};
use duress_store::raft::state_machine::{StateMachine, StoredSnapshot};
use duress_store::raft::types::{StorageError, TypeConfig};
use openraft::testing::{StoreBuilder, Suite};
use tempfile::TempDir;

struct Builder;

/// Keeps the folder for as long as the storage in it.
struct Folder(#[expect(dead_code, reason = "held for its drop")] Arc<TempDir>);

impl StoreBuilder<TypeConfig, LogStore, StateMachine, Folder> for Builder {
    async fn build(&self) -> Result<(Folder, LogStore, StateMachine), StorageError> {
        let folder = tempfile::tempdir().unwrap();
        let load = |contents: &duress_store::disk::Contents<'_>| {
            Ok((LoadedLog::load(contents)?, StoredSnapshot::load(contents)?))
        };
        let (disk, (log, snapshot)) = Disk::open(folder.path(), "n1", None, load).unwrap();
        let log_store = LogStore::new(disk.clone(), log, 0, None);
        let state_machine = StateMachine::new(disk, snapshot).unwrap();
        Ok((Folder(Arc::new(folder)), log_store, state_machine))
    }
}

#[test]
fn openrafts_storage_suite_passes() {
    Suite::test_all(Builder).unwrap();
}
