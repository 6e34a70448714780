//! The states that a crash may leave: the durable image, and unsynced data that may have survived.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::ffi::OsString;
use std::fmt;
use std::path::Path;

use super::super::file_log::BLOCK;
use super::super::journal::{Change, Sequence};
use super::image::{BuildError, Content, Image};
use super::recording::{FileKind, Mark, RecordedOperation, Recording, Requests};

/// A regular file.
#[derive(Clone, Debug, Default)]
struct File {
    /// The durable content.
    synced: Content,
    /// The content that programs see.
    now: Content,
    /// The blocks written since then, each with the cut before it that was not durable yet, if there was one.
    dirty: BTreeMap<u64, Option<Sequence>>,
    /// The last cut, as long as it is not durable.
    cut: Option<Sequence>,
}

impl File {
    fn write(&mut self, touched: std::ops::Range<u64>) {
        for number in touched {
            self.dirty.entry(number).or_insert(self.cut);
        }
    }

    fn resize(&mut self, size: u64, sequence: Sequence) {
        if size < self.now.size {
            self.write(size / BLOCK..self.synced.size.max(size).div_ceil(BLOCK));
            let (durable, end) = (self.synced.size, size);
            self.dirty.retain(|number, _| number * BLOCK < end.max(durable));
            for (_, after) in self.dirty.range_mut(size.div_ceil(BLOCK)..) {
                *after = Some(sequence);
            }
            self.cut = Some(sequence);
        }
        self.now.resize(size);
    }

    fn sync(&mut self) {
        *self = Self { synced: self.now.clone(), now: std::mem::take(&mut self.now), ..Self::default() };
    }

    /// Makes the size that an operation gave the file durable.
    fn commit_size(&mut self, size: u64, sequence: Sequence) {
        self.synced.resize(size);
        let now = self.now.size;
        self.dirty.retain(|number, _| number * BLOCK < size.max(now));
        for after in self.dirty.values_mut().chain([&mut self.cut]) {
            if after.is_some_and(|cut| cut <= sequence) {
                *after = None;
            }
        }
    }
}

/// Data that may have reached the disk without a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Unsynced {
    /// A block of a file, as it is now.
    Block { file: u64, number: u64 },
    /// The growth of a file to the end of this block, or to its own end, without the contents.
    End { file: u64, number: u64 },
}

/// A disk at some moment of a recording.
#[derive(Clone, Debug, Default)]
struct Model {
    kinds: BTreeMap<u64, FileKind>,
    names: BTreeMap<(u64, OsString), u64>,
    files: BTreeMap<u64, File>,
    /// The changes that the journal has not committed.
    pending: Vec<(Sequence, Vec<Change>)>,
    last: Sequence,
}

impl Model {
    fn apply(&mut self, operation: &RecordedOperation) {
        match operation {
            RecordedOperation::New { file, kind } => {
                self.kinds.insert(*file, kind.clone());
                if *kind == FileKind::Regular {
                    self.files.insert(*file, File::default());
                }
            }
            RecordedOperation::Changes(changes) => {
                self.last += 1;
                for change in changes {
                    if let Change::Size { inode, size } = change
                        && let Some(file) = self.files.get_mut(&inode.0)
                    {
                        file.resize(*size, self.last);
                    }
                }
                self.pending.push((self.last, changes.clone()));
            }
            RecordedOperation::Write { file, offset, data } => {
                if let Some(file) = self.files.get_mut(file) {
                    let touched = file.now.write(*offset, data);
                    file.write(touched);
                }
            }
            RecordedOperation::Extend { file, size } => {
                if let Some(file) = self.files.get_mut(file) {
                    let grown = file.now.size..file.now.size.max(*size);
                    file.now.size = grown.end;
                }
            }
            RecordedOperation::Sync { file } => {
                if let Some(file) = self.files.get_mut(file) {
                    file.sync();
                }
                self.commit(usize::MAX);
            }
            RecordedOperation::Mark(_) => {}
        }
    }

