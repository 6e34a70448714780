//! Each anomaly of a log has a history in which it must be found, and near misses that must pass.
//!
//! An expectation names every anomaly with what its witness shows, in the order of labels; see `notation` for the words.

use std::sync::atomic::AtomicBool;

use duress_checkers::delivery::{Acknowledged, Gaps, LogOptions, check_log, check_queue};
use duress_checkers::verdict::{AnomalyKind, CheckReport, Verdict};
use duress_history::{Allowed, Delivery};

use crate::notation;

/// Against everything that can be promised.
const STRICT: LogOptions =
    LogOptions { promise: Delivery::EXACTLY_ONCE, gaps: Gaps::Never, acknowledged: Acknowledged::Appended };

fn log(words: &str, options: &LogOptions) -> CheckReport {
    check_log(&notation::operations(words), options, &AtomicBool::new(false))
}

fn queue(words: &str, options: &LogOptions) -> CheckReport {
    check_queue(&notation::operations(words), options, &AtomicBool::new(false))
}

#[track_caller]
fn expect(report: &CheckReport, words: &str, expected: &str) {
    assert_eq!(notation::answer(report), expected, "{words}\n{:#?}", report.verdict);
}

#[track_caller]
fn check(words: &str, expected: &str) {
    expect(&log(words, &STRICT), words, expected);
}

#[track_caller]
fn check_group(words: &str, expected: &str) {
    expect(&queue(words, &STRICT), words, expected);
}

const ONE_UNSEEN: &str = "unknown: key t0-0 was not decided: 1 acknowledged messages were never read, and no consumer \
                          read far enough to show whether they are lost";

#[test]
fn what_was_read_whole_and_in_order_is_valid() {
    check("0!s1@0 0!s2@1 1!ab 1!p1@0,2@1 1!p_", "valid");
    // Offsets that never held a message may be missing.
    check("0!s1@0 0!s2@2 1!ab 1!p1@0,2@2", "valid");
    // A send of unknown outcome may be read, or not.
    check("0is1 1!ab 1!p1@0 0?s1", "valid");
    check("0!s2@0 0is1 1!ab 1!p2@0 1!p_ 0?s1", "valid");
    // A failed one need not.
    check("0!s2@0 0is1 0fs1 1!ab 1!p2@0 1!p_", "valid");
}

#[test]
fn overwritten() {
    check(
        "0!s1@0 0!s2@1 2is3 1!ab 1!p1@0,3@1 2os3@1",
        "lost-write(send 2 to t0-0 -> 1; poll t0-0 -> 3@1 and 1 more)",
    );
    check("0!s1@0 0!s2@1 2is3 1!ab 1!p1@0,2@1 1!p3@2 2os3@2", "valid");
}

#[test]
fn passed_by() {
    let sends = "0!s1@0 0!s2@1 0!s3@2 1!ab";
    check(&format!("{sends} 1!p1@0,3@2"), "lost-write(send 2 to t0-0 -> 1; poll t0-0 -> 1@0 3@2)");
    check(
        &format!("{sends} 1!p1@0 1!p3@2"),
        "lost-write(send 2 to t0-0 -> 1; assign t0-0 from the beginning; poll t0-0 -> 1@0; poll t0-0 -> 3@2)",
    );
    check(
        &format!("{sends} 1!p2@1,3@2"),
        "lost-write(send 1 to t0-0 -> 0; assign t0-0 from the beginning; poll t0-0 -> 2@1 and 1 more)",
    );
    check(
        "0!s1@0 0!s2@1 0!s3@2 1!ap 1!k1 1!p3@2 2!ab 2!p1@0",
        "lost-write(send 2 to t0-0 -> 1; assign t0-0; seek t0-0 to 1; poll t0-0 -> 3@2)",
    );
    // A consumer may begin anywhere, go elsewhere, or be sent elsewhere by its group: it passes no message
    // by.
    check("0!s1@0 0!s2@1 0!s3@2 1!ap 1!p1@0 1!k2 1!p3@2", ONE_UNSEEN);
    check("0!s1@0 0!s2@1 0!s3@2 1!u 1!p1@0 1!p3@2", ONE_UNSEEN);
    check("0!s1@0 0!s2@1 0!s3@2 1!ap 1!p3@2 2!ap 2!p1@0", ONE_UNSEEN);
    check("0!s1@0 0!s2@1 0!s3@2 1!ab 1!p1@0 1!u 1!ap 1!p3@2", ONE_UNSEEN);
}

