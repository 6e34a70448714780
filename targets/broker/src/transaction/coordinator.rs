//! All transactional ids of one broker: requests in, actions out.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::error::TransactionError;
use super::record::{decode, record};
use super::state::{Kept, Stage};
use crate::group::TopicPartition;
use crate::internal::{Content, Token, WriteId, partition_of};
use crate::log::{Marker, Outcome};

/// How long to wait before something that could not be appended is tried again.
const AGAIN_AFTER: Duration = Duration::from_millis(100);
/// As Kafka's `transaction.max.timeout.ms`.
const TIMEOUT_MAX: Duration = Duration::from_secs(15 * 60);

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// To InitProducerId: the producer id and its epoch.
    Begun(Result<(i64, i16), TransactionError>),
    /// To the other requests.
    Done(Result<(), TransactionError>),
}

/// A transaction whose markers are to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// The transactional id.
    pub id: String,
    /// The partition of the internal topic that holds the id.
    pub partition: i32,
    /// The marker, but for the coordinator's epoch.
    pub marker: Marker,
    /// Where to.
    pub partitions: Vec<TopicPartition>,
}

/// An action for the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send this answer.
    Reply(Token, Reply),
    /// Append this batch, in the order of the actions, as with `acks=all`; then call
    /// [`appended`](Coordinator::appended) or [`append_failed`](Coordinator::append_failed).
    Append {
        /// The identity to call back with.
        write: WriteId,
        /// The partition of the internal topic.
        partition: i32,
        /// The batch.
        content: Content,
    },
    /// Write these markers, again and again until each is written; then call [`marked`](Coordinator::marked).
    Mark(Ending),
}

/// A partition of the internal topic that is being read. Made by [`Coordinator::begin_load`].
#[derive(Debug)]
pub struct Load {
    partition: i32,
    incarnation: u64,
    kept: BTreeMap<String, Kept>,
}

impl Load {
    /// Applies the next record; records come in order of their offsets. Returns whether it is one of a transactional id.
    #[must_use]
    pub fn replay(&mut self, key: &[u8], value: Option<&[u8]>) -> bool {
        match decode(key, value) {
            Some((id, Some(kept))) => drop(self.kept.insert(id, kept)),
            Some((id, None)) => drop(self.kept.remove(&id)),
            None => return false,
        }
        true
    }
}

/// A transactional id.
#[derive(Debug)]
struct Entry {
    kept: Kept,
    /// The write that would change it; no other is begun meanwhile.
    writing: Option<WriteId>,
    /// When its open transaction is aborted.
    ends: Instant,
    /// Whether all markers of an ending transaction are written.
    marked: bool,
    /// When a write of the coordinator's own that failed is tried again.
    again_at: Option<Instant>,
}

#[derive(Debug)]
enum Hosted {
    Loading { incarnation: u64 },
    Ready { entries: BTreeMap<String, Entry> },
}

/// The continuation once a record has been appended.
#[derive(Debug)]
struct Write {
    partition: i32,
    id: String,
    next: Kept,
    then: Then,
}

#[derive(Debug)]
enum Then {
    Begun(Token),
    Done(Token),
    Nothing,
}

/// Coordinates the transactional ids whose partitions of the internal topic this broker leads.
#[derive(Debug)]
pub struct Coordinator {
    /// How many partitions the internal topic has.
    partitions: i32,
    hosted: BTreeMap<i32, Hosted>,
    writes: BTreeMap<WriteId, Write>,
    writes_begun: u64,
    loads_begun: u64,
}

impl Coordinator {
    /// Returns a coordinator of no transactional ids yet; the internal topic has so many partitions.
    pub fn new(partitions: i32) -> Self {
        let (hosted, writes) = (BTreeMap::new(), BTreeMap::new());
        Self { partitions, hosted, writes, writes_begun: 0, loads_begun: 0 }
    }

    /// This broker leads a partition of the internal topic now. Requests about its ids are answered with
    /// [`TransactionError::Loading`] until everything in it has been replayed into what this returns.
    pub fn begin_load(&mut self, partition: i32) -> Load {
        self.loads_begun += 1;
        let incarnation = self.loads_begun;
        self.hosted.insert(partition, Hosted::Loading { incarnation });
        Load { partition, incarnation, kept: BTreeMap::new() }
    }

