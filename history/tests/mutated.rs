//! A history may be made of any bytes: reading it ends, does not panic, and takes memory in proportion to them.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use duress_history::import::{self, Options, Order};
use duress_history::log::Log;
use duress_history::mutex;
use duress_history::pairs::pair;
use duress_history::register::{CasRegister, Register};
use duress_history::table::Table;
use duress_history::{History, Payload, ReadError};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Counts the bytes that are allocated, and the most that were at any time.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is handed to the system's allocator as it is; counting touches nothing of what is allocated.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller's promises about `layout` are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: `at` came from `alloc` above, that is, from `System`, with the same layout.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Held by the test that reads, so that what is counted is what one read takes.
static ALONE: Mutex<()> = Mutex::new(());

/// What one read may take beside what it is in proportion to: the window, its decoder's tables, the scratch space.
const CONSTANT_BYTES: usize = 8 << 20;

/// Histories of every kind, some of them of several vocabularies.
const HISTORIES: [&str; 14] = [
    "{:process 0, :type :invoke, :f :write, :value 1, :time 5, :index 0}\n{:process 0, :type :ok, :f :write, :value 1, :time 9, :index 1}\n",
    "[{:process :c1 :type :invoke :f :cas :key \"a\" :value [nil #{1 2/3}]}\n {:process :c1 :type :info :f :cas :error \"\\u0041\\n\" :ex #object[a.B 0x3 \"b\"]}]",
    "#jepsen.history.Op{:process 3, :type :invoke, :f :acquire, :value [:k nil]} #:op{:process 3 :type :ok :f :acquire} ; note\n",
    "{:history ({:process :nemesis :type :info :f [:a] :value ##NaN} #_ {:x} ^{:m 1} {:process 1 :type :invoke :f :read :value [\\a nil]}) :results {:valid? #\"x\"}}",
    "{\"index\":0,\"time\":1,\"process\":0,\"type\":\"invoke\",\"f\":\"write\",\"value\":[\"é\",1],\"node\":\"n1\"}\n{\"index\":1,\"time\":2,\"process\":0,\"type\":\"ok\",\"f\":\"write\",\"value\":[\"é\",1],\"error\":{\"a\":[1.5e3]}}\n",
    "[{\"process\":\"c\",\"type\":\"invoke\",\"f\":\"put\",\"key\":true,\"value\":{\"b\":[1,2]},\"time\":-1.5},\n {\"process\":\"c\",\"type\":\"ok\",\"f\":\"put\",\"key\":true,\"value\":null,\"time\":\"7\"}]",
    "[{\"ClientId\":0,\"Input\":{\"op\":\"write\",\"key\":\"a\",\"value\":7},\"Call\":100,\"Output\":null,\"Return\":200},{\"ClientId\":0,\"Input\":{\"op\":\"read\",\"key\":\"a\"},\"Call\":150,\"Output\":{\"value\":7},\"Return\":9223372036854775807}]",
    "{\"ClientId\":1,\"Input\":{\"Type\":\"txn\",\"Txn\":{\"OperationsOnSuccess\":[{\"Type\":\"put-operation\",\"Put\":{\"Key\":\"k\",\"Value\":{\"Value\":\"1\"}}}]}},\"Call\":1,\"Output\":{\"Error\":\"\"},\"Return\":2}\n",
    "0\t:invoke\t:write\t4\n0\t:ok\t:write\t4\n:nemesis\t:info\t:start\tnil\n1\t:info\t:cas\t[4 1]\tno answer\n",
    "INFO  jepsen.util - 3\t:invoke\t:read\tnil\n2026-01-01 [worker] jepsen.util: 3\t:ok\t:read\t5\n",
    "[0 :invoke :write 4] [0 :ok :write 4]\n[1,\"invoke\",\"read\",null]\n",
    "{:process 0 :type :invoke :f :txn :value [[:send 0 7] [:poll]]}{:process 0 :type :ok :f :txn :value [[:send 0 [3 7]] [:poll {0 [[3 7]] 1 []}]]}{:process 0 :type :invoke :f :assign :value [0] :seek-to-beginning? true}",
    "{\"process\":0,\"type\":\"invoke\",\"f\":\"put\",\"value\":[\"7\",1]}\n{\"process\":0,\"type\":\"ok\",\"f\":\"put\",\"value\":[\"7\",1,[\"t0-0\",3]]}\n{\"process\":1,\"type\":\"ok\",\"f\":\"read-log\",\"value\":{\"t0-0\":{\"next\":5,\"records\":[[3,\"7\",1]]}}}",
    "{:process 1 :type :invoke :f :write :value 1 :time 30}\n{:process 1 :type :ok :f :write :value 1 :time 40}\n{:process 0 :type :invoke :f :write :value 2 :time 10}\n{:process 0 :type :ok :f :write :value 2 :time 30}\n",
];

/// What is put in somewhere: brackets, quotes, prefixes and the like.
const PIECES: [&str; 30] = [
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    "\"",
    "\\",
    "#",
    "#_",
    "#{",
    "#<",
    "##",
    "^",
    ":",
    ";",
    "'",
    "\n",
    "\t",
    "\0",
    "\u{1b}[",
    "nil",
    "1e999",
    "-",
    "99999999999999999999",
    "\\u",
    "\\ud800",
    "é",
    "{:process 0 :type :invoke :f :read :value ",
    ",\"time\":",
];

