//! A leader's view of its followers: which are in sync, and how far each is.
//!
//! # Why no acknowledged record is lost
//!
//! The controllers elect from the in-sync set they agreed on. So a record may count as committed only if every member of
//! *that* set has it. A leader learns of changes late, and its own request for a change may be granted without its
//! knowledge. It therefore assumes the largest set that may be in force ([`Leading::effective`]): the set last agreed on
//! as far as it knows, and every broker it has asked to add since. The controllers themselves only ever shrink the set,
//! which is harmless here.
//!
//! A request with an unknown outcome may still be granted later, as long as the partition epoch has not moved. The brokers
//! it would add stay in the effective set until then; to be rid of them, the leader makes another change, if need be to
//! the same set, which moves the partition epoch.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::error::PartitionError;
use super::handle::Written;
use crate::cluster::state::PartitionState;
use crate::cluster::{BrokerEpoch, BrokerId};

const ASK_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Whether a leader waits for the controllers before it continues without a follower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shrinking {
    /// Yes.
    Agreed,
    /// Defect: it does not wait for their answer.
    AtOnce,
}

/// The rule for a leader's high watermark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitRule {
    /// The offset that every member of the in-sync set has reached.
    InSyncSet,
    /// Defect: the end of the leader's own log.
    LeaderAlone,
}

/// A leader's view of one follower.
#[derive(Debug, Clone, Copy)]
struct Follower {
    incarnation: BrokerEpoch,
    /// The follower has made everything before this offset durable.
    end: i64,
    asked_at: Instant,
    /// The end of the leader's log at its last fetch.
    leader_end: i64,
    caught_up_at: Instant,
}

/// A write that waits for the in-sync set.
#[derive(Debug)]
pub struct Waiting {
    /// Its place.
    pub written: Written,
    /// The sender of the answer.
    pub reply: oneshot::Sender<Result<Written, PartitionError>>,
}

/// The outcome of a request for another in-sync set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IsrChangeOutcome {
    /// It was granted: this is the agreed state.
    Granted(PartitionState),
    /// It was certainly not granted, in this attempt.
    Refused,
    /// It is unknown whether it was, or will be, granted.
    Unknown,
}

/// A leader's request for another in-sync set, decided on the state of a partition epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IsrChange {
    /// The partition epoch of the state it was decided on.
    pub partition_epoch: u32,
    /// The followers to be in sync, each with the incarnation that was seen to be; the leader itself is not listed.
    pub followers: Vec<(BrokerId, BrokerEpoch)>,
}

/// The state of a leader.
#[derive(Debug)]
pub struct Leading {
    /// Its leader epoch.
    pub epoch: i32,
    /// The end of its log when it began to lead.
    pub began_at: i64,
    me: BrokerId,
    replicas: Vec<BrokerId>,
    /// The in-sync set last agreed on, as far as known.
    isr: BTreeSet<BrokerId>,
    partition_epoch: u32,
    followers: BTreeMap<BrokerId, Follower>,
    /// Brokers that requests at this partition epoch may have added.
    perhaps: BTreeSet<BrokerId>,
    asking: bool,
    /// Whether a request at this partition epoch has an unknown outcome.
    doubt: bool,
    ask_not_before: Instant,
    /// Writes in order of offset.
    pub waiting: VecDeque<Waiting>,
    shrinking: Shrinking,
    commit: CommitRule,
}

impl Leading {
    /// Returns a leader that has just been elected.
    pub fn new(
        me: BrokerId,
        agreed: &PartitionState,
        began_at: i64,
        now: Instant,
        (shrinking, commit): (Shrinking, CommitRule),
    ) -> Self {
        Self {
            epoch: agreed.leader_epoch,
            began_at,
            me,
            replicas: agreed.replicas.clone(),
            isr: agreed.isr.iter().copied().collect(),
            partition_epoch: agreed.partition_epoch,
            // Every follower in sync has the whole of `lag_max` for its first fetch.
            followers: agreed
                .isr
                .iter()
                .filter(|id| **id != me)
                .map(|id| {
                    let unknown = Follower {
                        incarnation: 0,
                        end: -1,
                        asked_at: now,
                        leader_end: began_at,
                        caught_up_at: now,
                    };
                    (*id, unknown)
                })
                .collect(),
            perhaps: BTreeSet::new(),
            asking: false,
            doubt: false,
            ask_not_before: now,
            waiting: VecDeque::new(),
            shrinking,
            commit,
        }
    }

    /// The agreed state has changed, and this broker still leads.
    pub fn agreed(&mut self, agreed: &PartitionState) {
        if agreed.partition_epoch <= self.partition_epoch {
            return;
        }
        self.partition_epoch = agreed.partition_epoch;
        self.isr = agreed.isr.iter().copied().collect();
        self.perhaps.clear();
        self.doubt = false;
        self.asking = false;
    }

    /// How many replicas are in sync, as last agreed on.
    pub fn in_sync(&self) -> usize {
        self.isr.len()
    }

    /// Returns the brokers that must have a record for it to count as committed.
    fn effective(&self) -> impl Iterator<Item = BrokerId> {
        self.isr.union(&self.perhaps).copied()
    }

