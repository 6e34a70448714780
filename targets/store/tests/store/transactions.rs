//! Lists and transactions: as one client sees them, between others, on other nodes, and after kills.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::client::{Client, show};
use crate::cluster::{Cluster, PATIENCE};
use crate::proxy::Pass;

const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";
const EXEC_ABORT: &str = "-EXECABORT Transaction discarded because of previous errors.";

#[tokio::test]
async fn lists_and_transactions_answer_as_in_redis() {
    for mode in ["raft", "primary"] {
        let cluster = Cluster::start(mode, 1, &[], None).await;
        cluster.until(1, "SET s v", |reply| reply == "OK").await;
        let mut client = cluster.client(1).await;
        for (command, reply) in [
            ("RPUSH l a", "(integer) 1"),
            ("RPUSH l b c", "(integer) 3"),
            ("LRANGE l 0 -1", "[a, b, c]"),
            ("LRANGE l -2 10", "[b, c]"),
            ("LRANGE l 2 1", "[]"),
            ("LRANGE none 0 -1", "[]"),
            ("LLEN l", "(integer) 3"),
            ("LLEN none", "(integer) 0"),
            ("GET l", WRONG_TYPE),
            ("INCR l", WRONG_TYPE),
            ("LRANGE s 0 -1", WRONG_TYPE),
            ("LLEN s", WRONG_TYPE),
            ("RPUSH s a", WRONG_TYPE),
            ("SET l x IFEQ a", WRONG_TYPE),
            ("SET l x NX", "(nil)"),
            ("SET l x NX GET", WRONG_TYPE),
            ("MGET l s", "[(nil), v]"),
            ("EXISTS l s none", "(integer) 2"),
            ("EXEC", "-ERR EXEC without MULTI"),
            ("DISCARD", "-ERR DISCARD without MULTI"),
            ("MULTI", "OK"),
            ("LRANGE l 0 -1", "QUEUED"),
            ("RPUSH l d", "QUEUED"),
            ("INCR l", "QUEUED"),
            ("MULTI", "-ERR MULTI calls can not be nested"),
            ("WATCH l", "-ERR WATCH inside MULTI is not allowed"),
            ("PING", "QUEUED"),
            ("SET s w IFEQ v GET", "QUEUED"),
            ("MGET s l", "QUEUED"),
            ("LRANGE l -1 -1", "QUEUED"),
            ("EXEC", &format!("[[a, b, c], (integer) 4, {WRONG_TYPE}, PONG, v, [w, (nil)], [d]]")),
            ("MULTI", "OK"),
            ("EXEC", "[]"),
            ("MULTI", "OK"),
            ("RPUSH l e", "QUEUED"),
            ("DISCARD", "OK"),
            ("LLEN l", "(integer) 4"),
            ("MULTI", "OK"),
            ("RPUSH l e", "QUEUED"),
            ("RPUSH l", "-ERR wrong number of arguments for 'rpush' command"),
            ("EXEC", EXEC_ABORT),
            ("LLEN l", "(integer) 4"),
            ("MULTI", "OK"),
            ("SHUTDOWN", "-ERR Command not allowed inside a transaction"),
            ("EXEC", EXEC_ABORT),
            ("SET l string", "OK"),
            ("GET l", "string"),
            ("MULTI", "OK"),
            ("QUIT", "OK"),
        ] {
            assert_eq!(client.ask(command).await.unwrap(), reply, "{mode}: {command}");
        }
        assert!(client.ask("PING").await.is_err(), "the connection is closed after QUIT");
    }
}

#[tokio::test]
async fn a_map_within_a_transaction_is_spoken_in_resp3() {
    let cluster = Cluster::start("raft", 1, &[], None).await;
    cluster.until(1, "SET k v", |reply| reply == "OK").await;
    let mut client = cluster.client(1).await;
    client.send(b"HELLO 3\r\n").await.unwrap();
    client.receive_raw(b"modules\r\n*0\r\n").await;
    client.send(b"MULTI\r\nCONFIG GET save\r\nGET none\r\nLRANGE none 0 -1\r\nEXEC\r\n").await.unwrap();
    let reply = client.receive_raw(b"_\r\n*0\r\n").await;
    assert!(reply.ends_with("*3\r\n%1\r\n$4\r\nsave\r\n$0\r\n\r\n_\r\n*0\r\n"), "{reply}");
}

