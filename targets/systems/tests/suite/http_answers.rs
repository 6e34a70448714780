//! The reaction of a manifest's clients over HTTP to every kind of answer, and to none.

use std::path::PathBuf;
use std::time::Duration;

use duress_history::NodeId;
use duress_history::counter::{Counter, CounterOp};
use duress_history::register::{Register, RegisterOp};
use duress_history::set::{Set, SetOp};
use duress_targets::{Client, Deployment, Manifest, ManifestText, Node, Outcome, Seat, System, Topology};
use registers::{cas, read, request, short, write};
use scripted::{Reply, Scripted};

use crate::{registers, scripted};

const LONG: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(300);

const MANIFEST: &str = r#"
name = "kv"
nodes = 1
port = 80
[[role]]
name = "node"
command = "true"
[client]
protocol = "http"
[client.register]
read = { path = "/r/{key}", absent = [404], fail = [503] }
write = { method = "PUT", path = "/r/{key}", body = "{value}", fail = [503] }
delete = { method = "DELETE", path = "/r/{key}", absent = [404] }
cas = { path = "/r/{key}", body = "[{old}, {new}]", mismatch = [409], fail = [503] }
[client.set]
read = { path = "/s/{key}", absent = [404], value = "/all" }
add = { path = "/s/{key}", body = "{value}", ok = [201] }
[client.counter]
read = { path = "/c/{key}", absent = [404] }
add = { path = "/c/{key}", body = "{value}" }
"#;

fn parsed(text: &str) -> Result<Manifest, String> {
    let manifest = ManifestText { path: PathBuf::from("/folder/duress.toml"), text: text.to_owned() };
    Manifest::parse(&manifest).map_err(|error| error.to_string())
}

fn deployed() -> std::sync::Arc<dyn Deployment> {
    let system = parsed(MANIFEST).unwrap();
    let node = Node { name: NodeId::new("n1"), address: [192, 0, 2, 1].into() };
    system.deploy(&system.resolve(&request(&[])).unwrap(), &Topology { nodes: vec![node] }).unwrap()
}

fn whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    body.len() >= length.map_or(0, |length| length.parse().unwrap())
}

fn http(status: u16, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} Said\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Returns the outcome of `asked`, answered by `reply`, and the request that was sent.
async fn invoked<A>(asked: &A, timeout: Duration, reply: Reply) -> (Outcome<A>, String)
where
    A: duress_history::Payload + Sync + 'static,
{
    let server = Scripted::play(whole, vec![vec![reply]]).await;
    let seat = Seat {
        node: NodeId::new("n1"),
        place: server.place(),
        timeout,
        stderr: None,
        scratch: None,
        traffic: None,
    };
    let mut client: Box<dyn Client<A>> = deployed().clients().client(seat).unwrap();
    let outcome = client.invoke(asked).await;
    drop(client);
    (outcome, String::from_utf8(server.requests().await.remove(0)).unwrap())
}

/// Delete the key `x`.
fn delete() -> Register {
    Register { key: "x".into(), op: RegisterOp::Delete }
}

async fn register(asked: &Register, timeout: Duration, reply: Reply) -> String {
    short(asked, &invoked(asked, timeout, reply).await.0)
}

#[tokio::test]
async fn a_status_decides_the_outcome() {
    for (asked, status, body, expected) in [
        (read(), 200, "5", "ok 5"),
        (read(), 200, "\"5\"", "ok 5"),
        (read(), 200, "hello\n", "ok hello"),
        (read(), 200, "null", "ok nil"),
        (read(), 404, "", "ok nil"),
        (read(), 503, "", "fail rejected"),
        (read(), 500, "", "fail unknown"),
        (read(), 200, "[1]", "fail unreadable"),
        (write(), 200, "", "ok"),
        (write(), 204, "", "ok"),
        // Neither success nor listed: it may have been done.
        (write(), 404, "", "info unknown"),
        (write(), 500, "", "info unknown"),
        (write(), 301, "", "info unknown"),
        (write(), 503, "", "fail rejected"),
        (delete(), 200, "", "ok"),
        (delete(), 404, "", "ok"),
        (delete(), 503, "", "info unknown"),
        (cas(), 200, "", "ok"),
        (cas(), 409, "", "fail precondition"),
        (cas(), 412, "", "info unknown"),
        (cas(), 503, "", "fail rejected"),
    ] {
        let seen = register(&asked, LONG, Reply::Send(http(status, body))).await;
        assert_eq!(seen, expected, "{asked:?} answered {status} {body:?}");
    }
}

