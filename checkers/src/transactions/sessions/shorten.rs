//! Short cycles. The graph has few edges, so that its cycles lead over many writes whose order follows directly.

use std::collections::BTreeSet;

use duress_history::SessionGuarantee;
use rustc_hash::FxHashMap;

use super::session::{Act, ActKind, Sessions};
use super::walk::Walk;
use super::{Cycle, Dependency, Level, NO_KEY, Part, Step, broken_by};
use crate::witness::Op;

/// The number of sessions that are searched for shorter ways.
const SESSIONS_MAX: usize = 16;

/// The length of a cycle beyond which none is looked for.
const LENGTH_MAX: usize = 32;

/// Whether a read that returned the second write demands the step.
fn is_demand(step: &Step) -> bool {
    !matches!(step.dependency, Dependency::Order | Dependency::WriteRead)
}

/// Returns a cycle with steps that follow each other in one session joined: what is visible to a read is visible to the later
/// ones. The key of a step is then the read that returned the second write.
pub(super) fn joined(sessions: &Sessions<'_, '_>, mut steps: Vec<Step>) -> Vec<Step> {
    for step in steps.iter_mut().filter(|step| is_demand(step)) {
        // The read of the edge, or a later one of its session that shares the edge.
        let mut acts = sessions.acts[sessions.range(sessions.place(step.key).0)].iter();
        let read = acts.find(|act| act.op >= step.key && act.kind == ActKind::Read(Some(step.to)));
        step.key = read.map_or(step.key, |act| act.op);
    }
    let continues = |one: &Step, next: &Step| match (is_demand(one), is_demand(next)) {
        (true, true) => sessions.place(one.key).0 == sessions.place(next.key).0 && one.key < next.key,
        _ => one.dependency == Dependency::Order && next.dependency == Dependency::Order,
    };
    let breaks = |at: &usize| !continues(&steps[(at + steps.len() - 1) % steps.len()], &steps[*at]);
    let first = (0..steps.len()).find(breaks).unwrap_or_default();
    steps.rotate_left(first);
    let mut joined: Vec<Step> = Vec::new();
    for step in steps {
        match joined.last_mut() {
            Some(last) if continues(last, &step) && last.from != step.to => {
                (last.to, last.key) = (step.to, step.key);
            }
            _ => joined.push(step),
        }
    }
    joined
}

/// Returns the shortest part of `cycle` that one more step closes, if there is any: a read that returned one of its writes
/// although another was visible, or two writes of one process. That rests on no more guarantees than the kind of the cycle.
pub(super) fn cut(sessions: &Sessions<'_, '_>, cycle: &Cycle) -> Vec<Step> {
    let steps = &cycle.steps;
    let at: FxHashMap<Op, usize> = steps.iter().map(|step| step.from).zip(0..).collect();
    // The cycle from its `at`th write on, so many steps, and the one that leads back.
    let (mut length, mut best): (usize, Option<(usize, Step)>) = (steps.len().min(LENGTH_MAX + 1), None);
    let mut close = |at: usize, key: Op, closes: &dyn Fn(Op) -> Option<(Dependency, Level)>| {
        for ahead in 1..length - 1 {
            let from = steps[(at + ahead) % steps.len()].from;
            if let Some((dependency, level)) = closes(from) {
                let back = Step { from, to: steps[at].from, key, dependency, level };
                (length, best) = (ahead + 1, Some((at, back)));
                return;
            }
        }
    };
    if cycle.kind >= broken_by(SessionGuarantee::MonotonicWrites)
        && sessions.has(SessionGuarantee::MonotonicWrites)
    {
        for (at, step) in steps.iter().enumerate() {
            let before = |from: Op| sessions.place(from).0 == sessions.place(step.from).0 && from < step.from;
            close(at, NO_KEY, &|from| before(from).then_some((Dependency::Order, Level::Process)));
        }
    }
    let reading: BTreeSet<u32> =
        steps.iter().filter(|step| is_demand(step)).map(|step| sessions.place(step.key).0).collect();
    let mut walk = Walk::new(sessions);
    for session in reading.into_iter().take(SESSIONS_MAX) {
        walk.begin(session);
        for place in sessions.range(session) {
            let Act { op, key, kind } = sessions.acts[place];
            if let ActKind::Read(Some(returned)) = kind
                && let Some(at) = at.get(&returned)
            {
                close(*at, op, &|from| {
                    let is_visible = walk.sees(from) && sessions.acts[sessions.place(from).1].key == key;
                    (is_visible && broken_by(walk.rests_on(from)) <= cycle.kind).then(|| walk.edge(from))
                });
            }
            walk.act(place, &mut Part::default());
        }
    }
    let Some((at, back)) = best else { return steps.clone() };
    let around = steps.iter().cycle().skip(at).take(length - 1).copied();
    joined(sessions, around.chain([back]).collect())
}
