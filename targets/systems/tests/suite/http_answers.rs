//! The reaction of a manifest's clients over HTTP to every kind of answer, and to none.

use std::path::PathBuf;
use std::time::Duration;

use duress_history::bank::{Balances, Bank, Reading, Transfer};
use duress_history::counter::{Counter, CounterOp};
use duress_history::fenced_mutex::FencedMutex;
use duress_history::mutex::{Mutex, MutexOp};
use duress_history::register::{Register, RegisterOp};
use duress_history::set::{Set, SetOp};
use duress_history::txn::{Act, Elements, ListAppend, Micro};
use duress_history::unique_ids::UniqueIds;
use duress_history::{NodeId, Scalar};
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
[client.bank]
create = { path = "/accounts", body = "{value}" }
transfer = { path = "/{from}/{to}?amount={amount}", body = "{value}", mismatch = [409] }
read = { path = "/accounts", method = "POST", body = "{value}" }
[client.fenced-mutex]
acquire = { path = "/locks/{key}", body = "{lease}", value = "token:", mismatch = [409] }
release = { path = "/locks/{key}?token={value}", method = "DELETE" }
[client.unique-ids]
generate = { path = "/id", value = "/id" }
[client.list-append]
txn = { path = "/txn", body = "{value}", mismatch = [409] }
[client.rw-register]
txn = { path = "/txn", body = "{value}" }
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

/// Returns how `asked` ends, answered by `status` and `body`, and the first line and the body of the request.
async fn ends<A>(asked: &A, status: u16, body: &str) -> (Result<A, String>, String)
where
    A: duress_history::Payload + Sync + 'static,
{
    let (outcome, sent) = invoked(asked, LONG, Reply::Send(http(status, body))).await;
    let ended = match outcome {
        Outcome::Ok(done) => Ok(done),
        Outcome::Fail(cause) => Err(format!("fail {}", cause.kind)),
        Outcome::Info(cause) => Err(format!("info {}", cause.kind)),
    };
    let (head, body) = sent.split_once("\r\n\r\n").unwrap();
    (ended, format!("{} {body}", head.lines().next().unwrap()))
}

