//! However a run is killed, no part of it remains, and its record can be checked.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::Test;
use crate::record::Record;
use crate::stage::{PATIENCE, Stage, Started, wait_until};

pub const TESTS: &[Test] = &[
    ("outer_as_it_starts", || strike(Family::Outer, Moment::Isolated)),
    ("outer_while_nodes_start", || strike(Family::Outer, Moment::NodesStarting)),
    ("outer_as_clients_begin", || strike(Family::Outer, Moment::ClientsBegin)),
    ("outer_during_a_fault", || strike(Family::Outer, Moment::FaultInForce)),
    ("outer_while_all_nodes_are_paused", || strike_during("pause:all", Family::Outer, Moment::FaultInForce)),
    ("outer_while_all_nodes_are_stopped_in_turn", || {
        strike_during("resources:cpu=10%@all", Family::Outer, Moment::FaultInForce);
    }),
    ("outer_at_the_end", || strike(Family::Outer, Moment::Recovered)),
    ("init_during_a_fault", || strike(Family::Init, Moment::FaultInForce)),
    ("runner_as_it_starts", || strike(Family::Runner, Moment::Isolated)),
    ("runner_during_a_fault", || strike(Family::Runner, Moment::FaultInForce)),
    ("runner_while_it_waits_for_a_disk_of_its_own", || {
        strike_during("disk:slow-fsync=5s", Family::Runner, Moment::DiskFaultBegins);
    }),
    ("at_random_moments", at_random_moments),
];

/// How many runs [`at_random_moments`] kills; a long search sets it to hundreds.
const ROUNDS: (&str, u64) = ("DURESS_KILL_ROUNDS", 4);
/// The number that it draws everything from, instead of one of its own.
const SEED: &str = "DURESS_KILL_SEED";
/// A run as it is started here lasts so long, in milliseconds, or a bit more.
const LASTS_MS: u64 = 4500;

/// The processes of the program: the one that the shell started; process 1 of the PID namespace of everything
/// else; and process 2, which runs everything.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Outer,
    Init,
    Runner,
}

/// How far a run has come.
#[derive(Clone, Copy)]
enum Moment {
    /// Init and the runner are there.
    Isolated,
    /// The first node has been started.
    NodesStarting,
    /// The first operation is recorded.
    ClientsBegin,
    /// The first fault, one of a disk, is about to have evidence.
    DiskFaultBegins,
    /// The first fault has evidence.
    FaultInForce,
    /// Everything was healed; the final reads begin.
    Recovered,
}

/// Kills `victim` in a run with everything that this machine allows: its disks, tracers and networks must go, too.
fn strike(victim: Family, moment: Moment) {
    strike_during("all", victim, moment);
}

fn strike_during(faults: &str, victim: Family, moment: Moment) {
    let stage = Stage::set();
    // A key for each operation makes thousands of final reads: the end lasts long enough to be met.
    let options =
        "--nodes 3 --time-limit 3 --seed 9 --warm-up 500ms --interval 1500ms --operations-per-key 1";
    let started = stage.start(stage.duress(&format!("run store {options} --faults {faults}")));
    wait_until("the moment has come", PATIENCE, || has_come(moment, &stage, &started));
    if matches!(moment, Moment::DiskFaultBegins) {
        let mut before = None;
        wait_until("the runner waits for its disk", PATIENCE, || {
            let runner = member(&stage, &started, Family::Runner);
            let now = runner.and_then(|runner| thread(runner, "disk-user"));
            // Seen twice, it waits for seconds: others are over at once.
            now.is_some() && std::mem::replace(&mut before, now) == now
        });
    }
    if matches!(moment, Moment::ClientsBegin) {
        // Looked for more than once, since /proc shows no environment of a process that is just being exec'ed.
        wait_until("the family and three nodes are seen", PATIENCE, || stage.members().len() >= 6);
    }
    let pid = member(&stage, &started, victim).expect("a family of three");
    kill(pid, Signal::SIGKILL).unwrap();
    stage.assert_vanished();
    let run = started.wait(PATIENCE);
    if victim == Family::Outer {
        // It was still running: otherwise the test would prove nothing.
        assert_eq!(run.status.signal(), Some(Signal::SIGKILL as i32), "{run}");
    } else {
        let run = run.exits(255);
        let last = run.stderr.lines().last().unwrap_or_default();
        assert!(last.starts_with("duress: ") && last.contains("killed"), "{run}");
    }
    let Some(record) = record(&stage) else { return };
    let empty = record.history().is_empty();
    let check = stage.run(&format!("check {}", record.path().display()), PATIENCE);
    if empty {
        // The record is empty, and the check reports that.
        check.exits(254).one_error();
    } else {
        // Killed before any answer, a run has proved nothing.
        let code = if record.history().iter().any(|event| event["type"] == "ok") { 0 } else { 2 };
        check.exits(code);
    }
    assert!(empty || !matches!(moment, Moment::Isolated | Moment::NodesStarting), "clients before nodes");
}

