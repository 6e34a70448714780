//! Decides whether faults can be in force together: which faults interfere, and how many nodes they disable
//! at each moment.

use duress_history::NodeId;

use super::{Act, Draft, MixOptions, Placed, Size, Trigger};
use crate::disk_fault::{DiskEffect, TargetState};
use crate::family::Family;
use crate::fault::Fault;
use crate::loss::{LossLimit, lost};
use crate::partition::PartitionShape;
use crate::selector::Targets;

/// The interval in which a fault may be in force, both ends included, in milliseconds.
#[derive(Clone, Copy)]
struct Window {
    from: u64,
    to: u64,
}

impl Window {
    fn of(act: &Act, at_ms: u64) -> Self {
        let from = at_ms + act.after_ms;
        Self { from, to: from + act.within_ms }
    }

    fn contains(self, moment: u64) -> bool {
        (self.from..=self.to).contains(&moment)
    }
}

/// Returns whether `draft`, drawn for this item of the mix, can begin at `at_ms` beside the `placed` drafts.
///
/// The loss limit counts all placed faults beside a drawn draft, but only those of the same item beside a
/// draft whose size the user named.
pub(super) fn fits(
    draft: &Draft,
    item: usize,
    at_ms: u64,
    placed: &[Placed],
    options: &MixOptions<'_>,
) -> bool {
    let meet = |a: Window, b: Window| a.from <= b.to && b.from <= a.to;
    let (open, own): (Vec<_>, Vec<_>) =
        draft.acts.iter().map(|act| (Window::of(act, at_ms), act)).partition(|(_, act)| is_open(act));
    // At most one fault of an item waits for an open event at a time.
    let mut waiting = placed.iter().filter(|placed| placed.item == item).flat_map(windows);
    if waiting.any(|(other, taken)| is_open(taken) && open.iter().any(|(window, _)| meet(*window, other))) {
        return false;
    }
    let planned = |placed| windows(placed).filter(|(_, act)| !is_open(act));
    let all: Vec<(Window, &Act)> = placed.iter().flat_map(planned).collect();
    let clash = own.iter().any(|(window, act)| {
        all.iter().any(|(other, taken)| meet(*window, *other) && clash(&act.fault, &taken.fault))
    });
    if clash {
        return false;
    }
    let is_counted = |placed: &&Placed| draft.size == Size::Drawn || placed.item == item;
    let counted: Vec<(Window, &Act)> = placed.iter().filter(is_counted).flat_map(planned).collect();
    // The number of disabled nodes only grows where a fault begins.
    let beginnings = own.iter().chain(&all).map(|(window, _)| window.from);
    let whole = Window { from: at_ms, to: at_ms + draft.lasts_ms() };
    beginnings.filter(|moment| whole.contains(*moment)).all(|moment| {
        let count = |acts: &[(Window, &Act)], of: fn(&Fault, &[NodeId]) -> usize| -> usize {
            let now = acts.iter().filter(|(window, _)| window.contains(moment));
            now.map(|(_, act)| of(&act.fault, options.nodes)).sum()
        };
        // A process can be ended or stopped only once, so each such fault needs nodes of its own.
        if count(&own, ended) > 0 && count(&own, ended) + count(&all, ended) > options.nodes.len() {
            return false;
        }
        let (mine, others) = (count(&own, lost), count(&counted, lost));
        mine == 0 || others == 0 || mine + others <= options.losses.most(options.nodes.len())
    })
}

/// Returns whether `fault` can begin although the `late` ones of the faults `in_force` were planned to be
/// over by then: it interferes with none of them, and together with the faults in force it disables no more
/// nodes than `losses` allows.
#[must_use]
pub fn joins(
    fault: &Fault,
    in_force: &[&Fault],
    late: &[&Fault],
    nodes: &[NodeId],
    losses: LossLimit,
) -> bool {
    let fits = |of: fn(&Fault, &[NodeId]) -> usize, most: usize| {
        let sum = |faults: &[&Fault]| faults.iter().map(|fault| of(fault, nodes)).sum::<usize>();
        let own = of(fault, nodes);
        own == 0 || sum(late) == 0 || own + sum(in_force) <= most
    };
    fits(lost, losses.most(nodes.len()))
        && fits(ended, nodes.len())
        && !late.iter().any(|other| clash(fault, other))
}

fn is_open(act: &Act) -> bool {
    act.on.as_ref().is_some_and(Trigger::is_open)
}

fn windows(placed: &Placed) -> impl Iterator<Item = (Window, &Act)> {
    placed.draft.acts.iter().map(|act| (Window::of(act, placed.at_ms), act))
}

/// Returns the number of nodes whose processes the fault ends or stops.
fn ended(fault: &Fault, nodes: &[NodeId]) -> usize {
    let ends = match fault {
        Fault::Kill { .. }
        | Fault::Pause { .. }
        | Fault::Restart { .. }
        | Fault::Resources { .. }
        | Fault::Membership { .. }
        | Fault::Upgrade { .. }
        | Fault::Command { .. } => true,
        Fault::Disk { effect, .. } => {
            effect.target_state() == TargetState::DeadNode || *effect == DiskEffect::LyingFsync
        }
        Fault::Partition { .. } | Fault::Packet { .. } | Fault::Clock { .. } => false,
    };
    if ends { fault.targets().map_or(0, |targets| targets.count().min(nodes.len())) } else { 0 }
}

/// Returns whether two faults interfere, so that one of them would have no effect or leave no evidence.
fn clash(one: &Fault, other: &Fault) -> bool {
    // Named nodes cannot be replaced by others, and an earlier choice may have fallen on them.
    let processes = one.needs_live_nodes() && other.needs_live_nodes();
    let same_nodes = match (one.targets(), other.targets()) {
        (Some(Targets::Nodes(nodes)), Some(Targets::Nodes(others))) => {
            nodes.iter().any(|node| others.contains(node))
        }
        (Some(Targets::Nodes(_)), _) | (_, Some(Targets::Nodes(_))) => true,
        _ => false,
    };
    let both = |is: fn(&Fault) -> bool| is(one) && is(other);
    let pair =
        |is: fn(&Fault) -> bool, with: fn(&Fault) -> bool| is(one) && with(other) || is(other) && with(one);
    let is_clock = |fault: &Fault| fault.family() == Family::Clock;
    processes && same_nodes
        // Healing resets a clock for one fault only, and a stopped process does not report its time.
        || both(is_clock)
        || pair(is_clock, |fault| matches!(fault.family(), Family::Pause | Family::Resources))
        // One packet effect hides the other.
        || both(|fault| fault.family() == Family::Packet)
        // A link flaps with one period only.
        || both(|fault| matches!(fault, Fault::Partition { shape: PartitionShape::Flapping(_), .. }))
        // Nothing tells two faults of the same commands apart.
        || matches!((one, other), (Fault::Command { name, .. }, Fault::Command { name: same, .. }) if name == same)
        // A disk holds one lasting fault at a time.
        || both(|fault| matches!(fault, Fault::Disk { effect, .. } if effect.target_state() == TargetState::LiveNode))
}
