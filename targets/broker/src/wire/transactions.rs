//! Producer ids, and transactions.

use std::time::{Duration, Instant};

use kafka_protocol::ResponseError;
use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse,
    EndTxnRequest, EndTxnResponse, InitProducerIdRequest, InitProducerIdResponse, ProducerId,
};

use crate::broker::{Broker, CHANGE_MAX};
use crate::coordination::Stopped;
use crate::group::{OFFSETS_TOPIC, TopicPartition, partition_of};
use crate::internal::Token;
use crate::log::{NO_PRODUCER, Outcome};
use crate::transaction::{Action, Coordinator, Reply, TransactionError};

/// The first version of AddPartitionsToTxn, AddOffsetsToTxn and EndTxn whose clients know that a producer may be fenced.
const KNOWS_FENCED: i16 = 2;
/// The first such version of InitProducerId.
const INIT_KNOWS_FENCED: i16 = 4;

/// Returns the error code of a refusal for a client that knows of fenced producers from version `knows` on.
fn code(error: TransactionError, version: i16, knows: i16) -> i16 {
    match error {
        TransactionError::Fenced if version < knows => ResponseError::InvalidProducerEpoch.code(),
        error => error.code().code(),
    }
}

/// Answers InitProducerId.
pub async fn init(broker: &Broker, request: &InitProducerIdRequest, version: i16) -> InitProducerIdResponse {
    let refused = |code: i16| {
        InitProducerIdResponse::default()
            .with_error_code(code)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1)
    };
    let fresh_id = match broker.next_producer_id(Instant::now() + CHANGE_MAX).await {
        Ok(id) => id,
        Err(error) => {
            tracing::info!(%error, "no producer id could be allocated");
            return refused(ResponseError::CoordinatorNotAvailable.code());
        }
    };
    let Some(id) = request.transactional_id.as_ref().map(|id| id.0.to_string()) else {
        return InitProducerIdResponse::default()
            .with_producer_id(ProducerId(fresh_id))
            .with_producer_epoch(0);
    };
    let timeout = Duration::from_millis(request.transaction_timeout_ms.max(0) as u64);
    let expected =
        (request.producer_id.0 != NO_PRODUCER).then_some((request.producer_id.0, request.producer_epoch));
    let reply = broker
        .transactions()
        .call(move |machine, token, _| machine.coordinator.begin(&id, timeout, expected, fresh_id, token))
        .await;
    match reply {
        Ok(Reply::Begun(Ok((id, epoch)))) => {
            InitProducerIdResponse::default().with_producer_id(ProducerId(id)).with_producer_epoch(epoch)
        }
        Ok(Reply::Begun(Err(error))) => refused(code(error, version, INIT_KNOWS_FENCED)),
        Ok(Reply::Done(_)) => refused(ResponseError::UnknownServerError.code()),
        Err(stopped) => refused(TransactionError::from(stopped).code().code()),
    }
}

/// Runs an operation of the coordinator of the transactional id `id`; returns its error code.
async fn call(
    broker: &Broker,
    id: &str,
    version: i16,
    call: impl FnOnce(&mut Coordinator, Token) -> Vec<Action> + Send + 'static,
) -> i16 {
    let number = partition_of(id, i32::from(broker.config().options.offsets_partitions));
    let transactions = broker.transactions();
    let Ok(led) = transactions.look(move |_, led| led.get(&number).copied()).await else {
        return TransactionError::from(Stopped).code().code();
    };
    match transactions.call(move |machine, token, _| call(&mut machine.coordinator, token)).await {
        // It may have been answered from memory, which another coordinator's is ahead of.
        Ok(Reply::Done(Ok(()))) if !broker.certainly_leads(number, led) => {
            TransactionError::NotCoordinator.code().code()
        }
        Ok(Reply::Done(Ok(()))) => 0,
        Ok(Reply::Done(Err(error))) => code(error, version, KNOWS_FENCED),
        Ok(Reply::Begun(_)) => ResponseError::UnknownServerError.code(),
        Err(stopped) => TransactionError::from(stopped).code().code(),
    }
}

/// Answers AddPartitionsToTxn.
pub async fn add_partitions(
    broker: &Broker,
    request: AddPartitionsToTxnRequest,
    version: i16,
) -> AddPartitionsToTxnResponse {
    let id = request.v3_and_below_transactional_id.0.to_string();
    let producer = (request.v3_and_below_producer_id.0, request.v3_and_below_producer_epoch);
    let topics = request.v3_and_below_topics;
    let partitions: Vec<TopicPartition> = topics
        .iter()
        .flat_map(|topic| {
            let at =
                |partition: &i32| TopicPartition { topic: topic.name.to_string(), partition: *partition };
            topic.partitions.iter().map(at)
        })
        .collect();
    let exists = broker.controller().read(|state| {
        partitions.iter().all(|at| {
            let number = usize::try_from(at.partition).unwrap_or(usize::MAX);
            state.topics.get(&at.topic).is_some_and(|topic| number < topic.partitions.len())
        })
    });
    let error = match exists {
        true => {
            call(broker, &id.clone(), version, move |all, token| all.add(&id, producer, partitions, token))
                .await
        }
        false => ResponseError::UnknownTopicOrPartition.code(),
    };
    let results = topics.into_iter().map(|topic| {
        let results = topic.partitions.iter().map(|partition| {
            AddPartitionsToTxnPartitionResult::default()
                .with_partition_index(*partition)
                .with_partition_error_code(error)
        });
        AddPartitionsToTxnTopicResult::default()
            .with_name(topic.name.clone())
            .with_results_by_partition(results.collect())
    });
    AddPartitionsToTxnResponse::default().with_results_by_topic_v3_and_below(results.collect())
}

/// Answers AddOffsetsToTxn: the partition of the group is part of the transaction from now on.
pub async fn add_offsets(
    broker: &Broker,
    request: AddOffsetsToTxnRequest,
    version: i16,
) -> AddOffsetsToTxnResponse {
    let partition = partition_of(&request.group_id, i32::from(broker.config().options.offsets_partitions));
    let at = TopicPartition { topic: OFFSETS_TOPIC.to_owned(), partition };
    let id = request.transactional_id.0.to_string();
    let producer = (request.producer_id.0, request.producer_epoch);
    let error =
        call(broker, &id.clone(), version, move |all, token| all.add(&id, producer, vec![at], token)).await;
    AddOffsetsToTxnResponse::default().with_error_code(error)
}

/// Answers EndTxn.
pub async fn end(broker: &Broker, request: EndTxnRequest, version: i16) -> EndTxnResponse {
    let id = request.transactional_id.0.to_string();
    let producer = (request.producer_id.0, request.producer_epoch);
    let outcome = if request.committed { Outcome::Commit } else { Outcome::Abort };
    let error =
        call(broker, &id.clone(), version, move |all, token| all.end(&id, producer, outcome, token)).await;
    EndTxnResponse::default().with_error_code(error)
}
