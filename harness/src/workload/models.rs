//! Models of histories that others record and no workload here makes.

use std::time::Duration;

use duress_checkers::linearizable::{Budget, check_cas_register, check_mutex};
use duress_history::mutex::Mutex;
use duress_history::register::CasRegister;

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
