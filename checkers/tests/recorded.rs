//! Recorded histories with known verdicts: ours in `testdata`, others' in the folder that `DURESS_CORPORA` names.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::{env, fs};

use duress_checkers::counter::check_counter;
use duress_checkers::delivery::{LogOptions, check_log, check_queue};
use duress_checkers::linearizable::{Budget, check_cas_register, check_mutex, check_registers};
use duress_checkers::set::check_set;
use duress_checkers::table::{TableOptions, check_table};
use duress_checkers::verdict::{CheckReport, Reason, Verdict};
use duress_history::counter::Counter;
use duress_history::import::read_any;
use duress_history::log::Log;
use duress_history::mutex::Mutex;
use duress_history::pairs::pair;
use duress_history::register::{CasRegister, Register};
use duress_history::set::{Set, SetFull};
use duress_history::table::Table;
use duress_history::{Consistency, Delivery, Payload, Scalar};
use libtest_mimic::{Arguments, Completion, Trial};

/// What the comment of a history says after `word`.
fn said(path: &Path, word: &str) -> Option<String> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let comment: String =
        text.lines().take_while(|line| line.starts_with(';')).collect::<Vec<&str>>().join(" ");
    let (_, after) = comment.split_once(word)?;
    after.split_whitespace().next().map(|word| word.trim_end_matches('.').to_owned())
}

fn promise(path: &Path) -> Delivery {
    match said(path, "promise:").as_deref() {
        None => Delivery::EXACTLY_ONCE,
        Some("at-least-once") => Delivery::AT_LEAST_ONCE,
        Some("at-most-once") => Delivery::AT_MOST_ONCE,
        Some(other) => panic!("{}: no promise {other}", path.display()),
    }
}

fn check(model: &str, path: &Path, initial: Option<Scalar>) -> CheckReport {
    fn operations<A: Payload>(path: &Path) -> Vec<duress_history::Operation<A>> {
        let history = read_any::<A>(path).unwrap_or_else(|error| panic!("{}: {error:?}", path.display()));
        pair(history.events).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }
    let (budget, interrupt) = (Budget::default(), AtomicBool::new(false));
    match model {
        "register" => check_registers(&operations::<Register>(path), initial, &budget, &interrupt),
        "cas-register" => check_cas_register(&operations::<CasRegister>(path), initial, &budget, &interrupt),
        "mutex" => check_mutex(&operations::<Mutex>(path), &budget, &interrupt),
        "log" | "queue" => {
            let options = LogOptions { promise: promise(path), ..LogOptions::default() };
            let check = if model == "log" { check_log } else { check_queue };
            check(&operations::<Log>(path), &options, &interrupt)
        }
        "table" => {
            let options = TableOptions { promise: promise(path) };
            check_table(&operations::<Table>(path), &options, &interrupt)
        }
        "set" => check_set(&operations::<Set>(path), Consistency::Linearizable, None, &interrupt),
        "set-full" => {
            let operations =
                operations::<SetFull>(path).into_iter().map(|operation| operation.map(Set::from));
            check_set(&operations.collect::<Vec<_>>(), Consistency::Linearizable, None, &interrupt)
        }
        "counter" => check_counter(&operations::<Counter>(path), Consistency::Linearizable, None, &interrupt),
        other => panic!("no model {other}"),
    }
}

/// Every model that has histories of our own, good and bad.
const MODELS: [&str; 8] = ["register", "cas-register", "mutex", "log", "queue", "table", "set", "counter"];

fn main() -> ExitCode {
    let mut trials = our_own();
    trials.extend(of_others());
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// One trial for each history in `testdata`.
fn our_own() -> Vec<Trial> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut trials = Vec::new();
    for model in MODELS {
        for (folder, expected) in [("good", "valid"), ("bad", "invalid")] {
            let files = fs::read_dir(root.join(model).join(folder));
            let files = files.unwrap_or_else(|error| panic!("{model}/{folder}: {error}"));
            let before = trials.len();
            for file in files {
                let file = file.expect("an entry").path();
                let name = file.file_stem().unwrap_or_default().to_string_lossy();
                trials.push(Trial::test(format!("{model}/{folder}/{name}"), move || {
                    let report = check(model, &file, None);
                    assert_verdict(&report, expected);
                    if let (Verdict::Invalid(anomalies), Some(anomaly)) =
                        (&report.verdict, said(&file, "anomaly:"))
                    {
                        let kinds: Vec<&str> = anomalies.iter().map(|anomaly| anomaly.kind.name()).collect();
                        assert!(kinds.contains(&anomaly.as_str()), "{kinds:?}");
                    }
                    Ok(())
                }));
            }
            assert!(trials.len() > before, "{model} has no {folder} histories");
        }
    }
    trials
}

/// One trial for each history that the index in the folder `DURESS_CORPORA` lists with its verdict.
fn of_others() -> Vec<Trial> {
    const VARIABLE: &str = "DURESS_CORPORA";
    let Some(root) = env::var_os(VARIABLE).map(PathBuf::from) else {
        let required = env::var("DURESS_REQUIRE").unwrap_or_default();
        let required = required.split(',').any(|what| what == "all" || what == "corpora");
        return vec![Trial::ignorable_test("corpora", move || {
            let reason = format!("{VARIABLE} names no folder with histories that others recorded");
            if required { Err(reason.into()) } else { Ok(Completion::ignored_with(reason)) }
        })];
    };
    let index = root.join("INDEX.tsv");
    let index = fs::read_to_string(&index).unwrap_or_else(|error| panic!("{}: {error}", index.display()));
    let mut trials = Vec::new();
    for row in index.lines().skip(1) {
        let fields: Vec<String> = row.split('\t').map(str::to_owned).collect();
        let [path, model, options, expected] = <[String; 4]>::try_from(fields)
            .unwrap_or_else(|fields| panic!("path, model, options, expected: {fields:?}"));
        let root = root.clone();
        trials.push(Trial::ignorable_test(format!("corpora/{path}"), move || {
            let initial = options.strip_prefix("--initial ").map(|value| {
                Scalar::Int(value.parse().unwrap_or_else(|error| panic!("--initial {value}: {error}")))
            });
            if !MODELS.contains(&&*model) && model != "set-full" {
                return Ok(Completion::ignored_with(format!("no checker for {model} yet")));
            }
            let report = check(&model, &root.join(&path), initial);
            // Others call a history valid in which nothing happened, or nothing was read.
            let nothing = matches!(&report.verdict, Verdict::Unknown(reasons) if matches!(reasons[..], [Reason::NothingHappened { .. } | Reason::NothingObserved { .. }]));
            assert_verdict(&report, if nothing && expected == "valid" { "unknown" } else { &expected });
            Ok(Completion::Completed)
        }));
    }
    assert!(!trials.is_empty(), "the index at {} names no history", root.display());
    trials
}

fn assert_verdict(report: &CheckReport, expected: &str) {
    let found = match &report.verdict {
        Verdict::Valid => "valid",
        Verdict::Invalid(_) => "invalid",
        Verdict::Unknown(_) => "unknown",
    };
    assert_eq!(found, expected, "{:#?}", report.verdict);
}