#[test]
fn reused() {
    check(
        "0!s1@0 0!s2@1 0!s3@1 1!ap 1!p3@1 2!ap 2!p1@0",
        "lost-write(send 2 to t0-0 -> 1; poll t0-0 -> 3@1)",
    );
    check("0!s1@0 0!s2@1 0!s3@1 1!ap 1!p1@0", "lost-write(send 2 to t0-0 -> 1; send 3 to t0-0 -> 1)");
    check(
        "0!s1@0 0!s2@4 2is3 1!ap 1!p3@3,1@0 2?s3",
        "lost-write(send 2 to t0-0 -> 4; send 3 to t0-0; poll t0-0 -> 3@3 and 1 more) | \
         int-nonmonotonic-poll(poll t0-0 -> 3@3 1@0)",
    );
    // Sent at the same time, either may have been first.
    check("2is3 0!s1@0 0!s2@4 1!ap 1!p1@0 3!ap 3!p3@3 2?s3", ONE_UNSEEN);
}

#[test]
fn not_in_the_final_reading() {
    // Without an offset, a consumer must have read up to a message that was sent later, and have begun after
    // the answer.
    check(
        "0!s1 0!s2 3!s4@1 1!ab 1!p1@0,4@1",
        "lost-write(send 2 to t0-0; send 4 to t0-0 -> 1; assign t0-0 from the beginning; poll t0-0 -> 4@1 and 1 more)",
    );
    check(
        "0!s1 0!s2 3is4 1!ab 1!p1@0 1!p4@1 3?s4",
        "lost-write(send 2 to t0-0; send 4 to t0-0; assign t0-0 from the beginning; poll t0-0 -> 1 message; \
         poll t0-0 -> 4@1)",
    );
    check("0!s1 3is4 0!s2 1!ab 1!p1@0 1!p4@1 3?s4", ONE_UNSEEN);
    check("0!s1 1!ab 0!s2 3!s4@1 1!p1@0 1!p4@1", ONE_UNSEEN);
    check("0!s1 0!s2 3!s4@1 1!ab 1!p1@0", &ONE_UNSEEN.replace("1 acknowledged", "2 acknowledged"));
    // Or up to an end that was reported later, if ends do not lag behind.
    let words = "3is4 0!s1 0!s2 0!e2 1!ab 1!p1@0 1!p4@1 3?s4";
    check(words, ONE_UNSEEN);
    let readable = LogOptions { acknowledged: Acknowledged::Readable, ..STRICT };
    expect(
        &log(words, &readable),
        words,
        "lost-write(send 2 to t0-0; end-offsets t0-0 -> 2; assign t0-0 from the beginning; poll t0-0 -> 1 message; \
         poll t0-0 -> 4@1)",
    );
    for open in ["3is4 0!s1 0!s2 0!e3 1!ab 1!p1@0 1!p4@1 3?s4", "3is4 0!s1 0!e2 0!s2 1!ab 1!p1@0 1!p4@1 3?s4"]
    {
        expect(&log(open, &readable), open, ONE_UNSEEN);
    }
}

#[test]
fn beyond_the_end() {
    let words = "0!s1@0 0!s2@1 0!e1 1!ab 1!p1@0";
    check(words, ONE_UNSEEN);
    let readable = LogOptions { acknowledged: Acknowledged::Readable, ..STRICT };
    expect(&log(words, &readable), words, "lost-write(send 2 to t0-0 -> 1; end-offsets t0-0 -> 1)");
    // Reported too early, or the message is read all the same.
    for (words, expected) in [
        ("0!s1@0 0!e1 0!s2@1 1!ab 1!p1@0", ONE_UNSEEN),
        ("0!s1@0 1ie 0!s2@1 1oe1 1!ab 1!p1@0", ONE_UNSEEN),
        ("0!s1@0 0!s2@1 0!e1 1!ab 1!p1@0,2@1", "valid"),
    ] {
        expect(&log(words, &readable), words, expected);
    }
}

