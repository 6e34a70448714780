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

/// Writes a key whose owners are all cut off, restarts the nodes that took it, and returns what is read when everything is
/// healed and no hint is left.
async fn write_to_stand_ins(bug: Option<&'static str>) -> String {
    let mut cluster = start(5, &["sloppy=on", "anti_entropy_ms=100"], bug).await;
    // A key that the first three nodes own.
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
    let key = owned(&contents).expect("just seen");
    for away in 1..=3 {
        cluster.isolate(away, Pass::Cut);
    }
    for stays in [4, 5] {
        cluster.until(stays, "INFO", |info| info.contains("peers_connected:1")).await;
    }
    // Versions that a node away has are not seen, so that this one may lose against them: a new key it is.
    let new = (0..).map(|at| format!("{key}-{at}")).take(50).collect::<Vec<_>>();
    for key in &new {
        assert_eq!(cluster.client(4).await.ask(&format!("SET {key} hinted")).await.unwrap(), "OK");
    }
    assert!(cluster.info(4, "hints_pending").await > 0);
    for node in [4, 5] {
        cluster.kill(node);
    }
    for away in 1..=3 {
        for other in 1..=5 {
            if other != away {
                cluster.set_link(away, other, Pass::Open);
            }
        }
    }
    for node in [4, 5] {
        cluster.start_node(node);
    }
    connected(&cluster, 5).await;
    for node in 1..=5 {
        cluster.until(node, "INFO", |info| info.contains("hints_pending:0")).await;
    }
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
