//! Records for consumers, with long poll.

use std::time::{Duration, Instant};

use futures_util::future::select_all;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_request::FetchPartition;
use kafka_protocol::messages::fetch_response::{AbortedTransaction, FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::{BrokerId as WireBroker, FetchRequest, FetchResponse, ProducerId, TopicName};
use tokio::sync::watch;
use tokio::time::timeout_at;

use super::produce::not_here;
use crate::broker::Broker;
use crate::replica::handle::Records;
use crate::replica::{Isolation, Status};

const WAIT_MAX: Duration = Duration::from_secs(30);
/// The most that one request reads, whatever the client requests.
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
            isolation: isolation(request.isolation_level),
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

/// The isolation level of a client that reads what committed transactions wrote.
const READ_COMMITTED: i8 = 1;
/// The replica that a client says to be which verifies copies, as Kafka's own tool does.
const DEBUGGER: WireBroker = WireBroker(-2);

/// Returns which records a client asks for by its isolation level.
pub fn isolation(level: i8) -> Isolation {
    if level == READ_COMMITTED { Isolation::Committed } else { Isolation::Uncommitted }
}

/// The records that are read.
#[derive(Clone, Copy)]
enum Reads {
    /// Committed records, at the leader.
    Committed,
    /// All that this broker's copy has. The high watermark is then the end of its log.
    Copy,
}

/// One read of all partitions.
struct Round<'a> {
    broker: &'a Broker,
    isolation: Isolation,
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
            .with_aborted_transactions((self.isolation == Isolation::Committed).then(Vec::new));
        match self.try_read(topic, partition).await {
            Ok(records) => {
                self.left = self.left.saturating_sub(records.batches.len());
                self.got += records.batches.len();
                let aborted = records.aborted.iter().map(|aborted| {
                    AbortedTransaction::default()
                        .with_producer_id(ProducerId(aborted.producer_id))
                        .with_first_offset(aborted.first_offset)
                });
                let aborted = (self.isolation == Isolation::Committed).then(|| aborted.collect());
                answer
                    .with_aborted_transactions(aborted)
                    .with_high_watermark(records.high_watermark)
                    .with_last_stable_offset(records.last_stable)
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
        // Subscribed before the copy is read, so that no change is missed.
        self.changes.push(copy.changes());
        let epoch = (partition.current_leader_epoch >= 0).then_some(partition.current_leader_epoch);
        // Once the answer is full, only the offsets of the others are read.
        let full = self.got > 0 && self.left == 0;
        let bytes_max = usize::try_from(partition.partition_max_bytes).unwrap_or(0).min(self.left);
        let records = match self.reads {
            Reads::Committed => copy.read(partition.fetch_offset, bytes_max, self.isolation, epoch).await,
            Reads::Copy => copy.read_copy(partition.fetch_offset, bytes_max).await,
        };
        let mut records = records.map_err(|fault| fault.code())?;
        if full {
            records.batches.clear();
            records.aborted.clear();
        }
        Ok(records)
    }
}
