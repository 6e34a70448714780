//! The page: its sections in the order in which a reader who was not there asks.

use duress_checkers::verdict::Anomaly;
use duress_history::nemesis::Return;
use maud::{Markup, PreEscaped, html};

use super::bands::Band;
use super::columns::Columns;
use super::head;
use super::likelihood::likelihood;
use super::nodes::{Nodes, leaders_at, leaderships};
use super::pack;
use super::witness::{objects, span, witness};
use super::words::{about, count, list, seconds, thousands};
use super::{Embedded, HistoryRecord, RunRecord};
use crate::judge::moments::Moments;
use crate::judge::verdict::RunVerdict;
use crate::record::faults::FaultRecord;

/// Anomalies beyond this many are listed in a sentence each, not drawn.
pub const DRAWN: usize = 12;

const CHART_STYLE: &str = include_str!("../../../assets/uplot/uPlot.min.css");
const CHART_SCRIPT: &str = include_str!("../../../assets/uplot/uPlot.iife.min.js");
const SCRIPTS: [&str; 7] = [
    include_str!("../../../assets/report/unpack.js"),
    include_str!("../../../assets/report/witness.js"),
    include_str!("../../../assets/report/timeline.js"),
    include_str!("../../../assets/report/charts.js"),
    include_str!("../../../assets/report/messages.js"),
    include_str!("../../../assets/report/surroundings.js"),
    include_str!("../../../assets/report/page.js"),
];

/// Draws the page of `record`, and of the run that it is of, around its embedded data.
#[must_use]
pub fn page(record: &HistoryRecord, run: Option<&RunRecord>, data: &Embedded) -> Markup {
    let verdict = record.verdict.as_ref().map(|judged| &judged.verdict);
    let bands = run.map(|run| run.bands.as_slice()).unwrap_or_default();
    let title = format!("{}: {}", word(verdict), record.name);
    let body = html! {
        a.skip href="#main" { "To the report" }
        header {
            div.top {
                span.brand { "duress" } span.muted { (record.name) }
                @if let Some(run) = run.filter(|run| !run.machine.date.is_empty()) { span.muted { (run.machine.date) } }
            }
            h1 { span class={ "badge " (verdict.map_or("missing", RunVerdict::name)) } { (word(verdict)) } " " (sentence(record)) }
            nav aria-label="Sections" {
                @for (id, title) in sections(record, run, data) { a href={ "#" (id) } { (title) } }
            }
        }
        main id="main" {
            (what_happened(record, run))
            @if !record.anomalies().is_empty() { (anomalies(record, run, data)) }
            @if let Some(messages) = data.messages() { (messages.section) }
            @if let Some(curve) = run.and_then(|run| run.curve.as_ref()) { (likelihood(curve)) }
            (timeline(record, bands, &data.columns))
            @if let Some(run) = run { section id="nodes" { h2 { "Nodes" } (nodes(run).section()) } }
            @if has_charts(record) { (charts(record)) }
            @if let Some(of_run) = &data.of_run { (of_run.surroundings) }
            @if has_faults(record, run) { (faults(record.faults(), bands)) }
            @if let Some(of_run) = &data.of_run { (of_run.coverage) }
            @if let Some(run) = run { (the_run(run)) }
        }
        footer.muted { "Made by duress " (env!("CARGO_PKG_VERSION")) ". This file is complete; it loads nothing." }
        (embedded(data))
    };
    head::page(&title, Some(head::CLOSED), &[CHART_STYLE], &body)
}

fn nodes(run: &RunRecord) -> Nodes<'_> {
    Nodes {
        history: &run.record.history,
        series: &run.record.series,
        bands: &run.bands,
        observations: &run.observations,
        statistics: run.record.verdict.as_ref().map(|judged| &judged.statistics),
    }
}

fn sections(
    record: &HistoryRecord,
    run: Option<&RunRecord>,
    data: &Embedded,
) -> Vec<(&'static str, &'static str)> {
    let of_run = run.is_some();
    let all = [
        ("what", "What happened", true),
        ("witness", "Witness", !record.anomalies().is_empty()),
        ("messages", "Messages", data.messages().is_some()),
        ("likelihood", "When it became likely", run.is_some_and(|run| run.curve.is_some())),
        ("timeline", "Timeline", true),
        ("nodes", "Nodes", of_run),
        ("charts", "Latency and rate", has_charts(record)),
        ("surroundings", "Logs and packets", of_run),
        ("faults", "Faults", has_faults(record, run)),
        ("coverage", "Not exercised", of_run),
        ("run", "The run", of_run),
    ];
    all.into_iter().filter(|(.., present)| *present).map(|(id, title, _)| (id, title)).collect()
}

