//! A power loss: the backing folder is put back to the state that the disk had promised to keep.
//!
//! Names come first, so that it is known which files remain; then the content of those; then attributes. All
//! numbers known to the kernel are stale afterwards.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::unistd::{ftruncate, linkat};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::fault::{Keep, Undone};
use super::file_log::{BLOCK, FileLog};
use super::journal::Chance;
use super::options::Semantics;
use super::state::{Disk, Power, signed, write_all};
use super::tree::{Body, Inode, LIMBO, Node, ROOT};

impl Chance for ChaCha8Rng {
    fn up_to(&mut self, most: usize) -> usize {
        self.random_range(0..=most)
    }
}

impl Disk {
    /// Undoes everything that is not durable, except for the part that `keep` names.
    ///
    /// # Errors
    /// Any error of the backing folder; the files are then in no defined state.
    pub(super) fn lose_power(&mut self, keep: Keep) -> Result<Undone, Errno> {
        self.power = Power::On;
        let before = self.journal.len();
        if keep == Keep::RandomSubset {
            let sizes = match self.options.semantics {
                Semantics::Journal => self.journal.commit_prefix(&mut self.random),
                Semantics::Strict => self.journal.commit_prefix_of_each_domain(&mut self.random),
            };
            self.commit_sizes(sizes);
        }
        let mut undone = Undone {
            metadata_operations: self.journal.len() as u64,
            metadata_operations_kept: (before - self.journal.len()) as u64,
            stale_handles: self.tree.opens() as u64,
            ..Undone::default()
        };
        let visible_before: BTreeSet<Inode> =
            self.regular().filter(|inode| self.is_visible(*inode)).collect();
        self.undo_names()?;
        for inode in self.regular().collect::<Vec<_>>() {
            if self.is_visible(inode) {
                self.undo_content(inode, keep, &mut undone)?;
            } else if visible_before.contains(&inode) {
                undone.files += 1;
                self.count_lost(inode, &mut undone);
            }
        }
        let attributes: Vec<_> = self.journal.durable_attributes().collect();
        for (inode, attributes) in attributes {
            if self.tree.node(inode).is_ok() && self.is_visible(inode) && self.ownership(inode)? != attributes
            {
                self.set_ownership(inode, Some(attributes.mode), Some(attributes.uid), Some(attributes.gid))?;
            }
        }
        self.journal.commit_all();
        self.listings.clear();
        self.tree.forget_all();
        self.epoch += 1;
        self.empty_limbo()?;
        Ok(undone)
    }

    fn regular(&self) -> impl Iterator<Item = Inode> {
        let is_regular = |node: &Node| matches!(node.body, Body::Regular { .. });
        self.tree.nodes().filter(move |(_, node)| is_regular(node)).map(|(inode, _)| inode)
    }

    /// Whether a name of `inode` can be reached from the root.
    fn is_visible(&self, inode: Inode) -> bool {
        inode == ROOT
            || self
                .tree
                .node(inode)
                .is_ok_and(|node| node.links.iter().any(|link| self.is_visible(link.parent)))
    }

    /// Gives every name its durable meaning. All that must go is taken to limbo before anything is put back:
    /// a directory is then never in the way of its own parent.
    fn undo_names(&mut self) -> Result<(), Errno> {
        let names: Vec<(Inode, OsString, Option<Inode>)> = self
            .journal
            .durable_names()
            .filter(|(directory, ..)| self.tree.node(*directory).is_ok())
            .map(|(directory, name, target)| (directory, name.to_owned(), target))
            .collect();
        for (directory, name, target) in &names {
            match self.tree.find(*directory, name)? {
                Some(current) if Some(current) != *target => {
                    self.move_to_limbo(current, *directory, name)?;
                }
                _ => {}
            }
        }
        for (directory, name, target) in &names {
            if let Some(target) = *target
                && self.tree.find(*directory, name)? != Some(target)
            {
                self.put_back(target, *directory, name)?;
            }
        }
        Ok(())
    }

    fn put_back(&mut self, target: Inode, directory: Inode, name: &OsStr) -> Result<(), Errno> {
        let node = self.tree.node(target)?;
        let is_directory = matches!(node.body, Body::Directory { .. });
        let movable = node.links.iter().find(|link| is_directory || link.parent == LIMBO).cloned();
        match movable {
            Some(link) => self.move_name(target, (link.parent, &link.name), (directory, name)),
            None => {
                let (from, old) = self.tree.place(target)?;
                linkat(from, old, self.tree.directory(directory)?, name, AtFlags::empty())?;
                self.tree.add_link(target, directory, name);
                Ok(())
            }
        }
    }

