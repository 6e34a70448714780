//! The judgement of a job: is its result exact?

use duress_checkers::job::{JobReport, check_job};
use duress_history::Operation;
use duress_history::job::Job;

use crate::judge::{Judgement, Times};

/// Judges the operations of a job.
pub fn judge(operations: &[Operation<Job>]) -> Judgement {
    let report = check_job(operations);
    let JobReport { tasks, attempts, repeated, lost, doubled, words, gathered, .. } =
        report.details.job().copied().unwrap_or_default();
    Judgement {
        property: "exact".to_owned(),
        holds: "what was gathered is the word count of the loaded documents".to_owned(),
        broken: format!("not exact: of {tasks} tasks {lost} were lost, and {doubled} counted more than once"),
        checked: format!("{} operations on {} documents", report.operations, report.keys),
        findings: vec![format!(
            "{tasks} tasks were given to workers {attempts} times, {repeated} of them more than once; {lost} were lost, {doubled} \
             counted more than once; their documents have {words} words, and {gathered} were gathered"
        )],
        model: "job".to_owned(),
        report,
        times: Times::default(),
        copy: None,
    }
}
