//! A matrix as it is written: a TOML file of cells, in which lists expand to all their combinations.
//!
//! ```toml
//! [matrix]                        # about the whole
//! budget = "90m"
//!
//! [defaults]                      # for keys that cells omit
//! time-limit = "15s"
//!
//! [[cell]]                        # one run each: 2 faults × 2 seeds, so four cells
//! name = "store/raft"
//! target = "store"
//! options = { reads = "index" }
//! faults = ["partition", "kill,pause"]
//! seed = [1, 2]
//! expect = "valid"
//!
//! [[bug]]                         # a seeded bug, in the scenario that its system describes
//! target = "store"
//! bug = "stale-leader-read"
//! expect = ["stale-read"]
//! trials = 10
//! ```
//!
//! A bug without the key `bug` is one that a version of a system has: its table `control` says what the runs without it have in
//! another way, as `control = { program = "etcd=/usr/bin/etcd" }`; `what` and `source` say what was published, and where.
//! `control-allow` names anomalies that the settings of a bug's scenario entail without the bug. Every long option of
//! `duress run` is a key. `expect` is `"valid"` or the anomalies of which one must appear; `allow`
//! names others that may appear besides. A key written as a list comes into the name of each cell, as
//! `store/raft/faults=kill,pause/seed=2`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::cell::{Aim, BugGate, Cell, Expectation, Named, Published};
use super::command::RunCommand;
use super::document::{Document, DocumentError};
use super::key::{Key, RunOptions};
use super::section::{Axis, CONTROL, Own, Reader, Section};
use super::vocabulary;
use crate::cli::words::duration;

/// A file of cells, with every word of it understood.
#[derive(Clone, Debug)]
pub struct MatrixFile {
    /// The path of the file.
    pub path: PathBuf,
    /// How long all of it may take.
    pub budget: Option<Duration>,
    /// The folder of dated results that this one's are compared with.
    pub results: Option<PathBuf>,
    /// Its cells, in the order of the file.
    pub cells: Vec<Cell>,
}

/// Keys of a cell for its expected result, and not for the run.
const CELL_KEYS: [&str; 7] = ["name", "expect", "allow", "found-within", "deadline", "fast", "may-skip"];
/// The same of a bug.
const BUG_KEYS: [&str; 16] = [
    "name",
    "expect",
    "allow",
    "control-allow",
    CONTROL,
    "what",
    "source",
    "trials",
    "controls",
    "ablations",
    "minimum-rate",
    "inconclusive-allowed",
    "fast-trials",
    "deadline",
    "fast",
    "may-skip",
];
/// Keys that are taken from `[defaults]` as well.
const DEFAULT_KEYS: [&str; 9] = [
    "allow",
    "found-within",
    "trials",
    "controls",
    "ablations",
    "minimum-rate",
    "inconclusive-allowed",
    "fast-trials",
    "deadline",
];

/// The default number of trials of a bug.
const TRIALS: u32 = 5;
/// The default number of trials with the bug and without faults.
const ABLATIONS: u32 = 3;
/// The default limit of a bug's trials in the fast slice.
const FAST_TRIALS: u32 = 3;

impl MatrixFile {
    /// Reads the file at `path`, whose cells may give `options`.
    ///
    /// # Errors
    /// [`DocumentError`], pointing at the invalid word.
    pub fn read(path: &Path, options: &RunOptions) -> Result<Self, DocumentError> {
        Self::parse(&Document::read(path)?, options)
    }

