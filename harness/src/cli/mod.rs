//! The command line: one file per command.

mod broker;
mod check;
mod crash_states;
mod doctor;
pub mod exit;
mod export;
mod hunt;
mod init;
mod lesson;
mod lists;
pub mod log;
mod maelstrom;
mod matrix;
pub mod output;
mod page_file;
#[cfg(test)]
mod pages;
mod perform;
mod report;
pub(crate) mod run;
mod schedule;
mod serve;
mod shell;
mod shrink;
mod store;
mod subject;
mod target;
mod test_count;
mod try_out;
pub(crate) mod words;
mod workload;

use clap::{CommandFactory, Parser, Subcommand};

use crate::cli::exit::{Exit, Failure};
use crate::cli::output::tell;
use crate::workload::Workloads;

/// Puts a distributed system under duress and says whether it kept its promises.
#[derive(Debug, Parser)]
#[command(name = "duress", version, propagate_version = true, max_term_width = 110)]
struct Cli {
    /// End, as if asked to, when the process of this number does, which must be the parent
    #[arg(long, hide = true, value_name = "PID")]
    end_with_parent: Option<u32>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a cluster, break it, drive it with clients, and judge their observations
    // So that the error for `--seed -1` is about the value -1, and not about an option -1.
    #[command(allow_negative_numbers = true)]
    Run(Box<run::RunArgs>),
    /// Write a folder with a manifest, a client and a small store, to begin with: `duress run ./FOLDER` breaks it
    Init(init::InitArgs),
    /// Start a system without faults, show each step, and say what to mend in its manifest
    #[command(allow_negative_numbers = true)]
    Try(Box<try_out::TryArgs>),
    /// Print the JSON Schema of manifests, by which editors complete and check them
    Schema,
    /// Run a saved plan again: the same schedule and the same generated operations
    Replay(run::ReplayArgs),
    /// Start a node on the states of its disk that a crash may leave, one by one, and check that it has what it acknowledged
    CrashStates(crash_states::CrashStatesArgs),
    /// Write the report of a run that is over: one page that opens offline
    Report(report::ReportArgs),
    /// Show the runs in a folder in a browser: list, compare, follow
    Serve(serve::ServeArgs),
    /// Check a recorded history (.jsonl, .json, .edn)
    Check(check::CheckArgs),
    /// Write a recorded history in the form of another checker
    Export(export::ExportArgs),
    /// Run many cells, each with its expectation, from a file
    Matrix(Box<matrix::MatrixArgs>),
    /// Hunt for a defect: many short runs, each drawn differently, until one finds an anomaly, which is then shrunk
    Hunt(Box<hunt::HuntArgs>),
    /// Make a run that found an anomaly as small as it can be
    Shrink(shrink::ShrinkArgs),
    /// Measure the effect of settings: runs of every combination, and a table of the messages' outcomes
    Lesson(lesson::LessonArgs),
    /// Run one node of our own key-value store by hand
    Store(store::StoreArgs),
    /// Run one node of our own broker by hand
    Broker(broker::BrokerArgs),
    /// Run the process at a node of Maelstrom's protocol
    #[command(hide = true)]
    MaelstromNode(maelstrom::MaelstromNodeArgs),
    /// List the systems that can be run, with their modes and options
    Targets,
    /// List the workloads
    Workloads,
    /// List the faults, with the evidence that each must leave
    Faults,
    /// List the seeded bugs, with the anomaly and the run that finds each
    Bugs,
    /// Report what this machine allows, and what that costs in faults
    Doctor,
    /// Print what a shell needs to complete the command line
    Completions(shell::CompletionsArgs),
    /// Print the manual page, or write one for each command
    Man(shell::ManArgs),
}

/// Runs the program with the workloads that come with it, and says how it ends. Must be called first thing, while there
/// is one thread.
pub fn main() -> Exit {
    main_with(Workloads::standard())
}

/// Runs the program with `workloads`, such as the standard ones and one of the caller's own, otherwise as [`main`].
pub fn main_with(workloads: Workloads) -> Exit {
    workloads.install();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are not errors; neither is a reader that went away.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Valid };
        }
    };
    if let Some(parent) = cli.end_with_parent
        && let Err(failure) = matrix::end_with(parent)
    {
        tell(format_args!("duress: {failure}"));
        return failure.exit;
    }
    let result = match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Init(args) => init::init(&args),
        Command::Try(args) => run::try_out(*args),
        Command::Schema => output::print(duress_targets::Manifest::schema()).map(|()| Exit::Valid),
        Command::Replay(args) => run::replay(&args),
        Command::CrashStates(args) => crash_states::crash_states(&args),
        Command::Report(args) => report::report(&args),
        Command::Serve(args) => serve::serve(&args),
        Command::Check(args) => check::check(&args),
        Command::Export(args) => export::export(&args),
        Command::Matrix(args) => matrix::matrix(&args),
        Command::Hunt(args) => hunt::hunt(&args),
        Command::Shrink(args) => shrink::shrink(&args),
        Command::Lesson(args) => lesson::lesson(&args),
        Command::Store(args) => store::store(&args),
        Command::Broker(args) => broker::broker(&args),
        Command::MaelstromNode(args) => maelstrom::node(args),
        Command::Targets => lists::targets(),
        Command::Workloads => lists::workloads(),
        Command::Faults => lists::faults(),
        Command::Bugs => lists::bugs(),
        Command::Doctor => doctor::doctor(),
        Command::Completions(args) => shell::completions(&args, Cli::command()),
        Command::Man(args) => shell::man(&args, Cli::command()),
    };
    result.unwrap_or_else(|failure: Failure| {
        tell(format_args!("duress: {failure}"));
        failure.exit
    })
}
