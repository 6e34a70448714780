//! Each anomaly has a history in which it must be found, and a near miss that must pass.
//!
//! A history is written as words, one event each: process, type, action.
//! - `0i` invokes, `0o` completes, `0f` fails, `0?` is of unknown outcome;
//! - `w7` writes 7, `r7` reads 7 (`r_` null), `c3:4` compares with 3 and sets 4, `c3:4!7` failed and saw 7, `d` deletes, `a` acquires, `l` releases.
//!
//! `A(B)` in an expectation is the anomaly's name and the operations it must name, in the order of their labels.

use std::sync::atomic::AtomicBool;

use duress_checkers::linearizable::{Budget, check_cas_register, check_mutex};
use duress_checkers::verdict::{Anomaly, Verdict};
use duress_history::mutex::Mutex;
use duress_history::pairs::pair;
use duress_history::register::CasRegister;
use duress_history::{Assumed, Initial, jsonl};

use crate::witness;

/// Returns the words as EDN.
fn history(words: &str) -> String {
    let value = |text: &str| if text == "_" { "nil".to_owned() } else { text.to_owned() };
    words
        .split_whitespace()
        .enumerate()
        .map(|(at, word)| {
            let (process, rest) = word.split_at(1);
            let (op_type, rest) = rest.split_at(1);
            let (f, rest) = rest.split_at(1);
            let op_type = match op_type {
                "i" => "invoke",
                "o" => "ok",
                "f" => "fail",
                "?" => "info",
                other => panic!("no type {other}"),
            };
            let (f, value) = match f {
                "w" => ("write", value(rest)),
                "r" => ("read", value(rest)),
                "c" => {
                    let (old, new) = rest.split_once(':').expect("old:new");
                    let (new, saw) = match new.split_once('!') {
                        Some((new, "_")) => (new, " :error :differs, :saw []".to_owned()),
                        Some((new, saw)) => (new, format!(" :error :differs, :saw [{saw}]")),
                        None => (new, String::new()),
                    };
                    ("cas", format!("[{} {}]{saw}", value(old), value(new)))
                }
                "d" => ("delete", "nil".to_owned()),
                "a" => ("acquire", "nil".to_owned()),
                "l" => ("release", "nil".to_owned()),
                other => panic!("no operation {other}"),
            };
            let time = at as u64 * 1_000_000;
            format!("{{:process {process}, :type :{op_type}, :f :{f}, :value {value}, :time {time}}}\n")
        })
        .collect()
}

/// `valid`, or the anomaly with what its witness shows.
fn answer(verdict: Verdict) -> (String, Option<Anomaly>) {
    match verdict {
        Verdict::Valid => ("valid".to_owned(), None),
        Verdict::Unknown(reasons) => (format!("unknown: {reasons:?}"), None),
        Verdict::Invalid(anomalies) => {
            let anomaly = anomalies[0].clone();
            let shown: Vec<&str> = anomaly.operations.iter().map(|shown| shown.action.as_str()).collect();
            (format!("{}({})", anomaly.kind, shown.join(", ")), Some(anomaly))
        }
    }
}

/// Checks the history written as `words`, and that every step speaks of operations that are shown.
fn check(words: &str, expect: &str) {
    let (text, budget, interrupt) = (history(words), Budget::default(), AtomicBool::new(false));
    let verdict = if words.contains(['a', 'l']) {
        let history = jsonl::read_from::<Mutex>(text.as_bytes()).expect("a history");
        check_mutex(&pair(history.events).expect("it pairs"), &budget, &interrupt).verdict
    } else {
        let history = jsonl::read_from::<CasRegister>(text.as_bytes()).expect("a history");
        check_cas_register(&pair(history.events).expect("it pairs"), &Assumed::default(), &budget, &interrupt)
            .verdict
    };
    let (found, anomaly) = answer(verdict);
    assert_eq!(found, expect, "{words}: {anomaly:#?}");
    if let Some(anomaly) = anomaly {
        witness::assert_well_formed(&anomaly);
        if std::env::var_os("SHOW").is_some() {
            println!("{words}\n  {}: {}", anomaly.kind, anomaly.summary);
            anomaly.steps.iter().for_each(|step| println!("    {} {:?}", step.sentence, step.labels));
        }
    }
}

#[test]
fn phantom_read() {
    check("0iw1 0ow1 1ir_ 1or9", "phantom-read(read -> 9)");
    check("0iw1 0ow1 1ic9:2 1oc9:2", "phantom-read(cas 9 -> 2)");
    check("0iw1 0?w1 1ir_ 1or1", "valid");
}

