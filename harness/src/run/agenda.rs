//! The agenda of a run: the next fault to start or stop, and its time, given how long earlier faults took.

use std::collections::BTreeMap;
use std::time::Duration;

use duress_history::NodeId;
use duress_nemesis::schedule::joins;
use duress_nemesis::trigger::Event;
use duress_nemesis::{Fault, LossLimit, ScheduledFault};

/// A step of the schedule that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScheduleEvent<'a> {
    /// A fault begins to wait for its event.
    Wait(&'a ScheduledFault),
    /// A fault starts.
    Start(&'a ScheduledFault),
    /// A fault stops.
    Stop(&'a ScheduledFault),
    /// A fault is dropped, for this reason.
    Skip(&'a ScheduledFault, &'static str),
}

/// The event that a fault waited for, as it was observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The time at which the fault is due.
    pub due: Duration,
    /// A description of the observation.
    pub what: String,
    /// The node at which it was observed, for an event of a node.
    pub node: Option<NodeId>,
}

/// A fault that has not started.
#[derive(Debug)]
struct Pending<'a> {
    fault: &'a ScheduledFault,
    /// The moment since which it waits for its event, and the observation of the event.
    waits: Option<(Duration, Option<Seen>)>,
}

/// The start and the end of a past fault.
#[derive(Clone, Copy, Debug, Default)]
struct Past {
    started: Option<Duration>,
    /// Also set for a skipped fault, which has no start.
    over: Option<Duration>,
}

/// The remaining events of the schedule. Times are since clients began.
///
/// Each fault stays in force for its planned duration from the moment it took hold. If a fault should have
/// ended before another begins, and the two do not fit together, the other waits for it. Otherwise the
/// schedule is kept.
#[derive(Debug)]
pub struct Agenda<'a> {
    /// The faults that have not started, in the order of the schedule.
    pending: Vec<Pending<'a>>,
    /// The faults in force, and the time at which each stops.
    stops: BTreeMap<u32, (Duration, &'a ScheduledFault)>,
    past: BTreeMap<u32, Past>,
    until: Duration,
    /// The latest moment passed to the agenda.
    now: Duration,
    nodes: Vec<NodeId>,
    losses: LossLimit,
}

impl<'a> Agenda<'a> {
    /// Returns the agenda of `schedule` for a cluster of `nodes`. No fault is in force past `until`, and a
    /// late fault does not make others disable more nodes than `losses` allows.
    #[must_use]
    pub fn new(
        schedule: &'a [ScheduledFault],
        until: Duration,
        nodes: Vec<NodeId>,
        losses: LossLimit,
    ) -> Self {
        let pending = schedule.iter().map(|fault| Pending { fault, waits: None }).collect();
        Self {
            pending,
            stops: BTreeMap::new(),
            past: BTreeMap::new(),
            until,
            now: Duration::ZERO,
            nodes,
            losses,
        }
    }

    /// Returns the next step and its time; `None` when everything is done. At the same moment, stops come
    /// first.
    #[must_use]
    pub fn next(&self) -> Option<(Duration, ScheduleEvent<'a>)> {
        let stops = self.stops.values().map(|(at, fault)| (*at, 0, fault.id, ScheduleEvent::Stop(fault)));
        let starts = self.pending.iter().filter_map(|pending| {
            let (at, cue) = self.due(pending)?;
            Some((at, 1, pending.fault.id, cue))
        });
        let next = stops.chain(starts).min_by_key(|(at, rank, id, _)| (*at, *rank, *id));
        next.map(|(at, _, _, cue)| (at, cue))
    }

    /// Returns the next step of a fault that has not started; `None` while it depends on another fault only.
    fn due(&self, pending: &Pending<'a>) -> Option<(Duration, ScheduleEvent<'a>)> {
        let fault = pending.fault;
        let (at, cue) = match (&fault.on, &pending.waits) {
            (None, _) => {
                let start = Duration::from_millis(fault.start_ms);
                (self.earliest(fault, start), ScheduleEvent::Start(fault))
            }
            (Some(_), None) => (Duration::from_millis(fault.start_ms), ScheduleEvent::Wait(fault)),
            // A fault whose event comes while others keep it from starting waits for the next event, or for the others if
            // there is no next one.
            (Some(_), Some((_, Some(seen)))) => match self.earliest(fault, seen.due) {
                at if at > seen.due && fault.is_open() => (at, ScheduleEvent::Wait(fault)),
                at => (at, ScheduleEvent::Start(fault)),
            },
            (Some(trigger), Some((since, None))) => {
                // A fault that waits for another fault waits until that fault has been healed or dropped.
                if let Event::Start { fault: Some(of), .. } | Event::Heal { fault: Some(of), .. } =
                    trigger.event
                {
                    let over = self.past.get(&of).and_then(|past| past.over)?;
                    return Some((
                        over.max(*since),
                        ScheduleEvent::Skip(fault, "the fault that it waits for did not take hold"),
                    ));
                }
                match trigger.anyway {
                    true => (self.earliest(fault, fault.latest()), ScheduleEvent::Start(fault)),
                    false => (fault.latest(), ScheduleEvent::Skip(fault, "its event did not come in time")),
                }
            }
        };
        if at.max(self.now) >= self.until && !matches!(cue, ScheduleEvent::Skip(..)) {
            return Some((self.until, ScheduleEvent::Skip(fault, "the clients' time was over before")));
        }
        Some((at, cue))
    }