#[tokio::test]
async fn a_watched_key_that_changed_stops_the_transaction() {
    for mode in ["raft", "primary"] {
        let cluster = Cluster::start(mode, 3, &[], None).await;
        cluster.until(2, "SET k 0", |reply| reply == "OK").await;
        let (mut one, mut other) = (cluster.client(2).await, cluster.client(3).await);
        for (before, between, reply) in [
            ("WATCH k none", "RPUSH unwatched a", "[OK]"),
            ("WATCH k none", "SET k 0", "(nil)"),
            ("GET k", "SET k 0", "[OK]"),
            ("WATCH none", "RPUSH none a", "(nil)"),
            ("WATCH none", "RPUSH none b", "(nil)"),
            ("WATCH none", "DEL none", "(nil)"),
        ] {
            one.ask(before).await.unwrap();
            other.ask(between).await.unwrap();
            assert_eq!(one.transact(&["SET k 1"]).await.unwrap(), reply, "{mode}: {before}, {between}");
        }
        for forgets in ["UNWATCH", "MULTI", "EXEC"] {
            // `MULTI` keeps the watch, which its `DISCARD` ends.
            one.ask("WATCH k").await.unwrap();
            other.ask("INCR k").await.unwrap();
            one.ask(forgets).await.unwrap();
            if forgets == "MULTI" {
                assert_eq!(one.ask("DISCARD").await.unwrap(), "OK");
            }
            let expected = if forgets == "EXEC" { "(nil)" } else { "[QUIET]" };
            let reply = one.transact(&["ECHO QUIET"]).await.unwrap();
            assert_eq!(reply, expected, "{mode}: {forgets}; EXEC without MULTI does nothing at all");
        }
    }
}

#[tokio::test]
async fn a_stopped_transaction_is_a_null_array_in_resp2_and_a_null_in_resp3() {
    let cluster = Cluster::start("raft", 1, &[], None).await;
    cluster.until(1, "SET k 0", |reply| reply == "OK").await;
    let mut client = cluster.client(1).await;
    let stopped = b"WATCH k\r\nINCR k\r\nMULTI\r\nGET k\r\nEXEC\r\nPING\r\n";
    client.send(stopped).await.unwrap();
    let reply = client.receive_raw(b"+PONG\r\n").await;
    assert_eq!(reply, "+OK\r\n:1\r\n+OK\r\n+QUEUED\r\n*-1\r\n+PONG\r\n");
    client.send(b"HELLO 3\r\n").await.unwrap();
    client.receive_raw(b"modules\r\n*0\r\n").await;
    client.send(stopped).await.unwrap();
    let reply = client.receive_raw(b"+PONG\r\n").await;
    assert_eq!(reply, "+OK\r\n:2\r\n+OK\r\n+QUEUED\r\n_\r\n+PONG\r\n");
}

#[tokio::test]
async fn a_connection_that_ends_within_a_transaction_executes_none_of_it() {
    let cluster = Cluster::start("raft", 1, &[], None).await;
    cluster.until(1, "SET k 0", |reply| reply == "OK").await;
    for last in ["", "QUIT\r\n", "*1\r\n$4\r\nEXE"] {
        let mut client = cluster.client(1).await;
        client.send(format!("MULTI\r\nINCR k\r\nPING\r\n{last}").as_bytes()).await.unwrap();
        for reply in ["OK", "QUEUED", "QUEUED"] {
            assert_eq!(show(&client.receive().await.unwrap()), reply, "{last:?}");
        }
        client.leave().await;
        assert_eq!(cluster.client(1).await.ask("GET k").await.unwrap(), "0", "{last:?}");
    }
}

#[tokio::test]
async fn a_transaction_beyond_the_limit_is_refused_as_a_whole() {
    let cluster = Cluster::start("raft", 1, &[], None).await;
    cluster.until(1, "SET k 0", |reply| reply == "OK").await;
    let mut client = cluster.client(1).await;
    assert_eq!(client.transact(&["INCR k"; 4_097]).await.unwrap(), EXEC_ABORT);
    assert_eq!(client.ask("GET k").await.unwrap(), "0");
    assert!(client.transact(&["INCR k"; 4_096]).await.unwrap().ends_with(", (integer) 4096]"));
}

#[derive(Default)]
struct Counts {
    acknowledged: AtomicUsize,
    /// The acknowledged transactions that did not read the element that they had just appended.
    torn: AtomicUsize,
}

