//! The mode `raft` while nodes are cut off, paused, killed and restarted.

use std::time::{Duration, Instant};

use crate::cluster::Cluster;
use crate::proxy::Pass;

#[tokio::test]
async fn any_node_serves_by_way_of_the_leader() {
    let cluster = Cluster::start("raft", 3, &[], None).await;
    cluster.until(3, "SET k 0", |reply| reply == "OK").await;
    for node in 1..=3 {
        let mut client = cluster.client(node).await;
        for other in 1..=3 {
            let value = format!("{node}{other}");
            assert_eq!(client.ask(&format!("SET k {value}")).await.unwrap(), "OK");
            assert_eq!(cluster.client(other).await.ask("GET k").await.unwrap(), value);
        }
    }
}

#[tokio::test]
async fn a_killed_leader_is_replaced_and_catches_up_when_it_returns() {
    let mut cluster = Cluster::start("raft", 3, &[], None).await;
    cluster.until(1, "SET k before", |reply| reply == "OK").await;
    let old = cluster.leader(1, &[1, 2, 3]).await;
    cluster.kill(old);
    let others: Vec<usize> = (1..=3).filter(|node| *node != old).collect();
    let new = cluster.leader(others[0], &others).await;
    cluster.until(new, "SET k after", |reply| reply == "OK").await;
    cluster.start_node(old);
    cluster.until(old, "GET k", |reply| reply == "after").await;
    let applied = cluster.info(new, "applied").await;
    let caught_up = |info: &str| info.lines().any(|line| line == format!("applied:{applied}"));
    cluster.until(old, "INFO", caught_up).await;
}

#[tokio::test]
async fn a_minority_refuses_and_a_cut_off_leader_does_not_answer_stale() {
    let cluster = Cluster::start("raft", 3, &[], None).await;
    cluster.until(1, "SET k old", |reply| reply == "OK").await;
    let leader = cluster.leader(1, &[1, 2, 3]).await;
    let others: Vec<usize> = (1..=3).filter(|node| *node != leader).collect();
    cluster.isolate(leader, Pass::Cut);
    let mut cut_off = cluster.client(leader).await;
    cluster.leader(others[0], &others).await;
    cluster.until(others[0], "SET k new", |reply| reply == "OK").await;
    let refused = cut_off.ask("GET k").await.unwrap();
    assert!(refused.starts_with("-CLUSTERDOWN "), "{refused}");
    // It has been cut off for longer than a leader goes without a quorum, so it no longer even proposes.
    let refused = cluster.until(leader, "SET k lost", |reply| reply.starts_with("-CLUSTERDOWN ")).await;
    assert_eq!(refused, "-CLUSTERDOWN the leader has lost its quorum");
    cluster.isolate(leader, Pass::Open);
    cluster.until(leader, "GET k", |reply| reply == "new").await;
}

#[tokio::test]
async fn a_write_that_was_proposed_and_not_committed_is_unknown_not_refused() {
    let cluster = Cluster::start("raft", 3, &[], None).await;
    cluster.until(1, "SET k old", |reply| reply == "OK").await;
    let leader = cluster.leader(1, &[1, 2, 3]).await;
    let mut client = cluster.client(leader).await;
    cluster.isolate(leader, Pass::Cut);
    let reply = client.ask("SET k perhaps").await.unwrap();
    assert!(reply.starts_with("-UNKNOWN "), "{reply}");
}

#[tokio::test]
async fn a_paused_leader_that_wakes_up_does_not_answer_stale() {
    let cluster = Cluster::start("raft", 3, &[], None).await;
    cluster.until(1, "SET k old", |reply| reply == "OK").await;
    let leader = cluster.leader(1, &[1, 2, 3]).await;
    let others: Vec<usize> = (1..=3).filter(|node| *node != leader).collect();
    let mut client = cluster.client(leader).await;
    cluster.pause(leader).await;
    // The read is in the socket before the leader wakes up, so it is the first thing the leader sees.
    client.send(b"GET k\r\n").await.unwrap();
    cluster.leader(others[0], &others).await;
    cluster.until(others[0], "SET k new", |reply| reply == "OK").await;
    cluster.signal(leader, "CONT");
    let reply = crate::client::show(&client.receive().await.unwrap());
    assert!(reply == "new" || reply.starts_with('-'), "{reply}");
}

#[tokio::test]
async fn everything_acknowledged_survives_killing_all_nodes() {
    let mut cluster = Cluster::start("raft", 3, &["snapshot_every=50"], None).await;
    cluster.until(1, "SET k 0", |reply| reply == "OK").await;
    let mut client = cluster.client(2).await;
    for count in 1..=120 {
        assert_eq!(client.ask("INCR n").await.unwrap(), format!("(integer) {count}"));
    }
    (1..=3).for_each(|node| cluster.kill(node));
    (1..=3).for_each(|node| cluster.start_node(node));
    cluster.until(3, "GET n", |reply| reply == "120").await;
    assert!(cluster.info(1, "purged_index").await > 0, "the log was purged up to a snapshot");
}

