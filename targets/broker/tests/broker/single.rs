//! One broker, from a client's point of view.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::{
    ApiVersionsRequest, DeleteTopicsRequest, DescribeClusterRequest, DescribeConfigsRequest,
    InitProducerIdRequest,
};
use kafka_protocol::protocol::StrBytes;

use crate::client::{Client, batch, topic_name};
use crate::cluster::Cluster;

const OFFSET_OUT_OF_RANGE: i16 = 1;
const CORRUPT: i16 = 2;
const UNKNOWN_TOPIC: i16 = 3;
const INVALID_TOPIC: i16 = 17;
const NOT_ENOUGH_REPLICAS: i16 = 19;
const TOPIC_EXISTS: i16 = 36;
const INVALID_REPLICATION: i16 = 38;
const INVALID_CONFIG: i16 = 40;

#[tokio::test]
async fn what_is_produced_is_fetched_and_survives_a_kill() {
    let mut cluster = Cluster::start(1, &[], None).await;
    cluster.topic("t", &[]).await;
    let mut client = cluster.client(1).await;
    assert_eq!(client.produce("t", 0, -1, batch(&["a", "b"], None)).await.unwrap(), Ok(0));
    assert_eq!(client.produce("t", 0, 1, batch(&["c"], None)).await.unwrap(), Ok(2));
    let expected: Vec<(i64, String)> = [(0, "a"), (1, "b"), (2, "c")].map(|(o, v)| (o, v.into())).into();
    assert_eq!(client.read_all("t", 0).await, expected);
    cluster.kill(1);
    cluster.start_node(1);
    // A broker that comes back leads again, in another epoch.
    cluster.led(1, "t", |led| led.leader == 1 && led.epoch > 0).await;
    assert_eq!(cluster.values(1, "t", 3).await, ["a", "b", "c"]);
}

#[tokio::test]
async fn a_fetch_waits_for_records_and_no_longer_than_it_says() {
    let cluster = Cluster::start(1, &[], None).await;
    cluster.topic("t", &[]).await;
    let mut reader = cluster.client(1).await;
    let started = Instant::now();
    assert_eq!(reader.fetch("t", 0, 0, 300).await.unwrap(), Ok((vec![], 0)));
    assert!(started.elapsed() >= Duration::from_millis(300));
    let mut writer = cluster.client(1).await;
    let started = Instant::now();
    let (fetched, written) =
        tokio::join!(reader.fetch("t", 0, 0, 10_000), writer.produce("t", 0, -1, batch(&["a"], None)));
    written.unwrap().unwrap();
    assert_eq!(fetched.unwrap().unwrap().0, [(0, "a".into())]);
    assert!(started.elapsed() < Duration::from_secs(9), "the record woke the fetch");
}

#[tokio::test]
async fn refusals_say_why() {
    let cluster = Cluster::start(1, &[], None).await;
    let mut client = cluster.client(1).await;
    assert_eq!(client.create("t", 2, 1, &[]).await.unwrap(), 0);
    assert_eq!(client.create("t", 2, 1, &[]).await.unwrap(), TOPIC_EXISTS);
    assert_eq!(client.create("u", 1, 2, &[]).await.unwrap(), INVALID_REPLICATION);
    assert_eq!(client.create("a/b", 1, 1, &[]).await.unwrap(), INVALID_TOPIC);
    assert_eq!(client.create("v", 1, 1, &[("no.such", "1")]).await.unwrap(), INVALID_CONFIG);
    assert_eq!(client.create("w", 1, 1, &[("min.insync.replicas", "2")]).await.unwrap(), 0);
    assert_eq!(client.produce("w", 0, -1, batch(&["a"], None)).await.unwrap(), Err(NOT_ENOUGH_REPLICAS));
    assert_eq!(client.produce("w", 0, 1, batch(&["a"], None)).await.unwrap(), Ok(0));
    assert_eq!(client.produce("t", 7, -1, batch(&["a"], None)).await.unwrap(), Err(UNKNOWN_TOPIC));
    let mut broken = BytesMut::from(&batch(&["a"], None)[..]);
    *broken.last_mut().unwrap() ^= 1;
    assert_eq!(client.produce("t", 0, -1, broken.freeze()).await.unwrap(), Err(CORRUPT));
    assert_eq!(client.fetch("t", 0, 5, 0).await.unwrap(), Err(OFFSET_OUT_OF_RANGE));
}

