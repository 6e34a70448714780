//! Clients of a real PostgreSQL, and what becomes of what it refuses. If it is not installed, the test is ignored, with the
//! reason.

#[path = "suite/txn_words/mod.rs"]
mod txn_words;

use std::io::Write;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use duress_history::bank::{Balances, Bank, Reading, Transfer};
use duress_history::counter::{Counter, CounterOp};
use duress_history::register::{Register, RegisterOp};
use duress_history::set::{Set, SetOp};
use duress_history::txn::{Elements, Held, Txn};
use duress_history::{NodeId, Payload, Scalar};
use duress_settings::Request;
use duress_targets::{
    Client, Deployment, Manifest, ManifestText, Node, Outcome, OwnNetwork, Seat, Setup, System, Topology,
};
use duress_testing::{Missing, Need, trial};
use libtest_mimic::Arguments;
use tempfile::TempDir;
use txn_words::txn;

/// The programs of PostgreSQL, which Debian keeps out of `PATH`.
const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";
/// The longest wait for an answer.
const DEADLINE: Duration = Duration::from_secs(30);
/// The time of an operation that is to run out of it.
const SHORT: Duration = Duration::from_millis(300);

fn main() -> ExitCode {
    let test = |name: &'static str, test: fn(&Postgres, &tokio::runtime::Runtime)| {
        trial(name, move || {
            if !Path::new(PROGRAMS).join("initdb").exists() {
                let reason = "PostgreSQL 15 is not installed (Debian: apt-get install postgresql-15)";
                return Err(Missing::new(Need::Postgres, reason));
            }
            let server = Postgres::start()?;
            test(&server, &tokio::runtime::Runtime::new().expect("a runtime"));
            Ok(())
        })
    };
    let tests = vec![
        test("every_operation_is_answered", |server, runtime| {
            runtime.block_on(every_operation_is_answered(server));
        }),
        test("statements_that_do_not_fit_are_named", |server, runtime| {
            runtime.block_on(statements_that_do_not_fit_are_named(server));
        }),
        test("what_a_refusal_means_depends_on_what_was_sent", |server, runtime| {
            runtime.block_on(what_a_refusal_means_depends_on_what_was_sent(server));
        }),
    ];
    libtest_mimic::run(&Arguments::from_args(), tests).exit_code()
}

/// A server that is killed when it goes out of scope.
struct Postgres {
    address: Ipv4Addr,
    child: Child,
    folder: TempDir,
}

