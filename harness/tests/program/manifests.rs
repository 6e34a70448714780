//! Systems that a manifest describes: a folder that runs as it is, hostile clients, and mistakes.

use std::fs;
use std::path::Path;
use std::process::Command;

use duress_testing::{Missing, Need};

use crate::stage::{PATIENCE, Stage};
use crate::{Test, TestIfAllowed};

pub const TESTS_WITHOUT_CLUSTERS: &[Test] = &[
    ("a_mistake_is_named_with_its_line", a_mistake_is_named_with_its_line),
    ("every_command_that_takes_a_system_takes_a_path", every_command_that_takes_a_system_takes_a_path),
    ("nothing_is_overwritten", nothing_is_overwritten),
];

pub const TESTS: &[Test] = &[
    ("resp_is_spoken_by_name", || speaks(STORE, "register")),
    ("kafka_is_spoken_by_name", || speaks(BROKER, "queue")),
];

pub const TESTS_IF_ALLOWED: &[TestIfAllowed] = &[
    (
        "a_folder_runs_as_it_is_and_its_stale_reads_are_found",
        a_folder_runs_as_it_is_and_its_stale_reads_are_found,
    ),
    (
        "the_same_store_keeps_its_promise_when_its_primary_reads",
        the_same_store_keeps_its_promise_when_its_primary_reads,
    ),
    ("a_trial_shows_each_step_and_what_to_mend", a_trial_shows_each_step_and_what_to_mend),
    ("the_small_example_of_the_docs_comes_out_clean", the_small_example_of_the_docs_comes_out_clean),
    ("a_trial_doubts_what_reads_return", a_trial_doubts_what_reads_return),
    ("a_trial_counts_failures_whose_texts_differ", a_trial_counts_failures_whose_texts_differ),
    ("a_client_program_that_never_works_is_quoted", a_client_program_that_never_works_is_quoted),
    ("hostile_clients_cause_no_false_verdict", hostile_clients_cause_no_false_verdict),
    ("postgresql_is_serializable_as_it_promises", postgresql_is_serializable_as_it_promises),
    ("write_skew_is_found_where_postgresql_allows_it", write_skew_is_found_where_postgresql_allows_it),
    ("half_a_transfer_is_seen_at_read_committed", half_a_transfer_is_seen_at_read_committed),
    ("a_statement_that_postgresql_refuses_is_quoted", a_statement_that_postgresql_refuses_is_quoted),
];

/// Whether the machine has the Python that client programs of the tests need.
pub fn python() -> Result<(), Missing> {
    let enough =
        Command::new("python3").args(["-c", "import sys; sys.exit(sys.version_info < (3, 8))"]).output();
    match enough {
        Ok(ended) if ended.status.success() => Ok(()),
        _ => Err(Missing::new(Need::Python, "no python3 of version 3.8 or later in PATH")),
    }
}

/// A stage with a folder `toy`.
fn toy() -> Stage {
    let stage = Stage::set();
    stage.run("init toy", PATIENCE).exits(0);
    stage
}

/// Replaces `from` in the toy's manifest.
fn edit(stage: &Stage, from: &str, to: &str) {
    edit_file(stage, "toy/duress.toml", from, to);
}