    /// Returns when `fault`, due at `start`, can start: at `start`, or as soon as the faults in force that
    /// were not planned beside it allow it. Those should have ended before, or one of the two waits for an
    /// open event.
    fn earliest(&self, fault: &ScheduledFault, start: Duration) -> Duration {
        let mut stops: Vec<(Duration, &ScheduledFault)> = self.stops.values().copied().collect();
        stops.sort_by_key(|(at, fault)| (*at, fault.id));
        let mut earliest = start;
        while let Some((at, _)) = stops.first().copied() {
            let in_force: Vec<&Fault> = stops.iter().map(|(_, other)| &other.fault).collect();
            let unplanned = |other: &ScheduledFault| {
                other.stop_ms <= fault.start_ms || other.is_open() || fault.is_open()
            };
            let late = stops.iter().filter(|(_, other)| unplanned(other));
            let late: Vec<&Fault> = late.map(|(_, other)| &other.fault).collect();
            if joins(&fault.fault, &in_force, &late, &self.nodes, self.losses) {
                break;
            }
            earliest = at.max(start);
            stops.remove(0);
        }
        earliest
    }

    /// Makes `fault` wait for its event from `now` on. If it waits for another fault, that may have happened
    /// already.
    pub fn waits(&mut self, fault: &ScheduledFault, now: Duration) {
        for pending in self.pending.iter_mut().filter(|pending| pending.fault.id == fault.id) {
            pending.waits = Some((now, None));
        }
        let past: Vec<(u32, Past)> = self.past.iter().map(|(id, past)| (*id, *past)).collect();
        for (id, Past { started, over }) in past {
            if let Some(started) = started {
                self.happened(id, started, Phase::Start);
                if let Some(over) = over {
                    self.happened(id, over, Phase::Heal);
                }
            }
        }
    }

    /// Records that the event of fault `id` was observed. Returns whether the fault now starts: it does not if
    /// it has to wait for the next event, or is not pending any more.
    pub fn seen(&mut self, id: u32, seen: Seen) -> bool {
        let Some(at) = self.pending.iter().position(|pending| pending.fault.id == id) else { return false };
        if let Some((_, found)) = &mut self.pending[at].waits {
            found.get_or_insert(seen);
        }
        matches!(self.due(&self.pending[at]), Some((_, ScheduleEvent::Start(_))))
    }

    /// Returns the observation of the event that `fault` waits for.
    #[must_use]
    pub fn event_of(&self, fault: &ScheduledFault) -> Option<Seen> {
        let pending = self.pending.iter().find(|pending| pending.fault.id == fault.id)?;
        pending.waits.as_ref()?.1.clone()
    }

    /// Records that `fault` took hold at `since`, or could not be injected.
    pub fn started(&mut self, fault: &'a ScheduledFault, since: Duration) {
        self.pending.retain(|pending| pending.fault.id != fault.id);
        self.stops.insert(fault.id, ((since + fault.lasts()).min(self.until), fault));
        self.now = self.now.max(since);
        self.past.entry(fault.id).or_default().started = Some(since);
        self.happened(fault.id, since, Phase::Start);
    }

    /// Records that `fault` is not going to be injected.
    pub fn skipped(&mut self, fault: &ScheduledFault, now: Duration) {
        self.pending.retain(|pending| pending.fault.id != fault.id);
        self.past.entry(fault.id).or_default().over = Some(now);
    }

    /// Records that `fault` was healed at `now`, or could not be.
    pub fn stopped(&mut self, fault: &ScheduledFault, now: Duration) {
        self.stops.remove(&fault.id);
        self.now = self.now.max(now);
        self.past.entry(fault.id).or_default().over = Some(now);
        self.happened(fault.id, now, Phase::Heal);
    }

