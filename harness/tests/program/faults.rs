//! Faults as a user requests them: what they find, what they leave alone, and the fate of the nodes that they
//! end.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::record::nemesis;
use crate::stage::{PATIENCE, Stage};
use crate::{Test, TestIfAllowed};
use duress_testing::{Missing, Need};

pub const TESTS: &[Test] = &[
    ("a_mix_stays_within_what_the_target_tolerates", a_mix_stays_within_what_the_target_tolerates),
    ("flapping_links_and_slow_clients_break_nothing", flapping_links_and_slow_clients_break_nothing),
    ("members_leave_and_join_and_break_nothing", members_leave_and_join_and_break_nothing),
    ("nodes_change_to_another_build_while_they_serve", nodes_change_to_another_build_while_they_serve),
    ("faults_begin_at_events", faults_begin_at_events),
    ("every_story_is_told_and_breaks_nothing", every_story_is_told_and_breaks_nothing),
    ("a_story_that_deposes_leaders_does", a_story_that_deposes_leaders_does),
    (
        "options_that_nothing_promised_depends_on_are_drawn",
        options_that_nothing_promised_depends_on_are_drawn,
    ),
];
pub const TESTS_IF_ALLOWED: &[TestIfAllowed] = &[
    ("clocks_beyond_the_bound_break_leases", clocks_beyond_the_bound_break_leases),
    ("clocks_within_the_bound_break_nothing", clocks_within_the_bound_break_nothing),
    ("nodes_that_their_disks_fail_may_end", nodes_that_their_disks_fail_may_end),
    (
        "a_fault_strikes_as_its_node_makes_something_durable",
        a_fault_strikes_as_its_node_makes_something_durable,
    ),
];

/// Returns the plan that `line` comes to.
fn planned(line: &str) -> Value {
    let stage = Stage::set();
    let run = stage.run(&format!("run {line} --dry-run"), PATIENCE).exits(0);
    serde_json::from_str(&run.stdout).unwrap()
}

/// The most nodes that a fault of `plan` kills for longer than a moment.
fn most_killed(plan: &Value) -> usize {
    let faults = plan["schedule"].as_array().unwrap();
    // One that waits for an event lasts as long as is said beside that.
    let lasts = |fault: &&Value| {
        let planned = || fault["stop_ms"].as_u64().unwrap() - fault["start_ms"].as_u64().unwrap();
        fault["on"]["lasts_ms"].as_u64().unwrap_or_else(planned)
    };
    let struck = |fault: &Value| {
        let targets = &fault["targets"];
        let chosen = targets["chosen"]["count"].as_u64().map(|count| usize::try_from(count).unwrap());
        chosen.or(targets["nodes"].as_array().map(Vec::len)).unwrap()
    };
    faults.iter().filter(|fault| lasts(fault) > 400).map(struck).max().unwrap()
}

fn a_mix_stays_within_what_the_target_tolerates() {
    let long = "--faults kill --time-limit 120 --seed 1";
    let raft = planned(&format!("store {long}"));
    assert_eq!((most_killed(&raft), &raft["losses"]), (2, &serde_json::json!({"at-most": 2})));
    // Without failover it tolerates the loss of no node, and a fault strikes one.
    let primary = planned(&format!("store --mode primary {long}"));
    assert_eq!((most_killed(&primary), &primary["losses"]), (1, &serde_json::json!({"at-most": 1})));
    let beyond = planned(&format!("store {long} --beyond-tolerance"));
    assert_eq!((most_killed(&beyond), &beyond["losses"]), (5, &serde_json::json!("beyond")));
    // A fault requested by name has the size of its name.
    assert_eq!(most_killed(&planned("store --faults kill:all --seed 1")), 5);
}

