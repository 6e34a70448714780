//! Markdown, for the summary of a CI step or a comment on a change: what failed first, then everything.

use std::fmt::Write as _;

use super::outcome::Outcome;
use super::results::{CellResult, MatrixResults};
use super::table::leads;
use crate::report::markup::{code, escaped};

/// The limit of failed cells described in full; later ones are only listed, since a comment has a largest
/// size.
const DESCRIBED: usize = 20;
/// Summaries of CI systems end at a megabyte, comments at 64 KiB; rows beyond this many are left out, and said to be.
const ROWS: usize = 300;

/// Appends a line. Writing to a String cannot fail.
macro_rules! say {
    ($text:expr, $($line:tt)*) => { let _ = writeln!($text, $($line)*); };
}

/// Returns the Markdown of `results`.
#[must_use]
pub fn markdown(results: &MatrixResults) -> String {
    let mut text = String::new();
    let failed: Vec<&CellResult> = results.cells.iter().filter(|cell| cell.outcome.failed()).collect();
    let sign = if failed.is_empty() { "✅" } else { "❌" };
    let shard = results.shard.as_ref().map(|shard| format!(", shard {shard}")).unwrap_or_default();
    say!(text, "### {sign} duress: {}{shard}\n", escaped(&results.matrix.display().to_string()));
    say!(text, "{}\n", escaped(&results.summary()));
    for cell in failed.iter().take(DESCRIBED) {
        say!(text, "**{}: {}**  ", escaped(&cell.name), cell.outcome.words());
        say!(text, "{}\n", escaped(&cell.message));
        if let Some(change) = &cell.change {
            say!(text, "{}\n", escaped(change));
        }
        for lead in leads(cell) {
            if let Some(report) = &lead.report {
                say!(text, "- report: {}", escaped(&report.display().to_string()));
            }
            say!(text, "- again: {}", code(&lead.again));
        }
        say!(text, "");
    }
    if failed.len() > DESCRIBED {
        say!(text, "{} more cells failed.\n", failed.len() - DESCRIBED);
    }
    let (bugs, others): (Vec<&CellResult>, Vec<&CellResult>) =
        results.cells.iter().partition(|cell| cell.bug.is_some());
    if !others.is_empty() {
        say!(text, "| | cell | expected | result | time |\n|---|---|---|---|---:|");
        for cell in others.iter().take(ROWS) {
            let row = [&cell.name, &cell.expected, &cell.message].map(|field| escaped(field));
            let [name, expected, message] = row;
            say!(
                text,
                "| {} | {name} | {expected} | {message} | {:.0} s |",
                mark(cell.outcome),
                cell.seconds
            );
        }
        left_out(&mut text, others.len());
    }
    if !bugs.is_empty() {
        say!(text, "| | bug | found | median time | false alarms | without faults | shows as | before |");
        say!(text, "|---|---|---|---:|---|---|---|---|");
        for cell in bugs.iter().take(ROWS) {
            let Some(bug) = &cell.bug else { continue };
            let without = match bug.without_faults {
                Some(proportion) => proportion.words(),
                None => "–".to_owned(),
            };
            let row = [
                &cell.name,
                &bug.detection.words(),
                &bug.time.words(),
                &format!("{}/{}", bug.false_alarms.found, bug.false_alarms.of),
                &without,
                &bug.anomalies.join(", "),
                cell.change.as_deref().unwrap_or("–"),
            ]
            .map(escaped);
            say!(text, "| {} | {} |", mark(cell.outcome), row.join(" | "));
        }
        left_out(&mut text, bugs.len());
        for (cell, published) in bugs.iter().filter_map(|cell| Some((cell, cell.published.as_ref()?))) {
            say!(
                text,
                "**{}**: {} ([published]({}))  ",
                escaped(&cell.name),
                escaped(&published.what),
                published.source
            );
            say!(text, "{}\n", code(&cell.command));
        }
        say!(
            text,
            "Rates with their 95 % interval (Wilson). The median time is that at which the first witness was complete, with \
             runs that found nothing counted as longer (Kaplan and Meier).\n"
        );
    }
    say!(text, "duress {} on {}, {}", escaped(&results.program), escaped(&results.machine), results.began);
    text
}

fn left_out(text: &mut String, rows: usize) {
    say!(text, "");
    if rows > ROWS {
        say!(text, "{} more rows are left out here; results.json has them.\n", rows - ROWS);
    }
}

fn mark(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Passed => "✅",
        Outcome::Skipped => "⏭️ skipped",
        Outcome::NotRun => "⌛ not run",
        Outcome::Unknown => "❔ unknown",
        Outcome::Broken => "💥 broken",
        Outcome::Error => "🛑 error",
        Outcome::MissingAnomaly => "🔍 missing anomaly",
        Outcome::Anomaly => "❌ anomaly",
    }
}

#[cfg(test)]
mod tests;
