//! The cost of reading a history, by format and size, and of pairing its events.

use std::fmt::Write;
use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use duress_history::register::Register;
use duress_history::{edn, jsonl, pairs};

/// Returns a history of `events` events of 15 processes, as JSON lines.
fn lines(events: u64) -> String {
    let mut text = String::new();
    for index in 0..events {
        let (process, op_type) = (index / 2 % 15, if index % 2 == 0 { "invoke" } else { "ok" });
        let (time, key, value) = (index * 52_341, index / 2 % 40, index / 2);
        writeln!(
            text,
            "{{\"index\":{index},\"time\":{time},\"process\":{process},\"type\":\"{op_type}\",\"f\":\"write\",\
             \"value\":[{key},{value}],\"node\":\"n{}\"}}",
            1 + process % 5
        )
        .expect("writing to a string cannot fail");
    }
    text
}

fn read(criterion: &mut Criterion) {
    for events in [1_000, 10_000, 100_000] {
        let text = lines(events);
        let history = jsonl::read_from::<Register>(text.as_bytes()).expect("a history");
        let array = format!("[{}]", text.trim_end().replace('\n', ",\n"));
        let mut edn_bytes = Vec::new();
        edn::write(&history, &mut edn_bytes).expect("written");

        let mut group = criterion.benchmark_group("reader");
        group.sample_size(20).throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(BenchmarkId::new("json-lines", events), |bencher| {
            bencher.iter(|| jsonl::read_from::<Register>(black_box(text.as_bytes())).expect("a history"));
        });
        group.throughput(Throughput::Bytes(array.len() as u64));
        group.bench_function(BenchmarkId::new("json-array", events), |bencher| {
            bencher.iter(|| jsonl::read_from::<Register>(black_box(array.as_bytes())).expect("a history"));
        });
        group.throughput(Throughput::Bytes(edn_bytes.len() as u64));
        group.bench_function(BenchmarkId::new("edn", events), |bencher| {
            bencher.iter(|| jsonl::read_from::<Register>(black_box(&edn_bytes[..])).expect("a history"));
        });
        group.throughput(Throughput::Elements(events));
        group.bench_function(BenchmarkId::new("pairs", events), |bencher| {
            bencher.iter_batched(
                || history.events.clone(),
                |events| pairs::pair(black_box(events)).expect("they pair"),
                BatchSize::LargeInput,
            );
        });
        group.finish();
    }
}

criterion_group!(benches, read);
criterion_main!(benches);
