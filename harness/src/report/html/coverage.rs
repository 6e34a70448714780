//! The things that a run did *not* exercise, which a valid verdict does not cover.

use std::collections::{BTreeMap, BTreeSet};

use duress_nemesis::{Family, ScheduledFault};
use maud::{Markup, html};

use super::RunRecord;
use super::bands::Band;
use super::history::{Ending, RunHistory};
use super::nodes::leaderships;
use super::words::{count, list, thousands};
use crate::systems;

/// Operations of one kind in one situation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// That happened.
    pub ok: u64,
    /// All together.
    pub all: u64,
}

/// Counts operations by the situation at their invocation: a row for each situation, a cell for each
/// function.
#[must_use]
pub fn situations(history: &RunHistory, bands: &[Band], clients_until_us: u64) -> Vec<(String, Vec<Cell>)> {
    let mut faults: BTreeMap<u32, (&str, u64, u64)> = BTreeMap::new();
    for band in bands {
        faults.insert(band.fault, (&band.family, band.from, band.to));
    }
    let first = faults.values().map(|(_, from, _)| *from).min();
    let last = faults.values().map(|(_, _, to)| *to).max();
    let mut names: Vec<String> = vec!["before the first fault".into()];
    let families: BTreeSet<&str> = faults.values().map(|(family, ..)| *family).collect();
    names.extend(families.iter().map(|family| format!("under {family}")));
    names.extend(["between faults", "after the last fault", "in the final phase"].map(str::to_owned));
    let row = |name: &str| names.iter().position(|other| other == name).unwrap_or(0);
    let [between, after, finals] = ["between faults", "after the last fault", "in the final phase"].map(row);
    let mut rows = vec![vec![Cell::default(); history.functions.len()]; names.len()];
    let mut edges: Vec<(u64, bool, usize)> = faults
        .values()
        .flat_map(|(family, from, to)| {
            let row = row(&format!("under {family}"));
            [(*from, true, row), (*to, false, row)]
        })
        .collect();
    edges.sort_unstable();
    let mut in_force = vec![0_u32; names.len()];
    let mut edges = edges.into_iter().peekable();
    // Operations are in order of their invocation.
    for operation in &history.operations {
        let start = operation.start / 1000;
        while let Some((_, begins, row)) = edges.next_if(|(at, ..)| *at <= start) {
            in_force[row] = if begins { in_force[row] + 1 } else { in_force[row].saturating_sub(1) };
        }
        let mut add = |row: usize| {
            let cell: &mut Cell = &mut rows[row][usize::from(operation.function)];
            cell.all += 1;
            cell.ok += u64::from(operation.ending == Ending::Ok);
        };
        let under: Vec<usize> = (0..in_force.len()).filter(|row| in_force[*row] > 0).collect();
        if start > clients_until_us {
            add(finals);
        } else if !under.is_empty() {
            under.into_iter().for_each(add);
        } else if first.is_none_or(|first| start < first) {
            add(0);
        } else if last.is_some_and(|last| start > last) {
            add(after);
        } else {
            add(between);
        }
    }
    names.into_iter().zip(rows).collect()
}

/// Returns the section's content.
#[must_use]
pub fn section(run: &RunRecord) -> Markup {
    let rows = situations(&run.record.history, &run.bands, run.plan.time_limit_ms * 1000);
    let gaps = gaps(run);
    html! {
        section id="coverage" {
            h2 { "Not exercised" }
            p { "A verdict covers only what was exercised. Not exercised were:" }
            @if gaps.is_empty() { p { "No gaps known to this page." } } @else { ul { @for gap in &gaps { li { (gap) } } } }
            @if !run.record.history.functions.is_empty() {
                h4 { "Operations by situation" }
                div.scroll tabindex="0" role="region" aria-label="Operations by situation" {
                    table {
                        thead { tr { th scope="col" { "" } @for name in &run.record.history.functions { th scope="col" { (name) } } } }
                        tbody { @for (name, cells) in &rows {
                            tr { th scope="row" { (name) } @for cell in cells {
                                @if cell.all == 0 { td.never { "never" } }
                                @else if cell.ok == 0 { td.never { (thousands(cell.all)) ", none ok" } }
                                @else { td.number { (thousands(cell.all)) ", " (cell.ok * 100 / cell.all) " % ok" } }
                            } }
                        } }
                    }
                }
            }
        }
    }
}

