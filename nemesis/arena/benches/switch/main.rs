//! The cost of the switch: round trips and bulk transfer over both kinds of port, compared with loopback and
//! with a kernel bridge.
//!
//! The same server and the same client run on every path, in one run, so that the figures compare. The
//! loopback is that of one host: no switch, no namespaces to cross. At the end the switch and the bridge take
//! turns, and the figures that count are printed: the ratio of the switch's times to the bridge's, the
//! processor time of the switch per packet, and the extra cost of capturing packets. With `--test` each step
//! runs once, to see that it works.

mod bridge;
mod path;
mod ratios;

use std::fs;
use std::process::ExitCode;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use duress_arena::{CaptureSpec, PortKind, Role, RunStart, isolate};

use crate::bridge::Bridge;
use crate::path::{BULK, Bulk, Echo, Path};

/// How many connections make round trips side by side.
const CONNECTIONS: [usize; 2] = [1, 32];

fn main() -> ExitCode {
    match isolate() {
        Ok(Role::Runner) => {}
        Ok(Role::Outer(status)) => {
            return ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(255));
        }
        Err(error) => {
            println!("cannot be measured here: {error}");
            return ExitCode::SUCCESS;
        }
    }
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    let best = PortKind::best().expect("namespaces can be made");
    measure(&mut criterion, "loopback", &Path::loopback());
    if best == PortKind::Tun {
        measure(&mut criterion, "tun", &Path::between_hosts(PortKind::Tun));
    } else {
        println!("tun ports cannot be measured: /dev/net/tun cannot be used");
    }
    measure(&mut criterion, "packet", &Path::between_hosts(PortKind::Packet));
    match Bridge::build() {
        Ok(bridge) => {
            let bridged = Path::over(bridge);
            measure(&mut criterion, "kernel-bridge", &bridged);
            ratios::compare(&Path::between_hosts(best), &bridged, turns());
        }
        Err(error) => println!("no bridge of the kernel's own to compare with: {error}"),
    }
    measure_capture(best, turns());
    criterion.final_summary();
    ExitCode::SUCCESS
}

/// How many turns things take that are compared with each other.
fn turns() -> usize {
    if std::env::args().any(|argument| argument == "--test") { 1 } else { 31 }
}

fn measure(criterion: &mut Criterion, name: &str, path: &Path) {
    for connections in CONNECTIONS {
        let mut group = criterion.benchmark_group(format!("echo-64B-{connections}-connections"));
        group.throughput(Throughput::Elements(connections as u64));
        let mut echo = Echo::open(path, connections);
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| bencher.iter(|| echo.round()));
        echo.close();
        group.finish();
    }
    let mut group = criterion.benchmark_group("bulk-64MiB");
    group.throughput(Throughput::Bytes(BULK as u64)).sample_size(10);
    let mut bulk = Bulk::open(path);
    group.bench_function(BenchmarkId::from_parameter(name), |bencher| bencher.iter(|| bulk.transfer()));
    bulk.close();
    group.finish();
    if let Some(counters) = path.counters() {
        println!(
            "{name}: {} packets forwarded, {} overflowed",
            counters.forwarded_packets, counters.overflowed_packets
        );
    }
}

/// Measures the switch thread's own time for a small packet, with and without capture: in turns, between the
/// same hosts, since the time is small compared with everything else on the machine.
fn measure_capture(port: PortKind, turns: usize) {
    const ROUNDS: u32 = 300;
    let path = Path::between_hosts(port);
    let switch = path.switch().expect("a path between hosts of an arena");
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let mut echo = Echo::open(&path, CONNECTIONS[1]);
    let kinds = [("off", CaptureSpec::OFF), ("ring", CaptureSpec::RING), ("whole", CaptureSpec::WHOLE)];
    let mut costs = kinds.map(|_| Vec::new());
    for _ in 0..turns {
        for ((_, spec), costs) in kinds.iter().zip(&mut costs) {
            let file = folder.path().join("network.pcapng");
            let capture = switch.capture(spec, RunStart::now(), &file).expect("the switch runs");
            let before = (switch_nanoseconds(), path.packets());
            for _ in 0..ROUNDS {
                echo.round();
            }
            costs.push((switch_nanoseconds() - before.0) / (path.packets() - before.1));
            // A ring is forgotten, a file completed.
            drop(capture);
        }
    }
    for ((kind, _), costs) in kinds.iter().zip(&mut costs) {
        costs.sort_unstable();
        let [low, middle, high] = [turns / 4, turns / 2, turns * 3 / 4].map(|rank| costs[rank]);
        println!("capture {kind}: {middle} ns of the switch thread a packet (middle half {low} to {high})");
    }
    echo.close();
}

/// Returns the processor time of all switch threads of this process; the other threads are idle.
fn switch_nanoseconds() -> u64 {
    let threads = fs::read_dir("/proc/self/task").expect("proc is mounted");
    threads
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|thread| {
            fs::read_to_string(thread.join("comm")).is_ok_and(|name| name.trim_end() == "switch")
        })
        .filter_map(|thread| fs::read_to_string(thread.join("schedstat")).ok())
        .map(|spent| spent.split(' ').next().and_then(|spent| spent.parse::<u64>().ok()).expect("a number"))
        .sum()
}
