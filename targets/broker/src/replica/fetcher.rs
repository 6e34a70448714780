//! Records from leaders: for each other broker, one question after the other for all partitions that it leads and this
//! broker follows.
//!
//! A question for an offset says that everything before it is durable here; the leader counts on that.

use std::time::{Duration, Instant};

use duress_consensus::peer::payload::{decode, encode};
use duress_consensus::peer::{CallError, Link};
use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::timeout;

use super::handle::PartitionHandle;
use super::manager::Replicas;
use crate::cluster::message::{
    Answer, Question, ReplicaFetch, ReplicaPosition, ReplicaRecords, Request, Response,
};
use crate::cluster::{BrokerEpoch, BrokerId};

/// How long a leader may wait for something to come. Well below the silence after which a connection is given up.
const WAIT: Duration = Duration::from_millis(200);
const ANSWER_MAX: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(30);
const PARTITION_BYTES_MAX: usize = 1 << 20;
const BYTES_MAX: usize = 8 << 20;

/// One partition in a question: whose copy, and what was asked for.
type Asked = (PartitionHandle, ReplicaPosition);

/// Follows one other broker until dropped.
pub async fn follow(
    leader: BrokerId,
    link: Link,
    replicas: Replicas,
    mut life: watch::Receiver<Option<BrokerEpoch>>,
) {
    let mut roles = replicas.roles();
    loop {
        roles.mark_unchanged();
        let epoch = *life.borrow_and_update();
        let asked = replicas.followed(leader);
        let (Some(epoch), false) = (epoch, asked.is_empty()) else {
            tokio::select! {
                changed = roles.changed() => if changed.is_err() { return },
                changed = life.changed() => if changed.is_err() { return },
            }
            continue;
        };
        let answered = tokio::select! {
            answered = ask(&link, (replicas.me(), epoch), &asked) => answered,
            // Another set of partitions is to be asked for; the leader's answer to this question is of no use.
            _ = roles.changed() => continue,
        };
        let pause = match answered {
            Ok(records) => {
                let refused = records.iter().any(|r| matches!(r, ReplicaRecords::NotLeader));
                let handed = asked.into_iter().zip(records).map(async |((copy, position), records)| {
                    copy.replicate(position.leader_epoch, position.offset, records).await;
                });
                join_all(handed).await;
                refused
            }
            Err(_) => true,
        };
        if pause {
            // The leader does not know yet that it leads, or cannot be reached. Whatever role changes meanwhile is
            // looked at when the pause is over.
            let _ = timeout(PAUSE, roles.changed()).await;
        }
    }
}

async fn ask(
    link: &Link,
    follower: (BrokerId, BrokerEpoch),
    asked: &[Asked],
) -> Result<Vec<ReplicaRecords>, CallError> {
    let bytes_max = PARTITION_BYTES_MAX.min(BYTES_MAX / asked.len()) as u32;
    let partitions = asked.iter().map(|(_, position)| ReplicaPosition { bytes_max, ..*position }).collect();
    let fetch = ReplicaFetch { follower, wait_ms: WAIT.as_millis() as u32, partitions };
    let payload = encode(&Request::Own(Question::Fetch(fetch)));
    let payload = link.call(payload, (Instant::now() + ANSWER_MAX).into()).await?;
    match decode(&payload) {
        Some(Response::Own(Answer::Fetched(records))) if records.len() == asked.len() => Ok(records),
        _ => Err(CallError::Lost),
    }
}
