//! Offsets that a transaction commits: they count once its marker is in the log.
//!
//! Until then they are *pending*: a member that takes a partition over asks for stable offsets, and waits until the
//! transaction of its predecessor has ended. Source: Kafka improvement proposals 98 and 447.

use std::collections::BTreeMap;
use std::time::Instant;

use super::coordinator::{Action, Coordinator, HostedGroups, Load, Purpose, Reply, Token, Write};
use super::error::GroupError;
use super::membership::Group;
use super::record::{Committed, TopicPartition, offset_record};
use crate::internal::{Content, WriteId};
use crate::log::{Marker, Outcome};

/// When offsets count that are committed in a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionalOffsets {
    /// When the transaction is committed.
    WithTransaction,
    /// Defect: at once.
    AtOnce,
}

/// Whether offsets are wanted that an open transaction may replace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stability {
    /// No: the caller is refused and asks again.
    Required,
    /// Yes.
    Any,
}

/// An offset that counts once its transaction is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) write: WriteId,
    pub(super) at: TopicPartition,
    pub(super) committed: Committed,
}

impl Group {
    /// Ends the transaction of a producer, as far as it began before `marker` was written.
    fn end_transaction(&mut self, producer_id: i64, outcome: Outcome, marker: WriteId) {
        let Some(pending) = self.pending.remove(&producer_id) else { return };
        let (ended, later): (Vec<_>, Vec<_>) = pending.into_iter().partition(|one| one.write < marker);
        if outcome == Outcome::Commit {
            for Pending { write, at, committed } in ended {
                self.commit(at, committed, write);
            }
        }
        if !later.is_empty() {
            self.pending.insert(producer_id, later);
        }
    }

    /// Takes a committed offset, unless one that was written later is known.
    pub(super) fn commit(&mut self, at: TopicPartition, committed: Committed, write: WriteId) {
        if self.offsets.get(&at).is_none_or(|(_, by)| *by <= write.0) {
            self.offsets.insert(at, (committed, write.0));
        }
    }

    /// Whether an open transaction may replace the offset of a partition.
    pub(super) fn is_unstable(&self, at: &TopicPartition) -> bool {
        self.pending.values().flatten().any(|pending| pending.at == *at)
    }
}

impl Coordinator {
    /// TxnOffsetCommit, by a member or, where `generation` is negative and `member_id` empty, by a client that the group
    /// does not know.
    #[expect(clippy::too_many_arguments, reason = "the request has as many parts")]
    pub fn commit_in_transaction(
        &mut self,
        group_id: &str,
        member_id: &str,
        generation: i32,
        (producer_id, epoch): (i64, i16),
        offsets: Vec<(TopicPartition, Committed)>,
        token: Token,
        now: Instant,
    ) -> Vec<Action> {
        if self.options.transactional_offsets == TransactionalOffsets::AtOnce {
            return self.commit(group_id, member_id, generation, offsets, token, now);
        }
        let is_member = !member_id.is_empty() || generation >= 0;
        let write = self.next_write();
        let checked = self.group_or_new(group_id).and_then(|group| {
            if is_member {
                group.check_commit(member_id, generation, now)?;
            }
            // Before they are appended: from now on they may be.
            let one = |(at, committed): &(TopicPartition, Committed)| Pending {
                write,
                at: at.clone(),
                committed: committed.clone(),
            };
            if !offsets.is_empty() {
                group.pending.entry(producer_id).or_default().extend(offsets.iter().map(one));
            }
            Ok(())
        });
        self.forget_if_nothing(group_id);
        if checked.is_err() || offsets.is_empty() {
            return vec![Action::Reply(token, Reply::Commit(checked))];
        }
        let records = offsets.iter().map(|(at, committed)| offset_record(group_id, at, committed)).collect();
        let content = Content::Transactional(records, (producer_id, epoch));
        vec![self.append_as(write, group_id, content, Purpose::Pend { token, producer_id })]
    }

    /// A write of pending offsets has failed.
    pub(super) fn pend_failed(&mut self, group_id: &str, id: WriteId, producer_id: i64, error: &GroupError) {
        // Otherwise they may be in the log nevertheless, and end with their transaction.
        if *error == GroupError::Fenced
            && let Ok(group) = self.group_or_new(group_id)
            && let Some(pending) = group.pending.get_mut(&producer_id)
        {
            pending.retain(|one| one.write != id);
            if pending.is_empty() {
                group.pending.remove(&producer_id);
            }
        }
    }

    /// Ends a transaction in a partition of the internal topic, for the transaction's coordinator.
    pub fn end_transaction(&mut self, partition: i32, marker: Marker, token: Token) -> Vec<Action> {
        let refused = match self.hosted.get(&partition) {
            Some(HostedGroups::Ready { .. }) => None,
            Some(HostedGroups::Loading { .. }) => Some(GroupError::Loading),
            None => Some(GroupError::NotCoordinator),
        };
        if let Some(error) = refused {
            return vec![Action::Reply(token, Reply::Marked(Err(error)))];
        }
        let write = self.next_write();
        let purpose = Purpose::End { token, marker };
        self.writes.insert(write, Write { partition, group: String::new(), purpose });
        vec![Action::Append { write, partition, content: Content::Marker(marker) }]
    }

    /// The marker that was written as `id` is in the log.
    pub(super) fn ended(&mut self, partition: i32, id: WriteId, marker: &Marker) {
        // A marker that was sent again must not end a later transaction of the same producer.
        let last = self.ended.entry((partition, marker.producer_id)).or_default();
        if *last >= marker.number {
            return;
        }
        *last = marker.number;
        if let Some(HostedGroups::Ready { groups }) = self.hosted.get_mut(&partition) {
            for group in groups.values_mut() {
                group.end_transaction(marker.producer_id, marker.outcome, id);
            }
            groups.retain(|_, group| !group.is_nothing());
        }
    }
}

impl Load {
    /// Applies an offset that a transaction of `producer_id` commits, at `offset` of the log.
    pub(super) fn pend(
        &mut self,
        group: String,
        producer_id: i64,
        at: TopicPartition,
        committed: Committed,
        offset: i64,
    ) {
        let pending = Pending { write: WriteId(offset.unsigned_abs()), at, committed };
        let group = self.groups.entry(group).or_insert_with(Group::new);
        group.pending.entry(producer_id).or_default().push(pending);
    }

    /// Applies a marker at `offset` of the log.
    pub fn replay_marker(&mut self, marker: &Marker, offset: i64) {
        self.ended.insert(marker.producer_id, marker.number);
        for group in self.groups.values_mut() {
            group.end_transaction(marker.producer_id, marker.outcome, WriteId(offset.unsigned_abs()));
        }
    }
}

/// Makes everything that was loaded older than what is written from now on: its numbers are offsets of the log.
pub(super) fn settle_loaded(groups: &mut BTreeMap<String, Group>) {
    for group in groups.values_mut() {
        group.offsets.values_mut().for_each(|(_, by)| *by = 0);
        group.pending.values_mut().flatten().for_each(|pending| pending.write = WriteId(0));
    }
}
