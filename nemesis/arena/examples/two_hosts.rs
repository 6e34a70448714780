//! Two hosts, a cut link, and a moved clock.

use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use duress_arena::clock::{ClockPage, Tracer};
use duress_arena::{
    Arena, ArenaSpec, HostSpec, LinkPolicy, PortKind, ProbeOutcome, ProcessSpec, Role, isolate,
};

const SECOND_NS: i64 = 1_000_000_000;
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs it; everything it starts ends with it.
///
/// # Errors
/// The refusal of this machine.
pub fn main() -> Result<ExitCode, Box<dyn Error>> {
    // Isolate first, while the program has one thread: nothing outlives these namespaces.
    if let Role::Outer(ended) = isolate()? {
        return Ok(ExitCode::from(if ended.success() { 0 } else { 1 }));
    }
    let tracer = Tracer::start()?;

    let arena = Arena::build(&ArenaSpec {
        hosts: vec![
            HostSpec { name: "n1".into(), address: [10, 77, 0, 1].into() },
            HostSpec { name: "n2".into(), address: [10, 77, 0, 2].into() },
        ],
        port: PortKind::best()?,
        tcp_rto_max: None,
    })?;

    // A link is a direction: what n2 sends to n1 still arrives.
    let switch = arena.switch();
    switch.apply(&[("n1", "n2", LinkPolicy::CUT)])?;
    let probes = switch.probe(&[("n1", "n2"), ("n2", "n1")], PATIENCE)?;
    assert_eq!(probes[0], ProbeOutcome::Dropped);
    assert!(matches!(probes[1], ProbeOutcome::Arrived(_)));
    println!("n1 to n2: {:?}; n2 to n1: {:?}", probes[0], probes[1]);

    // An unmodified program on n1 sees the time that the page shows: an hour ahead of the machine's.
    let clock = ClockPage::create()?;
    clock.bump(3600 * SECOND_NS)?;
    let folder = std::env::temp_dir().join(format!("two-hosts-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let output = folder.join("date");
    let mut date = arena.host("n1").ok_or("the arena has n1")?.spawn_with_clock(
        &ProcessSpec {
            program: "date".into(),
            args: vec!["+%s".into()],
            env: Vec::new(),
            cwd: None,
            stdout: output.clone(),
            stderr: folder.join("errors"),
            stop: duress_arena::Signal::SIGTERM,
            user: None,
        },
        &tracer,
        &clock,
    )?;
    let began = Instant::now();
    while date.try_wait()?.is_none() && began.elapsed() < PATIENCE {
        std::thread::yield_now();
    }
    let seen: u64 = std::fs::read_to_string(&output)?.trim().parse()?;
    std::fs::remove_dir_all(&folder)?;
    let ahead = seen.saturating_sub(std::time::UNIX_EPOCH.elapsed()?.as_secs());
    assert!((3590..=3600).contains(&ahead), "{ahead} s");
    println!("the clock of n1 is {ahead} s ahead");

    arena.close()?;
    Ok(ExitCode::SUCCESS)
}
