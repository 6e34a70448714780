//! redis-cli and redis-benchmark against real nodes of the store. Without them the tests are ignored, with the reason.

#[allow(dead_code, reason = "these tests need less than the others do")]
#[path = "../store/client.rs"]
mod client;
#[allow(dead_code, reason = "these tests need less than the others do")]
#[path = "../store/cluster.rs"]
mod cluster;
#[allow(dead_code, reason = "these tests need less than the others do")]
#[path = "../store/proxy.rs"]
mod proxy;

use std::io::Write;
use std::process::{Command, ExitCode, Stdio};

use cluster::Cluster;
use duress_testing::{Missing, Need, trial};
use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    // A node of a cluster: these tests start their nodes by running this program again.
    if let Ok(arguments) = std::env::var(cluster::NODE_ARGUMENTS) {
        cluster::run_node(&arguments);
        return ExitCode::SUCCESS;
    }
    let trials = vec![
        with("redis-cli", "redis_cli_speaks_both_versions", redis_cli_speaks_both_versions),
        with(
            "redis-cli",
            "redis_cli_uses_a_sharded_node_as_a_cluster",
            redis_cli_uses_a_sharded_node_as_a_cluster,
        ),
        with(
            "redis-benchmark",
            "redis_benchmark_runs_pipelined_against_any_mode",
            redis_benchmark_runs_pipelined_against_any_mode,
        ),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Returns a test that needs `tool`.
fn with<F: Future<Output = ()> + 'static>(tool: &'static str, name: &str, test: fn() -> F) -> Trial {
    trial(name, move || {
        if Command::new(tool).arg("--version").stdout(Stdio::null()).status().is_err() {
            let reason = format!("{tool} is not installed (Debian: apt-get install redis-tools)");
            return Err(Missing::new(Need::RedisTools, reason));
        }
        tokio::runtime::Runtime::new().expect("a runtime").block_on(test());
        Ok(())
    })
}

/// Runs a tool and returns its output.
fn run(tool: &str, port: u16, arguments: &[&str]) -> String {
    run_with(tool, port, arguments, "")
}

/// Runs a tool with this input and returns its output.
fn run_with(tool: &str, port: u16, arguments: &[&str], input: &str) -> String {
    let mut child = Command::new(tool)
        .args(["-p", &port.to_string()])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it is installed");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads its input");
    let output = child.wait_with_output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{tool}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

async fn redis_cli_speaks_both_versions() {
    let cluster = Cluster::start("raft", 3, &[], None).await;
    cluster.until(2, "SET warm up", |reply| reply == "OK").await;
    for version in ["-2", "-3"] {
        let said = run("redis-cli", cluster.port(2), &[version, "SET", "k", "a value"]);
        assert_eq!(said.trim(), "OK");
        assert_eq!(run("redis-cli", cluster.port(1), &[version, "GET", "k"]).trim(), "a value");
        assert_eq!(run("redis-cli", cluster.port(3), &[version, "SET", "k", "x", "IFEQ", "y"]).trim(), "");
        let list = format!("l{version}");
        let transaction = format!("MULTI\nRPUSH {list} a b\nLRANGE {list} 0 -1\nCONFIG GET save\nEXEC\n");
        let said = run_with("redis-cli", cluster.port(3), &[version], &transaction);
        let lines: Vec<&str> = said.split_whitespace().collect();
        assert_eq!(lines, ["OK", "QUEUED", "QUEUED", "QUEUED", "2", "a", "b", "save"], "{version}: {said}");
    }
}

async fn redis_cli_uses_a_sharded_node_as_a_cluster() {
    let cluster = Cluster::start("sharded", 3, &["rebalance_every_ms=20"], None).await;
    cluster.until(2, "DBSIZE", |reply| reply == "(integer) 0").await;
    let keys: Vec<String> = (0..20).map(|number| format!("k{number}")).collect();
    let input: String = keys.iter().map(|key| format!("SET {key} v\nGET {key}\n")).collect();
    let said = run_with("redis-cli", cluster.port(2), &["-c"], &input);
    assert_eq!(said.split_whitespace().collect::<Vec<_>>(), ["OK", "v"].repeat(20), "{said}");
    let said = run("redis-cli", cluster.port(3), &["-c", "--scan"]);
    let mut found: Vec<&str> = said.split_whitespace().collect();
    found.sort_unstable();
    let mut expected = keys.clone();
    expected.sort_unstable();
    assert_eq!(found, expected);
    let said = run(
        "redis-cli",
        cluster.port(1),
        &["--cluster", "call", &format!("127.0.0.1:{}", cluster.port(1)), "PING"],
    );
    assert_eq!(said.matches("PONG").count(), 3, "{said}");
}

async fn redis_benchmark_runs_pipelined_against_any_mode() {
    for mode in ["raft", "primary", "sharded"] {
        let cluster = Cluster::start(mode, 3, &[], None).await;
        cluster.until(2, "SET warm up", |reply| reply == "OK").await;
        let arguments = ["-t", "ping,set,get,incr,rpush", "-n", "2000", "-c", "10", "-P", "4", "--csv"];
        let said = run("redis-benchmark", cluster.port(2), &arguments);
        for test in ["PING_INLINE", "PING_MBULK", "SET", "GET", "INCR", "RPUSH"] {
            assert!(said.contains(&format!("\"{test}\"")), "{mode}: {said}");
        }
        let counted = cluster.client(1).await.ask("GET counter:__rand_int__").await.unwrap();
        assert_eq!(counted, "2000", "{mode}: every INCR was executed once");
        let counted = cluster.client(1).await.ask("LLEN mylist").await.unwrap();
        assert_eq!(counted, "(integer) 2000", "{mode}: every RPUSH was executed once");
    }
}
