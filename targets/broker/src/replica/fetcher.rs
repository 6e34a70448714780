//! Records from leaders: for each other broker, one fetch after the other for all partitions that it leads and this
//! broker follows.
//!
//! A fetch from an offset acknowledges that everything before it is durable here; the leader relies on that.

use std::time::{Duration, Instant};

use duress_consensus::peer::payload::{decode, encode};
use duress_consensus::peer::{CallError, Link};
use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::timeout;

use super::handle::PartitionHandle;
use super::manager::Replicas;
use crate::cluster::message::{PeerRequest, PeerResponse, ReplicaFetch, ReplicaPosition, ReplicaRecords};
use crate::cluster::{BrokerEpoch, BrokerId};

/// How long a leader may wait for records. Well below the silence after which a connection counts as lost.
const WAIT: Duration = Duration::from_millis(200);
const ANSWER_MAX: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(30);
const PARTITION_BYTES_MAX: usize = 1 << 20;
const BYTES_MAX: usize = 8 << 20;

/// One partition in a fetch: its copy, and the position fetched from.
type Asked = (PartitionHandle, ReplicaPosition);

/// Follows one other broker until dropped.
pub async fn follow(
    leader: BrokerId,
    link: Link,
    replicas: Replicas,
    mut incarnation: watch::Receiver<Option<BrokerEpoch>>,
) {
    let mut roles = replicas.roles();
    loop {
        roles.mark_unchanged();
        let epoch = *incarnation.borrow_and_update();
        let asked = replicas.followed(leader);
        let (Some(epoch), false) = (epoch, asked.is_empty()) else {
            tokio::select! {
                changed = roles.changed() => if changed.is_err() { return },
                changed = incarnation.changed() => if changed.is_err() { return },
            }
            continue;
        };
        let answered = tokio::select! {
            answered = ask(&link, (replicas.me(), epoch), &asked) => answered,
            // The set of partitions has changed; the leader's answer to this fetch is of no use.
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
            // The leader does not know yet that it leads, or cannot be reached. Roles that change meanwhile are noticed when
            // the pause is over.
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
    let payload = encode(&PeerRequest::Fetch(fetch));
    let payload = link.call(payload, (Instant::now() + ANSWER_MAX).into()).await?;
    match decode(&payload) {
        Some(PeerResponse::Fetched(records)) if records.len() == asked.len() => Ok(records),
        _ => Err(CallError::Lost),
    }
}