    /// Passes on that fault `id` went through `phase` at `when`, to the faults that wait for it.
    fn happened(&mut self, id: u32, when: Duration, phase: Phase) {
        for pending in &mut self.pending {
            let (Some(trigger), Some((since, seen @ None))) = (&pending.fault.on, &mut pending.waits) else {
                continue;
            };
            let (of, after_ms, wanted, what) = match trigger.event {
                Event::Start { fault, after_ms } => (fault, after_ms, Phase::Start, "start"),
                Event::Heal { fault, after_ms } => (fault, after_ms, Phase::Heal, "heal"),
                _ => continue,
            };
            // A fault that waits for any fault only counts phases that come while it waits.
            if wanted == phase && of.map_or(when >= *since, |of| of == id) {
                let due = when + Duration::from_millis(after_ms);
                let what = format!("{after_ms} ms after the {what} of fault {id}");
                *seen = Some(Seen { due, what, node: None });
            }
        }
    }
}

/// A phase of a fault for which another fault may wait.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Start,
    Heal,
}

#[cfg(test)]
mod tests {
    use duress_nemesis::Trigger;
    use duress_nemesis::packet::PacketEffect;
    use duress_nemesis::selector::Targets;

    use super::*;

    fn fault(id: u32, start_ms: u64, stop_ms: u64) -> ScheduledFault {
        let targets = Targets::Nodes(vec![NodeId::new("n1")]);
        ScheduledFault { id, start_ms, stop_ms, on: None, fault: Fault::Kill { targets } }
    }

    fn waiting(id: u32, start_ms: u64, stop_ms: u64, lasts_ms: u64, event: Event) -> ScheduledFault {
        ScheduledFault {
            on: Some(Trigger { event, lasts_ms, anyway: false }),
            ..fault(id, start_ms, stop_ms)
        }
    }

