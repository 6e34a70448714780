//! The judgement of registers, by their promise.

use std::sync::atomic::AtomicBool;

use duress_checkers::CheckReport;
use duress_checkers::freshness::{ReadAges, check_freshness, read_ages};
use duress_checkers::linearizable::{Budget, check_registers};
use duress_checkers::stale_reads::{check_eventual, check_stale_reads};
use duress_checkers::transactions::{check_registers_by_model, check_session_guarantees};
use duress_checkers::verdict::Verdict;
use duress_history::register::Register;
use duress_history::{Consistency, ConsistencyModel, Operation, Promise};

use crate::judge::{Judgement, Question, Times};
use crate::workload::models::found;
use crate::workload::objects::{settled, words};
use crate::workload::txn::judge::words as by_model;

/// Judges the operations on registers.
pub fn judge(operations: &[Operation<Register>], question: &Question, interrupt: &AtomicBool) -> Judgement {
    let judgement = by_promise(operations, question, interrupt);
    measured(judgement, question.promise, || {
        read_ages(operations, &question.assumed, question.timing, interrupt)
    })
}

/// Adds how old reads were: it is of interest where some were, or where the promise allows it. In a linearizable history none
/// was, and nothing is measured.
pub fn measured(
    mut judgement: Judgement,
    promise: Promise,
    ages: impl FnOnce() -> Option<ReadAges>,
) -> Judgement {
    if promise == Promise::LINEARIZABLE && matches!(judgement.report.verdict, Verdict::Valid) {
        return judgement;
    }
    let Some(ages) = ages() else {
        judgement.findings.push("old reads: not measured, since the time of the check was over".to_owned());
        return judgement;
    };
    if ages.old > 0 || promise != Promise::LINEARIZABLE {
        judgement.findings.push(ages.to_string());
    }
    if let Some(place) = judgement.report.details.read_ages_mut() {
        *place = Some(ages);
    }
    judgement
}

fn by_promise(operations: &[Operation<Register>], question: &Question, interrupt: &AtomicBool) -> Judgement {
    let assumed = &question.assumed;
    let budget = Budget::default();
    if let Promise::Transactions(model) = question.promise {
        let report = check_registers_by_model(operations, model, assumed, interrupt);
        let name =
            if model == ConsistencyModel::StrongSessionSerializable { "sequential" } else { model.name() };
        return by_model(report, name, "operations", "register");
    }
    if let Promise::Freshness(promise) = question.promise {
        let report = check_freshness(operations, promise, assumed, question.timing, interrupt);
        let anomalies = report.verdict.anomalies().len();
        return Judgement {
            property: promise.to_string(),
            holds: "each read is as fresh as promised".to_owned(),
            broken: format!("not {promise}: {anomalies} anomalies on {} keys", report.keys),
            ..linearizability(report, &format!("register --promise {promise}"))
        };
    }
    if let Promise::Sessions(guarantees) = question.promise {
        let report = check_session_guarantees(operations, guarantees, assumed, interrupt);
        let model = format!("register --promise {guarantees}");
        return found(
            report,
            &model,
            &guarantees.to_string(),
            "one order of the writes fits what each process saw",
        );
    }
    match question.promise.consistency() {
        Consistency::Linearizable => {
            linearizability(check_registers(operations, assumed, &budget, interrupt), "register")
        }
        Consistency::Eventual => {
            let report = check_eventual(operations, assumed, settled(operations, question), interrupt);
            let holds = "every value read was written, and replicas came to agree on a written one";
            words("register", Consistency::Eventual, holds, Vec::new(), report)
        }
        Consistency::StaleReads => {
            let settled = settled(operations, question);
            let report = check_stale_reads(operations, assumed, settled, &budget, interrupt);
            let holds = "writes fit one order, each read saw a prefix of it, and replicas came to agree";
            words("register", Consistency::StaleReads, holds, Vec::new(), report)
        }
    }
}

/// Returns the words for a check of linearizability of what `model` names.
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
        times: Times::default(),
        copy: None,
    }
}
