//! A diagram of messages: clients, nodes and services as lanes, time downwards.
//!
//! Distances in time are compressed; the order of all sendings and arrivals is exact.

use std::collections::BTreeSet;

use duress_checkers::verdict::Anomaly;
use duress_history::traffic::reader::{Fate, Message};
use maud::{Markup, html};

use super::super::words::seconds;
use super::choice::Chosen;
use super::{fate, label, what};

/// Width of the column with times.
const TIMES: f64 = 84.0;
/// Height of the lanes' names.
const NAMES: f64 = 34.0;
/// The width that lanes share, if each is neither too narrow nor too wide.
const LANES: f64 = 1050.0;
const LANE_MIN: f64 = 112.0;
const LANE_MAX: f64 = 150.0;
/// About how wide a character is.
const CHARACTER: f64 = 6.8;
/// The most characters of a message that are drawn.
const LETTERS_MAX: usize = 38;
/// How far down a message goes that did not arrive.
const LOST: f64 = 14.0;

/// A party to messages. In this order, from left to right.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    Client(u64),
    Node(usize),
    Service(String),
}

impl Lane {
    fn of(end: &str, message: &Message, nodes: &[String]) -> Self {
        match (nodes.iter().position(|node| node == end), message.process) {
            (Some(at), _) => Self::Node(at),
            (None, Some(process)) => Self::Client(process.0),
            (None, None) => Self::Service(end.to_owned()),
        }
    }

    fn name(&self, nodes: &[String]) -> String {
        match self {
            Self::Client(process) => format!("process {process}"),
            Self::Node(at) => nodes[*at].clone(),
            Self::Service(name) => name.clone(),
        }
    }
}

/// The places of moments, from the first down.
struct Rows(Vec<(i64, f64)>);

impl Rows {
    /// Returns rows for the times of sending, each with room for a line of text, and of arriving.
    fn new(sent: &BTreeSet<i64>, arrived: &BTreeSet<i64>) -> Self {
        let mut rows: Vec<(i64, f64)> = Vec::new();
        for time in sent.union(arrived) {
            let stretch = rows
                .last()
                .map_or(0.0, |(before, _)| (1.0 + time.saturating_sub(*before) as f64 / 1000.0).log2());
            let room =
                if sent.contains(time) { 22.0 + (2.0 * stretch).min(30.0) } else { 11.0 + stretch.min(15.0) };
            rows.push((*time, rows.last().map_or(NAMES + 26.0, |(_, y)| y + room)));
        }
        Self(rows)
    }

    fn y(&self, time: i64) -> f64 {
        let at = self.0.partition_point(|(other, _)| *other < time).min(self.0.len().saturating_sub(1));
        self.0.get(at).map_or(NAMES, |(_, y)| *y)
    }
}

/// A message in place.
struct Arrow<'a> {
    chosen: Chosen<'a>,
    message: &'a Message,
    number: usize,
    from: (f64, f64),
    to: Vec<(f64, f64)>,
}

