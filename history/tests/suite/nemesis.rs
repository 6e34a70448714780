//! The nemesis's actions, through the file and back.

use duress_history::nemesis::{
    Agreement, ClockAsked, ClockSeen, CommandSeen, ComparedObject, Comparison, CopySeen, CutFile, Difference,
    DiskProbe, DiskSeen, Evidence, FaultName, FlippedBit, LastingFault, LinkReturn, ListedMember,
    MembersSeen, NodeClock, NodeDisk, NodeProcesses, NodeResumed, NodeReturn, NodeShare, Occasion,
    PacketsSeen, ProcessClock, Recovery, Return, Touches, Undone, Unjudged, UnpatchedProcess,
};
use duress_history::register::Register;
use duress_history::{History, NemesisAct, NemesisEvent, NodeId, edn, jsonl};
use serde_json::{Value, json};

fn node(name: &str) -> NodeId {
    NodeId::new(name)
}

fn fault(family: &str) -> FaultName {
    FaultName { id: 3, family: family.to_owned(), what: format!("{family} leader") }
}

fn every_evidence() -> Vec<Evidence> {
    let processes = || vec![NodeProcesses { node: node("n1"), processes: 2 }];
    let clock = |offset_ns| NodeClock {
        node: node("n1"),
        clock: ClockSeen {
            asked: ClockAsked { since_ns: 9, offset_ns, drift_ppb: 0 },
            seen: vec![ProcessClock {
                pid: 7,
                delta_ns: offset_ns,
                expected_ns: offset_ns,
                uncertainty_ns: 5,
            }],
            patched_pids: vec![7, 8],
            unpatched: vec![UnpatchedProcess { pid: 9, program: "x".to_owned(), why: "an exec".to_owned() }],
        },
        away: false,
        steps: Some(4),
        reached_ns: None,
    };
    let probe = DiskProbe {
        write_errno: 5,
        fsync_errno: 0,
        fsync_took: std::time::Duration::from_millis(3),
        durable: true,
        read_errno: 0,
        reserve_errno: 28,
    };
    let packets = PacketsSeen {
        links: 4,
        met: 3,
        sent: 40,
        arrived: 31,
        fastest_us: Some(9),
        ..PacketsSeen::default()
    };
    let disk = NodeDisk {
        node: node("n2"),
        processes: 1,
        disk: vec![
            DiskSeen::Undone(Undone { bytes: 4096, ..Undone::default() }),
            DiskSeen::Touched {
                fault: Some(LastingFault::SlowFsync { delay: std::time::Duration::from_millis(2) }),
                operations: 2,
                probed: 1,
                delayed: std::time::Duration::from_micros(70),
                probe: Some(probe),
            },
            DiskSeen::Touched {
                fault: None,
                operations: 2,
                probed: 0,
                delayed: std::time::Duration::ZERO,
                probe: None,
            },
            DiskSeen::Flipped { bits: vec![FlippedBit { file: "log".to_owned(), offset: 1, bit: 7 }] },
            DiskSeen::Cut { files: vec![CutFile { file: "log".to_owned(), from: 9, to: 1 }] },
        ],
        after: Some(probe),
        probes: 4,
        others: vec![LastingFault::LyingFsync, LastingFault::WriteErrors],
    };
    let resumed = NodeResumed {
        node: node("n1"),
        processes: 2,
        stopped: 0,
        continued: 2,
        progressed: 1,
        replaced: true,
    };
    let member = ListedMember { node: node("n2"), identity: "7".to_owned(), votes: true };
    let members = MembersSeen {
        nodes: vec![node("n2")],
        before: Some(vec![member]),
        after: None,
        wiped: [(node("n2"), 3)].into(),
        started: vec![node("n2")],
        serving: vec![node("n2")],
        hindered_by: vec![4],
    };
    let commanded = |before| CommandSeen {
        node: node("n2"),
        before,
        after: !before,
        said: if before { String::new() } else { "State: T (stopped)".to_owned() },
    };
    let share = NodeShare { node: node("n2"), percent: 10, holds: 2, held_us: 180_000, ran_us: 20_000 };
    vec![
        Evidence::Cut { links: 4, probes_dropped: 4 },
        Evidence::Flapping { links: 4, cut: 0, seen_cut: 4, seen_open: 3, period_ms: 400 },
        Evidence::Joined { links: 4, probes_arrived: 3, still_cut: 1, packets_dropped: 9 },
        Evidence::Shaped { links: 4, cut: 0, touches: Touches::Some, probes: packets.clone() },
        Evidence::Unshaped { links: 4, probes_arrived: 4, still_cut: 0, packets_met: 1, after: packets },
        Evidence::ClockSet { nodes: vec![clock(500)] },
        Evidence::ClockReset { nodes: vec![clock(0)] },
        Evidence::DiskStruck { nodes: vec![disk.clone()] },
        Evidence::DiskHealed { nodes: vec![disk], started: processes() },
        Evidence::Ended { nodes: processes() },
        Evidence::Killed { nodes: processes() },
        Evidence::Started { nodes: processes() },
        Evidence::Paused { nodes: processes() },
        Evidence::Resumed { nodes: vec![resumed.clone()] },
        Evidence::Throttled { nodes: vec![share.clone()] },
        Evidence::Unthrottled { nodes: vec![share], resumed: vec![resumed] },
        Evidence::Removed(members.clone()),
        Evidence::Added(members),
        Evidence::Commanded { nodes: vec![commanded(false)] },
        Evidence::Withdrawn { nodes: vec![commanded(true)] },
    ]
}

