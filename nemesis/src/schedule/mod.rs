//! The schedule: a fault mix expanded, from a seed, into a plain list of timed faults.

mod draw;
mod fit;
mod timing;

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use duress_history::{ClockBound, NodeId};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use self::draw::draw;
use self::fit::fits;
pub use self::fit::joins;
pub(crate) use self::timing::{Band, Bands, Timing};
use crate::family::Family;
use crate::fault::Fault;
use crate::loss::LossLimit;
use crate::membership::Members;
use crate::partition::PartitionShape;
use crate::role::Role;
use crate::selector::Selector;
use crate::spec::{FaultSpec, Wanted};
use crate::story::Story;
use crate::trigger::Event;
use crate::upgrade::Programs;

/// The random stream of the schedule, so that other uses of the seed do not disturb it.
const STREAM: u64 = 1;
/// The longest delay of a fault that does not fit at its drawn moment, in intervals.
const PATIENCE: u64 = 4;
/// The number of further draws, as a short fault, for an item that found no place.
const ATTEMPTS: usize = 20;

/// A fault with its start and stop, in milliseconds since clients began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduledFault {
    /// Its number in the schedule, from 1.
    #[serde(default)]
    pub id: u32,
    /// The moment at which it is injected, or begins to wait for its event.
    pub start_ms: u64,
    /// The moment at which it is healed, after `start_ms`. A fault that is injected late is healed late by
    /// the same amount, but never after the clients end.
    pub stop_ms: u64,
    /// The event it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<Trigger>,
    /// The fault.
    #[serde(flatten)]
    pub fault: Fault,
}

/// The event a fault waits for, and how long the fault then lasts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    /// The event.
    #[serde(flatten)]
    pub event: Event,
    /// How long the fault lasts, in milliseconds. It waits until this long before its `stop_ms`.
    pub lasts_ms: u64,
    /// Whether the fault begins at the end of its wait if its event has not come by then; else it is not injected.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub anyway: bool,
}

impl Trigger {
    /// Returns whether the schedule cannot know when the event comes, because it does not follow another
    /// fault of the schedule.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !matches!(self.event, Event::Start { fault: Some(_), .. } | Event::Heal { fault: Some(_), .. })
    }
}

impl ScheduledFault {
    /// Returns whether it may begin at any moment while it waits for its event.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.on.as_ref().is_some_and(Trigger::is_open)
    }

    /// Returns how long it is in force.
    #[must_use]
    pub fn lasts(&self) -> Duration {
        let planned = self.stop_ms.saturating_sub(self.start_ms);
        Duration::from_millis(self.on.as_ref().map_or(planned, |trigger| trigger.lasts_ms.min(planned)))
    }

    /// Returns it with a number that is larger by `count`, as the numbers of the faults that it waits for are: for a
    /// schedule that follows another, whose numbers go up to `count`.
    #[must_use]
    pub fn numbered_after(mut self, count: u32) -> Self {
        self.id += count;
        if let Some(Trigger { event: Event::Start { fault, .. } | Event::Heal { fault, .. }, .. }) =
            &mut self.on
        {
            *fault = fault.map(|fault| fault + count);
        }
        self
    }

    /// Returns the last moment at which it can be injected as planned.
    #[must_use]
    pub fn latest(&self) -> Duration {
        Duration::from_millis(self.stop_ms).saturating_sub(self.lasts())
    }

    /// Returns the moment after which it is late; `None` if the user asked for it at an event, whenever that comes.
    #[must_use]
    pub fn late_after(&self) -> Option<Duration> {
        match &self.on {
            None => Some(Duration::from_millis(self.start_ms)),
            Some(trigger) => trigger.anyway.then(|| self.latest()),
        }
    }
}

