//! The section on the messages around an anomaly: a diagram of those that matter ([`choice`], [`drawing`]), and a list of all
//! that can be searched. Where messages were not recorded, they are read from captured packets ([`wire`]).

pub mod choice;
pub mod drawing;
pub mod wire;

use std::path::{Path, PathBuf};

use duress_history::traffic::reader::{Fate, Message, Recorded, Traffic, read};
use duress_history::traffic::{self, earlier};
use maud::{Markup, html};
use serde_json::{Value, json};

use self::choice::{CHOSEN_MAX, Chosen, carried, choose};
use self::drawing::drawing;
use super::packets::Packet;
use super::page::DRAWN;
use super::witness::span;
use super::words::{about, count, thousands};
use super::{RunRecord, pack};

/// How far from an anomaly messages are listed, in nanoseconds.
const REACH_NS: i64 = 20_000_000;
/// How many messages go into a page.
const LISTED_MAX: usize = 6000;
/// The most characters of a body in the list.
const LETTERS_MAX: usize = 300;

/// The section, ready to be embedded.
#[derive(Clone, Debug)]
pub struct Messages {
    /// The section.
    pub section: Markup,
    /// The messages for its list, packed: each `[µs, from, to, what, fate, anomaly, labels]`.
    pub listed: String,
    /// The numbers of the anomalies that have a diagram.
    pub drawn: Vec<usize>,
}

/// The source of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// They were recorded at both ends.
    Recorded,
    /// They are packets.
    Captured,
}

/// Returns the messages around the anomalies of `run`: from its `folder` where they were recorded, else `packets`. `None` if none
/// of them carries an operation of one.
#[must_use]
pub fn messages(run: &RunRecord, folder: &Path, packets: &[Packet]) -> Option<Messages> {
    let history = &run.record.history;
    let of_node =
        |node: &String| (Recorded::By(node.clone()), folder.join("nodes").join(node).join(traffic::FILE));
    let clients = (Recorded::ByClients, folder.join("clients").join(traffic::FILE));
    let files: Vec<(Recorded, PathBuf)> = history.nodes.iter().map(of_node).chain([clients]).collect();
    let anomalies = || (1..).zip(run.record.anomalies().iter().take(DRAWN));
    let windows: Vec<(i64, i64)> = anomalies()
        .filter_map(|(_, anomaly)| span(anomaly))
        .map(|(from, to)| {
            (from.cast_signed().saturating_sub(REACH_NS), to.cast_signed().saturating_add(REACH_NS))
        })
        .collect();
    let (source, traffic) = if files.iter().any(|(_, path)| path.exists() || earlier(path).exists()) {
        // The wall clock is read a moment after the run's: the earliest of such pairs is the nearest.
        let origins =
            run.observations.iter().map(|seen| seen.wall_ns.saturating_sub(seen.time.cast_signed()));
        let origin = origins.min()?;
        (Source::Recorded, read(&files, origin, &windows))
    } else {
        let mut messages = wire::messages(packets, &history.nodes, anomalies().map(|(_, anomaly)| anomaly));
        messages.retain(|message| windows.iter().any(|(from, to)| (*from..=*to).contains(&message.time())));
        (Source::Captured, Traffic { messages, ..Traffic::default() })
    };
    let all = &traffic.messages;
    let mut marks: Vec<Mark> = vec![Mark::default(); all.len()];
    let mut diagrams: Vec<(usize, &str, Markup)> = Vec::new();
    for (number, anomaly) in anomalies() {
        let chosen = choose(all, anomaly);
        if chosen.is_empty() {
            continue;
        }
        for (mark, operation) in marks.iter_mut().zip(carried(all, anomaly)) {
            if let Some(operation) = operation.filter(|_| mark.anomaly == 0) {
                *mark = Mark { anomaly: number, labels: operation.label.clone(), is_drawn: false };
            }
        }
        for (at, chosen) in (1..).zip(&chosen) {
            let mark = &mut marks[chosen.at];
            if !mark.is_drawn {
                *mark = Mark { anomaly: number, labels: label(at, *chosen), is_drawn: true };
            }
        }
        let drawn = drawing(number, anomaly, all, &chosen, &history.nodes);
        diagrams.push((number, anomaly.kind.name(), drawn));
    }
    if diagrams.is_empty() {
        return None;
    }
    let listed = listed(&traffic, &marks, &windows);
    Some(Messages {
        section: section(source, &traffic, &diagrams, listed.len()),
        drawn: diagrams.iter().map(|(number, ..)| *number).collect(),
        listed: pack::deflated(Value::from(listed).to_string().as_bytes()),
    })
}

/// The relation of a message to an anomaly.
#[derive(Clone, Debug, Default)]
struct Mark {
    /// The anomaly's number; 0 for none.
    anomaly: usize,
    /// The labels that light up with it.
    labels: String,
    /// Whether it is in the anomaly's diagram.
    is_drawn: bool,
}