#[test]
fn vanished() {
    let read = "0!s1@0 1!ab 1!p1@0 2is2 1!p2@1 2?s2";
    check(
        &format!("{read} 0!s3@1 3!ab 3!p1@0,3@1"),
        "lost-write(send 2 to t0-0; poll t0-0 -> 2@1; assign t0-0 from the beginning; poll t0-0 -> 3@1 and 1 more) | \
         inconsistent-offsets(poll t0-0 -> 2@1; poll t0-0 -> 3@1 and 1 more)",
    );
    let unsettled = Delivery { unsettled_reads: Allowed::Yes, ..Delivery::EXACTLY_ONCE };
    let unsettled = LogOptions { promise: unsettled, ..STRICT };
    let words = "0!s1@0 0!s2@1 1!ap 1!p2@1 4is3 3!ab 3!p1@0,3@1 4?s3";
    let lost = "lost-write(send 2 to t0-0 -> 1; poll t0-0 -> 2@1; assign t0-0 from the beginning; poll t0-0 -> 3@1 and 1 more)";
    expect(&log(words, &unsettled), words, lost);
    let words = words.replace("0!s2@1", "0is2").replace("4?s3", "4?s3 0?s2");
    expect(&log(&words, &unsettled), &words, "valid");
    // It is read after the reading began, or no other message was given there: the reader skipped it.
    check(
        "0!s1@0 2is2 0!s3@2 3!ab 3!p1@0 3!p3@2 1!ab 1!p1@0 1!p2@1 2?s2",
        "poll-skip(send 2 to t0-0; assign t0-0 from the beginning; poll t0-0 -> 1@0; poll t0-0 -> 3@2; poll t0-0 -> 2@1)",
    );
    check(
        &format!("{read} 0!s3@2 3!ab 3!p1@0 3!p3@2"),
        "poll-skip(send 2 to t0-0; poll t0-0 -> 2@1; assign t0-0 from the beginning; poll t0-0 -> 1@0; poll t0-0 -> 3@2)",
    );
    // The end came back behind it.
    let words = format!("{read} 0!e1 3!ab 3!p1@0");
    check(&words, "valid");
    let readable = LogOptions { acknowledged: Acknowledged::Readable, ..STRICT };
    expect(
        &log(&words, &readable),
        &words,
        "lost-write(send 2 to t0-0; poll t0-0 -> 2@1; end-offsets t0-0 -> 1; assign t0-0 from the beginning; poll t0-0 -> 1@0)",
    );
}

#[test]
fn messages_that_cannot_be_there() {
    check("1!p7@0", "never-sent(poll t0-0 -> 7@0)");
    check("0!s7@0/1 1!p7@0/1 1!p7@0", "never-sent(poll t0-0 -> 7@0)");
    check("1!p7@0 0!s7@0", "never-sent(poll t0-0 -> 7@0; send 7 to t0-0 -> 0)");
    check("1ip 0is7 1op7@0 0os7@0", "valid");
    check("0is7 0fs7 1!p7@0", "aborted-read(send 7 to t0-0; poll t0-0 -> 7@0)");
    check("0is7 0?s7 1!p7@0", "valid");
}

#[test]
fn offsets_about_which_answers_disagree() {
    check("0is1 0?s1 1is2 1?s2 2!p1@0 3!p2@0", "inconsistent-offsets(poll t0-0 -> 1@0; poll t0-0 -> 2@0)");
    check("0is1 1is2 0os1@0 1os2@0", "inconsistent-offsets(send 1 to t0-0 -> 0; send 2 to t0-0 -> 0)");
    check(
        "0is1 1is2 0os1@0 1os2@0 2!ap 2!p2@0,1@1",
        "inconsistent-offsets(send 1 to t0-0 -> 0; poll t0-0 -> 2@0 1@1)",
    );
    check("0is1 1is2 0os1@0 1os2@1 2!ap 2!p1@0,2@1", "valid");
}

