//! Committed offsets move with their coordinator.

use std::time::{Duration, Instant};

use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::{FindCoordinatorRequest, GroupId, OffsetCommitRequest, OffsetFetchRequest};
use kafka_protocol::protocol::StrBytes;
use nix::sys::signal::Signal;

use crate::client::topic_name;
use crate::cluster::{Cluster, PATIENCE};
use crate::proxy::Pass;

const NOT_COORDINATOR: i16 = 16;

fn group() -> GroupId {
    GroupId(StrBytes::from_static_str("g"))
}

/// Who coordinates the group, as a broker says, once it is another one than `not`.
async fn coordinator(cluster: &Cluster, asked: usize, not: Option<usize>) -> usize {
    let deadline = Instant::now() + PATIENCE;
    let mut poll = tokio::time::interval(Duration::from_millis(20));
    let mut client = cluster.client(asked).await;
    loop {
        poll.tick().await;
        let request = FindCoordinatorRequest::default().with_key(StrBytes::from_static_str("g"));
        let answer = client.ask(&request, 2).await.unwrap();
        let found = usize::try_from(answer.node_id.0).ok().filter(|node| Some(*node) != not);
        if let (Some(node), 0) = (found, answer.error_code) {
            return node;
        }
        assert!(Instant::now() < deadline, "no coordinator: {answer:?}; {}", cluster.logs());
    }
}

/// Commits until a coordinator takes it.
async fn commit(cluster: &Cluster, node: usize, offset: i64) {
    let deadline = Instant::now() + PATIENCE;
    let mut poll = tokio::time::interval(Duration::from_millis(20));
    let mut client = cluster.client(node).await;
    let partition =
        OffsetCommitRequestPartition::default().with_partition_index(0).with_committed_offset(offset);
    let topic =
        OffsetCommitRequestTopic::default().with_name(topic_name("t")).with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(group())
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    loop {
        poll.tick().await;
        let answer = client.ask(&request, 6).await.unwrap();
        let code = answer.topics[0].partitions[0].error_code;
        if code == 0 {
            return;
        }
        assert!(Instant::now() < deadline, "the commit is answered with {code}; {}", cluster.logs());
    }
}

/// What a broker says is committed, or its error.
async fn committed(cluster: &Cluster, node: usize) -> Result<i64, i16> {
    let topic = OffsetFetchRequestTopic::default().with_name(topic_name("t")).with_partition_indexes(vec![0]);
    let request = OffsetFetchRequest::default().with_group_id(group()).with_topics(Some(vec![topic]));
    let answer = cluster.client(node).await.ask(&request, 5).await.unwrap();
    match answer.error_code {
        0 => Ok(answer.topics[0].partitions[0].committed_offset),
        code => Err(code),
    }
}

async fn committed_soon(cluster: &Cluster, node: usize) -> i64 {
    let deadline = Instant::now() + PATIENCE;
    let mut poll = tokio::time::interval(Duration::from_millis(20));
    loop {
        poll.tick().await;
        match committed(cluster, node).await {
            Ok(offset) => return offset,
            Err(code) => assert!(Instant::now() < deadline, "still {code}; {}", cluster.logs()),
        }
    }
}

async fn after_a_move(bug: Option<&'static str>) -> i64 {
    let mut cluster = Cluster::start(3, &[], bug).await;
    let first = coordinator(&cluster, 1, None).await;
    commit(&cluster, first, 42).await;
    assert_eq!(committed_soon(&cluster, first).await, 42);
    cluster.kill(first);
    let second = coordinator(&cluster, first % 3 + 1, Some(first)).await;
    committed_soon(&cluster, second).await
}

#[tokio::test]
async fn what_was_committed_is_known_to_the_next_coordinator() {
    assert_eq!(after_a_move(None).await, 42);
}

#[tokio::test]
async fn offset_commit_lost_on_move_shows() {
    assert_eq!(after_a_move(Some("offset-commit-lost-on-move")).await, -1);
}

/// What a coordinator that is cut off says is committed, before and after its successor takes another commit.
async fn said_by_a_coordinator_cut_off(bug: Option<&'static str>) -> [Result<i64, i16>; 2] {
    let cluster = Cluster::start(3, &[], bug).await;
    let first = coordinator(&cluster, 1, None).await;
    commit(&cluster, first, 1).await;
    assert_eq!(committed_soon(&cluster, first).await, 1);
    cluster.isolate(first, Pass::Silent);
    let second = coordinator(&cluster, first % 3 + 1, Some(first)).await;
    // From the moment that another broker may have taken its place.
    let before = committed(&cluster, first).await;
    commit(&cluster, second, 2).await;
    let after = committed(&cluster, first).await;
    assert_eq!(committed_soon(&cluster, second).await, 2);
    [before, after]
}

#[tokio::test]
async fn a_coordinator_that_is_cut_off_says_nothing_of_offsets() {
    assert_eq!(said_by_a_coordinator_cut_off(None).await, [Err(NOT_COORDINATOR); 2]);
}

#[tokio::test]
async fn stale_coordinator_shows() {
    assert_eq!(said_by_a_coordinator_cut_off(Some("stale-coordinator")).await, [Ok(1); 2]);
}

/// A broker wakes up after others took its place, and its heartbeat is noted before it hears of that.
#[tokio::test]
async fn a_coordinator_that_stood_still_says_nothing_of_offsets_before_it_knows_who_was_elected() {
    // As soon as it looks for a leader of the controllers itself, it sends no heartbeat: that must take a while.
    let options = ["election-min-ms=3000", "election-max-ms=4000"];
    let (cluster, first) = loop {
        let cluster = Cluster::start(3, &options, None).await;
        let first = coordinator(&cluster, 1, None).await;
        // Whoever leads the controllers itself knows that it stood still.
        if cluster.controller(first).await != first {
            break (cluster, first);
        }
    };
    commit(&cluster, first, 1).await;
    assert_eq!(committed_soon(&cluster, first).await, 1);
    cluster.signal(first, Signal::SIGSTOP);
    let other = first % 3 + 1;
    let second = coordinator(&cluster, other, Some(first)).await;
    commit(&cluster, second, 2).await;
    for other in (1..=3).filter(|other| *other != first) {
        cluster.set_one_way(other, first, Pass::Silent);
    }
    cluster.signal(first, Signal::SIGCONT);
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(1_500) {
        assert_eq!(committed(&cluster, first).await, Err(NOT_COORDINATOR));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for other in (1..=3).filter(|other| *other != first) {
        cluster.set_one_way(other, first, Pass::Open);
    }
    let last = coordinator(&cluster, other, None).await;
    assert_eq!(committed_soon(&cluster, last).await, 2);
}