    /// Whether a broker has a copy.
    pub fn is_replica(&self, broker: BrokerId) -> bool {
        self.replicas.contains(&broker)
    }

    /// A follower has fetched from `offset`, so it has everything before it. `end` is the leader's log end.
    pub fn follower_asked(
        &mut self,
        (id, incarnation): (BrokerId, BrokerEpoch),
        offset: i64,
        end: i64,
        now: Instant,
    ) {
        let known = self.followers.entry(id).or_insert(Follower {
            incarnation,
            end: offset,
            asked_at: now,
            leader_end: end,
            caught_up_at: now,
        });
        if incarnation < known.incarnation {
            return;
        }
        // Kafka's rule: a follower was caught up at its last fetch if it now has everything that the leader had then.
        if offset >= end {
            known.caught_up_at = now;
        } else if offset >= known.leader_end && known.incarnation == incarnation {
            known.caught_up_at = known.caught_up_at.max(known.asked_at);
        }
        *known = Follower {
            incarnation,
            end: offset,
            asked_at: now,
            leader_end: end,
            caught_up_at: known.caught_up_at,
        };
    }

    /// Returns the high watermark, given the durable end of the leader's own log; never less than `before`.
    pub fn high_watermark(&self, own_end: i64, before: i64) -> i64 {
        let reached = match self.commit {
            CommitRule::LeaderAlone => own_end,
            CommitRule::InSyncSet => self
                .effective()
                .map(|id| if id == self.me { own_end } else { self.followers.get(&id).map_or(-1, |f| f.end) })
                .min()
                .unwrap_or(-1)
                .min(own_end),
        };
        reached.max(before)
    }

    /// Returns the request for the in-sync set that this leader finds right, if it is not the one in force
    /// and a request is due.
    pub fn propose_isr(&mut self, high_watermark: i64, lag_max: Duration, now: Instant) -> Option<IsrChange> {
        if self.asking || now < self.ask_not_before {
            return None;
        }
        let in_time = |follower: &Follower| now.saturating_duration_since(follower.caught_up_at) <= lag_max;
        let wanted: BTreeSet<BrokerId> = self
            .followers
            .iter()
            .filter(|(id, follower)| {
                if self.isr.contains(id) {
                    in_time(follower)
                } else {
                    in_time(follower)
                        && follower.incarnation > 0
                        && follower.end >= high_watermark
                        && follower.end >= self.began_at
                }
            })
            .map(|(id, _)| *id)
            .chain([self.me])
            .collect();
        if wanted == self.isr && !self.doubt {
            return None;
        }
        if self.doubt && !self.perhaps.iter().all(|id| wanted.contains(id)) {
            tracing::debug!(?wanted, perhaps = ?self.perhaps, "requesting the in-sync set again, to be certain of it");
        }
        self.perhaps.extend(&wanted);
        self.asking = true;
        let incarnation = |id: &BrokerId| self.followers.get(id).map_or(0, |follower| follower.incarnation);
        let followers = wanted.iter().filter(|id| **id != self.me).map(|id| (*id, incarnation(id))).collect();
        let change = IsrChange { partition_epoch: self.partition_epoch, followers };
        if self.shrinking == Shrinking::AtOnce {
            self.isr.retain(|id| wanted.contains(id));
            self.perhaps.retain(|id| wanted.contains(id));
        }
        Some(change)
    }

    /// The outcome of a request for another in-sync set.
    pub fn wish_came_to(&mut self, partition_epoch: u32, outcome: IsrChangeOutcome, now: Instant) {
        if partition_epoch != self.partition_epoch {
            return;
        }
        self.asking = false;
        match outcome {
            IsrChangeOutcome::Granted(agreed) => self.agreed(&agreed),
            IsrChangeOutcome::Refused => {
                if !self.doubt {
                    self.perhaps.clear();
                }
                self.ask_not_before = now + ASK_AGAIN_AFTER;
            }
            IsrChangeOutcome::Unknown => {
                self.doubt = true;
                self.ask_not_before = now + ASK_AGAIN_AFTER;
            }
        }
    }

    /// Records that this broker itself stood still: the silence meanwhile proves nothing about its followers.
    pub fn stood_still(&mut self, now: Instant) {
        for follower in self.followers.values_mut() {
            follower.caught_up_at = now;
        }
    }

    /// Answers every write that is committed, or can no longer be.
    pub fn settle(&mut self, high_watermark: i64, min_insync: usize) {
        while let Some(first) = self.waiting.front()
            && first.written.last_offset < high_watermark
        {
            let Some(waiting) = self.waiting.pop_front() else { break };
            let result = if self.in_sync() >= min_insync {
                Ok(waiting.written)
            } else {
                Err(PartitionError::NotEnoughReplicasAfterAppend)
            };
            // A producer that gave up has dropped its receiver.
            waiting.reply.send(result).ok();
        }
    }

