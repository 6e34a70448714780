//! The store client's reaction to every kind of answer, and to none.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use duress_history::NodeId;
use duress_history::register::{Register, RegisterOp};
use duress_targets::{Client, OwnNetwork, Place, Role, Seat};
use redis_protocol::resp2::decode::decode;
use registers::{cas, read, request, short, single, write};
use scripted::{Reply, Scripted};
use tokio::net::{TcpListener, TcpStream};

use crate::{registers, scripted};

const LONG: Duration = Duration::from_secs(5);
const SHORT: Duration = Duration::from_millis(150);

fn whole(bytes: &[u8]) -> bool {
    decode(bytes).unwrap().is_some()
}

fn client(place: Arc<dyn Place>, timeout: Duration) -> Box<dyn Client<Register>> {
    let store = single("store", &request(&[]));
    store
        .clients()
        .client(Seat { node: NodeId::new("n1"), place, timeout, stderr: None, scratch: None, traffic: None })
        .unwrap()
}

/// Returns the outcome of one operation whose request is answered by `reply`.
async fn outcome(asked: &Register, timeout: Duration, reply: Reply) -> String {
    let server = Scripted::play(whole, vec![vec![reply]]).await;
    let mut client = client(server.place(), timeout);
    let outcome = short(asked, &client.invoke(asked).await);
    drop(client);
    server.requests().await;
    outcome
}

