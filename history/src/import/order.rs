//! The order in which recorded events happened.
//!
//! Lines are in that order if one recorder wrote them. If several clients kept logs of their own, each log is
//! in order and the lines are not, also after the logs were joined into one file; then `time` gives the
//! order. So:
//!
//! | | order |
//! |---|---|
//! | `index` rises from line to line | that of the lines; a `time` that steps back a little is raised to the one before it |
//! | no `index`, and `time` never falls, or is missing | that of the lines |
//! | otherwise, or several files, and the `time` of each process never falls | by `time` |
//! | otherwise, and the `index` of each process rises, each number once | by `index` |
//! | otherwise | refused |
//!
//! At equal times, operations are assumed to overlap: invocations come before completions. If that is
//! impossible, the history is refused, because two orders would be possible and verdicts may differ.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use crate::error::ReadError;
use crate::event::{Event, History, OpType, Process, Timing};
use crate::nemesis::NemesisEvent;

/// The time of an event without one.
pub(crate) const MISSING: i64 = i64::MIN;

/// How far `time` may step back where `index` rises, in nanoseconds: clocks are read by several threads.
const STEP_BACK_MAX: i64 = 1_000_000_000;

/// The source of the order of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The source that the file suggests; see [`import`](crate::import).
    #[default]
    Auto,
    /// Lines are in the order of events.
    File,
    /// Times are.
    Time,
}

/// A value that is lower than the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fall {
    line: u64,
    found: i64,
    before: i64,
}

impl Fall {
    fn refused(self, field: &'static str, trouble: &'static str) -> ReadError {
        ReadError::Order { line: self.line, field, found: self.found, before: self.before, trouble }
    }
}

/// The evidence of the lines on the order of events.
#[derive(Debug, Default)]
pub(crate) struct Sequence {
    pub(crate) entries: u64,
    /// Whether operations were recorded as a whole: their times are all that there is.
    pub(crate) of_operations: bool,
    files: u32,
    indexed: u64,
    timed: u64,
    last_index: Option<u64>,
    last_time: Option<i64>,
    negative: bool,
    index_fall: Option<Fall>,
    time_fall: Option<Fall>,
    /// The greatest fall of time.
    deepest: Option<Fall>,
    process_time_fall: Option<Fall>,
    process_index_fall: Option<Fall>,
}

impl Sequence {
    pub(crate) fn begin_file(&mut self) {
        self.files += 1;
        self.last_index = None;
        self.last_time = None;
    }

    /// Takes note of an event with `index`, if it has one, at `time`; returns its index.
    pub(crate) fn follow(&mut self, line: u64, index: Option<u64>, time: i64) -> u64 {
        self.entries += 1;
        self.indexed += u64::from(index.is_some());
        let index = index.unwrap_or_else(|| self.last_index.map_or(0, |last| last.saturating_add(1)));
        if let Some(last) = self.last_index
            && index <= last
        {
            self.index_fall.get_or_insert(Fall { line, found: index as i64, before: last as i64 });
        }
        self.last_index = Some(index);
        if time != MISSING {
            self.timed += 1;
            self.negative |= time < 0;
            let last = self.last_time.unwrap_or(time);
            if time < last {
                let fall = Fall { line, found: time, before: last };
                self.time_fall.get_or_insert(fall);
                let depth = |fall: Fall| fall.before.saturating_sub(fall.found);
                if self.deepest.is_none_or(|deepest| depth(deepest) < depth(fall)) {
                    self.deepest = Some(fall);
                }
            }
            self.last_time = Some(last.max(time));
        }
        index
    }

    /// Records the last and the present value of a process.
    pub(crate) fn follow_process(
        &mut self,
        line: u64,
        (last_index, index): (u64, u64),
        (last_time, time): (i64, i64),
    ) {
        if time < last_time && time != MISSING {
            self.process_time_fall.get_or_insert(Fall { line, found: time, before: last_time });
        }
        if index < last_index {
            self.process_index_fall.get_or_insert(Fall {
                line,
                found: index as i64,
                before: last_index as i64,
            });
        }
    }

