//! The log and the vote of one node: durable in the database, read from memory.
//!
//! All entries that are not purged are also in memory, where replication and the state machine read them; snapshots
//! bound their number.
//!
//! A node that restarts never reads back a vote "granted by a quorum, for me", even if it saved one:
//! openraft would otherwise resume leading at once, answering linearizable reads up to the committed position it
//! remembers, and the position saved here lags behind the one clients have seen. After a restart a node must win an
//! election, whose first entry commits everything before it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::RangeBounds;
use std::sync::{Arc, PoisonError, RwLock};

use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{Entry, EntryPayload, LogState, OptionalSend, RaftLogReader, StorageIOError};
use redb::{ReadableTable, WriteTransaction};
use serde::Serialize;

use crate::disk::{Contents, Disk, DiskError, LOG, META};
use crate::types::{LogId, StorageError, TypeConfig, Vote};

const VOTE: &str = "vote";
const COMMITTED: &str = "committed";
const PURGED: &str = "purged";

/// Whether a node's vote survives a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VoteKeeping {
    /// Yes: it is durable before it is used, as Raft demands.
    Durable,
    /// No: it is lost when the node ends. A defect.
    InMemory,
    /// Yes, and a node that led when it ended leads again as soon as it starts. A defect.
    Resumed,
}

/// The log and vote in a database that was just opened.
#[derive(Debug)]
pub struct LoadedLog {
    entries: BTreeMap<u64, Entry<TypeConfig>>,
    purged: Option<LogId>,
    vote: Option<Vote>,
    committed: Option<LogId>,
}

impl LoadedLog {
    /// Reads the log, the vote and the committed position.
    ///
    /// # Errors
    /// The database cannot be read or decoded.
    pub fn load(contents: &Contents<'_>) -> Result<Self, DiskError> {
        Ok(Self {
            entries: contents.log()?.into_iter().collect(),
            purged: contents.meta(PURGED)?,
            vote: contents.meta(VOTE)?,
            committed: contents.meta(COMMITTED)?,
        })
    }

    /// Whether the node has never voted, and never had an entry.
    pub fn is_pristine(&self) -> bool {
        self.entries.is_empty() && self.purged.is_none() && self.vote.is_none()
    }
}

#[derive(Debug)]
struct Memory {
    entries: BTreeMap<u64, Entry<TypeConfig>>,
    purged: Option<LogId>,
}

/// Reads entries of the log. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LogReader {
    // Replication to each peer, the consensus core and the state machine read the log at once, and only the core
    // writes it; the lock is held for the copy of a few references and never across an await.
    memory: Arc<RwLock<Memory>>,
}

impl LogReader {
    fn read<T>(&self, look: impl FnOnce(&Memory) -> T) -> T {
        look(&self.memory.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, change: impl FnOnce(&mut Memory) -> T) -> T {
        change(&mut self.memory.write().unwrap_or_else(PoisonError::into_inner))
    }
}

impl RaftLogReader<TypeConfig> for LogReader {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry<TypeConfig>>, StorageError> {
        Ok(self.read(|memory| memory.entries.range(range).map(|(_, entry)| entry.clone()).collect()))
    }
}

/// The log and the vote of one node.
pub struct LogStore {
    disk: Disk,
    reader: LogReader,
    vote: Option<Vote>,
    committed: Option<LogId>,
    committed_saved: Option<LogId>,
    keeping: VoteKeeping,
}

impl LogStore {
    /// Returns a log that continues the loaded one.
    pub fn new(disk: Disk, loaded: LoadedLog, node: u64, keeping: VoteKeeping) -> Self {
        let vote = match keeping {
            VoteKeeping::InMemory => None,
            VoteKeeping::Durable => loaded.vote.map(|vote| deposed(vote, node)),
            VoteKeeping::Resumed => loaded.vote,
        };
        let memory = Memory { entries: loaded.entries, purged: loaded.purged };
        Self {
            disk,
            reader: LogReader { memory: Arc::new(RwLock::new(memory)) },
            vote,
            committed: loaded.committed,
            committed_saved: loaded.committed,
            keeping,
        }
    }
}

/// Returns the vote of a restarted node, whose own leadership is over.
fn deposed(vote: Vote, node: u64) -> Vote {
    match vote.leader_id().voted_for() {
        Some(candidate) if candidate == node => Vote { committed: false, ..vote },
        _ => vote,
    }
}

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).expect("log records have no part that cannot be encoded")
}

