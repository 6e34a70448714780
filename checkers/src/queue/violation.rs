//! Violations of a queue with unique values: which operations prove each, and why.

use duress_history::total_queue::TotalQueue;
use duress_history::{Operation, Scalar};

use super::elements::{Element, Span};
use crate::verdict::{Anomaly, AnomalyKind, RelationKind, Role};
use crate::witness::{Op, Statement, Witness, say};

/// Operations that no order explains.
#[derive(Debug)]
pub(super) enum Violation {
    /// A dequeue gave an element that no enqueue can have put in by then.
    OutOfNothing { dequeue: Op },
    /// An element went in once and came out twice.
    Twice { enqueue: Op, first: Op, second: Op },
    /// Elements that were still inside when others came out that had gone in after them: each with that other one. If no
    /// dequeue gave them, they are one more than the dequeues of unknown outcome, `open`, that began in time.
    Overtaken { pairs: Vec<(Element, Element)>, open: Vec<Op> },
    /// A dequeue found nothing, although at each moment one of `inside` was there, or, of those that no dequeue gave, `left`, one
    /// more than the dequeues of unknown outcome, `open`, that had begun.
    NotEmpty { empty: Span, inside: Vec<Element>, left: Vec<Element>, open: Vec<Op> },
    /// Of a stack: at each moment from the first answer of a push to the last invocation of a pop one of these was inside, and
    /// none can have been at the bottom.
    NoBottom { inside: Vec<Element> },
}

impl Violation {
    /// Returns the witness, from the history's `operations`.
    pub(super) fn anomaly(&self, operations: &[Operation<TotalQueue>]) -> Anomaly {
        let roles = self.roles();
        let value = |(op, _): &(Op, Role)| match &operations[*op as usize].action {
            TotalQueue::Enqueue(value) => Some(value.clone()),
            TotalQueue::Dequeue(_) | TotalQueue::Drain(_) => None,
        };
        let focus: Vec<Scalar> = roles.iter().filter_map(value).collect();
        let witness = Witness::of(Vec::new(), operations, &focus, roles);
        let named = |op: Op| witness.named(op);
        let (kind, contradicts, summary, steps) = match self {
            Self::OutOfNothing { dequeue } => {
                let summary =
                    format!("{} gave an element that no enqueue can have put in by then", named(*dequeue));
                let step = say("No enqueue of it that may have happened had begun by then.", &[*dequeue]);
                (AnomalyKind::PhantomRead, *dequeue, summary, vec![step])
            }
            Self::Twice { enqueue, first, second } => {
                let summary = format!("what {} put in once came out twice", named(*enqueue));
                let step = |dequeue: Op| {
                    let sentence =
                        format!("{} took out what {} put in.", named(dequeue), witness.label(*enqueue));
                    let step = say(sentence, &[*enqueue, dequeue]);
                    if dequeue == *enqueue {
                        step
                    } else {
                        step.relates(RelationKind::WriteRead, *enqueue, dequeue)
                    }
                };
                let mut steps = vec![step(*first), step(*second)];
                steps.push(say("No other enqueue puts it in.", &[*enqueue]));
                (AnomalyKind::Duplicate, *second, summary, steps)
            }
            Self::Overtaken { pairs, open } => {
                let (element, other) = pairs[pairs.len() - 1];
                let (late, early) = (named(element.enqueue.op), named(other.enqueue.op));
                let came_out = other.dequeue.map_or(other.enqueue.op, |dequeue| dequeue.op);
                let summary = format!(
                    "{} gave what {early} had put in, before what {late} had put in earlier came out",
                    named(came_out)
                );
                let mut steps: Vec<Statement> = Vec::new();
                for (element, other) in pairs {
                    steps.push(witness.before(element.enqueue.op, other.enqueue.op));
                    steps.push(came(&witness, other));
                    steps.extend(left_by(&witness, element, other));
                }
                let out = [came_out];
                if element.dequeue.is_none() {
                    steps.push(not_given(&witness, pairs.iter().map(|(element, _)| *element), open, &out));
                }
                steps.push(say("What goes in first comes out first, so no order explains this.", &out));
                (AnomalyKind::Nonlinearizable, came_out, summary, steps)
            }
            Self::NotEmpty { empty, inside, left, open } => {
                let summary = format!(
                    "{} found nothing, although at each moment while it was open some element was there",
                    named(empty.op)
                );
                let mut steps = stays(&witness, inside);
                if !left.is_empty() {
                    steps.push(not_given(&witness, left.iter().copied(), open, &[empty.op]));
                    steps.push(say(
                        "At each moment at which the others need not have been there, more of these had gone in than \
                         dequeues of unknown outcome had begun.",
                        &left.iter().map(|element| element.enqueue.op).collect::<Vec<_>>(),
                    ));
                }
                let conclusion = format!(
                    "So the queue was not empty at any moment from the invocation of {} to its answer.",
                    witness.label(empty.op)
                );
                steps.push(say(conclusion, &[empty.op]));
                (AnomalyKind::Nonlinearizable, empty.op, summary, steps)
            }
            Self::NoBottom { inside } => {
                let (first, last) = (inside[0], inside[inside.len() - 1]);
                let contradicts = first.dequeue.map_or(first.enqueue.op, |dequeue| dequeue.op);
                let summary = format!(
                    "{} gave what {} had put in, although it cannot have been the last element in",
                    named(contradicts),
                    named(first.enqueue.op)
                );
                let mut steps = stays(&witness, inside);
                steps.push(say(
                    "So at each moment one of these elements was there, and one of them was at the bottom throughout: it went in \
                     before all others and came out after them.",
                    &[],
                ));
                for element in inside {
                    let is_late = element.enqueue.invoke > first.inside_from();
                    steps.push(match (element.dequeue, last.dequeue) {
                        _ if is_late => witness.before(first.enqueue.op, element.enqueue.op),
                        (Some(dequeue), Some(end)) => witness.before(dequeue.op, end.op),
                        (dequeue, _) => {
                            let dequeue = dequeue.map_or(element.enqueue.op, |dequeue| dequeue.op);
                            let (out, still) = (named(dequeue), named(last.enqueue.op));
                            say(format!("{out} took it out, and what {still} put in stayed."), &[dequeue])
                        }
                    });
                }
                steps.push(say("So none of them can have been at the bottom.", &[contradicts]));
                (AnomalyKind::Nonlinearizable, contradicts, summary, steps)
            }
        };
        witness.anomaly(kind, contradicts, summary, steps)
    }