fn a_mistake_is_named_with_its_line() {
    // The part of the manifest to replace, its replacement, and a part of the error.
    let mistakes = [
        ("name = \"toy\"", "nmae = \"toy\"", ":3: unknown key \"nmae\" (did you mean \"name\"?)"),
        ("nodes = 3 ", "nodes = \"three\" ", ":7: nodes is \"three\"; expected a whole number"),
        ("nodes = 3 ", "nodes = 0 ", ":7: nodes is 0; expected a whole number from 1 to 99"),
        ("nodes = 3 ", "nodes = 1 ", ":7: its roles need at least 2 nodes, not 1"),
        ("port = 7000", "port = 70000", ":8: port is 70000; expected a whole number from 1 to 65535"),
        ("tolerates = 0", "tolerates = 3", ":9: a system of 3 nodes cannot make progress without 3 of them"),
        ("tolerates = 0", "tolerates = \"half\"", "\"minority\""),
        ("[ready]", "[readdy]", "unknown key \"readdy\" (did you mean \"ready\"?)"),
        ("deadline = \"20s\"", "deadlin = \"20s\"", "unknown key \"deadlin\" (did you mean \"deadline\"?)"),
        ("deadline = \"20s\"", "deadline = \"soon\"", ":26: invalid duration \"soon\""),
        ("{option:reads}", "{option:raeds}", "no option \"raeds\" (did you mean \"reads\"?)"),
        ("{address:primary}", "{address:primry}", "no node or role \"primry\" (did you mean \"primary\"?)"),
        ("protocol = \"exec\"", "protocol = \"http\"", "only clients of protocol exec have a command"),
        ("protocol = \"exec\"", "protocol = \"exce\"", "protocol is \"exce\" (did you mean \"exec\"?)"),
        (
            "speaks = [\"register\"",
            "speaks = [\"registr\"",
            "do not speak \"registr\" (did you mean \"register\"?)",
        ),
        ("register = \"linearizable\"", "register = \"linear\"", "register is \"linear\""),
        ("register = \"linearizable\"", "register = \"at-least-once\"", "register is \"at-least-once\""),
        ("default = \"any\"", "default = \"none\"", "\"none\" is none of its values: any, primary"),
        ("[client]", "[client", ": "),
        // Keys whose templates only a node, or a run, completes.
        ("log = \"listens on\"", "http = { path = \"/{foo}\" }", ":25: unknown placeholder {foo}"),
        ("log = {", "command = \"x {foo}\"\nrole = \"r\"\n#", ":30: unknown placeholder {foo}"),
        ("\"client.py\"]", "\"{node}\"]", ":35: {node} is not known here"),
        ("speaks =", "env = { \"A=B\" = \"\" }\nspeaks =", ":36: \"A=B\" is not the name of a variable"),
        ("session = \"2s\"", "session = \"{option:reads}s\"", ":51: invalid duration \"anys\""),
        ("start = 1 ", "ready = { command = \"{foo}\" } #", ":20: unknown placeholder {foo}"),
        (
            "start = 1 ",
            "files = { \"stdout.log\" = \"\" } #",
            ":20: \"stdout.log\" is a name of duress's own",
        ),
        ("start = 1 ", "clients = \"{option:reads}\" #", ":20: clients of the role follower is \"any\""),
        ("[time-outs]", "[[prepare]]\ncommand = \"\"\n[time-outs]", ":51: a command has at least the name"),
        ("[\"any\", \"primary\"]", "[\"any\", \"any\"]", ":46: \"any\" is there twice"),
        ("[options.reads]", "[options.\"r s\"]", ":44: \"r s\" is not a name"),
    ];
    for (from, to, says) in mistakes {
        let stage = toy();
        edit(&stage, from, to);
        let run = stage.run("run ./toy --dry-run", PATIENCE).exits(254);
        let error = run.one_error();
        assert!(error.contains("toy/duress.toml:") && error.contains(says), "{from} -> {to}: {error}");
    }
    for (from, to, says) in [
        ("nodes", "nodse", ":3: unknown key \"nodse\" (did you mean \"nodes\"?)"),
        ("= 3", "= 0", ":3: nodes is 0; expected a whole number from 1 to 99"),
        ("echo", "eco", ":1: maelstrom is \"eco\" (did you mean \"echo\"?)"),
        ("./node", "", ":2: `command` names no program"),
    ] {
        let stage = Stage::set();
        let right = "maelstrom = \"echo\"\ncommand = \"./node\"\nnodes = 3\n";
        stage.write("duress.toml", right.replace(from, to));
        let run = stage.run("run . --dry-run", PATIENCE).exits(254);
        assert!(run.one_error().contains(says), "{from} -> {to}: {run}");
    }
    let stage = Stage::set();
    stage.write("duress.toml", STORE.replace("[[role]]", "[role]"));
    let single = stage.run("run . --dry-run", PATIENCE).exits(254);
    assert!(single.one_error().contains("duress.toml:5: write [[role]] in place of [role]"), "{single}");
    stage.write("duress.toml", STORE.replace("DURESS", "bad/kw"));
    let missing = stage.run("run .", PATIENCE).exits(3);
    let error = missing.one_error();
    assert!(
        error.contains("duress.toml:7: the program /") && error.contains("/bad/kw: No such file"),
        "{error}"
    );
    let nothing = stage.run("run ./nowhere", PATIENCE).exits(254);
    assert!(nothing.one_error().contains("./nowhere: cannot read the manifest"), "{nothing}");
    let name = stage.run("run nowhere", PATIENCE).exits(254);
    assert!(name.one_error().contains("known: store, broker, etcd, or the path of a manifest"), "{name}");
}

