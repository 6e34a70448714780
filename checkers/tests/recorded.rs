//! Recorded histories with known verdicts: ours in `testdata`, others' in the folder that `DURESS_CORPORA` names, and small
//! ones of every kind that people record in the folder that `DURESS_CASES` names.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::{env, fs};

use duress_checkers::bank::{BankOptions, check_bank};
use duress_checkers::counter::check_counter;
use duress_checkers::delivery::{LogOptions, check_log, check_queue};
use duress_checkers::echo::check_echo;
use duress_checkers::job::check_job;
use duress_checkers::kv_append::check_kv_append;
use duress_checkers::linearizable::{Budget, check_cas_register, check_mutex, check_registers};
use duress_checkers::long_fork::check_long_fork;
use duress_checkers::set::check_set;
use duress_checkers::table::{TableOptions, check_table};
use duress_checkers::total_queue::check_total_queue;
use duress_checkers::transactions::{check_list_append, check_rw_register};
use duress_checkers::unique_ids::check_unique_ids;
use duress_checkers::verdict::{CheckReport, Reason, Verdict};
use duress_history::bank::Bank;
use duress_history::counter::Counter;
use duress_history::echo::Echo;
use duress_history::import::{Options, read_any, read_from};
use duress_history::job::Job;
use duress_history::kv_append::KvAppend;
use duress_history::log::Log;
use duress_history::mutex::Mutex;
use duress_history::pairs::pair;
use duress_history::register::{CasRegister, Register};
use duress_history::set::{Set, SetFull};
use duress_history::table::Table;
use duress_history::total_queue::TotalQueue;
use duress_history::txn::{ListAppend, RwRegister};
use duress_history::unique_ids::UniqueIds;
use duress_history::{
    Assumed, Consistency, ConsistencyModel, Delivery, History, Initial, NilReads, OpType, Payload, edn,
    porcupine,
};
use duress_testing::{Missing, Need, trial};
use libtest_mimic::{Arguments, Completion, Trial};

/// Returns the comment of a history after `word`.
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

fn check(model: &str, path: &Path, assumed: &Assumed) -> CheckReport {
    fn operations<A: Payload>(path: &Path) -> Vec<duress_history::Operation<A>> {
        let history = read_any::<A>(path).unwrap_or_else(|error| panic!("{}: {error:?}", path.display()));
        if path.extension().is_some_and(|extension| extension == "edn") {
            export(&history, path);
        }
        pair(history.events).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }
    let (budget, interrupt) = (Budget::default(), AtomicBool::new(false));
    match model {
        "register" => check_registers(&operations::<Register>(path), assumed, &budget, &interrupt),
        "cas-register" => check_cas_register(&operations::<CasRegister>(path), assumed, &budget, &interrupt),
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
        "total-queue" => check_total_queue(&operations::<TotalQueue>(path), Delivery::AT_LEAST_ONCE),
        "kv-append" => check_kv_append(&operations::<KvAppend>(path), &budget, &interrupt),
        "set" => check_set(&operations::<Set>(path), Consistency::Linearizable, None, &interrupt),
        "set-full" => {
            let operations =
                operations::<SetFull>(path).into_iter().map(|operation| operation.map(Set::from));
            check_set(&operations.collect::<Vec<_>>(), Consistency::Linearizable, None, &interrupt)
        }
        "list-append" => {
            check_list_append(&operations::<ListAppend>(path), ConsistencyModel::default(), &interrupt)
        }
        "rw-register" => {
            let operations = operations::<RwRegister>(path);
            check_rw_register(&operations, ConsistencyModel::default(), assumed, &interrupt)
        }
        "counter" => check_counter(&operations::<Counter>(path), Consistency::Linearizable, None, &interrupt),
        "unique-ids" => check_unique_ids(&operations::<UniqueIds>(path)),
        "echo" => check_echo(&operations::<Echo>(path)),
        "bank" => check_bank(&operations::<Bank>(path), BankOptions::default()),
        "job" => check_job(&operations::<Job>(path)),
        "long-fork" => check_long_fork(&operations::<RwRegister>(path), ConsistencyModel::default()),
        other => panic!("no model {other}"),
    }
}

