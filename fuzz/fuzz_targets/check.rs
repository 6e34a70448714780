//! Reads an input as a history of each vocabulary, and checks what could be read by each checker of that vocabulary.
//!
//! The first byte chooses the vocabulary and its checkers: `a` the first of [`CHECKS`], and so on; the rest is the history. A
//! panic, an input that takes too long, or one that takes too much memory is a finding. The fuzzer ignores the verdicts, which
//! the tests compare with definitions.

#![no_main]

use std::hint::black_box;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use duress_checkers::CheckReport;
use duress_checkers::bank::{BankOptions, check_bank};
use duress_checkers::counter::check_counter;
use duress_checkers::delivery::{LogOptions, check_log, check_queue};
use duress_checkers::echo::check_echo;
use duress_checkers::freshness::{cas_register_ages, check_freshness, read_ages};
use duress_checkers::job::check_job;
use duress_checkers::kv_append::check_kv_append;
use duress_checkers::linearizable::{Budget, check_cas_register, check_mutex, check_registers};
use duress_checkers::lock::{Reentry, check_fenced_lease, check_fenced_mutex, check_owned_mutex};
use duress_checkers::long_fork::check_long_fork;
use duress_checkers::queue::{self, Order};
use duress_checkers::set::check_set;
use duress_checkers::stale_reads::check_stale_reads;
use duress_checkers::table::{TableOptions, check_table};
use duress_checkers::total_queue::check_total_queue;
use duress_checkers::transactions::{
    check_list_append, check_registers_by_model, check_rw_register, check_session_guarantees,
};
use duress_checkers::unique_ids::check_unique_ids;
use duress_history::event::Timing;
use duress_history::import::{self, Options};
use duress_history::pairs::pair;
use duress_history::{
    Assumed, Consistency, ConsistencyModel, Delivery, Freshness, Initial, Operation, Payload,
    SessionGuarantees,
};
use libfuzzer_sys::fuzz_target;

/// Small, so that many inputs are tried: what is not decided within it ends as unknown.
const BUDGET: Budget = Budget { configurations_max: 2_000, memory_bytes_max: 8 << 20 };

/// The checkers of one vocabulary.
type Check = fn(&[u8]);

/// By the first byte of an input, from `a` on.
const CHECKS: [Check; 17] = [
    registers,
    registers_by_model,
    registers_by_session,
    registers_by_age,
    cas_registers,
    locks,
    fenced_locks,
    strings,
    sets,
    counters,
    logs,
    tables,
    queues,
    total_queues,
    list_append,
    rw_register,
    small,
];

fuzz_target!(|input: &[u8]| {
    if let Some((first, text)) = input.split_first() {
        CHECKS[usize::from(first.wrapping_sub(b'a')) % CHECKS.len()](text);
    }
});

/// Returns the operations of the history in `text`; none if it is not one.
fn read<A: Payload>(text: &[u8]) -> Vec<Operation<A>> {
    let Ok(history) = import::read_from::<A>(text, &Options::default()) else { return Vec::new() };
    pair(history.events).unwrap_or_default()
}

/// Prints `report`, whose sentences quote the input.
fn shown(report: &CheckReport) {
    black_box(format!("{report:?}"));
}

fn registers(text: &[u8]) {
    let (operations, interrupt) = (read(text), AtomicBool::new(false));
    for initial in [Initial::Known(None), Initial::Any] {
        let assumed = Assumed { initial, ..Assumed::default() };
        shown(&check_registers(&operations, &assumed, &BUDGET, &interrupt));
        shown(&check_stale_reads(&operations, &assumed, Some(7), &BUDGET, &interrupt));
    }
}

fn registers_by_model(text: &[u8]) {
    let (operations, interrupt) = (read(text), AtomicBool::new(false));
    for model in ConsistencyModel::ALL {
        shown(&check_registers_by_model(&operations, model, &Assumed::default(), &interrupt));
    }
}

fn registers_by_session(text: &[u8]) {
    let (operations, interrupt) = (read(text), AtomicBool::new(false));
    let guarantees = SessionGuarantees::ALL;
    shown(&check_session_guarantees(&operations, guarantees, &Assumed::default(), &interrupt));
}

