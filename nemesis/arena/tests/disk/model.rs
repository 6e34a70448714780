//! Random histories on a disk and on a model of one: files, directories, fsyncs and power losses.
//!
//! The model knows nothing of blocks or logs. A file is its bytes and its durable bytes; names are a tree and
//! a durable tree.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use duress_arena::disk::{DiskOptions, Keep, Semantics};
use libtest_mimic::Trial;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use crate::fixture::{Stage, number, runs, tree};

const BLOCK: usize = 4096;

pub fn register(trials: &mut Vec<Trial>) {
    trials.push(Trial::test("model::journal_semantics_keep_what_was_committed", || {
        run(Semantics::Journal, Moves::All, Keep::Nothing);
        Ok(())
    }));
    trials.push(Trial::test("model::strict_semantics_keep_what_was_synced", || {
        run(Semantics::Strict, Moves::FilesOnly, Keep::Nothing);
        Ok(())
    }));
    trials.push(Trial::test("model::torn_power_loss_keeps_a_prefix_of_names_and_some_blocks", || {
        run(Semantics::Journal, Moves::All, Keep::RandomSubset);
        Ok(())
    }));
}

/// The files that may be renamed.
#[derive(Clone, Copy, PartialEq)]
enum Moves {
    All,
    /// A directory synced in one place and not in the other is in both or neither, which a tree cannot say.
    FilesOnly,
}

#[derive(Clone, Debug)]
enum Operation {
    Create(usize),
    Write { file: usize, offset: usize, length: usize, fill: u8 },
    Append { file: usize, length: usize, fill: u8 },
    Truncate { file: usize, size: usize },
    Fsync(usize),
    FsyncDirectory(usize),
    Unlink(usize),
    Link(usize, usize),
    Rename(usize, usize),
    Exchange(usize, usize),
    MakeDirectory(usize),
    RemoveDirectory(usize),
    RenameDirectory(usize, usize),
    PowerLoss,
}

const FILES: [&str; 7] = ["a", "b", "d/a", "d/b", "d/e/a", "f/a", "f/b"];
const DIRECTORIES: [&str; 5] = ["", "d", "d/e", "f", "f/g"];

fn operation(moves: Moves) -> impl Strategy<Value = Operation> {
    // Some files more often than others, so that much happens to the same.
    let file = || prop_oneof![3 => 0..2_usize, 1 => 0..FILES.len()];
    let directory = || 1..DIRECTORIES.len();
    let size = || prop_oneof![0..20_000_usize, Just(0), Just(BLOCK), Just(2 * BLOCK)];
    prop_oneof![
        8 => file().prop_map(Operation::Create),
        16 => (file(), size(), 1..9_000_usize, 1..=255_u8)
            .prop_map(|(file, offset, length, fill)| Operation::Write { file, offset, length, fill }),
        8 => (file(), 1..3_000_usize, 1..=255_u8)
            .prop_map(|(file, length, fill)| Operation::Append { file, length, fill }),
        5 => (file(), size()).prop_map(|(file, size)| Operation::Truncate { file, size }),
        5 => file().prop_map(Operation::Fsync),
        3 => (0..DIRECTORIES.len()).prop_map(Operation::FsyncDirectory),
        3 => file().prop_map(Operation::Unlink),
        2 => (file(), file()).prop_map(|(from, to)| Operation::Link(from, to)),
        4 => (file(), file()).prop_map(|(from, to)| Operation::Rename(from, to)),
        1 => (file(), file()).prop_map(|(from, to)| Operation::Exchange(from, to)),
        4 => directory().prop_map(Operation::MakeDirectory),
        1 => directory().prop_map(Operation::RemoveDirectory),
        2 => (directory(), directory())
            .prop_map(move |(from, to)| Operation::RenameDirectory(from, if moves == Moves::All { to } else { from })),
        2 => Just(Operation::PowerLoss),
    ]
}

