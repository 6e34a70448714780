//! `duress serve`: its answers, its refusals, and its end.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::sys::signal::Signal;

use serde_json::json;

use crate::Test;
use crate::stage::{PATIENCE, Stage, Started, wait_until};

pub const TESTS: &[Test] = &[
    ("runs_are_listed_filtered_and_compared", listed),
    ("nothing_outside_of_the_folder_is_answered", refused),
    ("a_run_that_goes_on_is_followed_until_its_verdict", followed),
    ("a_folder_that_is_none_is_said_in_a_line", no_folder),
];

/// A server, and where it listens.
struct Server {
    started: Started,
    port: u16,
}

fn serve(stage: &Stage) -> Server {
    let started = stage.start(stage.duress("serve runs --port 0"));
    let port = |said: &str| said.split("127.0.0.1:").nth(1)?.split('/').next()?.parse::<u16>().ok();
    wait_until("it says where it is", PATIENCE, || port(&started.stderr()).is_some());
    let port = port(&started.stderr()).unwrap();
    Server { started, port }
}

impl Server {
    fn open(&self, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }

    /// Returns the raw answer to a request for `path`.
    fn get(&self, path: &str) -> String {
        self.ask(&format!(
            "GET {path} HTTP/1.1\r\nHost: localhost:{}\r\nConnection: close\r\n\r\n",
            self.port
        ))
    }