fn members_leave_and_join_and_break_nothing() {
    let stage = Stage::set();
    // A plan with time between its faults: a busy machine takes long to bring a member up.
    let line = "run store --nodes 3 --time-limit 14 --interval 3s --seed 115 \
                --faults membership:leave,membership:join,membership:replace,kill:n2";
    let run = stage.run(line, PATIENCE).exits(0);
    let history = stage.latest().history();
    let evident = |prefix: &str| {
        let events = nemesis(&history, prefix);
        events.into_iter().filter(|event| event["value"]["evidence"].is_object()).collect::<Vec<_>>()
    };
    let identities = |event: &Value, list: &str| {
        let members = event["value"]["evidence"][list].as_array().unwrap().clone();
        members.into_iter().map(|member| member["identity"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let (removed, added) = (evident("start-membership"), evident("stop-membership"));
    assert!(!removed.is_empty() && removed.len() == added.len(), "{run}");
    for variant in ["leave", "join", "replace"] {
        let of = |event: &&Value| event["value"]["what"].as_str().unwrap().contains(variant);
        assert!(removed.iter().any(of), "no {variant}: {run}");
    }
    for event in &added {
        assert_eq!(event["value"]["evidence"]["seen"], "added");
        assert_eq!(identities(event, "after").len(), 3, "{event}");
    }
    // A fresh node is another member than the one that it replaces.
    let last = identities(added.last().unwrap(), "after");
    assert!(last.iter().any(|identity| identity.len() > 1), "{last:?}");

    let refused = stage.run("run store --mode primary --faults membership --dry-run", PATIENCE).exits(254);
    assert!(refused.stderr.contains("a target whose members can be changed"), "{refused}");
    assert!(!planned("store --mode primary --faults all")["faults"].as_str().unwrap().contains("membership"));
}

fn nodes_change_to_another_build_while_they_serve() {
    let stage = Stage::set();
    let other = stage.path().canonicalize().unwrap().join("other-build");
    std::fs::copy(env!("CARGO_BIN_EXE_duress"), &other).unwrap();
    let line = "run store --nodes 3 --time-limit 4 --interval 1s --seed 2 --faults upgrade --upgrade-to";
    let run = stage.run(&format!("{line} store={}", other.display()), PATIENCE).exits(0);
    let history = stage.latest().history();
    let seen = |event: &Value| event["value"]["evidence"]["nodes"].as_array().unwrap().clone();
    let upgrades = nemesis(&history, "start-upgrade");
    let upgrades = upgrades.into_iter().filter(|event| event["value"]["evidence"].is_object());
    let nodes: Vec<Value> = upgrades.flat_map(seen).collect();
    assert!(!nodes.is_empty(), "{run}");
    for node in nodes {
        assert_eq!(node["after"], other.to_str().unwrap(), "{node}");
        assert_ne!(node["before"], node["after"], "{node}");
    }

    let refused = stage.run("run store --faults upgrade --dry-run", PATIENCE).exits(254);
    assert!(refused.stderr.contains("--upgrade-to NAME=PATH"), "{refused}");
    assert!(!planned("store --faults all")["faults"].as_str().unwrap().contains("upgrade"));
    let script = stage.write("script", "#!/bin/sh\n");
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    let run = stage.run(&format!("{line} store={}", script.display()), PATIENCE).exits(3);
    assert!(run.stdout.contains("is a script"), "{run}");
}

fn flapping_links_and_slow_clients_break_nothing() {
    let stage = Stage::set();
    let line = "run store --nodes 3 --time-limit 8 --interval 2s --seed 4 \
                --faults partition:flapping=400ms,packet:delay=20ms@clients";
    let run = stage.run(line, PATIENCE).exits(0);
    let history = stage.latest().history();
    let starts = nemesis(&history, "start-");
    let seen = |kind: &str| starts.iter().any(|event| event["value"]["evidence"]["seen"] == kind);
    assert!(seen("flapping") && seen("shaped"), "{run}");
    // The start of each is reported to the microsecond, and never before its time.
    assert!(run.stdout.contains("in force after their time by"), "{run}");
    let evident = || starts.iter().filter(|event| !event["value"]["evidence"].is_null());
    assert!(evident().all(|event| event["value"]["late_us"].is_u64()), "{run}");
}

/// The events that faults of a run had waited for, as they were observed.
fn events(stage: &Stage) -> Vec<String> {
    let history = stage.latest().history();
    let starts = nemesis(&history, "start-");
    let seen = starts.iter().filter_map(|start| start["value"]["event"].as_str());
    seen.map(str::to_owned).collect()
}

fn faults_begin_at_events() {
    let stage = Stage::set();
    let line = "run store --time-limit 20 --interval 1s --seed 3 --floor 0 \
                --faults kill:one@op=20,pause:leader@packet=100,restart:one@log=role,kill:one@heal=30ms";
    let run = stage.run(line, PATIENCE).exits(0);
    let events = events(&stage);
    for words in ["was answered", "packet 1", "wrote \"", "30 ms after the heal of fault"] {
        assert!(
            events.iter().any(|event| event.contains(words)),
            "no fault began at \"{words}\": {events:?} {run}"
        );
    }
    assert!(run.stdout.contains("begun at:  "), "{run}");
    // An event that never happens leaves its fault out, and the run says so.
    let line = "run store --nodes 3 --time-limit 6 --seed 3 --faults kill:leader@log=no-such-line";
    let run = stage.run(line, PATIENCE).exits(2);
    assert!(run.stdout.contains("no fault of the requested family kill was in force"), "{run}");
    assert!(run.stdout.contains("not begun: its event did not come in time"), "{run}");
}

fn a_fault_strikes_as_its_node_makes_something_durable() -> Result<(), Missing> {
    let stage = Stage::set();
    let line = "run store --nodes 3 --time-limit 10 --interval 1s --seed 3 --faults kill:leader@fsync=20";
    let run = stage.run(line, PATIENCE);
    if run.code() == 3 && run.stdout.contains("/dev/fuse") {
        return Err(Missing::new(Need::Fuse, run.stdout));
    }
    let run = run.exits(0);
    let history = stage.latest().history();
    let starts = nemesis(&history, "start-kill");
    let seen = |start: &&Value| {
        Some((start["value"]["event"].as_str()?.to_owned(), start["value"]["fault"].clone()))
    };
    let events: Vec<(String, Value)> = starts.iter().filter_map(seen).collect();
    assert!(!events.is_empty(), "{run}");
    for (event, fault) in events {
        assert!(event.starts_with("fsync 2"), "{event}");
        let killed =
            starts.iter().find(|start| start["value"]["fault"] == fault && start["value"]["away"].is_array());
        let killed = killed.unwrap_or_else(|| panic!("fault {fault} did not take hold: {run}"));
        let node = killed["value"]["away"][0].as_str().unwrap();
        assert!(event.contains(&format!("on the disk of {node} ")), "{event}, and {node} was killed");
    }
    Ok(())
}

fn every_story_is_told_and_breaks_nothing() {
    let stage = Stage::set();
    let stories = "laggard,handover,again,catch-up,election,zombie,zombie-client,slow-replica,rolling-leader";
    let mix: Vec<String> = stories.split(',').map(|story| format!("story:{story}")).collect();
    let line = format!(
        "run store --nodes 3 --time-limit 40 --interval 3s --seed 5 --floor 1 --faults {}",
        mix.join(",")
    );
    let run = stage.run(&line, PATIENCE + PATIENCE).exits(0);
    let plan = stage.latest().json("plan.json");
    assert!(plan["schedule"].as_array().unwrap().len() > 12, "{run}");
    let history = stage.latest().history();
    assert!(!nemesis(&history, "leader").is_empty(), "changes of the leader are recorded: {run}");
}

fn a_story_that_deposes_leaders_does() {
    let stage = Stage::set();
    let line =
        "run store --nodes 3 --time-limit 16 --interval 2s --seed 5 --floor 1 --faults story:rolling-leader";
    let run = stage.run(line, PATIENCE).exits(0);
    assert!(run.stdout.contains(" took over after "), "{run}");
}

fn options_that_nothing_promised_depends_on_are_drawn() {
    let options = |line: &str| planned(&format!("store {line}"))["settings"]["options"].clone();
    let drawn: Vec<Value> = (1..=5).map(|seed| options(&format!("--draw-options --seed {seed}"))).collect();
    assert!(drawn.iter().any(|options| options["snapshot_every"] != "5000"), "{drawn:?}");
    assert!(drawn.windows(2).any(|pair| pair[0] != pair[1]), "{drawn:?}");
    assert_eq!(drawn[0], options("--draw-options --seed 1"));
    // Options that change the promise, and given ones, are not drawn.
    assert!(drawn.iter().all(|options| options["reads"] == "index"), "{drawn:?}");
    let given = options("--draw-options --seed 1 -o snapshot_every=77");
    assert_eq!((&given["snapshot_every"], &given["heartbeat_ms"]), (&"77".into(), &drawn[0]["heartbeat_ms"]));
    assert_eq!(options("--seed 1")["snapshot_every"], "5000");
}

/// Runs `line` over as many seeds as it takes; whether any is found to break the promise.
fn breaks(line: &str, seeds: std::ops::RangeInclusive<u64>) -> Result<bool, Missing> {
    for seed in seeds {
        let stage = Stage::set();
        let run = stage.run(&format!("{line} --seed {seed}"), PATIENCE);
        stage.assert_vanished();
        match run.code() {
            0 => {}
            1 => return Ok(true),
            _ if run.stderr.contains("clocks of their own") => {
                return Err(Missing::new(Need::Ptrace, run.stderr));
            }
            _ => panic!("{run}"),
        }
    }
    Ok(false)
}

const LEASES: &str = "run store --mode raft -o reads=lease --nodes 3 --time-limit 12";

fn clocks_beyond_the_bound_break_leases() -> Result<(), Missing> {
    let broken = breaks(&format!("{LEASES} --faults clock"), 1..=4)?;
    assert!(broken, "no stale read in four trials");
    Ok(())
}

fn clocks_within_the_bound_break_nothing() -> Result<(), Missing> {
    let broken = breaks(&format!("{LEASES} --faults clock:drift=-400ms/s"), 1..=1)?;
    assert!(!broken, "a lease was broken by a clock within its bound");
    Ok(())
}

fn nodes_that_their_disks_fail_may_end() -> Result<(), Missing> {
    // By chance no node ends of it; then another seed is tried.
    for seed in 1..=4 {
        let stage = Stage::set();
        let line = "run store --nodes 3 --time-limit 8 --interval 2s --faults disk:eio,disk:enospc";
        let run = stage.run(&format!("{line} --seed {seed}"), PATIENCE);
        if run.code() == 3 && run.stdout.contains("/dev/fuse") {
            return Err(Missing::new(Need::Fuse, run.stdout));
        }
        // The fault breaks no promise and loses nothing.
        let run = run.exits(0);
        let history = stage.latest().history();
        let crashes = nemesis(&history, "crash");
        assert!(crashes.iter().all(|crash| crash["value"]["fault"].is_u64()), "{crashes:?}");
        if !crashes.is_empty() {
            assert!(run.stdout.contains("ended by it, as it may"), "{run}");
            return Ok(());
        }
    }
    panic!("in four trials no disk has failed a node");
}
