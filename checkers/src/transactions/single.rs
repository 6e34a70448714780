//! Registers under consistency models: each operation is a transaction of its own.
//!
//! Strong-session-serializability is then sequential consistency (Lamport, "How to Make a Multiprocessor Computer That
//! Correctly Executes Multiprocess Programs", 1979): one order of all operations on all registers, in which those of each
//! process keep their order. Causal consistency is convergent: what a process has seen and done comes before what it does
//! next, and all processes see the versions of a register in one order, which respects that (CCv in Bouajjani and others,
//! "On Verifying Causal Consistency", POPL 2017). Causal memory, where processes may see two concurrent versions in
//! different orders, is weaker.
//!
//! A compare-and-set reads the value that it replaces, also one of unknown outcome that took effect. One that failed is a read
//! if its error says what it saw.
//!
//! A register that was deleted is left out, and undecided: of two reads that find nothing, one may have been before its first
//! write, and the other after any of its deletes.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;

use duress_history::pairs::Completion;
use duress_history::register::{Register, RegisterOp};
use duress_history::txn::{Act, Held, Micro, RwRegister, Txn};
use duress_history::{Assumed, ConsistencyModel, Operation, Scalar};

use super::check_rw_register;
use crate::verdict::{CheckReport, Reason, Verdict};

/// Checks operations on registers, in order of invocation, against a consistency model. Otherwise as
/// [`check_rw_register`].
#[must_use]
pub fn check_registers_by_model(
    operations: &[Operation<Register>],
    promise: ConsistencyModel,
    assumed: &Assumed,
    interrupt: &AtomicBool,
) -> CheckReport {
    let (transactions, deleted) = transactions(operations);
    let mut report = check_rw_register(&transactions, promise, assumed, interrupt);
    // The history has operations, if only on registers that are left out.
    if let Verdict::Unknown(reasons) = &mut report.verdict
        && !deleted.is_empty()
    {
        reasons.retain(|reason| *reason != Reason::NothingHappened { operations: 0 });
    }
    report.verdict = report.verdict.merge(Verdict::new(Vec::new(), deleted));
    report
}

/// Returns the operations as transactions, but for those on registers that may have been deleted, and a reason for each of
/// these.
pub(super) fn transactions(operations: &[Operation<Register>]) -> (Vec<Operation<RwRegister>>, Vec<Reason>) {
    let happened =
        |operation: &&Operation<Register>| !matches!(operation.completion, Completion::Fail { .. });
    let deletes = operations.iter().filter(|operation| operation.action.op == RegisterOp::Delete);
    let deleted: BTreeSet<&Scalar> =
        deletes.filter(happened).map(|operation| &operation.action.key).collect();
    let transactions = operations
        .iter()
        .filter(|operation| !deleted.contains(&operation.action.key))
        .map(|operation| observing(operation.clone()).map(transaction))
        .collect();
    (transactions, deleted.into_iter().map(|key| Reason::Deleted { key: Some(key.clone()) }).collect())
}

/// Returns a failed compare-and-set that saw a value as a read of it, and any other operation as it is.
fn observing(mut operation: Operation<Register>) -> Operation<Register> {
    if let (RegisterOp::Cas { .. }, Completion::Fail { index, time, error: Some(error) }) =
        (&operation.action.op, &operation.completion)
        && let Some(saw) = &error.saw
    {
        let answer = Register { op: RegisterOp::Read(saw.clone()), ..operation.action.clone() };
        operation.completion = Completion::Ok { index: *index, time: *time, answer };
    }
    operation
}

fn transaction(Register { key, op }: Register) -> RwRegister {
    let micro = |act| Micro { key: key.clone(), act };
    let micros = match op {
        RegisterOp::Read(value) => vec![micro(Act::Read(Some(Held(value))))],
        RegisterOp::Write(value) => vec![micro(Act::Write(value))],
        // It failed: nothing happened.
        RegisterOp::Delete => Vec::new(),
        RegisterOp::Cas { old, new } => vec![micro(Act::Read(Some(Held(old)))), micro(Act::Write(new))],
    };
    Txn { micros: micros.into() }
}
