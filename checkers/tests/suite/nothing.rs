//! Empty histories do not pass: a history in which nothing happened, or nothing was read, is unknown.

use std::sync::atomic::AtomicBool;

use duress_checkers::counter::check_counter;
use duress_checkers::delivery::{LogOptions, check_log, check_queue};
use duress_checkers::linearizable::{Budget, check_cas_register, check_mutex, check_registers};
use duress_checkers::set::check_set;
use duress_checkers::stale_reads::{check_eventual, check_stale_reads};
use duress_checkers::stream::{StreamOptions, check_stream};
use duress_checkers::table::{TableOptions, check_table};
use duress_checkers::verdict::{CheckReport, Reason, Verdict};
use duress_history::counter::Counter;
use duress_history::log::Log;
use duress_history::mutex::Mutex;
use duress_history::pairs::pair;
use duress_history::register::{CasRegister, Register};
use duress_history::set::Set;
use duress_history::stream::Stream;
use duress_history::table::Table;
use duress_history::{Assumed, Consistency, Delivery, Operation, Payload, edn};

const BUDGET: Budget = Budget { configurations_max: 1_000, memory_bytes_max: 1 << 20 };

fn operations<A: Payload>(text: &str) -> Vec<Operation<A>> {
    // A history without a line is not written as EDN.
    if text.is_empty() {
        return Vec::new();
    }
    let history = edn::read_str::<A>(text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
    pair(history.events).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Checks a history with `model` against a weak promise that does not allow loss.
fn check(model: &str, text: &str) -> CheckReport {
    let interrupt = AtomicBool::new(false);
    let log = LogOptions { promise: Delivery::BEST_EFFORT, ..LogOptions::default() };
    match model {
        "register" => {
            check_registers(&operations::<Register>(text), &Assumed::default(), &BUDGET, &interrupt)
        }
        "cas-register" => {
            check_cas_register(&operations::<CasRegister>(text), &Assumed::default(), &BUDGET, &interrupt)
        }
        "mutex" => check_mutex(&operations::<Mutex>(text), &BUDGET, &interrupt),
        "log" => check_log(&operations::<Log>(text), &log, &interrupt),
        "queue" => check_queue(&operations::<Log>(text), &log, &interrupt),
        "stream" => check_stream(&operations::<Stream>(text), &StreamOptions::default(), &interrupt),
        "table" => {
            let options = TableOptions { promise: Delivery::BEST_EFFORT };
            check_table(&operations::<Table>(text), &options, &interrupt)
        }
        "set" => check_set(&operations::<Set>(text), Consistency::StaleReads, None, &interrupt),
        "counter" => check_counter(&operations::<Counter>(text), Consistency::StaleReads, None, &interrupt),
        "eventual counter" => {
            check_counter(&operations::<Counter>(text), Consistency::Eventual, None, &interrupt)
        }
        "stale register" => {
            let operations = operations::<Register>(text);
            check_stale_reads(&operations, &Assumed::default(), None, &BUDGET, &interrupt)
        }
        "eventual register" => {
            check_eventual(&operations::<Register>(text), &Assumed::default(), None, &interrupt)
        }
        other => panic!("no model {other}"),
    }
}

/// Returns an invocation and its end, of type `end`.
fn did(end: &str, f: &str, asked: &str, answered: &str) -> String {
    format!(
        "{{:process 0, :type :invoke, :f :{f}, :value {asked}}}\n{{:process 0, :type :{end}, :f :{f}, :value {answered}}}\n"
    )
}

const NEMESIS: &str = "{:process :nemesis, :type :info, :f :start-kill, :value nil}\n";

/// By model: an operation that changes something, and one whose answer shows something.
const OPERATIONS: [(&str, [&str; 3], [&str; 3]); 12] = [
    ("register", ["write", "[1 2]", "[1 2]"], ["read", "[1 nil]", "[1 2]"]),
    ("stale register", ["write", "[1 2]", "[1 2]"], ["read", "[1 nil]", "[1 2]"]),
    ("eventual register", ["write", "[1 2]", "[1 2]"], ["read", "[1 nil]", "[1 2]"]),
    ("counter", ["add", "2", "2"], ["read", "nil", "2"]),
    ("eventual counter", ["add", "2", "2"], ["read", "nil", "2"]),
    ("cas-register", ["write", "2", "2"], ["read", "nil", "2"]),
    ("set", ["add", "2", "2"], ["read", "nil", "[2]"]),
    ("mutex", ["acquire", "nil", "nil"], ["release", "nil", "nil"]),
    ("log", ["send", "[[:send 0 1]]", "[[:send 0 [0 1]]]"], ["poll", "[[:poll]]", "[[:poll {0 [[0 1]]}]]"]),
    ("queue", ["send", "[[:send 0 1]]", "[[:send 0 [0 1]]]"], ["poll", "[[:poll]]", "[[:poll {0 [[0 1]]}]]"]),
    (
        "stream",
        ["send", "[\"in-0\" \"a\" 7]", "[\"in-0\" \"a\" 7 0]"],
        [
            "read",
            "{:from :position}",
            "{:from :position :read {\"out-0\" {:from 0 :next 1 :records [[0 \"a\" 1 7 1]]}}}",
        ],
    ),
    ("table", ["put", "[1 2]", "[1 2 [0 0]]"], ["read-log", "nil", "{0 {:records [[0 1 2]] :next 1}}"]),
];

fn is_nothing_happened(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Unknown(reasons) if matches!(reasons[..], [Reason::NothingHappened { .. }]))
}

fn is_nothing_observed(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Unknown(reasons) if matches!(reasons[..], [Reason::NothingObserved { .. }]))
}

