//! `duress try`: shows each step of a run without faults, and what to mend.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, Error, FromArgMatches};
use duress_nemesis::commands::{Answer, Look};
use duress_targets::{NodeFiles, Role};
use serde::Deserialize;
use serde_json::Value;

use super::perform::{run_failure, shown};
use super::run::{Planned, RunArgs};
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{print, tell};
use crate::record::folder::RunFolder;
use crate::run::conductor::chain;
use crate::run::live::AtAnomaly;
use crate::run::observer::{Observation, load};
use crate::run::world::commands;

/// Failures are not worth a word where they are fewer than one in this many operations of a kind.
const RARE: u64 = 50;

/// The steps as text, and the problems to mend.
#[derive(Default)]
struct Account {
    text: String,
    mend: Vec<String>,
}

/// The kind of an operation that failed as it may: its comparison did.
const MISMATCH: &str = "precondition";

/// Appends a line. Writing to a String cannot fail.
macro_rules! say {
    ($account:expr, $($line:tt)*) => { let _ = writeln!($account.text, $($line)*); };
}

/// An event of a client, of any vocabulary.
#[derive(Deserialize)]
struct Line {
    time: u64,
    process: Value,
    #[serde(rename = "type")]
    kind: String,
    f: String,
    #[serde(default)]
    value: Value,
    #[serde(default)]
    node: Option<String>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    error_kind: Option<String>,
}

/// The values that clients asked to write, and those that reads answered.
#[derive(Default)]
struct Values {
    asked: BTreeSet<(String, String)>,
    writes: u64,
    reads: u64,
    /// Reads that answered a value, of any kind.
    seen: u64,
    /// The first value that was read, and that no client wrote.
    foreign: Option<String>,
}

impl Values {
    /// Notes the argument of an operation: `[key, value]`, or `[key, [old, new]]`.
    fn asked(&mut self, value: &Value) {
        if let Some((key, value)) = keyed(value) {
            self.asked.extend(each(value).map(|value| (key.to_string(), value.to_string())));
        }
    }

    /// Notes the answer of an operation.
    fn answered(&mut self, f: &str, value: &Value) {
        if f != "read" {
            self.writes += 1;
            return;
        }
        let Some((key, value)) = keyed(value) else { return };
        self.reads += 1;
        let mut there = each(value).filter(|value| !value.is_null()).peekable();
        self.seen += u64::from(there.peek().is_some_and(|value| **value != 0));
        if self.foreign.is_none() {
            let known = |value: &Value| self.asked.contains(&(key.to_string(), value.to_string()));
            self.foreign = there.find(|value| !known(value)).map(ToString::to_string);
        }
    }

    /// Returns what the answers of reads make doubtful.
    fn doubts(&self, workload: &str) -> Vec<String> {
        let Self { writes, reads, seen, .. } = self;
        let blind = (*writes > 0 && *reads > 0 && *seen == 0).then(|| {
            format!("no read saw a value, although {writes} writes succeeded ({reads} reads did, too)")
        });
        // A counter answers sums.
        let foreign = self.foreign.as_ref().filter(|_| workload != "counter");
        let foreign = foreign.map(|value| format!("a read returned {value}, which no client wrote"));
        blind.into_iter().chain(foreign).collect()
    }
}

/// Returns the parts of `[key, value]`, the form of the values of objects.
fn keyed(value: &Value) -> Option<(&Value, &Value)> {
    match &value.as_array()?[..] {
        [key @ Value::String(_), value] => Some((key, value)),
        _ => None,
    }
}

/// Returns the items of a list, or the value that is none.
fn each(value: &Value) -> std::slice::Iter<'_, Value> {
    value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice).iter()
}

/// The arguments of `duress try`: those of `duress run` that do not concern faults and verdicts.
#[derive(Debug)]
pub struct TryArgs(pub(super) RunArgs);

/// The options of `duress run` that `duress try` does not have.
const OF_RUNS: [&str; 16] = [
    "no_scenario",
    "draw_options",
    "faults",
    "schedule",
    "interval",
    "beyond_tolerance",
    "no_final_restart",
    "warm_up",
    "port",
    "keep_data",
    "check_limit",
    "promise",
    "floor",
    "dry_run",
    "test_count",
    "capture",
];