#[tokio::test]
async fn a_bank_is_asked_for_in_one_request() {
    let [a, b] = ["a", "b"].map(Scalar::from);
    let balances = |of_a, of_b| Balances(vec![(a.clone(), of_a), (b.clone(), of_b)]);
    let create = Bank::Create(balances(Some(10), Some(10)));
    let transfer = Bank::Transfer(Transfer { from: a.clone(), to: b.clone(), amount: 3 });
    let asked = Bank::Read(Reading::Asked(vec![a.clone(), b.clone()]));
    let read = Bank::Read(Reading::Answered(balances(Some(7), None)));
    for (action, status, body, expected, sent) in [
        (&create, 200, "what?", Ok(&create), r#"POST /accounts HTTP/1.1 {"a":10,"b":10}"#),
        (&create, 500, "", Err("info unknown"), ""),
        (
            &transfer,
            200,
            "",
            Ok(&transfer),
            r#"POST /a/b?amount=3 HTTP/1.1 {"amount":3,"from":"a","to":"b"}"#,
        ),
        (&transfer, 409, "", Err("fail precondition"), ""),
        (&transfer, 404, "", Err("info unknown"), ""),
        (&asked, 200, r#"{"b":null,"a":7}"#, Ok(&read), r#"POST /accounts HTTP/1.1 ["a","b"]"#),
        (&asked, 200, r#"{"a":7}"#, Err("fail unreadable"), ""),
        (&asked, 200, "", Err("fail unreadable"), ""),
        (&asked, 500, "", Err("fail unknown"), ""),
    ] {
        let (ended, request) = ends(action, status, body).await;
        assert_eq!(ended.as_ref().map_err(String::as_str), expected, "{action:?} answered {status} {body}");
        assert!(request.contains(sent), "{request}");
    }
}

#[tokio::test]
async fn locks_identifiers_and_transactions_are_asked_for() {
    let lock = |op| Mutex { lock: Some("l".into()), op };
    let acquire = FencedMutex { mutex: lock(MutexOp::Acquire), fence: None, lease_ms: Some(200) };
    let (ended, sent) = ends(&acquire, 200, "your token: 7\n").await;
    assert_eq!((ended.unwrap().fence, &*sent), (Some(7), "POST /locks/l HTTP/1.1 200"));
    let (ended, _) = ends(&acquire, 409, "").await;
    assert_eq!(ended.unwrap_err(), "fail precondition");
    let release = FencedMutex { mutex: lock(MutexOp::Release), fence: Some(7), lease_ms: None };
    let (ended, sent) = ends(&release, 200, "").await;
    assert_eq!((ended.unwrap().fence, &*sent), (Some(7), "DELETE /locks/l?token=7 HTTP/1.1 "));

    let generate = UniqueIds(None);
    for (body, expected) in [
        (r#"{"id":"x-1"}"#, Ok(UniqueIds(Some("x-1".into())))),
        // It would be rounded, and might then be the same as another.
        (r#"{"id":1e99}"#, Err("info unreadable".to_owned())),
        ("{}", Err("info unreadable".to_owned())),
    ] {
        assert_eq!(ends(&generate, 200, body).await.0, expected, "{body}");
    }

    let micro = |key: &str, act| Micro { key: key.into(), act };
    let asked = ListAppend { micros: [micro("x", Act::Read(None)), micro("x", Act::Write(2.into()))].into() };
    let (ended, sent) = ends(&asked, 200, r#"[["r","x",[1]],["append","x",2]]"#).await;
    assert_eq!(ended.unwrap().micros[0].act, Act::Read(Some(Elements([1.into()].into()))));
    assert_eq!(sent, r#"POST /txn HTTP/1.1 [["r","x",null],["append","x",2]]"#);
    for (status, body, expected) in [
        (409, "", "fail precondition"),
        (500, "", "info unknown"),
        (200, "", "info unreadable"),
        (200, r#"[["r","y",[1]],["append","x",2]]"#, "info unreadable"),
    ] {
        assert_eq!(ends(&asked, status, body).await.0.unwrap_err(), expected, "{status} {body}");
    }
}

#[test]
fn statuses_that_would_mislead_are_refused() {
    for (from, to, says) in [
        (
            "body = \"{value}\", fail = [503]",
            "body = \"{value}\", absent = [404]",
            ":12: only a read and a delete of one object may find",
        ),
        (
            "body = \"{value}\", fail = [503]",
            "body = \"{value}\", mismatch = [409]",
            ":12: a write compares nothing",
        ),
        (
            "body = \"{value}\", fail = [503]",
            "body = \"{value}\", value = \"/v\"",
            ":12: a write has no value",
        ),
        ("ok = [201]", "ok = [201, 500], fail = [500]", ":17: the status 500 is listed twice"),
        ("ok = [201]", "ok = [20]", ":17: an item of ok is 20; expected a whole number from 100 to 599"),
        (
            "path = \"/r/{key}\", absent",
            "path = \"/r\", absent",
            ":11: the request has no {key}, in its path",
        ),
        (
            "path = \"/r/{key}\", absent",
            "path = \"/r r/{key}\", absent",
            ":11: this is not a request of HTTP: invalid uri",
        ),
        ("[{old}, {new}]", "{new}", ":14: the request has no {old}"),
        ("?amount={amount}\", body = \"{value}\"", "\"", ":23: the request has no {amount}"),
        ("body = \"{value}\", mismatch = [409] }", "body = \"{key}\" }", ":23: {key} is not known here"),
        (
            "read = { path = \"/accounts\"",
            "raed = { path = \"/accounts\"",
            "unknown key \"raed\" (did you mean \"read\"?)",
        ),
        ("release = {", "#", ":25: has no request `release`: fenced-mutex has acquire, release"),
    ] {
        assert!(MANIFEST.contains(from), "{from}");
        let error = parsed(&MANIFEST.replacen(from, to, 1)).err().unwrap_or_default();
        assert!(error.contains(says), "{to}: {error}");
    }
}