/// The cluster, the limits and the seed for the expansion of a mix.
#[derive(Clone, Debug)]
pub struct MixOptions<'a> {
    /// The nodes of the cluster; not empty.
    pub nodes: &'a [NodeId],
    /// The client hosts; not empty.
    pub clients: &'a [NodeId],
    /// The target's own roles, in addition to those that the run tracks for every target.
    pub roles: &'a [Role],
    /// The run's seed.
    pub seed: u64,
    /// Mean time between the starts of two faults.
    pub interval: Duration,
    /// The earliest start of a fault.
    pub warm_up: Duration,
    /// The latest stop of a fault.
    pub time_limit: Duration,
    /// The target's own time-outs, the election time-out first; not empty.
    pub time_outs: &'a [Duration],
    /// After how long a silence of a client the target gives others what the client held, if clients hold anything.
    pub client_time_out: Option<Duration>,
    /// The limit on the nodes that randomly drawn faults disable at once.
    pub losses: LossLimit,
    /// The bound on clocks that the target's promise rests on, if it does.
    pub clock_bound: Option<ClockBound>,
    /// Whether the cluster's members can be changed.
    pub members: Members,
    /// The programs that its nodes can be started with.
    pub programs: Programs,
    /// The faults of a cluster that already runs, which has no others; `None` for a cluster in an arena.
    pub commands: Option<&'a [CommandVariant]>,
}

/// A fault of a cluster that already runs, as its manifest names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandVariant {
    /// Its name.
    pub name: String,
    /// Whether a node that it strikes cannot serve meanwhile.
    pub disables: bool,
}

/// A mix, or a schedule, that does not fit the cluster.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum MixError {
    /// The cluster runs already, and only its own faults can strike it.
    #[error("{what} cannot be had on a cluster that already runs{known}")]
    RunsAlready {
        /// The fault or the event.
        what: String,
        /// The faults or events that the user can ask for instead, as the end of the sentence.
        known: String,
    },
    /// The cluster is in an arena, which has no commands.
    #[error(
        "the fault \"{fault}\" is for a cluster that already runs: [[cluster.external]] in a manifest lists its nodes, and [[fault]] its faults"
    )]
    NoCommands {
        /// The item.
        fault: String,
    },
    /// The target's members never change.
    #[error(
        "the fault \"{fault}\" needs a target whose members can be changed while it serves: etcd, or store in the mode raft"
    )]
    FixedMembers {
        /// The item.
        fault: String,
    },
    /// There is no second program.
    #[error("the fault \"{fault}\" needs a second program: give one with --upgrade-to NAME=PATH")]
    OneProgram {
        /// The item.
        fault: String,
    },
    /// Too many members would be removed at once.
    #[error(
        "the fault \"{fault}\" removes {removed} of {nodes} members, and those that stay would tolerate no other fault: choose at most {most}, or minority"
    )]
    TooManyMembers {
        /// The item.
        fault: String,
        /// How many it removes.
        removed: usize,
        /// How many there are.
        nodes: usize,
        /// How many it can remove.
        most: usize,
    },
    /// The shape needs more nodes.
    #[error(
        "the fault \"{fault}\" needs at least {needed} nodes, and the cluster has {nodes}: give --nodes {needed}"
    )]
    TooFewNodes {
        /// The item.
        fault: String,
        /// The fewest nodes it works with.
        needed: usize,
        /// The nodes there are.
        nodes: usize,
    },
    /// The cluster does not have a named node.
    #[error("the fault \"{fault}\" names the node {node}, which the cluster does not have (it has {known})")]
    UnknownNode {
        /// The item.
        fault: String,
        /// The name.
        node: NodeId,
        /// The cluster's nodes.
        known: String,
    },
    /// The target does not have a named role.
    #[error("the fault \"{fault}\" names the role {role}, which the target does not have (it has {known})")]
    UnknownRole {
        /// The item.
        fault: String,
        /// The name.
        role: Role,
        /// The target's roles.
        known: String,
    },
}

/// One fault of a draft. Times are relative to the beginning of the draft.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Act {
    /// Its beginning, in milliseconds.
    pub(crate) after_ms: u64,
    /// The longest time from then until it is over, in milliseconds.
    pub(crate) within_ms: u64,
    /// The event it waits for. A fault number in it counts the faults of this draft, from 1.
    pub(crate) on: Option<Trigger>,
    pub(crate) fault: Fault,
}

