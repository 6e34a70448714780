//! Each kind of anomaly in a history that has it, and the near miss that does not.
//!
//! A line is a transaction: its process, its beginning and end, how it ended unless it was acknowledged, and what it did. As in
//! Elle, `ax1` appends 1 to x, `wx1` writes it, `rx12` reads the list [1 2], or the register, and `rx` reads nothing.

use duress_checkers::verdict::{CheckReport, Details, Verdict};
use duress_history::ConsistencyModel as Model;
use duress_history::txn::{Elements, Held};

use super::definitions::{Act, Ended, List, Register, Small, Transaction};
use super::{lists, read, registers};

fn history(lines: &str) -> Small {
    let transaction = |line: &str| {
        let mut words = line.split_whitespace().peekable();
        let process = words.next()?.parse().expect("a process");
        let (begin, end) = words.next()?.split_once('-').expect("a beginning and an end");
        let ended = match *words.peek()? {
            "fail" => Ended::Fail,
            "info" => Ended::Info,
            _ => Ended::Ok,
        };
        let act = |word: &str| {
            let (key, rest) = (word.as_bytes()[1] - b'x', &word[2..]);
            let seen = || rest.bytes().map(|digit| u32::from(digit - b'0')).collect();
            if word.starts_with('r') {
                Act::Read(key, seen())
            } else {
                Act::Write(key, rest.parse().expect("a value"))
            }
        };
        let acts = words.skip(usize::from(ended != Ended::Ok)).map(act).collect();
        let (begin, end) = (begin.parse().expect("a time"), end.parse().expect("a time"));
        Some(Transaction { process, begin, end, ended, acts })
    };
    let mut transactions: Vec<Transaction> = lines.split(';').filter_map(transaction).collect();
    transactions.sort_by_key(|transaction| transaction.begin);
    Small { transactions }
}

/// Asserts for each history what is found in it, by names, and which models are the strongest left.
fn find(cases: &[(&str, &str, &str)], report: impl Fn(&Small) -> CheckReport) {
    for (lines, found, left) in cases {
        let report = report(&history(lines));
        let Details::Transactions(details) = &report.details else { panic!("{:?}", report.details) };
        let kinds: Vec<&str> = details.found.keys().map(|kind| kind.name()).collect();
        let models: Vec<&str> = details.left.iter().map(|model| model.name()).collect();
        assert_eq!((&*kinds.join(" "), &*models.join(" ")), (*found, *left), "{lines}");
        assert_eq!(report.verdict == Verdict::Valid, found.is_empty(), "{lines}: {:?}", report.verdict);
        // Each is shown by a sentence for each of its transactions at least.
        for anomaly in report.verdict.anomalies() {
            assert!(anomaly.steps.len() >= anomaly.operations.len().min(2) - 1, "{anomaly:#?}");
        }
    }
}

#[test]
fn each_kind_is_found_in_lists() {
    let cases = [
        ("0 1-9 ax1 ay2; 1 2-10 ax3 ay4; 2 3-11 rx13 ry42", "G0", ""),
        ("0 1-9 ax1 ay2; 1 2-10 ax3 ay4; 2 3-11 rx13 ry24", "", "strict-serializable"),
        ("0 1-2 ax1; 0 3-9 ax2; 2 4-10 rx21", "G0-process", "serializable"),
        ("0 1-2 ax1; 1 3-9 ax2; 2 4-10 rx21", "G0-realtime", "strong-session-serializable"),
        ("0 1-4 ax1; 1 3-9 ax2; 2 5-10 rx21", "", "strict-serializable"),
        ("0 1-2 fail ax1; 1 3-4 rx1", "G1a", "strong-read-uncommitted"),
        ("0 1-2 info ax1; 1 3-4 rx1", "", "strict-serializable"),
        ("0 1-9 ax1 ax2; 1 2-10 rx1; 2 3-11 rx12", "G1b G-single", "strong-read-uncommitted"),
        ("0 1-9 ax1 ry2; 1 2-10 ay2 rx1", "G1c", "strong-read-uncommitted"),
        ("0 1-2 rx1; 0 3-4 ax1", "G1c-process", "serializable strong-read-uncommitted"),
        ("0 1-2 rx1; 1 3-4 ax1", "G1c-realtime", "strong-session-serializable strong-read-uncommitted"),
        ("0 1-9 ax1 ay2; 1 2-10 rx1 ry", "G-single fractured-read", "cursor-stability strong-read-committed"),
        ("0 1-2 ax1; 0 3-4 rx", "G-single-process causality-violation", "serializable strong-read-committed"),
        ("0 1-2 ax1; 1 3-4 rx", "G-single-realtime", "strong-session-serializable strong-read-committed"),
        ("0 1-3 ax1; 1 2-4 rx", "", "strict-serializable"),
        (
            "0 1-19 ax1; 1 2-20 rx1 ry; 2 3-21 ay2; 3 4-22 ry2 rx",
            "G-nonadjacent",
            "causal consistent-view strong-read-committed",
        ),
        (
            "0 1-10 ax1; 0 11-12 ry; 2 5-20 ay2; 3 6-21 ry2 rx",
            "G-nonadjacent-process",
            "causal serializable strong-read-committed",
        ),
        (
            "0 1-10 ax1; 1 11-12 ry; 2 5-20 ay2; 3 6-21 ry2 rx",
            "G-nonadjacent-realtime",
            "strong-session-serializable strong-read-committed",
        ),
        ("0 1-9 rx ay2; 1 2-10 ry ax1", "G2-item", "strong-snapshot-isolation"),
        ("0 2-3 ay2; 0 4-9 rx; 1 1-10 ax1 ry", "G2-item-process", "serializable strong-snapshot-isolation"),
        (
            "0 2-3 ay2; 2 4-9 rx; 1 1-10 ax1 ry",
            "G2-item-realtime",
            "strong-session-serializable strong-snapshot-isolation",
        ),
        ("0 1-2 ax1 rx", "internal", "consistent-view repeatable-read strong-read-committed"),
        ("0 1-9 rx ax1; 1 2-10 rx ax2", "lost-update G-single", "causal strong-read-committed"),
        ("0 1-9 rx ax1; 1 2-10 rx ax2; 2 3-11 rx12", "lost-update G-single", "causal strong-read-committed"),
        ("0 1-2 fail ax1; 1 3-4 ax2; 2 5-6 rx12", "G1a dirty-update", "strong-read-uncommitted"),
        ("0 1-9 ax1; 1 2-10 ax2; 2 3-11 rx12; 3 4-12 rx21", "incompatible-order", "strong-read-uncommitted"),
        ("0 1-9 ax1 ax2; 2 3-11 rx2", "G-single incompatible-order", "strong-read-uncommitted"),
        ("0 1-2 ax1; 1 3-4 rx11", "duplicate-elements", ""),
        ("0 1-2 rx1 ax1", "future-read", "strong-read-uncommitted"),
    ];
    find(&cases, |history| lists(&read::<Elements>(&history.lines::<List>()), Model::StrictSerializable));
}

