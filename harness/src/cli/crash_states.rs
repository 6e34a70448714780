//! `duress crash-states`: every disk that a crash may have left, tried.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use duress_arena::{PortKind, Role};
use duress_settings::Request;
use duress_targets::{Node, Topology};

use super::words::{duration, option};
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{print, tell};
use crate::cli::perform::outer;
use crate::crash_states::{Exploration, explore};
use crate::plan::hosts;
use crate::record::folder::RunFolder;
use crate::systems::systems;

/// The command line of `duress crash-states`.
#[derive(Debug, Args)]
pub struct CrashStatesArgs {
    /// The system (`duress targets` lists them), which must have clients of registers; one node of it
    target: String,
    /// The system's mode
    #[arg(long, value_name = "MODE")]
    mode: Option<String>,
    /// An option of the system's
    #[arg(short = 'o', long = "option", value_name = "KEY=VALUE", value_parser = option)]
    options: Vec<(String, String)>,
    /// The program of the system in the place of the one that would be found, as name=path
    #[arg(long = "program", value_name = "NAME=PATH", value_parser = option)]
    programs: Vec<(String, String)>,
    /// Switch on one seeded bug
    #[arg(long, value_name = "NAME")]
    bug: Option<String>,
    /// How many writes are recorded
    #[arg(long, value_name = "NUMBER", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    writes: u64,
    /// At most so many states for each sync and each acknowledgement
    #[arg(long, value_name = "NUMBER", default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..))]
    each: u32,
    /// Try no more states after this
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    limit: Duration,
    /// Where run folders are made
    #[arg(long, value_name = "FOLDER", default_value = "runs")]
    runs: PathBuf,
}

/// `duress crash-states`.
pub fn crash_states(args: &CrashStatesArgs) -> Result<Exit, Failure> {
    let system = systems().find(&args.target).map_err(Failure::usage)?;
    let request = Request {
        mode: args.mode.clone(),
        options: args.options.iter().cloned().collect::<BTreeMap<_, _>>(),
        bug: args.bug.clone(),
        programs: super::run::programs(&args.programs)?,
        nodes: 1,
    };
    let settings = system.resolve(&request).map_err(Failure::usage)?;
    let nodes = hosts("n", 1, 0).into_iter().map(|host| Node { name: host.name, address: host.address });
    let deployment =
        system.deploy(&settings, &Topology { nodes: nodes.collect() }).map_err(Failure::usage)?;
    if !deployment.clients().vocabularies().any(|name| name == "register") {
        return Err(Failure::usage(anyhow::anyhow!(
            "{} has no clients of registers: crash states are read through them",
            args.target
        )));
    }
    let broken = |error: anyhow::Error| Failure {
        exit: Exit::Broken,
        error,
        hint: Some("`duress doctor` says what this machine allows".to_owned()),
    };
    system.available(&settings.programs).map_err(super::run::missing)?;
    match duress_arena::isolate().map_err(|error| broken(error.into()))? {
        Role::Outer(status) => return outer(status),
        Role::Runner => {}
    }
    let port = PortKind::best().map_err(|error| broken(error.into()))?;
    let bug = settings.bug.as_ref().map(|bug| format!("-{bug}")).unwrap_or_default();
    let name = format!("crash-states-{}-{}{bug}", args.target, settings.mode);
    let stamp = jiff::Zoned::now().strftime("%Y%m%dT%H%M%S").to_string();
    let folder = RunFolder::create(&args.runs, &name, &stamp).map_err(Failure::internal)?;
    crate::cli::log::to_file(&folder.file("duress.log"))
        .map_err(|error| Failure::internal(anyhow::Error::new(error).context("cannot write duress.log")))?;
    tell(format_args!("{name}: {} writes; into {}", args.writes, folder.path().display()));
    let each = usize::try_from(args.each).unwrap_or(usize::MAX);
    let exploration = Exploration { writes: args.writes, each, limit: args.limit };
    let report = explore(&exploration, deployment, port, &folder).map_err(|error| broken(error.into()))?;
    let json = serde_json::json!(report);
    folder
        .write("crash-states.json", &format!("{json:#}\n"))
        .and_then(|()| folder.write("report.txt", &report.to_string()))
        .map_err(Failure::internal)?;
    print(&report)?;
    Ok(report.exit())
}
