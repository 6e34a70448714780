//! Each anomaly of a table has a history in which it must be found, and near misses that must pass.
//!
//! A history is written as words; of its operations,
//!
//! - `a=7` puts 7 to the key a, `a=7@3` was answered with offset 3; `a-` deletes, `a-@4` was answered with offset 4;
//! - `r` reads, `r5:a=7@3,b-@4` read below offset 5; `e5` was answered with the end 5.

use std::sync::atomic::AtomicBool;

use duress_checkers::table::{TableOptions, check_table};
use duress_checkers::verdict::CheckReport;
use duress_history::table::Table;
use duress_history::{Allowed, Delivery};
use words::answer;

use crate::words;

/// Returns a record: its key, its value as JSON, its offset.
fn record(text: &str) -> (&str, Option<&str>, Option<&str>) {
    let (content, offset) = match text.split_once('@') {
        Some((content, offset)) => (content, Some(offset)),
        None => (text, None),
    };
    match content.split_once('=') {
        Some((key, value)) => (key, Some(value), offset),
        None => (content.trim_end_matches('-'), None, offset),
    }
}

fn operation(text: &str, answered: bool) -> (&'static str, String) {
    if let Some(rest) = text.strip_prefix('e').filter(|rest| !rest.contains(['=', '-'])) {
        return ("end-offsets", if answered { format!("{{\"t0-0\":{rest}}}") } else { "null".to_owned() });
    }
    if let Some(rest) = text.strip_prefix('r').filter(|rest| !rest.starts_with(['=', '-'])) {
        if !answered {
            return ("read-log", "null".to_owned());
        }
        let (next, records) = rest.split_once(':').unwrap_or((rest, ""));
        let records: Vec<String> = records
            .split(',')
            .filter(|text| !text.is_empty())
            .map(|text| {
                let (key, value, offset) = record(text);
                format!("[{},\"{key}\",{}]", offset.expect("a record has an offset"), value.unwrap_or("null"))
            })
            .collect();
        return ("read-log", format!("{{\"t0-0\":{{\"next\":{next},\"records\":[{}]}}}}", records.join(",")));
    }
    let (key, value, offset) = record(text);
    let place = match offset.filter(|_| answered) {
        Some(offset) => format!(",[\"t0-0\",{offset}]"),
        None => String::new(),
    };
    match value {
        Some(value) => ("put", format!("[\"{key}\",{value}{place}]")),
        None => ("delete", format!("[\"{key}\"{place}]")),
    }
}

fn report(words: &str, options: &TableOptions) -> CheckReport {
    check_table(&words::operations::<Table>(words, operation), options, &AtomicBool::new(false))
}

#[track_caller]
fn check_as(words: &str, options: &TableOptions, expected: &str) {
    let report = report(words, options);
    assert_eq!(answer(&report), expected, "{words}\n{:#?}", report.verdict);
}

#[track_caller]
fn check(words: &str, expected: &str) {
    check_as(words, &TableOptions::default(), expected);
}

const ONE_OPEN: &str = "unknown: key t0-0 was not decided: 1 acknowledged messages were never read, and no consumer \
                          read far enough to show whether they are lost";

#[test]
fn what_compaction_leaves_is_valid() {
    check("0!a=1@0 0!a=2@1 0!b=3@2 1!r3:a=1@0,a=2@1,b=3@2", "valid");
    check("0!a=1@0 0!a=2@1 0!b=3@2 1!r3:a=2@1,b=3@2", "valid");
    check("0!a=1@0 0!a-@1 0!b=3@2 1!r3:a-@1,b=3@2", "valid");
    check("0!a=1@0 0!a-@1 0!b=3@2 1!r3:b=3@2", "valid");
    // A write of unknown outcome may be there, and take the place of the one before it, or not.
    check("0!a=1@0 2ia=2 2?a=2 1!r2:a=2@1 1!e2", "valid");
    check("0!a=1@0 2ia=2 2?a=2 1!r2:a=1@0 1!e2", "valid");
    check("0!a=1@0 2ia- 2?a- 1!r2:a-@1 1!e2", "valid");
}

#[test]
fn the_latest_record_is_gone() {
    check("0!a=1@0 0!b=3@1 1!r2:b=3@1", "latest-lost(put a=1 -> t0-0@0; read-log t0-0 below 2)");
    check(
        "0!a=1@0 0!a-@1 0!a=2@2 0!b=3@3 1!r4:a-@1,b=3@3",
        "latest-lost(put a=2 -> t0-0@2; read-log t0-0 below 4 -> a deleted@1)",
    );
}

#[test]
fn the_table_has_what_was_before() {
    check(
        "0!a=1@0 0!a=2@1 0!b=3@2 1!r3:a=1@0,b=3@2",
        "table-diverged(put a=2 -> t0-0@1; read-log t0-0 below 3 -> a=1@0)",
    );
    check(
        "0!a=1@0 0!a-@1 0!b=3@2 1!r3:a=1@0,b=3@2",
        "table-diverged(delete a -> t0-0@1; read-log t0-0 below 3 -> a=1@0)",
    );
    // A record read by one operation is known to all later reads.
    check(
        "0ia=1 0?a=1 2ia=2 2?a=2 1!r2:a=1@0,a=2@1 1!r2:a=1@0 1!e2",
        "table-diverged(read-log t0-0 below 2 -> a=1@0 a=2@1; read-log t0-0 below 2 -> a=1@0)",
    );
}

