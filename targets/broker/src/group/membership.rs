//! One group: how members join and leave it, and how they are fenced.
//!
//! ```text
//!            join                all have joined,            leader's assignment
//!                                or time is up               is replicated
//!   Empty ────────> Preparing ─────────────────> Completing ────────────────────> Stable
//!     ^              │   ^                           │                               │
//!     └──────────────┘   └───────────────────────────┴───────────────────────────────┘
//!      no member joined     a member joins, changes, leaves or is gone
//! ```
//!
//! A rebalance begins by asking members to join again: heartbeats are answered so. JoinGroup is answered when every member
//! has sent it, or when the slowest member's rebalance time-out is over; a member that has not sent it by then is removed.
//! That makes a new *generation* (`rebalance.rs`). One member, the leader, receives the subscriptions of all and sends an
//! assignment with its SyncGroup; each SyncGroup is answered with that member's part. Commits are fenced by generation
//! and name: a member of an earlier generation cannot move the group's offsets.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::coordinator::{Reply, Token};
use super::error::GroupError;
use super::member::{Described, DescribedMember, JoinRequest, Member};
use super::record::{Committed, Generation, TopicPartition};
use super::state::{Early, GroupState};
use super::transactions::Pending;

/// The handling of the offsets of a member's partitions when it leaves or is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Departure {
    /// They stay as they were committed: the member that takes over begins there.
    LeavesOffsets,
    /// Defect: every message handed to the member counts as consumed, so that none is consumed twice, and its partitions
    /// are committed up to their high watermarks.
    CommitsHighWatermarks,
}

/// The members whose commits a group accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitFence {
    /// Those of its members in their present generation.
    Generation,
    /// Defect: those of any generation, from members that it has removed too.
    None,
}

/// An effect that the coordinator carries out for a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    /// Answer a request.
    Reply(Token, Reply),
    /// Remember that the group has no members.
    KeepEmpty(Generation),
    /// A member with this assignment has left or is gone.
    Departed(Bytes),
}

/// A group.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) state: GroupState,
    pub(super) generation: i32,
    pub(super) protocol_type: String,
    pub(super) protocol: Option<String>,
    pub(super) leader: Option<String>,
    pub(super) members: BTreeMap<String, Member>,
    /// Names given to new members that have not joined with them yet, and until when they may.
    pub(super) named: BTreeMap<String, Instant>,
    pub(super) arrivals: u64,
    /// Each with the number of the write that made it durable, so that answers may come in any order.
    pub(super) offsets: BTreeMap<TopicPartition, (Committed, u64)>,
    /// Offsets of open transactions, by producer id.
    pub(super) pending: BTreeMap<i64, Vec<Pending>>,
}

impl Group {
    pub(super) fn new() -> Self {
        Self {
            state: GroupState::Empty,
            generation: 0,
            protocol_type: String::new(),
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            named: BTreeMap::new(),
            arrivals: 0,
            offsets: BTreeMap::new(),
            pending: BTreeMap::new(),
        }
    }

    /// Whether it has neither members nor offsets and never had any, so that it can be forgotten.
    pub(super) fn is_nothing(&self) -> bool {
        self.members.is_empty()
            && self.named.is_empty()
            && self.offsets.is_empty()
            && self.pending.is_empty()
            && self.generation == 0
    }

    pub(super) fn has_members(&self) -> bool {
        !self.members.is_empty()
    }

    /// Gives a new member its name, for which it must come back within its session time-out.
    pub(super) fn give_name(&mut self, member_id: String, session_timeout: Duration, now: Instant) {
        self.named.insert(member_id, now + session_timeout);
    }

