//! Transactions as producers and readers of committed records see them.

use std::time::Instant;

use duress_broker::log::{OwnRecord, build_transactional};
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, EndTxnRequest, FindCoordinatorRequest, InitProducerIdRequest, TransactionalId,
};
use kafka_protocol::protocol::StrBytes;

use crate::client::{Client, topic_name};
use crate::cluster::{Cluster, PATIENCE};

const PRODUCER_FENCED: i16 = 90;
const INVALID_PRODUCER_EPOCH: i16 = 47;
const TRANSACTION: i8 = 1;

fn id() -> TransactionalId {
    TransactionalId(StrBytes::from_static_str("worker"))
}

/// A producer's identity.
type Identity = (i64, i16);

/// Repeats a request until it is answered without an error for now; returns the first other answer.
async fn until_answered<T>(
    cluster: &Cluster,
    mut ask: impl AsyncFnMut() -> std::io::Result<(i16, T)>,
) -> Result<T, i16> {
    // The coordinator is not there yet, or an earlier transaction is still ending.
    let for_now = [14, 15, 16, 51];
    let deadline = Instant::now() + PATIENCE;
    let mut poll = tokio::time::interval(std::time::Duration::from_millis(20));
    loop {
        poll.tick().await;
        match ask().await {
            Ok((0, answer)) => return Ok(answer),
            Ok((code, _)) if !for_now.contains(&code) => return Err(code),
            other => {
                let told = other.map(|(code, _)| code);
                assert!(Instant::now() < deadline, "still {told:?}; {}", cluster.logs());
            }
        }
    }
}

/// Returns a connection to the coordinator of the transactional id, and its node.
async fn coordinator(cluster: &Cluster, asked: usize) -> (Client, usize) {
    let request = FindCoordinatorRequest::default().with_key(id().0).with_key_type(TRANSACTION);
    let mut client = cluster.client(asked).await;
    let found = until_answered(cluster, async || {
        let answer = client.ask(&request, 2).await?;
        Ok((answer.error_code, answer.node_id.0))
    });
    let node = usize::try_from(found.await.unwrap()).unwrap();
    (cluster.client(node).await, node)
}

async fn begin(cluster: &Cluster, asked: usize) -> Identity {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(Some(id()))
        .with_transaction_timeout_ms(60_000)
        .with_producer_id((-1).into())
        .with_producer_epoch(-1);
    let begun = until_answered(cluster, async || {
        let (mut client, _) = coordinator(cluster, asked).await;
        let answer = client.ask(&request, 4).await?;
        Ok((answer.error_code, (answer.producer_id.0, answer.producer_epoch)))
    });
    begun.await.unwrap()
}

async fn add(cluster: &Cluster, asked: usize, (producer, epoch): Identity) -> Result<(), i16> {
    let topic = AddPartitionsToTxnTopic::default().with_name(topic_name("t")).with_partitions(vec![0]);
    let request = AddPartitionsToTxnRequest::default()
        .with_v3_and_below_transactional_id(id())
        .with_v3_and_below_producer_id(producer.into())
        .with_v3_and_below_producer_epoch(epoch)
        .with_v3_and_below_topics(vec![topic]);
    let added = until_answered(cluster, async || {
        let (mut client, _) = coordinator(cluster, asked).await;
        let answer = client.ask(&request, 3).await?;
        let told = &answer.results_by_topic_v3_and_below[0].results_by_partition[0];
        Ok((told.partition_error_code, ()))
    });
    added.await
}

async fn end(cluster: &Cluster, asked: usize, (producer, epoch): Identity, commit: bool) -> Result<(), i16> {
    let request = EndTxnRequest::default()
        .with_transactional_id(id())
        .with_producer_id(producer.into())
        .with_producer_epoch(epoch)
        .with_committed(commit);
    let ended = until_answered(cluster, async || {
        let (mut client, _) = coordinator(cluster, asked).await;
        Ok((client.ask(&request, 3).await?.error_code, ()))
    });
    ended.await
}

