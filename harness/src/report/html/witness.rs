//! A witness, drawn: its operations as bars in time, each in words, and the argument step by step.
//!
//! Distances in time are compressed: a read of 300 µs and a pause of two seconds must be distinguishable in
//! one picture. The order of all beginnings and ends is kept exactly, and each is labelled with its time.

use duress_checkers::verdict::{Anomaly, RelationKind, WitnessOperation, WitnessStart};
use duress_history::OpType;
use maud::{Markup, html};

use super::words::seconds;
use crate::record::faults::FaultRecord;

/// Width of the drawing, in its own units.
const WIDTH: f64 = 960.0;
/// Width of the column with the processes' names.
const NAMES: f64 = 150.0;
/// Room at the right, where bars without an end fray out.
const RIGHT: f64 = 40.0;
/// Height of an operation's row.
const ROW: f64 = 52.0;
/// Height of a fault's band.
const BAND: f64 = 22.0;
/// The shortest bar.
const BAR_MIN: f64 = 8.0;
/// About how wide a character is.
const CHARACTER: f64 = 7.3;
/// About how wide a bold one is.
const BOLD_CHARACTER: f64 = 8.8;

/// The positions of moments in the drawing.
struct Scale {
    /// Times, rising, in nanoseconds, each with its place.
    places: Vec<(u64, f64)>,
}

impl Scale {
    /// Returns a scale on which all of `times` are distinguishable, from `left` to `right`.
    fn new(mut times: Vec<u64>, left: f64, right: f64) -> Self {
        times.sort_unstable();
        times.dedup();
        let shortest = times.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap_or(1).max(1) as f64;
        let widths: Vec<f64> =
            times.windows(2).map(|pair| 2.0 + ((pair[1] - pair[0]) as f64 / shortest).log2()).collect();
        let all: f64 = widths.iter().sum();
        let mut x = left + 24.0;
        let unit = (right - left - 48.0) / all.max(1.0);
        let mut places = Vec::with_capacity(times.len());
        for (at, time) in times.into_iter().enumerate() {
            places.push((time, x));
            x += widths.get(at).map_or(0.0, |width| width * unit);
        }
        Self { places }
    }

    /// Returns the place of `time`: between those of its neighbours, or just outside of all.
    fn x(&self, time: u64) -> f64 {
        let (Some(first), Some(last)) = (self.places.first(), self.places.last()) else { return NAMES };
        if time < first.0 {
            return first.1 - 24.0;
        }
        if time > last.0 {
            return last.1 + 24.0;
        }
        let after = self.places.partition_point(|(other, _)| *other < time);
        let (right_time, right) = self.places[after];
        if right_time == time || after == 0 {
            return right;
        }
        let (left_time, left) = self.places[after - 1];
        left + (right - left) * (time - left_time) as f64 / (right_time - left_time) as f64
    }
}

/// Returns the witness of anomaly `number`, with the faults that were in force meanwhile.
#[must_use]
pub fn witness(number: usize, anomaly: &Anomaly, faults: &[FaultRecord]) -> Markup {
    html! {
        @if anomaly.operations.is_empty() {
            p.muted { "No operation of a client is part of this one." }
        } @else {
            p { (supposing(anomaly.start.as_ref())) }
            div.drawing tabindex="0" role="region" aria-label={ "Drawing of anomaly " (number) ", scrolls sideways" } {
                (drawing(number, anomaly, faults))
            }
            p.small.muted {
                "Time runs from left to right; long stretches are compressed, their order is exact. A bar lasts from the "
                "request to its answer. Point at, or move to, a bar or a step: what belongs to it lights up."
            }
            (table(number, anomaly))
        }
        @if !anomaly.steps.is_empty() {
            h4 { "Why this is impossible" }
            ol.steps {
                @for step in &anomaly.steps {
                    li tabindex="0" data-witness=(number) data-labels=(step.labels.join(" ")) { (step.sentence) }
                }
            }
        }
    }
}

