//! The Kafka client against real brokers: sent messages are polled, by assignment and by subscription.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use duress_history::Scalar;
use duress_history::log::{Log, LogMicro, Offset, Offsets, Start};
use duress_history::table::Table;
use duress_targets::kafka::{
    Acks, ClientOptions, Committing, Idempotence, LogClient, NewTopic, Processing, TableClient, create_topics,
};
use duress_targets::{Client, Outcome, OwnNetwork, TABLE_TOPIC};
use duress_testing::{Missing, Need, trial};
use libtest_mimic::Arguments;
use tokio::time::Instant;

/// How long anything may take that must happen in the end.
const DEADLINE: Duration = Duration::from_secs(60);
/// How long one operation may take.
const TIMEOUT: Duration = Duration::from_secs(10);

const OPTIONS: ClientOptions = ClientOptions {
    acks: Acks::All,
    idempotence: Idempotence::On,
    retries: 0,
    committing: Committing::After,
    processing: Processing::ExactlyOnce,
    session: Duration::from_secs(6),
};

/// Returns the brokers of Apache Kafka to try this with, if there are any.
fn apache() -> Result<Vec<SocketAddr>, Missing> {
    let reason = "DURESS_TEST_KAFKA does not say where brokers are (address:port,…)";
    let addresses = std::env::var("DURESS_TEST_KAFKA").map_err(|_| Missing::new(Need::Kafka, reason))?;
    Ok(addresses.split(',').map(|address| address.parse().unwrap()).collect())
}