    /// Counts the loss of a file that is gone.
    fn count_lost(&mut self, inode: Inode, undone: &mut Undone) {
        if let Ok(Node { body: Body::Regular { log: Some(log), size, .. }, .. }) = self.tree.node(inode) {
            for (number, _) in log.blocks() {
                undone.blocks += 1;
                undone.bytes += bytes_in(number, *size);
            }
        }
    }

    fn undo_content(&mut self, inode: Inode, keep: Keep, undone: &mut Undone) -> Result<(), Errno> {
        let Body::Regular { log, size, .. } = &mut self.tree.node_mut(inode)?.body else { return Ok(()) };
        let Some(log) = log.take() else { return Ok(()) };
        let current = *size;
        let file = self.tree.file(inode)?;
        let size = match keep {
            Keep::RandomSubset if log.size_may_survive() => {
                let written = log.blocks().map(|(number, _)| number);
                random_size(&mut self.random, log.durable_size(), current, written)
            }
            Keep::RandomSubset | Keep::Nothing => log.durable_size(),
        };
        if current < size {
            ftruncate(&*file, signed(size)?)?;
        }
        let blocks_before = undone.blocks;
        for (number, block) in log.blocks() {
            let start = number * BLOCK;
            let by_chance = keep == Keep::RandomSubset && block.may_survive() && start < size.min(current);
            if by_chance && self.random.random_bool(0.5) {
                undone.blocks_kept += 1;
                continue;
            }
            undone.blocks += 1;
            undone.bytes += bytes_in(number, current.max(log.durable_size()));
            let len = usize::try_from(bytes_in(number, size)).unwrap_or(usize::MAX);
            put_block_back(&file, &log, number, len)?;
        }
        if current > size {
            ftruncate(&*file, signed(size)?)?;
        }
        if undone.blocks > blocks_before || size != current {
            undone.files += 1;
        }
        Ok(())
    }
}

/// Puts back the first `len` bytes of a block.
fn put_block_back(file: &OwnedFd, log: &FileLog, number: u64, len: usize) -> Result<(), Errno> {
    const ZEROS: [u8; BLOCK as usize] = [0; BLOCK as usize];
    let Some(undo) = log.undo(number) else { return Ok(()) };
    let start = number * BLOCK;
    write_all(file, start, &undo.bytes[..undo.bytes.len().min(len)])?;
    if undo.zero_from < len {
        write_all(file, start + undo.zero_from as u64, &ZEROS[undo.zero_from..len])?;
    }
    Ok(())
}

/// Bytes of block `number` in a file of `size` bytes.
fn bytes_in(number: u64, size: u64) -> u64 {
    size.saturating_sub(number * BLOCK).min(BLOCK)
}

/// Returns a size a crash may leave of a file that has grown: the durable one, the current one, or the end of one of
/// the `written` blocks between them.
fn random_size(
    random: &mut impl Chance,
    durable: u64,
    current: u64,
    written: impl Iterator<Item = u64>,
) -> u64 {
    if current <= durable {
        return durable;
    }
    let ends = written.map(|number| (number + 1) * BLOCK);
    let ends: Vec<u64> = ends.filter(|end| (durable + 1..current).contains(end)).collect();
    match random.up_to(ends.len() + 1) {
        0 => durable,
        step => ends.get(step - 1).copied().unwrap_or(current),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Step(usize);

    impl Chance for Step {
        fn up_to(&mut self, most: usize) -> usize {
            self.0.min(most)
        }
    }

    #[test]
    fn a_file_that_grew_ends_at_a_written_block_or_where_it_was() {
        let sizes = |durable, current, written: &[u64]| {
            let size = |step| random_size(&mut Step(step), durable, current, written.iter().copied());
            (0..5).map(size).collect::<Vec<_>>()
        };
        assert_eq!(sizes(100, 50, &[0]), [100; 5]);
        assert_eq!(sizes(100, 200, &[0]), [100, 200, 200, 200, 200]);
        assert_eq!(sizes(100, 9000, &[0, 1, 2]), [100, 4096, 8192, 9000, 9000]);
        assert_eq!(sizes(4096, 8192, &[1]), [4096, 8192, 8192, 8192, 8192]);
        assert_eq!(sizes(0, 9000, &[2]), [0, 9000, 9000, 9000, 9000], "a hole is not an end");
    }
}