fn run(semantics: Semantics, moves: Moves, keep: Keep) {
    let config =
        Config { cases: number("DURESS_DISK_CASES", 60), failure_persistence: None, ..Config::default() };
    let histories = (proptest::collection::vec(operation(moves), 1..60), any::<u64>());
    let result = TestRunner::new(config).run(&histories, |(operations, seed)| {
        let stage = Stage::with(DiskOptions { semantics, ..DiskOptions::new(seed) });
        let mut model = Model::new(semantics);
        for operation in operations.iter().chain([&Operation::PowerLoss]) {
            if matches!(operation, Operation::PowerLoss) {
                let undone = stage
                    .disk()
                    .power_loss(keep)
                    .map_err(|error| TestCaseError::fail(format!("{error:?}")))?;
                prop_assert_eq!(undone.stale_handles, 0);
                let found = tree(stage.disk().mount_point());
                prop_assert_eq!(
                    &found,
                    &tree(&stage.disk().files()),
                    "the mount shows what is in the backing folder"
                );
                match keep {
                    Keep::Nothing => model.lose_power(),
                    Keep::RandomSubset => model.adopt_torn(&found)?,
                }
                prop_assert_eq!(shorten(&found), shorten(&model.tree()));
            } else {
                let done = apply(&|name: &str| stage.path(name), operation);
                let expected = model.apply(operation);
                prop_assert_eq!(done.is_ok(), expected.is_some(), "{:?}: {:?}", operation, done);
            }
        }
        prop_assert!(stage.close().path().join("backing/files").exists());
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

/// Long contents as a few runs, so that a failure can be read.
fn shorten(tree: &[(String, Vec<u8>)]) -> Vec<(String, Vec<(usize, u8)>)> {
    tree.iter().map(|(name, content)| (name.clone(), runs(content))).collect()
}

/// Performs `operation` on the disk. Closes every file.
fn apply(path: &dyn Fn(&str) -> PathBuf, operation: &Operation) -> std::io::Result<()> {
    let file = |file: usize| path(FILES[file]);
    let open = |file: usize| OpenOptions::new().write(true).open(path(FILES[file]));
    match *operation {
        Operation::Create(name) => OpenOptions::new().write(true).create_new(true).open(file(name)).map(drop),
        Operation::Write { file, offset, length, fill } => {
            open(file)?.write_all_at(&vec![fill; length], offset as u64)
        }
        Operation::Append { file: name, length, fill } => {
            OpenOptions::new().append(true).open(file(name))?.write_all(&vec![fill; length])
        }
        Operation::Truncate { file, size } => open(file)?.set_len(size as u64),
        Operation::Fsync(file) => open(file)?.sync_all(),
        Operation::FsyncDirectory(directory) => File::open(path(DIRECTORIES[directory]))?.sync_all(),
        Operation::Unlink(name) => fs::remove_file(file(name)),
        Operation::Link(from, to) => fs::hard_link(file(from), file(to)),
        Operation::Rename(from, to) => fs::rename(file(from), file(to)),
        Operation::Exchange(from, to) => exchange(&file(from), &file(to)),
        Operation::MakeDirectory(directory) => fs::create_dir(path(DIRECTORIES[directory])),
        Operation::RemoveDirectory(directory) => fs::remove_dir(path(DIRECTORIES[directory])),
        Operation::RenameDirectory(from, to) => fs::rename(path(DIRECTORIES[from]), path(DIRECTORIES[to])),
        Operation::PowerLoss => Ok(()),
    }
}

fn exchange(a: &Path, b: &Path) -> std::io::Result<()> {
    use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
    Ok(renameat2(AT_FDCWD, a, AT_FDCWD, b, RenameFlags::RENAME_EXCHANGE)?)
}

/// Directories by number, each with its names; the root is 0.
type Names = BTreeMap<u32, BTreeMap<String, u32>>;

#[derive(Clone, Default)]
struct Contents {
    current: Vec<u8>,
    durable: Vec<u8>,
    /// Sizes set and not durable yet.
    resized: Vec<Resized>,
}

#[derive(Clone, Copy)]
struct Resized {
    /// The number of the metadata operation that did it.
    place: usize,
    size: usize,
    shrinks: bool,
}

struct Model {
    semantics: Semantics,
    names: Names,
    durable: Names,
    /// The names after each metadata operation since the last commit.
    history: Vec<Names>,
    files: BTreeMap<u32, Contents>,
    next: u32,
}

impl Model {
    fn new(semantics: Semantics) -> Self {
        let names = Names::from([(0, BTreeMap::new())]);
        let (durable, history) = (names.clone(), Vec::new());
        Self { semantics, names, durable, history, files: BTreeMap::new(), next: 1 }
    }

    /// Performs `operation`; `None` when it is impossible.
    fn apply(&mut self, operation: &Operation) -> Option<()> {
        match *operation {
            Operation::Create(name) => {
                let (parent, name) = self.vacant(FILES[name])?;
                let number = self.number();
                self.files.insert(number, Contents::default());
                self.set(parent, name, Some(number));
                self.note();
            }
            Operation::Write { file, offset, length, fill } => {
                let contents = self.file(FILES[file])?;
                contents.current.resize(contents.current.len().max(offset + length), 0);
                contents.current[offset..offset + length].fill(fill);
            }
            Operation::Append { file, length, fill } => {
                let contents = self.file(FILES[file])?;
                contents.current.resize(contents.current.len() + length, fill);
            }
            Operation::Truncate { file, size } => {
                let place = self.history.len();
                let contents = self.file(FILES[file])?;
                if contents.current.len() != size {
                    contents.resized.push(Resized { place, size, shrinks: size < contents.current.len() });
                    contents.current.resize(size, 0);
                    self.note();
                }
            }
            Operation::Fsync(file) => {
                let contents = self.file(FILES[file])?;
                contents.durable = contents.current.clone();
                contents.resized.clear();
                if self.semantics == Semantics::Journal {
                    self.commit();
                }
            }
            Operation::FsyncDirectory(directory) => {
                let number = self.directory(DIRECTORIES[directory])?;
                match self.semantics {
                    Semantics::Journal => self.commit(),
                    Semantics::Strict => {
                        self.durable.insert(number, self.names[&number].clone());
                    }
                }
            }
            Operation::Unlink(name) => {
                self.file(FILES[name])?;
                let (parent, name) = self.split(FILES[name])?;
                self.set(parent, name, None);
                self.note();
            }
            Operation::Link(from, to) => {
                self.file(FILES[from])?;
                let number = self.find(FILES[from])?;
                let (parent, name) = self.vacant(FILES[to])?;
                self.set(parent, name, Some(number));
                self.note();
            }
            Operation::Rename(from, to) => {
                let ((from_parent, from_name), (to_parent, to_name)) =
                    (self.split(FILES[from])?, self.split(FILES[to])?);
                self.file(FILES[from])?;
                let number = self.find(FILES[from])?;
                match self.find(FILES[to]) {
                    Some(same) if same == number => return Some(()),
                    Some(directory) if self.names.contains_key(&directory) => return None,
                    _ => {}
                }
                self.set(from_parent, from_name, None);
                self.set(to_parent, to_name, Some(number));
                self.note();
            }
            Operation::Exchange(from, to) => {
                let (a, b) = (self.find(FILES[from])?, self.find(FILES[to])?);
                let ((a_parent, a_name), (b_parent, b_name)) =
                    (self.split(FILES[from])?, self.split(FILES[to])?);
                if from != to && a != b {
                    self.set(a_parent, a_name, Some(b));
                    self.set(b_parent, b_name, Some(a));
                    self.note();
                }
            }
            Operation::MakeDirectory(directory) => {
                let (parent, name) = self.vacant(DIRECTORIES[directory])?;
                let number = self.number();
                self.names.insert(number, BTreeMap::new());
                self.set(parent, name, Some(number));
                self.note();
            }
            Operation::RemoveDirectory(directory) => {
                let number = self.directory(DIRECTORIES[directory])?;
                if !self.names[&number].is_empty() {
                    return None;
                }
                let (parent, name) = self.split(DIRECTORIES[directory])?;
                self.set(parent, name, None);
                self.note();
            }
            Operation::RenameDirectory(from, to) => {
                let (from, to) = (DIRECTORIES[from], DIRECTORIES[to]);
                let number = self.directory(from)?;
                let (from_parent, from_name) = self.split(from)?;
                let (to_parent, to_name) = self.split(to)?;
                if from == to {
                    return Some(());
                }
                // Into itself, or over a parent, which holds it.
                if to.starts_with(&format!("{from}/")) {
                    return None;
                }
                if let Some(target) = self.find(to)
                    && !self.names.get(&target)?.is_empty()
                {
                    return None;
                }
                self.set(from_parent, from_name, None);
                self.set(to_parent, to_name, Some(number));
                self.note();
            }
            Operation::PowerLoss => {}
        }
        Some(())
    }

    fn number(&mut self) -> u32 {
        self.next += 1;
        self.next
    }

    fn set(&mut self, parent: u32, name: String, target: Option<u32>) {
        let names = self.names.entry(parent).or_default();
        match target {
            Some(target) => names.insert(name, target),
            None => names.remove(&name),
        };
    }

    /// A metadata operation is done.
    fn note(&mut self) {
        self.history.push(self.names.clone());
    }

    fn commit(&mut self) {
        self.durable = self.names.clone();
        self.history.clear();
        for contents in self.files.values_mut() {
            contents.resize_durable(usize::MAX);
        }
    }

    fn lose_power(&mut self) {
        self.names = self.durable.clone();
        // A directory that was never synced itself has no durable names, but may be reached.
        let known: Vec<u32> = self.names.values().flat_map(|names| names.values().copied()).collect();
        for number in known {
            if !self.files.contains_key(&number) {
                self.names.entry(number).or_default();
            }
        }
        self.durable = self.names.clone();
        self.history.clear();
        for contents in self.files.values_mut() {
            contents.current = contents.durable.clone();
            contents.resized.clear();
        }
    }

    /// Checks that `found` is a possible result of a torn power loss, and continues from there.
    fn adopt_torn(&mut self, found: &[(String, Vec<u8>)]) -> Result<(), TestCaseError> {
        let states: Vec<Names> =
            [self.durable.clone()].into_iter().chain(self.history.iter().cloned()).collect();
        let shape: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        let mut complaints = String::new();
        for (committed, names) in states.iter().enumerate() {
            let listed = list(names);
            if listed.iter().map(|(name, _)| name.as_str()).ne(shape.iter().copied()) {
                continue;
            }
            let mut wrong = None;
            for ((name, number), (_, content)) in listed.iter().zip(found) {
                if let Some(file) = self.files.get(number)
                    && let Err(complaint) = file.may_be_torn_to(committed, content)
                {
                    wrong = Some(format!("after {committed} operations, {name}: {complaint}; "));
                }
            }
            match wrong {
                Some(wrong) => complaints.push_str(&wrong),
                None => {
                    for ((_, number), (_, content)) in listed.iter().zip(found) {
                        if let Some(file) = self.files.get_mut(number) {
                            *file = Contents {
                                current: content.clone(),
                                durable: content.clone(),
                                resized: Vec::new(),
                            };
                        }
                    }
                    self.durable = names.clone();
                    self.history.clear();
                    self.lose_power();
                    return Ok(());
                }
            }
        }
        Err(TestCaseError::fail(format!(
            "no state of {} may be torn to this: {complaints}{:?}",
            states.len(),
            shorten(found)
        )))
    }

    fn tree(&self) -> Vec<(String, Vec<u8>)> {
        let content =
            |number: u32| self.files.get(&number).map_or_else(Vec::new, |file| file.current.clone());
        list(&self.names).into_iter().map(|(name, number)| (name, content(number))).collect()
    }

    fn find(&self, path: &str) -> Option<u32> {
        path.split('/')
            .filter(|part| !part.is_empty())
            .try_fold(0, |at, part| self.names.get(&at)?.get(part).copied())
    }

    fn split(&self, path: &str) -> Option<(u32, String)> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        Some((self.directory(parent)?, name.to_owned()))
    }

    fn vacant(&self, path: &str) -> Option<(u32, String)> {
        let place = self.split(path)?;
        self.find(path).is_none().then_some(place)
    }

    fn directory(&self, path: &str) -> Option<u32> {
        self.find(path).filter(|number| self.names.contains_key(number))
    }

    fn file(&mut self, path: &str) -> Option<&mut Contents> {
        let number = self.find(path)?;
        self.files.get_mut(&number)
    }
}

impl Contents {
    /// Returns the durable bytes once the metadata operations before `committed` are.
    fn durable_after(&self, committed: usize) -> Vec<u8> {
        let mut durable = self.durable.clone();
        for resized in self.resized.iter().filter(|resized| resized.place < committed) {
            durable.resize(resized.size, 0);
        }
        durable
    }

    fn resize_durable(&mut self, committed: usize) {
        self.durable = self.durable_after(committed);
        self.resized.clear();
    }

    /// Whether every block of `content` is the durable one or the current one, and the size between the two.
    fn may_be_torn_to(&self, committed: usize, content: &[u8]) -> Result<(), String> {
        let durable = self.durable_after(committed);
        // Data written after a cut goes to another place: without the cut, neither it nor the new size can be
        // found.
        let cuts = self.resized.iter().filter(|resized| resized.place >= committed && resized.shrinks);
        let first_cut = cuts.map(|resized| resized.size.div_ceil(BLOCK)).min();
        let least = durable.len();
        let most = if first_cut.is_some() { least } else { self.current.len().max(least) };
        if content.len() < least || content.len() > most {
            return Err(format!("{} bytes are not between {least} and {most}", content.len()));
        }
        let block = |bytes: &[u8], number: usize, length: usize| {
            let start = (number * BLOCK).min(bytes.len());
            let mut block = bytes[start..(start + BLOCK).min(bytes.len())].to_vec();
            block.resize(BLOCK, 0);
            block.truncate(length);
            block
        };
        for (number, found) in content.chunks(BLOCK).enumerate() {
            if found != block(&durable, number, found.len())
                && found != block(&self.current, number, found.len())
            {
                return Err(format!("block {number} is neither the old nor the new one"));
            }
        }
        Ok(())
    }
}

/// Returns every name that can be reached, sorted as the fixture's.
fn list(names: &Names) -> Vec<(String, u32)> {
    let mut listed = Vec::new();
    let mut directories = vec![(0, String::new())];
    while let Some((directory, prefix)) = directories.pop() {
        for (name, number) in names.get(&directory).into_iter().flatten() {
            if names.contains_key(number) {
                listed.push((format!("{prefix}{name}/"), *number));
                directories.push((*number, format!("{prefix}{name}/")));
            } else {
                listed.push((format!("{prefix}{name}"), *number));
            }
        }
    }
    listed.sort();
    listed
}
