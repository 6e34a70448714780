//! A system under test: what it is, what it offers, and how it is bound to settings.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use duress_settings::{Offer, Preset, Request, Settings, SettingsError};

use crate::deployment::Deployment;
use crate::scenario::Scenario;
use crate::topology::Topology;

/// A system under test. No target is special: our store and etcd are behind the same trait.
pub trait System: Send + Sync {
    /// What it is and offers.
    fn description(&self) -> &Description;

    /// Whether it can be started on this machine, with these `programs` in the place of those that would be found.
    ///
    /// # Errors
    /// [`MissingSystem`] says what is missing and how to get it.
    fn available(&self, programs: &BTreeMap<String, PathBuf>) -> Result<(), MissingSystem>;

    /// Binds it to settings, which [`Self::resolve`] has filled in, and to nodes. Nothing is started.
    ///
    /// # Errors
    /// [`SettingsError`] for settings that [`Self::resolve`] did not make.
    fn deploy(&self, settings: &Settings, topology: &Topology) -> Result<Arc<dyn Deployment>, SettingsError>;

    /// Checks what the user asked for and fills in every default. Where a seeded bug is asked for, its scenario fills in
    /// the mode and the options that are not given.
    ///
    /// # Errors
    /// [`SettingsError`] for an unknown mode, option, value or bug; it lists the accepted ones.
    fn resolve(&self, request: &Request) -> Result<Settings, SettingsError> {
        let description = self.description();
        let scenario = request.bug.as_ref().and_then(|bug| description.scenarios.get(bug));
        let preset = scenario.map(|scenario| Preset { mode: &scenario.mode, options: &scenario.options });
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

/// Whether `program`, which the user named for `system`, is a program.
///
/// # Errors
/// [`MissingSystem`].
pub(crate) fn executable(system: &str, program: &Path) -> Result<(), MissingSystem> {
    let mode = program.metadata().map(|metadata| (metadata.is_file(), metadata.permissions().mode()));
    let reason = match mode {
        Ok((true, mode)) if mode & 0o111 != 0 => return Ok(()),
        Ok(_) => format!("{} cannot be executed", program.display()),
        Err(error) => format!("{}: {error}", program.display()),
    };
    let remedy = "give --program the path of a program".to_owned();
    Err(MissingSystem { system: system.to_owned(), reason, remedy })
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
