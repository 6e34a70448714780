//! Reads by lease: a leader that a quorum has just followed answers from its own state, without asking again.
//!
//! Ongaro, "Consensus: Bridging Theory and Practice", section 6.4.1: for a while after a quorum heard from a leader, it may
//! rely on not having been replaced, because the nodes that heard from it elect no other leader for a while. It saves a
//! round per read and costs an assumption about clocks.
//!
//! # Which clock decides
//!
//! - The **leader's wall clock** decides how long a lease lasts. The leader reads it before it sends an append (a
//!   heartbeat is one). Once a quorum, itself included, has acknowledged appends of its term, the oldest of the latest
//!   such sending times, plus `lease`, is the end of the lease. Many real systems do the same; a monotonic clock would
//!   be the better one.
//! - The **followers' monotonic clocks** decide when another node may lead. A node that hears from a leader
//!   neither grants a vote nor starts an election for `election_max` after it: openraft keeps that rule, and
//!   reads no wall clock. A node that restarts still knows which leader it followed, since its vote is
//!   durable before it answers an append,
//!   and counts from its start.
//!
//! # The assumption, and why it is enough
//!
//! `lease + drift_bound` is at most `election_max`, the same on every node. The assumption is that while a lease lasts,
//! the leader's wall clock does not fall behind any follower's monotonic clock by more than `drift_bound`, whether it
//! runs slow or is set back.
//!
//! Let the leader L of term T send appends at *s* by its clock, acknowledged by a quorum Q, and let another leader be
//! elected in a later term by a quorum that shares the node F with Q.
//!
//! - If F is not L, it handled the append after *s*, and in term T, so before it granted its vote; it granted it not
//!   before `election_max` had passed on its monotonic clock. By the assumption L's clock has by then passed
//!   `s + election_max - drift_bound`, which is at or after `s + lease`: the lease is over.
//! - If F is L itself, it has ceded its lease ([`Lease::cede`]) before its vote left.
//!
//! So while the lease holds, no other leader has committed anything, and everything that was ever
//! acknowledged is in the state of L, provided that L has applied an entry of its own term. The state is read
//! first and the clock afterwards: a leader that is paused between the two finds the lease over, and one that
//! is paused later returns a value that was current during the request.
//!
//! A leader whose clock is set back while it is cut off considers its lease valid again, until its clock has made up for
//! the step. There is no defence against that here: the assumption excludes it. A step while the leader has followers
//! does no harm beyond the next heartbeats, since later sending times replace earlier ones.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use duress_consensus::network::{Acknowledged, Observer};
use duress_consensus::types::LeaderId;

use super::types::{StateView, answer_all};
use crate::command::{Answer, Query};
use crate::wall_clock::WallClock;

/// When an append was sent.
#[derive(Debug, Clone, Copy)]
pub struct SentAppend {
    /// The number of the append, for the order, which a wall clock does not give.
    number: u64,
    at: SystemTime,
}

/// The lease of this node, if it is the leader.
#[derive(Debug)]
pub struct Lease {
    duration: Duration,
    /// How many acknowledgements less than a quorum's are enough: none, but for a bug.
    lacking: usize,
    clock: Arc<dyn WallClock>,
    sendings: AtomicU64,
    answered: AtomicU64,
    // Replication to each peer renews the lease, votes cede it and reads check it; the lock is held for a few
    // comparisons and never across an await.
    held: Mutex<LeaseState>,
}

#[derive(Debug, Default)]
struct LeaseState {
    /// The leader and term that the acknowledgements belong to.
    leader: LeaderId,
    /// The latest append that each peer has acknowledged.
    acknowledged: BTreeMap<u64, SentAppend>,
    /// The greatest leader this node has helped or tried to elect.
    ceded: LeaderId,
}

impl LeaseState {
    /// Returns when the lease is over, by the wall clock, if it takes the acknowledgements of so many of `voters`.
    fn end(&self, voters: &BTreeSet<u64>, needed: usize, duration: Duration) -> Option<SystemTime> {
        let of_voters = self.acknowledged.iter().filter(|(peer, _)| voters.contains(peer));
        let mut latest: Vec<SentAppend> = of_voters.map(|(_, sending)| *sending).collect();
        latest.sort_unstable_by_key(|sending| std::cmp::Reverse(sending.number));
        // A time beyond the range of the clock does not end a lease.
        needed
            .checked_sub(1)
            .and_then(|place| latest.get(place))
            .and_then(|oldest| oldest.at.checked_add(duration))
    }
}

