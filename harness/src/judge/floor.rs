//! The floor: the minimum that a run must have exercised for its verdict to count. Below it the run is
//! unknown.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use duress_history::nemesis::{NemesisAct, Proof};
use duress_history::{Completion, NemesisEvent, NodeId, Operation, Payload};
use duress_nemesis::{Family, FaultSpec};
use serde::{Deserialize, Serialize};

use super::sides::Sides;
use crate::plan::Plan;

/// The width of the time slots in which answers are counted, in nanoseconds.
const SLOT_NS: u64 = 100_000_000;

/// The minimum that a run must exercise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Floor {
    /// The least share of the main phase's slots of 100 ms in which a client was answered, in percent. 0
    /// lifts all demands, here and below.
    pub answered_percent: u8,
    /// The nodes that clients speak to, each of which must have answered one.
    pub nodes: Vec<NodeId>,
    /// The families of the requested faults, each of which must have been in force.
    pub families: BTreeSet<String>,
}

impl Floor {
    /// Returns the floor of `plan`, whose clients speak to the nodes `serving`.
    #[must_use]
    pub fn of(plan: &Plan, serving: Vec<NodeId>) -> Self {
        // A mix demands the families that it names, and a handwritten schedule those that it contains.
        let mix = FaultSpec::parse_mix(&plan.faults).unwrap_or_default();
        let families: Vec<Family> = match mix.is_empty() {
            true => plan.schedule.iter().map(|fault| fault.fault.family()).collect(),
            false => mix.iter().filter_map(FaultSpec::family).collect(),
        };
        Self {
            answered_percent: plan.floor_percent,
            nodes: serving,
            families: families.into_iter().map(|family| family.name().to_owned()).collect(),
        }
    }
}

impl fmt::Display for Floor {
    /// Formats `answered 10 % of the time, every node, a final phase, and kill, partition in force`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.answered_percent == 0 {
            return f.write_str("none");
        }
        write!(f, "answered {} % of the time, every node, a final phase", self.answered_percent)?;
        let families: Vec<&str> = self.families.iter().map(String::as_str).collect();
        if families.is_empty() { Ok(()) } else { write!(f, ", and {} in force", families.join(", ")) }
    }
}

/// The extent of what a run exercised.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exercised {
    /// Operations that happened while clients ran.
    pub main: u64,
    /// Operations that happened in the final phase.
    pub finals: u64,
    /// The share of the main phase's slots of 100 ms in which an operation happened, in thousandths.
    pub answered_permille: u64,
    /// The operations sent to each node, and those of them that happened.
    pub nodes: BTreeMap<NodeId, Asked>,
    /// The faults that were in force, in order.
    pub faults: Vec<UnderFault>,
}

/// The number of operations that were invoked, and of those that happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Invoked.
    pub invoked: u64,
    /// Happened.
    pub ok: u64,
}

/// The operations while a fault was in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnderFault {
    /// Its number in the schedule.
    pub fault: u32,
    /// Its family.
    pub family: String,
    /// The fault, in words.
    pub what: String,
    /// Operations in progress while it was in force, and those of them that succeeded then.
    pub operations: Asked,
    /// The number of nodes that it disabled.
    pub took_away: usize,
    /// The operations on each of its sides, if it has two.
    pub sides: Option<Sides>,
}

impl Exercised {
    /// Returns the extent of a run whose clients stopped at `until_ns`, from its operations and its nemesis's
    /// events.
    #[must_use]
    pub fn of<A: Payload>(operations: &[Operation<A>], nemesis: &[NemesisEvent], until_ns: u64) -> Self {
        let nodes: BTreeSet<&NodeId> =
            operations.iter().filter_map(|operation| operation.node.as_ref()).collect();
        let windows = windows(nemesis, &nodes, until_ns);
        let mut tally = Tally { until_ns, windows, exercised: Self::default(), slots: BTreeSet::new() };
        for operation in operations {
            tally.count(&operation.outline());
        }
        tally.finish()
    }

