//! Sets: the checker agrees with the definition, every defect is found, and near misses pass.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;

use duress_checkers::set::{SetReport, check_set};
use duress_checkers::verdict::{AnomalyKind, CheckReport, Details, Reason, Verdict};
use duress_history::set::{Set, SetOp};
use duress_history::{Completion, Consistency, Operation, Scalar};
use objects::{Defect, Object, Shape, simulate};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

use crate::{garbage, objects, oracle, words};

const STRICT: Consistency = Consistency::Linearizable;
const STALE: Consistency = Consistency::StaleReads;

fn check(operations: &[Operation<Set>], promise: Consistency, settled: Option<u64>) -> CheckReport {
    check_set(operations, promise, settled, &AtomicBool::new(false))
}

fn details(report: &CheckReport) -> &SetReport {
    match &report.details {
        Details::Set(details) => details,
        other => panic!("sets have other details: {other:?}"),
    }
}

impl Object for Set {
    type State = BTreeSet<Scalar>;

    fn is_read(&self) -> bool {
        matches!(self.op, SetOp::Read(_))
    }

    fn changed(&self, state: &BTreeSet<Scalar>) -> BTreeSet<Scalar> {
        let SetOp::Add(element) = &self.op else { panic!("a read changes nothing") };
        state.iter().chain([element]).cloned().collect()
    }

    fn answered(&self, state: &BTreeSet<Scalar>) -> Self {
        Self { key: self.key.clone(), op: SetOp::Read(Some(state.iter().cloned().collect())) }
    }
}

pub fn element(number: i64) -> Set {
    Set { key: None, op: SetOp::Add(Scalar::Int(number)) }
}

pub const READ: Set = Set { key: None, op: SetOp::Read(None) };

fn simulated(seed: u64, shape: Shape) -> (Vec<Operation<Set>>, u64) {
    simulate(seed, shape, |_, at| element(at as i64), &READ)
}

pub fn actions() -> impl Strategy<Value = Set> {
    let read = btree_set(0_i64..4, 0..4)
        .prop_map(|elements| SetOp::Read(Some(elements.into_iter().map(Scalar::Int).collect())));
    prop_oneof![(0_i64..4).prop_map(|number| SetOp::Add(Scalar::Int(number))), read,]
        .prop_map(|op| Set { key: None, op })
}

/// Whether a verdict leaves open only unread elements.
fn open(reasons: &[Reason]) -> bool {
    reasons.iter().all(|reason| {
        matches!(
            reason,
            Reason::ElementsUnseen { .. } | Reason::NothingHappened { .. } | Reason::NothingObserved { .. }
        )
    })
}

/// Whether an answer has each element once, and each was being added before it was given.
fn has_added_elements_only(read: &Operation<Set>, all: &[Operation<Set>]) -> bool {
    let Completion::Ok { index: answered, answer, .. } = &read.completion else { return true };
    let SetOp::Read(Some(elements)) = &answer.op else { return true };
    let added = |element: &Scalar| {
        all.iter().any(|add| {
            let is_add = matches!(&add.action.op, SetOp::Add(added) if added == element);
            is_add && add.index < *answered && !matches!(add.completion, Completion::Fail { .. })
        })
    };
    elements.iter().all(added) && elements.iter().collect::<BTreeSet<_>>().len() == elements.len()
}