    /// A member wants to be in the next generation.
    pub(super) fn join(
        &mut self,
        request: JoinRequest,
        token: Token,
        initial_delay: Duration,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        let member_id = request.member_id.clone();
        let known = self.members.get(&member_id);
        if let Err(error) = self.check_protocols(&request) {
            effects.push(Effect::Reply(token, Reply::Join(Err(error))));
            return;
        }
        let is_news = known.is_none_or(|member| member.protocols != request.protocols);
        let is_leader = self.leader.as_ref() == Some(&member_id);
        match self.state {
            // It did not get the answer; or it asks again for no reason. Only the leader may ask for a new assignment,
            // because it alone sees when partitions are added.
            GroupState::Completing { .. } if !is_news => {
                effects.push(Effect::Reply(token, Reply::Join(Ok(self.joined(&member_id)))));
                return;
            }
            GroupState::Stable if !is_news && !is_leader => {
                effects.push(Effect::Reply(token, Reply::Join(Ok(self.joined(&member_id)))));
                return;
            }
            _ => {}
        }
        self.named.remove(&member_id);
        self.enter(request, token, now, effects);
        match self.state {
            GroupState::Preparing { .. } => {}
            GroupState::Empty => {
                let early = if initial_delay.is_zero() { Early::Possible } else { Early::No };
                self.state = GroupState::Preparing { until: now + initial_delay, early };
            }
            GroupState::Completing { .. } | GroupState::Stable => self.begin_rebalance(now, effects),
        }
        self.end_rebalance_if_complete(now, effects);
    }

    fn check_protocols(&self, request: &JoinRequest) -> Result<(), GroupError> {
        let others: Vec<_> = self.members.iter().filter(|(id, _)| **id != request.member_id).collect();
        let in_common = |protocol: &str| others.iter().all(|(_, member)| member.knows(protocol));
        let fits = others.is_empty() || self.protocol_type == request.protocol_type;
        let agrees = request.protocols.iter().any(|protocol| in_common(&protocol.name));
        if fits && agrees { Ok(()) } else { Err(GroupError::InconsistentProtocol) }
    }

    fn enter(&mut self, request: JoinRequest, token: Token, now: Instant, effects: &mut Vec<Effect>) {
        self.arrivals += 1;
        self.protocol_type = request.protocol_type;
        let before = self.members.remove(&request.member_id);
        if let Some(superseded) = before.as_ref().and_then(|member| member.joining) {
            // The same member asked before. It no longer waits for that answer, but every request gets one.
            effects.push(Effect::Reply(superseded, Reply::Join(Err(GroupError::RebalanceInProgress))));
        }
        if let Some(superseded) = before.as_ref().and_then(|member| member.syncing) {
            effects.push(Effect::Reply(superseded, Reply::Sync(Err(GroupError::RebalanceInProgress))));
        }
        let (assignment, arrival) =
            before.map_or((Bytes::new(), self.arrivals), |member| (member.assignment, member.arrival));
        let member = Member {
            client_id: request.client_id,
            client_host: request.client_host,
            session_timeout: request.session_timeout,
            rebalance_timeout: request.rebalance_timeout,
            protocols: request.protocols,
            assignment,
            joining: Some(token),
            syncing: None,
            session_ends: now + request.session_timeout,
            arrival,
        };
        self.members.insert(request.member_id, member);
    }

    /// Whether `member_id` is a member or has been named to become one.
    pub(super) fn may_join(&self, member_id: &str) -> bool {
        self.members.contains_key(member_id) || self.named.contains_key(member_id)
    }

    /// Handles a heartbeat of a member.
    ///
    /// # Errors
    /// It is not a member of this generation, or must join again.
    pub(super) fn heartbeat(
        &mut self,
        member_id: &str,
        generation: i32,
        now: Instant,
    ) -> Result<(), GroupError> {
        self.check_member(member_id, generation)?;
        if let Some(member) = self.members.get_mut(member_id) {
            member.heard_of(now);
        }
        match self.state {
            GroupState::Preparing { .. } => Err(GroupError::RebalanceInProgress),
            GroupState::Empty | GroupState::Completing { .. } | GroupState::Stable => Ok(()),
        }
    }

    /// Handles the departure of a member.
    ///
    /// # Errors
    /// It is not a member.
    pub(super) fn leave(
        &mut self,
        member_id: &str,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) -> Result<(), GroupError> {
        if self.named.remove(member_id).is_none() {
            if !self.members.contains_key(member_id) {
                return Err(GroupError::UnknownMember);
            }
            self.remove(member_id, effects);
            self.go_on_without(now, effects);
        }
        self.end_rebalance_if_complete(now, effects);
        Ok(())
    }