fn every_command_that_takes_a_system_takes_a_path() {
    let stage = toy();
    for target in ["./toy", "./toy/duress.toml", "toy/duress.toml"] {
        let run = stage.run(&format!("run {target} --dry-run --seed 1"), PATIENCE).exits(0);
        let plan: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!(plan["target"], "toy");
        assert_eq!(plan["nodes"].as_array().map(Vec::len), Some(3), "the manifest says so");
        assert!(plan["manifest"]["text"].as_str().unwrap().contains("[[role]]"));
    }
    let hunt = stage.run("hunt ./toy --list 3", PATIENCE).exits(0);
    assert_eq!(hunt.stdout.matches("duress run ./toy ").count(), 3, "{hunt}");
    let cell = "[[cell]]\nname = \"toy\"\ntarget = \"./toy\"\nfaults = \"kill\"\nseed = 1\nexpect = \"valid\"\noptions = { reads = \"primary\" }\n";
    stage.write("matrix.toml", cell);
    let list = stage.run("matrix matrix.toml --list", PATIENCE).exits(0);
    assert!(list.stdout.contains("run ./toy"), "{list}");
    let schema = stage.run("schema", PATIENCE).exits(0);
    let schema: serde_json::Value = serde_json::from_str(&schema.stdout).unwrap();
    assert!(schema["$defs"]["system"]["properties"]["role"].is_object());
}

fn nothing_is_overwritten() {
    let stage = toy();
    let again = stage.run("init toy", PATIENCE).exits(254);
    assert!(again.one_error().contains("has a file duress.toml already"), "{again}");
}

fn a_folder_runs_as_it_is_and_its_stale_reads_are_found() -> Result<(), Missing> {
    python()?;
    let stage = toy();
    let run = stage.run("run ./toy --time-limit 10", PATIENCE).exits(1);
    stage.assert_vanished();
    assert!(run.stdout.contains("stale-read on key"), "{run}");
    // The record is judged by the manifest that it keeps.
    fs::remove_dir_all(stage.path().join("toy")).unwrap();
    let check = stage.run("check runs/latest", PATIENCE).exits(1);
    assert!(check.stdout.contains("linearizable"), "{check}");
    stage.run("report runs/latest", PATIENCE).exits(0);
    Ok(())
}

fn the_same_store_keeps_its_promise_when_its_primary_reads() -> Result<(), Missing> {
    python()?;
    let stage = toy();
    let run = stage.run("run ./toy -o reads=primary --time-limit 10", PATIENCE);
    stage.assert_vanished();
    // On a busy machine a run may exercise too little.
    assert!(matches!(run.code(), 0 | 2), "{run}");
    Ok(())
}

