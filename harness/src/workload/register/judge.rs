//! How registers are judged: by what is promised of them.

use std::sync::atomic::AtomicBool;

use duress_checkers::CheckReport;
use duress_checkers::linearizable::{Budget, check_registers};
use duress_history::Operation;
use duress_history::register::Register;

use crate::judge::{Judgement, Question};

/// Judges the operations on registers.
pub fn judge(operations: &[Operation<Register>], question: &Question, interrupt: &AtomicBool) -> Judgement {
    let initial = question.initial.clone();
    linearizability(check_registers(operations, initial, &Budget::default(), interrupt), "register")
}

/// The words for a check of linearizability of what `model` names.
pub fn linearizability(report: CheckReport, model: &str) -> Judgement {
    let anomalies = report.verdict.anomalies().len();
    Judgement {
        property: "linearizable".to_owned(),
        holds: "every answer fits one order of the operations".to_owned(),
        broken: format!("not linearizable: {anomalies} of {} keys", report.keys),
        checked: format!("{} operations on {} keys", report.operations, report.keys),
        findings: Vec::new(),
        model: model.to_owned(),
        report,
    }
}