/// Faults that belong together, before they are placed in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Draft {
    /// The faults, in order of their beginnings.
    pub(crate) acts: Vec<Act>,
    /// The origin of the number of nodes that they strike.
    pub(crate) size: Size,
    /// The story that they tell.
    pub(crate) story: Option<Story>,
}

impl Draft {
    /// Returns the time from the beginning until all faults are over, in milliseconds.
    fn lasts_ms(&self) -> u64 {
        self.acts.iter().map(|act| act.after_ms + act.within_ms).max().unwrap_or(0)
    }
}

/// The turn of an item of a mix for which a draft is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The first turn: it takes place whatever happens.
    First,
    /// A turn after the first.
    Later,
    /// The first turn, in a run that had no place for the fault with its drawn duration.
    Last,
}

/// The origin of the number of nodes that faults strike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// The user named it: `all`, `leader`, `n1+n2`, a partition shape, a story.
    Named,
    /// Chance decided it.
    Drawn,
}

/// A draft with its start, in milliseconds since clients began.
#[derive(Debug)]
struct Placed {
    at_ms: u64,
    /// The item of the mix for which it was drawn.
    item: usize,
    draft: Draft,
}

/// Expands `mix` into faults, ordered by start.
///
/// Each item of the mix has one turn before any item has another, and so has each story among those that are drawn. A fault or a story begins at the moment
/// drawn for it, or at the first later moment at which it fits: it must not interfere with the faults in
/// force then, and together with them must disable no more nodes than [`MixOptions::losses`] allows. A fault
/// that exceeds the limit alone begins only while no other fault disables nodes. A fault that waits for an
/// event is checked against the others when the event comes, by [`joins`].
///
/// The first faults of an item do not wait for an event that might not come. If the run is too short for them
/// as drawn, they are drawn again as short faults. An item is missing only if the run is too short for any
/// fault of it.
///
/// The same mix and options give the same schedule on every machine.
///
/// # Errors
/// [`MixError`] for an item that the cluster cannot have.
pub fn expand(mix: &[FaultSpec], options: &MixOptions<'_>) -> Result<Vec<ScheduledFault>, MixError> {
    for spec in mix {
        check(spec, options)?;
    }
    let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
    rng.set_stream(STREAM);
    let families: BTreeSet<Family> = mix.iter().filter_map(FaultSpec::family).collect();
    let interval = millis(options.interval).max(1);
    let limit = millis(options.time_limit);
    // Keep the drafts that are over apart, since a long run has thousands.
    let (mut placed, mut over): (Vec<Placed>, Vec<Placed>) = (Vec::new(), Vec::new());
    let mut found = vec![false; mix.len()];
    let mut told: Vec<Story> = Vec::new();
    let mut bag: Vec<usize> = Vec::new();
    let mut at = millis(options.warm_up) + rng.random_range(0..=interval / 4);
    while at < limit && !mix.is_empty() {
        if bag.is_empty() {
            bag = (0..mix.len()).collect();
            bag.shuffle(&mut rng);
        }
        over.extend(placed.extract_if(.., |placed| placed.at_ms + placed.draft.lasts_ms() + 1 < at));
        // Items without a place stay at the end of the bag and are tried first the next time.
        for turn in (0..bag.len()).rev() {
            let item = bag[turn];
            let turn_of = if found[item] { Turn::Later } else { Turn::First };
            let draft = draw(&mix[item], turn_of, &told, &families, options, &mut rng);
            let latest = at + PATIENCE * interval;
            if let Some(at_ms) = place(&draft, item, &placed, at..=latest, options) {
                told.extend(draft.story);
                placed.push(Placed { at_ms, item, draft });
                found[item] = true;
                bag.remove(turn);
                break;
            }
        }
        at += rng.random_range(interval / 2..=interval * 3 / 2).max(1);
    }
    placed.append(&mut over);
    for (item, spec) in mix.iter().enumerate().filter(|(item, _)| !found[*item]) {
        for _ in 0..ATTEMPTS {
            let draft = draw(spec, Turn::Last, &told, &families, options, &mut rng);
            if let Some(at_ms) = place(&draft, item, &placed, millis(options.warm_up)..=limit, options) {
                placed.push(Placed { at_ms, item, draft });
                break;
            }
        }
    }
    Ok(schedule(placed))
}

