//! A system that a manifest describes: a TOML file with its roles, commands, clients and promises.
//!
//! `docs/manifest.md` explains every key; the schema lists them for editors, and finds the nearest one to an unknown.

mod check;
mod clients;
mod cluster;
mod document;
mod external;
mod http_client;
mod http_operations;
mod launch;
mod layout;
mod probe;
mod problem;
mod promise;
mod template;
mod value;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use duress_settings::{Mode, Offer, OptionSpec, Settings, SettingsError, Values};
use toml::de::DeTable;

use self::cluster::ManifestCluster;
use self::document::{Document, OptionTable};
use self::problem::{Problem, SCHEMA, locate};
use crate::deployment::Deployment;
use crate::external::ExternalNode;
use crate::system::{Description, ManifestText, MissingSystem, System, USUAL_NODES, executable};
use crate::topology::Topology;

pub use self::clients::protocols_of;
pub use self::problem::ManifestError;

pub(crate) use self::document::Words;
pub(crate) use self::launch::find as find_program;
pub(crate) use self::problem::{line, unfit_key};

/// The file of a folder that holds a manifest.
pub const FILE: &str = "duress.toml";

/// The only mode of a manifest that lists none.
const ONLY_MODE: &str = "default";

/// A system that a manifest describes.
#[derive(Debug)]
pub struct Manifest {
    text: ManifestText,
    document: Arc<Document>,
    description: Description,
}

impl Manifest {
    /// Reads the manifest at `path`: a file, or a folder that holds it as [`FILE`].
    ///
    /// # Errors
    /// [`ManifestError`], when it cannot be read.
    pub fn read(path: &Path) -> Result<ManifestText, ManifestError> {
        let file = if path.is_dir() { path.join(FILE) } else { path.to_owned() };
        let failed = |error: io::Error| ManifestError {
            path: file.clone(),
            line: None,
            problem: format!(
                "cannot read the manifest: {error} (`duress init FOLDER` writes one to begin with)"
            ),
        };
        let text = fs::read_to_string(&file).map_err(failed)?;
        Ok(ManifestText { path: fs::canonicalize(&file).map_err(failed)?, text })
    }

    /// Returns the system that `manifest` describes.
    ///
    /// # Errors
    /// [`ManifestError`], with the line of the first problem.
    pub fn parse(manifest: &ManifestText) -> Result<Self, ManifestError> {
        let ManifestText { path, text } = manifest;
        let at = |place: Option<usize>, problem: String| ManifestError {
            path: path.clone(),
            line: place.map(|place| line(text, place)),
            problem,
        };
        let wrong =
            |error: &toml::de::Error| at(error.span().map(|span| span.start), error.message().to_owned());
        let table = DeTable::parse(text).map_err(|error| wrong(&error))?;
        if let Some((span, problem)) = unfit_key(table.get_ref(), "system") {
            return Err(at(Some(span.start), problem));
        }
        let mut document: Document = toml::from_str(text).map_err(|error| wrong(&error))?;
        external::complete_roles(&mut document);
        let located = |problem: Problem| at(locate(table.get_ref(), &problem.at), problem.text);
        let offer = offer(&document).map_err(located)?;
        check::check(&document, &offer).map_err(located)?;
        let description = Description {
            name: document.name.clone(),
            summary: document.summary.clone(),
            vocabularies: clients::vocabularies(&document.client),
            lacks: clients::lacks(&document.client),
            switches: Vec::new(),
            scenarios: BTreeMap::new(),
            nodes: usual_nodes(&document),
            durable: document.durable,
            external: external::nodes(&document).map(external::addressed),
            offer,
        };
        let manifest = Self { text: manifest.clone(), document: Arc::new(document), description };
        manifest.try_out().map_err(located)?;
        Ok(manifest)
    }