#[test]
fn duplicates() {
    check("0is1 0?s1 1!p1@0 1!p1@1", "duplicate(send 1 to t0-0; poll t0-0 -> 1@0; poll t0-0 -> 1@1)");
    check("0!s1@1 1!p1@0", "duplicate(send 1 to t0-0 -> 1; poll t0-0 -> 1@0)");
    // Read twice at one offset is read twice, not there twice; another partition is another message.
    check("0!s1@0 1!p1@0 2!p1@0", "valid");
    check("0!s1@0 0!s1@1/1 1!p1@0,1@1/1", "valid");
    let words = "0!s1@1 1!p1@0 2!p1@1";
    let twice = LogOptions { promise: Delivery::AT_LEAST_ONCE, ..STRICT };
    expect(&log(words, &twice), words, "valid");
}

#[test]
fn consumers_that_never_said_how_they_consume() {
    let sends = "0!s1@0 0!s2@1 0!s3@2";
    // No process subscribes: each was set up before the history began, and keeps its place from its first
    // message on.
    check(
        &format!("{sends} 1!p1@0 1!p3@2"),
        "lost-write(send 2 to t0-0 -> 1; poll t0-0 -> 1@0; poll t0-0 -> 3@2)",
    );
    check(
        &format!("{sends} 2!p1@0,2@1,3@2 1!p1@0 1!p3@2"),
        "poll-skip(send 2 to t0-0 -> 1; poll t0-0 -> 1@0 2@1 3@2; poll t0-0 -> 1@0; poll t0-0 -> 3@2)",
    );
    check(
        &format!("{sends} 1!p1@0,2@1,3@2 1!p2@1"),
        "nonmonotonic-poll(poll t0-0 -> 2@1 3@2 and 1 more; poll t0-0 -> 2@1)",
    );
    // It may have begun anywhere, also before it assigns.
    check(&format!("{sends} 1!p2@1,3@2"), ONE_UNSEEN);
    check(&format!("{sends} 2!p2@1 1!p1@0 1!ap 1!p3@2"), "valid");
    // If there is a group, it may be a member of it.
    check(&format!("{sends} 2!u 2!p2@1 1!p1@0 1!p3@2"), "valid");
    check(&format!("{sends} 2!u 1!p1@0,2@1,3@2 1!p2@1"), "valid");
}

#[test]
fn polls_within_an_operation() {
    let sends = "0!s1@0 0!s2@1 0!s3@2 2!p1@0,2@1,3@2";
    check(
        &format!("{sends} 1!p1@0,3@2"),
        "int-poll-skip(send 2 to t0-0 -> 1; poll t0-0 -> 1@0 2@1 3@2; poll t0-0 -> 1@0 3@2)",
    );
    check(&format!("{sends} 1!p2@1,1@0"), "int-nonmonotonic-poll(poll t0-0 -> 2@1 1@0)");
    check(&format!("{sends} 1!p1@0,1@0"), "int-nonmonotonic-poll(poll t0-0 -> 1@0 1@0)");
    // Only a message that another poll received can be skipped: an empty offset cannot.
    check("0!s1@0 0!s3@2 1!p1@0,3@2", "valid");
}

