//! Models of histories that others record and no workload here makes.

use std::path::Path;
use std::time::Duration;

use duress_checkers::linearizable::{Budget, check_cas_register, check_mutex};
use duress_history::mutex::Mutex;
use duress_history::register::CasRegister;

use super::erased::Model;
use super::register::judge::linearizability;
use crate::judge::{JudgeError, Judgement, Question, read, within};

/// One register.
pub struct CasRegisterModel;

impl Model for CasRegisterModel {
    fn name(&self) -> &'static str {
        "cas-register"
    }

    fn holds(&self) -> &'static str {
        "one register: read, write and compare-and-set, values bare"
    }

    fn check(&self, path: &Path, question: &Question, limit: Duration) -> Result<Judgement, JudgeError> {
        let (_, operations) = read::<CasRegister>(path)?;
        let initial = question.initial.clone();
        within(limit, |interrupt| check_cas_register(&operations, initial, &Budget::default(), interrupt))
            .map(|report| linearizability(report, self.name()))
    }
}

/// One lock.
pub struct MutexModel;

impl Model for MutexModel {
    fn name(&self) -> &'static str {
        "mutex"
    }

    fn holds(&self) -> &'static str {
        "one lock: acquire and release"
    }

    fn check(&self, path: &Path, _: &Question, limit: Duration) -> Result<Judgement, JudgeError> {
        let (_, operations) = read::<Mutex>(path)?;
        within(limit, |interrupt| check_mutex(&operations, &Budget::default(), interrupt))
            .map(|report| linearizability(report, self.name()))
    }
}
