//! The text of `INFO`: sections of `key:value` lines, as Redis writes them.

use std::fmt::Write;

use super::reply::RespReply;
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
    line("redis_mode:", &status.redis_mode());
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
    line("# Cluster", &"");
    line("cluster_enabled:", &u8::from(status.is_cluster()));
    line("", &"");
    line("# Keyspace", &"");
    line("db0:", &format_args!("keys={},expires=0,avg_ttl=0", status.keys));
    text
}

/// Returns where commands have their keys, as `COMMAND` does: name, arity, flags, and the places of the first and the last key and
/// the step between keys. Clients that route by slots need it.
pub fn commands() -> RespReply {
    const COMMANDS: [(&str, i64, &str, i64, i64); 25] = [
        ("get", 2, "readonly", 1, 1),
        ("mget", -2, "readonly", 1, -1),
        ("set", -3, "write", 1, 1),
        ("incr", 2, "write", 1, 1),
        ("decr", 2, "write", 1, 1),
        ("incrby", 3, "write", 1, 1),
        ("rpush", -3, "write", 1, 1),
        ("lrange", 4, "readonly", 1, 1),
        ("llen", 2, "readonly", 1, 1),
        ("del", -2, "write", 1, -1),
        ("unlink", -2, "write", 1, -1),
        ("exists", -2, "readonly", 1, -1),
        ("watch", -2, "noscript", 1, -1),
        ("unwatch", 1, "noscript", 0, 0),
        ("multi", 1, "noscript", 0, 0),
        ("exec", 1, "noscript", 0, 0),
        ("discard", 1, "noscript", 0, 0),
        ("dbsize", 1, "readonly", 0, 0),
        ("scan", -2, "readonly", 0, 0),
        ("ping", -1, "fast", 0, 0),
        ("echo", 2, "fast", 0, 0),
        ("hello", -1, "fast", 0, 0),
        ("info", -1, "readonly", 0, 0),
        ("cluster", -2, "readonly", 0, 0),
        ("command", -1, "readonly", 0, 0),
    ];
    let row = |(name, arity, flag, first, last): (&'static str, i64, &'static str, i64, i64)| {
        RespReply::Array(vec![
            RespReply::Bulk(name.into()),
            RespReply::Integer(arity),
            RespReply::Array(vec![RespReply::Status(flag)]),
            RespReply::Integer(first),
            RespReply::Integer(last),
            RespReply::Integer(first.signum()),
        ])
    };
    RespReply::Array(COMMANDS.into_iter().map(row).collect())
}
