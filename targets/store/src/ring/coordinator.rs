//! Clients' reads and writes, coordinated by the node that they reached.
//!
//! A write that fails before its value was sent certainly was not executed: at most it had asked for versions. Afterwards a
//! single copy may reach the others by and by.

use bytes::Bytes;
use duress_consensus::peer::CallError;
use futures_util::future::try_join_all;
use tokio::time::Instant;

use super::copies::{Keep, Write};
use super::message::{Request, Response, SiblingsReply, SiblingsRequest};
use super::placement::Member;
use super::quorum::{Part, too_few};
use super::upkeep::Repair;
use super::vector::VersionVector;
use super::versioned::Versioned;
use crate::bug::Bug;
use crate::command::{Answer, Command, Condition, Query, Reply};
use crate::config::{Conflict, ReadRepair};
use crate::outcome::{Failure, NotExecuted, Refused, Unknown};

/// The copies of a key that a read quorum holds.
struct Heard {
    /// All of them, merged.
    merged: Option<Versioned>,
    /// The nodes that answered, and whether each has all of that.
    nodes: Vec<(Member, bool)>,
}

impl Heard {
    /// Returns the nodes that have all of it, or those that do not.
    fn nodes(&self, have_it: bool) -> Vec<Member> {
        self.nodes.iter().filter(|(_, has)| *has == have_it).map(|(node, _)| *node).collect()
    }
}

impl Part {
    /// Executes writes, one after the other.
    ///
    /// # Errors
    /// See [`crate::outcome`].
    pub async fn write_all(&self, commands: Vec<Command>, deadline: Instant) -> Result<Vec<Reply>, Failure> {
        let possible = |command: &Command| {
            matches!(command, Command::Set { condition: Condition::Always, .. } | Command::Delete { .. })
        };
        if !commands.iter().all(possible) {
            return Err(Refused::NeedsConsensus.into());
        }
        let deletes = |command: &Command| matches!(command, Command::Delete { .. });
        if self.options.conflict == Conflict::Siblings && commands.iter().any(deletes) {
            return Err(Refused::DeletesUnseen.into());
        }
        let mut replies = Vec::with_capacity(commands.len());
        for command in commands {
            let reply = match command {
                Command::Set { key, value, .. } => {
                    self.write(key, Some(value), deadline).await.map(|_| Reply::Done)
                }
                Command::Delete { keys } => self.delete(keys, deadline).await,
                _ => unreachable!("the others have been refused"),
            };
            replies.push(reply.map_err(|failure| after(replies.len(), failure))?);
        }
        Ok(replies)
    }

    /// Deletes keys, each by itself, and says how many of them had a value.
    async fn delete(&self, mut keys: Vec<Bytes>, deadline: Instant) -> Result<Reply, Failure> {
        keys.sort_unstable();
        keys.dedup();
        let mut deleted = 0;
        for (at, key) in keys.into_iter().enumerate() {
            let had = self.write(key, None, deadline).await.map_err(|failure| after(at, failure))?;
            deleted += i64::from(had);
        }
        Ok(Reply::Integer(deleted))
    }

    /// Gives a key a value, or a tombstone; returns whether it had a value, as far as it matters to a tombstone.
    async fn write(&self, key: Bytes, value: Option<Bytes>, deadline: Instant) -> Result<bool, Failure> {
        self.activity.writes.add(1);
        if self.options.conflict == Conflict::Siblings {
            let unseeing = Write { value, context: VersionVector::default() };
            return self.write_beside(&key, &unseeing, deadline).await.map(|()| false);
        }
        let Some(heard) = self.hear(&key, deadline).await else {
            return Err(NotExecuted::TooFewOwners.into());
        };
        let had = heard.merged.as_ref().is_some_and(|copy| !copy.values().is_empty());
        let version = match (self.bug, heard.merged) {
            (Some(Bug::LwwByClock), _) => self.versions.at(self.clock_ns()),
            (_, Some(Versioned::Last(version, _))) => self.versions.after(Some(version)),
            (_, Some(Versioned::Siblings(_)) | None) => self.versions.after(None),
        };
        let copy = Versioned::Last(version, value);
        self.spread(&key, &copy, &[], Keep::Own, self.write_quorum(), deadline).await?;
        Ok(had)
    }