impl Lease {
    /// Returns the lease of a node that is content with so many acknowledgements `lacking` to a quorum; not held yet.
    pub fn new(duration: Duration, lacking: usize, clock: Arc<dyn WallClock>) -> Self {
        Self {
            duration,
            lacking,
            clock,
            sendings: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            held: Mutex::default(),
        }
    }

    /// Records that an append is about to be sent.
    fn sent(&self) -> SentAppend {
        let at = self.clock.now();
        SentAppend { number: self.sendings.fetch_add(1, Ordering::Relaxed), at }
    }

    /// A peer has handled an append of `leader`, which is this node in one of its terms, and knew of no later leader.
    fn acknowledged(&self, leader: LeaderId, peer: u64, sending: SentAppend) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if leader < held.leader {
            return;
        }
        if leader > held.leader {
            *held = LeaseState { leader, ceded: held.ceded, ..LeaseState::default() };
        }
        let latest = held.acknowledged.entry(peer).or_insert(sending);
        if sending.number > latest.number {
            *latest = sending;
        }
    }

    /// This node has granted a vote for `leader`, or asks for votes itself: no lease of an earlier leader holds from
    /// now on. To be called before another node can learn of the vote.
    fn cede(&self, leader: LeaderId) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.ceded = held.ceded.max(leader);
    }

    /// Answers queries from the applied state, or `None` if the lease does not make certain that it was the latest one. This
    /// node is the member `number`.
    pub fn read(&self, number: u64, view: &StateView, queries: &[Query]) -> Option<Vec<Answer>> {
        let (answers, applied, voters) = view.read(|applied| {
            let voters = applied.membership.membership().get_joint_config().clone();
            (answer_all(applied, queries), applied.last_applied.map(|id| id.leader_id), voters)
        });
        // The clock comes after the state, and the order matters: see the module's documentation.
        self.holds(applied?, number, &voters).then(|| {
            self.answered.fetch_add(1, Ordering::Relaxed);
            answers
        })
    }

    /// Whether this node, the member `number`, holds the lease now, as the leader that wrote the last applied entry, when the
    /// members were these `voters`: two sets while they change.
    ///
    /// The members may have changed once more in entries that are not applied. Members change one at a time, so that a quorum of
    /// the one set meets every quorum of the other.
    fn holds(&self, applied: LeaderId, number: u64, voters: &[BTreeSet<u64>]) -> bool {
        let now = self.clock.now();
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let is_held_by = |voters: &BTreeSet<u64>| {
            let own = usize::from(voters.contains(&number));
            let needed = voters.len() / 2 + 1 - own;
            let end = held.end(voters, needed.saturating_sub(self.lacking), self.duration);
            end.is_some_and(|end| now < end)
        };
        applied == held.leader
            && held.ceded <= held.leader
            && !voters.is_empty()
            && voters.iter().all(is_held_by)
    }

    /// How many requests have been answered by lease since the node started.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }
}

impl Observer for Lease {
    fn sending(self: Arc<Self>, leader: LeaderId, peer: u64) -> Acknowledged {
        let sending = self.sent();
        Box::new(move || self.acknowledged(leader, peer, sending))
    }

