//! Each anomaly of a stream has a history in which it must be found, and near misses that must pass.
//!
//! A history is written as words. Its operations are those of partition 0, or with a capital letter of partition 1:
//!
//! - `sa7` sends 7 of the key a, `sa7@3` was answered with offset 3;
//! - `p1` is the first attempt to process, `p1:a1=7,a2=8` has committed that the count of a is 1 after 7 and 2 after 8, and
//!   `p1:` has committed nothing;
//! - `r` reads, `r0-5:a1=7/1@3` covers the offsets from 0 below 5, and has an output of attempt 1 at offset 3;
//! - `g` asks for the progress: `g2/3/5` says that 2 of 3 inputs are committed, and that the outputs end at 5.

use std::sync::atomic::AtomicBool;

use duress_checkers::stream::{StreamOptions, check_stream};
use duress_checkers::verdict::{CheckReport, Reason, Verdict};
use duress_history::stream::Stream;
use duress_history::{Delivery, Operation};
use words::answer;

use crate::words;

/// Splits `a1=7` into key, count and value.
fn output(text: &str) -> (&str, &str, &str) {
    let (counted, value) = text.split_once('=').expect("an output has a value");
    let (key, count) = counted.split_at(1);
    (key, count, value)
}

fn list(text: &str, each: impl Fn(&str) -> String) -> String {
    text.split(',').filter(|text| !text.is_empty()).map(each).collect::<Vec<_>>().join(",")
}

fn operation(text: &str, answered: bool) -> (&'static str, String) {
    let (f, rest) = text.split_at(1);
    let number = i32::from(f.chars().all(char::is_uppercase));
    match f.to_lowercase().as_str() {
        "s" => {
            let (key, rest) = rest.split_at(1);
            let (value, offset) = rest.split_once('@').unwrap_or((rest, ""));
            let offset = if answered && !offset.is_empty() { format!(",{offset}") } else { String::new() };
            ("send", format!("[\"in-{number}\",\"{key}\",{value}{offset}]"))
        }
        "p" => {
            let (attempt, outputs) = rest.split_once(':').unwrap_or((rest, ""));
            let outputs = list(outputs, |text| {
                let (key, count, value) = output(text);
                format!("[\"out-{number}\",\"{key}\",{count},{value}]")
            });
            let listed = answered && text.contains(':');
            let outputs = if listed { format!(",\"outputs\":[{outputs}]") } else { String::new() };
            ("process", format!("{{\"worker\":1,\"attempt\":{attempt},\"then\":\"commit\"{outputs}}}"))
        }
        "r" if !answered => ("read", "{\"from\":\"position\"}".to_owned()),
        "r" => {
            let (range, records) = rest.split_once(':').unwrap_or((rest, ""));
            let (from, next) = range.split_once('-').expect("a range");
            let records = list(records, |text| {
                let (written, offset) = text.split_once('@').expect("an offset");
                let (written, attempt) = written.split_once('/').expect("an attempt");
                let (key, count, value) = output(written);
                format!("[{offset},\"{key}\",{count},{value},{attempt}]")
            });
            let part = format!("{{\"from\":{from},\"next\":{next},\"records\":[{records}]}}");
            ("read", format!("{{\"from\":\"position\",\"read\":{{\"out-{number}\":{part}}}}}"))
        }
        "g" if !answered => ("progress", "null".to_owned()),
        "g" => {
            let offsets: Vec<&str> = rest.split('/').collect();
            let [committed, inputs, outputs] = offsets[..] else { panic!("three offsets: {rest}") };
            let at = |topic: &str, offset: &str| format!("{{\"{topic}-{number}\":{offset}}}");
            let (committed, inputs) = (at("in", committed), at("in", inputs));
            let outputs = at("out", outputs);
            let told = format!("\"committed\":{committed},\"inputs\":{inputs},\"outputs\":{outputs}");
            ("progress", format!("{{{told}}}"))
        }
        other => panic!("no operation {other}"),
    }
}

