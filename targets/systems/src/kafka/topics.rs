//! Topics: making them, and waiting until they can be used.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::CreateTopicsRequest;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::metadata_response::MetadataResponse;
use tokio::time::{Instant, sleep_until};

use crate::place::Place;

use crate::kafka::connection::Connection;
use crate::kafka::metadata::{address, ask};
use crate::kafka::partition::{text, topic_name};
use crate::kafka::refusal::Asked;
use crate::kafka::refusal::refusal;
use crate::outcome::{CauseKind, RequestError};

/// How long to wait before asking again.
const POLL: Duration = Duration::from_millis(50);

/// A topic to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions it has.
    pub partitions: u32,
    /// How many brokers keep each.
    pub replication: u16,
    /// Its configuration, where it is not the broker's default.
    pub config: BTreeMap<&'static str, String>,
}

/// Makes `topics`, those that are not there yet, and waits until every broker in `brokers` knows a leader of each of
/// their partitions and every replica is in sync.
///
/// # Errors
/// A [`RequestError`], by `deadline`.
pub async fn create_topics(
    from: &dyn Place,
    brokers: &[SocketAddr],
    topics: &[NewTopic],
    deadline: Instant,
) -> Result<(), RequestError> {
    let Some(first) = brokers.first() else {
        return Err(RequestError::definite(CauseKind::Rejected, "no brokers"));
    };
    loop {
        let failure = match attempt(from, *first, topics, deadline).await {
            Ok(()) => break,
            Err(failure) => failure,
        };
        pause(failure, deadline).await?;
    }
    let names: BTreeSet<&str> = topics.iter().map(|topic| topic.name.as_str()).collect();
    for broker in brokers {
        loop {
            let failure = match ask(from, *broker, Some(&names), deadline).await {
                Ok(answer) => match missing(&answer, topics) {
                    None => break,
                    Some(missing) => RequestError::definite(CauseKind::NoLeader, missing),
                },
                Err(failure) => failure,
            };
            pause(failure, deadline).await?;
        }
    }
    Ok(())
}

/// Waits a moment, unless no time is left: then `failure` is final.
async fn pause(failure: RequestError, deadline: Instant) -> Result<(), RequestError> {
    let again = Instant::now() + POLL;
    if again >= deadline {
        return Err(failure);
    }
    sleep_until(again).await;
    Ok(())
}

/// Asks the controller once; a broker that is not the controller names it.
async fn attempt(
    from: &dyn Place,
    first: SocketAddr,
    topics: &[NewTopic],
    deadline: Instant,
) -> Result<(), RequestError> {
    let answer = ask(from, first, None, deadline).await?;
    let controller = answer
        .brokers
        .iter()
        .find(|broker| broker.node_id == answer.controller_id)
        .and_then(address)
        .ok_or_else(|| RequestError::definite(CauseKind::NoLeader, "no controller is known"))?;
    let left_ms = deadline.saturating_duration_since(Instant::now()).as_millis();
    let request = CreateTopicsRequest::default()
        .with_timeout_ms(i32::try_from(left_ms).unwrap_or(i32::MAX))
        .with_topics(topics.iter().map(creatable).collect());
    let mut connection = Connection::open(from, controller, deadline).await?;
    let answer = connection.call(&request, deadline).await?;
    for topic in answer.topics {
        let code = topic.error_code;
        if code != 0 && code != ResponseError::TopicAlreadyExists.code() {
            let mut failure = refusal(Asked::Other, code, &format!("making topic {}", topic.name.0.as_str()));
            if let Some(words) = topic.error_message.filter(|words| !words.is_empty()) {
                failure.cause.text = format!("{}: {}", failure.cause.text, words.as_str()).into();
            }
            return Err(failure);
        }
    }
    Ok(())
}

fn creatable(topic: &NewTopic) -> CreatableTopic {
    let configs = topic.config.iter().map(|(name, value)| {
        CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)))
    });
    CreatableTopic::default()
        .with_name(topic_name(&topic.name))
        .with_num_partitions(i32::try_from(topic.partitions).unwrap_or(i32::MAX))
        .with_replication_factor(i16::try_from(topic.replication).unwrap_or(i16::MAX))
        .with_configs(configs.collect())
}

/// Returns what `topics` still lack in `answer`, if anything.
fn missing(answer: &MetadataResponse, topics: &[NewTopic]) -> Option<String> {
    for topic in topics {
        let told = answer
            .topics
            .iter()
            .find(|told| told.name.as_ref().is_some_and(|name| name.0.as_str() == topic.name));
        let partitions = told.map(|told| told.partitions.as_slice()).unwrap_or_default();
        if partitions.len() < topic.partitions as usize {
            return Some(format!("topic {} has {} partitions so far", topic.name, partitions.len()));
        }
        for partition in partitions {
            let index = partition.partition_index;
            if partition.leader_id.0 < 0 {
                return Some(format!("partition {index} of topic {} has no leader yet", topic.name));
            }
            if partition.isr_nodes.len() < usize::from(topic.replication) {
                let in_sync = partition.isr_nodes.len();
                return Some(format!(
                    "partition {index} of topic {} has {in_sync} replicas in sync",
                    topic.name
                ));
            }
        }
    }
    None
}
