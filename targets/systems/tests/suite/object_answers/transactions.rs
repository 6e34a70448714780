//! The requests of the clients of transactions to the store and to etcd, and their reaction to the answers.

use duress_history::txn::{Answer, Elements, Held};
use serde_json::json;

use super::{Reply, asked, etcd};
use crate::txn_words::txn;

mod store {
    use super::*;

    fn whole(bytes: &[u8]) -> bool {
        bytes.ends_with(b"EXEC\r\n")
            || bytes.starts_with(b"*3\r\n$4\r\nMGET\r\n") && bytes.ends_with(b"y\r\n")
    }

    /// Returns the outcome, and the commands that were sent, when `replies` is all that the node answers: to
    /// nothing more if it is cut short.
    async fn of<R: Answer>(words: &str, replies: &str) -> (String, String) {
        let bytes: Vec<u8> = replies.split_whitespace().fold(Vec::new(), |mut bytes, line| {
            bytes.extend(line.replace('_', " ").bytes());
            bytes.extend(b"\r\n");
            bytes
        });
        let (outcome, sent) = asked("store", whole, &txn::<R>(words), vec![Reply::Silence(bytes)]).await;
        let sent = sent[0].split("\r\n").filter(|line| !line.starts_with(['*', '$']));
        (outcome, sent.collect::<Vec<_>>().join(" ").trim_end().to_owned())
    }

    async fn outcome(words: &str, replies: &str) -> String {
        of::<Elements>(words, replies).await.0
    }

