//! Each seeded bug causes its anomaly, and the plain code does not.

use crate::cluster::Cluster;
use crate::proxy::Pass;
use crate::raft::race_compare_and_set;

/// The interleaving of `duress_store::bug`, "How a forgotten vote loses a committed write": A is whoever leads first.
/// Returns what a linearizable read finds after `y` was acknowledged and B restarted.
async fn forget_the_vote(bug: Option<&'static str>) -> String {
    // Nodes are slow to stand for election, so that A's heartbeat finds the restarted B before B stands itself.
    let slow = ["election_max_ms=2000", "election_min_ms=1500"];
    let mut cluster = Cluster::start("raft", 3, &slow, bug).await;
    cluster.until(1, "SET k base", |reply| reply == "OK").await;
    let a = cluster.leader(1, &[1, 2, 3]).await;
    let others: Vec<usize> = (1..=3).filter(|node| *node != a).collect();
    let (b, c) = (others[0], others[1]);
    let mut client = cluster.client(a).await;

    cluster.isolate(a, Pass::Cut);
    let x = client.ask("SET k x").await.unwrap();
    assert!(x.starts_with("-UNKNOWN "), "in A's log and nowhere else: {x}");
    cluster.leader(c, &others).await;
    cluster.until(c, "SET k y", |reply| reply == "OK").await;
    assert_eq!(cluster.until(b, "GET k", |reply| !reply.starts_with('-')).await, "y");

    cluster.kill(b);
    cluster.isolate(c, Pass::Cut);
    cluster.set_link(a, b, Pass::Open);
    cluster.start_node(b);
    cluster.until(a, "GET k", |reply| !reply.starts_with('-')).await
}

#[tokio::test]
async fn vote_not_persisted_loses_an_acknowledged_write() {
    assert_eq!(forget_the_vote(Some("vote-not-persisted")).await, "x", "y was acknowledged and is gone");
}

#[tokio::test]
async fn a_persisted_vote_keeps_the_acknowledged_write() {
    assert_eq!(forget_the_vote(None).await, "y");
}

/// Acknowledges a write at a leader that is cut off, if it does, and returns the reply and what the cluster reads
/// once it is whole again.
async fn write_at_a_cut_off_leader(bug: Option<&'static str>) -> (String, String) {
    let cluster = Cluster::start("raft", 3, &[], bug).await;
    cluster.until(1, "SET k old", |reply| reply == "OK").await;
    // With the bug an OK is no commit; a linearizable read of the value is.
    cluster.until(1, "GET k", |reply| reply == "old").await;
    let leader = cluster.leader(1, &[1, 2, 3]).await;
    let others: Vec<usize> = (1..=3).filter(|node| *node != leader).collect();
    let mut client = cluster.client(leader).await;
    cluster.isolate(leader, Pass::Cut);
    let reply = client.ask("SET k new").await.unwrap();
    cluster.leader(others[0], &others).await;
    cluster.until(others[0], "SET other key", |reply| reply == "OK").await;
    cluster.isolate(leader, Pass::Open);
    let read = cluster.until(leader, "GET k", |reply| !reply.starts_with('-')).await;
    (reply, read)
}

#[tokio::test]
async fn ack_before_commit_loses_an_acknowledged_write() {
    let (reply, read) = write_at_a_cut_off_leader(Some("ack-before-commit")).await;
    assert_eq!((reply.as_str(), read.as_str()), ("OK", "old"));
}

#[tokio::test]
async fn without_a_quorum_nothing_is_acknowledged() {
    let (reply, read) = write_at_a_cut_off_leader(None).await;
    assert!(reply.starts_with("-UNKNOWN "), "{reply}");
    assert_eq!(read, "old");
}

/// What a cut-off leader answers after the others have overwritten the value.
async fn read_at_a_cut_off_leader(bug: Option<&'static str>) -> String {
    let cluster = Cluster::start("raft", 3, &[], bug).await;
    cluster.until(1, "SET k old", |reply| reply == "OK").await;
    let leader = cluster.leader(1, &[1, 2, 3]).await;
    let others: Vec<usize> = (1..=3).filter(|node| *node != leader).collect();
    let mut client = cluster.client(leader).await;
    cluster.isolate(leader, Pass::Cut);
    cluster.leader(others[0], &others).await;
    cluster.until(others[0], "SET k new", |reply| reply == "OK").await;
    client.ask("GET k").await.unwrap()
}

#[tokio::test]
async fn stale_leader_read_returns_an_overwritten_value() {
    assert_eq!(read_at_a_cut_off_leader(Some("stale-leader-read")).await, "old");
}

#[tokio::test]
async fn a_cut_off_leader_refuses_to_read() {
    let reply = read_at_a_cut_off_leader(None).await;
    assert!(reply.starts_with("-CLUSTERDOWN "), "{reply}");
}

/// What is left of an acknowledged counter after every node was killed.
async fn kill_all(mode: &'static str, bug: Option<&'static str>) -> String {
    let mut cluster = Cluster::start(mode, 3, &[], bug).await;
    cluster.until(1, "SET k 0", |reply| reply == "OK").await;
    let mut client = cluster.client(1).await;
    for count in 1..=50 {
        assert_eq!(client.ask("INCR n").await.unwrap(), format!("(integer) {count}"));
    }
    (1..=3).for_each(|node| cluster.kill(node));
    (1..=3).for_each(|node| cluster.start_node(node));
    cluster.until(1, "GET n", |reply| !reply.starts_with('-')).await
}

#[tokio::test]
async fn fsync_skipped_loses_acknowledged_writes() {
    for mode in ["raft", "primary"] {
        assert_ne!(kill_all(mode, Some("fsync-skipped")).await, "50", "{mode}");
        assert_eq!(kill_all(mode, None).await, "50", "{mode}");
    }
}

#[tokio::test]
async fn cas_before_order_lets_two_compare_and_sets_succeed() {
    let cluster = Cluster::start("raft", 3, &[], Some("cas-before-order")).await;
    cluster.until(1, "SET k 0", |reply| reply == "OK").await;
    for round in 0..200 {
        if race_compare_and_set(&cluster, round, 9).await > 1 {
            return;
        }
    }
    panic!("200 races and no lost update");
}
