//! The verdict on a run for where a change is discussed: in a line, for the status of a commit, or as Markdown.

use std::fmt::Write as _;

use super::markup::{code, escaped};
use crate::judge::verdict::RunVerdict;
use crate::record::verdict::VerdictRecord;

/// The longest description that the status of a commit has on GitHub; GitLab allows more.
const STATUS_CHARS_MAX: usize = 140;
/// Anomalies, reasons or notes beyond so many are only counted.
const LISTED: usize = 5;

/// Returns the verdict in a line, with the run's first anomaly, or the first reason why there is no verdict.
#[must_use]
pub fn line(record: &VerdictRecord) -> String {
    let detail = match &record.verdict {
        RunVerdict::Valid => String::new(),
        RunVerdict::Invalid { anomalies } => {
            anomalies.first().map(|first| format!(": {}", first.kind)).unwrap_or_default()
                + &more(anomalies.len(), 1)
        }
        RunVerdict::Broken { reasons } | RunVerdict::Unknown { reasons } => {
            reasons.first().map(|first| format!(": {first}")).unwrap_or_default()
        }
    };
    let text = format!("{}{detail} ({}, seed {})", record.verdict.word(), record.subject, record.seed);
    let text = text.replace(['\r', '\n'], " ");
    match text.char_indices().nth(STATUS_CHARS_MAX - 1) {
        Some((at, _)) if text.chars().count() > STATUS_CHARS_MAX => format!("{}…", &text[..at]),
        _ => text,
    }
}

/// Returns the verdict as Markdown: each anomaly with its operations and its argument, and the command that runs it again.
#[must_use]
pub fn markdown(record: &VerdictRecord) -> String {
    let mut text = String::new();
    let mut say = |line: &str| {
        let _ = writeln!(text, "{line}");
    };
    let sign = match record.verdict {
        RunVerdict::Valid => "✅",
        RunVerdict::Invalid { .. } => "❌",
        RunVerdict::Broken { .. } => "💥",
        RunVerdict::Unknown { .. } => "❔",
    };
    say(&format!("### {sign} {}: {}\n", record.verdict.word(), escaped(&record.subject)));
    say(&format!(
        "Promise: {}; {} operations on {} objects were checked.\n",
        escaped(&record.promise),
        record.check.operations,
        record.check.keys
    ));
    match &record.verdict {
        RunVerdict::Valid => {}
        RunVerdict::Broken { reasons } | RunVerdict::Unknown { reasons } => {
            for reason in reasons.iter().take(LISTED) {
                say(&format!("- {}", escaped(reason)));
            }
            rest(reasons.len()).iter().for_each(|line| say(line));
            say("");
        }
        RunVerdict::Invalid { anomalies } => {
            for anomaly in anomalies.iter().take(LISTED) {
                say(&format!("**{}**: {}\n", anomaly.kind, escaped(&anomaly.summary)));
                say("| | operation | ended | node |\n|---|---|---|---|");
                for operation in &anomaly.operations {
                    let node = operation.node.as_ref().map(ToString::to_string).unwrap_or_default();
                    let (label, action) = (escaped(&operation.label), escaped(&operation.action));
                    say(&format!("| {label} | {action} | {} | {} |", operation.ended, escaped(&node)));
                }
                say("");
                for (number, step) in anomaly.steps.iter().enumerate() {
                    say(&format!("{}. {}", number + 1, escaped(&step.sentence)));
                }
                say("");
            }
            rest(anomalies.len()).iter().for_each(|line| say(line));
        }
    }
    say(&format!("Again: {}", code(&record.replay)));
    text
}

/// Returns a paragraph about what is not listed, if there is anything.
fn rest(count: usize) -> Option<String> {
    (count > LISTED).then(|| format!("\nand {} more\n", count - LISTED))
}

/// Returns how many there are beyond the first `shown`.
fn more(count: usize, shown: usize) -> String {
    if count > shown { format!(" and {} more", count - shown) } else { String::new() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::record::example::{anomaly, verdict};

    #[test]
    fn a_status_fits_and_names_the_first_anomaly() {
        let stale = anomaly("stale-read", "A *read* what was | replaced", &[(1, Some(2))]);
        let invalid =
            verdict(json!({"verdict": "invalid", "anomalies": [stale, stale], "subject": "store", "seed": 7,
            "replay": "duress replay runs/`x`"}));
        assert_eq!(line(&invalid), "INVALID: stale-read and 1 more (store, seed 7)");
        let long = verdict(json!({"verdict": "broken", "reasons": ["é\n".repeat(200)], "subject": "store"}));
        let long = line(&long);
        assert!(
            long.chars().count() == STATUS_CHARS_MAX && long.ends_with('…') && !long.contains('\n'),
            "{long}"
        );

        let page = markdown(&invalid);
        assert!(page.starts_with("### ❌ INVALID: store\n"), "{page}");
        assert!(page.contains(r"**stale-read**: A \*read\* what was \| replaced"), "{page}");
        assert!(page.contains("Again: `` duress replay runs/`x` ``"), "{page}");
    }
}