    /// Parses `document`, whose cells may give `options`.
    ///
    /// # Errors
    /// [`DocumentError::Wrong`].
    pub fn parse(document: &Document, options: &RunOptions) -> Result<Self, DocumentError> {
        let table = document.table()?;
        let reader = Reader { document, options };
        let mut file =
            Self { path: document.path().to_owned(), budget: None, results: None, cells: Vec::new() };
        let mut defaults = Section::default();
        for (key, value) in &table {
            match key.get_ref().as_ref() {
                "matrix" => reader.whole(reader.table(value)?, &mut file)?,
                "defaults" => defaults = reader.section(reader.table(value)?, value.span(), &DEFAULT_KEYS)?,
                "cell" | "bug" => {}
                other => {
                    return Err(reader.unknown(other, key.span(), &["matrix", "defaults", "cell", "bug"]));
                }
            }
        }
        let mut written: Vec<(Kind, &Spanned<DeValue<'_>>)> = Vec::new();
        for (name, kind) in [("cell", Kind::Cell), ("bug", Kind::Bug)] {
            let Some((_, value)) = table.iter().find(|(key, _)| key.get_ref() == name) else { continue };
            let list = value.get_ref().as_array().ok_or_else(|| {
                document
                    .wrong(value.span(), format!("{name}s are written as [[{name}]], one after the other"))
            })?;
            written.extend(list.iter().map(|value| (kind, value)));
        }
        written.sort_by_key(|(_, value)| value.span().start);
        for (kind, value) in written {
            let keys: &[&str] = if kind == Kind::Cell { &CELL_KEYS } else { &BUG_KEYS };
            let section = reader.section(reader.table(value)?, value.span(), keys)?;
            reader.expand(kind, &section, &defaults, &mut file.cells)?;
        }
        if file.cells.is_empty() {
            return Err(document.wrong(0..0, "no cells: write at least one [[cell]] or [[bug]]"));
        }
        reader.unique(&file.cells)?;
        Ok(file)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Cell,
    Bug,
}

impl Reader<'_> {
    /// `[matrix]`.
    fn whole(&self, table: &DeTable<'_>, file: &mut MatrixFile) -> Result<(), DocumentError> {
        for (key, value) in table {
            let text = || {
                value
                    .get_ref()
                    .as_str()
                    .ok_or_else(|| self.wrong(value.span(), format!("{} is a string", key.get_ref())))
            };
            match key.get_ref().as_ref() {
                "budget" => {
                    let budget =
                        duration(text()?).map_err(|error| self.wrong(value.span(), error.to_string()))?;
                    file.budget = Some(budget);
                }
                "results" => {
                    let folder = file.path.parent().unwrap_or(Path::new("")).join(text()?);
                    file.results = Some(folder);
                }
                other => return Err(self.unknown(other, key.span(), &["budget", "results"])),
            }
        }
        Ok(())
    }

    /// Appends every cell that `section` expands to.
    fn expand(
        &self,
        kind: Kind,
        section: &Section,
        defaults: &Section,
        cells: &mut Vec<Cell>,
    ) -> Result<(), DocumentError> {
        let mut axes = section.axes.clone();
        for (key, axis) in &defaults.axes {
            if kind == Kind::Bug && axis.listed && !axes.contains_key(key) {
                // The bug's scenario may fix the value, and then the list would expand to equal cells.
                let span = axis.values[0].1.clone();
                return Err(self.wrong(span, format!("a list of {key} cannot be the default of bugs")));
            }
            axes.entry(key.clone()).or_insert_with(|| axis.clone());
        }
        let seeded = kind == Kind::Bug && section.control.is_none();
        for needed in [Some(Key::Target), seeded.then_some(Key::Bug)].into_iter().flatten() {
            if !axes.contains_key(&needed) {
                return Err(self.wrong(section.span.clone(), format!("the {needed} is missing here")));
            }
        }
        // The last key varies fastest.
        let count = axes.values().try_fold(1_usize, |count, axis| count.checked_mul(axis.values.len()));
        let Some(count) = count.filter(|count| *count <= 10_000) else {
            return Err(self.wrong(section.span.clone(), "this expands to more than 10000 cells"));
        };
        for number in 0..count {
            let mut rest = number;
            let mut chosen: BTreeMap<&Key, (&str, Range<usize>)> = BTreeMap::new();
            for (key, axis) in axes.iter().rev() {
                let (value, span) = &axis.values[rest % axis.values.len()];
                rest /= axis.values.len();
                chosen.insert(key, (value, span.clone()));
            }
            cells.push(self.cell(kind, section, defaults, &axes, &chosen)?);
        }
        Ok(())
    }

    fn cell(
        &self,
        kind: Kind,
        section: &Section,
        defaults: &Section,
        axes: &BTreeMap<Key, Axis>,
        chosen: &BTreeMap<&Key, (&str, Range<usize>)>,
    ) -> Result<Cell, DocumentError> {
        let at = |key: &Key| chosen.get(key).map_or(section.span.clone(), |(_, span)| span.clone());
        let unknown_word =
            |error: vocabulary::VocabularyError| self.wrong(at(&error.key), error.message.clone());
        let mut command = RunCommand::default();
        let mut seed = 1;
        for (key, (value, span)) in chosen {
            command.set(key, value);
            if **key == Key::Seed {
                seed = value.parse().map_err(|_| {
                    self.wrong(span.clone(), format!("the seed is \"{value}\": a whole number is expected"))
                })?;
            }
        }
        let bug = command.flags.get("bug").cloned();
        if let (Kind::Bug, Some(bug)) = (kind, &bug) {
            // The bug's own scenario outranks defaults, and keys written beside the bug outrank it.
            let scenario = vocabulary::scenario(&command.target, bug).map_err(unknown_word)?;
            let scenario = RunCommand::from_scenario(&command.target, &scenario.words())
                .map_err(|error| self.wrong(at(&Key::Bug), error.to_string()))?;
            for (key, _) in chosen.iter().filter(|(key, _)| !section.axes.contains_key(key)) {
                match key {
                    Key::Option(name) if scenario.options.contains_key(name) => {
                        command.options.remove(name);
                    }
                    key if scenario.flags.contains_key(key.name()) => {
                        command.flags.remove(key.name());
                    }
                    _ => {}
                }
            }
            command = scenario.overlaid(&command);
        }
        vocabulary::check(&command).map_err(unknown_word)?;

        let own = Own { reader: self, section, defaults };
        let named = own.named()?;
        let base = match (own.one("name")?, kind, &bug) {
            (Some((name, span)), _, _) => self.name(name, span)?,
            (None, Kind::Bug, Some(bug)) => format!("{}/{bug}", command.target),
            (None, _, _) => return Err(self.wrong(section.span.clone(), "the name is missing here")),
        };
        let aim = match kind {
            Kind::Bug => {
                let last = || base.rsplit('/').next().unwrap_or(&base).to_owned();
                let mut without = command.clone();
                without.flags.remove("bug");
                for (key, axis) in section.control.iter().flat_map(|control| &control.axes) {
                    without.set(key, &axis.values[0].0);
                }
                if without == command {
                    let message = "the control is the same run: say in `control` what it has in another way";
                    return Err(self.wrong(section.span.clone(), message));
                }
                vocabulary::check(&without).map_err(unknown_word)?;
                Aim::Bug(Box::new(own.gate(bug.unwrap_or_else(last), without, named)?))
            }
            Kind::Cell => Aim::Verdict(own.expectation(named)?),
        };
        let told = section.own.contains_key("name");
        let mut name = base;
        for (key, (value, _)) in chosen {
            let said = !told && matches!(key, Key::Target | Key::Bug);
            if axes[key].listed && !said {
                // A slash would be read as the next word of the name.
                name.push_str(&format!("/{key}={}", value.replace('/', "_per_")));
            }
        }
        Ok(Cell {
            name,
            line: self.document.line(section.span.start),
            lines: chosen
                .iter()
                .map(|(key, (_, span))| ((*key).clone(), self.document.line(span.start)))
                .collect(),
            command,
            seed,
            deadline: own.duration("deadline")?,
            fast: own.truth("fast")?,
            may_skip: own.one("may-skip")?.map(|(reason, _)| reason.to_owned()),
            aim,
        })
    }

    fn name(&self, name: &str, span: Range<usize>) -> Result<String, DocumentError> {
        let fine = |part: &str| {
            !part.is_empty()
                && !part.starts_with('.')
                && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        };
        if name.split('/').all(fine) {
            Ok(name.to_owned())
        } else {
            let rule =
                "a name is made of letters, digits, \"-\", \"_\" and \".\", with \"/\" between its words";
            Err(self.wrong(span, format!("\"{name}\" cannot be a cell's name: {rule}")))
        }
    }

    fn unique(&self, cells: &[Cell]) -> Result<(), DocumentError> {
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        let mut folders: BTreeSet<String> = BTreeSet::new();
        for cell in cells {
            if let Some(line) = seen.insert(&cell.name, cell.line) {
                return Err(self.at_line(
                    cell.line,
                    format!("the name \"{}\" is taken already, at line {line}", cell.name),
                ));
            }
            if !folders.insert(folder(&cell.name)) {
                return Err(
                    self.at_line(cell.line, format!("\"{}\" would share its folder with another", cell.name))
                );
            }
        }
        Ok(())
    }

    fn at_line(&self, line: usize, message: String) -> DocumentError {
        DocumentError::Wrong { path: self.document.path().to_owned(), line, message }
    }
}

/// Returns the folder of a cell's runs, below that of all: its name, with what archives of CI systems refuse
/// replaced.
#[must_use]
pub fn folder(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || "-_./=,+@%".contains(c) { c } else { '_' }).collect()
}

