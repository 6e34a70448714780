//! redis-cli and redis-benchmark, where they are installed.

use std::process::Command;

use crate::cluster::Cluster;

/// The output of a tool, or `None`, with a printed reason, if it is not installed.
fn run(tool: &str, port: u16, arguments: &[&str]) -> Option<String> {
    match Command::new(tool).args(["-p", &port.to_string()]).args(arguments).output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success(), "{tool}: {said}{}", String::from_utf8_lossy(&output.stderr));
            Some(said)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("skipped: {tool} is not installed");
            None
        }
        Err(error) => panic!("{tool}: {error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_cli_speaks_both_versions() {
    let cluster = Cluster::start("raft", 3, &[], None).await;
    cluster.until(2, "SET warm up", |reply| reply == "OK").await;
    for version in ["-2", "-3"] {
        let Some(said) = run("redis-cli", cluster.port(2), &[version, "SET", "k", "a value"]) else { return };
        assert_eq!(said.trim(), "OK");
        assert_eq!(run("redis-cli", cluster.port(1), &[version, "GET", "k"]).unwrap().trim(), "a value");
        assert_eq!(
            run("redis-cli", cluster.port(3), &[version, "SET", "k", "x", "IFEQ", "y"]).unwrap().trim(),
            ""
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_benchmark_runs_pipelined_against_any_mode() {
    for mode in ["raft", "primary"] {
        let cluster = Cluster::start(mode, 3, &[], None).await;
        cluster.until(2, "SET warm up", |reply| reply == "OK").await;
        let arguments = ["-t", "ping,set,get,incr", "-n", "2000", "-c", "10", "-P", "4", "--csv"];
        let Some(said) = run("redis-benchmark", cluster.port(2), &arguments) else { return };
        for test in ["PING_INLINE", "PING_MBULK", "SET", "GET", "INCR"] {
            assert!(said.contains(&format!("\"{test}\"")), "{mode}: {said}");
        }
        let counted = cluster.client(1).await.ask("GET counter:__rand_int__").await.unwrap();
        assert_eq!(counted, "2000", "{mode}: every INCR was executed once");
    }
}
