//! The mode `ring`.

use crate::client::show;
use crate::cluster::{Clocks, Cluster};
use crate::proxy::Pass;

/// Waits until every node is connected to all others.
async fn connected(cluster: &Cluster, nodes: usize) {
    let all = format!("peers_connected:{}", nodes - 1);
    for node in 1..=nodes {
        cluster.until(node, "INFO", |info| info.contains(&all)).await;
    }
}

async fn start(nodes: usize, options: &[&str], bug: Option<&'static str>) -> Cluster {
    let cluster = Cluster::start("ring", nodes, options, bug).await;
    connected(&cluster, nodes).await;
    cluster
}

#[tokio::test]
async fn every_node_takes_requests_and_one_may_be_away() {
    let mut cluster = start(3, &[], None).await;
    for (node, value) in [(1, "a"), (2, "b"), (3, "c")] {
        assert_eq!(cluster.client(node).await.ask(&format!("SET k {value}")).await.unwrap(), "OK");
        for reader in 1..=3 {
            assert_eq!(cluster.client(reader).await.ask("GET k").await.unwrap(), value);
        }
    }
    cluster.kill(1);
    let mut two = cluster.client(2).await;
    assert_eq!(two.ask("SET k d").await.unwrap(), "OK");
    assert_eq!(cluster.client(3).await.ask("MGET k none").await.unwrap(), "[d, (nil)]");
    assert_eq!(two.ask("DEL k none k").await.unwrap(), "(integer) 1");
    assert_eq!(two.ask("EXISTS k").await.unwrap(), "(integer) 0");
    cluster.kill(3);
    let refused = cluster.until(2, "SET k e", |reply| reply.starts_with("-CLUSTERDOWN ")).await;
    assert_eq!(refused, "-CLUSTERDOWN too few owners of the key answered");
    cluster.start_node(3);
    cluster.until(2, "GET k", |reply| reply == "(nil)").await;
}

#[tokio::test]
async fn what_takes_consensus_is_refused_and_not_executed() {
    let cluster = start(3, &[], None).await;
    let mut client = cluster.client(1).await;
    assert_eq!(client.ask("SET k v").await.unwrap(), "OK");
    for command in [
        "SET k w IFEQ v",
        "SET k w IFEQ v GET",
        "SET k w XX",
        "SET n w NX",
        "INCR n",
        "RPUSH l a",
        "LRANGE l 0 -1",
        "LLEN l",
        "WATCH k",
        "MULTI",
    ] {
        let reply = client.ask(command).await.unwrap();
        assert!(reply.starts_with("-ERR the mode ring has GET, "), "{command}: {reply}");
    }
    assert_eq!(client.ask("MGET k n l").await.unwrap(), "[v, (nil), (nil)]");
}

#[tokio::test]
async fn a_write_that_reached_nobody_for_certain_is_told_from_one_that_may_have() {
    let cluster = start(3, &["w=3"], None).await;
    // The read quorum still answers; the third owner does not, and whether it has the value is not known.
    cluster.isolate(3, Pass::Silent);
    let reply = cluster.client(1).await.ask("SET k v").await.unwrap();
    assert_eq!(reply, "-UNKNOWN too few owners of the key confirmed the value");
}

/// Waits until nodes have compared their copies with all that they reach, from beginning to end.
async fn compared(cluster: &Cluster, nodes: &[usize]) {
    for node in nodes {
        // One may be under way.
        let enough = cluster.info(*node, "anti_entropy_rounds").await + 2;
        let rounds = |info: &str| {
            let rounds = info.lines().find_map(|line| line.strip_prefix("anti_entropy_rounds:"))?;
            rounds.trim().parse::<u64>().ok()
        };
        cluster.until(*node, "INFO", |info| rounds(info).is_some_and(|rounds| rounds >= enough)).await;
    }
}