    fn decide_by_time(&self) -> Result<By, ReadError> {
        match self.process_time_fall {
            _ if self.timed < self.entries => {
                Err(ReadError::NoCommonOrder("not every event has a `time`, so that times give no order"))
            }
            None => Ok(By::Time),
            Some(fall) => Err(fall.refused("time", "and both are of one process: its clock stepped back")),
        }
    }

    /// Returns the source of the order, if `asked` is requested.
    fn decide(&self, asked: Order) -> Result<By, ReadError> {
        let several = self.files > 0;
        let all_timed = self.timed == self.entries;
        let all_indexed = self.indexed == self.entries;
        match asked {
            Order::Auto | Order::File if self.of_operations => return self.decide_by_time(),
            Order::File if several => {
                return Err(ReadError::NoCommonOrder(
                    "the lines of several files have no order among them: join the files",
                ));
            }
            Order::File => return Ok(By::Lines),
            Order::Time => return self.decide_by_time(),
            Order::Auto => {}
        }
        if !several {
            match (self.index_fall, self.deepest) {
                (None, None) => return Ok(By::Lines),
                (None, Some(fall)) if all_indexed => {
                    return if fall.before.saturating_sub(fall.found) <= STEP_BACK_MAX {
                        Ok(By::Lines)
                    } else {
                        Err(fall.refused("time", "although `index` rises: say with --order file or --order time which of them is right"))
                    };
                }
                _ => {}
            }
        }
        if all_timed && self.process_time_fall.is_none() {
            return Ok(By::Time);
        }
        if all_indexed && self.process_index_fall.is_none() {
            return Ok(By::Index);
        }
        let separately = "and both are of one process: if logs of several clients were joined, give each as a file of its \
                          own; if the lines are in the order of events, say so with --order file";
        let untimed = "and not every event has a `time` to order them by: if the lines are in the order of events, say so \
                       with --order file";
        Err(match (self.process_time_fall, self.index_fall.or(self.time_fall)) {
            (Some(fall), _) if all_timed => fall.refused("time", separately),
            (_, Some(fall)) => {
                fall.refused(if self.index_fall.is_some() { "index" } else { "time" }, untimed)
            }
            _ => ReadError::NoCommonOrder("several files are merged by `time`, and not every event has one"),
        })
    }
}

/// The source of the order of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Lines,
    Time,
    Index,
}

/// Events in the order of their lines, and what those say of their order. Times are `i64` in the bits of `u64`.
pub(crate) struct Recorded<A> {
    pub(crate) history: History<A>,
    /// For each event of the nemesis, the number of client events before it.
    pub(crate) nemesis_after: Vec<usize>,
    pub(crate) sequence: Sequence,
}

/// Returns the history in the order in which its events happened.
///
/// # Errors
/// [`ReadError::Order`], [`ReadError::NoCommonOrder`] and [`ReadError::Tied`] where that is unclear.
pub(crate) fn arrange<A>(recorded: Recorded<A>, asked: Order) -> Result<History<A>, ReadError> {
    let by = recorded.sequence.decide(asked)?;
    let Recorded { mut history, mut nemesis_after, sequence } = recorded;
    match by {
        By::Lines => {}
        By::Time => merge(&mut history, &mut nemesis_after, By::Time, |time, _| time)?,
        By::Index => merge(&mut history, &mut nemesis_after, By::Index, |_, index| index as i64)?,
    }
    let renumber = by == By::Time || (by == By::Lines && sequence.index_fall.is_some());
    let untouched = by == By::Lines
        && !renumber
        && sequence.time_fall.is_none()
        && !sequence.negative
        && sequence.timed == sequence.entries;
    if !untouched {
        settle(&mut history, &nemesis_after, renumber);
    }
    Ok(history)
}

