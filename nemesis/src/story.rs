//! Stories: sequences of faults that belong together, modelled on real failures. A [`Script`] composes each
//! from a few steps.

use std::collections::BTreeSet;
use std::time::Duration;

use duress_history::NodeId;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, RngExt};

use crate::clock_fault::ClockEffect;
use crate::disk_fault::DiskEffect;
use crate::family::Family;
use crate::fault::Fault;
use crate::packet::PacketEffect;
use crate::partition::{Cut, PartitionShape};
use crate::role::{self, Role};
use crate::schedule::{Act, Band, MixOptions, Timing, Trigger};
use crate::selector::{Choice, Relation, Selector, Targets};
use crate::trigger::Event;
use crate::variant::Kind;

/// The probability that a story about a leader is about a node with one of the target's own roles, if it has any.
const OF_ROLES: f64 = 0.5;
/// The overlap of two consecutive rolling isolations, in milliseconds.
const HANDOVER_MS: u64 = 150;

/// The time before its planned start at which a fault begins to wait for the fault it follows, in ms.
const WAITS_MS: u64 = 20;

/// Several faults that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Story {
    /// All nodes are killed, a majority starts and accepts writes, and its leader or another part of it is struck as the lagging nodes start.
    Laggard,
    /// A follower is cut off, and the leader is struck as the follower returns.
    Handover,
    /// A node is killed, and then repeatedly, each time within 50 ms of its start.
    Again,
    /// A follower was away for long; it or the leader is struck while it catches up.
    CatchUp,
    /// A leader is struck, then a follower while the leader is away, and then the newly elected node.
    Election,
    /// A leader is away until another is elected, and the new leader is struck as the first returns.
    Zombie,
    /// Some clients are cut off until the target gives others what they held, and return.
    ZombieClient,
    /// Every node loses power at once, in some runs again as it starts.
    PowerCut,
    /// The links or the disk of one node are slow for long, and leaders are struck meanwhile.
    SlowReplica,
    /// Clocks move while a leader is away.
    ClockStep,
    /// Each leader is cut off just before the previous one returns.
    RollingLeader,
    /// Leaders follow each other while a follower is held back: only the second one has what the first wrote last.
    Succession,
}

impl Story {
    /// Every story, in the order of the documentation.
    pub const ALL: [Self; 12] = [
        Self::Laggard,
        Self::Handover,
        Self::Again,
        Self::CatchUp,
        Self::Election,
        Self::Zombie,
        Self::ZombieClient,
        Self::PowerCut,
        Self::SlowReplica,
        Self::ClockStep,
        Self::RollingLeader,
        Self::Succession,
    ];

