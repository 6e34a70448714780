//! Random histories, mostly impossible: operations that begin and end at random, with random answers.

use duress_history::register::{CasRegister, RegisterOp};
use duress_history::{Completion, Operation, Process, Scalar};
use proptest::collection::vec;
use proptest::prelude::*;

/// The next event of one of the operations of random histories.
#[derive(Clone, Copy, Debug)]
enum Move {
    Ok,
    Fail,
    Info,
}

fn moves() -> impl Strategy<Value = Move> {
    prop_oneof![8 => Just(Move::Ok), 1 => Just(Move::Fail), 2 => Just(Move::Info)]
}

/// Generates operations that begin and end at random, with random answers: mostly impossible.
pub fn garbage<A: Clone + std::fmt::Debug>(
    action: impl Strategy<Value = A>,
    most: usize,
) -> impl Strategy<Value = Vec<Operation<A>>> {
    vec((action, moves(), 0_u64..20, 1_u64..8), 1..most).prop_map(|actions| {
        // Moments in order, invocations and completions mixed; ties broken by place.
        let mut moments: Vec<(u64, usize, bool)> = Vec::new();
        for (at, (_, _, begin, length)) in actions.iter().enumerate() {
            moments.push((*begin, at, false));
            moments.push((begin + length, at, true));
        }
        moments.sort();
        let mut operations: Vec<Operation<A>> = Vec::new();
        for (index, (_, at, completion)) in moments.iter().enumerate() {
            let (action, ends, ..) = &actions[*at];
            let (index, time) = (index as u64, index as u64 * 10);
            if !completion {
                operations.push(Operation {
                    process: Process(*at as u64),
                    node: None,
                    index,
                    time,
                    action: action.clone(),
                    completion: Completion::Info { at: None, error: None },
                });
                continue;
            }
            let operation = operations
                .iter_mut()
                .find(|operation| operation.process.0 == *at as u64)
                .expect("it was invoked before");
            operation.completion = match ends {
                Move::Ok => Completion::Ok { index, time, answer: action.clone() },
                Move::Fail => Completion::Fail { index, time, error: None },
                Move::Info => Completion::Info { at: Some((index, time)), error: None },
            };
        }
        operations
    })
}

fn small_value() -> impl Strategy<Value = Scalar> {
    (0_i64..3).prop_map(Scalar::Int)
}

pub fn register_action() -> impl Strategy<Value = CasRegister> {
    prop_oneof![
        3 => proptest::option::weighted(0.9, small_value()).prop_map(|value| CasRegister::from(RegisterOp::Read(value))),
        2 => small_value().prop_map(|value| CasRegister::from(RegisterOp::Write(value))),
        1 => Just(CasRegister::from(RegisterOp::Delete)),
        2 => (proptest::option::weighted(0.9, small_value()), small_value())
            .prop_map(|(old, new)| CasRegister::from(RegisterOp::Cas { old, new })),
    ]
}

/// Values 0 to 11, each produced at most once: by a write or a compare-and-set.
fn unique_actions() -> impl Strategy<Value = Vec<CasRegister>> {
    let producers = vec((any::<bool>(), proptest::option::weighted(0.95, 0_i64..6)), 1..6);
    let reads = vec(proptest::option::weighted(0.95, 0_i64..6), 0..6);
    (producers, reads).prop_map(|(producers, reads)| {
        let mut actions: Vec<CasRegister> = producers
            .into_iter()
            .enumerate()
            .map(|(value, (cas, old))| {
                let new = Scalar::Int(value as i64);
                CasRegister::from(match (cas, old.map(Scalar::Int)) {
                    (true, old) if old.as_ref() != Some(&new) => RegisterOp::Cas { old, new },
                    _ => RegisterOp::Write(new),
                })
            })
            .collect();
        actions.extend(
            reads.into_iter().map(|value| CasRegister::from(RegisterOp::Read(value.map(Scalar::Int)))),
        );
        actions
    })
}

pub fn unique_garbage() -> impl Strategy<Value = Vec<Operation<CasRegister>>> {
    (unique_actions(), garbage(Just(()), 13)).prop_map(|(actions, shape)| {
        shape
            .into_iter()
            .zip(actions)
            .map(|(shape, action)| Operation {
                process: shape.process,
                node: None,
                index: shape.index,
                time: shape.time,
                completion: match shape.completion {
                    Completion::Ok { index, time, .. } => {
                        Completion::Ok { index, time, answer: action.clone() }
                    }
                    Completion::Fail { index, time, error } => Completion::Fail { index, time, error },
                    Completion::Info { at, error } => Completion::Info { at, error },
                },
                action,
            })
            .collect()
    })
}