fn supposing(start: Option<&WitnessStart>) -> String {
    let before = match start {
        Some(WitnessStart::Any) => "any state before".to_owned(),
        Some(WitnessStart::Initial(None)) => "no write before".to_owned(),
        Some(WitnessStart::Initial(Some(value))) => format!("the value was {value} before"),
        None => return "These operations alone cannot have had these answers:".to_owned(),
    };
    format!("These operations alone cannot have had these answers ({before}):")
}

/// From the first invocation to the last end, in nanoseconds; `None` without operations.
#[must_use]
pub fn span(anomaly: &Anomaly) -> Option<(u64, u64)> {
    let first = anomaly.operations.iter().map(|operation| operation.time).min()?;
    let last = anomaly.operations.iter().map(|of| of.completion_time.unwrap_or(of.time)).max()?;
    Some((first, last.max(first)))
}

/// Returns the object of an anomaly, in words, if it has a name: `message 7 of partition t0-2`.
pub fn objects(anomaly: &Anomaly) -> Option<String> {
    let objects: Vec<String> = anomaly.objects.iter().map(ToString::to_string).collect();
    (!objects.is_empty()).then(|| objects.join(" of "))
}

/// Returns the operations, those of one process together, by their first invocation.
fn by_process(anomaly: &Anomaly) -> Vec<&WitnessOperation> {
    let first = |of: &WitnessOperation| {
        let same = anomaly.operations.iter().filter(|other| other.process == of.process);
        same.map(|other| other.time).min()
    };
    let mut rows: Vec<&WitnessOperation> = anomaly.operations.iter().collect();
    rows.sort_by_key(|operation| (first(operation), operation.process, operation.time));
    rows
}

fn drawing(number: usize, anomaly: &Anomaly, faults: &[FaultRecord]) -> Markup {
    let rows = by_process(anomaly);
    let (from, to) = span(anomaly).unwrap_or_default();
    let faults: Vec<&FaultRecord> = faults.iter().filter(|fault| fault.overlaps(from, to)).collect();
    let times = rows.iter().flat_map(|row| [Some(row.time), row.completion_time]).flatten().collect();
    let scale = Scale::new(times, NAMES, WIDTH - RIGHT);
    let top = faults.len() as f64 * BAND + 8.0;
    let bottom = top + rows.len() as f64 * ROW;
    let height = bottom + 34.0;
    let contradicting = anomaly.contradicting().map(|operation| operation.label.as_str());
    let y = |label: &str| {
        let row = rows.iter().position(|row| row.label == label).unwrap_or(0);
        top + row as f64 * ROW + 33.0
    };
    html! {
        svg.witness viewBox={ "0 0 " (WIDTH) " " (height) } width=(WIDTH) height=(height) role="group"
            aria-label={ "The operations of anomaly " (number) " in time" } {
            defs {
                marker id={ "arrow-" (number) } viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto" {
                    path.arrowhead d="M0 0 L8 4 L0 8 z" {}
                }
            }
            @for (at, fault) in faults.iter().enumerate() {
                @let left = scale.x(fault.start_ms.unwrap_or(0) * 1_000_000);
                @let right = fault.stop_ms.map_or(WIDTH - RIGHT + 16.0, |ms| scale.x(ms * 1_000_000));
                @let y = at as f64 * BAND + 2.0;
                rect.band x=(left) y=(y) width=((right - left).max(2.0)) height=(BAND - 4.0) {}
                text.band-label x=(left + 6.0) y=(y + 13.0) {
                    "fault " (fault.id) ": " (fault.what)
                    @if let Some(leader) = &fault.leader { " (it was " (leader) ")" }
                }
            }
            (ticks(&scale, top, bottom))
            @for (before, after, because) in precedences(anomaly) {
                @let (x1, x2) = (scale.x(before.completion_time.unwrap_or(before.time)), scale.x(after.time));
                path.before d={ "M" (x1) " " (y(&before.label)) " L" (x2) " " (y(&after.label)) }
                    marker-end={ "url(#arrow-" (number) ")" } {
                    title { (because) }
                }
            }
            @for (at, row) in rows.iter().enumerate() {
                @let y = top + at as f64 * ROW;
                @if at == 0 || rows[at - 1].process != row.process {
                    line.lane x1="0" x2=(WIDTH) y1=(y + 2.0) y2=(y + 2.0) {}
                    text.process x="2" y=(y + 38.0) {
                        "process " (row.process)
                        @if let Some(node) = &row.node { " → " (node) }
                    }
                }
                (bar(number, row, &scale, y, contradicting == Some(row.label.as_str())))
            }
        }
    }
}

