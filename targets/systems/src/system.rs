//! A system under test: its description, its offer, and its deployment with settings.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use duress_settings::{Offer, Preset, Request, Settings, SettingsError};
use serde::{Deserialize, Serialize};

use crate::deployment::Deployment;
use crate::external::ExternalNode;
use crate::scenario::Scenario;
use crate::topology::Topology;

/// A system under test. Every target, our store and etcd included, implements the same trait.
pub trait System: Send + Sync {
    /// Returns its description and offer.
    fn description(&self) -> &Description;

    /// Returns its description with settings and so many nodes, which may have fewer vocabularies and operations than others
    /// have.
    fn description_in(&self, _settings: &Settings, _nodes: usize) -> &Description {
        self.description()
    }

    /// Checks whether it can be started on this machine, with `programs` in place of those that would be
    /// found.
    ///
    /// # Errors
    /// [`MissingSystem`], with the missing program and how to get it.
    fn available(&self, programs: &BTreeMap<String, PathBuf>) -> Result<(), MissingSystem>;

    /// Returns the manifest that describes it, which the plan of a run keeps; `None` for a built-in system.
    fn manifest(&self) -> Option<&ManifestText> {
        None
    }

    /// Binds it to nodes and to the settings that [`Self::resolve`] has completed. Does not start anything.
    ///
    /// # Errors
    /// [`SettingsError`] for settings that [`Self::resolve`] did not make.
    fn deploy(&self, settings: &Settings, topology: &Topology) -> Result<Arc<dyn Deployment>, SettingsError>;

    /// Checks the user's request and fills in every default. For a seeded bug, its scenario fills in the mode
    /// and the options that are not given, if the request says so.
    ///
    /// # Errors
    /// [`SettingsError`] for an unknown mode, option, value or bug; it lists the accepted ones.
    fn resolve(&self, request: &Request) -> Result<Settings, SettingsError> {
        let description = self.description();
        let bug = request.bug.as_ref().filter(|_| request.scenario);
        let scenario = bug.and_then(|bug| description.scenarios.get(bug));
        let preset = scenario.map(|scenario| Preset { mode: &scenario.mode, options: &scenario.options });
        description.offer.resolve(&description.name, request, preset)
    }
}

/// The description of a system, and its offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The name on the command line.
    pub name: String,
    /// A summary, in one line.
    pub summary: String,
    /// Its modes (the first is the default), options and seeded bugs.
    pub offer: Offer,
    /// The names of the vocabularies of operations for which it has clients.
    pub vocabularies: Vec<String>,
    /// The operations of these vocabularies that its clients do not have, by name: workloads leave them out. [`KEYS`], if there
    /// is one object and not one for each key.
    pub lacks: Vec<String>,
    /// The switches of workloads that are on unless the user turns them off, by name.
    pub switches: Vec<String>,
    /// The run that finds each seeded bug.
    pub scenarios: BTreeMap<String, Scenario>,
    /// The number of nodes of a run that does not say it.
    pub nodes: usize,
    /// Whether nodes keep their data when they are killed. A run that does not name its faults kills no node that does not.
    pub durable: bool,
    /// The nodes of a cluster that already runs; `None` for one that a run starts.
    pub external: Option<Vec<ExternalNode>>,
}

/// Objects by key, where a system has only one.
pub const KEYS: &str = "keys";

impl Description {
    /// Whether there is one object, and not one for each key.
    #[must_use]
    pub fn has_one_object(&self) -> bool {
        self.lacks.iter().any(|lacking| lacking == KEYS)
    }
}

/// The number of nodes of a run of most systems: two may be lost, and three still agree.
pub const USUAL_NODES: usize = 5;

/// A manifest as it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestText {
    /// Its file. Its commands are carried out in the file's folder.
    pub path: PathBuf,
    /// Its content.
    pub text: String,
}

/// Checks that `program`, which the user named for `system`, is an executable file.
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
    /// The missing program, and why.
    pub reason: String,
    /// How to get it.
    pub remedy: String,
}