    /// Returns the JSON Schema of manifests.
    #[must_use]
    pub fn schema() -> &'static str {
        SCHEMA
    }

    fn folder(&self) -> &Path {
        self.text.path.parent().unwrap_or(Path::new("/"))
    }

    /// Returns the file and line of the key at `path`.
    fn place(&self, path: &[String]) -> String {
        let ManifestText { path: file, text } = &self.text;
        let at = DeTable::parse(text).ok().and_then(|table| locate(table.get_ref(), path));
        at.map_or(file.display().to_string(), |at| format!("{}:{}", file.display(), line(text, at)))
    }

    /// Says that a program is missing that the key at `at` names.
    fn missing(&self, at: &[String], what: &str, reason: &str, other: &str) -> MissingSystem {
        MissingSystem {
            system: self.description.name.clone(),
            reason: format!("{}: the {what} {reason}", self.place(at)),
            remedy: match &self.document.install {
                Some(install) => format!("install it: {install}"),
                None => format!("install it, or {other}"),
            },
        }
    }

    /// Returns the commands that ask nodes and prepare the cluster: where they are, what their programs are, and what else to do
    /// if one is missing.
    fn asking(&self) -> impl Iterator<Item = (Vec<String>, &Words, &'static str, String)> {
        let Document { ready, status, roles, prepares, .. } = &*self.document;
        let mut tables = vec![(Vec::new(), Some(ready), status.as_ref())];
        for (at, role) in roles.iter().enumerate() {
            let within = vec!["role".to_owned(), at.to_string()];
            tables.push((within, role.ready.as_ref(), role.status.as_ref()));
        }
        let mut all: Vec<(Vec<String>, &Words)> = Vec::new();
        for (within, ready, status) in tables {
            let path = |table: &str| [&within[..], &[table.to_owned(), "command".to_owned()]].concat();
            let of_ready = ready.and_then(|ready| ready.command.as_ref());
            let of_status = status.and_then(|status| status.command.as_ref());
            all.extend(of_ready.map(|words| (path("ready"), words)));
            all.extend(of_status.map(|words| (path("status"), words)));
        }
        for (at, prepare) in prepares.iter().enumerate() {
            all.push((vec!["prepare".to_owned(), at.to_string(), "command".to_owned()], &prepare.command));
        }
        all.into_iter().map(|(at, words)| (at, words, "program", "change the command".to_owned()))
    }

    /// Completes every template of every mode once, so that a mistake in one is found before anything starts.
    fn try_out(&self) -> Result<(), Problem> {
        for mode in &self.description.offer.modes {
            let request = duress_settings::Request {
                mode: Some(mode.name.clone()),
                nodes: self.description.nodes,
                ..Default::default()
            };
            let nowhere = |error: SettingsError| Problem { at: Vec::new(), text: error.to_string() };
            let settings = self.resolve(&request).map_err(nowhere)?;
            let topology = match &self.description.external {
                Some(nodes) => Topology { nodes: nodes.iter().map(ExternalNode::node).collect() },
                None => layout::example(self.description.nodes),
            };
            self.cluster(&settings, &topology)?.try_out()?;
        }
        Ok(())
    }

    fn cluster(&self, settings: &Settings, topology: &Topology) -> Result<ManifestCluster, Problem> {
        ManifestCluster::new(Arc::clone(&self.document), self.folder(), settings, topology)
    }
}

impl System for Manifest {
    fn description(&self) -> &Description {
        &self.description
    }

    fn manifest(&self) -> Option<&ManifestText> {
        Some(&self.text)
    }

    fn available(&self, programs: &BTreeMap<String, PathBuf>) -> Result<(), MissingSystem> {
        let name = &self.description.name;
        for program in programs.values() {
            executable(name, program)?;
        }
        let roles = self.document.roles.iter().enumerate().filter(|_| self.description.external.is_none());
        let roles = roles.filter(|(_, role)| !programs.contains_key(&role.name)).map(|(at, role)| {
            let other = format!("name another with --program {}=PATH", role.name);
            (vec!["role".to_owned(), at.to_string(), "command".to_owned()], &role.command, "program", other)
        });
        let beside = self.document.programs.iter().filter(|program| !program.contains('{'));
        if let Some(reason) = beside.map(|program| launch::find(self.folder(), program)).find_map(Result::err)
        {
            return Err(self.missing(&["programs".to_owned()], "program", &reason, "change `programs`"));
        }
        for (at, role) in self.document.roles.iter().enumerate() {
            if let Some(user) = role.user.as_deref().filter(|user| launch::user(user).is_none()) {
                let place = self.place(&["role".to_owned(), at.to_string(), "user".to_owned()]);
                return Err(MissingSystem {
                    system: name.clone(),
                    reason: format!("{place}: {}", launch::no_user(user)),
                    remedy: launch::NO_USER_REMEDY.to_owned(),
                });
            }
        }
        let client = self.document.client.command.iter().map(|command| {
            let other = "name another in [client]".to_owned();
            (vec!["client".to_owned(), "command".to_owned()], command, "client program", other)
        });
        let faults = self.document.faults.iter().enumerate().flat_map(|(at, fault)| {
            let commands = [("inject", &fault.inject), ("heal", &fault.heal), ("evidence", &fault.evidence)];
            commands.into_iter().filter_map(move |(key, command)| {
                let path = vec!["fault".to_owned(), at.to_string(), key.to_owned()];
                Some((
                    path,
                    command.as_ref()?,
                    "program of the fault",
                    "name another in [[fault]]".to_owned(),
                ))
            })
        });
        for (at, command, what, other) in roles.chain(client).chain(faults).chain(self.asking()) {
            let words = command.list();
            // A template in its place is completed later.
            let Some(program) = words.first().filter(|program| !program.contains('{')) else { continue };
            if let Err(reason) = launch::find(self.folder(), program) {
                return Err(self.missing(&at, what, &reason, &other));
            }
        }
        Ok(())
    }

