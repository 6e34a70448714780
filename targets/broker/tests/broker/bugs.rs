//! The effect of each seeded bug, compared with plain code, if a few requests show it.

use crate::client::{Client, Sequenced, batch};
use crate::cluster::Cluster;
use crate::proxy::Pass;

/// A leader is cut off, takes a write with `acks=all`, and another is elected: whether the write was acknowledged, and
/// whether it is still there.
async fn write_at_a_leader_cut_off(bug: Option<&'static str>) -> (bool, bool) {
    let cluster = Cluster::start(3, &["min-insync=1"], bug).await;
    let led = cluster.topic("t", &[]).await;
    cluster.produce(led.leader, "t", -1, "before").await;
    cluster.isolate(led.leader, Pass::Silent);
    let mut old = cluster.client(led.leader).await;
    let request = Client::produce_request("t", 0, -1, batch(&["alone"], None), 4_000);
    let answer = old.ask(&request, 8).await.unwrap();
    let acknowledged = answer.responses[0].partition_responses[0].error_code == 0;
    let asked = led.leader % 3 + 1;
    let next = cluster.successor(asked, "t", led.leader).await;
    cluster.produce(next.leader, "t", -1, "after").await;
    cluster.isolate(led.leader, Pass::Open);
    cluster.led(asked, "t", |led| led.isr.len() == 3).await;
    let now = cluster.led(asked, "t", |led| led.leader != 0).await;
    let values = cluster.values(now.leader, "t", 1).await;
    (acknowledged, values.contains(&"alone".to_string()))
}

#[tokio::test]
async fn plain_code_does_not_acknowledge_what_only_a_leader_cut_off_has() {
    assert_eq!(write_at_a_leader_cut_off(None).await, (false, false));
}

#[tokio::test]
async fn high_watermark_before_replication_shows() {
    assert_eq!(write_at_a_leader_cut_off(Some("high-watermark-before-replication")).await, (true, false));
}

#[tokio::test]
async fn isr_shrink_ignored_shows() {
    assert_eq!(write_at_a_leader_cut_off(Some("isr-shrink-ignored")).await, (true, false));
}

/// A replica that was down while something was acknowledged comes back cut off from its leader: who leads then?
async fn who_leads_when_the_first_comes_back(bug: Option<&'static str>) -> (usize, usize) {
    let mut cluster = Cluster::start(3, &["min-insync=1"], bug).await;
    // It learns of its return from the leader of the controllers, which must be neither the first leader nor
    // the second, whose link is cut.
    let controller = cluster.controller(1).await;
    let (topic, led) = cluster.topic_where(|led| led.isr[2] == controller).await;
    let first = led.leader;
    cluster.kill(first);
    let second = cluster.successor(controller, &topic, first).await;
    cluster.produce(second.leader, &topic, -1, "missed").await;
    cluster.set_link(first, second.leader, Pass::Silent);
    cluster.start_node(first);
    cluster.active(second.leader, 3).await;
    let now = cluster.led(controller, &topic, |led| led.leader != 0).await;
    (first, now.leader)
}

#[tokio::test]
async fn unclean_election_shows() {
    let (first, leader) = who_leads_when_the_first_comes_back(None).await;
    assert_ne!(first, leader);
    let (first, leader) = who_leads_when_the_first_comes_back(Some("unclean-election")).await;
    assert_eq!(first, leader);
}

/// Returns how many of its own unreplicated records a cut-off leader shows to consumers.
async fn read_at_a_leader_cut_off(bug: Option<&'static str>) -> usize {
    let cluster = Cluster::start(3, &["min-insync=1"], bug).await;
    let led = cluster.topic("t", &[]).await;
    cluster.isolate(led.leader, Pass::Silent);
    let mut old = cluster.client(led.leader).await;
    old.produce("t", 0, 1, batch(&["alone"], None)).await.unwrap().unwrap();
    old.fetch("t", 0, 0, 0).await.unwrap().unwrap().0.len()
}

#[tokio::test]
async fn fetch_beyond_high_watermark_shows() {
    assert_eq!(read_at_a_leader_cut_off(None).await, 0);
    assert_eq!(read_at_a_leader_cut_off(Some("fetch-beyond-high-watermark")).await, 1);
}

fn sequenced(sequence: i32) -> Option<Sequenced> {
    Some(Sequenced { producer: 7, epoch: 0, sequence })
}

#[tokio::test]
async fn sequence_unchecked_shows() {
    let cluster = Cluster::start(1, &[], Some("sequence-unchecked")).await;
    cluster.topic("t", &[]).await;
    let mut client = cluster.client(1).await;
    for offset in 0..2 {
        let produced = client.produce("t", 0, -1, batch(&["a"], sequenced(0))).await.unwrap();
        assert_eq!(produced, Ok(offset));
    }
}

#[tokio::test]
async fn sequence_lost_on_failover_shows() {
    let mut cluster = Cluster::start(3, &[], Some("sequence-lost-on-failover")).await;
    let led = cluster.topic("t", &[]).await;
    let mut client = cluster.client(led.leader).await;
    for (sequence, value) in (0..).zip(["a", "b", "c"]) {
        client.produce("t", 0, -1, batch(&[value], sequenced(sequence))).await.unwrap().unwrap();
    }
    cluster.kill(led.leader);
    let next = cluster.successor(led.leader % 3 + 1, "t", led.leader).await;
    cluster.values(next.leader, "t", 3).await;
    let mut client = cluster.client(next.leader).await;
    let again = client.produce("t", 0, -1, batch(&["c"], sequenced(2))).await.unwrap();
    assert_eq!(again, Ok(3), "it is there twice");
}

/// All brokers are killed just after writes were acknowledged: how many are left.
async fn left_after_killing_all(bug: Option<&'static str>) -> usize {
    let mut cluster = Cluster::start(3, &[], bug).await;
    let led = cluster.topic("t", &[]).await;
    for value in ["a", "b", "c"] {
        cluster.produce(led.leader, "t", -1, value).await;
    }
    (1..=3).for_each(|node| cluster.kill(node));
    (1..=3).for_each(|node| cluster.start_node(node));
    // Until it has heard of the others, a broker knows only of the time before.
    let now = cluster.led(1, "t", |now| now.epoch > led.epoch && now.leader != 0 && now.isr.len() == 3).await;
    cluster.values(now.leader, "t", 0).await.len()
}

#[tokio::test]
async fn truncate_to_high_watermark_shows() {
    assert_eq!(left_after_killing_all(None).await, 3);
    assert!(left_after_killing_all(Some("truncate-to-high-watermark")).await < 3);
}