#[tokio::test]
async fn a_follower_that_fell_behind_the_log_gets_a_snapshot() {
    let mut cluster = Cluster::start("raft", 3, &["snapshot_every=50"], None).await;
    cluster.until(1, "SET k 0", |reply| reply == "OK").await;
    let leader = cluster.leader(1, &[1, 2, 3]).await;
    let behind = (1..=3).find(|node| *node != leader).unwrap();
    cluster.kill(behind);
    let stopped_at = cluster.info(leader, "applied").await;
    let mut client = cluster.client(leader).await;
    for count in 1..=300 {
        assert_eq!(client.ask("INCR n").await.unwrap(), format!("(integer) {count}"));
    }
    assert!(
        cluster.info(leader, "purged_index").await > stopped_at,
        "the leader no longer has the entries that it would need"
    );
    cluster.start_node(behind);
    let applied = cluster.info(leader, "applied").await;
    let caught_up = |info: &str| {
        let index = info.lines().find_map(|line| line.strip_prefix("applied:")?.trim().parse::<u64>().ok());
        index >= Some(applied)
    };
    cluster.until(behind, "INFO", caught_up).await;
    cluster.until(behind, "GET n", |reply| reply == "300").await;
    // The snapshot that it installed is durable: it restarts from it.
    cluster.kill(behind);
    cluster.start_node(behind);
    cluster.until(behind, "INFO", caught_up).await;
}

#[tokio::test]
async fn concurrent_compare_and_sets_from_one_value_succeed_once() {
    let cluster = Cluster::start("raft", 3, &[], None).await;
    cluster.until(1, "SET k 0", |reply| reply == "OK").await;
    for round in 0..20 {
        assert_eq!(race_compare_and_set(&cluster, round, 9).await, 1, "round {round}");
    }
}

/// Has `clients` clients at all nodes compare-and-set from the value `round` at once; returns how many
/// succeeded.
pub async fn race_compare_and_set(cluster: &Cluster, round: usize, clients: usize) -> usize {
    let mut connections = Vec::new();
    for client in 0..clients {
        connections.push(cluster.client(1 + client % 3).await);
    }
    connections[0].ask(&format!("SET k {round}")).await.unwrap();
    let mut racing = tokio::task::JoinSet::new();
    for (client, mut connection) in connections.into_iter().enumerate() {
        racing.spawn(async move { connection.ask(&format!("SET k c{client} IFEQ {round}")).await.unwrap() });
    }
    let replies = racing.join_all().await;
    assert!(replies.iter().all(|reply| reply == "OK" || reply == "(nil)"), "{replies:?}");
    replies.iter().filter(|reply| *reply == "OK").count()
}

#[tokio::test]
async fn a_silent_partition_is_noticed_and_heals_at_once() {
    let cluster = Cluster::start("raft", 3, &[], None).await;
    cluster.until(1, "SET k old", |reply| reply == "OK").await;
    let leader = cluster.leader(1, &[1, 2, 3]).await;
    let others: Vec<usize> = (1..=3).filter(|node| *node != leader).collect();
    cluster.isolate(leader, Pass::Silent);
    cluster.leader(others[0], &others).await;
    cluster.until(others[0], "SET k new", |reply| reply == "OK").await;
    // A connection that was not closed: the link itself must find out that the peer no longer answers.
    let refused = cluster.until(leader, "SET k lost", |reply| reply.starts_with("-CLUSTERDOWN ")).await;
    assert_eq!(refused, "-CLUSTERDOWN the leader has lost its quorum");
    let healed = Instant::now();
    cluster.isolate(leader, Pass::Open);
    cluster.until(leader, "GET k", |reply| reply == "new").await;
    // Far below what TCP's backed-off retransmissions would take after such a pause.
    assert!(healed.elapsed() < Duration::from_secs(2), "healing took {:?}", healed.elapsed());
}

/// openraft lets a restarted leader continue to lead if no other node has replaced it, reading up to the
/// committed position it had saved; ours is saved late, so such a leader would not see the last writes it
/// acknowledged.
#[tokio::test]
async fn a_leader_that_restarts_at_once_reads_everything_it_acknowledged() {
    let mut cluster = Cluster::start("raft", 3, &[], None).await;
    cluster.until(1, "SET n 0", |reply| reply == "OK").await;
    for round in 1..=4 {
        let leader = cluster.leader(1 + round % 3, &[1, 2, 3]).await;
        cluster.until(leader, &format!("SET n {round}"), |reply| reply == "OK").await;
        cluster.kill(leader);
        cluster.start_node(leader);
        let read = cluster.until(leader, "GET n", |reply| !reply.starts_with('-')).await;
        assert_eq!(read, round.to_string());
    }
}

#[tokio::test]
async fn a_node_that_starts_late_or_first_makes_no_difference() {
    let mut cluster = Cluster::start("raft", 3, &[], None).await;
    (1..=3).for_each(|node| cluster.kill(node));
    // In whatever state the three were killed, two of them make a cluster, the lowest number or not.
    cluster.start_node(3);
    cluster.start_node(2);
    cluster.until(3, "SET k 1", |reply| reply == "OK").await;
    cluster.start_node(1);
    cluster.until(1, "GET k", |reply| reply == "1").await;
}
