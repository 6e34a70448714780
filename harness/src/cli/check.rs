//! `duress check`: a recorded history against a model.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Args, ValueEnum};
use duress_checkers::bank::BankOptions;
use duress_checkers::linearizable::Statistics;
use duress_checkers::verdict::Details;
use duress_history::import::{Options, Order};
use duress_history::{Allowed, Assumed, Initial, NilReads, Promise, ReadError};

use super::page_file::PageFile;
use super::words::{duration, promise};
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{print, tell};
use crate::judge::verdict::RunVerdict;
use crate::judge::{Copying, HistoryCopy, JudgeError, Judgement, Question, Recording, Times};
use crate::plan::Plan;
use crate::record::verdict::{self, CheckRecord, VerdictRecord};
use crate::report::html::HistoryRecord;
use crate::report::text::AnomalyText;
use crate::systems;
use crate::trial::Shell;
use crate::workload::bank::BankOptions as BankWorkload;
use crate::workload::{Kind, Model, Workloads};

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The history: JSON lines (ours), JSON, EDN (Jepsen's), history.txt, jepsen.log or Porcupine's operations, also as .gz
    /// or .zst; a folder of a run; - for standard input; several logs of clients are merged by time
    #[arg(required = true)]
    histories: Vec<PathBuf>,
    #[arg(long, value_parser = model_parser(), help = model_help())]
    model: Option<String>,
    /// The initial value of registers: nil, a value as EDN or JSON have it (0 is a number and "0" a string),
    /// or any if the store was not empty
    #[arg(long, value_name = "VALUE", allow_hyphen_values = true, default_value = "nil")]
    initial: Initial,
    /// Reads that answered nil did not learn the value, and prove nothing
    #[arg(long)]
    nil_is_unknown: bool,
    /// The history's field THEIRS is our field OURS (index, time, type, process, f, value, key, node, error, call, return,
    /// answer); THEIRS may be a path, as in Input.op=f
    #[arg(long, value_name = "THEIRS=OURS")]
    map: Vec<String>,
    /// The source of the order of events, if lines and times disagree
    #[arg(long, value_enum, default_value = "auto")]
    order: OrderArg,
    /// The promise about the answers: for registers linearizable, sequential, causal, stale-reads, regular, safe, or
    /// bounded-staleness=3 (versions) or =500ms (time), or session guarantees (pram, read-your-writes, monotonic-reads,
    /// monotonic-writes, writes-follow-reads, or several joined by +); for sets and counters linearizable, stale-reads or
    /// eventual; for log, queue and table
    /// exactly-once, at-least-once, at-most-once or best-effort; for transactions strict-serializable, serializable,
    /// snapshot-isolation, repeatable-read, read-committed or another of Elle's models [default: that of the run; else
    /// linearizable, exactly-once, strict-serializable]
    #[arg(long, visible_alias = "consistency", value_name = "PROMISE", value_parser = promise)]
    promise: Option<Promise>,
    /// The sum of all balances of a bank [default: that with which its accounts were created, or else that of most reads]
    #[arg(long, value_name = "AMOUNT", allow_hyphen_values = true)]
    total: Option<i64>,
    /// Balances of a bank may be negative
    #[arg(long)]
    negative_balances: bool,
    /// Stop after this and report the rest as unknown
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
    check_limit: Duration,
    /// Print the checker's whole answer as JSON
    #[arg(long)]
    json: bool,
    /// Write the result as a page too: the witness drawn, and every operation in time
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Print on standard error how long reading, pairing and checking took, and the peak of the memory in use
    #[arg(long)]
    stats: bool,
}

/// The source of the order of events.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum OrderArg {
    /// As the history suggests; an unclear history is refused
    Auto,
    /// By the lines of the file
    File,
    /// By the times
    Time,
}

/// Parses the name of a model.
pub(super) fn model_parser() -> PossibleValuesParser {
    PossibleValuesParser::new(
        Workloads::known().models().map(|model| PossibleValue::new(model.name()).help(model.holds())),
    )
}

fn model_help() -> String {
    "The model that must explain it [default: the workload of the run; else register]".to_owned()
}

/// Returns the workload and the promise of the run whose folder is checked; `None` for any other history.
fn of_run(args: &CheckArgs) -> Result<Option<(String, Promise)>, Failure> {
    let [folder] = &args.histories[..] else { return Ok(None) };
    if !folder.join("plan.json").is_file() || (args.model.is_some() && args.promise.is_some()) {
        return Ok(None);
    }
    let plan = Plan::load(folder).map_err(Failure::usage)?;
    let promise = match plan.promise {
        Some(promise) => promise,
        None => {
            let system = systems::of(&plan).map_err(Failure::usage)?;
            system
                .deploy(&plan.settings, &plan.topology())
                .map_err(Failure::usage)?
                .promise(&plan.workload.name)
        }
    };
    Ok(Some((plan.workload.name, promise)))
}

/// Returns what `--stats` prints.
fn statistics(judgement: &Judgement) -> String {
    let Times { reading, pairing, checking } = judgement.times;
    let mut text = format!(
        "reading {:.3} s, pairing {:.3} s, checking {:.3} s",
        reading.as_secs_f64(),
        pairing.as_secs_f64(),
        checking.as_secs_f64()
    );
    if let Details::Registers(details) = &judgement.report.details {
        let Statistics { keys_by_chains, keys_by_search, configurations, .. } = details.statistics;
        let _ = write!(
            text,
            "\n{keys_by_chains} keys near-linear, {keys_by_search} by search, {configurations} configurations explored"
        );
    }
    // Linux says so; elsewhere nothing is said.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak_kb: Option<u64> =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
    if let Some(peak_kb) = peak_kb {
        let _ = write!(text, "\npeak memory {} MB", peak_kb >> 10);
    }
    text
}

