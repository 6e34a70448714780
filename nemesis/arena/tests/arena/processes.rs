//! Processes on hosts: everything on a host is struck, nothing else is, and the evidence is true.

use std::error::Error;
use std::fs;
use std::time::Duration;

use duress_arena::{ControlError, PortKind, ProcessState, Signal, SpawnError};
use libtest_mimic::{Failed, Trial};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::fixture::{DAEMON, PATIENCE, arena, host, only_sleepers, shell, wait_until};
use crate::scene;

pub fn register(trials: &mut Vec<Trial>) {
    let tests: [(&str, fn()); 10] = [
        ("a_kill_reaches_daemons", a_kill_reaches_daemons),
        ("a_kill_outruns_a_forking_program", a_kill_outruns_a_forking_program),
        ("a_pause_stops_daemons_and_a_resumption_continues_them", a_pause_stops_daemons),
        ("a_pause_stops_every_thread", a_pause_stops_every_thread),
        ("a_pause_outruns_a_forking_program", a_pause_outruns_a_forking_program),
        ("a_pause_stops_a_parent_that_waits_in_vfork", a_pause_stops_a_parent_in_vfork),
        ("hosts_are_struck_one_at_a_time", hosts_are_struck_one_at_a_time),
        ("a_request_to_end_is_waited_for", a_request_to_end_is_waited_for),
        ("a_node_starts_afresh", a_node_starts_afresh),
        ("what_cannot_be_started_is_named", what_cannot_be_started_is_named),
    ];
    for (name, run) in tests {
        trials.push(Trial::test(format!("process::{name}"), move || {
            run();
            Ok::<(), Failed>(())
        }));
    }
}

fn alive(pid: Pid) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !matches!(stat.rsplit(") ").next(), Some(rest) if rest.starts_with('Z')))
}

fn a_kill_reaches_daemons() {
    let arena = arena(1, PortKind::Packet);
    let (host, folder) = (host(&arena, 1), TempDir::new().unwrap());
    let mut node = host.spawn(&shell(DAEMON, folder.path())).unwrap();
    wait_until("the daemon and its starter sleep", || only_sleepers(&host, 2));
    let pids = host.pids().unwrap();
    assert!(pids.contains(&node.pid()), "{pids:?} without {}", node.pid());

    let killed = node.kill(PATIENCE).unwrap();
    assert_eq!(killed.pids, 2, "{killed:?}");
    assert!(!killed.exit.success(), "{killed:?}");
    assert!(pids.iter().all(|&pid| !alive(pid)), "some of {pids:?} live");
    assert_eq!(host.pids().unwrap(), []);
    assert_eq!(node.state().unwrap(), ProcessState::Gone);
    // A second kill finds no process, and reports that.
    assert_eq!(node.kill(PATIENCE).unwrap().pids, 0);
}

/// The program replaces itself by a child of its own for ever, so that any single look at it is out of date.
const FORKING: &str = "while :; do (:) & (:); done";

fn a_kill_outruns_a_forking_program() {
    let arena = arena(1, PortKind::Packet);
    let (host, folder) = (host(&arena, 1), TempDir::new().unwrap());
    for _ in 0..10 {
        let mut node = host.spawn(&shell(FORKING, folder.path())).unwrap();
        wait_until("it has forked", || host.pids().unwrap().len() > 1);
        node.kill(PATIENCE).unwrap();
        assert_eq!(host.pids().unwrap(), []);
    }
}

fn a_pause_stops_daemons() {
    let arena = arena(1, PortKind::Packet);
    let (host, folder) = (host(&arena, 1), TempDir::new().unwrap());
    let mut node = host.spawn(&shell(DAEMON, folder.path())).unwrap();
    wait_until("the daemon and its starter sleep", || only_sleepers(&host, 2));
    assert_eq!(node.state().unwrap(), ProcessState::Running);

    assert_eq!(node.pause(PATIENCE).unwrap().pids, 2);
    assert_eq!(node.state().unwrap(), ProcessState::Stopped);
    let states = |wanted: char| {
        host.pids().unwrap().iter().all(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            stat.rsplit(") ").next().unwrap().starts_with(wanted)
        })
    };
    assert!(states('T'));
    let alive = node.alive().unwrap();
    assert_eq!((alive.pids, alive.threads, alive.stopped), (2, 2, 2));
    let resumed = node.resume(PATIENCE).unwrap();
    assert_eq!((resumed.pids, resumed.continued, resumed.progressed), (2, 2, 2));
    assert_eq!(node.alive().unwrap().stopped, 0);
    // A process that was not stopped does not prove that it continues.
    let again = node.resume(PATIENCE).unwrap();
    assert_eq!((again.pids, again.continued, again.progressed), (2, 0, 0));
    assert_eq!(node.state().unwrap(), ProcessState::Running);
    wait_until("they sleep again", || states('S'));

    // A paused process can be killed.
    node.pause(PATIENCE).unwrap();
    assert_eq!(node.kill(PATIENCE).unwrap().pids, 2);
}

