//! The answers to `CLUSTER`, in the form of Redis Cluster's.
//!
//! A client that routes by them saves a hop between nodes, and need not: every node answers every request, so that no reply is a
//! `MOVED` or `ASK`. The node that leads a shard is shown as the master of its slots.
//!
//! Source: redis.io, "CLUSTER SLOTS", "CLUSTER SHARDS", "CLUSTER NODES", "CLUSTER INFO".

use std::fmt::Write;

use bytes::Bytes;

use super::node::{ShardedNode, id_of};
use super::slots::{SLOTS, SlotSet};
use crate::resp::reply::RespReply;
use crate::resp::request::ClusterRequest;

/// A node, as clients see it.
struct Seen {
    number: u64,
    id: Bytes,
    host: String,
    port: u16,
}

/// Answers a request.
pub async fn answer(node: &ShardedNode, request: ClusterRequest) -> RespReply {
    match request {
        ClusterRequest::Slots => slots(node),
        ClusterRequest::Shards => shards(node),
        ClusterRequest::Nodes => RespReply::Bulk(nodes(node).into()),
        ClusterRequest::Info => RespReply::Bulk(info(node).into()),
        ClusterRequest::MyId => RespReply::Bulk(id_of(&node.members()[node.number() as usize])),
        ClusterRequest::Move { first, last, to } => move_slots(node, first, last, to).await,
    }
}

async fn move_slots(node: &ShardedNode, first: u16, last: u16, to: u8) -> RespReply {
    let shards = node.router().groups().len();
    if usize::from(to) >= shards {
        return RespReply::Error(format!("ERR there is no shard {to}: the shards are 0 to {}", shards - 1));
    }
    let slots: SlotSet = (first..=last).collect();
    match node.move_slots(&slots, to).await {
        Ok(Some(count)) => RespReply::Integer(count as i64),
        Ok(None) => RespReply::Error("ERR a move is under way: try again when it is over".into()),
        Err(failure) => failure.into(),
    }
}

/// Returns the nodes whose addresses are known.
fn seen(node: &ShardedNode) -> Vec<Seen> {
    let addresses = node.router().directory(|directory| directory.addresses().clone());
    let seen = |(number, address): (u64, std::net::SocketAddr)| {
        let id = id_of(node.members().get(number as usize)?);
        // To a client, an empty host is the one that it has connected to.
        let host = if address.ip().is_unspecified() { String::new() } else { address.ip().to_string() };
        Some(Seen { number, id, host, port: address.port() })
    };
    addresses.into_iter().filter_map(seen).collect()
}

/// Returns the leader of each shard, as far as this node knows; for a shard without one, the first node.
fn leaders(node: &ShardedNode) -> Vec<u64> {
    node.router().groups().iter().map(|group| group.leader().unwrap_or(0)).collect()
}

/// Returns the nodes, a leader first.
fn led_by(leader: u64, nodes: &[Seen]) -> impl Iterator<Item = &Seen> {
    let (first, others): (Vec<&Seen>, Vec<&Seen>) = nodes.iter().partition(|seen| seen.number == leader);
    first.into_iter().chain(others)
}

fn slots_of_shards(node: &ShardedNode) -> Vec<SlotSet> {
    node.router().directory(|directory| directory.shards().to_vec())
}

fn integer(number: impl Into<i64>) -> RespReply {
    RespReply::Integer(number.into())
}

fn slots(node: &ShardedNode) -> RespReply {
    let nodes = seen(node);
    let mut replies = Vec::new();
    for (slots, leader) in slots_of_shards(node).iter().zip(leaders(node)) {
        for range in slots.ranges() {
            let node = |seen: &Seen| {
                RespReply::Array(vec![
                    RespReply::Bulk(seen.host.clone().into()),
                    integer(seen.port),
                    RespReply::Bulk(seen.id.clone()),
                    RespReply::Array(Vec::new()),
                ])
            };
            let bounds = [integer(*range.start()), integer(*range.end())];
            replies
                .push(RespReply::Array(bounds.into_iter().chain(led_by(leader, &nodes).map(node)).collect()));
        }
    }
    RespReply::Array(replies)
}

fn shards(node: &ShardedNode) -> RespReply {
    let nodes = seen(node);
    let text = |text: &'static str| RespReply::Bulk(text.into());
    let shard = |(slots, leader): (SlotSet, u64)| {
        let bounds =
            slots.ranges().into_iter().flat_map(|range| [integer(*range.start()), integer(*range.end())]);
        let node = |seen: &Seen| {
            RespReply::Map(vec![
                ("id", RespReply::Bulk(seen.id.clone())),
                ("port", integer(seen.port)),
                ("ip", RespReply::Bulk(seen.host.clone().into())),
                ("endpoint", RespReply::Bulk(seen.host.clone().into())),
                ("role", text(if seen.number == leader { "master" } else { "replica" })),
                ("replication-offset", integer(0)),
                ("health", text("online")),
            ])
        };
        RespReply::Map(vec![
            ("slots", RespReply::Array(bounds.collect())),
            ("nodes", RespReply::Array(led_by(leader, &nodes).map(node).collect())),
        ])
    };
    RespReply::Array(slots_of_shards(node).into_iter().zip(leaders(node)).map(shard).collect())
}

/// Returns a line for each node. A node that leads no shard is shown as a replica of shard 0's leader.
fn nodes(node: &ShardedNode) -> String {
    let (nodes, leaders, shards) = (seen(node), leaders(node), slots_of_shards(node));
    let mut lines = String::new();
    for seen in &nodes {
        let led =
            leaders.iter().zip(&shards).filter(|(leader, _)| **leader == seen.number).map(|(_, slots)| slots);
        let led: Vec<&SlotSet> = led.collect();
        let master = nodes.iter().find(|master| led.is_empty() && master.number == leaders[0]);
        let myself = if seen.number == node.number() { "myself," } else { "" };
        let kind = if led.is_empty() { "slave" } else { "master" };
        let master = master.map_or("-".into(), |master| String::from_utf8_lossy(&master.id).into_owned());
        let (id, host, port) = (String::from_utf8_lossy(&seen.id), &seen.host, seen.port);
        write!(lines, "{id} {host}:{port}@0 {myself}{kind} {master} 0 0 0 connected")
            .expect("a string takes everything");
        for range in led.iter().flat_map(|slots| slots.ranges()) {
            match (range.start(), range.end()) {
                (first, last) if first == last => write!(lines, " {first}"),
                (first, last) => write!(lines, " {first}-{last}"),
            }
            .expect("a string takes everything");
        }
        lines.push('\n');
    }
    lines
}

fn info(node: &ShardedNode) -> String {
    let groups = node.router().groups();
    let state = if groups.iter().all(|group| group.leader().is_some()) { "ok" } else { "fail" };
    let moves = node.router().directory(|directory| directory.begun());
    format!(
        "cluster_enabled:1\r\ncluster_state:{state}\r\ncluster_slots_assigned:{SLOTS}\r\ncluster_slots_ok:{SLOTS}\r\n\
         cluster_slots_pfail:0\r\ncluster_slots_fail:0\r\ncluster_known_nodes:{}\r\ncluster_size:{}\r\n\
         cluster_current_epoch:{moves}\r\ncluster_my_epoch:{moves}\r\n",
        node.members().len(),
        groups.len(),
    )
}