#[test]
fn a_later_record_excuses_an_absence() {
    // It may lie beyond the read; that no record was there afterwards excludes it.
    check("0!a=1@0 0!b=3@1 2ia=2 1!r2:b=3@1 2?a=2", ONE_OPEN);
    let lost = "latest-lost(put a=1 -> t0-0@0; read-log t0-0 below 2)";
    check("0!a=1@0 0!b=3@1 2ia=2 1!r2:b=3@1 2?a=2 1!e2", lost);
    check("0!a=1@0 0!b=3@1 2ia=2 1!r2:b=3@1 2?a=2 1!e3", ONE_OPEN);
    check("0!a=1@0 0!b=3@1 2ia=2 2fa=2 1!r2:b=3@1", lost);
    check("0!a=1@0 0!b=3@1 1!r2:b=3@1 2!a=2@2 1!r3:b=3@1,a=2@2", lost);
    check("0!a=1@0 0!b=3@1 2ia=2 1!r2:b=3@1 2oa=2@2 1!r3:b=3@1,a=2@2", "valid");
}

#[test]
fn records_that_cannot_be_there() {
    check("1!r1:a=1@0", "never-sent(read-log t0-0 below 1 -> a=1@0)");
    check("1!r1:a-@0", "never-sent(read-log t0-0 below 1 -> a deleted@0)");
    check("1!r1:a=1@0 0!a=1@0", "never-sent(read-log t0-0 below 1 -> a=1@0; put a=1 -> t0-0@0)");
    check("0ia=1 0fa=1 1!r1:a=1@0", "aborted-read(put a=1; read-log t0-0 below 1 -> a=1@0)");
    check("0ia=1 1!r1:a=1@0 0?a=1", "valid");
    check("0!a=1@0 0!b=2@1 1!r2:b=2@1,a=1@0", "int-nonmonotonic-poll(read-log t0-0 below 2 -> b=2@1 a=1@0)");
    check("0!a=1@0 0!b=2@1 1!r1:a=1@0,b=2@1", "int-nonmonotonic-poll(read-log t0-0 below 1 -> b=2@1)");
}

#[test]
fn places_that_hold_two_records() {
    check(
        "0ia=1 0?a=1 2ib=2 2?b=2 1!r1:a=1@0 1!r1:b=2@0",
        "inconsistent-offsets(read-log t0-0 below 1 -> a=1@0; read-log t0-0 below 1 -> b=2@0) | \
         latest-lost(read-log t0-0 below 1 -> a=1@0; read-log t0-0 below 1 -> b=2@0)",
    );
    check("0!a=1@0 2ib=2 2?b=2 1!r1:b=2@0", "lost-write(put a=1 -> t0-0@0; read-log t0-0 below 1 -> b=2@0)");
    check("0!a=1@0 0!b=2@0 1!r0", "lost-write(put a=1 -> t0-0@0; put b=2 -> t0-0@0)");
    check("0ia=1 2ib=2 0oa=1@0 2ob=2@0 1!r0", "inconsistent-offsets(put a=1 -> t0-0@0; put b=2 -> t0-0@0)");
    check("0ia=1 0?a=1 1!r2:a=1@0,a=1@1", "duplicate(put a=1; read-log t0-0 below 2 -> a=1@0 a=1@1)");
}

#[test]
fn what_no_reader_came_to_is_open() {
    check("0!a=1@0 0!b=2@1 1!r1:a=1@0", ONE_OPEN);
    check("0!a=1@0", ONE_OPEN);
    check("0!a=1", &ONE_OPEN.replace("key t0-0 was not decided: ", ""));
    let promise = Delivery { loss: Allowed::Yes, ..Delivery::EXACTLY_ONCE };
    check_as("0!a=1@0 0!b=2@1 1!r1:a=1@0", &TableOptions { promise }, "valid");
    // Only records that were read must stay.
    check_as("0!a=1@0 0!b=3@1 1!r2:b=3@1", &TableOptions { promise }, "valid");
    check_as(
        "0!a=1@0 0!b=3@1 1!r2:a=1@0,b=3@1 1!r2:b=3@1",
        &TableOptions { promise },
        "latest-lost(read-log t0-0 below 2 -> a=1@0; read-log t0-0 below 2)",
    );
    // Not even these, where a message may be lost after it was read.
    let promise = Delivery::AT_MOST_ONCE;
    check_as("0!a=1@0 0!b=3@1 1!r2:a=1@0,b=3@1 1!r2:b=3@1", &TableOptions { promise }, "valid");
    check_as("0!a=1@0 0!a=3@1 1!r2:a=3@1 1!r2:a=1@0", &TableOptions { promise }, "valid");
}

#[test]
fn a_value_put_twice_is_undecided() {
    check(
        "0!a=1@0 0!a=1@1 1!r2:a=1@1",
        "unknown: key a was not decided: 1 was sent more than once, so that its messages cannot be distinguished",
    );
}
