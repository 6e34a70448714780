//! Waits until a moment of the wall clock: with the preloaded library they end by the node's clock, without it by the
//! machine's.

use std::time::Duration;

use duress_arena::clock::{ClockPage, StartUp, preload_absolute_waits};
use nix::libc::{EINVAL, ETIMEDOUT};

use super::{HOUR, SECOND, World, new_page};
use crate::programs::{Answer, Running, piped};

/// Every way to wait in vain until a moment of the wall clock, and what each says at the end.
const WAITS: [(&str, i32); 6] = [
    ("condition", ETIMEDOUT),
    ("semaphore", ETIMEDOUT),
    ("mutex", ETIMEDOUT),
    ("read-lock", ETIMEDOUT),
    ("write-lock", ETIMEDOUT),
    ("sleep", 0),
];
/// How much later a wait is to end. Longer than a slice, so that there is more than one.
const WAIT_NS: i64 = 400_000_000;
/// What the kernel may let a waiting thread go on too early, by the coarseness of two clocks.
const EARLY_NS: i64 = 1_000_000;

fn preloaded(world: &World, page: &ClockPage, name: &str) -> Running {
    let mut command = piped(world.line(name));
    preload_absolute_waits(&mut command).expect("the library is put into memory");
    Running::of(world.tracer.spawn(command, page, StartUp::default()).expect("spawns"))
}

/// Lets the program wait, and calls `meanwhile` once it does, or is about to.
fn wait(program: &mut Running, name: &str, wait_ns: i64, meanwhile: impl FnOnce()) -> Answer {
    let begun = program.ask(&format!("{name} {}", wait_ns / 1_000_000));
    assert_eq!(begun.line, "waiting\n");
    meanwhile();
    program.answer()
}

pub fn waits_end_by_the_nodes_clock(world: &World) {
    for offset in [0, HOUR, -HOUR] {
        let page = new_page();
        page.bump(offset).expect("is bumped");
        let mut program = preloaded(world, &page, "deadlines");
        for (name, outcome) in WAITS {
            let ended = wait(&mut program, name, WAIT_NS, || ());
            assert_eq!(ended.value("outcome"), i64::from(outcome), "{name} at {offset}: {}", ended.line);
            assert!(ended.value("late") >= 0, "{name} at {offset}: {}", ended.line);
            assert!(ended.value("took") >= WAIT_NS - EARLY_NS, "{name} at {offset}: {}", ended.line);
        }
        for (name, outcome) in [("signalled", 0), ("posted", 0), ("cancelled", 0), ("invalid", EINVAL)] {
            let ended = wait(&mut program, name, HOUR, || ());
            assert_eq!(ended.value("outcome"), i64::from(outcome), "{name} at {offset}: {}", ended.line);
        }
        // A deadline that is over is answered at once, and a lock that is free is had even so.
        let ended = wait(&mut program, "condition", -SECOND, || ());
        assert_eq!(ended.value("outcome"), i64::from(ETIMEDOUT), "{}", ended.line);
        assert!(program.finish().success());
    }
}

pub fn waits_notice_a_step(world: &World) {
    for (name, outcome) in WAITS {
        let page = new_page();
        let mut program = preloaded(world, &page, "deadlines");
        let ended = wait(&mut program, name, HOUR, || _ = page.bump(HOUR).expect("is bumped"));
        assert_eq!(ended.value("outcome"), i64::from(outcome), "{name}: {}", ended.line);
        assert!(ended.value("late") >= 0 && ended.value("took") < HOUR, "{name}: {}", ended.line);
        // Backwards: by its own clock the program does not come back too early.
        let ended = wait(&mut program, name, 2 * SECOND, || _ = page.bump(-SECOND).expect("is bumped"));
        assert_eq!(ended.value("outcome"), i64::from(outcome), "{name}: {}", ended.line);
        assert!(ended.value("late") >= 0, "{name}: {}", ended.line);
    }
}

pub fn monotonic_waits_keep_their_time(world: &World) {
    for offset in [HOUR, -HOUR] {
        let page = new_page();
        page.bump(offset).expect("is bumped");
        let mut program = preloaded(world, &page, "deadlines");
        let ended = wait(&mut program, "monotonic", WAIT_NS, || _ = page.bump(offset).expect("is bumped"));
        assert_eq!(ended.value("outcome"), i64::from(ETIMEDOUT), "{}", ended.line);
        assert!(ended.value("late") >= 0 && ended.value("took") >= WAIT_NS - EARLY_NS, "{}", ended.line);
    }
}

pub fn java_parks_by_the_nodes_clock(world: &World) {
    for offset in [HOUR, -HOUR] {
        let page = new_page();
        page.bump(offset).expect("is bumped");
        let mut program = preloaded(world, &page, "parker");
        let ended = wait(&mut program, "park", WAIT_NS, || ());
        // Without the library it comes back at once, over and over, under a clock that is behind.
        assert!(ended.value("late") >= 0 && ended.value("woken") <= 20, "at {offset}: {}", ended.line);
    }
    let page = new_page();
    let mut program = preloaded(world, &page, "parker");
    let ended = wait(&mut program, "park", HOUR, || _ = page.bump(HOUR).expect("is bumped"));
    assert!(ended.value("late") >= 0, "{}", ended.line);
}

/// What the library is for: the same programs without it.
pub fn waits_without_the_library_end_by_the_machines_clock(world: &World) {
    let behind = new_page();
    behind.bump(-HOUR).expect("is bumped");
    let mut program = world.start(&behind, "deadlines");
    for (name, _) in WAITS {
        let ended = wait(&mut program, name, HOUR / 2, || ());
        assert!(ended.value("late") < 0, "{name} waited half an hour: {}", ended.line);
    }
    let ahead = new_page();
    ahead.bump(HOUR).expect("is bumped");
    for (name, _) in WAITS {
        let mut program = world.start(&ahead, "deadlines");
        assert_eq!(program.ask(&format!("{name} 100")).line, "waiting\n");
        assert!(!program.has_output(Duration::from_millis(600)), "{name} ended");
    }
}

pub fn a_preload_of_the_programs_own_is_kept(_: &World) {
    let mut command = piped(&["true".to_owned()]);
    command.env("LD_PRELOAD", "/own/library.so");
    preload_absolute_waits(&mut command).expect("the library is put into memory");
    let value = command.get_envs().find(|(name, _)| *name == "LD_PRELOAD").and_then(|(_, value)| value);
    let value = value.expect("is set").to_str().expect("is text");
    let (library, own) = value.split_once(':').expect("two libraries");
    assert!(library.starts_with("/proc/") && own == "/own/library.so", "{value}");
}