    /// Returns what is missing to reach `floor`, a sentence each.
    #[must_use]
    pub fn missing(&self, floor: &Floor) -> Vec<String> {
        let mut missing = Vec::new();
        if floor.answered_percent == 0 {
            return missing;
        }
        let needed = u64::from(floor.answered_percent) * 10;
        if self.answered_permille < needed {
            missing.push(format!(
                "clients were answered in {} % of the time: the floor is {} % (--floor moves it)",
                permille(self.answered_permille),
                floor.answered_percent
            ));
        }
        for node in &floor.nodes {
            match self.nodes.get(node) {
                None => missing.push(format!("no operation was sent to node {node}")),
                Some(Asked { ok: 0, invoked }) => {
                    missing.push(format!("node {node} answered none of the {invoked} operations sent to it"));
                }
                Some(_) => {}
            }
        }
        if self.finals == 0 {
            missing.push(
                "no operation succeeded in the final phase, so that a loss would go unnoticed".to_owned(),
            );
        }
        for family in &floor.families {
            if !self.faults.iter().any(|fault| fault.family == *family) {
                missing.push(format!("no fault of the requested family {family} was in force"));
            }
        }
        for fault in self.faults.iter().filter(|fault| fault.operations.invoked == 0) {
            missing.push(format!(
                "no operation was in progress while fault {} ({}) was in force",
                fault.fault, fault.what
            ));
        }
        let partial: Vec<&UnderFault> =
            self.faults.iter().filter(|fault| fault.took_away < floor.nodes.len()).collect();
        if !partial.is_empty() && partial.iter().all(|fault| fault.operations.ok == 0) {
            missing.push("no operation succeeded while a fault was in force".to_owned());
        }
        missing
    }
}

impl fmt::Display for Exercised {
    /// Formats `39357 operations in the main phase and 850 in the final one, answered 98.7 % of the time; 5 of 5
    /// nodes answered; faults in force: kill 3, partition 4`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let answering = self.nodes.values().filter(|asked| asked.ok > 0).count();
        write!(
            f,
            "{} operations happened in the main phase and {} in the final one, clients were answered {} % of the time; \
             {answering} of {} nodes answered",
            self.main,
            self.finals,
            permille(self.answered_permille),
            self.nodes.len()
        )?;
        let mut families: BTreeMap<&str, usize> = BTreeMap::new();
        for fault in &self.faults {
            *families.entry(&fault.family).or_default() += 1;
        }
        let families: Vec<String> =
            families.into_iter().map(|(family, count)| format!("{family} {count}")).collect();
        match families.is_empty() {
            true => f.write_str("; no fault was in force"),
            false => write!(f, "; faults in force: {}", families.join(", ")),
        }
    }
}

/// The extent of a run while its operations are counted.
struct Tally {
    until_ns: u64,
    windows: Vec<Window>,
    exercised: Exercised,
    /// The slots of the main phase in which an operation happened.
    slots: BTreeSet<u64>,
}

impl Tally {
    fn count(&mut self, operation: &Operation<&'static str>) {
        let Self { until_ns, windows, exercised, slots } = self;
        let until_ns = *until_ns;
        let (ended, ok) = match operation.completion {
            Completion::Ok { time, .. } => (Some(time), Some(time)),
            Completion::Fail { time, .. } => (Some(time), None),
            Completion::Info { at, .. } => (at.map(|(_, time)| time), None),
        };
        if let Some(node) = &operation.node {
            if !exercised.nodes.contains_key(node) {
                exercised.nodes.insert(node.clone(), Asked::default());
            }
            let asked = exercised.nodes.get_mut(node).expect("it was just inserted");
            asked.invoked += 1;
            asked.ok += u64::from(ok.is_some());
        }
        if ok.is_some() && operation.time < until_ns {
            exercised.main += 1;
        } else if ok.is_some() {
            exercised.finals += 1;
        }
        if let Some(time) = ok.filter(|time| *time < until_ns) {
            slots.insert(time / SLOT_NS);
        }
        for window in windows {
            let within = |time: u64| (window.from_ns..window.to_ns).contains(&time);
            // An operation that a paused node keeps waiting meets the fault, although it was invoked
            // before.
            let ended = ended.unwrap_or(u64::MAX);
            let met = operation.time < window.to_ns && ended >= window.from_ns;
            window.under.operations.invoked += u64::from(met);
            window.under.operations.ok += u64::from(ok.is_some_and(within));
            if let Some(sides) = &mut window.under.sides {
                sides.count(operation, &(window.from_ns..window.to_ns));
            }
        }
    }