#[test]
fn aborted_read() {
    check("0iw1 0fw1 1ir_ 1or1", "aborted-read(write 1, read -> 1)");
    check("0iw1 0fw1 0iw1 0?w1 1ir_ 1or1", "valid");
}

#[test]
fn future_read() {
    check("1ir_ 1or1 0iw1 0ow1", "future-read(read -> 1, write 1)");
    check("1ir_ 0iw1 1or1 0ow1", "valid");
    check("1ir_ 1or1 0iw1 0?w1 2ir_ 2or1", "future-read(read -> 1, write 1)");
}

#[test]
fn stale_read() {
    let seen = "0iw1 0ow1 0iw2 0ow2 1ir_ 1or2 2ir_ 2or1";
    check(seen, "stale-read(write 1, write 2, read -> 1)");
    check("0iw1 0ow1 0iw2 0ow2 1ir_ 1or2 2ir_ 2or2", "valid");
    // Concurrent with the second write, either may be seen; but no later read may go back.
    check("0iw1 0ow1 0iw2 1ir_ 1or1 2ir_ 2or2 0ow2", "valid");
    check("0iw1 0ow1 0iw2 1ir_ 1or2 2ir_ 2or1 0ow2", "stale-read(write 1, write 2, read -> 2, read -> 1)");
    check("0iw1 0ow1 1ir_ 1or1 2ir_ 2or_", "stale-read(write 1, read -> null)");
    // The write's outcome is unknown, but it was seen.
    check("0iw1 0ow1 0iw2 0?w2 1ir_ 1or2 2ir_ 2or1", "stale-read(write 1, write 2, read -> 2, read -> 1)");
    // A later compare-and-set has no part in it.
    check("0iw1 0ow1 0iw2 0ow2 1ir_ 1or1 2ic2:3 2oc2:3", "stale-read(write 1, write 2, read -> 1)");
    // Repeated values: the point is that no operation wrote 1 after 2 was acknowledged.
    check("0iw1 0ow1 0iw2 0ow2 0iw1 0ow1 0iw2 0ow2 1ir_ 1or1", "stale-read(write 2, read -> 1)");
    check("0iw1 0ow1 0iw2 0ow2 0iw1 0ow1 1ir_ 1or1", "valid");
}

#[test]
fn lost_write() {
    check("0iw1 0ow1 0iw2 0ow2 1ir_ 1or1 1ir_ 1or1", "lost-write(write 1, write 2, read -> 1)");
    // A later write was there already, and is seen afterwards: the read was of an old copy.
    check("0iw1 0ow1 0iw2 0ow2 1ir_ 1or_ 2ir_ 2or2", "stale-read(write 1, read -> null)");
    check("0iw1 0ow1 1ir_ 1or_ 0iw2 0ow2 2ir_ 2or2", "lost-write(write 1, read -> null)");
    check("0iw1 0ow1 0iw2 0?w2 1ir_ 1or1 1ir_ 1or1", "valid");
}

#[test]
fn lost_update() {
    let both = "0iw1 0ow1 1ic1:2 2ic1:3 1oc1:2 2oc1:3";
    check(both, "lost-update(write 1, cas 1 -> 2, cas 1 -> 3)");
    check("0iw1 0ow1 1ic1:2 2ic1:3 1oc1:2 2fc1:3", "valid");
    check("0iw1 0ow1 1ic1:2 2ic1:3 1oc1:2 2?c1:3", "valid");
    check("0iw1 0ow1 1ic1:2 2ic1:3 1oc1:2 2?c1:3 3ir_ 3or2", "valid");
}

#[test]
fn stale_cas() {
    check("0iw1 0ow1 0iw2 0ow2 1ic1:3 1oc1:3", "stale-cas(write 1, write 2, cas 1 -> 3)");
    check("0iw1 0ow1 0iw2 1ic1:3 1oc1:3 0ow2", "valid");
}

#[test]
fn double_acquire() {
    check("0ia 0oa 1ia 1oa", "double-acquire(acquire, acquire)");
    check("0ia 0oa 0il 0ol 1ia 1oa 2ia 2oa 2il 2ol", "double-acquire(acquire, acquire)");
    check("0ia 0oa 0il 1ia 1oa 0ol", "valid");
    check("0ia 0oa 0il 0?l 1ia 1oa", "valid");
    check("0ia 0?a 1ia 1oa 1il 1ol 2ia 2oa", "valid");
}

