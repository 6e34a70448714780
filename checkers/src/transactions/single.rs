//! Registers under consistency models: each operation is a transaction of its own.
//!
//! Strong-session-serializability is then sequential consistency (Lamport, "How to Make a Multiprocessor Computer That
//! Correctly Executes Multiprocess Programs", 1979): one order of all operations on all registers, in which those of each
//! process keep their order. Causal consistency is convergent: what a process has seen and done comes before what it does
//! next, and all processes see the versions of a register in one order, which respects that (CCv in Bouajjani and others,
//! "On Verifying Causal Consistency", POPL 2017). Causal memory, where processes may see two concurrent versions in
//! different orders, is weaker.

use std::sync::atomic::AtomicBool;

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
    let transactions: Vec<Operation<RwRegister>> =
        operations.iter().cloned().map(|operation| operation.map(transaction)).collect();
    check_rw_register(&transactions, promise, assumed, interrupt)
}

/// A compare-and-set reads the value that it replaces.
fn transaction(Register { key, op }: Register) -> RwRegister {
    let micro = |act| Micro { key: key.clone(), act };
    let micros = match op {
        RegisterOp::Read(value) => vec![micro(Act::Read(Some(Held(value))))],
        RegisterOp::Write(value) => vec![micro(Act::Write(value))],
        RegisterOp::Cas { old, new } => vec![micro(Act::Read(Some(Held(old)))), micro(Act::Write(new))],
    };
    Txn { micros: micros.into() }
}
