//! A client that others wrote: kcat, where it is installed.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::cluster::Cluster;

fn kcat(arguments: &[&str], input: &str) -> Option<String> {
    let child = Command::new("timeout")
        .args(["30", "kcat"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn();
    let mut child = child.ok()?;
    child.stdin.take().expect("piped").write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "kcat {arguments:?} ended with {}", output.status);
    Some(String::from_utf8(output.stdout).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn kcat_produces_and_consumes_alone_and_in_a_group() {
    if Command::new("kcat").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
        println!("skipped: kcat is not installed (Debian: apt-get install kcat)");
        return;
    }
    let cluster = Cluster::start(3, &["partitions=2"], None).await;
    let brokers = cluster.bootstrap();
    let lines: String = (0..500).map(|number| format!("{number}\n")).collect();
    let sorted = |text: &str| {
        let mut numbers: Vec<u32> = text.lines().map(|line| line.parse().unwrap()).collect();
        numbers.sort_unstable();
        numbers
    };
    kcat(&["-b", &brokers, "-t", "k", "-P", "-X", "enable.idempotence=true"], &lines).unwrap();
    let read = kcat(&["-b", &brokers, "-t", "k", "-C", "-e", "-q"], "").unwrap();
    assert_eq!(sorted(&read), sorted(&lines), "{}", cluster.logs());
    let group = ["-b", &brokers, "-G", "g", "-X", "auto.offset.reset=earliest", "-c", "500", "-q", "k"];
    assert_eq!(sorted(&kcat(&group, "").unwrap()), sorted(&lines), "{}", cluster.logs());
}