    /// This broker no longer leads: it is unknown whether the waiting writes will survive.
    pub fn abandon(&mut self) {
        for waiting in self.waiting.drain(..) {
            waiting.reply.send(Err(PartitionError::NotLeader)).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: BrokerId = BrokerId(1);
    const B2: BrokerId = BrokerId(2);
    const B3: BrokerId = BrokerId(3);
    const LAG: Duration = Duration::from_secs(2);

    fn partition(isr: &[i32], partition_epoch: u32) -> PartitionState {
        PartitionState {
            replicas: vec![ME, B2, B3],
            isr: isr.iter().map(|id| BrokerId(*id)).collect(),
            leader: Some(ME),
            leader_epoch: 4,
            partition_epoch,
        }
    }

    fn leading(isr: &[i32], now: Instant) -> Leading {
        Leading::new(ME, &partition(isr, 7), 10, now, (Shrinking::Agreed, CommitRule::InSyncSet))
    }

    #[test]
    fn a_record_is_committed_once_everybody_in_sync_has_it() {
        let now = Instant::now();
        let mut leading = leading(&[1, 2, 3], now);
        assert_eq!(leading.high_watermark(20, 5), 5, "no follower has fetched yet");
        leading.follower_asked((B2, 1), 20, 20, now);
        assert_eq!(leading.high_watermark(20, 5), 5);
        leading.follower_asked((B3, 1), 15, 20, now);
        assert_eq!(leading.high_watermark(20, 5), 15);
        assert_eq!(leading.high_watermark(12, 5), 12, "nor before the leader's own disk has it");
        leading.follower_asked((B3, 2), 0, 20, now);
        assert_eq!(leading.high_watermark(20, 15), 15, "it never goes back");
    }

    #[test]
    fn a_leader_alone_cannot_shrink_the_set() {
        let start = Instant::now();
        let mut leading = leading(&[1, 2, 3], start);
        let later = start + LAG * 2;
        let change = leading.propose_isr(10, LAG, later).unwrap();
        assert_eq!(change, IsrChange { partition_epoch: 7, followers: vec![] });
        assert_eq!(leading.high_watermark(20, 10), 10);
        leading.wish_came_to(7, IsrChangeOutcome::Unknown, later);
        assert_eq!(leading.high_watermark(20, 10), 10);
        leading.wish_came_to(7, IsrChangeOutcome::Granted(partition(&[1], 8)), later);
        assert_eq!(leading.high_watermark(20, 10), 20);
    }

    #[test]
    fn whoever_may_have_been_added_counts_until_the_partition_epoch_has_moved() {
        let now = Instant::now();
        let mut leading = leading(&[1, 2], now);
        leading.follower_asked((B2, 1), 20, 20, now);
        leading.follower_asked((B3, 1), 20, 20, now);
        let change = leading.propose_isr(20, LAG, now).unwrap();
        assert_eq!(change.followers, [(B2, 1), (B3, 1)]);
        leading.follower_asked((B2, 1), 30, 30, now);
        assert_eq!(leading.high_watermark(30, 20), 20, "3 may be in sync by now, and has not got it");
        leading.wish_came_to(7, IsrChangeOutcome::Unknown, now);
        let later = now + ASK_AGAIN_AFTER * 2;
        assert!(leading.propose_isr(20, LAG, later).is_some(), "another request removes the doubt");
        leading.wish_came_to(7, IsrChangeOutcome::Refused, later);
        assert_eq!(leading.high_watermark(30, 20), 20, "the first attempt may still be granted");
        leading.agreed(&partition(&[1, 2], 8));
        assert_eq!(leading.high_watermark(30, 20), 30);
    }

    #[test]
    fn a_refused_wish_without_doubt_is_over() {
        let now = Instant::now();
        let mut leading = leading(&[1, 2], now);
        leading.follower_asked((B2, 1), 20, 20, now);
        leading.follower_asked((B3, 1), 20, 20, now);
        leading.propose_isr(20, LAG, now).unwrap();
        leading.wish_came_to(7, IsrChangeOutcome::Refused, now);
        leading.follower_asked((B2, 1), 30, 30, now);
        assert_eq!(leading.high_watermark(30, 20), 30);
    }

    #[test]
    fn a_follower_joins_once_it_has_everything_committed_and_of_earlier_leaders() {
        let now = Instant::now();
        let mut leading = leading(&[1, 2], now);
        leading.follower_asked((B2, 1), 10, 10, now);
        leading.follower_asked((B3, 1), 9, 10, now);
        assert_eq!(leading.propose_isr(5, LAG, now), None, "the leader's time began at 10");
        leading.follower_asked((B3, 1), 10, 10, now);
        assert!(leading.propose_isr(5, LAG, now).is_some());
    }

    #[test]
    fn a_follower_that_keeps_up_with_a_moving_end_is_in_time() {
        let start = Instant::now();
        let mut leading = leading(&[1, 2], start);
        for step in 0..10u32 {
            let end = 10 + i64::from(step) * 5;
            // It always lacks the last five records, and has everything that the leader had at its last fetch.
            leading.follower_asked((B2, 1), end, end + 5, start + LAG / 2 * step);
        }
        assert_eq!(leading.propose_isr(10, LAG, start + LAG / 2 * 10), None);
        assert!(leading.propose_isr(10, LAG, start + LAG * 8).is_some());
    }
}
