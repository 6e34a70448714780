//! Clocks as unmodified programs see them, in every language that is installed here.
//!
//! The tracer has to be forked while the test is single-threaded, hence no ordinary test harness. As root the
//! whole suite is run once more by an ordinary user.

mod programs;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

use duress_nemesis::arena::clock::{
    ClockEvidence, ClockPage, MonotonicClocks, StartUp, Strobe, Tracer, TracerError,
};
use libtest_mimic::{Arguments, Failed, Trial};
use nix::sys::signal::{Signal, kill};
use nix::time::ClockId;
use nix::unistd::{Pid, geteuid};
use programs::{Programs, Reuse, Running, machine_ns, piped, until};

const SECOND: i64 = 1_000_000_000;
const HOUR: i64 = 3600 * SECOND;
/// What a wall clock may lag behind because it counts in coarser units, Java's microseconds among them.
const GRAIN: i64 = 1_000;
/// Tells the suite that it is the ordinary user's, and where the programs are.
const PROGRAMS: &str = "DURESS_CLOCK_PROGRAMS";

struct World {
    tracer: Tracer,
    programs: Programs,
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    // Nothing below may start a thread before the tracer.
    let tracer = match Tracer::start() {
        Ok(tracer) => tracer,
        Err(error @ TracerError::Unsupported { .. }) => {
            println!("skipped: {error}");
            return ExitCode::SUCCESS;
        }
        Err(error) => panic!("the tracer does not start: {error:?}"),
    };
    let own = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir();
    let own = own.expect("a folder for the programs");
    let programs = match std::env::var_os(PROGRAMS) {
        Some(folder) => Programs::make(folder.as_ref(), Reuse::Yes),
        None => Programs::make(own.path(), Reuse::No),
    };
    let world = Arc::new(World { tracer, programs });
    let mut trials = Vec::new();
    for name in ["c", "c-static", "c-fixed", "rust", "rust-static", "go", "java", "python"] {
        add(&mut trials, &world, format!("{name}_follows_the_clock"), &[name], move |world| {
            follows_the_clock(world, name)
        });
    }
    let list: &[(&str, &[&str], fn(&World))] = &[
        ("every_wall_clock_moves_and_no_other", &["c"], every_wall_clock_moves_and_no_other),
        ("monotonic_clocks_drift_when_asked", &["c"], monotonic_clocks_drift_when_asked),
        ("no_reading_is_torn", &["torn"], no_reading_is_torn),
        ("monotonic_clocks_never_go_back", &["torn"], monotonic_clocks_never_go_back),
        ("a_strobe_flips_the_clock_until_stopped", &["c"], a_strobe_flips_the_clock_until_stopped),
        ("forked_children_follow", &["python"], forked_children_follow),
        ("programs_behind_scripts_follow", &["c-static"], programs_behind_scripts_follow),
        ("an_exec_after_start_up_is_noticed", &["c"], an_exec_after_start_up_is_noticed),
        ("signals_work_during_start_up", &["go"], signals_work_during_start_up),
        ("start_up_ends", &["c"], start_up_ends),
        ("waiting_programs_do_not_notice_being_asked", &["waits"], waiting_programs_do_not_notice),
        ("busy_programs_can_be_asked", &["torn", "go"], busy_programs_can_be_asked),
        ("paused_programs_stay_paused", &["c"], paused_programs_stay_paused),
        ("an_unpatched_program_is_evidence_of_failure", &["c"], an_unpatched_program_is_evidence_of_failure),
        ("a_plain_system_call_bypasses_the_clock", &["bypass"], a_plain_system_call_bypasses_the_clock),
        ("nodes_have_clocks_of_their_own", &["c"], nodes_have_clocks_of_their_own),
        ("a_missing_program_is_named", &[], a_missing_program_is_named),
        ("the_tracer_refuses_to_fork_from_threads", &[], the_tracer_refuses_to_fork_from_threads),
    ];
    for (name, needs, test) in list {
        add(&mut trials, &world, (*name).to_owned(), needs, *test);
    }
    if geteuid().is_root() {
        let world = Arc::clone(&world);
        trials.push(Trial::test("an_ordinary_user_can_do_all_of_this", move || {
            an_ordinary_user_can_do_all_of_this(&world)
        }));
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    drop(world);
    conclusion.exit_code()
}

/// Adds a test that needs programs; without them it is listed as ignored, and the reason is printed.
fn add(
    trials: &mut Vec<Trial>,
    world: &Arc<World>,
    name: String,
    needs: &[&str],
    test: impl FnOnce(&World) + Send + 'static,
) {
    let missing = needs.iter().find_map(|need| world.programs.command_line(need).err());
    if let Some(reason) = &missing {
        println!("skipped: {name}: {reason}");
    }
    let world = Arc::clone(world);
    let trial = Trial::test(name, move || {
        test(&world);
        Ok(())
    });
    trials.push(trial.with_ignored_flag(missing.is_some()));
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
        assert!((before + gained[0] - GRAIN..=after + gained[1] + GRAIN).contains(&mono), "{gained:?}");
        gained[0] > 50_000_000
    });
    // The wall clock steps back; the monotonic clock keeps what it gained.
    let kept = page.reset().expect("is reset").monotonic_offset_ns;
    assert!(kept > 50_000_000);
    let before = machine_ns(ClockId::CLOCK_MONOTONIC);
    let answer = program.ask("now");
    answer.assert_ahead("wall", (0, 0), 0);
    let after = machine_ns(ClockId::CLOCK_MONOTONIC);
    assert!((before + kept..=after + kept).contains(&answer.value("mono")), "{kept} {}", answer.line);
}

