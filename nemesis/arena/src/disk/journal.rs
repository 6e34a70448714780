//! The names, sizes and attributes that a crash would leave: the metadata log since the last commit.
//!
//! The journal keeps two things of everything that has happened since: the operations in order, and the
//! durable image, that is, the state of each touched name and attribute after a crash. Committing an
//! operation advances the image by it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};

use super::tree::Inode;

/// The place of an operation in the order in which they were done.
pub(super) type Sequence = u64;

/// The attributes of a file that a crash may undo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attributes {
    /// Permission bits, without the type.
    pub(super) mode: u32,
    /// Owner.
    pub(super) uid: u32,
    /// Group.
    pub(super) gid: u32,
}

/// One thing that an operation changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// A name of a directory now refers to another file, or to none.
    Name {
        /// The directory.
        directory: Inode,
        /// The name in it.
        name: OsString,
        /// The file that it refers to now.
        target: Option<Inode>,
    },
    /// A file was cut or extended.
    Size {
        /// The file.
        inode: Inode,
        /// Its size now.
        size: u64,
    },
    /// A file's attributes changed.
    Attributes {
        /// The file.
        inode: Inode,
        /// The attributes now.
        now: Attributes,
    },
}

impl Change {
    /// Returns the file or directory that has to be synced for the change to be durable where names and
    /// contents are synced on their own.
    fn domain(&self) -> Inode {
        match self {
            Self::Name { directory, .. } => *directory,
            Self::Size { inode, .. } | Self::Attributes { inode, .. } => *inode,
        }
    }
}

/// A size that became durable with a commit, for the file's own log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CommittedSize {
    /// The file.
    pub(super) inode: Inode,
    /// Its durable size.
    pub(super) size: u64,
    /// The operation that gave it this size.
    pub(super) sequence: Sequence,
}

#[derive(Debug)]
struct Operation {
    sequence: Sequence,
    changes: Vec<Change>,
}

/// The metadata log.
#[derive(Debug, Default)]
pub(super) struct Journal {
    last: Sequence,
    operations: Vec<Operation>,
    names: BTreeMap<(Inode, OsString), Option<Inode>>,
    attributes: BTreeMap<Inode, Attributes>,
}

/// How much of the log a crash finds committed, when it is not nothing.
pub(super) trait Chance {
    /// Returns a number from 0 to `most`.
    fn up_to(&mut self, most: usize) -> usize;
}

impl Journal {
    /// Returns the number the next operation will have.
    pub(super) fn next_sequence(&self) -> Sequence {
        self.last + 1
    }

    /// How many operations are not durable.
    pub(super) fn len(&self) -> usize {
        self.operations.len()
    }

    /// Records an operation, with each name it changed and the name's earlier target.
    pub(super) fn rename(&mut self, names: Vec<(Inode, OsString, Option<Inode>, Option<Inode>)>) {
        let mut changes = Vec::with_capacity(names.len());
        for (directory, name, before, target) in names {
            self.names.entry((directory, name.clone())).or_insert(before);
            changes.push(Change::Name { directory, name, target });
        }
        self.push(changes);
    }

    /// Records that a file's size was set.
    pub(super) fn resize(&mut self, inode: Inode, size: u64) {
        self.push(vec![Change::Size { inode, size }]);
    }

    /// Records that a file's attributes were set.
    pub(super) fn set_attributes(&mut self, inode: Inode, before: Attributes, now: Attributes) {
        self.attributes.entry(inode).or_insert(before);
        self.push(vec![Change::Attributes { inode, now }]);
    }

    /// Makes everything durable. Answers the sizes that became so, in order.
    pub(super) fn commit_all(&mut self) -> Vec<CommittedSize> {
        self.names.clear();
        self.attributes.clear();
        let mut sizes = Vec::new();
        for operation in self.operations.drain(..) {
            collect_sizes(&operation.changes, operation.sequence, &mut sizes);
        }
        sizes
    }

    /// Commits the changes of `domain` alone: the names of a directory, or the size and attributes of a file.
    pub(super) fn commit_domain(&mut self, domain: Inode) {
        self.names.retain(|(directory, _), _| *directory != domain);
        self.attributes.remove(&domain);
        for operation in &mut self.operations {
            operation.changes.retain(|change| change.domain() != domain);
        }
        self.operations.retain(|operation| !operation.changes.is_empty());
    }

    /// Commits the operations up to one chosen by `chance`: a crash finds a journal committed up to some
    /// point.
    pub(super) fn commit_prefix(&mut self, chance: &mut impl Chance) -> Vec<CommittedSize> {
        let count = chance.up_to(self.operations.len());
        let mut sizes = Vec::new();
        let committed: Vec<Operation> = self.operations.drain(..count).collect();
        for operation in committed {
            collect_sizes(&operation.changes, operation.sequence, &mut sizes);
            for change in operation.changes {
                self.advance(change);
            }
        }
        sizes
    }

