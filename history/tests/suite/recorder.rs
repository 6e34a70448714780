//! The recorder keeps its events, and reports when it cannot.

use std::fs;

use duress_history::recorder::RecordError;
use duress_history::register::{Register, RegisterOp};
use duress_history::{
    Completion, NemesisAct, NodeId, OpError, OpType, Process, Recorder, Scalar, jsonl, pairs,
};

fn write(value: i64) -> Register {
    Register { key: Scalar::from("x"), op: RegisterOp::Write(Scalar::Int(value)) }
}

#[test]
fn what_was_recorded_is_read_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("history.jsonl");
    let mut recorder = Recorder::create(&path).expect("a new file");
    let node = Some(NodeId::new("n1"));
    recorder.record(10, Process(0), OpType::Invoke, write(1), node.clone(), None).expect("kept");
    let ended =
        NemesisAct::NodeEnded { node: NodeId::new("n1"), status: "exit status: 1".to_owned(), fault: None };
    recorder.record_nemesis(20, ended.clone()).expect("kept");
    // A clock that steps back does not take the history with it.
    let error =
        Some(OpError { kind: Some("timeout".into()), text: "timeout: no answer".to_owned(), saw: None });
    recorder.record(15, Process(0), OpType::Info, write(1), node, error.clone()).expect("kept");
    assert_eq!(recorder.len(), 3);
    recorder.close().expect("on disk");

    let history = jsonl::read::<Register>(&path).expect("a history");
    assert_eq!(
        history.events.iter().map(|event| (event.index, event.time)).collect::<Vec<_>>(),
        [(0, 10), (2, 20)]
    );
    assert_eq!(history.nemesis[0].act, ended);
    let operations = pairs::pair(history.events).expect("they pair");
    assert_eq!(operations[0].completion, Completion::Info { at: Some((2, 20)), error: error.map(Box::new) });
}

#[test]
fn what_was_flushed_is_there_before_the_recorder_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("history.jsonl");
    let mut recorder = Recorder::create(&path).expect("a new file");
    recorder.record(1, Process(0), OpType::Invoke, write(1), None, None).expect("kept");
    recorder.flush().expect("handed over");
    // Forgotten rather than dropped, as when the process is killed.
    std::mem::forget(recorder);
    assert_eq!(jsonl::read::<Register>(&path).expect("a history").events.len(), 1);
}

#[test]
fn a_record_is_never_overwritten() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("history.jsonl");
    fs::write(&path, "precious\n").expect("a file");
    let refused = Recorder::create(&path).expect_err("the file exists");
    assert!(matches!(refused, RecordError::Create { .. }));
    assert!(refused.to_string().contains("history.jsonl"), "{refused}");
    assert_eq!(fs::read_to_string(&path).expect("still there"), "precious\n");
}

#[test]
fn a_full_disk_is_reported() {
    // A process may limit the size of its files; writing beyond fails as on a full disk. The limit is for the whole
    // process, so a child of the test does it: the shell, which sets the limit, and then this test alone.
    const CHILD: &str = "DURESS_TEST_FULL_DISK";
    if std::env::var_os(CHILD).is_none() {
        let this = std::env::current_exe().expect("the test's own program");
        // SIGXFSZ would end the child: ignored, the write fails instead.
        let script =
            "trap '' XFSZ; ulimit -f 64; exec \"$0\" --exact recorder::a_full_disk_is_reported --nocapture";
        let output = std::process::Command::new("sh")
            .args(["-c", script])
            .arg(this)
            .env(CHILD, "1")
            .output()
            .expect("a shell");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{text}{:?}", output);
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("history.jsonl");
    let mut recorder = Recorder::create(&path).expect("a new file");
    let failure = (0..100_000).find_map(|value| {
        recorder.record(value as u64, Process(0), OpType::Invoke, write(value), None, None).err()
    });
    let failure = failure.expect("64 blocks do not hold a hundred thousand lines");
    assert!(matches!(failure, RecordError::Append { .. }), "{failure:?}");
    assert!(failure.to_string().contains("history.jsonl"), "{failure}");
    drop(recorder);
    // The earlier lines are still a history, at most its last line torn.
    let kept = jsonl::read::<Register>(&path).expect("a history");
    assert!(kept.events.len() > 100, "{}", kept.events.len());
    assert!(kept.events.iter().enumerate().all(|(at, event)| event.index == at as u64));
}
