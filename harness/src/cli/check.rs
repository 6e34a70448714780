//! `duress check`: a recorded history against a model.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use duress_checkers::verdict::Verdict;
use duress_history::Scalar;
use duress_history::jsonl::ReadError;
use duress_targets::Delivery;

use super::words::duration;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::print;
use crate::judge::{Against, JudgeError, Judgement, Model, check_file};
use crate::report::text::Told;

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The history: .jsonl (ours), .json (an array), .edn (Jepsen's), or a run's folder
    history: PathBuf,
    /// What it must be explained by
    #[arg(long, value_enum, default_value = "register")]
    model: Model,
    /// The value that registers hold at first: a whole number or a text [default: none, nil]
    #[arg(long, value_name = "VALUE", allow_hyphen_values = true)]
    initial: Option<String>,
    /// Of log, queue and table: what is promised of delivery
    #[arg(long, value_enum, default_value = "exactly-once")]
    promise: PromiseArg,
    /// Stop after this and call the rest unknown
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
    check_limit: Duration,
    /// Print the checker's whole answer as JSON
    #[arg(long)]
    json: bool,
}

/// What is promised of delivery.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum PromiseArg {
    /// Every acknowledged message is delivered, and none again
    ExactlyOnce,
    /// No acknowledged message is lost, and any may be delivered again
    AtLeastOnce,
    /// A message may be lost, and is never delivered again
    AtMostOnce,
    /// A message may be lost, and may be delivered again
    BestEffort,
}

impl From<PromiseArg> for Delivery {
    fn from(promise: PromiseArg) -> Self {
        match promise {
            PromiseArg::ExactlyOnce => Self::ExactlyOnce,
            PromiseArg::AtLeastOnce => Self::AtLeastOnce,
            PromiseArg::AtMostOnce => Self::AtMostOnce,
            PromiseArg::BestEffort => Self::BestEffort,
        }
    }
}

pub fn check(args: &CheckArgs) -> Result<Exit, Failure> {
    let path = if args.history.is_dir() { args.history.join("history.jsonl") } else { args.history.clone() };
    let initial = args.initial.as_ref().map(|text| match text.parse::<i64>() {
        Ok(number) => Scalar::Int(number),
        Err(_) => Scalar::from(text.as_str()),
    });
    let against = Against { model: args.model, initial, promise: args.promise.into() };
    let judgement = check_file(&path, against, args.check_limit).map_err(|error| {
        let other_model = matches!(&error, JudgeError::Read(ReadError::Payload { .. }));
        let named = matches!(&error, JudgeError::Read(ReadError::Open { .. }));
        let internal = matches!(&error, JudgeError::Watch(_));
        let error = anyhow::Error::new(error);
        if internal {
            return Failure::internal(error);
        }
        let failure = Failure::usage(if named { error } else { error.context(path.display().to_string()) });
        if other_model {
            failure.hint(
                "--model says what the history holds: register, cas-register, mutex, log, queue or table",
            )
        } else {
            failure
        }
    })?;
    let exit = match &judgement.verdict {
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
    if let Verdict::Invalid(anomalies) = &judgement.verdict {
        for (number, anomaly) in anomalies.iter().enumerate() {
            say!("{}", Told { number: number + 1, anomaly });
        }
    }
    for finding in findings {
        say!("{finding}");
    }
    match &judgement.verdict {
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