    /// Has one node execute a write in place of what its client had seen, and the others merge what that makes.
    ///
    /// The node is the first that can be reached: this one if it is an owner, another owner, or, with `sloppy=on`, a node that
    /// stands in. A request that may have arrived is not sent to a second one, which would make another version of it.
    async fn write_beside(&self, key: &Bytes, write: &Write, deadline: Instant) -> Result<(), Failure> {
        let (owners, others) = self.ring.preference(key).split_at(self.ring.copies());
        let mut nodes: Vec<(Member, Keep)> = owners.iter().map(|owner| (*owner, Keep::Own)).collect();
        nodes.sort_by_key(|(owner, _)| *owner != self.me);
        let stand_ins = others.iter().filter(|_| self.options.sloppy);
        nodes.extend(stand_ins.map(|node| (*node, Keep::Hint(owners[0]))));
        for (node, keep) in nodes {
            let request = Request::Write { key: key.clone(), write: write.clone(), keep };
            match self.call(node, &request, deadline).await {
                Ok(Response::Written(copy)) => {
                    let lack_it = owners.iter().copied().filter(|owner| *owner != node).collect();
                    return match self.write_quorum() - 1 {
                        0 => {
                            let repair = Repair { key: key.clone(), copy, nodes: lack_it };
                            // If many wait already, anti-entropy will do it.
                            self.repairs.try_send(repair).ok();
                            Ok(())
                        }
                        // The value is on a disk.
                        need => self
                            .spread(key, &copy, &[node], Keep::Own, need, deadline)
                            .await
                            .map_err(|_| Unknown::TooFewOwners.into()),
                    };
                }
                Ok(Response::TooManyValues) => return Err(Refused::TooManyValues.into()),
                Err(CallError::NotSent) => {}
                Ok(_) | Err(_) => return Err(Unknown::TooFewOwners.into()),
            }
        }
        Err(NotExecuted::TooFewOwners.into())
    }

    /// Answers a client's request that is about siblings. Where versions decide there are none, and nothing that a client has seen
    /// matters.
    ///
    /// # Errors
    /// See [`crate::outcome`].
    pub async fn siblings(
        &self,
        request: SiblingsRequest,
        deadline: Instant,
    ) -> Result<SiblingsReply, Failure> {
        match request {
            SiblingsRequest::Get(key) => {
                let copy = self.read_copy(key, deadline).await?;
                let values = copy.iter().flat_map(Versioned::values).cloned().collect();
                let context = copy.as_ref().map_or_else(VersionVector::default, Versioned::context);
                Ok(SiblingsReply::Values(context, values))
            }
            SiblingsRequest::Write(key, write) => {
                match self.options.conflict {
                    Conflict::Lww => drop(self.write(key, write.value, deadline).await?),
                    Conflict::Siblings => {
                        self.activity.writes.add(1);
                        self.write_beside(&key, &write, deadline).await?;
                    }
                }
                Ok(SiblingsReply::Written)
            }
        }
    }

    fn clock_ns(&self) -> u64 {
        let since = self.clock.now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }

    /// Answers queries, one after the other.
    ///
    /// # Errors
    /// See [`crate::outcome`].
    pub async fn read_all(&self, queries: Vec<Query>, deadline: Instant) -> Result<Vec<Answer>, Failure> {
        let mut answers = Vec::with_capacity(queries.len());
        for query in queries {
            let many =
                |keys: Vec<Bytes>| try_join_all(keys.into_iter().map(|key| self.read_copy(key, deadline)));
            let only = |copies: Vec<Option<Versioned>>| copies.into_iter().map(only_value).collect();
            answers.push(match query {
                Query::Get(key) => {
                    let value = only_value(self.read_copy(key, deadline).await?);
                    value.map_or_else(Answer::Failed, Answer::Value)
                }
                Query::GetMany(keys) => {
                    let values: Result<_, Failure> = only(many(keys).await?);
                    values.map_or_else(Answer::Failed, Answer::Values)
                }
                Query::CountPresent(keys) => {
                    let present = |copy: &&Option<Versioned>| {
                        copy.as_ref().is_some_and(|copy| !copy.values().is_empty())
                    };
                    Answer::Count(many(keys).await?.iter().filter(present).count() as u64)
                }
                _ => {
                    return Err(Refused::NeedsConsensus.into());
                }
            });
        }
        Ok(answers)
    }