fn every_act() -> Vec<NemesisAct> {
    let leader = Some(node("n1"));
    let returns = [
        Return::Back { after_ms: 90 },
        Return::Silent { waited_ms: 15_001, why: "connection refused".to_owned() },
        Return::NotJudged { waited_ms: 7, because: Unjudged::Fault { fault: 4 } },
        Return::NotJudged { waited_ms: 7, because: Unjudged::TooFewNodes },
        Return::NotJudged { waited_ms: 7, because: Unjudged::Damaged { fault: 2 } },
        Return::NotJudged { waited_ms: 7, because: Unjudged::Ended },
        Return::NotJudged { waited_ms: 7, because: Unjudged::RunLeft },
    ];
    let recovery = Recovery {
        fault: 3,
        healed_us: 1_000,
        bound_ms: 15_000,
        nodes: returns.iter().map(|came| NodeReturn { node: node("n1"), came: came.clone() }).collect(),
        links: returns
            .iter()
            .map(|came| LinkReturn { from: node("n1"), to: node("c1"), came: came.clone() })
            .collect(),
    };
    let started = every_evidence().into_iter().map(|evidence| NemesisAct::Started {
        fault: fault("kill"),
        leader: Some(node("n1")),
        away: vec![node("n1")],
        since_us: 77,
        late_us: 5,
        evidence,
    });
    let stopped = every_evidence()
        .into_iter()
        .map(|evidence| NemesisAct::Stopped { fault: fault("packet-of-another-version"), evidence });
    let others = [
        NemesisAct::Starting {
            fault: fault("kill"),
            leader: leader.clone(),
            event: Some("fsync 37 of n1".to_owned()),
        },
        NemesisAct::Skipped { fault: fault("kill"), why: "no leader changed".to_owned() },
        NemesisAct::Led { node: node("n2"), before: leader.clone(), term: Some(4) },
        NemesisAct::Led { node: node("n2"), before: None, term: None },
        NemesisAct::Starting { fault: fault("kill"), leader: None, event: None },
        NemesisAct::StartFailed { fault: fault("kill"), leader, error: "no such process".to_owned() },
        NemesisAct::Stopping { fault: fault("kill") },
        NemesisAct::StopFailed { fault: fault("kill"), error: "no".to_owned() },
        NemesisAct::Recovered(recovery),
        NemesisAct::NodeEnded { node: node("n2"), status: "exit status: 1".to_owned(), fault: None },
        NemesisAct::NodeEnded { node: node("n2"), status: "signal: 9".to_owned(), fault: Some(3) },
        NemesisAct::Settled { after_ms: 12, not_serving: vec![node("n3")] },
        NemesisAct::Compared(comparison()),
        // Like ours, and not: another harness's nemesis may use the same words.
        foreign("start-kill", json!({"n1": "killed"})),
        foreign("crash", json!("n1")),
        foreign(
            "start-clock",
            json!({"fault": 1, "what": "clock", "evidence": {"seen": "of a later version"}}),
        ),
    ];
    started.chain(stopped).chain(others).collect()
}

