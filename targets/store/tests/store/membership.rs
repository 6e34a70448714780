//! Members of the mode `raft` that are removed and added while it serves.

use std::time::Duration;

use crate::cluster::Cluster;
use crate::proxy::Pass;

const OUTSIDE: &str = "-CLUSTERDOWN this node is not a member of the cluster";

fn words(reply: &str) -> Vec<&str> {
    reply.split(['[', ']', ',', ' ']).filter(|word| !word.is_empty()).collect()
}

/// Whether a reply to `RAFT.NODE` lists exactly these nodes as voters, and no other member.
fn has_voters(nodes: &'static [usize]) -> impl Fn(&str) -> bool {
    move |reply| {
        let words = words(reply);
        let parts = words.iter().filter(|word| matches!(**word, "voter" | "learner")).count();
        let votes = |node: &usize| words.windows(2).any(|pair| pair == [&format!("n{node}")[..], "voter"]);
        parts == nodes.len() && nodes.iter().all(votes)
    }
}

/// Returns the number of a member in a reply to `RAFT.NODE`.
fn number_of(node: usize, reply: &str) -> u64 {
    let words = words(reply);
    let at = words.iter().position(|word| *word == format!("n{node}")).unwrap_or_else(|| panic!("{reply}"));
    words[at + 2..].iter().find_map(|word| word.parse().ok()).unwrap_or_else(|| panic!("{reply}"))
}

/// Returns a cluster all of whose nodes serve.
async fn cluster(size: usize, options: &[&str]) -> Cluster {
    let cluster = Cluster::start("raft", size, options, None).await;
    cluster.until(1, "SET k 0", |reply| reply == "OK").await;
    for node in 1..=size {
        cluster.until(node, "GET k", |reply| reply == "0").await;
    }
    cluster
}

#[tokio::test]
async fn a_removed_node_neither_serves_nor_counts_until_it_is_added_again() {
    let mut cluster = cluster(5, &[]).await;
    for node in [4, 5] {
        cluster.until(1, &format!("RAFT.NODE REMOVE n{node}"), |reply| !reply.starts_with('-')).await;
    }
    cluster.until(1, "RAFT.NODE LIST", has_voters(&[1, 2, 3])).await;
    for node in [4, 5] {
        for command in ["GET k", "SET k stray", "RAFT.NODE LIST"] {
            cluster.until(node, command, |reply| reply == OUTSIDE).await;
        }
    }
    // Two of three voters are a quorum.
    cluster.kill(3);
    cluster.until(1, "SET k 1", |reply| reply == "OK").await;
    // Three of the five processes run, and two of those are not members.
    cluster.kill(2);
    let alone = cluster.client(1).await.ask("SET k lost").await.unwrap();
    assert!(alone.starts_with('-'), "{alone}");
    (2..=3).for_each(|node| cluster.start_node(node));
    cluster.until(1, "SET k 2", |reply| reply == "OK").await;
    for node in [4, 5] {
        cluster.until(1, &format!("RAFT.NODE ADD n{node}"), |reply| !reply.starts_with('-')).await;
    }
    cluster.until(1, "RAFT.NODE LIST", has_voters(&[1, 2, 3, 4, 5])).await;
    cluster.until(5, "GET k", |reply| reply == "2").await;
}

#[tokio::test]
async fn the_last_voter_starts_without_the_nodes_that_were_removed() {
    let mut cluster = cluster(3, &[]).await;
    for node in [2, 3] {
        cluster.until(1, &format!("RAFT.NODE REMOVE n{node}"), |reply| !reply.starts_with('-')).await;
    }
    cluster.until(1, "RAFT.NODE LIST", has_voters(&[1])).await;
    (1..=3).for_each(|node| cluster.kill(node));
    cluster.start_node(1);
    cluster.until(1, "GET k", |reply| reply == "0").await;
}

#[tokio::test]
async fn a_leader_can_be_removed_and_another_one_leads() {
    let cluster = cluster(3, &[]).await;
    let leader = cluster.leader(1, &[1, 2, 3]).await;
    let others: Vec<usize> = (1..=3).filter(|node| *node != leader).collect();
    let remove = format!("RAFT.NODE REMOVE n{leader}");
    cluster.until(others[0], &remove, |reply| !reply.starts_with('-')).await;
    cluster.leader(others[0], &others).await;
    cluster.until(others[1], "SET k 1", |reply| reply == "OK").await;
    cluster.until(leader, "GET k", |reply| reply == OUTSIDE).await;
}

#[tokio::test]
async fn a_node_that_was_removed_while_it_was_down_does_not_disturb_the_others_when_it_returns() {
    let mut cluster = cluster(3, &["election_min_ms=300", "election_max_ms=600"]).await;
    let leader = cluster.leader(1, &[1, 2, 3]).await;
    let gone = (1..=3).find(|node| *node != leader).unwrap();
    let own_term = cluster.info(gone, "term").await;
    cluster.kill(gone);
    cluster.until(leader, &format!("RAFT.NODE REMOVE n{gone}"), |reply| !reply.starts_with('-')).await;
    let term = cluster.info(leader, "term").await;
    cluster.start_node(gone);
    cluster.until(gone, "GET k", |reply| reply == OUTSIDE).await;
    // Long enough for several elections, if it stood for any.
    let mut client = cluster.client(leader).await;
    let until = tokio::time::Instant::now() + Duration::from_secs(4);
    while tokio::time::Instant::now() < until {
        assert_eq!(client.ask("INCR n").await.unwrap().split(' ').next(), Some("(integer)"));
    }
    assert_eq!(cluster.info(leader, "term").await, term);
    assert_eq!(cluster.info(gone, "term").await, own_term, "it stands for election");
    cluster.until(leader, &format!("RAFT.NODE ADD n{gone}"), |reply| !reply.starts_with('-')).await;
    cluster.until(gone, "SET k 1", |reply| reply == "OK").await;
}