    /// Returns what a read quorum has of a key.
    async fn read_copy(&self, key: Bytes, deadline: Instant) -> Result<Option<Versioned>, Failure> {
        self.activity.reads.add(1);
        let Some(heard) = self.hear(&key, deadline).await else {
            return Err(NotExecuted::TooFewOwners.into());
        };
        // Every node holds the state from before the first write.
        let Some(copy) = &heard.merged else { return Ok(None) };
        let (have_it, lack_it) = (heard.nodes(true), heard.nodes(false));
        match self.options.read_repair {
            ReadRepair::Sync if have_it.len() < self.write_quorum() => {
                self.activity.repairs.add(1);
                let need = self.write_quorum() - have_it.len();
                self.spread(&key, copy, &have_it, Keep::Repair, need, deadline).await?;
            }
            ReadRepair::Sync | ReadRepair::Async if !lack_it.is_empty() => {
                self.activity.repairs.add(1);
                let repair = Repair { key, copy: copy.clone(), nodes: lack_it };
                // If many wait already, anti-entropy will do it.
                self.repairs.try_send(repair).ok();
            }
            ReadRepair::Sync | ReadRepair::Async | ReadRepair::Off => {}
        }
        Ok(heard.merged)
    }

    /// Asks a read quorum for its copies of a key; `None` if too few answer.
    async fn hear(&self, key: &Bytes, deadline: Instant) -> Option<Heard> {
        let need = self.read_quorum();
        let heard = self.ask_owners(key, &[], need, |_| Request::Fetch(key.clone()), deadline).await;
        let held = |(node, response)| match response {
            Response::Fetched(held) => Some((node, held)),
            _ => None,
        };
        let held: Vec<(Member, Option<Versioned>)> = heard.answers.into_iter().filter_map(held).collect();
        if held.len() < need {
            return None;
        }
        let merged = Versioned::merge_all(held.iter().filter_map(|(_, held)| held.as_ref()));
        let nodes = held.iter().map(|(node, held)| (*node, *held == merged)).collect();
        Some(Heard { merged, nodes })
    }

    /// Sends a copy to the owners of its key but those in `except`, until `need` of them have it on disk.
    async fn spread(
        &self,
        key: &Bytes,
        copy: &Versioned,
        except: &[Member],
        keep: Keep,
        need: usize,
        deadline: Instant,
    ) -> Result<(), Failure> {
        let store = |stands_in_for: Option<Member>| Request::Store {
            copies: vec![(key.clone(), copy.clone())],
            keep: stands_in_for.map_or(keep, Keep::Hint),
        };
        let stored = self.ask_owners(key, except, need, store, deadline).await;
        let acknowledged =
            stored.answers.iter().filter(|(_, answer)| matches!(answer, Response::Stored)).count();
        if acknowledged >= need {
            return Ok(());
        }
        Err(too_few(stored.may_have_reached || !stored.answers.is_empty()))
    }
}

/// Returns the value of a key for a client that expects one at most.
fn only_value(copy: Option<Versioned>) -> Result<Option<Bytes>, Failure> {
    match copy.iter().flat_map(Versioned::values).collect::<Vec<_>>()[..] {
        [] => Ok(None),
        [value] => Ok(Some(value.clone())),
        _ => Err(Refused::Siblings.into()),
    }
}

/// Returns the failure of a request of which `executed` parts were executed before.
fn after(executed: usize, failure: Failure) -> Failure {
    match failure {
        Failure::NotExecuted(_) if executed > 0 => Unknown::InPart.into(),
        failure => failure,
    }
}
