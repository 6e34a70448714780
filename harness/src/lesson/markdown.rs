//! The page of a lesson, as Markdown.

use std::fmt::Write as _;

use super::experiment::Common;
use super::section::{Section, Table, capitalized};
use super::topic::Topic;

/// Returns the page: a heading for each topic, and its section.
#[must_use]
pub fn page(sections: &[(Topic, Section)], common: &Common) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    macro_rules! say {
        ($($line:tt)*) => { let _ = writeln!(text, $($line)*); };
    }
    say!("Each run had clients for {} s; seed {}.\n", common.time_limit.as_secs_f64(), common.seed);
    for (Topic { name, claim, .. }, section) in sections {
        say!("## {}\n\n*{claim}*\n", heading(name));
        for statement in &section.statements {
            say!("- {}", escaped(&statement.text));
            for command in &statement.commands {
                say!("  `{command}`  ");
            }
        }
        for chart in &section.charts {
            say!("\n{}", table(&chart.table()));
        }
        for each in &section.tables {
            say!("\n{}", table(each));
        }
        say!("");
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// Returns a topic's name as a heading.
#[must_use]
pub fn heading(name: &str) -> String {
    match name {
        "cap" => "CAP".to_owned(),
        _ => capitalized(name),
    }
}

fn escaped(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "\\<")
}

fn table(table: &Table) -> String {
    let row = |cells: &[String]| {
        format!("| {} |\n", cells.iter().map(|cell| escaped(cell)).collect::<Vec<_>>().join(" | "))
    };
    let line = format!("|{}\n", "---|".repeat(table.head.len()));
    let rows: String = table.rows.iter().map(|cells| row(cells)).collect();
    format!("{}:\n\n{}{line}{rows}", escaped(&table.caption), row(&table.head)).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::lesson::experiment::{Measured, NoVerdict};
    use crate::lesson::topic::{Setting, TOPICS};

    #[test]
    fn a_lesson_without_results_says_why_of_each_run_and_no_figure() {
        let setting = Setting { faults: vec!["kill".to_owned()], nodes: 3, interval: Duration::from_secs(5) };
        let common = Common { time_limit: Duration::from_secs(9), seed: 7 };
        let why = "not run: the budget was used up";
        for topic in TOPICS {
            let measured = |experiment: crate::lesson::experiment::Experiment| {
                let command = experiment.command(&common);
                Measured { experiment, command, result: Err(NoVerdict::NotRun(why.to_owned())) }
            };
            let runs: Vec<Measured> = (topic.runs)(&setting).into_iter().map(measured).collect();
            let section = (topic.section)(&runs);
            for table in &section.tables {
                assert!(
                    table.rows.iter().all(|row| row.len() == table.head.len()),
                    "{}: {table:?}",
                    topic.name
                );
            }
            for chart in &section.charts {
                let measured = chart.series.iter().filter(|series| !series.predicted);
                let values = measured.flat_map(|series| series.values.iter().flatten());
                // Computed values need no run.
                assert!(topic.name == "sharding" || values.count() == 0, "{}: {chart:?}", topic.name);
            }
            let stated: Vec<String> =
                section.statements.iter().map(|statement| statement.text.clone()).collect();
            for text in stated.iter().filter(|text| !text.contains("Computed")) {
                let says = ["not measured", "no read was measured"];
                assert!(says.iter().any(|words| text.contains(words)), "{}: {text}", topic.name);
            }
            let text = page(&[(topic, section)], &common);
            assert!(text.contains(why), "{text}");
            let commands: Vec<&str> = runs.iter().map(|run| run.command.as_str()).collect();
            let shown = commands.iter().filter(|command| text.contains(**command)).count();
            assert!(shown > 0, "{text}");
        }
    }
}
