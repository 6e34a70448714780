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
