//! A node's state, its offset and its latest writes, in memory and on disk.
//!
//! Every write that changes something has an offset, counted from 1 since the primary's data folder was made, be it one
//! command or a transaction. The same offset means the same write on every node of the same lineage; a new data folder of
//! the primary begins a new lineage. With failover, it means so in the same epoch: see [`super::epochs`].

use std::collections::{BTreeMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use redb::WriteTransaction;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::election::Ballot;
use super::epochs::{Beginning, Epochs};
use crate::bug::{Bug, syncing};
use crate::key_values::{Change, Entry, KeyValues};
use duress_consensus::disk::{Contents, DATA, Disk, DiskError, LOG, META};

/// The number of the encoding of what is stored, values and changes included; positions without an epoch were 3.
const FORMAT: u32 = 4;
const POSITION: &str = "position";
const EPOCHS: &str = "epochs";
const BALLOT: &str = "ballot";
/// With the bug `replica-skips-change`, a follower that is further behind misses a write.
const LAG_WITHOUT_SKIP: u64 = 50;

/// The changes of one write, in order. They are never split: they become durable, visible and known to replicas together.
pub type Write = Vec<Change>;

/// How far a node is, and in which lineage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Position {
    /// The lineage that the offset counts in; 0 on a replica that has not met its primary.
    pub lineage: u64,
    /// The epoch of the last write applied; 0 without failover.
    pub epoch: u64,
    /// The last write applied.
    pub offset: u64,
}

impl Position {
    /// Whether a node there has every write that a node at `other` may have had acknowledged: it is in a later epoch, or
    /// further in the same.
    pub fn is_up_to_date_with(self, other: Self) -> bool {
        (self.epoch, self.offset) >= (other.epoch, other.offset)
    }
}

#[derive(Debug, Default)]
struct State {
    position: Position,
    epochs: Epochs,
    values: KeyValues,
    /// The latest writes, the last of which is at `position.offset`.
    recent: VecDeque<Write>,
}

