//! The memory that a check takes stays below its limit: measured, where the answer is that the limit was reached.

#[path = "suite/simulation/mod.rs"]
#[allow(dead_code, reason = "events only")]
mod simulation;
#[path = "suite/witness/mod.rs"]
#[allow(dead_code, reason = "part of what `words` needs")]
mod witness;
#[path = "suite/words/mod.rs"]
#[allow(dead_code, reason = "histories only, and no words for a verdict")]
mod words;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use duress_checkers::CheckReport;
use duress_checkers::growing::{ByKey, Growing, Registers, SoFar};
use duress_checkers::kv_append::check_kv_append;
use duress_checkers::linearizable::Budget;
use duress_checkers::lock::{Reentry, check_owned_mutex};
use duress_checkers::queue::{Order, check_queue};
use duress_checkers::verdict::{Reason, Verdict};
use duress_history::Operation;
use duress_history::kv_append::KvAppend;
use duress_history::mutex::Mutex;
use duress_history::total_queue::TotalQueue;

/// The system's allocator, which counts.
struct Counting;

/// The bytes that are allocated now, and the most that were.
static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: each call is passed on as it is to the system's allocator, whose answer is returned; counting touches no memory
// of the caller.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller promises for `layout` what the system's allocator asks.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: `pointer` came from `alloc`, and so from the system's allocator, with the same `layout`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const BUDGET: Budget = Budget { configurations_max: u64::MAX, memory_bytes_max: 24 << 20 };

/// Asserts that `check` gives up for want of memory, having taken much of what it may take, and no more.
fn takes_no_more(name: &str, check: impl Fn(&Budget, &AtomicBool) -> CheckReport) {
    let before = NOW.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    let report = check(&BUDGET, &AtomicBool::new(false));
    let most = MOST.load(Ordering::Relaxed) - before;
    let Verdict::Unknown(reasons) = report.verdict else { panic!("{name}: {:?}", report.verdict) };
    assert!(matches!(reasons[0], Reason::Memory { .. }), "{name}: {reasons:?}");
    assert!(most <= BUDGET.memory_bytes_max, "{name}: {most} bytes, {} allowed", BUDGET.memory_bytes_max);
    assert!(most >= BUDGET.memory_bytes_max / 5, "{name}: {most} bytes, {} allowed", BUDGET.memory_bytes_max);
}

/// Asserts that a register that grows takes memory for what is open alone: a few hundred bytes for each of thirty processes
/// and each operation that ran beside the oldest of theirs, whatever came before.
fn keeps_what_is_open() {
    use simulation::{Defect, Shape, Values};
    let (operations, processes, values) = (60_000, 30, Values::Unique);
    let shape = Shape { operations, keys: 1, processes, crashed_per_mille: 0, values, defect: Defect::None };
    let events = simulation::events(1, shape);
    let before = NOW.load(Ordering::Relaxed);
    let mut growing = ByKey::<Registers>::default();
    MOST.store(before, Ordering::Relaxed);
    events.iter().for_each(|event| growing.take(event));
    let most = MOST.load(Ordering::Relaxed) - before;
    assert!(matches!(growing.so_far(), SoFar { operations: 60_000, anomaly: None, left: 0 }));
    assert!(most < 96 << 10, "{most} bytes");
}

/// One test, since all tests of a program share its allocator.
#[test]
fn the_limit_of_memory_is_kept() {
    keeps_what_is_open();
    // So many operations at once, on each of so many objects: as many states as there are orders.
    let at_once = |count: u64, objects: u64| {
        let events = |op_type: char, object: u64| -> String {
            (0..count).map(|at| format!("{}{op_type}{object}:{at} ", object * count + at)).collect()
        };
        (0..objects).map(|object| events('i', object) + &events('o', object)).collect::<String>()
    };
    let split = |operation: &str| {
        let (object, value) = operation.split_once(':').expect("object and value");
        (object.to_owned(), value.to_owned())
    };
    // Each value goes in twice: otherwise no search would be needed.
    let twice = |operation: &str| split(operation).1.parse::<u64>().expect("a number") / 2;
    let queue: Vec<Operation<TotalQueue>> =
        words::operations(&at_once(24, 1), |operation, _| ("enqueue", twice(operation).to_string()));
    takes_no_more("queue", |budget, interrupt| check_queue(&queue, Order::Fifo, budget, interrupt));
    // Strings are decided at the same time, and share the memory.
    let strings: Vec<Operation<KvAppend>> = words::operations(&at_once(24, 8), |operation, _| {
        let (key, value) = split(operation);
        ("append", format!("[{key}, \"<{value}>\"]"))
    });
    takes_no_more("strings", |budget, interrupt| check_kv_append(&strings, budget, interrupt));

    // Owners that may have released the lock, and acquired it: as many configurations as there are sets of them.
    let mut words = String::new();
    (0..40).for_each(|at| words += &format!("{at}ia {at}?a {at}ir {at}?r "));
    let lock: Vec<Operation<Mutex>> = words::operations(&format!("{words} 90!a"), |operation, _| {
        (if operation == "a" { "acquire" } else { "release" }, "null".to_owned())
    });
    takes_no_more("lock", |budget, interrupt| check_owned_mutex(&lock, Reentry::Refused, budget, interrupt));
}
