//! A run of any size, made up: its history goes through the real recorder.
//!
//! Clients write and read registers, each read seeing the last value, except one that does not. Nodes are killed in
//! turn, and their logs and values say things that try to break out of a page.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use duress::report::html;
use duress_history::nemesis::{Evidence, FaultName, NodeProcesses};
use duress_history::register::{Register, RegisterOp};
use duress_history::traffic::recorder::{Buffering, TrafficRecorder};
use duress_history::traffic::{Content, End, Seen};
use duress_history::{NemesisAct, NodeId, OpError, OpType, Process, Recorder, Scalar, traffic};
use serde_json::{Value, json};

/// A text that tries to break out of a page.
pub const HOSTILE: &str =
    "</script><script>window.broken=1</script><img src=x onerror=window.broken=1><!-- \"'&";
/// Nodes of the cluster.
const NODES: u64 = 5;
/// Processes at a time.
const PROCESSES: u64 = 25;
/// When it began, in nanoseconds since 1970.
const WALL: u64 = 1_795_528_025_000_000_000;
/// Nanoseconds from one invocation to the next.
const STEP: u64 = 60_000;
/// A node is killed every so many nanoseconds, for a third of that time.
const FAULT_PERIOD: u64 = 6_000_000_000;

fn node(process: u64) -> NodeId {
    NodeId::new(format!("n{}", process % NODES + 1))
}

/// Returns the node that fault `id` kills.
fn struck(id: u32) -> NodeId {
    node(u64::from(id))
}

fn name(id: u32) -> FaultName {
    FaultName { id, family: "kill".to_owned(), what: format!("kill {}", struck(id)) }
}

/// Writes a run of `operations` operations into `folder`, and its report.
pub fn run(folder: &Path, operations: u64) {
    let lasted = operations * STEP;
    let faults: Vec<(u32, u64, u64)> = (1..)
        .map(|id| (id, u64::from(id) * FAULT_PERIOD, u64::from(id) * FAULT_PERIOD + FAULT_PERIOD / 3))
        .take_while(|(_, _, stop)| *stop < lasted)
        .collect();
    let stale = history(&folder.join("history.jsonl"), operations, &faults);
    let schedule: Vec<Value> = faults
        .iter()
        .map(|(id, start, stop)| {
            let targets = json!({"nodes": [struck(*id)]});
            json!({"id": id, "start_ms": start / 1_000_000, "stop_ms": stop / 1_000_000, "kind": "kill", "targets": targets})
        })
        .collect();
    let hosts: Vec<Value> =
        (1..=NODES).map(|at| json!({"name": format!("n{at}"), "address": format!("10.77.0.{at}")})).collect();
    let plan = json!({
        "version": 2, "target": "store", "settings": {"mode": "raft", "options": {"reads": "index"}}, "nodes": hosts,
        "clients": [{"name": "c1", "address": "10.77.0.101"}],
        "workload": {"name": "register", "keys": 6, "operations_per_key": 240, "reads": 2, "writes": 1, "cas": 1}, "rate_hz": null, "concurrency": PROCESSES, "time_limit_ms": lasted / 1_000_000,
        "operation_timeout_ms": 1000, "seed": 7, "faults": "kill", "fault_interval_ms": 6000,
        "schedule": schedule, "arena": {"port": "tun", "data": "tmpfs"},
    });
    let told: Vec<Value> = faults
        .iter()
        .map(|(id, start, stop)| {
            json!({"id": id, "what": name(*id).what, "start_ms": start / 1_000_000,
                "stop_ms": stop / 1_000_000, "took_hold": "processes gone", "healed": HOSTILE})
        })
        .collect();
    let verdict = json!({
        "version": 2, "verdict": "invalid", "subject": "store (raft), made up", "promise": "linearizable", "anomalies": [stale], "faults": told,
        "statistics": {"counts": {"ok": operations, "fail": 0, "info": 0}, "by_f": {}, "by_node": {}, "reasons": [], "lasted_ms": lasted / 1_000_000, "first_ok_ms": 0}, "notes": [HOSTILE],
    });
    fs::write(folder.join("plan.json"), plan.to_string()).unwrap();
    fs::write(folder.join("verdict.json"), verdict.to_string()).unwrap();
    nodes(folder, lasted);
    messages(folder, &verdict["anomalies"][0]);
    html::write(folder).unwrap();
}

