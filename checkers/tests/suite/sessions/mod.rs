//! Session guarantees of registers, against the definition tried out literally.

mod definition;
#[allow(dead_code, reason = "some defects are of interest to other tests only")]
use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use definition::{execution, has_an_execution, is_kept, orders};
use duress_checkers::linearizable::{Budget, check_registers};
use duress_checkers::transactions::{check_registers_by_model, check_session_guarantees};
use duress_checkers::verdict::{Anomaly, AnomalyKind, CheckReport, Reason, Verdict};
use duress_history::pairs::Completion;
use duress_history::register::{Register, RegisterOp};
use duress_history::{
    Assumed, ConsistencyModel, Initial, NilReads, OpError, Operation, Scalar, SessionGuarantee,
    SessionGuarantees,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use registers::operations;
use simulation::{Defect, Shape, Values};

use SessionGuarantee::{MonotonicReads, MonotonicWrites, ReadYourWrites, WritesFollowReads};

use crate::{registers, simulation};

/// Every set of guarantees.
fn sets() -> impl Iterator<Item = SessionGuarantees> {
    (1..16).map(|set| {
        let names = SessionGuarantee::ALL.into_iter().enumerate();
        let names = names.filter(|(at, _)| set >> at & 1 == 1).map(|(_, one)| one.name());
        SessionGuarantees::named(&names.collect::<Vec<_>>().join("+")).unwrap()
    })
}

fn set(names: &str) -> SessionGuarantees {
    SessionGuarantees::named(names).unwrap()
}

fn checked(operations: &[Operation<Register>], set: SessionGuarantees, assumed: &Assumed) -> CheckReport {
    check_session_guarantees(operations, set, assumed, &AtomicBool::new(false))
}

fn check(text: &str, names: &str) -> Verdict {
    checked(&operations(text), set(names), &Assumed::default()).verdict
}

/// The guarantee that an anomaly breaks; `None` if its values break all of them.
fn broken(kind: AnomalyKind) -> Option<SessionGuarantee> {
    match kind {
        AnomalyKind::ReadYourWritesViolation => Some(ReadYourWrites),
        AnomalyKind::MonotonicReadsViolation => Some(MonotonicReads),
        AnomalyKind::MonotonicWritesViolation => Some(MonotonicWrites),
        AnomalyKind::WritesFollowReadsViolation => Some(WritesFollowReads),
        AnomalyKind::PhantomRead | AnomalyKind::G1a | AnomalyKind::FutureRead => None,
        other => panic!("{other}"),
    }
}

#[test]
fn a_deleted_register_is_undecided_and_others_are_not() {
    let undecided = Verdict::Unknown(vec![Reason::Deleted { key: Some(Scalar::from("x")) }]);
    assert_eq!(check("0!wx1 0!dx 0!rx1 0!wy1 0!ry1", "pram"), undecided);
    let Verdict::Invalid(anomalies) = check("0!dx 0!rx_ 0!wy1 0!ry_", "pram") else { panic!("y went back") };
    assert_eq!(anomalies.len(), 1);
    let causal = |text: &str| {
        let operations = operations(text);
        check_registers_by_model(
            &operations,
            ConsistencyModel::Causal,
            &Assumed::default(),
            &AtomicBool::new(false),
        )
    };
    assert_eq!(causal("0!wx1 0!dx 0!rx1 0!wy1 0!ry1").verdict, undecided);
    assert_eq!(causal("0!wx1 0!dx 0!rx1").verdict, undecided, "no other register is left");
    assert_eq!(check("0!wx1 0!dx 0!rx1", "pram"), undecided);
}

/// Asserts that a witness speaks of operations that it has.
fn is_well_formed(anomaly: &Anomaly) {
    let known = |label: &String| anomaly.operations.iter().any(|shown| shown.label == *label);
    assert!(!anomaly.steps.is_empty() && !anomaly.objects.is_empty(), "{anomaly:#?}");
    assert!(anomaly.steps.iter().flat_map(|step| &step.labels).all(known), "{anomaly:#?}");
    for relation in &anomaly.relations {
        assert!(known(&relation.from) && known(&relation.to) && relation.from != relation.to, "{anomaly:#?}");
    }
}

#[test]
fn the_textbook_examples() {
    // Each with the sets of guarantees that it breaks, and the guarantee by which the violation is named.
    let others = "monotonic-reads+monotonic-writes+writes-follow-reads";
    for (text, breaks, keeps, name) in [
        ("0!wx1 0!rx_", vec!["read-your-writes"], vec![others], ReadYourWrites),
        (
            "0!wx1 1!rx1 1!rx_",
            vec!["monotonic-reads"],
            vec!["read-your-writes+monotonic-writes+writes-follow-reads"],
            MonotonicReads,
        ),
        (
            "0!wx1 1!wx2 2!rx1 2!rx2 2!rx1",
            vec!["monotonic-reads"],
            vec!["read-your-writes+monotonic-writes+writes-follow-reads"],
            MonotonicReads,
        ),
        // Two processes that see two writes in two orders.
        (
            "0!wx1 1!wx2 2!rx1 2!rx2 3!rx2 3!rx1",
            vec!["monotonic-reads"],
            vec!["read-your-writes+monotonic-writes+writes-follow-reads"],
            MonotonicReads,
        ),
        // One's own write is overwritten by each of two writes that others see in the other order.
        ("0!wx1 1!wx2 0!rx2 1!rx1", vec!["read-your-writes"], vec![others], ReadYourWrites),
        (
            "0!wx1 0!wx2 1!rx2 1!rx1",
            vec!["monotonic-reads+monotonic-writes", "pram"],
            vec!["read-your-writes+monotonic-reads+writes-follow-reads", "monotonic-reads"],
            MonotonicWrites,
        ),
        (
            "0!wx1 0!wx2 0!rx1",
            vec!["read-your-writes+monotonic-writes"],
            vec!["read-your-writes", "monotonic-reads+monotonic-writes"],
            MonotonicWrites,
        ),
        // The half of monotonic writes about visibility: the arbitration alone allows it.
        (
            "0!wx1 0!wy2 1!ry2 1!rx_",
            vec!["monotonic-reads+monotonic-writes", "pram"],
            vec!["read-your-writes+monotonic-reads+writes-follow-reads"],
            MonotonicWrites,
        ),
        (
            "0!wx1 1!rx1 1!wy2 2!ry2 2!rx_",
            vec!["monotonic-reads+writes-follow-reads"],
            vec!["pram"],
            WritesFollowReads,
        ),
        (
            "0!wx1 1!rx1 1!wx2 2!rx2 2!rx1",
            vec!["monotonic-reads+writes-follow-reads"],
            vec!["pram"],
            WritesFollowReads,
        ),
        // A compare-and-set is a write that follows its own read.
        (
            "0!wx1 1!cx12 2!rx2 2!rx1",
            vec!["monotonic-reads+writes-follow-reads"],
            vec!["pram"],
            WritesFollowReads,
        ),
        // Two compare-and-sets, each of what the other wrote.
        ("0icx12 1icx21 0ocx12 1ocx21", vec!["writes-follow-reads"], vec!["pram"], WritesFollowReads),
        // A write of unknown outcome, which took effect.
        (
            "0!wx1 1icx12 1?cx12 2!rx2 2!rx1",
            vec!["monotonic-reads+writes-follow-reads"],
            vec!["pram"],
            WritesFollowReads,
        ),
        (
            "0!wx1 0iwx2 0?wx2 1!rx2 1!rx1",
            vec!["monotonic-reads+monotonic-writes"],
            vec!["read-your-writes+monotonic-reads+writes-follow-reads"],
            MonotonicWrites,
        ),
    ] {
        for set in sets() {
            let verdict = checked(&operations(text), set, &Assumed::default()).verdict;
            if breaks.iter().any(|names| set.implies(self::set(names))) {
                let Verdict::Invalid(anomalies) = verdict else { panic!("{text}: {set}: {verdict:?}") };
                assert_eq!(broken(anomalies[0].kind), Some(name), "{text}: {set}: {anomalies:#?}");
                anomalies.iter().for_each(is_well_formed);
            } else if keeps.iter().any(|names| self::set(names).implies(set)) {
                assert!(!matches!(verdict, Verdict::Invalid(_)), "{text}: {set}: {verdict:?}");
            }
        }
    }
}

#[test]
fn what_the_guarantees_allow() {
    for (text, names) in [
        ("0!wx1 1!rx_ 1!rx1 1!rx1", "pram+writes-follow-reads"),
        ("0!wx1 1!wy2 0!ry_ 1!rx_ 0!rx1", "pram+writes-follow-reads"),
        ("0!wx1 1!cx12 2!cx13 1!rx2 2!rx3", "read-your-writes"),
        ("0!wx1 1!wx2 0!rx1 1!rx1 1!rx1", "pram+writes-follow-reads"),
        // The session of a process ends with an operation of unknown outcome.
        ("0!wx1 0iwx2 0?wx2 0!rx_ 0!rx_ 1!wy3 1!ry3", "pram"),
    ] {
        assert_eq!(check(text, names), Verdict::Valid, "{text}");
    }
}

#[test]
fn reads_that_prove_nothing_leave_the_verdict_open() {
    let reason = |verdict| match verdict {
        Verdict::Unknown(reasons) => reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
        verdict => panic!("{verdict:?}"),
    };
    let sees_one = "a read sees one register, so that reads prove monotonic-writes only together with monotonic-reads; check \
                    monotonic-reads+monotonic-writes";
    assert_eq!(reason(check("0!wx1 0!wx2 1!rx2 1!rx1", "monotonic-writes")), sees_one);
    let own = "no process read a register of which read-your-writes makes a write visible to it";
    assert_eq!(reason(check("0!wx1 1!rx1 1!rx_", "read-your-writes")), own);
    assert_eq!(reason(check("0!wx1", "pram")), "1 operations succeeded, but no answer shows their effect");
    assert_eq!(reason(check("0iwx1 0?wx1", "pram")), "none of 1 operations succeeded");
    let repeated =
        "key x was not decided: 1 was written more than once, and which write a read saw is not known";
    assert_eq!(reason(check("0!wx1 1!wx1 0!rx_ 0!wy2 0!ry2", "pram")), repeated);
    // The other register is decided all the same.
    assert!(matches!(check("0!wx1 1!wx1 0!rx_ 0!wy2 0!ry_", "pram"), Verdict::Invalid(_)));
}

/// Returns a random history of three clients, and what is assumed about it.
fn random(seed: u64) -> (Vec<Operation<Register>>, Assumed) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let keys = &["x", "y", "z"][..random.random_range(1..=3)];
    let (steps, most_writes) = (random.random_range(6..24), random.random_range(2..=5));
    let (mut text, mut written): (String, Vec<&str>) = (String::new(), Vec::new());
    let mut clients: Vec<(u64, Option<String>)> = (0..3).map(|process| (process, None)).collect();
    for _ in 0..steps {
        let client = random.random_range(0..3);
        let (process, open) = &mut clients[client];
        let Some(word) = open.take() else {
            let key = keys[random.random_range(0..keys.len())];
            // Mostly a value of this register.
            let of_key: Vec<usize> = (0..written.len())
                .filter(|at| written[*at] == key || random.random_range(0..40) == 0)
                .collect();
            let value = match random.random_range(0..=of_key.len()) {
                0 => "_".to_owned(),
                at => (of_key[at - 1] + 1).to_string(),
            };
            let word = match random.random_range(0..5) {
                0 | 1 if written.len() < most_writes => {
                    written.push(key);
                    format!("w{key}{}", written.len())
                }
                2 if written.len() < most_writes => {
                    written.push(key);
                    format!("c{key}{value}{}", written.len())
                }
                _ => format!("r{key}{value}"),
            };
            text.push_str(&format!("{process}i{word} "));
            *open = Some(word);
            continue;
        };
        let ended = match random.random_range(0..12) {
            0 if seed.is_multiple_of(2) => "?",
            1 if seed.is_multiple_of(2) => "f",
            _ => "o",
        };
        text.push_str(&format!("{process}{ended}{word} "));
        // The same process may go on, in a session of its own.
        if ended == "?" && random.random() {
            *process += 3;
        }
    }
    let mut operations = operations(&text);
    let assumed = match seed % 7 {
        0 => Assumed::from(Some(Scalar::Int(9))),
        1 => Assumed { initial: Initial::Any, ..Assumed::default() },
        2 => Assumed { nil_reads: NilReads::Unknown, ..Assumed::default() },
        _ => Assumed::default(),
    };
    for operation in &mut operations {
        let is_nine = assumed.initial != Initial::Known(None) && random.random_range(0..3) > 0;
        if let Completion::Fail { error, .. } = &mut operation.completion {
            match &mut operation.action.op {
                RegisterOp::Cas { .. } if random.random() => {
                    let value = random.random_range(0..=written.len());
                    let saw = Some((value > 0).then_some(Scalar::Int(value as i64)));
                    *error = Some(Box::new(OpError { kind: None, text: "differs".to_owned(), saw }));
                }
                RegisterOp::Write(value) if is_nine => *value = Scalar::Int(9),
                _ => {}
            }
        }
        if let Completion::Ok { answer, .. } = &mut operation.completion
            && let RegisterOp::Read(value @ None) = &mut answer.op
            && is_nine
        {
            *value = Some(Scalar::Int(9));
        }
    }
    (operations, assumed)
}

