//! Clocks as unmodified programs see them, in every language that is installed here.
//!
//! The tracer has to be forked while the test is single-threaded, hence no ordinary test harness. As root the
//! whole suite is run once more by an ordinary user.

mod deadlines;
mod programs;
mod start_up;
mod strobe;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

use duress_arena::clock::{
    ClockEvidence, ClockPage, MonotonicClocks, StartUp, TraceFault, Tracer, TracerError,
    absolute_waits_missing,
};
use duress_testing::{Missing, Need, REQUIRE, nothing_runs, trial};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use nix::sys::signal::{Signal, kill};
use nix::time::ClockId;
use nix::unistd::{Pid, geteuid};
use programs::{Programs, Reuse, Running, machine_ns, piped, until};
use start_up::{states, tracer_of};

const SECOND: i64 = 1_000_000_000;
const HOUR: i64 = 3600 * SECOND;
/// What a wall clock may lag behind because it counts in coarser units, Java's microseconds among them.
const GRAIN: i64 = 1_000;
/// The ordinary user.
const NOBODY: u32 = 65534;
/// Tells the suite that it is the ordinary user's, and where the programs are.
const PROGRAMS: &str = "DURESS_CLOCK_PROGRAMS";

struct World {
    tracer: Tracer,
    /// Another one, for the test that kills it.
    doomed: Tracer,
    programs: Programs,
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    // Nothing below may start a thread before the tracer.
    let both = Tracer::start().and_then(|tracer| Ok((tracer, Tracer::start()?)));
    let (tracer, doomed) = match both {
        Ok(both) => both,
        Err(error @ TracerError::Unsupported { .. }) => {
            return nothing_runs("clock", Missing::new(Need::Ptrace, error.to_string()));
        }
        Err(error) => panic!("the tracer does not start: {error:?}"),
    };
    let own = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir();
    let own = own.expect("a folder for the programs");
    let programs = match std::env::var_os(PROGRAMS) {
        Some(folder) => Programs::make(folder.as_ref(), Reuse::Yes),
        None => Programs::make(own.path(), Reuse::No),
    };
    let world = Arc::new(World { tracer, doomed, programs });
    let mut trials = Vec::new();
    for name in ["c", "c-static", "c-fixed", "rust", "rust-static", "go", "java", "python"] {
        add(&mut trials, &world, format!("{name}_follows_the_clock"), &[name], move |world| {
            follows_the_clock(world, name)
        });
    }
    type Listed = (&'static str, &'static [&'static str], fn(&World));
    let list: &[Listed] = &[
        ("every_wall_clock_moves_and_no_other", &["c"], every_wall_clock_moves_and_no_other),
        ("monotonic_clocks_drift_when_asked", &["c"], monotonic_clocks_drift_when_asked),
        ("no_reading_is_torn", &["torn"], no_reading_is_torn),
        ("monotonic_clocks_never_go_back", &["torn"], monotonic_clocks_never_go_back),
        ("a_strobe_flips_the_clock_until_stopped", &["c"], strobe::flips_the_clock_until_stopped),
        ("a_strobing_clock_proves_itself_at_any_moment", &["c"], strobe::proves_itself_at_any_moment),
        ("forked_children_follow", &["python"], start_up::forked_children_follow),
        ("programs_behind_scripts_follow", &["c-static"], start_up::programs_behind_scripts_follow),
        ("an_exec_after_start_up_is_noticed", &["c"], start_up::an_exec_after_start_up_is_noticed),
        ("signals_work_during_start_up", &["go"], start_up::signals_work_during_start_up),
        ("start_up_ends", &["c"], start_up::start_up_ends),
        ("waiting_programs_do_not_notice_being_asked", &["waits"], waiting_programs_do_not_notice),
        ("busy_programs_can_be_asked", &["torn", "go"], busy_programs_can_be_asked),
        ("paused_programs_stay_paused", &["c"], paused_programs_stay_paused),
        ("an_unpatched_program_is_evidence_of_failure", &["c"], an_unpatched_program_is_evidence_of_failure),
        ("a_plain_system_call_bypasses_the_clock", &["bypass"], a_plain_system_call_bypasses_the_clock),
        ("nodes_have_clocks_of_their_own", &["c"], nodes_have_clocks_of_their_own),
        ("a_process_that_ends_is_left_out", &["c"], a_process_that_ends_is_left_out),
        ("a_missing_program_is_named", &[], a_missing_program_is_named),
        ("programs_outlive_the_tracer", &["go"], programs_outlive_the_tracer),
        ("the_tracer_refuses_to_fork_from_threads", &[], the_tracer_refuses_to_fork_from_threads),
    ];
    let waits: &[Listed] = &[
        ("waits_end_by_the_nodes_clock", &["deadlines"], deadlines::waits_end_by_the_nodes_clock),
        ("waits_notice_a_step", &["deadlines"], deadlines::waits_notice_a_step),
        ("monotonic_waits_keep_their_time", &["deadlines"], deadlines::monotonic_waits_keep_their_time),
        ("java_parks_by_the_nodes_clock", &["parker"], deadlines::java_parks_by_the_nodes_clock),
        (
            "waits_without_the_library_end_by_the_machines_clock",
            &["deadlines"],
            deadlines::waits_without_the_library_end_by_the_machines_clock,
        ),
        ("a_preload_of_the_programs_own_is_kept", &[], deadlines::a_preload_of_the_programs_own_is_kept),
    ];
    for (name, needs, test) in list {
        add(&mut trials, &world, (*name).to_owned(), needs, *test);
    }
    for (name, needs, test) in waits {
        match absolute_waits_missing() {
            None => add(&mut trials, &world, (*name).to_owned(), needs, *test),
            Some(reason) => trials.push(trial(*name, move || Err(Missing::new(Need::Languages, reason)))),
        }
    }
    if std::env::var_os(PROGRAMS).is_none() {
        let world = Arc::clone(&world);
        trials.push(Trial::ignorable_test("an_ordinary_user_can_do_all_of_this", move || {
            an_ordinary_user_can_do_all_of_this(&world)
        }));
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    drop(world);
    conclusion.exit_code()
}

/// Adds a test that needs programs; without them it is ignored, with the reason.
fn add(
    trials: &mut Vec<Trial>,
    world: &Arc<World>,
    name: String,
    needs: &[&str],
    test: impl FnOnce(&World) + Send + 'static,
) {
    let missing = needs.iter().find_map(|need| world.programs.command_line(need).err());
    let world = Arc::clone(world);
    trials.push(trial(name, move || match missing {
        Some(reason) => Err(Missing::new(Need::Languages, reason)),
        None => {
            test(&world);
            Ok(())
        }
    }));
}

impl World {
    fn start(&self, page: &ClockPage, name: &str) -> Running {
        Running::start(&self.tracer, page, self.line(name))
    }

    fn line(&self, name: &str) -> &[String] {
        self.programs.command_line(name).expect("the test was not skipped")
    }

    fn evidence(&self, page: &ClockPage, pids: &[Pid]) -> ClockEvidence {
        ClockEvidence::gather(&self.tracer, page, pids, Duration::from_secs(5)).expect("the tracer lives")
    }
}

fn new_page() -> ClockPage {
    ClockPage::create().expect("a clock page")
}

fn follows_the_clock(world: &World, name: &str) {
    let page = new_page();
    let mut program = world.start(&page, name);
    let mut monotonic = Vec::new();
    let mut ask = |program: &mut Running| {
        let answer = program.ask("now");
        let elapsed = answer.values.get("elapsed").or(answer.values.get("mono"));
        monotonic.push((answer.wall, *elapsed.expect("a monotonic clock")));
        answer
    };
    ask(&mut program).assert_ahead("wall", (0, 0), GRAIN);
    for (delta, offset) in [(HOUR, HOUR), (-2 * HOUR, -HOUR), (1, 1 - HOUR)] {
        page.bump(delta).expect("is bumped");
        ask(&mut program).assert_ahead("wall", (offset, offset), GRAIN);
    }
    let evidence = world.evidence(&page, &[program.pid()]);
    assert!(evidence.proves(GRAIN), "{evidence:?}");
    assert!(evidence.seen[0].uncertainty_ns < SECOND / 2, "{evidence:?}");

    // 20 ms a second, from where it stands.
    let drifting = page.drift(20_000_000, MonotonicClocks::KeepPace).expect("drifts");
    let mut gained = 0;
    until("the clock gains 8 ms", || {
        let answer = ask(&mut program);
        let expected = (drifting.offset_at(answer.wall.0), drifting.offset_at(answer.wall.1));
        answer.assert_ahead("wall", expected, GRAIN);
        gained = expected.0 - drifting.offset_ns;
        gained > 8_000_000
    });
    let evidence = world.evidence(&page, &[program.pid()]);
    assert!(evidence.proves(GRAIN), "{evidence:?}");
    let seen = evidence.seen[0];
    assert!(seen.delta_ns - drifting.offset_ns + seen.uncertainty_ns > 8_000_000, "{evidence:?}");

    page.reset().expect("is reset");
    ask(&mut program).assert_ahead("wall", (0, 0), GRAIN);
    // All the while monotonic time went at the machine's pace.
    for pair in monotonic.windows(2) {
        let [(earlier, from), (later, to)] = pair else { unreachable!("windows of two") };
        let longest = later.1 - earlier.0;
        let shortest = later.0 - earlier.1;
        assert!((shortest - GRAIN..=longest + GRAIN).contains(&(to - from)), "{pair:?}");
    }
    assert!(program.finish().success());
}

fn every_wall_clock_moves_and_no_other(world: &World) {
    let page = new_page();
    let mut program = world.start(&page, "c");
    for offset in [0, 90 * HOUR, -12 * HOUR - 1] {
        page.reset().expect("is reset");
        page.bump(offset).expect("is bumped");
        let clocks = [
            ("mono", ClockId::CLOCK_MONOTONIC, 0),
            ("mono-coarse", ClockId::CLOCK_MONOTONIC_COARSE, SECOND / 100),
            ("raw", ClockId::CLOCK_MONOTONIC_RAW, 0),
            ("boot", ClockId::CLOCK_BOOTTIME, 0),
        ];
        let before = clocks.map(|(_, id, _)| machine_ns(id));
        let tai = machine_ns(ClockId::CLOCK_TAI) - machine_ns(ClockId::CLOCK_REALTIME);
        let answer = program.ask("now");
        answer.assert_ahead("wall", (offset, offset), 0);
        answer.assert_ahead("day", (offset, offset), 1_000);
        answer.assert_ahead("time", (offset, offset), SECOND);
        // The coarse clock advances with the kernel's timer tick.
        answer.assert_ahead("coarse", (offset, offset), SECOND / 100);
        let tai = offset + (tai + SECOND / 2) / SECOND * SECOND;
        answer.assert_ahead("tai", (tai, tai), 0);
        assert_eq!([answer.value("zone"), answer.value("same"), answer.value("null")], [0, 1, 1]);
        for ((name, id, grain), before) in clocks.into_iter().zip(before) {
            let seen = answer.value(name);
            assert!((before - grain..=machine_ns(id)).contains(&seen), "{name}: {before} {seen}");
        }
        assert!((0..10 * SECOND).contains(&answer.value("cpu")), "{}", answer.line);
        assert!(answer.line.contains("none!22"), "an invalid clock: {}", answer.line);
        assert!(answer.value("day") >= answer.value("wall") / 1_000 * 1_000, "{}", answer.line);
    }
}

fn monotonic_clocks_drift_when_asked(world: &World) {
    let page = new_page();
    let mut program = world.start(&page, "c");
    let drifting = page.drift(SECOND / 2, MonotonicClocks::Drift).expect("drifts");
    until("monotonic clocks gain 50 ms", || {
        let before = machine_ns(ClockId::CLOCK_MONOTONIC);
        let answer = program.ask("now");
        let after = machine_ns(ClockId::CLOCK_MONOTONIC);
        let gained = [answer.wall.0, answer.wall.1].map(|wall| drifting.offset_at(wall) - drifting.offset_ns);
        let mono = answer.value("mono");
        // They begin 20 ms after the wall clock.
        let late = SECOND / 50 / 2 + GRAIN;
        assert!((before + gained[0] - late..=after + gained[1] + GRAIN).contains(&mono), "{gained:?}");
        gained[0] > 50_000_000
    });
    // The wall clock steps back; the monotonic clock keeps what it gained.
    let kept = page.reset().expect("is reset").monotonic_offset_ns;
    assert!(kept > 40_000_000, "{kept}");
    program.ask("now").assert_ahead("wall", (0, 0), 0);
    until("the drift has ended", || {
        let before = machine_ns(ClockId::CLOCK_MONOTONIC);
        let mono = program.ask("now").value("mono");
        let after = machine_ns(ClockId::CLOCK_MONOTONIC);
        assert!(mono <= after + kept, "{kept}: {before} {mono} {after}");
        mono >= before + kept
    });
}

/// What one run of `torn` saw.
struct Torn {
    /// The machine's clock before, the node's, and the machine's after.
    readings: Vec<[i64; 3]>,
    backwards: i64,
}

/// Runs `torn`, calling `change` over and over meanwhile.
fn while_torn_runs(world: &World, page: &ClockPage, mut change: impl FnMut(u64)) -> Torn {
    let mut program = world.start(page, "torn");
    assert_eq!(program.read_line(), "ready\n");
    let end = Instant::now() + Duration::from_millis(800);
    let mut turn = 0;
    while Instant::now() < end || turn < 20 {
        change(turn);
        turn += 1;
    }
    finish_torn(program)
}

fn finish_torn(mut program: Running) -> Torn {
    program.close_input();
    let mut readings = Vec::new();
    loop {
        let line = program.read_line();
        if let Some(backwards) = line.strip_prefix("backwards=") {
            return Torn { readings, backwards: backwards.trim().parse().expect("a number") };
        }
        let mut numbers = line.split_ascii_whitespace().map(|number| number.parse().expect("a number"));
        readings.push([(); 3].map(|()| numbers.next().expect("three numbers")));
    }
}

/// Every reading must be a time that the clock really showed at some moment while it was being read.
fn no_reading_is_torn(world: &World) {
    let page = new_page();
    // Every step is a second forwards, so that a reading tells how many steps had been made. Step k was in
    // force no earlier than `from[k]` and no later than `to[k + 1]`.
    let (mut from, mut to) = (vec![0], vec![0]);
    let torn = while_torn_runs(world, &page, |_| {
        from.push(page.bump(SECOND).expect("is bumped").since_ns);
        to.push(machine_ns(ClockId::CLOCK_REALTIME));
    });
    to.push(i64::MAX);
    let mut steps_seen = std::collections::BTreeSet::new();
    for [before, seen, after] in &torn.readings {
        let step = (seen - before) / SECOND;
        let shown = seen - step * SECOND;
        let steps = usize::try_from(step).expect("the clock is never behind");
        let (earliest, latest) = (*before.max(&from[steps]), *after.min(&to[steps + 1]));
        assert!(
            (earliest..=latest).contains(&shown),
            "after {step} steps it showed {shown}, which is not in {earliest}..={latest}"
        );
        steps_seen.insert(step);
    }
    assert!(steps_seen.len() > 10, "readings and steps overlapped: {}", steps_seen.len());
    assert_eq!(torn.backwards, 0);
}

fn monotonic_clocks_never_go_back(world: &World) {
    let page = new_page();
    let mut changes = 0;
    let torn = while_torn_runs(world, &page, |turn| {
        // Steep, so that a jump by a thousandth of the time between two changes would show.
        let ppb = if turn % 2 == 0 { SECOND } else { -SECOND / 2 };
        page.drift(ppb, MonotonicClocks::Drift).expect("drifts");
        changes += 1;
    });
    assert!(changes > 10, "the rate was changed only {changes} times");
    assert_eq!(torn.backwards, 0);
}

fn waiting_programs_do_not_notice(world: &World) {
    let page = new_page();
    page.bump(HOUR).expect("is bumped");
    let mut program = world.start(&page, "waits");
    assert_eq!(program.read_line().trim(), "user=good");
    let pid = program.pid();
    let mut samples = 0;
    // Forty looks a second are plenty; in between, waits can come to their end undisturbed.
    while !program.has_output(Duration::from_millis(25)) {
        let sample = match world.tracer.sample(pid, &page, Duration::from_secs(1)) {
            Ok(sample) => sample,
            Err(TracerError::Sample { source: TraceFault::Ended, .. }) => break,
            Err(error) => panic!("{error:?}"),
        };
        let seen = sample.seen_ns - HOUR;
        assert!((sample.before_ns..=sample.after_ns).contains(&seen), "{sample:?}");
        samples += 1;
    }
    assert!(samples > 50, "only {samples} samples");
    assert_eq!(program.read_line().trim(), "sleep=good ppoll=good poll=good pselect=good condition=good");
}

fn busy_programs_can_be_asked(world: &World) {
    let page = new_page();
    page.bump(-HOUR).expect("is bumped");
    let mut torn = world.start(&page, "torn");
    assert_eq!(torn.read_line(), "ready\n");
    let mut go = world.start(&page, "go");
    go.ask("now");
    let pids = [torn.pid(), go.pid()];
    for _ in 0..50 {
        let evidence = world.evidence(&page, &pids);
        assert!(evidence.proves(0) && evidence.seen.len() == 2, "{evidence:?}");
    }
    let torn = finish_torn(torn);
    assert_eq!(torn.backwards, 0);
    for [before, seen, after] in torn.readings {
        assert!((before - HOUR..=after - HOUR).contains(&seen), "{before} {seen} {after}");
    }
    go.ask("now").assert_ahead("wall", (-HOUR, -HOUR), 0);
    assert!(go.finish().success());
}

fn paused_programs_stay_paused(world: &World) {
    let page = new_page();
    let mut program = world.start(&page, "c");
    let pid = program.pid();
    kill(pid, Signal::SIGSTOP).expect("is stopped");
    until("it is stopped", || states(pid) == "T");
    let evidence = world.evidence(&page, &[pid]);
    assert_eq!(evidence.patched_pids, [pid.as_raw()]);
    assert!(evidence.seen.is_empty() && !evidence.proves(GRAIN), "{evidence:?}");
    until("it is stopped again", || states(pid) == "T");
    kill(pid, Signal::SIGCONT).expect("is continued");
    program.ask("now").assert_ahead("wall", (0, 0), 0);
    assert!(world.evidence(&page, &[pid]).proves(GRAIN));
}

fn an_unpatched_program_is_evidence_of_failure(world: &World) {
    let page = new_page();
    let other = new_page();
    let mut plain = Running::of(piped(world.line("c")).spawn().expect("spawns"));
    let mut elsewhere = world.start(&other, "c");
    let mut ours = world.start(&page, "c");
    for program in [&mut plain, &mut elsewhere, &mut ours] {
        program.ask("now");
    }
    let evidence = world.evidence(&page, &[plain.pid(), elsewhere.pid(), ours.pid()]);
    let unpatched: Vec<i32> = evidence.unpatched.iter().map(|one| one.pid).collect();
    assert_eq!(unpatched, [plain.pid().as_raw(), elsewhere.pid().as_raw()]);
    assert_eq!(evidence.patched_pids, [ours.pid().as_raw()]);
    assert!(!evidence.proves(SECOND));
    assert!(world.evidence(&page, &[ours.pid()]).proves(GRAIN));
    assert!(!world.evidence(&page, &[]).proves(SECOND), "no process proves nothing");
}

/// A limit of the method, and of its evidence: this is what the documentation says, kept true.
fn a_plain_system_call_bypasses_the_clock(world: &World) {
    let page = new_page();
    let mut program = world.start(&page, "bypass");
    page.bump(HOUR).expect("is bumped");
    program.ask("now").assert_ahead("wall", (0, 0), 0);
    assert!(world.evidence(&page, &[program.pid()]).proves(GRAIN));
}

fn nodes_have_clocks_of_their_own(world: &World) {
    let pages = [new_page(), new_page(), new_page()];
    let mut nodes: Vec<Running> = pages.iter().map(|page| world.start(page, "c")).collect();
    pages[0].bump(HOUR).expect("is bumped");
    pages[2].bump(-HOUR).expect("is bumped");
    for (node, offset) in nodes.iter_mut().zip([HOUR, 0, -HOUR]) {
        node.ask("now").assert_ahead("wall", (offset, offset), 0);
    }
    // A page that is gone leaves the processes with what was in force.
    drop(pages);
    nodes[0].ask("now").assert_ahead("wall", (HOUR, HOUR), 0);
}

/// Whatever stage of its end a process is in when it is looked at, it never counts as one that does not
/// follow.
fn a_process_that_ends_is_left_out(world: &World) {
    let page = new_page();
    for _ in 0..30 {
        let mut program = world.start(&page, "c");
        program.ask("now");
        let pid = program.pid();
        program.close_input();
        let mut evidence = world.evidence(&page, &[pid]);
        // Its end is collected only afterwards, so that the process id stays its own.
        until("it has ended", || {
            evidence = world.evidence(&page, &[pid]);
            assert!(evidence.unpatched.is_empty(), "{evidence:?}");
            assert_eq!(evidence.seen.len(), evidence.patched_pids.len(), "{evidence:?}");
            evidence.patched_pids.is_empty()
        });
        assert!(program.finish().success());
    }
}

fn a_missing_program_is_named(world: &World) {
    let command = Command::new("/nonexistent/etcd");
    let refused = world.tracer.spawn(command, &new_page(), StartUp::default());
    match refused {
        Err(error @ TracerError::Program { .. }) => assert!(error.to_string().contains("/nonexistent/etcd")),
        other => panic!("{other:?}"),
    }
}

fn programs_outlive_the_tracer(world: &World) {
    let page = new_page();
    let mut program = Running::start(&world.doomed, &page, world.line("go"));
    program.ask("now");
    assert_eq!(tracer_of(program.pid()), world.doomed.pid().as_raw(), "start-up is not over");
    kill(world.doomed.pid(), Signal::SIGKILL).expect("is killed");
    until("the program is on its own", || tracer_of(program.pid()) == 0);
    page.bump(HOUR).expect("is bumped");
    program.ask("now").assert_ahead("wall", (HOUR, HOUR), 0);
    let refused = world.doomed.spawn(Command::new("true"), &page, StartUp::default());
    assert!(matches!(refused, Err(TracerError::Socket { .. })), "{refused:?}");
    let refused = ClockEvidence::gather(&world.doomed, &page, &[program.pid()], Duration::from_secs(1));
    assert!(refused.is_err(), "{refused:?}");
    assert!(program.finish().success());
}

fn the_tracer_refuses_to_fork_from_threads(_: &World) {
    let refused = std::thread::spawn(Tracer::start).join().expect("does not panic");
    assert!(matches!(refused, Err(TracerError::Fork(_))), "{refused:?}");
}

/// Whether this user namespace knows `user`.
fn is_mapped(user: u32) -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.lines().any(|line| {
        let mut numbers = line.split_ascii_whitespace().filter_map(|number| number.parse::<u64>().ok());
        let (first, _outside, count) = (numbers.next(), numbers.next(), numbers.next());
        let user = u64::from(user);
        first.zip(count).is_some_and(|(first, count)| (first..first + count).contains(&user))
    })
}

fn an_ordinary_user_can_do_all_of_this(world: &World) -> Result<Completion, Failed> {
    if !geteuid().is_root() || !is_mapped(NOBODY) {
        let reason = "these tests already run as an ordinary user, or there is no other user here";
        return Missing::new(Need::Root, reason).ended();
    }
    // The build folder may be closed to others.
    let copy = world.programs.folder.join("suite");
    fs::copy("/proc/self/exe", &copy)?;
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))?;
    let output = Command::new(&copy)
        .env(PROGRAMS, &world.programs.folder)
        .env_remove(REQUIRE)
        .current_dir("/")
        .uid(NOBODY)
        .gid(NOBODY)
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    for line in text.lines().filter(|line| line.contains("ignored")) {
        println!("as user {NOBODY}: {line}");
    }
    if output.status.success() {
        Ok(Completion::Completed)
    } else {
        Err(format!("{}\n{text}\n{}", output.status, String::from_utf8_lossy(&output.stderr)).into())
    }
}
