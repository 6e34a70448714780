//! Draws the faults of one item of a mix: the variant, the targets, the duration and the event.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::{Rng, RngExt};

use super::{Act, Band, Bands, CommandVariant, Draft, MixOptions, Size, Timing, Trigger, Turn, millis};
use crate::clock_bound;
use crate::clock_fault::ClockEffect;
use crate::disk_fault::DiskEffect;
use crate::family::Family;
use crate::fault::Fault;
use crate::loss::{LossLimit, lost};
use crate::membership::MemberChange;
use crate::packet::PacketEffect;
use crate::partition::{Cut, PartitionShape};
use crate::resource_fault::ResourceEffect;
use crate::role;
use crate::selector::Selector;
use crate::spec::{FaultSpec, Wanted};
use crate::story::{Stage, Story};
use crate::trigger::{DiskOperation, Event};
use crate::upgrade::Upgrade;
use crate::variant::Kind;

/// The probability that a drawn clock fault exceeds the clock bound of the target's promise, if there is one.
/// Otherwise any clock fault is drawn.
const BEYOND_BOUND: f64 = 0.75;
/// The probability that a choice of nodes uses one of the target's own roles, if it has any.
const OF_ROLES: f64 = 0.3;
/// The probability that a clock or packet fault strikes every node.
const OF_ALL: f64 = 0.25;
/// The same for disk faults that keep acknowledged data: a power failure does not choose its nodes, and
/// acknowledged data must survive one of all nodes.
const POWER_OF_ALL: f64 = 0.6;
/// The shortest time a fault waits for its event before it is dropped.
const WAITS_MIN: Duration = Duration::from_secs(2);
/// The probability that a drawn fault waits for an event instead of a time.
const WAITS: f64 = 0.12;

/// Draws the faults of `spec` for this turn, in a mix of these families, after these stories.
pub(super) fn draw(
    spec: &FaultSpec,
    turn: Turn,
    told: &[Story],
    families: &BTreeSet<Family>,
    options: &MixOptions<'_>,
    rng: &mut impl Rng,
) -> Draft {
    let size = if spec.names_its_size() { Size::Named } else { Size::Drawn };
    let timing = Timing(options.time_outs);
    let fault = match &spec.what {
        Wanted::Story(story) => {
            let stage = Stage::new(families, options);
            let story = story.unwrap_or_else(|| Story::draw(&stage, told, rng));
            return Draft { acts: story.acts(&stage, rng), size, story: Some(story) };
        }
        Wanted::Clock(effect, selector) if options.clock_bound.is_some() && options.nodes.len() > 1 => {
            return Draft {
                acts: clock_and_cut(*effect, selector.as_ref(), options, rng),
                size,
                story: None,
            };
        }
        _ => fault(spec, options, rng),
    };
    let brief = size == Size::Drawn
        && options.losses != LossLimit::Beyond
        && lost(&fault, options.nodes) > options.losses.most(options.nodes.len());
    let bands = match size {
        _ if turn == Turn::Last => Bands::SHORT,
        Size::Drawn if brief => Bands::SHORT,
        Size::Drawn => Bands::of(&fault),
        Size::Named => Bands::of(&fault).longer(),
    };
    // The target waits for a silent client for a time of its own.
    let of_clients = options.client_time_out.map(|time_out| [time_out]);
    let timing = match (&fault, &of_clients) {
        (Fault::Partition { shape: PartitionShape::Clients, .. }, Some(time_out)) if rng.random_bool(0.5) => {
            Timing(time_out)
        }
        _ => timing,
    };
    let lasts_ms = timing.lasts_ms(bands, rng);
    let waits = turn == Turn::Later && rng.random_bool(WAITS);
    let on = spec.on.clone().or_else(|| waits.then(|| event(&fault, families, rng)).flatten());
    // The user asked for this fault, and for no event.
    let on = on.map(|event| Trigger { event, lasts_ms, anyway: spec.on.is_none() });
    let waits_ms = match on {
        None => 0,
        // Half of the remaining time in a short run, so that the fault finds a place.
        Some(_) => millis(WAITS_MIN.max(options.interval * 4).min(options.time_limit / 2)),
    };
    Draft { acts: vec![Act { after_ms: 0, within_ms: waits_ms + lasts_ms, on, fault }], size, story: None }
}

/// Draws an event for `fault` to wait for. Every choice is expected to come soon.
fn event(fault: &Fault, families: &BTreeSet<Family>, rng: &mut impl Rng) -> Option<Event> {
    let after_ms = rng.random_range(0..=60);
    match fault.family() {
        Family::Packet | Family::Clock => return None,
        // Neither its nodes' output nor its packets and disks can be seen.
        Family::Command => {
            return Some(match rng.random_range(0..3) {
                0 => Event::Heal { fault: None, after_ms },
                1 => Event::Start { fault: None, after_ms },
                _ => Event::Operation { number: rng.random_range(1..=100) },
            });
        }
        Family::Partition
        | Family::Kill
        | Family::Pause
        | Family::Restart
        | Family::Disk
        | Family::Resources
        | Family::Membership
        | Family::Upgrade => {}
    }
    Some(match rng.random_range(0..if families.contains(&Family::Disk) { 10 } else { 6 }) {
        0 | 1 => Event::LeaderChange,
        2 => Event::Heal { fault: None, after_ms },
        3 => Event::Start { fault: None, after_ms },
        4 => Event::Operation { number: rng.random_range(1..=100) },
        5 => Event::Packet { number: rng.random_range(1..=500) },
        6 => Event::Disk { operation: DiskOperation::Write, number: rng.random_range(1..=60) },
        _ => Event::Disk { operation: DiskOperation::Fsync, number: rng.random_range(1..=60) },
    })
}