#[test]
fn each_kind_is_found_in_registers() {
    let cases = [
        ("0 1-2 rx1", "phantom-read", ""),
        ("0 1-9 rx1 wx2; 1 2-10 rx2 wx1", "G1c cyclic-versions", "strong-read-uncommitted"),
        ("0 1-9 rx1 wx2; 1 2-10 rx2 wx3; 2 3-11 rx3 wx1", "G1c cyclic-versions", "strong-read-uncommitted"),
        ("0 1-9 rx1 wx2; 1 2-10 rx2 wx3; 2 3-11 wx1", "", "strict-serializable"),
        ("0 1-2 fail wx1; 1 3-4 rx1", "G1a", "strong-read-uncommitted"),
        ("0 1-9 wx1 wx2; 1 2-10 rx1", "G1b", "strong-read-uncommitted"),
        ("0 1-9 wx1 ry2; 1 2-10 wy2 rx1", "G1c", "strong-read-uncommitted"),
        ("0 1-9 wx1; 1 2-10 rx1 wx2; 2 3-11 rx1 wx3", "lost-update G-single", "causal strong-read-committed"),
        ("0 1-9 wx1 wy2; 1 2-10 rx1 ry", "G-single fractured-read", "cursor-stability strong-read-committed"),
        (
            "0 1-9 wx1; 1 2-10 rx1 wy2; 2 3-11 ry2 rx",
            "G-single causality-violation",
            "cursor-stability read-atomic strong-read-committed",
        ),
        (
            "0 1-2 wx1; 1 3-4 wx2; 2 5-6 rx1",
            "G-single-realtime",
            "strong-session-serializable strong-read-committed",
        ),
        (
            "0 1-2 wx1; 0 3-4 wx2; 0 5-6 rx1",
            "G-single-process causality-violation",
            "serializable strong-read-committed",
        ),
        ("0 1-2 wx1; 1 3-5 wx2; 2 4-6 rx1", "", "strict-serializable"),
        (
            "0 1-19 wx1; 1 2-20 rx1 ry; 2 3-21 wy2; 3 4-22 ry2 rx",
            "G-nonadjacent",
            "causal consistent-view strong-read-committed",
        ),
        ("0 1-9 rx wy2; 1 2-10 ry wx1", "G2-item", "strong-snapshot-isolation"),
        (
            "0 1-20 wx1 wy1; 1 2-21 wx2; 2 3-22 wy2; 3 4-23 rx2 ry1; 4 5-24 rx1 ry2",
            "not-serializable",
            "strong-snapshot-isolation",
        ),
        ("0 1-20 wx1 wy1; 1 2-21 wx2; 2 3-22 wy2; 3 4-23 rx2 ry1; 4 5-24 rx1", "", "strict-serializable"),
        (
            "0 1-20 wy7 wz1; 1 2-3 rz1; 1 4-21 wx8 wy9; 3 5-22 ry7 rx8",
            "not-serializable-process",
            "serializable strong-snapshot-isolation",
        ),
        (
            "0 1-20 wy7 wz1; 1 2-3 rz1; 2 4-21 wx8 wy9; 3 5-22 ry7 rx8",
            "not-serializable-realtime",
            "strong-session-serializable strong-snapshot-isolation",
        ),
        ("0 1-20 wy7 wz1; 1 2-5 rz1; 2 4-21 wx8 wy9; 3 6-22 ry7 rx8", "", "strict-serializable"),
        (
            "0 1-2 wx1 rx2; 1 3-4 wx2",
            "G1c-realtime G-single-realtime internal",
            "consistent-view repeatable-read strong-session-read-committed strong-read-uncommitted",
        ),
        ("0 1-2 rx1 wx1", "future-read", "strong-read-uncommitted"),
        ("0 1-2 rx1", "phantom-read", ""),
    ];
    find(&cases, |history| registers(&read::<Held>(&history.lines::<Register>()), Model::StrictSerializable));
}
