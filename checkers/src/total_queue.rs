//! Total queue: does everything that was put in come out?
//!
//! A queue without an order: a multiset. Values need not be unique. Names are those of Jepsen's `total-queue`.
//!
//! - *Lost*: an acknowledged value never came out, although a drain that began after the acknowledgement
//!   emptied the queue. A dequeue of unknown outcome may have taken one value out, and a drain of unknown
//!   outcome any number: that many fewer values are lost, and which of them is unknown.
//! - *Never sent*: a value came out that no operation put in by then; *aborted read*, if only operations that
//!   failed were to put it in.
//! - *Duplicate*: a value came out more often than it was put in.
//!
//! A missing value may still be in a queue that was never drained; then the history is unknown. An empty
//! dequeue proves nothing: many queues answer so while values are on their way.

use std::collections::BTreeMap;

use duress_history::pairs::Completion;
use duress_history::total_queue::TotalQueue;
use duress_history::{Allowed, Delivery, Operation, Scalar};
use rustc_hash::FxHashMap;

use crate::delivery::promise::allows;
use crate::delivery::{DeliveryCounts, DeliveryReport, happened};
use crate::findings::Findings;
use crate::verdict::{AnomalyKind, CheckReport, Details, Object, ObjectKind, Reason, Role, Verdict};
use crate::witness::{Describe, Op, Witness, say};

/// The facts about one value.
#[derive(Default)]
struct Element {
    /// Acknowledged enqueues, each with the index of the acknowledgement.
    acknowledged: Vec<(Op, u64)>,
    /// Enqueues that may have happened.
    unknown: Vec<Op>,
    failed: Vec<Op>,
    /// The operations that took it out, each as often as it did.
    taken: Vec<Op>,
}

/// The facts about a queue.
struct Facts<'a> {
    operations: &'a [Operation<TotalQueue>],
    /// By value, so that reports list them in a stable order.
    elements: BTreeMap<&'a Scalar, Element>,
    /// Dequeues of unknown outcome, and whether there are such drains.
    open_dequeues: Vec<Op>,
    open_drains: bool,
    /// The drain that began last of those that were answered.
    drain: Option<Op>,
}

/// Checks a queue against its promise of delivery.
///
/// `operations` are in order of invocation. Time O(n log n).
#[must_use]
pub fn check_total_queue(operations: &[Operation<TotalQueue>], promise: Delivery) -> CheckReport {
    let mut findings = Findings::new(move |kind| allows(promise, kind));
    let facts = Facts::new(operations);
    let counts = facts.judge(&mut findings);
    let mut reasons = Vec::new();
    if counts.unseen > 0 && promise.loss == Allowed::No {
        reasons.push(Reason::Unseen { key: None, messages: counts.unseen });
    }
    if reasons.is_empty() {
        let shown = counts.deliveries + u64::from(facts.drain.is_some());
        reasons.extend(Reason::nothing_shown(operations.len() as u64, happened(operations), shown));
    }
    let (anomalies, found) = findings.finish();
    CheckReport {
        verdict: Verdict::new(anomalies, reasons),
        keys: 1,
        operations: operations.len() as u64,
        details: Details::Delivery(DeliveryReport { promise, reached: counts.reached(), counts, found }),
    }
}

impl<'a> Facts<'a> {
    fn new(operations: &'a [Operation<TotalQueue>]) -> Self {
        let mut facts = Self {
            operations,
            elements: BTreeMap::new(),
            open_dequeues: Vec::new(),
            open_drains: false,
            drain: None,
        };
        for (op, operation) in operations.iter().enumerate() {
            facts.add(op as Op, operation);
        }
        facts
    }

    fn add(&mut self, op: Op, operation: &'a Operation<TotalQueue>) {
        match (&operation.action, &operation.completion) {
            (TotalQueue::Enqueue(value), completion) => {
                let element = self.elements.entry(value).or_default();
                match completion {
                    Completion::Ok { index, .. } => element.acknowledged.push((op, *index)),
                    Completion::Fail { .. } => element.failed.push(op),
                    Completion::Info { .. } => element.unknown.push(op),
                }
            }
            (_, Completion::Ok { answer, .. }) => match answer {
                TotalQueue::Dequeue(Some(value)) => self.elements.entry(value).or_default().taken.push(op),
                TotalQueue::Drain(values) => {
                    for value in values.iter().flatten() {
                        self.elements.entry(value).or_default().taken.push(op);
                    }
                    self.drain = Some(op);
                }
                TotalQueue::Dequeue(None) | TotalQueue::Enqueue(_) => {}
            },
            (_, Completion::Fail { .. }) => {}
            (TotalQueue::Dequeue(_), Completion::Info { .. }) => self.open_dequeues.push(op),
            (TotalQueue::Drain(_), Completion::Info { .. }) => self.open_drains = true,
        }
    }

