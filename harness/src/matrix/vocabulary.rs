//! Whether the words of a cell mean something: targets, modes, options, bugs, workloads and faults are known by name.

use duress_nemesis::FaultSpec;
use duress_targets::settings::Setting;
use duress_targets::{BugSpec, Findable, Request, SettingsError, find, systems};

use super::command::RunCommand;
use super::key::Key;

/// A word that means nothing, and which it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Meaningless {
    /// The word's place.
    pub key: Key,
    /// What is wrong with it.
    pub message: String,
}

/// The number of nodes that words are looked at with, where the cell names none.
const NODES: usize = 5;

/// Checks every word of `command` that is a name. Whether the values of other options are in range is asked of
/// `duress run` itself.
///
/// # Errors
/// [`Meaningless`], naming the word and those that would be understood.
pub fn check(command: &RunCommand) -> Result<(), Meaningless> {
    let meaningless = |key: Key, message: String| Meaningless { key, message };
    let system = find(&command.target).map_err(|error| meaningless(Key::Target, error.to_string()))?;
    if let Some(workload) = command.flags.get("workload")
        && !system.workloads().contains(&workload.as_str())
    {
        let known = system.workloads().join(", ");
        return Err(meaningless(
            Key::Workload,
            format!("{} has no workload \"{workload}\"; it has {known}", system.name()),
        ));
    }
    let nodes = match command.flags.get("nodes") {
        None => NODES,
        Some(nodes) => nodes.parse().map_err(|_| {
            meaningless(Key::flag("nodes"), format!("nodes is \"{nodes}\": a cluster has 1 to 99 nodes"))
        })?,
    };
    let request = Request {
        mode: command.flags.get("mode").cloned(),
        options: command.options.clone(),
        bug: command.flags.get("bug").cloned(),
        nodes,
    };
    system.resolve(&request).map_err(|error| meaningless(place(&error), error.to_string()))?;
    if let Some(faults) = command.flags.get("faults") {
        FaultSpec::parse_mix(faults).map_err(|error| meaningless(Key::Faults, error.to_string()))?;
    }
    Ok(())
}

/// Which word of a cell `error` speaks of.
fn place(error: &SettingsError) -> Key {
    let named = |what: Setting, name: &str| match what {
        Setting::Mode => Key::Mode,
        Setting::Option => Key::Option(name.to_owned()),
        Setting::Bug => Key::Bug,
    };
    match error {
        SettingsError::Unknown { what, given, .. } => named(*what, given),
        SettingsError::Value { option, .. } => Key::Option((*option).to_owned()),
        SettingsError::OtherMode { what, name, .. } => named(*what, name),
        SettingsError::NoNodes { .. } => Key::flag("nodes"),
    }
}

/// The seeded bug `bug` of `target`, which must be one that can be found.
///
/// # Errors
/// [`Meaningless`].
pub fn bug(target: &str, bug: &str) -> Result<&'static BugSpec, Meaningless> {
    let system =
        find(target).map_err(|error| Meaningless { key: Key::Target, message: error.to_string() })?;
    let wrong = |message: String| Meaningless { key: Key::Bug, message };
    let spec = system.bugs().iter().find(|spec| spec.name == bug).ok_or_else(|| {
        let known: Vec<&str> = system.bugs().iter().map(|spec| spec.name).collect();
        wrong(format!("{target} has no bug \"{bug}\"; it has {}", known.join(", ")))
    })?;
    match spec.findable {
        Findable::Now => Ok(spec),
        Findable::Needs(what) => {
            Err(wrong(format!("the bug \"{bug}\" cannot be found yet: it needs {what}")))
        }
    }
}

/// Every seeded bug that can be found, with its target.
#[must_use]
pub fn findable_bugs() -> Vec<(&'static str, &'static str)> {
    systems()
        .iter()
        .flat_map(|system| {
            let findable = system.bugs().iter().filter(|bug| bug.findable == Findable::Now);
            findable.map(|bug| (system.name(), bug.name))
        })
        .collect()
}
