//! openraft's own suite for storage, on ours.

use std::sync::Arc;

use duress_consensus::disk::{Contents, Disk, Syncing};
use duress_consensus::log_store::{LoadedLog, LogStore, VoteKeeping};
use duress_consensus::state_machine::{SnapshotContents, StateMachine, StoredSnapshot};
use duress_consensus::types::{StorageError, TypeConfig};
use duress_consensus::{State, StateView};
use openraft::testing::{StoreBuilder, Suite};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

/// The sum of all commands.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Sum(u64);

impl State for Sum {
    type Command = u64;
    type Reply = u64;
    const FORMAT: u32 = 1;

    fn apply(&mut self, _: u64, command: u64) -> u64 {
        self.0 += command;
        self.0
    }
}

struct Builder;

/// Keeps the folder for as long as the storage in it.
struct Folder(#[expect(dead_code, reason = "held for its drop")] Arc<TempDir>);

impl StoreBuilder<TypeConfig, LogStore, StateMachine, Folder> for Builder {
    async fn build(&self) -> Result<(Folder, LogStore, StateMachine), StorageError> {
        let folder = tempfile::tempdir().unwrap();
        let load =
            |contents: &Contents<'_>| Ok((LoadedLog::load(contents)?, StoredSnapshot::load(contents)?));
        let (disk, (log, snapshot)) =
            Disk::open(folder.path(), "n1", Sum::FORMAT, Syncing::Durable, load).unwrap();
        let log_store = LogStore::new(disk.clone(), log, 0, VoteKeeping::Durable);
        let state = Arc::new(StateView::<Sum>::default());
        let state_machine = StateMachine::new(disk, snapshot, state, SnapshotContents::Everything).unwrap();
        Ok((Folder(Arc::new(folder)), log_store, state_machine))
    }
}

#[test]
fn openrafts_storage_suite_passes() {
    Suite::test_all(Builder).unwrap();
}