fn a_trial_shows_each_step_and_what_to_mend() -> Result<(), Missing> {
    python()?;
    let stage = toy();
    let good = stage.run("try ./toy", PATIENCE);
    for step in [
        "1. started\n   n1 at 10.77.0.1: ",
        "2. ready\n",
        "3. first operations\n",
        "4. status\n   n1: leader\n   n2: follower",
    ] {
        assert!(good.stdout.contains(step), "{step}: {good}");
    }
    edit(&stage, "log = \"listens on\"\ndeadline = \"20s\"", "log = \"lissens on\"\ndeadline = \"3s\"");
    let bad = stage.run("try ./toy", PATIENCE).exits(3);
    assert!(bad.stdout.contains("to mend:") && bad.stdout.contains("\"lissens on\" is not in it"), "{bad}");
    stage.assert_vanished();
    Ok(())
}

/// A stage with the manifest and the server of `docs/manifest.md`.
fn small_example() -> Stage {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/manifest.md")).unwrap();
    let block = |language: &str| {
        let (_, after) = page.split_once(&format!("```{language}\n")).unwrap();
        after.split_once("```").unwrap().0.to_owned()
    };
    let stage = Stage::set();
    stage.write("duress.toml", block("toml"));
    stage.write("kv.py", block("python"));
    stage
}

/// Replaces `from` in a file of the stage.
pub fn edit_file(stage: &Stage, file: &str, from: &str, to: &str) {
    let text = fs::read_to_string(stage.path().join(file)).unwrap();
    assert!(text.contains(from), "{file} has {from}");
    stage.write(file, text.replacen(from, to, 1));
}

fn the_small_example_of_the_docs_comes_out_clean() -> Result<(), Missing> {
    python()?;
    let stage = small_example();
    let good = stage.run("try .", PATIENCE).exits(0);
    assert!(good.stdout.contains("nothing to mend") && good.stdout.contains("no [status]"), "{good}");
    assert!(!good.stdout.contains("cas:"), "an operation that clients lack is left out: {good}");
    let asked = stage.run("try . --weight cas=1", PATIENCE).exits(254);
    assert!(asked.one_error().contains("clients have no such operation"), "{asked}");
    for option in ["--faults kill", "--warm-up 1s", "--dry-run"] {
        let refused = stage.run(&format!("try . {option}"), PATIENCE).exits(254);
        assert!(refused.stderr.contains("is an option of `duress run`"), "{refused}");
    }
    stage.assert_vanished();
    Ok(())
}

fn a_trial_doubts_what_reads_return() -> Result<(), Missing> {
    python()?;
    let stage = small_example();
    edit_file(&stage, "duress.toml", "read = { path = \"/kv/", "read = { path = \"/kw/");
    let blind = stage.run("try .", PATIENCE).exits(3);
    assert!(blind.stdout.contains("no read saw a value, although"), "{blind}");
    let stage = small_example();
    edit_file(&stage, "kv.py", "self.answer(200, value)", "self.answer(200, b\"<b>\" + value + b\"</b>\")");
    let foreign = stage.run("try .", PATIENCE).exits(3);
    assert!(foreign.stdout.contains("a read returned \"<b>"), "{foreign}");
    stage.assert_vanished();
    Ok(())
}

fn a_trial_counts_failures_whose_texts_differ() -> Result<(), Missing> {
    python()?;
    let stage = small_example();
    edit_file(&stage, "kv.py", "import sys", "import sys, time");
    let done = "self.headers[\"Content-Length\"]))\n        self.answer(200)";
    edit_file(&stage, "kv.py", done, &done.replace("200", "500, str(time.time_ns()).encode()"));
    let refused = stage.run("try .", PATIENCE).exits(3);
    assert!(refused.stdout.contains("no write succeeded without any fault: unknown: 500 "), "{refused}");
    stage.assert_vanished();
    Ok(())
}