#[test]
fn the_guarantees_are_what_the_definition_says() {
    let by_count: Vec<Vec<Vec<usize>>> = (0..=5).map(orders).collect();
    let mut seen: BTreeMap<(String, bool), u32> = BTreeMap::new();
    for seed in 0..4000 {
        let (operations, assumed) = random(seed);
        let execution = execution(&operations, &assumed);
        let kept = |set| match &execution {
            Ok(execution) => has_an_execution(execution, set, &by_count[execution.writes.len()]),
            Err(is_open) => *is_open,
        };
        for set in sets() {
            let expected = kept(set);
            let verdict = checked(&operations, set, &assumed).verdict;
            match &verdict {
                Verdict::Valid => assert!(expected, "seed {seed}: {set}: {operations:#?}"),
                Verdict::Invalid(_) if matches!(execution, Err(true)) => {}
                Verdict::Invalid(anomalies) => {
                    assert!(!expected, "seed {seed}: {set}: {operations:#?} {anomalies:#?}");
                    for anomaly in anomalies {
                        is_well_formed(anomaly);
                        // It is named by the last of the guarantees that it needs.
                        let Some(broken) = broken(anomaly.kind) else { continue };
                        assert!(set.has(broken));
                        let needs =
                            SessionGuarantee::ALL.into_iter().filter(|one| *one <= broken && set.has(*one));
                        let needs = needs.map(SessionGuarantee::name).collect::<Vec<_>>().join("+");
                        assert!(!kept(self::set(&needs)), "seed {seed}: {set}: {operations:#?} {anomaly:#?}");
                    }
                }
                Verdict::Unknown(reasons) => {
                    assert!(expected, "seed {seed}: {set}: {operations:#?} {reasons:?}");
                    let is_reason = |reason: &Reason| match reason {
                        Reason::RepeatedWrite { .. } => assumed.initial == Initial::Any,
                        reason => matches!(
                            reason,
                            Reason::NotExamined { .. }
                                | Reason::NothingHappened { .. }
                                | Reason::NothingObserved { .. }
                        ),
                    };
                    assert!(reasons.iter().all(is_reason), "seed {seed}: {reasons:?}");
                    continue;
                }
            }
            if execution.is_ok() {
                *seen.entry((set.to_string(), verdict == Verdict::Valid)).or_default() += 1;
            }
            // A process that goes on has one session there.
            let ended = operations.iter().filter(|it| matches!(it.completion, Completion::Info { .. }));
            let goes_on = |ended: &Operation<Register>| {
                operations.iter().any(|it| it.process == ended.process && it.index > ended.index)
            };
            if set == SessionGuarantees::ALL && execution.is_ok() && !ended.into_iter().any(goes_on) {
                let causal = ConsistencyModel::Causal;
                let report = check_registers_by_model(&operations, causal, &assumed, &AtomicBool::new(false));
                if !matches!(report.verdict, Verdict::Unknown(_)) {
                    let both = [&report.verdict, &verdict].map(|verdict| *verdict == Verdict::Valid);
                    assert_eq!(both[0], both[1], "seed {seed}: {operations:#?} {report:#?}");
                }
            }
        }
    }
    for set in sets().filter(|set| set.has(ReadYourWrites) || set.has(MonotonicReads)) {
        for valid in [true, false] {
            let count = seen.get(&(set.to_string(), valid)).copied().unwrap_or_default();
            assert!(count > 50, "{set}, {valid}: {count} of {seen:?}");
        }
    }
}