/// Appends to two lists by transactions at one node until stopped, through kills.
async fn append_pairs(port: u16, name: usize, counts: Arc<Counts>, stop: watch::Receiver<bool>) {
    let mut count = 0;
    while !*stop.borrow() {
        let Ok(mut client) = Client::connect(port).await else {
            tokio::task::yield_now().await;
            continue;
        };
        while !*stop.borrow() {
            count += 1;
            let (a, b) = (format!("RPUSH a {name}.{count}"), format!("RPUSH b {name}.{count}"));
            match client.transact(&[&a, "LRANGE a -1 -1", &b]).await {
                Ok(reply) if reply.starts_with('[') => {
                    counts.acknowledged.fetch_add(1, Ordering::Relaxed);
                    let whole = reply.contains(&format!(", [{name}.{count}], "));
                    counts.torn.fetch_add(usize::from(!whole), Ordering::Relaxed);
                }
                Ok(reply) => assert!(
                    reply.starts_with("-CLUSTERDOWN ") || reply.starts_with("-UNKNOWN "),
                    "the contract has no such reply: {reply}"
                ),
                Err(_) => break,
            }
        }
    }
}

/// Writers that append to both lists, on every node.
struct Writers {
    tasks: JoinSet<()>,
    counts: Arc<Counts>,
    stop: watch::Sender<bool>,
}

impl Writers {
    fn start(cluster: &Cluster, nodes: usize) -> Self {
        let (stop, stopped) = watch::channel(false);
        let counts = Arc::new(Counts::default());
        let mut tasks = JoinSet::new();
        for name in 1..=2 * nodes {
            let port = cluster.port(1 + name % nodes);
            tasks.spawn(append_pairs(port, name, Arc::clone(&counts), stopped.clone()));
        }
        Self { tasks, counts, stop }
    }

    fn acknowledged(&self) -> usize {
        self.counts.acknowledged.load(Ordering::Relaxed)
    }

    /// Waits until so many more are acknowledged.
    async fn progress(&self, more: usize) {
        let enough = self.acknowledged() + more;
        let deadline = Instant::now() + PATIENCE;
        let mut poll = tokio::time::interval(Duration::from_millis(10));
        while self.acknowledged() < enough {
            assert!(Instant::now() < deadline, "{} of {enough}", self.acknowledged());
            poll.tick().await;
        }
    }

    /// Stops them, and returns how many transactions were acknowledged, and how many of those were torn.
    async fn stop(self) -> (usize, usize) {
        self.stop.send_replace(true);
        self.tasks.join_all().await;
        (self.counts.acknowledged.load(Ordering::Relaxed), self.counts.torn.load(Ordering::Relaxed))
    }
}

/// Reads both lists at a node in one transaction, as soon as the node does not refuse: on a busy machine the leader may
/// change.
async fn read_pair(client: &mut Client) -> (String, String) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let reply = client.transact(&["LRANGE a 0 -1", "LRANGE b 0 -1"]).await.unwrap();
        if let Some(lists) = reply.strip_prefix("[[").and_then(|lists| lists.strip_suffix("]]")) {
            let (a, b) = lists.split_once("], [").expect("two lists");
            return (a.to_owned(), b.to_owned());
        }
        assert!(reply.starts_with("-CLUSTERDOWN ") || reply.starts_with("-UNKNOWN "), "{reply}");
        assert!(Instant::now() < deadline, "still {reply}");
    }
}

/// Reads the lists `a` and `b` 200 times, at all nodes, while writers append to both. Returns how many reads saw them differ,
/// and how many of the writers' transactions were torn.
pub async fn halves_seen(mode: &'static str, options: &[&str], bug: Option<&'static str>) -> (usize, usize) {
    let cluster = Cluster::start(mode, 3, options, bug).await;
    cluster.until(3, "DEL a b", |reply| reply.starts_with("(integer)")).await;
    let writers = Writers::start(&cluster, 3);
    writers.progress(10).await;
    let mut readers = Vec::new();
    for node in 1..=3 {
        readers.push(cluster.client(node).await);
    }
    let mut halves = 0;
    for read in 0..200 {
        let (a, b) = read_pair(&mut readers[read % 3]).await;
        halves += usize::from(a != b);
    }
    (halves, writers.stop().await.1)
}

#[tokio::test]
async fn no_reader_sees_half_of_a_transaction() {
    for (mode, option) in [
        ("raft", "reads=index"),
        ("raft", "reads=lease"),
        ("raft", "reads=local"),
        ("primary", "read=primary"),
        ("primary", "read=any"),
    ] {
        assert_eq!(halves_seen(mode, &[option], None).await, (0, 0), "{mode} {option}");
    }
}