/// Whether there are times, without which there is neither a latency nor a rate.
fn has_charts(record: &HistoryRecord) -> bool {
    matches!(record.moments, Moments::Recorded { .. })
}

/// Whether to say which faults there were: of a run always, of another history only if it has some.
fn has_faults(record: &HistoryRecord, run: Option<&RunRecord>) -> bool {
    run.is_some() || !record.faults().is_empty()
}

fn word(verdict: Option<&RunVerdict>) -> &'static str {
    verdict.map_or("NO VERDICT", RunVerdict::word)
}

/// Returns the verdict in one sentence.
fn sentence(record: &HistoryRecord) -> String {
    let name = &record.name;
    let Some(judged) = &record.verdict else {
        return format!("the run was not judged, or is not over: {name}.");
    };
    let subject = if judged.subject.is_empty() { name } else { &judged.subject };
    match &judged.verdict {
        RunVerdict::Valid => format!(
            "everything that was checked holds ({} operations, {} keys): {subject}.",
            thousands(judged.check.operations),
            thousands(judged.check.keys)
        ),
        RunVerdict::Invalid { anomalies } => {
            let first = anomalies.first().map(|anomaly| anomaly.kind.name()).unwrap_or_default();
            let more = match anomalies.len() {
                0 | 1 => " was found".to_owned(),
                several => {
                    format!(" and {} were found", count(several - 1, "more anomaly", "more anomalies"))
                }
            };
            format!("{first}{more}: {subject}.")
        }
        RunVerdict::Unknown { .. } => {
            format!("no anomaly was found, but not everything could be decided: {subject}.")
        }
        RunVerdict::Broken { .. } => format!("this run proves nothing: {subject}."),
    }
}

fn what_happened(record: &HistoryRecord, run: Option<&RunRecord>) -> Markup {
    let judged = record.verdict.as_ref();
    let promise = judged.map(|judged| judged.promise.as_str()).unwrap_or_default();
    let reasons = judged.map(|judged| judged.verdict.reasons()).unwrap_or_default();
    let notes = judged.map(|judged| judged.notes.as_slice()).unwrap_or_default();
    let counts = judged.map(|judged| judged.statistics.counts).unwrap_or_default();
    let unreadable = record.history.unreadable;
    let with_faults = has_faults(record, run);
    html! {
        section id="what" {
            h2 { "What happened" }
            dl.facts {
                @if !promise.is_empty() { dt { "The promise" } dd { (promise) } }
                @if let Some(anomaly) = record.anomalies().first() {
                    dt { "Found" }
                    dd { strong { (anomaly.kind) @if let Some(objects) = objects(anomaly) { " on " (objects) } } ": " (anomaly.summary) "." }
                    @if let Some(operation) = anomaly.contradicting() {
                        dt { "When and where" }
                        dd {
                            @if has_charts(record) { (seconds(operation.time)) " s after " (if run.is_some() { "the clients" } else { "the history" }) " began" }
                            @else { "index " (operation.index) " of the history" }
                            @if let Some(node) = &operation.node { ", on node " strong { (node) } }
                            ", asked by process " (operation.process) "."
                        }
                    }
                    @if with_faults && span(anomaly).is_some() { dt { "Under which fault" } dd { (under(record, run, anomaly)) } }
                }
                @for reason in reasons { dt { "Because" } dd { (reason) } }
                dt { "Operations" @if with_faults { " and faults" } }
                dd {
                    (thousands(counts.total())) " operations" @if has_charts(record) { " in " (about(record.history.lasted)) } ": "
                    (thousands(counts.ok)) " happened, " (thousands(counts.fail)) " failed, " (thousands(counts.info)) " may have happened"
                    @if with_faults { "; " (count(record.faults().iter().filter(|fault| fault.skipped.is_none()).count(), "fault", "faults")) }
                    "."
                }
                @if let Some(ages) = judged.and_then(|judged| judged.check.details.as_ref()?.read_ages()) {
                    dt { "Reads" }
                    dd { (ages) "." }
                }
                @if !has_charts(record) {
                    dt { "Times" }
                    dd { "The history has none that can be drawn: in the pictures, each event is a millisecond after the one before it." }
                }
                dt { (if run.is_some() { "Run it again" } else { "Check it again" }) }
                dd { (command(&record.replay)) }
            }
            @if !notes.is_empty() || unreadable > 0 {
                details { summary { "Notes" } ul {
                    @for note in notes { li { (note) } }
                    @if unreadable > 0 { li { (count(unreadable as usize, "line", "lines")) " of history.jsonl could not be read" } }
                } }
            }
        }
    }
}