/// Returns the gaps, a sentence each.
fn gaps(run: &RunRecord) -> Vec<String> {
    let mut gaps = Vec::new();
    let used: BTreeSet<&str> = run.bands.iter().map(|band| band.family.as_str()).collect();
    let unused: Vec<String> = Family::ALL
        .iter()
        .map(|family| family.name())
        .filter(|name| !used.contains(name))
        .map(str::to_owned)
        .collect();
    if !unused.is_empty() {
        gaps.push(format!("Faults of these families: {}.", list(&unused)));
    }
    let had = variants_had(&run.plan.schedule, &run.bands);
    gaps.extend(Family::ALL.iter().filter(|family| used.contains(family.name())).filter_map(|family| {
        let missing = unused_variants(*family, &had);
        (!missing.is_empty()).then(|| format!("Of the variants of {}: {}.", family.name(), list(&missing)))
    }));
    for family in &used {
        let struck: BTreeSet<&str> = run
            .bands
            .iter()
            .filter(|band| band.family == *family && band.struck)
            .map(|band| band.node.as_str())
            .collect();
        let spared: Vec<String> =
            run.record.history.nodes.iter().filter(|node| !struck.contains(node.as_str())).cloned().collect();
        if !spared.is_empty() {
            gaps.push(format!("A {family} of {}.", list(&spared)));
        }
    }
    if used.len() > 1 && !overlap(&run.bands) {
        gaps.push("Two faults at once.".to_owned());
    }
    gaps.extend(of_operations(&run.record.history));
    gaps.extend(of_leaders(run));
    gaps.extend(of_target(run));
    gaps
}

/// Returns the variants of the faults that took hold.
fn variants_had(schedule: &[ScheduledFault], bands: &[Band]) -> BTreeSet<(Family, &'static str)> {
    let in_force = |fault: &&ScheduledFault| bands.iter().any(|band| band.fault == fault.id);
    schedule
        .iter()
        .filter(in_force)
        .filter_map(|fault| Some((fault.fault.family(), fault.fault.variant()?)))
        .collect()
}

