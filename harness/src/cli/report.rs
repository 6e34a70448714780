//! `duress report`: the page of a run that is over.

use std::path::PathBuf;

use clap::Args;

use crate::cli::exit::{Exit, Failure};
use crate::cli::output::print;
use crate::report::html::{self, HtmlError};

#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The run's folder
    #[arg(default_value = "runs/latest")]
    run: PathBuf,
}

pub fn report(args: &ReportArgs) -> Result<Exit, Failure> {
    let path = html::write(&args.run).map_err(|error| match &error {
        HtmlError::Plan(_) | HtmlError::Verdict(_) => Failure::usage(error),
        HtmlError::NoRun { .. } => Failure::usage(error).hint("runs are kept in runs/<target>-<mode>/<time>"),
        HtmlError::Read { .. } | HtmlError::Write { .. } => Failure::internal(error),
    })?;
    print(format_args!("{}\n", path.display()))?;
    Ok(Exit::Valid)
}
