//! A node's state, its offset and its latest changes, in memory and on disk.
//!
//! Every change of one key has an offset, counted from 1 since the primary's data folder was made. The same offset means
//! the same change on every node of the same lineage; a new data folder of the primary begins a new lineage.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use redb::WriteTransaction;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::bug::{Bug, syncing};
use crate::command::KeyValues;
use duress_consensus::disk::{Contents, DATA, Disk, DiskError, LOG, META};

const POSITION: &str = "position";
/// With the bug `replica-skips-change`, a follower that is further behind misses a change.
const LAG_WITHOUT_SKIP: u64 = 50;

/// One key's new value, or none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The key.
    pub key: Bytes,
    /// Its value from now on.
    pub value: Option<Bytes>,
}

/// How far a node is, and in which lineage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Position {
    /// The lineage that the offset counts in; 0 on a replica that has not met its primary.
    pub lineage: u64,
    /// The last change applied.
    pub offset: u64,
}

#[derive(Debug, Default)]
struct State {
    position: Position,
    values: KeyValues,
    /// The latest changes, the last of which is at `position.offset`.
    recent: VecDeque<Change>,
}

/// The data that a follower at some position needs next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Following {
    /// The changes right after its offset; none if there are none yet.
    Changes(Vec<Change>),
    /// A full copy, because its lineage is another or its offset is too far behind.
    Copy {
        /// The position of the copy.
        position: Position,
        /// Keys and values.
        pairs: Vec<(Bytes, Bytes)>,
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
            let mut state =
                State { position: contents.meta(POSITION)?.unwrap_or_default(), ..State::default() };
            contents.data(|key, value| {
                state.values.put(Bytes::copy_from_slice(key), Some(Bytes::copy_from_slice(value)));
            })?;
            state.recent = contents.log::<Change>()?.into_iter().map(|(_, change)| change).collect();
            Ok(state)
        };
        let (disk, state) = Disk::open(folder, owner, syncing(bug), load)?;
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
        self.write(|state| state.position = position);
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

    fn write<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes changes durable, then visible. Only one task may call this at a time.
    ///
    /// # Errors
    /// They cannot be made durable; none of them became visible.
    pub async fn append(&self, changes: Vec<Change>) -> Result<(), DiskError> {
        if changes.is_empty() {
            return Ok(());
        }
        let Position { lineage, offset } = self.position();
        let position = Position { lineage, offset: offset + changes.len() as u64 };
        let keep_after = position.offset.saturating_sub(self.keep);
        let changes = Arc::new(changes);
        let stored = Arc::clone(&changes);
        self.disk
            .commit(move |transaction| {
                save_position(transaction, position)?;
                let mut log = transaction.open_table(LOG)?;
                let mut data = transaction.open_table(DATA)?;
                for (change, offset) in stored.iter().zip(offset + 1..) {
                    let record = postcard::to_stdvec(change).expect("a change can be encoded");
                    log.insert(offset, &record[..])?;
                    match &change.value {
                        Some(value) => data.insert(&change.key[..], &value[..])?,
                        None => data.remove(&change.key[..])?,
                    };
                }
                log.retain_in(..=keep_after, |_, _| false)?;
                Ok(())
            })
            .await?;
        self.write(|state| {
            for change in changes.iter() {
                state.values.put(change.key.clone(), change.value.clone());
                state.recent.push_back(change.clone());
            }
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
    pub async fn replace(&self, position: Position, pairs: Vec<(Bytes, Bytes)>) -> Result<(), DiskError> {
        let pairs = Arc::new(pairs);
        let stored = Arc::clone(&pairs);
        self.disk
            .commit(move |transaction| {
                save_position(transaction, position)?;
                transaction.open_table(LOG)?.retain(|_, _| false)?;
                let mut data = transaction.open_table(DATA)?;
                data.retain(|_, _| false)?;
                for (key, value) in stored.iter() {
                    data.insert(&key[..], &value[..])?;
                }
                Ok(())
            })
            .await?;
        self.write(|state| {
            state.values = KeyValues::default();
            for (key, value) in pairs.iter() {
                state.values.put(key.clone(), Some(value.clone()));
            }
            state.recent.clear();
            state.position = position;
        });
        self.moved.send_replace(position.offset);
        Ok(())
    }

    /// The data that a follower at `theirs` needs next, at most `max` changes.
    pub fn following(&self, theirs: Position, max: usize) -> Following {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let oldest = state.position.offset - state.recent.len() as u64;
        let same_history = theirs.lineage == state.position.lineage;
        if same_history && (oldest..=state.position.offset).contains(&theirs.offset) {
            let skips_one = self.bug == Some(Bug::ReplicaSkipsChange)
                && state.position.offset - theirs.offset > LAG_WITHOUT_SKIP;
            let skip = (theirs.offset - oldest) as usize + usize::from(skips_one);
            return Following::Changes(state.recent.iter().skip(skip).take(max).cloned().collect());
        }
        let pairs = state.values.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
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
    let record = postcard::to_stdvec(&position).expect("a position can be encoded");
    transaction.open_table(META)?.insert(POSITION, &record[..])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(key: &'static str, value: Option<&'static str>) -> Change {
        Change { key: key.into(), value: value.map(Into::into) }
    }

    fn open(folder: &Path, keep: u64) -> Ledger {
        Ledger::open(folder, "n1", keep, None).unwrap()
    }

    #[tokio::test]
    async fn a_follower_gets_changes_while_they_are_kept_and_a_copy_after() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = open(folder.path(), 2);
        ledger.found().await.unwrap();
        let Position { lineage, .. } = ledger.position();
        ledger.append(vec![change("a", Some("1")), change("b", Some("2")), change("a", None)]).await.unwrap();
        let at = |offset| Position { lineage, offset };
        assert_eq!(ledger.position(), at(3));
        assert_eq!(ledger.following(at(3), 9), Following::Changes(vec![]));
        assert_eq!(ledger.following(at(1), 1), Following::Changes(vec![change("b", Some("2"))]));
        let copy = Following::Copy { position: at(3), pairs: vec![("b".into(), "2".into())] };
        assert_eq!(ledger.following(at(0), 9), copy, "the first change is no longer kept");
        assert_eq!(ledger.following(at(4), 9), copy, "no follower may be ahead of the primary");
        assert_eq!(ledger.following(Position { lineage: lineage ^ 1, offset: 2 }, 9), copy);
        ledger.close().await;

        let reopened = open(folder.path(), 2);
        assert_eq!(reopened.position(), at(3));
        assert_eq!(reopened.following(at(1), 9), ledger.following(at(1), 9));
        assert_eq!(reopened.following(at(0), 9), copy);
    }
}