/// Fills in times that are missing, raises those that fall, begins at 0 where some are negative, and, where asked to,
/// numbers events from 0.
fn settle<A>(history: &mut History<A>, nemesis_after: &[usize], renumber: bool) {
    let times =
        history.events.iter().map(|event| event.time).chain(history.nemesis.iter().map(|event| event.time));
    let lowest = times.map(|time| time as i64).filter(|time| *time != MISSING).min().unwrap_or(0).min(0);
    let (mut last, mut next_index) = (0, 0);
    let mut timing = Timing::Recorded;
    let mut settle = |index: &mut u64, time: &mut u64| {
        let own = (*time as i64 != MISSING).then(|| (*time as i64).wrapping_sub(lowest) as u64);
        if own.is_none_or(|own| own < last) {
            timing = Timing::Incomplete;
        }
        last = last.max(own.unwrap_or(last));
        *time = last;
        if renumber {
            *index = next_index;
            next_index += 1;
        }
    };
    let mut nemesis = history.nemesis.iter_mut().zip(nemesis_after).peekable();
    for (at, event) in history.events.iter_mut().enumerate() {
        while let Some((before, _)) = nemesis.next_if(|(_, after)| **after <= at) {
            settle(&mut before.index, &mut before.time);
        }
        settle(&mut event.index, &mut event.time);
    }
    for (after, _) in nemesis {
        settle(&mut after.index, &mut after.time);
    }
    history.timing = timing;
}

/// Puts events in the order of what `key` says of their time and index.
fn merge<A>(
    history: &mut History<A>,
    nemesis_after: &mut [usize],
    by: By,
    key: impl Fn(i64, u64) -> i64,
) -> Result<(), ReadError> {
    let event_key = |event: &Event<A>| key(event.time as i64, event.index);
    let nemesis_key = |event: &NemesisEvent| key(event.time as i64, event.index);
    let mut order: Vec<(i64, usize)> =
        history.events.iter().enumerate().map(|(at, event)| (event_key(event), at)).collect();
    order.sort_unstable();
    let mut from = 0;
    while from < order.len() {
        let same = order[from..].iter().take_while(|(key, _)| *key == order[from].0).count();
        let tied = &mut order[from..from + same];
        if same > 1 {
            if by == By::Index {
                return Err(ReadError::NoCommonOrder(
                    "the same `index` occurs twice, and not every event has a `time` to order them by",
                ));
            }
            overlap(tied, &history.events)?;
        }
        from += same;
    }
    let mut events: Vec<Option<Event<A>>> =
        std::mem::take(&mut history.events).into_iter().map(Some).collect();
    history.events = order.iter().filter_map(|(_, at)| events[*at].take()).collect();
    history.nemesis.sort_by_key(nemesis_key);
    for (event, after) in history.nemesis.iter().zip(nemesis_after) {
        let key = nemesis_key(event);
        *after = order.partition_point(|(other, _)| *other < key);
    }
    Ok(())
}

/// Orders events of one time, each given by its place among `events`, such that their operations overlap.
fn overlap<A>(tied: &mut [(i64, usize)], events: &[Event<A>]) -> Result<(), ReadError> {
    let time = tied[0].0;
    let mut queues: Vec<VecDeque<usize>> = Vec::new();
    let mut places: FxHashMap<Process, usize> = FxHashMap::default();
    for (_, at) in tied.iter() {
        let place = *places.entry(events[*at].process).or_insert_with(|| {
            queues.push(VecDeque::new());
            queues.len() - 1
        });
        queues[place].push_back(*at);
    }
    let op_type = |at: usize| events[at].op_type;
    // A process that has an answer and then asks again: all that others do then cannot overlap with both.
    let goes_on = |queue: &VecDeque<usize>| {
        let answered = queue.iter().position(|at| op_type(*at) == OpType::Ok);
        answered.is_some_and(|answered| queue.iter().skip(answered).any(|at| op_type(*at) == OpType::Invoke))
    };
    if queues.iter().filter(|queue| goes_on(queue)).count() > 1 {
        return Err(ReadError::Tied { time });
    }
    let mut ordered = Vec::with_capacity(tied.len());
    while ordered.len() < tied.len() {
        // Invocations first, then completions that order nothing, then the answer of the process that
        // continues.
        let rank = |queue: &VecDeque<usize>| match queue.front().map(|at| op_type(*at)) {
            Some(OpType::Invoke) => 0,
            Some(OpType::Fail | OpType::Info) => 1,
            Some(OpType::Ok) if goes_on(queue) => 2,
            Some(OpType::Ok) => 3,
            None => 4,
        };
        let next = queues.iter_mut().min_by_key(|queue| rank(queue)).and_then(VecDeque::pop_front);
        ordered.extend(next);
    }
    for ((_, at), ordered) in tied.iter_mut().zip(ordered) {
        *at = ordered;
    }
    Ok(())
}
