//! The pages: a list, a run, a matrix, a comparison.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::SystemTime;

use maud::{Markup, PreEscaped, html};
use serde_json::json;

use super::catalogue::{Catalogue, Filter, RunLine, State};
use super::comparison::{Side, differences};
use crate::judge::statistics::{Counts, Kind};
use crate::matrix::results::MatrixResults;
use crate::report::html::words::thousands;
use crate::report::html::{head, pack};

const CHART_STYLE: &str = include_str!("../../assets/uplot/uPlot.min.css");
const CHART_SCRIPT: &str = include_str!("../../assets/uplot/uPlot.iife.min.js");
const LIVE_SCRIPT: &str = include_str!("../../assets/serve/live.js");
const COMPARE_SCRIPT: &str = include_str!("../../assets/serve/compare.js");

/// Files of a run that are offered.
const FILES: [&str; 9] = [
    "report.html",
    "report.txt",
    "verdict.json",
    "plan.json",
    "history.jsonl",
    "observations.jsonl",
    "machine.json",
    "network.pcapng",
    "duress.log",
];

fn shell(title: &str, content: &Markup) -> Markup {
    let body = html! {
        header { div.top { a.brand href="/" { "duress" } span.muted { (title) } } }
        main { (content) }
    };
    // The policy is a header of the answer.
    head::page(title, None, &[CHART_STYLE], &body)
}

