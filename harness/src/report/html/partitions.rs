//! Who led each partition, and which of its replicas were in sync, as the leaders themselves told it.

use std::collections::{BTreeMap, BTreeSet};

use duress_targets::LedPartition;
use maud::{Markup, html};

use super::strips::{Stretch, joined, strip};
use super::words::about;
use crate::run::observer::Observation;

/// What was said of one partition at one look: by whom, and what.
type Look<'a> = Vec<(&'a str, &'a LedPartition)>;

/// How many changes of one partition are listed at most; the strip shows all.
const LISTED: usize = 20;

/// The partitions of a run of `lasted` nanoseconds; nothing where no node reported any.
#[must_use]
pub fn partitions(observations: &[Observation], lasted: u64) -> Markup {
    let stretches = stretches(observations, lasted);
    if stretches.is_empty() {
        return html! {};
    }
    html! {
        h4 { "Partitions" }
        p { "Who led each partition, and which of its replicas were in sync, as its leader told it." }
        p.legend {
            span.key { i.full {} "all in sync" } span.key { i.part {} "some are not" } span.key { i.none {} "two say that they lead" }
            span.key { i.silent {} "no broker says that it leads" }
        }
        div.nodes {
            @for (name, stretches) in &stretches {
                div.node {
                    h4 { (name) }
                    p.small { (changes(stretches)) }
                    div.strips { (strip(&format!("Leaders and replicas in sync of {name}"), stretches, lasted)) }
                }
            }
        }
        details {
            summary { "Every change" }
            div.scroll tabindex="0" role="region" aria-label="Changes of partitions" {
                table {
                    thead { tr { th scope="col" { "partition" } th scope="col" { "seen from" } th scope="col" { "to" } th scope="col" { "leader and replicas in sync" } } }
                    tbody {
                        @for (name, stretches) in &stretches {
                            @for one in stretches.iter().take(LISTED) {
                                tr { th scope="row" { (name) } td.number { (about(one.from)) } td.number { (about(one.to)) } td { (one.title) } }
                            }
                            @if stretches.len() > LISTED {
                                tr { th scope="row" { (name) } td {} td {} td.muted { "and " (stretches.len() - LISTED) " more: point at the strip" } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn changes(stretches: &[Stretch]) -> String {
    match stretches.len().saturating_sub(1) {
        0 => "no change".to_owned(),
        1 => "1 change".to_owned(),
        several => format!("{several} changes"),
    }
}

/// What was the case with each partition, from the first look at which a broker led it to the end.
fn stretches(observations: &[Observation], lasted: u64) -> BTreeMap<&str, Vec<Stretch>> {
    let mut looks: BTreeMap<u64, BTreeMap<&str, Look<'_>>> = BTreeMap::new();
    for seen in observations {
        let look = looks.entry(seen.time).or_default();
        for led in &seen.leads {
            look.entry(&led.partition).or_default().push((&seen.node, led));
        }
    }
    let names: BTreeSet<&str> = looks.values().flat_map(|look| look.keys().copied()).collect();
    let ends: Vec<u64> = looks.keys().copied().skip(1).chain([lasted]).collect();
    let of = |name: &str| {
        let told = looks.iter().zip(&ends).map(|((from, look), to)| {
            let (class, title) = said(look.get(name).map_or(&[][..], Vec::as_slice));
            Stretch { from: *from, to: (*to).max(*from), class, title }
        });
        joined(told.skip_while(|stretch| stretch.class == NOBODY))
    };
    names.into_iter().map(|name| (name, of(name))).collect()
}

const NOBODY: &str = "silent";

fn said(look: &[(&str, &LedPartition)]) -> (&'static str, String) {
    let one = |(node, led): &(&str, &LedPartition)| {
        let epoch = led.epoch.map(|epoch| format!(" in epoch {epoch}")).unwrap_or_default();
        let in_sync: Vec<&str> = led.in_sync.iter().map(|node| node.as_str()).collect();
        format!("{node} leads{epoch}; in sync: {}", in_sync.join(", "))
    };
    match look {
        [] => (NOBODY, "no broker says that it leads".to_owned()),
        [alone] => {
            let class = if alone.1.in_sync.len() >= alone.1.replicas { "full" } else { "part" };
            (class, one(alone))
        }
        several => ("none", several.iter().map(one).collect::<Vec<_>>().join(" · ")),
    }
}

#[cfg(test)]
mod tests {
    use duress_history::NodeId;

    use super::*;

    fn seen(time: u64, node: &str, leads: &[(&str, u64, &[&str])]) -> Observation {
        let leads = leads.iter().map(|(partition, epoch, in_sync)| LedPartition {
            partition: (*partition).to_owned(),
            epoch: Some(*epoch),
            replicas: 2,
            in_sync: in_sync.iter().copied().map(NodeId::new).collect(),
        });
        Observation { time, node: node.to_owned(), leads: leads.collect(), ..Observation::default() }
    }

    #[test]
    fn a_partition_is_followed_through_a_change_of_its_leader() {
        let observations = [
            seen(0, "n1", &[]),
            seen(0, "n2", &[]),
            seen(10, "n1", &[("a-0", 1, &["n1", "n2"])]),
            seen(10, "n2", &[]),
            seen(20, "n1", &[("a-0", 1, &["n1"])]),
            seen(20, "n2", &[]),
            seen(30, "n1", &[("a-0", 1, &["n1"])]),
            seen(30, "n2", &[("a-0", 2, &["n2"])]),
            seen(40, "n1", &[]),
            seen(40, "n2", &[]),
        ];
        let stretches = stretches(&observations, 50);
        let told: Vec<_> = stretches["a-0"].iter().map(|one| (one.from, one.to, one.class)).collect();
        assert_eq!(told, [(10, 20, "full"), (20, 30, "part"), (30, 40, "none"), (40, 50, "silent")]);
        assert_eq!(
            stretches["a-0"][2].title,
            "n1 leads in epoch 1; in sync: n1 · n2 leads in epoch 2; in sync: n2"
        );
    }

    #[test]
    fn where_nobody_speaks_of_partitions_there_is_nothing() {
        assert_eq!(partitions(&[seen(0, "n1", &[])], 10).into_string(), "");
    }
}
