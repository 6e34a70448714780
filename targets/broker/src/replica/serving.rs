//! Records for followers.

use std::time::{Duration, Instant};

use futures_util::future::{join_all, select_all};
use tokio::time::{timeout, timeout_at};

use super::handle::PartitionHandle;
use super::manager::Replicas;
use crate::cluster::message::{ReplicaFetch, ReplicaRecords};

/// How long a copy may take to answer. A peer that waits longer closes its connection, and one slow disk should not hold
/// up the records of all other partitions.
const ANSWER_MAX: Duration = Duration::from_millis(250);

/// Answers a follower; waits for records as long as it allows.
pub async fn serve(replicas: &Replicas, fetch: ReplicaFetch) -> Vec<ReplicaRecords> {
    let deadline = Instant::now() + Duration::from_millis(u64::from(fetch.wait_ms)).min(ANSWER_MAX);
    let copies: Vec<Option<PartitionHandle>> =
        fetch.partitions.iter().map(|position| replicas.by_id(position.topic, position.partition)).collect();
    loop {
        // Subscribed before the copies are asked, so that no change is missed.
        let mut changes: Vec<_> = copies.iter().flatten().map(PartitionHandle::changes).collect();
        let answers = copies.iter().zip(&fetch.partitions).map(async |(copy, position)| {
            let Some(copy) = copy else { return ReplicaRecords::NotLeader };
            match timeout(ANSWER_MAX, copy.read_for_follower(fetch.follower, *position)).await {
                Ok(Ok(records)) => records,
                Ok(Err(fault)) => {
                    tracing::debug!(error = %fault, "cannot serve a follower");
                    ReplicaRecords::NotLeader
                }
                Err(_) => ReplicaRecords::Busy,
            }
        });
        let answers = join_all(answers).await;
        if answers.iter().any(is_news) || changes.is_empty() || Instant::now() >= deadline {
            return answers;
        }
        let change = select_all(changes.iter_mut().map(|change| Box::pin(change.changed())));
        if timeout_at(deadline.into(), change).await.is_err() {
            return answers;
        }
    }
}

fn is_news(records: &ReplicaRecords) -> bool {
    !matches!(records, ReplicaRecords::Records { batches, .. } if batches.is_empty())
}