impl Own<'_> {
    fn expectation(&self, named: Named) -> Result<Expectation, DocumentError> {
        if !named.expected.is_empty() {
            return Ok(Expectation::Anomaly {
                named,
                found_within: self.count("found-within", 1)?.unwrap_or(1),
            });
        }
        for key in ["allow", "found-within"] {
            if let Some([(_, span), ..]) = self.section.own.get(key).map(Vec::as_slice) {
                return Err(self
                    .reader
                    .wrong(span.clone(), format!("{key} has no meaning where valid is expected")));
            }
        }
        Ok(Expectation::Valid)
    }

    fn gate(&self, bug: String, without: RunCommand, named: Named) -> Result<BugGate, DocumentError> {
        if named.expected.is_empty() {
            let span =
                self.several("expect").first().map_or(self.section.span.clone(), |(_, span)| span.clone());
            return Err(self.reader.wrong(span, "a bug is found by an anomaly: name those it shows as"));
        }
        let entailed = self.kinds("control-allow")?;
        if let Some(kind) = entailed.iter().find(|kind| named.expects(**kind)) {
            let span = self.several("control-allow")[0].1.clone();
            let message =
                format!("{kind} cannot prove the bug and be there without it: it is in expect as well");
            return Err(self.reader.wrong(span, message));
        }
        let trials = self.count("trials", 1)?.unwrap_or(TRIALS);
        let rate = self.parsed("minimum-rate", "a number above 0, and at most 1", |value| {
            value.parse::<f64>().ok().filter(|rate| *rate > 0.0 && *rate <= 1.0)
        })?;
        let published = match (self.one("what")?, self.one("source")?) {
            (Some((what, _)), Some((source, _))) => {
                Some(Published { what: what.to_owned(), source: source.to_owned() })
            }
            (None, None) => None,
            (Some((_, span)), None) | (None, Some((_, span))) => {
                return Err(self
                    .reader
                    .wrong(span, "`what` and `source` come together: what was published, and where"));
            }
        };
        Ok(BugGate {
            bug,
            without,
            published,
            named,
            entailed,
            trials,
            controls: self.count("controls", 0)?.unwrap_or(trials),
            ablations: self.count("ablations", 0)?.unwrap_or(ABLATIONS),
            // Found in every trial, unless the file says otherwise.
            minimum_rate: rate.unwrap_or(1.0),
            inconclusive_allowed: self.count("inconclusive-allowed", 0)?.unwrap_or(0),
            fast_trials: self.count("fast-trials", 1)?.unwrap_or(FAST_TRIALS),
        })
    }
}

#[cfg(test)]
mod tests;
