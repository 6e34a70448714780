//! The number of messages of 100 bytes that three brokers take with `acks=all`, compared with a disk and with
//! Apache Kafka.
//!
//! Every sender is a client of its own with one batch in flight at a time, to a partition of its own; each
//! batch is acknowledged by all three brokers. The same batches appended to a file and synced one by one show
//! the disk's limit for one writer. Apache Kafka runs if `sh ci/install-kafka` has installed it; it does not
//! sync acknowledged messages, so it compares with `fsync=never`.
//!
//! `cargo bench --bench broker`, or, for a first look, `cargo bench --bench broker -- --brief`.

mod apache;
#[path = "../../tests/clients/brokers.rs"]
mod brokers;

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use brokers::Brokers;
use duress_history::log::{Log, LogMicro};
use duress_targets::kafka::{
    Acks, ClientOptions, Committing, Idempotence, LogClient, NewTopic, Processing, create_topics,
};
use duress_targets::{Client, Outcome, OwnNetwork};
use hdrhistogram::Histogram;
use tokio::task::JoinSet;

/// The size of a message, in bytes.
const MESSAGE_BYTES: usize = 100;
/// How many clients send at the same time; as many partitions.
const SENDERS: usize = 6;
/// How many messages share a batch. 160 messages are the 16 KiB that Kafka's own producer gathers by default.
const BATCHES: [usize; 3] = [1, 16, 160];
const TIMEOUT: Duration = Duration::from_secs(30);

/// The measurements of one batch size.
struct Measured {
    batch: usize,
    messages: usize,
    took: Duration,
    latency_us: Histogram<u64>,
}

impl Measured {
    fn print(&self, what: &str) {
        let rate = self.messages as f64 / self.took.as_secs_f64();
        let quantile = |quantile| self.latency_us.value_at_quantile(quantile) as f64 / 1000.0;
        println!(
            "{what:<34} batches of {:>3}: {rate:>9.0} messages/s {:>7.2} MB/s   a batch: {:>7.2} ms median {:>7.2} ms p99",
            self.batch,
            rate * MESSAGE_BYTES as f64 / 1e6,
            quantile(0.5),
            quantile(0.99),
        );
    }
}

fn main() {
    // Cargo passes --bench.
    let brief = std::env::args().any(|argument| argument == "--brief");
    let window = if brief { Duration::from_secs(2) } else { Duration::from_secs(15) };
    println!("{SENDERS} senders, {MESSAGE_BYTES} bytes a message, acks=all, three brokers, {window:?} each");
    for (subnet, fsync) in [(90, "always"), (91, "never")] {
        let brokers = Brokers::start(subnet, &[("fsync", fsync)]);
        let addresses: Vec<SocketAddr> =
            brokers.bootstrap().split(',').map(|address| address.parse().expect("an address")).collect();
        for measured in measure(&addresses, window) {
            measured.print(&format!("duress broker, fsync={fsync}"));
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    for batch in BATCHES {
        append(folder.path(), batch, window).print("a file, one writer, synced");
    }
    match apache::start() {
        Ok(apache) => {
            for measured in measure(&apache.addresses(), window) {
                measured.print("Apache Kafka");
            }
        }
        Err(reason) => println!("Apache Kafka: skipped: {reason}"),
    }
}

fn measure(brokers: &[SocketAddr], window: Duration) -> Vec<Measured> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let topic = NewTopic {
        name: "throughput".to_owned(),
        partitions: SENDERS as u32,
        replication: 3,
        config: [("min.insync.replicas", "2".to_owned())].into(),
    };
    let deadline = tokio::time::Instant::now() + Duration::from_secs(120);
    runtime.block_on(create_topics(&OwnNetwork, brokers, &[topic], deadline)).expect("the topic is made");
    BATCHES.into_iter().map(|batch| runtime.block_on(send(brokers, batch, window))).collect()
}

/// Sends batches for `window`, after one that is not counted.
async fn send(brokers: &[SocketAddr], batch: usize, window: Duration) -> Measured {
    let options = ClientOptions {
        acks: Acks::All,
        idempotence: Idempotence::On,
        retries: 0,
        committing: Committing::Manual,
        processing: Processing::ExactlyOnce,
        session: Duration::from_secs(6),
    };
    let began = Instant::now();
    let mut senders = JoinSet::new();
    for sender in 0..SENDERS {
        let bootstrap = brokers[sender % brokers.len()];
        senders.spawn(async move {
            let mut client = LogClient::new(Arc::new(OwnNetwork), bootstrap, options, TIMEOUT);
            let action = messages(sender, batch);
            let mut latency_us = Histogram::new(3).expect("three digits");
            acknowledged(&mut client, &action).await;
            let (began, mut sent) = (Instant::now(), 0);
            while began.elapsed() < window {
                let at = Instant::now();
                acknowledged(&mut client, &action).await;
                latency_us.record(at.elapsed().as_micros() as u64).expect("the histogram grows");
                sent += batch;
            }
            (sent, began.elapsed(), latency_us)
        });
    }
    let mut measured =
        Measured { batch, messages: 0, took: Duration::ZERO, latency_us: Histogram::new(3).expect("digits") };
    while let Some(sender) = senders.join_next().await {
        let (sent, took, latency_us) = sender.expect("a sender does not panic");
        measured.messages += sent;
        measured.took = measured.took.max(took);
        measured.latency_us.add(latency_us).expect("the same digits");
    }
    assert!(measured.took <= began.elapsed());
    measured
}

fn messages(sender: usize, batch: usize) -> Log {
    let key = format!("throughput-{sender}");
    let micro = |place| {
        let value = format!("message {place:0>width$}", width = MESSAGE_BYTES - "message ".len());
        LogMicro::Send { key: key.as_str().into(), value: value.as_str().into(), offset: None }
    };
    Log::Send((0..batch).map(micro).collect())
}

async fn acknowledged(client: &mut LogClient, action: &Log) {
    let outcome = client.invoke(action).await;
    assert!(matches!(outcome, Outcome::Ok(_)), "{outcome:?}");
}

/// Appends batches to a file for `window`, each synced.
fn append(folder: &Path, batch: usize, window: Duration) -> Measured {
    let mut file = File::create(folder.join("appended")).expect("a file");
    let bytes = vec![b'x'; batch * MESSAGE_BYTES];
    let mut latency_us = Histogram::new(3).expect("three digits");
    let (began, mut messages) = (Instant::now(), 0);
    while began.elapsed() < window {
        let at = Instant::now();
        file.write_all(&bytes).and_then(|()| file.sync_data()).expect("the disk takes it");
        latency_us.record(at.elapsed().as_micros() as u64).expect("the histogram grows");
        messages += batch;
    }
    Measured { batch, messages, took: began.elapsed(), latency_us }
}
