//! A probe for every variant of every fault: the test itself measures the variant's effect, whatever the
//! nemesis reports. The list is the faults' own table; a variant without a probe fails.

mod clocks;
mod disks;
mod members;
mod packets;
mod partitions;
pub mod processes;
pub mod resources;
mod upgrades;

use std::sync::Arc;

use duress_nemesis::{Family, Need, Variant, variants};
use libtest_mimic::{Completion, Trial};

use self::processes::{CHOICES, Chosen};
use crate::stage::{Allowed, Needs, Stage};

/// How many nodes the stage has: as many as the most demanding variant needs, and an odd number.
const NODES: usize = 5;

/// Injects `item` as fault 1, measures its effect, heals it, and measures that the effect is gone.
type Probe = fn(&mut Stage, item: &str);
/// The same, which may also know which nodes are to be struck.
type AnyProbe = Box<dyn Fn(&mut Stage, &str)>;

/// Returns the entry of the variant called `name`.
fn of<T: Copy>(list: &[(&str, T)], name: &str) -> Option<T> {
    list.iter().find(|(known, _)| *known == name).map(|(_, found)| *found)
}

/// Returns the probe of a variant, if there is one.
fn probe(variant: &Variant) -> Option<AnyProbe> {
    let by = |probes: &[(&str, Probe)]| -> Option<AnyProbe> { Some(Box::new(of(probes, variant.name)?)) };
    let choosing = |probe: fn(&mut Stage, &str, Chosen)| -> Option<AnyProbe> {
        let chosen = of(CHOICES, variant.name)?;
        Some(Box::new(move |stage, item| probe(stage, item, chosen)))
    };
    match variant.family {
        Family::Partition => by(partitions::PROBES),
        Family::Packet => by(packets::PROBES),
        Family::Kill => choosing(processes::kill),
        Family::Pause => choosing(processes::pause),
        Family::Restart => choosing(processes::restart),
        Family::Clock => by(clocks::PROBES),
        Family::Disk => by(disks::PROBES),
        Family::Resources => by(resources::PROBES),
        Family::Membership => by(members::PROBES),
        Family::Upgrade => by(upgrades::PROBES),
        // The table has none: a manifest names them.
        Family::Command => None,
    }
}

/// Returns the needs of a variant's stage.
pub fn needs(variant: &Variant) -> Needs {
    if variant.needs.contains(&Need::Clock) {
        Needs::Clocks
    } else if variant.needs.contains(&Need::Disk) {
        Needs::Disks
    } else {
        Needs::Nothing
    }
}

/// Registers a test for each variant of the table.
pub fn register(trials: &mut Vec<Trial>, allowed: &Arc<Allowed>) {
    for variant in variants() {
        let allowed = Arc::clone(allowed);
        let name = format!("{}::{}", variant.family.name(), variant.name);
        trials.push(Trial::ignorable_test(name, move || {
            let Some(probe) = probe(variant) else {
                return Err(format!("no probe for {variant:?}").into());
            };
            if let Err(missing) = allowed.has(needs(variant)) {
                return missing.ended();
            }
            let mut stage = Stage::of(NODES, &allowed, needs(variant));
            probe(&mut stage, &format!("{}:{}", variant.family.name(), variant.example));
            stage.close();
            Ok(Completion::Completed)
        }));
    }
}
