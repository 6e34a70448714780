//! Clients that others wrote, against three of our brokers: they produce, consume and share the work of a group.
//!
//! Without one of them the tests that need it are ignored, with the reason; CI installs all of them.

mod brokers;
mod clients;

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use brokers::Brokers;
use clients::{Client, Failed, kcat, script};
use duress_testing::{Missing, trial};
use libtest_mimic::Arguments;

const PARTITIONS: usize = 4;
/// How many messages each client sends.
const EACH: usize = 100;

/// A value that a client prints as it reads: its partition, its offset, and the value.
type Line = (usize, u64, String);

fn create(client: Client, bootstrap: &str, topic: &str) -> Result<(), Failed> {
    let partitions = PARTITIONS.to_string();
    match client {
        // kcat makes no topics: the broker makes the requested one.
        Client::Kcat => kcat(&["-b", bootstrap, "-P", "-t", topic], "").map(drop),
        client => script(client, &[bootstrap, "create", topic, &partitions, "0"]).map(drop),
    }
}

fn produce(client: Client, bootstrap: &str, topic: &str) -> Result<(), Failed> {
    let (partitions, count) = (PARTITIONS.to_string(), EACH.to_string());
    if client != Client::Kcat {
        return script(client, &[bootstrap, "produce", topic, &partitions, &count]).map(drop);
    }
    for partition in 0..PARTITIONS {
        let numbers = (0..EACH).filter(|number| number % PARTITIONS == partition);
        let lines: String = numbers.map(|number| format!("kcat-{number}\n")).collect();
        let partition = partition.to_string();
        let arguments = [
            "-b",
            bootstrap,
            "-P",
            "-t",
            topic,
            "-p",
            &partition,
            "-X",
            "acks=all",
            "-X",
            "enable.idempotence=true",
        ];
        kcat(&arguments, &lines)?;
    }
    Ok(())
}

/// Everything in the topic as `client` reads it.
fn read(client: Client, bootstrap: &str, topic: &str, count: usize) -> Result<Vec<Line>, Failed> {
    let (partitions, count) = (PARTITIONS.to_string(), count.to_string());
    let lines = match client {
        Client::Kcat => {
            kcat(&["-b", bootstrap, "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-f", "%p %o %s\n"], "")
        }
        client => script(client, &[bootstrap, "read", topic, &partitions, &count]),
    }?;
    let line = |line: &str| {
        let mut words = line.splitn(3, ' ');
        let (partition, offset) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some((partition, offset, words.next()?.to_owned()))
    };
    let read = |text: &str| line(text).ok_or_else(|| Failed(format!("{client:?} printed \"{text}\"")));
    lines.lines().map(read).collect()
}

/// Checks that `lines` are what `senders` sent, each message once, in offsets without gaps, in the order of sending.
fn check(lines: &[Line], senders: &[Client]) {
    let mut partitions: BTreeMap<usize, Vec<(u64, &str)>> = BTreeMap::new();
    for (partition, offset, value) in lines {
        partitions.entry(*partition).or_default().push((*offset, value));
    }
    for (partition, messages) in &partitions {
        let offsets: Vec<u64> = messages.iter().map(|(offset, _)| *offset).collect();
        let expected: Vec<u64> = (0..messages.len() as u64).collect();
        assert_eq!(offsets, expected, "partition {partition}");
        for sender in senders {
            let sent: Vec<usize> = messages
                .iter()
                .filter_map(|(_, value)| value.strip_prefix(sender.prefix())?.strip_prefix('-')?.parse().ok())
                .collect();
            let expected: Vec<usize> = (0..EACH).filter(|number| number % PARTITIONS == *partition).collect();
            assert_eq!(sent, expected, "what {sender:?} sent to partition {partition}");
        }
    }
    let distinct: BTreeSet<&str> = lines.iter().map(|(.., value)| value.as_str()).collect();
    assert_eq!((distinct.len(), lines.len()), (senders.len() * EACH, senders.len() * EACH));
}