    /// Makes the first `count` changes durable.
    fn commit(&mut self, count: usize) {
        for (sequence, changes) in self.pending.drain(..count.min(self.pending.len())) {
            for change in changes {
                match change {
                    Change::Name { directory, name, target: Some(target) } => {
                        self.names.insert((directory.0, name), target.0);
                    }
                    Change::Name { directory, name, target: None } => {
                        self.names.remove(&(directory.0, name));
                    }
                    Change::Size { inode, size } => {
                        // A file that has been synced since has nothing left to commit.
                        let file = self.files.get_mut(&inode.0);
                        if let Some(file) = file.filter(|file| file.cut.is_some() || file.synced != file.now)
                        {
                            file.commit_size(size, sequence);
                        }
                    }
                    Change::Attributes { .. } => {}
                }
            }
        }
    }

    fn image(&self) -> Image {
        let contents = self.files.iter().map(|(number, file)| (*number, file.synced.clone())).collect();
        Image { kinds: self.kinds.clone(), names: self.names.clone(), contents }
    }

    /// Returns the unsynced data that may survive, in the order of files and blocks.
    fn unsynced(&self) -> Vec<Unsynced> {
        let visible: BTreeSet<u64> = self.image().visible().into_iter().map(|(_, file)| file).collect();
        let mut found = Vec::new();
        for (number, file) in self.files.iter().filter(|(number, _)| visible.contains(number)) {
            let (durable, now) = (file.synced.size, file.now.size);
            let may_grow = file.cut.is_none() && now > durable;
            let reach = if may_grow { now } else { durable.min(now) };
            for (block, after) in &file.dirty {
                if after.is_none() && block * BLOCK < reach {
                    found.push(Unsynced::Block { file: *number, number: *block });
                }
            }
            if may_grow {
                // Reserved space is extended in one step, however many blocks that are.
                let ends = file.dirty.keys().copied().filter(|block| (block + 1) * BLOCK > durable);
                let last = (now - 1) / BLOCK;
                let ends: BTreeSet<u64> = ends.filter(|block| *block < last).chain([last]).collect();
                found.extend(ends.into_iter().map(|block| Unsynced::End { file: *number, number: block }));
            }
        }
        found
    }

    /// Returns the durable image with the data that survives.
    fn image_with<'a>(&self, survivors: impl Iterator<Item = &'a Unsynced>) -> Image {
        let mut image = self.image();
        for survivor in survivors {
            let (Unsynced::Block { file, number } | Unsynced::End { file, number }) = survivor;
            let (Some(state), Some(content)) = (self.files.get(file), image.contents.get_mut(file)) else {
                continue;
            };
            // A block that the durable file reaches may be new although the file has not grown.
            let grows = matches!(survivor, Unsynced::End { .. }) || number * BLOCK >= state.synced.size;
            if state.cut.is_none() && grows {
                content.size = content.size.max(((number + 1) * BLOCK).min(state.now.size));
            }
            if matches!(survivor, Unsynced::Block { .. }) {
                content.blocks.insert(*number, state.now.block(*number));
            }
        }
        for content in image.contents.values_mut() {
            // A block that survives may reach beyond the end of the file.
            let size = content.size;
            content.size = u64::MAX;
            content.resize(size);
        }
        image
    }
}

/// The unsynced data that survived a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Survivors {
    /// The number of changes of names and sizes that survived: the earliest ones.
    pub changes: usize,
    /// The number of such changes.
    pub changes_unsynced: usize,
    /// The number of blocks that survived, and of files that grew without their contents.
    pub blocks: usize,
    /// The number of such blocks.
    pub blocks_unsynced: usize,
}

impl fmt::Display for Survivors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { changes, changes_unsynced, blocks, blocks_unsynced } = self;
        write!(
            f,
            "{changes} of {changes_unsynced} unsynced changes of names and sizes and {blocks} of {blocks_unsynced} unsynced \
             blocks survived"
        )
    }
}

/// A state in which a crash may leave a disk.
#[derive(Clone, Debug)]
pub struct CrashState {
    /// The number of operations before the crash.
    pub operations: usize,
    /// The requests of each client before the crash, up to the last client that had made one.
    pub requests: Vec<Requests>,
    /// Whether it is the last state that is listed of a moment that may have more.
    pub bounded: bool,
    /// The unsynced data that survived.
    pub survivors: Survivors,
    image: Image,
}

impl CrashState {
    /// Makes its files in the empty folder `folder`.
    ///
    /// # Errors
    /// [`BuildError`], with the file that could not be made.
    pub fn build(&self, folder: &Path) -> Result<(), BuildError> {
        self.image.build(folder)
    }
}