fn a_pause_stops_every_thread() {
    let arena = arena(1, PortKind::Packet);
    let (host, folder) = (host(&arena, 1), TempDir::new().unwrap());
    let mut node = host.spawn(&scene::spec(scene::Scene::Threads, folder.path())).unwrap();
    let progress = || fs::metadata(folder.path().join("stdout")).unwrap().len();
    let threads = || fs::read_dir(format!("/proc/{}/task", node.pid())).unwrap().count();
    wait_until("all threads are there", || threads() == scene::THREADS + 1 && progress() > 0);
    let paused = node.pause(PATIENCE).unwrap();
    assert_eq!((paused.pids, paused.threads), (1, scene::THREADS + 1));

    // The threads write without end; while they are stopped no counter may grow, however often it is read.
    let before = progress();
    for _ in 0..2_000 {
        assert_eq!(progress(), before);
    }
    let resumed = node.resume(PATIENCE).unwrap();
    assert_eq!((resumed.threads, resumed.continued, resumed.progressed), (scene::THREADS + 1, 1, 1));
    wait_until("it writes again", || progress() > before);
    node.kill(PATIENCE).unwrap();
}

fn a_pause_outruns_a_forking_program() {
    let arena = arena(1, PortKind::Packet);
    let (host, folder) = (host(&arena, 1), TempDir::new().unwrap());
    let mut node = host.spawn(&shell(FORKING, folder.path())).unwrap();
    for _ in 0..10 {
        wait_until("it has forked", || host.pids().unwrap().len() > 1);
        node.pause(PATIENCE).unwrap();
        let pids = host.pids().unwrap();
        for _ in 0..100 {
            assert_eq!(host.pids().unwrap(), pids, "a paused host has new processes");
        }
        node.resume(PATIENCE).unwrap();
    }
    node.kill(PATIENCE).unwrap();
}

fn a_pause_stops_a_parent_in_vfork() {
    let arena = arena(1, PortKind::Packet);
    let (host, folder) = (host(&arena, 1), TempDir::new().unwrap());
    let mut node = host.spawn(&scene::spec(scene::Scene::Vfork, folder.path())).unwrap();
    let state = |pid| fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    wait_until("the parent waits for its child", || {
        host.pids().unwrap().len() == 2 && state(node.pid()).contains(") D ")
    });
    for _ in 0..3 {
        assert_eq!(node.pause(PATIENCE).unwrap().pids, 2);
        let resumed = node.resume(PATIENCE).unwrap();
        assert_eq!((resumed.pids, resumed.continued, resumed.progressed), (2, 1, 1), "the child goes on");
    }
    node.kill(PATIENCE).unwrap();
}

fn hosts_are_struck_one_at_a_time() {
    let arena = arena(2, PortKind::Packet);
    let (first, second) = (host(&arena, 1), host(&arena, 2));
    let folder = TempDir::new().unwrap();
    let mut struck = first.spawn(&shell("exec sleep 1000", folder.path())).unwrap();
    let mut spared = second.spawn(&shell("exec sleep 1000", folder.path())).unwrap();
    struck.pause(PATIENCE).unwrap();
    assert_eq!(struck.state().unwrap(), ProcessState::Stopped);
    assert_eq!(spared.state().unwrap(), ProcessState::Running);
    struck.kill(PATIENCE).unwrap();
    assert_eq!(spared.try_wait().unwrap(), None);
    assert_eq!(second.pids().unwrap(), [spared.pid()]);
    spared.kill(PATIENCE).unwrap();
}