fn a_client_program_that_never_works_is_quoted() -> Result<(), Missing> {
    python()?;
    let stage = toy();
    edit(&stage, "\"client.py\"", "\"nope.py\"");
    let run = stage.run("try ./toy", PATIENCE).exits(3);
    let (_, mend) = run.stdout.split_once("to mend:").unwrap();
    assert!(mend.lines().nth(1).is_some_and(|first| first.contains("standard error")), "{run}");
    assert!(mend.contains("nope.py") && !mend.contains("answered no client"), "{run}");
    assert!(mend.contains("ended before its hello; it wrote: "), "{run}");
    stage.assert_vanished();
    assert!(!stage.latest().path().join("scratch").exists(), "client programs leave nothing: {run}");
    // A run of minutes ends before it begins.
    stage.write("toy/nope.py", "print('ready', flush=True)\nimport time; time.sleep(60)\n");
    let run = stage.run("run ./toy --time-limit 10m --concurrency 2", PATIENCE).exits(3);
    assert!(run.stdout.contains("did not begin with {") && run.stdout.contains("but: ready"), "{run}");
    Ok(())
}

/// A client that is hostile in a few operations of a hundred.
const HOSTILE: &str = r#"
import os, random, sys, time
import duress_client

class Hostile:
    """Wraps each operation of the honest client."""
    def __init__(self, honest):
        self.__dict__["honest"] = honest
    def __setattr__(self, name, value):
        setattr(self.honest, name, value)
    def __getattr__(self, name):
        found = getattr(self.honest, name)
        if name not in ("read", "write", "cas", "add"):
            return found
        def operation(*arguments):
            answer = found(*arguments)
            evil = random.random()
            if evil < 0.004: time.sleep(1000)
            elif evil < 0.008: os._exit(7)
            elif evil < 0.012: os.write(1, b"garbage\n")
            elif evil < 0.016: os.write(1, b'{"id":1,"type":"ok"}\n')
            elif evil < 0.020: os.write(1, os.urandom(100))
            elif evil < 0.022: os.write(1, b"x" * 1000000 + b"\n")
            elif evil < 0.030: os.write(2, b"noise\n" * 50000)
            elif evil < 0.034: raise duress_client.Info("it says that it does not know")
            elif evil < 0.038: raise RuntimeError("it fails after the fact")
            return answer
        return operation

honest_run = duress_client.run
duress_client.run = lambda make: honest_run(lambda: Hostile(make()))
exec(open("client.py").read())
"#;

fn hostile_clients_cause_no_false_verdict() -> Result<(), Missing> {
    python()?;
    let stage = toy();
    fs::write(stage.path().join("toy/hostile.py"), HOSTILE).unwrap();
    edit(&stage, "\"client.py\"", "\"hostile.py\"");
    // Without faults: whatever is wrong is the clients' doing.
    let run =
        stage.run("run ./toy -o reads=primary --faults none --time-limit 8 --floor 0", PATIENCE).exits(0);
    stage.assert_vanished();
    let record = stage.latest();
    let kinds: Vec<String> =
        record.history().iter().filter_map(|event| event["error_kind"].as_str().map(str::to_owned)).collect();
    for kind in ["unreadable", "unknown"] {
        assert!(
            kinds.iter().any(|found| found == kind),
            "the record counts what clients did ({kind}): {run}"
        );
    }
    assert!(
        run.stdout.contains(" unreadable, the first: the client program "),
        "the first line is quoted: {run}"
    );
    assert!(fs::read_dir(record.path().join("clients")).unwrap().count() > 0, "what they wrote is kept");
    Ok(())
}

/// The manifest of PostgreSQL.
const POSTGRESQL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../targets/manifests/postgresql");

/// Whether the machine has what that manifest starts.
fn postgres() -> Result<(), Missing> {
    match Path::new("/usr/lib/postgresql/15/bin/initdb").exists() {
        true => Ok(()),
        false => Err(Missing::new(Need::Postgres, "PostgreSQL 15 is not installed (Debian: postgresql-15)")),
    }
}

fn postgresql_is_serializable_as_it_promises() -> Result<(), Missing> {
    postgres()?;
    let stage = Stage::set();
    let run = stage.run(
        &format!("run {POSTGRESQL} --workload list-append --faults kill,partition,pause --time-limit 10"),
        PATIENCE,
    );
    stage.assert_vanished();
    // On a busy machine a run may exercise too little.
    assert!(matches!(run.code(), 0 | 2) && run.stdout.contains("operations in"), "{run}");
    let ok = stage.latest().history().iter().filter(|event| event["type"] == "ok").count();
    assert!(ok > 100, "{ok} transactions were committed: {run}");
    Ok(())
}

