//! The requests of the clients of jobs to the store, and their reaction to the answers.

use duress_history::job::{Dies, Job, Part};

use super::{Reply, asked};

fn whole(bytes: &[u8]) -> bool {
    redis_protocol::resp2::decode::decode(bytes).unwrap().is_some()
}

/// Returns the outcome of `action`, and the commands that were sent, if the node answers `replies`; an empty one is silence.
async fn of(action: Job, replies: &[&str]) -> (String, String) {
    let replies = replies.iter().map(|reply| match *reply {
        "" => Reply::Silence(Vec::new()),
        reply => Reply::Send(reply.as_bytes().to_vec()),
    });
    let (outcome, sent) = asked("store", whole, &action, replies.collect()).await;
    let words = |command: &String| command.split("\r\n").skip(2).step_by(2).collect::<Vec<_>>().join(" ");
    (outcome, sent.iter().map(|command| words(command).trim_end().to_owned()).collect::<Vec<_>>().join("; "))
}

fn count(dies: Option<Dies>) -> Job {
    Job::Count { part: Part::asked("d3".into(), 2), dies }
}

const TEXT: &str = "$8\r\nfox the \r\n";
const OK: &str = "+OK\r\n";

#[tokio::test]
async fn a_document_is_a_value_and_a_worker_writes_what_it_counts() {
    let load = Job::Load { document: "d3".into(), text: "7".to_owned() };
    assert_eq!(of(load, &[OK]).await, (r#"ok ["d3","7"]"#.to_owned(), "SET d3 7".to_owned()));
    let (outcome, sent) = of(count(None), &[TEXT, OK]).await;
    assert_eq!(outcome, r#"ok ["d3",2,{"fox":1,"the":1}]"#);
    assert_eq!(sent, r#"GET d3; SET d3:2 {"fox":1,"the":1}"#);
    assert_eq!(of(count(None), &["$-1\r\n"]).await, (r#"ok ["d3",2,null]"#.to_owned(), "GET d3".to_owned()));
}

#[tokio::test]
async fn a_task_of_which_nothing_was_written_was_not_executed() {
    for (replies, expected) in [
        (&["-UNKNOWN no answer in time\r\n"][..], "fail unknown"),
        (&[""], "fail timeout"),
        (&["$1\r\n\u{0}\r\n", "-CLUSTERDOWN no leader\r\n"], "fail no-leader"),
        (&[TEXT, "-UNKNOWN no answer in time\r\n"], "info unknown"),
        (&[TEXT, ""], "info timeout"),
        (&[TEXT, "$-1\r\n"], "info unreadable"),
    ] {
        assert_eq!(of(count(None), replies).await.0, expected, "{replies:?}");
    }
}

#[tokio::test]
async fn a_worker_that_ends_leaves_its_task_open() {
    let (outcome, sent) = of(count(Some(Dies::Unwritten)), &[TEXT]).await;
    assert_eq!((outcome.as_str(), sent.as_str()), ("info unknown", "GET d3"));
    let (outcome, sent) = of(count(Some(Dies::Unreported)), &[TEXT, OK]).await;
    assert_eq!(outcome, "info unknown");
    assert_eq!(sent, r#"GET d3; SET d3:2 {"fox":1,"the":1}"#);
}

#[tokio::test]
async fn parts_are_gathered_at_once() {
    let gather = || Job::Gather(vec![Part::asked("d3".into(), 1), Part::asked("d4".into(), 1)]);
    let (outcome, sent) = of(gather(), &["*2\r\n$9\r\n{\"fox\":1}\r\n$-1\r\n"]).await;
    assert_eq!(outcome, r#"ok [["d3",1,{"fox":1}],["d4",1,null]]"#);
    assert_eq!(sent, "MGET d3:1 d4:1");
    assert_eq!(of(gather(), &["*1\r\n$-1\r\n"]).await.0, "fail unreadable");
    assert_eq!(of(gather(), &["*2\r\n$1\r\n7\r\n$-1\r\n"]).await.0, "fail unreadable");
}
