//! `duress targets`, `workloads`, `faults` and `bugs`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use duress_nemesis::trigger::EVENTS;
use duress_nemesis::{Family, Story, Variant};
use duress_targets::Description;

use crate::cli::exit::{Exit, Failure};
use crate::cli::output::print;
use crate::systems::systems;
use crate::workload::{Model, Workloads};

/// Appends a line. Writing to a String cannot fail.
macro_rules! say {
    ($text:expr, $($line:tt)*) => { let _ = writeln!($text, $($line)*); };
}

pub fn targets() -> Result<Exit, Failure> {
    let mut text = String::new();
    for system in systems().iter() {
        let Description { name, summary, offer, .. } = system.description();
        say!(text, "{name}: {summary}");
        if let Err(missing) = system.available(&BTreeMap::new()) {
            say!(text, "  not available: {missing}");
        }
        for (at, mode) in offer.modes.iter().enumerate() {
            let default = if at == 0 { " (default)" } else { "" };
            say!(text, "  --mode {}{default}: {}", mode.name, mode.summary);
            say!(text, "      promises: {}", mode.promises);
            for option in offer.options_of(&mode.name) {
                say!(text, "      {option}");
            }
        }
        let workloads: Vec<&str> = Workloads::of(system).map(Model::name).collect();
        say!(text, "  workloads: {}\n", workloads.join(", "));
    }
    print(text)?;
    Ok(Exit::Valid)
}

pub fn workloads() -> Result<Exit, Failure> {
    let mut text = String::new();
    for workload in Workloads::known().iter() {
        let mut lines = workload.description().lines();
        say!(text, "{}: {}", workload.name(), lines.next().unwrap_or_default());
        for line in lines {
            say!(text, "  {line}");
        }
    }
    print(text)?;
    Ok(Exit::Valid)
}

pub fn faults() -> Result<Exit, Failure> {
    let mut text = String::new();
    for family in Family::ALL {
        let [does, proof, heals] = family.describe();
        say!(text, "{}: {does}", family.name());
        say!(text, "  evidence:  {proof}");
        say!(text, "  healing:   {heals}");
        if let Some(chooses) = family.chooses() {
            say!(text, "  nodes:     {chooses}");
        }
        for variant in family.variants() {
            let drawn = if variant.weight > 0 { "" } else { " (only by name)" };
            say!(text, "  {:<24} {}{drawn}{}", variant.example, variant.meaning, needed(variant));
        }
    }
    say!(
        text,
        "story: sequences of faults that belong together, modelled on real failures; each fault has its own evidence"
    );
    for story in Story::ALL {
        let needs = story.needs().map(|family| format!(" (drawn where {} is in the mix)", family.name()));
        let needs = needs.unwrap_or_default();
        say!(text, "  story:{:<18} {}{needs}{}", story.name(), story.meaning(), at_least(story.nodes_min()));
    }
    let [does, proof, heals] = Family::Command.describe();
    say!(text, "command: {does}");
    say!(text, "  evidence:  {proof}");
    say!(text, "  healing:   {heals}");
    say!(text, "@EVENT: a fault may begin at an event instead of a time, as in kill:leader@fsync=37");
    for (example, meaning) in EVENTS {
        say!(text, "  @{example:<23} {meaning}");
    }
    say!(
        text,
        "\nA mix is a list: --faults partition:majority,kill,pause:leader. A family without a variant draws one from the seed."
    );
    say!(
        text,
        "Faults last well below, around and well above the target's own time-outs; --interval says how often they begin."
    );
    say!(
        text,
        "Drawn faults disable no more nodes at once than the target promises to survive losing (at least one), except for a \
         moment; --beyond-tolerance lifts that limit. A fault that names its size, such as kill:all, has that size."
    );
    say!(text, "A fault without evidence makes the run BROKEN (exit 3), never a pass.");
    print(text)?;
    Ok(Exit::Valid)
}

/// Returns the number of nodes that a variant needs, if it is more than two.
fn needed(variant: &Variant) -> String {
    at_least(variant.nodes_min())
}

fn at_least(nodes: usize) -> String {
    match nodes {
        ..=2 => String::new(),
        nodes => format!("; at least {nodes} nodes"),
    }
}

pub fn bugs() -> Result<Exit, Failure> {
    let mut text = String::new();
    for system in systems().iter() {
        let Description { name, offer, scenarios, .. } = system.description();
        for bug in &offer.bugs {
            say!(text, "{} ({name})", bug.name);
            say!(text, "  defect:   {}", bug.defect);
            if let Some(resembles) = &bug.resembles {
                say!(text, "  as in:    {resembles}");
            }
            say!(text, "  anomaly:  {}", bug.anomaly);
            if let Some(scenario) = scenarios.get(&bug.name) {
                say!(text, "  found by: duress run {name} --bug {} {}", bug.name, scenario.words().join(" "));
            }
        }
    }
    print(text)?;
    Ok(Exit::Valid)
}
