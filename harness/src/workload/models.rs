//! Models of histories that others record and no workload here makes.

use std::time::Duration;

use duress_checkers::CheckReport;
use duress_checkers::freshness::cas_register_ages;
use duress_checkers::kv_append::check_kv_append;
use duress_checkers::linearizable::{Budget, check_cas_register, check_mutex};
use duress_checkers::lock::{Reentry, check_fenced_lease, check_fenced_mutex, check_owned_mutex};
use duress_checkers::queue::{Order, check_queue};
use duress_checkers::total_queue::check_total_queue;
use duress_checkers::verdict::{Details, FoundReport};
use duress_history::fenced_mutex::FencedMutex;
use duress_history::kv_append::KvAppend;
use duress_history::mutex::Mutex;
use duress_history::register::CasRegister;
use duress_history::total_queue::TotalQueue;
use duress_history::{Delivery, Promise};

use super::delivery;
use super::erased::Model;
use super::export::{ExportError, Format, export};
use super::register::judge::{linearizability, measured};
use crate::judge::{JudgeError, Judgement, Question, Recording, Times};

/// A model that is its name, its meaning and its checker.
#[derive(Clone, Copy)]
pub struct Foreign {
    name: &'static str,
    holds: &'static str,
    checker: Checker,
}

/// The checker of a model.
#[derive(Clone, Copy)]
enum Checker {
    CasRegister,
    Mutex,
    OwnedMutex(Reentry),
    FencedMutex(Reentry),
    FencedLease,
    KvAppend,
    TotalQueue,
    Queue(Order),
}

const fn foreign(name: &'static str, holds: &'static str, checker: Checker) -> Foreign {
    Foreign { name, holds, checker }
}

/// All of them, in the order in which they are listed.
pub const FOREIGN: [Foreign; 13] = [
    foreign(
        "cas-register",
        "one register, or one for each `key`: read, write and compare-and-set, values bare",
        Checker::CasRegister,
    ),
    foreign("mutex", "locks: acquire and release", Checker::Mutex),
    foreign(
        "owned-mutex",
        "locks that only the process that acquired them may release",
        Checker::OwnedMutex(Reentry::Refused),
    ),
    foreign(
        "reentrant-mutex",
        "the same, and their owner may acquire them again",
        Checker::OwnedMutex(Reentry::Allowed),
    ),
    foreign(
        "fenced-mutex",
        "locks with an owner; acquisitions are answered with fencing tokens, which grow",
        Checker::FencedMutex(Reentry::Refused),
    ),
    foreign(
        "reentrant-fenced-mutex",
        "the same, and their owner may acquire them again, with the same token",
        Checker::FencedMutex(Reentry::Allowed),
    ),
    foreign(
        "fenced-lease",
        "locks whose owners may lose them: only the fencing tokens must grow",
        Checker::FencedLease,
    ),
    foreign("kv-append", "strings by key: put, append and get", Checker::KvAppend),
    foreign("total-queue", "a queue without an order: enqueue, dequeue and drain", Checker::TotalQueue),
    foreign(
        "fifo-queue",
        "a queue: enqueue and dequeue, the first element in is the first out",
        Checker::Queue(Order::Fifo),
    ),
    foreign(
        "stack",
        "a stack: push and pop, the last element in is the first out",
        Checker::Queue(Order::Lifo),
    ),
    foreign(
        "priority-queue",
        "a priority queue: enqueue and dequeue, the least element is the first out",
        Checker::Queue(Order::Least),
    ),
    foreign("unordered-queue", "a bag: enqueue and dequeue, in any order", Checker::Queue(Order::Any)),
];

impl Model for Foreign {
    fn name(&self) -> &'static str {
        self.name
    }

    fn holds(&self) -> &'static str {
        self.holds
    }

    fn promises(&self) -> &'static [&'static str] {
        match self.checker {
            Checker::TotalQueue => Promise::OF_MESSAGES,
            _ => &[],
        }
    }

    fn check(
        &self,
        recording: &Recording,
        question: &Question,
        limit: Duration,
    ) -> Result<Judgement, JudgeError> {
        let budget = Budget::default();
        match self.checker {
            Checker::CasRegister => {
                let recorded = recording.read::<CasRegister>()?;
                let timing = recorded.timing;
                recorded.judged(limit, |operations, interrupt| {
                    let report = check_cas_register(operations, &question.assumed, &budget, interrupt);
                    measured(linearizability(report, self.name), Promise::LINEARIZABLE, || {
                        cas_register_ages(operations, &question.assumed, timing, interrupt)
                    })
                })
            }
            Checker::Mutex => recording.read::<Mutex>()?.judged(limit, |operations, interrupt| {
                linearizability(check_mutex(operations, &budget, interrupt), self.name)
            }),
            Checker::OwnedMutex(reentry) => {
                recording.read::<Mutex>()?.judged(limit, |operations, interrupt| {
                    linearizability(check_owned_mutex(operations, reentry, &budget, interrupt), self.name)
                })
            }
            Checker::FencedMutex(reentry) => {
                recording.read::<FencedMutex>()?.judged(limit, |operations, interrupt| {
                    linearizability(check_fenced_mutex(operations, reentry, &budget, interrupt), self.name)
                })
            }
            Checker::FencedLease => recording
                .read::<FencedMutex>()?
                .judged(limit, |operations, _| linearizability(check_fenced_lease(operations), self.name)),
            Checker::KvAppend => recording.read::<KvAppend>()?.judged(limit, |operations, interrupt| {
                linearizability(check_kv_append(operations, &budget, interrupt), self.name)
            }),
            Checker::TotalQueue => {
                // As in Jepsen: repeated values are only counted, unless the promise demands more.
                let promise = match question.promise {
                    Promise::Messages { consumed, .. } => consumed,
                    Promise::Objects(_)
                    | Promise::Transactions(_)
                    | Promise::Freshness(_)
                    | Promise::Sessions(_) => Delivery::AT_LEAST_ONCE,
                };
                recording.read::<TotalQueue>()?.judged(limit, |operations, _| {
                    let report = check_total_queue(operations, promise);
                    delivery::judgement(report, promise, "handed out", self.name)
                })
            }
            Checker::Queue(order) => {
                recording.read::<TotalQueue>()?.judged(limit, |operations, interrupt| {
                    linearizability(check_queue(operations, order, &budget, interrupt), self.name)
                })
            }
        }
    }

    fn export(&self, recording: &Recording, format: Format) -> Result<Vec<u8>, ExportError> {
        match self.checker {
            Checker::CasRegister => export::<CasRegister>(recording, format),
            Checker::Mutex | Checker::OwnedMutex(_) => export::<Mutex>(recording, format),
            Checker::FencedMutex(_) | Checker::FencedLease => export::<FencedMutex>(recording, format),
            Checker::KvAppend => export::<KvAppend>(recording, format),
            Checker::TotalQueue | Checker::Queue(_) => export::<TotalQueue>(recording, format),
        }
    }
}

/// Returns the words for a check of what `model` names, of which only the anomalies found are reported.
pub fn found(report: CheckReport, model: &str, property: &str, holds: &str) -> Judgement {
    let mut broken = format!("not {property}");
    if let Details::Found(FoundReport { found }) = &report.details {
        let counts: Vec<String> = found.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        broken = format!("{broken}: {}", counts.join(", "));
    }
    Judgement {
        property: property.to_owned(),
        holds: holds.to_owned(),
        broken,
        checked: format!("{} operations", report.operations),
        findings: Vec::new(),
        model: model.to_owned(),
        report,
        times: Times::default(),
        copy: None,
    }
}