/// Appends a value within the producer's transaction.
async fn put(cluster: &Cluster, asked: usize, producer: Identity, value: &str) -> Result<i64, i16> {
    let record = OwnRecord { key: None, value: Some(value.to_owned().into()) };
    let batch = build_transactional(&[record], crate::client::now_ms(), producer);
    let led = cluster.led(asked, "t", |led| led.leader != 0).await;
    cluster.client(led.leader).await.produce("t", 0, -1, batch).await.unwrap()
}

/// Returns the values that a reader of committed records gets, once it may read up to `end`.
async fn committed(cluster: &Cluster, asked: usize, end: i64) -> Vec<String> {
    let deadline = Instant::now() + PATIENCE;
    let mut poll = tokio::time::interval(std::time::Duration::from_millis(20));
    loop {
        poll.tick().await;
        let led = cluster.led(asked, "t", |led| led.leader != 0).await;
        let mut client = cluster.client(led.leader).await;
        if let Ok(Ok((values, stable))) = client.fetch_committed("t", 0).await
            && stable >= end
        {
            return values;
        }
        assert!(Instant::now() < deadline, "{end} is not stable; {}", cluster.logs());
    }
}

#[tokio::test]
async fn a_reader_of_committed_records_gets_those_and_no_others() {
    let cluster = Cluster::start(1, &[], None).await;
    cluster.topic("t", &[]).await;
    let me = begin(&cluster, 1).await;
    add(&cluster, 1, me).await.unwrap();
    put(&cluster, 1, me, "aborted").await.unwrap();
    assert_eq!(committed(&cluster, 1, 0).await, Vec::<String>::new(), "it is open");
    end(&cluster, 1, me, false).await.unwrap();
    add(&cluster, 1, me).await.unwrap();
    put(&cluster, 1, me, "committed").await.unwrap();
    end(&cluster, 1, me, true).await.unwrap();
    assert_eq!(committed(&cluster, 1, 4).await, ["committed"]);
    let all = cluster.client(1).await.read_all("t", 0).await;
    assert_eq!(all.len(), 4, "two values and two markers: {all:?}");
}

/// An instance of a producer that was replaced, and what it left open.
#[tokio::test]
async fn an_old_instance_is_fenced_everywhere() {
    let cluster = Cluster::start(1, &[], None).await;
    cluster.topic("t", &[]).await;
    let old = begin(&cluster, 1).await;
    add(&cluster, 1, old).await.unwrap();
    put(&cluster, 1, old, "left open").await.unwrap();
    let new = begin(&cluster, 1).await;
    assert!(new.0 == old.0 && new.1 > old.1, "{old:?} {new:?}");
    assert_eq!(put(&cluster, 1, old, "zombie").await, Err(INVALID_PRODUCER_EPOCH));
    assert_eq!(add(&cluster, 1, old).await, Err(PRODUCER_FENCED));
    assert_eq!(end(&cluster, 1, old, true).await, Err(PRODUCER_FENCED));
    assert_eq!(committed(&cluster, 1, 2).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_transaction_survives_its_coordinator_and_the_leader_of_its_partition() {
    let mut cluster = Cluster::start(3, &[], None).await;
    let led = cluster.topic("t", &[]).await;
    let me = begin(&cluster, 1).await;
    add(&cluster, 1, me).await.unwrap();
    put(&cluster, 1, me, "committed").await.unwrap();
    let (_, first) = coordinator(&cluster, 1).await;
    cluster.kill(first);
    let asked = first % 3 + 1;
    cluster.active(asked, 2).await;
    end(&cluster, asked, me, true).await.unwrap();
    assert_eq!(committed(&cluster, asked, 2).await, ["committed"]);
    // With one of three brokers down no other may be lost.
    cluster.start_node(first);
    cluster.led(asked, "t", |led| led.isr.len() == 3).await;
    let leader = cluster.led(asked, "t", |led| led.leader != 0).await.leader;
    cluster.kill(leader);
    let asked = leader % 3 + 1;
    cluster.active(asked, 2).await;
    cluster.successor(asked, "t", leader).await;
    assert_eq!(committed(&cluster, asked, 2).await, ["committed"], "the marker was replicated; {led:?}");
}