/// The states of a recording, as [`Recording::states`] says.
pub(super) struct States<'a> {
    recording: &'a Recording,
    each: usize,
    at: usize,
    operations: usize,
    requests: Vec<Requests>,
    model: Model,
    ready: VecDeque<CrashState>,
    seen: HashSet<(u64, Vec<Requests>)>,
}

impl<'a> States<'a> {
    pub(super) fn new(recording: &'a Recording, each: usize) -> Self {
        Self {
            recording,
            each,
            at: 0,
            operations: 0,
            requests: Vec::new(),
            model: Model::default(),
            ready: VecDeque::new(),
            seen: HashSet::new(),
        }
    }

    /// Lists the states of the present moment.
    fn crash(&mut self) {
        let changes_unsynced = self.model.pending.len();
        let mut committed: BTreeMap<usize, (Model, Vec<Unsynced>)> = BTreeMap::new();
        let mut found = 0;
        for choice in choices(changes_unsynced) {
            if found >= self.each {
                return self.bound();
            }
            let (model, unsynced) = committed.entry(choice.changes).or_insert_with(|| {
                let mut model = self.model.clone();
                model.commit(choice.changes);
                let unsynced = model.unsynced();
                (model, unsynced)
            });
            for kept in choice.blocks.sets(unsynced.len()) {
                if found >= self.each {
                    return self.bound();
                }
                let image = model.image_with(kept.iter().map(|at| &unsynced[*at]));
                if !self.seen.insert((image.fingerprint(), self.requests.clone())) {
                    continue;
                }
                found += 1;
                let survivors = Survivors {
                    changes: choice.changes,
                    changes_unsynced,
                    blocks: kept.len(),
                    blocks_unsynced: unsynced.len(),
                };
                self.ready.push_back(CrashState {
                    operations: self.operations,
                    requests: self.requests.clone(),
                    bounded: false,
                    survivors,
                    image,
                });
            }
        }
    }

    fn of(&mut self, client: usize) -> &mut Requests {
        if self.requests.len() <= client {
            self.requests.resize(client + 1, Requests::default());
        }
        &mut self.requests[client]
    }

    /// The present moment has more states than are listed.
    fn bound(&mut self) {
        if let Some(state) = self.ready.back_mut() {
            state.bounded = true;
        }
    }
}

impl Iterator for States<'_> {
    type Item = CrashState;

    fn next(&mut self) -> Option<CrashState> {
        loop {
            if let Some(state) = self.ready.pop_front() {
                return Some(state);
            }
            let Some(operation) = self.recording.operations.get(self.at) else {
                if self.at > self.recording.operations.len() {
                    return None;
                }
                self.at += 1;
                self.crash();
                continue;
            };
            self.at += 1;
            match operation {
                RecordedOperation::Mark(Mark::Begun { client, count }) => {
                    let begun = &mut self.of(*client).begun;
                    *begun = (*begun).max(*count);
                }
                RecordedOperation::Mark(Mark::Acknowledged { client, count }) => {
                    let acknowledged = &mut self.of(*client).acknowledged;
                    *acknowledged = (*acknowledged).max(*count);
                    self.crash();
                }
                RecordedOperation::Sync { .. } => {
                    self.crash();
                    self.model.apply(operation);
                    self.operations += 1;
                }
                _ => {
                    self.model.apply(operation);
                    self.operations += 1;
                }
            }
        }
    }
}

/// The choice of unsynced blocks that survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blocks {
    None,
    All,
    /// Each set of this many, and each set of all but this many.
    Some(usize),
}

impl Blocks {
    /// Returns the sets of numbers below `count`.
    fn sets(self, count: usize) -> Box<dyn Iterator<Item = Vec<usize>>> {
        match self {
            Self::None => Box::new(std::iter::once(Vec::new())),
            Self::All => Box::new(std::iter::once((0..count).collect())),
            Self::Some(size) => Box::new(subsets(count, size).flat_map(move |set| {
                let others = (0..count).filter(|at| !set.contains(at)).collect();
                [set, others]
            })),
        }
    }
}

/// Returns the sets of `size` numbers below `count`, in order.
fn subsets(count: usize, size: usize) -> impl Iterator<Item = Vec<usize>> {
    let first = (size <= count).then(|| (0..size).collect::<Vec<_>>());
    std::iter::successors(first, move |set| {
        let at = (0..size).rev().find(|at| set[*at] + size - at < count)?;
        let mut next = set.clone();
        next[at] += 1;
        for after in at + 1..size {
            next[after] = next[after - 1] + 1;
        }
        Some(next)
    })
}

