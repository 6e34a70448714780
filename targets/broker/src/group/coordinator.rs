//! All groups of one broker: requests in, actions out.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::error::GroupError;
use super::member::{Described, JoinRequest, MemberIds, partitions_in};
use super::membership::{CommitFence, Departure, Effect, Group};
use super::rebalance::{Joined, SyncStep};
use super::record::{
    Committed, Entry, Generation, OffsetsOnLoad, TopicPartition, UndecodableRecord, decode, group_record,
    offset_record,
};
use super::transactions::{Stability, TransactionalOffsets, settle_loaded};
pub(super) use crate::internal::{Content, Token, WriteId, partition_of};
use crate::log::{Marker, OwnRecord};

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// To JoinGroup.
    Join(Result<Joined, GroupError>),
    /// To SyncGroup: the member's assignment.
    Sync(Result<Bytes, GroupError>),
    /// To Heartbeat.
    Heartbeat(Result<(), GroupError>),
    /// To LeaveGroup.
    Leave(Result<(), GroupError>),
    /// To OffsetCommit and TxnOffsetCommit, for all their partitions.
    Commit(Result<(), GroupError>),
    /// To the end of a transaction.
    Marked(Result<(), GroupError>),
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
    /// Find the high watermarks of these partitions and call
    /// [`commit_departed`](Coordinator::commit_departed). Only with [`Departure::CommitsHighWatermarks`].
    FindHighWatermarks {
        /// The group whose member has left.
        group: String,
        /// The partitions that the member had.
        partitions: Vec<TopicPartition>,
    },
}

/// The rules for all groups.
#[derive(Debug, Clone)]
pub struct GroupOptions {
    /// Partitions of the internal topic.
    pub partitions: i32,
    /// The shortest session time-out that a member may ask for.
    pub session_timeout_min: Duration,
    /// The longest.
    pub session_timeout_max: Duration,
    /// How long a new group waits for more members.
    pub initial_delay: Duration,
    /// Part of the names of members, different for every start of every broker, so that no two members ever share a name.
    pub names: String,
    /// The handling of the offsets of a member that leaves.
    pub departure: Departure,
    /// The handling of committed offsets when a partition is loaded.
    pub offsets_on_load: OffsetsOnLoad,
    /// The members whose commits are accepted.
    pub commit_fence: CommitFence,
    /// When offsets count that are committed in a transaction.
    pub transactional_offsets: TransactionalOffsets,
}

/// A partition of the internal topic that is being read. Made by [`Coordinator::begin_load`].
#[derive(Debug)]
pub struct Load {
    partition: i32,
    incarnation: u64,
    pub(super) groups: BTreeMap<String, Group>,
    offsets_on_load: OffsetsOnLoad,
    /// The number of the last transaction of each producer that has ended.
    pub(super) ended: BTreeMap<i64, u64>,
}

impl Load {
    /// Applies the next record; records and markers come in order of their offsets. `transaction` is the id of the producer
    /// whose transaction the record is part of.
    ///
    /// # Errors
    /// It is not a record of a group. The records applied before it stay applied.
    pub fn replay(
        &mut self,
        key: &[u8],
        value: Option<&[u8]>,
        offset: i64,
        transaction: Option<i64>,
        now: Instant,
    ) -> Result<(), UndecodableRecord> {
        match decode(key, value).map_err(|cause| UndecodableRecord { offset, cause })? {
            Entry::Offset { group, at, committed } => {
                if self.offsets_on_load == OffsetsOnLoad::Forgotten {
                    return Ok(());
                }
                match (committed, transaction) {
                    (Some(committed), Some(producer)) => self.pend(group, producer, at, committed, offset),
                    (committed, _) => {
                        let group = self.groups.entry(group).or_insert_with(Group::new);
                        match committed {
                            Some(committed) => group.commit(at, committed, WriteId(offset.unsigned_abs())),
                            None => drop(group.offsets.remove(&at)),
                        }
                    }
                }
            }
            Entry::Group { group, generation: Some(generation) } => {
                self.groups.entry(group).or_insert_with(Group::new).restore(generation, now);
            }
            Entry::Group { group, generation: None } => {
                self.groups.remove(&group);
            }
        }
        Ok(())
    }
}

/// The groups of a partition of the internal topic that this broker leads.
#[derive(Debug)]
pub(super) enum HostedGroups {
    Loading { incarnation: u64 },
    Ready { groups: BTreeMap<String, Group> },
}

/// The continuation once records have been appended.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) partition: i32,
    pub(super) group: String,
    pub(super) purpose: Purpose,
}

