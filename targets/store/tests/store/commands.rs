//! Commands and their errors, on one node.

use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use crate::client::{Client, show};
use crate::cluster::{Cluster, PATIENCE, free_node, spawn};

#[tokio::test]
async fn commands_answer_as_redis_does() {
    for mode in ["raft", "primary", "sharded"] {
        let cluster = Cluster::start(mode, 1, &[], None).await;
        cluster.until(1, "SET warm up", |reply| reply == "OK").await;
        let mut client = cluster.client(1).await;
        for (command, reply) in [
            ("PING", "PONG"),
            ("PING hello", "hello"),
            ("GET k", "(nil)"),
            ("SET k 1 XX", "(nil)"),
            ("SET k 1 NX", "OK"),
            ("SET k 2 NX", "(nil)"),
            ("SET k 2 IFEQ 0", "(nil)"),
            ("SET k 2 IFEQ 1", "OK"),
            ("GET k", "2"),
            ("SET k 3 IFEQ 1 GET", "2"),
            ("SET k 2 IFEQ 2 GET", "2"),
            ("SET k 5 NX GET", "2"),
            ("SET fresh 5 NX GET", "(nil)"),
            ("GET fresh", "5"),
            ("SET k 5 GET", "-ERR syntax error"),
            ("SET absent 1 IFEQ 1 GET", "(nil)"),
            ("SET absent 1 IFEQ 1", "(nil)"),
            ("INCR k", "(integer) 3"),
            ("INCRBY k -5", "(integer) -2"),
            ("SET word abc", "OK"),
            ("INCR word", "-ERR value is not an integer or out of range"),
            ("MGET k none word", "[-2, (nil), abc]"),
            ("EXISTS k k none", "(integer) 2"),
            ("DEL k none", "(integer) 1"),
            ("GET", "-ERR wrong number of arguments for 'get' command"),
            ("SET k", "-ERR wrong number of arguments for 'set' command"),
            ("SET k v KEEPTTL", "-ERR syntax error"),
            ("FLY away", "-ERR unknown command 'FLY', with args beginning with: 'away' "),
            ("SELECT 0", "OK"),
            ("SELECT 9", "-ERR DB index is out of range"),
            ("CLIENT SETNAME me", "OK"),
            ("DEBUG", "-ERR wrong number of arguments for 'debug' command"),
            ("DEBUG SLEEP", "-ERR unknown subcommand 'SLEEP' of DEBUG"),
            ("COMMAND DOCS", "[]"),
            ("DBSIZE", "(integer) 3"),
            ("SCAN 8192 COUNT 100", "[0, [word, warm, fresh]]"),
            ("SCAN 16384", "-ERR Invalid or out of range slot"),
            ("SCAN 0 COUNT 0", "-ERR syntax error"),
            ("CLUSTER KEYSLOT {foo}k", "(integer) 12182"),
            ("CLUSTER MEET", "-ERR unknown subcommand 'MEET' of CLUSTER"),
            ("CLUSTER MOVESLOTS 2 1 0", "-ERR Invalid or out of range slot"),
            ("CONFIG GET maxmemory", "[]"),
            ("QUIT", "OK"),
        ] {
            assert_eq!(client.ask(command).await.unwrap(), reply, "{mode}: {command}");
        }
        assert!(client.ask("PING").await.is_err(), "the connection is closed after QUIT");
    }
}

#[tokio::test]
async fn a_pipeline_is_answered_in_order() {
    let cluster = Cluster::start("raft", 1, &[], None).await;
    cluster.until(1, "SET warm up", |reply| reply == "OK").await;
    let mut client = cluster.client(1).await;
    let pipeline =
        "SET a 1\r\nINCR a\r\nGET a\r\nNONSENSE\r\nSET a 9 IFEQ 2\r\nGET a\r\nDEL a\r\nGET a\r\nPING\r\n";
    client.send(pipeline.as_bytes()).await.unwrap();
    let mut replies = Vec::new();
    for _ in 0..9 {
        replies.push(show(&client.receive().await.unwrap()));
    }
    let unknown = "-ERR unknown command 'NONSENSE', with args beginning with: ";
    assert_eq!(replies, ["OK", "(integer) 2", "2", unknown, "OK", "9", "(integer) 1", "(nil)", "PONG"]);
}