    /// Commits, for each directory and each file on its own, the changes up to one chosen by `chance`.
    pub(super) fn commit_prefix_of_each_domain(&mut self, chance: &mut impl Chance) -> Vec<CommittedSize> {
        let mut counts: BTreeMap<Inode, usize> = BTreeMap::new();
        for change in self.operations.iter().flat_map(|operation| &operation.changes) {
            *counts.entry(change.domain()).or_default() += 1;
        }
        for count in counts.values_mut() {
            *count = chance.up_to(*count);
        }
        let mut sizes = Vec::new();
        for mut operation in std::mem::take(&mut self.operations) {
            let mut kept = Vec::new();
            for change in std::mem::take(&mut operation.changes) {
                match counts.get_mut(&change.domain()) {
                    Some(left) if *left > 0 => {
                        *left -= 1;
                        collect_sizes(std::slice::from_ref(&change), operation.sequence, &mut sizes);
                        self.advance(change);
                    }
                    _ => kept.push(change),
                }
            }
            if !kept.is_empty() {
                operation.changes = kept;
                self.operations.push(operation);
            }
        }
        sizes
    }

    /// Returns the names that differ, or differed at some time, from their durable state, each with its
    /// durable target.
    pub(super) fn durable_names(&self) -> impl Iterator<Item = (Inode, &OsStr, Option<Inode>)> {
        self.names.iter().map(|((directory, name), target)| (*directory, name.as_os_str(), *target))
    }

    /// Returns the attributes a crash would bring back.
    pub(super) fn durable_attributes(&self) -> impl Iterator<Item = (Inode, Attributes)> {
        self.attributes.iter().map(|(inode, attributes)| (*inode, *attributes))
    }

    /// Returns every file that some state a crash may leave has a name for.
    pub(super) fn referenced(&self) -> BTreeSet<Inode> {
        let changed =
            self.operations.iter().flat_map(|operation| &operation.changes).filter_map(
                |change| match change {
                    Change::Name { target, .. } => *target,
                    Change::Size { .. } | Change::Attributes { .. } => None,
                },
            );
        self.names.values().copied().flatten().chain(changed).collect()
    }

    fn push(&mut self, changes: Vec<Change>) {
        self.last += 1;
        self.operations.push(Operation { sequence: self.last, changes });
    }

    fn advance(&mut self, change: Change) {
        match change {
            Change::Name { directory, name, target } => {
                self.names.insert((directory, name), target);
            }
            Change::Attributes { inode, now } => {
                self.attributes.insert(inode, now);
            }
            // The durable size is kept in the file's own log, to which the caller hands it on.
            Change::Size { .. } => {}
        }
    }
}

fn collect_sizes(changes: &[Change], sequence: Sequence, sizes: &mut Vec<CommittedSize>) {
    for change in changes {
        if let Change::Size { inode, size } = change {
            sizes.push(CommittedSize { inode: *inode, size: *size, sequence });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Always(usize);

    impl Chance for Always {
        fn up_to(&mut self, most: usize) -> usize {
            self.0.min(most)
        }
    }

    fn names(journal: &Journal) -> Vec<(u64, String, Option<u64>)> {
        journal
            .durable_names()
            .map(|(directory, name, target)| {
                (directory.0, name.to_string_lossy().into_owned(), target.map(|t| t.0))
            })
            .collect()
    }

    fn renamed() -> Journal {
        let mut journal = Journal::default();
        journal.rename(vec![(Inode(1), "a".into(), None, Some(Inode(5)))]);
        journal.rename(vec![
            (Inode(1), "a".into(), Some(Inode(5)), None),
            (Inode(2), "b".into(), Some(Inode(6)), Some(Inode(5))),
        ]);
        journal
    }

    #[test]
    fn the_first_meaning_since_the_commit_is_the_durable_one() {
        let journal = renamed();
        assert_eq!(names(&journal), [(1, "a".to_owned(), None), (2, "b".to_owned(), Some(6))]);
        assert_eq!(journal.referenced(), BTreeSet::from([Inode(5), Inode(6)]));
    }

    #[test]
    fn a_prefix_advances_the_image_in_order() {
        let mut journal = renamed();
        journal.commit_prefix(&mut Always(1));
        assert_eq!(names(&journal), [(1, "a".to_owned(), Some(5)), (2, "b".to_owned(), Some(6))]);
        assert_eq!(journal.len(), 1);
    }

    #[test]
    fn a_synced_directory_leaves_the_other_to_chance() {
        let mut journal = renamed();
        journal.commit_domain(Inode(2));
        assert_eq!(names(&journal), [(1, "a".to_owned(), None)]);
        assert_eq!(journal.len(), 2);
        journal.commit_domain(Inode(1));
        assert_eq!(journal.len(), 0);
    }

    #[test]
    fn sizes_are_handed_on_in_order() {
        let mut journal = Journal::default();
        journal.resize(Inode(9), 0);
        journal.resize(Inode(9), 70);
        let sizes = journal.commit_all();
        assert_eq!(
            sizes.iter().map(|size| (size.size, size.sequence)).collect::<Vec<_>>(),
            [(0, 1), (70, 2)]
        );
    }
}