#[derive(Debug)]
pub(super) enum Purpose {
    Commit {
        token: Option<Token>,
        offsets: Vec<(TopicPartition, Committed)>,
    },
    Assign(Generation),
    KeepEmpty,
    /// Offsets that wait for the end of their transaction.
    Pend {
        token: Token,
        producer_id: i64,
    },
    /// The end of a transaction; of no group in particular.
    End {
        token: Token,
        marker: Marker,
    },
}

/// Coordinates the groups whose partitions of the internal topic this broker leads.
#[derive(Debug)]
pub struct Coordinator {
    pub(super) options: GroupOptions,
    pub(super) hosted: BTreeMap<i32, HostedGroups>,
    pub(super) writes: BTreeMap<WriteId, Write>,
    /// The number of the last transaction that ended in a partition, by producer id.
    pub(super) ended: BTreeMap<(i32, i64), u64>,
    writes_begun: u64,
    loads_begun: u64,
    names_given: u64,
}

impl Coordinator {
    /// Returns a coordinator of no groups yet.
    pub fn new(options: GroupOptions) -> Self {
        let (hosted, writes, ended) = Default::default();
        Self { options, hosted, writes, ended, writes_begun: 0, loads_begun: 0, names_given: 0 }
    }

    /// This broker leads a partition of the internal topic now. Requests about its groups are answered with
    /// [`GroupError::Loading`] until everything in it has been replayed into what this returns.
    pub fn begin_load(&mut self, partition: i32) -> Load {
        self.loads_begun += 1;
        let incarnation = self.loads_begun;
        self.hosted.insert(partition, HostedGroups::Loading { incarnation });
        let offsets_on_load = self.options.offsets_on_load;
        Load { partition, incarnation, groups: BTreeMap::new(), offsets_on_load, ended: BTreeMap::new() }
    }

    /// Ends the load once everything has been replayed. Does nothing if the partition has been unloaded or
    /// loaded again meanwhile.
    pub fn finish_load(&mut self, load: Load, now: Instant) {
        if let Some(hosted) = self.hosted.get_mut(&load.partition)
            && matches!(hosted, HostedGroups::Loading { incarnation } if *incarnation == load.incarnation)
        {
            let mut groups = load.groups;
            groups.values_mut().for_each(|group| group.renew_sessions(now));
            settle_loaded(&mut groups);
            let ended = load.ended.into_iter();
            self.ended.extend(ended.map(|(producer, number)| ((load.partition, producer), number)));
            *hosted = HostedGroups::Ready { groups };
        }
    }

    /// This broker no longer leads a partition of the internal topic. Every waiting request is answered so.
    pub fn unload(&mut self, partition: i32) -> Vec<Action> {
        let mut actions = Vec::new();
        self.ended.retain(|(of, _), _| *of != partition);
        if let Some(HostedGroups::Ready { mut groups }) = self.hosted.remove(&partition) {
            let mut effects = Vec::new();
            groups.values_mut().for_each(|group| group.hand_over(&mut effects));
            for effect in effects {
                if let Effect::Reply(token, reply) = effect {
                    actions.push(Action::Reply(token, reply));
                }
            }
        }
        self.writes.retain(|_, write| {
            if write.partition != partition {
                return true;
            }
            let gone = Err(GroupError::NotCoordinator);
            match write.purpose {
                Purpose::Commit { token: Some(token), .. } | Purpose::Pend { token, .. } => {
                    actions.push(Action::Reply(token, Reply::Commit(gone)));
                }
                Purpose::End { token, .. } => actions.push(Action::Reply(token, Reply::Marked(gone))),
                Purpose::Commit { token: None, .. } | Purpose::Assign(_) | Purpose::KeepEmpty => {}
            }
            false
        });
        actions
    }

    /// JoinGroup.
    pub fn join(&mut self, request: JoinRequest, token: Token, now: Instant) -> Vec<Action> {
        let refuse = |error| vec![Action::Reply(token, Reply::Join(Err(error)))];
        let (allowed, session) =
            (self.options.session_timeout_min..=self.options.session_timeout_max, request.session_timeout);
        if !allowed.contains(&session) {
            return refuse(GroupError::InvalidSessionTimeout);
        }
        let name = self.new_name(&request.client_id);
        let delay = self.options.initial_delay;
        let group_id = request.group.clone();
        let group = match self.group_or_new(&group_id) {
            Ok(group) => group,
            Err(error) => return refuse(error),
        };
        let mut request = request;
        if request.member_id.is_empty() {
            if request.member_ids == MemberIds::Required {
                group.give_name(name.clone(), session, now);
                return refuse(GroupError::MemberIdRequired { member_id: name });
            }
            request.member_id = name;
        } else if !group.may_join(&request.member_id) {
            self.forget_if_nothing(&group_id);
            return refuse(GroupError::UnknownMember);
        }
        let mut effects = Vec::new();
        group.join(request, token, delay, now, &mut effects);
        self.forget_if_nothing(&group_id);
        self.act(&group_id, effects)
    }