#[tokio::test]
async fn a_removed_node_that_was_cut_off_is_told_when_it_asks_for_votes() {
    let cluster = cluster(3, &[]).await;
    let leader = cluster.leader(1, &[1, 2, 3]).await;
    let gone = (1..=3).find(|node| *node != leader).unwrap();
    // A node that has heard from no other since its start never stands.
    cluster.until(gone, "INFO", |info| info.contains("may_stand:yes")).await;
    cluster.isolate(gone, Pass::Cut);
    cluster.until(leader, &format!("RAFT.NODE REMOVE n{gone}"), |reply| !reply.starts_with('-')).await;
    cluster.until(gone, "INFO", |info| info.contains("role:candidate")).await;
    cluster.isolate(gone, Pass::Open);
    cluster.until(gone, "GET k", |reply| reply == OUTSIDE).await;
    cluster.until(leader, "SET k 1", |reply| reply == "OK").await;
}

#[tokio::test]
async fn a_leader_serves_nothing_for_a_removed_node_that_was_not_told() {
    let cluster = cluster(3, &[]).await;
    let leader = cluster.leader(1, &[1, 2, 3]).await;
    let gone = (1..=3).find(|node| *node != leader).unwrap();
    let other = 6 - leader - gone;
    let mut client = cluster.client(gone).await;
    assert_eq!(client.ask("GET k").await.unwrap(), "0");
    cluster.set_link_of(leader, gone, Pass::Cut);
    cluster.until(other, &format!("RAFT.NODE REMOVE n{gone}"), |reply| !reply.starts_with('-')).await;
    // It takes the leader for its leader still, and its own link to it is open.
    assert_eq!(client.ask("GET k").await.unwrap(), OUTSIDE);
}

#[tokio::test]
async fn a_fresh_node_of_a_former_members_name_is_another_member() {
    let mut cluster = cluster(3, &["snapshot_every=50"]).await;
    let listed = cluster.until(1, "RAFT.NODE LIST", has_voters(&[1, 2, 3])).await;
    assert_eq!(number_of(3, &listed), 2);
    cluster.kill(3);
    std::fs::remove_dir_all(cluster.data(3)).unwrap();
    cluster.start_joining(3);
    // A member whose data are gone has to be removed first.
    let refused = cluster.until(1, "RAFT.NODE ADD n3", |reply| reply.starts_with("-ERR n3 is")).await;
    assert_eq!(refused, "-ERR n3 is a member and has lost its data since: remove it first");
    // Messages to the former member do not reach the node.
    for count in 1..=60 {
        assert_eq!(cluster.client(1).await.ask("INCR m").await.unwrap(), format!("(integer) {count}"));
    }
    assert_eq!(cluster.info(3, "last_log_index").await, 0);
    cluster.until(1, "RAFT.NODE REMOVE n3", |reply| !reply.starts_with('-')).await;
    for count in 1..=120 {
        assert_eq!(cluster.client(1).await.ask("INCR n").await.unwrap(), format!("(integer) {count}"));
    }
    cluster.until(3, "GET n", |reply| reply == OUTSIDE).await;
    cluster.until(1, "RAFT.NODE ADD n3", |reply| !reply.starts_with('-')).await;
    let listed = cluster.until(1, "RAFT.NODE LIST", has_voters(&[1, 2, 3])).await;
    let number = number_of(3, &listed);
    assert_ne!(number, 2);
    cluster.until(3, "GET n", |reply| reply == "120").await;
    // The members are those of now after snapshots and restarts, however the nodes are started.
    for count in 121..=240 {
        assert_eq!(cluster.client(1).await.ask("INCR n").await.unwrap(), format!("(integer) {count}"));
    }
    (1..=3).for_each(|node| cluster.kill(node));
    (1..=3).for_each(|node| cluster.start_node(node));
    let listed = cluster.until(1, "RAFT.NODE LIST", has_voters(&[1, 2, 3])).await;
    assert_eq!(number_of(3, &listed), number);
    cluster.until(3, "GET n", |reply| reply == "240").await;
}

#[tokio::test]
async fn what_cannot_be_done_to_members_is_refused_with_a_reason() {
    let cluster = cluster(2, &[]).await;
    let refused = cluster.until(1, "RAFT.NODE ADD n9", |reply| reply.starts_with('-')).await;
    assert_eq!(refused, "-ERR there is no node n9: the nodes are n1, n2");
    cluster.until(1, "RAFT.NODE REMOVE n2", |reply| !reply.starts_with('-')).await;
    let refused = cluster.until(1, "RAFT.NODE REMOVE n1", |reply| reply.starts_with('-')).await;
    assert_eq!(refused, "-ERR n1 is the last voter");
    let ring = Cluster::start("ring", 1, &[], None).await;
    let refused = ring.until(1, "RAFT.NODE LIST", |reply| reply.starts_with('-')).await;
    assert_eq!(refused, "-ERR RAFT.NODE needs the mode raft: the nodes of this mode never change");
}