/// Returns the first moment in `from` at which `draft` can begin.
fn place(
    draft: &Draft,
    item: usize,
    placed: &[Placed],
    from: RangeInclusive<u64>,
    options: &MixOptions<'_>,
) -> Option<u64> {
    let last = millis(options.time_limit).checked_sub(draft.lasts_ms())?.min(*from.end());
    let at = *from.start();
    let ends = placed.iter().flat_map(|placed| {
        placed.draft.acts.iter().map(|act| placed.at_ms + act.after_ms + act.within_ms + 1)
    });
    let mut moments: Vec<u64> = ends.chain([at]).filter(|moment| (at..=last).contains(moment)).collect();
    moments.sort_unstable();
    moments.into_iter().find(|moment| fits(draft, item, *moment, placed, options))
}

/// Orders and numbers the faults of all drafts.
fn schedule(placed: Vec<Placed>) -> Vec<ScheduledFault> {
    // Each fault, with the number of its draft and its number in that draft.
    let mut faults = Vec::new();
    for (number, Placed { at_ms, draft, .. }) in placed.into_iter().enumerate() {
        for (act, Act { after_ms, within_ms, on, fault }) in (1_u32..).zip(draft.acts) {
            let start_ms = at_ms + after_ms;
            let fault = ScheduledFault { id: 0, start_ms, stop_ms: start_ms + within_ms, on, fault };
            faults.push((number, act, fault));
        }
    }
    // The sort is stable: faults that begin together stay in the order of their draft.
    faults.sort_by_key(|(_, _, fault)| fault.start_ms);
    let ids: Vec<((usize, u32), u32)> =
        faults.iter().zip(1..).map(|((draft, act, _), id)| ((*draft, *act), id)).collect();
    for ((draft, _, fault), (_, id)) in faults.iter_mut().zip(&ids) {
        fault.id = *id;
        if let Some(Trigger {
            event: Event::Start { fault: Some(of), .. } | Event::Heal { fault: Some(of), .. },
            ..
        }) = &mut fault.on
        {
            let known = ids.iter().find(|(key, _)| *key == (*draft, *of));
            *of = known.map_or(0, |(_, id)| *id);
        }
    }
    faults.into_iter().map(|(_, _, fault)| fault).collect()
}

/// Checks that a cluster with such members and programs, and with these faults of its own or in an arena, can have every fault of
/// `schedule`.
///
/// # Errors
/// [`MixError`] for the first that it cannot have.
pub fn check_kinds(
    schedule: &[ScheduledFault],
    members: Members,
    programs: Programs,
    commands: Option<&[CommandVariant]>,
) -> Result<(), MixError> {
    schedule.iter().try_for_each(|scheduled| {
        if scheduled.fault.family() == Family::Membership && members == Members::Fixed {
            return Err(MixError::FixedMembers { fault: scheduled.fault.to_string() });
        }
        if scheduled.fault.family() == Family::Upgrade && programs == Programs::One {
            return Err(MixError::OneProgram { fault: scheduled.fault.to_string() });
        }
        let name = match &scheduled.fault {
            Fault::Command { name, .. } => Some(Some(name.as_str())),
            _ => None,
        };
        let event = scheduled.on.as_ref().map(|trigger| &trigger.event);
        check_kind(&scheduled.fault.to_string(), name, event, commands)
    })
}

