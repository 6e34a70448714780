//! Checks while a history grows: at every prefix the answer is that of the definition, or of the whole check.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;

use duress_checkers::delivery::{LogOptions, check_log};
use duress_checkers::growing::{ByKey, Growing, Logs, Registers, Sets, SoFar};
use duress_checkers::linearizable::{Budget, check_registers};
use duress_checkers::verdict::Verdict;
use duress_history::log::Log;
use duress_history::register::{CasRegister, Register, RegisterOp};
use duress_history::set::{Set, SetOp};
use duress_history::{Assumed, Completion, Delivery, Event, OpType, Operation, Payload, Scalar, pairs};
use garbage::{garbage, register_action, unique_garbage};
use proptest::prelude::*;
use simulation::{Defect, Shape, Values};

use crate::objects::{self, simulate};
use crate::sets::{READ, actions, element};
use crate::{garbage, log_simulated, log_simulation, oracle, simulation, small};

/// Returns the events of `operations`, by index.
fn events<A: Clone>(operations: &[Operation<A>]) -> Vec<Event<A>> {
    let mut events = Vec::new();
    for operation in operations {
        let mut event = |index, op_type, action: &A| {
            let (process, action) = (operation.process, action.clone());
            events.push(Event { index, time: index, process, op_type, action, node: None, error: None });
        };
        event(operation.index, OpType::Invoke, &operation.action);
        match &operation.completion {
            Completion::Ok { index, answer, .. } => event(*index, OpType::Ok, answer),
            Completion::Fail { index, .. } => event(*index, OpType::Fail, &operation.action),
            Completion::Info { at: Some((index, _)), .. } => event(*index, OpType::Info, &operation.action),
            Completion::Info { at: None, .. } => {}
        }
    }
    events.sort_by_key(|event| event.index);
    events
}

/// Follows `events` to the first anomaly, and checks that `possible` says the same of every prefix; what is left to the whole
/// check may be anything.
fn agrees<A: Payload>(
    mut growing: impl Growing<A>,
    events: &[Event<A>],
    possible: impl Fn(&[Operation<A>]) -> bool,
) -> Result<SoFar, TestCaseError> {
    for (at, event) in events.iter().enumerate() {
        growing.take(event);
        let SoFar { anomaly, left, .. } = growing.so_far();
        let prefix = pairs::pair(events[..=at].to_vec()).expect("processes do one thing at a time");
        let expected = possible(&prefix);
        match anomaly {
            Some(index) => {
                prop_assert_eq!(index, event.index);
                prop_assert!(!expected, "an anomaly at {}, but some order is right: {:#?}", index, prefix);
                break;
            }
            None => prop_assert!(expected || left > 0, "no anomaly at {}: {:#?}", event.index, prefix),
        }
    }
    Ok(growing.so_far())
}

fn registers(operations: Vec<Operation<CasRegister>>) -> Vec<Event<Register>> {
    let keyed = |action: CasRegister| Register { key: "x".into(), op: action.op };
    events(&operations.into_iter().map(|operation| operation.map(keyed)).collect::<Vec<_>>())
}

fn set_possible(operations: &[Operation<Set>]) -> bool {
    oracle::linearizable(operations, BTreeSet::new())
}

fn register_possible(operations: &[Operation<Register>]) -> bool {
    oracle::linearizable(operations, None)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn registers_of_unique_values(operations in unique_garbage()) {
        let so_far = agrees(ByKey::<Registers>::default(), &registers(operations), register_possible)?;
        prop_assert_eq!(so_far.left, 0);
    }

    #[test]
    fn registers_of_few_values(operations in garbage(register_action(), 8)) {
        agrees(ByKey::<Registers>::default(), &registers(operations), register_possible)?;
    }

    #[test]
    fn simulated_registers(
        seed in any::<u64>(),
        operations in 1_usize..14,
        crashed_per_mille in 0_u32..400,
        spoil in proptest::option::of((any::<prop::sample::Index>(), 0_i64..14)),
    ) {
        let values = Values::Unique;
        let shape = Shape { operations, keys: 1, processes: 4, crashed_per_mille, values, defect: Defect::None };
        let mut events = simulation::events(seed, shape);
        if let Some((which, value)) = spoil {
            let event = which.get_mut(&mut events);
            if let (OpType::Ok, RegisterOp::Read(seen)) = (event.op_type, &mut event.action.op) {
                *seen = (value > 0).then_some(Scalar::Int(value));
            }
        }
        let so_far = agrees(ByKey::<Registers>::default(), &events, register_possible)?;
        prop_assert_eq!(so_far.left, 0);
    }

    #[test]
    fn sets_of_random_answers(operations in garbage(actions(), 8)) {
        let so_far = agrees(ByKey::<Sets>::default(), &events(&operations), set_possible)?;
        prop_assert_eq!(so_far.left, 0);
    }

    #[test]
    fn simulated_sets(
        seed in any::<u64>(),
        operations in 1_usize..14,
        crashed_per_mille in 0_u32..400,
        reads_per_ten in 3_u32..8,
        spoil in proptest::option::of((any::<prop::sample::Index>(), any::<prop::sample::Index>())),
    ) {
        let (lagging, defect) = (false, objects::Defect::None);
        let shape =
            objects::Shape { operations, processes: 4, nodes: 2, crashed_per_mille, reads_per_ten, lagging, defect };
        let (operations, _) = simulate(seed, shape, |_, at| element(at as i64), &READ);
        let mut events = events(&operations);
        if let Some((which, lost)) = spoil
            && let SetOp::Read(Some(elements)) = &mut which.get_mut(&mut events).action.op
            && !elements.is_empty()
        {
            elements.remove(lost.index(elements.len()));
        }
        agrees(ByKey::<Sets>::default(), &events, set_possible)?;
    }
}