    /// Returns the name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.words()[0]
    }

    /// Returns a description of it in one line.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        self.words()[1]
    }

    fn words(self) -> [&'static str; 2] {
        match self {
            Self::Laggard => [
                "laggard",
                "all nodes are killed, a majority starts and accepts writes, and its leader or another part of it is struck as the lagging nodes start",
            ],
            Self::Handover => {
                ["handover", "a follower is cut off, and the leader is struck as the follower returns"]
            }
            Self::Again => ["again", "a node is killed repeatedly, each time within 50 ms of its start"],
            Self::CatchUp => [
                "catch-up",
                "a follower was away for long, and it or the leader is struck while it catches up",
            ],
            Self::Election => [
                "election",
                "a leader is struck, then a follower while the leader is away, and then the newly elected node",
            ],
            Self::Zombie => [
                "zombie",
                "a leader is away until another is elected, and the new leader is struck as the first returns",
            ],
            Self::ZombieClient => [
                "zombie-client",
                "some clients are cut off until the target gives others what they held, and return",
            ],
            Self::PowerCut => {
                ["power-cut", "every node loses power at once, in some runs again as it starts"]
            }
            Self::SlowReplica => [
                "slow-replica",
                "one node has slow links or a slow disk for long, and leaders are struck meanwhile",
            ],
            Self::ClockStep => ["clock-step", "clocks move while a leader is away"],
            Self::RollingLeader => {
                ["rolling-leader", "each leader is cut off just before the previous one returns"]
            }
            Self::Succession => [
                "succession",
                "a follower is held back, the leader is killed briefly, and then its successor is struck, before the follower has caught up",
            ],
        }
    }

    /// Returns the story called `name`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|story| story.name() == name)
    }

    /// Returns the fewest nodes that it works with.
    #[must_use]
    pub fn nodes_min(self) -> usize {
        match self {
            Self::Again | Self::PowerCut | Self::ZombieClient => 1,
            Self::Laggard
            | Self::Handover
            | Self::CatchUp
            | Self::Election
            | Self::SlowReplica
            | Self::Succession => 3,
            Self::Zombie | Self::ClockStep | Self::RollingLeader => 2,
        }
    }

    /// Returns the family that its faults require and that not every run offers: faultable disks or clocks.
    #[must_use]
    pub fn needs(self) -> Option<Family> {
        match self {
            Self::PowerCut => Some(Family::Disk),
            Self::ClockStep => Some(Family::Clock),
            _ => None,
        }
    }

    /// Whether the story waits until another node leads; it then has to strike the target's leader itself.
    fn follows_the_leader(self) -> bool {
        matches!(self, Self::Election | Self::RollingLeader)
    }

    /// Returns its weight in a draw. It is high for the only story about clients, if clients hold something of
    /// the target, and for the one that finds most of what nodes forget when they restart.
    fn weight(self, stage: &Stage<'_>) -> u32 {
        match self {
            Self::ZombieClient if stage.client_time_out.is_some() => 4,
            Self::Laggard => 5,
            _ => 1,
        }
    }

    /// Draws one of the stories that fit the stage, at least one of which does, and were least often among those already `told`.
    pub(crate) fn draw(stage: &Stage<'_>, told: &[Self], rng: &mut impl Rng) -> Self {
        let fits = |story: &Self| {
            story.nodes_min() <= stage.nodes.len()
                && story.needs().is_none_or(|family| stage.families.contains(&family))
        };
        let times = |story: &Self| told.iter().filter(|told| *told == story).count();
        let least = Self::ALL.iter().filter(|story| fits(story)).map(times).min();
        let fitting: Vec<Self> =
            Self::ALL.into_iter().filter(|story| fits(story) && Some(times(story)) == least).collect();
        let drawn = fitting.choose_weighted(rng, |story| story.weight(stage));
        *drawn.expect("one story needs neither several nodes nor a family")
    }

    /// Draws its faults.
    pub(crate) fn acts(self, stage: &Stage<'_>, rng: &mut impl Rng) -> Vec<Act> {
        let roles = if self.follows_the_leader() { &[] } else { stage.roles };
        let leader = role::draw(roles, OF_ROLES, rng).unwrap_or_else(Role::leader);
        let mut script = Script { stage, leader, rng, acts: Vec::new(), now_ms: 0 };
        match self {
            Self::Laggard => script.laggard(),
            Self::Handover => script.handover(),
            Self::Again => script.again(),
            Self::CatchUp => script.catch_up(),
            Self::Election => script.election(),
            Self::Zombie => script.zombie(),
            Self::ZombieClient => script.zombie_client(),
            Self::PowerCut => script.power_cut(),
            Self::SlowReplica => script.slow_replica(),
            Self::ClockStep => script.clock_step(),
            Self::RollingLeader => script.rolling_leader(),
            Self::Succession => script.succession(),
        }
        script.acts
    }
}

/// The cluster and the mix in which a story takes place.
pub(crate) struct Stage<'a> {
    nodes: &'a [NodeId],
    clients: &'a [NodeId],
    roles: &'a [Role],
    families: &'a BTreeSet<Family>,
    timing: Timing<'a>,
    client_time_out: Option<Duration>,
}

impl<'a> Stage<'a> {
    /// Returns the stage for the cluster of `options`, in a mix of these families.
    pub(crate) fn new(families: &'a BTreeSet<Family>, options: &MixOptions<'a>) -> Self {
        let MixOptions { nodes, clients, roles, time_outs, client_time_out, .. } = *options;
        Self { nodes, clients, roles, families, timing: Timing(time_outs), client_time_out }
    }
}

/// A story under construction: faults one after the other, or each relative to another.
struct Script<'a, R> {
    stage: &'a Stage<'a>,
    /// The role of the node in the leader's part: the target's leader, or another role of the target.
    leader: Role,
    rng: &'a mut R,
    acts: Vec<Act>,
    /// The start of the next fault, unless it is relative to another.
    now_ms: u64,
}

/// The number of a fault in its script.
type Number = u32;

