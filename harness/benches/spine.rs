//! The cost of the spine of a run: generator, recorder, worker, recorder, with clients that do no work.
//!
//! The clients answer at once from memory, so that all of the time is ours; the history goes to a real file, as in a
//! run, and everything shares one thread, as in a run. An element is one operation: two events.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use duress::report::progress::Progress;
use duress::run::clock::Clock;
use duress::run::dispatcher::{AtHeal, ClientPolicy, Dispatcher, DispatcherParts, NodeAffinity, Stop};
use duress::workload::generator::{Context, Generator, Next};
use duress::workload::log::LogOptions;
use duress::workload::log::mix::LogMix;
use duress::workload::register::RegisterOptions;
use duress::workload::register::mix::RegisterMix;
use duress_history::register::{Register, RegisterOp};
use duress_history::{Event, NodeId, Process, Recorder, Scalar};
use duress_targets::{CauseKind, Client, Outcome, RequestError};
use tokio::runtime::Builder;
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;

/// The nodes that processes are spread over.
const NODES: usize = 5;

/// Registers in memory, behind every client.
#[derive(Default)]
struct Memory(HashMap<Scalar, Scalar>);

thread_local! {
    // Clients must be `Send`, though all of them stay on this thread.
    static MEMORY: RefCell<Memory> = RefCell::default();
}

struct MemoryClient;

#[async_trait::async_trait]
impl Client<Register> for MemoryClient {
    async fn invoke(&mut self, action: &Register) -> Outcome<Register> {
        MEMORY.with_borrow_mut(|memory| memory.answer(action))
    }
}

impl Memory {
    fn answer(&mut self, action: &Register) -> Outcome<Register> {
        let Register { key, op } = action;
        let held = self.0.get(key);
        match op {
            RegisterOp::Read(_) => {
                let op = RegisterOp::Read(held.cloned());
                return Outcome::Ok(Register { key: key.clone(), op });
            }
            RegisterOp::Write(value) => self.0.insert(key.clone(), value.clone()),
            RegisterOp::Delete => self.0.remove(key),
            RegisterOp::Cas { old, new } if held == old.as_ref() => self.0.insert(key.clone(), new.clone()),
            RegisterOp::Cas { .. } => {
                let refused =
                    RequestError::definite(CauseKind::Precondition, "the register holds another value");
                return Outcome::failed(action, refused);
            }
        };
        Outcome::Ok(action.clone())
    }
}

/// So many operations of the default mix.
struct Counted {
    mix: RegisterMix,
    left: u64,
}

impl Generator<Register> for Counted {
    fn next(&mut self, context: &Context) -> Next<Register> {
        if self.left == 0 {
            return Next::Done;
        }
        self.left -= 1;
        self.mix.next(context)
    }

    fn update(&mut self, event: &Event<Register>) {
        self.mix.update(event);
    }
}

/// Takes `operations` operations through the spine, and returns the time.
fn closed_loop(processes: usize, operations: u64) -> Duration {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let history = folder.path().join("history.jsonl");
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    MEMORY.with_borrow_mut(|memory| memory.0.clear());
    LocalSet::new().block_on(&runtime, async {
        let (_records, nemesis) = mpsc::unbounded_channel();
        let (_stop, stop) = watch::channel(Stop::No);
        let nodes: Vec<NodeId> = (1..=NODES).map(|number| NodeId::new(format!("n{number}"))).collect();
        let mut dispatcher = Dispatcher::start(DispatcherParts {
            recorder: Recorder::create(&history).expect("a new history"),
            clock: Clock::start(),
            policies: (0..processes)
                .map(|slot| ClientPolicy {
                    home: nodes[slot % NODES].clone(),
                    affinity: NodeAffinity::Pinned,
                    timeout: Duration::from_secs(1),
                    at_heal: AtHeal::Waits,
                })
                .collect(),
            make_client: Box::new(|_, _, _| Box::new(MemoryClient)),
            nemesis,
            stop,
            progress: Progress::quiet(),
            answered: watch::channel(0).0,
        });
        let mut generator =
            Counted { mix: RegisterMix::new(RegisterOptions::default(), 1), left: operations };
        let began = Instant::now();
        dispatcher.run(&mut generator, Stop::Early, async {}).await.expect("the history can be written");
        let took = began.elapsed();
        dispatcher.close().await.expect("the history can be closed");
        let recorded = fs::read(&history).expect("the history is there");
        let events = recorded.iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(events as u64, 2 * operations, "every operation began and ended");
        took
    })
}

fn spine(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("spine");
    group.throughput(Throughput::Elements(1));
    for processes in [1, 15, 100] {
        group.bench_with_input(
            BenchmarkId::new("processes", processes),
            &processes,
            |bencher, &processes| {
                bencher.iter_custom(|operations| closed_loop(processes, operations));
            },
        );
    }
    group.finish();
}

fn generator(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("generator");
    group.throughput(Throughput::Elements(1));
    group.bench_function("register", |bencher| {
        let mut mix = RegisterMix::new(RegisterOptions::default(), 1);
        bencher.iter(|| black_box(mix.draw()));
    });
    group.bench_function("log", |bencher| {
        let mut mix = LogMix::new(LogOptions::default(), 1);
        let mut asked = 0;
        bencher.iter(|| {
            asked += 1;
            let slot = asked % 15;
            let now = Duration::from_micros(100 * asked as u64);
            black_box(mix.next(&Context { now, slot, slots: 15, process: Process(slot as u64) }))
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(Duration::from_secs(4));
    targets = spine, generator
}
criterion_main!(benches);