/// A topic that no other test uses.
async fn topic(brokers: &[SocketAddr], name: &str, partitions: u32, config: &[(&'static str, &str)]) {
    let replication = u16::try_from(brokers.len().min(3)).unwrap();
    let config = config.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    let topic = NewTopic { name: name.to_owned(), partitions, replication, config };
    create_topics(&OwnNetwork, brokers, &[topic], Instant::now() + DEADLINE).await.unwrap();
}

fn fresh(name: &str) -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    format!("{name}{}", since.as_nanos())
}

fn client(brokers: &[SocketAddr], options: ClientOptions) -> LogClient {
    LogClient::new(Arc::new(OwnNetwork), brokers[0], options, TIMEOUT)
}

async fn ok<A: Sync + std::fmt::Debug>(client: &mut impl Client<A>, action: A) -> A {
    match client.invoke(&action).await {
        Outcome::Ok(answer) => answer,
        other => panic!("{action:?}: {other:?}"),
    }
}

fn send(messages: &[(&str, i64)]) -> Log {
    let micro = |(key, value): &(&str, i64)| LogMicro::Send {
        key: (*key).into(),
        value: (*value).into(),
        offset: None,
    };
    Log::Send(messages.iter().map(micro).collect())
}

fn offsets_of(answer: &Log) -> Vec<Option<u64>> {
    let offset = |micro: &LogMicro| match micro {
        LogMicro::Send { offset, .. } => offset.map(|offset| offset.0),
        LogMicro::Poll(_) => panic!("{micro:?}"),
    };
    answer.micros().iter().map(offset).collect()
}

/// Polls until `wanted` messages have come, or the deadline passes.
async fn poll(client: &mut LogClient, wanted: usize) -> BTreeMap<Scalar, Vec<(u64, Scalar)>> {
    let until = Instant::now() + DEADLINE;
    let mut got: BTreeMap<Scalar, Vec<(u64, Scalar)>> = BTreeMap::new();
    while got.values().map(Vec::len).sum::<usize>() < wanted {
        assert!(Instant::now() < until, "{wanted} wanted, got {got:?}");
        let answer = match client.invoke(&Log::Poll(vec![LogMicro::Poll(None)])).await {
            Outcome::Ok(Log::Poll(answer)) => answer,
            Outcome::Fail(_) => continue,
            other => panic!("{other:?}"),
        };
        let [LogMicro::Poll(Some(polled))] = answer.as_slice() else { panic!("{answer:?}") };
        for (key, records) in polled {
            let records = records.iter().map(|(offset, value)| (offset.0, value.clone()));
            got.entry(key.clone()).or_default().extend(records);
        }
    }
    got
}

async fn by_assignment(brokers: &[SocketAddr]) {
    let name = fresh("assigned");
    topic(brokers, &name, 2, &[]).await;
    let (zero, one) = (format!("{name}-0"), format!("{name}-1"));
    for (acks, idempotence) in
        [(Acks::All, Idempotence::On), (Acks::All, Idempotence::Off), (Acks::Leader, Idempotence::Off)]
    {
        let mut sender = client(brokers, ClientOptions { acks, idempotence, ..OPTIONS });
        let first = offsets_of(&ok(&mut sender, send(&[(&zero, 1)])).await)[0].unwrap();
        let answer = ok(&mut sender, send(&[(&zero, 2), (&zero, 3), (&one, 4)])).await;
        let offsets = offsets_of(&answer);
        assert_eq!(offsets[..2], [Some(first + 1), Some(first + 2)]);
        assert!(offsets[2].is_some());
    }
    let mut silent = client(brokers, ClientOptions { acks: Acks::None, ..OPTIONS });
    assert_eq!(offsets_of(&ok(&mut silent, send(&[(&one, 9)])).await), [None]);

    let mut reader = client(brokers, OPTIONS);
    let nothing = ok(&mut reader, Log::Poll(vec![LogMicro::Poll(None)])).await;
    assert_eq!(nothing, Log::Poll(vec![LogMicro::Poll(Some(BTreeMap::new()))]));
    let keys: Vec<Scalar> = vec![zero.as_str().into(), one.as_str().into()];
    ok(&mut reader, Log::Assign { keys: keys.clone(), from: Start::Beginning }).await;
    let values = |records: &[(u64, Scalar)]| {
        records.iter().map(|(offset, value)| format!("{offset}:{value}")).collect::<Vec<_>>().join(" ")
    };
    let got = poll(&mut reader, 13).await;
    assert_eq!(values(&got[&keys[0]]), "0:1 1:2 2:3 3:1 4:2 5:3 6:1 7:2 8:3");
    assert_eq!(values(&got[&keys[1]]), "0:4 1:4 2:4 3:9");

    let Log::EndOffsets(Some(ends)) = ok(&mut reader, Log::EndOffsets(None)).await else { panic!() };
    assert_eq!((ends[&keys[0]], ends[&keys[1]]), (Offset(9), Offset(4)));

    let back = Offsets::from([(keys[0].clone(), Offset(7))]);
    ok(&mut reader, Log::Seek(back)).await;
    assert_eq!(values(&poll(&mut reader, 2).await[&keys[0]]), "7:2 8:3");
    ok(&mut reader, Log::Assign { keys: vec![keys[1].clone()], from: Start::Position }).await;
    ok(&mut silent, send(&[(&one, 10)])).await;
    assert_eq!(values(&poll(&mut reader, 1).await[&keys[1]]), "4:10");
    let seek = Log::Seek(Offsets::from([(keys[0].clone(), Offset(0))]));
    assert!(matches!(reader.invoke(&seek).await, Outcome::Fail(_)), "not among the partitions read");
    assert!(matches!(reader.invoke(&send(&[("nowhere", 1)])).await, Outcome::Fail(_)));
}

async fn by_subscription(brokers: &[SocketAddr]) {
    let name = fresh("subscribed");
    topic(brokers, &name, 4, &[]).await;
    let keys: Vec<String> = (0..4).map(|partition| format!("{name}-{partition}")).collect();
    let mut sender = client(brokers, OPTIONS);
    for value in 0..40 {
        ok(&mut sender, send(&[(&keys[value % 4], value as i64)])).await;
    }
    let subscribe = || Log::Subscribe(vec![name.as_str().into()]);
    let mut first = client(brokers, OPTIONS);
    ok(&mut first, subscribe()).await;
    let got = poll(&mut first, 40).await;
    assert_eq!(got.len(), 4);
    // The next poll commits what this one was answered.
    let nothing = ok(&mut first, Log::Poll(vec![LogMicro::Poll(None)])).await;
    assert_eq!(nothing, Log::Poll(vec![LogMicro::Poll(Some(BTreeMap::new()))]));
    let committed = async |client: &mut LogClient| {
        let Log::Committed(Some(committed)) = ok(client, Log::Committed(None)).await else { panic!() };
        keys.iter().map(|key| committed.get(&key.as_str().into()).map(|at| at.0)).collect::<Vec<_>>()
    };
    assert_eq!(committed(&mut sender).await, [Some(10); 4]);

    // A second member gets half of the partitions, once the first has joined again.
    let mut second = client(brokers, ClientOptions { committing: Committing::Before, ..OPTIONS });
    ok(&mut second, subscribe()).await;
    for value in 40..80 {
        ok(&mut sender, send(&[(&keys[value % 4], value as i64)])).await;
    }
    let joined = async { tokio::join!(poll(&mut first, 20), poll(&mut second, 20)) };
    let (of_first, of_second) = joined.await;
    assert!(of_second.len() >= 2, "{of_second:?}");
    let mut all: BTreeMap<Scalar, Vec<u64>> = BTreeMap::new();
    for (key, records) in of_first.into_iter().chain(of_second) {
        all.entry(key).or_default().extend(records.into_iter().map(|(offset, _)| offset));
    }
    let expected: Vec<u64> = (10..20).collect();
    assert!(all.values().all(|offsets| *offsets == expected), "{all:?}");

    // The second dies without a word; the first gets everything once its session is over.
    assert!(matches!(second.invoke(&Log::Crash).await, Outcome::Info(_)));
    for value in 80..120 {
        ok(&mut sender, send(&[(&keys[value % 4], value as i64)])).await;
    }
    let got = poll(&mut first, 40).await;
    assert_eq!(got.len(), 4, "{got:?}");
    let answer = ok(&mut first, Log::Commit(None)).await;
    assert!(matches!(&answer, Log::Commit(Some(offsets)) if !offsets.is_empty()), "{answer:?}");
    assert_eq!(committed(&mut sender).await, [Some(30); 4]);
    // Leaves, so that the next test's members need not wait.
    ok(&mut first, Log::Assign { keys: Vec::new(), from: Start::Beginning }).await;
}

async fn as_a_table(brokers: &[SocketAddr]) {
    topic(brokers, TABLE_TOPIC, 3, &[("cleanup.policy", "compact")]).await;
    let mut client = TableClient::new(Arc::new(OwnNetwork), brokers[0], OPTIONS, TIMEOUT);
    let stamp = fresh("k");
    let put = |key: &str, value: i64| Table::Put { key: key.into(), value: value.into(), place: None };
    for (key, value) in [("a", 1), ("b", 2), ("a", 3)] {
        let answer = ok(&mut client, put(&format!("{stamp}{key}"), value)).await;
        assert!(matches!(&answer, Table::Put { place: Some(_), .. }), "{answer:?}");
    }
    ok(&mut client, Table::Delete { key: format!("{stamp}b").as_str().into(), place: None }).await;
    let Table::EndOffsets(Some(ends)) = ok(&mut client, Table::EndOffsets(None)).await else { panic!() };
    let Table::ReadLog(Some(read)) = ok(&mut client, Table::ReadLog(None)).await else { panic!() };
    assert_eq!(read.len(), 3);
    let mut table = BTreeMap::new();
    for (partition, read) in read {
        assert_eq!(read.next, ends[&partition]);
        for record in read.records.into_iter().filter(|record| record.key.to_string().starts_with(&stamp)) {
            table.insert(record.key.to_string(), record.value);
        }
    }
    assert_eq!(table, BTreeMap::from([(format!("{stamp}a"), Some(3.into())), (format!("{stamp}b"), None)]));
}

fn main() -> ExitCode {
    let test = trial("apache_kafka_understands_it", || {
        let brokers = apache()?;
        tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
            by_assignment(&brokers).await;
            by_subscription(&brokers).await;
            as_a_table(&brokers).await;
        });
        Ok(())
    });
    libtest_mimic::run(&Arguments::from_args(), vec![test]).exit_code()
}