impl<R: Rng> Script<'_, R> {
    /// Begins `fault` now for `lasts_ms`; the story continues meanwhile.
    fn begin(&mut self, fault: Fault, lasts_ms: u64) -> Number {
        self.push(self.now_ms, lasts_ms, None, fault)
    }

    /// Lets `ms` milliseconds pass.
    fn wait(&mut self, ms: u64) {
        self.now_ms += ms;
    }

    /// Begins `fault` `after_ms` after fault `of` took hold.
    fn after_start(&mut self, of: Number, after_ms: u64, fault: Fault, lasts_ms: u64) -> Number {
        let Act { after_ms: began, within_ms, on, .. } = &self.acts[of as usize - 1];
        let lasts = on.as_ref().map_or(*within_ms, |trigger| trigger.lasts_ms);
        let event = Event::Start { fault: Some(of), after_ms };
        self.follow(began + within_ms - lasts + after_ms, event, fault, lasts_ms)
    }

    /// Begins `fault` `after_ms` after fault `of` was healed.
    fn after_heal(&mut self, of: Number, after_ms: u64, fault: Fault, lasts_ms: u64) -> Number {
        let Act { after_ms: began, within_ms, .. } = &self.acts[of as usize - 1];
        let event = Event::Heal { fault: Some(of), after_ms };
        self.follow(began + within_ms + after_ms, event, fault, lasts_ms)
    }

    /// Begins `fault` at `event`, planned for `planned_ms`; the fault begins to wait just before.
    fn follow(&mut self, planned_ms: u64, event: Event, fault: Fault, lasts_ms: u64) -> Number {
        let waits = WAITS_MS.min(planned_ms);
        self.push(
            planned_ms - waits,
            waits + lasts_ms,
            Some(Trigger { event, lasts_ms, anyway: false }),
            fault,
        )
    }

    /// Begins `fault` when another node becomes leader, if that happens within `within_ms`.
    fn when_led(&mut self, within_ms: u64, fault: Fault, lasts_ms: u64) -> Number {
        let event = Event::LeaderChange;
        self.push(self.now_ms, within_ms + lasts_ms, Some(Trigger { event, lasts_ms, anyway: false }), fault)
    }

    fn push(&mut self, after_ms: u64, within_ms: u64, on: Option<Trigger>, fault: Fault) -> Number {
        self.acts.push(Act { after_ms, within_ms, on, fault });
        Number::try_from(self.acts.len()).unwrap_or(Number::MAX)
    }

    fn lasts(&mut self, band: Band) -> u64 {
        self.stage.timing.election_band_ms(band, self.rng)
    }

    fn between(&mut self, low: u64, high: u64) -> u64 {
        self.rng.random_range(low..=high)
    }

    fn coin(&mut self) -> bool {
        self.rng.random_bool(0.5)
    }

    fn targets(&mut self, selector: &Selector) -> Targets {
        let mut targets = selector.targets(self.stage.nodes, &[], self.stage.nodes.len(), self.rng);
        // It follows the node in the leader's part.
        if *selector == Selector::Follower
            && let Targets::Chosen(choice) = &mut targets
        {
            choice.role = Relation::Lacks(self.leader.clone());
        }
        targets
    }

    fn leader(&self) -> Selector {
        Selector::Role(self.leader.clone())
    }

    fn kill(&mut self, selector: &Selector) -> Fault {
        Fault::Kill { targets: self.targets(selector) }
    }

    fn isolate(&mut self, selector: &Selector) -> Fault {
        Fault::Partition { shape: PartitionShape::One, cut: Cut::Isolate(self.targets(selector)) }
    }

    /// Draws a fault that disables the chosen nodes: a kill, a pause or an isolation.
    fn strike(&mut self, selector: &Selector) -> Fault {
        match self.rng.random_range(0..3) {
            0 => self.kill(selector),
            1 => Fault::Pause { targets: self.targets(selector) },
            _ => self.isolate(selector),
        }
    }

    fn strike_leader(&mut self) -> Fault {
        let leader = self.leader();
        self.strike(&leader)
    }

    fn laggard(&mut self) {
        let mut order = self.stage.nodes.to_vec();
        order.shuffle(self.rng);
        let minority = (order.len() - 1) / 2;
        let (lagging, majority) = order.split_at(minority);
        // The majority has to start, to elect, and to accept writes meanwhile.
        let (start, missed) =
            (self.lasts(Band::Short), self.stage.timing.election_ms() + self.lasts(Band::Above));
        let down = |nodes: &[NodeId]| Fault::Kill { targets: Targets::Nodes(nodes.to_vec()) };
        self.begin(down(majority), start);
        self.begin(down(lagging), start + missed);
        // As the lagging nodes start, nodes of the majority are disabled, so that one of the remaining nodes
        // has to replace a leader that the lagging nodes never heard of, and to bring them up to date.
        self.wait((start + missed).saturating_sub(40));
        let gone = if self.rng.random_ratio(3, 4) {
            self.leader()
        } else {
            Selector::Nodes(majority[..minority].to_vec())
        };
        let fault = if self.coin() { self.isolate(&gone) } else { self.kill(&gone) };
        let lasts = self.lasts(Band::Above);
        self.begin(fault, lasts);
    }

    fn handover(&mut self) {
        let (missed, lasts) = (self.lasts(Band::Above), self.lasts(Band::Around));
        let fault = self.isolate(&Selector::Follower);
        let away = self.begin(fault, missed);
        let leader = self.strike_leader();
        if self.coin() {
            let after = self.between(0, 60);
            self.after_heal(away, after, leader, lasts);
        } else {
            let before = self.between(10, 60);
            self.after_start(away, missed.saturating_sub(before), leader, lasts);
        }
    }

    fn again(&mut self) {
        let selector = if self.coin() { Selector::One } else { self.leader() };
        let (fault, lasts) = (self.kill(&selector), self.lasts(Band::Short));
        let mut last = self.begin(fault, lasts);
        for _ in 0..self.between(2, 4) {
            let (after, lasts) = (self.between(1, 50), self.lasts(Band::Short));
            let fault = self.kill(&Selector::Role(Role::new(Role::RETURNED)));
            last = self.after_heal(last, after, fault, lasts);
        }
    }

    fn catch_up(&mut self) {
        let missed = self.lasts(Band::Above);
        let fault =
            if self.coin() { self.kill(&Selector::Follower) } else { self.isolate(&Selector::Follower) };
        let away = self.begin(fault, missed);
        let (after, band) = (self.between(10, 300), if self.coin() { Band::Short } else { Band::Around });
        let lasts = self.lasts(band);
        let struck = if self.coin() { self.leader() } else { Selector::Role(Role::new(Role::RETURNED)) };
        let fault = self.strike(&struck);
        let struck = self.after_heal(away, after, fault, lasts);
        if self.coin() {
            let (after, lasts) = (self.between(1, 100), self.lasts(Band::Short));
            let fault = self.kill(&Selector::Role(Role::new(Role::RETURNED)));
            self.after_heal(struck, after, fault, lasts);
        }
    }

    fn election(&mut self) {
        let election = self.stage.timing.election_ms();
        let lasts = self.lasts(Band::Above);
        let fault = self.strike_leader();
        let away = self.begin(fault, lasts);
        let (after, short) = (self.between(election * 2 / 5, election), self.lasts(Band::Short));
        let fault = self.strike(&Selector::Follower);
        self.after_start(away, after, fault, short);
        let (fault, lasts) = (self.strike_leader(), self.lasts(Band::Around));
        self.when_led(election * 2, fault, lasts);
    }

    fn zombie(&mut self) {
        let lasts = self.lasts(Band::Above);
        let leader = self.leader();
        let fault = if self.rng.random_ratio(3, 4) {
            Fault::Pause { targets: self.targets(&leader) }
        } else {
            self.isolate(&leader)
        };
        let away = self.begin(fault, lasts);
        let (fault, again) = (self.strike(&leader), self.lasts(Band::Around));
        if self.coin() {
            let after = self.between(0, 30);
            self.after_heal(away, after, fault, again);
        } else {
            let before = self.between(5, 60);
            self.after_start(away, lasts.saturating_sub(before), fault, again);
        }
    }

    fn zombie_client(&mut self) {
        let mut hosts = self.stage.clients.to_vec();
        hosts.shuffle(self.rng);
        // One is left, where there are several, to get what the others held.
        hosts.truncate(self.rng.random_range(1..=hosts.len().saturating_sub(1).max(1)));
        let shape = PartitionShape::Nodes(hosts);
        let cut = shape.cut(self.stage.nodes, self.stage.clients, self.stage.nodes.len(), self.rng);
        let time_out =
            self.stage.client_time_out.unwrap_or(Duration::from_millis(self.stage.timing.election_ms()));
        let time_out = u64::try_from(time_out.as_millis()).unwrap_or(u64::MAX);
        // Others must have been given it for a while.
        let lasts = self.between(time_out * 13 / 10, time_out * 2).max(1);
        self.begin(Fault::Partition { shape, cut }, lasts);
    }

    fn power_cut(&mut self) {
        // A choice, so that a cut that comes late strikes only the nodes that are up by then.
        let all = Choice {
            role: Relation::Any,
            count: self.stage.nodes.len(),
            preferred: self.stage.nodes.to_vec(),
        };
        let power = |effect| Fault::Disk { effect, targets: Targets::Chosen(all.clone()) };
        let (loss, torn) = (power(DiskEffect::PowerLoss), power(DiskEffect::Torn));
        let effect = if self.rng.random_ratio(2, 3) { &loss } else { &torn };
        let lasts = self.lasts(Band::Short);
        let last = self.begin(effect.clone(), lasts);
        if self.coin() {
            let (after, lasts) = (self.between(5, 400), self.lasts(Band::Short));
            self.after_heal(last, after, loss, lasts);
        }
    }

    fn slow_replica(&mut self) {
        let election = self.stage.timing.election_ms();
        let slow = self.targets(&Selector::Follower);
        let millis = |low: u64, high: u64, rng: &mut R| Duration::from_millis(rng.random_range(low..=high));
        let disk = self.stage.families.contains(&Family::Disk) && self.coin();
        let ambient = if disk {
            Fault::Disk { effect: DiskEffect::SlowFsync(millis(10, 50, self.rng)), targets: slow }
        } else {
            Fault::Packet { effect: PacketEffect::Delay(millis(20, 120, self.rng)), targets: slow }
        };
        let times = self.between(2, 3);
        self.begin(ambient, election * (1 + 2 * times));
        self.wait(election / 2);
        for _ in 0..times {
            let band = if self.coin() { Band::Short } else { Band::Around };
            let (lasts, fault) = (self.lasts(band), self.strike_leader());
            self.begin(fault, lasts);
            self.wait(election * 2);
        }
    }

    fn clock_step(&mut self) {
        let election = self.stage.timing.election_ms();
        let selector = if self.coin() { Selector::One } else { Selector::All };
        let effect = ClockEffect::draw(self.stage.nodes.len(), |_| true, self.rng);
        let targets = self.targets(&selector);
        let lasts = self.lasts(Band::Above);
        // A paused node does not report its time, so leaders are killed or cut off.
        let leader = self.leader();
        let fault = if self.coin() { self.kill(&leader) } else { self.isolate(&leader) };
        let away = self.begin(fault, lasts);
        let (after, steps) = (self.between(0, election), self.lasts(Band::Above));
        self.after_start(away, after, Fault::Clock { effect, targets }, steps);
    }

    fn rolling_leader(&mut self) {
        let mut last: Option<(Number, u64)> = None;
        for _ in 0..self.between(3, 5) {
            let lasts = self.lasts(Band::Above).max(2 * HANDOVER_MS);
            let leader = self.leader();
            let cut = Cut::Isolate(self.targets(&leader));
            let fault = Fault::Partition { shape: PartitionShape::IsolateLeader, cut };
            let number = match last {
                None => self.begin(fault, lasts),
                Some((before, lasted)) => {
                    self.after_start(before, lasted.saturating_sub(HANDOVER_MS), fault, lasts)
                }
            };
            last = Some((number, lasts));
        }
    }

    fn succession(&mut self) {
        let election = self.stage.timing.election_ms();
        // Shorter than it takes until the others do without the follower, as a rule: it may lead next.
        let held = self.between(election / 2, election * 9 / 10);
        let fault = if self.coin() {
            Fault::Pause { targets: self.targets(&Selector::Follower) }
        } else {
            self.isolate(&Selector::Follower)
        };
        self.begin(fault, held);
        let leader = self.leader();
        // The leader writes what the follower lacks.
        let writes = self.between(10, 150);
        self.wait(writes);
        // Its return may be what tells the others to replace it.
        let (fault, lasts) = (self.kill(&leader), self.between(30, 150).min(held));
        let first = self.begin(fault, lasts);
        // By the time that its successor is there.
        let after = self.between(election / 10, election / 2);
        let (fault, band) = if self.coin() {
            (self.kill(&leader), Band::Short)
        } else {
            (self.strike(&leader), Band::Around)
        };
        let lasts = self.lasts(band);
        self.after_heal(first, after, fault, lasts);
    }
}

#[cfg(test)]
mod tests;
