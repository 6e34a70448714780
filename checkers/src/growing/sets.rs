//! One set while its history grows: the conditions of [`crate::set`] for linearizability, kept up by event.
//!
//! An element is *settled* once it has been known before any operation was invoked that can still be answered: every later
//! answer must have it, and it is only counted. Answers are compared with those of reads that may have run beside theirs: each of
//! two that did not has the elements that the other one made known. The answers kept are ordered by inclusion, so that a new
//! one is compared with the next smaller and the next larger one only. What grows is the set itself.

use std::collections::BTreeMap;

use duress_history::set::{Set, SetOp};
use duress_history::{OpType, Scalar};
use rustc_hash::FxHashMap;

use super::{Break, Ended, Moment, Object};

const NEVER: Moment = Moment::MAX;

/// A set, empty at first.
#[derive(Default)]
pub struct Sets {
    ids: FxHashMap<Scalar, u32>,
    elements: Vec<Element>,
    /// Those that are not settled, and may be in the set.
    unsettled: Vec<u32>,
    settled: usize,
    /// By how many elements they have.
    answers: BTreeMap<usize, Answer>,
}

/// One element.
struct Element {
    /// The invocations of the adds that did not fail.
    adds: Vec<Moment>,
    /// From when on it is known to be there: an add was acknowledged, or a read that has it was answered.
    known: Moment,
    /// When the first read that has it was answered.
    seen: Moment,
    /// When the last read that has it was answered.
    last: Moment,
    place: Place,
}

/// The state of an element.
#[derive(PartialEq, Eq)]
enum Place {
    /// Nothing that did not fail was to add it.
    Nowhere,
    Unsettled,
    Settled,
}

/// The answer of a read.
struct Answer {
    at: Moment,
    /// How many elements were settled when it was answered: it has all of them.
    settled: usize,
    /// The others that it has.
    elements: Vec<u32>,
}

impl Object for Sets {
    type Action = Set;

    fn key(action: &Set) -> Option<&Scalar> {
        action.key.as_ref()
    }

    fn begin(&mut self, asked: &Set, at: Moment, _: Moment) -> Result<(), Break> {
        let SetOp::Add(value) = &asked.op else { return Ok(()) };
        let next = self.elements.len() as u32;
        let id = *self.ids.entry(value.clone()).or_insert(next);
        if id == next {
            let (adds, place) = (Vec::new(), Place::Nowhere);
            self.elements.push(Element { adds, known: NEVER, seen: NEVER, last: NEVER, place });
        }
        let element = &mut self.elements[id as usize];
        element.adds.push(at);
        if element.place == Place::Nowhere {
            element.place = Place::Unsettled;
            self.unsettled.push(id);
        }
        Ok(())
    }

    fn end(&mut self, ended: &Ended<'_, Set>, oldest: Moment) -> Result<(), Break> {
        match (&ended.answer.op, ended.op_type) {
            (SetOp::Read(Some(values)), OpType::Ok) => self.read(values, ended, oldest),
            (SetOp::Add(value), OpType::Ok | OpType::Fail) => {
                let id = *self.ids.get(value).ok_or(Break::Beyond)?;
                let element = &mut self.elements[id as usize];
                if ended.op_type == OpType::Ok {
                    element.known = element.known.min(ended.at);
                    return Ok(());
                }
                element.adds.retain(|begun| *begun != ended.begun);
                // A read has it, and no other add had begun by then.
                let earliest = element.adds.iter().min().copied().unwrap_or(NEVER);
                if element.place != Place::Settled && element.seen != NEVER && element.seen < earliest {
                    return Err(Break::Anomaly);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Sets {
    /// A read was answered with `values`.
    fn read(&mut self, values: &[Scalar], ended: &Ended<'_, Set>, oldest: Moment) -> Result<(), Break> {
        // The read itself is no longer among those that can be answered.
        self.settle(oldest.min(ended.begun));
        let now = ended.at;
        let (mut has, mut settled, mut latest_begun) = (Vec::new(), 0, 0);
        for value in values {
            let id = *self.ids.get(value).ok_or(Break::Anomaly)?;
            let element = &mut self.elements[id as usize];
            if element.place == Place::Nowhere || std::mem::replace(&mut element.last, now) == now {
                return Err(Break::Anomaly);
            }
            if element.place == Place::Settled {
                settled += 1;
                continue;
            }
            latest_begun = latest_begun.max(element.adds.iter().min().copied().ok_or(Break::Anomaly)?);
            has.push(id);
        }
        // It must have what was known when it began, and what was known before anything began that it has.
        let known_before = ended.begun.max(latest_begun);
        let elements = &self.elements;
        let lacks =
            |id: &u32| elements[*id as usize].known < known_before && elements[*id as usize].last != now;
        if settled < self.settled || self.unsettled.iter().any(lacks) {
            return Err(Break::Anomaly);
        }
        let size = values.len();
        let smaller = self.answers.range(..=size).next_back();
        let larger = self.answers.range(size..).next();
        for (_, other) in smaller.into_iter().chain(larger) {
            let common = other.elements.iter().filter(|id| elements[**id as usize].last == now).count();
            if common < other.elements.len() && common + other.settled < size {
                return Err(Break::Anomaly);
            }
        }
        for id in &has {
            let element = &mut self.elements[*id as usize];
            element.known = element.known.min(now);
            element.seen = element.seen.min(now);
        }
        self.answers.insert(size, Answer { at: now, settled: self.settled, elements: has });
        Ok(())
    }

    /// Counts elements that every later answer must have, and forgets answers that no later one can run beside.
    fn settle(&mut self, oldest: Moment) {
        let Self { elements, unsettled, settled, answers, .. } = self;
        unsettled.retain(|id| {
            let element = &mut elements[*id as usize];
            if element.known < oldest {
                element.place = Place::Settled;
                element.adds = Vec::new();
                *settled += 1;
            } else if element.adds.is_empty() {
                element.place = Place::Nowhere;
            }
            element.place == Place::Unsettled
        });
        answers.retain(|_, answer| answer.at >= oldest);
    }
}
