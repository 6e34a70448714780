//! The proof that a read is older than promised, or that a value cannot have been there.

use duress_history::event::Timing;
use duress_history::{Freshness, Scalar};

use super::ages::Found;
use super::nanos;
use crate::linearizable::call::{Effect, Problem, Start, State};
use crate::linearizable::partition::{Interned, Partition};
use crate::linearizable::{anomaly, objects, shown, value_text};
use crate::verdict::{Anomaly, AnomalyKind, RelationKind, Role, WitnessStart};
use crate::witness::{Op, Witness, say};

/// A witness has at most so many of the writes that replaced a value.
const OVERWRITES_MAX: usize = 10;

/// A register that does not keep its promise.
pub(super) struct Case<'a> {
    pub(super) part: &'a Partition<'a>,
    pub(super) interned: &'a Interned<'a>,
    pub(super) promise: Freshness,
    pub(super) timing: Timing,
}

impl Case<'_> {
    fn witness(&self, calls: impl IntoIterator<Item = (usize, Role)>) -> Witness {
        let source =
            |call: usize| self.part.operations.get(self.interned.problem.calls[call].source as usize);
        let operations = calls.into_iter().map(|(call, role)| (call as Op, shown(&source(call), role)));
        Witness::new(objects(self.part), operations)
    }

    fn subject(&self) -> String {
        self.part.key.map_or_else(|| "the register".to_owned(), Scalar::to_string)
    }

    /// Returns the value that the call `read` saw, and the same as text.
    fn saw(&self, read: usize) -> (State, String) {
        let (Effect::Read(value) | Effect::Write(value) | Effect::Cas(value, _)) =
            self.interned.problem.calls[read].effect;
        (value, value_text(self.interned.values[value as usize]))
    }

    /// Proves that the register cannot have held the value that was read; `None` if it can.
    pub(super) fn nowhere(&self, found: &Found) -> Option<Anomaly> {
        let Found::Nowhere { read, other } = *found else { return None };
        let Problem { calls, states, start } = &self.interned.problem;
        let Some(other) = other else {
            let alone = Problem { calls: vec![calls[read]], states: *states, start: *start };
            return Some(anomaly(self.part, self.interned, alone));
        };
        let witness = self.witness([(other, Role::Evidence), (read, Role::Read)]);
        let [one, two] = [other, read].map(|call| (witness.named(call as Op), self.saw(call).1));
        let subject = self.subject();
        let only_at_first = |(name, value): &(String, String), call: usize| {
            let nothing = "no operation that brings that had begun before it was answered";
            say(format!("{name} saw {value}, and {nothing}: {subject} held {value} at first."), &[call as Op])
        };
        let steps = vec![
            only_at_first(&one, other),
            only_at_first(&two, read),
            say(format!("But {subject} cannot have held both."), &[other as Op, read as Op]),
        ];
        let summary = format!(
            "{} saw {} in {subject} and {} saw {}, and no write brought either",
            two.0, two.1, one.0, one.1
        );
        Some(witness.starting(WitnessStart::Any).anomaly(
            AnomalyKind::PhantomRead,
            read as Op,
            summary,
            steps,
        ))
    }

    /// Proves how old a read is; `None` if it is not.
    pub(super) fn old(&self, found: &Found) -> Option<Anomaly> {
        let Found::Old { read, write, versions, first, .. } = *found else { return None };
        let calls = &self.interned.problem.calls;
        let (begun, since) = (calls[read].invoke, write.and_then(|write| calls[write].complete));
        let mut replaced: Vec<usize> = (0..calls.len())
            .filter(|at| {
                let call = &calls[*at];
                let (after, before) =
                    (Some(call.invoke) > since, call.complete.is_some_and(|end| end < begun));
                call.effect.produced().is_some() && after && before
            })
            .collect();
        replaced.sort_unstable_by_key(|at| calls[*at].complete);
        let newest = *replaced.last()?;
        let mut overwrites = match self.promise {
            Freshness::Regular | Freshness::Safe => vec![newest],
            Freshness::Versions(most) if most < OVERWRITES_MAX as u64 => {
                replaced.split_off(replaced.len() - (most as usize + 1))
            }
            Freshness::Versions(_) | Freshness::Age(_) | Freshness::Written => vec![first, newest],
        };
        overwrites.dedup();

        let roles = write.map(|write| (write, Role::Write)).into_iter();
        let roles = roles.chain(overwrites.iter().map(|at| (*at, Role::Overwrite)));
        let witness = self.witness(roles.chain([(read, Role::Read)]));
        let (value, text) = self.saw(read);
        let (subject, seen, of) = (self.subject(), witness.named(read as Op), read as Op);
        let mut steps = vec![match write {
            Some(write) => say(
                format!("{seen} saw {text}, which {} brought into {subject}.", witness.named(write as Op)),
                &[write as Op, of],
            )
            .relates(RelationKind::WriteRead, write as Op, of),
            None => say(format!("{seen} saw {text}, which {subject} held at first."), &[of]),
        }];
        let is_another = |at: &usize| calls[*at].effect.produced() == Some(value) && Some(*at) != write;
        if let Some(write) = write.filter(|_| (0..calls.len()).any(|at| is_another(&at))) {
            let label = witness.label(write as Op);
            let others = format!(
                "Others that bring {text} had ended before {label}, or began when {} had been answered: if it saw one of \
                 those that had ended, it is older still.",
                witness.label(of)
            );
            steps.push(say(others, &[write as Op, of]));
        }
        for at in &overwrites {
            steps.extend(write.map(|write| witness.before(write as Op, *at as Op)));
            steps.push(witness.before(*at as Op, of).relates(RelationKind::ReadWrite, of, *at as Op));
        }
        let one_of = if versions == 1 { "version" } else { "versions" };
        let age = match self.timing {
            Timing::Recorded => {
                let nanos = nanos(self.part, calls, first, read);
                format!(", and {:.3} ms old", nanos as f64 / 1e6)
            }
            Timing::Incomplete => String::new(),
        };
        let others =
            if overwrites.len() as u64 == versions { "" } else { ", with the writes not shown here" };
        let allows = match self.promise {
            Freshness::Regular => "the promise allows none".to_owned(),
            Freshness::Safe => "no write overlaps it, and then the promise allows none".to_owned(),
            Freshness::Versions(most) => format!("the promise allows at most {most}"),
            Freshness::Age(most) => format!("the promise allows at most {:.3} ms", most.as_secs_f64() * 1e3),
            Freshness::Written => "the promise allows any".to_owned(),
        };
        steps.push(say(
            format!("So {} is {versions} {one_of} old{others}{age}: {allows}.", witness.label(of)),
            &overwrites.iter().map(|at| *at as Op).chain([of]).collect::<Vec<_>>(),
        ));

        let kind = match calls[read].effect {
            Effect::Cas(..) => AnomalyKind::StaleCas,
            Effect::Read(_) | Effect::Write(_) => AnomalyKind::StaleRead,
        };
        let summary = format!(
            "{seen} saw {text} in {subject}, which {} had already replaced: it is {versions} {one_of} old",
            witness.named(newest as Op)
        );
        let start = match (write, self.interned.problem.start) {
            (None, Start::Known(_)) => WitnessStart::Initial(self.interned.values[value as usize].cloned()),
            _ => WitnessStart::Any,
        };
        Some(witness.starting(start).anomaly(kind, of, summary, steps))
    }
}
