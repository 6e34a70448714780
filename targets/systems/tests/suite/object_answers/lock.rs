//! The requests of the clients of locks to the store and to etcd, and their reaction to the answers.

use duress_history::fenced_mutex::FencedMutex;
use duress_history::mutex::{Mutex, MutexOp};

use super::{Reply, asked, etcd};

fn on_lock(op: MutexOp) -> FencedMutex {
    FencedMutex { mutex: Mutex { lock: Some("l".into()), op }, fence: None, lease_ms: None }
}

fn acquire(lease_ms: Option<u64>) -> FencedMutex {
    FencedMutex { lease_ms, ..on_lock(MutexOp::Acquire) }
}

/// The release of a lock that was acquired with the token 4.
fn release() -> FencedMutex {
    FencedMutex { fence: Some(4), ..on_lock(MutexOp::Release) }
}

mod store {
    use super::*;

    fn whole(bytes: &[u8]) -> bool {
        let reads = bytes.windows(4).any(|word| word == b"MGET");
        bytes.ends_with(b"EXEC\r\n")
            || reads && (bytes.ends_with(b"fence\r\n") || bytes.ends_with(b"\r\nl\r\n"))
    }

    /// Returns the replies in these words.
    fn bytes(words: &str) -> Vec<u8> {
        words.split(' ').flat_map(|line| format!("{}\r\n", line.replace('_', " ")).into_bytes()).collect()
    }

    /// Returns the outcome of `action`, and the commands that were sent, if the node answers `replies`, and to nothing more.
    async fn of(action: FencedMutex, replies: &[&str]) -> (String, String) {
        let (last, first) = replies.split_last().unwrap();
        let last = if last.is_empty() { Vec::new() } else { bytes(last) };
        let replies = first.iter().map(|reply| Reply::Send(bytes(reply))).chain([Reply::Silence(last)]);
        let (outcome, sent) = asked("store", whole, &action, replies.collect()).await;
        let sent = sent.iter().flat_map(|request| request.split("\r\n"));
        let sent = sent.filter(|line| !line.is_empty() && !line.starts_with(['*', '$']));
        (outcome, sent.collect::<Vec<_>>().join(" "))
    }

    /// No owner, and the last token is 3.
    const FREE: &str = "+OK +OK *2 $-1 $1 3";
    const DONE: &str = "+OK +QUEUED +QUEUED *2 +OK +OK";
    const NOTHING: &str = "+OK +QUEUED +QUEUED *-1";
    const LOOKS: &str = "UNWATCH WATCH l {l}:fence MGET l {l}:fence";

    #[tokio::test]
    async fn a_free_lock_is_taken_together_with_the_next_token() {
        let (outcome, sent) = of(acquire(None), &[FREE, DONE]).await;
        assert_eq!(outcome, "ok 4");
        assert_eq!(sent, format!("{LOOKS} MULTI SET l 4 NX SET {{l}}:fence 4 EXEC"));
        assert_eq!(of(acquire(None), &["+OK +OK *2 $-1 $-1", DONE]).await.0, "ok 1");
        let (outcome, sent) = of(acquire(None), &["+OK +OK *2 $1 3 $1 3"]).await;
        assert_eq!((outcome.as_str(), sent.as_str()), ("fail precondition", LOOKS));
        for (replies, expected) in [
            (&[FREE, NOTHING][..], "fail precondition"),
            (&["+OK -CLUSTERDOWN_no_leader -CLUSTERDOWN_no_leader"], "fail no-leader"),
            (&["+OK -UNKNOWN_no_answer *2 $-1 $1 3"], "fail unknown"),
            (&[""], "fail timeout"),
            (&["+OK +OK *2 $-1 $19 9223372036854775807"], "fail rejected"),
            (&["+OK +OK *2 $1 x $1 3"], "fail unreadable"),
            (&[FREE, "+OK +QUEUED +QUEUED -CLUSTERDOWN_no_leader"], "fail no-leader"),
            (&[FREE, "+OK +QUEUED +QUEUED -UNKNOWN_no_answer"], "info unknown"),
            (&[FREE, "+OK +QUEUED +QUEUED *2 $-1 +OK"], "info unreadable"),
            (&[FREE, ""], "info timeout"),
        ] {
            assert_eq!(of(acquire(None), replies).await.0, expected, "{replies:?}");
        }
    }

