//! Reads by lease, and local ones: their savings, and their assumptions.

use std::time::Instant;

use crate::client::show;
use crate::cluster::{Clocks, Cluster, PATIENCE};
use crate::proxy::Pass;

const LEASE: &str = "reads=lease";

/// Leases far longer than a busy machine may delay a heartbeat, so that they do not end by accident.
const LONG: [&str; 5] =
    [LEASE, "election_max_ms=6000", "election_min_ms=3000", "lease_ms=3000", "drift_bound_ms=3000"];

async fn start(options: &[&str]) -> Cluster {
    let cluster = Cluster::start_with_clocks("raft", 3, options, None, Clocks::Stepped).await;
    cluster.until(1, "SET k old", |reply| reply == "OK").await;
    cluster
}

/// Returns the leader, and the others.
async fn roles(cluster: &Cluster) -> (usize, Vec<usize>) {
    let leader = cluster.leader(1, &[1, 2, 3]).await;
    (leader, (1..=3).filter(|node| *node != leader).collect())
}

/// How many quorum rounds and how many answers by lease a hundred reads at every node take.
async fn cost_of_reads(options: &[&str]) -> (u64, u64) {
    let cluster = start(options).await;
    let (leader, _) = roles(&cluster).await;
    for node in 1..=3 {
        cluster.until(node, "GET k", |reply| reply == "old").await;
    }
    let rounds = cluster.info(leader, "read_rounds").await;
    let by_lease =
        |info: &str| info.lines().find_map(|line| line.strip_prefix("lease_reads:")?.trim().parse().ok());
    let seen = |info: String| by_lease(&info).unwrap_or(0_u64);
    let before = seen(cluster.until(leader, "INFO", |_| true).await);
    for node in 1..=3 {
        let mut client = cluster.client(node).await;
        for _ in 0..100 {
            assert_eq!(client.ask("GET k").await.unwrap(), "old");
        }
    }
    let after = seen(cluster.until(leader, "INFO", |_| true).await);
    (cluster.info(leader, "read_rounds").await - rounds, after - before)
}

#[tokio::test]
async fn a_lease_saves_the_quorum_round() {
    assert_eq!(cost_of_reads(&LONG).await, (0, 300));
    // The same reads one by one, each with a round of its own.
    assert_eq!(cost_of_reads(&["reads=index"]).await, (300, 0));
    // From each node's own copy: the leader is not even asked.
    assert_eq!(cost_of_reads(&["reads=local"]).await, (0, 0));
}

#[tokio::test]
async fn a_leader_whose_lease_is_over_asks_a_quorum_again() {
    let cluster = start(&LONG).await;
    let (leader, _) = roles(&cluster).await;
    cluster.until(leader, "GET k", |reply| reply == "old").await;
    let rounds = cluster.info(leader, "read_rounds").await;
    let mut client = cluster.client(leader).await;
    let deadline = Instant::now() + PATIENCE;
    // A clock set forward ends the lease; unless a heartbeat is faster, the read finds it ended.
    for step in 1.. {
        cluster.step_clock(leader, step * 10_000);
        assert_eq!(client.ask("GET k").await.unwrap(), "old");
        if cluster.info(leader, "read_rounds").await > rounds {
            return;
        }
        assert!(Instant::now() < deadline, "no read has asked a quorum");
    }
}

/// Returns the answer of a cut-off leader, once its clock is stepped and the others have overwritten the
/// value.
async fn read_after_step(milliseconds: i64) -> String {
    let cluster = start(&[LEASE]).await;
    let (leader, others) = roles(&cluster).await;
    let mut client = cluster.client(leader).await;
    cluster.isolate(leader, Pass::Cut);
    cluster.step_clock(leader, milliseconds);
    cluster.leader(others[0], &others).await;
    cluster.until(others[0], "SET k new", |reply| reply == "OK").await;
    client.ask("GET k").await.unwrap()
}