/// Runs `torn` with a step, `change`s the clock until the time is up, and returns what the program counted.
fn while_torn_runs(world: &World, page: &ClockPage, step: i64, mut change: impl FnMut(u64)) -> [i64; 4] {
    let line = [world.line("torn"), &[step.to_string()]].concat();
    let mut program = Running::start(&world.tracer, page, &line);
    assert_eq!(program.read_line(), "ready\n");
    let end = Instant::now() + Duration::from_millis(800);
    let mut turn = 0;
    while Instant::now() < end {
        change(turn);
        turn += 1;
    }
    assert!(turn > 1_000, "the clock was changed only {turn} times");
    program.close_input();
    let counts = program.read_line();
    let count = |name: &str| {
        let field = counts.split_ascii_whitespace().find_map(|field| field.strip_prefix(name));
        field.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name} in {counts}"))
    };
    ["plain=", "stepped=", "torn=", "backwards="].map(count)
}

fn no_reading_is_torn(world: &World) {
    let page = new_page();
    let step = HOUR + 123_456_789;
    let [plain, stepped, torn, backwards] = while_torn_runs(world, &page, step, |turn| {
        page.bump(if turn % 2 == 0 { step } else { -step }).expect("is bumped");
    });
    assert_eq!((torn, backwards), (0, 0));
    assert!(plain > 1_000 && stepped > 1_000, "both sides were seen: {plain} {stepped}");
}

fn monotonic_clocks_never_go_back(world: &World) {
    let page = new_page();
    let [_, _, _, backwards] = while_torn_runs(world, &page, 0, |turn| {
        let ppb = if turn % 2 == 0 { 50_000_000 } else { -50_000_000 };
        page.drift(ppb, MonotonicClocks::Drift).expect("drifts");
    });
    assert_eq!(backwards, 0);
}

fn a_strobe_flips_the_clock_until_stopped(world: &World) {
    let page = Arc::new(new_page());
    let mut program = world.start(&page, "c");
    let strobe = Strobe::start(Arc::clone(&page), HOUR, Duration::from_millis(2)).expect("strobes");
    let mut seen = [false; 2];
    until("both sides of the strobe are seen", || {
        let answer = program.ask("now");
        let ahead = answer.value("wall") - answer.wall.0;
        assert!(ahead.abs() < HOUR / 2 || (ahead - HOUR).abs() < HOUR / 2, "{ahead}");
        seen[usize::from(ahead > HOUR / 2)] = true;
        seen == [true; 2]
    });
    let (account, setting) = strobe.stop().expect("stops");
    assert!(account.steps >= 2 && account.failure.is_none(), "{account:?}");
    assert_eq!(setting.offset_ns, 0);
    program.ask("now").assert_ahead("wall", (0, 0), 0);
}

