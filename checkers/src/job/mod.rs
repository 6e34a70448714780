//! Job: is what was gathered the word count of the documents that were loaded, exactly?
//!
//! A job is a word count by many workers ([`duress_history::job`]). Each document and each part is a key of its own, which is
//! written and read linearizably; every worker writes the same counts into a part, those of the document's text. So each key has two
//! states, and goes from *absent* to *there* at most once. The definition:
//!
//! 1. Every answer fits one order of the operations on its key. A part may be written by each execution of its task that did not
//!    fail, at any time after that began, and after the document was there.
//! 2. A *task* is a document that was loaded: its load was acknowledged, or a worker has read it. A gather is *final* for it if it
//!    began after the load was acknowledged (or the read answered) and after every execution of the task had ended, and asks for
//!    every part that one of them may have written. The part of each task is in one of its final gathers.
//! 3. No gather has several parts of one document.
//!
//! Then, and only then, the counts that were gathered for a task are those of its document, once. The anomalies:
//!
//! - *Lost write*: a part is not there although an execution that wrote it was acknowledged, or although it was gathered before; or
//!   the document is not there although it was loaded.
//! - *Lost task*: no final gather has a part of it.
//! - *Doubled task*: a gather has several parts of one document, each written by another execution.
//! - *Wrong count*: a part has other counts than the document's text.
//! - *Phantom part*: a part is there that no execution can have written by then, or that of a document that was not loaded.
//!
//! A task that has no final gather is undecided, and so is a document that was loaded with several texts.

mod explain;
mod facts;

use std::collections::BTreeSet;

use duress_history::job::Job;
use duress_history::{Allowed, Operation, Scalar};
use serde::{Deserialize, Serialize};

use self::explain::Case;
use self::facts::{Answered, Document, Seen, documents};
use crate::delivery::happened;
use crate::findings::Findings;
use crate::verdict::{CheckReport, Details, Reason, Verdict};

/// The extent of a job, and the fate of its tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobReport {
    /// Documents that were loaded.
    pub tasks: u64,
    /// How often a worker was given one of them.
    pub attempts: u64,
    /// Tasks that were given to a worker more than once.
    pub repeated: u64,
    /// Tasks that were lost, or whose document or part was.
    pub lost: u64,
    /// Tasks that were counted more than once.
    pub doubled: u64,
    /// Tasks that no final gather is about.
    pub ungathered: u64,
    /// The words of all tasks with a final gather.
    pub words: u64,
    /// The words that the last final gather of each of them has.
    pub gathered: u64,
}

/// Checks a job whose keys are promised to be linearizable.
///
/// `operations` are in order of invocation. Time O(n log n), and for each document the product of its executions and the parts of
/// it that were gathered.
#[must_use]
pub fn check_job(operations: &[Operation<Job>]) -> CheckReport {
    let mut check = Check {
        operations,
        findings: Findings::new(|_| Allowed::No),
        report: JobReport::default(),
        reasons: Vec::new(),
    };
    let documents = documents(operations);
    for (name, document) in &documents {
        check.document(name, document);
    }
    let Check { findings, report, mut reasons, .. } = check;
    if report.ungathered > 0 {
        let what = format!(
            "{} of {} loaded documents are in no gather that began after their tasks had ended: their words may be missing",
            report.ungathered, report.tasks
        );
        reasons.push(Reason::NotExamined { what });
    }
    if reasons.is_empty() {
        let shown = report.tasks - report.ungathered;
        reasons.extend(Reason::nothing_shown(operations.len() as u64, happened(operations), shown));
    }
    let (anomalies, _) = findings.finish();
    CheckReport {
        verdict: Verdict::new(anomalies, reasons),
        keys: documents.len() as u64,
        operations: operations.len() as u64,
        details: Details::Job(report),
    }
}

/// The check, and what it found so far.
struct Check<'a> {
    operations: &'a [Operation<Job>],
    findings: Findings,
    report: JobReport,
    reasons: Vec<Reason>,
}