/// Deletes a key while one owner is cut off with its value, and returns what that owner reads when everything is healed and
/// its copies have been compared with the others'.
async fn delete_while_an_owner_is_away(bug: Option<&'static str>) -> String {
    let cluster = start(3, &["anti_entropy_ms=50", "read_repair=off"], bug).await;
    let mut client = cluster.client(1).await;
    assert_eq!(client.ask("SET k v").await.unwrap(), "OK");
    cluster.until(3, "DEBUG COPIES", |reply| reply.contains("k, v")).await;
    cluster.isolate(3, Pass::Cut);
    assert_eq!(client.ask("DEL k").await.unwrap(), "(integer) 1");
    compared(&cluster, &[1, 2]).await;
    cluster.isolate(3, Pass::Open);
    connected(&cluster, 3).await;
    compared(&cluster, &[1, 2, 3]).await;
    cluster.client(1).await.ask("GET k").await.unwrap()
}

#[tokio::test]
async fn a_deleted_key_does_not_come_back() {
    assert_eq!(delete_while_an_owner_is_away(None).await, "(nil)");
}

#[tokio::test]
async fn deleted_key_resurrected_brings_it_back() {
    assert_eq!(delete_while_an_owner_is_away(Some("deleted-key-resurrected")).await, "v");
}