fn a_request_to_end_is_waited_for() {
    let arena = arena(1, PortKind::Packet);
    let (host, folder) = (host(&arena, 1), TempDir::new().unwrap());
    // The program answers the request with an exit code that nothing else would give.
    let obedient = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done";
    let mut node = host.spawn(&shell(obedient, folder.path())).unwrap();
    let ready = || fs::read_to_string(folder.path().join("stdout")).unwrap().contains("ready");
    wait_until("the trap is set", ready);
    assert_eq!(node.terminate(PATIENCE).unwrap().exit.code(), Some(7));
    node.kill(PATIENCE).unwrap();

    // Another signal asks it to end, where its specification says so.
    fs::write(folder.path().join("stdout"), "").unwrap();
    let mut interrupted = shell("trap 'exit 8' INT; echo ready; while :; do sleep 0.05; done", folder.path());
    interrupted.stop = Signal::SIGINT;
    let mut node = host.spawn(&interrupted).unwrap();
    wait_until("the trap is set", ready);
    assert_eq!(node.terminate(PATIENCE).unwrap().exit.code(), Some(8));
    node.kill(PATIENCE).unwrap();

    fs::write(folder.path().join("stdout"), "").unwrap();
    let deaf = "trap '' TERM; echo ready; while :; do sleep 0.05; done";
    let mut node = host.spawn(&shell(deaf, folder.path())).unwrap();
    wait_until("the trap is set", ready);
    let late = node.terminate(Duration::from_millis(200)).unwrap_err();
    assert!(matches!(late, ControlError::Deadline { .. }), "{late:?}");
    assert!(late.to_string().contains("n1"), "{late}");
    assert_eq!(node.try_wait().unwrap(), None);
    node.kill(PATIENCE).unwrap();
}

/// A node must not inherit the harness's own set-up: a session, blocked or ignored signals.
fn a_node_starts_afresh() {
    let arena = arena(1, PortKind::Packet);
    let (host, folder) = (host(&arena, 1), TempDir::new().unwrap());
    let mut spec = shell(
        "grep -E 'Sig(Blk|Ign)' /proc/self/status; cat /proc/self/oom_score_adj; \
         cut -d' ' -f6 /proc/$$/stat; echo $$ $MARK; pwd; cat",
        folder.path(),
    );
    spec.env.push(("MARK".into(), "here".into()));
    spec.cwd = Some("/usr".into());
    let mut node = host.spawn(&spec).unwrap();
    wait_until("it has ended", || node.try_wait().unwrap().is_some());
    let text = fs::read_to_string(folder.path().join("stdout")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let pid = node.pid();
    let expected = [
        "SigBlk:\t0000000000000000".to_owned(),
        "SigIgn:\t0000000000000000".to_owned(),
        "500".to_owned(),
        format!("{pid}"),
        format!("{pid} here"),
        "/usr".to_owned(),
    ];
    assert_eq!(lines, expected);

    // Output is appended: a node that starts again must not wipe out why it had ended.
    let mut again = host.spawn(&spec).unwrap();
    wait_until("it has ended", || again.try_wait().unwrap().is_some());
    let after = fs::read_to_string(folder.path().join("stdout")).unwrap();
    assert!(after.starts_with(&text) && after.lines().count() == 12, "{after}");
}

fn what_cannot_be_started_is_named() {
    let arena = arena(1, PortKind::Packet);
    let (host, folder) = (host(&arena, 1), TempDir::new().unwrap());
    let mut missing = shell("", folder.path());
    missing.program = "/nowhere/program".into();
    let error = host.spawn(&missing).unwrap_err();
    assert!(matches!(error, SpawnError::Program { .. }), "{error:?}");
    assert_eq!(error.to_string(), "cannot start /nowhere/program on host n1");
    assert!(error.source().is_some());

    let mut nowhere = shell("", folder.path());
    nowhere.cwd = Some("/nowhere".into());
    let error = host.spawn(&nowhere).unwrap_err();
    assert!(matches!(error, SpawnError::WorkingDirectory { .. }), "{error:?}");

    let mut silent = shell("", folder.path());
    silent.stdout = "/nowhere/stdout".into();
    let error = host.spawn(&silent).unwrap_err();
    assert!(matches!(error, SpawnError::Output { .. }), "{error:?}");
    assert_eq!(host.pids().unwrap(), []);
}