    fn judge(&self, findings: &mut Findings) -> DeliveryCounts {
        let mut counts = DeliveryCounts::default();
        // Acknowledged values that did not come out, each with its enqueue; and how many more may still be in the queue.
        let mut missing: Vec<(&Scalar, Op)> = Vec::new();
        for (value, element) in &self.elements {
            let put = element.acknowledged.len() + element.unknown.len();
            counts.sent += (put + element.failed.len()) as u64;
            counts.acknowledged += element.acknowledged.len() as u64;
            counts.failed += element.failed.len() as u64;
            counts.unknown += element.unknown.len() as u64;
            counts.deliveries += element.taken.len() as u64;
            let out = element.taken.len().min(put);
            counts.delivered += out as u64;
            counts.unacknowledged_delivered += out.saturating_sub(element.acknowledged.len()) as u64;
            self.out_of_nothing(value, element, findings);
            // Those that were acknowledged after the drain had begun may still be there, and any of them may be those that
            // came out.
            let drained = |index: u64| self.drain.is_some_and(|drain| index < self.begun(drain));
            let before: Vec<Op> =
                element.acknowledged.iter().filter(|(_, index)| drained(*index)).map(|(op, _)| *op).collect();
            let lost = before.len().saturating_sub(element.taken.len());
            missing.extend(before.iter().take(lost).map(|op| (*value, *op)));
            let gone = element.acknowledged.len().saturating_sub(element.taken.len());
            counts.unseen += (gone - lost) as u64;
        }
        let excused =
            if self.open_drains { missing.len() } else { self.open_dequeues.len().min(missing.len()) };
        counts.lost = (missing.len() - excused) as u64;
        counts.unseen += excused as u64;
        if excused == 0 {
            for (value, op) in &missing {
                findings.add(AnomalyKind::Lost, || self.lost(&[(*value, *op)]));
            }
        } else if counts.lost > 0 {
            // One more than there are dequeues that may have taken one each.
            let some = &missing[..=excused];
            findings.add(AnomalyKind::Lost, || self.lost(some));
        }
        counts.duplicated = findings.count(AnomalyKind::Duplicate);
        counts
    }

    fn begun(&self, op: Op) -> u64 {
        self.operations[op as usize].index
    }

    fn answered(&self, op: Op) -> u64 {
        match self.operations[op as usize].completion {
            Completion::Ok { index, .. } | Completion::Fail { index, .. } => index,
            Completion::Info { .. } => u64::MAX,
        }
    }

    /// Finds values that came out without having been put in, or more often.
    fn out_of_nothing(&self, value: &Scalar, element: &Element, findings: &mut Findings) {
        let Some(first) = element.taken.iter().copied().min_by_key(|op| self.answered(*op)) else { return };
        let put: Vec<Op> =
            element.acknowledged.iter().map(|(op, _)| *op).chain(element.unknown.iter().copied()).collect();
        if !put.iter().any(|op| self.begun(*op) < self.answered(first)) {
            let kind = if put.is_empty() && !element.failed.is_empty() {
                AnomalyKind::AbortedRead
            } else {
                AnomalyKind::NeverSent
            };
            findings.add(kind, || self.unsent(kind, value, element, first));
        } else if element.taken.len() > put.len() {
            findings.add(AnomalyKind::Duplicate, || {
                let takers = element.taken.iter().take(put.len() + 1);
                let mut roles: Vec<(Op, Role)> = takers.map(|op| (*op, Role::Read)).collect();
                let last = roles[roles.len() - 1].0;
                roles.extend(put.iter().map(|op| (*op, Role::Write)));
                let about: Vec<Op> = roles.iter().map(|(op, _)| *op).collect();
                let witness = self.witness(value, roles);
                let (times, more) = (put.len(), element.taken.len());
                let steps = vec![
                    say(format!("{value} was put in {times} times, whatever the outcome."), &put),
                    say(format!("It came out {more} times."), &about),
                ];
                let summary = format!("{value} was put in {times} times and came out {more} times");
                witness.anomaly(AnomalyKind::Duplicate, last, summary, steps)
            });
        }
    }

    fn witness(&self, value: &Scalar, roles: Vec<(Op, Role)>) -> Witness {
        let objects = vec![Object::new(ObjectKind::Element, value)];
        Witness::of(objects, self.operations, &vec![value.clone()], roles)
    }

