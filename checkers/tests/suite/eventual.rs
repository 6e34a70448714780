//! Eventual consistency of registers: implied by stale reads, and every read alone agrees with the definition.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;

use duress_checkers::linearizable::Budget;
use duress_checkers::stale_reads::{check_eventual, check_stale_reads};
use duress_checkers::verdict::{CheckReport, Verdict};
use duress_history::register::{CasRegister, Register, RegisterOp};
use duress_history::{Assumed, Completion, NodeId, Operation, Scalar};
use garbage::{garbage, register_action, unique_garbage};
use proptest::prelude::*;

use crate::{garbage, one_register, words};

fn check(operations: &[Operation<Register>], settled: Option<u64>) -> CheckReport {
    check_eventual(operations, &Assumed::default(), settled, &AtomicBool::new(false))
}

#[track_caller]
fn expect(text: &str, settled: Option<u64>, expected: &str) {
    let report = check(&words::on_own_nodes(one_register::history(text)), settled);
    assert_eq!(words::answer(&report), expected, "{text}: {:#?}", report.verdict);
    report.verdict.anomalies().iter().for_each(words::assert_well_formed);
}

#[test]
fn any_written_value_may_be_read_and_no_other() {
    // Whether replicas agree in the end is part of the promise, and nothing says when that was.
    let open = "unknown: whether replicas came to agree was not checked: the history does not say when everything had been healed";
    expect("0!w1 0!w2 1!r2 1!r1 1!r_ 2!r1", None, open);
    expect("0!w1 0!w2 1!r2 1!r1 1!r_ 1!r2 2!r2", Some(10), "valid");
    expect("0!w1 1!r3", None, "phantom-read(read -> 3)");
    expect("1!r1 0!w1", None, "future-read(read -> 1; write 1)");
}

#[test]
fn an_older_write_may_win_and_replicas_must_agree_on_it() {
    expect("0!w1 0!w2 1!r1 2!r1", Some(4), "valid");
    expect("0!w1 0!w2 1!r1 2!r2", Some(4), "diverged(read -> 1; read -> 2)");
}

#[test]
fn acknowledged_writes_are_not_all_lost() {
    expect("0!w1 0!w2 1!r_ 2!r_", Some(4), "lost-write(write 2; read -> null)");
    // They may be, if nothing was acknowledged, or a delete may have won.
    expect("0iw1 0?w1 1!r_ 2!r_", Some(2), "valid");
    expect("0!w1 3id 3?d 0!w2 1!r_ 2!r_", Some(6), "valid");
    expect("0!w1 3!d 0!w2 1!r_ 2!r_", Some(6), "valid");
    // Another replica may have it.
    let unread = "unknown: key x was not decided: the replicas that answered at the end lack an acknowledged write, and n3 did not answer";
    expect("3!r_ 0!w1 1!r_ 2!r_", Some(4), unread);
}

/// Returns the operations on one key, each sent to one of two nodes.
fn on_one_key(operations: Vec<Operation<CasRegister>>) -> Vec<Operation<Register>> {
    let keyed = |operation: Operation<CasRegister>| {
        let node = Some(NodeId::new(format!("n{}", operation.process.0 % 2)));
        let operation = operation.map(|action| Register { key: Scalar::from("x"), op: action.op });
        Operation { node, ..operation }
    };
    operations.into_iter().map(keyed).collect()
}

/// Whether each read returns a value whose write had begun by its end, or nothing.
fn written_values(operations: &[Operation<Register>]) -> bool {
    operations.iter().all(|read| {
        let Completion::Ok { index: end, answer, .. } = &read.completion else { return true };
        let saw = match &answer.op {
            RegisterOp::Read(saw) | RegisterOp::Cas { old: saw, .. } => saw,
            RegisterOp::Write(_) | RegisterOp::Delete => return true,
        };
        let written: BTreeSet<&Scalar> = operations
            .iter()
            .filter(|write| write.index < *end && !matches!(write.completion, Completion::Fail { .. }))
            // A compare-and-set from a value to itself brings nothing.
            .filter_map(|write| match &write.action.op {
                RegisterOp::Write(value) => Some(value),
                RegisterOp::Cas { old, new } if old.as_ref() != Some(new) => Some(new),
                _ => None,
            })
            .collect();
        saw.as_ref().is_none_or(|saw| written.contains(saw))
    })
}

fn agree(operations: &[Operation<Register>], settled: u64) -> Result<(), TestCaseError> {
    match check(operations, None).verdict {
        Verdict::Invalid(anomalies) => {
            anomalies.iter().for_each(words::assert_well_formed);
            prop_assert!(!written_values(operations), "{anomalies:#?}");
        }
        Verdict::Valid => prop_assert!(false, "nothing says when everything had been healed"),
        Verdict::Unknown(_) => prop_assert!(written_values(operations)),
    }
    let (assumed, interrupt) = (Assumed::default(), AtomicBool::new(false));
    let stale = check_stale_reads(operations, &assumed, Some(settled), &Budget::default(), &interrupt);
    let eventual = check(operations, Some(settled));
    eventual.verdict.anomalies().iter().for_each(words::assert_well_formed);
    if stale.verdict.anomalies().is_empty() {
        prop_assert!(eventual.verdict.anomalies().is_empty(), "{:#?}", eventual.verdict);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, ..ProptestConfig::default() })]

    #[test]
    fn garbage_registers(operations in garbage(register_action(), 9), settled in 0_u64..16) {
        agree(&on_one_key(operations), settled)?;
    }

    #[test]
    fn garbage_registers_with_unique_values(operations in unique_garbage(), settled in 0_u64..16) {
        agree(&on_one_key(operations), settled)?;
    }
}
