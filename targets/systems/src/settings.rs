//! What the user asked of a system, and what that comes to once every default is filled in.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::catalogue::{BugSpec, Mode, OptionSpec, Values};
use crate::nearest::nearest;

/// What the user asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// `--mode`, if given.
    pub mode: Option<String>,
    /// Each `-o name=value`.
    pub options: BTreeMap<String, String>,
    /// `--bug`, if given.
    pub bug: Option<String>,
    /// The number of nodes.
    pub nodes: usize,
}

/// How a system is run, fully resolved: part of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The mode.
    pub mode: String,
    /// Every option of that mode.
    pub options: BTreeMap<String, String>,
    /// The seeded defect, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bug: Option<String>,
}

impl Settings {
    /// The value of an option, if the mode has it.
    #[must_use]
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(String::as_str)
    }
}

/// A request that a system cannot meet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// No such mode, option or bug.
    #[error("{system} has no {what} \"{given}\"{}; {}", hint_words(*hint), accepted_words(accepted))]
    Unknown {
        /// The system.
        system: &'static str,
        /// What kind of word it is.
        what: Setting,
        /// The word given.
        given: String,
        /// The words accepted.
        accepted: Vec<&'static str>,
        /// The accepted word nearest to it.
        hint: Option<&'static str>,
    },
    /// The option exists and cannot have that value.
    #[error("option {option} of {system} cannot be \"{given}\"{}; accepted: {accepted}", hint_words(*hint))]
    Value {
        /// The system.
        system: &'static str,
        /// The option.
        option: &'static str,
        /// The value given.
        given: String,
        /// The values accepted.
        accepted: Values,
        /// The accepted word nearest to it.
        hint: Option<&'static str>,
    },
    /// The option or bug exists, but not in this mode.
    #[error("{what} \"{name}\" of {system} does not apply to mode {mode}, only to {}", modes.join(", "))]
    OtherMode {
        /// The system.
        system: &'static str,
        /// An option or a bug.
        what: Setting,
        /// Its name.
        name: &'static str,
        /// The mode asked for.
        mode: &'static str,
        /// The modes it applies to.
        modes: &'static [&'static str],
    },
    /// A cluster of no nodes.
    #[error("{system} needs at least one node")]
    NoNodes {
        /// The system.
        system: &'static str,
    },
}

/// A kind of word that a user gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// `--mode`.
    Mode,
    /// The name in `-o name=value`.
    Option,
    /// `--bug`.
    Bug,
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Mode => "mode",
            Self::Option => "option",
            Self::Bug => "bug",
        })
    }
}

/// ` (did you mean "raft"?)`, or nothing.
pub(crate) fn hint_words(hint: Option<&str>) -> String {
    hint.map(|hint| format!(" (did you mean \"{hint}\"?)")).unwrap_or_default()
}

fn accepted_words(accepted: &[&str]) -> String {
    if accepted.is_empty() { "it has none".to_owned() } else { format!("accepted: {}", accepted.join(", ")) }
}

/// Checks `request` against what a system offers and fills in every default.
///
/// Without `--mode`, the mode is that of the bug's scenario, or the first. An option not given has the value of the
/// bug's scenario where the mode is the scenario's, or its default.
pub(crate) fn resolve(
    system: &'static str,
    modes: &'static [Mode],
    options: &'static [OptionSpec],
    bugs: &'static [BugSpec],
    request: &Request,
) -> Result<Settings, SettingsError> {
    if request.nodes == 0 {
        return Err(SettingsError::NoNodes { system });
    }
    let unknown = |what: Setting, given: &str, accepted: Vec<&'static str>| SettingsError::Unknown {
        system,
        what,
        given: given.to_owned(),
        hint: nearest(given, &accepted),
        accepted,
    };

    let bug = match &request.bug {
        None => None,
        Some(name) => Some(
            bugs.iter()
                .find(|bug| bug.name == name)
                .ok_or_else(|| unknown(Setting::Bug, name, bugs.iter().map(|bug| bug.name).collect()))?,
        ),
    };
    let mode_name = match (&request.mode, bug) {
        (Some(name), _) => name,
        (None, Some(bug)) => bug.scenario.mode,
        (None, None) => modes[0].name,
    };
    let mode = modes
        .iter()
        .find(|mode| mode.name == mode_name)
        .ok_or_else(|| unknown(Setting::Mode, mode_name, modes.iter().map(|mode| mode.name).collect()))?;
    let other_mode =
        |what, name, modes| SettingsError::OtherMode { system, what, name, mode: mode.name, modes };
    if let Some(bug) = bug.filter(|bug| !bug.modes.contains(&mode.name)) {
        return Err(other_mode(Setting::Bug, bug.name, bug.modes));
    }

    let of_mode: Vec<&'static OptionSpec> =
        options.iter().filter(|option| option.modes.contains(&mode.name)).collect();
    let mut resolved: BTreeMap<String, String> =
        of_mode.iter().map(|option| (option.name.to_owned(), option.default.to_owned())).collect();
    if let Some(bug) = bug.filter(|bug| bug.scenario.mode == mode.name) {
        resolved.extend(
            bug.scenario.options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
    }
    for (name, value) in &request.options {
        let option = options.iter().find(|option| option.name == name).ok_or_else(|| {
            unknown(Setting::Option, name, of_mode.iter().map(|option| option.name).collect())
        })?;
        if !option.modes.contains(&mode.name) {
            return Err(other_mode(Setting::Option, option.name, option.modes));
        }
        if !option.values.accept(value) {
            let hint = match option.values {
                Values::Words(words) => nearest(value, words),
                Values::Whole { .. } => None,
            };
            let (given, accepted) = (value.clone(), option.values);
            return Err(SettingsError::Value { system, option: option.name, given, accepted, hint });
        }
        resolved.insert(name.clone(), value.clone());
    }
    Ok(Settings { mode: mode.name.to_owned(), options: resolved, bug: request.bug.clone() })
}