    /// Ends the load once everything has been replayed: transactions that were ending go on to end, and the time-outs of
    /// open ones are restarted. Does nothing if the partition has been unloaded or loaded again meanwhile.
    pub fn finish_load(&mut self, load: Load, now: Instant) -> Vec<Action> {
        let Load { partition, incarnation, kept } = load;
        let is_loading = |hosted: &&mut Hosted| matches!(hosted, Hosted::Loading { incarnation: of } if *of == incarnation);
        let Some(hosted) = self.hosted.get_mut(&partition).filter(is_loading) else { return Vec::new() };
        let mark = |(id, kept): (&String, &Kept)| Some(Action::Mark(ending(id, partition, kept)?));
        let actions = kept.iter().filter_map(mark).collect();
        let entry = |(id, kept)| (id, Entry::new(kept, now));
        *hosted = Hosted::Ready { entries: kept.into_iter().map(entry).collect() };
        actions
    }

    /// This broker no longer leads a partition of the internal topic. Every waiting request is answered so.
    pub fn unload(&mut self, partition: i32) -> Vec<Action> {
        self.hosted.remove(&partition);
        let mut actions = Vec::new();
        self.writes.retain(|_, write| {
            if write.partition == partition {
                actions.extend(refuse(&write.then, TransactionError::NotCoordinator));
            }
            write.partition != partition
        });
        actions
    }

    /// InitProducerId: a new instance of a producer begins, or, where `expected` has its producer id and epoch, the present
    /// one begins anew. A transactional id that is new gets the producer id `fresh_id`.
    pub fn begin(
        &mut self,
        id: &str,
        timeout: Duration,
        expected: Option<(i64, i16)>,
        fresh_id: i64,
        token: Token,
    ) -> Vec<Action> {
        let refuse = |error| vec![Action::Reply(token, Reply::Begun(Err(error)))];
        if id.is_empty() {
            return refuse(TransactionError::InvalidRequest);
        }
        if timeout.is_zero() || timeout > TIMEOUT_MAX {
            return refuse(TransactionError::InvalidTimeout);
        }
        // A new id has no entry until its first record is appended.
        let is_being_written = self.writes.values().any(|write| write.id == id);
        let entries = match self.entries(id) {
            Ok(entries) => entries,
            Err(error) => return refuse(error),
        };
        let next = match entries.get(id) {
            _ if is_being_written => return refuse(TransactionError::Concurrent),
            None if expected.is_some() => return refuse(TransactionError::InvalidMapping),
            None => Kept::new(fresh_id, timeout),
            Some(entry) => {
                let kept = &entry.kept;
                if expected.is_some_and(|expected| expected != (kept.producer_id, kept.epoch)) {
                    return refuse(TransactionError::Fenced);
                }
                match kept.stage {
                    Stage::Ending(_) => return refuse(TransactionError::Concurrent),
                    Stage::Ongoing => kept.fenced(),
                    Stage::Idle | Stage::Ended(_) => kept.renewed(fresh_id, timeout),
                }
            }
        };
        vec![self.append(id, next, Then::Begun(token))]
    }

    /// AddPartitionsToTxn and AddOffsetsToTxn.
    pub fn add(
        &mut self,
        id: &str,
        producer: (i64, i16),
        partitions: Vec<TopicPartition>,
        token: Token,
    ) -> Vec<Action> {
        let answer = |answer| vec![Action::Reply(token, Reply::Done(answer))];
        let entry = match self.entry_of(id, producer) {
            Ok(entry) => entry,
            Err(error) => return answer(Err(error)),
        };
        if matches!(entry.kept.stage, Stage::Ending(_)) {
            return answer(Err(TransactionError::Concurrent));
        }
        let is_known = |at: &TopicPartition| entry.kept.partitions.contains(at);
        if entry.kept.stage == Stage::Ongoing && partitions.iter().all(is_known) {
            return answer(Ok(()));
        }
        let next = entry.kept.with(partitions);
        vec![self.append(id, next, Then::Done(token))]
    }