/// Returns a command that can be copied.
fn command(text: &str) -> Markup {
    html! { span.command { code { (text) } button.copy type="button" data-copy=(text) hidden { "copy" } } }
}

/// Returns the faults in force around an anomaly, in words.
fn under(record: &HistoryRecord, run: Option<&RunRecord>, anomaly: &Anomaly) -> Markup {
    let Some((from, to)) = span(anomaly) else { return html! { "The verdict has no time." } };
    let in_force: Vec<&FaultRecord> =
        record.faults().iter().filter(|fault| fault.overlaps(from, to)).collect();
    let before = || {
        let healed =
            record.faults().iter().filter(|fault| fault.stop_ms.is_some_and(|ms| ms * 1_000_000 < from));
        healed.max_by_key(|fault| fault.stop_ms)
    };
    let led = leaderships(run.map(|run| run.observations.as_slice()).unwrap_or_default());
    let leaders: Vec<String> = leaders_at(&led, anomaly.contradicting().map_or(from, |of| of.time))
        .iter()
        .map(|one| {
            format!("{}{}", one.node, one.term.map(|term| format!(" (term {term})")).unwrap_or_default())
        })
        .collect();
    html! {
        @if in_force.is_empty() {
            "None was in force"
            @if let Some(fault) = before() {
                "; the last before it, fault " (fault.id) " (" (fault.what) "), was healed at " (about(fault.stop_ms.unwrap_or(0) * 1_000_000))
            }
            "."
        }
        @for fault in in_force {
            div {
                "Fault " (fault.id) ", " strong { (fault.what) }
                @if let Some(leader) = &fault.leader { " (the leader was " strong { (leader) } ")" }
                ", from " (about(fault.start_ms.unwrap_or(0) * 1_000_000)) " to "
                @if let Some(stop) = fault.stop_ms { (about(stop * 1_000_000)) } @else { "the end" }
                @if let Some(evidence) = &fault.took_hold { "; evidence: " (evidence) } "."
            }
        }
        @if !leaders.is_empty() {
            div { (list(&leaders)) @if leaders.len() == 1 { " said then that it led." } @else { " said then, at the same time, that they led." } }
        }
    }
}

fn anomalies(record: &HistoryRecord, run: Option<&RunRecord>, data: &Embedded) -> Markup {
    let all = record.anomalies();
    let has_messages = |number| data.messages().is_some_and(|messages| messages.drawn.contains(&number));
    html! {
        section id="witness" {
            h2 { "Witness" }
            @for (at, anomaly) in all.iter().take(DRAWN).enumerate() {
                @let number = at + 1;
                details.anomaly open[at == 0] id={ "anomaly-" (number) } {
                    summary {
                        h3 { "Anomaly " (number) ": " (anomaly.kind) @if let Some(objects) = objects(anomaly) { " on " (objects) } }
                        p { (anomaly.summary) "." }
                    }
                    (witness(number, anomaly, record.faults()))
                    @if let Some((from, to)) = span(anomaly) {
                        p.buttons {
                            button type="button" data-show="timeline" data-from=(from / 1000) data-to=(to / 1000) { "Show it in the timeline" }
                            @if has_messages(number) {
                                button type="button" data-show="messages" data-number=(number) { "Messages around it" }
                            }
                            @if run.is_some() {
                                button type="button" data-show="surroundings" data-from=(from / 1000) data-to=(to / 1000) { "Logs and packets around it" }
                            }
                        }
                    }
                }
            }
            @if all.len() > DRAWN {
                details { summary { "The other " (all.len() - DRAWN) ", in a sentence each" } ol start=(DRAWN + 1) {
                    @for anomaly in &all[DRAWN..] { li { (anomaly.kind) @if let Some(objects) = objects(anomaly) { " on " (objects) } ": " (anomaly.summary) } }
                } }
            }
        }
    }
}

