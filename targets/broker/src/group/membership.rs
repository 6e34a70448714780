//! One group: its members, its generations, its offsets.
//!
//! ```text
//!            join                all have joined,            leader's assignment
//!                                or time is up               is replicated
//!   Empty ────────> Preparing ─────────────────> Completing ────────────────────> Stable
//!     ^              │   ^                           │                               │
//!     └──────────────┘   └───────────────────────────┴───────────────────────────────┘
//!      nobody joined        a member joins, changes, leaves or is gone
//! ```
//!
//! A rebalance begins by telling members to join again: heartbeats are answered so. JoinGroup is answered when
//! everybody has sent it, or when the slowest member's rebalance time-out is over; whoever has not is no member any
//! more. That makes a new *generation*. One member, the leader, is told the subscriptions of all and sends an assignment
//! with its SyncGroup; everybody's SyncGroup is answered with that member's part. Commits are fenced by generation and
//! name: who has been left behind cannot move the group's offsets.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::coordinator::{Reply, Token};
use super::error::GroupError;
use super::member::{Described, DescribedMember, JoinRequest, Member};
use super::record::{Committed, Generation, KeptMember, TopicPartition};

/// What becomes of the offsets of a member's partitions when it leaves or is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Departure {
    /// They stay as they were committed: who takes over begins there.
    LeavesOffsets,
    /// Defect: what the member had been given is taken for read, lest it be read twice, and its partitions are
    /// committed up to their high watermarks.
    CommitsHighWatermarks,
}

/// The answer to a JoinGroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// The generation that begins.
    pub generation: i32,
    /// The protocol that all its members know.
    pub protocol: String,
    /// Who assigns.
    pub leader: String,
    /// The name of whom this answers.
    pub member_id: String,
    /// For the leader: everybody's subscription. For others empty.
    pub members: Vec<JoinedMember>,
}

/// A member's subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinedMember {
    /// The member.
    pub member_id: String,
    /// What it said with the protocol chosen.
    pub metadata: Bytes,
}

/// Where a group is between two generations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupState {
    /// It has no members.
    Empty,
    /// Its members are to join again, until then.
    Preparing {
        /// When those who have joined go on without the others.
        until: Instant,
        /// Whether to wait until then even if all known members have joined: a group that begins expects more.
        early: Early,
    },
    /// The assignment is awaited, until then.
    Completing {
        /// When those who have not asked for it are gone.
        until: Instant,
    },
    /// Everybody has their assignment.
    Stable,
}

/// Whether a rebalance may end before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Early {
    /// When everybody has joined.
    Possible,
    /// Not: more members are expected.
    No,
}

