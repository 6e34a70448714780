//! The requests of the clients of banks to the store and to etcd, and their reaction to the answers.

use duress_history::bank::{Balances, Bank, Reading, Transfer};
use serde_json::json;

use super::{Reply, asked, etcd};

fn create() -> Bank {
    Bank::Create(Balances(vec![("a".into(), Some(10)), ("b".into(), Some(4))]))
}

fn read() -> Bank {
    Bank::Read(Reading::Asked(vec!["b".into(), "a".into()]))
}

fn transfer(amount: i64) -> Bank {
    Bank::Transfer(Transfer { from: "a".into(), to: "b".into(), amount })
}

const DONE: &str = r#"ok {"from":"a","to":"b","amount":3}"#;

mod store {
    use super::*;

    fn whole(bytes: &[u8]) -> bool {
        let reads = bytes.windows(4).any(|word| word == b"MGET");
        bytes.ends_with(b"EXEC\r\n") || reads && (bytes.ends_with(b"b\r\n") || bytes.ends_with(b"\r\na\r\n"))
    }

    /// Returns the replies in these words.
    fn bytes(words: &str) -> Vec<u8> {
        words.split(' ').flat_map(|line| format!("{}\r\n", line.replace('_', " ")).into_bytes()).collect()
    }

    /// Returns the outcome of `action`, and the commands that were sent, if the node answers `replies`, and to nothing more.
    async fn of(action: Bank, replies: &[&str]) -> (String, String) {
        let (last, first) = replies.split_last().unwrap();
        let last = if last.is_empty() { Vec::new() } else { bytes(last) };
        let replies = first.iter().map(|reply| Reply::Send(bytes(reply))).chain([Reply::Silence(last)]);
        let (outcome, sent) = asked("store", whole, &action, replies.collect()).await;
        let sent = sent.iter().flat_map(|request| request.split("\r\n"));
        let sent = sent.filter(|line| !line.is_empty() && !line.starts_with(['*', '$']));
        (outcome, sent.collect::<Vec<_>>().join(" "))
    }

