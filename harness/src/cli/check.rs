//! `duress check`: a recorded history against a model.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser};
use duress_checkers::verdict::Verdict;
use duress_history::jsonl::ReadError;
use duress_history::{Promise, Scalar};

use super::words::{duration, promise};
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::print;
use crate::judge::{JudgeError, Judgement, Question};
use crate::report::text::Told;
use crate::workload::{Model, Workloads};

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The history: .jsonl (ours), .json (an array), .edn (Jepsen's), or a run's folder
    history: PathBuf,
    #[arg(long, default_value = "register", value_parser = model_parser(), help = model_help())]
    model: String,
    /// The value that registers hold at first: a whole number or a text [default: none, nil]
    #[arg(long, value_name = "VALUE", allow_hyphen_values = true)]
    initial: Option<String>,
    /// What is promised of the answers: of registers linearizable or stale-reads; of log, queue and table exactly-once,
    /// at-least-once, at-most-once or best-effort [default: linearizable, exactly-once]
    #[arg(long, value_name = "PROMISE", value_parser = promise)]
    promise: Option<Promise>,
    /// Stop after this and call the rest unknown
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
    check_limit: Duration,
    /// Print the checker's whole answer as JSON
    #[arg(long)]
    json: bool,
}

fn model_parser() -> PossibleValuesParser {
    PossibleValuesParser::new(
        Workloads::known().models().map(|model| PossibleValue::new(model.name()).help(model.holds())),
    )
}

fn model_help() -> String {
    "What it must be explained by".to_owned()
}

pub fn check(args: &CheckArgs) -> Result<Exit, Failure> {
    let path = if args.history.is_dir() { args.history.join("history.jsonl") } else { args.history.clone() };
    let initial = args.initial.as_ref().map(|text| match text.parse::<i64>() {
        Ok(number) => Scalar::Int(number),
        Err(_) => Scalar::from(text.as_str()),
    });
    let question =
        Question { promise: args.promise.unwrap_or(Promise::LINEARIZABLE), initial, ..Question::default() };
    let model = Workloads::known().model(&args.model).map_err(Failure::usage)?;
    let judgement = model.check(&path, &question, args.check_limit).map_err(|error| {
        let other_model = matches!(&error, JudgeError::Read(ReadError::Payload { .. }));
        let named = matches!(&error, JudgeError::Read(ReadError::Open { .. }));
        let internal = matches!(&error, JudgeError::Watch(_));
        let error = anyhow::Error::new(error);
        if internal {
            return Failure::internal(error);
        }
        let failure = Failure::usage(if named { error } else { error.context(path.display().to_string()) });
        if other_model {
            let models: Vec<&str> = Workloads::known().models().map(Model::name).collect();
            failure.hint(format!("--model says what the history holds: {}", models.join(", ")))
        } else {
            failure
        }
    })?;
    let exit = match &judgement.report.verdict {
        Verdict::Valid => Exit::Valid,
        Verdict::Invalid(_) => Exit::Anomaly,
        Verdict::Unknown(_) => Exit::Unknown,
    };
    if args.json {
        let json = serde_json::to_string_pretty(&judgement.report).map_err(Failure::internal)?;
        print(format_args!("{json}\n"))?;
        return Ok(exit);
    }
    let mut text = String::new();
    let Judgement { property, broken, checked, findings, .. } = &judgement;
    // Writing to a String cannot fail.
    macro_rules! say {
        ($($line:tt)*) => { let _ = writeln!(text, $($line)*); };
    }
    if let Verdict::Invalid(anomalies) = &judgement.report.verdict {
        for (number, anomaly) in anomalies.iter().enumerate() {
            say!("{}", Told { number: number + 1, anomaly });
        }
    }
    for finding in findings {
        say!("{finding}");
    }
    match &judgement.report.verdict {
        Verdict::Valid => {
            say!("VALID: {property}: {checked}");
        }
        Verdict::Invalid(_) => {
            say!("INVALID: {broken}");
        }
        Verdict::Unknown(reasons) => {
            for reason in reasons {
                say!("  - {reason}");
            }
            say!("UNKNOWN: no anomaly was found, but not everything was decided: {checked}");
        }
    }
    print(text)?;
    Ok(exit)
}
