//! Reads out of range in sentences: which bound, and by which operations.

use super::bounds::{Side, Violation};
use super::facts::{Add, Facts, Read};
use crate::verdict::{Anomaly, AnomalyKind, Object, ObjectKind, RelationKind, Role};
use crate::witness::{Op, Statement, Witness, say};

/// Adds beyond so many are counted in a witness, and their sum is given.
const ADDS_SHOWN_MAX: usize = 12;

/// So many of the reads before are tried as the one that gives the bound.
const BASES_TRIED: usize = 16;

/// The kind of anomaly that `violation` is: two last reads of different replicas that differ have diverged.
pub(super) fn kind(facts: &Facts<'_>, violation: &Violation) -> AnomalyKind {
    let read = &facts.reads[violation.read];
    let other = violation.base.map(|base| &facts.reads[base]);
    match other {
        Some(other) if read.is_last && other.is_last && other.node != read.node => AnomalyKind::Diverged,
        _ => AnomalyKind::OutOfRange,
    }
}

/// The adds between two reads, with the signs of all numbers such that the second lies below its bound.
struct Between<'b> {
    base: Option<usize>,
    /// The first of the two.
    value: i128,
    /// Those that surely took effect between them and raise the bound: the largest, as many as are needed.
    sure: Vec<&'b Add>,
    /// Those that may have taken effect and lower it.
    possible: Vec<&'b Add>,
}

impl<'b> Between<'b> {
    /// The adds between the read at `base` and `read`, where `read` is below the bound that follows from them; else `None`.
    fn new(facts: &'b Facts<'_>, base: Option<usize>, read: &Read<'_>, side: Side) -> Option<Self> {
        let first = base.map(|base| &facts.reads[base]);
        let value = first.map_or(0, |first| side.oriented(first.value));
        let mut between = Self { base, value, sure: Vec::new(), possible: Vec::new() };
        for add in &facts.adds {
            let delta = side.oriented(add.delta);
            let after = first.is_none_or(|first| add.begun > first.answered);
            if delta > 0 && after && add.acknowledged.is_some_and(|index| index < read.since) {
                between.sure.push(add);
            }
            let before = |first: &Read<'_>| add.acknowledged.is_some_and(|index| index < first.since);
            if delta < 0 && add.begun < read.answered && !first.is_some_and(before) {
                between.possible.push(add);
            }
        }
        between.sure.sort_by_key(|add| (-side.oriented(add.delta), add.op));
        let found = side.oriented(read.value);
        let mut bound = value + between.possible.iter().map(|add| side.oriented(add.delta)).sum::<i128>();
        let mut needed = 0;
        while bound <= found {
            bound += side.oriented(between.sure.get(needed)?.delta);
            needed += 1;
        }
        between.sure.truncate(needed);
        Some(between)
    }

    fn size(&self) -> usize {
        self.sure.len() + self.possible.len()
    }
}

