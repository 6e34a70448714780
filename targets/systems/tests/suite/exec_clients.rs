//! Client programs: an honest one, and those that lie, hang, flood, die, answer twice, answer binary, answer a megabyte.
//!
//! Each is a shell script that gets `open` as request 1 and the operation as request 2.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use duress_history::bank::{Balances, Bank, Reading};
use duress_history::fenced_mutex::FencedMutex;
use duress_history::job::{Counts, Dies, Job, Part};
use duress_history::log::Offset;
use duress_history::mutex::{Mutex, MutexOp};
use duress_history::register::{Register, RegisterOp};
use duress_history::stream::{Stream, Then};
use duress_history::txn::{Act, Elements, ListAppend, Micro};
use duress_history::{NodeId, Payload, Scalar};
use duress_targets::{
    CauseKind, Client, Deployment, Manifest, ManifestText, Outcome, OwnNetwork, Seat, System,
};
use tempfile::TempDir;

use crate::own_program;

/// Says hello, and opens.
const OPENED: &str = r#"
echo '{"type":"hello","version":1}'
read open
echo '{"id":1,"type":"ok"}'
"#;
/// Long enough for a shell on a busy machine to say hello and to open: only programs that hang need all of it.
const PATIENCE: Duration = Duration::from_secs(20);
/// For those that hang.
const SHORT: Duration = Duration::from_secs(3);

