//! `duress crash-states`: a node is started on the states of its disk that a crash may leave.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use duress_arena::{PortKind, Role};
use duress_targets::{Node, Topology};

use super::target::TargetArgs;
use super::words::duration;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{print, tell};
use crate::cli::perform::outer;
use crate::crash_states::{Exploration, Vocabulary, explore};
use crate::plan::hosts;
use crate::record::folder::RunFolder;
use crate::systems;

#[derive(Debug, Args)]
pub struct CrashStatesArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// The number of writes to record
    #[arg(long, value_name = "NUMBER", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    writes: u64,
    /// The number of clients that share the writes: what several write at a time is synced together
    #[arg(long, value_name = "NUMBER", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=50))]
    clients: u8,
    /// The largest number of states to try for each sync and each acknowledgement
    #[arg(long, value_name = "NUMBER", default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..))]
    each: u32,
    /// End after this; states not tried by then make the result UNKNOWN
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    limit: Duration,
    /// The folder for run folders
    #[arg(long, value_name = "FOLDER", default_value = "runs")]
    runs: PathBuf,
}

pub fn crash_states(args: &CrashStatesArgs) -> Result<Exit, Failure> {
    let in_memory = || {
        let target = &args.target.target;
        Failure::usage(anyhow::anyhow!(
            "{target} keeps no data on a disk, so that a crash leaves no states of one"
        ))
    };
    if systems::maelstrom_command(&args.target.target).is_some() {
        return Err(in_memory());
    }
    let system = args.target.system(None)?.system;
    if !system.description().durable {
        return Err(in_memory());
    }
    if system.description().external.is_some() {
        let target = &args.target.target;
        return Err(Failure::usage(anyhow::anyhow!(
            "{target} already runs, and crash states are those of a node that duress starts itself"
        )));
    }
    let request = args.target.request(1)?;
    let settings = system.resolve(&request).map_err(Failure::usage)?;
    let nodes = hosts("n", 1, 0).into_iter().map(|host| Node { name: host.name, address: host.address });
    let deployment =
        system.deploy(&settings, &Topology { nodes: nodes.collect() }).map_err(Failure::usage)?;
    let vocabulary = Vocabulary::among(deployment.clients().vocabularies()).ok_or_else(|| {
        Failure::usage(anyhow::anyhow!(
            "{} has no clients for registers or messages, through which crash states are read",
            system.description().name
        ))
    })?;
    let broken = |error: anyhow::Error| Failure {
        exit: Exit::Broken,
        error,
        hint: Some("`duress doctor` reports what this machine allows".to_owned()),
    };
    system.available(&settings.programs).map_err(super::run::missing)?;
    match duress_arena::isolate().map_err(|error| broken(error.into()))? {
        Role::Outer(status) => return outer(status),
        Role::Runner => {}
    }
    let port = PortKind::best().map_err(|error| broken(error.into()))?;
    let bug = settings.bug.as_ref().map(|bug| format!("-{bug}")).unwrap_or_default();
    let name = format!("crash-states-{}-{}{bug}", system.description().name, settings.mode);
    let stamp = chrono::Local::now().format("%Y%m%dT%H%M%S").to_string();
    let folder = RunFolder::create(&args.runs, &name, &stamp).map_err(Failure::internal)?;
    crate::cli::log::to_file(&folder.file("duress.log"))
        .map_err(|error| Failure::internal(anyhow::Error::new(error).context("cannot write duress.log")))?;
    tell(format_args!(
        "{name}: {} writes by {} clients, recording into {}",
        args.writes,
        args.clients,
        folder.path().display()
    ));
    let each = usize::try_from(args.each).unwrap_or(usize::MAX);
    let exploration = Exploration { writes: args.writes, clients: args.clients, each, limit: args.limit };
    let report =
        explore(&exploration, deployment, vocabulary, port, &folder).map_err(|error| broken(error.into()))?;
    let json = serde_json::json!(report);
    folder
        .write("crash-states.json", &format!("{json:#}\n"))
        .and_then(|()| folder.write("report.txt", &report.to_string()))
        .map_err(Failure::internal)?;
    print(&report)?;
    Ok(report.exit())
}