/// Checks that the verdict is the definition's, and that a witness alone is impossible by the definition.
fn agree(operations: &[Operation<Set>], promise: Consistency) -> Result<(), TestCaseError> {
    let possible = |operations: &[Operation<Set>]| match promise {
        Consistency::Linearizable => oracle::linearizable(operations, BTreeSet::new()),
        Consistency::StaleReads => oracle::explained(operations, BTreeSet::new(), &[]),
        Consistency::Eventual => operations.iter().all(|read| has_added_elements_only(read, operations)),
    };
    let expected = possible(operations);
    match check(operations, promise, None).verdict {
        Verdict::Valid => prop_assert!(expected, "valid, but no order is right"),
        Verdict::Unknown(reasons) => prop_assert!(expected && open(&reasons), "not decided: {reasons:?}"),
        Verdict::Invalid(anomalies) => {
            prop_assert!(!expected, "invalid, but some order is right: {anomalies:#?}");
            for anomaly in &anomalies {
                words::assert_well_formed(anomaly);
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, ..ProptestConfig::default() })]

    #[test]
    fn garbage_sets(operations in garbage::garbage(actions(), 8)) {
        agree(&operations, STRICT)?;
        agree(&operations, STALE)?;
        agree(&operations, Consistency::Eventual)?;
    }

    #[test]
    fn simulated_sets(
        seed in any::<u64>(),
        operations in 1_usize..12,
        lagging in any::<bool>(),
        defect in prop_oneof![Just(Defect::None), Just(Defect::Lost), Just(Defect::Stale), Just(Defect::Refused)],
        crashed_per_mille in 0_u32..400,
        spoil in proptest::option::of((any::<prop::sample::Index>(), any::<prop::sample::Index>())),
    ) {
        let shape = Shape { operations, processes: 4, nodes: 2, crashed_per_mille, reads_per_ten: 5, lagging, defect };
        let (mut operations, _) = simulated(seed, shape);
        if let Some((which, element)) = spoil {
            let which = which.index(operations.len());
            if let Completion::Ok { answer: Set { op: SetOp::Read(Some(elements)), .. }, .. } = &mut operations[which].completion
                && !elements.is_empty()
            {
                elements.remove(element.index(elements.len()));
            }
        }
        agree(&operations, STRICT)?;
        agree(&operations, STALE)?;
        agree(&operations, Consistency::Eventual)?;
    }
}

const SHAPE: Shape = Shape {
    operations: 300,
    processes: 8,
    nodes: 3,
    crashed_per_mille: 20,
    reads_per_ten: 3,
    lagging: false,
    defect: Defect::None,
};

#[test]
fn sets_without_defect_are_valid() {
    for seed in 0..60 {
        let (operations, settled) = simulated(seed, SHAPE);
        assert_eq!(check(&operations, STRICT, None).verdict, Verdict::Valid, "seed {seed}");
        let (operations, settled_late) = simulated(seed, Shape { lagging: true, ..SHAPE });
        let report = check(&operations, STALE, Some(settled_late));
        assert_eq!(report.verdict, Verdict::Valid, "seed {seed}");
        assert!(details(&report).counts.stale > 0, "seed {seed}: nothing to tolerate");
        assert!(settled > 0);
    }
}

#[test]
fn every_defect_is_found_and_named() {
    use AnomalyKind::{AbortedRead, Diverged, LostWrite, Nonlinearizable, StaleRead};
    for (defect, promise, kinds, found_min) in [
        (Defect::Lost, STRICT, &[LostWrite][..], 60),
        (Defect::Lost, STALE, &[LostWrite][..], 60),
        (Defect::Stale, STRICT, &[StaleRead, Nonlinearizable][..], 60),
        (Defect::Refused, STRICT, &[AbortedRead][..], 60),
        (Defect::Refused, STALE, &[AbortedRead][..], 60),
        (Defect::Stuck, STALE, &[Diverged][..], 60),
        (Defect::AllStuck, STALE, &[LostWrite][..], 55),
    ] {
        let mut found = 0;
        for seed in 0..60 {
            let (operations, settled) = simulated(seed, Shape { defect, lagging: promise == STALE, ..SHAPE });
            let report = check(&operations, promise, Some(settled));
            found += u64::from(!report.verdict.anomalies().is_empty());
            for anomaly in report.verdict.anomalies() {
                words::assert_well_formed(anomaly);
                assert!(kinds.contains(&anomaly.kind), "{defect:?}, seed {seed}: {anomaly:#?}");
            }
        }
        assert!(found >= found_min, "{defect:?} against {promise:?}: found in {found} of 60");
    }
}

/// `a7` adds 7; `r1,2` reads 1 and 2, `r_` nothing; see `words`. Each process speaks to a node of its own.
fn history(text: &str) -> Vec<Operation<Set>> {
    words::adds_and_reads(text, |elements| format!("[{}]", elements.replace('_', "")))
}

#[track_caller]
fn expect(text: &str, promise: Consistency, settled: Option<u64>, expected: &str) {
    let report = check(&history(text), promise, settled);
    assert_eq!(words::answer(&report), expected, "{text}: {:#?}", report.verdict);
}

