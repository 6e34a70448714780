//! openraft's own suite for storage, on ours.

use std::sync::Arc;

use duress_consensus::disk::{Contents, Disk, Syncing};
use duress_consensus::log_store::{LoadedLog, LogStore, VoteKeeping};
use duress_consensus::state_machine::StoredSnapshot;
use duress_consensus::types::StorageError;
use duress_store::{StateMachine, TypeConfig};
use openraft::testing::{StoreBuilder, Suite};
use tempfile::TempDir;

struct Builder;

/// Keeps the folder for as long as the storage in it.
struct Folder(#[expect(dead_code, reason = "held for its drop")] Arc<TempDir>);

impl StoreBuilder<TypeConfig, LogStore<TypeConfig>, StateMachine, Folder> for Builder {
    async fn build(&self) -> Result<(Folder, LogStore<TypeConfig>, StateMachine), StorageError> {
        let folder = tempfile::tempdir().unwrap();
        let load =
            |contents: &Contents<'_>| Ok((LoadedLog::load(contents)?, StoredSnapshot::load(contents)?));
        let (disk, (log, snapshot)) = Disk::open(folder.path(), "n1", Syncing::Durable, load).unwrap();
        let log_store = LogStore::new(disk.clone(), log, 0, VoteKeeping::Durable);
        let state_machine = StateMachine::new(disk, snapshot).unwrap();
        Ok((Folder(Arc::new(folder)), log_store, state_machine))
    }
}

#[test]
fn openrafts_storage_suite_passes() {
    Suite::test_all(Builder).unwrap();
}