/// The most blocks that deviate together.
const DEVIATIONS_MAX: usize = 3;

/// How many of the changes survive, with which blocks.
struct Choice {
    changes: usize,
    blocks: Blocks,
}

/// Every choice, the least first, where `changes` changes are not durable.
fn choices(changes: usize) -> impl Iterator<Item = Choice> {
    let choice = |changes, blocks| Choice { changes, blocks };
    let sets = move |changes| (1..=DEVIATIONS_MAX).map(move |size| choice(changes, Blocks::Some(size)));
    let extremes = [choice(0, Blocks::None), choice(changes, Blocks::All), choice(changes, Blocks::None)];
    let prefixes = (1..changes).map(move |count| choice(count, Blocks::None));
    let early =
        (0..changes).flat_map(move |count| std::iter::once(choice(count, Blocks::All)).chain(sets(count)));
    extremes.into_iter().chain(prefixes).chain(sets(changes)).chain(early)
}

#[cfg(test)]
mod tests {
    use super::super::super::tree::{Inode, ROOT};
    use super::*;

    const A: u64 = 5;
    const B: u64 = 6;

    fn new(file: u64, name: &str) -> [RecordedOperation; 2] {
        [RecordedOperation::New { file, kind: FileKind::Regular }, named(name, Some(file))]
    }

    fn named(name: &str, file: Option<u64>) -> RecordedOperation {
        let target = file.map(Inode);
        RecordedOperation::Changes(vec![Change::Name { directory: ROOT, name: name.into(), target }])
    }

    fn renamed(from: &str, to: &str, file: u64) -> RecordedOperation {
        let change = |name: &str, target: Option<u64>| Change::Name {
            directory: ROOT,
            name: name.into(),
            target: target.map(Inode),
        };
        RecordedOperation::Changes(vec![change(from, None), change(to, Some(file))])
    }

    fn write(file: u64, block: u64, byte: u8) -> RecordedOperation {
        RecordedOperation::Write { file, offset: block * BLOCK, data: vec![byte; BLOCK as usize] }
    }

    fn resized(file: u64, size: u64) -> RecordedOperation {
        RecordedOperation::Changes(vec![Change::Size { inode: Inode(file), size }])
    }

    fn sync(file: u64) -> RecordedOperation {
        RecordedOperation::Sync { file }
    }

    fn begun(count: u64) -> RecordedOperation {
        RecordedOperation::Mark(Mark::Begun { client: 0, count })
    }

    /// Returns what the disk may hold at the end: each file as `name:` and the first byte of each block.
    fn at_the_end(operations: impl IntoIterator<Item = RecordedOperation>) -> BTreeSet<String> {
        // States are listed once for each number of requests: one of its own keeps those of the end apart.
        let end = begun(1);
        let recording = Recording { operations: operations.into_iter().chain([end]).collect() };
        let states = recording
            .states(usize::MAX)
            .filter(|state| state.requests == [Requests { begun: 1, acknowledged: 0 }]);
        states.map(|state| shown(&state.image)).collect()
    }

    fn shown(image: &Image) -> String {
        let one = |(path, file): (std::path::PathBuf, u64)| {
            let content = &image.contents[&file];
            let blocks = (0..content.size.div_ceil(BLOCK)).map(|number| content.block(number)[0].to_string());
            format!("{}:{}", path.display(), blocks.collect::<String>())
        };
        image.visible().into_iter().map(one).collect::<Vec<_>>().join(" ")
    }

