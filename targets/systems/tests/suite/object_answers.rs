//! The requests of the clients of sets, counters, banks, jobs, locks and transactions to the store and to etcd, and their reaction to
//! the answers.

mod bank;
mod job;
mod lock;
mod transactions;

use std::sync::Arc;
use std::time::Duration;

use duress_history::counter::{Counter, CounterOp};
use duress_history::set::{Set, SetOp};
use duress_history::{NodeId, Payload};
use duress_targets::{Client, Outcome, Place, Seat};
use registers::{request, single};
use scripted::{Reply, Scripted};
use serde_json::{Value, json};

use crate::{registers, scripted};

const TIMEOUT: Duration = Duration::from_millis(300);

fn set(op: SetOp) -> Set {
    Set { key: Some("s".into()), op }
}

fn counter(op: CounterOp) -> Counter {
    Counter { key: Some("c".into()), op }
}

fn client<A: Payload + Sync + 'static>(system: &str, place: Arc<dyn Place>) -> Box<dyn Client<A>> {
    let deployment = single(system, &request(&[]));
    deployment
        .clients()
        .client(Seat {
            node: NodeId::new("n1"),
            place,
            timeout: TIMEOUT,
            stderr: None,
            scratch: None,
            traffic: None,
        })
        .unwrap()
}

/// Returns the outcome of `asked`, and the sent requests, when `replies` answer the requests of one
/// connection.
async fn asked<A: Payload + Sync + 'static>(
    system: &str,
    whole: scripted::Whole,
    asked: &A,
    replies: Vec<Reply>,
) -> (String, Vec<String>) {
    let server = Scripted::play(whole, vec![replies]).await;
    let mut client = client::<A>(system, server.place());
    let outcome = match client.invoke(asked).await {
        Outcome::Ok(answer) => {
            let mut value = Vec::new();
            answer.serialize_value(&mut serde_json::Serializer::new(&mut value)).unwrap();
            format!("ok {}", String::from_utf8(value).unwrap())
        }
        Outcome::Fail(cause) => format!("fail {}", cause.kind),
        Outcome::Info(cause) => format!("info {}", cause.kind),
    };
    drop(client);
    let sent = server.requests().await;
    (outcome, sent.into_iter().map(|request| String::from_utf8(request).unwrap()).collect())
}

mod store {
    use super::*;

    fn whole(bytes: &[u8]) -> bool {
        redis_protocol::resp2::decode::decode(bytes).unwrap().is_some()
    }

    /// Returns the words of the commands that were sent.
    fn words(sent: &[String]) -> Vec<String> {
        let words = |command: &String| {
            let lines: Vec<&str> = command.split("\r\n").skip(2).step_by(2).collect();
            lines.join(" ").trim_end().to_owned()
        };
        sent.iter().map(words).collect()
    }

