//! A node's state, its offset and its latest writes, in memory and on disk.
//!
//! Every write that changes something has an offset, counted from 1 since the primary's data folder was made, be it one
//! command or a transaction. The same offset means the same write on every node of the same lineage; a new data folder of
//! the primary begins a new lineage.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use redb::WriteTransaction;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::bug::{Bug, syncing};
use crate::key_values::{Change, Entry, FORMAT, KeyValues};
use duress_consensus::disk::{Contents, DATA, Disk, DiskError, LOG, META};

const POSITION: &str = "position";
/// With the bug `replica-skips-change`, a follower that is further behind misses a write.
const LAG_WITHOUT_SKIP: u64 = 50;

/// The changes of one write, in order. They are never split: they become durable, visible and known to replicas together.
pub type Write = Vec<Change>;

/// How far a node is, and in which lineage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Position {
    /// The lineage that the offset counts in; 0 on a replica that has not met its primary.
    pub lineage: u64,
    /// The last write applied.
    pub offset: u64,
}

#[derive(Debug, Default)]
struct State {
    position: Position,
    values: KeyValues,
    /// The latest writes, the last of which is at `position.offset`.
    recent: VecDeque<Write>,
}

/// The data that a follower at some position needs next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Following {
    /// The writes right after its offset; none if there are none yet.
    Writes(Vec<Write>),
    /// A full copy, because its lineage is another or its offset is too far behind.
    Copy {
        /// The position of the copy.
        position: Position,
        /// Keys and what is held of them.
        pairs: Vec<(Bytes, Entry)>,
    },
}

/// A node's data. Cheap to clone.
#[derive(Clone)]
pub struct Ledger {
    // Clients' reads and replicas' pulls read while one task (writer or replica) changes it; the lock is held for one
    // read or one batch and never across an await.
    state: Arc<RwLock<State>>,
    disk: Disk,
    moved: Arc<watch::Sender<u64>>,
    keep: u64,
    bug: Option<Bug>,
}

impl Ledger {
    /// Opens the data folder of the node `owner`.
    ///
    /// # Errors
    /// It cannot be used, or belongs to another node.
    pub fn open(folder: &Path, owner: &str, keep: u64, bug: Option<Bug>) -> Result<Self, DiskError> {
        let load = |contents: &Contents<'_>| {
            let pairs = contents.data::<Entry>()?.into_iter().map(|(key, entry)| (key.into(), entry));
            Ok(State {
                position: contents.meta(POSITION)?.unwrap_or_default(),
                values: pairs.collect(),
                recent: contents.log::<Write>()?.into_iter().map(|(_, write)| write).collect(),
            })
        };
        let (disk, state) = Disk::open(folder, owner, FORMAT, syncing(bug), load)?;
        let (moved, _) = watch::channel(state.position.offset);
        Ok(Self { state: Arc::new(RwLock::new(state)), disk, moved: Arc::new(moved), keep, bug })
    }

    /// Begins a lineage if there is none, as a primary does in a new data folder.
    ///
    /// # Errors
    /// It cannot be made durable.
    pub async fn found(&self) -> Result<(), DiskError> {
        if self.position().lineage != 0 {
            return Ok(());
        }
        // The hasher's keys are random per process; 0 means no lineage.
        let lineage = RandomState::new().hash_one(std::process::id()).max(1);
        let position = Position { lineage, offset: 0 };
        self.disk.commit(move |transaction| save_position(transaction, position)).await?;
        self.update(|state| state.position = position);
        Ok(())
    }

    /// How far this node is.
    pub fn position(&self) -> Position {
        self.look(|_, position| position)
    }

    /// Reads the durable, visible state.
    pub fn look<T>(&self, look: impl FnOnce(&KeyValues, Position) -> T) -> T {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        look(&state.values, state.position)
    }

    fn update<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes writes durable, then visible. Only one task may call this at a time.
    ///
    /// # Errors
    /// They cannot be made durable; none of them became visible.
    pub async fn append(&self, writes: Vec<Write>) -> Result<(), DiskError> {
        if writes.is_empty() {
            return Ok(());
        }
        let Position { lineage, offset } = self.position();
        let position = Position { lineage, offset: offset + writes.len() as u64 };
        let keep_after = position.offset.saturating_sub(self.keep);
        // A key that is written often, such as a growing list, is stored once.
        let mut held: BTreeMap<Bytes, Option<Entry>> = BTreeMap::new();
        self.look(|values, _| {
            for (write, offset) in writes.iter().zip(offset + 1..) {
                for Change { key, edit } in write {
                    let before = || values.entry(key).cloned();
                    edit.make(offset, held.entry(key.clone()).or_insert_with(before));
                }
            }
        });
        let made = Arc::new((writes, held));
        let stored = Arc::clone(&made);
        self.disk
            .commit(move |transaction| {
                save_position(transaction, position)?;
                let mut log = transaction.open_table(LOG)?;
                let mut data = transaction.open_table(DATA)?;
                let (writes, held) = &*stored;
                for (write, offset) in writes.iter().zip(offset + 1..) {
                    log.insert(offset, &encode(write)[..])?;
                }
                for (key, entry) in held {
                    match entry {
                        Some(entry) => data.insert(&key[..], &encode(entry)[..])?,
                        None => data.remove(&key[..])?,
                    };
                }
                log.retain_in(..=keep_after, |_, _| false)?;
                Ok(())
            })
            .await?;
        let (writes, held) = Arc::unwrap_or_clone(made);
        self.update(|state| {
            held.into_iter().for_each(|(key, entry)| state.values.put(key, entry));
            state.recent.extend(writes);
            let excess = state.recent.len().saturating_sub(self.keep as usize);
            state.recent.drain(..excess);
            state.position = position;
        });
        self.moved.send_replace(position.offset);
        Ok(())
    }

    /// Replaces everything with a copy, durable before visible. Only one task may call this or [`Ledger::append`] at
    /// a time.
    ///
    /// # Errors
    /// It cannot be made durable; the old contents stay.
    pub async fn replace(&self, position: Position, pairs: Vec<(Bytes, Entry)>) -> Result<(), DiskError> {
        let pairs = Arc::new(pairs);
        let stored = Arc::clone(&pairs);
        self.disk
            .commit(move |transaction| {
                save_position(transaction, position)?;
                transaction.open_table(LOG)?.retain(|_, _| false)?;
                let mut data = transaction.open_table(DATA)?;
                data.retain(|_, _| false)?;
                for (key, entry) in stored.iter() {
                    data.insert(&key[..], &encode(entry)[..])?;
                }
                Ok(())
            })
            .await?;
        self.update(|state| {
            state.values = pairs.iter().cloned().collect();
            state.recent.clear();
            state.position = position;
        });
        self.moved.send_replace(position.offset);
        Ok(())
    }

    /// Returns the data that a follower at `theirs` needs next, at most `max` writes.
    pub fn following(&self, theirs: Position, max: usize) -> Following {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let oldest = state.position.offset - state.recent.len() as u64;
        let same_history = theirs.lineage == state.position.lineage;
        if same_history && (oldest..=state.position.offset).contains(&theirs.offset) {
            let skips_one = self.bug == Some(Bug::ReplicaSkipsChange)
                && state.position.offset - theirs.offset > LAG_WITHOUT_SKIP;
            let skip = (theirs.offset - oldest) as usize + usize::from(skips_one);
            return Following::Writes(state.recent.iter().skip(skip).take(max).cloned().collect());
        }
        let pairs = state.values.iter().map(|(key, entry)| (key.clone(), entry.clone())).collect();
        Following::Copy { position: state.position, pairs }
    }

    /// Waits until the offset is not `offset` any more, without a deadline.
    pub async fn moved_from(&self, offset: u64) {
        let mut moved = self.moved.subscribe();
        if moved.wait_for(|now| *now != offset).await.is_err() {
            unreachable!("the ledger holds the sender");
        }
    }

    /// Closes the data folder.
    pub async fn close(&self) {
        self.disk.close().await;
    }
}

