//! The cost of keeping an event: stamped and buffered, and flushed one by one as before a request leaves.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use duress_history::register::{Register, RegisterOp};
use duress_history::{NodeId, OpType, Process, Recorder, Scalar};

fn record(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("recorder");
    let node = NodeId::new("n3");
    for (name, events_per_flush) in [("flushed-each", 1_u64), ("flushed-per-64", 64)] {
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            let folder = tempfile::tempdir().expect("a folder");
            let mut recorder = Recorder::create(&folder.path().join("history.jsonl")).expect("a new file");
            let mut now = 0;
            bencher.iter(|| {
                now += 1_000;
                let op = RegisterOp::Write(Scalar::Int(now as i64));
                let action = Register { key: Scalar::Int(7), op };
                let event = recorder
                    .record(now, Process(3), OpType::Invoke, black_box(action), Some(node.clone()), None)
                    .expect("kept");
                if event.index.is_multiple_of(events_per_flush) {
                    recorder.flush().expect("handed over");
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, record);
criterion_main!(benches);
