//! The mode `sharded`: requests to several shards, and slots that move while clients run.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::cluster::{Cluster, PATIENCE};

/// Starts nodes, and waits until each can read every shard.
async fn ready(size: usize, options: &[&str], bug: Option<&'static str>) -> Cluster {
    let cluster = Cluster::start("sharded", size, options, bug).await;
    for node in 1..=size {
        cluster.until(node, "DBSIZE", |reply| reply == "(integer) 0").await;
    }
    cluster
}

/// Moves slots, once no other move is under way, and waits until they have moved.
async fn move_slots(cluster: &Cluster, slots: &str, to: u8) -> String {
    let command = format!("CLUSTER MOVESLOTS {slots} {to}");
    let begun = cluster.until(1, &command, |reply| reply.starts_with("(integer)")).await;
    cluster.until(1, "INFO", |info| info.contains("moving:\r\n")).await;
    begun
}

#[tokio::test]
async fn any_node_answers_for_every_shard() {
    let cluster = ready(3, &[], None).await;
    let mut client = cluster.client(2).await;
    // The slots of bar are in shard 0 of two, those of foo in shard 1.
    for key in ["bar", "{bar}2", "foo", "{foo}2"] {
        assert_eq!(client.ask(&format!("SET {key} 1")).await.unwrap(), "OK");
    }
    let mut client = cluster.client(3).await;
    let cross_slot = "-CROSSSLOT the keys are in several shards: give them a common hash tag, as in {tag}key";
    for (command, reply) in [
        ("MGET bar foo nothing {bar}2", "[1, 1, (nil), 1]"),
        ("EXISTS bar foo foo nothing", "(integer) 3"),
        ("CLUSTER COUNTKEYSINSLOT 12182", "(integer) 2"),
        ("DEL bar foo nothing", "(integer) 2"),
        ("DBSIZE", "(integer) 2"),
        ("WATCH bar foo", cross_slot),
        ("WATCH foo {foo}2", "OK"),
        ("MULTI", "OK"),
        ("CLUSTER INFO", "-ERR Command not allowed inside a transaction"),
        ("DISCARD", "OK"),
        ("CLUSTER MOVESLOTS 0 1 2", "-ERR there is no shard 2: the shards are 0 to 1"),
    ] {
        assert_eq!(client.ask(command).await.unwrap(), reply, "{command}");
    }
    assert_eq!(client.transact(&["GET foo", "MGET foo {foo}2"]).await.unwrap(), "[(nil), [(nil), 1]]");
    assert_eq!(client.transact(&["INCR foo", "GET {foo}2"]).await.unwrap(), "[(integer) 1, 1]");
    for reads_only in [["GET foo", "GET bar"], ["GET foo", "SET bar 1"]] {
        assert_eq!(client.transact(&reads_only).await.unwrap(), cross_slot);
    }
    assert_eq!(client.ask("GET bar").await.unwrap(), "(nil)");
}

#[tokio::test]
async fn clients_that_route_by_slots_find_the_leaders() {
    let cluster = ready(3, &[], None).await;
    move_slots(&cluster, "100 200", 1).await;
    let nodes = |count: usize| (1..=count).map(|node| format!("127.0.0.1, (integer) {}", cluster.port(node)));
    let ranges =
        ["0, (integer) 99,", "201, (integer) 8191,", "100, (integer) 200,", "8192, (integer) 16383,"]
            .map(|range| format!("[(integer) {range}"));
    // This node's copy of the directory may be older than the other's.
    let shows = |slots: &str| nodes(3).chain(ranges.clone()).all(|part| slots.contains(&part));
    cluster.until(2, "CLUSTER SLOTS", shows).await;
    let mut client = cluster.client(2).await;
    let id = client.ask("CLUSTER MYID").await.unwrap();
    let listed = client.ask("CLUSTER NODES").await.unwrap();
    assert_eq!(listed.matches("myself,").count(), 1, "{listed}");
    assert!(listed.lines().any(|line| line.starts_with(&id) && line.contains("myself,")), "{listed}");
    assert!(listed.contains(" 0-99 201-8191") && listed.contains(" 100-200 8192-16383"), "{listed}");
    assert!(client.ask("CLUSTER SHARDS").await.unwrap().contains(&id));
    assert!(client.ask("CLUSTER INFO").await.unwrap().contains("cluster_state:ok"));
    assert!(
        client
            .ask("COMMAND")
            .await
            .unwrap()
            .contains("[set, (integer) -3, [write], (integer) 1, (integer) 1, (integer) 1]")
    );
    let plain = Cluster::start("raft", 1, &[], None).await;
    let refusal = "-ERR This instance has cluster support disabled";
    assert_eq!(plain.client(1).await.ask("CLUSTER SLOTS").await.unwrap(), refusal);
}