/// Returns the labels that light up with a message: its operation's, and its own.
fn label(number: usize, chosen: Chosen<'_>) -> String {
    let operation = chosen.carries.map(|of| format!("{} ", of.label)).unwrap_or_default();
    format!("{operation}m{number}")
}

/// Returns the type of a message and its arguments.
fn what(message: &Message) -> String {
    let content = &message.content;
    match content.body.as_str() {
        "{}" | "" => content.kind.clone(),
        body => format!("{} {body}", content.kind),
    }
}

/// Returns what became of a message; empty if that is not known, or nothing special.
fn fate(message: &Message) -> String {
    let after = |time: &i64| format!("{:.2} ms", time.saturating_sub(message.time()) as f64 / 1e6);
    match (message.fate, message.arrived.as_slice(), message.sent) {
        (Fate::Lost, ..) => "did not arrive".to_owned(),
        (_, [], _) | (_, [_], None) => String::new(),
        (_, [once], _) => format!("arrived after {}", after(once)),
        (_, [first, .., last], _) => {
            format!("arrived {} times, after {} to {}", message.arrived.len(), after(first), after(last))
        }
    }
}

/// Returns the messages for the list: all, or those nearest to the anomalies.
fn listed(traffic: &Traffic, marks: &[Mark], windows: &[(i64, i64)]) -> Vec<Value> {
    let distance = |message: &Message| {
        let edges = windows
            .iter()
            .flat_map(|(from, to)| [from.saturating_add(REACH_NS), to.saturating_sub(REACH_NS)]);
        edges.map(|edge| edge.abs_diff(message.time())).min()
    };
    let mut kept: Vec<usize> = (0..marks.len()).collect();
    if kept.len() > LISTED_MAX {
        kept.sort_by_cached_key(|at| (marks[*at].anomaly == 0, distance(&traffic.messages[*at])));
        kept.truncate(LISTED_MAX);
        kept.sort_unstable();
    }
    let row = |at: usize| {
        let (message, mark) = (&traffic.messages[at], &marks[at]);
        let what: String = what(message).chars().take(LETTERS_MAX).collect();
        let time = message.time() / 1000;
        json!([
            time,
            message.from,
            message.to,
            what,
            fate(message),
            mark.anomaly,
            mark.labels,
            u8::from(mark.is_drawn)
        ])
    };
    kept.into_iter().map(row).collect()
}

fn section(source: Source, traffic: &Traffic, diagrams: &[(usize, &str, Markup)], listed: usize) -> Markup {
    let all = traffic.messages.len();
    html! {
        section id="messages" {
            h2 { "Messages around the anomaly" }
            p {
                "The messages that carry the operations of the witness, and those between nodes and services meanwhile that are about "
                "the same keys or values, at most " (CHOSEN_MAX) "."
                @if source == Source::Captured {
                    " They are packets: which of them carry an operation is a guess by node, time and values."
                }
            }
            div.diagrams {
                @for (at, (number, kind, drawing)) in diagrams.iter().enumerate() {
                    details open[at == 0] id={ "messages-" (number) } {
                        summary { "Anomaly " (number) ": " (kind) }
                        div.drawing tabindex="0" role="region" aria-label={ "Messages of anomaly " (number) ", scrolls sideways" } { (drawing) }
                    }
                }
            }
            p.small.muted {
                "Time runs downwards; long stretches are compressed, their order is exact. A bar on a client's lane lasts from an operation's "
                "request to its answer; a dashed arrow with ✕ did not arrive. Point at, or move to, a message: its operation lights up "
                "in the witness above, and the other way round."
            }
            form.search id="message-search" role="search" {
                label { "Search all " (thousands(listed as u64)) " " input type="search" name="text" placeholder="words, or a node" autocomplete="off"; }
                label { input type="checkbox" name="all"; " list all, not only those drawn" }
            }
            p.small id="messages-found" role="status" {}
            div.scroll.lines id="messages-view" tabindex="0" role="region" aria-label="Messages found" {
                table {
                    thead { tr { th scope="col" { "" } th scope="col" { "time" } th scope="col" { "from→to" } th scope="col" { "message" } } }
                    tbody id="messages-list" {}
                }
            }
            p.small.muted {
                (count(all, "message was", "messages were")) (if source == Source::Recorded { " recorded" } else { " captured between nodes, or for these operations," }) " within " (REACH_NS / 1_000_000) " ms of the anomalies"
                @if listed < all { "; the list has the " (thousands(listed as u64)) " nearest to their beginnings and ends" }
                "."
                @if let Some(from) = traffic.kept_from { " Before " (about(from.max(0).cast_unsigned())) " not all are kept." }
                @if traffic.missing > 0 { " " (count(traffic.missing as usize, "event", "events")) " of messages could not be written." }
                @match source {
                    Source::Recorded => { " The files nodes/*/messages.jsonl and clients/messages.jsonl have them all." }
                    Source::Captured => { " The list of packets below has the others." }
                }
            }
        }
    }
}
