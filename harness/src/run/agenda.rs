//! The agenda of a run: the next fault to start or stop, and when, given how long earlier ones took.

use std::collections::BTreeMap;
use std::time::Duration;

use duress_nemesis::ScheduledFault;

/// An event of the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScheduleEvent<'a> {
    /// A fault starts.
    Start(&'a ScheduledFault),
    /// A fault stops.
    Stop(&'a ScheduledFault),
}

/// The remaining events of the schedule. Times are since clients began.
///
/// The schedule is kept, except for two rules that matter when an injection took longer than planned: a fault
/// stays in force for its `hold_ms` after its evidence, and faults that were planned one after the other stay
/// so.
#[derive(Debug)]
pub struct Agenda<'a> {
    /// The faults that have not started, in the order of the schedule.
    starts: Vec<&'a ScheduledFault>,
    /// The faults in force, and when they stop.
    stops: BTreeMap<u32, (Duration, &'a ScheduledFault)>,
    until: Duration,
}

impl<'a> Agenda<'a> {
    /// Returns the agenda of `schedule`, where no fault is held past `until`.
    #[must_use]
    pub fn new(schedule: &'a [ScheduledFault], until: Duration) -> Self {
        Self { starts: schedule.iter().collect(), stops: BTreeMap::new(), until }
    }

    /// Returns the next event, and when. At the same moment, stops come first.
    #[must_use]
    pub fn next(&self) -> Option<(Duration, ScheduleEvent<'a>)> {
        let stop = self.stops.values().min_by_key(|(at, fault)| (*at, fault.id)).copied();
        let start = self.starts.iter().map(|fault| (self.earliest(fault), *fault));
        let start = start.min_by_key(|(at, fault)| (*at, fault.id));
        match (stop, start) {
            (Some((stops, fault)), Some((starts, _))) if stops <= starts => {
                Some((stops, ScheduleEvent::Stop(fault)))
            }
            (_, Some((starts, fault))) => Some((starts, ScheduleEvent::Start(fault))),
            (Some((stops, fault)), None) => Some((stops, ScheduleEvent::Stop(fault))),
            (None, None) => None,
        }
    }

    /// When `fault` starts: at its time, and after everything that was to stop before that.
    fn earliest(&self, fault: &ScheduledFault) -> Duration {
        let before = self.stops.values().filter(|(_, other)| other.stop_ms <= fault.start_ms);
        let stops = before.map(|(at, _)| *at).max().unwrap_or_default();
        stops.max(Duration::from_millis(fault.start_ms))
    }

    /// `fault` was injected, or could not be; it was `now` that this was known.
    pub fn started(&mut self, fault: &'a ScheduledFault, now: Duration) {
        self.starts.retain(|other| other.id != fault.id);
        let planned = Duration::from_millis(fault.stop_ms);
        let held = (now + Duration::from_millis(fault.hold_ms)).min(self.until);
        self.stops.insert(fault.id, (planned.max(held), fault));
    }

    /// `fault` was healed, or could not be.
    pub fn stopped(&mut self, fault: &ScheduledFault) {
        self.stops.remove(&fault.id);
    }
}

#[cfg(test)]
mod tests {
    use duress_history::NodeId;
    use duress_nemesis::Fault;
    use duress_nemesis::selector::Targets;

    use super::*;

    fn fault(id: u32, start_ms: u64, stop_ms: u64) -> ScheduledFault {
        let targets = Targets::Nodes(vec![NodeId::new("n1")]);
        ScheduledFault { id, start_ms, stop_ms, hold_ms: 500, fault: Fault::Kill { targets } }
    }

    /// Plays a schedule where the evidence of each fault takes so many milliseconds: what happened, and when.
    fn played(schedule: &[ScheduledFault], evidence_ms: u64) -> Vec<(u64, &'static str, u32)> {
        let mut agenda = Agenda::new(schedule, Duration::from_secs(10));
        let (mut now, mut seen) = (Duration::ZERO, Vec::new());
        while let Some((at, cue)) = agenda.next() {
            now = now.max(at);
            let at_ms = now.as_millis() as u64;
            match cue {
                ScheduleEvent::Start(fault) => {
                    seen.push((at_ms, "start", fault.id));
                    now += Duration::from_millis(evidence_ms);
                    agenda.started(fault, now);
                }
                ScheduleEvent::Stop(fault) => {
                    seen.push((at_ms, "stop", fault.id));
                    agenda.stopped(fault);
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
        assert_eq!(played(&schedule, 1), expected);
    }

    #[test]
    fn a_slow_injection_is_held_and_what_was_to_follow_it_does() {
        let schedule = [fault(1, 1000, 2000), fault(2, 2100, 3000)];
        let expected = [(1000, "start", 1), (3500, "stop", 1), (3500, "start", 2), (6000, "stop", 2)];
        assert_eq!(played(&schedule, 2000), expected);
    }

    #[test]
    fn nothing_is_held_past_the_end() {
        let schedule = [fault(1, 9000, 9900)];
        assert_eq!(played(&schedule, 800), [(9000, "start", 1), (10_000, "stop", 1)]);
    }
}