    fn unsent(
        &self,
        kind: AnomalyKind,
        value: &Scalar,
        element: &Element,
        taker: Op,
    ) -> crate::verdict::Anomaly {
        let writer = element.failed.first().copied().filter(|_| kind == AnomalyKind::AbortedRead);
        let roles = [(taker, Role::Read)].into_iter().chain(writer.map(|op| (op, Role::Write))).collect();
        let witness = self.witness(value, roles);
        let taken = witness.named(taker);
        let mut steps = vec![say(format!("{taken} took {value} out."), &[taker])];
        let why = match writer {
            Some(writer) => {
                let sentence = format!(
                    "But {} failed, that is, certainly did not happen, and only operations that failed were to put it in.",
                    witness.named(writer)
                );
                steps.push(say(sentence, &[writer]));
                steps.push(say(
                    "Either it took effect although it was reported as failed, or the client recorded as failed what may \
                     have happened: a time-out or a broken connection is of unknown outcome.",
                    &[writer],
                ));
                "only operations that failed were to put it in"
            }
            None => {
                steps.push(say("But no operation that puts it in had begun by then.", &[taker]));
                "no operation had begun by then that puts it in"
            }
        };
        witness.anomaly(kind, taker, format!("{taken} took {value} out, but {why}"), steps)
    }

    /// Those of the values `missing` that prove a loss: one more than the dequeues of unknown outcome can have taken.
    fn lost(&self, missing: &[(&Scalar, Op)]) -> crate::verdict::Anomaly {
        let drain = self.drain.unwrap_or_default();
        let values: Vec<Scalar> = missing.iter().map(|(value, _)| (*value).clone()).collect();
        let mut roles: Vec<(Op, Role)> = missing.iter().map(|(_, op)| (*op, Role::Write)).collect();
        // A value that was put in more often than it came out: those that took it out are shown too.
        for (value, _) in missing {
            roles.extend(self.elements[*value].taken.iter().map(|op| (*op, Role::Evidence)));
        }
        let open = if missing.len() > 1 { &self.open_dequeues[..] } else { &[] };
        roles.push((drain, Role::Read));
        roles.extend(open.iter().map(|op| (*op, Role::Evidence)));
        let objects = values.iter().map(|value| Object::new(ObjectKind::Element, value)).collect();
        let witness = Witness::of(objects, self.operations, &values, roles);
        let latest =
            missing.iter().map(|(_, op)| *op).max_by_key(|op| self.answered(*op)).unwrap_or_default();
        let named: Vec<String> = values.iter().map(Scalar::to_string).collect();
        let named = named.join(", ");
        let puts: Vec<Op> = missing.iter().map(|(_, op)| *op).collect();
        let mut steps = vec![
            say(format!("{named} went in, and was acknowledged."), &puts),
            witness.before(latest, drain),
            say(format!("{} took out everything, so the queue is empty.", witness.named(drain)), &[drain]),
            say("No operation was answered with it, apart from those shown.", &[]),
        ];
        let summary = if missing.len() == 1 {
            format!("{named} was enqueued and acknowledged, and never came out")
        } else {
            let sentence = format!(
                "{} dequeues of unknown outcome can have taken one each: at least one more is lost.",
                open.len()
            );
            steps.push(say(sentence, open));
            format!("one of {named} was acknowledged and never came out")
        };
        witness.anomaly(AnomalyKind::Lost, drain, summary, steps)
    }
}

impl Describe for TotalQueue {
    /// The values that matter: of the other values of a drain, only the number is shown.
    type Focus = Vec<Scalar>;

    fn describe(&self, focus: &Vec<Scalar>) -> String {
        match self {
            Self::Enqueue(value) => format!("enqueue {value}"),
            Self::Dequeue(Some(value)) => format!("dequeue -> {value}"),
            Self::Dequeue(None) => "dequeue -> nothing".to_owned(),
            Self::Drain(None) => "drain".to_owned(),
            Self::Drain(Some(values)) => {
                let mut shown: FxHashMap<&Scalar, usize> = FxHashMap::default();
                values
                    .iter()
                    .filter(|value| focus.contains(value))
                    .for_each(|value| *shown.entry(value).or_default() += 1);
                let text = |(value, times): (&&Scalar, &usize)| match times {
                    1 => value.to_string(),
                    times => format!("{value} ({times} times)"),
                };
                let mut texts: Vec<String> = shown.iter().map(text).collect();
                texts.sort_unstable();
                match (values.len() - shown.values().sum::<usize>(), texts.is_empty()) {
                    (0, true) => "drain -> nothing".to_owned(),
                    (0, false) => format!("drain -> {}", texts.join(", ")),
                    (others, true) => format!("drain -> {others} other values"),
                    (others, false) => format!("drain -> {} and {others} other values", texts.join(", ")),
                }
            }
        }
    }

    fn describe_asked(&self, focus: &Vec<Scalar>) -> String {
        match self {
            Self::Dequeue(None) => "dequeue".to_owned(),
            Self::Enqueue(_) | Self::Dequeue(Some(_)) | Self::Drain(_) => self.describe(focus),
        }
    }
}
