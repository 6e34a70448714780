//! Clients' reads and writes, coordinated by the node that they reached.
//!
//! A write that fails before its value was sent certainly was not executed: it had only asked for versions. Afterwards a
//! single copy may reach the others by and by.

use bytes::Bytes;
use futures_util::future::try_join_all;
use tokio::time::Instant;

use super::copies::{Keep, Versioned};
use super::message::{Request, Response};
use super::placement::Member;
use super::quorum::{Part, too_few};
use super::upkeep::Repair;
use crate::bug::Bug;
use crate::command::{Answer, Command, Condition, Query, Reply};
use crate::config::ReadRepair;
use crate::outcome::{Failure, NotExecuted, Refused, Unknown};

/// The copies of a key that a read quorum holds.
struct Heard {
    newest: Option<Versioned>,
    /// The nodes that answered, and whether each has the newest.
    nodes: Vec<(Member, bool)>,
}

impl Heard {
    /// Returns the nodes that have the newest, or those that do not.
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

    /// Gives a key a value, or a tombstone; returns whether it had a value.
    async fn write(&self, key: Bytes, value: Option<Bytes>, deadline: Instant) -> Result<bool, Failure> {
        self.activity.writes.add(1);
        let Some(heard) = self.hear(&key, deadline).await else {
            return Err(NotExecuted::TooFewOwners.into());
        };
        let had = heard.newest.as_ref().is_some_and(|newest| newest.value.is_some());
        let version = match self.bug {
            Some(Bug::LwwByClock) => self.versions.at(self.clock_ns()),
            _ => self.versions.after(heard.newest.map(|newest| newest.version)),
        };
        self.spread(&key, &Versioned { version, value }, &[], Keep::Own, self.write_quorum(), deadline)
            .await?;
        Ok(had)
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
            let many = |keys: Vec<Bytes>| try_join_all(keys.into_iter().map(|key| self.read(key, deadline)));
            answers.push(match query {
                Query::Get(key) => Answer::Value(self.read(key, deadline).await?),
                Query::GetMany(keys) => Answer::Values(many(keys).await?),
                Query::CountPresent(keys) => {
                    Answer::Count(many(keys).await?.iter().filter(|value| value.is_some()).count() as u64)
                }
                _ => {
                    return Err(Refused::NeedsConsensus.into());
                }
            });
        }
        Ok(answers)
    }

    /// Returns the value of a key.
    async fn read(&self, key: Bytes, deadline: Instant) -> Result<Option<Bytes>, Failure> {
        self.activity.reads.add(1);
        let Some(heard) = self.hear(&key, deadline).await else {
            return Err(NotExecuted::TooFewOwners.into());
        };
        // Every node holds the state from before the first write.
        let Some(newest) = &heard.newest else { return Ok(None) };
        let (have_it, lack_it) = (heard.nodes(true), heard.nodes(false));
        match self.options.read_repair {
            ReadRepair::Sync if have_it.len() < self.write_quorum() => {
                self.activity.repairs.add(1);
                let need = self.write_quorum() - have_it.len();
                self.spread(&key, newest, &have_it, Keep::Repair, need, deadline).await?;
            }
            ReadRepair::Sync | ReadRepair::Async if !lack_it.is_empty() => {
                self.activity.repairs.add(1);
                let repair = Repair { key, copy: newest.clone(), nodes: lack_it };
                // If many wait already, anti-entropy will do it.
                self.repairs.try_send(repair).ok();
            }
            ReadRepair::Sync | ReadRepair::Async | ReadRepair::Off => {}
        }
        Ok(heard.newest.and_then(|newest| newest.value))
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
        let version = |held: &Option<Versioned>| held.as_ref().map(|copy| copy.version);
        let newest = held.iter().max_by_key(|(_, held)| version(held)).and_then(|(_, held)| held.clone());
        let has = |held: &Option<Versioned>| version(held) == version(&newest);
        let nodes = held.iter().map(|(node, held)| (*node, has(held))).collect();
        Some(Heard { newest, nodes })
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

/// Returns the failure of a request of which `executed` parts were executed before.
fn after(executed: usize, failure: Failure) -> Failure {
    match failure {
        Failure::NotExecuted(_) if executed > 0 => Unknown::InPart.into(),
        failure => failure,
    }
}
