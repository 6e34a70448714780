//! Reads messages: from partitions that it assigns to itself, or as a member of a group.
//!
//! The time of a member's commit decides how often the group gets a message:
//! - *before* a poll is answered: messages that were committed and then lost on the way are never returned
//!   again;
//! - *after* it was answered, with the next poll: messages returned but not yet committed when the member
//!   died, or the group rebalanced, are returned again;
//! - by hand only: as after.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_protocol::messages::ApiKey;
use serde::Deserialize;
use tokio::time::Instant;

use crate::kafka::cluster::{Cluster, share};
use crate::kafka::fetch::{self, Fetched, Isolation};
use crate::kafka::group::{Joined, Membership};
use crate::kafka::offsets::Stability;
use crate::kafka::partition::Partition;
use crate::outcome::{CauseKind, RequestError};

/// When a consumer that is a member of a group commits the messages that it returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Committing {
    /// Before the answer is handed out.
    Before,
    /// With the next poll.
    After,
    /// On request only.
    Manual,
}

/// A consumer.
pub(super) struct Consumer {
    group: &'static str,
    committing: Committing,
    session: Duration,
    source: Source,
    /// The position of this client: after its polled messages, whatever the reason of the poll, or at the
    /// target of a later seek.
    reached: BTreeMap<Partition, u64>,
}

enum Source {
    Nothing,
    Assigned(BTreeMap<Partition, u64>),
    Subscribed(Box<Subscribed>),
}

/// A member's state.
struct Subscribed {
    topics: Vec<String>,
    membership: Membership,
    /// The next positions; unknown until the committed offsets were read.
    positions: Option<BTreeMap<Partition, u64>>,
    /// The position after the messages returned since the member joined.
    consumed: BTreeMap<Partition, u64>,
    /// The part of `consumed` that is not committed for certain.
    uncommitted: BTreeMap<Partition, u64>,
}

/// Messages by partition.
pub(super) type Polled = BTreeMap<Partition, Vec<Fetched>>;

impl Consumer {
    /// Returns a consumer without partitions, which will be a member of `group` if it subscribes: one that is dead after so long
    /// without a sign of life.
    pub(super) fn new(group: &'static str, committing: Committing, session: Duration) -> Self {
        Self { group, committing, session, source: Source::Nothing, reached: BTreeMap::new() }
    }

    /// Reads these partitions from now on: from the beginning, or from this client's position.
    pub(super) async fn assign(
        &mut self,
        cluster: &mut Cluster,
        partitions: Vec<Partition>,
        from: duress_history::log::Start,
        deadline: Instant,
    ) {
        if let Source::Assigned(positions) = &self.source {
            // It may have been asked to seek, and not have polled since.
            self.reached.extend(positions.clone());
        }
        self.unsubscribe(cluster, deadline).await;
        let positions = partitions.into_iter().map(|partition| {
            let position = match from {
                duress_history::log::Start::Beginning => 0,
                duress_history::log::Start::Position => self.reached.get(&partition).copied().unwrap_or(0),
            };
            (partition, position)
        });
        self.source = Source::Assigned(positions.collect());
    }

    /// Consumes `topics` as a member of the group from now on; joins it with the next poll.
    pub(super) async fn subscribe(&mut self, cluster: &mut Cluster, topics: Vec<String>, deadline: Instant) {
        if matches!(&self.source, Source::Subscribed(subscribed) if subscribed.topics == topics) {
            return;
        }
        self.unsubscribe(cluster, deadline).await;
        self.source = Source::Subscribed(Box::new(Subscribed {
            membership: Membership::new(self.group, topics.clone(), self.session),
            topics,
            positions: None,
            consumed: BTreeMap::new(),
            uncommitted: BTreeMap::new(),
        }));
    }

    async fn unsubscribe(&mut self, cluster: &mut Cluster, deadline: Instant) {
        let Source::Subscribed(mut subscribed) = std::mem::replace(&mut self.source, Source::Nothing) else {
            return;
        };
        if self.committing == Committing::After {
            // Messages that cannot be committed are returned again: that is the meaning of committing after.
            let _ = subscribed.commit(cluster, share(deadline, 2)).await;
        }
        // The coordinator finds out by itself at the end of the session.
        let _ = subscribed.membership.leave(cluster, deadline).await;
    }

    /// Goes to these offsets.
    ///
    /// # Errors
    /// A definite [`RequestError`] if one of the partitions is not among those read, or it is not known yet which those are.
    pub(super) fn seek(&mut self, offsets: BTreeMap<Partition, u64>) -> Result<(), RequestError> {
        let positions = match &mut self.source {
            Source::Nothing => None,
            Source::Assigned(positions) => Some(positions),
            Source::Subscribed(subscribed) => subscribed.positions.as_mut(),
        };
        let positions = positions.ok_or_else(|| {
            RequestError::definite(CauseKind::Rejected, "no partitions are read yet: no seek")
        })?;
        if let Some(stranger) = offsets.keys().find(|partition| !positions.contains_key(partition)) {
            let text = format!("{stranger} is not among the partitions read: no seek");
            return Err(RequestError::definite(CauseKind::Rejected, text));
        }
        positions.extend(offsets);
        Ok(())
    }