    fn finish(self) -> Exercised {
        let Self { until_ns, windows, mut exercised, slots } = self;
        exercised.answered_permille = slots.len() as u64 * 1000 / until_ns.div_ceil(SLOT_NS).max(1);
        exercised.faults = windows.into_iter().map(|window| window.under).collect();
        exercised
    }
}

fn permille(permille: u64) -> String {
    format!("{}.{}", permille / 10, permille % 10)
}

/// A fault and the time for which it was in force.
struct Window {
    from_ns: u64,
    to_ns: u64,
    /// Whether it could be observed at its beginning or end. Another fault may hide it all the time.
    seen: bool,
    under: UnderFault,
}

/// Returns the faults that were in force while clients ran, until `until_ns`: the final phase does not count.
fn windows(nemesis: &[NemesisEvent], nodes: &BTreeSet<&NodeId>, until_ns: u64) -> Vec<Window> {
    let mut windows: Vec<Window> = Vec::new();
    for event in nemesis {
        match &event.act {
            NemesisAct::Started { since_us, .. } if since_us.saturating_mul(1000) >= until_ns => {}
            NemesisAct::Started { fault, away, since_us, evidence, .. } => windows.push(Window {
                from_ns: since_us.saturating_mul(1000),
                to_ns: u64::MAX,
                seen: evidence.proves() != Proof::Masked,
                under: UnderFault {
                    fault: fault.id,
                    family: fault.family.clone(),
                    what: fault.what.clone(),
                    operations: Asked::default(),
                    took_away: away.len(),
                    sides: Sides::new(away, nodes.iter().copied()),
                },
            }),
            NemesisAct::Stopping { fault } | NemesisAct::Stopped { fault, .. } => {
                if let NemesisAct::Stopped { evidence, .. } = &event.act
                    && evidence.proves() == Proof::Proven
                    && let Some(window) = windows.iter_mut().find(|window| window.under.fault == fault.id)
                {
                    window.seen = true;
                }
                let open = |window: &&mut Window| window.under.fault == fault.id && window.to_ns == u64::MAX;
                if let Some(window) = windows.iter_mut().find(open) {
                    window.to_ns = event.time;
                }
            }
            _ => {}
        }
    }
    windows.retain(|window| window.seen);
    windows
}

#[cfg(test)]
mod tests {
    use duress_history::nemesis::{Evidence, FaultName, PacketsSeen, Touches};
    use duress_history::register::Register;

    use super::*;
    use crate::judge::tests::reads;

    fn asked(ok: u64) -> Asked {
        Asked { invoked: 10, ok }
    }

    fn good() -> Exercised {
        let under = |fault, family: &str| UnderFault {
            fault,
            family: family.to_owned(),
            what: family.to_owned(),
            operations: asked(5),
            took_away: 1,
            sides: None,
        };
        Exercised {
            main: 100,
            finals: 10,
            answered_permille: 900,
            nodes: [("n1", 9), ("n2", 8)].map(|(name, ok)| (NodeId::new(name), asked(ok))).into(),
            faults: vec![under(1, "kill"), under(2, "pause")],
        }
    }

    fn floor() -> Floor {
        Floor {
            answered_percent: 10,
            nodes: vec![NodeId::new("n1"), NodeId::new("n2")],
            families: ["kill".to_owned(), "pause".to_owned()].into(),
        }
    }

    /// Returns what is missing after `change`.
    fn missing(change: impl FnOnce(&mut Exercised)) -> String {
        let mut exercised = good();
        change(&mut exercised);
        exercised.missing(&floor()).join("\n")
    }

    #[test]
    fn a_run_that_exercised_everything_lacks_nothing() {
        assert_eq!(missing(|_| {}), "");
    }