    /// EndTxn. It is answered once the outcome is decided; the markers are written afterwards.
    pub fn end(&mut self, id: &str, producer: (i64, i16), outcome: Outcome, token: Token) -> Vec<Action> {
        let answer = |answer| vec![Action::Reply(token, Reply::Done(answer))];
        let entry = match self.entry_of(id, producer) {
            Ok(entry) => entry,
            Err(error) => return answer(Err(error)),
        };
        match entry.kept.stage {
            Stage::Ongoing => {
                let next = Kept { stage: Stage::Ending(outcome), ..entry.kept.clone() };
                vec![self.append(id, next, Then::Done(token))]
            }
            Stage::Ending(decided) if decided == outcome => answer(Err(TransactionError::Concurrent)),
            Stage::Ended(decided) if decided == outcome => answer(Ok(())),
            Stage::Idle | Stage::Ending(_) | Stage::Ended(_) => answer(Err(TransactionError::InvalidState)),
        }
    }

    /// Continues once every marker of the transaction `number` of `id` is written.
    pub fn marked(&mut self, id: &str, number: u64) -> Vec<Action> {
        let Ok(entries) = self.entries(id) else { return Vec::new() };
        let Some(entry) = entries.get_mut(id) else { return Vec::new() };
        let Stage::Ending(outcome) = entry.kept.stage else { return Vec::new() };
        if entry.kept.number != number || entry.writing.is_some() {
            return Vec::new();
        }
        entry.marked = true;
        let next = Kept { stage: Stage::Ended(outcome), ..entry.kept.clone() };
        vec![self.append(id, next, Then::Nothing)]
    }

    /// Continues once the record of an [`Action::Append`] is in the log and replicated.
    pub fn appended(&mut self, write: WriteId, now: Instant) -> Vec<Action> {
        let Some(Write { partition, id, next, then }) = self.writes.remove(&write) else { return Vec::new() };
        let Ok(entries) = self.entries(&id) else { return Vec::new() };
        let begins = next.stage == Stage::Ongoing
            && entries.get(&id).is_none_or(|entry| entry.kept.stage != Stage::Ongoing);
        let producer = (next.producer_id, next.epoch);
        let ending = ending(&id, partition, &next);
        let is_fencing = ending.is_some();
        let entry = entries.entry(id).or_insert_with(|| Entry::new(next.clone(), now));
        if begins {
            entry.ends = now + next.timeout;
        }
        (entry.kept, entry.writing, entry.marked, entry.again_at) = (next, None, false, None);
        let reply = match then {
            // The transaction of the instance before has to end first; the client asks again.
            Then::Begun(token) if is_fencing => {
                Some((token, Reply::Begun(Err(TransactionError::Concurrent))))
            }
            Then::Begun(token) => Some((token, Reply::Begun(Ok(producer)))),
            Then::Done(token) => Some((token, Reply::Done(Ok(())))),
            Then::Nothing => None,
        };
        let reply = reply.map(|(token, reply)| Action::Reply(token, reply));
        reply.into_iter().chain(ending.map(Action::Mark)).collect()
    }

    /// Continues after the record of an [`Action::Append`] could not be appended, or may not be replicated. It may be in the
    /// log all the same; whatever is appended next for the id, from the state before, then takes its place.
    pub fn append_failed(&mut self, write: WriteId, error: TransactionError, now: Instant) -> Vec<Action> {
        let Some(Write { id, then, .. }) = self.writes.remove(&write) else { return Vec::new() };
        if let Ok(entries) = self.entries(&id)
            && let Some(entry) = entries.get_mut(&id)
        {
            entry.writing = None;
            entry.again_at = Some(now + AGAIN_AFTER);
        }
        refuse(&then, error).into_iter().collect()
    }

    /// Does what time has made due: aborts transactions that took too long, and repeats what could not be appended.
    pub fn tick(&mut self, now: Instant) -> Vec<Action> {
        let mut due: Vec<(String, Kept)> = Vec::new();
        for hosted in self.hosted.values() {
            let Hosted::Ready { entries } = hosted else { continue };
            for (id, entry) in entries.iter().filter(|(_, entry)| entry.due().is_some_and(|due| due <= now)) {
                due.extend(entry.next_by_itself().map(|next| (id.clone(), next)));
            }
        }
        due.into_iter().map(|(id, next)| self.append(&id, next, Then::Nothing)).collect()
    }

