//! The parts of a request that go to different shards, and their results put together.
//!
//! A request whose keys are all in one shard goes there whole. Of the others, those that mean the same key by key are taken apart:
//! `MGET`, `EXISTS`, `DEL`, `DBSIZE`, and `SCAN`, whose cursor is a slot. Each part has a moment of its own: they are not
//! atomic together.

use std::collections::BTreeMap;
use std::future::Future;

use bytes::Bytes;
use tokio::time::Instant;

use super::slots::{SlotSet, slot_of};
use crate::command::{Answer, Command, Query, Reply, Step, Transaction};
use crate::outcome::{Failure, NotExecuted, Unknown};
use crate::raft::RaftNode;

/// A part of a request, for one shard.
pub struct Part<R> {
    /// The shard.
    pub shard: u8,
    /// The places of its keys among those of the request.
    pub places: Vec<usize>,
    /// The part, itself a request.
    pub request: R,
}

/// The result of a part, with the places of its keys.
pub type PartResult<R> = (Vec<usize>, <R as Routed>::Result);

/// A request that is routed by its slots: a command or a query.
pub trait Routed: Clone + Send + Sync + 'static {
    /// The reply or answer.
    type Result: Send;

    /// Returns how many keys it has that its parts share between them.
    fn keys(&self) -> usize;

    /// Returns the slots of its keys, and those that it names itself.
    fn slots(&self) -> impl Iterator<Item = u16>;

    /// Returns its parts, given the shard of each slot; `places` are those of its keys.
    ///
    /// # Errors
    /// Its keys are in several shards, and it cannot be taken apart.
    fn parts(&self, places: &[usize], owner: impl Fn(u16) -> u8) -> Result<Vec<Part<Self>>, Failure>;

    /// Puts the results of the parts together.
    fn merge(&self, results: Vec<PartResult<Self>>) -> Self::Result;

    /// Has a group execute requests, as one.
    fn ask(
        group: &RaftNode,
        requests: Vec<Self>,
        deadline: Instant,
    ) -> impl Future<Output = Result<Vec<Self::Result>, Failure>> + Send;

    /// Returns a failure as a result.
    fn failed(failure: Failure) -> Self::Result;

    /// Returns the failure that a result is.
    fn failure(result: &Self::Result) -> Option<&Failure>;
}

/// Whether a shard has refused a request because it does not serve a slot.
pub fn is_elsewhere<R: Routed>(result: &R::Result) -> bool {
    R::failure(result) == Some(&Failure::NotExecuted(NotExecuted::SlotElsewhere))
}

/// Returns the one shard of all slots of a request; shard 0 if it has none.
fn one_shard<R: Routed>(request: &R, owner: impl Fn(u16) -> u8) -> Option<u8> {
    let mut shards = request.slots().map(owner);
    let first = shards.next().unwrap_or(0);
    shards.all(|shard| shard == first).then_some(first)
}

/// Returns the whole request as its only part, for the shard.
fn whole<R: Routed>(request: &R, places: &[usize], shard: u8) -> Vec<Part<R>> {
    vec![Part { shard, places: places.to_vec(), request: request.clone() }]
}

/// Returns keys with their places, by a number that each key has.
fn by<N: Ord>(
    keys: &[Bytes],
    places: &[usize],
    number: impl Fn(u16) -> N,
) -> BTreeMap<N, (Vec<usize>, Vec<Bytes>)> {
    let mut groups: BTreeMap<N, (Vec<usize>, Vec<Bytes>)> = BTreeMap::new();
    for (key, place) in keys.iter().zip(places) {
        let group = groups.entry(number(slot_of(key))).or_default();
        group.0.push(*place);
        group.1.push(key.clone());
    }
    groups
}

fn slots_of(keys: &[Bytes]) -> Vec<u16> {
    keys.iter().map(|key| slot_of(key)).collect()
}

fn slots_of_command(command: &Command) -> Vec<u16> {
    match command {
        Command::Set { key, .. } | Command::Increment { key, .. } | Command::Append { key, .. } => {
            vec![slot_of(key)]
        }
        Command::Delete { keys } => slots_of(keys),
        Command::Transaction(Transaction { watched, steps }) => {
            let watched = watched.iter().map(|(key, _)| slot_of(key));
            let steps = steps.iter().flat_map(|step| match step {
                Step::Write(command) => slots_of_command(command),
                Step::Read(query) => slots_of_query(query),
            });
            watched.chain(steps).collect()
        }
        Command::Move(_) => Vec::new(),
    }
}

fn slots_of_query(query: &Query) -> Vec<u16> {
    match query {
        Query::Get(key) | Query::Range { key, .. } | Query::Length(key) => vec![slot_of(key)],
        Query::GetMany(keys) | Query::CountPresent(keys) | Query::Versions(keys) => slots_of(keys),
        Query::CountInSlots(slots) => slots.iter().collect(),
        Query::Scan { first, last, .. } => (*first..=*last).collect(),
        Query::HandOver { .. } => Vec::new(),
    }
}

/// Returns the first failure of parts of which none had an effect, or one that says that some may have had.
fn failure_of<R: Routed>(results: &[PartResult<R>]) -> Option<Failure> {
    let mut failures = results.iter().filter_map(|(_, result)| R::failure(result));
    let first = failures.next()?.clone();
    let certain = |failure: &Failure| !matches!(failure, Failure::Unknown(_));
    let all_failed = failures.clone().count() + 1 == results.len();
    if all_failed && certain(&first) && failures.all(certain) {
        Some(first)
    } else {
        Some(Unknown::InPart.into())
    }
}

