//! A node's copies of keys, and its hints, in memory and on disk.
//!
//! A copy is replaced only by a newer one. It is visible once it is on disk, so that what was read here is still here after a
//! restart. A hint is a copy that is kept for an owner that could not be reached.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use duress_consensus::disk::{Contents, DATA, Disk, DiskError, META};
use redb::{ReadableTable, WriteTransaction};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::placement::Member;
use super::version::Version;
use crate::bug::{Bug, syncing};

/// The number of the encoding of everything that a node of this mode stores; it grows with every change of that.
const FORMAT: u32 = 1;
/// The record of how many times the node has started.
const STARTS: &str = "starts";

/// A value of a key with its version; no value if the key was deleted (a tombstone).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versioned {
    /// The version; the first field, which is read without the rest.
    pub version: Version,
    /// The value.
    pub value: Option<Bytes>,
}

/// The place where a node keeps copies, and the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Keep {
    /// As the node's own.
    Own,
    /// As the node's own, since a read has found it outdated.
    Repair,
    /// As hints for an owner.
    Hint(Member),
}

impl Keep {
    fn owner(self) -> Option<Member> {
        if let Self::Hint(owner) = self { Some(owner) } else { None }
    }
}

/// Copies by owner of the hint, which is `None` for the node's own, and by key.
type Held = BTreeMap<Option<Member>, BTreeMap<Bytes, Versioned>>;

/// The copies and hints of a node. Cheap to clone.
#[derive(Clone)]
pub struct Copies {
    // Requests of clients and of other nodes read and write concurrently; the lock is held for one look or one batch and
    // never across an await.
    held: Arc<RwLock<Held>>,
    disk: Disk,
    bug: Option<Bug>,
}

