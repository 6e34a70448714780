//! Histories of logs written as words, one or two events each: process, type, operation.
//!
//! - `0i` invokes, `0o` completes, `0f` fails, `0?` is of unknown outcome; `0!` invokes and completes at once;
//! - `s7` sends 7, `s7@3` was answered with offset 3, `s7,8` sends two;
//! - `p` polls, `p7@3,8@4` was given 7 at offset 3 and 8 at 4, `p_` was given nothing;
//! - `ab` assigns from the beginning, `ap` from the position, `k5` seeks to 5, `u` subscribes, `x` crashes;
//! - `c5` commits (answered with 5), `d5` reads the committed offset (`d_`: there is none), `e5` the end.
//!
//! Everything is about the partition `t0-0`; `/1` behind a message means `t0-1`.

use std::fmt::Write as _;

use duress_checkers::verdict::{Anomaly, CheckReport, Verdict};
use duress_history::Operation;
use duress_history::jsonl;
use duress_history::log::Log;
use duress_history::pairs::pair;

/// A message: partition, value, offset.
fn message(text: &str) -> (String, i64, Option<u64>) {
    let (text, partition) = text.split_once('/').unwrap_or((text, "0"));
    let (value, offset) = match text.split_once('@') {
        Some((value, offset)) => (value, Some(offset.parse().expect("an offset"))),
        None => (text, None),
    };
    (format!("t0-{partition}"), value.parse().expect("a value"), offset)
}

/// `f` and the JSON of `value`; `answered` if the event is an `ok`.
fn operation(text: &str, answered: bool) -> (&'static str, String) {
    let (f, rest) = text.split_at(1);
    let offset = |f: &'static str| match rest {
        _ if !answered => (f, "null".to_owned()),
        "_" => (f, "{}".to_owned()),
        offset => (f, format!("{{\"t0-0\":{offset}}}")),
    };
    match f {
        "s" => {
            let micros: Vec<String> = rest
                .split(',')
                .map(|text| match message(text) {
                    (partition, value, Some(offset)) if answered => {
                        format!("[\"send\",\"{partition}\",[{offset},{value}]]")
                    }
                    (partition, value, _) => format!("[\"send\",\"{partition}\",{value}]"),
                })
                .collect();
            ("send", format!("[{}]", micros.join(",")))
        }
        "p" if !answered => ("poll", "[[\"poll\"]]".to_owned()),
        "p" => {
            let mut partitions: Vec<(String, Vec<String>)> = Vec::new();
            for text in rest.split(',').filter(|text| *text != "_") {
                let (partition, value, offset) = message(text);
                let told = format!("[{},{value}]", offset.expect("a poll tells offsets"));
                match partitions.iter_mut().find(|(other, _)| *other == partition) {
                    Some((_, messages)) => messages.push(told),
                    None => partitions.push((partition, vec![told])),
                }
            }
            let parts: Vec<String> = partitions
                .iter()
                .map(|(partition, messages)| format!("\"{partition}\":[{}]", messages.join(",")))
                .collect();
            ("poll", format!("[[\"poll\",{{{}}}]]", parts.join(",")))
        }
        "a" if rest == "b" => ("assign", r#"{"keys":["t0-0","t0-1"],"from":"beginning"}"#.to_owned()),
        "a" if rest == "p" => ("assign", r#"["t0-0","t0-1"]"#.to_owned()),
        "k" => ("seek", format!("{{\"t0-0\":{rest}}}")),
        "u" => ("subscribe", "[\"t0\"]".to_owned()),
        "c" => offset("commit"),
        "d" => offset("committed"),
        "e" => offset("end-offsets"),
        "x" => ("crash", "null".to_owned()),
        other => panic!("no operation {other}"),
    }
}

/// The operations that `words` stand for; a millisecond passes from event to event.
pub fn operations(words: &str) -> Vec<Operation<Log>> {
    let mut lines = String::new();
    let mut at = 0;
    for word in words.split_whitespace() {
        let digits = word.find(|next: char| !next.is_ascii_digit()).expect("a type");
        let (process, rest) = word.split_at(digits);
        let (op_type, rest) = rest.split_at(1);
        let types: &[&str] = match op_type {
            "i" => &["invoke"],
            "o" => &["ok"],
            "f" => &["fail"],
            "?" => &["info"],
            "!" => &["invoke", "ok"],
            other => panic!("no type {other}"),
        };
        for op_type in types {
            let (f, value) = operation(rest, *op_type == "ok");
            let time = at * 1_000_000;
            writeln!(
                lines,
                "{{\"index\":{at},\"time\":{time},\"process\":{process},\"type\":\"{op_type}\",\"f\":\"{f}\",\"value\":{value}}}"
            )
            .expect("a text grows");
            at += 1;
        }
    }
    let history =
        jsonl::read_from::<Log>(lines.as_bytes()).unwrap_or_else(|error| panic!("{lines}: {error:?}"));
    pair(&history.events).unwrap_or_else(|error| panic!("{words}: {error}"))
}

/// `valid`, `unknown`, or every anomaly with what its witness shows.
pub fn answer(report: &CheckReport) -> String {
    let told = |anomaly: &Anomaly| {
        let shown: Vec<&str> = anomaly.operations.iter().map(|shown| shown.action.as_str()).collect();
        format!("{}({})", anomaly.kind, shown.join("; "))
    };
    match &report.verdict {
        Verdict::Valid => "valid".to_owned(),
        Verdict::Unknown(reasons) => {
            let reasons: Vec<String> = reasons.iter().map(ToString::to_string).collect();
            format!("unknown: {}", reasons.join("; "))
        }
        Verdict::Invalid(anomalies) => anomalies.iter().map(told).collect::<Vec<String>>().join(" | "),
    }
}
