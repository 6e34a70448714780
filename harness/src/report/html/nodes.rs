//! The section on nodes: the availability, the leadership and the clock of each.

use std::collections::{BTreeMap, BTreeSet};

use duress_targets::Role;
use maud::{Markup, html};

use super::bands::Band;
use super::history::RunHistory;
use super::partitions::partitions;
use super::series::Series;
use super::strips::{Stretch, joined, strip};
use super::words::{about, thousands};
use crate::judge::statistics::{Availability, RunStatistics};
use crate::run::observer::Observation;

/// A time during which a node said that it led.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leadership {
    /// The node.
    pub node: String,
    /// In which term or epoch, if it says.
    pub term: Option<u64>,
    /// When it was first seen to, in nanoseconds.
    pub from: u64,
    /// When it was last seen to, in nanoseconds.
    pub to: u64,
}

/// Everything that the section is made of.
#[derive(Clone, Copy, Debug)]
pub struct Nodes<'a> {
    /// The history.
    pub history: &'a RunHistory,
    /// Its slots.
    pub series: &'a Series,
    /// The faults on the nodes.
    pub bands: &'a [Band],
    /// The observations.
    pub observations: &'a [Observation],
    /// The figures of `verdict.json`, once there are any.
    pub statistics: Option<&'a RunStatistics>,
}

/// A leader that was silent for less than this, in nanoseconds, is taken to have led on: a busy node misses a question.
const SILENCE_NS: u64 = 1_000_000_000;

/// Returns every time that a node said that it led, by when it began.
#[must_use]
pub fn leaderships(observations: &[Observation]) -> Vec<Leadership> {
    let mut current: BTreeMap<&str, Leadership> = BTreeMap::new();
    let mut all = Vec::new();
    for seen in observations {
        let leads = seen.role == Some(Role::Leader);
        match current.get_mut(seen.node.as_str()) {
            Some(before) if leads && before.term == seen.term && seen.time - before.to <= SILENCE_NS => {
                before.to = seen.time;
            }
            // A silent node has not given up leading; its next answer decides.
            Some(_) if seen.silent.is_some() => {}
            before => {
                if before.is_some() {
                    all.extend(current.remove(seen.node.as_str()));
                }
                if leads {
                    let begun = Leadership {
                        node: seen.node.clone(),
                        term: seen.term,
                        from: seen.time,
                        to: seen.time,
                    };
                    current.insert(&seen.node, begun);
                }
            }
        }
    }
    all.extend(current.into_values());
    all.sort_by(|a, b| (a.from, &a.node).cmp(&(b.from, &b.node)));
    all
}

/// Returns the nodes that claimed to lead at `time`, in nanoseconds.
#[must_use]
pub fn leaders_at(leaderships: &[Leadership], time: u64) -> Vec<&Leadership> {
    leaderships.iter().filter(|leadership| leadership.from <= time && time <= leadership.to).collect()
}

