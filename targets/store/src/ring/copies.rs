//! A node's copies of keys, and its hints, in memory and on disk.
//!
//! A copy that is met is merged with what is held: nothing newer is ever replaced. It is visible once it is on disk, so that what
//! was read here is still here after a restart. A hint is a copy that is kept for an owner that could not be reached.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use bytes::Bytes;
use duress_consensus::disk::{Contents, DATA, Disk, DiskError, META};
use redb::{ReadableTable, WriteTransaction};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::placement::Member;
use super::siblings::Siblings;
use super::vector::{Actor, VersionVector};
use super::versioned::{Stamp, Versioned};
use crate::bug::{Bug, syncing};

/// The number of the encoding of everything that a node of this mode stores; it grows with every change of that.
const FORMAT: u32 = 2;
/// The record of how many times the node has started.
const STARTS: &str = "starts";

/// The most values that a key may have side by side, and the most bytes of them, when a client adds one: a key with so many has
/// clients that do not say what they have seen.
const SIBLINGS_MAX: usize = 100;
const SIBLINGS_BYTES_MAX: usize = 8 << 20;

/// A copy on disk.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    copy: Versioned,
    /// The actor that counts the writes of this copy, once there was one. It is forgotten with the copy.
    actor: Option<Actor>,
}

/// A write of a client that says what it has seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// The new value; `None` deletes.
    pub value: Option<Bytes>,
    /// The writes that the client has seen.
    pub context: VersionVector,
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
            for (record, Record { copy, .. }) in contents.data()? {
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

    /// Returns what it holds of a key, as its own copy and as hints.
    pub fn merged(&self, key: &[u8]) -> Option<Versioned> {
        Versioned::merge_all(self.read().values().filter_map(|copies| copies.get(key)))
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

    /// Merges copies with what is held: makes the results durable, then visible. Returns how many had something new, when all of
    /// them are on disk.
    ///
    /// # Errors
    /// They cannot be made durable; none of them became visible.
    pub async fn store(&self, keep: Keep, copies: Vec<(Bytes, Versioned)>) -> Result<usize, DiskError> {
        let (owner, meeting) = (keep.owner(), self.meeting(keep));
        let newer: Vec<(Bytes, Versioned)> = {
            let held = self.read();
            let held = |key: &Bytes| held.get(&owner)?.get(key);
            copies.into_iter().filter(|(key, copy)| meeting.of(held(key), copy).is_some()).collect()
        };
        if newer.is_empty() {
            return Ok(0);
        }
        let newer = Arc::new(newer);
        let stored = Arc::clone(&newer);
        let write = move |transaction: &WriteTransaction| {
            let mut data = transaction.open_table(DATA)?;
            for (key, copy) in stored.iter() {
                let name = record_key(owner, key);
                // Changes under way may bring newer ones before this: the disk's order decides.
                let held = data.get(&name[..])?.map(|record| decode(record.value())).transpose()?;
                if let Some(copy) = meeting.of(held.as_ref().map(|held| &held.copy), copy) {
                    let record = Record { copy, actor: held.and_then(|held| held.actor) };
                    data.insert(&name[..], &encode(&record)[..])?;
                }
            }
            Ok(())
        };
        let count = newer.len();
        let show = move |held: &mut Held| {
            let held = held.entry(owner).or_default();
            for (key, copy) in newer.iter() {
                if let Some(copy) = meeting.of(held.get(key), copy) {
                    held.insert(key.clone(), copy);
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

    fn meeting(&self, keep: Keep) -> Meeting {
        match self.bug {
            // A repair was found necessary by a read: that is not looked at again.
            Some(Bug::RepairWritesOlder) if keep == Keep::Repair => Meeting::Replaces,
            Some(Bug::SiblingsDropped) => Meeting::DropsSiblings,
            _ => Meeting::Merges,
        }
    }

    /// Executes a write on the copy that is kept so, and returns that copy once it is on disk; `None` if it would have too many
    /// values. A copy that has no actor yet gets `fresh`.
    ///
    /// # Errors
    /// It cannot be made durable.
    pub async fn write(
        &self,
        keep: Keep,
        key: Bytes,
        write: Write,
        fresh: Actor,
    ) -> Result<Option<Versioned>, DiskError> {
        let owner = keep.owner();
        let written = Arc::new(OnceLock::new());
        let (result, shown) = (Arc::clone(&written), Arc::clone(&written));
        let name = record_key(owner, &key);
        let change = move |transaction: &WriteTransaction| {
            let mut data = transaction.open_table(DATA)?;
            let held = data.get(&name[..])?.map(|record| decode(record.value())).transpose()?;
            let actor = held.as_ref().and_then(|held| held.actor).unwrap_or(fresh);
            let siblings = match held.map(|held| held.copy) {
                Some(Versioned::Siblings(siblings)) => siblings,
                Some(Versioned::Last(..)) | None => Siblings::default(),
            };
            let copy = siblings.write(actor, &write.context, write.value).map(Versioned::Siblings);
            let fits =
                |copy: &Versioned| copy.values().len() <= SIBLINGS_MAX && copy.size() <= SIBLINGS_BYTES_MAX;
            if let Some(copy) = copy.filter(fits) {
                data.insert(&name[..], &encode(&Record { copy: copy.clone(), actor: Some(actor) })[..])?;
                result.set(copy).ok();
            }
            Ok(())
        };
        let show = move |held: &mut Held| {
            let Some(copy) = shown.get() else { return };
            let held = held.entry(owner).or_default();
            let merged = Versioned::merge_all(held.get(&key).into_iter().chain([copy]));
            held.extend(merged.map(|merged| (key, merged)));
        };
        self.commit(change, show).await?;
        Ok(written.get().cloned())
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

    /// Forgets hints that their owner has by now: those with these stamps.
    ///
    /// # Errors
    /// It cannot be made durable.
    pub async fn forget_hints(&self, owner: Member, given: Vec<(Bytes, Stamp)>) -> Result<(), DiskError> {
        self.forget(Some(owner), given).await
    }

    /// The bug `deleted-key-resurrected`: forgets tombstones with these stamps.
    ///
    /// # Errors
    /// It cannot be made durable.
    pub async fn forget_tombstones(&self, given: Vec<(Bytes, Stamp)>) -> Result<(), DiskError> {
        self.forget(None, given).await
    }

    async fn forget(&self, owner: Option<Member>, given: Vec<(Bytes, Stamp)>) -> Result<(), DiskError> {
        if given.is_empty() {
            return Ok(());
        }
        let given = Arc::new(given);
        let forgotten = Arc::clone(&given);
        let write = move |transaction: &WriteTransaction| {
            let mut data = transaction.open_table(DATA)?;
            for (key, stamp) in forgotten.iter() {
                let name = record_key(owner, key);
                let held = data.get(&name[..])?.map(|record| decode(record.value())).transpose()?;
                if held.is_some_and(|held| held.copy.stamp() == *stamp) {
                    data.remove(&name[..])?;
                }
            }
            Ok(())
        };
        let show = move |held: &mut Held| {
            let held = held.entry(owner).or_default();
            for (key, stamp) in given.iter() {
                if held.get(key).is_some_and(|copy| copy.stamp() == *stamp) {
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

/// How a node combines the copy that it holds with one that it meets.
#[derive(Debug, Clone, Copy)]
enum Meeting {
    /// They are merged.
    Merges,
    /// The bug `repair-writes-older`: the other one replaces it.
    Replaces,
    /// The bug `siblings-dropped`: they are merged, and one value is kept of those of both.
    DropsSiblings,
}

impl Meeting {
    /// Returns the copy to be held from now on; `None` if it is the one that is held.
    fn of(self, held: Option<&Versioned>, met: &Versioned) -> Option<Versioned> {
        let Some(held) = held else { return Some(met.clone()) };
        let mut merged = match self {
            Self::Replaces => met.clone(),
            Self::Merges | Self::DropsSiblings => held.merge(met),
        };
        if let (Self::DropsSiblings, Versioned::Siblings(siblings)) = (self, &mut merged)
            && !held.covers(met)
            && !met.covers(held)
        {
            siblings.drop_all_but_one();
        }
        (merged != *held).then_some(merged)
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

/// # Errors
/// The record is not one: it was read when the folder was opened, and is damaged since.
fn decode(record: &[u8]) -> Result<Record, redb::Error> {
    postcard::from_bytes(record).map_err(|error| redb::Error::Corrupted(format!("a copy of a key: {error}")))
}

fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    postcard::to_stdvec(record).expect("records have no part that cannot be encoded")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::version::{Version, Versions};

    fn copy(counter: u64, value: &'static str) -> Versioned {
        let version = Version { counter, node: Member(0), start: 1, number: 0 };
        Versioned::Last(version, Some(value.into()))
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
        assert_eq!(copies.merged(b"k"), Some(copy(5, "new")));
        copies.close().await;
        let (copies, _) = open(folder.path()).await;
        assert_eq!(copies.merged(b"k"), Some(copy(5, "new")));
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
        assert_eq!(copies.merged(b"k"), Some(copy(1, "a")), "it is found by a read");
        assert_eq!(copies.hints(9), [(Member(2), vec![(key(), copy(1, "a"))])]);
        copies.store(Keep::Hint(Member(2)), vec![(key(), copy(2, "b"))]).await.unwrap();
        copies.forget_hints(Member(2), vec![(key(), copy(1, "a").stamp())]).await.unwrap();
        assert_eq!(copies.hints_count(), 1, "the owner does not have the newer one yet");
        copies.forget_hints(Member(2), vec![(key(), copy(2, "b").stamp())]).await.unwrap();
        assert_eq!((copies.hints_count(), copies.hints(9)), (0, vec![]));
    }

    /// Writes at a copy, and returns the values that it has then, with the context.
    async fn write(
        copies: &Copies,
        keep: Keep,
        context: &VersionVector,
        value: &'static str,
        number: u64,
    ) -> (Vec<Bytes>, VersionVector) {
        let fresh = Actor { node: Member(0), start: 1, number };
        let write = Write { value: Some(value.into()), context: context.clone() };
        let copy = copies.write(keep, key(), write, fresh).await.unwrap().expect("few values");
        (copy.values().into_iter().cloned().collect(), copy.context())
    }

    #[tokio::test]
    async fn a_copy_has_one_actor_for_as_long_as_it_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (copies, _) = open(folder.path()).await;
        let (hint, none) = (Keep::Hint(Member(2)), VersionVector::default());
        let (values, seen) = write(&copies, hint, &none, "a", 1).await;
        assert_eq!((values, seen.to_string()), (vec!["a".into()], "0.1.1=1".into()));
        copies.close().await;
        let (copies, _) = open(folder.path()).await;
        let (values, both) = write(&copies, hint, &none, "b", 2).await;
        assert_eq!((values, both.to_string()), (vec!["a".into(), "b".into()], "0.1.1=2".into()));
        let (values, last) = write(&copies, hint, &seen, "c", 3).await;
        assert_eq!((values, last.to_string()), (vec!["b".into(), "c".into()], "0.1.1=3".into()));
        let held = copies.merged(b"k").unwrap();
        copies.forget_hints(Member(2), vec![(key(), held.stamp())]).await.unwrap();
        let (values, next) = write(&copies, hint, &none, "d", 4).await;
        assert_eq!((values, next.to_string()), (vec!["d".into()], "0.1.4=1".into()), "a new one");
    }

    #[tokio::test]
    async fn a_key_has_only_so_many_values_side_by_side() {
        let folder = tempfile::tempdir().unwrap();
        let (copies, _) = open(folder.path()).await;
        let fresh = Actor { node: Member(0), start: 1, number: 1 };
        let add = |value: Bytes, context: VersionVector| {
            copies.write(Keep::Own, key(), Write { value: Some(value), context }, fresh)
        };
        for at in 0..SIBLINGS_MAX {
            assert!(add("v".into(), VersionVector::default()).await.unwrap().is_some(), "value {at}");
        }
        assert_eq!(add("v".into(), VersionVector::default()).await.unwrap(), None);
        let context = copies.merged(b"k").unwrap().context();
        let large = Bytes::from(vec![0; SIBLINGS_BYTES_MAX]);
        assert_eq!(add(large, context).await.unwrap().unwrap().values().len(), 1, "it had seen the others");
        assert_eq!(add("v".into(), VersionVector::default()).await.unwrap(), None);
    }
}