fn write_skew_is_found_where_postgresql_allows_it() -> Result<(), Missing> {
    postgres()?;
    let stage = Stage::set();
    let line = format!(
        "run {POSTGRESQL} --workload list-append -o isolation=repeatable-read --faults none --time-limit 10"
    );
    stage.run(&format!("{line} --promise serializable"), PATIENCE).exits(1);
    let check = stage.run("check runs/latest", PATIENCE).exits(1);
    assert!(check.stdout.contains("G2-item"), "{check}");
    // The same transactions keep the promise of their level.
    stage.run("check runs/latest --promise snapshot-isolation", PATIENCE).exits(0);
    stage.assert_vanished();
    Ok(())
}

fn half_a_transfer_is_seen_at_read_committed() -> Result<(), Missing> {
    postgres()?;
    let stage = Stage::set();
    let line = format!("run {POSTGRESQL} --workload bank --faults none --time-limit 5");
    // Each account is read by a statement, and has a snapshot of its own: that level promises nothing about totals.
    let run = stage.run(&format!("{line} -o isolation=read-committed"), PATIENCE).exits(2);
    assert!(run.stdout.contains("read-committed promises nothing about the total"), "{run}");
    let check = stage.run("check runs/latest --promise snapshot-isolation", PATIENCE).exits(1);
    assert!(check.stdout.contains("wrong-total") && !check.stdout.contains("negative-value"), "{check}");
    for level in ["repeatable-read", "serializable"] {
        stage.run(&format!("{line} -o isolation={level}"), PATIENCE).exits(0);
    }
    stage.assert_vanished();
    Ok(())
}

fn a_statement_that_postgresql_refuses_is_quoted() -> Result<(), Missing> {
    postgres()?;
    let stage = Stage::set();
    let manifest = fs::read_to_string(format!("{POSTGRESQL}/duress.toml")).unwrap();
    let wrong = "[client.statements]\nregister-read = \"selekt 1\"\n\n[options]";
    stage.write("duress.toml", manifest.replace("[options]", wrong));
    let run = stage.run("run .", PATIENCE).exits(3);
    stage.assert_vanished();
    let quoted = "register-read: ERROR 42601: syntax error at or near \"selekt\"";
    assert!(run.stdout.contains(quoted), "{run}");
    Ok(())
}

/// Our own store, as a system that is not known.
const STORE: &str = r#"
name = "mine"
nodes = 3
port = 6379
[[role]]
name = "node"
command = ["DURESS", "store", "--mode=raft", "--node={node}", "--listen={address}", "--peer-listen={ip}:7379", "{peers:--peer={node}={ip}:7379}", "--data={data}"]
[client]
protocol = "resp"
"#;

/// Our own broker, likewise.
const BROKER: &str = r#"
name = "mine"
nodes = 3
port = 9092
[[role]]
name = "node"
command = ["DURESS", "broker", "--node={node}", "--listen={address}", "--peer-listen={ip}:9093", "{peers:--peer={node}={ip}:9093}", "--data={data}"]
[client]
protocol = "kafka"
[promise]
queue = "at-least-once"
"#;

/// Runs a system whose clients speak a protocol that is known by name.
fn speaks(manifest: &str, workload: &str) {
    let stage = Stage::set();
    stage.write("duress.toml", manifest.replace("DURESS", env!("CARGO_BIN_EXE_duress")));
    let run = stage.run(&format!("run . --workload {workload} --faults kill --time-limit 8"), PATIENCE);
    stage.assert_vanished();
    // On a busy machine a run may exercise too little.
    assert!(matches!(run.code(), 0 | 2) && run.stdout.contains("operations in"), "{run}");
    let ok = stage.latest().history().iter().filter(|event| event["type"] == "ok").count();
    assert!(ok > 100, "{ok} operations happened: {run}");
}
