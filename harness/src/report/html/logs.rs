//! The nodes' output, each line with its time on the run's clock.
//!
//! A node's own time stamps may be in any format, or from a clock that a fault has moved. So the observer's
//! notes of each file's length and its time decide between which two looks a line was written; a time stamp
//! that agrees with that makes it exact.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use chrono::{FixedOffset, NaiveDateTime};
use serde::Serialize;

use crate::run::observer::Observation;

/// No more than this is read of one file.
const FILE_MAX: u64 = 64 << 20;
/// No more lines than this are read of one file: a node may write millions of short ones.
const LINES_MAX: usize = 500_000;
/// A longer line is cut.
const LINE_MAX: usize = 600;
/// The most text in a page.
const TEXT_MAX: usize = 6 << 20;
/// How far a time stamp may be outside of the looks and still be believed: output is buffered, clocks are read before.
const SLACK_NS: i64 = 300_000_000;

/// The file of a node that a line is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A line that a node wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When, in nanoseconds since the run began; negative before.
    pub time: i64,
    /// Whether the time is the line's own, or only between two looks.
    pub exact: bool,
    /// The node.
    pub node: String,
    /// The line's file.
    pub stream: Stream,
    /// What.
    pub text: String,
}

/// The lines of all nodes.
#[derive(Clone, Debug, Default)]
pub struct Logs {
    /// By time.
    pub lines: Vec<LogLine>,
    /// The number of lines left out for lack of room.
    pub left_out: usize,
}

/// Reads what `nodes` wrote into the run's `folder`. When there is too much, lines near `moments`, in nanoseconds, come
/// first.
#[must_use]
pub fn logs(folder: &Path, nodes: &[String], observations: &[Observation], moments: &[u64]) -> Logs {
    let mut lines = Vec::new();
    // When the run's clock began, by the machine's.
    let origin = observations.first().map(|seen| seen.wall_ns - seen.time.cast_signed());
    for node in nodes {
        let seen: Vec<&Observation> = observations.iter().filter(|seen| seen.node == *node).collect();
        for (stream, name) in [(Stream::Stdout, "stdout.log"), (Stream::Stderr, "stderr.log")] {
            let path = folder.join("nodes").join(node).join(name);
            let Ok(file) = File::open(&path) else { continue };
            let mut bytes = Vec::new();
            // As much as can be read is shown.
            let _ = BufReader::new(file).take(FILE_MAX).read_to_end(&mut bytes);
            let growth: Vec<(u64, i64)> = seen
                .iter()
                .map(|seen| {
                    let length = if stream == Stream::Stdout { seen.stdout } else { seen.stderr };
                    (length, seen.time.cast_signed())
                })
                .collect();
            lines.extend(timed(&bytes, &growth, origin).take(LINES_MAX).map(|(time, exact, text)| LogLine {
                time,
                exact,
                node: node.clone(),
                stream,
                text,
            }));
        }
    }
    let all = lines.len();
    let mut lines = fitting(lines, moments);
    lines.sort_by_key(|line| line.time);
    Logs { left_out: all - lines.len(), lines }
}

/// Returns the lines of `bytes` with their times; `growth` has the file's length at each look.
fn timed(
    bytes: &[u8],
    growth: &[(u64, i64)],
    origin: Option<i64>,
) -> impl Iterator<Item = (i64, bool, String)> {
    let mut end = 0_u64;
    let mut look = 0;
    let mut last = i64::MIN;
    bytes.split_inclusive(|byte| *byte == b'\n').filter_map(move |line| {
        end += line.len() as u64;
        while look < growth.len() && growth[look].0 < end {
            look += 1;
        }
        let text = plain(line);
        if text.is_empty() {
            return None;
        }
        let after = look.checked_sub(1).map(|before| growth[before].1);
        let before = growth.get(look).map(|look| look.1);
        let stamped = origin.and_then(|origin| Some(stamp(&text)? - origin));
        let believed = stamped.filter(|time| {
            after.is_none_or(|after| *time >= after - SLACK_NS)
                && before.is_none_or(|before| *time <= before + SLACK_NS)
        });
        let time = believed.or(before).or(after).unwrap_or(0).max(last);
        last = time;
        Some((time, believed.is_some(), text))
    })
}

/// Returns a line without its end, colours and other controls, cut to a readable length.
fn plain(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let mut plain = String::new();
    let mut characters = text.trim_end().chars();
    while let Some(character) = characters.next() {
        match character {
            // An escape sequence of a terminal ends with a letter.
            '\u{1b}' => while characters.next().is_some_and(|next| !next.is_ascii_alphabetic()) {},
            '\t' => plain.push(' '),
            control if control.is_control() => {}
            other => plain.push(other),
        }
        if plain.len() >= LINE_MAX {
            plain.push('…');
            break;
        }
    }
    plain
}

