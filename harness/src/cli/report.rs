//! `duress report`: the page of a run that is over, or its summary.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::cli::exit::{Exit, Failure};
use crate::cli::output::print;
use crate::record::verdict::VerdictRecord;
use crate::report::html::{self, HtmlError};
use crate::report::summary;

/// Where runs are, said to a user who named another folder.
const RUNS: &str = "runs are kept in runs/<target>-<mode>/<time>";

#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The run's folder
    #[arg(default_value = "runs/latest")]
    run: PathBuf,
    /// Print the verdict instead, for the status of a commit or the page of a change, and write no page
    #[arg(long, value_enum, value_name = "FORM")]
    summary: Option<SummaryForm>,
}

/// The forms of a summary.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum SummaryForm {
    /// One line of at most 140 characters
    Line,
    /// The anomalies with their operations and arguments
    Markdown,
}

pub fn report(args: &ReportArgs) -> Result<Exit, Failure> {
    if let Some(form) = args.summary {
        let record = VerdictRecord::load(&args.run).map_err(Failure::usage)?;
        let record = record.ok_or_else(|| {
            let error = anyhow::anyhow!("{} has no verdict.json", args.run.display());
            Failure::usage(error).hint(RUNS)
        })?;
        print(match form {
            SummaryForm::Line => format!("{}\n", summary::line(&record)),
            SummaryForm::Markdown => summary::markdown(&record),
        })?;
        return Ok(Exit::Valid);
    }
    let path = html::write(&args.run).map_err(|error| match &error {
        HtmlError::Plan(_) | HtmlError::Verdict(_) => Failure::usage(error),
        HtmlError::NoRun { .. } => Failure::usage(error).hint(RUNS),
        HtmlError::Read { .. } | HtmlError::Write { .. } => Failure::internal(error),
    })?;
    print(format_args!("{}\n", path.display()))?;
    Ok(Exit::Valid)
}
