//! Whether the words of a cell mean something: targets, modes, options, bugs, workloads and faults are known by name.

use duress_nemesis::FaultSpec;
use duress_settings::{Request, Setting, SettingsError};
use duress_targets::{Description, Scenario};

use super::command::RunCommand;
use super::key::Key;
use crate::systems::{self, systems};
use crate::workload::{Model, Workloads};

/// An unknown word, and its key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct VocabularyError {
    /// The word's place.
    pub key: Key,
    /// The error.
    pub message: String,
}

/// Checks every word of `command` that is a name. `duress run` itself checks the ranges of other options.
///
/// # Errors
/// [`VocabularyError`], naming the word and the valid ones.
pub fn check(command: &RunCommand) -> Result<(), VocabularyError> {
    let unknown_word = |key: Key, message: String| VocabularyError { key, message };
    let system =
        systems::find(&command.target).map_err(|error| unknown_word(Key::Target, error.to_string()))?;
    if let Some(name) = command.flags.get("workload") {
        let known: Vec<&str> = Workloads::of(system).map(Model::name).collect();
        if !known.contains(&name.as_str()) {
            let message =
                format!("{} has no workload \"{name}\"; it has {}", command.target, known.join(", "));
            return Err(unknown_word(Key::Workload, message));
        }
    }
    let nodes = match command.flags.get("nodes") {
        None => system.description().nodes,
        Some(nodes) => nodes.parse().map_err(|_| {
            unknown_word(Key::flag("nodes"), format!("nodes is \"{nodes}\": a cluster has 1 to 99 nodes"))
        })?,
    };
    let request = Request {
        mode: command.flags.get("mode").cloned(),
        options: command.options.clone(),
        bug: command.flags.get("bug").cloned(),
        scenario: true,
        programs: command.programs(),
        upgrades: [].into(),
        nodes,
    };
    system.resolve(&request).map_err(|error| unknown_word(place(&error), error.to_string()))?;
    if let Some(faults) = command.flags.get("faults") {
        FaultSpec::parse_mix(faults).map_err(|error| unknown_word(Key::Faults, error.to_string()))?;
    }
    Ok(())
}

/// Returns the word of a cell that `error` is about.
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
        SettingsError::BugOption { option, .. } => Key::Option(option.clone()),
        SettingsError::BugNodes { .. } | SettingsError::NoNodes { .. } | SettingsError::Unfit { .. } => {
            Key::flag("nodes")
        }
    }
}

/// Returns the scenario of the seeded bug `bug` of `target`, which must be one that can be found.
///
/// # Errors
/// [`VocabularyError`].
pub fn scenario(target: &str, bug: &str) -> Result<&'static Scenario, VocabularyError> {
    let system = systems::find(target)
        .map_err(|error| VocabularyError { key: Key::Target, message: error.to_string() })?;
    let scenarios = &system.description().scenarios;
    scenarios.get(bug).ok_or_else(|| {
        let known: Vec<&str> = scenarios.keys().map(String::as_str).collect();
        let message = format!("{target} has no bug \"{bug}\"; it has {}", known.join(", "));
        VocabularyError { key: Key::Bug, message }
    })
}

/// Returns every seeded bug, with its target.
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
