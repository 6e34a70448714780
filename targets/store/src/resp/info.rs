//! The text of `INFO`: sections of `key:value` lines, as Redis writes them.

use std::fmt::Write;

use crate::config::NodeName;
use crate::node::Status;

/// Returns the text for one node.
///
/// `# Replication` always has `role` and `leader` (empty if none is known); the rest of it depends on the mode.
pub fn info(node: &NodeName, status: &Status) -> String {
    let mut text = String::new();
    let leader = status.leader.as_deref().unwrap_or("");
    let version = env!("CARGO_PKG_VERSION");
    let mut line = |key: &str, value: &dyn std::fmt::Display| {
        write!(text, "{key}{value}\r\n").expect("writing to a string cannot fail");
    };
    line("# Server", &"");
    line("redis_mode:", &"standalone");
    line("duress_version:", &version);
    line("process_id:", &std::process::id());
    line("node:", node);
    line("mode:", &status.mode);
    line("", &"");
    line("# Replication", &"");
    line("role:", &status.role);
    line("leader:", &leader);
    for (key, value) in &status.fields {
        line(&format!("{key}:"), value);
    }
    line("", &"");
    line("# Keyspace", &"");
    line("db0:", &format_args!("keys={},expires=0,avg_ttl=0", status.keys));
    text
}