#[test]
fn the_least_visible_sets_suffice() {
    let mut tried = 0;
    for seed in 0..1500 {
        let (operations, assumed) = random(seed);
        let Ok(it) = execution(&operations, &assumed) else { continue };
        let pairs = it.reads.len() * it.writes.len();
        if pairs > 8 {
            continue;
        }
        tried += 1;
        let orders = orders(it.writes.len());
        for set in sets() {
            let any = (0..1_u32 << pairs).any(|bits| {
                let sees = |read: usize, write: usize| bits >> (read * it.writes.len() + write) & 1 == 1;
                let of_read = |read| (0..it.writes.len()).map(|write| sees(read, write)).collect();
                let visible: Vec<Vec<bool>> = (0..it.reads.len()).map(of_read).collect();
                orders.iter().any(|places| is_kept(&it, set, &visible, places))
            });
            assert_eq!(any, has_an_execution(&it, set, &orders), "seed {seed}: {set}: {operations:#?}");
        }
    }
    assert!(tried > 100, "{tried}");
}

const SHAPE: Shape = Shape {
    operations: 3000,
    keys: 3,
    processes: 6,
    crashed_per_mille: 10,
    values: Values::Unique,
    defect: Defect::None,
};

#[test]
fn linearizable_histories_keep_all_of_them() {
    for seed in 0..10 {
        let operations = simulation::operations(seed, SHAPE);
        let never = AtomicBool::new(false);
        let report = check_registers(&operations, &Assumed::default(), &Budget::default(), &never);
        assert_eq!(report.verdict, Verdict::Valid);
        for set in sets().filter(|set| set.has(ReadYourWrites) || set.has(MonotonicReads)) {
            assert_eq!(
                checked(&operations, set, &Assumed::default()).verdict,
                Verdict::Valid,
                "{seed}: {set}"
            );
        }
    }
}