    /// SyncGroup. The leader sends the `assignments` of all members, the others send none.
    pub fn sync(
        &mut self,
        group_id: &str,
        member_id: &str,
        generation: i32,
        assignments: BTreeMap<String, Bytes>,
        token: Token,
        now: Instant,
    ) -> Vec<Action> {
        let reply = |token, reply| vec![Action::Reply(token, Reply::Sync(reply))];
        let superseded_reply = |superseded: Option<Token>| {
            let error = GroupError::RebalanceInProgress;
            superseded.map(|old| Action::Reply(old, Reply::Sync(Err(error)))).into_iter().collect::<Vec<_>>()
        };
        let group = match self.member_group(group_id) {
            Ok(group) => group,
            Err(error) => return reply(token, Err(error)),
        };
        match group.sync(member_id, generation, token, now) {
            Err(error) => reply(token, Err(error)),
            Ok(SyncStep::Known(assignment)) => reply(token, Ok(assignment)),
            Ok(SyncStep::Waits { superseded }) => superseded_reply(superseded),
            Ok(SyncStep::ByLeader { superseded }) => {
                let assigned = group.assigned(&assignments);
                let mut actions = superseded_reply(superseded);
                let is_under_way = self.writes.values().any(|write| {
                    let same = |purpose: &Purpose| {
                        matches!(purpose, Purpose::Assign(other) if other.generation == generation)
                    };
                    write.group == group_id && same(&write.purpose)
                });
                if !is_under_way {
                    let record = group_record(group_id, &assigned);
                    actions.push(self.append(group_id, vec![record], Purpose::Assign(assigned)));
                }
                actions
            }
        }
    }

    /// Heartbeat.
    pub fn heartbeat(
        &mut self,
        group_id: &str,
        member_id: &str,
        generation: i32,
        token: Token,
        now: Instant,
    ) -> Vec<Action> {
        let answer =
            self.member_group(group_id).and_then(|group| group.heartbeat(member_id, generation, now));
        vec![Action::Reply(token, Reply::Heartbeat(answer))]
    }

    /// LeaveGroup.
    pub fn leave(&mut self, group_id: &str, member_id: &str, token: Token, now: Instant) -> Vec<Action> {
        let mut effects = Vec::new();
        let answer = self.member_group(group_id).and_then(|group| group.leave(member_id, now, &mut effects));
        let mut actions = self.act(group_id, effects);
        actions.push(Action::Reply(token, Reply::Leave(answer)));
        self.forget_if_nothing(group_id);
        actions
    }

    /// OffsetCommit. `generation` is negative and `member_id` empty for a client that uses the group only to keep offsets.
    pub fn commit(
        &mut self,
        group_id: &str,
        member_id: &str,
        generation: i32,
        offsets: Vec<(TopicPartition, Committed)>,
        token: Token,
        now: Instant,
    ) -> Vec<Action> {
        let fence = self.options.commit_fence;
        let checked = self.group_or_new(group_id).and_then(|group| match fence {
            CommitFence::Generation => group.check_commit(member_id, generation, now),
            CommitFence::None => Ok(()),
        });
        self.forget_if_nothing(group_id);
        if checked.is_err() || offsets.is_empty() {
            return vec![Action::Reply(token, Reply::Commit(checked))];
        }
        let records = offsets.iter().map(|(at, committed)| offset_record(group_id, at, committed)).collect();
        vec![self.append(group_id, records, Purpose::Commit { token: Some(token), offsets })]
    }

    /// Handles the answer to [`Action::FindHighWatermarks`].
    pub fn commit_departed(&mut self, group_id: &str, ends: Vec<(TopicPartition, i64)>) -> Vec<Action> {
        if self.member_group(group_id).is_err() || ends.is_empty() {
            return Vec::new();
        }
        let at_end = |(at, offset)| (at, Committed { offset, leader_epoch: -1, metadata: None });
        let offsets: Vec<_> = ends.into_iter().map(at_end).collect();
        let records = offsets.iter().map(|(at, committed)| offset_record(group_id, at, committed)).collect();
        vec![self.append(group_id, records, Purpose::Commit { token: None, offsets })]
    }

