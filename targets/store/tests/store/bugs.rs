//! Each seeded bug causes its anomaly, and the plain code does not.

use crate::client::show;
use crate::cluster::Cluster;
use crate::primary::{with_failover, write_and_be_replaced};
use crate::proxy::Pass;
use crate::raft::race_compare_and_set;
use crate::transactions::{halves_seen, race_read_and_append};

/// Plays the interleaving of `duress_store::bug`, "How a forgotten vote loses a committed write": A is the
/// first leader. Returns the result of a linearizable read after `y` was acknowledged and B restarted.
async fn forget_the_vote(bug: Option<&'static str>) -> String {
    // Nodes are slow to start an election, so that A's heartbeat finds the restarted B before B starts one
    // itself.
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
    // A slow A is asked before it has committed x.
    let read = forget_the_vote(Some("vote-not-persisted")).await;
    assert!(read == "x" || read == "base", "y was acknowledged and must be gone: {read}");
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
    // With the bug an OK is not a commit; a linearizable read of the value proves one.
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

/// Returns the answer of a cut-off leader after the others have overwritten the value.
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

/// Returns the value of an acknowledged counter after every node was killed.
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

/// Returns the terms in which a leader leads before it is killed, and once it or another leads after it was
/// started again.
async fn terms_around_a_restart(bug: Option<&'static str>) -> (u64, u64) {
    // Nodes are slow to start an election, so that none does while the leader is away.
    let slow = ["election_max_ms=6000", "election_min_ms=3000"];
    let mut cluster = Cluster::start("raft", 3, &slow, bug).await;
    cluster.until(1, "SET k v", |reply| reply == "OK").await;
    let leader = cluster.leader(1, &[1, 2, 3]).await;
    let before = cluster.info(leader, "term").await;
    cluster.kill(leader);
    cluster.start_node(leader);
    cluster.until(leader, "GET k", |reply| reply == "v").await;
    (before, cluster.info(leader, "term").await)
}

#[tokio::test]
async fn leadership_resumed_leads_on_without_an_election() {
    let (before, after) = terms_around_a_restart(Some("leadership-resumed")).await;
    assert_eq!(before, after);
}

#[tokio::test]
async fn a_leader_that_restarts_must_be_elected_again() {
    let (before, after) = terms_around_a_restart(None).await;
    assert!(before < after, "{before} and {after}");
}

/// How many of the keys that were written one after the other are left once all nodes were killed.
async fn left_by_snapshots(bug: Option<&'static str>) -> usize {
    const KEYS: usize = 24;
    let mut cluster = Cluster::start("raft", 3, &["snapshot_every=5"], bug).await;
    cluster.until(1, "SET base 0", |reply| reply == "OK").await;
    let mut client = cluster.client(1).await;
    for key in 0..KEYS {
        assert_eq!(client.ask(&format!("SET k{key} v")).await.unwrap(), "OK");
    }
    for node in 1..=3 {
        // Each has a snapshot of its own.
        cluster.until(node, "INFO", |info| !info.contains("snapshot_index:0")).await;
    }
    (1..=3).for_each(|node| cluster.kill(node));
    (1..=3).for_each(|node| cluster.start_node(node));
    let mut left = 0;
    for key in 0..KEYS {
        let read = cluster.until(1, &format!("GET k{key}"), |reply| !reply.starts_with('-')).await;
        left += usize::from(read == "v");
    }
    left
}

#[tokio::test]
async fn snapshot_lacks_last_batch_loses_acknowledged_writes() {
    assert_eq!(left_by_snapshots(None).await, 24);
    assert!(left_by_snapshots(Some("snapshot-lacks-last-batch")).await < 24);
}

/// Returns the answer of a leader that is cut off together with one follower, after the three others have
/// overwritten the value.
async fn read_at_a_leader_of_two(bug: Option<&'static str>) -> String {
    let cluster = Cluster::start("raft", 5, &["reads=lease"], bug).await;
    cluster.until(1, "SET k old", |reply| reply == "OK").await;
    let leader = cluster.leader(1, &[1, 2, 3, 4, 5]).await;
    let others: Vec<usize> = (1..=5).filter(|node| *node != leader).collect();
    let (follower, majority) = (others[0], &others[1..]);
    let mut client = cluster.client(leader).await;
    for node in majority {
        cluster.set_link(leader, *node, Pass::Cut);
        cluster.set_link(follower, *node, Pass::Cut);
    }
    cluster.leader(majority[0], majority).await;
    cluster.until(majority[0], "SET k new", |reply| reply == "OK").await;
    client.ask("GET k").await.unwrap()
}

#[tokio::test]
async fn lease_short_of_quorum_returns_an_overwritten_value() {
    assert_eq!(read_at_a_leader_of_two(Some("lease-short-of-quorum")).await, "old");
    let reply = read_at_a_leader_of_two(None).await;
    assert!(reply.starts_with("-CLUSTERDOWN "), "{reply}");
}

/// Returns a replica's values of the first and the last key written while it was cut off, and then was not.
async fn missed_by_a_replica(bug: Option<&'static str>) -> (String, String) {
    let cluster = Cluster::start("primary", 2, &["read=any"], bug).await;
    cluster.until(2, "SET base 0", |reply| reply == "OK").await;
    cluster.until(2, "GET base", |reply| reply == "0").await;
    cluster.isolate(2, Pass::Cut);
    let mut client = cluster.client(1).await;
    for key in 1..=60 {
        assert_eq!(client.ask(&format!("SET k{key} v")).await.unwrap(), "OK");
    }
    cluster.isolate(2, Pass::Open);
    let last = cluster.until(2, "GET k60", |reply| reply == "v").await;
    (cluster.client(2).await.ask("GET k1").await.unwrap(), last)
}

#[tokio::test]
async fn replica_skips_change_when_it_lags() {
    assert_eq!(missed_by_a_replica(Some("replica-skips-change")).await, ("(nil)".into(), "v".into()));
    assert_eq!(missed_by_a_replica(None).await, ("v".into(), "v".into()));
}

#[tokio::test]
async fn exec_piecewise_shows_half_of_a_transaction() {
    for mode in ["raft", "primary"] {
        let (halves, torn) = halves_seen(mode, &[], Some("exec-piecewise")).await;
        assert!(halves > 0 && torn > 0, "{mode}: {halves} and {torn}");
    }
}

#[tokio::test]
async fn exec_reads_early_misses_the_write_before() {
    for mode in ["raft", "primary"] {
        let cluster = Cluster::start(mode, 3, &[], Some("exec-reads-early")).await;
        cluster.until(2, "SET warm up", |reply| reply == "OK").await;
        let mut rounds = 0..200;
        while race_read_and_append(&cluster, rounds.next().expect("200 races and no early read"), 9).await
            == 0
        {}
    }
}

/// Returns the reply to a transaction at a follower whose connection to the leader breaks once the leader has executed it,
/// and then the list that it appended to.
async fn lose_the_answer(bug: Option<&'static str>) -> (String, String) {
    let cluster = Cluster::start("raft", 3, &[], bug).await;
    cluster.until(1, "RPUSH l 0", |reply| reply == "(integer) 1").await;
    let leader = cluster.leader(1, &[1, 2, 3]).await;
    let follower = leader % 3 + 1;
    cluster.leader(follower, &[leader]).await;
    let mut client = cluster.client(follower).await;
    cluster.set_link_of(follower, leader, Pass::Unanswered);
    client.send(b"MULTI\r\nRPUSH l x\r\nEXEC\r\n").await.unwrap();
    cluster.until(leader, "LLEN l", |reply| reply == "(integer) 2").await;
    cluster.set_link_of(follower, leader, Pass::Cut);
    cluster.set_link_of(follower, leader, Pass::Open);
    for reply in ["OK", "QUEUED"] {
        assert_eq!(show(&client.receive().await.unwrap()), reply);
    }
    let reply = show(&client.receive().await.unwrap());
    (reply, cluster.until(leader, "LRANGE l 0 -1", |reply| !reply.starts_with('-')).await)
}

#[tokio::test]
async fn exec_retried_executes_a_transaction_twice() {
    // A machine that is too busy lets the client's request time out before it can be sent again.
    for _ in 0..20 {
        let (reply, list) = lose_the_answer(Some("exec-retried")).await;
        if list == "[0, x, x]" {
            return;
        }
        assert!(reply.starts_with("-UNKNOWN "), "{reply}");
    }
    panic!("20 lost answers and no transaction was executed twice");
}

#[tokio::test]
async fn a_transaction_whose_answer_is_lost_is_unknown_and_was_executed_once() {
    let (reply, list) = lose_the_answer(None).await;
    assert!(reply.starts_with("-UNKNOWN "), "{reply}");
    assert_eq!(list, "[0, x]");
}

/// Has the primary acknowledge a write together with one replica, and die; returns what the other replica answers, which
/// was cut off from the primary, once a replica is promoted. Only the one that is behind can ask for votes at first.
async fn promote_who_can_ask(bug: Option<&'static str>) -> String {
    let (mut cluster, primary, others) = with_failover(&["ack=semi"], bug).await;
    let [ahead, behind] = others[..] else { panic!("there are two others") };
    cluster.set_link(primary, behind, Pass::Cut);
    cluster.set_link_of(ahead, behind, Pass::Cut);
    cluster.until(primary, "SET k new", |reply| reply == "OK").await;
    cluster.kill(primary);
    if bug.is_some() {
        cluster.leader(behind, &[behind]).await;
    } else {
        // It asks again and again, in vain.
        cluster.until(ahead, "INFO", |info| info.contains("leader:\r")).await;
    }
    cluster.set_link_of(ahead, behind, Pass::Open);
    cluster.until(behind, "GET k", |reply| !reply.starts_with('-')).await
}

#[tokio::test]
async fn promoted_replica_behind_loses_what_another_had_acknowledged() {
    assert_eq!(promote_who_can_ask(Some("promoted-replica-behind")).await, "old");
    assert_eq!(promote_who_can_ask(None).await, "new");
}

#[tokio::test]
async fn two_primaries_after_pause_acknowledge_and_answer_both() {
    let (cluster, primary, others) = with_failover(&["ack=sync"], Some("two-primaries-after-pause")).await;
    let mut client = cluster.client(primary).await;
    cluster.pause(primary).await;
    cluster.isolate(primary, Pass::Cut);
    cluster.leader(others[0], &others).await;
    cluster.until(others[0], "SET k new", |reply| reply == "OK").await;
    cluster.signal(primary, "CONT");
    assert_eq!(client.ask("GET k").await.unwrap(), "old");
    assert_eq!(client.ask("SET k lost").await.unwrap(), "OK");
    cluster.isolate(primary, Pass::Open);
    cluster.until(primary, "GET k", |reply| reply == "new").await;
}

#[tokio::test]
async fn resync_skips_range_keeps_what_was_lost() {
    assert_eq!(write_and_be_replaced(Some("resync-skips-range")).await, ("lost".into(), "(nil)".into()));
}
