//! The table of a lesson, as Markdown.

use std::fmt::Write as _;

use super::cell::{Common, Producing};
use super::row::{Counted, Row, RowResult, Verdict};

/// The table of `rows`, with the words above and below it.
#[must_use]
pub fn table(rows: &[Row], common: &Common) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    macro_rules! say {
        ($($line:tt)*) => { let _ = writeln!(text, $($line)*); };
    }
    say!(
        "Messages through {} brokers, {} s for each row, seed {}. Half of the processes send, the others are one group that",
        common.nodes,
        common.time_limit.as_secs_f64(),
        common.seed
    );
    say!(
        "consumes and whose members die now and then; what is not acknowledged is sent again, but for `acks=0`. *Lost*:"
    );
    say!(
        "acknowledged or read, and gone. *Skipped*: committed, though no member was given it. *Repeated*: given to the group more"
    );
    say!("than once.\n");
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
    let reached = match delivery.guarantee {
        Some(guarantee) => guarantee.to_string(),
        None => "not known".to_owned(),
    };
    let kept = match verdict {
        Verdict::Valid => "kept",
        Verdict::Invalid => "**broken**",
        Verdict::Unknown => "not decided",
        Verdict::Broken => "the run proves nothing",
    };
    format!(
        "{} | {} | {} | {} | {} | {} | {reached} | {promise}: {kept} |",
        counts.acknowledged,
        counts.lost,
        counts.duplicated,
        counts.reordered,
        counts.undelivered,
        counts.redelivered
    )
}
