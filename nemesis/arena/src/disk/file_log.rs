//! The durable content of a file: pre-images of blocks, and its size.
//!
//! The log of a file starts empty at each fsync. Before bytes of the file change, the content of their blocks
//! is noted here; undoing a block puts that back. Nothing here reads or writes a file: the caller does.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;

use super::journal::Sequence;

/// Bytes in a block: the unit that a disk is assumed to write as a whole or not at all.
pub(super) const BLOCK: u64 = 4096;

/// The durable content of a block that has changed since. Bytes not covered are zero, up to the durable size.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Before {
    /// The first so many bytes have not changed: they are still in the file, and the rest was zero or not
    /// there. This is what an append leaves, and the reason why an append copies nothing.
    Intact(usize),
    /// These bytes.
    Bytes(Box<[u8]>),
}

impl Before {
    fn len(&self) -> usize {
        match self {
            Self::Intact(len) => *len,
            Self::Bytes(bytes) => bytes.len(),
        }
    }
}

/// A block that has changed since it was last made durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DirtyBlock {
    /// The content to put back.
    before: Before,
    /// The shrinking of the file that came before the change and is not durable itself. A file system writes
    /// such a block to a new place, so it cannot be found on the disk while the shrinking cannot.
    after_shrink: Option<Sequence>,
}

impl DirtyBlock {
    /// Whether the change may have reached the disk by chance.
    pub(super) fn may_survive(&self) -> bool {
        self.after_shrink.is_none()
    }
}

/// The undo log of one file since its last fsync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileLog {
    durable_size: u64,
    blocks: BTreeMap<u64, DirtyBlock>,
    shrunk: Option<Sequence>,
}

impl FileLog {
    /// Returns the log of a file that is durable at `size` bytes, before its first change.
    pub(super) fn new(size: u64) -> Self {
        Self { durable_size: size, blocks: BTreeMap::new(), shrunk: None }
    }

    /// Returns the size to which the file returns.
    pub(super) fn durable_size(&self) -> u64 {
        self.durable_size
    }

    /// Whether the size may have reached the disk by chance.
    pub(super) fn size_may_survive(&self) -> bool {
        self.shrunk.is_none()
    }

    /// Returns the changed blocks, by number.
    pub(super) fn blocks(&self) -> impl Iterator<Item = (u64, &DirtyBlock)> {
        self.blocks.iter().map(|(number, block)| (*number, block))
    }

    /// Returns how to undo block `number`, when it has changed.
    pub(super) fn undo(&self, number: u64) -> Option<Undo<'_>> {
        let before = &self.blocks.get(&number)?.before;
        let bytes: &[u8] = match before {
            Before::Intact(_) => &[],
            Before::Bytes(bytes) => bytes,
        };
        Some(Undo { bytes, zero_from: before.len() })
    }

    /// Whether any byte of `range` lies in a changed block.
    pub(super) fn touches(&self, range: Range<u64>) -> bool {
        !range.is_empty() && self.blocks.range(range.start / BLOCK..=(range.end - 1) / BLOCK).next().is_some()
    }

    /// Notes that the bytes of `range` are about to be replaced. `read` fills a buffer from an offset of the
    /// file and is called only for bytes that are durable and not noted yet.
    ///
    /// # Errors
    /// Any error of `read`; the log is then as if the remaining blocks did not change.
    pub(super) fn replace<E>(
        &mut self,
        range: Range<u64>,
        mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        if range.is_empty() {
            return Ok(());
        }
        for number in range.start / BLOCK..=(range.end - 1) / BLOCK {
            let start = number * BLOCK;
            let untouched = usize::try_from(range.start.saturating_sub(start)).unwrap_or(usize::MAX);
            self.note(number, untouched, &mut read)?;
        }
        Ok(())
    }

    /// Notes that the file is about to shrink to `size` bytes, as the operation `sequence` of the journal.
    ///
    /// # Errors
    /// Any error of `read`.
    pub(super) fn shrink<E>(
        &mut self,
        size: u64,
        sequence: Sequence,
        mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.replace(size..self.durable_size.max(size), &mut read)?;
        // Blocks that were never durable and are cut off need no undoing.
        let durable_size = self.durable_size;
        self.blocks.retain(|number, _| number * BLOCK < size.max(durable_size));
        for (_, block) in self.blocks.range_mut(size.div_ceil(BLOCK)..) {
            block.after_shrink = Some(sequence);
        }
        self.shrunk = Some(sequence);
        Ok(())
    }

    /// Makes a change of size durable: the one that operation `sequence` of the journal made, to `size`
    /// bytes. `current` is the size of the file now.
    pub(super) fn commit_size(&mut self, size: u64, sequence: Sequence, current: u64) {
        if size < self.durable_size {
            let mut gone = Vec::new();
            for (number, block) in self.blocks.range_mut(size / BLOCK..) {
                let start = number * BLOCK;
                if start >= size && start >= current {
                    gone.push(*number);
                    continue;
                }
                let left = usize::try_from(size.saturating_sub(start)).unwrap_or(usize::MAX);
                match &mut block.before {
                    Before::Intact(len) => *len = left.min(*len),
                    Before::Bytes(bytes) if left < bytes.len() => {
                        block.before = Before::Bytes(bytes[..left].into())
                    }
                    Before::Bytes(_) => {}
                }
            }
            for number in gone {
                self.blocks.remove(&number);
            }
        }
        for block in self.blocks.values_mut() {
            if block.after_shrink.is_some_and(|shrink| shrink <= sequence) {
                block.after_shrink = None;
            }
        }
        if self.shrunk.is_some_and(|shrink| shrink <= sequence) {
            self.shrunk = None;
        }
        self.durable_size = size;
    }

    /// Cuts the durable file itself to `size` bytes, as damage at rest does; `current` is the size of the
    /// file now.
    pub(super) fn damage_size(&mut self, size: u64, current: u64) {
        if size < self.durable_size {
            // No operation has the number 0, so no shrinking becomes durable by it.
            self.commit_size(size, 0, current);
        }
    }

    /// Notes one block of which all but the first `untouched` bytes are about to change.
    fn note<E>(
        &mut self,
        number: u64,
        untouched: usize,
        read: &mut impl FnMut(u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = number * BLOCK;
        match self.blocks.entry(number) {
            Entry::Occupied(mut entry) => {
                if let Before::Intact(len) = entry.get().before
                    && untouched < len
                {
                    entry.get_mut().before = copy(start, len, read)?;
                }
            }
            Entry::Vacant(entry) => {
                let durable = self.durable_size.saturating_sub(start).min(BLOCK);
                let len = usize::try_from(durable).unwrap_or(usize::MAX);
                let before = if untouched < len { copy(start, len, read)? } else { Before::Intact(len) };
                entry.insert(DirtyBlock { before, after_shrink: self.shrunk });
            }
        }
        Ok(())
    }

    /// Bytes of pre-images held in memory.
    #[cfg(test)]
    fn bytes_held(&self) -> usize {
        self.blocks
            .values()
            .map(|block| if matches!(block.before, Before::Bytes(_)) { block.before.len() } else { 0 })
            .sum()
    }
}