#[test]
fn polls_from_operation_to_operation() {
    let sends = "0!s1@0 0!s2@1 0!s3@2 2!p1@0,2@1,3@2";
    check(
        &format!("{sends} 1!ab 1!p1@0 1!p3@2"),
        "poll-skip(send 2 to t0-0 -> 1; poll t0-0 -> 1@0 2@1 3@2; assign t0-0 from the beginning; poll t0-0 -> 1@0; poll t0-0 -> 3@2)",
    );
    check(
        &format!("{sends} 1!ab 1!p1@0,2@1 1!p2@1"),
        "nonmonotonic-poll(assign t0-0 from the beginning; poll t0-0 -> 2@1 and 1 more; poll t0-0 -> 2@1)",
    );
    check(
        &format!("{sends} 1!ab 1!p3@2"),
        "poll-skip(send 1 to t0-0 -> 0; poll t0-0 -> 1@0 3@2 and 1 more; assign t0-0 from the beginning; \
         poll t0-0 -> 3@2)",
    );
    // The place is kept by another assignment of the same partition, and lost by a seek, a subscription, a crash.
    check(
        &format!("{sends} 1!ab 1!p1@0 1!ap 1!p3@2"),
        "poll-skip(send 2 to t0-0 -> 1; poll t0-0 -> 1@0 2@1 3@2; assign t0-0 from the beginning; poll t0-0 -> 1@0; \
         assign t0-0; poll t0-0 -> 3@2)",
    );
    check(&format!("{sends} 1!ab 1!p1@0 1!k2 1!p3@2"), "valid");
    check(&format!("{sends} 1!ab 1!p1@0,2@1 1!ab 1!p1@0"), "valid");
    // Another assignment continues after the polled messages, and forgets a position that was only sought.
    check(&format!("{sends} 1!ab 1!p1@0,2@1 1!k1 1!ap 1!p3@2"), "valid");
    check(&format!("{sends} 1!ab 1!p1@0,2@1 1!ab 1!ap 1!p3@2"), "valid");
    check(&format!("{sends} 1!u 1!p1@0 1!p3@2 1!p1@0"), "valid");
    check(&format!("{sends} 1!ab 1!p1@0 1ix 1?x 3!ap 3!p3@2"), "valid");
    // A poll that failed left the consumer where it was.
    check(&format!("{sends} 1!ab 1!p1@0 1ip 1fp 1!p2@1"), "valid");
    // After a seek beyond the end, a consumer may be sent to the beginning.
    check(&format!("{sends} 1!ab 1!k9 1!p1@0"), "valid");
}

#[test]
fn sends_in_order() {
    let reads = "2!ap 2!p2@1,1@2";
    check(
        &format!("0!s1@2 0!s2@1 {reads}"),
        "nonmonotonic-send(send 1 to t0-0 -> 2; send 2 to t0-0 -> 1; poll t0-0 -> 2@1 1@2)",
    );
    check(
        &format!("0!s1@2 1!s2@1 {reads}"),
        "reordered(send 1 to t0-0 -> 2; send 2 to t0-0 -> 1; poll t0-0 -> 2@1 1@2)",
    );
    check(
        &format!("0is1 2!p1@2 1is2 {reads} 1?s2 0?s1"),
        "reordered(send 1 to t0-0; poll t0-0 -> 1@2; send 2 to t0-0; poll t0-0 -> 2@1 1@2)",
    );
    check(
        &format!("0!s1,2 {reads}"),
        "int-nonmonotonic-send(send 1 to t0-0, send 2 to t0-0; poll t0-0 -> 2@1 1@2)",
    );
    // Sent at the same time, or the first of unknown outcome: any order will do.
    check(&format!("0is1 1!s2@1 0os1@2 {reads}"), "valid");
    check(&format!("0is1 0?s1 1!s2@1 {reads}"), "valid");
    // Others' messages in between are counted only.
    let words = "1is3 0!s1@0,2@2 1os3@1 2!p1@0,3@1,2@2";
    let report = log(words, &STRICT);
    expect(&report, words, "valid");
    let found = report.details.delivery().map(|delivery| delivery.found.clone()).unwrap_or_default();
    assert_eq!(found.get(&AnomalyKind::IntSendSkip), Some(&1));
}