impl Nodes<'_> {
    /// Returns the section's content.
    #[must_use]
    pub fn section(&self) -> Markup {
        let lasted = self.history.lasted;
        html! {
            p.legend {
                span.key { i.full {} "operations succeed" } span.key { i.part {} "most fail" } span.key { i.none {} "all fail" }
                span.key { i.idle {} "none was tried" } span.key { i.fault {} "fault on the node" }
                span.key { i.leader {} "claims to lead" } span.key { i.candidate {} "candidate" }
                span.key { i.follower {} "follows" } span.key { i.silent {} "does not answer the operator" }
            }
            div.nodes {
                @for (at, node) in self.history.nodes.iter().enumerate() {
                    div.node {
                        h4 { (node) }
                        p.small { (self.figures(node)) }
                        div.strips {
                            (strip(&format!("Availability of {node}: {}", self.figures(node)), &self.availability(at), lasted))
                            (strip(&format!("Faults on {node}"), &self.faults(node), lasted))
                            @let roles = self.roles(node);
                            @if !roles.is_empty() { (strip(&format!("Roles of {node}"), &roles, lasted)) }
                        }
                    }
                }
                div.node.axis aria-hidden="true" {
                    h4 {} p {}
                    div.strips.scale { @for part in 0..=4 { span { (about(lasted / 4 * part)) } } }
                }
            }
            (self.leaders())
            (partitions(self.observations, lasted))
            (self.clocks())
        }
    }

    fn figures(&self, node: &str) -> String {
        let figures = self.statistics.and_then(|statistics| statistics.by_node.get(node));
        let Some(Availability { counts, available_permille, longest_gap_ms }) = figures else {
            // A run that was not judged has no figures, but a history.
            let place = self.history.nodes.iter().position(|name| name == node);
            let slots = place.and_then(|place| self.series.nodes.get(place)).into_iter().flatten();
            let (ok, others) =
                slots.fold((0, 0), |sum, slot| (sum.0 + u64::from(slot.0), sum.1 + u64::from(slot.1)));
            return match (ok, others) {
                (0, 0) => "no client spoke to it".to_owned(),
                (ok, others) => format!("{} ok, {} fail or info", thousands(ok), thousands(others)),
            };
        };
        format!(
            "available {:.1} %, longest gap {:.1} s; {} ok, {} fail, {} info",
            *available_permille as f64 / 10.0,
            *longest_gap_ms as f64 / 1000.0,
            thousands(counts.ok),
            thousands(counts.fail),
            thousands(counts.info),
        )
    }

    fn availability(&self, node: usize) -> Vec<Stretch> {
        let slot = self.series.slot_ms * 1_000_000;
        let slots = self.series.nodes.get(node).into_iter().flatten();
        joined(slots.zip(0..).map(|((happened, others), at)| {
            let (class, title) = match (happened, others) {
                (0, 0) => ("idle", "no operation ended here"),
                (0, _) => ("none", "no operation succeeded"),
                (some, others) if others > some => ("part", "fewer operations happened than did not"),
                _ => ("full", "operations happened"),
            };
            Stretch { from: at * slot, to: (at + 1) * slot, class, title: title.to_owned() }
        }))
    }

    fn faults(&self, node: &str) -> Vec<Stretch> {
        let here = self.bands.iter().filter(|band| band.node == node);
        here.map(|band| Stretch {
            from: band.from * 1000,
            to: band.to * 1000,
            class: if band.struck { "fault" } else { "touched" },
            title: format!(
                "fault {}: {}, {} to {}",
                band.fault,
                band.what,
                about(band.from * 1000),
                about(band.to * 1000)
            ),
        })
        .collect()
    }

    fn roles(&self, node: &str) -> Vec<Stretch> {
        let here: Vec<&Observation> = self.observations.iter().filter(|seen| seen.node == node).collect();
        let ends = here.iter().skip(1).map(|next| next.time).chain([self.history.lasted]);
        joined(here.iter().zip(ends).map(|(seen, to)| {
            let term = seen.term.map(|term| format!(" in term {term}")).unwrap_or_default();
            let (class, title) = match (&seen.silent, seen.role) {
                (Some(_), _) | (None, None) => ("silent", "does not answer".to_owned()),
                (None, Some(Role::Leader)) => ("leader", format!("leads{term}")),
                (None, Some(Role::Candidate)) => ("candidate", format!("is a candidate{term}")),
                (None, Some(Role::Follower)) => match &seen.leader {
                    Some(leader) => ("follower", format!("follows {leader}{term}")),
                    None => ("follower", format!("follows no leader{term}")),
                },
                (None, Some(Role::Unknown)) => ("idle", "does not report its role".to_owned()),
            };
            Stretch { from: seen.time, to: to.max(seen.time), class, title }
        }))
    }

    fn leaders(&self) -> Markup {
        let leaderships = leaderships(self.observations);
        if leaderships.is_empty() {
            return html! {
                p.muted { @if self.observations.is_empty() { "Nodes were not observed in this run." } @else { "No node claimed to lead." } }
            };
        }
        let rivals = |one: &Leadership| -> BTreeSet<&str> {
            let others = leaderships.iter().filter(|other| other.node != one.node);
            others
                .filter(|other| other.from < one.to && one.from < other.to)
                .map(|other| other.node.as_str())
                .collect()
        };
        html! {
            h4 { "Nodes that claimed to lead" }
            div.scroll tabindex="0" role="region" aria-label="Leaders" {
                table {
                    thead { tr { th scope="col" { "node" } th scope="col" { "term" } th scope="col" { "seen from" } th scope="col" { "to" } th scope="col" { "at the same time as" } } }
                    tbody {
                        @for one in &leaderships {
                            tr {
                                th scope="row" { (one.node) }
                                td.number { @if let Some(term) = one.term { (term) } @else { "" } }
                                td.number { (about(one.from)) } td.number { (about(one.to)) }
                                td { (rivals(one).into_iter().collect::<Vec<_>>().join(", ")) }
                            }
                        }
                    }
                }
            }
            p.small.muted { "Each node's answer was recorded about three times a second, from a host that no fault touches: changes may be a third of a second earlier than they were seen." }
        }
    }

    fn clocks(&self) -> Markup {
        let offsets: Vec<i64> = self.observations.iter().filter_map(|seen| seen.clock_offset_ns).collect();
        if offsets.is_empty() {
            return html! { p.muted { "No clock was moved in this run: all nodes read the machine's." } };
        }
        html! {
            h4 { "Clocks" }
            p { "How far each node's wall clock was set ahead of the machine's." }
            div.chart id="clocks" role="img" aria-label={
                "Clock offsets over time, from " (offsets.iter().min().copied().unwrap_or(0) / 1_000_000) " ms to "
                (offsets.iter().max().copied().unwrap_or(0) / 1_000_000) " ms"
            } {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(time: u64, node: &str, role: Option<Role>, term: u64) -> Observation {
        let silent = role.is_none().then(|| "no answer".to_owned());
        Observation { time, node: node.into(), role, term: Some(term), silent, ..Observation::default() }
    }

    #[test]
    fn two_leaders_at_once_are_seen() {
        let (leader, follower) = (Some(Role::Leader), Some(Role::Follower));
        let all = leaderships(&[
            seen(1, "n1", leader, 1),
            seen(1, "n2", follower, 1),
            seen(2, "n1", None, 0),
            seen(2, "n2", leader, 2),
            seen(3, "n1", leader, 1),
            seen(3, "n2", leader, 2),
            seen(4, "n1", follower, 2),
            seen(4, "n2", leader, 2),
        ]);
        let told: Vec<_> = all.iter().map(|one| (one.node.as_str(), one.from, one.to)).collect();
        assert_eq!(told, [("n1", 1, 3), ("n2", 2, 4)]);
        assert_eq!(leaders_at(&all, 2).len(), 2);
        // A long silence is not a claim.
        let all = leaderships(&[
            seen(0, "n1", leader, 1),
            seen(SILENCE_NS, "n1", None, 0),
            seen(SILENCE_NS * 2, "n1", leader, 1),
        ]);
        assert_eq!(all.len(), 2);
    }
}
