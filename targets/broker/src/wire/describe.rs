//! Descriptions of the cluster, and of the settings of its topics and brokers.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult,
};
use kafka_protocol::messages::{DescribeClusterResponse, DescribeConfigsRequest, DescribeConfigsResponse};
use kafka_protocol::protocol::StrBytes;

use super::metadata::{active_brokers, host_and_port, wire_broker};
use crate::broker::Broker;
use crate::topic_settings::TopicSettings;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
/// The source of a setting: the topic itself.
pub const SOURCE_TOPIC: i8 = 1;
/// The source of a setting: a default.
pub const SOURCE_DEFAULT: i8 = 5;

/// Answers DescribeCluster.
pub fn cluster(broker: &Broker) -> DescribeClusterResponse {
    let brokers = broker.controller().read(active_brokers).into_iter().map(|(id, address)| {
        let (host, port) = host_and_port(address);
        DescribeClusterBroker::default().with_broker_id(wire_broker(Some(id))).with_host(host).with_port(port)
    });
    DescribeClusterResponse::default()
        .with_endpoint_type(1)
        .with_cluster_id(StrBytes::from_string(broker.cluster().into()))
        .with_controller_id(wire_broker(broker.controller().leader()))
        .with_brokers(brokers.collect())
        .with_cluster_authorized_operations(i32::MIN)
}

/// Answers DescribeConfigs: for topics their settings, for brokers the settings of topics that specify none.
pub fn configs(broker: &Broker, request: DescribeConfigsRequest) -> DescribeConfigsResponse {
    let defaults = |replication| TopicSettings::of(&broker.config().options, replication);
    let results = request.resources.into_iter().map(|resource| {
        let described = match resource.resource_type {
            TOPIC => broker
                .controller()
                .read(|s| {
                    let topic = s.topics.get(resource.resource_name.as_str())?;
                    Some((topic.settings.clone(), defaults(topic.replication())))
                })
                .ok_or(ResponseError::UnknownTopicOrPartition),
            BROKER if resource.resource_name.as_str() == broker.controller().id().to_string() => {
                let settings = defaults(broker.default_replication());
                Ok((settings.clone(), settings))
            }
            _ => Err(ResponseError::InvalidRequest),
        };
        let answer = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone());
        let asked = |name: &str| {
            resource
                .configuration_keys
                .as_ref()
                .is_none_or(|keys| keys.iter().any(|key| key.as_str() == name))
        };
        match described {
            Ok((settings, defaults)) => {
                let defaults = defaults.list();
                let listed = settings.list().into_iter().filter(|(name, _)| asked(name));
                let configs = listed.map(|(name, value)| {
                    let is_default = defaults.get(name) == Some(&value);
                    DescribeConfigsResourceResult::default()
                        .with_name(StrBytes::from_static_str(name))
                        .with_value(Some(StrBytes::from_string(value)))
                        .with_read_only(true)
                        .with_config_source(if is_default { SOURCE_DEFAULT } else { SOURCE_TOPIC })
                });
                answer.with_configs(configs.collect())
            }
            Err(error) => answer.with_error_code(error.code()),
        }
    });
    DescribeConfigsResponse::default().with_results(results.collect())
}
