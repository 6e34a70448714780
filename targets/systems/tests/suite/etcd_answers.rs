//! The etcd client's reaction to every kind of answer of the gateway, and to none.

use std::sync::Arc;
use std::time::Duration;

use duress_history::NodeId;
use duress_history::register::{Register, RegisterOp};
use duress_targets::{Client, Place, Role, Seat};
use registers::{cas, read, request, short, single, write};
use scripted::{Reply, Scripted};
use serde_json::{Value, json};

use crate::{registers, scripted};

const LONG: Duration = Duration::from_secs(5);
const SHORT: Duration = Duration::from_millis(150);

fn whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a body has a length");
    body.len() >= length.parse().unwrap()
}

fn http(status: &str, body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// Returns a JSON body of etcd's: `header` and the rest.
fn done(rest: &str) -> Vec<u8> {
    http(
        "200 OK",
        &format!(r#"{{"header":{{"cluster_id":"1","member_id":"2","revision":"3","raft_term":"4"}}{rest}}}"#),
    )
}

/// Returns an error in the form of the gateway of 3.4.
fn error(status: &str, code: u32, message: &str) -> Vec<u8> {
    http(status, &json!({"error": message, "message": message, "code": code}).to_string())
}

fn client(place: Arc<dyn Place>, options: &[(&str, &str)], timeout: Duration) -> Box<dyn Client<Register>> {
    let etcd = single("etcd", &request(options));
    etcd.clients()
        .client(Seat { node: NodeId::new("n1"), place, timeout, stderr: None, scratch: None, traffic: None })
        .unwrap()
}

async fn outcome(asked: &Register, timeout: Duration, reply: Reply) -> String {
    let server = Scripted::play(whole, vec![vec![reply]]).await;
    let mut client = client(server.place(), &[], timeout);
    let outcome = short(asked, &client.invoke(asked).await);
    drop(client);
    server.requests().await;
    outcome
}

#[tokio::test]
async fn successes() {
    // "NQ==" is 5, "aGVsbG8=" is hello.
    let kvs = |value: &str| {
        done(&format!(r#","kvs":[{{"key":"eA==","version":"1","value":"{value}"}}],"count":"1""#))
    };
    for (asked, answer, expected) in [
        (read(), kvs("NQ=="), "ok 5"),
        (read(), kvs("aGVsbG8="), "ok hello"),
        (read(), done(r#","kvs":[{"key":"eA=="}],"count":"1""#), "ok "),
        (read(), done(""), "ok nil"),
        (read(), kvs("%"), "fail unreadable"),
        (read(), kvs("/w=="), "fail unreadable"),
        (write(), done(""), "ok"),
        (cas(), done(r#","succeeded":true,"responses":[{"response_put":{}}]"#), "ok"),
        (cas(), done(""), "fail precondition"),
        (
            cas(),
            done(r#","responses":[{"response_range":{"header":{},"kvs":[{"value":"NQ=="}]}}]"#),
            "fail precondition saw 5",
        ),
        (cas(), done(r#","responses":[{"response_range":{"header":{}}}]"#), "fail precondition saw nil"),
        (cas(), done(r#","succeeded":false"#), "fail precondition"),
    ] {
        let shown = String::from_utf8_lossy(&answer).into_owned();
        assert_eq!(outcome(&asked, LONG, Reply::Send(answer)).await, expected, "{asked:?} answered {shown}");
    }
}

#[tokio::test]
async fn an_answer_of_something_else_is_none() {
    // An omission in JSON must not count as an answer: `{}` is not a failed comparison.
    for body in ["{}", "", "null", "OK", r#"{"kvs":[]}"#, r#"{"succeeded":true}"#] {
        for (asked, word) in [(read(), "fail"), (write(), "info"), (cas(), "info")] {
            let seen = outcome(&asked, LONG, Reply::Send(http("200 OK", body))).await;
            assert_eq!(seen, format!("{word} unreadable"), "{asked:?} answered {body:?}");
        }
    }
    for (asked, word) in [(read(), "fail"), (write(), "info"), (cas(), "info")] {
        let seen = outcome(&asked, LONG, Reply::Send(b"+OK\r\n+what is this\r\n\r\n".to_vec())).await;
        assert_eq!(seen, format!("{word} unreadable"), "{asked:?}");
        let seen = outcome(&asked, LONG, Reply::Send(http("404 Not Found", "404 page not found"))).await;
        assert_eq!(seen, format!("{word} unknown"), "{asked:?}");
    }
}

#[tokio::test]
async fn errors_in_etcds_words() {
    for (status, code, message, to_read, to_write) in [
        ("429 Too Many Requests", 8, "etcdserver: too many requests", "fail rejected", "fail rejected"),
        // The same error travels under another code in some versions.
        ("500 Internal Server Error", 2, "etcdserver: too many requests", "fail rejected", "fail rejected"),
        ("400 Bad Request", 3, "etcdserver: key is not provided", "fail rejected", "fail rejected"),
        ("400 Bad Request", 3, "etcdserver: request is too large", "fail rejected", "fail rejected"),
        ("503 Service Unavailable", 14, "etcdserver: unhealthy cluster", "fail rejected", "fail rejected"),
        ("503 Service Unavailable", 14, "etcdserver: no leader", "fail no-leader", "info no-leader"),
        ("503 Service Unavailable", 14, "etcdserver: leader changed", "fail unknown", "info unknown"),
        ("503 Service Unavailable", 14, "etcdserver: request timed out", "fail timeout", "info timeout"),
        (
            "503 Service Unavailable",
            14,
            "etcdserver: request timed out, possibly due to previous leader failure",
            "fail timeout",
            "info timeout",
        ),
        ("503 Service Unavailable", 14, "etcdserver: server stopped", "fail unknown", "info unknown"),
        // Returned before the proposal, but also after the write was applied.
        (
            "429 Too Many Requests",
            8,
            "etcdserver: mvcc: database space exceeded",
            "fail unknown",
            "info unknown",
        ),
        ("500 Internal Server Error", 2, "raft proposal dropped", "fail unknown", "info unknown"),
        ("408 Request Timeout", 4, "context deadline exceeded", "fail unknown", "info unknown"),
    ] {
        for (asked, expected) in [(read(), to_read), (write(), to_write), (cas(), to_write)] {
            let seen = outcome(&asked, LONG, Reply::Send(error(status, code, message))).await;
            assert_eq!(seen, expected, "{asked:?} answered {message:?}");
        }
    }
}

#[tokio::test]
async fn either_field_of_an_error_is_read() {
    for body in [
        r#"{"error":"etcdserver: too many requests","code":8}"#,
        r#"{"code":8,"message":"etcdserver: too many requests","details":[]}"#,
    ] {
        let seen = outcome(&write(), LONG, Reply::Send(http("429 Too Many Requests", body))).await;
        assert_eq!(seen, "fail rejected", "{body}");
    }
}

#[tokio::test]
async fn half_an_answer_is_none() {
    let full = done(r#","succeeded":true"#);
    for length in [0, 9, 40, full.len() - 1] {
        for (asked, word) in [(read(), "fail"), (write(), "info"), (cas(), "info")] {
            let half = || full[..length].to_vec();
            let closed = outcome(&asked, LONG, Reply::Close(half())).await;
            assert_eq!(closed, format!("{word} connection-lost"), "{asked:?}, closed after {length} bytes");
            let reset = outcome(&asked, LONG, Reply::Reset(half())).await;
            assert_eq!(reset, format!("{word} connection-lost"), "{asked:?}, reset after {length} bytes");
            let silent = outcome(&asked, SHORT, Reply::Silence(half())).await;
            assert_eq!(silent, format!("{word} timeout"), "{asked:?}, silent after {length} bytes");
        }
    }
}

#[tokio::test]
async fn an_answer_in_pieces_is_a_whole_answer() {
    let full = done(r#","succeeded":true"#);
    let (first, second) = full.split_at(60);
    assert_eq!(outcome(&cas(), LONG, Reply::Halves(first.to_vec(), second.to_vec())).await, "ok");
    assert_eq!(outcome(&cas(), LONG, Reply::Close(full)).await, "ok");
}

/// Path and body of a request.
fn path_and_body(request: &[u8]) -> (String, Value) {
    let text = std::str::from_utf8(request).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().to_owned(), serde_json::from_str(body).unwrap())
}

#[tokio::test]
async fn requests_are_those_of_the_table() {
    let from_nil = Register { key: "x".into(), op: RegisterOp::Cas { old: None, new: 2.into() } };
    let put = json!({"request_put": {"key": "eA==", "value": "Mg=="}});
    let get = json!({"request_range": {"key": "eA=="}});
    let txn = |compare: Value| json!({"compare": [compare], "success": [put], "failure": [get]});
    let expected = [
        (read(), "/v3/kv/range", json!({"key": "eA==", "serializable": false})),
        (write(), "/v3/kv/put", json!({"key": "eA==", "value": "MQ=="})),
        (
            cas(),
            "/v3/kv/txn",
            txn(json!({"key": "eA==", "target": "VALUE", "result": "EQUAL", "value": "MQ=="})),
        ),
        (
            from_nil,
            "/v3/kv/txn",
            txn(json!({"key": "eA==", "target": "CREATE", "result": "EQUAL", "create_revision": "0"})),
        ),
    ];
    let script = expected.iter().map(|_| Reply::Send(done(""))).collect();
    let server = Scripted::play(whole, vec![script]).await;
    let mut client = client(server.place(), &[], LONG);
    for (operation, _, _) in &expected {
        client.invoke(operation).await;
    }
    drop(client);
    for (request, (operation, path, body)) in server.requests().await.iter().zip(expected) {
        assert_eq!(path_and_body(request), (path.to_owned(), body), "{operation:?}");
    }
}

#[tokio::test]
async fn a_serializable_read_says_so() {
    let server = Scripted::play(whole, vec![vec![Reply::Send(done(""))]]).await;
    let mut client = client(server.place(), &[("read", "serializable")], LONG);
    assert_eq!(short(&read(), &client.invoke(&read()).await), "ok nil");
    let (_, body) = path_and_body(&server.requests().await[0]);
    assert_eq!(body, json!({"key": "eA==", "serializable": true}));
}

#[tokio::test]
async fn the_connection_is_kept_after_a_clean_answer_and_dropped_after_any_other() {
    let closing =
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 13\r\n\r\n{\"header\":{}}".to_vec();
    let server = Scripted::play(
        whole,
        vec![
            vec![
                Reply::Send(done("")),
                Reply::Send(error("503 Service Unavailable", 14, "etcdserver: leader changed")),
                Reply::Send(done("")),
                Reply::Silence(b"HTTP/1.1 200 OK\r\n".to_vec()),
            ],
            vec![Reply::Send(done("")), Reply::Send(http("200 OK", "{}"))],
            vec![Reply::Send(closing)],
            vec![Reply::Close(done(""))],
        ],
    )
    .await;
    let place = server.place();
    let mut client = client(place, &[], SHORT);
    let mut seen = Vec::new();
    for _ in 0..8 {
        seen.push(short(&write(), &client.invoke(&write()).await));
    }
    assert_eq!(seen, ["ok", "info unknown", "ok", "info timeout", "ok", "info unreadable", "ok", "ok"]);
    assert_eq!(server.requests().await.len(), 8, "no request is sent twice");
    // The server is closed, and so is the kept connection: this request cannot have left.
    assert_eq!(short(&write(), &client.invoke(&write()).await), "fail refused");
}

#[tokio::test]
async fn status_names_the_leader() {
    let status = |member: &str, leader: &str| {
        http(
            "200 OK",
            &format!(r#"{{"header":{{"member_id":"{member}"}},"leader":"{leader}","raftTerm":"4"}}"#),
        )
    };
    let members = || done(r#","members":[{"ID":"2","name":"n1"},{"ID":"5","name":"n2"}]"#);
    let no_leader =
        http("200 OK", r#"{"header":{"member_id":"2"},"raftTerm":"4","errors":["etcdserver: no leader"]}"#);
    let server = Scripted::play(
        whole,
        vec![
            vec![Reply::Send(status("2", "2")), Reply::Send(members())],
            vec![Reply::Send(status("2", "5")), Reply::Send(members())],
            vec![Reply::Send(no_leader)],
        ],
    )
    .await;
    let etcd = single("etcd", &request(&[]));
    let (node, place) = (NodeId::new("n1"), server.place());
    let mut seen = Vec::new();
    for _ in 0..3 {
        let status = etcd.status(&node, &*place, LONG).await.unwrap();
        assert_eq!(status.term, Some(4));
        seen.push((status.role, status.leader));
    }
    server.requests().await;
    let (leader, follower) = (Some(NodeId::new("n1")), Some(NodeId::new("n2")));
    assert_eq!(seen, [(Role::Leader, leader), (Role::Follower, follower), (Role::Unknown, None)]);
}

/// Returns the answers of a node that holds `x` and has applied the entries `before` and `after` its keys are
/// read.
fn holding(before: &str, after: &str, hash: Vec<u8>) -> Vec<Reply> {
    let status = |applied: &str| done(&format!(r#","raftAppliedIndex":"{applied}""#));
    let kvs = r#","kvs":[{"key":"eA==","value":"NQ==","version":"2","mod_revision":"3"}],"count":"1""#;
    [status(before), done(kvs), hash, status(after)].into_iter().map(Reply::Send).collect()
}

#[tokio::test]
async fn a_copy_is_what_was_there_while_nothing_was_applied() {
    let missing = || http("404 Not Found", "Not Found");
    let script = vec![
        holding("9", "9", missing()),
        holding("9", "9", done(r#","hash":77"#)),
        holding("9", "10", missing()),
    ];
    let server = Scripted::play(whole, script).await;
    let etcd = single("etcd", &request(&[]));
    let (node, place) = (NodeId::new("n1"), server.place());
    let copies = etcd.copies(&node, &*place, LONG).await.unwrap().expect("etcd tells");
    assert_eq!(
        (copies.len(), copies[0].position.as_str(), copies[0].digest.as_str()),
        (1, "9", "revision 3")
    );
    assert_eq!(copies[0].values, [("x".to_owned(), "5 (version 2 at revision 3)".to_owned())].into());
    let hashed = etcd.copies(&node, &*place, LONG).await.unwrap().expect("etcd tells");
    assert_eq!(hashed[0].digest, "revision 3, hash 77 at revision 3");
    let moved = etcd.copies(&node, &*place, LONG).await.unwrap_err();
    assert_eq!(moved.cause.text, "entries were applied meanwhile");
    server.requests().await;
}