#[test]
fn one_old_read_among_thousands_is_found_and_little_of_it_shown() {
    for seed in 0..20 {
        let mut operations = simulation::operations(seed, Shape { crashed_per_mille: 0, ..SHAPE });
        // The last read of a process returns what its first one of that register did.
        let is_read = |operation: &Operation<Register>| match &operation.completion {
            Completion::Ok { answer: Register { op: RegisterOp::Read(value), .. }, .. } => {
                Some(value.clone())
            }
            _ => None,
        };
        let last = operations.iter().rposition(|operation| is_read(operation).is_some()).unwrap();
        let of_last = |operation: &&Operation<Register>| {
            operation.process == operations[last].process
                && operation.action.key == operations[last].action.key
        };
        let first = operations.iter().filter(of_last).find_map(is_read).unwrap();
        let Completion::Ok { answer, .. } = &mut operations[last].completion else { unreachable!() };
        answer.op = RegisterOp::Read(first);
        for (names, expected) in [
            ("monotonic-reads", MonotonicReads),
            ("read-your-writes+monotonic-reads", MonotonicReads),
            ("pram", MonotonicWrites),
        ] {
            let report = checked(&operations, set(names), &Assumed::default());
            let Verdict::Invalid(anomalies) = &report.verdict else {
                panic!("{seed}: {names}: {:?}", report.verdict)
            };
            assert!(
                anomalies.iter().all(|anomaly| broken(anomaly.kind).is_some_and(|it| it <= expected)),
                "{anomalies:#?}"
            );
            assert!(anomalies[0].operations.len() <= 12, "{anomalies:#?}");
            anomalies.iter().for_each(is_well_formed);
        }
    }
}
