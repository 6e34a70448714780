//! The group coordinator.

use std::time::{Duration, Instant};

use super::{Context, Coordination, Machine, Service, Step, Stopped};
use crate::bug::Bug;
use crate::config::Config;
use crate::group::{
    Action, CommitFence, Coordinator, Departure, GroupError, GroupOptions, Load, OFFSETS_TOPIC,
    OffsetsOnLoad, Reply, TopicPartition, TransactionalOffsets,
};
use crate::internal::WriteId;
use crate::log::{AppendError, BatchHeader, Marker, SequenceFault, records};
use crate::replica::{PartitionError, Replicas};

/// A handle on the group coordinator. Cheap to clone.
pub type Groups = Service<Coordinator>;

impl From<Stopped> for GroupError {
    fn from(_: Stopped) -> Self {
        Self::NotCoordinator
    }
}

/// Returns the task of the group coordinator, and its handle. `names` distinguishes this start of this broker from all
/// others.
pub fn coordination(
    config: &Config,
    replicas: Replicas,
    names: String,
) -> (Groups, Coordination<Coordinator>) {
    let options = GroupOptions {
        partitions: i32::from(config.options.offsets_partitions),
        session_timeout_min: Duration::from_millis(500),
        session_timeout_max: Duration::from_secs(30 * 60),
        initial_delay: config.options.rebalance_delay,
        names,
        departure: if config.has(Bug::OffsetCommittedBeforeDelivery) {
            Departure::CommitsHighWatermarks
        } else {
            Departure::LeavesOffsets
        },
        offsets_on_load: if config.has(Bug::OffsetCommitLostOnMove) {
            OffsetsOnLoad::Forgotten
        } else {
            OffsetsOnLoad::Replayed
        },
        commit_fence: if config.has(Bug::CommitOfAnyGeneration) {
            CommitFence::None
        } else {
            CommitFence::Generation
        },
        transactional_offsets: if config.has(Bug::OffsetsOutsideTransaction) {
            TransactionalOffsets::AtOnce
        } else {
            TransactionalOffsets::WithTransaction
        },
    };
    Coordination::new(Coordinator::new(options), replicas)
}

impl Machine for Coordinator {
    const TOPIC: &'static str = OFFSETS_TOPIC;
    type Reply = Reply;
    type Action = Action;
    type Load = Load;

    fn begin_load(&mut self, partition: i32) -> Load {
        Self::begin_load(self, partition)
    }

    fn replay(
        load: &mut Load,
        header: &BatchHeader,
        batch: &[u8],
        marker: Option<Marker>,
        now: Instant,
    ) -> Result<(), String> {
        if let Some(marker) = marker {
            load.replay_marker(&marker, header.base_offset);
            return Ok(());
        }
        let transaction = header.is_transactional().then_some(header.producer_id);
        let mut result = Ok(());
        for record in records(header, batch) {
            let replayed = record.map_err(|error| error.to_string()).and_then(|record| {
                let offset = header.base_offset + i64::from(record.offset_delta);
                let key = record.key.unwrap_or_default();
                let replayed = load.replay(key, record.value, offset, transaction, now);
                replayed.map_err(|error| error.to_string())
            });
            result = result.and(replayed);
        }
        result
    }

    fn finish_load(&mut self, load: Load, now: Instant) -> Vec<Action> {
        Self::finish_load(self, load, now);
        Vec::new()
    }

    fn unload(&mut self, partition: i32) -> Vec<Action> {
        Self::unload(self, partition)
    }

    fn appended(&mut self, write: WriteId, result: Result<(), PartitionError>, now: Instant) -> Vec<Action> {
        match result {
            Ok(()) => Self::appended(self, write, now),
            Err(fault) => self.append_failed(write, &refusal(&fault), now),
        }
    }

    fn tick(&mut self, now: Instant) -> Vec<Action> {
        Self::tick(self, now)
    }

    fn due(&self) -> Option<Instant> {
        Self::due(self)
    }

    fn carry_out(&mut self, action: Action, context: &Context<'_, Self>) -> Step<Self> {
        match action {
            Action::Reply(token, reply) => Step::Reply(token, reply),
            Action::Append { write, partition, content } => Step::Append(write, partition, content),
            Action::FindHighWatermarks { group, partitions } => {
                let ends = high_watermarks(context.replicas, partitions);
                Step::Next(self.commit_departed(&group, ends))
            }
        }
    }
}

fn refusal(fault: &PartitionError) -> GroupError {
    match fault {
        PartitionError::NotLeader => GroupError::NotCoordinator,
        PartitionError::Append(AppendError::Sequence(SequenceFault::Fenced { .. })) => GroupError::Fenced,
        _ => GroupError::NotReplicated,
    }
}

/// Returns the high watermarks of the partitions that this broker has a copy of, as it knows them.
fn high_watermarks(replicas: &Replicas, partitions: Vec<TopicPartition>) -> Vec<(TopicPartition, i64)> {
    let end = |at: TopicPartition| {
        let copy = replicas.by_name(&at.topic, at.partition).ok()?;
        Some((at, copy.status().high_watermark))
    };
    partitions.into_iter().filter_map(end).collect()
}