/// Draws the messages `chosen` of `messages`, which belong to anomaly `number`.
#[must_use]
pub fn drawing(
    number: usize,
    anomaly: &Anomaly,
    messages: &[Message],
    chosen: &[Chosen<'_>],
    nodes: &[String],
) -> Markup {
    let of = |chosen: &Chosen<'_>| &messages[chosen.at];
    let ends = |message: &Message| [&message.from, &message.to].map(|end| Lane::of(end, message, nodes));
    let mut lanes: Vec<Lane> = Vec::new();
    for lane in chosen.iter().flat_map(|chosen| ends(of(chosen))) {
        if !lanes.contains(&lane) {
            lanes.push(lane);
        }
    }
    // Clients by first appearance.
    lanes.sort_by_key(|lane| (!matches!(lane, Lane::Client(_))).then(|| lane.clone()));
    let lane_width = (LANES / lanes.len() as f64).clamp(LANE_MIN, LANE_MAX);
    let width = TIMES + lane_width * lanes.len() as f64;
    let x = |lane: &Lane| {
        let at = lanes.iter().position(|other| other == lane).unwrap_or_default();
        TIMES + lane_width * (at as f64 + 0.5)
    };
    let sent: BTreeSet<i64> = chosen.iter().map(|chosen| of(chosen).time()).collect();
    let arrived = chosen.iter().flat_map(|chosen| of(chosen).arrived.iter().copied()).collect();
    let rows = Rows::new(&sent, &arrived);
    let height = rows.0.last().map_or(NAMES, |(_, y)| *y) + LOST + 18.0;
    let arrows: Vec<Arrow<'_>> = chosen
        .iter()
        .enumerate()
        .map(|(at, chosen)| {
            let message = of(chosen);
            let [from, to] = ends(message).map(|lane| x(&lane));
            let y = rows.y(message.time());
            let to = match (message.fate, message.arrived.as_slice()) {
                (Fate::Lost, _) => vec![(from + (to - from) * 0.7, y + LOST)],
                (_, []) => vec![(to, y)],
                (_, arrived) => arrived.iter().map(|time| (to, rows.y(*time))).collect(),
            };
            Arrow { chosen: *chosen, message, number: at + 1, from: (from, y), to }
        })
        .collect();
    html! {
        svg.messages viewBox={ "0 0 " (width) " " (height) } width=(width) height=(height) role="group"
            aria-label={ "The messages around anomaly " (number) ", time downwards" } {
            @for lane in &lanes {
                line.lane x1=(x(lane)) x2=(x(lane)) y1=(NAMES) y2=(height - 4.0) {}
                text.host.client[matches!(lane, Lane::Client(_))] x=(x(lane)) y="20" text-anchor="middle" { (lane.name(nodes)) }
            }
            @for (time, y) in rows.0.iter().filter(|(time, _)| sent.contains(time)) {
                text.time x="2" y=(y + 4.0) { (seconds((*time).max(0).cast_unsigned())) " s" }
                line.tick x1=(TIMES - 8.0) x2=(width) y1=(y) y2=(y) {}
            }
            @for operation in &anomaly.operations {
                @let carries = |arrow: &&Arrow<'_>| arrow.chosen.carries.is_some_and(|of| of.label == operation.label);
                @let lane = x(&Lane::Client(operation.process.0));
                @let first = arrows.iter().find(carries).map(|arrow| arrow.from.1);
                @let last = arrows.iter().filter(carries).flat_map(|arrow| [Some(arrow.from), arrow.to.last().copied()])
                    .flatten().map(|(_, y)| y).fold(0.0, f64::max);
                @if let Some(first) = first {
                    g.operation.contradicts[anomaly.contradicts.as_ref() == Some(&operation.label)]
                        data-witness=(number) data-label=(operation.label) {
                        title { (operation.label) ": " (operation.action) }
                        rect x=(lane - 5.0) y=(first) width="10" height=((last - first).max(8.0)) rx="3" {}
                        text.label x=(lane - 10.0) y=(first + 4.0) text-anchor="end" { (operation.label) }
                    }
                }
            }
            @for arrow in &arrows { (drawn(number, arrow, width)) }
        }
    }
}

fn drawn(number: usize, arrow: &Arrow<'_>, width: f64) -> Markup {
    let Arrow { chosen, message, from: (x1, y1), to, .. } = arrow;
    let is_lost = message.fate == Fate::Lost;
    let rightwards = to.first().is_none_or(|(x2, _)| x2 >= x1);
    let (x, anchor, room) =
        if rightwards { (x1 + 9.0, "start", width - x1 - 12.0) } else { (x1 - 9.0, "end", x1 - TIMES) };
    let text = shortened(&what(message), ((room / CHARACTER) as usize).min(LETTERS_MAX));
    let wide = (text.chars().count() as f64 + 3.0) * CHARACTER;
    html! {
        g.message.carries[chosen.carries.is_some()].lost[is_lost] tabindex="0" role="img"
            data-witness=(number) data-label=(label(arrow.number, *chosen)) aria-label=(spoken(arrow)) {
            title { (spoken(arrow)) }
            rect.hit x=(if rightwards { x - 4.0 } else { x - wide + 4.0 }) y=(y1 - 17.0) width=(wide) height="17" {}
            @for (x2, y2) in to {
                line.hit x1=(x1) y1=(y1) x2=(x2) y2=(y2) {}
                line.arrow x1=(x1) y1=(y1) x2=(x2) y2=(y2) {}
                @if is_lost {
                    text.cross x=(x2) y=(y2 + 5.0) text-anchor="middle" { "✕" }
                } @else {
                    path.head d=(head((*x1, *y1), (*x2, *y2))) {}
                }
            }
            text x=(x) y=(y1 - 5.0) text-anchor=(anchor) { tspan.number { (arrow.number) } " " (text) }
        }
    }
}

/// Returns the path of an arrow's head.
fn head((x1, y1): (f64, f64), (x2, y2): (f64, f64)) -> String {
    const LENGTH: f64 = 9.0;
    const HALF: f64 = 4.0;
    let length = (x2 - x1).hypot(y2 - y1).max(1.0);
    let (dx, dy) = ((x2 - x1) / length, (y2 - y1) / length);
    let (x, y) = (x2 - dx * LENGTH, y2 - dy * LENGTH);
    format!(
        "M{x2:.1} {y2:.1} L{:.1} {:.1} L{:.1} {:.1} z",
        x - dy * HALF,
        y + dx * HALF,
        x + dy * HALF,
        y - dx * HALF
    )
}

fn shortened(text: &str, letters_max: usize) -> String {
    if text.chars().count() <= letters_max {
        return text.to_owned();
    }
    text.chars().take(letters_max.saturating_sub(1)).chain(['…']).collect()
}

fn spoken(arrow: &Arrow<'_>) -> String {
    let Arrow { chosen, message, number, .. } = arrow;
    let carries = chosen.carries.map(|of| format!(", of operation {}", of.label)).unwrap_or_default();
    let (from, to) = (&message.from, &message.to);
    let time = seconds(message.time().max(0).cast_unsigned());
    let fate = fate(message);
    let fate = if fate.is_empty() { String::new() } else { format!(", {fate}") };
    format!("Message {number}{carries}, from {from} to {to} at {time} s{fate}: {}", what(message))
}