fn comparison() -> Comparison {
    let copy = |name, position: &str, digest: &str| CopySeen {
        node: node(name),
        position: position.to_owned(),
        digest: digest.to_owned(),
        keys: 2,
    };
    let held = [(node("n1"), Some("5".to_owned())), (node("n2"), None)].into();
    Comparison {
        occasion: Occasion::Restarted,
        objects: vec![
            ComparedObject {
                name: None,
                copies: vec![copy("n1", "7", "a"), copy("n2", "7", "b"), copy("n3", "6", "c")],
                different: 1,
                differences: vec![Difference { key: "r1".to_owned(), held }],
            },
            ComparedObject {
                name: Some("t0-1".to_owned()),
                copies: vec![copy("n1", "7", "a"), copy("n2", "6", "a")],
                different: 0,
                differences: Vec::new(),
            },
        ],
        untold: [(node("n4"), "connection refused".to_owned())].into(),
    }
}

#[test]
fn copies_at_one_position_agree_or_have_diverged_and_others_say_nothing() {
    let comparison = comparison();
    let [all, partition] = &comparison.objects[..] else { panic!("two objects") };
    let Agreement::Diverged(one, other) = all.agreement() else { panic!("{all:?}") };
    assert_eq!((one.node.as_str(), other.node.as_str()), ("n1", "n2"));
    assert_eq!(partition.agreement(), Agreement::Apart);
    let same = ComparedObject { copies: vec![all.copies[0].clone()], ..all.clone() };
    assert_eq!(same.agreement(), Agreement::Same);
    let open = comparison.open().expect("some of it is open");
    for part in ["restart of all", "n4 did not report its copies (connection refused)", "t0-1", "n2 at 6"] {
        assert!(open.contains(part), "{part}: {open}");
    }
}

fn foreign(f: impl Into<Value>, value: Value) -> NemesisAct {
    NemesisAct::Foreign { f: f.into(), value, error: None }
}

fn acts(history: History<Register>) -> Vec<NemesisAct> {
    history.nemesis.into_iter().map(|event| event.act).collect()
}

#[test]
fn every_act_is_read_as_it_was_written() {
    let acts_written = every_act();
    let nemesis = (0..).zip(acts_written.clone());
    let history = History::<Register> {
        events: Vec::new(),
        nemesis: nemesis.map(|(index, act)| NemesisEvent { index, time: index, act }).collect(),
        ..History::default()
    };
    let lines: Vec<String> =
        history.nemesis.iter().map(|event| serde_json::to_string(event).expect("a line")).collect();
    let read = jsonl::read_from::<Register>(lines.join("\n").as_bytes()).expect("reads what was written");
    assert_eq!(acts(read), acts_written);
    let mut bytes = Vec::new();
    edn::write(&history, &mut bytes).expect("written to memory");
    assert_eq!(acts(jsonl::read_from::<Register>(&bytes[..]).expect("reads what was written")), acts_written);
}

