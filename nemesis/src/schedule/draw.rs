//! One item of a mix, drawn: which fault it is this time, and what comes with it.

use std::time::Duration;

use rand::{Rng, RngExt};

use super::MixOptions;
use crate::clock_bound;
use crate::clock_fault::ClockEffect;
use crate::disk_fault::DiskEffect;
use crate::fault::Fault;
use crate::loss::LossLimit;
use crate::packet::PacketEffect;
use crate::partition::{Cut, PartitionShape};
use crate::selector::Selector;
use crate::spec::FaultSpec;
use crate::variant::Kind;

/// The other choices of nodes that a weighted choice of the table is drawn together with.
///
/// Any number of nodes: clocks and links do not disable nodes, and a power cut does not choose its nodes.
/// Acknowledged data must survive that, while no target is expected to make progress.
const ANY: &[Selector] = &[Selector::All];
/// Any number of nodes, if the user asked to exceed the target's tolerance.
const BEYOND: &[Selector] = &[Selector::Majority, Selector::All];
/// How often a clock fault exceeds the bound of a promise that rests on clocks; otherwise it is any clock
/// fault.
const BEYOND_BOUND: f64 = 0.75;

/// Faults that start and end together.
pub(super) struct Drawn {
    /// The faults; the first strikes first.
    pub(super) faults: Vec<Fault>,
    /// How long they must last to show anything.
    pub(super) lasts_min: Option<Duration>,
}

/// Draws one fault of `spec`.
pub(super) fn draw(spec: &FaultSpec, options: &MixOptions<'_>, rng: &mut impl Rng) -> Drawn {
    let most = options.losses.most(options.nodes.len());
    // A few nodes, so that the rest can go on.
    let few: &[Selector] = match options.losses {
        LossLimit::AtMost(_) => &[],
        LossLimit::Beyond => BEYOND,
    };
    let targets = |more: &[Selector], rng: &mut _| {
        let choices: Vec<Selector> = Selector::drawn().chain(more.iter().cloned()).collect();
        let drawn = &choices[RngExt::random_range(rng, 0..choices.len())];
        spec.selector().unwrap_or(drawn).targets(options.nodes, options.clients, most, rng)
    };
    let fault = match spec {
        FaultSpec::Partition(shape) => {
            let shape =
                shape.clone().unwrap_or_else(|| PartitionShape::drawn_within(options.nodes.len(), most, rng));
            let cut = shape.cut(options.nodes, options.clients, most, rng);
            Fault::Partition { shape, cut }
        }
        FaultSpec::Packet(effect, _) => {
            let effect = effect.unwrap_or_else(|| PacketEffect::draw(options.nodes.len(), |_| true, rng));
            Fault::Packet { effect, targets: targets(ANY, rng) }
        }
        FaultSpec::Kill(_) => Fault::Kill { targets: targets(few, rng) },
        FaultSpec::Pause(_) => Fault::Pause { targets: targets(few, rng) },
        FaultSpec::Restart(_) => Fault::Restart { targets: targets(few, rng) },
        FaultSpec::Clock(effect, selector) if options.clock_bound.is_some() && options.nodes.len() > 1 => {
            return clock_and_cut(*effect, selector.as_ref(), options, rng);
        }
        FaultSpec::Clock(effect, _) => {
            let effect = effect.unwrap_or_else(|| ClockEffect::draw(options.nodes.len(), |_| true, rng));
            Fault::Clock { effect, targets: targets(ANY, rng) }
        }
        FaultSpec::Disk(effect, _) => {
            let effect = effect.unwrap_or_else(|| DiskEffect::draw(options.nodes.len(), |_| true, rng));
            let honest =
                matches!(effect, DiskEffect::PowerLoss | DiskEffect::Torn | DiskEffect::SlowFsync(_));
            Fault::Disk { effect, targets: targets(if honest { ANY } else { few }, rng) }
        }
    };
    Drawn { faults: vec![fault], lasts_min: None }
}

/// Draws clocks that are wrong while the leader is cut off.
///
/// A promise that rests on clocks is a lease: it is renewed for as long as its holder hears from the others,
/// and a clock alone cannot break it. So the leader is cut off first, and the clocks are moved while it
/// relies on its own.
fn clock_and_cut(
    effect: Option<ClockEffect>,
    selector: Option<&Selector>,
    options: &MixOptions<'_>,
    rng: &mut impl Rng,
) -> Drawn {
    let drawn = match (effect, options.clock_bound) {
        (Some(effect), _) => effect,
        (None, Some(bound)) if rng.random_bool(BEYOND_BOUND) => clock_bound::draw_beyond(bound, rng),
        (None, _) => ClockEffect::draw(options.nodes.len(), |_| true, rng),
    };
    // All clocks, unless some were requested: the leader's is among them, whichever node that is.
    let all = Selector::All;
    let targets = selector.unwrap_or(&all).targets(options.nodes, options.clients, options.nodes.len(), rng);
    let shape = PartitionShape::IsolateLeader;
    let cut: Cut = shape.cut(options.nodes, options.clients, options.nodes.len(), rng);
    Drawn {
        faults: vec![Fault::Partition { shape, cut }, Fault::Clock { effect: drawn, targets }],
        lasts_min: options.clock_bound.map(clock_bound::isolation_min),
    }
}