fn ticks(scale: &Scale, top: f64, bottom: f64) -> Markup {
    // A time is written where there is room for it beside the one before.
    let mut labelled = f64::NEG_INFINITY;
    let mut labels = Vec::new();
    for (time, x) in &scale.places {
        if x - labelled > 76.0 {
            labelled = *x;
            labels.push((seconds(*time), *x));
        }
    }
    html! {
        @for (_, x) in &scale.places { line.tick x1=(x) x2=(x) y1=(top) y2=(bottom + 4.0) {} }
        @for (time, x) in &labels { text.time x=(x) y=(bottom + 20.0) text-anchor="middle" { (time) } }
    }
}

fn bar(number: usize, row: &WitnessOperation, scale: &Scale, y: f64, contradicts: bool) -> Markup {
    let left = scale.x(row.time);
    let right = row.completion_time.map_or(WIDTH - 8.0, |time| scale.x(time));
    let width = (right - left).max(BAR_MIN);
    let text = format!("{} {}", row.label, row.action);
    let mark = if contradicts { " ✕ contradiction" } else { "" };
    let room =
        WIDTH - 4.0 - text.chars().count() as f64 * CHARACTER - mark.chars().count() as f64 * BOLD_CHARACTER;
    html! {
        g.op.contradicts[contradicts].unanswered[row.completion_time.is_none()].info[row.ended == OpType::Info]
            tabindex="0" role="img" data-witness=(number) data-label=(row.label)
            aria-label={ (spoken(row)) @if contradicts { " This is the answer that contradicts the others." } } {
            title { (spoken(row)) }
            rect.hit x=(left - 4.0) y=(y + 6.0) width=(width + 8.0) height=(ROW - 10.0) {}
            rect.bar x=(left) y=(y + 24.0) width=(width) height="18" rx="3" {}
            text.action x=(left.min(room).max(NAMES)) y=(y + 18.0) {
                tspan.label { (row.label) } " " (row.action)
                @if contradicts { tspan.mark { (mark) } }
            }
        }
    }
}

fn spoken(row: &WitnessOperation) -> String {
    let node = row.node.as_ref().map(|node| format!(" on {node}")).unwrap_or_default();
    let end = match row.completion_time {
        Some(time) if row.ended == OpType::Info => {
            format!("given up at {} s, outcome unknown", seconds(time))
        }
        Some(time) => format!("answered {} at {} s", row.ended, seconds(time)),
        None => "never answered".to_owned(),
    };
    format!(
        "{}: {} by process {}{node}, asked at {} s, {end}.",
        row.label,
        row.action,
        row.process,
        seconds(row.time)
    )
}

/// Returns pairs of operations, the first answered before the second began, if the argument uses that; with
/// its reason.
fn precedences(anomaly: &Anomaly) -> Vec<(&WitnessOperation, &WitnessOperation, &str)> {
    let operation = |label: &str| anomaly.operations.iter().find(|operation| operation.label == label);
    let relations = anomaly.relations.iter().filter(|relation| relation.kind == RelationKind::RealTime);
    let known = relations.filter_map(|relation| {
        let (from, to) = (operation(&relation.from)?, operation(&relation.to)?);
        Some((from, to, relation.because.as_str()))
    });
    known.collect()
}

