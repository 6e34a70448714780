//! The ends of transactions, written to the partitions that they are about, wherever those are led.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::time::timeout;

use super::groups::Groups;
use crate::cluster::message::{PeerRequest, PeerResponse};
use crate::cluster::{Controller, TopicId};
use crate::group::{OFFSETS_TOPIC, Reply, TopicPartition};
use crate::log::Marker;
use crate::replica::Replicas;

/// How long a partition may take to have a marker; then the coordinator sends it again.
const MARK_MAX: Duration = Duration::from_millis(1_500);

/// Whether a partition has a marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marked {
    /// It has, or it does not exist any more.
    Yes,
    /// That is not certain.
    Perhaps,
}

impl From<bool> for Marked {
    fn from(marked: bool) -> Self {
        if marked { Self::Yes } else { Self::Perhaps }
    }
}

/// Writes markers. Cheap to clone.
#[derive(Clone)]
pub struct Markers {
    controller: Controller,
    replicas: Replicas,
    groups: Groups,
}

impl Markers {
    /// Returns a writer of markers on this broker.
    pub fn new(controller: Controller, replicas: Replicas, groups: Groups) -> Self {
        Self { controller, replicas, groups }
    }

    /// Tries once to write a marker to each partition; returns those that may not have it.
    pub async fn write(&self, partitions: Vec<TopicPartition>, marker: Marker) -> Vec<TopicPartition> {
        let written = partitions.iter().map(|at| self.write_one(at, marker));
        let results = join_all(written).await;
        let left = partitions.into_iter().zip(results).filter(|(_, marked)| *marked == Marked::Perhaps);
        left.map(|(at, _)| at).collect()
    }

    async fn write_one(&self, at: &TopicPartition, marker: Marker) -> Marked {
        let leader = self.controller.read(|state| {
            let topic = state.topics.get(&at.topic)?;
            let partition = topic.partitions.get(usize::try_from(at.partition).ok()?)?;
            Some((topic.id, partition.leader))
        });
        let Some((topic, leader)) = leader else { return Marked::Yes };
        let Some(leader) = leader else { return Marked::Perhaps };
        if leader == self.controller.id() {
            return self.write_here(topic, at.partition, marker).await;
        }
        let ask = PeerRequest::Mark { topic, partition: at.partition, marker };
        match self.controller.ask(leader, ask, Instant::now() + MARK_MAX).await {
            Ok(PeerResponse::Marked(marked)) => marked.into(),
            Ok(_) | Err(_) => Marked::Perhaps,
        }
    }

    /// Writes a marker to a partition that this broker leads, and waits until it is replicated.
    pub async fn write_here(&self, topic: TopicId, partition: i32, marker: Marker) -> Marked {
        let is_offsets = self
            .controller
            .read(|state| state.topics.get(OFFSETS_TOPIC).is_some_and(|offsets| offsets.id == topic));
        let written = async {
            if is_offsets {
                // The group coordinator must learn in what order markers and offsets are.
                let end = self
                    .groups
                    .call(move |groups, token, _| groups.end_transaction(partition, marker, token));
                return matches!(end.await, Ok(Reply::Marked(Ok(()))));
            }
            let copy = u32::try_from(partition).ok().and_then(|number| self.replicas.by_id(topic, number));
            match copy.map(|copy| copy.begin_mark(marker)) {
                Some(Ok(answer)) => answer.await.is_ok(),
                Some(Err(_)) | None => false,
            }
        };
        timeout(MARK_MAX, written).await.unwrap_or(false).into()
    }
}