    #[test]
    fn each_thing_that_is_missing_is_said() {
        assert!(missing(|seen| seen.answered_permille = 16).contains("1.6 % of the time"));
        assert!(missing(|seen| seen.finals = 0).contains("final phase"));
        assert!(missing(|seen| _ = seen.nodes.remove("n2")).contains("sent to node n2"));
        let mute = |seen: &mut Exercised| _ = seen.nodes.insert(NodeId::new("n1"), asked(0));
        assert!(missing(mute).contains("node n1 answered none of the 10"));
        assert!(missing(|seen| _ = seen.faults.pop()).contains("the requested family pause"));
        let idle = |seen: &mut Exercised| seen.faults[0].operations = Asked::default();
        assert!(missing(idle).contains("while fault 1 (kill) was in force"));
        let silent = |seen: &mut Exercised| seen.faults.iter_mut().for_each(|fault| fault.operations.ok = 0);
        assert!(missing(silent).contains("no operation succeeded while a fault was in force"));
    }

    #[test]
    fn a_fault_that_others_cover_all_the_time_was_not_in_force() {
        let name = |id| FaultName { id, family: "packet".to_owned(), what: "packet".to_owned() };
        let started = |id, cut| {
            let probes = PacketsSeen { links: 4 - cut, met: 4 - cut, ..PacketsSeen::default() };
            let evidence = Evidence::Shaped { links: 4, cut, touches: Touches::Every, probes };
            NemesisAct::Started {
                fault: name(id),
                leader: None,
                away: Vec::new(),
                since_us: 1,
                late_us: 0,
                evidence,
            }
        };
        let stopped = |id, still_cut| {
            let after = PacketsSeen::default();
            let probes_arrived = 4 - still_cut;
            let evidence = Evidence::Unshaped { links: 4, probes_arrived, still_cut, packets_met: 9, after };
            NemesisAct::Stopped { fault: name(id), evidence }
        };
        let acts = [started(1, 0), stopped(1, 4), started(2, 4), stopped(2, 0), started(3, 4), stopped(3, 4)];
        let events: Vec<NemesisEvent> = (0..)
            .zip(acts)
            .map(|(index, act)| NemesisEvent { index, time: index * 1_000_000, act })
            .collect();
        let exercised = Exercised::of::<Register>(&[], &events, 10_000_000);
        let faults: Vec<u32> = exercised.faults.iter().map(|fault| fault.fault).collect();
        assert_eq!(faults, [1, 2]);
    }

    #[test]
    fn operations_are_counted_by_phase_by_node_and_under_the_fault_that_they_met() {
        let fault = FaultName { id: 1, family: "packet".to_owned(), what: "packet".to_owned() };
        let probes = PacketsSeen { links: 4, met: 4, ..PacketsSeen::default() };
        let started = NemesisAct::Started {
            fault: fault.clone(),
            leader: None,
            away: vec![NodeId::new("n2")],
            since_us: 100_000,
            late_us: 0,
            evidence: Evidence::Shaped { links: 4, cut: 0, touches: Touches::Every, probes },
        };
        let acts = [(100, started), (300, NemesisAct::Stopping { fault })];
        let events = acts.map(|(ms, act)| NemesisEvent { index: ms, time: ms * 1_000_000, act });
        let Exercised { main, finals, answered_permille, nodes, faults } =
            Exercised::of(&reads(), &events, 1_000_000_000);
        assert_eq!((main, finals, answered_permille), (4, 1, 400));
        let nodes: Vec<(&str, u64, u64)> =
            nodes.iter().map(|(node, asked)| (node.as_str(), asked.invoked, asked.ok)).collect();
        assert_eq!(nodes, [("n1", 5, 4), ("n2", 2, 0), ("n3", 2, 1)]);
        let [under] = &faults[..] else { panic!("{faults:?}") };
        assert_eq!((under.operations, under.took_away), (Asked { invoked: 5, ok: 1 }, 1));
        let sides = under.sides.as_ref().expect("two sides").to_string();
        assert_eq!(
            sides,
            "0 of 2 operations at n2 (1 open as it healed), 1 of 2 at n1, n3 (1 open as it healed)"
        );
    }

    #[test]
    fn under_faults_that_take_away_every_node_nothing_can_happen() {
        let all_gone = |seen: &mut Exercised| {
            for fault in &mut seen.faults {
                fault.operations.ok = 0;
                fault.took_away = 2;
            }
        };
        assert_eq!(missing(all_gone), "");
    }

    #[test]
    fn without_a_floor_nothing_is_demanded() {
        let none = Floor { answered_percent: 0, ..floor() };
        assert!(Exercised::default().missing(&none).is_empty());
    }
}
