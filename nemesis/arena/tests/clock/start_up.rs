//! The processes that are followed while programs start, and those that no longer are.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use duress_arena::clock::StartUp;
use nix::sys::signal::{Signal, kill};
use nix::time::ClockId;
use nix::unistd::Pid;

use crate::programs::{Running, machine_ns, piped, until};
use crate::{GRAIN, HOUR, SECOND, World, new_page};

pub fn forked_children_follow(world: &World) {
    let page = new_page();
    let mut program = world.start(&page, "python");
    page.bump(HOUR).expect("is bumped");
    let child = program.ask("fork");
    child.assert_ahead("wall", (HOUR, HOUR), GRAIN);
    let pid = Pid::from_raw(child.value("pid") as i32);
    assert_ne!(pid, program.pid());
    page.bump(-3 * HOUR).expect("is bumped");
    program.ask("now").assert_ahead("wall", (-2 * HOUR, -2 * HOUR), GRAIN);
    let evidence = world.evidence(&page, &[program.pid(), pid]);
    assert!(evidence.proves(GRAIN) && evidence.patched_pids.len() == 2, "{evidence:?}");
}

pub fn programs_behind_scripts_follow(world: &World) {
    let page = new_page();
    page.bump(HOUR).expect("is bumped");
    let [program] = world.line("c-static") else { panic!("one word") };
    // A helper in a pipeline, a command substitution, a background job, a shell in a shell, and an exec at
    // the end.
    let script = format!(
        "echo $(true | date +%s) $(sh -c 'date +%s; :'); sleep 0 & wait; exec sh -c 'exec {program}'"
    );
    let line = ["sh".to_owned(), "-c".to_owned(), script];
    let mut running = Running::start(&world.tracer, &page, &line);
    let printed = running.read_line();
    let now = machine_ns(ClockId::CLOCK_REALTIME) / SECOND;
    for seconds in printed.split_ascii_whitespace() {
        let ahead = seconds.parse::<i64>().expect("a number") - now;
        assert!((3590..=3600).contains(&ahead), "date is {ahead} s ahead");
    }
    running.ask("now").assert_ahead("wall", (HOUR, HOUR), 0);
    assert!(running.finish().success());
}

pub fn tracer_of(pid: Pid) -> i32 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("lives");
    let line = status.lines().find_map(|line| line.strip_prefix("TracerPid:")).expect("has a tracer line");
    line.trim().parse().expect("a number")
}

pub fn an_exec_after_start_up_is_noticed(world: &World) {
    let page = new_page();
    page.bump(HOUR).expect("is bumped");
    let [program] = world.line("c") else { panic!("one word") };
    let line = ["sh".to_owned(), "-c".to_owned(), format!("read go; exec {program}")];
    let quick = StartUp { quiet: Duration::from_millis(20) };
    let child = world.tracer.spawn(piped(&line), &page, quick).expect("spawns");
    let mut running = Running::of(child);
    let pid = running.pid();
    assert!(world.evidence(&page, &[pid]).proves(GRAIN));
    until("start-up is over", || tracer_of(pid) == 0);
    // The shell takes one line for `read`; it may have read ahead, so the program gets its own afterwards.
    running.write("go\n");
    until("the shell has become the program", || {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "c")
    });
    running.ask("now").assert_ahead("wall", (0, 0), 0);
    let evidence = world.evidence(&page, &[pid]);
    assert!(!evidence.proves(GRAIN), "{evidence:?}");
    assert_eq!(evidence.unpatched.len(), 1);
    assert_eq!(evidence.unpatched[0].program, "c");
}

pub fn start_up_ends(world: &World) {
    for quiet in [Duration::ZERO, Duration::from_millis(50)] {
        let page = new_page();
        let child = world.tracer.spawn(piped(world.line("c")), &page, StartUp { quiet }).expect("spawns");
        let mut running = Running::of(child);
        let pid = running.pid();
        until("start-up is over", || tracer_of(pid) == 0);
        page.bump(HOUR).expect("is bumped");
        running.ask("now").assert_ahead("wall", (HOUR, HOUR), 0);
        assert!(running.finish().success());
    }
}

/// Returns the state letter of every thread of a process.
pub fn states(pid: Pid) -> String {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return String::new() };
    let state = |path: std::path::PathBuf| {
        let stat = fs::read_to_string(path.join("stat")).ok()?;
        stat.rsplit(") ").next()?.chars().next()
    };
    threads.filter_map(|thread| state(thread.ok()?.path())).collect()
}

pub fn signals_work_during_start_up(world: &World) {
    let page = new_page();
    // No wait below is that long, so none of the results can be due to the end of start-up.
    let long = StartUp { quiet: Duration::from_secs(3600) };
    let start = || {
        let child = world.tracer.spawn(piped(world.line("go")), &page, long).expect("spawns");
        Running::of(child)
    };
    let mut program = start();
    let pid = program.pid();
    assert_eq!(tracer_of(pid), world.tracer.pid().as_raw(), "start-up is not over");
    assert!(matches!(program.child.try_wait(), Ok(None)));
    program.ask("now");
    kill(pid, Signal::SIGSTOP).expect("is stopped");
    until("every thread is stopped", || {
        let states = states(pid);
        states.len() > 1 && states.chars().all(|state| state == 'T')
    });
    page.bump(HOUR).expect("is bumped");
    kill(pid, Signal::SIGCONT).expect("is continued");
    program.ask("now").assert_ahead("wall", (HOUR, HOUR), 0);
    until("no thread is stopped", || !states(pid).contains('T'));
    kill(pid, Signal::SIGKILL).expect("is killed");
    assert_eq!(program.child.wait().expect("is waited for").signal(), Some(9));

    let mut program = start();
    kill(program.pid(), Signal::SIGKILL).expect("is killed");
    assert_eq!(program.child.wait().expect("is waited for").signal(), Some(9));
}