/// Returns all lists of a node's own copy, by its `DEBUG CONTENTS`.
fn contents(reply: &str) -> &str {
    reply.split_once(", ").expect("a position and contents").1
}

#[tokio::test]
async fn kills_leave_no_half_of_a_transaction() {
    for (mode, options) in [("raft", ["snapshot_every=50"]), ("primary", ["log_keep=20"])] {
        let mut cluster = Cluster::start(mode, 3, &options, None).await;
        cluster.until(3, "DEL a b", |reply| reply.starts_with("(integer)")).await;
        let writers = Writers::start(&cluster, 3);
        for _ in 0..3 {
            writers.progress(60).await;
            (1..=3).for_each(|node| cluster.kill(node));
            (1..=3).for_each(|node| cluster.start_node(node));
        }
        writers.progress(10).await;
        let (acknowledged, torn) = writers.stop().await;
        assert_eq!(torn, 0, "{mode}");
        cluster.until(1, "SET done 1", |reply| reply == "OK").await;
        let (a, b) = read_pair(&mut cluster.client(1).await).await;
        assert_eq!(a, b, "{mode}");
        let elements: Vec<&str> = a.split(", ").collect();
        assert!(elements.len() >= acknowledged, "{mode}: {acknowledged} of {}", elements.len());
        let mut once = elements.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), elements.len(), "{mode}: every transaction was executed once");
        let held = cluster.until(1, "DEBUG CONTENTS", |_| true).await;
        for node in 2..=3 {
            cluster.until(node, "DEBUG CONTENTS", |reply| contents(reply) == contents(&held)).await;
        }
    }
}

#[tokio::test]
async fn a_replica_that_was_cut_off_gets_whole_transactions() {
    let cluster = Cluster::start("primary", 2, &["read=any"], None).await;
    cluster.until(2, "SET k v", |reply| reply == "OK").await;
    cluster.until(2, "GET k", |reply| reply == "v").await;
    let before = cluster.info(1, "offset").await;
    cluster.isolate(2, Pass::Cut);
    let mut client = cluster.client(1).await;
    let reply = client.transact(&["RPUSH a 1", "RPUSH b 1 2", "DEL k", "GET k", "INCR n"]).await.unwrap();
    assert_eq!(reply, "[(integer) 1, (integer) 2, (integer) 1, (nil), (integer) 1]");
    assert_eq!(cluster.info(1, "offset").await, before + 1, "it is one change");
    cluster.isolate(2, Pass::Open);
    let everything = "[[1], [1, 2], (nil), 1]";
    let mut replica = cluster.client(2).await;
    let deadline = Instant::now() + PATIENCE;
    let mut poll = tokio::time::interval(Duration::from_millis(5));
    loop {
        let seen = replica.transact(&["LRANGE a 0 -1", "LRANGE b 0 -1", "GET k", "GET n"]).await.unwrap();
        if seen == everything {
            return;
        }
        assert_eq!(seen, "[[], [], v, (nil)]", "all or nothing");
        assert!(Instant::now() < deadline, "the replica does not follow");
        poll.tick().await;
    }
}

/// Lets clients at all nodes read a list and append to it, each in one transaction. Returns how many of them read a list
/// that lacked elements before their own; a refused transaction does not count.
pub async fn race_read_and_append(cluster: &Cluster, round: usize, clients: usize) -> usize {
    let mut racing = JoinSet::new();
    for name in 0..clients {
        let mut client = cluster.client(1 + name % 3).await;
        racing.spawn(async move {
            let (length, push) = (format!("LLEN l{round}"), format!("RPUSH l{round} {name}"));
            client.transact(&[&length, &push]).await.unwrap()
        });
    }
    let replies = racing.join_all().await;
    let missed = |reply: &String| {
        let numbers: Vec<usize> = reply
            .trim_matches(['[', ']'])
            .split(", ")
            .map(|number| number.trim_start_matches("(integer) ").parse().unwrap())
            .collect();
        numbers[0] + 1 != numbers[1]
    };
    replies.iter().filter(|reply| reply.starts_with('[') && missed(reply)).count()
}

#[tokio::test]
async fn a_transaction_reads_the_state_that_it_changes() {
    for mode in ["raft", "primary"] {
        let cluster = Cluster::start(mode, 3, &[], None).await;
        cluster.until(2, "SET warm up", |reply| reply == "OK").await;
        for round in 0..20 {
            assert_eq!(race_read_and_append(&cluster, round, 9).await, 0, "{mode}");
        }
    }
}