/// Returns the first date and time within a line's beginning, as nanoseconds since 1970. Without a zone it is
/// in UTC.
fn stamp(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let is = |at: usize, wanted: &[u8]| bytes.get(at).is_some_and(|byte| wanted.contains(byte));
    let begins = |at: &usize| {
        let at = *at;
        [0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18].iter().all(|offset| digit(at + offset))
            && is(at + 4, b"-/")
            && is(at + 7, b"-/")
            && is(at + 10, b"T ")
            && is(at + 13, b":")
            && is(at + 16, b":")
    };
    let at = (0..bytes.len().min(80)).find(begins)?;
    let mut end = at + 19;
    if is(end, b".,") {
        end += 1;
        while digit(end) {
            end += 1;
        }
    }
    // All of it is ASCII.
    let moment = text.get(at..end)?.replace('/', "-").replace(',', ".").replace('T', " ");
    let moment = NaiveDateTime::parse_from_str(&moment, "%Y-%m-%d %H:%M:%S%.f").ok()?.and_utc();
    let zone = text.get(end..).unwrap_or_default();
    let east_of_utc = match zone_length(zone.as_bytes()) {
        0 | 1 => 0,
        length => zone[..length].parse::<FixedOffset>().ok()?.local_minus_utc(),
    };
    moment.timestamp_nanos_opt()?.checked_sub(i64::from(east_of_utc) * 1_000_000_000)
}

/// Returns the length of the zone at the beginning of `bytes`: `Z`, `+01:00`, `+0100`, or none.
fn zone_length(bytes: &[u8]) -> usize {
    let digits = |places: &[usize]| places.iter().all(|at| bytes.get(*at).is_some_and(u8::is_ascii_digit));
    match bytes.first() {
        Some(b'Z') => 1,
        Some(b'+' | b'-') if bytes.get(3) == Some(&b':') && digits(&[1, 2, 4, 5]) => 6,
        Some(b'+' | b'-') if digits(&[1, 2, 3, 4]) => 5,
        _ => 0,
    }
}

/// As many of `lines` as there is room for: those nearest to the moments.
fn fitting(mut lines: Vec<LogLine>, moments: &[u64]) -> Vec<LogLine> {
    let size = |line: &LogLine| line.text.len() + 24;
    if lines.iter().map(size).sum::<usize>() <= TEXT_MAX {
        return lines;
    }
    let distance = |line: &LogLine| {
        moments.iter().map(|moment| moment.cast_signed().abs_diff(line.time)).min().unwrap_or(0)
    };
    lines.sort_by_key(distance);
    let mut room = TEXT_MAX;
    lines
        .into_iter()
        .take_while(|line| {
            let fits = room >= size(line);
            room = room.saturating_sub(size(line));
            fits
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: i64 = 1_795_528_025_000_000_000;

    #[test]
    fn stamps_of_many_formats_are_read() {
        for text in [
            "2026-11-24T13:47:05.716040Z  INFO serving",
            "[2026-11-24 13:47:05,716040] WARN",
            "{\"level\":\"warn\",\"ts\":\"2026-11-24T14:47:05.716040+0100\",\"msg\":1}",
            "2026/11/24 13:47:05.716040 etcdserver: x",
            "2026-11-24T15:47:05.716040+02:00 x",
        ] {
            assert_eq!(stamp(text), Some(ORIGIN + 716_040_000), "{text}");
        }
        assert_eq!(stamp("9999-99-99T99:99:99 nothing"), None);
        assert_eq!(stamp("no time at all"), None);
        assert_eq!(stamp(""), None);
    }

    #[test]
    fn a_stamp_is_believed_only_where_the_looks_agree() {
        let text =
            "before any look\n2026-11-24T13:47:06.100Z fine\n2026-11-24T18:00:00Z of a moved clock\nlate\n";
        let ends: Vec<u64> = text.match_indices('\n').map(|(at, _)| at as u64 + 1).collect();
        let growth = [(ends[0], 1_000_000_000), (ends[1], 1_250_000_000), (ends[2], 1_500_000_000)];
        let lines: Vec<_> = timed(text.as_bytes(), &growth, Some(ORIGIN)).collect();
        let told: Vec<_> = lines.iter().map(|(time, exact, _)| (*time, *exact)).collect();
        assert_eq!(
            told,
            [(1_000_000_000, false), (1_100_000_000, true), (1_500_000_000, false), (1_500_000_000, false)]
        );
    }

    #[test]
    fn controls_and_colours_are_not_shown() {
        assert_eq!(plain(b"\x1b[31mred\x1b[0m\ttext\x07\xff\r\n"), "red text\u{fffd}");
        assert_eq!(plain(&b"x".repeat(5000)).chars().count(), LINE_MAX + 1);
    }

    #[test]
    fn the_nearest_lines_are_kept() {
        let line = |time: i64| LogLine {
            time,
            exact: true,
            node: "n1".into(),
            stream: Stream::Stderr,
            text: "x".repeat(500),
        };
        let lines: Vec<_> = (0..20_000).map(line).collect();
        let kept = fitting(lines, &[15_000]);
        assert!(kept.len() < 20_000 && kept.iter().all(|line| (line.time - 15_000).abs() < 7_100));
        assert!(kept.iter().any(|line| line.time == 15_000));
    }
}