#[derive(Clone, Debug)]
enum Edit {
    Insert(Index, &'static str),
    Remove(Index, usize),
    Byte(Index, u8),
    Repeat(Index, usize, usize),
    Cut(Index),
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        (any::<Index>(), select(&PIECES[..])).prop_map(|(at, piece)| Edit::Insert(at, piece)),
        (any::<Index>(), 1_usize..12).prop_map(|(at, length)| Edit::Remove(at, length)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Edit::Byte(at, byte)),
        (any::<Index>(), 1_usize..40, 2_usize..200)
            .prop_map(|(at, length, times)| Edit::Repeat(at, length, times)),
        any::<Index>().prop_map(Edit::Cut),
    ]
}

fn apply(bytes: &mut Vec<u8>, edit: &Edit) {
    if bytes.is_empty() {
        return;
    }
    match edit {
        Edit::Insert(at, piece) => {
            let at = at.index(bytes.len());
            bytes.splice(at..at, piece.bytes());
        }
        Edit::Remove(at, length) => {
            let at = at.index(bytes.len());
            let end = (at + length).min(bytes.len());
            bytes.drain(at..end);
        }
        Edit::Byte(at, byte) => {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        Edit::Repeat(at, length, times) => {
            let at = at.index(bytes.len());
            let end = (at + length).min(bytes.len());
            let repeated = bytes[at..end].repeat(*times);
            bytes.splice(at..at, repeated);
        }
        Edit::Cut(at) => bytes.truncate(at.index(bytes.len())),
    }
}

fn options() -> impl Strategy<Value = Options> {
    let order = select(&[Order::Auto, Order::File, Order::Time][..]);
    const MAPS: [&[&str]; 3] =
        [&[], &["value=key", "f=type"], &["Input.op=f", "process=call", "time=return"]];
    let maps = select(&MAPS[..]);
    (order, maps).prop_map(|(order, maps)| {
        let mut options = Options { order, ..Options::default() };
        for map in maps {
            options.fields.add(map).expect("a mapping");
        }
        options
    })
}

/// Reads `bytes`, and everything that may be asked of what was read.
fn read<A: Payload>(bytes: &[u8], options: &Options) -> Result<(), TestCaseError> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let before = NOW.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    let began = Instant::now();
    let read: Result<History<A>, ReadError> = import::read_from(bytes, options);
    let most = MOST.load(Ordering::Relaxed).saturating_sub(before);
    prop_assert!(began.elapsed() < Duration::from_secs(20), "{bytes:?}");
    prop_assert!(most < CONSTANT_BYTES + 400 * bytes.len(), "{most} bytes for {}: {bytes:?}", bytes.len());
    match read {
        Ok(history) => {
            prop_assert!(history.events.len() + history.nemesis.len() <= bytes.len());
            prop_assert!(history.events.is_sorted_by_key(|event| event.time));
            let _ = pair(history.events);
        }
        Err(error) => prop_assert!(error.to_string().len() < 4 * bytes.len() + 1000, "{error}"),
    }
    Ok(())
}

fn read_as_everything(bytes: &[u8], options: &Options) -> Result<(), TestCaseError> {
    read::<Register>(bytes, options)?;
    read::<CasRegister>(bytes, options)?;
    read::<mutex::Mutex>(bytes, options)?;
    read::<Log>(bytes, options)?;
    read::<Table>(bytes, options)
}

proptest! {
    #[test]
    fn mutated_histories(history in select(&HISTORIES[..]), edits in vec(edit(), 0..6), options in options()) {
        let mut bytes = history.as_bytes().to_vec();
        edits.iter().for_each(|edit| apply(&mut bytes, edit));
        read_as_everything(&bytes, &options)?;
    }

    #[test]
    fn joined_histories(one in select(&HISTORIES[..]), other in select(&HISTORIES[..]), edits in vec(edit(), 0..3)) {
        let mut bytes = [one.as_bytes(), other.as_bytes()].concat();
        edits.iter().for_each(|edit| apply(&mut bytes, edit));
        read_as_everything(&bytes, &Options::default())?;
    }

    #[test]
    fn any_bytes(bytes in vec(any::<u8>(), 0..300), text in "[\\[\\](){}#_:;\\\\\"a-z0-9 ,/^.'<>\\n\\t-]{0,120}") {
        read_as_everything(&bytes, &Options::default())?;
        read_as_everything(text.as_bytes(), &Options::default())?;
    }

    #[test]
    fn mutated_packed_histories(history in select(&HISTORIES[..]), times in 1_usize..500, edits in vec(edit(), 0..3), zstd in any::<bool>()) {
        let text = history.repeat(times);
        let mut bytes = if zstd {
            ruzstd::encoding::compress_to_vec(text.as_bytes(), ruzstd::encoding::CompressionLevel::Fastest)
        } else {
            let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gz.write_all(text.as_bytes()).expect("packed");
            gz.finish().expect("packed")
        };
        edits.iter().for_each(|edit| apply(&mut bytes, edit));
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), &bytes).expect("written");
        let _ = import::read_any::<Register>(file.path());
    }
}

#[test]
fn long_operations_are_read_in_time() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    // Each is looked at again whenever the window grows: as often as it doubles, not as often as a chunk is read.
    let message = "x".repeat(8 << 20);
    let text = format!("{{:process 0 :type :invoke :f :write :value 1 :note \"{message}\"}}\n").repeat(2);
    let began = Instant::now();
    let history = import::read_from::<CasRegister>(text.as_bytes(), &Options::default()).expect("a history");
    assert_eq!(history.events.len(), 2);
    assert!(began.elapsed() < Duration::from_secs(20));
    let endless = format!("{{:process 0 :note {}", "[".repeat(70 << 20));
    let error = import::read_from::<CasRegister>(endless.as_bytes(), &Options::default());
    assert!(matches!(error, Err(ReadError::TooLong { line: 1 })), "{error:?}");
}
