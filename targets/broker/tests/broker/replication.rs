//! Three brokers: acknowledged records stay, whichever broker leads.

use std::time::{Duration, Instant};

use crate::client::{Client, batch};
use crate::cluster::{Cluster, PATIENCE};
use crate::proxy::Pass;

const NOT_LEADER: i16 = 6;
const TIMED_OUT: i16 = 7;
const NOT_ENOUGH_REPLICAS: i16 = 19;

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

#[tokio::test]
async fn what_is_acknowledged_survives_the_leader() {
    let mut cluster = Cluster::start(3, &[], None).await;
    let led = cluster.topic("t", &[]).await;
    for value in numbered(50) {
        cluster.produce(led.leader, "t", -1, &value).await;
    }
    cluster.kill(led.leader);
    let asked = led.leader % 3 + 1;
    let next = cluster.successor(asked, "t", led.leader).await;
    assert!(next.epoch > led.epoch);
    cluster.produce(next.leader, "t", -1, "after").await;
    let mut expected = numbered(50);
    expected.push("after".into());
    assert_eq!(cluster.values(next.leader, "t", 51).await, expected);
    cluster.start_node(led.leader);
    cluster.led(asked, "t", |led| led.isr.len() == 3).await;
}

#[tokio::test]
async fn the_in_sync_set_shrinks_and_grows_with_who_keeps_up() {
    let mut cluster = Cluster::start(3, &[], None).await;
    let led = cluster.topic("t", &[]).await;
    let others: Vec<usize> = (1..=3).filter(|node| *node != led.leader).collect();
    cluster.kill(others[0]);
    cluster.led(led.leader, "t", |led| led.isr.len() == 2).await;
    cluster.produce(led.leader, "t", -1, "with two").await;
    cluster.kill(others[1]);
    // Without a majority the controllers cannot agree on a smaller set, so nothing is acknowledged.
    let mut client = cluster.client(led.leader).await;
    let request = Client::produce_request("t", 0, -1, batch(&["with one"], None), 1_500);
    let answer = client.ask(&request, 8).await.unwrap();
    let code = answer.responses[0].partition_responses[0].error_code;
    assert!([TIMED_OUT, NOT_ENOUGH_REPLICAS].contains(&code), "{code}");
    others.iter().for_each(|node| cluster.start_node(*node));
    cluster.led(led.leader, "t", |led| led.isr.len() == 3).await;
}

#[tokio::test]
async fn a_leader_that_was_cut_off_gives_up_what_it_wrote_alone() {
    let cluster = Cluster::start(3, &["min-insync=1"], None).await;
    let led = cluster.topic("t", &[]).await;
    cluster.produce(led.leader, "t", -1, "both").await;
    cluster.isolate(led.leader, Pass::Silent);
    let mut old = cluster.client(led.leader).await;
    // Acknowledged by the leader alone, as asked.
    for value in ["alone 1", "alone 2", "alone 3"] {
        old.produce("t", 0, 1, batch(&[value], None)).await.unwrap().unwrap();
    }
    // min.insync.replicas is 1, yet a leader cannot declare itself the only one in sync.
    let request = Client::produce_request("t", 0, -1, batch(&["never"], None), 2_500);
    let answer = old.ask(&request, 8).await.unwrap();
    assert_eq!(answer.responses[0].partition_responses[0].error_code, TIMED_OUT);
    assert_eq!(
        old.read_all("t", 0).await,
        [(0, "both".to_string())],
        "no consumer reads uncommitted records"
    );

    let asked = led.leader % 3 + 1;
    let next = cluster.successor(asked, "t", led.leader).await;
    cluster.produce(next.leader, "t", -1, "after").await;
    cluster.isolate(led.leader, Pass::Open);
    cluster.led(asked, "t", |led| led.isr.len() == 3).await;
    assert_eq!(cluster.values(next.leader, "t", 2).await, ["both", "after"]);
    let refused = cluster.client(led.leader).await.produce("t", 0, 1, batch(&["late"], None)).await;
    assert_eq!(refused.unwrap(), Err(NOT_LEADER));
    // It now has the same records as the others.
    let mut cluster = cluster;
    cluster.kill(next.leader);
    let third = 6 - led.leader - next.leader;
    let last = cluster.successor(third, "t", next.leader).await;
    assert_eq!(cluster.values(last.leader, "t", 2).await, ["both", "after"]);
}

#[tokio::test]
async fn the_last_in_sync_is_waited_for() {
    let mut cluster = Cluster::start(3, &[], None).await;
    let led = cluster.topic("t", &[]).await;
    let others: Vec<usize> = (1..=3).filter(|node| *node != led.leader).collect();
    cluster.kill(others[0]);
    cluster.led(led.leader, "t", |led| led.isr.len() == 2).await;
    cluster.produce(led.leader, "t", -1, "two have it").await;
    // The first of the others comes back, and its place in the set is refused by cutting it off from the leader.
    cluster.set_link(led.leader, others[0], Pass::Silent);
    cluster.start_node(others[0]);
    cluster.active(others[1], 3).await;
    cluster.kill(led.leader);
    let next = cluster.successor(others[1], "t", led.leader).await;
    assert_eq!(next.leader, others[1], "the other one was not in sync: {next:?}");
    assert_eq!(cluster.values(next.leader, "t", 1).await, ["two have it"]);
}

#[tokio::test]
async fn a_cluster_that_is_killed_as_a_whole_has_everything_again() {
    let mut cluster = Cluster::start(3, &[], None).await;
    let led = cluster.topic("t", &[]).await;
    for value in numbered(30) {
        cluster.produce(led.leader, "t", -1, &value).await;
    }
    (1..=3).for_each(|node| cluster.kill(node));
    (1..=3).for_each(|node| cluster.start_node(node));
    // Until it has heard of the others, a broker knows only of the time before.
    let now = cluster.led(1, "t", |now| now.epoch > led.epoch && now.leader != 0 && now.isr.len() == 3).await;
    assert_eq!(cluster.values(now.leader, "t", 30).await, numbered(30));
}

#[tokio::test]
async fn a_follower_that_is_slow_costs_a_while_and_no_more() {
    let cluster = Cluster::start(3, &[], None).await;
    let led = cluster.topic("t", &[]).await;
    let slow = led.leader % 3 + 1;
    cluster.isolate(slow, Pass::Silent);
    let started = Instant::now();
    let mut client = cluster.client(led.leader).await;
    let request = Client::produce_request("t", 0, -1, batch(&["a"], None), 10_000);
    let answer = client.ask(&request, 8).await.unwrap();
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0, "{}", cluster.logs());
    assert!(started.elapsed() > Duration::from_millis(200) && started.elapsed() < PATIENCE);
    cluster.isolate(slow, Pass::Open);
    cluster.led(led.leader, "t", |led| led.isr.len() == 3).await;
}