/// The data that a follower at some position needs next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Following {
    /// The writes right after its offset; none if there are none yet.
    Writes {
        /// The writes.
        writes: Vec<Write>,
        /// The epochs that begin with one of them.
        begun: Vec<Beginning>,
    },
    /// A full copy, because its lineage is another, its last write is not one of the primary's, or it is too far behind.
    Copy {
        /// The position of the copy.
        position: Position,
        /// The epochs up to it.
        epochs: Epochs,
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
    /// Opens the data folder of the node `owner`; returns the ballot that it holds, too.
    ///
    /// # Errors
    /// It cannot be used, or belongs to another node.
    pub fn open(
        folder: &Path,
        owner: &str,
        keep: u64,
        bug: Option<Bug>,
    ) -> Result<(Self, Ballot), DiskError> {
        let load = |contents: &Contents<'_>| {
            let pairs = contents.data::<Entry>()?.into_iter().map(|(key, entry)| (key.into(), entry));
            let state = State {
                position: contents.meta(POSITION)?.unwrap_or_default(),
                epochs: contents.meta(EPOCHS)?.unwrap_or_default(),
                values: pairs.collect(),
                recent: contents.log::<Write>()?.into_iter().map(|(_, write)| write).collect(),
            };
            Ok((state, contents.meta(BALLOT)?.unwrap_or_default()))
        };
        let (disk, (state, ballot)) = Disk::open(folder, owner, FORMAT, syncing(bug), load)?;
        let (moved, _) = watch::channel(state.position.offset);
        Ok((Self { state: Arc::new(RwLock::new(state)), disk, moved: Arc::new(moved), keep, bug }, ballot))
    }

    /// Makes a ballot durable.
    ///
    /// # Errors
    /// It cannot be.
    pub async fn save_ballot(&self, ballot: Ballot) -> Result<(), DiskError> {
        self.disk.commit(move |transaction| save(transaction, BALLOT, &ballot)).await
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
        let position = Position { lineage, ..Position::default() };
        self.disk.commit(move |transaction| save(transaction, POSITION, &position)).await?;
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

    /// Whether this node's history goes through `position`.
    pub fn has(&self, position: Position) -> bool {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.has(position)
    }

    /// Makes writes durable, then visible; `begun` are the epochs that begin with one of them. Only one task may call this
    /// at a time.
    ///
    /// # Errors
    /// They cannot be made durable; none of them became visible.
    pub async fn append(&self, writes: Vec<Write>, begun: Vec<Beginning>) -> Result<(), DiskError> {
        if writes.is_empty() {
            return Ok(());
        }
        let Position { lineage, epoch, offset } = self.position();
        let epoch = begun.last().map_or(epoch, |beginning| beginning.epoch);
        let position = Position { lineage, epoch, offset: offset + writes.len() as u64 };
        let epochs = (!begun.is_empty()).then(|| {
            let mut epochs = self.epochs();
            epochs.extend(&begun);
            epochs
        });
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
        let made = Arc::new((writes, held, epochs));
        let stored = Arc::clone(&made);
        self.disk
            .commit(move |transaction| {
                save(transaction, POSITION, &position)?;
                let (writes, held, epochs) = &*stored;
                if let Some(epochs) = epochs {
                    save(transaction, EPOCHS, epochs)?;
                }
                let mut log = transaction.open_table(LOG)?;
                let mut data = transaction.open_table(DATA)?;
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
        let (writes, held, epochs) = Arc::unwrap_or_clone(made);
        self.update(|state| {
            state.epochs = epochs.unwrap_or_else(|| std::mem::take(&mut state.epochs));
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
    pub async fn replace(
        &self,
        position: Position,
        epochs: Epochs,
        pairs: Vec<(Bytes, Entry)>,
    ) -> Result<(), DiskError> {
        let pairs = Arc::new(pairs);
        let (stored, saved) = (Arc::clone(&pairs), epochs.clone());
        self.disk
            .commit(move |transaction| {
                save(transaction, POSITION, &position)?;
                save(transaction, EPOCHS, &saved)?;
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
            state.epochs = epochs;
            state.position = position;
        });
        self.moved.send_replace(position.offset);
        Ok(())
    }

    /// Returns the data that a follower at `theirs` needs next, at most `max` writes.
    pub fn following(&self, theirs: Position, max: usize) -> Following {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let oldest = state.position.offset - state.recent.len() as u64;
        let same_history = match self.bug {
            Some(Bug::ResyncSkipsRange) => {
                theirs.lineage == state.position.lineage && theirs.offset <= state.position.offset
            }
            _ => state.has(theirs),
        };
        if same_history && oldest <= theirs.offset {
            let skips_one = self.bug == Some(Bug::ReplicaSkipsChange)
                && state.position.offset - theirs.offset > LAG_WITHOUT_SKIP;
            let skip = (theirs.offset - oldest) as usize + usize::from(skips_one);
            let writes: Vec<Write> = state.recent.iter().skip(skip).take(max).cloned().collect();
            let mut begun = state.epochs.between(theirs.offset, theirs.offset + writes.len() as u64);
            if self.bug == Some(Bug::ResyncSkipsRange) && begun.is_empty() && !state.has(theirs) {
                // The follower enters the primary's epoch where it goes on.
                let first = theirs.offset + 1;
                begun.push(Beginning { epoch: state.epochs.at(first), first });
            }
            return Following::Writes { writes, begun };
        }
        let pairs = state.values.iter().map(|(key, entry)| (key.clone(), entry.clone())).collect();
        Following::Copy { position: state.position, epochs: state.epochs.clone(), pairs }
    }

    fn epochs(&self) -> Epochs {
        self.state.read().unwrap_or_else(PoisonError::into_inner).epochs.clone()
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

impl State {
    fn has(&self, position: Position) -> bool {
        position.lineage == self.position.lineage
            && position.offset <= self.position.offset
            && position.epoch == self.epochs.at(position.offset)
    }
}

fn save(transaction: &WriteTransaction, name: &str, record: &impl Serialize) -> Result<(), redb::Error> {
    transaction.open_table(META)?.insert(name, &encode(record)[..])?;
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
        Ledger::open(folder, "n1", keep, None).unwrap().0
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
        ledger.append(vec![one], vec![]).await.unwrap();
        ledger.append(vec![two.clone(), three.clone()], vec![]).await.unwrap();
        let at = |offset| Position { lineage, epoch: 0, offset };
        let continued = |writes| Following::Writes { writes, begun: vec![] };
        assert_eq!(ledger.position(), at(3));
        assert_eq!(ledger.following(at(3), 9), continued(vec![]));
        assert_eq!(ledger.following(at(1), 1), continued(vec![two.clone()]), "a write is whole");
        assert_eq!(ledger.following(at(1), 9), continued(vec![two, three]));
        let list = Entry { value: Value::List(["x", "y", "z"].map(Into::into).into()), version: 2 };
        let copy =
            Following::Copy { position: at(3), epochs: Epochs::default(), pairs: vec![("l".into(), list)] };
        assert_eq!(ledger.following(at(0), 9), copy, "the first write is no longer kept");
        assert_eq!(ledger.following(at(4), 9), copy, "no follower may be ahead of the primary");
        assert_eq!(ledger.following(Position { lineage: lineage ^ 1, ..at(2) }, 9), copy);
        ledger.close().await;

        let reopened = open(folder.path(), 2);
        assert_eq!(reopened.position(), at(3));
        assert_eq!(reopened.following(at(1), 9), ledger.following(at(1), 9));
        assert_eq!(reopened.following(at(0), 9), copy);
    }
    #[tokio::test]
    async fn a_follower_whose_last_writes_differ_gets_a_copy() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = open(folder.path(), 9);
        ledger.found().await.unwrap();
        let Position { lineage, .. } = ledger.position();
        let [one, three] = [(1, 1), (3, 3)].map(|(epoch, first)| Beginning { epoch, first });
        ledger.append(vec![vec![], vec![append("l", "x")]], vec![one]).await.unwrap();
        ledger.append(vec![vec![]], vec![three]).await.unwrap();
        let at = |epoch, offset| Position { lineage, epoch, offset };
        assert_eq!(ledger.position(), at(3, 3));
        assert_eq!(
            ledger.following(at(1, 2), 9),
            Following::Writes { writes: vec![vec![]], begun: vec![three] }
        );
        // A primary of epoch 2 that no other node followed, and one of epoch 1 that went on.
        for differs in [at(2, 2), at(2, 3), at(1, 3), at(1, 4)] {
            assert!(matches!(ledger.following(differs, 9), Following::Copy { .. }), "{differs:?}");
            assert!(!ledger.has(differs));
        }
        ledger.close().await;

        let reopened = open(folder.path(), 9);
        assert!(reopened.has(at(1, 2)) && reopened.has(at(3, 3)) && !reopened.has(at(1, 3)));
        let follower = tempfile::tempdir().unwrap();
        let follower = open(follower.path(), 9);
        let Following::Copy { position, epochs, pairs } = reopened.following(Position::default(), 9) else {
            panic!("it has another lineage")
        };
        follower.replace(position, epochs, pairs).await.unwrap();
        assert!(follower.has(at(1, 2)) && follower.has(at(3, 3)) && !follower.has(at(1, 3)));
    }
}