#[test]
fn lost_stale_and_never_read() {
    expect("0!a1 1!r1", STRICT, None, "valid");
    expect("0!a1 1!r_", STRICT, None, "lost-write(add 1; read -> 0 elements without 1)");
    expect(
        "0!a1 1!r_ 1!r1",
        STRICT,
        None,
        "stale-read(add 1; read -> 0 elements without 1; read -> 1 elements with 1)",
    );
    // The read began before the add was answered.
    expect("0ia1 1ir_ 0oa1 1or_ 1!r1", STRICT, None, "valid");
    // A seen element is there, even if its add was never answered.
    expect(
        "0ia1 1!r1 1!r_ 0?a1",
        STRICT,
        None,
        "lost-write(add 1; read -> 1 elements with 1; read -> 0 elements without 1)",
    );
    expect("0ia1 1!r_ 1!r1 0?a1", STRICT, None, "valid");
    expect("0ia1 1!r_ 0?a1", STRICT, None, "valid");
    expect(
        "1!r_ 0!a1",
        STRICT,
        None,
        "unknown: 1 elements were acknowledged and never read, and no read shows that they are lost",
    );
}

#[test]
fn answers_that_cannot_be() {
    expect("0!a1 1!r1,1", STRICT, None, "duplicate(read -> 2 elements with 1)");
    expect("0!a1 1!r1,9", STRICT, None, "phantom-read(read -> 2 elements with 9)");
    expect("0ia1 0fa1 1!r1", STRICT, None, "aborted-read(add 1; read -> 1 elements with 1)");
    expect("1!r1 0!a1", STRICT, None, "future-read(read -> 1 elements with 1; add 1)");
    expect("1ir_ 0!a1 1or1", STRICT, None, "valid");
}

#[test]
fn reads_see_prefixes() {
    let forked = "nonlinearizable(add 1; add 2; read -> 1 elements with 1 without 2; read -> 1 elements with 2 without 1)";
    for promise in [STRICT, STALE] {
        expect("0ia1 1ia2 2ir_ 3ir_ 2or1 3or2 0oa1 1oa2 4!r1,2", promise, None, forked);
        expect("0ia1 1ia2 2ir_ 3ir_ 2or1 3or1,2 0oa1 1oa2 4!r1,2", promise, None, "valid");
        // 1 was there before 2 was added.
        expect(
            "2ir_ 0!a1 0ia2 2or2 0oa2 4!r1,2",
            promise,
            None,
            "nonlinearizable(read -> 1 elements with 2 without 1; add 1; add 2)",
        );
    }
}

#[test]
fn eventually_replicas_have_everything_in_any_order() {
    const EVENTUAL: Consistency = Consistency::Eventual;
    expect("0ia1 1ia2 2ir_ 3ir_ 2or1 3or2 0oa1 1oa2 4!r1,2", EVENTUAL, None, "valid");
    expect("0!a1 1!a2 1!r2 0!r1 2!r1,2 3!r1,2", EVENTUAL, Some(8), "valid");
    expect(
        "0!a1 1!a2 1!r2 0!r1 2!r1,2 3!r2",
        EVENTUAL,
        Some(8),
        "diverged(add 1; read -> 2 elements with 1; read -> 1 elements without 1)",
    );
    expect(
        "0!a1 0!a2 1!r1,2 1!r2 2!r2 3!r2",
        EVENTUAL,
        Some(6),
        "lost-write(add 1; read -> 1 elements without 1)",
    );
    expect("0!a1 1!r1,9", EVENTUAL, None, "phantom-read(read -> 2 elements with 9)");
}

#[test]
fn old_answers_are_tolerated_until_replicas_have_to_agree() {
    expect("0!a1 1!r_ 1!r1 1!r_", STALE, None, "valid");
    expect(
        "0!a1 1!r_",
        STALE,
        None,
        "unknown: 1 elements were acknowledged and never read, and no read shows that they are lost",
    );
    expect("0!a1 1!r1 2!r1", STALE, Some(2), "valid");
    expect("0!a1 1!r_ 1!r1 2!r1", STALE, Some(2), "valid");
    expect("0!a1 1!r_ 2!r_", STALE, Some(2), "lost-write(add 1; read -> 0 elements without 1)");
    expect(
        "0!a1 1!r_ 2!r1",
        STALE,
        Some(2),
        "diverged(add 1; read -> 0 elements without 1; read -> 1 elements with 1)",
    );
    // An add that was never answered may come at any time, until it has been seen.
    expect("0ia1 0?a1 1!r_ 2!r1", STALE, Some(2), "valid");
    expect(
        "0ia1 0?a1 2!r1 1!r_",
        STALE,
        Some(2),
        "diverged(add 1; read -> 1 elements with 1; read -> 0 elements without 1)",
    );
    // Node 3 may have it.
    expect(
        "3!r_ 0!a1 1!r_ 2!r_",
        STALE,
        Some(4),
        "unknown: the replicas that answered at the end lack an acknowledged write, and n3 did not answer",
    );
}