fn bytes(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

#[tokio::test]
async fn whole_replies() {
    for (reply, to_read, to_write, to_cas) in [
        ("$1\r\n1\r\n", "ok 1", "info unreadable", "ok"),
        ("$1\r\n5\r\n", "ok 5", "info unreadable", "fail precondition saw 5"),
        ("$2\r\n-7\r\n", "ok -7", "info unreadable", "fail precondition saw -7"),
        ("$5\r\nhello\r\n", "ok hello", "info unreadable", "fail precondition saw hello"),
        ("$1\r\n\u{7f}\r\n", "ok \u{7f}", "info unreadable", "fail precondition saw \u{7f}"),
        ("$-1\r\n", "ok nil", "info unreadable", "fail precondition saw nil"),
        ("+OK\r\n", "fail unreadable", "ok", "info unreadable"),
        ("+QUEUED\r\n", "fail unreadable", "info unreadable", "info unreadable"),
        (":1\r\n", "fail unreadable", "info unreadable", "info unreadable"),
        ("*0\r\n", "fail unreadable", "info unreadable", "info unreadable"),
        ("-CLUSTERDOWN no leader is known\r\n", "fail no-leader", "fail no-leader", "fail no-leader"),
        ("-ERR syntax error\r\n", "fail rejected", "fail rejected", "fail rejected"),
        ("-UNKNOWN no answer in time\r\n", "fail unknown", "info unknown", "info unknown"),
        // Of a Redis Cluster that did nothing.
        ("-TRYAGAIN later\r\n", "fail rejected", "fail rejected", "fail rejected"),
        ("-ASK 5 10.0.0.9:7\r\n", "fail rejected", "fail rejected", "fail rejected"),
        ("-MOVED somewhere\r\n", "fail rejected", "fail rejected", "fail rejected"),
        // Words the contract does not have, or has only as the beginning of another.
        ("-CLUSTERDOWNISH\r\n", "fail unknown", "info unknown", "info unknown"),
        ("-OOM out of memory\r\n", "fail unknown", "info unknown", "info unknown"),
        // More than one reply: it cannot be known which of them answers the request.
        ("+OK\r\n+OK\r\n", "fail unreadable", "info unreadable", "info unreadable"),
        // Another protocol.
        ("HTTP/1.1 400 Bad Request\r\n\r\n", "fail unreadable", "info unreadable", "info unreadable"),
    ] {
        for (asked, expected) in [(read(), to_read), (write(), to_write), (cas(), to_cas)] {
            let seen = outcome(&asked, LONG, Reply::Send(bytes(reply))).await;
            assert_eq!(seen, expected, "{asked:?} answered {reply:?}");
        }
    }
}

#[tokio::test]
async fn a_command_goes_where_a_node_of_a_redis_cluster_says_the_key_is() {
    let (moved, ok) = (|| Reply::Send(bytes("-MOVED 5 10.0.0.9:7\r\n")), || Reply::Send(bytes("+OK\r\n")));
    for (redirects, expected) in [(1, "ok"), (3, "ok"), (4, "fail rejected")] {
        // A redirection to the node that was asked last is one on the same connection.
        let mut again: Vec<Reply> = (1..redirects).map(|_| moved()).collect();
        if expected == "ok" {
            again.push(ok());
        }
        let server = Scripted::play(whole, vec![vec![moved()], again]).await;
        let mut client = client(server.place(), LONG);
        let outcome = short(&write(), &client.invoke(&write()).await);
        assert_eq!(outcome, expected, "{redirects} redirections");
        drop(client);
        let requests = server.requests().await;
        assert!(requests.iter().all(|request| *request == requests[0]), "{requests:?}");
    }
}

#[tokio::test]
async fn a_reply_in_pieces_is_a_whole_reply() {
    let halves = |first: &str, second: &str| Reply::Halves(bytes(first), bytes(second));
    assert_eq!(outcome(&read(), LONG, halves("$5\r\nhe", "llo\r\n")).await, "ok hello");
    assert_eq!(outcome(&write(), LONG, halves("+O", "K\r\n")).await, "ok");
    assert_eq!(outcome(&cas(), LONG, halves("$", "-1\r\n")).await, "fail precondition saw nil");
}

#[tokio::test]
async fn half_an_answer_is_none() {
    for half in ["", "$", "$5\r\nhe", "+O", "+OK\r", "-CLUSTERDOWN no lea", "-ERR"] {
        for (asked, word) in [(read(), "fail"), (write(), "info"), (cas(), "info")] {
            let closed = outcome(&asked, LONG, Reply::Close(bytes(half))).await;
            assert_eq!(closed, format!("{word} connection-lost"), "{asked:?}, closed after {half:?}");
            let reset = outcome(&asked, LONG, Reply::Reset(bytes(half))).await;
            assert_eq!(reset, format!("{word} connection-lost"), "{asked:?}, reset after {half:?}");
            let silent = outcome(&asked, SHORT, Reply::Silence(bytes(half))).await;
            assert_eq!(silent, format!("{word} timeout"), "{asked:?}, silent after {half:?}");
        }
    }
}

#[tokio::test]
async fn a_whole_answer_counts_even_if_the_connection_breaks_after_it() {
    assert_eq!(outcome(&write(), LONG, Reply::Close(bytes("+OK\r\n"))).await, "ok");
    assert_eq!(outcome(&read(), LONG, Reply::Close(bytes("$1\r\n5\r\n"))).await, "ok 5");
}

#[tokio::test]
async fn commands_are_those_of_the_table() {
    let operations = [
        read(),
        write(),
        cas(),
        Register { key: 7.into(), op: RegisterOp::Cas { old: None, new: "a b".into() } },
        Register { key: 7.into(), op: RegisterOp::Delete },
    ];
    let replies = ["$-1\r\n", "+OK\r\n", "$1\r\n1\r\n", "$-1\r\n", ":1\r\n"];
    let script = replies.iter().map(|reply| Reply::Send(bytes(reply))).collect();
    let server = Scripted::play(whole, vec![script]).await;
    let mut client = client(server.place(), LONG);
    for operation in &operations {
        client.invoke(operation).await;
    }
    drop(client);
    let sent: Vec<String> =
        server.requests().await.into_iter().map(|request| String::from_utf8(request).unwrap()).collect();
    assert_eq!(
        sent,
        [
            "*2\r\n$3\r\nGET\r\n$1\r\nx\r\n",
            "*3\r\n$3\r\nSET\r\n$1\r\nx\r\n$1\r\n1\r\n",
            "*6\r\n$3\r\nSET\r\n$1\r\nx\r\n$1\r\n2\r\n$4\r\nIFEQ\r\n$1\r\n1\r\n$3\r\nGET\r\n",
            "*5\r\n$3\r\nSET\r\n$1\r\n7\r\n$3\r\na b\r\n$2\r\nNX\r\n$3\r\nGET\r\n",
            "*2\r\n$3\r\nDEL\r\n$1\r\n7\r\n",
        ]
    );
}

#[tokio::test]
async fn the_connection_is_kept_after_a_clean_answer_and_dropped_after_any_other() {
    let ok = || Reply::Send(bytes("+OK\r\n"));
    let server = Scripted::play(
        whole,
        vec![
            vec![
                ok(),
                Reply::Send(bytes("-UNKNOWN no answer in time\r\n")),
                ok(),
                Reply::Silence(bytes("+")),
            ],
            vec![ok(), Reply::Send(bytes(":1\r\n"))],
            vec![ok()],
        ],
    )
    .await;
    let mut client = client(server.place(), SHORT);
    let mut seen = Vec::new();
    for _ in 0..7 {
        seen.push(short(&write(), &client.invoke(&write()).await));
    }
    drop(client);
    assert_eq!(seen, ["ok", "info unknown", "ok", "info timeout", "ok", "info unreadable", "ok"]);
    assert_eq!(server.requests().await.len(), 7, "no request is sent twice");
}

#[tokio::test]
async fn a_killed_node_is_a_definite_failure_even_for_a_client_that_was_connected() {
    let server = Scripted::play(whole, vec![vec![Reply::Close(bytes("+OK\r\n"))]]).await;
    let place = server.place();
    let mut client = client(place, LONG);
    assert_eq!(short(&write(), &client.invoke(&write()).await), "ok");
    // The script is over: the connection and the listener are closed.
    server.requests().await;
    assert_eq!(short(&write(), &client.invoke(&write()).await), "fail refused");
    assert_eq!(short(&read(), &client.invoke(&read()).await), "fail refused");
}

#[tokio::test]
async fn no_connection_in_time_is_a_definite_failure() {
    // The test fills the backlog of a listener that does not accept until the system stops answering.
    struct Never;
    #[async_trait]
    impl Place for Never {
        async fn connect(&self, _: SocketAddr, deadline: Duration) -> io::Result<TcpStream> {
            match tokio::time::timeout(deadline, std::future::pending::<()>()).await {
                Err(elapsed) => Err(io::Error::new(io::ErrorKind::TimedOut, elapsed)),
                Ok(()) => unreachable!("nothing ends what is pending"),
            }
        }
    }
    let began = Instant::now();
    let mut client = client(Arc::new(Never), SHORT);
    assert_eq!(short(&write(), &client.invoke(&write()).await), "fail connect-timeout");
    assert!(began.elapsed() >= SHORT && began.elapsed() < LONG, "{:?}", began.elapsed());
}

#[tokio::test]
async fn nothing_accepted_by_the_connection_is_a_definite_failure() {
    /// Connections whose sending half is closed from the start.
    struct Mute(SocketAddr);
    #[async_trait]
    impl Place for Mute {
        async fn connect(&self, _: SocketAddr, deadline: Duration) -> io::Result<TcpStream> {
            let stream = OwnNetwork.connect(self.0, deadline).await?.into_std()?;
            stream.shutdown(std::net::Shutdown::Write)?;
            TcpStream::from_std(stream)
        }
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = client(Arc::new(Mute(listener.local_addr().unwrap())), LONG);
    assert_eq!(short(&write(), &client.invoke(&write()).await), "fail connection-lost");
}

#[tokio::test]
async fn a_half_written_request_is_open() {
    // A value that no socket's buffers hold, to a server that never reads.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    struct To(SocketAddr);
    #[async_trait]
    impl Place for To {
        async fn connect(&self, _: SocketAddr, deadline: Duration) -> io::Result<TcpStream> {
            OwnNetwork.connect(self.0, deadline).await
        }
    }
    let mut client = client(Arc::new(To(listener.local_addr().unwrap())), SHORT);
    let big = Register { key: "x".into(), op: RegisterOp::Write("v".repeat(64 << 20).as_str().into()) };
    assert_eq!(short(&big, &client.invoke(&big).await), "info timeout");
}

#[tokio::test]
async fn a_text_that_would_be_read_back_as_a_number_is_not_sent() {
    let server = Scripted::play(whole, vec![]).await;
    let mut client = client(server.place(), LONG);
    let ambiguous = Register { key: "x".into(), op: RegisterOp::Write("1".into()) };
    assert_eq!(short(&ambiguous, &client.invoke(&ambiguous).await), "fail rejected");
    assert!(server.requests().await.is_empty());
}

#[tokio::test]
async fn readiness_and_status() {
    let info = "role:leader\r\nleader:n1\r\nterm:3\r\n";
    let replies =
        ["$-1\r\n", "-CLUSTERDOWN no leader is known\r\n", &format!("${}\r\n{info}\r\n", info.len())];
    let script = replies.iter().map(|reply| vec![Reply::Close(bytes(reply))]).collect();
    let server = Scripted::play(whole, script).await;
    let store = single("store", &request(&[]));
    let (node, place) = (NodeId::new("n1"), server.place());

    store.ready(&node, &*place, LONG).await.unwrap();
    let not_ready = store.ready(&node, &*place, LONG).await.unwrap_err();
    assert_eq!(not_ready.cause.text, "CLUSTERDOWN no leader is known");
    let status = store.status(&node, &*place, LONG).await.unwrap();
    assert_eq!((status.role, status.leader, status.term), (Role::Leader, Some(node), Some(3)));
    server.requests().await;
    let gone = store.ready(&NodeId::new("n1"), &*place, LONG).await.unwrap_err();
    assert_eq!(gone.cause.kind, duress_targets::CauseKind::Refused);
}

#[tokio::test]
async fn a_replica_that_answers_from_its_own_copy_is_ready_once_it_follows() {
    let info = |link: &str| {
        let text = format!("# Replication\r\nrole:replica\r\nleader:n1\r\nprimary_link_status:{link}\r\n");
        bytes(&format!("${}\r\n{text}\r\n", text.len()))
    };
    let script = ["down", "up"].map(|link| vec![Reply::Send(bytes("$-1\r\n")), Reply::Send(info(link))]);
    let server = Scripted::play(whole, script.into()).await;
    let mut request = request(&[("read", "any")]);
    request.mode = Some("primary".to_owned());
    let store = single("store", &request);
    let (node, place) = (NodeId::new("n1"), server.place());
    let cut_off = store.ready(&node, &*place, LONG).await.unwrap_err();
    assert_eq!(cut_off.cause.text, "the replica is not connected to its primary");
    store.ready(&node, &*place, LONG).await.unwrap();
    server.requests().await;
}

#[tokio::test]
async fn a_copy_is_its_position_and_what_it_holds() {
    let replies =
        ["*3\r\n$2\r\n12\r\n$1\r\nx\r\n$1\r\n5\r\n", "*1\r\n$1\r\n0\r\n", "-ERR unknown command\r\n"];
    let script = replies.iter().map(|reply| vec![Reply::Close(bytes(reply))]).collect();
    let server = Scripted::play(whole, script).await;
    let store = single("store", &request(&[]));
    let (node, place) = (NodeId::new("n1"), server.place());
    let copies = store.copies(&node, &*place, LONG).await.unwrap().expect("the store tells");
    let [copy] = &copies[..] else { panic!("one object: {copies:?}") };
    let values = [("x".to_owned(), "5".to_owned())].into();
    assert_eq!((copy.object.as_ref(), copy.position.as_str(), &copy.values), (None, "12", &values));
    assert!(store.copies(&node, &*place, LONG).await.unwrap().unwrap()[0].values.is_empty());
    store.copies(&node, &*place, LONG).await.unwrap_err();
    server.requests().await;
}
