//! Metadata: brokers, topics, and the leaders of partitions.

use std::net::SocketAddr;
use std::time::Instant;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{BrokerId as WireBroker, MetadataRequest, MetadataResponse, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::names::{is_internal, is_valid_topic};
use crate::broker::{Broker, CHANGE_MAX, ChangeError};
use crate::cluster::state::{Assignment, Liveness, PartitionState, Topic};
use crate::cluster::{BrokerId, ClusterState};
use crate::topic_settings::{Toggle, TopicSettings};

/// Returns the number of a broker in the protocol; −1 for none.
pub fn wire_broker(broker: Option<BrokerId>) -> WireBroker {
    WireBroker(broker.map_or(-1, |broker| broker.0))
}

/// Returns the live brokers, and the addresses that clients connect to.
pub fn active_brokers(state: &ClusterState) -> Vec<(BrokerId, SocketAddr)> {
    let active = state.brokers.iter().filter(|(_, broker)| broker.liveness == Liveness::Active);
    active.map(|(id, broker)| (*id, broker.address)).collect()
}

/// Returns an address in the protocol.
pub fn host_and_port(address: SocketAddr) -> (StrBytes, i32) {
    (StrBytes::from_string(address.ip().to_string()), i32::from(address.port()))
}

/// Answers Metadata; makes requested topics, if client and options allow it.
pub async fn metadata(broker: &Broker, request: MetadataRequest, version: i16) -> MetadataResponse {
    // Version 0 requests all topics with an empty list, later ones without a list.
    let asked = match request.topics {
        Some(topics) if !(topics.is_empty() && version == 0) => {
            Some(topics.into_iter().filter_map(|topic| topic.name).collect::<Vec<_>>())
        }
        _ => None,
    };
    let may_create = (version < 4 || request.allow_auto_topic_creation)
        && broker.config().options.auto_create == Toggle::On;
    if let (Some(names), true) = (&asked, may_create) {
        for name in names {
            create_if_missing(broker, name).await;
        }
    }
    broker.controller().read(|state| {
        let topics = match &asked {
            Some(names) => names.iter().map(|name| topic(state, name, may_create)).collect(),
            None => state.topics.keys().map(|name| topic(state, &topic_name(name), may_create)).collect(),
        };
        let brokers = active_brokers(state).into_iter().map(|(id, address)| {
            let (host, port) = host_and_port(address);
            MetadataResponseBroker::default()
                .with_node_id(wire_broker(Some(id)))
                .with_host(host)
                .with_port(port)
        });
        MetadataResponse::default()
            .with_brokers(brokers.collect())
            .with_cluster_id(Some(StrBytes::from_string(broker.cluster().into())))
            .with_controller_id(wire_broker(broker.controller().leader()))
            .with_topics(topics)
    })
}

/// Returns a name in the protocol.
pub fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.into()))
}

async fn create_if_missing(broker: &Broker, name: &TopicName) {
    let exists = broker.controller().read(|state| state.topics.contains_key(name.as_str()));
    if exists || !is_valid_topic(name) || is_internal(name) {
        return;
    }
    let options = &broker.config().options;
    let replication = broker.default_replication();
    let assignment = Assignment::Spread { partitions: options.partitions.into(), replication };
    let settings = TopicSettings::of(options, replication);
    let created = broker.create_topic(name, assignment, settings, Instant::now() + CHANGE_MAX).await;
    match created {
        Ok(()) | Err(ChangeError::Refused(crate::cluster::state::Refusal::TopicExists)) => {}
        // The client learns that there is no leader yet, and retries.
        Err(error) => tracing::info!(topic = %name.as_str(), %error, "cannot make the topic now"),
    }
}

fn topic(state: &ClusterState, name: &TopicName, may_create: bool) -> MetadataResponseTopic {
    let answer = MetadataResponseTopic::default()
        .with_name(Some(name.clone()))
        .with_is_internal(is_internal(name))
        .with_topic_authorized_operations(i32::MIN);
    match state.topics.get(name.as_str()) {
        Some(topic) => answer.with_partitions(partitions(state, topic)),
        None => answer.with_error_code(
            if !is_valid_topic(name) {
                ResponseError::InvalidTopicException
            } else if may_create {
                ResponseError::LeaderNotAvailable
            } else {
                ResponseError::UnknownTopicOrPartition
            }
            .code(),
        ),
    }
}

fn partitions(state: &ClusterState, topic: &Topic) -> Vec<MetadataResponsePartition> {
    let wire = |brokers: &[BrokerId]| brokers.iter().map(|id| wire_broker(Some(*id))).collect::<Vec<_>>();
    let one = |(number, partition): (i32, &PartitionState)| {
        let offline: Vec<BrokerId> =
            partition.replicas.iter().copied().filter(|id| !state.is_active(*id)).collect();
        let error = partition.leader.is_none().then_some(ResponseError::LeaderNotAvailable);
        MetadataResponsePartition::default()
            .with_error_code(error.map_or(0, |error| error.code()))
            .with_partition_index(number)
            .with_leader_id(wire_broker(partition.leader))
            .with_leader_epoch(partition.leader_epoch)
            .with_replica_nodes(wire(&partition.replicas))
            .with_isr_nodes(wire(&partition.isr))
            .with_offline_replicas(wire(&offline))
    };
    (0..).zip(&topic.partitions).map(one).collect()
}