/// The vocabularies that Porcupine's form can hold.
const PLAIN: [&str; 7] = ["register", "cas-register", "mutex", "set", "counter", "total-queue", "kv-append"];

/// Returns the place of the history at `path` in another form.
fn exported(path: &Path, extension: &str) -> PathBuf {
    let name: Vec<_> =
        path.iter().rev().take(3).map(|part| part.to_string_lossy().replace('.', "-")).collect();
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}.{extension}", name.join("-")))
}

/// Writes `history`, of the file at `path`, in the forms of other programs, and asserts that its operations stay as they are.
fn export<A: Payload>(history: &History<A>, path: &Path) {
    if history.events.is_empty() && history.nemesis.is_empty() {
        // Nothing in any form is not a history.
        return;
    }
    let mut text = Vec::new();
    edn::write(history, &mut text).expect("writing to memory cannot fail");
    let again = read_from::<A>(&text[..], &Options::default()).expect("it is Jepsen's form");
    assert_eq!(again.events, history.events, "{}", String::from_utf8_lossy(&text));
    assert_eq!(again.nemesis, history.nemesis, "{}", String::from_utf8_lossy(&text));
    if !PLAIN.contains(&A::NAME) {
        return;
    }
    let mut json = Vec::new();
    porcupine::write(history.clone(), &mut json).expect("the form can hold it");
    let again = read_from::<A>(&json[..], &Options::default()).expect("it is Porcupine's form");
    // That the outcome is unknown is no event there.
    let known = |history: &History<A>| -> Vec<(u64, OpType, A)> {
        let known = history.events.iter().filter(|event| event.op_type != OpType::Info);
        known.map(|event| (event.process.0, event.op_type, event.action.clone())).collect()
    };
    assert_eq!(known(&again), known(history), "{}", String::from_utf8_lossy(&json));
    fs::write(exported(path, "json"), json).expect("the build's folder can be written into");
}

/// Every model that has histories of our own, good and bad.
const MODELS: [&str; 17] = [
    "register",
    "cas-register",
    "mutex",
    "log",
    "queue",
    "table",
    "set",
    "counter",
    "list-append",
    "rw-register",
    "unique-ids",
    "echo",
    "bank",
    "job",
    "long-fork",
    "total-queue",
    "kv-append",
];

/// Models of histories that only others have.
const OF_OTHERS: [&str; 1] = ["set-full"];

fn main() -> ExitCode {
    let mut trials = our_own();
    trials.extend(of_others());
    trials.extend(of_every_kind());
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Returns one trial for each history in `testdata`.
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
                    let report = check(model, &file, &Assumed::default());
                    assert_verdict(&report, expected);
                    if let (Verdict::Invalid(anomalies), Some(anomaly)) =
                        (&report.verdict, said(&file, "anomaly:"))
                    {
                        let kinds: Vec<&str> = anomalies.iter().map(|anomaly| anomaly.kind.name()).collect();
                        assert!(kinds.contains(&anomaly.as_str()), "{kinds:?}");
                    }
                    if PLAIN.contains(&model) {
                        assert_verdict(
                            &check(model, &exported(&file, "json"), &Assumed::default()),
                            expected,
                        );
                    }
                    Ok(())
                }));
            }
            assert!(trials.len() > before, "{model} has no {folder} histories");
        }
    }
    trials
}

/// Returns the rows of the index in the folder that the environment's `variable` names, without its heading;
/// or, if it names none, the one trial that reports that.
fn index(variable: &'static str, need: Need) -> Result<(PathBuf, Vec<Vec<String>>), Vec<Trial>> {
    let Some(root) = env::var_os(variable).map(PathBuf::from) else {
        let reason = format!("{variable} names no folder with histories and their index");
        return Err(vec![trial(need.name(), move || Err(Missing::new(need, reason)))]);
    };
    let path = root.join("INDEX.tsv");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let rows: Vec<Vec<String>> =
        text.lines().skip(1).map(|row| row.split('\t').map(str::to_owned).collect()).collect();
    assert!(!rows.is_empty(), "the index at {} names no history", path.display());
    Ok((root, rows))
}