    async fn store<A: Payload + Sync + 'static>(action: A, replies: &[&str]) -> (String, Vec<String>) {
        let replies = replies.iter().map(|reply| match *reply {
            "" => Reply::Silence(Vec::new()),
            reply => Reply::Send(reply.as_bytes().to_vec()),
        });
        let (outcome, sent) = asked("store", whole, &action, replies.collect()).await;
        (outcome, words(&sent))
    }

    #[tokio::test]
    async fn a_set_is_the_array_that_a_key_holds() {
        let read = || set(SetOp::Read(None));
        let (outcome, sent) = store(read(), &["$7\r\n[3,\"x\"]\r\n"]).await;
        assert_eq!((outcome.as_str(), sent), ("ok [\"s\",[3,\"x\"]]", vec!["GET s".to_owned()]));
        assert_eq!(store(read(), &["$-1\r\n"]).await.0, "ok [\"s\",[]]");
        assert_eq!(store(read(), &["$1\r\n7\r\n"]).await.0, "fail unreadable");
    }

    #[tokio::test]
    async fn an_element_is_added_if_the_set_is_still_what_was_read() {
        let add = || set(SetOp::Add(5.into()));
        let (outcome, sent) = store(add(), &["$-1\r\n", "+OK\r\n"]).await;
        assert_eq!((outcome.as_str(), sent.join("; ").as_str()), ("ok [\"s\",5]", "GET s; SET s [5] NX"));
        let (outcome, sent) = store(add(), &["$3\r\n[3]\r\n", "+OK\r\n"]).await;
        assert_eq!(outcome, "ok [\"s\",5]");
        assert_eq!(sent.join("; "), "GET s; SET s [3,5] IFEQ [3]");
        // Another client was faster: nothing changed, and the add is retried.
        let (outcome, sent) = store(add(), &["$-1\r\n", "$-1\r\n", "$3\r\n[4]\r\n", "+OK\r\n"]).await;
        assert_eq!(outcome, "ok [\"s\",5]");
        assert_eq!(sent.join("; "), "GET s; SET s [5] NX; GET s; SET s [4,5] IFEQ [4]");
    }

    #[tokio::test]
    async fn an_add_that_failed_before_its_set_did_not_happen() {
        let add = || set(SetOp::Add(5.into()));
        assert_eq!(store(add(), &["-UNKNOWN no answer in time\r\n"]).await.0, "fail unknown");
        assert_eq!(store(add(), &[""]).await.0, "fail timeout");
        assert_eq!(store(add(), &["$-1\r\n", "-CLUSTERDOWN no leader\r\n"]).await.0, "fail no-leader");
        assert_eq!(store(add(), &["$-1\r\n", "-UNKNOWN no answer in time\r\n"]).await.0, "info unknown");
        assert_eq!(store(add(), &["$-1\r\n", ""]).await.0, "info timeout");
        // The first comparison failed, and the second one is open.
        assert_eq!(store(add(), &["$-1\r\n", "$-1\r\n", "$3\r\n[4]\r\n", ""]).await.0, "info timeout");
    }

    #[tokio::test]
    async fn a_counter_is_incremented() {
        let (outcome, sent) = store(counter(CounterOp::Add(-3)), &[":4\r\n"]).await;
        assert_eq!((outcome.as_str(), sent.join("; ").as_str()), ("ok [\"c\",-3]", "INCRBY c -3"));
        assert_eq!(store(counter(CounterOp::Add(1)), &[""]).await.0, "info timeout");
        assert_eq!(store(counter(CounterOp::Add(1)), &["+OK\r\n"]).await.0, "info unreadable");
        assert_eq!(store(counter(CounterOp::Add(1)), &["-ERR overflow\r\n"]).await.0, "fail rejected");
        assert_eq!(store(counter(CounterOp::Read(None)), &["$2\r\n41\r\n"]).await.0, "ok [\"c\",41]");
        assert_eq!(store(counter(CounterOp::Read(None)), &["$-1\r\n"]).await.0, "ok [\"c\",0]");
        assert_eq!(store(counter(CounterOp::Read(None)), &["$1\r\nx\r\n"]).await.0, "fail unreadable");
    }

    #[tokio::test]
    async fn an_object_without_a_name_is_not_asked_for() {
        assert_eq!(asked_nothing(Set { key: None, op: SetOp::Read(None) }).await, "fail rejected");
        assert_eq!(asked_nothing(Counter { key: None, op: CounterOp::Add(1) }).await, "fail rejected");
    }

    async fn asked_nothing<A: Payload + Sync + 'static>(action: A) -> String {
        let server = Scripted::play(whole, Vec::new()).await;
        let outcome = client::<A>("store", server.place()).invoke(&action).await;
        assert!(server.requests().await.is_empty());
        match outcome {
            Outcome::Fail(cause) => format!("fail {}", cause.kind),
            _ => "something else".to_owned(),
        }
    }
}

mod etcd {
    use super::*;

    fn whole(bytes: &[u8]) -> bool {
        let text = String::from_utf8_lossy(bytes).to_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        body.len() >= length.parse().unwrap()
    }

    pub fn answer(rest: &Value) -> Reply {
        let mut body = json!({"header": {"revision": "9"}});
        body.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        let body = body.to_string();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        Reply::Send((head + &body).into_bytes())
    }