    fn ceding(&self, leader: LeaderId) {
        self.cede(leader);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A clock that does not advance until it is set, in milliseconds.
    #[derive(Debug, Default)]
    struct SetClock(AtomicU64);

    impl WallClock for SetClock {
        fn now(&self) -> SystemTime {
            SystemTime::UNIX_EPOCH + Duration::from_millis(self.0.load(Ordering::Relaxed))
        }
    }

    const LEASE_MS: u64 = 400;
    const TERM_1: LeaderId = LeaderId { term: 1, node_id: 0 };
    const TERM_2: LeaderId = LeaderId { term: 2, node_id: 3 };
    const TERM_3: LeaderId = LeaderId { term: 3, node_id: 0 };

    /// Returns the lease of node 0 of five, whose clock shows 1000.
    fn lease() -> (Lease, Arc<SetClock>) {
        let clock = Arc::new(SetClock(AtomicU64::new(1_000)));
        (Lease::new(Duration::from_millis(LEASE_MS), 0, clock.clone()), clock)
    }

    /// Whether node 0 of five holds its lease.
    fn holds(lease: &Lease, applied: LeaderId) -> bool {
        lease.holds(applied, 0, &[(0..5).collect()])
    }

    fn set(clock: &SetClock, now: u64) {
        clock.0.store(now, Ordering::Relaxed);
    }

    #[test]
    fn it_lasts_from_the_sending_that_completes_a_quorum() {
        let (lease, clock) = lease();
        let (first, _) = (lease.sent(), set(&clock, 1_100));
        let (second, _) = (lease.sent(), set(&clock, 1_200));
        lease.acknowledged(TERM_1, 1, second);
        assert!(!holds(&lease, TERM_1), "two of five are not a quorum");
        lease.acknowledged(TERM_1, 2, first);
        assert!(holds(&lease, TERM_1));
        for (now, held) in [(1_399, true), (1_400, false)] {
            set(&clock, now);
            assert_eq!(
                holds(&lease, TERM_1),
                held,
                "it counts from the older of the two, not from the answer: {now}"
            );
        }
        lease.acknowledged(TERM_1, 3, second);
        for (now, held) in [(1_499, true), (1_500, false)] {
            set(&clock, now);
            assert_eq!(holds(&lease, TERM_1), held, "the oldest of three is not needed: {now}");
        }
    }

    #[test]
    fn an_answer_that_overtakes_another_counts_once() {
        let (lease, clock) = lease();
        let (first, _) = (lease.sent(), set(&clock, 1_100));
        let second = lease.sent();
        for (peer, sending) in [(1, second), (2, second), (1, first), (2, first)] {
            lease.acknowledged(TERM_1, peer, sending);
        }
        set(&clock, 1_499);
        assert!(holds(&lease, TERM_1));
    }

    #[test]
    fn it_is_of_one_term_only() {
        let (lease, _) = lease();
        (1..=2).for_each(|peer| lease.acknowledged(TERM_1, peer, lease.sent()));
        assert!(!holds(&lease, TERM_3), "the leader has acknowledgements of term 1 only");
        lease.acknowledged(TERM_3, 1, lease.sent());
        lease.acknowledged(TERM_1, 2, lease.sent());
        assert!(
            !holds(&lease, TERM_1) && !holds(&lease, TERM_3),
            "one acknowledgement of term 3, and an old one"
        );
        lease.acknowledged(TERM_3, 2, lease.sent());
        assert!(!holds(&lease, TERM_1), "the state lacks an entry of term 3");
        assert!(holds(&lease, TERM_3));
    }

    #[test]
    fn a_vote_for_another_ends_it_and_its_own_next_term_begins_anew() {
        let (lease, _) = lease();
        (1..=2).for_each(|peer| lease.acknowledged(TERM_1, peer, lease.sent()));
        lease.cede(TERM_2);
        assert!(!holds(&lease, TERM_1));
        (1..=2).for_each(|peer| lease.acknowledged(TERM_1, peer, lease.sent()));
        assert!(!holds(&lease, TERM_1), "followers or not, this node itself may have elected another");
        lease.cede(TERM_3);
        (1..=2).for_each(|peer| lease.acknowledged(TERM_3, peer, lease.sent()));
        assert!(holds(&lease, TERM_3));
    }

    #[test]
    fn a_clock_set_back_prolongs_it_by_the_step_until_it_is_acknowledged_again() {
        let (lease, clock) = lease();
        (1..=4).for_each(|peer| lease.acknowledged(TERM_1, peer, lease.sent()));
        set(&clock, 1_400);
        assert!(!holds(&lease, TERM_1));
        set(&clock, 1_400 - 300);
        assert!(holds(&lease, TERM_1));
        set(&clock, 500);
        (1..=2).for_each(|peer| lease.acknowledged(TERM_1, peer, lease.sent()));
        set(&clock, 900);
        assert!(!holds(&lease, TERM_1), "what the two others acknowledged before the step no longer counts");
    }

    #[test]
    fn only_voters_count_and_while_they_change_a_quorum_of_both_sets() {
        let (lease, _) = lease();
        (3..=4).for_each(|peer| lease.acknowledged(TERM_1, peer, lease.sent()));
        let held = |voters: &[BTreeSet<u64>]| lease.holds(TERM_1, 0, voters);
        assert!(held(&[(0..5).collect()]));
        assert!(!held(&[(0..3).collect()]), "3 and 4 were removed");
        assert!(!held(&[(0..5).collect(), (0..3).collect()]));
        assert!(!held(&[(1..5).collect()]), "a leader that was removed is not one of its quorum");
        assert!(!held(&[]));
        lease.acknowledged(TERM_1, 1, lease.sent());
        assert!(held(&[(0..5).collect(), (0..3).collect()]) && held(&[(1..5).collect()]));
    }
}