impl Postgres {
    fn start() -> Result<Self, Missing> {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        // Other servers on the same machine must not share addresses.
        static NEXT: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(1);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let [high, low] = (std::process::id() as u16).to_be_bytes();
        let address = Ipv4Addr::new(127, high.wrapping_add(90), low, number);
        let made =
            program("initdb").arg("-D").arg(&data).args(["-U", "postgres", "-A", "trust", "-N"]).output();
        let made = made.map_err(|error| Missing::new(Need::Namespaces, format!("unshare: {error}")))?;
        let said = String::from_utf8_lossy(&made.stderr).into_owned();
        if said.contains("unshare:") {
            return Err(Missing::new(Need::Namespaces, said));
        }
        assert!(made.status.success(), "{said}");
        let child = program("postgres")
            .arg("-D")
            .arg(&data)
            .args(["-h", &address.to_string(), "-k", "", "-F"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let server = Self { address, child, folder };
        let end = Instant::now() + DEADLINE;
        while server.psql("select 1").as_deref() != Some("1") {
            assert!(Instant::now() < end, "it never answered");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    fn administrator(&self) -> Command {
        let mut psql = Command::new(Path::new(PROGRAMS).join("psql"));
        psql.args(["-h", &self.address.to_string(), "-U", "postgres", "-qAtX"]);
        psql
    }

    /// Returns the answer to an administrator's statement; `None` for an error.
    fn psql(&self, sql: &str) -> Option<String> {
        let ended = self.administrator().args(["-c", sql]).output().unwrap();
        ended.status.success().then(|| String::from_utf8(ended.stdout).unwrap().trim().to_owned())
    }

    /// Waits until a client waits for a lock.
    fn await_waiter(&self) {
        let end = Instant::now() + DEADLINE;
        let waits = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'";
        while self.psql(waits).as_deref() != Some("1") {
            assert!(Instant::now() < end, "no client ever waited for the lock");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends the session of the client that waits for a lock, as an administrator does.
    fn end_waiter(&self) {
        self.await_waiter();
        let end = "select pg_terminate_backend(pid) from pg_stat_activity where wait_event_type = 'Lock'";
        assert_eq!(self.psql(end).as_deref(), Some("t"));
    }

    /// Returns a transaction of an administrator that has changed what `sql` changes, and keeps its locks.
    fn holder(&self, sql: &str) -> Holder {
        let psql = self.administrator().stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut holder = Holder(psql);
        holder.say(&format!("begin; {sql};"));
        let end = Instant::now() + DEADLINE;
        let idle = "select count(*) from pg_stat_activity where state = 'idle in transaction'";
        while self.psql(idle).as_deref() != Some("1") {
            assert!(Instant::now() < end, "the administrator's transaction never began");
            std::thread::sleep(Duration::from_millis(10));
        }
        holder
    }

    /// Returns a cluster of this one node, whose manifest's `[client]` has `keys`.
    fn cluster(&self, keys: &str) -> Arc<dyn Deployment> {
        let text = format!(
            "name = \"local\"\nport = 5432\n[[role]]\nname = \"node\"\ncommand = \"true\"\n[client]\nprotocol = \"postgres\"\n{keys}"
        );
        let path = PathBuf::from(self.folder.path()).join("duress.toml");
        let system = Manifest::parse(&ManifestText { path, text }).unwrap();
        let settings = system.resolve(&Request { nodes: 1, ..Request::default() }).unwrap();
        let node = Node { name: NodeId::new("n1"), address: self.address.into() };
        system.deploy(&settings, &Topology { nodes: vec![node] }).unwrap()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // An immediate shutdown; its processes for clients end with it.
        let _ = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(self.child.id() as i32),
            nix::sys::signal::Signal::SIGQUIT,
        );
        let _ = self.child.wait();
    }
}

/// A transaction that is open, in a session of an administrator, which ends with it.
struct Holder(Child);

impl Holder {
    fn say(&mut self, sql: &str) {
        self.0.stdin.as_mut().unwrap().write_all(format!("{sql}\n").as_bytes()).unwrap();
    }

    fn end(mut self, sql: &str) {
        self.say(sql);
        drop(self.0.stdin.take());
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A program of PostgreSQL that refuses to be root: as root it is started as another user of a namespace of its own.
fn program(name: &str) -> Command {
    let path = Path::new(PROGRAMS).join(name);
    if !nix::unistd::geteuid().is_root() {
        return Command::new(path);
    }
    let mut command = Command::new("unshare");
    command.args(["--map-user=nobody", "--map-group=nogroup"]).arg(path);
    command
}

fn seat(timeout: Duration) -> Seat {
    Seat {
        node: NodeId::new("n1"),
        place: Arc::new(OwnNetwork),
        timeout,
        stderr: None,
        scratch: None,
        traffic: None,
    }
}

fn client<A: Payload + Sync + 'static>(cluster: &dyn Deployment, timeout: Duration) -> Box<dyn Client<A>> {
    cluster.clients().client(seat(timeout)).unwrap()
}

/// Returns an outcome in short: the value of an answer, or the kind of a failure.
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

fn read() -> Register {
    Register { key: "x".into(), op: RegisterOp::Read(None) }
}

fn write(value: i64) -> Register {
    Register { key: "x".into(), op: RegisterOp::Write(value.into()) }
}

fn delete() -> Register {
    Register { key: "x".into(), op: RegisterOp::Delete }
}

fn cas(old: Option<i64>, new: i64) -> Register {
    Register { key: "x".into(), op: RegisterOp::Cas { old: old.map(Scalar::from), new: new.into() } }
}

async fn prepared(server: &Postgres, keys: &str) -> Arc<dyn Deployment> {
    let cluster = server.cluster(keys);
    cluster.prepare(&Setup::default(), &OwnNetwork, DEADLINE).await.unwrap();
    cluster
}

async fn every_operation_is_answered(server: &Postgres) {
    for level in ["serializable", "repeatable read", "read committed"] {
        server.psql("drop schema public cascade; create schema public").unwrap();
        let cluster = prepared(server, &format!("isolation = \"{level}\"")).await;
        let mut registers = client::<Register>(&*cluster, DEADLINE);
        for (asked, answer) in [
            (read(), r#"["x",null]"#),
            (cas(Some(1), 2), "fail precondition"),
            (cas(None, 1), r#"["x",[null,1]]"#),
            (cas(None, 2), "fail precondition"),
            (cas(Some(1), 2), r#"["x",[1,2]]"#),
            (cas(Some(1), 3), "fail precondition"),
            (read(), r#"["x",2]"#),
            (write(-7), r#"["x",-7]"#),
            (read(), r#"["x",-7]"#),
            (delete(), r#"["x",null]"#),
            (read(), r#"["x",null]"#),
            (delete(), r#"["x",null]"#),
        ] {
            assert_eq!(short(registers.invoke(&asked).await), answer, "{asked:?} at {level}");
        }
        let mut sets = client::<Set>(&*cluster, DEADLINE);
        let set = |op| Set { key: Some("s".into()), op };
        assert_eq!(short(sets.invoke(&set(SetOp::Read(None))).await), r#"["s",[]]"#);
        sets.invoke(&set(SetOp::Add(3.into()))).await;
        sets.invoke(&set(SetOp::Add("three".into()))).await;
        assert_eq!(short(sets.invoke(&set(SetOp::Read(None))).await), r#"["s",[3,"three"]]"#);
        let mut counters = client::<Counter>(&*cluster, DEADLINE);
        let counter = |op| Counter { key: Some("c".into()), op };
        assert_eq!(short(counters.invoke(&counter(CounterOp::Read(None))).await), r#"["c",0]"#);
        counters.invoke(&counter(CounterOp::Add(5))).await;
        counters.invoke(&counter(CounterOp::Add(-2))).await;
        assert_eq!(short(counters.invoke(&counter(CounterOp::Read(None))).await), r#"["c",3]"#);
        let mut lists = client::<Txn<Elements>>(&*cluster, DEADLINE);
        assert_eq!(
            short(lists.invoke(&txn("rx ax1 rx ay2 ax3 rx")).await),
            r#"[["r","x",[]],["append","x",1],["r","x",[1]],["append","y",2],["append","x",3],["r","x",[1,3]]]"#
        );
        assert_eq!(short(lists.invoke(&txn("ry rx")).await), r#"[["r","y",[2]],["r","x",[1,3]]]"#);
        let mut pairs = client::<Txn<Held>>(&*cluster, DEADLINE);
        assert_eq!(
            short(pairs.invoke(&txn("rq wq5 rq")).await),
            r#"[["r","q",null],["w","q",5],["r","q",5]]"#
        );
        let mut bank = client::<Bank>(&*cluster, DEADLINE);
        let accounts = ["a0", "a1"].map(Scalar::from);
        let [a0, a1] = accounts.clone();
        let create =
            Bank::Create(Balances(accounts.iter().map(|account| (account.clone(), Some(10))).collect()));
        let all = Bank::Read(Reading::Asked(accounts.to_vec()));
        let transfer = |from: &Scalar, to: &Scalar| {
            Bank::Transfer(Transfer { from: from.clone(), to: to.clone(), amount: 7 })
        };
        for (asked, answer) in [
            (&all, r#"{"a0":null,"a1":null}"#),
            // Neither statement finds an account.
            (&transfer(&a0, &a1), "fail precondition"),
            (&transfer(&a1, &a0), "fail rejected"),
            (&create, r#"{"a0":10,"a1":10}"#),
            (&transfer(&a1, &a0), r#"{"from":"a1","to":"a0","amount":7}"#),
            (&create, r#"{"a0":10,"a1":10}"#),
            (&all, r#"{"a0":17,"a1":3}"#),
            // What was given is given back with what could not be taken.
            (&transfer(&a1, &a0), "fail precondition"),
            (&all, r#"{"a0":17,"a1":3}"#),
            (&transfer(&a0, &a1), r#"{"from":"a0","to":"a1","amount":7}"#),
            (&all, r#"{"a0":10,"a1":10}"#),
        ] {
            assert_eq!(short(bank.invoke(asked).await), answer, "{asked:?} at {level}");
        }
        let shown = "current_setting('transaction_isolation')";
        let keys = format!(
            "isolation = \"{level}\"\n[client.statements]\nregister-read = \"select {shown} where $1 <> ''\""
        );
        let shows = server.cluster(&keys);
        let mut registers = client::<Register>(&*shows, DEADLINE);
        assert_eq!(short(registers.invoke(&read()).await), format!(r#"["x","{level}"]"#));
        let mut pairs = client::<Txn<Held>>(&*shows, DEADLINE);
        assert_eq!(short(pairs.invoke(&txn("rx")).await), format!(r#"[["r","x","{level}"]]"#));
    }
}

async fn statements_that_do_not_fit_are_named(server: &Postgres) {
    for (statement, says) in [
        (
            "counter-read = \"select n from duress_counter where k = $1\"",
            "counter-read does not fit: it answers int8",
        ),
        ("set-add = \"insert into duress_set values ($1, $2 || $3)\"", "set-add does not fit: it has $3"),
        (
            "register-write = \"insert into duress_register values ($1, '')\"",
            "register-write does not fit: it has no $2",
        ),
        ("set-read = \"select v from duress_set\"", "set-read does not fit: it has no $1"),
        ("list-read = \"selekt 1\"", "list-read: ERROR 42601"),
        ("tables = [\"create tabel x ()\"]", "tables: ERROR 42601"),
    ] {
        let cluster = server.cluster(&format!("[client.statements]\n{statement}"));
        let error = cluster.prepare(&Setup::default(), &OwnNetwork, DEADLINE).await.unwrap_err();
        assert!(error.cause.text.contains(says), "{statement}: {}", error.cause.text);
    }
    let own = "[client.statements]\ntables = [\"create table mine (id text primary key, number int)\"]\n\
        register-read = \"select number::text from mine where id = $1\"\n\
        register-write = \"insert into mine values ($1, $2) on conflict (id) do update set number = $2\"\n\
        register-cas = \"update mine set number = $3 where id = $1 and number = $2\"\n\
        register-create = \"insert into mine values ($1, $2) on conflict do nothing\"";
    let cluster = prepared(server, &format!("speaks = [\"register\"]\n{own}")).await;
    let mut registers = client::<Register>(&*cluster, DEADLINE);
    assert_eq!(short(registers.invoke(&cas(None, 4)).await), r#"["x",[null,4]]"#);
    assert_eq!(short(registers.invoke(&write(5)).await), r#"["x",5]"#);
    assert_eq!(short(registers.invoke(&cas(Some(5), 6)).await), r#"["x",[5,6]]"#);
    assert_eq!(short(registers.invoke(&read()).await), r#"["x",6]"#);
    // A change of a row that is not there is none, in a transaction too, which is rolled back.
    let in_vain = "[client.statements]\ntables = []\n\
        register-write = \"update mine set number = $2::int where id = $1\"\n\
        register-read = \"select number::text from mine where id = $1\"";
    let cluster = prepared(server, &format!("speaks = [\"register\", \"rw-register\"]\n{in_vain}")).await;
    let elsewhere = Register { key: "y".into(), op: RegisterOp::Write(7.into()) };
    assert_eq!(short(client::<Register>(&*cluster, DEADLINE).invoke(&elsewhere).await), "fail rejected");
    let mut pairs = client::<Txn<Held>>(&*cluster, DEADLINE);
    assert_eq!(short(pairs.invoke(&txn("wx8 wy7")).await), "fail rejected");
    assert_eq!(short(pairs.invoke(&txn("rx")).await), r#"[["r","x",6]]"#);
    // The column is a number.
    let text = Register { key: "x".into(), op: RegisterOp::Write("six".into()) };
    assert_eq!(short(registers.invoke(&text).await), "fail rejected");
}

async fn what_a_refusal_means_depends_on_what_was_sent(server: &Postgres) {
    let cluster = prepared(server, "").await;
    let mut registers = client::<Register>(&*cluster, DEADLINE);
    let mut pairs = client::<Txn<Held>>(&*cluster, DEADLINE);
    assert_eq!(short(registers.invoke(&write(1)).await), r#"["x",1]"#);
    let lock = "update duress_register set v = '2' where k = 'x'";

    // Another transaction commits first.
    let holder = server.holder(lock);
    let waiting = tokio::spawn(async move { (short(pairs.invoke(&txn("ry wx9")).await), pairs) });
    server.await_waiter();
    holder.end("commit;");
    let (outcome, mut pairs) = waiting.await.unwrap();
    assert_eq!(outcome, "fail precondition");
    assert_eq!(short(pairs.invoke(&txn("rx")).await), r#"[["r","x",2]]"#);

    // The session is ended, before a commit was sent; and with a statement that commits by itself.
    let holder = server.holder(lock);
    let waiting = tokio::spawn(async move { (short(pairs.invoke(&txn("wx9")).await), pairs) });
    server.end_waiter();
    let (outcome, mut pairs) = waiting.await.unwrap();
    assert_eq!(outcome, "fail connection-lost");
    let waiting = tokio::spawn(async move { (short(registers.invoke(&write(9)).await), registers) });
    server.end_waiter();
    let (outcome, mut registers) = waiting.await.unwrap();
    assert_eq!(outcome, "info connection-lost");

    // No answer in time, likewise.
    let mut hasty = client::<Txn<Held>>(&*cluster, SHORT);
    assert_eq!(short(hasty.invoke(&txn("wx9")).await), "fail timeout");
    let mut hasty = client::<Register>(&*cluster, SHORT);
    assert_eq!(short(hasty.invoke(&write(9)).await), "info timeout");
    // The write that timed out waits on, and is done as soon as it can be: that is why its outcome is open.
    holder.end("rollback;");
    let end = Instant::now() + DEADLINE;
    while short(registers.invoke(&read()).await) != r#"["x",9]"# {
        assert!(Instant::now() < end, "the write that timed out was never done");
    }

    // A standby, or a primary that was told to be one.
    server.psql("alter database postgres set default_transaction_read_only = on").unwrap();
    let mut registers_later = client::<Register>(&*cluster, DEADLINE);
    assert_eq!(short(registers_later.invoke(&write(3)).await), "fail no-leader");
    assert_eq!(short(registers_later.invoke(&read()).await), r#"["x",9]"#);
    let mut pairs_later = client::<Txn<Held>>(&*cluster, DEADLINE);
    assert_eq!(short(pairs_later.invoke(&txn("rx wx3")).await), "fail no-leader");
    assert_eq!(
        short(pairs_later.invoke(&txn("rx")).await),
        r#"[["r","x",9]]"#,
        "rolled back, and used again"
    );

    // No process listens.
    let pid = nix::unistd::Pid::from_raw(server.child.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGQUIT).unwrap();
    let end = Instant::now() + DEADLINE;
    loop {
        let outcome = short(pairs.invoke(&txn("wx4")).await);
        assert!(outcome.starts_with("fail "), "no commit was ever answered, or sent: {outcome}");
        if outcome == "fail refused" {
            break;
        }
        assert!(Instant::now() < end, "it still listens: {outcome}");
    }
}