    fn ask(&self, request: &str) -> String {
        let mut answer = Vec::new();
        self.open(request).read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Ends as by Ctrl-C, even while a browser listens.
    fn end(self) {
        self.started.signal(Signal::SIGINT);
        self.started.wait(PATIENCE).exits(0);
    }
}

fn make_run(stage: &Stage, name: &str, seed: u64, verdict: Option<&str>) {
    let folder = stage.path().join("runs").join(name);
    fs::create_dir_all(&folder).unwrap();
    let host = |name: &str, address: &str| json!({"name": name, "address": address});
    let plan = json!({
        "version": 2, "target": "store", "settings": {"mode": "raft", "options": {}},
        "nodes": [host("n1", "10.77.0.1")], "clients": [host("c1", "10.77.0.101")],
        "workload": {"name": "register", "keys": 6, "operations_per_key": 240, "reads": 2, "writes": 1, "cas": 1},
        "concurrency": 3, "rate_hz": null, "time_limit_ms": 10_000, "operation_timeout_ms": 1000, "seed": seed,
        "faults": "kill", "fault_interval_ms": 3000, "schedule": [],
        "arena": {"port": "tun", "data": "tmpfs"},
    });
    let plan = format!("{plan:#}");
    fs::write(folder.join("plan.json"), plan).unwrap();
    if let Some(verdict) = verdict {
        fs::write(folder.join("verdict.json"), verdict).unwrap();
    }
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

fn listed() {
    let stage = Stage::set();
    make_run(&stage, "store-raft/1", 41, Some(r#"{"verdict": "valid"}"#));
    let anomaly = json!({
        "kind": "stale-read", "objects": [], "summary": "</script><b>B saw 1", "start": null, "operations": [],
        "relations": [], "contradicts": null, "steps": [],
    });
    let invalid = json!({"version": 2, "verdict": "invalid", "anomalies": [anomaly]}).to_string();
    make_run(&stage, "store-raft/2", 42, Some(&invalid));
    let server = serve(&stage);
    let all = server.get("/");
    assert!(
        all.contains("store-raft/1") && all.contains("store-raft/2") && all.contains("2 of 2 runs"),
        "{all}"
    );
    let some = server.get("/?text=stale&verdict=invalid");
    assert!(some.contains("1 of 2 runs") && some.contains("store-raft/2"), "{some}");
    let both = server.get("/compare?a=store-raft/1&b=store-raft/2");
    assert_eq!(status(&both), "200", "{both}");
    assert!(both.contains("stale-read") && both.contains("41") && both.contains("42"), "{both}");
    assert!(!both.contains("<b>B saw"), "{both}");
    let one = server.get("/run/store-raft/2");
    assert!(one.contains("/file/store-raft/2/verdict.json"), "{one}");
    let file = server.get("/file/store-raft/2/plan.json");
    assert!(file.contains("application/json") && file.contains("\"seed\": 42"), "{file}");
    server.end();
    stage.assert_vanished();
}

fn refused() {
    let stage = Stage::set();
    make_run(&stage, "store-raft/1", 1, None);
    stage.write("secret", "the secret");
    let run = stage.path().join("runs/store-raft/1");
    symlink(stage.path().join("secret"), run.join("link.txt")).unwrap();
    symlink("/etc", run.join("nodes")).unwrap();
    let server = serve(&stage);
    for path in [
        "/file/../secret",
        "/file/store-raft/../../secret",
        "/file/%2e%2e/secret",
        "/file/..%2fsecret",
        "/file/store-raft/1/link.txt",
        "/file/store-raft/1/nodes/passwd",
        "/file//etc/passwd",
        "/file/%2fetc%2fpasswd",
        "/file/store-raft/1/%00",
        "/run/..",
        "/live/..",
        "/matrix/../secret",
        "/compare?a=..&b=/etc",
        "/file/store-raft/1",
        "/nothing",
    ] {
        let answer = server.get(path);
        assert!(["404", "400"].contains(&status(&answer)), "{path}: {answer}");
        assert!(!answer.contains("the secret") && !answer.contains("root:"), "{path}: {answer}");
    }
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let request = format!(
            "{method} / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        assert_eq!(status(&server.ask(&request)), "405", "{method}");
    }
    let elsewhere = "GET / HTTP/1.1\r\nHost: rebound.example\r\nConnection: close\r\n\r\n";
    assert_eq!(status(&server.ask(elsewhere)), "403");
    server.end();
}

fn followed() {
    let stage = Stage::set();
    make_run(&stage, "store-raft/1", 1, None);
    let folder = stage.path().join("runs/store-raft/1");
    let server = serve(&stage);
    let page = server.get("/run/store-raft/1");
    assert!(page.contains("running") && page.contains("id=\"live\""), "{page}");
    // A browser that listens all the time, which the end must not wait for.
    let _listening =
        server.open(&format!("GET /live/store-raft/1 HTTP/1.1\r\nHost: localhost:{}\r\n\r\n", server.port));
    let request = format!(
        "GET /live/store-raft/1 HTTP/1.1\r\nHost: localhost:{}\r\nConnection: close\r\n\r\n",
        server.port
    );
    let mut stream = server.open(&request);
    let mut heard = String::new();
    let mut until = |wanted: &str| {
        let mut part = [0; 4096];
        while !heard.contains(wanted) {
            let read = stream.read(&mut part).unwrap();
            assert!(read > 0, "it ended before {wanted:?}: {heard}");
            heard += &String::from_utf8_lossy(&part[..read]);
        }
    };
    until("\"ok\":0");
    append(
        &folder,
        "{\"time\":1,\"process\":1,\"type\":\"invoke\",\"f\":\"read\"}\n{\"time\":2,\"process\":1,\"type\":\"ok\",\"f\":\"read\"}\n",
    );
    until("\"ok\":1");
    fs::write(folder.join("verdict.json"), r#"{"verdict": "valid"}"#).unwrap();
    until("\"verdict\":\"valid\"");
    // No event follows the verdict.
    stream.read_to_end(&mut Vec::new()).unwrap();
    fs::remove_file(folder.join("verdict.json")).unwrap();
    let _still_listening = server.open(&request);
    server.end();
    stage.assert_vanished();
}

fn append(folder: &Path, text: &str) {
    let mut file = OpenOptions::new().create(true).append(true).open(folder.join("history.jsonl")).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

fn no_folder() {
    let stage = Stage::set();
    let finished = stage.run("serve nowhere", PATIENCE).exits(254);
    assert!(finished.one_error().contains("nowhere"));
}