fn timeline(record: &HistoryRecord, bands: &[Band], columns: &Columns) -> Markup {
    html! {
        section id="timeline" {
            h2 { "Timeline" }
            p.legend {
                span.key { i.ok {} "happened (ok)" } span.key { i.fail {} "did not (fail)" } span.key { i.info {} "may have (info)" }
                @if !bands.is_empty() { span.key { i.fault {} "fault on the node" } span.key { i.touched {} "links to it cut" } }
            }
            div.toolbar role="toolbar" aria-label="Timeline" {
                button type="button" data-timeline="in" { "+" span.wide { " zoom in" } }
                button type="button" data-timeline="out" { "−" span.wide { " zoom out" } }
                button type="button" data-timeline="left" aria-label="earlier" { "←" }
                button type="button" data-timeline="right" aria-label="later" { "→" }
                button type="button" data-timeline="whole" { "whole run" }
                @if !record.anomalies().is_empty() { button type="button" data-timeline="anomaly" { "next anomaly" } }
                @if !bands.is_empty() { button type="button" data-timeline="fault" { "next fault" } }
                output id="timeline-range" {}
            }
            div id="timeline-view" tabindex="0" role="application" aria-describedby="timeline-help"
                aria-label="All operations in time, by node" { canvas id="timeline-canvas" {} div id="timeline-tip" hidden {} }
            canvas id="timeline-map" aria-hidden="true" {}
            p.small.muted id="timeline-help" {
                "Drag or use the arrow keys to move; + and − or Ctrl with the wheel to zoom; 0 for the whole run. Zoom in until single operations "
                "appear; point at one or click it, or walk from one to the next with the keys , and ."
            }
            div id="operation" aria-live="polite" { p.muted { "No operation is chosen." } }
            @if columns.left_out > 0 {
                p.small.muted { "The values of " (thousands(columns.left_out as u64)) " operations are not in this page, for its size; the history has them." }
            }
            noscript { p { "A script draws the timeline. Without it, the tables below have the faults and the figures." } }
        }
    }
}

fn charts(record: &HistoryRecord) -> Markup {
    let statistics = record.verdict.as_ref().map(|judged| &judged.statistics);
    let ms = |us: u64| format!("{:.2} ms", us as f64 / 1000.0);
    html! {
        section id="charts" {
            h2 { "Latency and rate" }
            // One slot is a point, not a line.
            @if record.series.slots > 1 {
                p { label { "Operations: " select id="function" {
                    option value="all" { "all" }
                    @for name in &record.history.functions { option value=(name) { (name) } }
                } } }
                h4 { "Operations ended per second, by outcome" }
                div.chart id="rate" role="img" aria-label="Rate by outcome over time; the table below has the totals" {}
                h4 { "Latency of successful operations" }
                div.chart id="latency" role="img" aria-label="Latency quantiles over time; the table below has them for the whole run" {}
            }
            div.scroll tabindex="0" role="region" aria-label="Figures by operation" {
                table {
                    thead { tr { th scope="col" { "operation" } th scope="col" { "ok" } th scope="col" { "fail" } th scope="col" { "info" }
                        th scope="col" { "median" } th scope="col" { "99 %" } th scope="col" { "slowest" } } }
                    tbody { @for (name, kind) in statistics.into_iter().flat_map(|statistics| &statistics.by_f) {
                        tr { th scope="row" { (name) }
                            @for count in [kind.counts.ok, kind.counts.fail, kind.counts.info] { td.number { (thousands(count)) } }
                            @for quantile in [kind.p50_us, kind.p99_us, kind.max_us] { td.number { (ms(quantile)) } }
                        }
                    } }
                }
            }
            @if let Some(statistics) = statistics.filter(|statistics| !statistics.reasons.is_empty()) {
                p { "Not ok because:" }
                ul { @for (reason, count) in &statistics.reasons {
                    li {
                        (reason) " (" (thousands(*count)) ")"
                        @if let Some(words) = statistics.first_words.get(reason) { ", the first: " q { (words) } }
                    }
                } }
            }
        }
    }
}

