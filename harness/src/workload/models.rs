//! Models of histories that others record and no workload here makes.

use std::time::Duration;

use duress_checkers::kv_append::check_kv_append;
use duress_checkers::linearizable::{Budget, check_cas_register, check_mutex};
use duress_checkers::total_queue::check_total_queue;
use duress_history::kv_append::KvAppend;
use duress_history::mutex::Mutex;
use duress_history::register::CasRegister;
use duress_history::total_queue::TotalQueue;
use duress_history::{Delivery, Promise};

use super::delivery;
use super::erased::Model;
use super::register::judge::linearizability;
use crate::judge::{JudgeError, Judgement, Question, Recording};

/// A model that is its name, its meaning and its checker.
#[derive(Clone, Copy)]
pub struct Foreign {
    name: &'static str,
    holds: &'static str,
    check: fn(&Foreign, &Recording, &Question, Duration) -> Result<Judgement, JudgeError>,
}

/// All of them, in the order in which they are listed.
pub const FOREIGN: [Foreign; 4] = [
    Foreign {
        name: "cas-register",
        holds: "one register, or one for each `key`: read, write and compare-and-set, values bare",
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
        check: |model, recording, _, limit| {
            recording.read::<Mutex>()?.judged(limit, |operations, interrupt| {
                linearizability(check_mutex(operations, &Budget::default(), interrupt), model.name)
            })
        },
    },
    Foreign {
        name: "kv-append",
        holds: "strings by key: put, append and get",
        check: |model, recording, _, limit| {
            recording.read::<KvAppend>()?.judged(limit, |operations, interrupt| {
                linearizability(check_kv_append(operations, &Budget::default(), interrupt), model.name)
            })
        },
    },
    Foreign {
        name: "total-queue",
        holds: "a queue without an order: enqueue, dequeue and drain",
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
];

impl Model for Foreign {
    fn name(&self) -> &'static str {
        self.name
    }

    fn holds(&self) -> &'static str {
        self.holds
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