    /// Returns the agenda for three nodes that tolerate the loss of one.
    fn agenda(schedule: &[ScheduledFault]) -> Agenda<'_> {
        let nodes = ["n1", "n2", "n3"].map(NodeId::new).to_vec();
        Agenda::new(schedule, Duration::from_secs(10), nodes, LossLimit::tolerated(1))
    }

    /// Plays a schedule in which each fault takes `takes_ms` to take hold. Returns each step with its time.
    fn played(schedule: &[ScheduledFault], takes_ms: u64) -> Vec<(u64, &'static str, u32)> {
        let mut agenda = agenda(schedule);
        let (mut now, mut seen) = (Duration::ZERO, Vec::new());
        while let Some((at, cue)) = agenda.next() {
            now = now.max(at);
            let at_ms = now.as_millis() as u64;
            match cue {
                ScheduleEvent::Wait(fault) => agenda.waits(fault, now),
                ScheduleEvent::Skip(fault, _) => {
                    seen.push((at_ms, "skip", fault.id));
                    agenda.skipped(fault, now);
                }
                ScheduleEvent::Start(fault) => {
                    seen.push((at_ms, "start", fault.id));
                    now += Duration::from_millis(takes_ms);
                    agenda.started(fault, now);
                }
                ScheduleEvent::Stop(fault) => {
                    seen.push((at_ms, "stop", fault.id));
                    agenda.stopped(fault, now);
                }
            }
        }
        seen
    }

    #[test]
    fn quick_injections_keep_to_the_schedule() {
        let schedule = [fault(1, 1000, 2000), fault(2, 1500, 2500), fault(3, 2000, 3000)];
        let expected = [
            (1000, "start", 1),
            (1500, "start", 2),
            (2000, "stop", 1),
            (2000, "start", 3),
            (2500, "stop", 2),
            (3000, "stop", 3),
        ];
        assert_eq!(played(&schedule, 0), expected);
    }

    #[test]
    fn a_slow_injection_lasts_as_long_and_what_was_to_follow_it_does() {
        let schedule = [fault(1, 1000, 2000), fault(2, 2100, 3000), fault(3, 3000, 3100)];
        let expected = [
            (1000, "start", 1),
            (4000, "stop", 1),
            (4000, "start", 2),
            (6900, "stop", 2),
            // Its own time passed long ago, while the one before it was still pending.
            (6900, "start", 3),
            (9000, "stop", 3),
        ];
        assert_eq!(played(&schedule, 2000), expected);
    }

    #[test]
    fn what_is_late_holds_up_only_what_it_does_not_go_together_with() {
        let of = |fault: &ScheduledFault, kind: fn(Targets) -> Fault, node: &str| ScheduledFault {
            fault: kind(Targets::Nodes(vec![NodeId::new(node)])),
            ..fault.clone()
        };
        let slow =
            |targets| Fault::Packet { effect: PacketEffect::Delay(Duration::from_millis(50)), targets };
        let schedule = [
            fault(1, 1000, 1100),
            // Another disabled node would be one too many; slow links disable none.
            of(&fault(2, 1200, 1300), |targets| Fault::Kill { targets }, "n2"),
            of(&fault(3, 1200, 1400), slow, "n3"),
        ];
        let mut agenda = agenda(&schedule);
        agenda.started(&schedule[0], Duration::from_millis(1900));
        let start = Duration::from_millis(1200);
        assert_eq!(agenda.earliest(&schedule[1], start), Duration::from_millis(2000));
        assert_eq!(agenda.earliest(&schedule[2], start), start);
    }

    #[test]
    fn nothing_is_in_force_past_the_end() {
        let schedule = [fault(1, 9000, 9900), fault(2, 9950, 9990)];
        let expected = [(9000, "start", 1), (10_000, "stop", 1), (10_000, "skip", 2)];
        assert_eq!(played(&schedule, 800), expected);
    }

    #[test]
    fn a_fault_follows_the_one_that_it_waits_for() {
        let heal = |of| Event::Heal { fault: Some(of), after_ms: 30 };
        let start = |of| Event::Start { fault: Some(of), after_ms: 70 };
        let schedule = [
            fault(1, 1000, 1200),
            waiting(2, 1000, 1400, 300, start(1)),
            waiting(3, 1200, 1350, 100, heal(1)),
            // Waits for a fault that never takes hold.
            waiting(4, 1200, 1500, 100, heal(9)),
        ];
        // Everything takes 100 ms longer than planned, and so do the faults that wait for it.
        let expected = [
            (1000, "start", 1),
            (1170, "start", 2),
            (1300, "stop", 1),
            (1330, "start", 3),
            (1530, "stop", 3),
            (1570, "stop", 2),
        ];
        assert_eq!(played(&schedule[..3], 100), expected);
        let mut agenda = agenda(&schedule);
        agenda.skipped(&ScheduledFault { id: 9, ..fault(9, 0, 1) }, Duration::from_millis(500));
        agenda.waits(&schedule[3], Duration::from_millis(1200));
        let skipped = agenda.due(&agenda.pending[3]).expect("it is due");
        assert!(matches!(skipped.1, ScheduleEvent::Skip(fault, _) if fault.id == 4));
    }

    #[test]
    fn a_fault_that_follows_another_does_not_strike_into_a_late_one() {
        let follows = Event::Heal { fault: Some(1), after_ms: 30 };
        let schedule = [fault(1, 100, 200), fault(2, 1000, 1100), waiting(3, 1150, 1400, 100, follows)];
        let expected = [
            (100, "start", 1),
            (300, "stop", 1),
            (1000, "start", 2),
            (1200, "stop", 2),
            // The node that both strike is there again.
            (1200, "start", 3),
            (1400, "stop", 3),
        ];
        assert_eq!(played(&schedule, 100), expected);
    }

    #[test]
    fn an_event_that_does_not_come_is_not_waited_for_any_longer() {
        let schedule = [waiting(1, 1000, 5000, 500, Event::LeaderChange), fault(2, 5100, 5200)];
        let expected = [(4500, "skip", 1), (5100, "start", 2), (5200, "stop", 2)];
        assert_eq!(played(&schedule, 0), expected);
        let anyway = Trigger { event: Event::LeaderChange, lasts_ms: 500, anyway: true };
        let drawn = [ScheduledFault { on: Some(anyway), ..schedule[0].clone() }, schedule[1].clone()];
        let expected = [(4500, "start", 1), (5000, "stop", 1), (5100, "start", 2), (5200, "stop", 2)];
        assert_eq!(played(&drawn, 0), expected, "a fault whose event was drawn begins without it");
        let mut agenda = agenda(&schedule);
        agenda.waits(&schedule[0], Duration::from_secs(1));
        let seen = Seen { due: Duration::from_millis(1700), what: "n2 leads".to_owned(), node: None };
        assert!(agenda.seen(1, seen.clone()));
        assert_eq!(agenda.next(), Some((seen.due, ScheduleEvent::Start(&schedule[0]))));
        assert_eq!(agenda.event_of(&schedule[0]), Some(seen));
    }

    #[test]
    fn an_event_that_comes_at_a_bad_moment_is_waited_for_anew() {
        let schedule = [fault(1, 1000, 2000), waiting(2, 500, 9000, 300, Event::Operation { number: 5 })];
        let mut agenda = agenda(&schedule);
        agenda.waits(&schedule[1], Duration::from_millis(500));
        agenda.started(&schedule[0], Duration::from_millis(1000));
        let seen = |due_ms| Seen { due: Duration::from_millis(due_ms), what: "5".to_owned(), node: None };
        // At most one node may be disabled.
        assert!(!agenda.seen(2, seen(1500)));
        let stop = Duration::from_millis(2000);
        assert_eq!(agenda.next(), Some((stop, ScheduleEvent::Stop(&schedule[0]))));
        agenda.stopped(&schedule[0], stop);
        agenda.waits(&schedule[1], stop);
        assert!(agenda.seen(2, seen(2100)));
        let due = Duration::from_millis(2100);
        assert_eq!(agenda.next(), Some((due, ScheduleEvent::Start(&schedule[1]))));
    }
}
