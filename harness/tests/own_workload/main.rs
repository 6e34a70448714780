//! A program of its own that registers a workload of its own: nothing in `duress` knows it.
//!
//! Started with words of a command line, it is `duress` with one workload more; started by the test runner, it starts itself
//! so, and looks at what comes of it.

mod write_once;

use std::process::{Command, ExitCode, Output};

use duress::workload::Workloads;
use duress_testing::{Missing, Need};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use write_once::WriteOnce;

fn main() -> ExitCode {
    // The test runner's own words are flags, and filters that are names of tests.
    let commands = ["run", "store", "check", "workloads", "doctor"];
    if std::env::args()
        .nth(1)
        .is_some_and(|word| commands.contains(&word.as_str()) || word == "--end-with-parent")
    {
        return duress::cli::main_with(Workloads::standard().with::<WriteOnce>()).into();
    }
    let arguments = Arguments::from_args();
    let runnable = this(&["doctor"]).status.success();
    let run = Trial::ignorable_test("a_run_of_it_is_judged", move || match runnable {
        true => runs().map(|()| Completion::Completed),
        false => Missing::new(Need::Namespaces, "no cluster can be run here, see duress doctor").ended(),
    });
    libtest_mimic::run(&arguments, vec![Trial::test("it_is_listed_and_has_options", listed), run]).exit_code()
}

/// This program with `words`.
fn this(words: &[&str]) -> Output {
    let program = std::env::current_exe().expect("this program has a file");
    Command::new(program).args(words).output().expect("this program can be started")
}

fn expect(holds: bool, output: &Output) -> Result<(), Failed> {
    if holds { Ok(()) } else { Err(format!("{output:#?}").into()) }
}

fn listed() -> Result<(), Failed> {
    let output = this(&["workloads"]);
    let text = String::from_utf8_lossy(&output.stdout);
    expect(text.contains("write-once: writes each key once") && text.contains("register: "), &output)?;
    let output = this(&["run", "store", "--workload", "write-once", "--readers", "0", "--dry-run"]);
    let text = String::from_utf8_lossy(&output.stderr);
    expect(output.status.code() == Some(254) && text.contains("readers is 0"), &output)?;
    let output = this(&["run", "broker", "--workload", "write-once", "--dry-run"]);
    expect(output.status.code() == Some(254), &output)
}

fn runs() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let runs = folder.path().display().to_string();
    let words =
        "run store --workload write-once --readers 3 --nodes 3 --faults none --time-limit 2 --seed 1 --runs";
    let words: Vec<&str> = words.split(' ').chain([runs.as_str()]).collect();
    let output = this(&words);
    expect(output.status.success(), &output)?;
    let latest = folder.path().join("latest");
    let plan = std::fs::read_to_string(latest.join("plan.json"))?;
    let verdict = std::fs::read_to_string(latest.join("verdict.json"))?;
    expect(plan.contains("\"write-once\"") && verdict.contains("\"valid\""), &output)?;
    let history = latest.join("history.jsonl").display().to_string();
    let output = this(&["check", &history, "--model", "write-once"]);
    expect(output.status.success(), &output)
}