#[test]
fn how_long_elements_were_missing() {
    // Acknowledged at 1 ms; the last read that lacks it began at 4 ms.
    let report = check(&history("0!a1 1!r_ 1!r_ 1!r1"), STRICT, None);
    let missing = details(&report).missing.expect("it was missing");
    assert_eq!((missing.elements, missing.p50_ns, missing.max_ns), (1, 3_000_000, 3_000_000));
    let counts = details(&report).counts;
    assert_eq!((counts.added, counts.acknowledged, counts.stale, counts.lost), (1, 1, 1, 0));
    assert_eq!(details(&check(&history("0!a1 1!r1"), STRICT, None)).missing, None);
}

#[test]
fn sets_are_told_apart_by_key() {
    let keyed = |key: &str, operation: Operation<Set>| {
        let key = Scalar::from(key);
        operation.map(|action| Set { key: Some(key.clone()), ..action })
    };
    let (one, other) = (history("0!a1 1!r1"), history("2!a1 3!r_"));
    let both: Vec<Operation<Set>> =
        one.into_iter().map(|op| keyed("a", op)).chain(other.into_iter().map(|op| keyed("b", op))).collect();
    let report = check(&both, STRICT, None);
    assert_eq!(report.keys, 2);
    let [anomaly] = report.verdict.anomalies() else { panic!("{:?}", report.verdict) };
    let objects: Vec<String> = anomaly.objects.iter().map(ToString::to_string).collect();
    assert_eq!(objects, ["element 1", "key b"]);
}

proptest! {
    /// One element taken out of a read, or put into one, of a history without defect.
    #[test]
    fn one_changed_answer_is_found(seed in 0_u64..1000, which in any::<prop::sample::Index>(), numbers in vec(0_usize..1000, 1)) {
        let (operations, _) = simulated(seed, SHAPE);
        let read = |operation: &Operation<Set>| match &operation.completion {
            Completion::Ok { answer: Set { op: SetOp::Read(Some(elements)), .. }, .. } => elements.len() > 1,
            _ => false,
        };
        let reads: Vec<usize> = (0..operations.len()).filter(|at| read(&operations[*at])).collect();
        let at = reads[which.index(reads.len())];
        let changed = |change: &dyn Fn(&mut Vec<Scalar>)| {
            let mut operations = operations.clone();
            if let Completion::Ok { answer: Set { op: SetOp::Read(Some(elements)), .. }, .. } = &mut operations[at].completion {
                change(elements);
            }
            let report = check(&operations, STRICT, None);
            report.verdict.anomalies().iter().map(|anomaly| anomaly.kind).collect::<Vec<AnomalyKind>>()
        };
        let twice = changed(&|elements| elements.push(elements[numbers[0] % elements.len()].clone()));
        prop_assert_eq!(twice, [AnomalyKind::Duplicate]);
        let phantom = changed(&|elements| elements.push(Scalar::from("never added")));
        prop_assert_eq!(phantom, [AnomalyKind::PhantomRead]);
        // One whose add had been acknowledged before the read began.
        let begun = operations[at].index;
        let known = operations.iter().find_map(|operation| match (&operation.action.op, &operation.completion) {
            (SetOp::Add(element), Completion::Ok { index, .. }) if *index < begun => Some(element.clone()),
            _ => None,
        });
        if let Some(known) = known {
            let without = changed(&|elements| elements.retain(|element| *element != known));
            prop_assert!(matches!(without[..], [AnomalyKind::StaleRead | AnomalyKind::LostWrite]), "{without:?}");
        }
    }
}
