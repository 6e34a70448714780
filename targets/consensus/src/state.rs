//! The state that a subject replicates.

use std::sync::Arc;

use openraft::{Entry, EntryPayload};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::types::{LogId, Replies, SnapshotMeta, StoredMembership, TypeConfig};

/// The state that a subject replicates.
///
/// Only the commands may determine it: no clock, no random number, no order of a hash table.
pub trait State: Clone + Default + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// A change of the state.
    type Command: DeserializeOwned;
    /// The reply to a command.
    type Reply: Serialize;
    /// The number of the encoding of the state and of commands, which grows with every change of it.
    const FORMAT: u32;

    /// Executes one command of the entry at `index` of the log.
    fn apply(&mut self, index: u64, command: Self::Command) -> Self::Reply;
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

impl<S: State> Applied<S> {
    /// Applies the next entry.
    fn apply(&mut self, entry: Entry<TypeConfig>) -> Result<Replies, postcard::Error> {
        let replies = match entry.payload {
            EntryPayload::Blank => Replies::default(),
            EntryPayload::Membership(members) => {
                self.membership = StoredMembership::new(Some(entry.log_id), members);
                Replies::default()
            }
            EntryPayload::Normal(batch) => {
                let commands: Vec<S::Command> = batch.commands()?;
                let index = entry.log_id.index;
                let replies = commands.into_iter().map(|command| self.state.apply(index, command));
                Replies::new(&replies.collect::<Vec<_>>())
            }
        };
        self.last_applied = Some(entry.log_id);
        Ok(replies)
    }
}

/// A shared view of the state. Cheap to clone.
#[derive(Debug, Clone)]
pub struct StateView<S> {
    // Readers read while the state machine's task applies; a lock is held for one read or one batch, and never across
    // an await.
    applied: Arc<watch::Sender<Applied<S>>>,
}

impl<S: Default> Default for StateView<S> {
    fn default() -> Self {
        Self::new(S::default())
    }
}

impl<S> StateView<S> {
    /// Returns a view of the state before the first entry.
    pub fn new(state: S) -> Self {
        let applied = Applied { last_applied: None, membership: StoredMembership::default(), state };
        Self { applied: Arc::new(watch::Sender::new(applied)) }
    }

    /// Reads the state.
    pub fn read<T>(&self, look: impl FnOnce(&Applied<S>) -> T) -> T {
        look(&self.applied.borrow())
    }

    /// Notifies of every change of the state.
    pub fn changes(&self) -> watch::Receiver<Applied<S>> {
        self.applied.subscribe()
    }
}

/// Encodes a copy of the state.
pub type Encode = Box<dyn Fn() -> Result<Vec<u8>, postcard::Error> + Send + Sync>;
/// Puts a decoded state in the place of the present one.
pub type Install = Box<dyn FnOnce(&SnapshotMeta) + Send>;

/// A [`StateView`] of any state, as the state machine changes it.
pub trait Replicated: Send + Sync + 'static {
    /// Returns the position, and the members as of it.
    fn position(&self) -> (Option<LogId>, StoredMembership);

    /// Applies entries in order, and returns the replies to each.
    ///
    /// # Errors
    /// The commands of the entry at that position cannot be decoded.
    fn apply(
        &self,
        entries: &mut dyn Iterator<Item = Entry<TypeConfig>>,
    ) -> Result<Vec<Replies>, (LogId, postcard::Error)>;

    /// Copies the state, with its position and members; the copy can be encoded while the original is changed.
    fn copy(&self) -> (Option<LogId>, StoredMembership, Encode);

    /// Decodes a state; it is not installed yet.
    ///
    /// # Errors
    /// It cannot be decoded.
    fn decode(&self, data: &[u8]) -> Result<Install, postcard::Error>;
}

impl<S: State> Replicated for StateView<S> {
    fn position(&self) -> (Option<LogId>, StoredMembership) {
        self.read(|applied| (applied.last_applied, applied.membership.clone()))
    }

    fn apply(
        &self,
        entries: &mut dyn Iterator<Item = Entry<TypeConfig>>,
    ) -> Result<Vec<Replies>, (LogId, postcard::Error)> {
        let mut all = Ok(Vec::new());
        self.applied.send_modify(|applied| {
            all = entries
                .map(|entry| {
                    let position = entry.log_id;
                    applied.apply(entry).map_err(|error| (position, error))
                })
                .collect();
        });
        all
    }

    fn copy(&self) -> (Option<LogId>, StoredMembership, Encode) {
        let applied = self.read(Applied::clone);
        let (position, membership) = (applied.last_applied, applied.membership.clone());
        (position, membership, Box::new(move || postcard::to_stdvec(&applied)))
    }

    fn decode(&self, data: &[u8]) -> Result<Install, postcard::Error> {
        let decoded: Applied<S> = postcard::from_bytes(data)?;
        let view = self.clone();
        Ok(Box::new(move |meta| {
            view.applied.send_replace(Applied {
                last_applied: meta.last_log_id,
                membership: meta.last_membership.clone(),
                state: decoded.state,
            });
        }))
    }
}
