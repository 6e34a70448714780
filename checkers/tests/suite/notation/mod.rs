//! Operations on logs as words.
//!
//! - `s7` sends 7, `s7@3` was answered with offset 3, `s7,8` sends two;
//! - `p` polls, `p7@3,8@4` received 7 at offset 3 and 8 at 4, `p_` received nothing;
//! - `ab` assigns from the beginning, `ap` from the position, `k5` seeks to 5, `u` subscribes, `x` crashes;
//! - `c5` commits (answered with 5), `d5` reads the committed offset (`d_`: there is none), `e5` the end.
//!
//! Everything is about the partition `t0-0`; `/1` behind a message means `t0-1`.

use duress_history::Operation;
use duress_history::log::Log;

use crate::words;

pub use words::answer;

/// Returns a message: partition, value, offset.
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

/// Parses `words` into operations.
pub fn operations(words: &str) -> Vec<Operation<Log>> {
    words::operations(words, operation)
}
