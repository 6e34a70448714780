//! Models of histories that others record and no workload here makes.

use std::time::Duration;

use duress_checkers::CheckReport;
use duress_checkers::kv_append::check_kv_append;
use duress_checkers::linearizable::{Budget, check_cas_register, check_mutex};
use duress_checkers::lock::{Reentry, check_owned_mutex};
use duress_checkers::queue::{Order, check_queue};
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
use crate::judge::{JudgeError, Judgement, Question, Recording, Times};

/// A model that is its name, its meaning and its checker.
#[derive(Clone, Copy)]
pub struct Foreign {
    name: &'static str,
    holds: &'static str,
    promises: &'static [&'static str],
    check: fn(&Foreign, &Recording, &Question, Duration) -> Result<Judgement, JudgeError>,
}

/// All of them, in the order in which they are listed.
pub const FOREIGN: [Foreign; 12] = [
    Foreign {
        name: "cas-register",
        holds: "one register, or one for each `key`: read, write and compare-and-set, values bare",
        promises: &[],
        check: |model, recording, question, limit| {
            recording.read::<CasRegister>()?.judged(limit, |operations, interrupt| {
                let report = check_cas_register(operations, &question.assumed, &Budget::default(), interrupt);
                linearizability(report, model.name)
            })
        },
    },
    Foreign {
        name: "mutex",
        holds: "locks: acquire and release",
        promises: &[],
        check: |model, recording, _, limit| {
            recording.read::<Mutex>()?.judged(limit, |operations, interrupt| {
                linearizability(check_mutex(operations, &Budget::default(), interrupt), model.name)
            })
        },
    },
    Foreign {
        name: "owned-mutex",
        holds: "locks that only the process that acquired them may release",
        promises: &[],
        check: |model, recording, _, limit| owned_mutex(model, recording, Reentry::Refused, limit),
    },
    Foreign {
        name: "reentrant-mutex",
        holds: "the same, and their owner may acquire them again",
        promises: &[],
        check: |model, recording, _, limit| owned_mutex(model, recording, Reentry::Allowed, limit),
    },
    Foreign {
        name: "kv-append",
        holds: "strings by key: put, append and get",
        promises: &[],
        check: |model, recording, _, limit| {
            recording.read::<KvAppend>()?.judged(limit, |operations, interrupt| {
                linearizability(check_kv_append(operations, &Budget::default(), interrupt), model.name)
            })
        },
    },
    Foreign {
        name: "total-queue",
        holds: "a queue without an order: enqueue, dequeue and drain",
        promises: Promise::OF_MESSAGES,
        check: |model, recording, question, limit| {
            // As in Jepsen: repeated values are only counted, unless the promise demands more.
            let promise = match question.promise {
                Promise::Messages { consumed, .. } => consumed,
                Promise::Objects(_) => Delivery::AT_LEAST_ONCE,
            };
            recording.read::<TotalQueue>()?.judged(limit, |operations, _| {
                let report = check_total_queue(operations, promise);
                delivery::judgement(report, promise, "handed out", model.name)
            })
        },
    },
    Foreign {
        name: "fifo-queue",
        holds: "a queue: enqueue and dequeue, the first element in is the first out",
        promises: &[],
        check: |model, recording, _, limit| queue(model, recording, Order::Fifo, limit),
    },
    Foreign {
        name: "stack",
        holds: "a stack: push and pop, the last element in is the first out",
        promises: &[],
        check: |model, recording, _, limit| queue(model, recording, Order::Lifo, limit),
    },
    Foreign {
        name: "priority-queue",
        holds: "a priority queue: enqueue and dequeue, the least element is the first out",
        promises: &[],
        check: |model, recording, _, limit| queue(model, recording, Order::Least, limit),
    },
    Foreign {
        name: "unordered-queue",
        holds: "a bag: enqueue and dequeue, in any order",
        promises: &[],
        check: |model, recording, _, limit| queue(model, recording, Order::Any, limit),
    },
    Foreign {
        name: "list-append",
        holds: "transactions on lists by key: append, and read of the whole list",
        promises: &[],
        check: |model, recording, question, limit| {
            recording.read::<ListAppend>()?.judged(limit, |operations, interrupt| {
                let report = check_list_append(operations, question.consistency, interrupt);
                consistency(report, question.consistency, model.name)
            })
        },
    },
    Foreign {
        name: "rw-register",
        holds: "transactions on registers by key: read and write, each value written once",
        promises: &[],
        check: |model, recording, question, limit| {
            recording.read::<RwRegister>()?.judged(limit, |operations, interrupt| {
                let promise = question.consistency;
                let report = check_rw_register(operations, promise, &question.assumed, interrupt);
                consistency(report, promise, model.name)
            })
        },
    },
];

fn owned_mutex(
    model: &Foreign,
    recording: &Recording,
    reentry: Reentry,
    limit: Duration,
) -> Result<Judgement, JudgeError> {
    recording.read::<Mutex>()?.judged(limit, |operations, interrupt| {
        linearizability(check_owned_mutex(operations, reentry, &Budget::default(), interrupt), model.name)
    })
}

fn queue(
    model: &Foreign,
    recording: &Recording,
    order: Order,
    limit: Duration,
) -> Result<Judgement, JudgeError> {
    recording.read::<TotalQueue>()?.judged(limit, |operations, interrupt| {
        linearizability(check_queue(operations, order, &Budget::default(), interrupt), model.name)
    })
}

/// The models of transactions, which `--consistency` is about.
pub const TRANSACTIONS: [&str; 2] = ["list-append", "rw-register"];

impl Model for Foreign {
    fn name(&self) -> &'static str {
        self.name
    }

    fn holds(&self) -> &'static str {
        self.holds
    }

    fn promises(&self) -> &'static [&'static str] {
        self.promises
    }

    fn check(
        &self,
        recording: &Recording,
        question: &Question,
        limit: Duration,
    ) -> Result<Judgement, JudgeError> {
        (self.check)(self, recording, question, limit)
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
        times: Times::default(),
        copy: None,
    }
}