    /// When [`tick`](Self::tick) has something to do next.
    pub fn due(&self) -> Option<Instant> {
        let ready = self.hosted.values().filter_map(|hosted| match hosted {
            Hosted::Ready { entries } => Some(entries),
            Hosted::Loading { .. } => None,
        });
        ready.flat_map(BTreeMap::values).filter_map(Entry::due).min()
    }

    /// Returns the stage of a transactional id, its producer id and epoch.
    ///
    /// # Errors
    /// This broker does not know.
    pub fn describe(&mut self, id: &str) -> Result<Option<(Stage, i64, i16)>, TransactionError> {
        let entry = self.entries(id)?.get(id);
        Ok(entry.map(|entry| (entry.kept.stage, entry.kept.producer_id, entry.kept.epoch)))
    }

    fn append(&mut self, id: &str, next: Kept, then: Then) -> Action {
        self.writes_begun += 1;
        let write = WriteId(self.writes_begun);
        if let Ok(entries) = self.entries(id)
            && let Some(entry) = entries.get_mut(id)
        {
            entry.writing = Some(write);
        }
        let partition = partition_of(id, self.partitions);
        let content = Content::Records(vec![record(id, &next)]);
        self.writes.insert(write, Write { partition, id: id.to_owned(), next, then });
        Action::Append { write, partition, content }
    }

    fn entries(&mut self, id: &str) -> Result<&mut BTreeMap<String, Entry>, TransactionError> {
        match self.hosted.get_mut(&partition_of(id, self.partitions)) {
            Some(Hosted::Ready { entries }) => Ok(entries),
            Some(Hosted::Loading { .. }) => Err(TransactionError::Loading),
            None => Err(TransactionError::NotCoordinator),
        }
    }

    /// Returns the entry of a producer that may change it now.
    fn entry_of(&mut self, id: &str, (producer_id, epoch): (i64, i16)) -> Result<&Entry, TransactionError> {
        let entry = self.entries(id)?.get(id).ok_or(TransactionError::InvalidMapping)?;
        if entry.kept.producer_id != producer_id {
            return Err(TransactionError::InvalidMapping);
        }
        if entry.kept.epoch != epoch {
            return Err(TransactionError::Fenced);
        }
        if entry.writing.is_some() { Err(TransactionError::Concurrent) } else { Ok(entry) }
    }
}

impl Entry {
    fn new(kept: Kept, now: Instant) -> Self {
        let ends = now + kept.timeout;
        Self { kept, writing: None, ends, marked: false, again_at: None }
    }

    /// When the coordinator has to do something about it by itself.
    fn due(&self) -> Option<Instant> {
        let due = match self.kept.stage {
            _ if self.writing.is_some() => None,
            Stage::Ongoing => Some(self.ends),
            Stage::Ending(_) if self.marked => self.again_at,
            Stage::Idle | Stage::Ending(_) | Stage::Ended(_) => None,
        };
        due.map(|due| self.again_at.map_or(due, |again| due.max(again)))
    }

    /// Returns the state that it comes to when it is due.
    fn next_by_itself(&self) -> Option<Kept> {
        match self.kept.stage {
            Stage::Ongoing => Some(self.kept.fenced()),
            Stage::Ending(outcome) => Some(Kept { stage: Stage::Ended(outcome), ..self.kept.clone() }),
            Stage::Idle | Stage::Ended(_) => None,
        }
    }
}

/// Returns the markers that a state demands.
fn ending(id: &str, partition: i32, kept: &Kept) -> Option<Ending> {
    let Stage::Ending(outcome) = kept.stage else { return None };
    let marker = Marker {
        producer_id: kept.producer_id,
        producer_epoch: kept.epoch,
        number: kept.number,
        outcome,
        coordinator_epoch: 0,
    };
    Some(Ending {
        id: id.to_owned(),
        partition,
        marker,
        partitions: kept.partitions.iter().cloned().collect(),
    })
}

fn refuse(then: &Then, error: TransactionError) -> Option<Action> {
    match then {
        Then::Begun(token) => Some(Action::Reply(*token, Reply::Begun(Err(error)))),
        Then::Done(token) => Some(Action::Reply(*token, Reply::Done(Err(error)))),
        Then::Nothing => None,
    }
}