#[tokio::test]
async fn copies_converge_without_reads() {
    let mut cluster = start(5, &["anti_entropy_ms=100", "read_repair=off"], None).await;
    let mut client = cluster.client(1).await;
    cluster.kill(4);
    for key in 0..60 {
        assert_eq!(client.ask(&format!("SET k{key} v{key}")).await.unwrap(), "OK");
    }
    assert_eq!(client.ask("DEL k7").await.unwrap(), "(integer) 1");
    cluster.start_node(4);
    // 59 keys at three owners each; more would be copies that their owners do not own.
    let deadline = std::time::Instant::now() + crate::cluster::PATIENCE;
    let mut poll = tokio::time::interval(std::time::Duration::from_millis(50));
    loop {
        let mut held = 0;
        for node in 1..=5 {
            let contents = cluster.until(node, "DEBUG COPIES", |_| true).await;
            held += (0..60).filter(|key| contents.contains(&format!("k{key}, v{key}"))).count();
        }
        if held == 59 * 3 {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{held} copies");
        poll.tick().await;
    }
}

/// Writes keys, and returns one that the first three of five nodes own.
async fn owned_by_the_first_three(cluster: &Cluster) -> String {
    let owned = |reply: &str| {
        let ours = reply.split("[n1,n2,n3, ").nth(1)?;
        let key = ours.split(", ").nth(1)?.trim_matches(']');
        key.starts_with('k').then(|| key.to_owned())
    };
    let mut client = cluster.client(1).await;
    for key in 0..200 {
        assert_eq!(client.ask(&format!("SET k{key} v")).await.unwrap(), "OK");
    }
    let contents = cluster.until(1, "DEBUG COPIES", |reply| owned(reply).is_some()).await;
    owned(&contents).expect("just seen")
}

/// Cuts the first three of five nodes off, from each other too; the other two reach each other.
async fn part_the_first_three(cluster: &Cluster) {
    for away in 1..=3 {
        cluster.isolate(away, Pass::Cut);
    }
    for stays in [4, 5] {
        cluster.until(stays, "INFO", |info| info.contains("peers_connected:1")).await;
    }
}

/// Joins all five nodes again, and waits until no hint is left.
async fn join_and_hand_off(cluster: &Cluster) {
    for away in 1..=3 {
        cluster.isolate(away, Pass::Open);
    }
    connected(cluster, 5).await;
    for node in 1..=5 {
        cluster.until(node, "INFO", |info| info.contains("hints_pending:0")).await;
    }
}

/// Writes a key whose owners are all cut off, restarts the nodes that took it, and returns what is read when everything is
/// healed and no hint is left.
async fn write_to_stand_ins(bug: Option<&'static str>) -> String {
    let mut cluster = start(5, &["sloppy=on", "anti_entropy_ms=100"], bug).await;
    let key = owned_by_the_first_three(&cluster).await;
    part_the_first_three(&cluster).await;
    // Versions that a node away has are not seen, so that this one may lose against them: a new key it is.
    let new = (0..).map(|at| format!("{key}-{at}")).take(50).collect::<Vec<_>>();
    for key in &new {
        assert_eq!(cluster.client(4).await.ask(&format!("SET {key} hinted")).await.unwrap(), "OK");
    }
    assert!(cluster.info(4, "hints_pending").await > 0);
    for node in [4, 5] {
        cluster.kill(node);
    }
    for node in [4, 5] {
        cluster.start_node(node);
    }
    join_and_hand_off(&cluster).await;
    // With n=3 of five nodes, some key has no owner among the two.
    let mut client = cluster.client(1).await;
    let mut lost = 0;
    for key in &new {
        lost += usize::from(client.ask(&format!("GET {key}")).await.unwrap() == "(nil)");
    }
    format!("{} lost", if lost > 0 { "some" } else { "none" })
}

#[tokio::test]
async fn hints_survive_a_restart_and_reach_the_owners() {
    assert_eq!(write_to_stand_ins(None).await, "none lost");
}

#[tokio::test]
async fn hint_lost_on_restart_loses_acknowledged_writes() {
    assert_eq!(write_to_stand_ins(Some("hint-lost-on-restart")).await, "some lost");
}

/// Writes through a node whose clock is a minute ahead, then through another, and returns what is read.
async fn write_after_a_fast_clock(bug: Option<&'static str>) -> String {
    let cluster = Cluster::start_with_clocks("ring", 3, &[], bug, Clocks::Stepped).await;
    connected(&cluster, 3).await;
    cluster.step_clock(1, 60_000);
    assert_eq!(cluster.client(1).await.ask("SET k early").await.unwrap(), "OK");
    assert_eq!(cluster.client(2).await.ask("SET k late").await.unwrap(), "OK");
    cluster.client(3).await.ask("GET k").await.unwrap()
}

#[tokio::test]
async fn versions_do_not_depend_on_clocks() {
    assert_eq!(write_after_a_fast_clock(None).await, "late");
}

#[tokio::test]
async fn lww_by_clock_loses_an_acknowledged_write() {
    assert_eq!(write_after_a_fast_clock(Some("lww-by-clock")).await, "early");
}

#[tokio::test]
async fn a_pipeline_is_answered_in_order() {
    let cluster = start(3, &[], None).await;
    let mut client = cluster.client(2).await;
    client.send(b"SET a 1\r\nSET a 2\r\nGET a\r\nDEL a\r\nGET a\r\n").await.unwrap();
    let mut replies = Vec::new();
    for _ in 0..5 {
        replies.push(show(&client.receive().await.unwrap()));
    }
    assert_eq!(replies, ["OK", "OK", "2", "(integer) 1", "(nil)"]);
}

/// Splits the reply to `RING.GET` into the context and the values.
fn context_and_values(reply: &str) -> (String, Vec<String>) {
    let mut words = reply.trim_matches(['[', ']']).split(", ").map(str::to_owned);
    // The context of several actors has commas, and no spaces.
    (words.next().expect("a context"), words.collect())
}

async fn ring_get(cluster: &Cluster, node: usize, key: &str) -> (String, Vec<String>) {
    context_and_values(&cluster.client(node).await.ask(&format!("RING.GET {key}")).await.unwrap())
}

#[tokio::test]
async fn a_write_replaces_what_its_client_has_seen_and_nothing_else() {
    let cluster = start(3, &["conflict=siblings"], None).await;
    let mut client = cluster.client(1).await;
    assert_eq!(client.ask("RING.GET k").await.unwrap(), "[]", "nothing was seen of a key without a value");
    assert_eq!(client.ask("SET k a").await.unwrap(), "OK");
    assert_eq!(cluster.client(2).await.ask("GET k").await.unwrap(), "a");
    let (seen_a, values) = ring_get(&cluster, 3, "k").await;
    assert_eq!(values, ["a"]);
    // Through another node, by a client that has not seen the value.
    assert_eq!(cluster.client(2).await.ask("SET k b").await.unwrap(), "OK");
    for command in ["GET k", "MGET none k"] {
        let reply = client.ask(command).await.unwrap();
        assert!(reply.starts_with("-ERR the key has several values, "), "{command}: {reply}");
    }
    assert_eq!(client.ask("EXISTS k").await.unwrap(), "(integer) 1");
    let (seen_both, mut values) = ring_get(&cluster, 1, "k").await;
    values.sort_unstable();
    assert_eq!(values, ["a", "b"]);
    assert_eq!(client.ask(&format!("RING.SET k {seen_a} c")).await.unwrap(), "OK");
    let (_, mut values) = ring_get(&cluster, 2, "k").await;
    values.sort_unstable();
    assert_eq!(values, ["b", "c"], "b had not been seen");
    assert_eq!(cluster.client(3).await.ask(&format!("RING.DEL k {seen_both}")).await.unwrap(), "OK");
    assert_eq!(client.ask("GET k").await.unwrap(), "c", "c had not been seen");
    let refused = client.ask("DEL k").await.unwrap();
    assert!(refused.starts_with("-ERR with conflict=siblings a key is deleted by RING.DEL"), "{refused}");
    let (seen, _) = ring_get(&cluster, 1, "k").await;
    assert_eq!(client.ask(&format!("RING.DEL k {seen}")).await.unwrap(), "OK");
    assert_eq!(cluster.client(2).await.ask("MGET k").await.unwrap(), "[(nil)]");
}

#[tokio::test]
async fn where_the_last_write_wins_nothing_needs_to_have_been_seen() {
    let cluster = start(3, &[], None).await;
    let mut client = cluster.client(1).await;
    for command in ["RING.SET k 0.1.0=1 a", "RING.SET k 7.7.7=7 b"] {
        assert_eq!(client.ask(command).await.unwrap(), "OK");
    }
    assert_eq!(client.ask("RING.GET k").await.unwrap(), "[, b]");
    assert_eq!(client.ask("RING.DEL k 7.7.7=7").await.unwrap(), "OK");
    assert_eq!(client.ask("GET k").await.unwrap(), "(nil)");
    let raft = Cluster::start("raft", 1, &[], None).await;
    let refused = raft.client(1).await.ask("RING.GET k").await.unwrap();
    assert_eq!(refused, "-ERR RING.GET, RING.SET and RING.DEL need the mode ring");
}

/// Writes a key on both sides of a partition, and returns the values that are read once it is healed and copies have been compared.
async fn write_on_both_sides(bug: Option<&'static str>) -> Vec<String> {
    let options = ["conflict=siblings", "r=1", "w=1", "read_repair=off", "anti_entropy_ms=50"];
    let cluster = start(3, &options, bug).await;
    cluster.isolate(3, Pass::Cut);
    for (node, value) in [(1, "a"), (3, "b")] {
        assert_eq!(cluster.client(node).await.ask(&format!("SET k {value}")).await.unwrap(), "OK");
    }
    cluster.isolate(3, Pass::Open);
    connected(&cluster, 3).await;
    compared(&cluster, &[1, 2, 3]).await;
    let (_, mut values) = ring_get(&cluster, 2, "k").await;
    values.sort_unstable();
    values
}

#[tokio::test]
async fn writes_on_both_sides_of_a_partition_are_kept_side_by_side() {
    assert_eq!(write_on_both_sides(None).await, ["a", "b"]);
}

#[tokio::test]
async fn siblings_dropped_keeps_one_of_them() {
    assert_eq!(write_on_both_sides(Some("siblings-dropped")).await.len(), 1);
}

/// Writes a key to a node that stands in for its owners, twice, with a hand-off between; returns how many values the owners have.
async fn stand_in_twice(bug: Option<&'static str>) -> usize {
    let cluster = start(5, &["conflict=siblings", "sloppy=on", "anti_entropy_ms=100"], bug).await;
    // The first three nodes own some of these keys alone, so that the last two stand in for all of their owners.
    for value in ["a", "b"] {
        part_the_first_three(&cluster).await;
        for at in 0..30 {
            assert_eq!(cluster.client(4).await.ask(&format!("SET k{at} {value}")).await.unwrap(), "OK");
        }
        join_and_hand_off(&cluster).await;
    }
    let mut least = 2;
    for at in 0..30 {
        least = least.min(ring_get(&cluster, 1, &format!("k{at}")).await.1.len());
    }
    least
}

#[tokio::test]
async fn a_copy_that_was_handed_off_and_forgotten_is_counted_anew() {
    assert_eq!(stand_in_twice(None).await, 2);
}

#[tokio::test]
async fn actor_reused_loses_the_second_write() {
    assert_eq!(stand_in_twice(Some("actor-reused")).await, 1);
}