impl Args for TryArgs {
    fn augment_args(command: Command) -> Command {
        let command = RunArgs::augment_args(command).mut_args(|arg| {
            let hidden = OF_RUNS.contains(&arg.get_id().as_str());
            arg.hide(hidden)
        });
        command.mut_arg("time_limit", |arg| arg.help("How long clients run [default: 3s]"))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for TryArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let given = |id: &&&str| matches.value_source(id) == Some(ValueSource::CommandLine);
        if let Some(id) = OF_RUNS.iter().find(given) {
            let text = format!(
                "--{} is an option of `duress run`: `duress try` has no faults and no verdict",
                id.replace('_', "-")
            );
            return Err(Error::raw(ErrorKind::UnknownArgument, text));
        }
        Ok(Self(RunArgs::from_arg_matches(matches)?))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Runs a plan without faults and describes it.
pub(super) fn perform(planned: &Planned, target: &str, runs: &Path) -> Result<Exit, Failure> {
    let Planned { plan, workload, deployment, .. } = planned;
    let stamp = chrono::Local::now().format("%Y%m%dT%H%M%S").to_string();
    let folder =
        RunFolder::create(runs, &format!("{}-try", plan.target), &stamp).map_err(Failure::internal)?;
    folder.write("plan.json", &plan.to_json()).map_err(Failure::internal)?;
    crate::cli::log::to_file(&folder.file("duress.log"))
        .map_err(|error| Failure::internal(anyhow::Error::new(error).context("cannot write duress.log")))?;
    let mut account = Account::default();
    if deployment.external().is_some() {
        account.running(planned, &folder);
    } else {
        say!(account, "1. started");
    }
    for host in plan.nodes.iter().filter(|_| plan.arena.is_some()) {
        let (home, data) = (folder.node(&host.name), folder.data(&host.name));
        folder.make(&data).map_err(Failure::internal)?;
        let files = NodeFiles { data, stdout: home.join("stdout.log"), stderr: home.join("stderr.log") };
        match deployment.process(&host.name, &files) {
            Ok(spec) => {
                let args = spec.args.iter().map(|arg| arg.to_string_lossy().into_owned());
                let words: Vec<String> =
                    std::iter::once(spec.program.display().to_string()).chain(args).collect();
                say!(account, "   {} at {}: {}", host.name, host.address, crate::trial::Shell(&words));
            }
            Err(error) => account.mend.push(format!("{}: {error}", host.name)),
        }
    }
    tell(format_args!("trying {} for {} s without faults", plan.name(), plan.time_limit().as_secs_f64()));
    let at = shown(folder.path());
    let promise = plan.promise.unwrap_or_else(|| deployment.promise(&plan.workload.name));
    let outcome =
        crate::run::run(plan, *workload, Arc::clone(deployment), &folder, None, promise, AtAnomaly::GoesOn)
            .map_err(|error| run_failure(error, &at))?;
    if let Some(after) = outcome.ready_after {
        let since = if plan.arena.is_some() { "the first was started" } else { "they were first asked" };
        say!(account, "2. ready\n   all nodes, {:.2} s after {since}", after.as_secs_f64());
    }
    account.mend.extend(outcome.broken.iter().map(|broken| broken.trim_end().to_owned()));
    if !outcome.broken.is_empty() {
        account.client_errors(folder.path());
    } else {
        let serving: Vec<String> = deployment.serving().iter().map(ToString::to_string).collect();
        account.operations(folder.path(), &serving, &plan.workload.name);
        account.client_errors(folder.path());
        account.status(folder.path(), deployment.reports_leader());
    }
    let Account { mut text, mend } = account;
    if mend.is_empty() {
        let _ = write!(text, "\nnothing to mend: duress run {target}\n");
    } else {
        let _ = writeln!(text, "\nto mend:");
        for line in &mend {
            let _ = writeln!(text, "-  {}", line.replace('\n', "\n   "));
        }
    }
    let _ = writeln!(text, "the files are in {at}");
    print(text)?;
    Ok(if mend.is_empty() { Exit::Valid } else { Exit::Broken })
}

impl Account {
    /// Describes a cluster that already runs: where its nodes are, and what the evidence of each fault says now.
    fn running(&mut self, planned: &Planned, folder: &RunFolder) {
        let Planned { system, deployment, .. } = planned;
        say!(self, "1. already running, as its manifest says");
        for node in system.description().external.iter().flatten() {
            say!(self, "   {} at {}", node.name, node.address);
        }
        let commands = commands(&**deployment, folder);
        if commands.faults.is_empty() {
            say!(self, "   no [[fault]]: `duress run` strikes nothing");
        }
        for Look { fault, node, answer } in commands.look() {
            match answer {
                Ok(Answer { in_force: false, .. }) => {
                    say!(self, "   fault {fault}: its evidence says that it is not in force on {node}");
                }
                Ok(Answer { in_force: true, said }) => self.mend.push(format!(
                    "the evidence of the fault {fault} says that it is in force on {node}, and none was injected: {said}"
                )),
                Err(error) => self.mend.push(format!("the fault {fault}: {}", chain(&error))),
            }
        }
    }

    /// Describes each client's first operation, and what failed.
    fn operations(&mut self, folder: &Path, serving: &[String], workload: &str) {
        say!(self, "3. first operations");
        let history = fs::read_to_string(folder.join("history.jsonl")).unwrap_or_default();
        let lines = history.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
        let mut begun: BTreeMap<String, (u64, String)> = BTreeMap::new();
        let mut first: BTreeMap<String, String> = BTreeMap::new();
        let (mut counts, mut errors) =
            (BTreeMap::<(String, String), u64>::new(), BTreeMap::<(String, String), u64>::new());
        let mut answered: BTreeMap<String, u64> = BTreeMap::new();
        let mut values = Values::default();
        for line in lines {
            let (process, Some(node)) = (line.process.to_string(), line.node) else { continue };
            if line.kind == "invoke" {
                values.asked(&line.value);
                begun.insert(process, (line.time, line.value.to_string()));
                continue;
            }
            if line.kind == "ok" {
                values.answered(&line.f, &line.value);
            }
            let Some((since, asked)) = begun.remove(&process) else { continue };
            let took = line.time.saturating_sub(since) as f64 / 1e6;
            let said = match &line.error {
                Some(error) => format!("{} ({error})", line.kind),
                None => format!("{} {}", line.kind, line.value),
            };
            let described = format!("{node}: {} {asked} -> {said}, {took:.1} ms", line.f);
            first.entry(process).or_insert(described);
            *counts.entry((line.f.clone(), line.kind.clone())).or_default() += 1;
            if line.kind == "ok" {
                *answered.entry(node).or_default() += 1;
            }
            if let Some(error) = line.error.filter(|_| line.error_kind.as_deref() != Some(MISMATCH)) {
                *errors.entry((line.f, error)).or_default() += 1;
            }
        }
        for (process, described) in first.iter().take(serving.len() * 3) {
            say!(self, "   client {process} on {described}");
        }
        let operations: BTreeSet<&String> = counts.keys().map(|(f, _)| f).collect();
        // Operations of which none succeeded, by the error that most of them had.
        let mut never: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for f in operations {
            let of = |kind: &str| counts.get(&(f.clone(), kind.to_owned())).copied().unwrap_or(0);
            say!(self, "   {f}: {} ok, {} fail, {} info", of("ok"), of("fail"), of("info"));
            let of_this = || errors.iter().filter(|((of, _), _)| of == f);
            let worst = of_this().max_by_key(|(_, count)| **count);
            // All together: each may have a text of its own, as with a time in it.
            let failed: u64 = of_this().map(|(_, count)| *count).sum();
            let all: u64 = counts.iter().filter(|((of, _), _)| of == f).map(|(_, count)| *count).sum();
            if let Some(((_, error), _)) = worst.filter(|_| failed * RARE >= all) {
                if of("ok") == 0 {
                    never.entry(error).or_default().push(f);
                } else {
                    self.mend.push(format!(
                        "{failed} times {f} did not succeed without any fault, most often: {error}"
                    ));
                }
            }
        }
        if counts.is_empty() {
            self.mend.push("no operation ended: a longer --time-limit may help".to_owned());
        }
        for (error, operations) in never {
            let operations = operations.join(", no ");
            self.mend.push(format!("no {operations} succeeded without any fault: {error}"));
        }
        self.mend.extend(values.doubts(workload));
        // If no node answered, the errors above say why.
        let silent = serving.iter().filter(|node| !answered.is_empty() && !answered.contains_key(*node));
        for node in silent {
            self.mend.push(format!(
                "{node} answered no client: a role that clients do not speak to has `clients = false`"
            ));
        }
    }

    /// Describes the last answer of each node about who leads.
    fn status(&mut self, folder: &Path, reports_leader: bool) {
        say!(self, "4. status");
        if !reports_leader {
            say!(
                self,
                "   no [status]: faults that strike the leader strike any node, which is as it should be without a leader"
            );
            return;
        }
        let last: BTreeMap<String, Observation> =
            load(folder).into_iter().map(|seen| (seen.node.clone(), seen)).collect();
        for (node, seen) in &last {
            let role = seen.role.unwrap_or_default();
            let leader =
                seen.leader.as_ref().map(|leader| format!(", names {leader} as leader")).unwrap_or_default();
            let term = seen.term.map(|term| format!(", term {term}")).unwrap_or_default();
            match &seen.silent {
                Some(why) => {
                    say!(self, "   {node}: no answer: {why}");
                    self.mend.push(format!("{node} does not say who leads: {why}"));
                }
                None => {
                    say!(self, "   {node}: {role}{leader}{term}");
                }
            }
        }
        let leads = last.values().filter(|seen| seen.role == Some(Role::Leader)).count();
        let named = last.values().any(|seen| seen.leader.is_some());
        if leads == 0 && !named && last.values().all(|seen| seen.silent.is_none()) {
            self.mend
                .push("no node leads: [status] says how a node reports it, and no answer has it".to_owned());
        }
        if leads > 1 {
            self.mend.push(format!("{leads} nodes say that they lead"));
        }
    }

    /// Quotes what client programs wrote to their standard error: the cause, if something else is wrong.
    fn client_errors(&mut self, folder: &Path) {
        let logs = fs::read_dir(folder.join("clients")).into_iter().flatten().filter_map(Result::ok);
        let mut logs: Vec<_> = logs.map(|log| log.path()).collect();
        logs.sort();
        if let Some(log) = logs.first() {
            let text = String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned();
            let mut lines: Vec<&str> = text.lines().collect();
            // Each program that was started in place of another may have written the same.
            lines.dedup();
            let end = lines[lines.len().saturating_sub(5)..].join("\n  ");
            let quoted =
                format!("clients wrote to their standard error; the end of {}:\n  {end}", shown(log));
            if self.mend.is_empty() {
                say!(self, "   {}", quoted.replace('\n', "\n   "));
            } else {
                self.mend.insert(0, quoted);
            }
        }
    }
}
