//! Client programs in Python, with the kit: one process for each client, and one for all. Without python3 the tests are ignored,
//! with the reason.

#[path = "suite/own_program/mod.rs"]
mod own_program;

use std::fs;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

use duress_history::bank::{Balances, Bank, Reading, Transfer};
use duress_history::register::{Register, RegisterOp};
use duress_history::{NodeId, Payload, Scalar};
use duress_targets::{CauseKind, Client, Deployment, Outcome, OwnNetwork, Place, Seat};
use duress_testing::{Missing, Need, trial};
use libtest_mimic::Arguments;
use tempfile::TempDir;

/// For operations that are answered: long enough for an interpreter on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// For those that are not.
const SHORT: Duration = Duration::from_secs(2);

/// Registers, of which some are traps, and a bank, all in the memory of the process.
const PROGRAM: &str = r#"
import os, signal, threading, time
from duress_client import Client, Mismatch, run

balances, lock, asleep = {}, threading.Lock(), threading.Event()

class Mine(Client):
    def open(self):
        self.written = None

    def read(self, key):
        if isinstance(key, list):
            with lock:
                return {account: balances.get(account) for account in key}
        if key == "process":
            return os.getpid()
        if key == "asleep":
            return int(asleep.wait(20))
        return self.written

    def write(self, key, value):
        if key == "slow":
            asleep.set()
            time.sleep(value)
        if key in ("stop", "line", "twice"):
            asleep.wait(20)
        if key == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
            time.sleep(20)
        if key == "line":
            os.write(1, b"something else\n")
            time.sleep(20)
        if key == "twice":
            os.write(1, b'{"client":1,"id":1,"type":"ok"}\n')
        self.written = value

    def create(self, first):
        with lock:
            for account, balance in first.items():
                balances.setdefault(account, balance)

    def transfer(self, transfer):
        with lock:
            if balances[transfer["from"]] < transfer["amount"]:
                raise Mismatch("it has less")
            balances[transfer["from"]] -= transfer["amount"]
            balances[transfer["to"]] += transfer["amount"]

run(Mine)
"#;

fn main() -> ExitCode {
    let test = |name: &'static str,
                test: fn(&Cluster) -> futures_util::future::LocalBoxFuture<'_, ()>,
                processes: &'static str| {
        trial(name, move || {
            if Command::new("python3").arg("--version").output().is_err() {
                return Err(Missing::new(Need::Python, "no python3 in PATH"));
            }
            let cluster = Cluster::new(processes);
            tokio::runtime::Runtime::new().expect("a runtime").block_on(test(&cluster));
            Ok(())
        })
    };
    let tests = vec![
        test("a_bank_is_served", |cluster| Box::pin(a_bank_is_served(cluster)), "per-client"),
        test(
            "each_client_has_a_process",
            |cluster| Box::pin(each_client_has_a_process(cluster)),
            "per-client",
        ),
        test("one_process_serves_all", |cluster| Box::pin(one_process_serves_all(cluster)), "per-host"),
        test("what_is_late_is_discarded", |cluster| Box::pin(what_is_late_is_discarded(cluster)), "per-host"),
        test("what_hangs_is_killed", |cluster| Box::pin(what_hangs_is_killed(cluster)), "per-host"),
        test(
            "what_breaks_the_protocol_is_killed",
            |cluster| Box::pin(what_breaks_the_protocol_is_killed(cluster)),
            "per-host",
        ),
    ];
    libtest_mimic::run(&Arguments::from_args(), tests).exit_code()
}

/// A system whose clients are the program, all in one place.
struct Cluster {
    folder: TempDir,
    deployment: Arc<dyn Deployment>,
    place: Arc<dyn Place>,
}

impl Cluster {
    fn new(processes: &str) -> Self {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("client.py"), PROGRAM).unwrap();
        let kit = include_str!("../../clients/python/duress_client.py");
        fs::write(folder.path().join("duress_client.py"), kit).unwrap();
        let client = format!(
            "command = \"python3 client.py\"\nspeaks = [\"register\", \"bank\"]\nprocesses = \"{processes}\""
        );
        let deployment = own_program::deployed(folder.path(), &client);
        Self { folder, deployment, place: Arc::new(OwnNetwork) }
    }

    fn client<A: Payload + Sync + 'static>(&self, timeout: Duration) -> Box<dyn Client<A>> {
        let (node, place) = (NodeId::new("n1"), Arc::clone(&self.place));
        let stderr = Some(self.folder.path().join("client.log"));
        self.deployment
            .clients()
            .client(Seat { node, place, timeout, stderr, scratch: None, traffic: None })
            .unwrap()
    }
}

async fn read(client: &mut Box<dyn Client<Register>>, key: &str) -> Option<Scalar> {
    match client.invoke(&Register { key: key.into(), op: RegisterOp::Read(None) }).await {
        Outcome::Ok(Register { op: RegisterOp::Read(value), .. }) => value,
        other => panic!("{key}: {other:?}"),
    }
}

async fn write(client: &mut Box<dyn Client<Register>>, key: &str, value: i64) -> Outcome<Register> {
    client.invoke(&Register { key: key.into(), op: RegisterOp::Write(value.into()) }).await
}

