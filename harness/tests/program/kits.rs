//! The kits for client programs, each with the example of `duress init`: every operation, with a process for each client and
//! with one for all clients of a host.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use duress_testing::{Missing, Need};
use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};

use crate::TestIfAllowed;
use crate::manifests::{edit_file, python};
use crate::stage::{PATIENCE, Stage, wait_until};

pub const TESTS_IF_ALLOWED: &[TestIfAllowed] = &[
    ("a_client_in_javascript_serves_every_operation", a_client_in_javascript_serves_every_operation),
    ("a_client_in_go_serves_every_operation", a_client_in_go_serves_every_operation),
    ("a_client_in_rust_serves_every_operation", a_client_in_rust_serves_every_operation),
    ("a_client_in_java_serves_every_operation", a_client_in_java_serves_every_operation),
    ("a_client_in_shell_serves_every_operation", a_client_in_shell_serves_every_operation),
];

fn a_client_in_javascript_serves_every_operation() -> Result<(), Missing> {
    let major = "process.exit(Number(process.versions.node.split('.')[0]) < 16 ? 1 : 0)";
    runs(&["node", "-e", major], Need::Javascript, "node of version 16 or later")?;
    serves_every_operation("javascript")
}

fn a_client_in_go_serves_every_operation() -> Result<(), Missing> {
    runs(&["go", "version"], Need::Languages, "go")?;
    serves_every_operation("go")
}

fn a_client_in_rust_serves_every_operation() -> Result<(), Missing> {
    runs(&["rustc", "--version"], Need::Rustc, "rustc")?;
    serves_every_operation("rust")
}

fn a_client_in_java_serves_every_operation() -> Result<(), Missing> {
    // Older than 11 it does not know the release.
    runs(&["javac", "--release", "11", "--version"], Need::Java, "javac of version 11 or later")?;
    serves_every_operation("java")
}

fn a_client_in_shell_serves_every_operation() -> Result<(), Missing> {
    runs(&["bash", "--version"], Need::Bash, "bash")?;
    serves_every_operation("shell")
}

/// Whether the command succeeds; else `what` is missing.
fn runs(command: &[&str], need: Need, what: &str) -> Result<(), Missing> {
    match Command::new(command[0]).args(&command[1..]).output() {
        Ok(ended) if ended.status.success() => Ok(()),
        _ => Err(Missing::new(need, format!("no {what} in PATH"))),
    }
}

/// Runs the toy with a client in `language`: registers by a process for each client, counters by one for each host.
fn serves_every_operation(language: &str) -> Result<(), Missing> {
    python()?;
    let stage = Stage::set();
    stage.run(&format!("init toy --client {language}"), PATIENCE).exits(0);
    // Few and patient clients: a busy machine takes long to start so many interpreters and virtual machines.
    let often = "n --weight reads=1,writes=1,cas=1";
    serves(&stage, "register", often, &["read", "write", "cas"]);
    edit_file(&stage, "toy/duress.toml", "[client]\n", "[client]\nprocesses = \"per-host\"\n");
    if language == "shell" {
        let refused = stage.run("run ./toy", PATIENCE).exits(3);
        let says =
            "serves one client only, as its hello says: take processes = \"per-host\" out of the manifest";
        assert!(refused.stdout.contains(says) && !refused.stdout.contains("no operation"), "{refused}");
        edit_file(&stage, "toy/duress.toml", "per-host", "per-client");
    } else {
        serves_side_by_side(&stage);
    }
    serves(&stage, "counter", if language == "shell" { "n" } else { "2n" }, &["read", "add"]);
    stage.assert_vanished();
    Ok(())
}

/// Runs `workload`, and fails the test unless each of `functions` happened.
fn serves(stage: &Stage, workload: &str, clients: &str, functions: &[&str]) {
    let line = format!(
        "run ./toy -o reads=primary --workload {workload} --faults kill --time-limit 6 --floor 0 --concurrency {clients} --timeout 3s"
    );
    stage.run(&line, PATIENCE).exits(0);
    for function in functions {
        let done = |event: &Value| event["type"] == "ok" && event["f"] == *function;
        // How many there are depends on the machine.
        assert!(stage.latest().history().iter().any(done), "{workload}: {function}");
    }
}

/// Asks the client program of the toy by hand: a client that waits for its node keeps no other client waiting.
fn serves_side_by_side(stage: &Stage) {
    let toy = stage.path().join("toy");
    let manifest: toml::Table = fs::read_to_string(toy.join("duress.toml")).unwrap().parse().unwrap();
    let words = manifest["client"]["command"].as_array().unwrap().iter().map(|word| word.as_str().unwrap());
    let words: Vec<&str> = words.collect();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    // Ends with the test program.
    std::thread::spawn(move || listener.incoming().for_each(|client| serve(client.unwrap())));

    let out = stage.path().join("answers");
    let mut command = stage.command(Path::new(words[0]));
    command.args(&words[1..]).current_dir(&toy).stdin(Stdio::piped()).stdout(File::create(&out).unwrap());
    let mut program = command.spawn().unwrap();
    let answer = |client: u64, id: u64| {
        let written = fs::read_to_string(&out).unwrap();
        let lines = written.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.into_iter().find(|line| line["client"] == client && line["id"] == id)
    };
    let input = program.stdin.as_mut().unwrap();
    for client in [1, 2] {
        let open = json!({
            "type": "open", "client": client, "id": client, "version": 1, "vocabulary": "register",
            "node": "n1", "address": address, "nodes": {"n1": address}, "timeout_ms": 60_000,
        });
        writeln!(input, "{open}").unwrap();
    }
    wait_until("both clients are open", PATIENCE, || answer(1, 1).is_some() && answer(2, 2).is_some());
    for (client, key) in [(1, SILENT), (2, "r0")] {
        let read = json!({"type": "invoke", "client": client, "id": client + 2, "f": "read", "key": key, "value": null});
        writeln!(input, "{read}").unwrap();
    }
    wait_until("the second client is answered", PATIENCE, || answer(2, 4).is_some());
    assert_eq!(answer(2, 4), Some(json!({"type": "ok", "client": 2, "id": 4, "value": 7})));
    assert_eq!(answer(1, 3), None);
    // Also what it started, as `go run` does.
    for member in stage.members() {
        kill(member, Signal::SIGKILL).unwrap();
    }
    program.wait().unwrap();
}

/// The key that a node never answers about.
const SILENT: &str = "silent";

/// Answers a client of the toy store.
fn serve(mut client: TcpStream) {
    let lines = BufReader::new(client.try_clone().unwrap()).lines();
    std::thread::spawn(move || {
        for _ in lines.map_while(Result::ok).filter(|line| !line.contains(SILENT)) {
            writeln!(client, "{{\"result\": \"ok\", \"value\": 7}}").unwrap();
        }
    });
}
