//! Three real etcd nodes on loopback. If etcd is not installed, the tests are ignored, with the reason.

mod cluster;

use std::process::ExitCode;

use cluster::{ATTEMPT, Cluster, block_on, cas, delete, insist, read, short, write};
use duress_history::NodeId;
use duress_settings::Request;
use duress_targets::{CauseKind, Etcd, System};
use duress_testing::{Missing, Need, trial};
use libtest_mimic::Arguments;

fn main() -> ExitCode {
    let name = "three_nodes_keep_registers_through_the_loss_of_a_leader";
    let test = trial(name, || {
        let etcd = Etcd::default();
        etcd.available(&Default::default())
            .map_err(|missing| Missing::new(Need::Etcd, missing.to_string()))?;
        block_on(three_nodes_keep_registers_through_the_loss_of_a_leader(etcd));
        Ok(())
    });
    libtest_mimic::run(&Arguments::from_args(), vec![test]).exit_code()
}

async fn three_nodes_keep_registers_through_the_loss_of_a_leader(etcd: Etcd) {
    let folder = tempfile::tempdir().unwrap();
    let request = Request { nodes: 3, ..Request::default() };
    let mut cluster = Cluster::start(&etcd, &request, folder.path(), 80);
    let names = cluster.names();
    for node in &names {
        cluster.ready(node).await;
    }
    let leader = cluster.leader(&names).await;

    // Every operation and every node; each node reads the previous one's write.
    let mut clients: Vec<_> = names.iter().map(|node| cluster.client(node, 2 * ATTEMPT)).collect();
    let mut seen = Vec::new();
    for (number, operation) in [
        read("x"),
        cas("x", Some(1), 2),
        cas("x", None, 1),
        cas("x", None, 5),
        read("x"),
        cas("x", Some(1), 2),
        cas("x", Some(1), 3),
        write("x", -4),
        read("x"),
        write("y", "a text, with \"quotes\" and ü"),
        read("y"),
        write("y", ""),
        read("y"),
        delete("y"),
        read("y"),
        delete("y"),
        cas("y", None, 1),
    ]
    .iter()
    .enumerate()
    {
        seen.push(short(&clients[number % 3].invoke(operation).await));
    }
    let (precondition, text) = ("fail precondition", "ok a text, with \"quotes\" and ü");
    let expected = [
        "ok nil",
        precondition,
        "ok",
        precondition,
        "ok 1",
        "ok",
        precondition,
        "ok",
        "ok -4",
        "ok",
        text,
        "ok",
        "ok ",
        "ok",
        "ok nil",
        "ok",
        "ok",
    ];
    assert_eq!(seen, expected);

    let operations: u32 = 300;
    for number in 0..operations {
        let outcome = clients[number as usize % 3].invoke(&write("z", i64::from(number))).await;
        assert_eq!(short(&outcome), "ok");
    }

    // A killed leader refuses connections; the others elect another, and go on.
    cluster.kill(&leader);
    let position = names.iter().position(|node| *node == leader).unwrap();
    // The client that was connected to it may see the old connection broken first; no request was sent on it
    // either way.
    let kept = short(&clients[position].invoke(&write("x", 9)).await);
    assert!(["fail refused", "fail connection-lost"].contains(&kept.as_str()), "{kept}");
    assert_eq!(short(&clients[position].invoke(&write("x", 9)).await), "fail refused");
    let survivors: Vec<NodeId> = names.iter().filter(|node| **node != leader).cloned().collect();
    let successor = cluster.leader(&survivors).await;
    assert_ne!(successor, leader);
    let mut survivor = cluster.client(&survivors[0], 2 * ATTEMPT);
    insist(&mut *survivor, &write("x", 10), "ok").await;

    // Restarted by the same command it comes back with its data, and catches up.
    cluster.spawn(&leader);
    cluster.ready(&leader).await;
    assert_eq!(short(&clients[position].invoke(&read("x")).await), "ok 10");

    // Alone, a node promises nothing: a write to it is open, a read did not happen.
    for node in &survivors {
        cluster.kill(node);
    }
    let mut alone = cluster.client(&leader, ATTEMPT / 2);
    assert_eq!(short(&alone.invoke(&write("x", 11)).await), "info timeout");
    assert_eq!(short(&alone.invoke(&read("x")).await), "fail timeout");
    let lost = cluster.attempt(&leader).await;
    assert_eq!(lost.unwrap_err().cause.kind, CauseKind::Timeout);

    for node in &survivors {
        cluster.spawn(node);
    }
    for node in &names {
        cluster.ready(node).await;
    }
    // The open write may have happened or not; no other may have.
    let value = short(&clients[position].invoke(&read("x")).await);
    assert!(["ok 10", "ok 11"].contains(&value.as_str()), "{value}");
}
