//! The system under test on the command line: what `duress run` and `duress hunt` have in common.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use duress_settings::{Request, Settings};
use duress_targets::{Maelstrom, System};

use super::run::missing;
use super::words::option;
use crate::cli::exit::Failure;
use crate::systems;

/// The system that a command line names, and its workload if that is named.
pub(super) struct Subject {
    pub(super) system: &'static dyn System,
    pub(super) workload: Option<String>,
}

/// A system, and how it is to be set.
#[derive(Debug, Args)]
pub(super) struct TargetArgs {
    /// The system under test (`duress targets` lists them); the path of a manifest: ./duress.toml, or its folder; or
    /// maelstrom:COMMAND, a program that speaks Maelstrom's protocol, with --workload
    pub(super) target: String,
    /// Its mode of operation [default: the target's first; a hunt draws it]
    #[arg(long)]
    mode: Option<String>,
    /// An option of the target, as key=value; may be repeated
    #[arg(short = 'o', long = "option", value_name = "KEY=VALUE", value_parser = option)]
    options: Vec<(String, String)>,
    /// The program of a system to use instead of the one found, as name=path, for example to compare two releases
    #[arg(long = "program", value_name = "NAME=PATH", value_parser = option)]
    programs: Vec<(String, String)>,
    /// A program that takes the place of another while it runs, as name=path: the faults `upgrade` start nodes with it
    #[arg(long, value_name = "NAME=PATH", value_parser = option)]
    upgrade_to: Vec<(String, String)>,
    /// Switch on one seeded bug (`duress bugs` lists them); in a run, its scenario then fills in the options not given
    #[arg(long, value_name = "NAME")]
    pub(super) bug: Option<String>,
}

impl TargetArgs {
    /// Returns the system, and the workload of the command line by its name here. That of a program which speaks Maelstrom's
    /// protocol has a name there, and decides what the system is.
    pub(super) fn system(&self, workload: Option<&str>) -> Result<Subject, Failure> {
        let Some(command) = systems::maelstrom_command(&self.target) else {
            let system = systems::find(&self.target).map_err(Failure::usage)?;
            return Ok(Subject { system, workload: workload.map(str::to_owned) });
        };
        let name = workload.ok_or_else(|| {
            let known = Maelstrom::workloads().collect::<Vec<_>>().join(", ");
            Failure::usage(anyhow::anyhow!(
                "{}: name the workload of Maelstrom with --workload: {known}",
                self.target
            ))
        })?;
        let system = systems::maelstrom(command, name).map_err(Failure::usage)?;
        Ok(Subject { system, workload: system.description().vocabularies.first().cloned() })
    }

    /// Returns the request to the system, for so many nodes, without a bug's scenario.
    pub(super) fn request(&self, nodes: usize) -> Result<Request, Failure> {
        Ok(Request {
            mode: self.mode.clone(),
            options: self.options.iter().cloned().collect(),
            bug: self.bug.clone(),
            scenario: false,
            programs: absolute("--program", &self.programs)?,
            upgrades: absolute("--upgrade-to", &self.upgrade_to)?,
            nodes,
        })
    }
}

/// Returns the programs that `flag` names, by paths that do not depend on where a plan is replayed.
fn absolute(flag: &str, programs: &[(String, String)]) -> Result<BTreeMap<String, PathBuf>, Failure> {
    let absolute = |(name, path): &(String, String)| match std::path::absolute(path) {
        Ok(path) => Ok((name.clone(), path)),
        Err(error) => Err(Failure::usage(anyhow::Error::new(error).context(format!("{flag} {name}={path}")))),
    };
    programs.iter().map(absolute).collect()
}

/// Checks that every program can be started.
pub(super) fn available(system: &dyn System, settings: &Settings) -> Result<(), Failure> {
    let second = settings.upgraded();
    let mut all = [Some(settings), second.as_ref()].into_iter().flatten();
    all.try_for_each(|settings| system.available(&settings.programs)).map_err(missing)
}