#[tokio::test]
async fn a_deposed_leader_refuses_while_its_clock_is_within_the_bound() {
    for step in [0, -300, 60_000] {
        let reply = read_after_step(step).await;
        assert!(reply.starts_with("-CLUSTERDOWN "), "{step} ms: {reply}");
    }
}

#[tokio::test]
async fn a_deposed_leader_whose_clock_went_back_beyond_the_bound_answers_stale() {
    assert_eq!(read_after_step(-60_000).await, "old");
}

/// A step before the last heartbeat is in the sending times too, so it moves nothing.
#[tokio::test]
async fn a_clock_that_is_merely_wrong_does_no_harm() {
    let cluster = start(&[LEASE]).await;
    let (leader, others) = roles(&cluster).await;
    cluster.step_clock(leader, -60_000);
    // Its acknowledgement is one of a quorum for an append that was sent after the step.
    let mut client = cluster.client(leader).await;
    assert_eq!(client.ask("SET other 1").await.unwrap(), "OK");
    cluster.isolate(leader, Pass::Cut);
    cluster.leader(others[0], &others).await;
    cluster.until(others[0], "SET k new", |reply| reply == "OK").await;
    let reply = client.ask("GET k").await.unwrap();
    assert!(reply.starts_with("-CLUSTERDOWN "), "{reply}");
}

#[tokio::test]
async fn a_paused_leader_that_wakes_up_does_not_answer_by_its_old_lease() {
    let cluster = start(&[LEASE]).await;
    let (leader, others) = roles(&cluster).await;
    let mut client = cluster.client(leader).await;
    cluster.pause(leader).await;
    // The read is in the socket before the leader wakes up, so the leader sees it first; and no message from
    // the others can reach it before it answers.
    client.send(b"GET k\r\n").await.unwrap();
    cluster.isolate(leader, Pass::Cut);
    cluster.leader(others[0], &others).await;
    cluster.until(others[0], "SET k new", |reply| reply == "OK").await;
    cluster.signal(leader, "CONT");
    let reply = show(&client.receive().await.unwrap());
    assert!(reply.starts_with("-CLUSTERDOWN "), "{reply}");
}

/// Those who made the lease are killed and start again while it lasts: they must not have forgotten it.
#[tokio::test]
async fn restarted_nodes_elect_nobody_while_a_lease_may_last() {
    // A node that starts an election does so within 3 s of its start, most likely well before the lease is
    // over.
    let hasty = [LEASE, "election_max_ms=3000", "election_min_ms=150", "lease_ms=2700", "drift_bound_ms=300"];
    let mut cluster = start(&hasty).await;
    let (leader, others) = roles(&cluster).await;
    let mut client = cluster.client(leader).await;
    cluster.isolate(leader, Pass::Cut);
    for node in &others {
        cluster.kill(*node);
        cluster.start_node(*node);
    }
    assert_eq!(client.ask("GET k").await.unwrap(), "old", "the lease lasts, and rightly");
    cluster.until(others[0], "SET k new", |reply| reply == "OK").await;
    let reply = client.ask("GET k").await.unwrap();
    assert!(reply.starts_with("-CLUSTERDOWN "), "{reply}");
}

#[tokio::test]
async fn local_reads_are_stale_while_a_node_is_cut_off_and_converge() {
    let cluster = start(&["reads=local"]).await;
    let (leader, others) = roles(&cluster).await;
    cluster.until(others[0], "GET k", |reply| reply == "old").await;
    cluster.isolate(others[0], Pass::Cut);
    cluster.until(leader, "SET k new", |reply| reply == "OK").await;
    assert_eq!(cluster.client(leader).await.ask("GET k").await.unwrap(), "new");
    assert_eq!(cluster.client(others[0]).await.ask("GET k").await.unwrap(), "old");
    cluster.isolate(others[0], Pass::Open);
    cluster.until(others[0], "GET k", |reply| reply == "new").await;
}