#[tokio::test]
async fn a_watched_key_is_watched_over_a_move() {
    let cluster = ready(3, &[], None).await;
    let (mut one, mut other) = (cluster.client(2).await, cluster.client(3).await);
    one.ask("SET foo 0").await.unwrap();
    for (to, between, reply) in [(0, None, "[OK]"), (1, Some("SET foo 1"), "(nil)")] {
        one.ask("WATCH foo").await.unwrap();
        assert_eq!(move_slots(&cluster, "12182 12182", to).await, "(integer) 1");
        if let Some(command) = between {
            other.ask(command).await.unwrap();
        }
        assert_eq!(one.transact(&["SET foo 2"]).await.unwrap(), reply, "{between:?}");
    }
    assert_eq!(move_slots(&cluster, "12182 12182", 1).await, "(integer) 0", "it is there");
}

#[tokio::test]
async fn keys_move_under_clients_and_none_is_lost_or_counted_twice() {
    let cluster = ready(3, &["shards=3", "rebalance_every_ms=1", "snapshot_every=50"], None).await;
    let mut client = cluster.client(1).await;
    for key in 0..300 {
        assert_eq!(client.ask(&format!("SET k{key} {key}")).await.unwrap(), "OK");
    }
    let deadline = Instant::now() + PATIENCE;
    let (mut count, moves) = (0, cluster.info(1, "moves").await);
    while cluster.info(1, "moves").await < moves + 30 {
        assert!(Instant::now() < deadline, "30 moves in {PATIENCE:?}");
        for _ in 0..10 {
            count += 1;
            assert_eq!(client.ask("INCR n").await.unwrap(), format!("(integer) {count}"));
        }
    }
    assert_eq!(client.ask("DBSIZE").await.unwrap(), "(integer) 301");
    let mut found = BTreeSet::new();
    let mut cursor = "0".to_owned();
    loop {
        let reply = client.ask(&format!("SCAN {cursor} COUNT 7")).await.unwrap();
        let (next, keys) = reply.trim_start_matches('[').split_once(", ").unwrap();
        found.extend(
            keys.trim_matches(['[', ']']).split(", ").filter(|key| !key.is_empty()).map(str::to_owned),
        );
        cursor = next.to_owned();
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(found.len(), 301, "a scan finds keys that move");
    let keys: String = (0..300).map(|key| format!(" k{key}")).collect();
    let values: Vec<String> = (0..300).map(|key| key.to_string()).collect();
    assert_eq!(client.ask(&format!("MGET{keys}")).await.unwrap(), format!("[{}]", values.join(", ")));
}

#[tokio::test]
async fn moves_go_on_after_kills_of_every_node() {
    let mut cluster = ready(3, &["rebalance_every_ms=1", "snapshot_every=50"], None).await;
    let mut acknowledged = 0;
    for node in [1, 2, 3, 1, 2, 3] {
        let mut client = cluster.client(node).await;
        for _ in 0..20 {
            acknowledged += u64::from(client.ask("INCR n").await.unwrap().starts_with("(integer)"));
        }
        cluster.kill(node);
        cluster.until(node % 3 + 1, "INCR other", |reply| reply.starts_with("(integer)")).await;
        cluster.start_node(node);
        cluster.until(node, "DBSIZE", |reply| reply.starts_with("(integer)")).await;
    }
    let moves = cluster.info(1, "moves").await;
    cluster.until(1, "INFO", |info| !info.contains(&format!("\r\nmoves:{moves}\r\n"))).await;
    let read = cluster.until(2, "GET n", |reply| !reply.starts_with('-')).await;
    let read: u64 = read.parse().unwrap();
    assert!(
        (acknowledged..=120).contains(&read),
        "{acknowledged} of 120 were acknowledged, and {read} counted"
    );
    assert!(acknowledged > 60, "most requests were answered: {acknowledged}");
}

/// Returns what 300 acknowledged increments add up to, while slots move.
async fn counted(bug: Option<&'static str>) -> u64 {
    let cluster = ready(1, &["rebalance_every_ms=1"], bug).await;
    let mut client = cluster.client(1).await;
    for _ in 0..300 {
        let reply = client.ask("INCR n").await.unwrap();
        assert!(reply.starts_with("(integer)"), "{reply}");
    }
    cluster.until(1, "GET n", |reply| !reply.starts_with('-')).await.parse().unwrap()
}

#[tokio::test]
async fn retried_after_move_counts_twice() {
    assert!(counted(Some("retried-after-move")).await > 300);
    assert_eq!(counted(None).await, 300);
}
