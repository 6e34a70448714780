//! How the checks of transactions grow with the length of a history.
//!
//! The histories are simulated, the same in every run: 10 clients, one transaction in a hundred never answered, 1 to 4 operations
//! each. Session guarantees: registers of 15 processes, as long a history on few keys and on many. `DURESS_BENCH_MAX` bounds the
//! number of transactions, for a first look.

#[allow(dead_code, reason = "some defects are of interest to other benches only")]
#[path = "../tests/suite/simulation/mod.rs"]
mod simulation;
#[path = "../tests/suite/store/mod.rs"]
mod store;

use std::hint::black_box;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use duress_checkers::transactions::{check_list_append, check_rw_register, check_session_guarantees};
use duress_checkers::verdict::Verdict;
use duress_history::txn::{Elements, Held};
use duress_history::{Assumed, ConsistencyModel, SessionGuarantees};
use store::{Shape, simulate};

const SIZES: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];

fn sizes() -> impl Iterator<Item = usize> {
    let max = std::env::var("DURESS_BENCH_MAX").ok().and_then(|max| max.parse().ok()).unwrap_or(100_000);
    SIZES.into_iter().filter(move |size| *size <= max)
}

const fn shape(transactions: usize) -> Shape {
    Shape { transactions, clients: 10, crashed_per_mille: 10, keys: 5, writes_per_key: 32, seed: 7 }
}

fn transactions(c: &mut Criterion) {
    let never = AtomicBool::new(false);
    let mut group = c.benchmark_group("transactions");
    group.sample_size(10).measurement_time(Duration::from_secs(10));
    for size in sizes() {
        group.throughput(Throughput::Elements(size as u64));
        let lists = simulate::<Elements>(&shape(size));
        group.bench_function(BenchmarkId::new("list-append strict-serializable", size), |bencher| {
            bencher.iter(|| {
                let report =
                    check_list_append(black_box(&lists), ConsistencyModel::StrictSerializable, &never);
                assert_eq!(report.verdict, Verdict::Valid);
            });
        });
        drop(lists);
        let registers = simulate::<Held>(&shape(size));
        for model in [
            ConsistencyModel::StrictSerializable,
            ConsistencyModel::ReadCommitted,
            ConsistencyModel::ReadAtomic,
            ConsistencyModel::Causal,
        ] {
            group.bench_function(BenchmarkId::new(format!("rw-register {model}"), size), |bencher| {
                bencher.iter(|| {
                    let report = check_rw_register(black_box(&registers), model, &Assumed::default(), &never);
                    assert_eq!(report.verdict, Verdict::Valid);
                });
            });
        }
    }
    group.finish();
}

fn sessions(c: &mut Criterion) {
    let never = AtomicBool::new(false);
    let mut group = c.benchmark_group("sessions");
    group.sample_size(10).measurement_time(Duration::from_secs(10));
    for size in sizes() {
        group.throughput(Throughput::Elements(size as u64));
        for (shape, keys) in [("5 keys", 5), ("a key for 100", size as i64 / 100)] {
            let history = simulation::operations(
                1,
                simulation::Shape {
                    operations: size,
                    keys,
                    processes: 15,
                    crashed_per_mille: 10,
                    values: simulation::Values::Unique,
                    defect: simulation::Defect::None,
                },
            );
            for names in ["read-your-writes", "monotonic-reads", "pram", "pram+writes-follow-reads"] {
                let set = SessionGuarantees::named(names).expect("they are names");
                // Each of the ten thousand sessions sees most of the others.
                if set == SessionGuarantees::ALL && size > 100_000 {
                    continue;
                }
                group.bench_function(BenchmarkId::new(format!("{names}, {shape}"), size), |bencher| {
                    bencher.iter(|| {
                        let report =
                            check_session_guarantees(black_box(&history), set, &Assumed::default(), &never);
                        assert_eq!(report.verdict, Verdict::Valid);
                    });
                });
            }
        }
    }
    group.finish();
}

criterion_group!(benches, transactions, sessions);
criterion_main!(benches);
