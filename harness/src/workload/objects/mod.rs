//! The shared part of workloads on objects by key: registers, sets and counters.
//!
//! - [`keys`]: the choice of an operation's key;
//! - [`finish`]: the last reads of a run: every key through every node.

pub mod finish;
pub mod keys;

use std::collections::BTreeSet;
use std::fmt::Debug;

use duress_checkers::CheckReport;
use duress_history::counter::{Counter, CounterOp};
use duress_history::register::{Register, RegisterOp};
use duress_history::set::{Set, SetOp};
use duress_history::{Consistency, Operation, Scalar};

pub use self::finish::{FinalReads, read_all};
pub use self::keys::{Draw, Keys};

use crate::judge::{Judgement, Question, Times};
use crate::run::dispatcher::Vocabulary;

/// Operations on objects by key, one of which reads the whole object.
pub trait Object: Vocabulary {
    /// The name of an object, or of those that one operation reads together.
    type Key: Clone + Debug + Ord + 'static;
    /// The object's state, as far as two reads can differ in it.
    type Held: Clone + Debug + PartialEq + 'static;

    /// Returns the read of `key`.
    fn reading(key: Self::Key) -> Self;

    /// Returns the name of what it is about, if it may be a read of that.
    fn object(&self) -> Option<Self::Key>;

    /// Returns its answer, if it is an answered read.
    fn held(&self) -> Option<Self::Held>;
}

impl Object for Register {
    type Key = Scalar;
    type Held = Option<Scalar>;

    fn reading(key: Scalar) -> Self {
        Self { key, op: RegisterOp::Read(None) }
    }

    fn object(&self) -> Option<Scalar> {
        Some(self.key.clone())
    }

    fn held(&self) -> Option<Self::Held> {
        match &self.op {
            RegisterOp::Read(value) => Some(value.clone()),
            RegisterOp::Write(_) | RegisterOp::Delete | RegisterOp::Cas { .. } => None,
        }
    }
}

impl Object for Set {
    type Key = Scalar;
    type Held = BTreeSet<Scalar>;

    fn reading(key: Scalar) -> Self {
        Self { key: Some(key), op: SetOp::Read(None) }
    }

    fn object(&self) -> Option<Scalar> {
        self.key.clone()
    }

    fn held(&self) -> Option<Self::Held> {
        match &self.op {
            SetOp::Read(elements) => elements.as_ref().map(|elements| elements.iter().cloned().collect()),
            SetOp::Add(_) => None,
        }
    }
}

impl Object for Counter {
    type Key = Scalar;
    type Held = i64;

    fn reading(key: Scalar) -> Self {
        Self { key: Some(key), op: CounterOp::Read(None) }
    }

    fn object(&self) -> Option<Scalar> {
        self.key.clone()
    }

    fn held(&self) -> Option<Self::Held> {
        match self.op {
            CounterOp::Read(value) => value,
            CounterOp::Add(_) => None,
        }
    }
}

/// Returns the index from which the final phase begins: everything is healed, no more writes are made, and
/// replicas must agree.
#[must_use]
pub fn settled<A>(operations: &[Operation<A>], question: &Question) -> Option<u64> {
    let healed = question.healed_ns?;
    operations.iter().find(|operation| operation.time >= healed).map(|operation| operation.index)
}

/// Returns the words for a check of what `model` names against `promise`; when it keeps that, `holds` is so.
pub(super) fn words(
    model: &str,
    promise: Consistency,
    holds: &str,
    findings: Vec<String>,
    report: CheckReport,
) -> Judgement {
    let (property, broken, model) = match promise {
        Consistency::Linearizable => ("linearizable", "not linearizable", model.to_owned()),
        Consistency::StaleReads => (
            "linearizable but for stale reads",
            "more than stale reads",
            format!("{model} --promise stale-reads"),
        ),
        Consistency::Eventual => {
            ("eventually consistent", "not eventually consistent", format!("{model} --promise eventual"))
        }
    };
    let anomalies = report.verdict.anomalies().len();
    Judgement {
        property: property.to_owned(),
        holds: holds.to_owned(),
        broken: format!("{broken}: {anomalies} anomalies on {} keys", report.keys),
        checked: format!("{} operations on {} keys", report.operations, report.keys),
        findings,
        model,
        report,
        times: Times::default(),
        copy: None,
    }
}