#[tokio::test]
async fn a_topic_of_the_same_name_begins_empty() {
    let cluster = Cluster::start(1, &[], None).await;
    cluster.topic("t", &[]).await;
    cluster.produce(1, "t", -1, "old").await;
    let mut client = cluster.client(1).await;
    let request =
        DeleteTopicsRequest::default().with_topic_names(vec![topic_name("t")]).with_timeout_ms(5_000);
    assert_eq!(client.ask(&request, 5).await.unwrap().responses[0].error_code, 0);
    assert_eq!(client.produce("t", 0, -1, batch(&["a"], None)).await.unwrap(), Err(UNKNOWN_TOPIC));
    cluster.topic("t", &[]).await;
    assert_eq!(cluster.produce(1, "t", -1, "new").await, 0);
    assert_eq!(cluster.values(1, "t", 1).await, ["new"]);
}

#[tokio::test]
async fn versions_are_told_to_whoever_asks_for_one_too_many() {
    let cluster = Cluster::start(1, &[], None).await;
    let mut client = cluster.client(1).await;
    let answer = client.ask(&ApiVersionsRequest::default(), 3).await.unwrap();
    assert!(answer.error_code == 0 && answer.api_keys.iter().any(|api| api.api_key == 0));
    // Encoded as of a later version, answered as of version 0 with the error "unsupported version".
    let mut client = cluster.client(1).await;
    let request = ApiVersionsRequest::default()
        .with_client_software_name(StrBytes::from_static_str("test"))
        .with_client_software_version(StrBytes::from_static_str("1"));
    let answer = client.ask_later_version(&request).await.unwrap();
    assert_eq!(answer.error_code, 35);
    assert!(answer.api_keys.iter().any(|api| api.api_key == 18 && api.max_version == 3));
}

#[tokio::test]
async fn the_cluster_and_its_settings_are_described() {
    let cluster = Cluster::start(1, &["segment-bytes=1048576"], None).await;
    let mut client = cluster.client(1).await;
    client.create("t", 1, 1, &[("cleanup.policy", "compact")]).await.unwrap();
    let described = client.ask(&DescribeClusterRequest::default(), 0).await.unwrap();
    assert_eq!((described.brokers.len(), described.controller_id.0), (1, 1));
    let resource = DescribeConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name("t".to_string().into())
        .with_configuration_keys(None);
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    let configs = client.ask(&request, 4).await.unwrap().results.remove(0).configs;
    let value = |name: &str| {
        let config = configs.iter().find(|config| config.name.as_str() == name).unwrap();
        (config.value.as_ref().unwrap().to_string(), config.config_source)
    };
    assert_eq!(value("cleanup.policy"), ("compact".into(), 1));
    assert_eq!(value("segment.bytes"), ("1048576".into(), 5));
    assert_eq!(value("min.insync.replicas"), ("1".into(), 5), "of the one replica that there is");
}

#[tokio::test]
async fn no_two_producers_have_the_same_number() {
    let cluster = Cluster::start(3, &[], None).await;
    let mut numbers = std::collections::BTreeSet::new();
    for node in 1..=3 {
        let mut client = cluster.client(node).await;
        for _ in 0..5 {
            let answer =
                client.ask(&InitProducerIdRequest::default().with_transactional_id(None), 4).await.unwrap();
            assert_eq!(answer.error_code, 0, "{}", cluster.logs());
            assert!(numbers.insert(answer.producer_id.0));
        }
    }
}

#[tokio::test]
async fn a_client_that_speaks_something_else_is_left_alone() {
    let cluster = Cluster::start(1, &[], None).await;
    let mut client = cluster.client(1).await;
    client.send_raw(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert_eq!(client.read_to_end().await, b"");
    cluster.topic("t", &[]).await;
    let mut client: Client = cluster.client(1).await;
    assert_eq!(client.produce("t", 0, -1, batch(&["a"], None)).await.unwrap(), Ok(0));
}
