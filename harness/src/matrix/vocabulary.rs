//! Whether the words of a cell mean something: targets, modes, options, bugs, workloads and faults are known by name.

use duress_nemesis::FaultSpec;
use duress_settings::{Request, Setting, SettingsError};
use duress_targets::{Description, Scenario};

use super::command::RunCommand;
use super::key::Key;
use crate::systems::systems;
use crate::workload::{Model, Workloads};

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
    let system =
        systems().find(&command.target).map_err(|error| meaningless(Key::Target, error.to_string()))?;
    if let Some(name) = command.flags.get("workload") {
        let known: Vec<&str> = Workloads::of(system).map(Model::name).collect();
        if !known.contains(&name.as_str()) {
            let message =
                format!("{} has no workload \"{name}\"; it has {}", command.target, known.join(", "));
            return Err(meaningless(Key::Workload, message));
        }
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
        programs: command.programs(),
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
        Setting::Program => Key::flag("program"),
    };
    match error {
        SettingsError::Unknown { what, given, .. } => named(*what, given),
        SettingsError::Value { option, .. }
        | SettingsError::Missing { option, .. }
        | SettingsError::Unreadable { option, .. } => Key::Option(option.clone()),
        SettingsError::OtherMode { what, name, .. } => named(*what, name),
        SettingsError::NoNodes { .. } => Key::flag("nodes"),
    }
}

/// The scenario of the seeded bug `bug` of `target`, which must be one that can be found.
///
/// # Errors
/// [`Meaningless`].
pub fn scenario(target: &str, bug: &str) -> Result<&'static Scenario, Meaningless> {
    let system = systems()
        .find(target)
        .map_err(|error| Meaningless { key: Key::Target, message: error.to_string() })?;
    let scenarios = &system.description().scenarios;
    scenarios.get(bug).ok_or_else(|| {
        let known: Vec<&str> = scenarios.keys().map(String::as_str).collect();
        let message = format!("{target} has no bug \"{bug}\"; it has {}", known.join(", "));
        Meaningless { key: Key::Bug, message }
    })
}

/// Every seeded bug, with its target.
#[must_use]
pub fn seeded_bugs() -> Vec<(&'static str, &'static str)> {
    systems()
        .iter()
        .flat_map(|system| {
            let Description { name, offer, .. } = system.description();
            offer.bugs.iter().map(move |bug| (name.as_str(), bug.name.as_str()))
        })
        .collect()
}