#[test]
fn what_earlier_versions_recorded_is_understood() {
    let lines = r#"{"index":0,"time":2000000,"process":"nemesis","type":"info","f":"start-kill","value":{"fault":1,"leader":"n2","what":"kill leader"}}
{"index":1,"time":3000000,"process":"nemesis","type":"info","f":"start-kill","value":{"fault":1,"leader":"n2","what":"kill leader","summary":"processes gone: n2","evidence":{"seen":"killed","nodes":[{"node":"n2","processes":1}]}}}
{"index":2,"time":4000000,"process":"nemesis","type":"info","f":"stop-kill","value":{"fault":1,"what":"kill leader"},"error":"it would not"}
{"index":3,"time":9000000,"process":"nemesis","type":"info","f":"ready","value":{"fault":1,"node":"n2","after_ms":4}}
{"index":4,"time":9000000,"process":"nemesis","type":"info","f":"recovered","value":{"after_ms":12,"not_serving":[]}}"#;
    let read = jsonl::read_from::<Register>(lines.as_bytes()).expect("events");
    let fault = FaultName { id: 1, family: "kill".to_owned(), what: "kill leader".to_owned() };
    let leader = Some(node("n2"));
    let evidence = Evidence::Killed { nodes: vec![NodeProcesses { node: node("n2"), processes: 1 }] };
    let back = NodeReturn { node: node("n2"), came: Return::Back { after_ms: 4 } };
    let recovery =
        Recovery { fault: 1, healed_us: 5_000, bound_ms: 15_000, nodes: vec![back], links: Vec::new() };
    assert_eq!(
        acts(read),
        [
            NemesisAct::Starting { fault: fault.clone(), leader: leader.clone(), event: None },
            NemesisAct::Started {
                fault: fault.clone(),
                leader,
                away: Vec::new(),
                since_us: 3_000,
                late_us: 0,
                evidence
            },
            NemesisAct::StopFailed { fault, error: "it would not".to_owned() },
            NemesisAct::Recovered(recovery),
            NemesisAct::Settled { after_ms: 12, not_serving: Vec::new() },
        ]
    );
}

#[test]
fn another_nemesis_never_costs_the_history() {
    let edn = "{:process :nemesis, :type :invoke, :f [:start :partition], :value {:n1 #{:n2}}, :time 1}
        {:process :nemesis, :f {:a 1}, :value 7, :time 2}
        {:process :nemesis, :type :sleep, :time 3}
        {:process 0, :type :invoke, :f :read, :value [x nil], :time 4}";
    let read = edn::read_str::<Register>(edn).expect("a history");
    assert_eq!(read.events.len(), 1);
    assert_eq!(
        acts(read),
        [
            foreign(json!(["start", "partition"]), json!({"n1": ["n2"]})),
            foreign(json!({"a": 1}), json!(7)),
            foreign(Value::Null, Value::Null),
        ]
    );
    // A client's operation must be named.
    assert!(edn::read_str::<Register>("{:process 0, :type :invoke, :f [:read], :value [x nil]}").is_err());
    assert!(edn::read_str::<Register>("{:process 0, :type :invoke, :value [x nil]}").is_err());
}

#[test]
fn evidence_of_earlier_versions_is_read() {
    let read = |value: Value| serde_json::from_value::<Evidence>(value).expect("evidence");
    let started = read(json!({"seen": "started", "nodes": ["n1"]}));
    assert_eq!(started.started(), [node("n1")]);
    let healed = read(json!({
        "seen": "disk-healed",
        "nodes": [{"node": "n2", "processes": 0, "disk": [{"seen": "touched", "operations": 3,
            "delayed": {"secs": 0, "nanos": 0}, "probe": null}]}],
        "started": ["n2"],
    }));
    assert_eq!(healed.started(), [node("n2")]);
    let resumed = read(json!({"seen": "resumed", "nodes": [{"node": "n3", "processes": 1}]}));
    assert_eq!(resumed.nodes(), [&node("n3")]);
    read(json!({"seen": "shaped", "links": 4, "probes_arrived": 4, "probe_us": 900}));
    read(json!({"seen": "unshaped", "links": 4, "probes_arrived": 4, "still_cut": 0, "packets_met": 7}));
}