    /// OffsetFetch: the committed offsets of these partitions, or of all that have one.
    ///
    /// # Errors
    /// This broker does not know, or stable offsets are required and one of them is not.
    pub fn fetch(
        &self,
        group_id: &str,
        partitions: Option<&[TopicPartition]>,
        stability: Stability,
    ) -> Result<Vec<(TopicPartition, Option<Committed>)>, GroupError> {
        let group = self.groups_with(group_id)?.get(group_id);
        let is_unstable = |group: &Group| match partitions {
            Some(partitions) => partitions.iter().any(|at| group.is_unstable(at)),
            None => !group.pending.is_empty(),
        };
        if stability == Stability::Required && group.is_some_and(is_unstable) {
            return Err(GroupError::Unstable);
        }
        let committed = |at: &TopicPartition| {
            let (committed, _) = group?.offsets.get(at)?;
            Some(committed.clone())
        };
        Ok(match (partitions, group) {
            (Some(partitions), _) => partitions.iter().map(|at| (at.clone(), committed(at))).collect(),
            (None, Some(group)) => group.offsets.keys().map(|at| (at.clone(), committed(at))).collect(),
            (None, None) => Vec::new(),
        })
    }

    /// DescribeGroups, for one of them. A group that does not exist is `Dead`.
    ///
    /// # Errors
    /// This broker does not know.
    pub fn describe(&self, group_id: &str) -> Result<Described, GroupError> {
        Ok(match self.groups_with(group_id)?.get(group_id) {
            Some(group) => group.describe(group_id),
            None => Described {
                group: group_id.to_owned(),
                state: "Dead",
                protocol_type: String::new(),
                protocol: String::new(),
                members: Vec::new(),
            },
        })
    }

    /// ListGroups: those that are coordinated here.
    ///
    /// # Errors
    /// Some of them are still being loaded.
    pub fn list(&self) -> Result<Vec<Described>, GroupError> {
        let mut all = Vec::new();
        for hosted in self.hosted.values() {
            match hosted {
                HostedGroups::Loading { .. } => return Err(GroupError::Loading),
                HostedGroups::Ready { groups } => {
                    all.extend(groups.iter().map(|(id, group)| group.describe(id)))
                }
            }
        }
        Ok(all)
    }

    /// Continues once the records of an [`Action::Append`] are in the log and replicated.
    pub fn appended(&mut self, id: WriteId, now: Instant) -> Vec<Action> {
        let Some(write) = self.writes.remove(&id) else { return Vec::new() };
        if let Purpose::End { token, marker } = write.purpose {
            self.ended(write.partition, id, &marker);
            return vec![Action::Reply(token, Reply::Marked(Ok(())))];
        }
        let Ok(group) = self.group_or_new(&write.group) else { return Vec::new() };
        let mut effects = Vec::new();
        match write.purpose {
            Purpose::Assign(generation) => group.complete(&generation, now, &mut effects),
            Purpose::Commit { token, offsets } => {
                for (at, committed) in offsets {
                    group.commit(at, committed, id);
                }
                effects.extend(token.map(|token| Effect::Reply(token, Reply::Commit(Ok(())))));
            }
            Purpose::Pend { token, .. } => effects.push(Effect::Reply(token, Reply::Commit(Ok(())))),
            Purpose::KeepEmpty | Purpose::End { .. } => {}
        }
        self.act(&write.group, effects)
    }

    /// Continues after the records of an [`Action::Append`] could not be appended, or may not be replicated.
    pub fn append_failed(&mut self, id: WriteId, error: &GroupError, now: Instant) -> Vec<Action> {
        let Some(write) = self.writes.remove(&id) else { return Vec::new() };
        let mut effects = Vec::new();
        match write.purpose {
            Purpose::Assign(generation) => {
                if let Ok(group) = self.member_group(&write.group) {
                    group.fail(generation.generation, error, now, &mut effects);
                }
            }
            Purpose::Commit { token, .. } => {
                effects.extend(token.map(|token| Effect::Reply(token, Reply::Commit(Err(error.clone())))));
            }
            Purpose::Pend { token, producer_id } => {
                self.pend_failed(&write.group, id, producer_id, error);
                effects.push(Effect::Reply(token, Reply::Commit(Err(error.clone()))));
            }
            Purpose::End { token, .. } => {
                return vec![Action::Reply(token, Reply::Marked(Err(error.clone())))];
            }
            Purpose::KeepEmpty => {}
        }
        self.act(&write.group, effects)
    }