impl Check<'_> {
    fn document(&mut self, name: &Scalar, document: &Document<'_>) {
        if document.has_several_texts {
            let what = format!("the document {name} was loaded with several texts: its words are not known");
            self.reasons.push(Reason::NotExamined { what });
            return;
        }
        self.counted(name, document);
        self.gathered(name, document);
        let doubled = self.doubled(name, document);
        let loaded = document.loaded();
        let finals = loaded.map_or_else(Vec::new, |loaded| document.finals(loaded));
        let lost = gone(document).or_else(|| never_counted(&finals));
        if loaded.is_some() {
            let report = &mut self.report;
            report.tasks += 1;
            report.attempts += document.attempts.len() as u64;
            report.repeated += u64::from(document.attempts.len() > 1);
            report.doubled += u64::from(doubled);
            report.lost += u64::from(lost.is_some());
            match finals.last() {
                None => report.ungathered += 1,
                Some(last) => {
                    let counts = last.iter().filter_map(|seen| seen.counts);
                    report.words = report.words.saturating_add(document.counts.total());
                    report.gathered =
                        counts.fold(report.gathered, |sum, counts| sum.saturating_add(counts.total()));
                }
            }
        }
        if let Some(case) = lost {
            self.add(name, document, case);
        }
    }

    /// Checks the words that workers counted.
    fn counted(&mut self, name: &Scalar, document: &Document<'_>) {
        for attempt in &document.attempts {
            let Some(Answered { index, counts: Some(counts) }) = attempt.answered else { continue };
            if !document.may_be_there_at(index) {
                self.add(name, document, Case::NeverLoaded { reader: attempt.op });
            } else if *counts != document.counts {
                self.add(name, document, Case::Miscounted { reader: attempt.op, counts });
            }
        }
    }

    /// Checks the words that were gathered.
    fn gathered(&mut self, name: &Scalar, document: &Document<'_>) {
        for seen in &document.seen {
            let Some(counts) = seen.counts else { continue };
            if !document.part_may_be_there_at(seen.number, seen.answered) {
                self.add(name, document, Case::Unwritten { gather: seen.op, number: seen.number });
            } else if !document.may_be_there_at(seen.answered) {
                self.add(name, document, Case::NeverLoaded { reader: seen.op });
            } else if *counts != document.counts {
                self.add(name, document, Case::Miscounted { reader: seen.op, counts });
            }
        }
    }

    /// Checks that no gather has several parts of the document; returns whether one has. All later ones then have them too.
    fn doubled(&mut self, name: &Scalar, document: &Document<'_>) -> bool {
        let found = |seen: &&Seen<'_>| seen.counts.is_some();
        for parts in document.gathers() {
            let numbers: BTreeSet<u32> = parts.iter().filter(found).map(|seen| seen.number).collect();
            if numbers.len() > 1 {
                let gather = parts[0].op;
                self.add(name, document, Case::Doubled { gather, numbers: numbers.into_iter().collect() });
                return true;
            }
        }
        false
    }

    fn add(&mut self, name: &Scalar, document: &Document<'_>, case: Case<'_>) {
        let operations = self.operations;
        self.findings.add(case.kind(), || explain::anomaly(operations, name, document, &case));
    }
}

/// Returns the first answer that lacks the document, or a part of it, although that was there.
fn gone<'a>(document: &Document<'a>) -> Option<Case<'a>> {
    let readers = document.attempts.iter().filter_map(|attempt| {
        attempt.answered.as_ref().filter(|answered| answered.counts.is_none())?;
        Some(Case::DocumentGone { known: document.there_before(attempt.began)?, reader: attempt.op })
    });
    let gathers = document.seen.iter().filter(|seen| seen.counts.is_none()).filter_map(|seen| {
        let known = document.part_there_before(seen.number, seen.began)?;
        Some(Case::PartGone { known, gather: seen.op, number: seen.number })
    });
    readers.chain(gathers).next()
}

/// Returns that no final gather has a part, if there are any.
fn never_counted<'a>(finals: &[&[Seen<'a>]]) -> Option<Case<'a>> {
    let has_part = |parts: &&[Seen<'_>]| parts.iter().any(|seen| seen.counts.is_some());
    let last = finals.last().filter(|_| !finals.iter().any(has_part))?;
    Some(Case::NeverCounted { gather: last[0].op })
}
