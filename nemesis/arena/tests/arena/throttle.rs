//! Shares of the processor: what the kernel counts of it, whatever the throttle's own account says.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use duress_arena::{Host, PortKind, ProcessState, Signal, Throttle};
use libtest_mimic::{Failed, Trial};
use nix::sys::signal::kill;
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::fixture::{PATIENCE, arena, host, shell, wait_until};

pub fn register(trials: &mut Vec<Trial>) {
    let tests: [(&str, fn()); 4] = [
        ("a_busy_program_has_its_share_and_then_everything", a_busy_program_has_its_share),
        ("whatever_is_started_later_has_the_share_too", whatever_is_started_later_has_the_share_too),
        ("a_dropped_throttle_lets_everything_go_on", a_dropped_throttle_lets_everything_go_on),
        ("what_another_program_continues_was_not_held", what_another_program_continues_was_not_held),
    ];
    for (name, run) in tests {
        trials.push(Trial::test(format!("throttle::{name}"), move || {
            run();
            Ok::<(), Failed>(())
        }));
    }
}

/// Keeps a processor busy without end.
const BUSY: &str = "while :; do :; done";

/// Returns the processor time that a process has used so far; the kernel counts in hundredths of a second.
fn used(pid: Pid) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    let fields = stat.rsplit_once(')').expect("a name in parentheses").1.split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number")).sum();
    Duration::from_millis(ticks * 10)
}

/// Lets time pass, without the processor.
fn pass(time: Duration) {
    let began = Instant::now();
    while began.elapsed() < time {
        thread::park_timeout(time.saturating_sub(began.elapsed()));
    }
}

/// Returns the share of one processor that a process uses in `time`.
fn share(pid: Pid, time: Duration) -> f64 {
    let (began, before) = (Instant::now(), used(pid));
    pass(time);
    (used(pid) - before).as_secs_f64() / began.elapsed().as_secs_f64()
}

fn is_stopped(host: &Host) -> bool {
    host.pids().unwrap().iter().all(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit(") ").next().unwrap().starts_with('T')
    })
}

fn a_busy_program_has_its_share() {
    let arena = arena(1, PortKind::Packet);
    let (host, folder) = (host(&arena, 1), TempDir::new().unwrap());
    let mut node = host.spawn(&shell(BUSY, folder.path())).unwrap();
    let throttle = Throttle::start(host.clone(), 20).unwrap();
    let limited = share(node.pid(), Duration::from_secs(1));
    // Some of its share goes to whatever else the machine does.
    assert!((0.01..0.25).contains(&limited), "{limited}");
    let account = throttle.watch(5, PATIENCE);
    assert!(account.holds >= 5 && account.held >= account.ran * 4, "{account:?}");

    throttle.end_held().unwrap();
    assert!(is_stopped(&host));
    let resumed = node.resume(PATIENCE).unwrap();
    assert_eq!((resumed.continued, resumed.progressed), (1, 1));
    wait_until("it has more than its share", || share(node.pid(), Duration::from_millis(200)) > 0.3);
    node.kill(PATIENCE).unwrap();
}

fn whatever_is_started_later_has_the_share_too() {
    let arena = arena(1, PortKind::Packet);
    let (host, folder) = (host(&arena, 1), TempDir::new().unwrap());
    let throttle = Throttle::start(host.clone(), 10).unwrap();
    let mut node = host.spawn(&shell(BUSY, folder.path())).unwrap();
    wait_until("it is stopped", || is_stopped(&host));
    wait_until("it is not", || !is_stopped(&host));
    let account = throttle.watch(2, PATIENCE);
    assert!(account.holds >= 2, "{account:?}");
    node.kill(PATIENCE).unwrap();
    // A host without processes has none to hold.
    let before = throttle.watch(0, PATIENCE);
    pass(Duration::from_millis(300));
    assert!(throttle.watch(0, PATIENCE).holds <= before.holds + 1);
}

fn a_dropped_throttle_lets_everything_go_on() {
    let arena = arena(1, PortKind::Packet);
    let (host, folder) = (host(&arena, 1), TempDir::new().unwrap());
    let mut node = host.spawn(&shell(BUSY, folder.path())).unwrap();
    for _ in 0..5 {
        drop(Throttle::start(host.clone(), 10).unwrap());
        let until = Instant::now() + Duration::from_millis(150);
        while Instant::now() < until {
            assert_eq!(node.state().unwrap(), ProcessState::Running);
        }
    }
    node.kill(PATIENCE).unwrap();
}

fn what_another_program_continues_was_not_held() {
    let arena = arena(1, PortKind::Packet);
    let (host, folder) = (host(&arena, 1), TempDir::new().unwrap());
    let mut node = host.spawn(&shell(BUSY, folder.path())).unwrap();
    let throttle = Throttle::start(host.clone(), 10).unwrap();
    wait_until("it has run for long", || {
        pass(Duration::from_millis(5));
        kill(node.pid(), Signal::SIGCONT).unwrap();
        throttle.watch(0, Duration::ZERO).ran > Duration::from_millis(300)
    });
    let account = throttle.watch(0, Duration::ZERO);
    assert!(account.held < account.ran, "{account:?}");
    drop(throttle);
    node.kill(PATIENCE).unwrap();
}
