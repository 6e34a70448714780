//! What a broker says of its cluster: who the brokers are, and who leads what.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use kafka_protocol::messages::MetadataRequest;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition,
};
use tokio::time::Instant;

use crate::kafka::connection::Connection;
use crate::kafka::partition::{Partition, topic_name};
use crate::outcome::RequestError;
use crate::place::Place;

/// A cluster as one broker sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Metadata {
    /// The brokers' places, by number.
    pub(crate) brokers: BTreeMap<i32, SocketAddr>,
    /// The number of the controller, if one is known.
    pub(crate) controller: Option<i32>,
    /// The partitions of every topic that is not the cluster's own, in order.
    pub(crate) partitions: BTreeMap<Partition, Replicas>,
}

/// Who has a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Replicas {
    /// Who leads it.
    pub(crate) leadership: Leadership,
    /// How many replicas there should be.
    pub(crate) count: usize,
    /// The brokers whose replicas are in sync.
    pub(crate) in_sync: BTreeSet<i32>,
}

/// Who leads a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leadership {
    /// The leader's broker number, if there is a leader.
    pub(crate) leader: Option<i32>,
    /// Its epoch; -1 where the broker does not tell.
    pub(crate) epoch: i32,
}

impl Leadership {
    /// What a broker says of a partition.
    pub(super) fn of(told: &MetadataResponsePartition) -> Self {
        Self { leader: number(told.leader_id.0), epoch: told.leader_epoch }
    }
}

fn number(id: i32) -> Option<i32> {
    Some(id).filter(|id| *id >= 0)
}

/// Asks the broker at `to` about its cluster.
///
/// # Errors
/// A [`RequestError`], by `deadline`.
pub(crate) async fn metadata(
    from: &dyn Place,
    to: SocketAddr,
    deadline: Instant,
) -> Result<Metadata, RequestError> {
    let answer = ask(from, to, None, deadline).await?;
    let topics = answer.topics.iter().filter(|topic| !topic.is_internal);
    let named = topics.filter_map(|topic| Some((Arc::<str>::from(topic.name.as_ref()?.0.as_str()), topic)));
    let partitions = named.flat_map(|(topic, told)| {
        told.partitions.iter().map(move |told| {
            let partition = Partition { topic: Arc::clone(&topic), index: told.partition_index };
            let in_sync = told.isr_nodes.iter().map(|broker| broker.0).collect();
            let leadership = Leadership::of(told);
            (partition, Replicas { leadership, count: told.replica_nodes.len(), in_sync })
        })
    });
    let brokers = answer.brokers.iter().filter_map(|broker| Some((broker.node_id.0, address(broker)?)));
    Ok(Metadata {
        brokers: brokers.collect(),
        controller: number(answer.controller_id.0),
        partitions: partitions.collect(),
    })
}

/// Asks the broker at `to` about `topics`, or about all of them.
///
/// # Errors
/// A [`RequestError`], by `deadline`.
pub(super) async fn ask(
    from: &dyn Place,
    to: SocketAddr,
    topics: Option<&BTreeSet<&str>>,
    deadline: Instant,
) -> Result<MetadataResponse, RequestError> {
    let mut connection = Connection::open(from, to, deadline).await?;
    connection.call(&metadata_request(topics), deadline).await
}

/// A request for metadata of `topics`, or of all of them, which makes none.
pub(super) fn metadata_request(topics: Option<&BTreeSet<&str>>) -> MetadataRequest {
    let named = topics.map(|topics| {
        let named = topics.iter();
        named.map(|topic| MetadataRequestTopic::default().with_name(Some(topic_name(topic)))).collect()
    });
    MetadataRequest::default().with_topics(named).with_allow_auto_topic_creation(false)
}

/// Where a broker says that it is. Names are not resolved, apart from `localhost`: brokers that are
/// started here advertise addresses.
pub(super) fn address(broker: &MetadataResponseBroker) -> Option<SocketAddr> {
    advertised(broker.host.as_str(), broker.port)
}

/// The address that `host` and `port` name, if they name one.
pub(super) fn advertised(host: &str, port: i32) -> Option<SocketAddr> {
    let ip = match host {
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        host => host.parse().ok()?,
    };
    Some(SocketAddr::new(ip, u16::try_from(port).ok()?))
}
