//! `duress export`: a recorded history in the form of another program.

use std::fs;
use std::path::PathBuf;

use clap::Args;
use duress_history::ReadError;

use super::check::model_parser;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{print, tell};
use crate::judge::Recording;
use crate::plan::Plan;
use crate::workload::Workloads;
use crate::workload::export::{ExportError, Format};

#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The history, in any form that `duress check` reads; a folder of a run; - for standard input
    history: PathBuf,
    /// The form to write
    #[arg(long, value_enum)]
    format: Format,
    /// The model of its operations [default: the workload of the run; else register, or list-append for elle]
    #[arg(long, value_parser = model_parser())]
    model: Option<String>,
    /// The file to write [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// `duress export`.
pub fn export(args: &ExportArgs) -> Result<Exit, Failure> {
    let of_run = if args.model.is_none() && args.history.join("plan.json").is_file() {
        Some(Plan::load(&args.history).map_err(Failure::usage)?.workload.name)
    } else {
        None
    };
    let usual = if args.format == Format::Elle { "list-append" } else { "register" };
    let name = args.model.as_deref().or(of_run.as_deref()).unwrap_or(usual);
    let model = Workloads::known().model(name).map_err(Failure::usage)?;
    let bytes = model.export(&Recording::at(&args.history), args.format).map_err(|error| {
        let other_model = matches!(&error, ExportError::Read(ReadError::Payload { .. }));
        let failure = Failure::usage(anyhow::Error::new(error).context(args.history.display().to_string()));
        if other_model { failure.hint("name the model of the history with --model") } else { failure }
    })?;
    match &args.output {
        Some(path) => {
            let failed = |error| {
                Failure::usage(anyhow::Error::new(error).context(format!("cannot write {}", path.display())))
            };
            fs::write(path, bytes).map_err(failed)?;
            tell(format_args!("history: {}", path.display()));
        }
        None => print(String::from_utf8_lossy(&bytes))?,
    }
    Ok(Exit::Valid)
}