/// How a write must end.
enum Ends {
    Ok,
    Fail(CauseKind, &'static str),
    Info(CauseKind, &'static str),
}

fn deployed(folder: &Path, script: &str) -> Arc<dyn Deployment> {
    fs::write(folder.join("client.sh"), script).unwrap();
    deployed_as(folder, "sh client.sh")
}

fn deployed_as(folder: &Path, command: &str) -> Arc<dyn Deployment> {
    deployed_speaking(folder, command, "register")
}

fn deployed_speaking(folder: &Path, command: &str, vocabulary: &str) -> Arc<dyn Deployment> {
    own_program::deployed(folder, &format!("command = \"{command}\"\nspeaks = [\"{vocabulary}\"]"))
}

fn client<A: Payload + Sync + 'static>(
    deployment: &dyn Deployment,
    folder: &Path,
    timeout: Duration,
) -> Box<dyn Client<A>> {
    let stderr = Some(folder.join("clients/0.log"));
    let seat = Seat {
        node: NodeId::new("n1"),
        place: Arc::new(OwnNetwork),
        timeout,
        stderr,
        scratch: None,
        traffic: None,
    };
    deployment.clients().client(seat).unwrap()
}

fn write() -> Register {
    Register { key: "r0".into(), op: RegisterOp::Write(7.into()) }
}

fn check(name: &str, outcome: &Outcome<Register>, ends: &Ends) {
    let fits = match (outcome, ends) {
        (Outcome::Ok(done), Ends::Ok) => *done == write(),
        (Outcome::Fail(cause), Ends::Fail(kind, text)) | (Outcome::Info(cause), Ends::Info(kind, text)) => {
            cause.kind == *kind && cause.text.contains(text)
        }
        _ => false,
    };
    assert!(fits, "{name}: {outcome:?}");
}

#[tokio::test]
async fn what_a_client_program_does_decides_the_outcome_of_a_write() {
    use CauseKind::{ConnectionLost, Precondition, Rejected, Timeout, Unknown, Unreachable, Unreadable};
    // The name, the part after hello and open, and how a write ends.
    let opened: [(&str, &str, Ends); 20] = [
        ("honest", r#"read op; echo '{"id":2,"type":"ok"}'"#, Ends::Ok),
        ("repeats what it did", r#"read op; echo '{"id":2,"type":"ok","value":7}'"#, Ends::Ok),
        ("refuses", r#"read op; echo '{"id":2,"type":"fail","error":"full"}'"#, Ends::Fail(Rejected, "full")),
        (
            "compares",
            r#"read op; echo '{"id":2,"type":"fail","error":"no","mismatch":true}'"#,
            Ends::Fail(Precondition, "no"),
        ),
        (
            "does not know",
            r#"read op; echo '{"id":2,"type":"info","error":"reset"}'"#,
            Ends::Info(Unknown, "reset"),
        ),
        (
            "lies about what it did",
            r#"read op; echo '{"id":2,"type":"ok","value":8}'"#,
            Ends::Info(Unreadable, "answered another operation"),
        ),
        (
            "answers with another type",
            r#"read op; echo '{"id":2,"type":"ok","value":{"a":[1,2]}}'"#,
            Ends::Info(Unreadable, "answered another operation"),
        ),
        (
            "answers another request",
            r#"read op; echo '{"id":9,"type":"ok"}'"#,
            Ends::Info(Unreadable, "request 9"),
        ),
        (
            "has an unknown field",
            r#"read op; echo '{"id":2,"type":"ok","valeu":7}'"#,
            Ends::Info(Unreadable, "valeu"),
        ),
        (
            "contradicts itself",
            r#"read op; echo '{"id":2,"type":"ok","error":"full"}'"#,
            Ends::Info(Unreadable, "a reason why not"),
        ),
        (
            "answers twice",
            r#"read op; printf '{"id":2,"type":"ok"}\n{"id":2,"type":"ok"}\n'"#,
            Ends::Info(Unreadable, "one line"),
        ),
        ("speaks unasked", "echo surprise; sleep 1; read op", Ends::Info(Unreadable, "surprise")),
        ("answers binary", r"read op; printf '\377\000\001\n'", Ends::Info(Unreadable, "not an answer")),
        (
            "answers a megabyte",
            r"read op; head -c 1000000 /dev/zero | tr '\0' x; echo",
            Ends::Info(Unreadable, "(1000000 bytes)"),
        ),
        (
            "gives a megabyte as its reason",
            r#"read op; printf '{"id":2,"type":"fail","error":"'; head -c 1000000 /dev/zero | tr '\0' x; echo '"}'"#,
            Ends::Fail(Rejected, "(1000000 bytes)"),
        ),
        ("answers without an end", r"read op; cat /dev/zero", Ends::Info(Unreadable, "not one line")),
        ("dies with the operation", "read op; exit 3", Ends::Info(ConnectionLost, "ended")),
        (
            "dies in the middle of an answer",
            r#"read op; printf '{"id":2,'"#,
            Ends::Info(Unreadable, "not one line"),
        ),
        (
            "floods its standard error",
            r#"read op; head -c 5000000 /dev/zero >&2; echo '{"id":2,"type":"ok"}'"#,
            Ends::Ok,
        ),
        ("hangs", "read op; sleep 1000", Ends::Info(Timeout, "in time")),
    ];
    for (name, script, ends) in opened {
        let folder = TempDir::new().unwrap();
        let deployment = deployed(folder.path(), &format!("{OPENED}{script}"));
        let timeout = if name == "hangs" { SHORT } else { PATIENCE };
        let mut client = client(&*deployment, folder.path(), timeout);
        check(name, &client.invoke(&write()).await, &ends);
        if name == "floods its standard error" {
            let kept = fs::metadata(folder.path().join("clients/0.log")).unwrap().len();
            assert!((1..=1 << 20).contains(&kept), "{kept} bytes are kept");
        }
    }
    // An operation that was not sent did not happen.
    let before: [(&str, &str, Ends); 6] = [
        ("dies at once", "exit 3", Ends::Fail(ConnectionLost, "ended")),
        (
            "speaks another version",
            r#"echo '{"type":"hello","version":9}'; read open"#,
            Ends::Fail(Rejected, "version 9"),
        ),
        ("does not say hello", "echo hi; read open", Ends::Info(Unreadable, "hello")),
        (
            "cannot open",
            r#"echo '{"type":"hello","version":1}'; read open; echo '{"id":1,"type":"fail","error":"no route"}'; read op"#,
            Ends::Fail(Unreachable, "no route"),
        ),
        (
            "dies at open",
            r#"echo '{"type":"hello","version":1}'; read open; exit 3"#,
            Ends::Fail(ConnectionLost, "ended"),
        ),
        ("is silent", "sleep 1000 & wait", Ends::Fail(Timeout, "has not said hello yet")),
    ];
    for (name, script, ends) in before {
        let folder = TempDir::new().unwrap();
        let deployment = deployed(folder.path(), script);
        let timeout = if name == "is silent" { SHORT } else { PATIENCE };
        check(name, &client(&*deployment, folder.path(), timeout).invoke(&write()).await, &ends);
    }
}

/// A client of registers that are files, with the kit for shells; the register `lost` never answers.
const IN_SHELL: &str = r#"
. ./duress_client.sh
found() { cat "$node-$key" 2>/dev/null || echo null; }
do_open() { [ "$vocabulary $node $address" = "register n1 127.0.0.1:1" ] || fail "opened as $vocabulary $node $address"; }
do_read() { echo "what functions print is not an answer"; answer=$(found); }
do_write() { if [ "$key" = lost ]; then info 'no "answer"'; else echo "$value" >"$node-$key"; fi; }
do_cas() { [ "$(found)" = "$old" ] && echo "$new" >"$node-$key" || mismatch; }
run
"#;

#[tokio::test]
async fn a_client_with_the_kit_for_shells_serves_registers() {
    use CauseKind::{Precondition, Unknown};
    let folder = TempDir::new().unwrap();
    let kit = include_str!("../../../clients/shell/duress_client.sh");
    fs::write(folder.path().join("duress_client.sh"), kit).unwrap();
    let deployment = deployed(folder.path(), IN_SHELL);
    let mut client = client::<Register>(&*deployment, folder.path(), PATIENCE);
    let of = |key: &str, op: RegisterOp| Register { key: key.into(), op };
    let cas = |old: Option<i64>, new: i64| RegisterOp::Cas { old: old.map(Into::into), new: new.into() };
    for (asked, answered) in [
        (of("x", RegisterOp::Read(None)), Ok(RegisterOp::Read(None))),
        (of("x", cas(Some(1), 2)), Err(Precondition)),
        (of("x", cas(None, -2)), Ok(cas(None, -2))),
        (of("x", RegisterOp::Read(None)), Ok(RegisterOp::Read(Some((-2).into())))),
        (of("x", RegisterOp::Write(3.into())), Ok(RegisterOp::Write(3.into()))),
        (of("lost", RegisterOp::Write(3.into())), Err(Unknown)),
        (of("x", cas(Some(3), 4)), Ok(cas(Some(3), 4))),
        (of("x", RegisterOp::Read(None)), Ok(RegisterOp::Read(Some(4.into())))),
    ] {
        match (client.invoke(&asked).await, answered) {
            (Outcome::Ok(done), Ok(op)) => assert_eq!(done, Register { op, ..asked }),
            (Outcome::Fail(cause) | Outcome::Info(cause), Err(kind)) => {
                assert_eq!(cause.kind, kind, "{cause}")
            }
            (outcome, _) => panic!("{asked:?}: {outcome:?}"),
        }
    }
}

#[tokio::test]
async fn an_answer_too_many_is_held_against_the_next_operation() {
    let folder = TempDir::new().unwrap();
    // The second answer comes when the first was taken.
    let script =
        r#"read op; echo '{"id":2,"type":"ok"}'; sleep 1; echo '{"id":2,"type":"ok"}'; read op; sleep 1000"#;
    let deployment = deployed(folder.path(), &format!("{OPENED}{script}"));
    let mut client = client(&*deployment, folder.path(), PATIENCE);
    check("the first", &client.invoke(&write()).await, &Ends::Ok);
    // Sent at once, it gets the answer too many; sent later, it finds it: the same to the operation.
    let second = client.invoke(&write()).await;
    assert!(matches!(&second, Outcome::Info(cause) if cause.kind == CauseKind::Unreadable), "{second:?}");
}

#[tokio::test]
async fn a_program_serves_one_client_after_the_other_and_starts_anew_when_it_was_killed() {
    let folder = TempDir::new().unwrap();
    // Answers whatever it is asked, and says in its answer to a read how many clients it has had.
    let script = r#"
echo '{"type":"hello","version":1}'
opened=0
while read line; do
    case "$line" in *'"close"'*) continue;; esac
    id=${line#*'"id":'}; id=${id%%[,\}]*}
    case "$line" in
        *'"open"'*) opened=$((opened + 1)); echo "{\"id\":$id,\"type\":\"ok\"}";;
        *'"read"'*) echo "{\"id\":$id,\"type\":\"ok\",\"value\":$opened}";;
        *) exit 3;;
    esac
done"#;
    let deployment = deployed(folder.path(), script);
    let place: Arc<dyn duress_targets::Place> = Arc::new(OwnNetwork);
    let make = || -> Box<dyn Client<Register>> {
        let place = Arc::clone(&place);
        let seat = Seat {
            node: NodeId::new("n1"),
            place,
            timeout: PATIENCE,
            stderr: None,
            scratch: None,
            traffic: None,
        };
        deployment.clients().client(seat).unwrap()
    };
    let read = Register { key: "r0".into(), op: RegisterOp::Read(None) };
    let mut most = 0;
    // There is a spare, so that the clients take turns with two programs.
    for _ in 0..6 {
        let mut client = make();
        let Outcome::Ok(Register { op: RegisterOp::Read(Some(opened)), .. }) = client.invoke(&read).await
        else {
            panic!("it answers");
        };
        most = most.max(opened.to_string().parse().unwrap());
    }
    assert_eq!(most, 3, "six clients of two programs");
    let mut client = make();
    assert!(matches!(client.invoke(&write()).await, Outcome::Info(_)), "a write ends it");
    assert!(matches!(client.invoke(&read).await, Outcome::Ok(_)), "and another takes its place");
}

#[tokio::test]
async fn temporary_files_are_gone_with_the_program() {
    let folder = TempDir::new().unwrap();
    let script = format!(
        "touch \"$TMPDIR/left\"; {OPENED} read invoke; ls \"$TMPDIR\" >&2; echo '{{\"id\":2,\"type\":\"ok\"}}'; sleep 100"
    );
    let deployment = deployed(folder.path(), &script);
    let (scratch, log) = (folder.path().join("scratch"), folder.path().join("0.log"));
    let seat = Seat {
        node: NodeId::new("n1"),
        place: Arc::new(OwnNetwork),
        timeout: PATIENCE,
        stderr: Some(log.clone()),
        scratch: Some(scratch.clone()),
        traffic: None,
    };
    let mut client: Box<dyn Client<Register>> = deployment.clients().client(seat).unwrap();
    assert!(matches!(client.invoke(&write()).await, Outcome::Ok(_)));
    assert!(scratch.is_dir());
    drop(client);
    drop(deployment);
    assert!(!scratch.exists(), "nothing of its programs stays");
    assert!(fs::read_to_string(&log).unwrap().contains("left"), "it had a folder to write to");
}

#[tokio::test]
async fn a_program_that_cannot_be_started_leaves_no_folder() {
    let folder = TempDir::new().unwrap();
    let deployment = deployed_as(folder.path(), "./nowhere");
    let scratch = folder.path().join("scratch");
    let seat = Seat {
        node: NodeId::new("n1"),
        place: Arc::new(OwnNetwork),
        timeout: PATIENCE,
        stderr: None,
        scratch: Some(scratch.clone()),
        traffic: None,
    };
    let mut client: Box<dyn Client<Register>> = deployment.clients().client(seat).unwrap();
    check(
        "missing",
        &client.invoke(&write()).await,
        &Ends::Fail(CauseKind::Rejected, "cannot start the client program"),
    );
    assert!(!scratch.exists(), "the folder of a program that never ran stays");
}

#[tokio::test]
async fn a_missing_program_is_named() {
    let folder = TempDir::new().unwrap();
    let text = "name = \"mine\"\nport = 1\n[[role]]\nname = \"server\"\ncommand = \"true\"\n[client]\nprotocol = \"exec\"\n\
                command = \"./nowhere\"\n";
    let manifest = ManifestText { path: folder.path().join("duress.toml"), text: text.to_owned() };
    let system = Manifest::parse(&manifest).unwrap();
    let missing = system.available(&std::collections::BTreeMap::new()).unwrap_err().to_string();
    assert!(
        missing.contains("duress.toml:8: the client program ") && missing.contains("./nowhere: No such file"),
        "{missing}"
    );
}

#[tokio::test]
async fn a_transaction_is_answered_with_its_reads_filled_in() {
    let micro = |act| Micro { key: "x".into(), act };
    let asked = ListAppend { micros: [micro(Act::Read(None)), micro(Act::Write(2.into()))].into() };
    let seen = Elements([1.into()].into());
    let answered = ListAppend { micros: [micro(Act::Read(Some(seen))), micro(Act::Write(2.into()))].into() };
    for (answer, expected) in [
        (r#","value":[["r","x",[1]],["append","x",2]]"#, Ok(answered)),
        ("", Err("`value` is missing: a transaction that reads has answers")),
        (r#","value":[["r","x",[1]],["append","x",3]]"#, Err("answered another operation")),
    ] {
        let folder = TempDir::new().unwrap();
        let script = format!(
            "{OPENED}read asked; echo \"$asked\" > asked\necho '{{\"id\":2,\"type\":\"ok\"{answer}}}'; read end"
        );
        fs::write(folder.path().join("client.sh"), script).unwrap();
        let deployment = deployed_speaking(folder.path(), "sh client.sh", "list-append");
        let outcome = client::<ListAppend>(&*deployment, folder.path(), PATIENCE).invoke(&asked).await;
        match (&outcome, expected) {
            (Outcome::Ok(done), Ok(expected)) => assert_eq!(*done, expected),
            (Outcome::Info(cause), Err(text)) => assert!(cause.text.contains(text), "{cause}"),
            _ => panic!("{outcome:?}"),
        }
        let line = fs::read_to_string(folder.path().join("asked")).unwrap();
        assert!(line.contains(r#""f":"txn","#) && !line.contains("\"key\""), "{line}");
        assert!(line.contains(r#""value":[["r","x",null],["append","x",2]]"#), "{line}");
    }
}

#[tokio::test]
async fn balances_are_answered_in_any_order_and_for_each_account() {
    let accounts = ["b", "a"].map(Scalar::from);
    let balances = Balances(vec![("b".into(), Some(2)), ("a".into(), None)]);
    for (answer, expected) in [
        (r#","value":{"b":2,"a":null}"#, Ok(())),
        (r#","value":{"a":null,"b":2}"#, Ok(())),
        ("", Err("`value` is missing: accounts have balances")),
        (r#","value":{"b":2}"#, Err("answered another operation")),
        (r#","value":{"b":2,"c":null}"#, Err("answered another operation")),
        (r#","value":{"b":2,"a":"1"}"#, Err("gave an answer that cannot be read")),
    ] {
        let folder = TempDir::new().unwrap();
        let script = format!(
            "{OPENED}read asked; echo \"$asked\" > asked\necho '{{\"id\":2,\"type\":\"ok\"{answer}}}'; read end"
        );
        fs::write(folder.path().join("client.sh"), script).unwrap();
        let deployment = deployed_speaking(folder.path(), "sh client.sh", "bank");
        let asked = Bank::Read(Reading::Asked(accounts.to_vec()));
        let outcome = client::<Bank>(&*deployment, folder.path(), PATIENCE).invoke(&asked).await;
        match (&outcome, expected) {
            (Outcome::Ok(done), Ok(())) => assert_eq!(*done, Bank::Read(Reading::Answered(balances.clone()))),
            (Outcome::Info(cause), Err(text)) => assert!(cause.text.contains(text), "{cause}"),
            _ => panic!("{answer}: {outcome:?}"),
        }
        let line = fs::read_to_string(folder.path().join("asked")).unwrap();
        assert!(line.contains(r#""f":"read","#) && line.contains(r#""value":["b","a"]"#), "{line}");
    }
}

/// Returns how `asked` ends, answered `ok` with `answer`, and the line that the client program got.
async fn ends<A: Payload + Sync + 'static>(asked: &A, answer: &str) -> (Result<A, String>, String) {
    let folder = TempDir::new().unwrap();
    let script = format!(
        "{OPENED}read asked; echo \"$asked\" > asked\necho '{{\"id\":2,\"type\":\"ok\"{answer}}}'; read end"
    );
    fs::write(folder.path().join("client.sh"), script).unwrap();
    let deployment = deployed_speaking(folder.path(), "sh client.sh", A::NAME);
    let ended = match client::<A>(&*deployment, folder.path(), PATIENCE).invoke(asked).await {
        Outcome::Ok(done) => Ok(done),
        Outcome::Fail(cause) | Outcome::Info(cause) => Err(cause.to_string()),
    };
    (ended, fs::read_to_string(folder.path().join("asked")).unwrap())
}

#[tokio::test]
async fn a_job_and_a_stream_are_asked_for_as_histories_have_them() {
    let part = |counts| Part { counts, ..Part::asked("d".into(), 1) };
    let count = Job::Count { part: part(None), dies: Some(Dies::Unwritten) };
    let (ended, line) = ends(&count, r#","value":["d",1,{"a":2}]"#).await;
    assert_eq!(ended, Ok(Job::Count { part: part(Some(Counts::of("a a"))), dies: None }));
    assert!(
        line.contains(r#""f":"count","#) && line.contains(r#""value":["d",1,null,"unwritten"]"#),
        "{line}"
    );
    let gather = Job::Gather(vec![part(None)]);
    let (ended, _) = ends(&gather, r#","value":[["d",1,null]]"#).await;
    assert_eq!(ended, Ok(gather.clone()));
    for (answer, says) in
        [("", "parts have counts"), (r#","value":[["e",1,null]]"#, "answered another operation")]
    {
        let error = ends(&gather, answer).await.0.unwrap_err();
        assert!(error.contains(says), "{error}");
    }
    let load = Job::Load { document: "d".into(), text: "a a".to_owned() };
    assert_eq!(ends(&load, "").await.0, Ok(load));

    let send = |offset| Stream::Send { partition: "in-0".into(), key: "k".into(), value: 5.into(), offset };
    let (ended, line) = ends(&send(None), r#","value":["in-0","k",5,9]"#).await;
    assert_eq!(ended, Ok(send(Some(Offset(9)))));
    assert!(line.contains(r#""value":["in-0","k",5]"#), "{line}");
    let process = |outputs| Stream::Process { worker: 1, attempt: 2, then: Then::Commit, outputs };
    let answer = r#","value":{"worker":1,"attempt":2,"then":"commit","outputs":[]}"#;
    assert_eq!(ends(&process(None), answer).await.0, Ok(process(Some(Vec::new()))));
    let error = ends(&process(None), &answer.replace("\"attempt\":2", "\"attempt\":3")).await.0.unwrap_err();
    assert!(error.contains("answered another operation"), "{error}");
}

#[tokio::test]
async fn a_program_that_serves_one_client_is_not_shared() {
    let folder = TempDir::new().unwrap();
    fs::write(
        folder.path().join("client.sh"),
        OPENED.replace("\"version\":1", "\"version\":1,\"clients\":\"one\""),
    )
    .unwrap();
    for (processes, refused) in [("per-client", false), ("per-host", true)] {
        let client = format!("command = \"sh client.sh\"\nprocesses = \"{processes}\"");
        let deployment = own_program::deployed(folder.path(), &client);
        let warm = self::client::<Register>(&*deployment, folder.path(), PATIENCE).warm_up().await;
        let said = warm.err().map(|cause| cause.to_string()).unwrap_or_default();
        assert_eq!(
            said.contains("serves one client only, as its hello says"),
            refused,
            "{processes}: {said}"
        );
    }
}

#[tokio::test]
async fn a_lock_is_answered_with_a_token_which_its_release_has() {
    let lock = |op| Mutex { lock: Some("l".into()), op };
    let acquire = FencedMutex { mutex: lock(MutexOp::Acquire), fence: None, lease_ms: Some(200) };
    let release = FencedMutex { mutex: lock(MutexOp::Release), fence: Some(7), lease_ms: None };
    for (asked, said, answer, fence) in [
        (&acquire, r#""key":"l","type":"invoke","value":{"lease_ms":200}"#, r#","value":7"#, Ok(Some(7))),
        (&acquire, "", r#","value":{"fence":7}"#, Ok(Some(7))),
        (&acquire, "", "", Ok(None)),
        (&acquire, "", r#","value":"seven""#, Err("gave an answer that cannot be read")),
        (&release, r#""key":"l","type":"invoke","value":7"#, "", Ok(Some(7))),
    ] {
        let folder = TempDir::new().unwrap();
        let script = format!(
            "{OPENED}read asked; echo \"$asked\" > asked\necho '{{\"id\":2,\"type\":\"ok\"{answer}}}'; read end"
        );
        fs::write(folder.path().join("client.sh"), script).unwrap();
        let deployment = deployed_speaking(folder.path(), "sh client.sh", "fenced-mutex");
        let outcome = client::<FencedMutex>(&*deployment, folder.path(), PATIENCE).invoke(asked).await;
        match (&outcome, fence) {
            (Outcome::Ok(done), Ok(fence)) => {
                assert_eq!((&done.mutex, done.fence, done.lease_ms), (&asked.mutex, fence, None));
            }
            (Outcome::Info(cause), Err(text)) => assert!(cause.text.contains(text), "{cause}"),
            _ => panic!("{answer}: {outcome:?}"),
        }
        let line = fs::read_to_string(folder.path().join("asked")).unwrap();
        assert!(line.contains(said), "{line}");
    }
}
