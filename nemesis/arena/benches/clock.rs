//! The cost of a movable clock: per reading, per step, per program start, and per sample.
//!
//! This program starts two copies of itself, one as it is and one that follows a clock page; each reports how
//! long a reading takes. Run with `cargo bench -p duress-arena --bench clock`.

use std::hint::black_box;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant, SystemTime};

use criterion::Criterion;
use duress_arena::clock::{ClockPage, MonotonicClocks, StartUp, Tracer};
use nix::unistd::Pid;

/// The argument that makes a copy a reader instead of a benchmark.
const READER: &str = "--read-the-clock";

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == READER) {
        read_on_demand();
        return ExitCode::SUCCESS;
    }
    let tracer = match Tracer::start() {
        Ok(tracer) => tracer,
        Err(error) => {
            eprintln!("cannot start the tracer: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut criterion = Criterion::default().configure_from_args();
    readings(&mut criterion, &tracer);
    changes(&mut criterion);
    starts(&mut criterion, &tracer);
    questions(&mut criterion, &tracer);
    criterion.final_summary();
    ExitCode::SUCCESS
}

/// For every line "wall N" or "monotonic N": reads that clock N times and prints the nanoseconds it took.
fn read_on_demand() {
    for line in std::io::stdin().lines() {
        let line = line.expect("a request");
        let (clock, count) = line.split_once(' ').expect("a clock and a count");
        let count: u64 = count.parse().expect("a count");
        let start = Instant::now();
        for _ in 0..count {
            match clock {
                "wall" => _ = black_box(SystemTime::now()),
                _ => _ = black_box(Instant::now()),
            }
        }
        println!("{}", start.elapsed().as_nanos());
    }
}

fn reader() -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program's path"));
    command.arg(READER).stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

fn end(mut child: Child) {
    child.kill().expect("is killed");
    child.wait().expect("is waited for");
}

fn readings(criterion: &mut Criterion, tracer: &Tracer) {
    let page = ClockPage::create().expect("a page");
    page.drift(1, MonotonicClocks::KeepPace).expect("drifts");
    let plain = reader().spawn().expect("spawns");
    let patched = tracer.spawn(reader(), &page, StartUp { quiet: Duration::ZERO }).expect("spawns");
    let mut group = criterion.benchmark_group("clock reading");
    for (name, mut child) in [("plain", plain), ("patched", patched)] {
        let mut answers = BufReader::new(child.stdout.take().expect("output"));
        let mut requests = child.stdin.take().expect("input");
        for clock in ["wall", "monotonic"] {
            group.bench_function(format!("{name} {clock}"), |bencher| {
                bencher.iter_custom(|count| {
                    writeln!(requests, "{clock} {count}").expect("is asked");
                    let mut answer = String::new();
                    answers.read_line(&mut answer).expect("answers");
                    Duration::from_nanos(answer.trim().parse().expect("a duration"))
                });
            });
        }
        end(child);
    }
}

fn changes(criterion: &mut Criterion) {
    let page = ClockPage::create().expect("a page");
    let mut delta_ns = 1_000_000_000;
    criterion.bench_function("step", |bencher| {
        bencher.iter(|| {
            delta_ns = -delta_ns;
            page.bump(delta_ns).expect("steps")
        });
    });
}

fn starts(criterion: &mut Criterion, tracer: &Tracer) {
    let page = ClockPage::create().expect("a page");
    let quiet = StartUp { quiet: Duration::ZERO };
    let mut group = criterion.benchmark_group("start of a program");
    group.bench_function("plain", |bencher| {
        bencher.iter_custom(|count| timed(count, || reader().spawn().expect("spawns")));
    });
    group.bench_function("patched", |bencher| {
        bencher.iter_custom(|count| timed(count, || tracer.spawn(reader(), &page, quiet).expect("spawns")));
    });
}

/// Returns the time `start` takes for `count` programs, without that of ending them.
fn timed(count: u64, mut start: impl FnMut() -> Child) -> Duration {
    let mut total = Duration::ZERO;
    for _ in 0..count {
        let began = Instant::now();
        let child = start();
        total += began.elapsed();
        end(child);
    }
    total
}

fn questions(criterion: &mut Criterion, tracer: &Tracer) {
    let page = ClockPage::create().expect("a page");
    let child = tracer.spawn(reader(), &page, StartUp::default()).expect("spawns");
    let pid = Pid::from_raw(child.id() as i32);
    criterion.bench_function("question to a process", |bencher| {
        bencher.iter(|| tracer.sample(pid, &page, Duration::from_secs(1)).expect("answers"));
    });
    end(child);
}