/// Returns one trial for each history that the index in the folder `DURESS_CORPORA` lists with its verdict.
fn of_others() -> Vec<Trial> {
    let (root, rows) = match index("DURESS_CORPORA", Need::Corpora) {
        Ok(found) => found,
        Err(trials) => return trials,
    };
    let trial = |fields: Vec<String>| {
        let [path, model, options, expected] = <[String; 4]>::try_from(fields)
            .unwrap_or_else(|fields| panic!("path, model, options, expected: {fields:?}"));
        let blind = BLIND_ELSEWHERE.contains(&&*path);
        let expected = if blind { "invalid phantom-read".to_owned() } else { expected };
        recorded(format!("corpora/{path}"), root.join(path), format!("--model {model} {options}"), expected)
    };
    rows.into_iter().map(trial).collect()
}

/// Histories that another checker judges without looking at the deciding values. Elle calls this one valid:
/// a read saw 3, which no transaction wrote, and the next read of the same process saw 2, which was there before.
const BLIND_ELSEWHERE: [&str; 1] = ["elle-cli/elle-rw-register.json"];

/// Returns one trial for each small history that the index in the folder `DURESS_CASES` lists with its
/// verdict.
fn of_every_kind() -> Vec<Trial> {
    let (root, rows) = match index("DURESS_CASES", Need::Cases) {
        Ok(found) => found,
        Err(trials) => return trials,
    };
    let trial = |fields: Vec<String>| {
        let [path, options, right, _] = <[String; 4]>::try_from(fields)
            .unwrap_or_else(|fields| panic!("file, options, right, why: {fields:?}"));
        recorded(format!("cases/{path}"), root.join(path), options, right)
    };
    rows.into_iter().map(trial).collect()
}

/// Returns a trial that checks the history at `path` with `options`, which are those of the command line:
/// `right` is a verdict, and perhaps the name of an anomaly.
fn recorded(name: String, path: PathBuf, options: String, right: String) -> Trial {
    Trial::ignorable_test(name, move || {
        let (mut model, mut assumed) = (String::new(), Assumed::default());
        let mut words = options.split_whitespace();
        while let Some(word) = words.next() {
            let mut value = || words.next().unwrap_or_default().trim_matches('\'').to_owned();
            match word {
                "--model" => model = value(),
                "--initial" => assumed.initial = value().parse::<Initial>()?,
                "--nil-is-unknown" => assumed.nil_reads = NilReads::Unknown,
                "-" => {}
                other => panic!("the option {other} is not known here"),
            }
        }
        if !MODELS.contains(&&*model) && !OF_OTHERS.contains(&&*model) {
            return Ok(Completion::ignored_with(format!("no checker for {model} yet")));
        }
        let report = check(&model, &path, &assumed);
        let (verdict, kind) =
            right.split_once(' ').map_or((&*right, None), |(verdict, kind)| (verdict, Some(kind)));
        // Some sources call a history valid in which nothing happened, or nothing was read.
        let nothing = matches!(&report.verdict, Verdict::Unknown(reasons) if matches!(reasons[..], [Reason::NothingHappened { .. } | Reason::NothingObserved { .. }]));
        assert_verdict(&report, if nothing && verdict == "valid" { "unknown" } else { verdict });
        if let Some(kind) = kind {
            let kinds: Vec<&str> =
                report.verdict.anomalies().iter().map(|anomaly| anomaly.kind.name()).collect();
            assert!(kinds.contains(&kind), "{kinds:?}");
        }
        Ok(Completion::Completed)
    })
}

fn assert_verdict(report: &CheckReport, expected: &str) {
    let found = match &report.verdict {
        Verdict::Valid => "valid",
        Verdict::Invalid(_) => "invalid",
        Verdict::Unknown(_) => "unknown",
    };
    assert_eq!(found, expected, "{:#?}", report.verdict);
}