    #[tokio::test]
    async fn a_lease_is_taken_over_when_it_is_over() {
        let (outcome, sent) = of(acquire(Some(5000)), &[FREE, DONE]).await;
        assert_eq!(outcome, "ok 4");
        let until = sent.split("SET l 4 ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
        // After a day in 2020, before one in 2286.
        assert!((1_600_000_000_000..9_999_999_999_999).contains(&until.parse::<u64>().unwrap()), "{sent}");
        let over = "+OK +OK *2 $7 3_12345 $1 3";
        let (outcome, sent) = of(acquire(Some(5000)), &[over, DONE]).await;
        assert!(outcome == "ok 4" && !sent.contains("NX"), "{outcome}: {sent}");
        let held = format!("+OK +OK *2 $15 3_{until} $1 3");
        assert_eq!(of(acquire(Some(5000)), &[&held]).await.0, "fail precondition");
    }

    #[tokio::test]
    async fn a_lock_is_released_by_its_token() {
        let (held, done, nothing) = ("+OK +OK *1 $1 4", "+OK +QUEUED *1 :1", "+OK +QUEUED *-1");
        let (outcome, sent) = of(release(), &[held, done]).await;
        assert_eq!(outcome, "ok 4");
        assert_eq!(sent, "UNWATCH WATCH l MGET l MULTI DEL l EXEC");
        for (replies, expected) in [
            (&["+OK +OK *1 $-1"][..], "fail precondition"),
            (&["+OK +OK *1 $1 5"], "fail precondition"),
            // Its key has another version, and is still this client's, or not any more.
            (&[held, nothing, "+OK +OK *1 $7 4_12345", done], "ok 4"),
            (&[held, nothing, "+OK +OK *1 $1 5"], "fail precondition"),
            (&[held, nothing, ""], "fail timeout"),
            (&[held, ""], "info timeout"),
            (&[held, "+OK +QUEUED *1 :0"], "info unreadable"),
        ] {
            assert_eq!(of(release(), replies).await.0, expected, "{replies:?}");
        }
    }
}

mod of_etcd {
    use super::*;
    use etcd::{answer, etcd as ask};
    use serde_json::{Value, json};

    fn txn(succeeded: bool) -> Reply {
        // etcd leaves out what is false. The revision of its answers here is 9.
        answer(&if succeeded { json!({"succeeded": true}) } else { json!({}) })
    }

    /// The transaction that puts the lock: "bA==" is l.
    fn put(put: &Value) -> (String, Value) {
        let absent = json!({"key": "bA==", "target": "CREATE", "result": "EQUAL", "create_revision": "0"});
        ("/v3/kv/txn".to_owned(), json!({"compare": [absent], "success": [{"request_put": put}]}))
    }

    #[tokio::test]
    async fn the_revision_of_the_put_is_the_token() {
        let (outcome, sent) = ask(acquire(None), vec![txn(true)]).await;
        assert_eq!((outcome.as_str(), sent), ("ok 9", vec![put(&json!({"key": "bA=="}))]));
        assert_eq!(ask(acquire(None), vec![txn(false)]).await.0, "fail precondition");
        assert_eq!(ask(acquire(None), vec![Reply::Silence(Vec::new())]).await.0, "info timeout");
    }

    #[tokio::test]
    async fn a_lease_is_granted_first() {
        let granted = || answer(&json!({"ID": "77", "TTL": "2"}));
        let (outcome, sent) = ask(acquire(Some(1200)), vec![granted(), txn(true)]).await;
        assert_eq!(outcome, "ok 9");
        let grant = ("/v3/lease/grant".to_owned(), json!({"TTL": "2"}));
        assert_eq!(sent, [grant, put(&json!({"key": "bA==", "lease": "77"}))]);
        assert_eq!(ask(acquire(Some(1200)), vec![Reply::Silence(Vec::new())]).await.0, "fail timeout");
        let lost = vec![granted(), Reply::Silence(Vec::new())];
        assert_eq!(ask(acquire(Some(1200)), lost).await.0, "info timeout");
    }

    #[tokio::test]
    async fn a_lock_is_deleted_if_its_revision_is_the_token() {
        let (outcome, sent) = ask(release(), vec![txn(true)]).await;
        assert_eq!(outcome, "ok 4");
        let own = json!({"key": "bA==", "target": "MOD", "result": "EQUAL", "mod_revision": "4"});
        let delete = json!({"request_delete_range": {"key": "bA=="}});
        assert_eq!(sent, [("/v3/kv/txn".to_owned(), json!({"compare": [own], "success": [delete]}))]);
        assert_eq!(ask(release(), vec![txn(false)]).await.0, "fail precondition");
        assert_eq!(ask(release(), vec![Reply::Silence(Vec::new())]).await.0, "info timeout");
    }
}
