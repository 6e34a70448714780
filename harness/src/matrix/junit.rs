//! JUnit XML, as CI systems read it: a test suite for each target, a test case for each cell.
//!
//! An anomaly too many or too few is a `failure`; an inconclusive run, an `error`: the system under test did
//! not fail.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Property, Report, TestCase, TestCaseStatus, TestSuite};

use super::outcome::Outcome;
use super::results::{CellResult, MatrixResults};
use super::table::{Reproduction, leads};

/// JUnit XML that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the results as JUnit XML")]
pub struct JunitError(#[source] quick_junit::SerializeError);

/// Returns the XML of `results`.
///
/// # Errors
/// [`JunitError`].
pub fn junit(results: &MatrixResults) -> Result<String, JunitError> {
    let mut report = Report::new(results.matrix.display().to_string());
    report.set_time(seconds(results.seconds));
    let mut targets: Vec<&str> = results.cells.iter().map(|cell| cell.target.as_str()).collect();
    targets.dedup();
    let mut seen = Vec::new();
    for target in targets {
        if seen.contains(&target) {
            continue;
        }
        seen.push(target);
        let cells = || results.cells.iter().filter(|cell| cell.target == target);
        let mut suite = TestSuite::new(target);
        suite.set_time(seconds(cells().map(|cell| cell.seconds).sum()));
        suite.add_property(Property::new("program", format!("duress {}", results.program)));
        suite.add_property(Property::new("machine", results.machine.as_str()));
        for cell in cells() {
            suite.add_test_case(case(cell));
        }
        report.add_test_suite(suite);
    }
    report.to_string().map_err(JunitError)
}

fn case(cell: &CellResult) -> TestCase {
    let mut status = match cell.outcome {
        Outcome::Passed => TestCaseStatus::success(),
        Outcome::Skipped => TestCaseStatus::skipped(),
        Outcome::Anomaly | Outcome::MissingAnomaly => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Outcome::Error | Outcome::Broken | Outcome::Unknown | Outcome::NotRun => {
            TestCaseStatus::non_success(NonSuccessKind::Error)
        }
    };
    if cell.outcome != Outcome::Passed {
        status.set_message(cell.message.as_str());
    }
    if cell.outcome.failed() {
        status.set_type(cell.outcome.words());
        status
            .set_description(leads(cell).iter().map(Reproduction::to_string).collect::<Vec<_>>().join("\n"));
    }
    let mut case = TestCase::new(cell.name.as_str(), status);
    case.set_classname(cell.target.as_str());
    case.set_time(seconds(cell.seconds));
    let mut out = format!("{}\nexpected: {}\n{}\n", cell.command, cell.expected, cell.message);
    if let Some(change) = &cell.change {
        out.push_str(&format!("{change}\n"));
    }
    case.set_system_out(out);
    case
}

fn seconds(seconds: f64) -> Duration {
    // Times that were measured are finite and not negative; a file edited by hand may say otherwise.
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}
