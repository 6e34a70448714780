//! The cost of reading the history of a log and of checking it, by length and shape.
//!
//! The histories are simulated, the same in every run: 15 processes, one operation in a hundred never answered, a final
//! reading of everything. `DURESS_BENCH_MAX` bounds the number of operations, for a first look.

#[allow(dead_code, reason = "the tests ask a simulation for more than a bench does")]
#[path = "../tests/suite/log_simulation/mod.rs"]
mod log_simulation;

use std::hint::black_box;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use duress_checkers::delivery::{LogOptions, check_log, check_queue};
use duress_checkers::verdict::Verdict;
use duress_history::log::Log;
use duress_history::{Delivery, Operation, jsonl, pairs};
use log_simulation::{Commit, Consumers, Defect, Shape, simulate};

/// Each shape's name, its number of partitions, and how messages are consumed.
const SHAPES: [(&str, usize, Consumers); 3] = [
    ("log-3-partitions", 3, Consumers::Log),
    ("log-300-partitions", 300, Consumers::Log),
    ("queue-30-partitions", 30, Consumers::Queue(Commit::After)),
];

fn check_history(operations: &[Operation<Log>], consumers: Consumers) {
    let interrupt = AtomicBool::new(false);
    let options = LogOptions { promise: Delivery::AT_LEAST_ONCE, ..LogOptions::default() };
    let report = match consumers {
        Consumers::Log => check_log(operations, &options, &interrupt),
        Consumers::Queue(_) => check_queue(operations, &options, &interrupt),
    };
    assert_eq!(report.verdict, Verdict::Valid);
}

fn deliveries(criterion: &mut Criterion) {
    let most = std::env::var("DURESS_BENCH_MAX").ok().and_then(|most| most.parse().ok()).unwrap_or(1_000_000);
    for (name, partitions, consumers) in SHAPES {
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10).warm_up_time(Duration::from_millis(200));
        for operations in [10_000, 100_000, 1_000_000].into_iter().filter(|operations| *operations <= most) {
            let simulated = simulate(
                1,
                Shape {
                    operations,
                    partitions,
                    processes: 15,
                    crashed_per_mille: 10,
                    consumers,
                    offsets: true,
                    defect: Defect::None,
                },
            );
            let mut text = Vec::new();
            for event in &simulated.events {
                serde_json::to_writer(&mut text, event).expect("an event has a line");
                text.push(b'\n');
            }
            group.throughput(Throughput::Elements(simulated.operations.len() as u64));
            group.bench_function(BenchmarkId::new("check", operations), |bencher| {
                bencher.iter(|| check_history(black_box(&simulated.operations), consumers));
            });
            group.bench_function(BenchmarkId::new("read-and-check", operations), |bencher| {
                // The result is returned, so that freeing its memory does not count as reading or checking.
                let read_and_check = |()| {
                    let history = jsonl::read_from::<Log>(black_box(&text[..])).expect("a history");
                    let operations = pairs::pair(history.events).expect("they pair");
                    check_history(&operations, consumers);
                    operations
                };
                bencher.iter_batched(|| (), read_and_check, BatchSize::PerIteration);
            });
        }
        group.finish();
    }
}

criterion_group!(benches, deliveries);
criterion_main!(benches);
