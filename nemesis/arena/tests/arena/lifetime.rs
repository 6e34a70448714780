//! Nothing survives the program, however it ends.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::fixture::wait_until;
use crate::scene::{self, Scene};

pub fn register(trials: &mut Vec<Trial>) {
    let tests: [(&str, fn()); 7] = [
        ("the_runners_exit_code_is_passed_on", the_exit_code_is_passed_on),
        ("killing_outer_leaves_nothing", || killing_leaves_nothing(Family::Outer)),
        ("killing_init_leaves_nothing", || killing_leaves_nothing(Family::Init)),
        ("killing_the_runner_leaves_nothing", || killing_leaves_nothing(Family::Runner)),
        ("killing_outer_at_any_moment_leaves_nothing", killing_outer_at_any_moment),
        ("signals_are_passed_on", signals_are_passed_on),
        ("probing_changes_nothing", probing_changes_nothing),
    ];
    for (name, run) in tests {
        trials.push(Trial::test(format!("lifetime::{name}"), move || {
            run();
            Ok::<(), Failed>(())
        }));
    }
}

/// The processes that [`duress_arena::isolate`] makes, identified by their numbers: init is process 1 of the
/// innermost namespace, the runner process 2, and outer is not inside.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Outer,
    Init,
    Runner,
}

/// A family under test. All of it, nodes included, carries a mark in its environment by which it is found from
/// outside.
struct Stage {
    outer: Child,
    mark: String,
}

const MARK: &str = "ARENA_TEST_MARK";

impl Stage {
    fn set(scene: Scene) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let mark = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let mut command = scene::command(scene);
        command.env(MARK, &mark).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { outer: command.spawn().unwrap(), mark }
    }

    fn ready() -> Self {
        let mut stage = Self::set(Scene::Stay);
        let mut line = String::new();
        BufReader::new(stage.outer.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        stage
    }

    /// Returns every living process that carries the mark.
    fn members(&self) -> Vec<Pid> {
        let wanted = format!("{MARK}={}", self.mark);
        let mut members = Vec::new();
        for entry in fs::read_dir("/proc").unwrap() {
            let entry = entry.unwrap();
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            // Processes come and go; one that has gone is not a member. Nor is a zombie, which has no environment.
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            if environment.split(|&byte| byte == 0).any(|variable| variable == wanted.as_bytes()) {
                members.push(Pid::from_raw(pid));
            }
        }
        members
    }

    fn member(&self, wanted: Family) -> Pid {
        let outer = Pid::from_raw(self.outer.id() as i32);
        let inner = |pid: Pid| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap();
            numbers.split_whitespace().last().unwrap().to_owned()
        };
        let number = match wanted {
            Family::Outer => return outer,
            Family::Init => "1",
            Family::Runner => "2",
        };
        self.members().into_iter().find(|&pid| pid != outer && inner(pid) == number).unwrap()
    }

    /// Waits until no process carries the mark, at two looks in a row: at the first, a process might just be
    /// forking.
    fn assert_empties(&mut self) {
        let mut empty_looks = 0;
        wait_until("no process is left", || {
            empty_looks = if self.members().is_empty() { empty_looks + 1 } else { 0 };
            empty_looks == 2
        });
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // A failed test must not leave a family behind. Both fail when, as they should, outer has ended already.
        let _ = self.outer.kill();
        let _ = self.outer.wait();
    }
}

fn the_exit_code_is_passed_on() {
    let mut stage = Stage::set(Scene::Leave);
    assert_eq!(stage.outer.wait().unwrap().code(), Some(i32::from(scene::LEAVING)));
    stage.assert_empties();
}

fn killing_leaves_nothing(victim: Family) {
    let mut stage = Stage::ready();
    // Outer, init, the runner, and on each of two hosts a node and its daemon.
    // Looked for more than once, since /proc shows no environment of a process that is just being exec'ed.
    wait_until("the whole family is seen", || stage.members().len() == 7);
    kill(stage.member(victim), Signal::SIGKILL).unwrap();
    let status = stage.outer.wait().unwrap();
    if victim != Family::Outer {
        assert_eq!(status.code(), Some(255), "a runner that was killed must not pass for success");
    }
    stage.assert_empties();
}

/// From before the first fork until after the last: the whole of it takes about 100 ms here.
fn killing_outer_at_any_moment() {
    const MOMENTS: u32 = 60;
    const APART: Duration = Duration::from_micros(1500);
    let mut alive = 0;
    for moment in 0..MOMENTS {
        let began = Instant::now();
        let mut stage = Stage::set(Scene::Stay);
        wait_until("the moment has come", || began.elapsed() >= APART * moment);
        alive += u32::from(stage.members().len() > 1);
        stage.outer.kill().unwrap();
        stage.outer.wait().unwrap();
        stage.assert_empties();
    }
    assert!(alive > MOMENTS / 4, "only {alive} of {MOMENTS} kills found a family: they came too early");
}

fn signals_are_passed_on() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT] {
        if signal == Signal::SIGHUP && hangup_is_ignored() {
            println!("SIGHUP skipped: the parent of the tests ignores it, as nohup does");
            continue;
        }
        let mut stage = Stage::ready();
        kill(stage.member(Family::Outer), signal).unwrap();
        let output = stage.outer.wait().unwrap();
        assert_eq!(output.code(), Some(255), "{signal}");
        let mut said = String::new();
        BufReader::new(stage.outer.stderr.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, format!("the runner was ended by signal {}\n", signal as i32));
        stage.assert_empties();
    }
}

fn hangup_is_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    u64::from_str_radix(ignored.trim(), 16).unwrap() & 1 == 1
}

fn probing_changes_nothing() {
    let output = scene::command(Scene::Probe).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    // These tests use packet ports, so that a probe which does not find them is wrong.
    assert!(text.contains("namespaces: Available, proc: Available"), "{text}");
    assert!(text.contains("packet_on_veth: Available"), "{text}");
    assert!(output.status.success(), "after probing: {output:?}");
}