#[test]
fn committed_offsets() {
    let consumed = "0!s1@0 0!s2@1 1!u 1!p1@0,2@1";
    let back = "committed-offset-back(commit t0-0 -> 2; committed t0-0 -> 1)";
    check(&format!("{consumed} 1!c2 3!d1"), back);
    check(&format!("{consumed} 1!c2 3!d_"), &back.replace("-> 1", "-> none"));
    check(&format!("{consumed} 3!d2 3!d1"), &back.replace("commit t", "committed t"));
    check(&format!("{consumed} 1!c1 3!d2"), "valid");
    // Asked before the commit was answered.
    check(&format!("{consumed} 1ic 3!d1 1oc2"), "valid");
    // An operation committed the lower one, or may have.
    check(&format!("{consumed} 1!c2 4!c1 3!d1"), "valid");
    check(&format!("{consumed} 4!c1 1!c2 3!d1"), back);
    check(&format!("{consumed} 1!c2 4ic 4?c 3!d1"), "valid");
    check(&format!("{consumed} 1!c2 1!k0 3!d1"), "valid");
    // A member whose partition another one has had meanwhile is fenced; a non-member is not.
    let accepted = "committed-offset-back(commit t0-0 -> 2; commit t0-0 -> 1)";
    check(&format!("{consumed} 4!u 4!p1@0 1!c2 4!c1"), accepted);
    check(&format!("{consumed} 4!u 4!p1@0 1!c2 4!c1 3!d1"), accepted);
    check(
        &format!("{consumed} 4!u 4!p1@0 3!d2 4!c1"),
        &accepted.replace("commit t0-0 -> 2", "committed t0-0 -> 2"),
    );
    check(&format!("{consumed} 4!u 4!p1@0 4ic 1!c2 4oc1"), "valid");
    check(&format!("{consumed} 1!c2 4!c1"), "valid");
    // A member of unknown outcome is fenced.
    check(&format!("{consumed} 3!d2 1ic 1?c 3!d1"), &back.replace("commit t", "committed t"));
}

#[test]
fn groups() {
    let sends = "0!s1@0 0!s2@1";
    check_group(&format!("{sends} 1!u 1!p1@0,2@1 2!d2"), "valid");
    check_group(&format!("{sends} 1!u 1!p1@0 2!d2"), "undelivered(send 2 to t0-0 -> 1; committed t0-0 -> 2)");
    // Other readers are not members, and a poll without an answer received nothing.
    check_group(
        &format!("{sends} 1!u 1!p1@0 3!ab 3!p1@0,2@1 4!u 4ip 4?p 2!d2"),
        "undelivered(send 2 to t0-0 -> 1; committed t0-0 -> 2)",
    );
    check_group(&format!("{sends} 1!u 1!p1@0 2!d1"), ONE_UNSEEN);
    check_group(&format!("{sends} 1!u 1!k1 1!p2@1 2!d2"), ONE_UNSEEN);
    check_group(&format!("{sends} 1!u 1!p1@0 3!c2"), ONE_UNSEEN);
    // Without an offset, the group must have come to a message that was sent later, or to an end that does
    // not lag.
    check_group(
        "0!s1@0 0!s2 0!s3@1 1!u 1!p1@0,3@1 2!d2",
        "undelivered(send 2 to t0-0; send 3 to t0-0 -> 1; committed t0-0 -> 2)",
    );
    check_group("0!s1@0 0!s2 0!s3@1 1!u 1!p1@0 1!p3@1 2!d1", ONE_UNSEEN);
    let readable = LogOptions { acknowledged: Acknowledged::Readable, ..STRICT };
    let words = "0!s1@0 0!s2 1!u 1!p1@0 0!e1 2!d1";
    expect(
        &queue(words, &readable),
        words,
        "undelivered(send 2 to t0-0; end-offsets t0-0 -> 1; committed t0-0 -> 1)",
    );
    check_group(words, ONE_UNSEEN);
    // A message known to be in the log, if only from a non-member's poll, must be delivered.
    check_group(
        "0!s1@0 3is2 3?s2 4!ap 4!p2@1 1!u 1!p1@0 2!d2",
        "undelivered(send 2 to t0-0; poll t0-0 -> 2@1; committed t0-0 -> 2)",
    );
    check_group("0!s1@0 3is2 3?s2 1!u 1!p1@0 2!d2", "valid");
}