/// Checks the same of one `fault`; `name` is that of a command, `Some(None)` for any of them.
fn check_kind(
    fault: &str,
    name: Option<Option<&str>>,
    event: Option<&Event>,
    commands: Option<&[CommandVariant]>,
) -> Result<(), MixError> {
    let Some(commands) = commands else {
        return match name {
            Some(_) => Err(MixError::NoCommands { fault: fault.to_owned() }),
            None => Ok(()),
        };
    };
    let refused = |what: String, known: String| Err(MixError::RunsAlready { what, known });
    let fits = match name {
        Some(Some(name)) => commands.iter().any(|command| command.name == name),
        Some(None) => !commands.is_empty(),
        None => false,
    };
    if !fits {
        let known: Vec<String> =
            commands.iter().map(|command| format!("{}:{}", Family::Command.name(), command.name)).collect();
        let known = match &known[..] {
            [] => ", and its manifest has no [[fault]]: the faults can be none".to_owned(),
            known => format!(": its faults are {}, or none, or all", known.join(", ")),
        };
        return refused(format!("the fault \"{fault}\""), known);
    }
    match event {
        Some(event @ (Event::Disk { .. } | Event::Packet { .. } | Event::Log { .. })) => {
            let known = ": a fault can wait for leader-change, start, heal and op".to_owned();
            refused(format!("the event \"{event}\" of the fault \"{fault}\""), known)
        }
        _ => Ok(()),
    }
}

fn check(spec: &FaultSpec, options: &MixOptions<'_>) -> Result<(), MixError> {
    let command = match &spec.what {
        Wanted::Command(name, _) => Some(name.as_deref()),
        _ => None,
    };
    check_kind(&spec.to_string(), command, spec.on.as_ref(), options.commands)?;
    if matches!(spec.what, Wanted::Upgrade(..)) && options.programs == Programs::One {
        return Err(MixError::OneProgram { fault: spec.to_string() });
    }
    if let Wanted::Membership(_, selector) = &spec.what {
        check_members(spec, selector.as_ref(), options)?;
    }
    let named: &[NodeId] = match (&spec.what, spec.selector()) {
        (Wanted::Partition(Some(PartitionShape::Nodes(hosts)), _), _) | (_, Some(Selector::Nodes(hosts))) => {
            hosts
        }
        _ => &[],
    };
    // A packet fault on a client's links needs only one node at their other end.
    let of_clients = match (&spec.what, spec.selector()) {
        (Wanted::Packet(..), Some(Selector::Clients)) => true,
        (Wanted::Packet(..), Some(Selector::Nodes(hosts))) => {
            !hosts.iter().any(|host| options.nodes.contains(host))
        }
        _ => false,
    };
    let needed = if of_clients { 1 } else { spec.nodes_min() };
    if options.nodes.len() < needed {
        return Err(MixError::TooFewNodes { fault: spec.to_string(), needed, nodes: options.nodes.len() });
    }
    if let Some(Selector::Role(role)) = spec.selector()
        && !role.is_kept_track_of()
        && !options.roles.contains(role)
    {
        let kept = [Role::LEADER, Role::OLD_LEADER, Role::RETURNED];
        let known = kept.into_iter().chain(options.roles.iter().map(Role::as_str));
        let known = known.collect::<Vec<_>>().join(", ");
        return Err(MixError::UnknownRole { fault: spec.to_string(), role: role.clone(), known });
    }
    // Links end at clients as well as at nodes.
    let clients = match spec.what {
        Wanted::Partition(..) | Wanted::Packet(..) => options.clients,
        _ => &[],
    };
    let hosts = || options.nodes.iter().chain(clients);
    match named.iter().find(|node| !hosts().any(|host| host == *node)) {
        None => Ok(()),
        Some(node) => Err(MixError::UnknownNode {
            fault: spec.to_string(),
            node: node.clone(),
            known: hosts().map(NodeId::as_str).collect::<Vec<_>>().join(", "),
        }),
    }
}

fn check_members(
    spec: &FaultSpec,
    selector: Option<&Selector>,
    options: &MixOptions<'_>,
) -> Result<(), MixError> {
    let (fault, nodes) = (spec.to_string(), options.nodes.len());
    if options.members == Members::Fixed {
        return Err(MixError::FixedMembers { fault });
    }
    match selector.filter(|selector| !selector.leaves_majority(nodes)) {
        Some(selector) => Err(MixError::TooManyMembers {
            fault,
            removed: selector.count(nodes),
            nodes,
            most: nodes.saturating_sub(1) / 2,
        }),
        None => Ok(()),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