    fn deploy(&self, settings: &Settings, topology: &Topology) -> Result<Arc<dyn Deployment>, SettingsError> {
        // What depends on the settings of a run, or on its number of nodes: the rest was tried out.
        let unfit = |problem: Problem| SettingsError::Unfit {
            owner: self.description.name.clone(),
            reason: format!("{}: {}", self.place(&problem.at), problem.text),
        };
        Ok(Arc::new(self.cluster(settings, topology).map_err(unfit)?))
    }
}

/// Returns the number of nodes of a run that does not say it.
fn usual_nodes(document: &Document) -> usize {
    if let Some(nodes) = external::nodes(document) {
        return nodes.len();
    }
    let fixed: usize = document.roles.iter().filter_map(|role| role.nodes).sum();
    let open = document.roles.iter().any(|role| role.nodes.is_none());
    document.nodes.unwrap_or(if open { USUAL_NODES.max(fixed + 1) } else { fixed })
}

fn offer(document: &Document) -> Result<Offer, Problem> {
    let mut modes: Vec<(&String, _)> = document.modes.iter().collect();
    modes.sort_by_key(|(_, mode)| !mode.default);
    let mode = |name: &str, summary: &str| Mode {
        name: name.to_owned(),
        summary: summary.to_owned(),
        promises: promise::words(document, name),
    };
    let mut modes: Vec<Mode> = modes.into_iter().map(|(name, table)| mode(name, &table.summary)).collect();
    if modes.is_empty() {
        modes.push(mode(ONLY_MODE, "as the manifest has it"));
    }
    let all: Vec<String> = modes.iter().map(|mode| mode.name.clone()).collect();
    let options = document.options.iter().map(|(name, option)| option_spec(name, option, &all));
    Ok(Offer {
        options: options.collect::<Result<_, _>>()?,
        modes,
        bugs: Vec::new(),
        // No program of a cluster that already runs is started.
        programs: match external::nodes(document) {
            Some(_) => Vec::new(),
            None => document.roles.iter().map(|role| role.name.clone()).collect(),
        },
    })
}

fn option_spec(name: &str, option: &OptionTable, modes: &[String]) -> Result<OptionSpec, Problem> {
    if let (Some(min), Some(max)) = (option.min, option.max)
        && min > max
    {
        return Err(Problem::at(["options", name, "min"], format!("no number is from {min} to {max}")));
    }
    if let Some(twice) =
        option.values.iter().enumerate().find(|(at, value)| option.values[..*at].contains(value))
    {
        return Err(Problem::at(["options", name, "values"], format!("\"{}\" is there twice", twice.1)));
    }
    let values = match (&option.values[..], option.min, option.max) {
        ([], None, None) => {
            let needs = "an option has values, or min and max";
            return Err(Problem::at(["options", name], needs));
        }
        ([], min, max) => Values::Whole { min: min.unwrap_or(0), max: max.unwrap_or(u64::MAX) },
        (words, None, None) => Values::Words(words.to_vec()),
        (words, min, max) => Values::WordsOrWhole {
            words: words.to_vec(),
            min: min.unwrap_or(0),
            max: max.unwrap_or(u64::MAX),
        },
    };
    for (key, value) in
        std::iter::once(("default", &option.default)).chain(option.drawn.iter().map(|value| ("drawn", value)))
    {
        if !values.accept(value) {
            return Err(Problem::at(
                ["options", name, key],
                format!("\"{value}\" is none of its values: {values}"),
            ));
        }
    }
    let modes = option.modes.clone().unwrap_or_else(|| modes.to_vec());
    Ok(OptionSpec {
        name: name.to_owned(),
        values,
        default: option.default.clone(),
        summary: option.summary.clone(),
        modes,
        drawn: option.drawn.clone(),
    })
}
