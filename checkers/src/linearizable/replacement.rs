//! Arguments that an operation cannot have seen its value, because another operation had already replaced it.
//!
//! Each rests on two kinds of facts: one operation read from another, and one completed before another began.

use super::call::{Call, Effect, INITIAL, Start, State};
use super::explain::{Case, Proof, step};
use crate::verdict::{AnomalyKind, RelationKind, Role};
use crate::witness::{Op, Statement};

impl Case<'_> {
    /// Returns the only call of the witness that produces `value`; `None` also when it was held first and is
    /// not produced.
    fn producer(&self, value: State) -> Option<usize> {
        self.problem.calls.iter().position(|call| call.effect.produced() == Some(value))
    }

    /// Returns whether each value of the witness comes about once only.
    fn unique(&self) -> bool {
        let mut seen = vec![false; self.problem.states as usize];
        if self.problem.start == Start::Known(INITIAL) {
            seen[INITIAL as usize] = true;
        }
        let produced = self.problem.calls.iter().filter_map(|call| call.effect.produced());
        let mut unique = true;
        for value in produced {
            unique &= !std::mem::replace(&mut seen[value as usize], true);
        }
        unique && self.problem.start == Start::Known(INITIAL)
    }

    /// Explains two compare-and-sets that took effect from one write.
    pub(super) fn lost_update(&self) -> Option<Proof> {
        if !self.unique() || self.is_lock() {
            return None;
        }
        let calls = &self.problem.calls;
        let cas = |at: &usize| matches!(calls[*at].effect, Effect::Cas(..));
        let all: Vec<usize> = (0..calls.len()).filter(cas).collect();
        let (one, other) = all.iter().enumerate().find_map(|(place, one)| {
            let twin = |other: &&usize| calls[**other].effect.observed() == calls[*one].effect.observed();
            all[place + 1..].iter().find(twin).map(|other| (*one, *other))
        })?;
        // Both must have happened: completed, or seen by others of the witness.
        let value = calls[one].effect.observed()?;
        let (text, subject) = (self.value(value), self.subject());
        let (first, second) = (self.named(one), self.named(other));
        let producer = self.producer(value);
        // The two read one and the same write; each replaced the value that the other had read.
        let saw = |statement: Statement, at: usize| match producer {
            Some(producer) => statement.relates(RelationKind::WriteRead, producer as Op, at as Op),
            None => statement,
        };
        let origin = match producer {
            Some(producer) => {
                step(format!("{} alone brought {text} into {subject}.", self.named(producer)), &[producer])
            }
            None => step(format!("At first {subject} held {text}, and no operation wrote it again."), &[]),
        };
        Some(Proof {
            kind: AnomalyKind::LostUpdate,
            summary: format!(
                "{first} and {second} both took effect from one {text} in {subject}: one update is lost"
            ),
            contradicts: other,
            roles: [(one, Role::Overwrite), (other, Role::Overwrite)]
                .into_iter()
                .chain(producer.map(|producer| (producer, Role::Write)))
                .collect(),
            steps: vec![
                origin,
                saw(step(format!("{first} took effect, so it replaced that {text}."), &[one]), one),
                saw(
                    step(format!("{second} took effect, so it replaced that {text} as well."), &[other]),
                    other,
                ),
                step("The second of them found another value, and cannot have succeeded.", &[one, other])
                    .relates(RelationKind::ReadWrite, one as Op, other as Op)
                    .relates(RelationKind::ReadWrite, other as Op, one as Op),
            ],
            witness: None,
        })
    }

    /// Returns the value that the clusters linked by compare-and-sets up to the one of call `at` begin with.
    fn head(&self, at: usize) -> State {
        let mut value = match self.problem.calls[at].effect {
            Effect::Read(value) | Effect::Write(value) | Effect::Cas(_, value) => value,
        };
        for _ in 0..self.problem.calls.len() {
            match self.producer(value).map(|producer| self.problem.calls[producer].effect) {
                Some(Effect::Cas(old, _)) => value = old,
                _ => break,
            }
        }
        value
    }

    /// Returns an observation that another write must have come between: the contradiction of two chains.
    pub(super) fn overwritten(&self) -> Option<Proof> {
        if !self.unique() {
            return None;
        }
        let calls = &self.problem.calls;
        let heads: Vec<State> = (0..calls.len()).map(|at| self.head(at)).collect();
        let ends = |head: State| {
            let own = || (0..calls.len()).filter(|at| heads[*at] == head);
            let first = own().filter(|at| calls[*at].complete.is_some()).min_by_key(|at| calls[*at].complete);
            (first, own().max_by_key(|at| calls[*at].invoke))
        };
        let mut different = heads.clone();
        different.sort_unstable();
        different.dedup();
        // `late` observed, although real time puts `middle`, of another chain, between it and its own chain.
        for old in &different {
            for new in different.iter().filter(|new| *new != old) {
                let ((old_first, Some(late)), (Some(witness), Some(middle))) = (ends(*old), ends(*new))
                else {
                    continue;
                };
                if calls[late].invoke < calls[middle].invoke
                    || calls[late].effect.observed().is_none()
                    || self.may_be_old(late)
                    || self.may_be_old(middle)
                {
                    continue;
                }
                let first = if *old == INITIAL { None } else { Some(old_first?) };
                let begins = first.is_none_or(|first| calls[first].complete < Some(calls[middle].invoke));
                let ends_late = calls[witness].complete < Some(calls[late].invoke);
                if begins && ends_late {
                    return Some(self.overwritten_proof(first, middle, witness, late, *new));
                }
            }
        }
        None
    }

    fn overwritten_proof(
        &self,
        first: Option<usize>,
        middle: usize,
        evidence: usize,
        late: usize,
        new: State,
    ) -> Proof {
        let calls = &self.problem.calls;
        let subject = self.subject();
        let name = |at: usize| self.named(at);
        let seen = calls[late].effect.observed().unwrap_or(INITIAL);
        let text = self.value(seen);
        let mut steps = vec![match self.producer(seen) {
            Some(producer) => step(
                format!(
                    "{} saw {text}, which only {} wrote: between the two {subject} held no other value.",
                    name(late),
                    name(producer)
                ),
                &[late, producer],
            )
            .relates(RelationKind::WriteRead, producer as Op, late as Op),
            None => step(
                format!(
                    "{} saw {text}, which {subject} held at first and no operation wrote again: until then it held \
                     no other value.",
                    name(late)
                ),
                &[late],
            ),
        }];
        for (at, call) in calls.iter().enumerate() {
            // How operations that are not writes of their own belong to one of the two sides.
            if at == late || call.effect.observed().is_none() {
                continue;
            }
            let value = call.effect.observed().unwrap_or(INITIAL);
            if let Some(producer) = self.producer(value) {
                let sentence =
                    format!("{} saw what {} wrote, so it came after it.", name(at), name(producer));
                steps.push(step(sentence, &[at, producer]).relates(
                    RelationKind::WriteRead,
                    producer as Op,
                    at as Op,
                ));
            }
        }
        if let Some(first) = first {
            steps.push(self.before(first, middle));
        }
        steps.push(self.before(evidence, late));
        let overwriter = self.producer(new).unwrap_or(evidence);
        let newer = calls[overwriter].effect.produced().map_or_else(String::new, |value| self.value(value));
        let verb = if matches!(calls[late].effect, Effect::Cas(..)) { "find" } else { "see" };
        let after = first.map(|first| self.producer(seen).unwrap_or(first));
        let about: Vec<usize> = after.into_iter().chain([overwriter, late]).collect();
        let after = after.map_or_else(String::new, |after| format!("after {} and ", self.label(after)));
        steps.push(step(
            format!(
                "So {} took effect {after}before {}, which had to {verb} {newer} or something newer, but saw {text}.",
                self.label(overwriter),
                self.label(late),
            ),
            &about,
        ).relates(RelationKind::ReadWrite, late as Op, overwriter as Op));
        let all = &self.interned.problem.calls;
        let value = calls[overwriter].effect.produced();
        let is_observed =
            |value: Option<State>| value.is_some() && all.iter().any(|call| call.effect.observed() == value);
        // A later write that was there before the read began, and was seen: the read is of an old copy.
        let is_behind = all.iter().any(|write| {
            write.invoke > calls[overwriter].invoke
                && write.complete.is_some_and(|complete| complete < calls[late].invoke)
                && is_observed(write.effect.produced())
        });
        let is_lost = !is_observed(value) && !is_behind && calls[overwriter].complete.is_some();
        let kind = match calls[late].effect {
            Effect::Cas(..) => AnomalyKind::StaleCas,
            _ if is_lost => AnomalyKind::LostWrite,
            _ => AnomalyKind::StaleRead,
        };
        let missed = name(overwriter);
        let summary = match kind {
            AnomalyKind::LostWrite => format!(
                "{missed} was acknowledged and never seen; {}, which began later, saw {text} in {subject}",
                name(late)
            ),
            AnomalyKind::StaleCas => {
                format!("{} succeeded, but {missed} had already replaced {text} in {subject}", name(late))
            }
            _ => format!("{} saw {text} in {subject}, which {missed} had already replaced", name(late)),
        };
        // By the first action of each; the last row shown decides if one did more.
        let mut roles: Vec<(usize, Role)> = (0..calls.len())
            .filter(|at| calls[*at].effect.observed().is_some())
            .map(|at| (at, Role::Evidence))
            .collect();
        roles.extend(self.producer(seen).map(|producer| (producer, Role::Write)));
        roles.extend([(overwriter, Role::Overwrite), (late, Role::Read)]);
        Proof { kind, summary, contradicts: late, roles, steps, witness: None }
    }

    /// Explains an operation that leaves one value and then one that needs another, on a register with
    /// repeated values.
    pub(super) fn replaced(&self) -> Option<Proof> {
        let [first, second] = self.problem.calls[..] else { return None };
        let (Effect::Read(held) | Effect::Write(held) | Effect::Cas(_, held)) = first.effect;
        let needed = second.effect.observed()?;
        if self.is_lock()
            || held == needed
            || self.problem.start != Start::Any
            || first.complete? > second.invoke
        {
            return None;
        }
        // A stale value was there before; a value that was not there before has no simple explanation.
        let earlier = |call: &Call| call.effect.produced() == Some(needed) && call.invoke < first.invoke;
        if needed != INITIAL && !self.interned.problem.calls.iter().any(earlier) {
            return None;
        }
        let (text, subject) = (self.value(needed), self.subject());
        let (one, other) = (self.named(0), self.named(1));
        let (kind, did) = match second.effect {
            Effect::Cas(..) => (AnomalyKind::StaleCas, "found"),
            Effect::Read(_) | Effect::Write(_) => (AnomalyKind::StaleRead, "saw"),
        };
        let newer = self.value(held);
        let summary = match first.effect {
            Effect::Read(_) => {
                format!("{other} {did} {text} in {subject}, although {one} had already seen {newer}")
            }
            Effect::Write(_) | Effect::Cas(..) => {
                format!("{other} {did} {text} in {subject}, which {one} had already replaced")
            }
        };
        let none = format!(
            "No newer {text} could be found: every operation that brings {text} into {subject} had completed before \
             {one} began, or began after {other} had been answered.",
        );
        Some(Proof {
            kind,
            summary,
            contradicts: 1,
            roles: vec![
                (0, if matches!(first.effect, Effect::Read(_)) { Role::Evidence } else { Role::Overwrite }),
                (1, Role::Read),
            ],
            witness: None,
            steps: vec![
                self.before(0, 1),
                step(
                    format!("So {other} had to find {newer}, or something newer, but it {did} {text}."),
                    &[0, 1],
                ),
                step(none, &[0, 1]),
            ],
        })
    }

    /// Explains an operation in a chain of compare-and-sets that began after one that must come later had completed.
    pub(super) fn chained(&self) -> Option<Proof> {
        if !self.unique() || self.is_lock() {
            return None;
        }
        let calls = &self.problem.calls;
        let home = |at: usize| match calls[at].effect {
            Effect::Read(value) | Effect::Write(value) | Effect::Cas(_, value) => value,
        };
        // The compare-and-sets that lead from `from` to `to`, the last first.
        let path = |from: State, to: State| {
            let (mut value, mut path) = (to, Vec::new());
            while value != from && path.len() < calls.len() {
                let producer = self.producer(value)?;
                path.push(producer);
                value = calls[producer].effect.observed()?;
            }
            (value == from && !path.is_empty()).then_some(path)
        };
        let pairs = (0..calls.len()).flat_map(|late| (0..calls.len()).map(move |done| (late, done)));
        let (late, done, mut path) = pairs
            .filter(|(late, done)| {
                !self.may_be_old(*late)
                    && calls[*done].complete.is_some_and(|complete| complete < calls[*late].invoke)
            })
            .find_map(|(late, done)| Some((late, done, path(home(late), home(done))?)))?;
        path.reverse();
        let (subject, seen) = (self.subject(), self.value(home(late)));
        let name = |at: usize| self.named(at);
        let is_read = matches!(calls[late].effect, Effect::Read(_));
        let mut steps = vec![if is_read {
            step(format!("{} saw {seen}, which came into {subject} only once.", name(late)), &[late])
        } else {
            step(format!("{} alone brought {seen} into {subject}.", name(late)), &[late])
        }];
        for at in &path {
            let old = calls[*at].effect.observed().map_or_else(String::new, |value| self.value(value));
            let sentence = format!("{} took effect, so it came after everything that saw {old}.", name(*at));
            steps.push(step(sentence, &[*at]));
        }
        let last = path.last().copied().unwrap_or(done);
        if last != done {
            steps.push(
                step(
                    format!("{} saw what {} wrote, so it came after it.", name(done), name(last)),
                    &[done, last],
                )
                .relates(RelationKind::WriteRead, last as Op, done as Op),
            );
        }
        steps.push(self.before(done, late));
        let conclusion = format!(
            "So {} had to come before {}, which had completed before it began.",
            self.label(late),
            self.label(done)
        );
        steps.push(step(conclusion, &[late, done]));
        let replacer = path.first().copied().unwrap_or(done);
        let mut roles: Vec<(usize, Role)> = path.iter().map(|at| (*at, Role::Overwrite)).collect();
        let (kind, contradicts, summary) = if is_read {
            if !path.contains(&done) {
                roles.push((done, Role::Evidence));
            }
            roles.push((late, Role::Read));
            let replaced = name(replacer);
            (
                AnomalyKind::StaleRead,
                late,
                format!("{} saw {seen} in {subject}, which {replaced} had already replaced", name(late)),
            )
        } else {
            roles.extend([(late, Role::Write), (done, Role::Read)]);
            let summary = format!("{} saw the effect of {} before that began", name(done), name(late));
            (AnomalyKind::FutureRead, done, summary)
        };
        Some(Proof { kind, summary, contradicts, roles, steps, witness: None })
    }
}
