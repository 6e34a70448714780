//! A system under test: what it is, what it offers, and how it is bound to settings.

use std::collections::BTreeMap;
use std::sync::Arc;

use duress_settings::{Offer, Request, Settings, SettingsError};

use crate::deployment::Deployment;
use crate::scenario::Scenario;
use crate::topology::Topology;

/// A system under test. No target is special: our store and etcd are behind the same trait.
pub trait System: Send + Sync {
    /// What it is and offers.
    fn description(&self) -> &Description;

    /// Whether it can be started on this machine.
    ///
    /// # Errors
    /// [`MissingSystem`] says what is missing and how to get it.
    fn available(&self) -> Result<(), MissingSystem>;

    /// Binds it to settings, which [`Self::resolve`] has filled in, and to nodes. Nothing is started.
    ///
    /// # Errors
    /// [`DeployError`] for settings that were not resolved.
    fn deploy(&self, settings: &Settings, topology: &Topology) -> Result<Arc<dyn Deployment>, DeployError>;

    /// Checks what the user asked for and fills in every default. Where a seeded bug is asked for, its scenario fills in
    /// the mode and the options that are not given.
    ///
    /// # Errors
    /// [`SettingsError`] for an unknown mode, option, value or bug; it lists the accepted ones.
    fn resolve(&self, request: &Request) -> Result<Settings, SettingsError> {
        let description = self.description();
        let scenario = request.bug.as_ref().and_then(|bug| description.scenarios.get(bug));
        let preset = scenario.map(|scenario| (scenario.mode.as_str(), &scenario.options));
        description.offer.resolve(&description.name, request, preset)
    }
}

/// What a system is and offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The name on the command line.
    pub name: String,
    /// What it is, in one line.
    pub summary: String,
    /// Its modes (the first is the default), options and seeded bugs.
    pub offer: Offer,
    /// The names of the vocabularies of operations that it has clients of.
    pub vocabularies: Vec<String>,
    /// The run that finds each seeded bug.
    pub scenarios: BTreeMap<String, Scenario>,
}

/// A system whose program is not on this machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{system} cannot be started: {reason}; {remedy}")]
pub struct MissingSystem {
    /// The system.
    pub system: String,
    /// What is missing.
    pub reason: String,
    /// How to get it.
    pub remedy: String,
}

/// Settings that a system cannot be bound to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("option {option} of {system} is {given}: it must be filled in first, with a value that `duress targets` lists")]
pub struct DeployError {
    /// The system.
    pub system: String,
    /// The option.
    pub option: &'static str,
    /// What the settings say of it.
    pub given: String,
}

/// Reads the options of one deployment, once.
pub(crate) struct Reader<'a> {
    pub(crate) system: &'a str,
    pub(crate) settings: &'a Settings,
}

impl Reader<'_> {
    /// A word, which `meaning` understands.
    pub(crate) fn word<T>(
        &self,
        option: &'static str,
        meaning: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, DeployError> {
        let given = self.settings.option(option);
        given.and_then(meaning).ok_or_else(|| DeployError {
            system: self.system.to_owned(),
            option,
            given: given.map_or_else(|| "missing".to_owned(), |given| format!("\"{given}\"")),
        })
    }

    /// A whole number.
    pub(crate) fn number<T: std::str::FromStr>(&self, option: &'static str) -> Result<T, DeployError> {
        self.word(option, |value| value.parse().ok())
    }

    /// Whether the option has `value`, one of two.
    pub(crate) fn is(&self, option: &'static str, value: &str) -> Result<bool, DeployError> {
        self.word(option, |given| Some(given == value))
    }
}