    /// Returns the outcome, and of each request its path and body.
    pub async fn etcd<A: Payload + Sync + 'static>(
        action: A,
        answers: Vec<Reply>,
    ) -> (String, Vec<(String, Value)>) {
        let (outcome, sent) = asked("etcd", whole, &action, answers).await;
        let request = |request: String| {
            let (head, body) = request.split_once("\r\n\r\n").unwrap();
            (head.split(' ').nth(1).unwrap().to_owned(), serde_json::from_str(body).unwrap())
        };
        (outcome, sent.into_iter().map(request).collect())
    }

    /// The answer to ranges over keys, by value and revision; nothing is there if the value is empty.
    pub fn ranges(found: &[(&str, u32)]) -> Reply {
        let range = |(value, revision): &(&str, u32)| {
            let kvs = match *value {
                "" => json!([]),
                value => json!([{"key": "eA==", "value": value, "mod_revision": revision.to_string()}]),
            };
            json!({"response_range": {"header": {}, "kvs": kvs}})
        };
        answer(&json!({"succeeded": true, "responses": found.iter().map(range).collect::<Vec<_>>()}))
    }

    #[tokio::test]
    async fn each_element_of_a_set_is_a_key() {
        // "cy81" is s/5, "cy8=" is s/, "czA=" is s0, "cy94" is s/x.
        let (outcome, sent) = etcd(set(SetOp::Add(5.into())), vec![answer(&json!({}))]).await;
        assert_eq!(outcome, "ok [\"s\",5]");
        assert_eq!(sent, [("/v3/kv/put".to_owned(), json!({"key": "cy81", "value": ""}))]);
        let found = json!({"kvs": [{"key": "cy81"}, {"key": "cy94"}]});
        let (outcome, sent) = etcd(set(SetOp::Read(None)), vec![answer(&found)]).await;
        assert_eq!(outcome, "ok [\"s\",[5,\"x\"]]");
        let range = json!({"key": "cy8=", "range_end": "czA=", "keys_only": true, "serializable": false});
        assert_eq!(sent, [("/v3/kv/range".to_owned(), range)]);
        assert_eq!(etcd(set(SetOp::Read(None)), vec![answer(&json!({}))]).await.0, "ok [\"s\",[]]");
        let silent = || vec![Reply::Silence(Vec::new())];
        assert_eq!(etcd(set(SetOp::Add(5.into())), silent()).await.0, "info timeout");
        assert_eq!(etcd(set(SetOp::Read(None)), silent()).await.0, "fail timeout");
    }

    #[tokio::test]
    async fn a_counter_is_put_if_its_revision_is_still_that() {
        // "NDE=" is 41, "NDI=" is 42, "Yw==" is c.
        let held = || answer(&json!({"kvs": [{"key": "Yw==", "value": "NDE=", "mod_revision": "7"}]}));
        let (lost, won) = (|| answer(&json!({})), || answer(&json!({"succeeded": true})));
        let add = || counter(CounterOp::Add(1));
        let (outcome, sent) = etcd(add(), vec![held(), lost(), held(), won()]).await;
        assert_eq!(outcome, "ok [\"c\",1]");
        let compare = json!({"key": "Yw==", "target": "MOD", "result": "EQUAL", "mod_revision": "7"});
        let put = json!({"request_put": {"key": "Yw==", "value": "NDI="}});
        let txn = ("/v3/kv/txn".to_owned(), json!({"compare": [compare], "success": [put]}));
        assert_eq!((sent.len(), &sent[1], &sent[3]), (4, &txn, &txn));
        let (_, sent) = etcd(add(), vec![answer(&json!({})), won()]).await;
        assert_eq!(sent[1].1["compare"][0]["mod_revision"], "0", "the key did not exist");
        assert_eq!(etcd(counter(CounterOp::Read(None)), vec![held()]).await.0, "ok [\"c\",41]");
        assert_eq!(etcd(counter(CounterOp::Read(None)), vec![lost()]).await.0, "ok [\"c\",0]");
        assert_eq!(etcd(add(), vec![Reply::Silence(Vec::new())]).await.0, "fail timeout");
        assert_eq!(etcd(add(), vec![held(), Reply::Silence(Vec::new())]).await.0, "info timeout");
    }
}
