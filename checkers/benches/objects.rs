//! How the checks of sets, counters, stale and old reads, and queues grow with the length of a history.
//!
//! The histories are simulated, the same in every run: 15 processes, one operation in a hundred never answered. A set holds
//! a hundred elements or so, since every read of it answers all; there are as many sets as that takes. `DURESS_BENCH_MAX`
//! bounds the number of operations, for a first look.

#[allow(dead_code, reason = "the tests ask a simulation for more than a bench does")]
#[path = "../tests/suite/objects/mod.rs"]
mod objects;
#[path = "../tests/suite/queue_simulation/mod.rs"]
mod queue_simulation;
#[allow(dead_code, reason = "the tests ask a simulation for more than a bench does")]
#[path = "../tests/suite/replicas/mod.rs"]
mod replicas;

use std::collections::BTreeSet;
use std::hint::black_box;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use duress_checkers::counter::check_counter;
use duress_checkers::freshness::{check_freshness, read_ages};
use duress_checkers::growing::{ByKey, Growing, Sets, SoFar};
use duress_checkers::linearizable::Budget;
use duress_checkers::queue::{Order, check_queue};
use duress_checkers::set::check_set;
use duress_checkers::stale_reads::check_stale_reads;
use duress_checkers::verdict::Verdict;
use duress_history::counter::{Counter, CounterOp};
use duress_history::set::{Set, SetOp};
use duress_history::{
    Assumed, Completion, Consistency, Event, Freshness, OpType, Operation, Process, Scalar, Timing,
};
use objects::{Defect, Object, Shape, simulate};

impl Object for Set {
    type State = BTreeSet<Scalar>;

    fn is_read(&self) -> bool {
        matches!(self.op, SetOp::Read(_))
    }

    fn changed(&self, state: &BTreeSet<Scalar>) -> BTreeSet<Scalar> {
        let SetOp::Add(element) = &self.op else { return state.clone() };
        state.iter().chain([element]).cloned().collect()
    }

    fn answered(&self, state: &BTreeSet<Scalar>) -> Self {
        Self { key: self.key.clone(), op: SetOp::Read(Some(state.iter().cloned().collect())) }
    }
}

impl Object for Counter {
    type State = i64;

    fn is_read(&self) -> bool {
        matches!(self.op, CounterOp::Read(_))
    }

    fn changed(&self, state: &i64) -> i64 {
        let CounterOp::Add(delta) = self.op else { return *state };
        state + delta
    }

    fn answered(&self, state: &i64) -> Self {
        Self { key: self.key.clone(), op: CounterOp::Read(Some(*state)) }
    }
}

const SIZES: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];

const fn shape(operations: usize) -> Shape {
    let (processes, nodes, crashed_per_mille, reads_per_ten) = (15, 3, 10, 5);
    Shape {
        operations,
        processes,
        nodes,
        crashed_per_mille,
        reads_per_ten,
        lagging: false,
        defect: Defect::None,
    }
}

/// Operations on one set after another, each of two hundred.
fn sets(operations: usize) -> Vec<Operation<Set>> {
    const EACH: usize = 200;
    let read = Set { key: None, op: SetOp::Read(None) };
    let mut all: Vec<Operation<Set>> = Vec::with_capacity(operations);
    for key in 0..operations / EACH {
        let add = |at: usize| Set { key: None, op: SetOp::Add(Scalar::Int(at as i64)) };
        let (one, _) = simulate(key as u64, shape(EACH), |_, at| add(at), &read);
        let offset = 3 * all.len() as u64;
        let keyed = |operation: Operation<Set>| {
            let mut operation = operation.map(|action| Set { key: Some(Scalar::Int(key as i64)), ..action });
            operation.index += offset;
            if let Completion::Ok { index, .. } | Completion::Fail { index, .. } = &mut operation.completion {
                *index += offset;
            }
            operation
        };
        all.extend(one.into_iter().map(keyed));
    }
    all
}

