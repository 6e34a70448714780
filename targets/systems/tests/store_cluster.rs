//! Real nodes of our store on loopback, launched as the harness launches them.
//!
//! The store is a subcommand of `duress`, which a build of this crate alone does not make: the tests look for
//! it beside this test (`cargo test --workspace` puts it there), or at the path in `DURESS_EXECUTABLE`. If it
//! is missing, they are ignored, with the reason.

mod cluster;
#[path = "suite/offer/mod.rs"]
mod offer;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use cluster::{ATTEMPT, Cluster, DEADLINE, block_on, cas, delete, insist, read, short, write};
use duress_history::NodeId;
use duress_history::txn::{Act, Held, Micro, Txn};
use duress_settings::Request;
use duress_targets::{Outcome, OwnNetwork, Seat, Setup, Store};
use duress_testing::{Missing, Need, trial};
use libtest_mimic::Arguments;
use offer::store_offer;

/// A test and its name.
type Test = (&'static str, fn(PathBuf));

const TESTS: [Test; 4] = [
    ("raft_keeps_registers_through_the_loss_of_a_leader", |executable| {
        block_on(raft_keeps_registers_through_the_loss_of_a_leader(executable));
    }),
    ("a_primary_and_replicas_that_answer_by_themselves", |executable| {
        block_on(a_primary_and_replicas_that_answer_by_themselves(executable));
    }),
    ("raft_nodes_that_answer_by_themselves", |executable| {
        block_on(raft_nodes_that_answer_by_themselves(executable));
    }),
    ("shards_report_leaders_and_copies_of_their_own", |executable| {
        block_on(shards_report_leaders_and_copies_of_their_own(executable));
    }),
];

fn main() -> ExitCode {
    let tests = TESTS.map(|(name, test)| trial(name, move || executable().map(test)));
    libtest_mimic::run(&Arguments::from_args(), tests.into()).exit_code()
}

fn executable() -> Result<PathBuf, Missing> {
    let given = std::env::var_os("DURESS_EXECUTABLE").map(PathBuf::from);
    let beside = || {
        let test = std::env::current_exe().ok()?;
        Some(test.parent()?.parent()?.join("duress")).filter(|file| file.is_file())
    };
    let reason = "no program `duress` beside this test; build it, or set DURESS_EXECUTABLE";
    given.or_else(beside).ok_or_else(|| Missing::new(Need::Program, reason))
}

fn store(executable: PathBuf) -> Store {
    Store::new(executable, store_offer())
}

fn request(mode: &str, options: &[(&str, &str)]) -> Request {
    let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Request { mode: Some(mode.to_owned()), options, nodes: 3, ..Request::default() }
}

async fn raft_keeps_registers_through_the_loss_of_a_leader(executable: PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::start(&store(executable), &request("raft", &[]), folder.path(), 81);
    let names = cluster.names();
    for node in &names {
        cluster.ready(node).await;
    }
    let leader = cluster.leader(&names).await;

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
        write("y", ""),
        read("y"),
        delete("y"),
        read("y"),
        delete("y"),
    ]
    .iter()
    .enumerate()
    {
        seen.push(short(&clients[number % 3].invoke(operation).await));
    }
    let precondition = "fail precondition";
    let of_x = ["ok nil", precondition, "ok", precondition, "ok 1", "ok", precondition, "ok", "ok -4"];
    let of_y = ["ok", "ok ", "ok", "ok nil", "ok"];
    assert_eq!(seen, [&of_x[..], &of_y].concat());

    cluster.kill(&leader);
    let position = names.iter().position(|node| *node == leader).unwrap();
    // The error of a kept connection depends on whether the runtime has looked at it since; a new one is
    // unambiguous.
    let kept = short(&clients[position].invoke(&write("x", 9)).await);
    assert!(["fail refused", "info connection-lost"].contains(&kept.as_str()), "{kept}");
    assert_eq!(short(&clients[position].invoke(&write("x", 9)).await), "fail refused");
    let survivors: Vec<NodeId> = names.iter().filter(|node| **node != leader).cloned().collect();
    assert_ne!(cluster.leader(&survivors).await, leader);
    insist(&mut *cluster.client(&survivors[0], 2 * ATTEMPT), &write("x", 10), "ok").await;

    cluster.spawn(&leader);
    cluster.ready(&leader).await;
    assert_eq!(short(&clients[position].invoke(&read("x")).await), "ok 10");

    // Alone, a node reads nothing, and may or may not guarantee that it wrote nothing: it must not claim that
    // it did.
    for node in &survivors {
        cluster.kill(node);
    }
    let mut alone = cluster.client(&leader, ATTEMPT);
    let written = short(&alone.invoke(&write("x", 11)).await);
    assert!(!written.starts_with("ok"), "{written}");
    let seen = short(&alone.invoke(&read("x")).await);
    assert!(seen.starts_with("fail"), "{seen}");
    cluster.attempt(&leader).await.unwrap_err();
}