/// `path` as part of an address: everything but letters, digits and a few signs is escaped.
#[must_use]
pub fn address(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    path.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

fn badge(state: &State) -> Markup {
    html! { span class={ "badge " (state.word()) } { (state.word()) } }
}

fn when(time: SystemTime) -> String {
    chrono::DateTime::<chrono::Utc>::from(time).format("%Y-%m-%d %H:%M:%S").to_string()
}

/// Returns the list of everything.
#[must_use]
pub fn index(catalogue: &Catalogue, filter: &Filter) -> Markup {
    let wanted: Vec<&RunLine> = catalogue.runs.iter().filter(|run| filter.wants(run)).collect();
    shell(
        "runs",
        &html! {
            @if !catalogue.matrices.is_empty() {
                h2 { "Matrices" }
                div.scroll { table {
                    thead { tr { th scope="col" { "began" } th scope="col" { "matrix" } th scope="col" { "came to" } th scope="col" { "exit" } } }
                    tbody { @for matrix in &catalogue.matrices { tr {
                        td.number { (matrix.results.began) }
                        th scope="row" { a href={ "/matrix/" (address(&matrix.name)) } { (matrix.results.matrix.display()) @if let Some(shard) = &matrix.results.shard { " " (shard) } } }
                        td { (matrix.results.summary()) } td.number { (matrix.results.exit) }
                    } } }
                } }
            }
            h2 { "Runs" }
            form id="search" action="/" method="get" role="search" {
                label { "Search " input type="search" name="text" value=(filter.text) placeholder="target, mode, fault, anomaly"; }
                label { "verdict " select name="verdict" {
                    option value="" { "any" }
                    @for word in ["valid", "invalid", "unknown", "broken", "running", "unfinished", "unreadable"] {
                        option value=(word) selected[filter.verdict == word] { (word) }
                    }
                } }
                button type="submit" { "filter" }
            }
            p.small { (wanted.len()) " of " (catalogue.runs.len()) " runs" }
            @for refused in &catalogue.refused { p.small { (refused) } }
            form action="/compare" method="get" {
                div.scroll { table.runs {
                    thead { tr { th scope="col" { "a" } th scope="col" { "b" } th scope="col" { "began (UTC)" } th scope="col" { "verdict" } th scope="col" { "run" }
                        th scope="col" { "workload" } th scope="col" { "faults" } th scope="col" { "anomalies" } th scope="col" { "seed" } } }
                    tbody { @for run in wanted { tr {
                        td { input type="radio" name="a" value=(run.name) aria-label={ "compare " (run.name) " as a" }; }
                        td { input type="radio" name="b" value=(run.name) aria-label={ "compare " (run.name) " as b" }; }
                        td.number { (when(run.began)) } td { (badge(&run.state)) }
                        th scope="row" { a href={ "/run/" (address(&run.name)) } { (run.name) } }
                        td { (run.plan.workload.name) } td.list { (run.plan.faults) } td.list { (run.anomalies.join(", ")) } td.number { (run.plan.seed) }
                    } } }
                } }
                p { button type="submit" { "compare a with b" } }
            }
        },
    )
}

/// Returns one run; followed while it is in progress.
#[must_use]
pub fn run(line: &RunLine, folder: &Path) -> Markup {
    let name = address(&line.name);
    let there = FILES.iter().filter(|file| folder.join(file).is_file());
    let nodes = line.plan.node_names();
    shell(
        &line.name,
        &html! {
            h1 { (badge(&line.state)) " " (line.name) }
            p { (line.plan.target) ", mode " (line.plan.settings.mode) @if let Some(bug) = &line.plan.settings.bug { ", bug " (bug) }
                "; workload " (line.plan.workload.name) "; faults " (line.plan.faults) "; seed " (line.plan.seed) }
            @if let State::Unreadable(why) = &line.state { p { (why) } }
            @if line.state == State::Running {
                section id="live" data-run=(name) data-limit=(line.plan.time_limit_ms) {
                    h2 { "Live" }
                    p id="live-state" role="status" { "waiting for the first operation" }
                    div.chart id="live-chart" role="img" aria-label="Operations per second, by outcome" {}
                }
                script { (PreEscaped(CHART_SCRIPT)) }
                script { (PreEscaped(LIVE_SCRIPT)) }
            }
            h2 { "Files" }
            ul {
                @for file in there { li { a href={ "/file/" (name) "/" (file) } { (file) } } }
                @for node in nodes { @for file in ["stdout.log", "stderr.log"] {
                    @let path = format!("nodes/{node}/{file}");
                    @if folder.join(&path).is_file() { li { a href={ "/file/" (name) "/" (address(&path)) } { (path) } } }
                } }
            }
        },
    )
}

/// Returns one matrix. `run_of` says under which name a trial's folder is served, if it is.
#[must_use]
pub fn matrix(results: &MatrixResults, run_of: impl Fn(&Path) -> Option<String>) -> Markup {
    shell(
        &results.matrix.display().to_string(),
        &html! {
            h1 { (results.summary()) }
            p.muted { (results.matrix.display()) ", begun " (results.began) " by duress " (results.program) " on " (results.machine) "; exit " (results.exit) }
            div.scroll { table {
                thead { tr { th scope="col" { "cell" } th scope="col" { "expected" } th scope="col" { "outcome" } th scope="col" { "why" } th scope="col" { "seconds" } th scope="col" { "runs" } } }
                tbody { @for cell in &results.cells { tr {
                    th scope="row" { (cell.name) } td { (cell.expected) } td { (cell.outcome.words()) } td { (cell.message) }
                    td.number { (format!("{:.0}", cell.seconds)) }
                    td { @for run in &cell.runs { @if let Some(name) = run_of(&run.trial.folder) {
                        a href={ "/run/" (address(&name)) } { (run.series.name()) " " (run.trial.seed) } " "
                    } } }
                } } }
            } }
        },
    )
}

/// Two runs side by side.
#[must_use]
pub fn compare(a: &Side, b: &Side) -> Markup {
    let sides = [a, b];
    let figure = |of: &dyn Fn(&Side) -> String| html! { @for side in sides { td.number { (of(side)) } } };
    let number = |value: Option<u64>| value.map_or_else(|| "–".to_owned(), thousands);
    let records = || sides.iter().filter_map(|side| side.verdict.as_ref());
    let functions: BTreeSet<&String> = records().flat_map(|record| record.statistics.by_f.keys()).collect();
    let kind = |side: &Side, f: &str| side.verdict.as_ref()?.statistics.by_f.get(f).cloned();
    let counts = |side: &Side| side.verdict.as_ref().map(|record| record.statistics.counts);
    type Count = (&'static str, fn(&Counts) -> u64);
    type Quantile = (&'static str, fn(&Kind) -> u64);
    let outcomes: [Count; 3] = [("ok", |of| of.ok), ("fail", |of| of.fail), ("info", |of| of.info)];
    let quantiles: [Quantile; 3] =
        [("p50", |of| of.p50_us), ("p99", |of| of.p99_us), ("max", |of| of.max_us)];
    let differing = differences(a, b);
    shell(
        "comparison",
        &html! {
            h1 { "a and b" }
            div.scroll { table {
                thead { tr { th scope="col" { "" } @for (letter, side) in ["a", "b"].iter().zip(sides) {
                    th scope="col" { (letter) ": " a href={ "/run/" (address(&side.name)) } { (side.name) } } } } }
                tbody {
                    tr { th scope="row" { "verdict" } @for side in sides { td { (side.verdict.as_ref().map_or("none", |record| record.verdict.name())) } } }
                    tr { th scope="row" { "anomalies" } @for side in sides { td {
                        @if let Some(record) = &side.verdict {
                            @let anomalies = record.verdict.anomalies();
                            @for anomaly in anomalies.iter().take(5) { div { (anomaly.kind) ": " (anomaly.summary) } }
                            @if anomalies.len() > 5 { "and " (anomalies.len() - 5) " more" }
                            @for reason in record.verdict.reasons() { div { (reason) } }
                        }
                    } } }
                    @for (outcome, of) in outcomes {
                        tr { th scope="row" { (outcome) } (figure(&|side| number(counts(side).map(|counts| of(&counts))))) }
                    }
                    @for function in functions { @for (quantile, of) in quantiles {
                        tr { th scope="row" { (function) ", " (quantile) " in µs" } (figure(&|side| number(kind(side, function).map(|kind| of(&kind))))) }
                    } }
                    tr { th scope="row" { "faults" } (figure(&|side| number(side.verdict.as_ref().map(|record| record.faults.len() as u64)))) }
                }
            } }
            h2 { "Differences of the plans" }
            @if differing.is_empty() { p { "None: this is one plan, run twice." } } @else {
                div.scroll { table {
                    thead { tr { th scope="col" { "" } th scope="col" { "a" } th scope="col" { "b" } } }
                    tbody { @for (key, a, b) in differing { tr { th scope="row" { (key) } @for value in [a, b] { td { @if let Some(value) = value { code { (value) } } @else { span.muted { "absent" } } } } } } }
                } }
            }
            h2 { "Latency of successful operations" }
            div.chart id="compare-latency" role="img" aria-label="Latency of both runs over time; the table above has the quantiles" {}
            h2 { "Happened, a second" }
            div.chart id="compare-rate" role="img" aria-label="Rate of both runs over time" {}
            script type="application/json" id="data" { (PreEscaped(pack::json(&json!([a.series, b.series])))) }
            script { (PreEscaped(CHART_SCRIPT)) }
            script { (PreEscaped(COMPARE_SCRIPT)) }
        },
    )
}

/// Something that is not there.
#[must_use]
pub fn missing(what: &str) -> Markup {
    shell("not found", &html! { h1 { "Not found" } p { (what) } p { a href="/" { "All runs" } } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_hold_any_name() {
        assert_eq!(address("store-raft/2026 1?\"<#%"), "store-raft/2026%201%3F%22%3C%23%25");
    }
}
