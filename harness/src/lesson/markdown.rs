//! The table of a lesson, as Markdown.

use std::fmt::Write as _;

use super::cell::{Common, Producing};
use super::row::{Counted, Row, RowResult};
use crate::judge::verdict::RunVerdict;

/// Returns the table of `rows`, with the words above and below it.
#[must_use]
pub fn table(rows: &[Row], common: &Common) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    macro_rules! say {
        ($($line:tt)*) => { let _ = writeln!(text, $($line)*); };
    }
    say!(
        "Messages through {} brokers, {} s for each row, seed {}. Half of the processes send; the others are one group that",
        common.nodes,
        common.time_limit.as_secs_f64(),
        common.seed
    );
    say!(
        "consumes, and whose members die now and then. Unacknowledged messages are sent again, except with `acks=0`."
    );
    say!(
        "*Lost*: acknowledged or read, and in no partition at the end. *Skipped*: in its partition and below the group's"
    );
    say!(
        "committed offset, although no member received it. *Repeated*: delivered to the group more than once.\n"
    );
    say!(
        "| acks | idempotent | commit | faults | acknowledged | lost | duplicated | reordered | skipped | repeated | reached | promised, and kept? |"
    );
    say!("|---|---|---|---|--:|--:|--:|--:|--:|--:|---|---|");
    for Row { cell, result } in rows {
        let idempotent = if cell.producing == Producing::Idempotent { "yes" } else { "no" };
        let head = format!(
            "| {} | {idempotent} | {} | {} |",
            cell.producing.acks(),
            cell.committing,
            cell.faults.replace('|', "\\|")
        );
        match result {
            RowResult::Counted(counted) => {
                say!("{head} {}", cells(counted));
            }
            RowResult::Nothing(why) => {
                say!("{head} – | – | – | – | – | – | – | not known: {} |", why.replace('|', "\\|"));
            }
        }
    }
    text
}

fn cells(counted: &Counted) -> String {
    let Counted { verdict, promise, delivery } = counted;
    let counts = delivery.counts;
    let reached = match counted.reached() {
        Some(reached) => reached.to_string(),
        None => "not known".to_owned(),
    };
    let kept = match verdict {
        RunVerdict::Valid => "kept",
        RunVerdict::Invalid { .. } => "**broken**",
        RunVerdict::Unknown { .. } => "not decided",
        RunVerdict::Broken { .. } => "the run proves nothing",
    };
    format!(
        "{} | {} | {} | {} | {} | {} | {reached} | {promise}: {kept} |",
        counts.acknowledged,
        counted.gone(),
        counts.duplicated,
        counts.reordered,
        counts.undelivered,
        counts.redelivered
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::lesson::cell::Cell;

    #[test]
    fn every_cell_has_a_row_whether_it_was_counted_or_not() {
        let delivery = serde_json::from_value(serde_json::json!({
            "promise": duress_history::Delivery::BEST_EFFORT,
            "reached": duress_history::Delivery::AT_MOST_ONCE,
            "counts": {
                "sent": 9, "acknowledged": 8, "failed": 1, "unknown": 0, "delivered": 5, "deliveries": 5,
                "unacknowledged-delivered": 0, "lost": 2, "unseen": 1, "duplicated": 0, "reordered": 0,
                "undelivered": 0, "redelivered": 0
            },
            "found": {"lost-write": 2}
        }));
        let counted = Counted {
            verdict: RunVerdict::Valid,
            promise: "stored at most once".to_owned(),
            delivery: delivery.expect("a report"),
        };
        let cells = Cell::all(&["kill".to_owned()]);
        let mut rows: Vec<Row> = cells
            .into_iter()
            .map(|cell| Row {
                cell,
                result: RowResult::Nothing("not run: the budget was used up".to_owned()),
            })
            .collect();
        rows[0].result = RowResult::Counted(counted);
        let common = Common {
            nodes: 3,
            interval: Duration::from_secs(5),
            time_limit: Duration::from_secs(9),
            seed: 7,
        };
        let text = table(&rows, &common);
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("| ")).collect();
        assert_eq!(lines.len(), 1 + 8, "a head and eight rows:\n{text}");
        assert_eq!(
            lines[1],
            "| 0 | no | before | kill | 8 | 3 | 0 | 0 | 0 | 0 | at most once | stored at most once: kept |"
        );
        assert!(lines[8].contains("not run: the budget was used up"), "{}", lines[8]);
        let columns = |line: &str| line.matches('|').count();
        assert!(lines.iter().all(|line| columns(line) == columns(lines[0])), "{text}");
    }
}