#[tokio::test]
async fn a_change_without_an_answer_stays_open() {
    type Make = fn() -> Reply;
    let broken: [(&str, Make, Duration, &str); 5] = [
        ("closes", || Reply::Close(Vec::new()), LONG, "connection-lost"),
        ("resets", || Reply::Reset(Vec::new()), LONG, "connection-lost"),
        ("closes within the head", || Reply::Close(b"HTTP/1.1 503 No".to_vec()), LONG, "connection-lost"),
        // The status alone is not the answer.
        (
            "closes within the body",
            || Reply::Close(b"HTTP/1.1 503 No\r\ncontent-length: 9\r\n\r\nhalf".to_vec()),
            LONG,
            "connection-lost",
        ),
        ("is silent", || Reply::Silence(Vec::new()), SHORT, "timeout"),
    ];
    for (name, reply, timeout, kind) in broken {
        for (asked, word) in [(read(), "fail"), (write(), "info"), (cas(), "info")] {
            let seen = register(&asked, timeout, reply()).await;
            assert_eq!(seen, format!("{word} {kind}"), "{asked:?}, and the node {name}");
        }
    }
    let seen = register(&write(), LONG, Reply::Send(b"what is this\r\n\r\n".to_vec())).await;
    assert_eq!(seen, "info unreadable");
}

#[tokio::test]
async fn requests_are_completed() {
    let done = || Reply::Send(http(200, ""));
    let (_, sent) = invoked(&write(), LONG, done()).await;
    assert!(sent.starts_with("PUT /r/x HTTP/1.1\r\n") && sent.ends_with("\r\n\r\n1"), "{sent}");
    let (_, sent) = invoked(&delete(), LONG, done()).await;
    assert!(sent.starts_with("DELETE /r/x HTTP/1.1\r\n") && sent.ends_with("\r\n\r\n"), "{sent}");
    let (_, sent) = invoked(&cas(), LONG, done()).await;
    assert!(sent.starts_with("POST /r/x HTTP/1.1\r\n") && sent.ends_with("\r\n\r\n[1, 2]"), "{sent}");
}

#[tokio::test]
async fn sets_and_counters_are_read() {
    let set = |op| Set { key: Some("s".into()), op };
    let elements = |answer| match answer {
        Outcome::Ok(Set { op: SetOp::Read(Some(elements)), .. }) => Some(elements),
        _ => None,
    };
    for (status, body, expected) in [
        (200, r#"{"all":[1,2]}"#, Some(vec![1.into(), 2.into()])),
        (404, "", Some(vec![])),
        (200, "[1]", None),
    ] {
        let (answer, _) = invoked(&set(SetOp::Read(None)), LONG, Reply::Send(http(status, body))).await;
        assert_eq!(elements(answer), expected, "{status} {body}");
    }
    for (status, word) in [(201, "ok"), (200, "info")] {
        let (answer, _) = invoked(&set(SetOp::Add(1.into())), LONG, Reply::Send(http(status, ""))).await;
        let seen = match answer {
            Outcome::Ok(_) => "ok",
            Outcome::Fail(_) => "fail",
            Outcome::Info(_) => "info",
        };
        assert_eq!(seen, word, "an add answered {status}, where only 201 is ok");
    }
    let counter = |op| Counter { key: Some("c".into()), op };
    for (status, body, expected) in
        [(200, "7", Some(7)), (404, "", Some(0)), (200, "many", None), (200, "null", None)]
    {
        let (answer, _) =
            invoked(&counter(CounterOp::Read(None)), LONG, Reply::Send(http(status, body))).await;
        let seen = match answer {
            Outcome::Ok(Counter { op: CounterOp::Read(value), .. }) => value,
            _ => None,
        };
        assert_eq!(seen, expected, "{status} {body}");
    }
}

#[test]
fn statuses_that_would_mislead_are_refused() {
    for (from, to, says) in [
        (
            "body = \"{value}\", fail = [503]",
            "body = \"{value}\", absent = [404]",
            ":12: only a read and a delete may find",
        ),
        (
            "body = \"{value}\", fail = [503]",
            "body = \"{value}\", mismatch = [409]",
            ":12: only a cas compares",
        ),
        (
            "body = \"{value}\", fail = [503]",
            "body = \"{value}\", value = \"/v\"",
            ":12: only a read has a value",
        ),
        ("ok = [201]", "ok = [201, 500], fail = [500]", ":17: the status 500 is listed twice"),
    ] {
        assert!(MANIFEST.contains(from), "{from}");
        let error = parsed(&MANIFEST.replacen(from, to, 1)).err().unwrap_or_default();
        assert!(error.contains(says), "{to}: {error}");
    }
}