async fn a_primary_and_replicas_that_answer_by_themselves(executable: PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let request = request("primary", &[("read", "any")]);
    let mut cluster = Cluster::start(&store(executable), &request, folder.path(), 82);
    let names = cluster.names();
    for node in &names {
        cluster.ready(node).await;
    }
    assert_eq!(cluster.leader(&names).await, names[0]);

    // Written through a replica, ordered by the primary, and in the end read everywhere.
    let mut clients: Vec<_> = names.iter().map(|node| cluster.client(node, ATTEMPT)).collect();
    assert_eq!(short(&clients[1].invoke(&write("x", 1)).await), "ok");
    assert_eq!(short(&clients[2].invoke(&cas("x", Some(1), 2)).await), "ok");
    assert_eq!(short(&clients[0].invoke(&read("x")).await), "ok 2");
    for client in &mut clients {
        insist(&mut **client, &read("x"), "ok 2").await;
    }

    // Without the primary no writes are possible, and earlier ones are still read.
    cluster.kill(&names[0]);
    let lost = short(&clients[1].invoke(&write("x", 3)).await);
    assert!(!lost.starts_with("ok"), "{lost}");
    assert_eq!(short(&clients[1].invoke(&read("x")).await), "ok 2");
}

async fn raft_nodes_that_answer_by_themselves(executable: PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let request = request("raft", &[("reads", "local")]);
    let mut cluster = Cluster::start(&store(executable), &request, folder.path(), 83);
    let names = cluster.names();
    // Any node would answer a read at once; it is ready when it knows a leader.
    for node in &names {
        cluster.ready(node).await;
    }
    let mut clients: Vec<_> = names.iter().map(|node| cluster.client(node, 2 * ATTEMPT)).collect();
    insist(&mut *clients[0], &write("x", 1), "ok").await;
    for client in &mut clients {
        insist(&mut **client, &read("x"), "ok 1").await;
    }
    cluster.kill(&names[0]);
    cluster.kill(&names[1]);
    let lost = short(&clients[2].invoke(&write("x", 2)).await);
    assert!(!lost.starts_with("ok"), "{lost}");
    assert_eq!(short(&clients[2].invoke(&read("x")).await), "ok 1");
}

async fn shards_report_leaders_and_copies_of_their_own(executable: PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(&store(executable), &request("sharded", &[]), folder.path(), 84);
    let names = cluster.names();
    for node in &names {
        cluster.ready(node).await;
    }
    let deployment = &cluster.deployment;
    let status = deployment.status(&names[2], &OwnNetwork, ATTEMPT).await.unwrap();
    assert!(status.leader.is_some(), "{status:?}");
    assert_eq!(Vec::from_iter(status.roles.into_keys()), deployment.roles(&Setup::default()));

    // These two are in different shards, and those of a transaction in one, by their hash tag.
    for key in ["foo", "bar"] {
        insist(&mut *cluster.client(&names[0], 2 * ATTEMPT), &write(key, 1), "ok").await;
    }
    let seat = Seat {
        node: names[1].clone(),
        place: Arc::new(OwnNetwork),
        timeout: 2 * ATTEMPT,
        stderr: None,
        scratch: None,
        traffic: None,
    };
    let write = |key: &str| Micro { key: key.into(), act: Act::<Held>::Write(2.into()) };
    let transaction = Txn { micros: [write("foo"), write("bar")].into() };
    let outcome = deployment.clients().client(seat).unwrap().invoke(&transaction).await;
    assert!(matches!(outcome, Outcome::Ok(_)), "{outcome:?}");
    let began = Instant::now();
    loop {
        let copies = deployment.copies(&names[0], &OwnNetwork, ATTEMPT).await.unwrap().unwrap();
        let objects: Vec<_> = copies.iter().map(|copy| copy.object.as_deref()).collect();
        assert_eq!(objects, [Some("shard 0"), Some("shard 1")]);
        let holders = |key: &str| [0, 1].map(|shard| copies[shard].values.contains_key(key));
        if [holders("bar"), holders("foo")] == [[true, false], [false, true]]
            && holders("{txn}foo") == holders("{txn}bar")
            && holders("{txn}foo").contains(&true)
        {
            break;
        }
        // A copy may lag.
        assert!(began.elapsed() < DEADLINE, "{copies:?}");
    }
}