pub fn check(args: &CheckArgs) -> Result<Exit, Failure> {
    let nil_reads = if args.nil_is_unknown { NilReads::Unknown } else { NilReads::Observed };
    let assumed = Assumed { initial: args.initial.clone(), nil_reads };
    let mut options = Options::default();
    for mapping in &args.map {
        options.fields.add(mapping).map_err(Failure::usage)?;
    }
    options.order = match args.order {
        OrderArg::Auto => Order::Auto,
        OrderArg::File => Order::File,
        OrderArg::Time => Order::Time,
    };
    let page = args.report.as_deref().map(PageFile::open).transpose().map_err(Failure::usage)?;
    let copying = if page.is_some() { Copying::On } else { Copying::Off };
    let recording = Recording { paths: args.histories.clone(), options, copying };
    let run = of_run(args)?;
    let name =
        args.model.as_deref().or(run.as_ref().map(|(workload, _)| workload.as_str())).unwrap_or("register");
    // The promise of a run is one about the answers to its own workload.
    let of_run = run.as_ref().filter(|(workload, _)| workload == name).map(|(_, promise)| *promise);
    let question = Question {
        promise: args.promise.or(of_run).unwrap_or(Promise::LINEARIZABLE),
        bank: BankOptions {
            total: args.total,
            negative: Allowed::from(args.negative_balances),
            ..BankOptions::default()
        },
        assumed,
        ..Question::default()
    };
    let model = Workloads::known().model(name).map_err(Failure::usage)?;
    if let Some(promise) = args.promise {
        model.can_be_held_to(promise).map_err(Failure::usage)?;
    }
    if question.bank != BankOptions::default() && name != BankWorkload::NAME {
        let error =
            anyhow::anyhow!("--total and --negative-balances are about accounts, and {name} has none");
        return Err(Failure::usage(error).hint(format!("the model with accounts: {}", BankWorkload::NAME)));
    }
    let mut judgement = model.check(&recording, &question, args.check_limit).map_err(|error| {
        let other_model = matches!(&error, JudgeError::Read(ReadError::Payload { .. }));
        let named = matches!(
            &error,
            JudgeError::Read(ReadError::Open { .. } | ReadError::NoHistory { .. } | ReadError::File { .. })
        );
        let internal = matches!(&error, JudgeError::Watch(_));
        let error = anyhow::Error::new(error);
        if internal {
            return Failure::internal(error);
        }
        let failure = Failure::usage(if named { error } else { error.context(paths(&args.histories)) });
        if other_model {
            let models: Vec<&str> = Workloads::known().models().map(Model::name).collect();
            failure.hint(format!("choose the history's model with --model: {}", models.join(", ")))
        } else {
            failure
        }
    })?;
    if args.stats {
        tell(statistics(&judgement));
    }
    let copy = judgement.copy.take();
    let verdict = RunVerdict::new(&judgement.report.verdict, Vec::new(), Vec::new());
    let exit = verdict.exit();
    if args.json {
        let json = serde_json::to_string_pretty(&judgement.report).map_err(Failure::internal)?;
        print(format_args!("{json}\n"))?;
    } else {
        print(in_words(&verdict, &judgement))?;
    }
    if let (Some(page), Some(copy), Some(path)) = (page, copy, &args.report) {
        page.write(&html(args, name, verdict, &judgement, &copy)).map_err(Failure::internal)?;
        tell(format_args!("report: {}", path.display()));
    }
    Ok(exit)
}

/// Returns the paths as they were given.
fn paths(histories: &[PathBuf]) -> String {
    histories.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// Returns the page of a history that was judged.
fn html(
    args: &CheckArgs,
    model: &str,
    verdict: RunVerdict,
    judgement: &Judgement,
    copy: &HistoryCopy,
) -> String {
    let name = paths(&args.histories);
    let words: Vec<String> =
        std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let record = VerdictRecord {
        version: verdict::VERSION,
        verdict,
        subject: format!("{name}, model {model}"),
        promise: judgement.property.clone(),
        seed: 0,
        replay: format!("duress {}", Shell(&words)),
        findings: Vec::new(),
        check: CheckRecord::of(&judgement.report),
        statistics: copy.statistics.clone(),
        faults: Vec::new(),
        notes: judgement.findings.clone(),
    };
    HistoryRecord::checked(name, record, copy).page()
}

/// Returns the answer as it is printed.
fn in_words(verdict: &RunVerdict, judgement: &Judgement) -> String {
    let mut text = String::new();
    let Judgement { property, broken, checked, findings, .. } = judgement;
    // Writing to a String cannot fail.
    macro_rules! say {
        ($($line:tt)*) => { let _ = writeln!(text, $($line)*); };
    }
    for (number, anomaly) in verdict.anomalies().iter().enumerate() {
        say!("{}", AnomalyText { number: number + 1, anomaly });
    }
    for finding in findings {
        say!("{finding}");
    }
    match verdict {
        RunVerdict::Valid => {
            say!("VALID: {property}: {checked}");
        }
        RunVerdict::Invalid { .. } => {
            say!("INVALID: {broken}");
        }
        RunVerdict::Unknown { reasons } | RunVerdict::Broken { reasons } => {
            for reason in reasons {
                say!("  - {reason}");
            }
            say!("UNKNOWN: no anomaly was found, but not everything was decided: {checked}");
        }
    }
    text
}
