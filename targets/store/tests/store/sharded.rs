//! The mode `sharded`: slots, requests over several shards, and moves.

use crate::cluster::Cluster;

/// Two keys of shard 0 of two, and two of shard 1.
const LOW: [&str; 2] = ["bar", "{bar}2"];
const HIGH: [&str; 2] = ["foo", "{foo}2"];

async fn ready(size: usize, options: &[&str]) -> Cluster {
    let cluster = Cluster::start("sharded", size, options, None).await;
    for node in 1..=size {
        cluster.until(node, "DBSIZE", |reply| reply == "(integer) 0").await;
    }
    cluster
}

#[tokio::test]
async fn any_node_answers_for_every_shard() {
    let cluster = ready(3, &[]).await;
    let mut client = cluster.client(2).await;
    for key in LOW.iter().chain(&HIGH) {
        assert_eq!(client.ask(&format!("SET {key} 1")).await.unwrap(), "OK");
    }
    let mut client = cluster.client(3).await;
    for (command, reply) in [
        ("MGET bar foo nothing {bar}2", "[1, 1, (nil), 1]"),
        ("EXISTS bar foo foo nothing", "(integer) 3"),
        ("DBSIZE", "(integer) 4"),
        ("CLUSTER KEYSLOT foo", "(integer) 12182"),
        ("CLUSTER COUNTKEYSINSLOT 12182", "(integer) 2"),
        ("DEL bar foo nothing", "(integer) 2"),
        ("DBSIZE", "(integer) 2"),
    ] {
        assert_eq!(client.ask(command).await.unwrap(), reply, "{command}");
    }
    for command in ["CLUSTER NODES", "CLUSTER SLOTS", "CLUSTER SHARDS", "CLUSTER INFO", "CLUSTER MYID"] {
        println!("{command}: {}", client.ask(command).await.unwrap());
    }
    println!("{}", client.ask("INFO").await.unwrap());
}