impl Copies {
    /// Opens the data folder of the node `owner`; returns also how many times it has started, this one included.
    ///
    /// # Errors
    /// It cannot be used, or belongs to another node.
    pub async fn open(folder: &Path, owner: &str, bug: Option<Bug>) -> Result<(Self, u64), DiskError> {
        let load = |contents: &Contents<'_>| {
            let mut held = Held::new();
            for (record, copy) in contents.data::<Versioned>()? {
                let (owner, key) = parse_record_key(&record);
                held.entry(owner).or_default().insert(key, copy);
            }
            Ok((held, contents.meta::<u64>(STARTS)?.unwrap_or(0) + 1))
        };
        let (disk, (held, starts)) = Disk::open(folder, owner, FORMAT, syncing(bug), load)?;
        disk.commit(move |transaction| {
            transaction.open_table(META)?.insert(STARTS, &encode(&starts)[..])?;
            Ok(())
        })
        .await?;
        Ok((Self { held: Arc::new(RwLock::new(held)), disk, bug }, starts))
    }

    /// Reads the durable, visible copies: the node's own.
    pub fn look<T>(&self, look: impl FnOnce(&BTreeMap<Bytes, Versioned>) -> T) -> T {
        static NONE: BTreeMap<Bytes, Versioned> = BTreeMap::new();
        look(self.read().get(&None).unwrap_or(&NONE))
    }

    /// Returns the newest that it holds of a key, be it its own copy or a hint.
    pub fn newest(&self, key: &[u8]) -> Option<Versioned> {
        let held = self.read();
        held.values().filter_map(|copies| copies.get(key)).max_by_key(|copy| copy.version).cloned()
    }

    /// Returns the owners for which there are hints, each with at most `most` of them.
    pub fn hints(&self, most: usize) -> Vec<(Member, Vec<(Bytes, Versioned)>)> {
        let of = |(owner, copies): (&Option<Member>, &BTreeMap<Bytes, Versioned>)| {
            let first = copies.iter().take(most).map(|(key, copy)| (key.clone(), copy.clone())).collect();
            owner.filter(|_| !copies.is_empty()).map(|owner| (owner, first))
        };
        self.read().iter().filter_map(of).collect()
    }

    /// How many hints there are.
    pub fn hints_count(&self) -> usize {
        self.read().iter().filter(|(owner, _)| owner.is_some()).map(|(_, copies)| copies.len()).sum()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Held> {
        self.held.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes copies durable, then visible, each only if it is newer than what is held. Returns how many were, when all of
    /// them, or newer ones, are on disk.
    ///
    /// # Errors
    /// They cannot be made durable; none of them became visible.
    pub async fn store(&self, keep: Keep, copies: Vec<(Bytes, Versioned)>) -> Result<usize, DiskError> {
        let owner = keep.owner();
        let replaces = |held: Option<Version>, copy: &Versioned| held.is_none_or(|held| held < copy.version);
        // A repair was found necessary by a read: with the bug `repair-writes-older` that is not looked at again.
        let always = keep == Keep::Repair && self.bug == Some(Bug::RepairWritesOlder);
        let newer: Vec<(Bytes, Versioned)> = {
            let held = self.read();
            let held = |key: &Bytes| held.get(&owner)?.get(key).map(|copy| copy.version);
            copies.into_iter().filter(|(key, copy)| always || replaces(held(key), copy)).collect()
        };
        if newer.is_empty() {
            return Ok(0);
        }
        let newer = Arc::new(newer);
        let stored = Arc::clone(&newer);
        let write = move |transaction: &WriteTransaction| {
            let mut data = transaction.open_table(DATA)?;
            for (key, copy) in stored.iter() {
                let record = record_key(owner, key);
                // Changes under way may bring newer ones before this: the disk's order decides.
                let held = data.get(&record[..])?.and_then(|held| version_of(held.value()));
                if always || replaces(held, copy) {
                    data.insert(&record[..], &encode(copy)[..])?;
                }
            }
            Ok(())
        };
        let count = newer.len();
        let show = move |held: &mut Held| {
            let held = held.entry(owner).or_default();
            for (key, copy) in newer.iter() {
                if always || replaces(held.get(key).map(|held| held.version), copy) {
                    held.insert(key.clone(), copy.clone());
                }
            }
        };
        if owner.is_some() && self.bug == Some(Bug::HintLostOnRestart) {
            self.commit(|_| Ok(()), show).await?;
        } else {
            self.commit(write, show).await?;
        }
        Ok(count)
    }

    /// Makes a change durable by `write`, then visible by `show`, also when the caller no longer waits.
    async fn commit(
        &self,
        write: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error> + Send + 'static,
        show: impl FnOnce(&mut Held) + Send + 'static,
    ) -> Result<(), DiskError> {
        let (sender, receiver) = oneshot::channel();
        let held = Arc::clone(&self.held);
        self.disk.submit(write, move |result| {
            if result.is_ok() {
                show(&mut held.write().unwrap_or_else(PoisonError::into_inner));
            }
            // A caller that no longer waits does not need the result.
            sender.send(result).ok();
        });
        receiver.await.unwrap_or(Err(DiskError::Closed))
    }

    /// Forgets hints that their owner has by now: those of these versions.
    ///
    /// # Errors
    /// It cannot be made durable.
    pub async fn forget_hints(&self, owner: Member, given: Vec<(Bytes, Version)>) -> Result<(), DiskError> {
        self.forget(Some(owner), given).await
    }

    /// The bug `deleted-key-resurrected`: forgets tombstones of these versions.
    ///
    /// # Errors
    /// It cannot be made durable.
    pub async fn forget_tombstones(&self, given: Vec<(Bytes, Version)>) -> Result<(), DiskError> {
        self.forget(None, given).await
    }

    async fn forget(&self, owner: Option<Member>, given: Vec<(Bytes, Version)>) -> Result<(), DiskError> {
        if given.is_empty() {
            return Ok(());
        }
        let given = Arc::new(given);
        let forgotten = Arc::clone(&given);
        let write = move |transaction: &WriteTransaction| {
            let mut data = transaction.open_table(DATA)?;
            for (key, version) in forgotten.iter() {
                let record = record_key(owner, key);
                let held = data.get(&record[..])?.and_then(|held| version_of(held.value()));
                if held == Some(*version) {
                    data.remove(&record[..])?;
                }
            }
            Ok(())
        };
        let show = move |held: &mut Held| {
            let held = held.entry(owner).or_default();
            for (key, version) in given.iter() {
                if held.get(key).is_some_and(|copy| copy.version == *version) {
                    held.remove(key);
                }
            }
        };
        self.commit(write, show).await
    }

    /// Closes the data folder.
    pub async fn close(&self) {
        self.disk.close().await;
    }
}

/// Returns the key of a record: the node that the hint is for, from 1, or 0 for an own copy, and then the key.
fn record_key(owner: Option<Member>, key: &[u8]) -> Vec<u8> {
    let owner = owner.map_or(0, |owner| u32::from(owner.0) + 1);
    [&owner.to_be_bytes()[..], key].concat()
}

fn parse_record_key(record: &[u8]) -> (Option<Member>, Bytes) {
    match record.split_first_chunk() {
        Some((owner, key)) => {
            let owner = u32::from_be_bytes(*owner).checked_sub(1).and_then(|owner| owner.try_into().ok());
            (owner.map(Member), Bytes::copy_from_slice(key))
        }
        None => (None, Bytes::new()),
    }
}

fn version_of(record: &[u8]) -> Option<Version> {
    postcard::take_from_bytes(record).ok().map(|(version, _)| version)
}

fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    postcard::to_stdvec(record).expect("records have no part that cannot be encoded")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::version::Versions;

    fn copy(counter: u64, value: &'static str) -> Versioned {
        let version = Version { counter, node: Member(0), start: 1, number: 0 };
        Versioned { version, value: Some(value.into()) }
    }

    async fn open(folder: &Path) -> (Copies, u64) {
        Copies::open(folder, "n1", None).await.unwrap()
    }

    fn key() -> Bytes {
        "k".into()
    }

    #[tokio::test]
    async fn versions_are_never_given_out_again_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let mut given = std::collections::BTreeSet::new();
        for _ in 0..3 {
            let (copies, starts) = open(folder.path()).await;
            let versions = Versions::new(Member(0), starts);
            // No copy was stored here: another node has it alone.
            assert!((0..10).all(|_| given.insert(versions.after(None))), "given out twice");
            copies.close().await;
        }
    }

    #[tokio::test]
    async fn only_a_newer_copy_replaces_one_and_it_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let (copies, _) = open(folder.path()).await;
        // Both are on their way to the disk at once.
        let store = |copy| copies.store(Keep::Own, vec![(key(), copy)]);
        let (newer, older) = tokio::join!(store(copy(5, "new")), store(copy(4, "old")));
        newer.unwrap();
        older.unwrap();
        assert_eq!(store(copy(3, "older")).await.unwrap(), 0);
        assert_eq!(copies.newest(b"k"), Some(copy(5, "new")));
        copies.close().await;
        let (copies, _) = open(folder.path()).await;
        assert_eq!(copies.newest(b"k"), Some(copy(5, "new")));
    }

    #[tokio::test]
    async fn hints_are_kept_apart_over_restarts_until_their_owner_has_them() {
        let folder = tempfile::tempdir().unwrap();
        let (copies, _) = open(folder.path()).await;
        let hint = |copy| copies.store(Keep::Hint(Member(2)), vec![(key(), copy)]);
        hint(copy(1, "a")).await.unwrap();
        copies.close().await;
        let (copies, _) = open(folder.path()).await;
        assert_eq!(copies.look(|own| own.len()), 0, "it is not this node's own");
        assert_eq!(copies.newest(b"k"), Some(copy(1, "a")), "it is found by a read");
        assert_eq!(copies.hints(9), [(Member(2), vec![(key(), copy(1, "a"))])]);
        copies.store(Keep::Hint(Member(2)), vec![(key(), copy(2, "b"))]).await.unwrap();
        copies.forget_hints(Member(2), vec![(key(), copy(1, "a").version)]).await.unwrap();
        assert_eq!(copies.hints_count(), 1, "the owner does not have the newer one yet");
        copies.forget_hints(Member(2), vec![(key(), copy(2, "b").version)]).await.unwrap();
        assert_eq!((copies.hints_count(), copies.hints(9)), (0, vec![]));
    }
}