fn table(number: usize, anomaly: &Anomaly) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label={ "Operations of anomaly " (number) } {
            table.operations {
                thead { tr {
                    th scope="col" { "" } th scope="col" { "did" } th scope="col" { "ended" } th scope="col" { "asked at" }
                    th scope="col" { "answered at" } th scope="col" { "process" } th scope="col" { "node" }
                    th scope="col" { "index in the history" }
                } }
                tbody {
                    @for row in &anomaly.operations {
                        tr data-witness=(number) data-label=(row.label) {
                            th scope="row" { (row.label) } td { code { (row.action) } } td { (row.ended) }
                            td.number data-name="asked at" { (seconds(row.time)) " s" }
                            td.number data-name="answered at" {
                                @if let Some(end) = row.completion_time { (seconds(end)) " s" } @else { "never" }
                            }
                            td.number data-name="process" { (row.process) }
                            td { @if let Some(node) = &row.node { "on " (node) } }
                            td.number data-name="index" { (row.index) @if let Some(end) = row.completion_index { ", " (end) } }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use duress_checkers::verdict::{AnomalyKind, Relation, Role, Step};
    use duress_history::Process;

    use super::*;

    fn operation(label: &str, process: u64, time: u64, end: Option<u64>) -> WitnessOperation {
        WitnessOperation {
            label: label.into(),
            index: 0,
            completion_index: None,
            process: Process(process),
            node: None,
            time,
            completion_time: end,
            action: "write <b>\"7\"".into(),
            role: Role::Write,
            error: None,
            ended: OpType::Ok,
        }
    }

    fn anomaly() -> Anomaly {
        Anomaly {
            kind: AnomalyKind::StaleRead,
            objects: Vec::new(),
            start: None,
            summary: "B (read -> 1) saw 1".into(),
            operations: vec![
                operation("A", 1, 1_000, Some(2_000)),
                operation("B", 2, 2_000_000_000, Some(2_000_000_300)),
                operation("C", 1, 3_000, None),
            ],
            relations: vec![Relation {
                from: "A".into(),
                to: "B".into(),
                kind: RelationKind::RealTime,
                because: "A was answered before B began.".into(),
            }],
            contradicts: Some("B".into()),
            steps: vec![Step { sentence: "A before B.".into(), labels: vec!["A".into(), "B".into()] }],
        }
    }

    #[test]
    fn order_is_kept_and_nothing_is_too_narrow() {
        let scale = Scale::new(vec![2_000_000_300, 1_000, 2_000, 2_000_000_000, 3_000], 100.0, 900.0);
        let places: Vec<f64> = scale.places.iter().map(|(_, x)| *x).collect();
        assert!(places.windows(2).all(|pair| pair[1] - pair[0] > 15.0), "{places:?}");
        assert!(places[0] >= 100.0 && places[4] <= 900.0, "{places:?}");
        assert!(scale.x(2_500) > scale.x(2_000) && scale.x(2_500) < scale.x(3_000));
        assert!(scale.x(0) < places[0] && scale.x(u64::MAX) > places[4]);
    }

    #[test]
    fn values_cannot_leave_the_drawing() {
        let page = witness(1, &anomaly(), &[]).into_string();
        assert!(page.contains("write &lt;b&gt;") && !page.contains("<b>"), "{page}");
        assert!(page.contains("✕ contradiction"));
        assert!(page.contains("never answered"));
    }

    #[test]
    fn one_arrow_for_what_came_before() {
        let anomaly = anomaly();
        let pairs = precedences(&anomaly);
        assert_eq!(
            pairs.iter().map(|(a, b, _)| format!("{}{}", a.label, b.label)).collect::<Vec<_>>(),
            ["AB"]
        );
        let rows = by_process(&anomaly);
        assert_eq!(rows.iter().map(|row| &*row.label).collect::<Vec<_>>(), ["A", "C", "B"]);
    }

    #[test]
    fn an_anomaly_without_operations_is_told_even_so() {
        let page = witness(1, &Anomaly { operations: Vec::new(), ..anomaly() }, &[]).into_string();
        assert!(page.contains("No operation of a client"));
    }
}