fn forked_children_follow(world: &World) {
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

fn programs_behind_scripts_follow(world: &World) {
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

fn tracer_of(pid: Pid) -> i32 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("lives");
    let line = status.lines().find_map(|line| line.strip_prefix("TracerPid:")).expect("has a tracer line");
    line.trim().parse().expect("a number")
}

fn an_exec_after_start_up_is_noticed(world: &World) {
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

fn start_up_ends(world: &World) {
    let page = new_page();
    let quick = StartUp { quiet: Duration::from_millis(50) };
    let child = world.tracer.spawn(piped(world.line("c")), &page, quick).expect("spawns");
    let mut running = Running::of(child);
    let pid = running.pid();
    assert_eq!(tracer_of(pid), world.tracer.pid().as_raw());
    until("start-up is over", || tracer_of(pid) == 0);
    page.bump(HOUR).expect("is bumped");
    running.ask("now").assert_ahead("wall", (HOUR, HOUR), 0);
    assert!(running.finish().success());
}

/// The state letter of every thread of a process.
fn states(pid: Pid) -> String {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return String::new() };
    let state = |path: std::path::PathBuf| {
        let stat = fs::read_to_string(path.join("stat")).ok()?;
        stat.rsplit(") ").next()?.chars().next()
    };
    threads.filter_map(|thread| state(thread.ok()?.path())).collect()
}

fn signals_work_during_start_up(world: &World) {
    let page = new_page();
    let mut program = world.start(&page, "go");
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

    let mut program = world.start(&page, "go");
    kill(program.pid(), Signal::SIGKILL).expect("is killed");
    assert_eq!(program.child.wait().expect("is waited for").signal(), Some(9));
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
        let sample = world.tracer.sample(pid, &page, Duration::from_secs(1)).expect("can be asked");
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
    let mut torn =
        Running::start(&world.tracer, &page, &[world.line("torn"), &[(-HOUR).to_string()]].concat());
    assert_eq!(torn.read_line(), "ready\n");
    let mut go = world.start(&page, "go");
    go.ask("now");
    let pids = [torn.pid(), go.pid()];
    for _ in 0..50 {
        let evidence = world.evidence(&page, &pids);
        assert!(evidence.proves(0) && evidence.seen.len() == 2, "{evidence:?}");
    }
    torn.close_input();
    assert!(torn.read_line().contains("torn=0 backwards=0"));
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

fn a_missing_program_is_named(world: &World) {
    let command = Command::new("/nonexistent/etcd");
    let refused = world.tracer.spawn(command, &new_page(), StartUp::default());
    match refused {
        Err(error @ TracerError::Program { .. }) => assert!(error.to_string().contains("/nonexistent/etcd")),
        other => panic!("{other:?}"),
    }
}

fn the_tracer_refuses_to_fork_from_threads(_: &World) {
    let refused = std::thread::spawn(Tracer::start).join().expect("does not panic");
    assert!(matches!(refused, Err(TracerError::Fork(_))), "{refused:?}");
}

fn an_ordinary_user_can_do_all_of_this(world: &World) -> Result<(), Failed> {
    const NOBODY: u32 = 65534;
    // The build folder may be closed to others.
    let copy = world.programs.folder.join("suite");
    fs::copy("/proc/self/exe", &copy)?;
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))?;
    let output = Command::new(&copy)
        .env(PROGRAMS, &world.programs.folder)
        .current_dir("/")
        .uid(NOBODY)
        .gid(NOBODY)
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    for line in text.lines().filter(|line| line.starts_with("skipped") || line.starts_with("test result")) {
        println!("as user {NOBODY}: {line}");
    }
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("{}\n{text}\n{}", output.status, String::from_utf8_lossy(&output.stderr)).into())
    }
}