    /// Keeps the membership alive, whatever else the client is busy with.
    pub(super) async fn tend(&mut self, cluster: &mut Cluster, deadline: Instant) {
        if let Source::Subscribed(subscribed) = &mut self.source {
            // A member that cannot reach its coordinator remains a member until it learns otherwise.
            let _ = subscribed.membership.keep_alive(cluster, share(deadline, 4)).await;
        }
    }

    /// Polls once.
    ///
    /// # Errors
    /// A [`RequestError`] when nothing was read and a request failed. Then no position has moved.
    pub(super) async fn poll(
        &mut self,
        cluster: &mut Cluster,
        deadline: Instant,
    ) -> Result<Polled, RequestError> {
        let (positions, portions) = match &mut self.source {
            Source::Nothing => return Ok(Polled::new()),
            Source::Assigned(positions) => {
                let portions = fetch::fetch(cluster, positions, Isolation::Uncommitted, deadline).await?;
                (positions, portions)
            }
            Source::Subscribed(subscribed) => {
                if self.committing == Committing::After {
                    // If it fails, the next poll tries again, unless the group rebalances before.
                    let _ = subscribed.commit(cluster, share(deadline, 3)).await;
                }
                let _ = subscribed.membership.keep_alive(cluster, share(deadline, 3)).await;
                let positions = subscribed.positions(cluster, deadline).await?.clone();
                let portions = fetch::fetch(cluster, &positions, Isolation::Uncommitted, deadline).await?;
                let next = portions.iter().map(|(partition, portion)| (partition.clone(), portion.next));
                subscribed.consumed.extend(next.clone());
                subscribed.uncommitted.extend(next.clone());
                if self.committing == Committing::Before
                    && let Err(failure) = subscribed.commit(cluster, deadline).await
                {
                    // Not returned, so not consumed. A message that was committed nevertheless is lost: at
                    // most once.
                    subscribed.forget(&positions);
                    return Err(failure);
                }
                (subscribed.positions.insert(positions), portions)
            }
        };
        let mut polled = Polled::new();
        for (partition, portion) in portions {
            positions.insert(partition.clone(), portion.next);
            self.reached.insert(partition.clone(), portion.next);
            if !portion.records.is_empty() {
                polled.insert(partition, portion.records);
            }
        }
        Ok(polled)
    }

    /// Commits the messages returned since this member joined, and returns their positions.
    ///
    /// # Errors
    /// A [`RequestError`], definite if certainly nothing was committed.
    pub(super) async fn commit(
        &mut self,
        cluster: &mut Cluster,
        deadline: Instant,
    ) -> Result<BTreeMap<Partition, u64>, RequestError> {
        let Source::Subscribed(subscribed) = &mut self.source else {
            let text = format!("{:?} is for members of a group", ApiKey::OffsetCommit);
            return Err(RequestError::definite(CauseKind::Rejected, text));
        };
        subscribed.uncommitted = subscribed.consumed.clone();
        subscribed.commit(cluster, deadline).await?;
        Ok(subscribed.consumed.clone())
    }
}

impl Subscribed {
    async fn commit(&mut self, cluster: &mut Cluster, deadline: Instant) -> Result<(), RequestError> {
        self.membership.commit(cluster, &self.uncommitted, deadline).await?;
        self.uncommitted.clear();
        Ok(())
    }

    /// Takes back that anything past `positions` was consumed.
    fn forget(&mut self, positions: &BTreeMap<Partition, u64>) {
        self.consumed.retain(|partition, next| positions.get(partition).is_some_and(|at| *next <= *at));
        self.uncommitted.clear();
    }

    /// Returns the positions from which this member continues: its own, or, once it has joined, the group's
    /// committed ones.
    async fn positions(
        &mut self,
        cluster: &mut Cluster,
        deadline: Instant,
    ) -> Result<&BTreeMap<Partition, u64>, RequestError> {
        if self.membership.join(cluster, deadline).await? == Joined::Now {
            self.positions = None;
            self.consumed.clear();
            self.uncommitted.clear();
        }
        let positions = match self.positions.take() {
            Some(positions) => positions,
            None => {
                let committed = self.membership.committed(cluster, Stability::Any, deadline).await?;
                let assigned = self.membership.assignment().unwrap_or_default().iter();
                let position = |partition: &Partition| committed.get(partition).copied().unwrap_or(0);
                assigned.map(|partition| (partition.clone(), position(partition))).collect()
            }
        };
        Ok(self.positions.insert(positions))
    }
}