/// Asserts that an operation is open, for this reason.
#[track_caller]
fn open(outcome: &Outcome<Register>, kind: CauseKind, text: &str) {
    let fits = matches!(outcome, Outcome::Info(cause) if cause.kind == kind && cause.text.contains(text));
    assert!(fits, "{outcome:?}");
}

async fn a_bank_is_served(cluster: &Cluster) {
    let mut client = cluster.client::<Bank>(PATIENCE);
    let [a, b] = ["a", "b"].map(Scalar::from);
    let balances = |of_a, of_b| Balances(vec![(a.clone(), of_a), (b.clone(), of_b)]);
    let transfer = Bank::Transfer(Transfer { from: b.clone(), to: a.clone(), amount: 7 });
    let asked = Bank::Read(Reading::Asked(vec![a.clone(), b.clone()]));
    let read = |of_a, of_b| Bank::Read(Reading::Answered(balances(of_a, of_b)));
    let create = Bank::Create(balances(Some(10), Some(10)));
    for (asked, answer) in [
        (&asked, Some(read(None, None))),
        (&create, Some(create.clone())),
        (&transfer, Some(transfer.clone())),
        (&create, Some(create.clone())),
        (&transfer, None),
        (&asked, Some(read(Some(17), Some(3)))),
    ] {
        match (client.invoke(asked).await, answer) {
            (Outcome::Ok(done), Some(expected)) => assert_eq!(done, expected),
            (Outcome::Fail(cause), None) => assert_eq!(cause.kind, CauseKind::Precondition, "{cause}"),
            (outcome, _) => panic!("{asked:?}: {outcome:?}"),
        }
    }
}

async fn each_client_has_a_process(cluster: &Cluster) {
    let [mut one, mut other] = [cluster.client(PATIENCE), cluster.client(PATIENCE)];
    assert_ne!(read(&mut one, "process").await, read(&mut other, "process").await);
}

async fn one_process_serves_all(cluster: &Cluster) {
    let [mut one, mut other] = [cluster.client(PATIENCE), cluster.client(PATIENCE)];
    assert_eq!(read(&mut one, "process").await, read(&mut other, "process").await);
    // What a client of the program keeps is its own.
    assert!(matches!(write(&mut one, "x", 1).await, Outcome::Ok(_)));
    assert!(matches!(write(&mut other, "x", 2).await, Outcome::Ok(_)));
    assert_eq!((read(&mut one, "x").await, read(&mut other, "x").await), (Some(1.into()), Some(2.into())));
    // An operation does not wait for that of another client.
    let began = Instant::now();
    let (slow, fast) = tokio::join!(write(&mut one, "slow", 3), async {
        read(&mut other, "asleep").await;
        read(&mut other, "x").await;
        began.elapsed()
    });
    assert!(matches!(slow, Outcome::Ok(_)) && fast < Duration::from_secs(3), "{slow:?} {fast:?}");
}

async fn what_is_late_is_discarded(cluster: &Cluster) {
    let [mut one, mut other] = [cluster.client(SHORT), cluster.client(PATIENCE)];
    // Nobody waits for an interpreter with so little patience.
    let process = read(&mut other, "process").await;
    let (late, ()) = tokio::join!(write(&mut one, "slow", 5), async {
        read(&mut other, "asleep").await;
    });
    open(&late, CauseKind::Timeout, "gave no answer in time");
    // The client starts afresh, and the process is the same, also when the answer has come.
    assert_eq!(read(&mut one, "x").await, None);
    let log = cluster.folder.path().join("client.log");
    let until = Instant::now() + PATIENCE;
    while !fs::read_to_string(&log).unwrap_or_default().contains("duress: late answer 1, discarded: {") {
        assert!(Instant::now() < until, "it never came");
        assert_eq!(read(&mut other, "process").await, process);
    }
    assert!(matches!(write(&mut one, "x", 5).await, Outcome::Ok(_)));
    assert_eq!((read(&mut one, "process").await, read(&mut one, "x").await), (process, Some(5.into())));
}

async fn what_hangs_is_killed(cluster: &Cluster) {
    let [mut one, mut other] = [cluster.client(PATIENCE), cluster.client(Duration::from_secs(3))];
    let process = read(&mut one, "process").await;
    read(&mut other, "process").await;
    let (stopped, waited) = tokio::join!(write(&mut other, "stop", 1), write(&mut one, "slow", 20));
    open(&stopped, CauseKind::Timeout, "in time");
    open(&waited, CauseKind::Timeout, "answered nobody in that time, and was killed");
    let another = read(&mut one, "process").await;
    assert_ne!(another, process);
    assert_eq!(read(&mut other, "process").await, another);
}

async fn what_breaks_the_protocol_is_killed(cluster: &Cluster) {
    for (key, says) in
        [("line", "wrote a line that is not an answer"), ("twice", "answered request 1, which does not wait")]
    {
        let [mut one, mut other] = [cluster.client(PATIENCE), cluster.client(PATIENCE)];
        let process = read(&mut one, "process").await;
        read(&mut other, "process").await;
        let (wrong, waited) = tokio::join!(write(&mut other, key, 1), write(&mut one, "slow", 20));
        open(&wrong, CauseKind::Unreadable, says);
        open(&waited, CauseKind::Unreadable, says);
        assert_ne!(read(&mut one, "process").await, process);
    }
}