/// The operations that prove `violation`, few where some read before allows for it.
pub(super) fn anomaly(facts: &Facts<'_>, violation: &Violation, kind: AnomalyKind) -> Anomaly {
    let Violation { read: at, base, side } = *violation;
    let read = &facts.reads[at];
    let mut earlier: Vec<usize> =
        (0..facts.reads.len()).filter(|other| facts.reads[*other].answered < read.since).collect();
    earlier.sort_by_key(|other| std::cmp::Reverse(facts.reads[*other].answered));
    // A diverged replica is held against the other.
    let tried = if kind == AnomalyKind::Diverged { 0 } else { BASES_TRIED };
    let bases = [base].into_iter().chain(earlier.into_iter().take(tried).map(Some));
    let between = bases.filter_map(|base| Between::new(facts, base, read, side)).min_by_key(Between::size);
    let between = between.expect("the pass over all bounds found the read outside of this one");

    let shown = |adds: &[&Add]| -> Vec<Op> { adds.iter().take(ADDS_SHOWN_MAX).map(|add| add.op).collect() };
    let (sure, possible) = (shown(&between.sure), shown(&between.possible));
    let first = between.base.map(|base| facts.reads[base].op);
    let roles = [(read.op, Role::Read)].into_iter().chain(first.map(|op| (op, Role::Evidence)));
    let roles = roles.chain(sure.iter().map(|op| (*op, Role::Write)));
    let roles = roles.chain(possible.iter().map(|op| (*op, Role::Part)));
    let objects = facts.key.map(|key| Object::new(ObjectKind::Key, key)).into_iter().collect();
    let witness = Witness::of(objects, facts.operations, &(), roles);

    let subject = facts.subject();
    let mut steps = match first {
        Some(first) => vec![
            say(format!("{} saw {}.", witness.named(first), side.oriented(between.value)), &[first]),
            witness.before(first, read.op),
        ],
        None => vec![say(format!("At first {subject} was 0."), &[])],
    };
    steps.extend(sure_statement(&witness, &between, &sure, first, read, side));
    steps.push(possible_statement(&witness, &between, &possible, side));
    let bound: i128 = between.value
        + between.sure.iter().chain(&between.possible).map(|add| side.oriented(add.delta)).sum::<i128>();
    let (bound, found) = (side.oriented(bound), read.value);
    let least = match side {
        Side::Below => "at least",
        Side::Above => "at most",
    };
    steps.push(say(
        format!("So {} had to see {least} {bound}, but it saw {found}.", witness.named(read.op)),
        &[read.op],
    ));
    let summary = match (kind, first) {
        (AnomalyKind::Diverged, Some(first)) => format!(
            "at the end {} and {} of another replica differ, and no add explains it",
            witness.named(first),
            witness.named(read.op)
        ),
        _ => format!("{} saw {found} in {subject}, which had to be {least} {bound}", witness.named(read.op)),
    };
    witness.anomaly(kind, read.op, summary, steps)
}

/// That some adds surely took effect between the two reads.
fn sure_statement(
    witness: &Witness,
    between: &Between<'_>,
    shown: &[Op],
    first: Option<Op>,
    read: &Read<'_>,
    side: Side,
) -> Option<Statement> {
    if shown.is_empty() {
        return None;
    }
    let sum: i128 = between.sure.iter().map(|add| add.delta).sum();
    let begun = match first {
        Some(first) => format!("began after {} had been answered, and were", witness.named(first)),
        None => "were".to_owned(),
    };
    let by = match side {
        Side::Below => "add",
        Side::Above => "take away",
    };
    let sentence = format!(
        "{} {begun} acknowledged before {} began: together they {by} {}.",
        listed(witness, shown, between.sure.len()),
        witness.named(read.op),
        sum.abs()
    );
    let mut statement = say(sentence, &[shown, &[read.op]].concat());
    for add in shown {
        statement = statement.relates(RelationKind::RealTime, *add, read.op);
        if let Some(first) = first {
            statement = statement.relates(RelationKind::RealTime, first, *add);
        }
    }
    Some(statement)
}

/// The adds that may have taken effect as well, against the bound.
fn possible_statement(witness: &Witness, between: &Between<'_>, shown: &[Op], side: Side) -> Statement {
    let by = match side {
        Side::Below => "taken away",
        Side::Above => "added",
    };
    if shown.is_empty() {
        return say(format!("No other operation can have {by} anything by then."), &[]);
    }
    let sum: i128 = between.possible.iter().map(|add| add.delta).sum();
    let named = listed(witness, shown, between.possible.len());
    say(
        format!(
            "{named} may have taken effect by then as well: together they can have {by} {}, and nothing else can.",
            sum.abs()
        ),
        shown,
    )
}

/// `A, B and 7 more`.
fn listed(witness: &Witness, shown: &[Op], count: usize) -> String {
    let mut labels: Vec<&str> = shown.iter().map(|op| witness.label(*op)).collect();
    labels.sort_unstable();
    let labels = labels.join(", ");
    match count - shown.len() {
        0 => labels,
        more => format!("{labels} and {more} more"),
    }
}