fn fault(spec: &FaultSpec, options: &MixOptions<'_>, rng: &mut impl Rng) -> Fault {
    let nodes = options.nodes.len();
    let most = options.losses.most(nodes);
    let targets = |all: f64, rng: &mut _| {
        let drawn = || match role::draw(options.roles, OF_ROLES, rng) {
            Some(role) => Selector::Role(role),
            None if RngExt::random_bool(rng, all) => Selector::All,
            None => Selector::draw(nodes, |_| true, rng),
        };
        let selector = spec.selector().cloned().unwrap_or_else(drawn);
        selector.targets(options.nodes, options.clients, most, rng)
    };
    match &spec.what {
        Wanted::Partition(None | Some(PartitionShape::One), Some(_)) => {
            Fault::Partition { shape: PartitionShape::One, cut: Cut::Isolate(targets(0.0, rng)) }
        }
        Wanted::Partition(shape, _) => {
            let fits = |shape: &PartitionShape| shape.fewest_lost(nodes) <= most;
            let shape = shape.clone().unwrap_or_else(|| PartitionShape::draw(nodes, fits, rng));
            let cut = shape.cut(options.nodes, options.clients, most, rng);
            Fault::Partition { shape, cut }
        }
        Wanted::Packet(effect, _) => {
            let effect = effect.unwrap_or_else(|| PacketEffect::draw(nodes, |_| true, rng));
            Fault::Packet { effect, targets: targets(OF_ALL, rng) }
        }
        Wanted::Pause(_) => Fault::Pause { targets: targets(0.0, rng) },
        Wanted::Restart(_) => Fault::Restart { targets: targets(0.0, rng) },
        Wanted::Clock(effect, _) => {
            let effect = effect.unwrap_or_else(|| ClockEffect::draw(nodes, |_| true, rng));
            Fault::Clock { effect, targets: targets(OF_ALL, rng) }
        }
        Wanted::Disk(effect, _) => {
            let effect = effect.unwrap_or_else(|| DiskEffect::draw(nodes, |_| true, rng));
            let honest =
                matches!(effect, DiskEffect::PowerLoss | DiskEffect::Torn | DiskEffect::SlowFsync(_));
            Fault::Disk { effect, targets: targets(if honest { POWER_OF_ALL } else { 0.0 }, rng) }
        }
        Wanted::Resources(effect, _) => {
            let effect = effect.unwrap_or_else(|| ResourceEffect::draw(nodes, |_| true, rng));
            Fault::Resources { effect, targets: targets(0.0, rng) }
        }
        Wanted::Membership(change, selector) => {
            let change = change.unwrap_or_else(|| MemberChange::draw(nodes, |_| true, rng));
            let drawn = || match role::draw(options.roles, OF_ROLES, rng) {
                Some(role) => Selector::Role(role),
                None => Selector::draw(nodes, |selector| selector.leaves_majority(nodes), rng),
            };
            let selector = selector.clone().unwrap_or_else(drawn);
            Fault::Membership { change, targets: selector.targets(options.nodes, options.clients, most, rng) }
        }
        Wanted::Upgrade(change, _) => {
            let change = change.unwrap_or_else(|| Upgrade::draw(nodes, |_| true, rng));
            Fault::Upgrade { change, targets: targets(0.0, rng) }
        }
        Wanted::Command(name, _) => {
            let known = options.commands.unwrap_or_default();
            let named = known.iter().find(|command| Some(&command.name) == name.as_ref());
            let drawn = || &known[RngExt::random_range(rng, 0..known.len())];
            let CommandVariant { name, disables } = named.unwrap_or_else(drawn).clone();
            Fault::Command { name, disables, targets: targets(0.0, rng) }
        }
        Wanted::Kill(_) | Wanted::Story(_) => Fault::Kill { targets: targets(0.0, rng) },
    }
}

/// Draws a clock fault together with a partition of the leader.
///
/// A promise that rests on clocks is a lease. Its holder renews it for as long as it hears from the others,
/// so a clock fault alone cannot break it. The partition isolates the leader, and the clocks move while the
/// leader relies on its own.
fn clock_and_cut(
    effect: Option<ClockEffect>,
    selector: Option<&Selector>,
    options: &MixOptions<'_>,
    rng: &mut impl Rng,
) -> Vec<Act> {
    let effect = match (effect, options.clock_bound) {
        (Some(effect), _) => effect,
        (None, Some(bound)) if rng.random_bool(BEYOND_BOUND) => clock_bound::draw_beyond(bound, rng),
        (None, _) => ClockEffect::draw(options.nodes.len(), |_| true, rng),
    };
    // All clocks, unless the user named some: the leader's clock is then among them, whichever node leads.
    let all = Selector::All;
    let targets = selector.unwrap_or(&all).targets(options.nodes, options.clients, options.nodes.len(), rng);
    let shape = PartitionShape::IsolateLeader;
    let cut: Cut = shape.cut(options.nodes, options.clients, options.nodes.len(), rng);
    let needed = options.clock_bound.map(clock_bound::isolation_min).map_or(0, millis);
    let within_ms = Timing(options.time_outs).election_band_ms(Band::Above, rng).max(needed);
    let act = |fault| Act { after_ms: 0, within_ms, on: None, fault };
    vec![act(Fault::Partition { shape, cut }), act(Fault::Clock { effect, targets })]
}
