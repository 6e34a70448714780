//! The contract of errors, tested with faults: refused requests are never executed, acknowledged ones are
//! never lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::client::Client;
use crate::cluster::{Cluster, PATIENCE};
use crate::proxy::Pass;

#[derive(Default)]
struct Counts {
    acknowledged: AtomicU64,
    unknown: AtomicU64,
    refused: AtomicU64,
}

/// Increments one counter until stopped, and counts the replies.
async fn increment(port: u16, counts: Arc<Counts>, stop: watch::Receiver<bool>) {
    let count = |counter: &AtomicU64| {
        counter.fetch_add(1, Ordering::Relaxed);
    };
    while !*stop.borrow() {
        let Ok(mut client) = Client::connect(port).await else {
            // No request was sent; the node is down, and the client retries when the other tasks have had the
            // processor.
            tokio::task::yield_now().await;
            continue;
        };
        while !*stop.borrow() {
            match client.ask("INCR n").await {
                Ok(reply) if reply.starts_with("(integer) ") => count(&counts.acknowledged),
                Ok(reply) if reply.starts_with("-CLUSTERDOWN ") => count(&counts.refused),
                Ok(reply) if reply.starts_with("-UNKNOWN ") => count(&counts.unknown),
                Ok(reply) => panic!("no reply of the contract: {reply}"),
                Err(_) => {
                    count(&counts.unknown);
                    break;
                }
            }
        }
    }
}

/// Waits until 300 more increments are acknowledged.
async fn progress(counts: &Counts) {
    let acknowledged = || counts.acknowledged.load(Ordering::Relaxed);
    let enough = acknowledged() + 300;
    let deadline = Instant::now() + PATIENCE;
    let mut poll = tokio::time::interval(Duration::from_millis(20));
    while acknowledged() < enough {
        assert!(Instant::now() < deadline, "no progress: {} of {enough}", acknowledged());
        poll.tick().await;
    }
}

#[tokio::test]
async fn increments_are_counted_between_acknowledged_and_possible() {
    let mut cluster = Cluster::start("raft", 3, &["snapshot_every=500"], None).await;
    cluster.until(1, "SET n 0", |reply| reply == "OK").await;
    let counts = Arc::new(Counts::default());
    let (stop, stopped) = watch::channel(false);
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..6 {
        clients.spawn(increment(cluster.port(1 + client % 3), Arc::clone(&counts), stopped.clone()));
    }
    for round in 0..3 {
        let leader = cluster.leader(1 + round % 3, &[1, 2, 3]).await;
        let others: Vec<usize> = (1..=3).filter(|node| *node != leader).collect();
        match round {
            0 => cluster.isolate(leader, Pass::Cut),
            1 => cluster.signal(leader, "STOP"),
            _ => cluster.kill(leader),
        }
        cluster.leader(others[0], &others).await;
        progress(&counts).await;
        match round {
            0 => cluster.isolate(leader, Pass::Open),
            1 => cluster.signal(leader, "CONT"),
            _ => cluster.start_node(leader),
        }
        progress(&counts).await;
    }
    stop.send(true).unwrap();
    clients.join_all().await;
    let counted: u64 = cluster.until(1, "GET n", |reply| !reply.starts_with('-')).await.parse().unwrap();
    let [acknowledged, unknown, refused] =
        [&counts.acknowledged, &counts.unknown, &counts.refused].map(|count| count.load(Ordering::Relaxed));
    println!("counted {counted}: acknowledged {acknowledged}, unknown {unknown}, refused {refused}");
    assert!(acknowledged <= counted, "{acknowledged} were acknowledged, {counted} are there");
    assert!(counted <= acknowledged + unknown, "{counted} are there, {acknowledged} + {unknown} can be");
    assert!(unknown > 0 && refused > 0, "the faults were felt");
}