#[test]
fn groups_that_are_given_a_message_again() {
    let words = "0!s1@0 0!s2@1 1!u 1!p1@0,2@1 2!u 2!p2@1 3!d2";
    check_group(
        words,
        "redelivered(subscribe t0; poll t0-0 -> 2@1 and 1 more; subscribe t0; poll t0-0 -> 2@1)",
    );
    let twice = LogOptions { promise: Delivery::AT_LEAST_ONCE, ..STRICT };
    expect(&queue(words, &twice), words, "valid");
    check_group("0!s1@0 0!s2@1 1!u 1!p1@0,2@1 2!ab 2!p1@0,2@1 3!d2", "valid");
}

#[test]
fn logs_that_lose_messages_by_design() {
    let options = |gaps| LogOptions { gaps, ..STRICT };
    let from_three = "0!s1@0 0!s2@1 0!s3@2 0!s4@3 1!ab 1!p3@2,4@3";
    let two_unseen = ONE_UNSEEN.replace("1 acknowledged", "2 acknowledged");
    expect(&log(from_three, &options(Gaps::BelowStart)), from_three, &two_unseen);
    let lost = "lost-write(send 3 to t0-0 -> 2; poll t0-0 -> 2@1 4@3)";
    let gap = "0!s1@0 0!s2@1 0!s3@2 0!s4@3 2!ap 2!p1@0 1!ab 1!p2@1,4@3";
    expect(&log(gap, &options(Gaps::BelowStart)), gap, lost);
    expect(&log(gap, &options(Gaps::Anywhere)), gap, ONE_UNSEEN);
    let thrown = "0!s1@0 0!s2@1 0!s3@2 2!ab 2!p1@0,2@1 1!ab 1!p1@0 1!p3@2";
    expect(&log(thrown, &options(Gaps::BelowStart)), thrown, "valid");
    check(
        thrown,
        "poll-skip(send 2 to t0-0 -> 1; poll t0-0 -> 1@0 2@1; assign t0-0 from the beginning; poll t0-0 -> 1@0; \
         poll t0-0 -> 3@2)",
    );
}

#[test]
fn a_value_sent_twice_is_undecided() {
    check(
        "0!s1@0 0!s1@1 1!p1@0,1@1",
        "unknown: key t0-0 was not decided: 1 was sent more than once, so that its messages cannot be distinguished",
    );
}

#[test]
fn what_is_interrupted_is_unknown() {
    let operations = notation::operations("0!s1@0 1!ab 1!p1@0");
    let report = check_log(&operations, &STRICT, &AtomicBool::new(true));
    assert!(matches!(report.verdict, Verdict::Unknown(_)));
}

#[test]
fn the_guarantee_is_what_the_record_shows() {
    for (words, guarantee) in [
        ("0!s1@0 1!ab 1!p1@0", Some(Delivery::EXACTLY_ONCE)),
        ("0!s1@0 1!p1@0 1!p1@1", Some(Delivery::AT_LEAST_ONCE)),
        ("0!s1@0 0!s2@1 0!s3@2 1!ab 1!p1@0,3@2", Some(Delivery::AT_MOST_ONCE)),
        ("0!s1@0 0!s2@1 0!s3@2 1!ab 1!p1@0,3@2,1@3", Some(Delivery::BEST_EFFORT)),
        ("0!s1@0 0!s2@1 1!ab 1!p1@0", None),
        ("0is1 0fs1", None),
    ] {
        let report = log(words, &STRICT);
        let delivery = report.details.delivery().expect("it was checked");
        assert_eq!(delivery.reached, guarantee, "{words}: {:?}", delivery.counts);
    }
    let tolerant = LogOptions { promise: Delivery::AT_MOST_ONCE, ..STRICT };
    let report = log("0!s1@0 0!s2@1 0!s3@2 0!s4@3 5is5 5?s5 6is6 6fs6 1!ab 1!p1@0,3@2", &tolerant);
    assert_eq!(report.verdict, Verdict::Valid);
    let counts = report.details.delivery().expect("it was checked").counts;
    assert_eq!((counts.sent, counts.acknowledged, counts.failed, counts.unknown), (6, 4, 1, 1));
    assert_eq!((counts.delivered, counts.lost, counts.unseen, counts.duplicated), (2, 1, 1, 0));
}