/// Kills runs under overlapping faults of every kind at random moments, one member of the family or another.
fn at_random_moments() {
    let number = |name: &str| std::env::var(name).ok().map(|value| value.parse::<u64>().expect("a number"));
    let rounds = number(ROUNDS.0).unwrap_or(ROUNDS.1);
    let seed = number(SEED).unwrap_or_else(|| rand::rng().random());
    println!("{rounds} rounds, {SEED}={seed}");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    for round in 0..rounds {
        let stage = Stage::set();
        let options = "--nodes 3 --time-limit 3 --warm-up 100ms --interval 300ms --faults all";
        let run_seed = random.random::<u32>();
        let started = stage.start(stage.duress(&format!("run store {options} --seed {run_seed}")));
        let after = Duration::from_millis(random.random_range(0..LASTS_MS));
        let moment = Instant::now() + after;
        let victim = [Family::Outer, Family::Outer, Family::Init, Family::Runner][random.random_range(0..4)];
        wait_until("the moment has come", PATIENCE, || Instant::now() >= moment);
        let Some(pid) = member(&stage, &started, victim) else {
            // Too early for that one, or too late: the run ends by itself, and leaves nothing either.
            started.wait(PATIENCE);
            stage.assert_vanished();
            continue;
        };
        // It may have ended on its own by now.
        let _ = kill(pid, Signal::SIGKILL);
        stage.assert_vanished();
        let run = started.wait(PATIENCE);
        println!("round {round}: {after:?} after the start, run seed {run_seed}: {}", run.status);
        if let Some(record) = record(&stage).filter(|record| !record.history().is_empty()) {
            let check = stage.run(&format!("check {}", record.path().display()), PATIENCE);
            assert!(matches!(check.status.code(), Some(0 | 2)), "{check}");
        }
    }
}

fn has_come(moment: Moment, stage: &Stage, started: &Started) -> bool {
    if matches!(moment, Moment::Isolated) {
        return member(stage, started, Family::Runner).is_some();
    }
    let Some(record) = record(stage) else { return false };
    match moment {
        Moment::Isolated => true,
        Moment::NodesStarting => record.path().join("nodes/n1/stdout.log").exists(),
        Moment::ClientsBegin => record.has("\"invoke\""),
        Moment::DiskFaultBegins => record.has("\"start-disk\""),
        Moment::FaultInForce => record.has("\"evidence\""),
        Moment::Recovered => record.has("\"recovered\""),
    }
}

/// Returns the run's record, once it has a folder.
fn record(stage: &Stage) -> Option<Record> {
    fs::canonicalize(stage.path().join("runs/latest")).ok().map(Record::new)
}

/// Returns the thread of a process that has this name.
fn thread(process: Pid, name: &str) -> Option<Pid> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten();
    let named = threads.filter_map(|thread| {
        let thread = thread.ok()?;
        let has_name = fs::read_to_string(thread.path().join("comm")).ok()?.trim_end() == name;
        has_name.then(|| thread.file_name().to_str()?.parse().ok())?
    });
    named.map(Pid::from_raw).next()
}

fn member(stage: &Stage, started: &Started, wanted: Family) -> Option<Pid> {
    let number = match wanted {
        Family::Outer => return Some(started.pid()),
        Family::Init => "1",
        Family::Runner => "2",
    };
    // Numbers as the innermost namespace counts them.
    let is_wanted = |pid: Pid| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
        numbers.split_whitespace().last() == Some(number)
    };
    stage.members().into_iter().find(|pid| *pid != started.pid() && is_wanted(*pid))
}
