//! Transactions on a real Redis. If redis-server is not installed, the test is ignored, with the reason.

#[path = "suite/offer/mod.rs"]
mod offer;
#[path = "suite/txn_words/mod.rs"]
mod txn_words;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use duress_history::bank::{Balances, Bank, Reading, Transfer};
use duress_history::txn::{Answer, Elements, Held, Txn};
use duress_history::{NodeId, Payload};
use duress_settings::Request;
use duress_targets::{Client, Deployment, Node, Outcome, OwnNetwork, Seat, Store, System, Topology};
use duress_testing::{Missing, Need, trial};
use libtest_mimic::Arguments;
use txn_words::txn;

/// The longest wait for an answer.
const DEADLINE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let test = trial("redis_executes_transactions", || {
        if Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().is_err() {
            let reason = "redis-server is not installed (Debian: apt-get install redis-server)";
            return Err(Missing::new(Need::RedisServer, reason));
        }
        tokio::runtime::Runtime::new().expect("a runtime").block_on(redis_executes_transactions());
        Ok(())
    });
    libtest_mimic::run(&Arguments::from_args(), vec![test]).exit_code()
}

/// A server that is killed when it goes out of scope.
struct Redis {
    address: Ipv4Addr,
    child: Child,
}

impl Redis {
    fn start(folder: &Path) -> Self {
        // Other runs of this test on the same machine must not share addresses.
        let [high, low] = (std::process::id() as u16).to_be_bytes();
        let address = Ipv4Addr::new(127, high.wrapping_add(120), low, 1);
        let child = Command::new("redis-server")
            .args(["--bind", &address.to_string(), "--port", "6379", "--save", "", "--appendonly", "no"])
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { address, child }
    }

    /// Sends a command of an administrator.
    fn administer(&self, command: &str) {
        let mut stream = TcpStream::connect((self.address, 6379)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(format!("{command}\r\n").as_bytes()).unwrap();
        let mut reply = [0; 5];
        stream.read_exact(&mut reply).unwrap();
        assert_eq!(&reply, b"+OK\r\n", "{command}");
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the outcome of a transaction, in short.
async fn outcome<R: Answer>(client: &mut dyn Client<Txn<R>>, words: &str) -> String {
    short(client.invoke(&txn(words)).await)
}

/// Returns an outcome in short.
fn short<A: Payload>(outcome: Outcome<A>) -> String {
    match outcome {
        Outcome::Ok(answer) => {
            let mut value = Vec::new();
            answer.serialize_value(&mut serde_json::Serializer::new(&mut value)).unwrap();
            String::from_utf8(value).unwrap()
        }
        Outcome::Fail(cause) => format!("fail {}", cause.kind),
        Outcome::Info(cause) => format!("info {}", cause.kind),
    }
}

async fn redis_executes_transactions() {
    let folder = tempfile::tempdir().unwrap();
    let redis = Redis::start(folder.path());
    let store = Store::new("duress".into(), offer::store_offer());
    let node = NodeId::new("n1");
    let topology = Topology { nodes: vec![Node { name: node.clone(), address: redis.address.into() }] };
    let request = Request { nodes: 1, ..Request::default() };
    let deployment = store.deploy(&store.resolve(&request).unwrap(), &topology).unwrap();
    let seat = Seat {
        node,
        place: Arc::new(OwnNetwork),
        timeout: DEADLINE,
        stderr: None,
        scratch: None,
        traffic: None,
    };
    let mut lists = client::<Elements>(&*deployment, &seat);
    let mut registers = client::<Held>(&*deployment, &seat);

    let until = Instant::now() + DEADLINE;
    while outcome(&mut *lists, "rx").await != r#"[["r","x",[]]]"# {
        assert!(Instant::now() < until, "it never answered");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let appended = outcome(&mut *lists, "rx ax1 rx ay2 ax3").await;
    assert_eq!(
        appended,
        r#"[["r","x",[]],["append","x",1],["r","x",[1]],["append","y",2],["append","x",3]]"#
    );
    assert_eq!(outcome(&mut *lists, "rx ry").await, r#"[["r","x",[1,3]],["r","y",[2]]]"#);
    let written = outcome(&mut *registers, "rq wq5 rq").await;
    assert_eq!(written, r#"[["r","q",null],["w","q",5],["r","q",5]]"#);

    let mut bank = deployment.clients().client::<Bank>(seat.clone()).unwrap();
    let [create, read, transfer] = bank_operations();
    for (asked, expected) in [
        (&read, r#"{"a0":null,"a1":null}"#),
        (&transfer, "fail precondition"),
        (&create, r#"{"a0":10,"a1":10}"#),
        (&transfer, r#"{"from":"a1","to":"a0","amount":7}"#),
        (&create, r#"{"a0":10,"a1":10}"#),
        (&read, r#"{"a0":17,"a1":3}"#),
        (&transfer, "fail precondition"),
        (&read, r#"{"a0":17,"a1":3}"#),
    ] {
        assert_eq!(short(bank.invoke(asked).await), expected, "{asked:?}");
    }

    // Redis executes the other commands of a transaction in which one fails: a register is not a list.
    assert_eq!(outcome(&mut *lists, "ax4 aq1").await, "info rejected");
    assert_eq!(outcome(&mut *lists, "rx").await, r#"[["r","x",[1,3,4]]]"#);

    // Redis discards a transaction if it refuses to queue one of its commands.
    redis.administer("CONFIG SET min-replicas-to-write 1");
    assert_eq!(outcome(&mut *lists, "ax5 ry").await, "fail rejected");
    redis.administer("CONFIG SET min-replicas-to-write 0");
    redis.administer("REPLICAOF 127.0.0.1 1");
    assert_eq!(outcome(&mut *lists, "ry ax6").await, "fail no-leader");
    assert_eq!(outcome(&mut *registers, "wq6").await, "fail no-leader");
    redis.administer("REPLICAOF NO ONE");
    assert_eq!(outcome(&mut *lists, "rx").await, r#"[["r","x",[1,3,4]]]"#);
    assert_eq!(outcome(&mut *registers, "rq").await, r#"[["r","q",5]]"#);

    drop(redis);
    let refused = outcome(&mut *lists, "ax7").await;
    assert!(["fail refused", "fail connection-lost"].contains(&refused.as_str()), "{refused}");
}

/// A creation of two accounts, a read of both, and a transfer that one of them can pay once.
fn bank_operations() -> [Bank; 3] {
    let accounts = ["a0", "a1"].map(duress_history::Scalar::from);
    let [to, from] = accounts.clone();
    [
        Bank::Create(Balances(accounts.iter().map(|account| (account.clone(), Some(10))).collect())),
        Bank::Read(Reading::Asked(accounts.to_vec())),
        Bank::Transfer(Transfer { from, to, amount: 7 }),
    ]
}

fn client<R: Answer>(deployment: &dyn Deployment, seat: &Seat) -> Box<dyn Client<Txn<R>>> {
    deployment.clients().client(seat.clone()).unwrap()
}