    /// Removes a member, whose waiting requests are answered with that.
    pub(super) fn remove(&mut self, member_id: &str, effects: &mut Vec<Effect>) {
        let Some(member) = self.members.remove(member_id) else { return };
        let gone = Err(GroupError::UnknownMember);
        if let Some(token) = member.joining {
            effects.push(Effect::Reply(token, Reply::Join(Err(GroupError::UnknownMember))));
        }
        effects.extend(member.syncing.map(|token| Effect::Reply(token, Reply::Sync(gone))));
        if self.leader.as_deref() == Some(member_id) {
            self.leader = None;
        }
        effects.push(Effect::Departed(member.assignment));
    }

    /// After members have been removed, other members must get their partitions.
    fn go_on_without(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        if matches!(self.state, GroupState::Completing { .. } | GroupState::Stable) {
            self.begin_rebalance(now, effects);
        }
    }

    /// Checks that `member_id` may commit for this generation. A client that does not claim to be a member may commit for
    /// a group without members.
    ///
    /// # Errors
    /// The member has left or is of another generation; or the group is between joining and getting an assignment, when
    /// no member may commit.
    pub(super) fn check_commit(
        &mut self,
        member_id: &str,
        generation: i32,
        now: Instant,
    ) -> Result<(), GroupError> {
        if member_id.is_empty() && generation < 0 {
            return if self.has_members() { Err(GroupError::UnknownMember) } else { Ok(()) };
        }
        self.check_member(member_id, generation)?;
        if matches!(self.state, GroupState::Completing { .. }) {
            return Err(GroupError::RebalanceInProgress);
        }
        if let Some(member) = self.members.get_mut(member_id) {
            member.heard_of(now);
        }
        Ok(())
    }

    /// Whether `member_id` is a member of this generation.
    pub(super) fn check_member(&self, member_id: &str, generation: i32) -> Result<(), GroupError> {
        if !self.members.contains_key(member_id) {
            return Err(GroupError::UnknownMember);
        }
        if generation != self.generation { Err(GroupError::IllegalGeneration) } else { Ok(()) }
    }

    /// Carries out the actions that are due: removes members whose time-outs are over.
    pub(super) fn tick(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        self.named.retain(|_, until| *until > now);
        let mut gone: BTreeSet<_> =
            self.members.iter().filter(|(_, member)| member.is_gone(now)).map(|(id, _)| id.clone()).collect();
        if let GroupState::Completing { until } = self.state
            && until <= now
        {
            let late = self.members.iter().filter(|(_, member)| member.syncing.is_none());
            gone.extend(late.map(|(id, _)| id.clone()));
            if gone.is_empty() {
                // Every member has asked, and waits for the log.
                self.state = GroupState::Completing { until: now + self.rebalance_timeout() };
            }
        }
        for member_id in &gone {
            self.remove(member_id, effects);
        }
        if !gone.is_empty() {
            self.go_on_without(now, effects);
        }
        self.end_rebalance_if_complete(now, effects);
    }

    /// When [`tick`](Self::tick) has something to do next.
    pub(super) fn due(&self) -> Option<Instant> {
        let state = match self.state {
            GroupState::Preparing { until, .. } | GroupState::Completing { until } => Some(until),
            GroupState::Empty | GroupState::Stable => None,
        };
        let sessions = self
            .members
            .values()
            .filter(|member| member.joining.is_none() && member.syncing.is_none())
            .map(|member| member.session_ends);
        sessions.chain(self.named.values().copied()).chain(state).min()
    }

    /// Answers every waiting request, because the group moves to another coordinator.
    pub(super) fn hand_over(&mut self, effects: &mut Vec<Effect>) {
        for member in self.members.values_mut() {
            if let Some(token) = member.joining.take() {
                effects.push(Effect::Reply(token, Reply::Join(Err(GroupError::NotCoordinator))));
            }
            if let Some(token) = member.syncing.take() {
                effects.push(Effect::Reply(token, Reply::Sync(Err(GroupError::NotCoordinator))));
            }
        }
    }

    /// Returns the answer to DescribeGroups.
    pub(super) fn describe(&self, group: &str) -> Described {
        let protocol = self.protocol.clone().unwrap_or_default();
        let members = self.members.iter().map(|(id, member)| DescribedMember {
            member_id: id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            metadata: member.metadata(&protocol),
            assignment: member.assignment.clone(),
        });
        Described {
            group: group.to_owned(),
            state: self.state.name(),
            protocol_type: self.protocol_type.clone(),
            members: members.collect(),
            protocol,
        }
    }
}
