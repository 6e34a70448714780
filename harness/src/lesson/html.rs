//! The page of a lesson, as HTML: one file that needs no other.

use maud::{Markup, html};

use super::chart::chart;
use super::experiment::Common;
use super::markdown::heading;
use super::section::{Section, Table};
use super::topic::Topic;
use crate::report::html::head;

const LESSON_STYLE: &str = include_str!("../../assets/lesson/lesson.css");

/// Returns the page.
#[must_use]
pub fn page(sections: &[(Topic, Section)], common: &Common) -> String {
    let body = html! {
        header { div.top { span.brand { "duress" } span.muted { "the lesson, measured" } } }
        main.lesson {
            h1 { "A lesson on distributed systems, measured" }
            p.muted { "Each run had clients for " (common.time_limit.as_secs_f64()) " s; seed " (common.seed) ". Each statement has the commands that repeat it." }
            nav aria-label="Topics" { @for (topic, _) in sections { a href={ "#" (topic.name) } { (heading(topic.name)) } " " } }
            @for (topic, of) in sections { (section(topic, of)) }
        }
    };
    head::page("The lesson", Some(head::CLOSED), &[LESSON_STYLE], &body).into_string()
}

fn section(topic: &Topic, section: &Section) -> Markup {
    html! {
        section id=(topic.name) {
            h2 { (heading(topic.name)) }
            p.claim { (topic.claim) }
            ul.statements {
                @for statement in &section.statements {
                    li {
                        (statement.text)
                        @if !statement.commands.is_empty() {
                            details {
                                summary { @if statement.commands.len() == 1 { "the command" } @else { "the " (statement.commands.len()) " commands" } }
                                pre tabindex="0" { @for command in &statement.commands { (command) "\n" } }
                            }
                        }
                    }
                }
            }
            @for each in &section.charts { (chart(each)) }
            @for each in &section.tables { (table(each)) }
        }
    }
}

/// Returns a table.
#[must_use]
pub fn table(table: &Table) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label=(table.caption) {
            table {
                caption { (table.caption) }
                thead { tr { @for head in &table.head { th scope="col" { (head) } } } }
                tbody { @for row in &table.rows { tr { @for (at, cell) in row.iter().enumerate() {
                    @if at == 0 { th scope="row" { (cell) } } @else { td { (cell) } }
                } } } }
            }
        }
    }
}