    /// Returns the operations that prove it, and their roles.
    fn roles(&self) -> Vec<(Op, Role)> {
        let moved = |element: &Element| {
            let dequeue = element.dequeue.map(|dequeue| (dequeue.op, Role::Evidence));
            [(element.enqueue.op, Role::Write)].into_iter().chain(dequeue)
        };
        let unknown = |open: &[Op]| open.iter().map(|op| (*op, Role::Evidence)).collect::<Vec<_>>();
        match self {
            Self::OutOfNothing { dequeue } => vec![(*dequeue, Role::Read)],
            Self::Twice { enqueue, first, second } => {
                vec![(*second, Role::Read), (*enqueue, Role::Write), (*first, Role::Evidence)]
            }
            Self::Overtaken { pairs, open } => {
                let both = pairs.iter().flat_map(|(element, other)| moved(element).chain(moved(other)));
                both.chain(unknown(open)).collect()
            }
            Self::NotEmpty { empty, inside, left, open } => [(empty.op, Role::Read)]
                .into_iter()
                .chain(inside.iter().chain(left).flat_map(moved))
                .chain(unknown(open))
                .collect(),
            Self::NoBottom { inside } => inside.iter().flat_map(moved).collect(),
        }
    }
}

/// Says which dequeue gave `element`.
fn came(witness: &Witness, element: &Element) -> Statement {
    let enqueue = element.enqueue.op;
    match element.dequeue.map(|dequeue| dequeue.op) {
        None => say(format!("No dequeue gave what {} put in.", witness.named(enqueue)), &[enqueue]),
        Some(dequeue) => say(
            format!("{} gave what {} put in.", witness.named(dequeue), witness.label(enqueue)),
            &[enqueue, dequeue],
        )
        .relates(RelationKind::WriteRead, enqueue, dequeue),
    }
}

/// Says that `element` was still inside when `other` came out.
fn left_by(witness: &Witness, element: &Element, other: &Element) -> Option<Statement> {
    let (later, earlier) = (element.dequeue?.op, other.dequeue?.op);
    Some(witness.before(earlier, later))
}

/// Says that no dequeue gave any of `elements`, and how many dequeues of unknown outcome, `open`, may have taken them out.
fn not_given(
    witness: &Witness,
    elements: impl Iterator<Item = Element>,
    open: &[Op],
    until: &[Op],
) -> Statement {
    let mut about: Vec<Op> = elements.map(|element| element.enqueue.op).collect();
    let labels: Vec<&str> = about.iter().map(|op| witness.label(*op)).collect();
    let mut sentence = format!("No dequeue gave what {} put in", labels.join(", "));
    if open.is_empty() {
        sentence.push('.');
    } else {
        let labels: Vec<&str> = open.iter().map(|op| witness.label(*op)).collect();
        sentence += &format!(
            "; of these, only the dequeues of unknown outcome ({}) can have taken out one each in time.",
            labels.join(", ")
        );
    }
    about.extend(open.iter().chain(until));
    say(sentence, &about)
}

/// Says that at each moment one of `chain` was inside: each had gone in before the one ahead of it began to come out.
fn stays(witness: &Witness, chain: &[Element]) -> Vec<Statement> {
    let mut steps: Vec<Statement> = Vec::new();
    for (at, element) in chain.iter().enumerate() {
        steps.push(came(witness, element));
        if let Some(dequeue) = at.checked_sub(1).and_then(|at| chain[at].dequeue)
            && element.inside_from() < dequeue.invoke
        {
            steps.push(witness.before(element.enqueue.op, dequeue.op));
        }
    }
    steps
}
