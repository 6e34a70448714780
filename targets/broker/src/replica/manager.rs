//! This broker's copies and their roles, as the controllers agreed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::handle::{PartitionHandle, PartitionName, Role};
use super::leading::{CommitRule, IsrChangeOutcome, Shrinking};
use super::partition::{self, IsrRequest, Origin, PartitionFailure, Reports};
use super::rules::{AbortedList, Rules, Settled, Truncation, Visible};
use crate::bug::Bug;
use crate::cluster::message::ReplicaPosition;
use crate::cluster::state::{AlterPartition, Command, PartitionState, Reply, Topic};
use crate::cluster::{BrokerEpoch, BrokerId, ClusterState, Controller, ProposeError, TopicId};
use crate::config::{Config, Fsync};
use crate::log::{
    Cleanup, CompactionKeeps, Durability, FollowerProducers, FsyncPolicy, LogConfig, ProducersOnOpen,
    SequenceCheck, TornTail,
};
use crate::topic_settings::{CleanupPolicy, TopicSettings};

const WISH_MAX: Duration = Duration::from_millis(1_500);

/// The reason why there is no copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    /// The topic or partition does not exist, as far as this broker knows.
    #[error("there is no such topic or partition")]
    Unknown,
    /// This broker has no copy of it.
    #[error("this broker has no copy of that partition")]
    Elsewhere,
}

#[derive(Debug)]
struct HostedCopy {
    name: PartitionName,
    handle: PartitionHandle,
    thread: JoinHandle<()>,
    folder: PathBuf,
    /// The agreed state that it was last handed.
    handed: Option<PartitionState>,
}

/// The copies of this broker. Cheap to clone.
#[derive(Clone)]
pub struct Replicas {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    controller: Controller,
    // Every request reads, one task changes; the lock is held for a look-up and never across an await.
    hosted: RwLock<BTreeMap<(TopicId, u32), HostedCopy>>,
    reports: Reports,
}

/// The reports of the copies, for [`Replicas::run`].
pub struct Inbox {
    failures: mpsc::UnboundedReceiver<PartitionFailure>,
    isr_requests: mpsc::UnboundedReceiver<IsrRequest>,
}

impl Replicas {
    /// No copies yet, and the receiver of their reports.
    pub fn new(config: Config, controller: Controller) -> (Self, Inbox) {
        let (failures, failed) = mpsc::unbounded_channel();
        let (isr_requests, requested) = mpsc::unbounded_channel();
        let reports = Reports { failures, isr_requests, roles: watch::Sender::new(0) };
        let inner = Inner { config, controller, hosted: RwLock::default(), reports };
        (Self { inner: Arc::new(inner) }, Inbox { failures: failed, isr_requests: requested })
    }

    /// This broker.
    pub fn me(&self) -> BrokerId {
        self.inner.controller.id()
    }

    /// Counts changes of role of any copy.
    pub fn roles(&self) -> watch::Receiver<u64> {
        self.inner.reports.roles.subscribe()
    }

