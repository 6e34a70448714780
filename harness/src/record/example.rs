//! A run's files, small and whole, for tests.

use serde_json::json;

use super::verdict::VerdictRecord;
use crate::plan::Plan;

/// Returns a plan of the store with nodes `n1` and `n2`.
pub fn plan() -> Plan {
    let host = |name, address| json!({"name": name, "address": address});
    let plan = json!({
        "version": 2, "target": "store", "settings": {"mode": "raft", "options": {}},
        "nodes": [host("n1", "10.77.0.1"), host("n2", "10.77.0.2")], "clients": [host("c1", "10.77.0.101")],
        "workload": {"name": "register", "keys": 6, "operations_per_key": 240, "reads": 2, "writes": 1, "cas": 1},
        "concurrency": 10, "rate_hz": null, "time_limit_ms": 10_000, "operation_timeout_ms": 1000, "seed": 7,
        "faults": "kill", "fault_interval_ms": 5000, "schedule": [],
        "arena": {"port": "tun", "data": "tmpfs"},
    });
    serde_json::from_value(plan).expect("a plan")
}

/// Returns a verdict given as the fields that matter.
pub fn verdict(fields: serde_json::Value) -> VerdictRecord {
    serde_json::from_value(fields).expect("a verdict")
}

/// Returns an anomaly of `kind` whose operations were invoked and completed at these times, in nanoseconds.
pub fn anomaly(kind: &str, summary: &str, times: &[(u64, Option<u64>)]) -> serde_json::Value {
    let operations: Vec<_> = times
        .iter()
        .map(|(time, end)| {
            json!({"label": "A", "index": 0, "completion_index": end.map(|_| 1), "process": 0, "node": "n1",
                "time": time, "completion_time": end, "action": "write 1", "role": "read", "ended": "ok"})
        })
        .collect();
    json!({"kind": kind, "objects": [{"kind": "key", "name": "x"}], "summary": summary, "start": null, "operations": operations,
        "relations": [], "contradicts": null, "steps": []})
}
