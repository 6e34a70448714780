//! Models of histories that others record and no workload here makes.

use std::time::Duration;

use duress_checkers::CheckReport;
use duress_checkers::kv_append::check_kv_append;
use duress_checkers::linearizable::{Budget, check_cas_register, check_mutex};
use duress_checkers::total_queue::check_total_queue;
use duress_checkers::transactions::{ConsistencyModel, check_list_append, check_rw_register};
use duress_checkers::verdict::Details;
use duress_history::kv_append::KvAppend;
use duress_history::mutex::Mutex;
use duress_history::register::CasRegister;
use duress_history::total_queue::TotalQueue;
use duress_history::txn::{ListAppend, RwRegister};
use duress_history::{Delivery, Promise};

use super::delivery;
use super::erased::Model;
use super::register::judge::linearizability;
use crate::judge::{JudgeError, Judgement, Question, Recording};

/// One register.
pub struct CasRegisterModel;

impl Model for CasRegisterModel {
    fn name(&self) -> &'static str {
        "cas-register"
    }

    fn holds(&self) -> &'static str {
        "one register, or one for each `key`: read, write and compare-and-set, values bare"
    }

    fn check(
        &self,
        recording: &Recording,
        question: &Question,
        limit: Duration,
    ) -> Result<Judgement, JudgeError> {
        recording.read::<CasRegister>()?.judged(limit, |operations, interrupt| {
            let report = check_cas_register(operations, &question.assumed, &Budget::default(), interrupt);
            linearizability(report, self.name())
        })
    }
}

/// One lock.
pub struct MutexModel;

impl Model for MutexModel {
    fn name(&self) -> &'static str {
        "mutex"
    }

    fn holds(&self) -> &'static str {
        "locks: acquire and release"
    }

    fn check(&self, recording: &Recording, _: &Question, limit: Duration) -> Result<Judgement, JudgeError> {
        recording.read::<Mutex>()?.judged(limit, |operations, interrupt| {
            linearizability(check_mutex(operations, &Budget::default(), interrupt), self.name())
        })
    }
}

/// Strings that can be appended to.
pub struct KvAppendModel;

impl Model for KvAppendModel {
    fn name(&self) -> &'static str {
        "kv-append"
    }

    fn holds(&self) -> &'static str {
        "strings by key: put, append and get"
    }

    fn check(&self, recording: &Recording, _: &Question, limit: Duration) -> Result<Judgement, JudgeError> {
        recording.read::<KvAppend>()?.judged(limit, |operations, interrupt| {
            linearizability(check_kv_append(operations, &Budget::default(), interrupt), self.name())
        })
    }
}

/// A queue of which everything that went in must come out.
pub struct TotalQueueModel;

impl Model for TotalQueueModel {
    fn name(&self) -> &'static str {
        "total-queue"
    }

    fn holds(&self) -> &'static str {
        "a queue without an order: enqueue, dequeue and drain"
    }

    fn check(
        &self,
        recording: &Recording,
        question: &Question,
        limit: Duration,
    ) -> Result<Judgement, JudgeError> {
        // As in Jepsen: what comes out twice is counted, unless more is asked for.
        let promise = match question.promise {
            Promise::Messages { consumed, .. } => consumed,
            Promise::Objects(_) => Delivery::AT_LEAST_ONCE,
        };
        recording.read::<TotalQueue>()?.judged(limit, |operations, _| {
            delivery::judgement(check_total_queue(operations, promise), promise, "handed out", self.name())
        })
    }
}

/// Transactions on lists that are appended to.
pub struct ListAppendModel;

impl Model for ListAppendModel {
    fn name(&self) -> &'static str {
        "list-append"
    }

    fn holds(&self) -> &'static str {
        "transactions on lists by key: append, and read of the whole list"
    }

    fn check(
        &self,
        recording: &Recording,
        question: &Question,
        limit: Duration,
    ) -> Result<Judgement, JudgeError> {
        recording.read::<ListAppend>()?.judged(limit, |operations, interrupt| {
            let report = check_list_append(operations, question.consistency, interrupt);
            consistency(report, question.consistency, self.name())
        })
    }
}

/// Transactions on registers.
pub struct RwRegisterModel;

impl Model for RwRegisterModel {
    fn name(&self) -> &'static str {
        "rw-register"
    }

    fn holds(&self) -> &'static str {
        "transactions on registers by key: read and write, each value written once"
    }

    fn check(
        &self,
        recording: &Recording,
        question: &Question,
        limit: Duration,
    ) -> Result<Judgement, JudgeError> {
        recording.read::<RwRegister>()?.judged(limit, |operations, interrupt| {
            let report = check_rw_register(operations, question.consistency, &question.assumed, interrupt);
            consistency(report, question.consistency, self.name())
        })
    }
}

/// The words for a check of transactions of what `model` names against `promise`.
fn consistency(report: CheckReport, promise: ConsistencyModel, model: &str) -> Judgement {
    let mut findings = Vec::new();
    let mut broken = format!("not {promise}");
    if let Details::Transactions(details) = &report.details {
        let names = |models: &[ConsistencyModel]| {
            models.iter().map(|model| model.name()).collect::<Vec<_>>().join(", ")
        };
        let counts: Vec<String> =
            details.found.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        if !counts.is_empty() {
            broken = format!("not {promise}: {}", counts.join(", "));
            let left = match names(&details.left) {
                left if left.is_empty() => "nothing".to_owned(),
                left => left,
            };
            findings.push(format!(
                "found: {}; that refutes {}, and what implies it; the strongest left: {left}",
                counts.join(", "),
                names(&details.refuted)
            ));
        }
    }
    Judgement {
        property: promise.name().to_owned(),
        holds: "the transactions fit an order that the model allows".to_owned(),
        broken,
        checked: format!("{} transactions on {} keys", report.operations, report.keys),
        findings,
        model: format!("{model} --consistency {promise}"),
        report,
    }
}