fn faults(faults: &[FaultRecord], bands: &[Band]) -> Markup {
    let nodes = |id: u32| {
        let struck = bands.iter().filter(|band| band.fault == id && band.struck);
        struck.map(|band| band.node.clone()).collect::<Vec<_>>().join(", ")
    };
    let at = |ms: Option<u64>| ms.map_or_else(|| "–".to_owned(), |ms| format!("{:.3} s", ms as f64 / 1000.0));
    html! {
        section id="faults" {
            h2 { "Faults" }
            @if faults.is_empty() { p { "No faults were injected." } } @else {
                div.scroll tabindex="0" role="region" aria-label="Faults" {
                    table {
                        thead { tr { th scope="col" { "" } th scope="col" { "from" } th scope="col" { "to" } th scope="col" { "what" }
                            th scope="col" { "nodes" } th scope="col" { "evidence that it took hold and healed, and the recovery" } } }
                        tbody { @for fault in faults {
                            tr {
                                th scope="row" { (fault.id) }
                                td.number { (at(fault.start_ms)) } td.number { (at(fault.stop_ms)) }
                                td { (fault.what) @if let Some(words) = fault.succession() { " (" (words) ")" } }
                                td { (nodes(fault.id)) }
                                td {
                                    @if let Some(event) = &fault.event { div { "begun at: " (event) } }
                                    @if let Some(why) = &fault.skipped { div { "not begun: " (why) } } @else {
                                        @if let Some(evidence) = &fault.took_hold { div { (evidence) } } @else { div.bad { "none that it took hold" } }
                                        @if let Some(evidence) = &fault.healed { div { (evidence) } } @else { div.bad { "none that it healed" } }
                                    }
                                    @if let Some(sides) = &fault.sides { div { "answered: " (sides) } }
                                    @for recovery in &fault.recoveries {
                                        div.bad[recovery.returns().any(|(_, came)| matches!(came, Return::Silent { .. }))] { "came back: " (recovery) }
                                    }
                                    @for error in &fault.errors { div.bad { (error) } }
                                }
                            }
                        } }
                    }
                }
            }
        }
    }
}

fn the_run(run: &RunRecord) -> Markup {
    let (plan, machine) = (&run.plan, &run.machine);
    let settings: Vec<String> =
        plan.settings.options.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let workload: Vec<String> =
        plan.workload.options.iter().map(|(key, value)| format!("{key}={value}")).collect();
    html! {
        section id="run" {
            h2 { "The run" }
            dl.facts {
                dt { "Run it again" } dd { (command(&run.record.replay)) }
                dt { "Seed" } dd { (plan.seed) }
                dt { "Target" } dd {
                    (plan.target) ", mode " (plan.settings.mode)
                    @if let Some(bug) = &plan.settings.bug { ", with the seeded bug " strong { (bug) } }
                    @if !plan.settings.options.is_empty() { "; " (settings.join(", ")) }
                }
                dt { "Cluster" } dd { (count(plan.nodes.len(), "node", "nodes")) ": " (plan.nodes.iter().map(|host| format!("{} ({})", host.name, host.address)).collect::<Vec<_>>().join(", ")) }
                dt { "Workload" } dd {
                    (plan.workload.name) "; " (workload.join(", "))
                }
                dt { "Clients" } dd {
                    (count(plan.concurrency, "process", "processes")) " at a time, "
                    @if let Some(rate) = plan.rate_hz { (rate) " operations a second" } @else { "each as fast as it is answered" }
                    ", for " (plan.time_limit_ms as f64 / 1000.0) " s; each gives up after " (plan.operation_timeout_ms) " ms"
                }
                dt { "Faults" } dd { (plan.faults) ", one about every " (plan.fault_interval_ms as f64 / 1000.0) " s" }
                @if !machine.duress.is_empty() {
                    dt { "Versions" } dd { "duress " (machine.duress) "; " (machine.kernel) "; " (machine.distribution) }
                    dt { "Machine" } dd { (machine.architecture) ", " (count(machine.cores, "core", "cores")) " (" (machine.processor) "), " (thousands(machine.memory_mib)) " MiB of memory" }
                }
            }
            details { summary { "The whole plan" } pre tabindex="0" { (run.plan_text) } }
        }
    }
}

fn embedded(data: &Embedded) -> Markup {
    html! {
        script type="application/json" id="data" { (PreEscaped(pack::json(&data.data))) }
        script type="text/plain" id="tiles" { (data.tiles) }
        @for (name, packed) in &data.columns.columns { script type="text/plain" id={ "column-" (name) } { (packed) } }
        script type="text/plain" id="values" { (data.columns.values.join("\n")) }
        @if let Some(of_run) = &data.of_run {
            script type="text/plain" id="lines" { (of_run.lines) }
            script type="text/plain" id="packets" { (of_run.packets) }
            @if let Some(messages) = &of_run.messages { script type="text/plain" id="messages-listed" { (messages.listed) } }
        }
        script { (PreEscaped(CHART_SCRIPT)) }
        @for script in SCRIPTS { script { (PreEscaped(script)) } }
    }
}
