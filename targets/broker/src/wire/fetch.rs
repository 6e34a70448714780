//! Records for consumers, with long poll.

use std::time::{Duration, Instant};

use futures_util::future::select_all;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_request::FetchPartition;
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::{BrokerId as WireBroker, FetchRequest, FetchResponse, TopicName};
use tokio::sync::watch;
use tokio::time::timeout_at;

use super::produce::not_here;
use crate::broker::Broker;
use crate::replica::Status;
use crate::replica::handle::Records;

const WAIT_MAX: Duration = Duration::from_secs(30);
/// The most that one request reads, whatever the client asks for.
const BYTES_MAX: usize = 32 << 20;

/// Answers Fetch.
///
/// There are no fetch sessions: every answer has session 0, and clients then send every request in full.
pub async fn fetch(broker: &Broker, request: FetchRequest) -> FetchResponse {
    if request.session_id != 0 {
        return FetchResponse::default().with_error_code(ResponseError::FetchSessionIdNotFound.code());
    }
    let wait = Duration::from_millis(request.max_wait_ms.max(0) as u64).min(WAIT_MAX);
    let deadline = Instant::now() + wait;
    loop {
        let mut round = Round {
            broker,
            read_committed: request.isolation_level == 1,
            reads: if request.replica_id == DEBUGGER { Reads::Copy } else { Reads::Committed },
            left: usize::try_from(request.max_bytes).unwrap_or(0).min(BYTES_MAX),
            got: 0,
            failed: false,
            changes: Vec::new(),
        };
        let mut responses = Vec::new();
        for topic in &request.topics {
            let mut partitions = Vec::new();
            for partition in &topic.partitions {
                partitions.push(round.read(&topic.topic, partition).await);
            }
            responses.push(
                FetchableTopicResponse::default().with_topic(topic.topic.clone()).with_partitions(partitions),
            );
        }
        let enough = round.got >= usize::try_from(request.min_bytes).unwrap_or(0);
        let Round { failed, mut changes, .. } = round;
        let answer = FetchResponse::default().with_responses(responses);
        if enough || failed || changes.is_empty() || Instant::now() >= deadline {
            return answer;
        }
        let change = select_all(changes.iter_mut().map(|change| Box::pin(change.changed())));
        if timeout_at(deadline.into(), change).await.is_err() {
            return answer;
        }
    }
}

/// The replica that a client says to be which verifies copies, as Kafka's own tool does.
const DEBUGGER: WireBroker = WireBroker(-2);

/// What is read.
#[derive(Clone, Copy)]
enum Reads {
    /// What is committed, at the leader.
    Committed,
    /// All that this broker's copy has. The high watermark is then the end of its log.
    Copy,
}

/// One read of all partitions.
struct Round<'a> {
    broker: &'a Broker,
    read_committed: bool,
    reads: Reads,
    left: usize,
    got: usize,
    failed: bool,
    changes: Vec<watch::Receiver<Status>>,
}

impl Round<'_> {
    async fn read(&mut self, topic: &TopicName, partition: &FetchPartition) -> PartitionData {
        let answer = PartitionData::default()
            .with_partition_index(partition.partition)
            .with_preferred_read_replica(WireBroker(-1))
            .with_aborted_transactions(self.read_committed.then(Vec::new));
        match self.try_read(topic, partition).await {
            Ok(records) => {
                self.left = self.left.saturating_sub(records.batches.len());
                self.got += records.batches.len();
                answer
                    .with_high_watermark(records.high_watermark)
                    .with_last_stable_offset(records.high_watermark)
                    .with_log_start_offset(records.log_start)
                    .with_records(Some(records.batches))
            }
            Err(error) => {
                self.failed = true;
                answer
                    .with_error_code(error.code())
                    .with_high_watermark(-1)
                    .with_last_stable_offset(-1)
                    .with_log_start_offset(-1)
                    .with_records(Some(bytes::Bytes::new()))
            }
        }
    }

    async fn try_read(
        &mut self,
        topic: &TopicName,
        partition: &FetchPartition,
    ) -> Result<Records, ResponseError> {
        let copy = self.broker.replicas().by_name(topic, partition.partition).map_err(not_here)?;
        // Subscribed before the copy is asked, so that no change is missed.
        self.changes.push(copy.changes());
        let epoch = (partition.current_leader_epoch >= 0).then_some(partition.current_leader_epoch);
        // Once the answer is full, the others are only asked for their offsets.
        let full = self.got > 0 && self.left == 0;
        let bytes_max = usize::try_from(partition.partition_max_bytes).unwrap_or(0).min(self.left);
        let records = match self.reads {
            Reads::Committed => copy.read(partition.fetch_offset, bytes_max, epoch).await,
            Reads::Copy => copy.read_copy(partition.fetch_offset, bytes_max).await,
        };
        let mut records = records.map_err(|fault| fault.code())?;
        if full {
            records.batches.clear();
        }
        Ok(records)
    }
}