impl Routed for Command {
    type Result = Reply;

    fn keys(&self) -> usize {
        match self {
            Self::Delete { keys } => keys.len(),
            _ => 0,
        }
    }

    fn slots(&self) -> impl Iterator<Item = u16> {
        slots_of_command(self).into_iter()
    }

    fn parts(&self, places: &[usize], owner: impl Fn(u16) -> u8) -> Result<Vec<Part<Self>>, Failure> {
        match self {
            // Slot by slot, even in one shard: if a part has to wait for a move, commands after this one in a pipeline still
            // find it executed on the slots that stay.
            Self::Delete { keys } => Ok(by(keys, places, |slot| slot)
                .into_iter()
                .map(|(slot, (places, keys))| Part {
                    shard: owner(slot),
                    places,
                    request: Self::Delete { keys },
                })
                .collect()),
            _ => one_shard(self, owner).map(|shard| whole(self, places, shard)).ok_or(Failure::CrossSlot),
        }
    }

    fn merge(&self, mut results: Vec<PartResult<Self>>) -> Reply {
        if results.len() == 1 {
            return results.remove(0).1;
        }
        if let Some(failure) = failure_of::<Self>(&results) {
            return Reply::Failed(failure);
        }
        let count = |(_, reply): PartResult<Self>| match reply {
            Reply::Integer(count) => count,
            _ => 0,
        };
        Reply::Integer(results.into_iter().map(count).sum())
    }

    async fn ask(group: &RaftNode, requests: Vec<Self>, deadline: Instant) -> Result<Vec<Reply>, Failure> {
        group.write_by(requests, deadline).await
    }

    fn failed(failure: Failure) -> Reply {
        Reply::Failed(failure)
    }

    fn failure(result: &Reply) -> Option<&Failure> {
        match result {
            Reply::Failed(failure) => Some(failure),
            _ => None,
        }
    }
}

impl Routed for Query {
    type Result = Answer;

    fn keys(&self) -> usize {
        match self {
            Self::GetMany(keys) | Self::CountPresent(keys) => keys.len(),
            _ => 0,
        }
    }

    fn slots(&self) -> impl Iterator<Item = u16> {
        slots_of_query(self).into_iter()
    }

    fn parts(&self, places: &[usize], owner: impl Fn(u16) -> u8) -> Result<Vec<Part<Self>>, Failure> {
        let parts = |keys: &[Bytes], request: fn(Vec<Bytes>) -> Self| {
            by(keys, places, &owner)
                .into_iter()
                .map(|(shard, (places, keys))| Part { shard, places, request: request(keys) })
                .collect()
        };
        Ok(match self {
            Self::GetMany(keys) => parts(keys, Self::GetMany),
            Self::CountPresent(keys) => parts(keys, Self::CountPresent),
            Self::CountInSlots(slots) => {
                let mut of_shards: BTreeMap<u8, Vec<u16>> = BTreeMap::new();
                slots.iter().for_each(|slot| of_shards.entry(owner(slot)).or_default().push(slot));
                let part = |(shard, slots): (u8, Vec<u16>)| {
                    let slots: SlotSet = slots.into_iter().collect();
                    Part { shard, places: places.to_vec(), request: Self::CountInSlots(slots) }
                };
                of_shards.into_iter().map(part).collect()
            }
            // The slots after the first that the same shard has; the answer says where the scan goes on.
            Self::Scan { first, last, count } => {
                let shard = owner(*first);
                let last = (*first..=*last).take_while(|slot| owner(*slot) == shard).last().unwrap_or(*first);
                whole(&Self::Scan { first: *first, last, count: *count }, places, shard)
            }
            _ => one_shard(self, owner).map(|shard| whole(self, places, shard)).ok_or(Failure::CrossSlot)?,
        })
    }

    fn merge(&self, mut results: Vec<PartResult<Self>>) -> Answer {
        if let Some(failure) = results.iter().find_map(|(_, answer)| Self::failure(answer)) {
            return Answer::Failed(failure.clone());
        }
        match self {
            Self::GetMany(keys) => {
                let mut values = vec![None; keys.len()];
                for (places, answer) in results {
                    if let Answer::Values(part) = answer {
                        places.into_iter().zip(part).for_each(|(place, value)| values[place] = value);
                    }
                }
                Answer::Values(values)
            }
            Self::CountPresent(_) | Self::CountInSlots(_) => {
                let count = |(_, answer): PartResult<Self>| match answer {
                    Answer::Count(count) => count,
                    _ => 0,
                };
                Answer::Count(results.into_iter().map(count).sum())
            }
            _ => results
                .pop()
                .map_or_else(|| Answer::Failed(Unknown::ConnectionLost.into()), |(_, answer)| answer),
        }
    }

    async fn ask(group: &RaftNode, requests: Vec<Self>, deadline: Instant) -> Result<Vec<Answer>, Failure> {
        group.read_by(requests, deadline).await
    }

    fn failed(failure: Failure) -> Answer {
        Answer::Failed(failure)
    }

    fn failure(result: &Answer) -> Option<&Failure> {
        match result {
            Answer::Failed(failure) => Some(failure),
            _ => None,
        }
    }
}