fn save<T: Serialize>(transaction: &WriteTransaction, name: &str, value: &T) -> Result<(), redb::Error> {
    transaction.open_table(META)?.insert(name, &encode(value)[..])?;
    Ok(())
}

fn to_io(error: DiskError) -> std::io::Error {
    std::io::Error::other(error)
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry<TypeConfig>>, StorageError> {
        self.reader.try_get_log_entries(range).await
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogReader;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, StorageError> {
        Ok(self.reader.read(|memory| LogState {
            last_purged_log_id: memory.purged,
            last_log_id: memory.entries.values().next_back().map(|entry| entry.log_id).or(memory.purged),
        }))
    }

    async fn get_log_reader(&mut self) -> LogReader {
        self.reader.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        self.vote = Some(*vote);
        if self.keeping == VoteKeeping::InMemory {
            return Ok(());
        }
        let vote = *vote;
        self.disk
            .commit(move |transaction| save(transaction, VOTE, &vote))
            .await
            .map_err(|error| StorageIOError::write_vote(&error).into())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        Ok(self.vote)
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        // It only limits how far a restarted node may replay at once, so it is written with the next durable
        // append.
        self.committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        // A database written without fsync may have the committed position but not the entries; the log bounds it.
        let last = self.get_log_state().await?.last_log_id;
        Ok(self.committed.min(last))
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<TypeConfig>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry<TypeConfig>> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut records = Vec::new();
        let mut markers = Vec::new();
        self.reader.write(|memory| {
            for mut entry in entries {
                records.push((entry.log_id.index, encode(&entry)));
                if let EntryPayload::Normal(batch) = &mut entry.payload {
                    markers.extend(batch.mark_handed_to_log());
                }
                memory.entries.insert(entry.log_id.index, entry);
            }
        });
        let committed = (self.committed != self.committed_saved).then_some(self.committed).flatten();
        self.committed_saved = self.committed;
        self.disk.submit(
            move |transaction| {
                if let Some(committed) = committed {
                    save(transaction, COMMITTED, &committed)?;
                }
                let mut log = transaction.open_table(LOG)?;
                for (index, record) in &records {
                    log.insert(*index, &record[..])?;
                }
                Ok(())
            },
            move |result| {
                if result.is_ok() {
                    markers.iter().for_each(|marker| marker.set_durable());
                }
                callback.log_io_completed(result.map_err(to_io));
            },
        );
        Ok(())
    }

    async fn truncate(&mut self, since: LogId) -> Result<(), StorageError> {
        self.reader.write(|memory| drop(memory.entries.split_off(&since.index)));
        self.disk
            .commit(move |transaction| {
                transaction.open_table(LOG)?.retain_in(since.index.., |_, _| false)?;
                Ok(())
            })
            .await
            .map_err(|error| StorageIOError::write_logs(&error).into())
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), StorageError> {
        self.reader.write(|memory| {
            memory.purged = Some(upto);
            memory.entries = memory.entries.split_off(&(upto.index + 1));
        });
        self.disk
            .commit(move |transaction| {
                save(transaction, PURGED, &upto)?;
                let mut log = transaction.open_table(LOG)?;
                let first = log.first()?.map(|(index, _)| index.value());
                if first.is_some_and(|first| first <= upto.index) {
                    log.retain_in(..=upto.index, |_, _| false)?;
                }
                Ok(())
            })
            .await
            .map_err(|error| StorageIOError::write_logs(&error).into())
    }
}