#[test]
fn unheld_release() {
    check("0il 0ol", "unheld-release(release)");
    check("0ia 0oa 0il 0ol 1il 1ol", "unheld-release(release, release)");
    check("0ia 0?a 1il 1ol", "valid");
}

#[test]
fn nonlinearizable() {
    // Each two of the reads are fine; the three together see the concurrent writes come and go and come.
    let crossed = "0iw1 1iw2 2ir_ 2or1 2ir_ 2or2 3ir_ 3or1 0ow1 1ow2";
    check(crossed, "stale-read(write 1, write 2, read -> 1, read -> 2, read -> 1)");
    check("0iw1 1iw2 2ir_ 2or1 2ir_ 2or2 3ir_ 3or2 0ow1 1ow2", "valid");
    // A value that two writes may have left: seen a third time after it was replaced twice.
    check(
        "0iw1 1iw1 2iw2 2ow2 2ir_ 2or1 2iw2 2ow2 2ir_ 2or1 2iw2 2ow2 2ir_ 2or1 0ow1 1ow1",
        "nonlinearizable(write 1, write 1, write 2, read -> 1, write 2, read -> 1, write 2, read -> 1)",
    );
    check("0iw1 1iw1 2iw2 2ow2 2ir_ 2or1 2iw2 2ow2 2ir_ 2or1 0ow1 1ow1", "valid");
}

#[test]
fn a_dead_write_may_come_before_a_crashed_one_that_restores_the_value() {
    // 0 replaces 1, the write of unknown outcome brings 1 back, the compare-and-set takes it.
    check("0iw1 0ow1 1iw0 3iw1 0ic1:2 3?w1 0oc1:2 1ow0 2ir_ 2or2", "valid");
    check("0iw1 0ow1 1iw0 0ic1:2 0oc1:2 2ir_ 2or2 1ow0", "valid");
}

#[test]
fn a_delete_leaves_nothing() {
    check("0iw1 0ow1 0id 0od 1ir_ 1or_", "valid");
    check("0iw1 0ow1 0id 0od 1ir_ 1or1", "stale-read(delete, read -> 1)");
    // One of unknown outcome may have taken effect, and one that failed has not.
    check("0iw1 0ow1 0id 0?d 1ir_ 1or_ 1ir_ 1or_", "valid");
    check("0iw1 0ow1 0id 0fd 1ir_ 1or_", "lost-write(write 1, read -> null)");
    // A register that holds something at first is empty once a delete has begun, if it is.
    let zero = Assumed { initial: Initial::Known(Some(0.into())), ..Assumed::default() };
    let operations = pair(
        jsonl::read_from::<CasRegister>(history("0iw7 1ir_ 1or7 2id 1ir_ 1or_").as_bytes()).unwrap().events,
    );
    let report = check_cas_register(&operations.unwrap(), &zero, &Budget::default(), &AtomicBool::new(false));
    assert_eq!(report.verdict, Verdict::Valid);
}

#[test]
fn a_failed_cas_is_no_observation() {
    check("0iw1 0ow1 1ic1:2 1fc1:2 2ir_ 2or1", "valid");
    check("0iw1 0ow1 1ic1:2 1fc1:2 2ir_ 2or2", "aborted-read(cas 1 -> 2, read -> 2)");
}

#[test]
fn a_comparison_that_failed_is_a_read_where_it_says_what_it_saw() {
    // Without that, it proves nothing.
    check("0iw1 0ow1 1iw2 1ow2 2ic7:8 2fc7:8 3ir_ 3or2", "valid");
    check("0iw1 0ow1 1iw2 1ow2 2ic7:8 2fc7:8!2 3ir_ 3or2", "valid");
    check("0iw1 0ow1 1iw2 1ow2 2ic7:8 2fc7:8!1", "lost-write(write 1, write 2, cas 7 -> 8 refused, saw 1)");
    // While the write was in progress, either may have been there.
    check("0iw1 0ow1 1iw2 2ic7:8 2fc7:8!1 1ow2", "valid");
    check("0iw1 0ow1 1iw2 2ic7:8 2fc7:8!2 1ow2", "valid");
    check("0iw1 0ow1 2ic7:8 2fc7:8!_", "lost-write(write 1, cas 7 -> 8 refused, saw null)");
    check("0ic7:8 0fc7:8!_ 1iw1 1ow1", "valid");
    // The value that it did not write is not there.
    check("0iw1 0ow1 1ic7:8 1fc7:8!1 2ir_ 2or8", "aborted-read(cas 7 -> 8 refused, saw 1, read -> 8)");
}