/// Writes the history; answers the anomaly in it.
fn history(path: &Path, operations: u64, faults: &[(u32, u64, u64)]) -> Value {
    let mut recorder = Recorder::create(path).unwrap();
    // Each process's operation in progress: its end, its type, and its answer.
    let mut under_way: Vec<Option<(u64, OpType, Register)>> = (0..PROCESSES).map(|_| None).collect();
    let mut numbers: Vec<u64> = (0..PROCESSES).collect();
    let mut next_process = PROCESSES;
    let mut last = [0_i64; 8];
    let mut random = 88_172_645_463_325_252_u64;
    let mut draw = move |below: u64| {
        // Marsaglia's xorshift: the same history every time.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    let mut told =
        faults.iter().flat_map(|(id, start, stop)| [(*start, *id, true), (*stop, *id, false)]).peekable();
    let mut anomaly = Value::Null;
    for at in 0..operations {
        let now = at * STEP;
        while let Some((time, id, starts)) = told.next_if(|(time, ..)| *time <= now) {
            let fault = name(id);
            let processes = vec![NodeProcesses { node: struck(id), processes: 1 }];
            let act = if starts {
                let evidence = Evidence::Killed { nodes: processes };
                NemesisAct::Started {
                    fault,
                    leader: None,
                    away: Vec::new(),
                    since_us: time / 1000,
                    late_us: 0,
                    evidence,
                }
            } else {
                NemesisAct::Stopped { fault, evidence: Evidence::Started { nodes: processes } }
            };
            recorder.record_nemesis(time, act).unwrap();
        }
        let slot = (at % PROCESSES) as usize;
        if let Some((end, how, answer)) = under_way[slot].take() {
            let process = numbers[slot];
            let error = (how != OpType::Ok).then(|| OpError {
                kind: Some("timeout".into()),
                text: format!("timeout: {HOSTILE}"),
                saw: None,
            });
            recorder
                .record(end.min(now), Process(process), how, answer, Some(node(slot as u64)), error)
                .unwrap();
            if how == OpType::Info {
                numbers[slot] = next_process;
                next_process += 1;
            }
        }
        let key = draw(8);
        let down = faults.iter().any(|(id, start, stop)| {
            *start <= now && now < *stop && u64::from(*id) % NODES == slot as u64 % NODES
        });
        let is_write = draw(3) == 0;
        let is_stale = at == operations * 2 / 3;
        let value = if is_stale { last[key as usize] - 1 } else { last[key as usize] };
        let (asked, answered) = if is_write && !is_stale {
            last[key as usize] = at as i64;
            let op = RegisterOp::Write(Scalar::Int(at as i64));
            (op.clone(), op)
        } else {
            (RegisterOp::Read(None), RegisterOp::Read(Some(Scalar::Int(value))))
        };
        let of = |op| Register { key: Scalar::from(format!("r{key}").as_str()), op };
        let how = match draw(50) {
            _ if is_stale => OpType::Ok,
            0 | 1 if down => OpType::Info,
            0..30 if down => OpType::Fail,
            _ => OpType::Ok,
        };
        let index = recorder
            .record(now, Process(numbers[slot]), OpType::Invoke, of(asked), Some(node(slot as u64)), None)
            .unwrap()
            .index;
        let took = STEP + draw(STEP * (PROCESSES - 2));
        under_way[slot] = Some((now + took, how, of(answered)));
        if is_stale {
            let operation = |label, index, time, end, action: String| {
                json!({"label": label, "index": index, "process": numbers[slot], "node": node(slot as u64), "time": time,
                    "completion_time": end, "action": action, "role": "part", "ended": "ok"})
            };
            anomaly = json!({
                "kind": "stale-read", "objects": [{"kind": "key", "name": format!("r{key}")}], "summary": format!("B (read -> {value}) saw {HOSTILE}"), "start": "any",
                "operations": [
                    operation("A", index - 30, now - STEP * 40, now - STEP * 20, format!("write {}", last[key as usize])),
                    operation("B", index, now, now + took, format!("read -> {value}")),
                ],
                "contradicts": "B",
                "relations": [{"from": "A", "to": "B", "kind": "realtime", "because": HOSTILE}],
                "steps": [{"sentence": format!("A had ended before B began. {HOSTILE}"), "labels": ["A", "B"]}],
            });
        }
    }
    recorder.close().unwrap();
    anomaly
}

/// Writes the messages that carry the anomaly's operations, and those by which their node tells the others, one in vain.
fn messages(folder: &Path, anomaly: &Value) {
    let file = |of: String| TrafficRecorder::new(folder.join(of).join(traffic::FILE), Buffering::Full);
    let mut files: Vec<TrafficRecorder> = (1..=NODES).map(|at| file(format!("nodes/n{at}"))).collect();
    let mut clients = file("clients".to_owned());
    let content = |kind: &str, [msg_id, in_reply_to]: [Option<u64>; 2]| {
        let body = json!({"key": 12, "value": HOSTILE}).to_string();
        Some(Content { kind: kind.to_owned(), msg_id, in_reply_to, body, bytes: 100 })
    };
    for (number, operation) in (1..).zip(anomaly["operations"].as_array().unwrap()) {
        let at = node(operation["node"].as_str().unwrap()[1..].parse::<u64>().unwrap() - 1);
        let process = Some(Process(operation["process"].as_u64().unwrap()));
        let (begin, end) =
            (operation["time"].as_u64().unwrap(), operation["completion_time"].as_u64().unwrap());
        let step = (end - begin) / 10;
        let mut see = |of: Option<&NodeId>, after, end, (from, to): (&str, &str), content| {
            let recorder = match of {
                Some(node) => &mut files[node.as_str()[1..].parse::<usize>().unwrap() - 1],
                None => &mut clients,
            };
            let process = process.filter(|_| of.is_none());
            let time = WALL + begin + after * step;
            recorder.record(&Seen { time, end, number, from: from.into(), to: to.into(), content, process });
        };
        let name = at.as_str();
        see(None, 1, End::Sent, ("c1", name), content("write", [Some(number), None]));
        see(Some(&at), 2, End::Arrived, ("c1", name), None);
        for (after, other) in (3..).zip((0..NODES).map(node).filter(|other| *other != at).take(2)) {
            see(Some(&at), after, End::Sent, (name, other.as_str()), content("replicate", [None, None]));
            if number == 1 {
                see(Some(&other), 5, End::Arrived, (name, other.as_str()), None);
            }
        }
        see(Some(&at), 8, End::Sent, (name, "c1"), content("write_ok", [None, Some(number)]));
        see(None, 9, End::Arrived, (name, "c1"), None);
    }
    // They have recorded, and got nothing later.
    for (at, recorder) in (1..).zip(&mut files) {
        let (from, to) = ("lin-kv".into(), format!("n{at}").into());
        let content = content("read_ok", [None, Some(99)]);
        recorder.record(&Seen {
            time: WALL,
            end: End::Arrived,
            number: 99,
            from,
            to,
            content,
            process: None,
        });
    }
}

/// Writes the nodes' output, and the observations of them.
fn nodes(folder: &Path, lasted: u64) {
    let mut observations = BufWriter::new(File::create(folder.join("observations.jsonl")).unwrap());
    for time in (0..lasted).step_by(250_000_000) {
        for at in 1..=NODES {
            let role = if time / 20_000_000_000 % NODES == at - 1 { "leader" } else { "follower" };
            let line = json!({"time": time, "wall_ns": WALL + time, "node": format!("n{at}"), "role": role, "term": 1 + time / 20_000_000_000,
                "clock_offset_ns": if at == 2 { 1_000_000_000_i64 } else { 0 }, "stdout": 0, "stderr": 0});
            writeln!(observations, "{line}").unwrap();
        }
    }
    for at in 1..=NODES {
        let home = folder.join(format!("nodes/n{at}"));
        fs::create_dir_all(&home).unwrap();
        let lines: String = (0..400).map(|line| format!("line {line} of node n{at}: {HOSTILE}\n")).collect();
        fs::write(home.join("stderr.log"), lines).unwrap();
    }
}