#[tokio::test]
async fn resp3_is_spoken_after_hello_3() {
    let cluster = Cluster::start("raft", 1, &[], None).await;
    cluster.until(1, "SET k v", |reply| reply == "OK").await;
    let mut client = cluster.client(1).await;
    client.send(b"HELLO 3\r\n").await.unwrap();
    let hello = client.receive_raw(b"modules\r\n*0\r\n").await;
    assert!(hello.starts_with("%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n"), "a map in order: {hello}");
    client.send(b"GET none\r\n").await.unwrap();
    assert_eq!(client.receive_raw(b"_\r\n").await, "_\r\n", "RESP3's null");
}

#[tokio::test]
async fn what_is_no_resp_is_an_error_and_ends_the_connection() {
    let cluster = Cluster::start("raft", 1, &[], None).await;
    let mut client = cluster.client(1).await;
    client.send(b"*2\r\n:1\r\n:2\r\n").await.unwrap();
    assert!(show(&client.receive().await.unwrap()).starts_with("-ERR Protocol error"));
    assert!(client.receive().await.is_err());
}

#[tokio::test]
async fn shutdown_and_sigterm_end_the_process_cleanly_and_data_stays() {
    for mode in ["raft", "primary", "sharded"] {
        let mut cluster = Cluster::start(mode, 1, &[], None).await;
        cluster.until(1, "SET k 1", |reply| reply == "OK").await;
        assert!(
            cluster.client(1).await.ask("SHUTDOWN").await.is_err(),
            "the closing connection is the answer"
        );
        assert!(cluster.ended(1).await, "{mode}: SHUTDOWN");
        cluster.start_node(1);
        cluster.until(1, "INCR k", |reply| reply == "(integer) 2").await;
        cluster.signal(1, "TERM");
        assert!(cluster.ended(1).await, "{mode}: SIGTERM");
        cluster.start_node(1);
        cluster.until(1, "GET k", |reply| reply == "2").await;
    }
}

/// Waits for a node to end by itself.
async fn ends(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    let mut poll = tokio::time::interval(Duration::from_millis(10));
    loop {
        poll.tick().await;
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("the node goes on running");
        }
    }
}

#[tokio::test]
async fn a_port_in_use_or_a_bad_folder_is_one_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let data = folder.path().join("data");
    let mut child = spawn(&format!("raft n1 {address} 127.0.0.1:0 {}", data.display()), &log);
    assert!(!ends(&mut child).await.success());
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(said.contains(&format!("error: cannot listen on {address} for clients")), "{said}");

    std::fs::create_dir_all(&data).unwrap();
    std::fs::write(data.join("store.redb"), b"rubbish").unwrap();
    let mut child = spawn(&format!("raft n1 127.0.0.1:0 127.0.0.1:0 {}", data.display()), &log);
    assert!(!ends(&mut child).await.success());
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(said.contains("error: cannot open the database"), "{said}");

    let file = folder.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let mut child = spawn(&format!("primary n1 127.0.0.1:0 127.0.0.1:0 {}", file.display()), &log);
    assert!(!ends(&mut child).await.success());
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(said.contains("error: cannot make the data folder"), "{said}");
}

#[tokio::test]
async fn another_nodes_data_is_refused() {
    let (arguments, folder, port) = free_node("n1");
    let log = folder.path().join("log");
    let mut child = spawn(&arguments, &log);
    // The port is open before the folder is; an answer means that both are.
    let deadline = Instant::now() + PATIENCE;
    let mut poll = tokio::time::interval(Duration::from_millis(20));
    loop {
        poll.tick().await;
        if let Ok(mut client) = Client::connect(port).await
            && client.ask("PING").await.is_ok()
        {
            break;
        }
        assert!(Instant::now() < deadline, "{}", std::fs::read_to_string(&log).unwrap());
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let mut child = spawn(&arguments.replace("raft n1 ", "raft n2 "), &log);
    assert!(!ends(&mut child).await.success());
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(said.contains("belongs to \"n1 of raft n1\", not to \"n2 of raft n2\""), "{said}");
}
