//! How the check grows with the length and the shape of a history.
//!
//! The benches that begin with `growing` take the same events one by one, as they come, on one core.
//!
//! The histories are simulated, the same in every run: of 15 processes and more. `DURESS_BENCH_MAX` bounds the number of
//! operations, for a first look.

#[path = "../tests/suite/simulation/mod.rs"]
mod simulation;

use std::hint::black_box;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use duress_checkers::growing::{ByKey, Growing, Registers, SoFar};
use duress_checkers::linearizable::{Budget, check_registers};
use duress_checkers::verdict::Verdict;
use duress_history::Assumed;
use simulation::{Defect, Shape, Values};

/// A shape's name, and the shape for so many operations.
type Named = (&'static str, fn(usize) -> Shape);

const SHAPES: [Named; 9] = [
    ("many-keys-unique", |operations| shape(operations, operations as i64 / 100, Values::Unique, 10)),
    ("many-keys-repeated", |operations| shape(operations, operations as i64 / 100, Values::Below(5), 10)),
    ("one-key-unique", |operations| shape(operations, 1, Values::Unique, 10)),
    ("one-key-repeated", |operations| shape(operations, 1, Values::Below(5), 0)),
    ("one-key-repeated-1-percent-crashed", |operations| shape(operations, 1, Values::Below(5), 10)),
    ("one-key-unique-20-percent-crashed", |operations| shape(operations, 1, Values::Unique, 200)),
    ("one-key-of-20-values-5-percent-crashed", |operations| shape(operations, 1, Values::Below(20), 50)),
    ("one-key-30-processes", |operations| Shape {
        processes: 30,
        ..shape(operations, 1, Values::Below(5), 0)
    }),
    ("one-key-50-processes", |operations| Shape {
        processes: 50,
        ..shape(operations, 1, Values::Below(5), 0)
    }),
];

/// One read in fifty is stale: the benchmark times finding the first of them, with its witness.
const STALE: [Named; 3] = [
    ("stale-one-key-1-percent-crashed", |operations| stale(shape(operations, 1, Values::Below(5), 10))),
    ("stale-one-key-30-processes", |operations| {
        stale(Shape { processes: 30, ..shape(operations, 1, Values::Below(5), 0) })
    }),
    ("stale-one-key-50-processes", |operations| {
        stale(Shape { processes: 50, ..shape(operations, 1, Values::Below(5), 0) })
    }),
];

const fn stale(shape: Shape) -> Shape {
    Shape { defect: Defect::StaleRead, ..shape }
}

const fn shape(operations: usize, keys: i64, values: Values, crashed_per_mille: u32) -> Shape {
    Shape { operations, keys, processes: 15, crashed_per_mille, values, defect: Defect::None }
}

fn check(criterion: &mut Criterion) {
    let most = std::env::var("DURESS_BENCH_MAX").ok().and_then(|most| most.parse().ok()).unwrap_or(1_000_000);
    let valid = SHAPES.map(|named| (named, 1_000_000));
    let invalid = STALE.map(|named| (named, 10_000));
    for ((name, shape), longest) in valid.into_iter().chain(invalid) {
        let mut group = criterion.benchmark_group(name);
        group.sample_size(10).warm_up_time(Duration::from_millis(200));
        for operations in [1_000, 10_000, 100_000, 1_000_000] {
            if operations > most.min(longest) {
                continue;
            }
            let shape = shape(operations);
            let history = simulation::operations(1, shape);
            group.throughput(Throughput::Elements(operations as u64));
            group.bench_function(BenchmarkId::from_parameter(operations), |bencher| {
                bencher.iter(|| {
                    let interrupt = AtomicBool::new(false);
                    let report = check_registers(
                        black_box(&history),
                        &Assumed::default(),
                        &Budget::default(),
                        &interrupt,
                    );
                    assert!(!matches!(report.verdict, Verdict::Unknown(_)), "{:?}", report.verdict);
                    assert_eq!(report.verdict == Verdict::Valid, shape.defect == Defect::None);
                });
            });
        }
        group.finish();
    }
}

/// The shapes whose values are unique.
fn grow(criterion: &mut Criterion) {
    let most = std::env::var("DURESS_BENCH_MAX").ok().and_then(|most| most.parse().ok()).unwrap_or(1_000_000);
    for (name, shape) in SHAPES.into_iter().filter(|(_, shape)| shape(1).values == Values::Unique) {
        let mut group = criterion.benchmark_group(format!("growing-{name}"));
        group.sample_size(10).warm_up_time(Duration::from_millis(200));
        for operations in [1_000, 10_000, 100_000, 1_000_000].into_iter().filter(|size| *size <= most) {
            let events = simulation::events(1, shape(operations));
            group.throughput(Throughput::Elements(operations as u64));
            group.bench_function(BenchmarkId::from_parameter(operations), |bencher| {
                bencher.iter(|| {
                    let mut growing = ByKey::<Registers>::default();
                    black_box(&events).iter().for_each(|event| growing.take(event));
                    let SoFar { anomaly, left, .. } = growing.so_far();
                    assert_eq!((anomaly, left), (None, 0));
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, check, grow);
criterion_main!(benches);