    fn set<const N: usize>(states: [&str; N]) -> BTreeSet<String> {
        states.into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn what_was_synced_is_there_and_nothing_else_can_be() {
        let operations = new(A, "a").into_iter().chain([write(A, 0, 1), sync(A)]);
        assert_eq!(at_the_end(operations), set(["a:1"]));
    }

    #[test]
    fn each_block_that_was_not_synced_survives_or_not() {
        let synced = new(A, "a").into_iter().chain([write(A, 0, 1), write(A, 1, 1), sync(A)]);
        let operations = synced.chain([write(A, 0, 2), write(A, 1, 2)]);
        assert_eq!(at_the_end(operations), set(["a:11", "a:12", "a:21", "a:22"]));
    }

    #[test]
    fn a_file_that_grew_may_have_a_torn_tail() {
        let synced = new(A, "a").into_iter().chain([write(A, 0, 1), sync(A)]);
        let operations = synced.chain([write(A, 1, 2), write(A, 2, 2)]);
        let torn = ["a:1", "a:12", "a:10", "a:122", "a:102", "a:120", "a:100"];
        assert_eq!(at_the_end(operations), set(torn));
    }

    #[test]
    fn names_survive_in_their_order_and_all_at_once_with_any_sync() {
        let operations = || {
            let made = new(A, "a").into_iter().chain(new(B, "b"));
            made.chain([renamed("a", "c", A)])
        };
        assert_eq!(at_the_end(operations()), set(["", "a:", "a: b:", "b: c:"]));
        assert_eq!(at_the_end(operations().chain([sync(B)])), set(["b: c:"]));
        assert_eq!(at_the_end(operations().chain([sync(ROOT.0)])), set(["b: c:"]));
    }

    #[test]
    fn a_rename_over_a_file_keeps_the_old_or_the_new_one() {
        let old = new(A, "a").into_iter().chain([write(A, 0, 1), sync(A)]);
        let unsynced = old.chain(new(B, "b")).chain([write(B, 0, 2), renamed("b", "a", B)]);
        let written = ["a:1", "a:1 b:", "a:1 b:0", "a:1 b:2", "a:", "a:0", "a:2"];
        assert_eq!(at_the_end(unsynced), set(written), "the new one may be empty");
        let old = new(A, "a").into_iter().chain([write(A, 0, 1), sync(A)]);
        let synced = old.chain(new(B, "b")).chain([write(B, 0, 2), sync(B), renamed("b", "a", B)]);
        assert_eq!(at_the_end(synced), set(["a:1 b:2", "a:2"]));
    }

    #[test]
    fn what_is_written_after_a_cut_survives_with_the_cut_only() {
        let synced = new(A, "a").into_iter().chain([write(A, 0, 1), write(A, 1, 1), sync(A)]);
        let operations = synced.chain([resized(A, 0), write(A, 0, 2)]);
        assert_eq!(at_the_end(operations), set(["a:11", "a:", "a:0", "a:2"]));
    }

    #[test]
    fn space_that_was_reserved_is_there_or_not() {
        let operations =
            new(A, "a").into_iter().chain([sync(A), RecordedOperation::Extend { file: A, size: 3 * BLOCK }]);
        assert_eq!(at_the_end(operations), set(["a:", "a:000"]));
    }

    #[test]
    fn each_moment_has_the_numbers_of_its_marks_and_at_most_so_many_states() {
        let operations = new(A, "a").into_iter().chain([
            begun(1),
            write(A, 0, 1),
            write(A, 1, 1),
            sync(A),
            RecordedOperation::Mark(Mark::Acknowledged { client: 0, count: 1 }),
            begun(2),
            write(A, 0, 2),
        ]);
        let recording = Recording { operations: operations.collect() };
        assert_eq!((recording.operations(), recording.syncs()), (6, 1));
        let numbers = |each: usize| {
            let states = recording.states(each);
            let numbers = |state: CrashState| {
                (state.operations, state.requests[0].begun, state.requests[0].acknowledged)
            };
            states.map(numbers).collect::<Vec<_>>()
        };
        let bounded = |each: usize| recording.states(each).filter(|state| state.bounded).count();
        assert_eq!((bounded(2), bounded(usize::MAX)), (2, 0));
        assert_eq!(numbers(2), [(4, 1, 0), (4, 1, 0), (5, 1, 1), (6, 2, 1), (6, 2, 1)]);
        let all = numbers(usize::MAX);
        assert!(all.len() > 5);
        assert_eq!(all[all.len() - 1], (6, 2, 1));
        let first: Vec<Survivors> = recording.states(2).map(|state| state.survivors).take(2).collect();
        assert_eq!((first[0].changes, first[0].blocks), (0, 0), "nothing, then everything");
        assert_eq!((first[1].changes, first[1].changes_unsynced), (1, 1));
        assert_eq!(first[1].blocks, first[1].blocks_unsynced);
    }

    #[test]
    fn subsets_are_complete() {
        assert_eq!(subsets(4, 2).count(), 6);
        assert_eq!(subsets(3, 3).collect::<Vec<_>>(), [vec![0, 1, 2]]);
        assert_eq!(subsets(2, 3).count(), 0);
    }
}
