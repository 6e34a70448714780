//! Creating and deleting topics.

use std::time::{Duration, Instant};

use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{
    CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::describe::{SOURCE_DEFAULT, SOURCE_TOPIC};
use super::names::{is_internal, is_valid_topic};
use crate::broker::{Broker, CHANGE_MAX, ChangeError};
use crate::cluster::state::{Assignment, Refusal};
use crate::cluster::{BrokerId, ProposeError};
use crate::topic_settings::TopicSettings;

const PARTITIONS_MAX: u32 = 1_000;
const WAIT_MAX: Duration = Duration::from_secs(60);

/// An error code and its message.
type Refused = (ResponseError, String);

fn code(error: ChangeError) -> ResponseError {
    match error {
        ChangeError::Refused(refusal) => match refusal {
            Refusal::TopicExists => ResponseError::TopicAlreadyExists,
            Refusal::NoSuchTopic => ResponseError::UnknownTopicOrPartition,
            Refusal::TooFewBrokers => ResponseError::InvalidReplicationFactor,
            Refusal::Replicas => ResponseError::InvalidReplicaAssignment,
            Refusal::StaleBroker | Refusal::StaleLeader | Refusal::StalePartition | Refusal::Ineligible => {
                ResponseError::InvalidRequest
            }
        },
        ChangeError::Proposal(ProposeError::NotProposed) => ResponseError::NotController,
        ChangeError::Proposal(ProposeError::Unknown) => ResponseError::RequestTimedOut,
    }
}

fn deadline(timeout_ms: i32) -> Instant {
    let asked = Duration::from_millis(timeout_ms.max(0) as u64).min(WAIT_MAX);
    Instant::now() + if asked.is_zero() { CHANGE_MAX } else { asked }
}

/// Answers CreateTopics.
pub async fn create(broker: &Broker, request: CreateTopicsRequest) -> CreateTopicsResponse {
    let deadline = deadline(request.timeout_ms);
    let mut results = Vec::new();
    for topic in request.topics {
        let name = topic.name.clone();
        let answer = CreatableTopicResult::default().with_name(name.clone());
        let made = match plan(broker, &topic) {
            Ok((assignment, settings)) if request.validate_only => Ok((assignment, settings)),
            Ok((assignment, settings)) => {
                let made = broker.create_topic(&name, assignment.clone(), settings.clone(), deadline).await;
                made.map(|()| (assignment, settings)).map_err(|error| (code(error), error.to_string()))
            }
            Err(refused) => Err(refused),
        };
        results.push(match made {
            Ok((assignment, settings)) => {
                let (partitions, replication) = shape(&assignment);
                answer
                    .with_num_partitions(partitions as i32)
                    .with_replication_factor(replication as i16)
                    .with_configs(Some(configs(broker, &settings, replication)))
            }
            Err((error, message)) => answer
                .with_error_code(error.code())
                .with_error_message(Some(StrBytes::from_string(message)))
                .with_num_partitions(-1)
                .with_replication_factor(-1),
        });
    }
    CreateTopicsResponse::default().with_topics(results)
}

fn plan(broker: &Broker, topic: &CreatableTopic) -> Result<(Assignment, TopicSettings), Refused> {
    if !is_valid_topic(&topic.name) || is_internal(&topic.name) {
        let message = "a topic's name is 1 to 249 letters, digits, '.', '_' or '-', and no internal one";
        return Err((ResponseError::InvalidTopicException, message.into()));
    }
    let assignment = if topic.assignments.is_empty() { spread(broker, topic)? } else { given(topic)? };
    let (_, replication) = shape(&assignment);
    let mut settings = TopicSettings::of(&broker.config().options, replication);
    for config in &topic.configs {
        let value = config.value.as_ref().map_or("", |value| value.as_str());
        let set = settings.set(&config.name, value);
        set.map_err(|error| (ResponseError::InvalidConfig, error.to_string()))?;
    }
    Ok((assignment, settings))
}

/// Returns the assignment that the brokers choose.
fn spread(broker: &Broker, topic: &CreatableTopic) -> Result<Assignment, Refused> {
    let partitions = match topic.num_partitions {
        -1 => u32::from(broker.config().options.partitions),
        number => {
            u32::try_from(number).ok().filter(|n| (1..=PARTITIONS_MAX).contains(n)).ok_or_else(|| {
                (ResponseError::InvalidPartitions, format!("a topic has 1 to {PARTITIONS_MAX} partitions"))
            })?
        }
    };
    let replication = match topic.replication_factor {
        -1 => broker.default_replication(),
        number => u16::try_from(number).ok().filter(|n| *n > 0).ok_or_else(|| {
            (ResponseError::InvalidReplicationFactor, "a partition has at least one replica".into())
        })?,
    };
    Ok(Assignment::Spread { partitions, replication })
}

/// Returns the assignment a client gives itself: every partition once, from 0.
fn given(topic: &CreatableTopic) -> Result<Assignment, Refused> {
    let mut assignments: Vec<_> = topic.assignments.iter().collect();
    assignments.sort_by_key(|assignment| assignment.partition_index);
    if !(0..).zip(&assignments).all(|(number, assignment)| assignment.partition_index == number) {
        let message = "partitions are numbered from 0 without gaps";
        return Err((ResponseError::InvalidReplicaAssignment, message.into()));
    }
    let replicas =
        assignments.iter().map(|a| a.broker_ids.iter().map(|id| BrokerId(id.0)).collect()).collect();
    Ok(Assignment::Given(replicas))
}

/// Partitions, and the replicas of each.
fn shape(assignment: &Assignment) -> (u32, u16) {
    match assignment {
        Assignment::Spread { partitions, replication } => (*partitions, *replication),
        Assignment::Given(replicas) => {
            (replicas.len() as u32, replicas.first().map_or(0, |replicas| replicas.len() as u16))
        }
    }
}

fn configs(broker: &Broker, settings: &TopicSettings, replication: u16) -> Vec<CreatableTopicConfigs> {
    let defaults = TopicSettings::of(&broker.config().options, replication).list();
    let config = |(name, value): (&'static str, String)| {
        let is_default = defaults.get(name) == Some(&value);
        CreatableTopicConfigs::default()
            .with_name(StrBytes::from_static_str(name))
            .with_value(Some(StrBytes::from_string(value)))
            .with_config_source(if is_default { SOURCE_DEFAULT } else { SOURCE_TOPIC })
    };
    settings.list().into_iter().map(config).collect()
}

/// Answers DeleteTopics.
pub async fn delete(broker: &Broker, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    let deadline = deadline(request.timeout_ms);
    let mut results = Vec::new();
    for name in request.topic_names {
        let result = if is_internal(&name) {
            Err((ResponseError::InvalidTopicException, "the topic is the brokers' own".to_owned()))
        } else {
            let deleted = broker.delete_topic(&name, deadline).await;
            deleted.map_err(|error| (code(error), error.to_string()))
        };
        let answer = DeletableTopicResult::default().with_name(Some(name));
        results.push(match result {
            Ok(()) => answer,
            Err((error, message)) => {
                answer.with_error_code(error.code()).with_error_message(Some(StrBytes::from_string(message)))
            }
        });
    }
    DeleteTopicsResponse::default().with_responses(results)
}