fn report(operations: &[Operation<Stream>], promise: Delivery, interrupt: bool) -> CheckReport {
    check_stream(operations, &StreamOptions { promise }, &AtomicBool::new(interrupt))
}

/// The verdict: `valid`, `unknown`, or the kinds of anomalies.
pub fn verdict(words: &str, promise: Delivery) -> String {
    verdict_on(&words::operations(words, operation), promise)
}

fn verdict_on(operations: &[Operation<Stream>], promise: Delivery) -> String {
    let answer = answer(&report(operations, promise, false));
    if answer.starts_with("unknown") {
        return "unknown".to_owned();
    }
    answer.split(" | ").map(|one| one.split('(').next().unwrap_or(one)).collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn check(words: &str, expected: &str) {
    assert_eq!(verdict(words, Delivery::EXACTLY_ONCE), expected, "{words}");
}

#[test]
fn inputs_that_were_processed_once_are_valid() {
    check("0!sa7@0 0!sb8@1 0!sa9@2 1!p1:a1=7,b1=8,a2=9 2!g3/3/4 2!r0-4:a1=7/1@0,b1=8/1@1,a2=9/1@2", "valid");
    // An attempt of unknown outcome has committed, or not.
    check("0!sa7@0 1ip1 1?p1 2!g1/1/2 2!r0-2:a1=7/1@0", "valid");
    check("0!sa7@0 1ip1 1?p1 3!p2:a1=7 2!g1/1/4 2!r0-4:a1=7/2@2", "valid");
    // An input of unknown outcome may be there, or not.
    check("0isa7 0?sa7 3!sb8@1 1!p1:a1=7,b1=8 2!g2/2/3 2!r0-3:a1=7/1@0,b1=8/1@1", "valid");
    check("0isa7 0?sa7 3!sb8@0 1!p1:b1=8 2!g1/1/2 2!r0-2:b1=8/1@0", "valid");
}

#[test]
fn an_attempt_made_twice_is_undecided() {
    check("0!sa7@0 1!p1:a1=7 1!p1:a2=7 2!g1/1/4 2!r0-4:a1=7/1@0,a2=7/1@2", "unknown");
}

#[test]
fn outputs_that_were_not_read_are_undecided() {
    for promise in [Delivery::EXACTLY_ONCE, Delivery::AT_LEAST_ONCE, Delivery::AT_MOST_ONCE] {
        let check = |words: &str, expected: &str| assert_eq!(verdict(words, promise), expected, "{words}");
        let all = "0!sa7@0 1!p1:a1=7 2!g1/1/2";
        check(&format!("{all} 2!r0-2:a1=7/1@0"), "valid");
        check(&format!("{all} 2!r0-1:a1=7/1@0"), "unknown");
        check(&format!("{all} 2!r1-2"), "unknown");
        check(all, "unknown");
        check("0!sa7@0 1!p1:a1=7 2!r0-2:a1=7/1@0", "unknown");
        // The end was asked for, or the outputs were read, while an attempt was under way.
        check("0!sa7@0 2!g1/1/2 1!p1:a1=7 2!r0-2:a1=7/1@0", "unknown");
        check("0!sa7@0 1ip1 2!r0-2:a1=7/1@0 1op1:a1=7 2!g1/1/2", "unknown");
        // No read covers the output between the two reads.
        check("0!sa7@0 0!sa8@1 1!p1:a1=7 3!p2:a5=8 2!g2/2/3 2!r0-1:a1=7/1@0 2!r2-3:a5=8/2@2", "unknown");
    }
}

#[test]
fn an_interrupted_check_decides_nothing() {
    let operations = words::operations("0!sa7@0 1!p1:a1=7 2!g1/1/2 2!r0-2:a1=7/1@0", operation);
    let report = report(&operations, Delivery::EXACTLY_ONCE, true);
    let Verdict::Unknown(reasons) = report.verdict else { panic!("{:?}", report.verdict) };
    assert!(matches!(reasons[..], [Reason::Interrupted { .. }]), "{reasons:?}");
}

#[test]
fn inputs_without_an_output() {
    let lost = "0!sa7@0 0!sa8@1 1!p1:a1=7 2!g2/2/2 2!r0-2:a1=7/1@0";
    check(lost, "lost-write");
    assert_eq!(verdict(lost, Delivery::AT_MOST_ONCE), "valid");
    check("0!sa7 0!sa8@1 1!p1:a1=8 2!g2/2/2 2!r0-2:a1=8/1@0", "lost-write");
    // The group has not passed it; not everything was read; it was read too early; an attempt was still under way.
    check("0!sa7@0 0!sa8@1 1!p1:a1=7 2!g1/2/2 2!r0-2:a1=7/1@0", "unknown");
    check("0!sa7@0 0!sa8@1 1!p1:a1=7 2!g2/2/4 2!r0-2:a1=7/1@0", "unknown");
    check("0!sa7@0 0!sa8@1 2!g2/2/2 2!r0-2:a1=7/1@0 1!p1:a1=7", "never-sent");
    check("0!sa7@0 0!sa8@1 1ip1 2!g2/2/2 2!r0-2:a1=7/1@0 1op1:a1=7", "unknown");
    check("0!sa7@0 0!sa8@1 1!p1:a1=7 2!g2/2/2 2!r1-2", "unknown");
    // Nothing was written at all.
    check("0!sa7@0 1!p1: 2!g1/1/0", "lost-write");
    // Without an offset it may be beyond what was committed, or sent later.
    check("0!sa7@0 0!sb8 1!p1:a1=7 2!g1/2/2 2!r0-2:a1=7/1@0", "unknown");
    check("0!sa7@0 1!p1:a1=7 2!g1/1/2 2!r0-2:a1=7/1@0 0!sb8", "unknown");
}

#[test]
fn outputs_that_were_committed_and_are_not_there() {
    check("0!sa7@0 1!p1:a1=7 3!p2:a1=7 2!g1/1/4 2!r0-4:a1=7/2@2", "lost-write");
    check("0!sa7@0 1!p1:a1=7 2!r0-2:a1=7/1@0 2!r0-2 2!g1/1/2", "lost-write");
    check("0!sa7@0 1!p1:a1=7 2ir 3!r0-2:a1=7/1@0 2or0-2 2!g1/1/2", "poll-skip");
}

#[test]
fn outputs_that_cannot_be_there() {
    check("0!sa7@0 1ip1 1fp1 2!r0-2:a1=7/1@0 2!g1/1/2", "aborted-read");
    check("0isa7 0fsa7 1!p1:a1=7 2!r0-2:a1=7/1@0", "aborted-read");
    // The end of an aborted transaction may be lost too.
    let aborted = "0!sa7@0 1ip1 1fp1 2!g1/1/2 2!r0-2:a1=7/1@0";
    assert_eq!(verdict(aborted, Delivery::AT_LEAST_ONCE), "aborted-read");
    assert_eq!(verdict(aborted, Delivery::AT_MOST_ONCE), "valid");
    check("0!sa7@0 1!p1 2!r0-2:a1=8/1@0,a1=7/1@1", "never-sent table-diverged");
    check("0!sa7@0 1!p1 2!r0-2:b1=7/1@0", "never-sent");
    // The answer has other outputs, or none.
    check("0!sa7@0 1!p1:a2=7 2!r0-2:a1=7/1@0", "never-sent");
    check("0!sa7@0 1!p1: 2!r0-2:a1=7/1@0", "never-sent");
    check("0!sa7@0 1!p1 2!r0-2:a1=7/5@0", "never-sent");
    check("1!p1 2!r0-2:a1=7/1@0 0!sa7@0", "never-sent");
    check("0!sa7@0 2!r0-2:a1=7/1@0 1!p1:a1=7", "never-sent");
}

#[test]
fn outputs_are_in_the_partition_of_their_inputs() {
    let right = "0!sa7@0 0!Sb8@0 1!p1:a1=7 1!P2:b1=8 2!g1/1/2 2!r0-2:a1=7/1@0 2!G1/1/2 2!R0-2:b1=8/2@0";
    let wrong = "0!sa7@0 1!P1:a1=7 2!g1/1/0 2!G0/0/2 2!R0-2:a1=7/1@0";
    check(right, "valid");
    check(wrong, "never-sent");
    // Partitions without the name of a topic are the same if their names are.
    let unnamed = |text: &str, answered: bool| {
        let (f, value) = operation(text, answered);
        (f, value.replace("in-", "").replace("out-", ""))
    };
    let verdict = |words| verdict_on(&words::operations(words, unnamed), Delivery::EXACTLY_ONCE);
    assert_eq!((verdict(right).as_str(), verdict(wrong).as_str()), ("valid", "never-sent"));
}

#[test]
fn inputs_that_were_processed_twice_or_out_of_order() {
    let twice = "0!sa7@0 1!p1:a1=7 3!p2:a2=7 2!g1/1/4 2!r0-4:a1=7/1@0,a2=7/2@2";
    check(twice, "duplicate");
    assert_eq!(verdict(twice, Delivery::AT_LEAST_ONCE), "valid");
    // The second time is no disorder.
    check("0!sa7@0 0!sb8@1 1!p1:a1=7,b1=8 3!p2:a2=7 2!g2/2/5 2!r0-5:a1=7/1@0,b1=8/1@1,a2=7/2@3", "duplicate");
    let swapped = "0!sa7@0 0!sb8@1 1!p1:b1=8,a1=7 2!g2/2/3 2!r0-3:b1=8/1@0,a1=7/1@1";
    check(swapped, "reordered");
    assert_eq!(verdict(swapped, Delivery::AT_LEAST_ONCE), "valid");
}

#[test]
fn counts_that_do_not_continue_the_table() {
    let jump = "0!sa7@0 0!sa8@1 1!p1:a1=7,a3=8 2!g2/2/3 2!r0-3:a1=7/1@0,a3=8/1@1";
    check(jump, "table-diverged");
    assert_eq!(verdict(jump, Delivery::AT_LEAST_ONCE), "valid");
    assert_eq!(verdict(jump, Delivery::AT_MOST_ONCE), "valid");
    check("0!sa7@0 1!p1:a2=7 2!g1/1/2 2!r0-2:a2=7/1@0", "table-diverged");
    // No read covers the outputs before.
    check("0!sa7@0 0!sa8@1 1!p1:a1=7,a2=8 2!g2/2/3 2!r1-3:a2=8/1@1", "unknown");
}

#[test]
fn reads_that_contradict_each_other() {
    check(
        "0!sa7@0 0!sa8@1 1ip1 1?p1 2!r0-1:a1=7/1@0 2!r0-1:a1=8/1@0 2!g2/2/1",
        "inconsistent-offsets lost-write",
    );
    check("0!sa7@0 1!p1:a1=7 2!r0-2:a1=7/1@3 2!g1/1/2", "int-nonmonotonic-poll");
    let swapped = "0!sa7@0 0!sb8@1 1!p1:a1=7,b1=8 2!g2/2/3 2!r0-3:b1=8/1@1,a1=7/1@0";
    check(swapped, "int-nonmonotonic-poll");
    check("0!sa7@0 1!p1:a1=7 2!g1/1/2 2!r0-2:a1=7/1@0 2!r2-0", "int-nonmonotonic-poll");
}

#[test]
fn a_value_sent_twice_is_undecided() {
    check("0!sa7@0 0!sa7@1 1!p1 2!r0-2:a1=7/1@0", "unknown");
}