fn bench<A>(
    criterion: &mut Criterion,
    name: &str,
    simulated: impl Fn(usize) -> Vec<Operation<A>>,
    check: impl Fn(&[Operation<A>]) -> Verdict,
) {
    let most =
        std::env::var("DURESS_BENCH_MAX").ok().and_then(|most| most.parse().ok()).unwrap_or(usize::MAX);
    let mut group = criterion.benchmark_group(name);
    group.sample_size(10).warm_up_time(Duration::from_millis(200));
    for size in SIZES.into_iter().filter(|size| *size <= most) {
        let history = simulated(size);
        group.throughput(Throughput::Elements(history.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| assert_eq!(check(black_box(&history)), Verdict::Valid));
        });
    }
    group.finish();
}

/// The sets' events, taken one by one as they come.
fn grow(criterion: &mut Criterion) {
    let most =
        std::env::var("DURESS_BENCH_MAX").ok().and_then(|most| most.parse().ok()).unwrap_or(usize::MAX);
    let mut group = criterion.benchmark_group("growing-sets-of-100");
    group.sample_size(10).warm_up_time(Duration::from_millis(200));
    for size in SIZES.into_iter().filter(|size| *size <= most) {
        let mut events: Vec<Event<Set>> = Vec::new();
        // Each operation is of a process of its own.
        for (process, operation) in sets(size).into_iter().enumerate() {
            let mut event = |index, op_type, action| {
                let (process, time) = (Process(process as u64), index);
                events.push(Event { index, time, process, op_type, action, node: None, error: None });
            };
            event(operation.index, OpType::Invoke, operation.action.clone());
            match operation.completion {
                Completion::Ok { index, answer, .. } => event(index, OpType::Ok, answer),
                _ => event(operation.index, OpType::Info, operation.action),
            }
        }
        events.sort_by_key(|event| event.index);
        group.throughput(Throughput::Elements(size as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| {
                let mut growing = ByKey::<Sets>::default();
                black_box(&events).iter().for_each(|event| growing.take(event));
                let SoFar { anomaly, left, .. } = growing.so_far();
                assert_eq!((anomaly, left), (None, 0));
            });
        });
    }
    group.finish();
}

fn objects(criterion: &mut Criterion) {
    let strict = Consistency::Linearizable;
    let interrupt = AtomicBool::new(false);
    bench(criterion, "sets-of-100", sets, |history| check_set(history, strict, None, &interrupt).verdict);
    let counter = |size| {
        let read = Counter { key: None, op: CounterOp::Read(None) };
        simulate(1, shape(size), |_, at| Counter { key: None, op: CounterOp::Add(at as i64 % 9 - 2) }, &read)
            .0
    };
    bench(criterion, "one-counter", counter, |history| {
        check_counter(history, strict, None, &interrupt).verdict
    });
    let replicas = |operations: usize, keys: usize| {
        let shape = replicas::Shape {
            operations,
            keys: keys as i64,
            processes: 15,
            nodes: 3,
            crashed_per_mille: 10,
            values_below: 0,
            defect: replicas::Defect::None,
        };
        replicas::simulate(1, shape).operations
    };
    let stale = |size| replicas(size, size / 100);
    bench(criterion, "stale-registers", stale, |history| {
        check_stale_reads(history, &Assumed::default(), None, &Budget::default(), &interrupt).verdict
    });
    // All operations are on one register. The bound allows everything.
    bench(
        criterion,
        "fresh-register",
        |size| replicas(size, 1),
        |history| {
            let (promise, assumed) = (Freshness::Written, Assumed::default());
            let ages = read_ages(history, &assumed, Timing::Recorded, &interrupt);
            assert!(ages.as_ref().is_some_and(|ages| ages.old > 0), "{ages:?}");
            check_freshness(history, promise, &assumed, Timing::Recorded, &interrupt).verdict
        },
    );
    // Pops of unknown outcome would leave stacks to the search.
    for (name, order, crashed_per_mille) in [
        ("one-fifo-queue", Order::Fifo, 1),
        ("one-stack", Order::Lifo, 0),
        ("one-unordered-queue", Order::Any, 1),
    ] {
        let queue = |operations| {
            let shape = queue_simulation::Shape { operations, processes: 10, order, crashed_per_mille };
            queue_simulation::simulate(1, shape)
        };
        let budget = Budget::default();
        bench(criterion, name, queue, |history| check_queue(history, order, &budget, &interrupt).verdict);
    }
}

criterion_group!(benches, objects, grow);
criterion_main!(benches);