fn save_position(transaction: &WriteTransaction, position: Position) -> Result<(), redb::Error> {
    transaction.open_table(META)?.insert(POSITION, &encode(&position)[..])?;
    Ok(())
}

fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    postcard::to_stdvec(record).expect("records have no part that cannot be encoded")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key_values::{Edit, Value};

    fn change(key: &'static str, edit: Edit) -> Change {
        Change { key: key.into(), edit }
    }

    fn append(key: &'static str, element: &'static str) -> Change {
        change(key, Edit::Append(vec![element.into()]))
    }

    fn open(folder: &Path, keep: u64) -> Ledger {
        Ledger::open(folder, "n1", keep, None).unwrap()
    }

    #[tokio::test]
    async fn a_follower_gets_writes_while_they_are_kept_and_a_copy_after() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = open(folder.path(), 2);
        ledger.found().await.unwrap();
        let Position { lineage, .. } = ledger.position();
        let [one, two, three] = [
            vec![change("a", Edit::Put("1".into())), append("l", "x")],
            vec![append("l", "y"), append("l", "z")],
            vec![change("a", Edit::Remove)],
        ];
        ledger.append(vec![one]).await.unwrap();
        ledger.append(vec![two.clone(), three.clone()]).await.unwrap();
        let at = |offset| Position { lineage, offset };
        assert_eq!(ledger.position(), at(3));
        assert_eq!(ledger.following(at(3), 9), Following::Writes(vec![]));
        assert_eq!(ledger.following(at(1), 1), Following::Writes(vec![two.clone()]), "a write is whole");
        assert_eq!(ledger.following(at(1), 9), Following::Writes(vec![two, three]));
        let list = Entry { value: Value::List(["x", "y", "z"].map(Into::into).into()), version: 2 };
        let copy = Following::Copy { position: at(3), pairs: vec![("l".into(), list)] };
        assert_eq!(ledger.following(at(0), 9), copy, "the first write is no longer kept");
        assert_eq!(ledger.following(at(4), 9), copy, "no follower may be ahead of the primary");
        assert_eq!(ledger.following(Position { lineage: lineage ^ 1, offset: 2 }, 9), copy);
        ledger.close().await;

        let reopened = open(folder.path(), 2);
        assert_eq!(reopened.position(), at(3));
        assert_eq!(reopened.following(at(1), 9), ledger.following(at(1), 9));
        assert_eq!(reopened.following(at(0), 9), copy);
    }
}