/// Returns the `len` bytes at `start` as they are now.
fn copy<E>(
    start: u64,
    len: usize,
    read: &mut impl FnMut(u64, &mut [u8]) -> Result<(), E>,
) -> Result<Before, E> {
    let mut bytes = vec![0; len].into_boxed_slice();
    read(start, &mut bytes)?;
    Ok(Before::Bytes(bytes))
}

/// How to put a block back.
pub(super) struct Undo<'a> {
    /// Written at the start of the block; empty when the durable bytes are still there.
    pub(super) bytes: &'a [u8],
    /// The offset in the block at which zeros start.
    pub(super) zero_from: usize,
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn reader(file: &[u8]) -> impl FnMut(u64, &mut [u8]) -> Result<(), Infallible> {
        move |offset, buffer| {
            let start = usize::try_from(offset).expect("a small file");
            buffer.copy_from_slice(&file[start..start + buffer.len()]);
            Ok(())
        }
    }

    fn unread(_: u64, _: &mut [u8]) -> Result<(), Infallible> {
        panic!("no durable data is replaced, so no read is needed")
    }

    #[test]
    fn an_append_copies_nothing() {
        let mut log = FileLog::new(5000);
        let Ok(()) = log.replace(5000..20_000, unread);
        assert_eq!(log.bytes_held(), 0);
        let numbers: Vec<u64> = log.blocks().map(|(number, _)| number).collect();
        assert_eq!(numbers, [1, 2, 3, 4]);
        assert_eq!(log.blocks[&1].before, Before::Intact(904));
    }

    #[test]
    fn an_overwrite_after_an_append_keeps_the_durable_part_of_the_block() {
        let file = vec![7; 5000];
        let mut log = FileLog::new(5000);
        let Ok(()) = log.replace(5000..5001, unread);
        let Ok(()) = log.replace(4096..4097, reader(&file));
        assert_eq!(log.blocks[&1].before, Before::Bytes(vec![7; 904].into()));
        // The second overwrite finds the block noted: the first pre-image is the durable one.
        let Ok(()) = log.replace(4096..6000, unread);
    }

    #[test]
    fn a_committed_shrink_forgets_what_it_cut() {
        let file = vec![7; 10_000];
        let mut log = FileLog::new(10_000);
        let Ok(()) = log.shrink(4100, 3, reader(&file));
        assert_eq!(log.bytes_held(), 10_000 - 4096);
        assert!(!log.size_may_survive());
        log.commit_size(4100, 3, 4100);
        assert_eq!(log.durable_size(), 4100);
        assert!(log.size_may_survive());
        assert_eq!(log.bytes_held(), 4);
    }

    #[test]
    fn what_is_written_after_a_shrink_cannot_survive_without_it() {
        let file = vec![7; 8192];
        let mut log = FileLog::new(8192);
        let Ok(()) = log.shrink(0, 1, reader(&file));
        let Ok(()) = log.replace(0..4096, unread);
        assert!(log.blocks().all(|(_, block)| !block.may_survive()));
        log.commit_size(0, 1, 4096);
        assert!(log.blocks().all(|(_, block)| block.may_survive()));
        assert_eq!(log.blocks().count(), 1);
    }
}