/// Returns all clients, where all are installed.
fn installed() -> Result<Vec<Client>, Missing> {
    Client::ALL.into_iter().map(Client::installed).collect()
}

fn main() -> ExitCode {
    let trials = vec![
        trial("every_client_reads_what_every_client_sent", every_client_reads_what_every_client_sent),
        trial("the_members_of_a_group_share_its_work", the_members_of_a_group_share_its_work),
        trial("confluent_processes_in_transactions", confluent_processes_in_transactions),
        trial("kcat_makes_topics_and_consumes_as_a_group", kcat_makes_topics_and_consumes_as_a_group),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Returns `result`, or panics with the brokers' output beside the client's.
#[track_caller]
fn expect<T>(brokers: &Brokers, result: Result<T, Failed>) -> T {
    result.unwrap_or_else(|error| panic!("{}\n{}", error.0, brokers.words()))
}

fn every_client_reads_what_every_client_sent() -> Result<(), Missing> {
    let clients = installed()?;
    let brokers = Brokers::start(60, &[]);
    let bootstrap = brokers.bootstrap();
    expect(&brokers, create(Client::Confluent, &bootstrap, "shared"));
    for client in &clients {
        expect(&brokers, produce(*client, &bootstrap, "shared"));
    }
    for client in &clients {
        let lines = expect(&brokers, read(*client, &bootstrap, "shared", clients.len() * EACH));
        check(&lines, &clients);
    }
    Ok(())
}

fn the_members_of_a_group_share_its_work() -> Result<(), Missing> {
    let clients = installed()?;
    let brokers = Brokers::start(61, &[]);
    let bootstrap = brokers.bootstrap();
    let (partitions, count) = (PARTITIONS.to_string(), EACH.to_string());
    for client in clients.into_iter().filter(|client| *client != Client::Kcat) {
        let topic = format!("group-{}", client.prefix());
        expect(&brokers, create(client, &bootstrap, &topic));
        expect(&brokers, produce(client, &bootstrap, &topic));
        let told = script(client, &[&bootstrap, "group", &topic, &partitions, &count]);
        assert_eq!(expect(&brokers, told), "the story of the group came to pass\n");
    }
    Ok(())
}

fn confluent_processes_in_transactions() -> Result<(), Missing> {
    let client = Client::Confluent.installed()?;
    let brokers = Brokers::start(63, &[]);
    let bootstrap = brokers.bootstrap();
    let (partitions, count) = (PARTITIONS.to_string(), EACH.to_string());
    expect(&brokers, create(client, &bootstrap, "inputs"));
    expect(&brokers, produce(client, &bootstrap, "inputs"));
    let told = script(client, &[&bootstrap, "process", "inputs", &partitions, &count]);
    assert_eq!(expect(&brokers, told), "every message was processed once\n");
    Ok(())
}

fn kcat_makes_topics_and_consumes_as_a_group() -> Result<(), Missing> {
    Client::Kcat.installed()?;
    let brokers = Brokers::start(62, &[]);
    let bootstrap = brokers.bootstrap();
    let lines: String = (0..EACH).map(|number| format!("kcat-{number}\n")).collect();
    expect(&brokers, kcat(&["-b", &bootstrap, "-P", "-t", "made"], &lines));
    let listed = expect(&brokers, kcat(&["-b", &bootstrap, "-L"], ""));
    assert!(listed.contains("3 brokers:") && listed.contains("topic \"made\""), "{listed}");

    let consume = |expected: &str| {
        let arguments =
            ["-b", &bootstrap, "-e", "-q", "-X", "auto.offset.reset=earliest", "-G", "kcats", "made"];
        let got = expect(&brokers, kcat(&arguments, ""));
        assert_eq!(got, expected);
    };
    consume(&lines);
    // The same group again begins where the group was.
    expect(&brokers, kcat(&["-b", &bootstrap, "-P", "-t", "made"], "more\n"));
    consume("more\n");
    Ok(())
}