    #[tokio::test]
    async fn accounts_are_made_unless_they_are_there_and_read_at_once() {
        let (outcome, sent) = of(create(), &["+OK +QUEUED +QUEUED *2 +OK $-1"]).await;
        assert_eq!(outcome, r#"ok {"a":10,"b":4}"#);
        assert_eq!(sent, "MULTI SET a 10 NX SET b 4 NX EXEC");
        let (outcome, sent) = of(read(), &["*2 $2 -3 $-1"]).await;
        assert_eq!(outcome, r#"ok {"b":-3,"a":null}"#);
        assert_eq!(sent, "MGET b a");
        assert_eq!(of(create(), &["+OK +QUEUED +QUEUED *2 +OK :1"]).await.0, "info unreadable");
        assert_eq!(of(read(), &["*1 $2 10"]).await.0, "fail unreadable");
        assert_eq!(of(read(), &["*2 $1 x $1 4"]).await.0, "fail unreadable");
    }

    /// The answers to the first part of a transfer from an account with 10.
    const FOUND: &str = "+OK +OK *2 $2 10 $1 4";

    #[tokio::test]
    async fn money_is_moved_if_neither_account_has_changed() {
        let (outcome, sent) = of(transfer(3), &[FOUND, "+OK +QUEUED +QUEUED *2 :7 :7"]).await;
        assert_eq!(outcome, DONE);
        assert_eq!(sent, "UNWATCH WATCH a b MGET a b MULTI INCRBY a -3 INCRBY b 3 EXEC");
        let (outcome, sent) = of(transfer(11), &[FOUND]).await;
        assert_eq!((outcome.as_str(), sent.as_str()), ("fail precondition", "UNWATCH WATCH a b MGET a b"));
        for (replies, expected) in [
            (&["+OK +OK *2 $2 10 $-1"][..], "fail precondition"),
            (&[FOUND, "+OK +QUEUED +QUEUED *-1"], "fail precondition"),
            (&["+OK -CLUSTERDOWN_no_leader -CLUSTERDOWN_no_leader"], "fail no-leader"),
            (&["+OK -UNKNOWN_no_answer *2 $2 10 $1 4"], "fail unknown"),
            (&[""], "fail timeout"),
            (&[FOUND, "+OK +QUEUED +QUEUED -CLUSTERDOWN_no_leader"], "fail no-leader"),
            (&[FOUND, "+OK +QUEUED +QUEUED -UNKNOWN_no_answer"], "info unknown"),
            (&[FOUND, ""], "info timeout"),
            (&[FOUND, "+OK +QUEUED :1 *-1"], "info unreadable"),
        ] {
            assert_eq!(of(transfer(3), replies).await.0, expected, "{replies:?}");
        }
    }

    #[tokio::test]
    async fn nothing_is_moved_over_a_connection_that_watches_nothing() {
        let replies = vec![Reply::Close(bytes(FOUND))];
        let (outcome, sent) = asked("store", whole, &transfer(3), replies).await;
        // Whether anything was sent before the end of the connection was seen is a matter of moments.
        assert!(outcome.ends_with(" connection-lost"), "{outcome}");
        assert_eq!(sent.len(), 1);
    }
}

mod of_etcd {
    use super::*;
    use etcd::{answer, etcd as ask, ranges};

    /// The answer to a transaction whose comparisons hold, or do not.
    fn put(succeeded: bool) -> Reply {
        // etcd leaves out what is false.
        answer(&if succeeded { json!({"succeeded": true}) } else { json!({}) })
    }

    fn compare(key: &str, revision: &str) -> serde_json::Value {
        json!({"key": key, "target": "MOD", "result": "EQUAL", "mod_revision": revision})
    }

    fn puts(key: &str, value: &str) -> serde_json::Value {
        json!({"request_put": {"key": key, "value": value}})
    }

    // "YQ==" is a, "Yg==" is b; "MTA=" is 10, "NA==" is 4, "Nw==" is 7.

    #[tokio::test]
    async fn accounts_are_put_unless_they_are_there_and_read_at_once() {
        for succeeded in [true, false] {
            let (outcome, sent) = ask(create(), vec![put(succeeded)]).await;
            assert_eq!(outcome, r#"ok {"a":10,"b":4}"#);
            let body = json!({
                "compare": [compare("YQ==", "0"), compare("Yg==", "0")],
                "success": [puts("YQ==", "MTA="), puts("Yg==", "NA==")],
            });
            assert_eq!(sent, [("/v3/kv/txn".to_owned(), body)]);
        }
        // It ranges over the keys in their order, whatever that of the question.
        let (outcome, sent) = ask(read(), vec![ranges(&[("MTA=", 4), ("", 0)])]).await;
        assert_eq!(outcome, r#"ok {"b":null,"a":10}"#);
        assert_eq!(sent.len(), 1);
    }

    #[tokio::test]
    async fn money_is_moved_if_neither_account_has_changed() {
        let found = || ranges(&[("MTA=", 4), ("NA==", 5)]);
        let (outcome, sent) = ask(transfer(3), vec![found(), put(true)]).await;
        assert_eq!(outcome, DONE);
        let body = json!({
            "compare": [compare("YQ==", "4"), compare("Yg==", "5")],
            "success": [puts("YQ==", "Nw=="), puts("Yg==", "Nw==")],
        });
        assert_eq!(sent[1], ("/v3/kv/txn".to_owned(), body));
        let outcome = async |amount, replies| ask(transfer(amount), replies).await.0;
        let silent = || Reply::Silence(Vec::new());
        assert_eq!(outcome(3, vec![found(), put(false)]).await, "fail precondition");
        assert_eq!(outcome(11, vec![found()]).await, "fail precondition");
        assert_eq!(outcome(3, vec![ranges(&[("MTA=", 4), ("", 0)])]).await, "fail precondition");
        assert_eq!(outcome(3, vec![silent()]).await, "fail timeout");
        assert_eq!(outcome(3, vec![found(), silent()]).await, "info timeout");
        assert_eq!(outcome(3, vec![ranges(&[("WzFd", 4), ("NA==", 5)])]).await, "fail unreadable");
    }
}
