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

use std::sync::atomic::AtomicBool;

use duress_history::pairs::Completion;
use duress_history::register::{Register, RegisterOp};
use duress_history::txn::{Act, Held, Micro, RwRegister, Txn};
use duress_history::{Assumed, ConsistencyModel, Operation};

use super::check_rw_register;
use crate::verdict::CheckReport;

/// Checks operations on registers, in order of invocation, against a consistency model. Otherwise as
/// [`check_rw_register`].
#[must_use]
pub fn check_registers_by_model(
    operations: &[Operation<Register>],
    promise: ConsistencyModel,
    assumed: &Assumed,
    interrupt: &AtomicBool,
) -> CheckReport {
    check_rw_register(&transactions(operations), promise, assumed, interrupt)
}

/// Returns the operations as transactions.
pub(super) fn transactions(operations: &[Operation<Register>]) -> Vec<Operation<RwRegister>> {
    operations.iter().map(|operation| observing(operation.clone()).map(transaction)).collect()
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
        RegisterOp::Cas { old, new } => vec![micro(Act::Read(Some(Held(old)))), micro(Act::Write(new))],
    };
    Txn { micros: micros.into() }
}