impl GroupState {
    fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Preparing { .. } => "PreparingRebalance",
            Self::Completing { .. } => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

/// What a group wants done.
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
    protocol_type: String,
    protocol: Option<String>,
    leader: Option<String>,
    members: BTreeMap<String, Member>,
    /// Names given to new members that have not joined with them yet, and until when they may.
    named: BTreeMap<String, Instant>,
    arrivals: u64,
    /// Each with the number of the write that made it durable, so that answers may come in any order.
    pub(super) offsets: BTreeMap<TopicPartition, (Committed, u64)>,
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
        }
    }

    /// Whether nothing is known of it that is worth keeping.
    pub(super) fn is_nothing(&self) -> bool {
        self.members.is_empty() && self.named.is_empty() && self.offsets.is_empty() && self.generation == 0
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
            // The same member asked before; nobody waits for that answer any more, but it is owed.
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

    fn joined(&self, member_id: &str) -> Joined {
        let protocol = self.protocol.clone().unwrap_or_default();
        let leader = self.leader.clone().unwrap_or_default();
        let subscription = |(id, member): (&String, &Member)| JoinedMember {
            member_id: id.clone(),
            metadata: member.metadata(&protocol),
        };
        let members = match leader == member_id {
            true => self.members.iter().map(subscription).collect(),
            false => Vec::new(),
        };
        Joined { generation: self.generation, protocol, leader, member_id: member_id.to_owned(), members }
    }

    fn begin_rebalance(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        for member in self.members.values_mut() {
            if let Some(token) = member.syncing.take() {
                effects.push(Effect::Reply(token, Reply::Sync(Err(GroupError::RebalanceInProgress))));
                member.heard_of(now);
            }
        }
        self.state = GroupState::Preparing { until: now + self.rebalance_timeout(), early: Early::Possible };
    }

    fn rebalance_timeout(&self) -> Duration {
        self.members.values().map(|member| member.rebalance_timeout).max().unwrap_or_default()
    }

    fn end_rebalance_if_complete(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let all = self.named.is_empty() && self.members.values().all(|member| member.joining.is_some());
        match self.state {
            GroupState::Preparing { early: Early::Possible, .. } if all => {
                self.begin_generation(now, effects)
            }
            GroupState::Preparing { until, .. } if until <= now => self.begin_generation(now, effects),
            _ => {}
        }
    }

    /// Goes on with those who have joined.
    fn begin_generation(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let late: Vec<_> = self
            .members
            .iter()
            .filter(|(_, member)| member.joining.is_none())
            .map(|(id, _)| id.clone())
            .collect();
        for member_id in late {
            self.remove(&member_id, effects);
        }
        self.generation += 1;
        if self.members.is_empty() {
            (self.state, self.protocol, self.leader) = (GroupState::Empty, None, None);
            effects.push(Effect::KeepEmpty(self.kept()));
            return;
        }
        self.protocol = Some(self.choose_protocol());
        if self.leader.as_ref().is_none_or(|leader| !self.members.contains_key(leader)) {
            let first = self.members.iter().min_by_key(|(_, member)| member.arrival);
            self.leader = first.map(|(id, _)| id.clone());
        }
        self.state = GroupState::Completing { until: now + self.rebalance_timeout() };
        let ids: Vec<_> = self.members.keys().cloned().collect();
        for id in ids {
            let joined = self.joined(&id);
            let member = self.members.get_mut(&id).expect("its name is from the map");
            member.assignment = Bytes::new();
            member.heard_of(now);
            if let Some(token) = member.joining.take() {
                effects.push(Effect::Reply(token, Reply::Join(Ok(joined))));
            }
        }
    }

    /// Of the protocols that all know, the one that most put first.
    fn choose_protocol(&self) -> String {
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            let shared = |name: &str| self.members.values().all(|other| other.knows(name));
            if let Some(best) = member.protocols.iter().find(|protocol| shared(&protocol.name)) {
                *votes.entry(&best.name).or_default() += 1;
            }
        }
        // Joining was refused without a protocol in common.
        votes.into_iter().max_by_key(|(_, votes)| *votes).map(|(name, _)| name.to_owned()).unwrap_or_default()
    }

    /// A member asks for its assignment.
    ///
    /// # Errors
    /// It is not a member of this generation, or the generation is over.
    pub(super) fn sync(
        &mut self,
        member_id: &str,
        generation: i32,
        token: Token,
        now: Instant,
    ) -> Result<Synced, GroupError> {
        self.check_member(member_id, generation)?;
        let is_leader = self.leader.as_deref() == Some(member_id);
        let member = self.members.get_mut(member_id).ok_or(GroupError::UnknownMember)?;
        match self.state {
            GroupState::Empty => Err(GroupError::UnknownMember),
            GroupState::Preparing { .. } => Err(GroupError::RebalanceInProgress),
            GroupState::Stable => {
                member.heard_of(now);
                Ok(Synced::Known(member.assignment.clone()))
            }
            GroupState::Completing { .. } => {
                let superseded = member.syncing.replace(token);
                member.heard_of(now);
                Ok(if is_leader { Synced::ByLeader { superseded } } else { Synced::Waits { superseded } })
            }
        }
    }

    /// The generation as it will be with these assignments.
    pub(super) fn assigned(&self, assignments: &BTreeMap<String, Bytes>) -> Generation {
        let mut kept = self.kept();
        for member in &mut kept.members {
            member.assignment = assignments.get(&member.member_id).cloned().unwrap_or_default();
        }
        kept
    }

    /// The assignment of `generation` is durable: everybody may have theirs, if it is still that generation.
    pub(super) fn complete(&mut self, generation: &Generation, now: Instant, effects: &mut Vec<Effect>) {
        let is_current = generation.generation == self.generation;
        if !is_current || !matches!(self.state, GroupState::Completing { .. }) {
            return;
        }
        self.state = GroupState::Stable;
        for kept in &generation.members {
            if let Some(member) = self.members.get_mut(&kept.member_id) {
                member.assignment = kept.assignment.clone();
                member.heard_of(now);
                if let Some(token) = member.syncing.take() {
                    effects.push(Effect::Reply(token, Reply::Sync(Ok(member.assignment.clone()))));
                }
            }
        }
    }

    /// The assignment could not be made durable: everybody is told and must join again.
    pub(super) fn fail(
        &mut self,
        generation: i32,
        error: &GroupError,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        if generation != self.generation || !matches!(self.state, GroupState::Completing { .. }) {
            return;
        }
        for member in self.members.values_mut() {
            if let Some(token) = member.syncing.take() {
                effects.push(Effect::Reply(token, Reply::Sync(Err(error.clone()))));
                member.heard_of(now);
            }
        }
        self.begin_rebalance(now, effects);
    }

    /// A member says that it is there.
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

    /// A member leaves.
    ///
    /// # Errors
    /// It is none.
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

    fn remove(&mut self, member_id: &str, effects: &mut Vec<Effect>) {
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

    /// After members have been removed, somebody else must get what they had.
    fn go_on_without(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        if matches!(self.state, GroupState::Completing { .. } | GroupState::Stable) {
            self.begin_rebalance(now, effects);
        }
    }

    /// Checks that `member_id` may commit for this generation. A group without members may be committed for by anybody
    /// who does not claim to be one.
    ///
    /// # Errors
    /// Who left or was left behind may not, and nobody may between joining and getting an assignment.
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

    fn check_member(&self, member_id: &str, generation: i32) -> Result<(), GroupError> {
        if !self.members.contains_key(member_id) {
            return Err(GroupError::UnknownMember);
        }
        if generation != self.generation { Err(GroupError::IllegalGeneration) } else { Ok(()) }
    }

    /// Does what time has made due.
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
                // Everybody has asked; it is the log that takes its time.
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

    /// Answers everybody who waits, because the group goes to another coordinator.
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

    fn kept(&self) -> Generation {
        let keep = |(member_id, member): (&String, &Member)| KeptMember {
            member_id: member_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            session_timeout: member.session_timeout,
            rebalance_timeout: member.rebalance_timeout,
            protocols: member.protocols.clone(),
            assignment: member.assignment.clone(),
        };
        Generation {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            members: self.members.iter().map(keep).collect(),
        }
    }

    /// Takes in a generation that was kept. Sessions begin anew.
    pub(super) fn restore(&mut self, kept: Generation, now: Instant) {
        self.generation = kept.generation;
        self.protocol_type = kept.protocol_type;
        self.protocol = kept.protocol;
        self.leader = kept.leader;
        self.state = if kept.members.is_empty() { GroupState::Empty } else { GroupState::Stable };
        self.members.clear();
        for member in kept.members {
            self.arrivals += 1;
            let restored = Member {
                client_id: member.client_id,
                client_host: member.client_host,
                session_timeout: member.session_timeout,
                rebalance_timeout: member.rebalance_timeout,
                protocols: member.protocols,
                assignment: member.assignment,
                joining: None,
                syncing: None,
                session_ends: now + member.session_timeout,
                arrival: self.arrivals,
            };
            self.members.insert(member.member_id, restored);
        }
    }

    /// Sessions begin anew.
    pub(super) fn renew_sessions(&mut self, now: Instant) {
        self.members.values_mut().for_each(|member| member.heard_of(now));
    }

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

/// What a SyncGroup led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Synced {
    /// The assignment is known.
    Known(Bytes),
    /// It waits for the leader's; `superseded` is the same member's request that waited before.
    Waits { superseded: Option<Token> },
    /// It is the leader's.
    ByLeader { superseded: Option<Token> },
}