/// Returns the variants of `family` that no fault had; empty for families whose variants are only choices of
/// nodes.
fn unused_variants(family: Family, had: &BTreeSet<(Family, &'static str)>) -> Vec<String> {
    if family.varies_by_nodes_only() {
        return Vec::new();
    }
    let unused = family.variants().filter(|variant| !had.contains(&(family, variant.name)));
    unused.map(|variant| variant.name.to_owned()).collect()
}

fn overlap(bands: &[Band]) -> bool {
    bands.iter().any(|one| {
        bands.iter().any(|other| one.fault != other.fault && one.from < other.to && other.from < one.to)
    })
}

fn of_operations(history: &RunHistory) -> Vec<String> {
    let mut ok = vec![0_u64; history.functions.len()];
    let mut served = vec![0_u64; history.nodes.len()];
    for operation in history.operations.iter().filter(|operation| operation.ending == Ending::Ok) {
        ok[usize::from(operation.function)] += 1;
        if let Some(node) = history.lanes[operation.lane as usize].node {
            served[usize::from(node)] += 1;
        }
    }
    let without = |counts: &[u64], names: &[String]| -> Vec<String> {
        counts.iter().zip(names).filter(|(count, _)| **count == 0).map(|(_, name)| name.clone()).collect()
    };
    let mut gaps = Vec::new();
    let never = without(&ok, &history.functions);
    if !never.is_empty() {
        gaps.push(format!("Operations that never succeeded: {}.", list(&never)));
    }
    let idle = without(&served, &history.nodes);
    if !idle.is_empty() {
        gaps.push(format!("Nodes on which no operation succeeded: {}.", list(&idle)));
    }
    gaps
}

fn of_leaders(run: &RunRecord) -> Vec<String> {
    let led = leaderships(&run.observations);
    if led.is_empty() {
        return Vec::new();
    }
    let leaders: BTreeSet<&str> = led.iter().map(|one| one.node.as_str()).collect();
    let others: Vec<String> =
        run.record.history.nodes.iter().filter(|node| !leaders.contains(node.as_str())).cloned().collect();
    let mut gaps = Vec::new();
    if leaders.len() == 1 {
        gaps.push("A change of leader: the same node led all the time.".to_owned());
    } else if !others.is_empty() {
        gaps.push(format!("Leadership of {}.", list(&others)));
    }
    gaps
}

/// Modes and options of the target that were not varied.
fn of_target(run: &RunRecord) -> Vec<String> {
    let Ok(system) = systems::of(&run.plan) else { return Vec::new() };
    let offer = &system.description().offer;
    let settings = &run.plan.settings;
    let mut gaps = Vec::new();
    let modes: Vec<String> =
        offer.modes.iter().map(|mode| mode.name.clone()).filter(|name| *name != settings.mode).collect();
    if !modes.is_empty() {
        gaps.push(format!("Other modes of {}: {}.", run.plan.target, list(&modes)));
    }
    let left: Vec<String> = offer
        .options
        .iter()
        .filter(|option| settings.options.get(&option.name).is_some_and(|value| *value == option.default))
        .map(|option| format!("{}={}", option.name, option.default))
        .collect();
    if !left.is_empty() {
        gaps.push(format!(
            "{} left at the default: {}.",
            count(left.len(), "option", "options"),
            list(&left)
        ));
    }
    gaps
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::history::{Lane, Operation};
    use super::*;

    fn band(fault: u32, family: &str, what: &str, from: u64, to: u64) -> Band {
        let (family, what, node) = (family.into(), what.into(), "n1".into());
        Band { fault, family, what, node, from, to, struck: true }
    }

    #[test]
    fn operations_are_counted_where_they_began() {
        let operations = [5, 15, 25, 35, 45]
            .map(|start_us: u64| Operation {
                index: start_us,
                start: start_us * 1000,
                end: start_us * 1000 + 1,
                lane: 0,
                function: 0,
                ending: Ending::Ok,
                error: None,
                value: "".into(),
            })
            .to_vec();
        let history = RunHistory {
            operations,
            lanes: vec![Lane { process: 0, node: None }],
            functions: vec!["read".into()],
            ..RunHistory::default()
        };
        let bands = [
            band(1, "kill", "kill n1", 10, 20),
            band(1, "kill", "kill n1", 10, 20),
            band(2, "pause", "pause n1", 30, 33),
        ];
        let rows = situations(&history, &bands, 40);
        let told: Vec<_> = rows.iter().map(|(name, cells)| (name.as_str(), cells[0].all)).collect();
        assert_eq!(
            told,
            [
                ("before the first fault", 1),
                ("under kill", 1),
                ("under pause", 0),
                ("between faults", 1),
                ("after the last fault", 1),
                ("in the final phase", 1)
            ]
        );
        assert!(!overlap(&bands));
    }

    #[test]
    fn variants_that_came_are_not_missed() {
        let planned = |id: u32, effect: serde_json::Value| -> ScheduledFault {
            let fault = json!({"id": id, "start_ms": 0, "stop_ms": 1, "kind": "disk", "effect": effect, "targets": {"nodes": ["n1"]}});
            serde_json::from_value(fault).expect("a fault of a schedule")
        };
        let schedule = [
            planned(1, json!("power-loss")),
            planned(2, json!({"slow-fsync": {"secs": 0, "nanos": 20_000_000}})),
            planned(3, json!("eio")),
        ];
        // The third did not take hold.
        let bands = [band(1, "disk", "", 0, 1), band(2, "disk", "", 2, 3)];
        let had = variants_had(&schedule, &bands);
        let missing = unused_variants(Family::Disk, &had);
        let known: Vec<&str> = Family::Disk.variants().map(|variant| variant.name).collect();
        assert_eq!(missing.len(), known.len() - 2);
        assert!(missing.contains(&"torn".to_owned()) && missing.contains(&"eio".to_owned()), "{missing:?}");
        assert!(!missing.contains(&"power-loss".to_owned()) && !missing.contains(&"slow-fsync".to_owned()));
        assert!(unused_variants(Family::Kill, &had).is_empty());
    }
}
