//! From one generation of a group to the next.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::coordinator::{Reply, Token};
use super::error::GroupError;
use super::member::Member;
use super::membership::{Effect, Group};
use super::record::Generation;
use super::state::{Early, GroupState};

/// The answer to a JoinGroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// The generation that begins.
    pub generation: i32,
    /// The protocol that all its members know.
    pub protocol: String,
    /// The member that makes the assignment.
    pub leader: String,
    /// The name of the member that this answers.
    pub member_id: String,
    /// For the leader: the subscriptions of all members. Empty for the others.
    pub members: Vec<JoinedMember>,
}

/// A member's subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinedMember {
    /// The member.
    pub member_id: String,
    /// Its subscription for the chosen protocol.
    pub metadata: Bytes,
}

/// The outcome of a SyncGroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SyncStep {
    /// The assignment is known.
    Known(Bytes),
    /// It waits for the leader's; `superseded` is an earlier request of the same member that was still waiting.
    Waits { superseded: Option<Token> },
    /// It came from the leader, with the assignment.
    ByLeader { superseded: Option<Token> },
}

impl Group {
    /// Returns the answer to a member that has joined the present generation.
    pub(super) fn joined(&self, member_id: &str) -> Joined {
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

    /// Asks all members to join again.
    pub(super) fn begin_rebalance(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        for member in self.members.values_mut() {
            if let Some(token) = member.syncing.take() {
                effects.push(Effect::Reply(token, Reply::Sync(Err(GroupError::RebalanceInProgress))));
                member.heard_of(now);
            }
        }
        self.state = GroupState::Preparing { until: now + self.rebalance_timeout(), early: Early::Possible };
    }

    /// Returns the time-out of the slowest member.
    pub(super) fn rebalance_timeout(&self) -> Duration {
        self.members.values().map(|member| member.rebalance_timeout).max().unwrap_or_default()
    }

    /// Begins the next generation if every member has joined, or the time is over.
    pub(super) fn end_rebalance_if_complete(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let all = self.named.is_empty() && self.members.values().all(|member| member.joining.is_some());
        match self.state {
            GroupState::Preparing { early: Early::Possible, .. } if all => {
                self.begin_generation(now, effects)
            }
            GroupState::Preparing { until, .. } if until <= now => self.begin_generation(now, effects),
            _ => {}
        }
    }

    /// Begins a generation with the members that have joined; the others are removed.
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

    /// Returns the protocol that most members prefer, among those that all of them know.
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

    /// Handles a member's request for its assignment.
    ///
    /// # Errors
    /// It is not a member of this generation, or the generation is over.
    pub(super) fn sync(
        &mut self,
        member_id: &str,
        generation: i32,
        token: Token,
        now: Instant,
    ) -> Result<SyncStep, GroupError> {
        self.check_member(member_id, generation)?;
        let is_leader = self.leader.as_deref() == Some(member_id);
        let member = self.members.get_mut(member_id).ok_or(GroupError::UnknownMember)?;
        match self.state {
            GroupState::Empty => Err(GroupError::UnknownMember),
            GroupState::Preparing { .. } => Err(GroupError::RebalanceInProgress),
            GroupState::Stable => {
                member.heard_of(now);
                Ok(SyncStep::Known(member.assignment.clone()))
            }
            GroupState::Completing { .. } => {
                let superseded = member.syncing.replace(token);
                member.heard_of(now);
                Ok(if is_leader { SyncStep::ByLeader { superseded } } else { SyncStep::Waits { superseded } })
            }
        }
    }

    /// Returns the generation as it will be with these assignments.
    pub(super) fn assigned(&self, assignments: &BTreeMap<String, Bytes>) -> Generation {
        let mut kept = self.kept();
        for member in &mut kept.members {
            member.assignment = assignments.get(&member.member_id).cloned().unwrap_or_default();
        }
        kept
    }

    /// The assignment of `generation` is durable: each member gets its part, if that is still the generation.
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

    /// The assignment could not be made durable: every member gets the error and must join again.
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
}