#[test]
fn nothing_happened() {
    for (model, [f, asked, _], [read, read_asked, _]) in OPERATIONS {
        let failed = did("fail", f, asked, asked) + &did("fail", read, read_asked, read_asked);
        let unknown = did("info", f, asked, asked);
        // Writes of registers ask for nothing, and no answer of others contradicts them.
        let asks = !model.ends_with("register");
        let unknown = if asks { unknown } else { failed.clone() };
        for text in ["", NEMESIS, &failed, &unknown, &(NEMESIS.to_owned() + &unknown)] {
            let verdict = check(model, text).verdict;
            assert!(is_nothing_happened(&verdict), "{model}: {verdict:?} of\n{text}");
        }
    }
}

#[test]
fn writes_alone_ask_nothing() {
    for (model, [f, asked, answered], _) in &OPERATIONS[..2] {
        for end in ["ok", "fail", "info"] {
            let verdict = check(model, &did(end, f, asked, answered)).verdict;
            assert_eq!(verdict, Verdict::Valid, "{model}, {end}");
        }
    }
}

#[test]
fn nothing_was_read() {
    for (model, [f, asked, answered], [read, read_asked, read_answered]) in OPERATIONS {
        // Taking a lock shows that it was free; for elements the verdict counts the unread ones.
        if model == "mutex" || model == "set" {
            continue;
        }
        let write = did("ok", f, asked, answered);
        let failed = did("fail", read, read_asked, read_asked);
        let verdict = check(model, &(write.clone() + &failed)).verdict;
        assert!(is_nothing_observed(&verdict), "{model}: {verdict:?}");
        let between = match model {
            "queue" => did("ok", "subscribe", "[0]", "[0]"),
            "stream" => {
                let asked = "{:worker 1 :attempt 1 :then :commit}";
                let progress = "{:committed {\"in-0\" 1} :inputs {\"in-0\" 1} :outputs {\"out-0\" 1}}";
                did("ok", "process", asked, asked) + &did("ok", "progress", "nil", progress)
            }
            _ => String::new(),
        };
        let verdict = check(model, &(write + &between + &did("ok", read, read_asked, read_answered))).verdict;
        // Whether replicas agree in the end is part of that promise.
        let is_open = matches!(&verdict, Verdict::Unknown(reasons) if matches!(reasons[..], [Reason::NotExamined { .. }]));
        assert!(
            if model.starts_with("eventual") { is_open } else { verdict == Verdict::Valid },
            "{model}: {verdict:?}"
        );
    }
}

#[test]
fn answers_that_show_nothing() {
    let nothing: [(&str, String); 4] = [
        ("log", did("ok", "poll", "[[:poll]]", "[[:poll {}]]")),
        // Read by a consumer that is not a member of the group.
        (
            "queue",
            did("ok", "send", "[[:send 0 1]]", "[[:send 0 [0 1]]]")
                + &did("ok", "poll", "[[:poll]]", "[[:poll {0 [[0 1]]}]]"),
        ),
        ("table", did("ok", "read-log", "nil", "{0 {:records [] :next 0}}")),
        ("stream", did("ok", "read", "{:from :position}", "{:from :position :read {}}")),
    ];
    for (model, text) in nothing {
        let verdict = check(model, &text).verdict;
        assert!(is_nothing_observed(&verdict), "{model}: {verdict:?} of\n{text}");
    }
    assert_eq!(check("mutex", &did("ok", "acquire", "nil", "nil")).verdict, Verdict::Valid);
}