    /// Does what time has made due: ends sessions and rebalances.
    pub fn tick(&mut self, now: Instant) -> Vec<Action> {
        let mut all = Vec::new();
        for hosted in self.hosted.values_mut() {
            let HostedGroups::Ready { groups } = hosted else { continue };
            for (id, group) in groups {
                let mut effects = Vec::new();
                group.tick(now, &mut effects);
                if !effects.is_empty() {
                    all.push((id.clone(), effects));
                }
            }
        }
        all.into_iter().flat_map(|(id, effects)| self.act(&id, effects)).collect()
    }

    /// When [`tick`](Self::tick) has something to do next.
    pub fn due(&self) -> Option<Instant> {
        let ready = self.hosted.values().filter_map(|hosted| match hosted {
            HostedGroups::Ready { groups } => Some(groups),
            HostedGroups::Loading { .. } => None,
        });
        ready.flat_map(BTreeMap::values).filter_map(Group::due).min()
    }

    fn act(&mut self, group_id: &str, effects: Vec<Effect>) -> Vec<Action> {
        let mut actions = Vec::new();
        for effect in effects {
            match effect {
                Effect::Reply(token, reply) => actions.push(Action::Reply(token, reply)),
                Effect::KeepEmpty(generation) => {
                    let record = group_record(group_id, &generation);
                    actions.push(self.append(group_id, vec![record], Purpose::KeepEmpty));
                }
                Effect::Departed(assignment) => {
                    let partitions = partitions_in(&assignment);
                    if self.options.departure == Departure::CommitsHighWatermarks && !partitions.is_empty() {
                        actions.push(Action::FindHighWatermarks { group: group_id.to_owned(), partitions });
                    }
                }
            }
        }
        actions
    }

    fn append(&mut self, group_id: &str, records: Vec<OwnRecord>, purpose: Purpose) -> Action {
        let write = self.next_write();
        self.append_as(write, group_id, Content::Records(records), purpose)
    }

    pub(super) fn next_write(&mut self) -> WriteId {
        self.writes_begun += 1;
        WriteId(self.writes_begun)
    }

    pub(super) fn append_as(
        &mut self,
        write: WriteId,
        group_id: &str,
        content: Content,
        purpose: Purpose,
    ) -> Action {
        let partition = partition_of(group_id, self.options.partitions);
        self.writes.insert(write, Write { partition, group: group_id.to_owned(), purpose });
        Action::Append { write, partition, content }
    }

    fn new_name(&mut self, client_id: &str) -> String {
        self.names_given += 1;
        format!("{client_id}-{}-{}", self.options.names, self.names_given)
    }

    fn groups_with(&self, group_id: &str) -> Result<&BTreeMap<String, Group>, GroupError> {
        match self.hosted.get(&partition_of(group_id, self.options.partitions)) {
            Some(HostedGroups::Ready { groups }) => Ok(groups),
            Some(HostedGroups::Loading { .. }) => Err(GroupError::Loading),
            None => Err(GroupError::NotCoordinator),
        }
    }

    fn groups_with_mut(&mut self, group_id: &str) -> Result<&mut BTreeMap<String, Group>, GroupError> {
        match self.hosted.get_mut(&partition_of(group_id, self.options.partitions)) {
            Some(HostedGroups::Ready { groups }) => Ok(groups),
            Some(HostedGroups::Loading { .. }) => Err(GroupError::Loading),
            None => Err(GroupError::NotCoordinator),
        }
    }

    pub(super) fn group_or_new(&mut self, group_id: &str) -> Result<&mut Group, GroupError> {
        if group_id.is_empty() {
            return Err(GroupError::InvalidGroup);
        }
        Ok(self.groups_with_mut(group_id)?.entry(group_id.to_owned()).or_insert_with(Group::new))
    }

    /// Returns the group of a client that claims to be a member.
    fn member_group(&mut self, group_id: &str) -> Result<&mut Group, GroupError> {
        self.groups_with_mut(group_id)?.get_mut(group_id).ok_or(GroupError::UnknownMember)
    }

    pub(super) fn forget_if_nothing(&mut self, group_id: &str) {
        if let Ok(groups) = self.groups_with_mut(group_id)
            && groups.get(group_id).is_some_and(Group::is_nothing)
        {
            groups.remove(group_id);
        }
    }
}