    #[tokio::test]
    async fn lists_are_appended_to_and_read_in_one_transaction() {
        let answers = "+OK +QUEUED +QUEUED +QUEUED *3 *0 :1 *2 $1 7 $1 y";
        let (outcome, sent) = of::<Elements>("rx ax7 ry", answers).await;
        assert_eq!(outcome, r#"ok [["r","x",[]],["append","x",7],["r","y",[7,"y"]]]"#);
        assert_eq!(sent, "MULTI LRANGE x 0 -1 RPUSH x 7 LRANGE y 0 -1 EXEC");
    }

    #[tokio::test]
    async fn registers_are_written_and_read_in_one_transaction() {
        let answers = "+OK +QUEUED +QUEUED +QUEUED *3 $-1 +OK $1 7";
        let (outcome, sent) = of::<Held>("rx ax7 rx", answers).await;
        assert_eq!(outcome, r#"ok [["r","x",null],["w","x",7],["r","x",7]]"#);
        assert_eq!(sent, "MULTI GET x SET x 7 GET x EXEC");
    }

    #[tokio::test]
    async fn registers_that_are_only_read_are_read_by_one_command() {
        let (outcome, sent) = of::<Held>("rx ry", "*2 $1 7 $-1").await;
        assert_eq!(outcome, r#"ok [["r","x",7],["r","y",null]]"#);
        assert_eq!(sent, "MGET x y");
        for (replies, expected) in [
            ("*1 $1 7", "unreadable"),
            ("*2 $1 7 *0", "unreadable"),
            ("*-1", "unreadable"),
            ("-CLUSTERDOWN_no_leader", "no-leader"),
            ("", "timeout"),
        ] {
            assert_eq!(of::<Held>("rx ry", replies).await.0, format!("fail {expected}"), "{replies}");
        }
    }

    #[tokio::test]
    async fn a_discarded_transaction_did_not_happen() {
        let discarded = "-EXECABORT_Transaction_discarded_because_of_previous_errors.";
        let refused = format!("+OK -READONLY_You_can't_write_against_a_read_only_replica. {discarded}");
        assert_eq!(outcome("ax7", &refused).await, "fail no-leader");
        assert_eq!(outcome("ax7", &format!("+OK +QUEUED {discarded}")).await, "fail rejected");
        assert_eq!(outcome("ax7", "+OK +QUEUED -CLUSTERDOWN_no_leader").await, "fail no-leader");
        // The server refused MULTI and each command.
        assert_eq!(outcome("ax7", "-NOAUTH_no -NOAUTH_no -NOAUTH_no").await, "fail rejected");
    }

    #[tokio::test]
    async fn a_transaction_that_may_have_happened_is_open() {
        assert_eq!(outcome("ax7", "+OK +QUEUED -UNKNOWN_no_answer_in_time").await, "info unknown");
        // The server may execute the transaction after each of these.
        for replies in ["", "+OK", "+OK +QUEUED", "+OK +QUEUED *1"] {
            assert_eq!(outcome("ax7", replies).await, "info timeout", "{replies}");
        }
        assert_eq!(outcome("rx", "+OK +QUEUED").await, "fail timeout", "a read changes nothing");
        // The server executed a command although it refused the transaction.
        assert_eq!(outcome("ax7", "+OK :1 -EXECABORT_Discarded").await, "info rejected");
        assert_eq!(
            outcome("ax7", "-ERR_unknown_command_'MULTI' :1 -ERR_EXEC_without_MULTI").await,
            "info rejected"
        );
        // The server rolls nothing back when one of two commands fails.
        let half = "+OK +QUEUED +QUEUED *2 :1 -WRONGTYPE_Operation_against_a_key";
        assert_eq!(outcome("ax7 ay8", half).await, "info rejected");
    }

    #[tokio::test]
    async fn replies_of_another_shape_are_not_read() {
        for replies in [
            "+OK +QUEUED *-1",
            "+OK +QUEUED *0",
            "+OK +QUEUED *2 :1 :1",
            "+OK :1 *1 :1",
            "+OK +QUEUED *1 +OK",
            "+OK +QUEUED *1 :0",
        ] {
            assert_eq!(outcome("ax7", replies).await, "info unreadable", "{replies}");
        }
    }
}

mod of_etcd {
    use super::*;
    use etcd::{answer, etcd as ask, ranges};

    fn done() -> Reply {
        answer(&json!({"succeeded": true, "responses": [{"response_put": {"header": {}}}]}))
    }

    // "eA==" is x, "eQ==" is y; "WzFd" is [1], "WzEsMl0=" is [1,2], "WzEsMiwzXQ==" is [1,2,3]; "NQ==" is 5, "Ng==" is 6.

    #[tokio::test]
    async fn a_transaction_that_only_reads_is_one_request() {
        let (outcome, sent) = ask(txn::<Elements>("ry rx ry"), vec![ranges(&[("WzFd", 4), ("", 0)])]).await;
        assert_eq!(outcome, r#"ok [["r","y",[]],["r","x",[1]],["r","y",[]]]"#);
        let range = |key: &str| json!({"request_range": {"key": key, "serializable": false}});
        let success = json!({"success": [range("eA=="), range("eQ==")]});
        assert_eq!(sent, [("/v3/kv/txn".to_owned(), success)]);
    }

    #[tokio::test]
    async fn lists_are_put_if_nothing_that_was_read_has_changed() {
        let replies = || vec![ranges(&[("WzFd", 4), ("", 0)]), done()];
        let (outcome, sent) = ask(txn::<Elements>("ax2 rx ax3 ry"), replies()).await;
        assert_eq!(outcome, r#"ok [["append","x",2],["r","x",[1,2]],["append","x",3],["r","y",[]]]"#);
        let compare = |key: &str, revision: &str| json!({"key": key, "target": "MOD", "result": "EQUAL", "mod_revision": revision});
        let put = json!({"request_put": {"key": "eA==", "value": "WzEsMiwzXQ=="}});
        let body = json!({"compare": [compare("eA==", "4"), compare("eQ==", "0")], "success": [put]});
        assert_eq!((sent.len(), &sent[1]), (2, &("/v3/kv/txn".to_owned(), body)));
    }

    #[tokio::test]
    async fn a_register_that_is_only_written_is_not_read() {
        let (outcome, sent) = ask(txn::<Held>("ax5 ax6"), vec![done()]).await;
        assert_eq!(outcome, r#"ok [["w","x",5],["w","x",6]]"#);
        let put = json!({"request_put": {"key": "eA==", "value": "Ng=="}});
        assert_eq!(sent, [("/v3/kv/txn".to_owned(), json!({"compare": [], "success": [put]}))]);
        let (outcome, _) = ask(txn::<Held>("ax5"), vec![answer(&json!({}))]).await;
        assert_eq!(outcome, "info unreadable", "no comparison can have failed");
        let (outcome, _) = ask(txn::<Held>("rx ax6 rx"), vec![ranges(&[("NQ==", 4)]), done()]).await;
        assert_eq!(outcome, r#"ok [["r","x",5],["w","x",6],["r","x",6]]"#);
    }

    #[tokio::test]
    async fn only_the_puts_of_a_transaction_leave_it_open() {
        let outcome = async |replies| ask(txn::<Elements>("ax2"), replies).await.0;
        let (found, silent) = (|| ranges(&[("WzFd", 4)]), || Reply::Silence(Vec::new()));
        assert_eq!(outcome(vec![silent()]).await, "fail timeout");
        assert_eq!(outcome(vec![found(), silent()]).await, "info timeout");
        // etcd leaves out a `succeeded` that is false: a comparison failed, and it put nothing.
        assert_eq!(outcome(vec![found(), answer(&json!({}))]).await, "fail precondition");
        let reading = async |replies| ask(txn::<Elements>("rx"), replies).await.0;
        assert_eq!(reading(vec![silent()]).await, "fail timeout");
        // No client of lists puts a value that is not an array, and an answer without ranges does not fit the request.
        assert_eq!(outcome(vec![ranges(&[("NQ==", 4)])]).await, "fail unreadable");
        assert_eq!(reading(vec![ranges(&[])]).await, "fail unreadable");
    }
}