fn registers_by_age(text: &[u8]) {
    let (operations, interrupt) = (read(text), AtomicBool::new(false));
    let assumed = Assumed::default();
    for promise in
        [Freshness::Regular, Freshness::Safe, Freshness::Versions(2), Freshness::Age(Duration::from_nanos(5)), Freshness::Written]
    {
        shown(&check_freshness(&operations, promise, &assumed, Timing::Recorded, &interrupt));
    }
    black_box(read_ages(&operations, &assumed, Timing::Recorded, &interrupt));
}

fn cas_registers(text: &[u8]) {
    let (operations, interrupt) = (read(text), AtomicBool::new(false));
    shown(&check_cas_register(&operations, &Assumed::default(), &BUDGET, &interrupt));
    black_box(cas_register_ages(&operations, &Assumed::default(), Timing::Recorded, &interrupt));
}

fn locks(text: &[u8]) {
    let (operations, interrupt) = (read(text), AtomicBool::new(false));
    shown(&check_mutex(&operations, &BUDGET, &interrupt));
    for reentry in [Reentry::Refused, Reentry::Allowed] {
        shown(&check_owned_mutex(&operations, reentry, &BUDGET, &interrupt));
    }
}

fn fenced_locks(text: &[u8]) {
    let (operations, interrupt) = (read(text), AtomicBool::new(false));
    for reentry in [Reentry::Refused, Reentry::Allowed] {
        shown(&check_fenced_mutex(&operations, reentry, &BUDGET, &interrupt));
    }
    shown(&check_fenced_lease(&operations));
}

fn strings(text: &[u8]) {
    shown(&check_kv_append(&read(text), &BUDGET, &AtomicBool::new(false)));
}

fn sets(text: &[u8]) {
    let (operations, interrupt) = (read(text), AtomicBool::new(false));
    for promise in [Consistency::Linearizable, Consistency::StaleReads, Consistency::Eventual] {
        shown(&check_set(&operations, promise, Some(7), &interrupt));
    }
}

fn counters(text: &[u8]) {
    let (operations, interrupt) = (read(text), AtomicBool::new(false));
    for promise in [Consistency::Linearizable, Consistency::StaleReads, Consistency::Eventual] {
        shown(&check_counter(&operations, promise, Some(7), &interrupt));
    }
}

fn logs(text: &[u8]) {
    let (operations, interrupt) = (read(text), AtomicBool::new(false));
    for promise in [Delivery::EXACTLY_ONCE, Delivery::BEST_EFFORT] {
        let options = LogOptions { promise, ..LogOptions::default() };
        shown(&check_log(&operations, &options, &interrupt));
        shown(&check_queue(&operations, &options, &interrupt));
    }
}

fn tables(text: &[u8]) {
    let options = TableOptions { promise: Delivery::EXACTLY_ONCE };
    shown(&check_table(&read(text), &options, &AtomicBool::new(false)));
}

fn queues(text: &[u8]) {
    let (operations, interrupt) = (read(text), AtomicBool::new(false));
    for order in [Order::Fifo, Order::Lifo, Order::Least, Order::Any] {
        shown(&queue::check_queue(&operations, order, &BUDGET, &interrupt));
    }
}

fn total_queues(text: &[u8]) {
    shown(&check_total_queue(&read(text), Delivery::EXACTLY_ONCE));
}

fn list_append(text: &[u8]) {
    let (operations, interrupt) = (read(text), AtomicBool::new(false));
    for model in ConsistencyModel::ALL {
        shown(&check_list_append(&operations, model, &interrupt));
    }
}

fn rw_register(text: &[u8]) {
    let (operations, interrupt) = (read(text), AtomicBool::new(false));
    for model in ConsistencyModel::ALL {
        shown(&check_rw_register(&operations, model, &Assumed::default(), &interrupt));
        shown(&check_long_fork(&operations, model));
    }
}

fn small(text: &[u8]) {
    shown(&check_unique_ids(&read(text)));
    shown(&check_echo(&read(text)));
    shown(&check_bank(&read(text), BankOptions::default()));
    shown(&check_job(&read(text)));
}
