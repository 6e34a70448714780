//! The cost of appending to and reading from one log, by size.
//!
//! `append` leaves the data to the kernel; `append-durable` waits for the device after every batch, as a broker does
//! before it acknowledges; `open` reads and checks a log that was not closed.

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use duress_broker::log::{FsyncPolicy, LogConfig, OwnRecord, PartitionLog, build_batch};
use tempfile::TempDir;

/// Returns one batch of `count` records of `bytes` bytes.
fn batch(count: usize, bytes: usize) -> Bytes {
    let record = OwnRecord { key: None, value: Some(vec![7; bytes].into()) };
    build_batch(&vec![record; count], 0)
}

fn open(fsync: FsyncPolicy) -> (TempDir, PartitionLog) {
    let dir = tempfile::tempdir().expect("a folder for a moment");
    let options = LogConfig { fsync, retention_bytes: Some(64 << 20), ..LogConfig::default() };
    let (log, _) = PartitionLog::open(dir.path(), options).expect("a log in it");
    (dir, log)
}

fn append(criterion: &mut Criterion) {
    for (name, fsync) in [("append", FsyncPolicy::Never), ("append-durable", FsyncPolicy::BeforeAck)] {
        let mut group = criterion.benchmark_group(name);
        for (count, bytes) in [(1, 100), (100, 100), (1, 10_000), (64, 10_000)] {
            let batch = batch(count, bytes);
            group.throughput(Throughput::Bytes(batch.len() as u64));
            group.bench_function(BenchmarkId::from_parameter(format!("{count}x{bytes}B")), |bencher| {
                let (_dir, mut log) = open(fsync);
                bencher.iter(|| {
                    let appended = log.append_leader(&batch, 0, 0).expect("it is a batch");
                    log.persist(0).expect("the disk works");
                    // Keeps the folder small.
                    log.retain(0, appended.last_offset).expect("the disk works");
                });
            });
        }
        group.finish();
    }
}

/// Returns a log of about 32 MiB.
fn grown() -> (TempDir, PartitionLog) {
    let (dir, mut log) = open(FsyncPolicy::Never);
    let batch = batch(100, 100);
    while log.size_bytes() < 32 << 20 {
        log.append_leader(&batch, 0, 0).expect("it is a batch");
    }
    (dir, log)
}

fn read(criterion: &mut Criterion) {
    let (_dir, log) = grown();
    let end = log.log_end_offset();
    let mut group = criterion.benchmark_group("read");
    for bytes in [1_usize, 64 << 10, 1 << 20] {
        let mut from = 0;
        let read = log.read(0, bytes, end).expect("the disk works");
        group.throughput(Throughput::Bytes(read.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(format!("{bytes}B")), |bencher| {
            bencher.iter(|| {
                // Here and there, as many readers do.
                from = (from + 99_991) % (end - 20_000);
                black_box(log.read(from, bytes, end).expect("the disk works"))
            });
        });
    }
    group.finish();
}

fn open_again(criterion: &mut Criterion) {
    let (dir, log) = grown();
    let bytes = log.size_bytes();
    drop(log);
    let mut group = criterion.benchmark_group("open");
    group.throughput(Throughput::Bytes(bytes));
    group.sample_size(10);
    group.bench_function("32MiB", |bencher| {
        let options = LogConfig { fsync: FsyncPolicy::Never, ..LogConfig::default() };
        bencher.iter_batched(
            || options.clone(),
            |options| PartitionLog::open(dir.path(), options).expect("the disk works"),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = append, read, open_again
}
criterion_main!(benches);