    fn look<T>(&self, look: impl FnOnce(&BTreeMap<(TopicId, u32), HostedCopy>) -> T) -> T {
        look(&self.inner.hosted.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change<T>(&self, change: impl FnOnce(&mut BTreeMap<(TopicId, u32), HostedCopy>) -> T) -> T {
        change(&mut self.inner.hosted.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the copy of a partition, if this broker has one.
    pub fn by_id(&self, topic: TopicId, partition: u32) -> Option<PartitionHandle> {
        self.look(|hosted| hosted.get(&(topic, partition)).map(|hosted| hosted.handle.clone()))
    }

    /// Returns the copy of a partition by the name of its topic.
    ///
    /// # Errors
    /// This broker has no copy, or the partition does not exist.
    pub fn by_name(&self, topic: &str, partition: i32) -> Result<PartitionHandle, FindError> {
        self.inner.controller.read(|state| self.by_name_in(state, topic, partition))
    }

    /// As [`by_name`](Self::by_name), for a caller that is reading the agreed state.
    ///
    /// # Errors
    /// This broker has no copy, or the partition does not exist.
    pub fn by_name_in(
        &self,
        state: &ClusterState,
        topic: &str,
        partition: i32,
    ) -> Result<PartitionHandle, FindError> {
        let number = u32::try_from(partition).map_err(|_| FindError::Unknown)?;
        let topic = state.topics.get(topic).ok_or(FindError::Unknown)?;
        if number as usize >= topic.partitions.len() {
            return Err(FindError::Unknown);
        }
        self.by_id(topic.id, number).ok_or(FindError::Elsewhere)
    }

    /// Returns every copy that follows a broker, and its position.
    pub fn followed(&self, leader: BrokerId) -> Vec<(PartitionHandle, ReplicaPosition)> {
        let position = |(topic, partition): (TopicId, u32), hosted: &HostedCopy| {
            let status = hosted.handle.status();
            match status.role {
                Role::Follower { leader: Some(followed), epoch } if followed == leader => {
                    let position = ReplicaPosition {
                        topic,
                        partition,
                        leader_epoch: epoch,
                        offset: status.log_end,
                        last_epoch: status.last_epoch,
                        bytes_max: 0,
                    };
                    Some((hosted.handle.clone(), position))
                }
                Role::Follower { .. } | Role::Leader { .. } => None,
            }
        };
        self.look(|hosted| hosted.iter().filter_map(|(key, hosted)| position(*key, hosted)).collect())
    }

    /// Returns every partition of a topic that this broker leads: its number, the topic's identity, the
    /// leader epoch, and the copy.
    pub fn led(&self, topic: &str) -> Vec<(i32, TopicId, i32, PartitionHandle)> {
        let led = |((id, number), hosted): (&(TopicId, u32), &HostedCopy)| match hosted.handle.status().role {
            Role::Leader { epoch, .. } if hosted.name.topic == topic => {
                Some((i32::try_from(*number).ok()?, *id, epoch, hosted.handle.clone()))
            }
            Role::Leader { .. } | Role::Follower { .. } => None,
        };
        self.look(|hosted| hosted.iter().filter_map(led).collect())
    }

    /// Maintains the copies as the controllers agreed, until one of them fails.
    pub async fn run(
        self,
        mut inbox: Inbox,
        mut incarnation: watch::Receiver<Option<BrokerEpoch>>,
    ) -> PartitionFailure {
        let mut changes = self.inner.controller.changes();
        loop {
            let epoch = *incarnation.borrow_and_update();
            changes.mark_unchanged();
            if let Some(epoch) = epoch
                && let Err(failure) = self.reconcile(epoch).await
            {
                return failure;
            }
            tokio::select! {
                Some(failure) = inbox.failures.recv() => return failure,
                Some(request) = inbox.isr_requests.recv() => {
                    if let Some(epoch) = epoch {
                        tokio::spawn(self.clone().request_isr(request, epoch));
                    }
                }
                Ok(()) = changes.changed() => {}
                Ok(()) = incarnation.changed() => {}
            }
        }
    }

    async fn reconcile(&self, incarnation: BrokerEpoch) -> Result<(), PartitionFailure> {
        let me = self.me();
        let (is_this_life, topics) = self.inner.controller.read(|state| {
            let registered = state.brokers.get(&me).is_some_and(|broker| broker.epoch == incarnation);
            (registered, state.topics.clone())
        });
        if !is_this_life {
            return Ok(());
        }
        for (name, topic) in &topics {
            for (number, partition) in (0u32..).zip(&topic.partitions) {
                if partition.replicas.contains(&me) {
                    self.host(name, topic, number).await?;
                    self.tell(topic.id, number, partition);
                }
            }
        }
        let gone = self.change(|hosted| {
            let ids: Vec<TopicId> = topics.values().map(|topic| topic.id).collect();
            let keys: Vec<_> = hosted.keys().filter(|(id, _)| !ids.contains(id)).copied().collect();
            keys.iter().filter_map(|key| hosted.remove(key)).collect::<Vec<_>>()
        });
        for hosted in gone {
            tracing::info!(partition = %hosted.name, "deleted");
            hosted.handle.stop();
            // It gets no requests any more; its files need not be gone before the next topic is made.
            tokio::task::spawn_blocking(move || {
                let ended = hosted.thread.join();
                if let Err(error) = std::fs::remove_dir_all(&hosted.folder) {
                    tracing::warn!(folder = %hosted.folder.display(), %error, ended = ended.is_ok(), "cannot delete a topic's files");
                }
            });
        }
        Ok(())
    }

    async fn host(&self, topic_name: &str, topic: &Topic, number: u32) -> Result<(), PartitionFailure> {
        if self.look(|hosted| hosted.contains_key(&(topic.id, number))) {
            return Ok(());
        }
        let name = PartitionName { topic: topic_name.into(), id: topic.id, number };
        let folder =
            self.inner.config.data.join("topics").join(format!("{topic_name}-{number}.{}", topic.id.0));
        let origin = Origin {
            me: self.me(),
            name: name.clone(),
            folder: folder.clone(),
            log: log_config(&self.inner.config, &topic.settings),
            rules: rules(&self.inner.config),
            min_insync: usize::from(topic.settings.min_insync),
            reports: self.inner.reports.clone(),
        };
        let failed = |reason: String| PartitionFailure { partition: name.clone(), reason };
        let started = tokio::task::spawn_blocking(move || partition::start(origin)).await;
        let (handle, thread) =
            started.map_err(|panic| failed(panic.to_string()))?.map_err(|error| failed(error.to_string()))?;
        let hosted = HostedCopy { name: name.clone(), handle, thread, folder, handed: None };
        self.change(|all| all.insert((topic.id, number), hosted));
        Ok(())
    }

    fn tell(&self, topic: TopicId, number: u32, partition: &PartitionState) {
        self.change(|hosted| {
            if let Some(hosted) = hosted.get_mut(&(topic, number))
                && hosted.handed.as_ref() != Some(partition)
            {
                hosted.handle.agreed(partition.clone());
                hosted.handed = Some(partition.clone());
            }
        });
    }

    /// Takes a leader's request for another in-sync set to the controllers, and hands it the outcome.
    async fn request_isr(self, request: IsrRequest, incarnation: BrokerEpoch) {
        let me = self.me();
        let IsrRequest { partition, leader_epoch, change } = request;
        let partition_epoch = change.partition_epoch;
        let isr: Vec<(BrokerId, BrokerEpoch)> =
            change.followers.into_iter().chain([(me, incarnation)]).collect();
        tracing::info!(%partition, leader_epoch, partition_epoch, isr = ?isr.iter().map(|(id, _)| id.0).collect::<Vec<_>>(), "requesting another in-sync set");
        let command = Command::AlterPartition(AlterPartition {
            leader: (me, incarnation),
            topic: partition.id,
            partition: partition.number,
            leader_epoch,
            partition_epoch,
            isr,
        });
        let reply = self.inner.controller.propose(command, Instant::now() + WISH_MAX).await;
        let outcome = match reply {
            Ok(Reply::Altered(agreed)) => IsrChangeOutcome::Granted(agreed),
            Ok(Reply::Refused(refusal)) => {
                tracing::debug!(%partition, %refusal, "the in-sync set stays");
                IsrChangeOutcome::Refused
            }
            Err(ProposeError::NotProposed) => IsrChangeOutcome::Refused,
            Ok(_) | Err(ProposeError::Unknown) => IsrChangeOutcome::Unknown,
        };
        if let Some(copy) = self.by_id(partition.id, partition.number) {
            copy.wish_came_to(leader_epoch, partition_epoch, outcome);
        }
    }

    /// Stops every copy and waits for their threads.
    pub async fn stop(&self) {
        let all: Vec<HostedCopy> = self.change(|hosted| std::mem::take(hosted).into_values().collect());
        all.iter().for_each(|hosted| hosted.handle.stop());
        let joined = tokio::task::spawn_blocking(move || {
            for hosted in all {
                if hosted.thread.join().is_err() {
                    tracing::error!(partition = %hosted.name, "the thread of the partition has panicked");
                }
            }
        });
        if let Err(error) = joined.await {
            tracing::error!(%error, "cannot wait for the partitions");
        }
    }
}

fn rules(config: &Config) -> Rules {
    Rules {
        lag_max: config.options.lag_max,
        cleanup_every: config.options.cleanup_every,
        shrinking: if config.has(Bug::IsrShrinkIgnored) { Shrinking::AtOnce } else { Shrinking::Agreed },
        commit: if config.has(Bug::HighWatermarkBeforeReplication) {
            CommitRule::LeaderAlone
        } else {
            CommitRule::InSyncSet
        },
        truncation: if config.has(Bug::TruncateToHighWatermark) {
            Truncation::ToHighWatermark
        } else {
            Truncation::ToEpochEnd
        },
        visible: if config.has(Bug::FetchBeyondHighWatermark) {
            Visible::ToLogEnd
        } else {
            Visible::ToHighWatermark
        },
        settled: if config.has(Bug::LastStableOffsetAhead) {
            Settled::AsOthers
        } else {
            Settled::ToLastStable
        },
        aborted: if config.has(Bug::AbortedDataRead) { AbortedList::Empty } else { AbortedList::Complete },
    }
}

fn log_config(config: &Config, settings: &TopicSettings) -> LogConfig {
    let has = |bug| config.has(bug);
    LogConfig {
        segment_bytes_max: settings.segment_bytes,
        segment_age_max: settings.segment_age,
        batch_bytes_max: settings.batch_bytes as usize,
        fsync: match config.options.fsync {
            Fsync::Always => FsyncPolicy::BeforeAck,
            Fsync::Every(interval) => FsyncPolicy::Every(interval),
            Fsync::Never => FsyncPolicy::Never,
        },
        cleanup: match settings.cleanup {
            CleanupPolicy::Delete => Cleanup::Delete,
            CleanupPolicy::Compact => Cleanup::Compact,
            CleanupPolicy::CompactAndDelete => Cleanup::CompactAndDelete,
        },
        retention_age: settings.retention,
        retention_bytes: settings.retention_bytes,
        delete_retention: settings.delete_retention,
        dirty_ratio_min: settings.dirty_ratio,
        torn_tail: if has(Bug::TornTailKept) { TornTail::Keep } else { TornTail::Cut },
        compaction_keeps: if has(Bug::CompactionDropsLatest) {
            CompactionKeeps::First
        } else {
            CompactionKeeps::Latest
        },
        durability: if has(Bug::FsyncSkipped) { Durability::Skipped } else { Durability::Fsync },
        sequence_check: if has(Bug::SequenceUnchecked) {
            SequenceCheck::Ignored
        } else {
            SequenceCheck::Checked
        },
        follower_producers: if has(Bug::SequenceLostOnFailover) {
            FollowerProducers::Ignored
        } else {
            FollowerProducers::Tracked
        },
        producers_on_open: if has(Bug::SequenceLostOnRestart) {
            ProducersOnOpen::Unknown
        } else {
            ProducersOnOpen::Rebuilt
        },
        ..LogConfig::default()
    }
}
