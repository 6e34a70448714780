//! Recorded histories with known verdicts: ours in `testdata`, others' beside the repository where there are any.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use duress_checkers::delivery::{LogOptions, check_log, check_queue};
use duress_checkers::linearizable::{Budget, check_cas_register, check_mutex, check_registers};
use duress_checkers::table::{TableOptions, check_table};
use duress_checkers::verdict::{CheckReport, Verdict};
use duress_history::import::read_any;
use duress_history::log::Log;
use duress_history::mutex::Mutex;
use duress_history::pairs::pair;
use duress_history::register::{CasRegister, Register};
use duress_history::table::Table;
use duress_history::{Delivery, Payload, Scalar};

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
        other => panic!("no model {other}"),
    }
}

fn name(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Valid => "valid",
        Verdict::Invalid(_) => "invalid",
        Verdict::Unknown(_) => "unknown",
    }
}

#[test]
fn our_own() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for model in ["register", "cas-register", "mutex", "log", "queue", "table"] {
        for (folder, expected) in [("good", "valid"), ("bad", "invalid")] {
            let folder = root.join(model).join(folder);
            let mut files: Vec<PathBuf> = fs::read_dir(&folder)
                .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
                .map(|entry| entry.expect("an entry").path())
                .collect();
            files.sort();
            for file in files {
                let report = check(model, &file, None);
                assert_eq!(name(&report.verdict), expected, "{}: {:#?}", file.display(), report.verdict);
                if let Verdict::Invalid(anomalies) = &report.verdict
                    && ["log", "queue", "table"].contains(&model)
                {
                    let anomaly =
                        said(&file, "anomaly:").unwrap_or_else(|| panic!("{}: no name", file.display()));
                    let kinds: Vec<&str> = anomalies.iter().map(|anomaly| anomaly.kind.name()).collect();
                    assert!(kinds.contains(&anomaly.as_str()), "{}: {kinds:?}", file.display());
                }
                *counts.entry(format!("{model} {expected}")).or_default() += 1;
            }
        }
    }
    assert_eq!(counts.len(), 12, "every model has histories of both kinds: {counts:?}");
}

#[test]
fn of_others() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpora");
    let Ok(index) = fs::read_to_string(root.join("INDEX.tsv")) else {
        println!("skipped: there are no recorded histories of others at {}", root.display());
        return;
    };
    let mut checked = 0;
    for row in index.lines().skip(1) {
        let fields: Vec<&str> = row.split('\t').collect();
        let [path, model @ ("cas-register" | "mutex"), options, expected] = fields[..] else { continue };
        let initial = options.strip_prefix("--initial ").map(|value| {
            Scalar::Int(value.parse().unwrap_or_else(|error| panic!("{path}: --initial {value}: {error}")))
        });
        let report = check(model, &root.join(path), initial);
        assert_eq!(name(&report.verdict), expected, "{path}: {:#?}", report.verdict);
        checked += 1;
        if std::env::var_os("SHOW").is_some() {
            println!("{path}: {expected}, {:?}", report.details);
            if let Verdict::Invalid(anomalies) = &report.verdict {
                println!("  {}: {}", anomalies[0].kind, anomalies[0].summary);
                anomalies[0].steps.iter().for_each(|step| println!("    {}", step.sentence));
            }
        }
    }
    assert!(checked > 0, "the index at {} names no history of these models", root.display());
}