fn valid(events: &[Event<Register>]) -> bool {
    let operations = pairs::pair(events.to_vec()).expect("processes do one thing at a time");
    let (assumed, budget) = (Assumed::default(), Budget::default());
    let report = check_registers(&operations, &assumed, &budget, &AtomicBool::new(false));
    !matches!(report.verdict, Verdict::Invalid(_))
}

#[test]
fn long_histories_show_their_anomaly_where_the_whole_check_begins_to_see_it() {
    let mut found = 0;
    for seed in 0..8 {
        let defect =
            [Defect::None, Defect::StaleRead, Defect::LostWrite, Defect::StaleCas][seed as usize % 4];
        let (operations, processes, values) = (1_000, 12, Values::Unique);
        let shape = Shape { operations, keys: 4, processes, crashed_per_mille: 30, values, defect };
        let events = simulation::events(seed, shape);
        let mut growing = ByKey::<Registers>::default();
        events.iter().for_each(|event| growing.take(event));
        let SoFar { anomaly, left, .. } = growing.so_far();
        assert_eq!((anomaly.is_none(), left), (valid(&events), 0), "seed {seed}");
        if let Some(index) = anomaly {
            assert!(!valid(&events[..=index as usize]), "seed {seed}: an anomaly too early");
            assert!(valid(&events[..index as usize]), "seed {seed}: an anomaly too late");
            found += 1;
        }
    }
    assert!(found >= 4, "{found} found");
}

/// Two processes add two elements and read one of them, in all orders and with all outcomes.
#[test]
fn every_small_history_of_a_set() {
    use small::Outcome::{Info, Ok};
    let read = |value: i64| Set { key: None, op: SetOp::Read(Some(vec![Scalar::Int(value)])) };
    let mut choices = Vec::new();
    for value in [0, 1] {
        choices.push((element(value), Ok(element(value))));
        choices.push((element(value), Info));
        choices.push((READ, Ok(read(value))));
    }
    let (mut impossible, mut all) = (0_u32, 0_u32);
    small::histories(&[2, 2], &choices, &mut |operations| {
        let mut operations = operations.to_vec();
        for operation in &mut operations {
            if let Completion::Info { at, .. } = &mut operation.completion {
                *at = Some((operation.index + 1, operation.index + 1));
            }
        }
        let mut growing = ByKey::<Sets>::default();
        events(&operations).iter().for_each(|event| growing.take(event));
        let anomaly = growing.so_far().anomaly;
        assert_eq!(anomaly.is_none(), set_possible(&operations), "{operations:#?}");
        impossible += u32::from(anomaly.is_some());
        all += 1;
    });
    assert!(impossible > all / 4 && impossible < all, "{impossible} of {all} are impossible");
}

/// Which defects show before the end of a history, and how seldom that may be missed.
#[test]
fn logs_show_what_is_certain_at_once() {
    use log_simulation::Defect as Broken;
    const SEEDS: u64 = 8;
    for (defect, missed_max) in [
        (Broken::None, 0),
        (Broken::Phantom, 0),
        (Broken::AppendRefused, 0),
        (Broken::AppendTwice, 0),
        (Broken::PollBack, 0),
        (Broken::SkipWithin, 0),
        (Broken::SkipBetween, 0),
        (Broken::WrongOffset, 0),
        (Broken::LoseAcknowledged, 0),
        (Broken::Truncate, SEEDS),
        (Broken::Overtake, SEEDS),
    ] {
        let (mut happened, mut missed) = (0, Vec::new());
        for seed in 0..SEEDS {
            let simulated =
                log_simulation::simulate(seed, log_simulation::Shape { defect, ..log_simulated::SHAPE });
            let invalid = |events: &[Event<Log>]| {
                let operations = pairs::pair(events.to_vec()).expect("processes do one thing at a time");
                let report = check_log(&operations, &LogOptions::default(), &AtomicBool::new(false));
                matches!(report.verdict, Verdict::Invalid(_))
            };
            let mut growing = Logs::new(Delivery::EXACTLY_ONCE);
            simulated.events.iter().for_each(|event| growing.take(event));
            let SoFar { anomaly, left, .. } = growing.so_far();
            assert_eq!(left, 0);
            happened += u64::from(simulated.happened);
            match anomaly {
                Some(index) => {
                    assert!(
                        invalid(&simulated.events[..=index as usize]),
                        "{defect:?}, seed {seed}: {index}"
                    );
                    assert!(
                        invalid(&simulated.events),
                        "{defect:?}, seed {seed}: {index}, and not in the end"
                    );
                }
                None if simulated.happened => missed.push(seed),
                None => {}
            }
        }
        assert!(defect == Broken::None || happened > SEEDS / 2, "{defect:?} happened {happened} times");
        assert!(missed.len() as u64 <= missed_max, "{defect:?}, missed of {happened}: {missed:?}");
    }
}
