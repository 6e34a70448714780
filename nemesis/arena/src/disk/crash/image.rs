//! The contents of a disk: files by number, their names, and their bytes by block.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::file_log::BLOCK;
use super::super::tree::ROOT;
use super::recording::FileKind;

/// The content of a regular file. A block that is missing is zero.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Content {
    pub(super) size: u64,
    pub(super) blocks: BTreeMap<u64, Arc<[u8]>>,
}

impl Content {
    /// Replaces bytes; the file grows if they reach beyond its end. Returns the touched blocks.
    pub(super) fn write(&mut self, offset: u64, data: &[u8]) -> std::ops::Range<u64> {
        if data.is_empty() {
            return 0..0;
        }
        let end = offset + data.len() as u64;
        let touched = offset / BLOCK..(end - 1) / BLOCK + 1;
        for number in touched.clone() {
            let start = number * BLOCK;
            let (from, to) = (offset.max(start), end.min(start + BLOCK));
            let mut block = self.block(number).to_vec();
            let within = |at: u64| usize::try_from(at - start).expect("within a block");
            let part = usize::try_from(from - offset).expect("within the data");
            block[within(from)..within(to)].copy_from_slice(&data[part..part + within(to) - within(from)]);
            self.blocks.insert(number, block.into());
        }
        self.size = self.size.max(end);
        touched
    }

    /// Cuts or extends the file. Bytes beyond the end are zero when the file grows again.
    pub(super) fn resize(&mut self, size: u64) {
        if size < self.size {
            self.blocks.retain(|number, _| number * BLOCK < size);
            if !size.is_multiple_of(BLOCK)
                && let Some(last) = self.blocks.get_mut(&(size / BLOCK))
            {
                let mut block = last.to_vec();
                block[usize::try_from(size % BLOCK).expect("within a block")..].fill(0);
                *last = block.into();
            }
        }
        self.size = size;
    }

    /// Returns a block, zeros if it is missing.
    pub(super) fn block(&self, number: u64) -> Arc<[u8]> {
        self.blocks.get(&number).cloned().unwrap_or_else(|| vec![0; BLOCK as usize].into())
    }
}

/// The names on a disk, and the contents of the files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) kinds: BTreeMap<u64, FileKind>,
    pub(super) names: BTreeMap<(u64, OsString), u64>,
    pub(super) contents: BTreeMap<u64, Content>,
}

/// A crash state that cannot be made into a folder.
#[derive(Debug, thiserror::Error)]
#[error("cannot make {path} of a crash state", path = path.display())]
pub struct BuildError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl Image {
    /// Returns every file that can be reached from the root, with its path, in order of the paths.
    pub(super) fn visible(&self) -> Vec<(PathBuf, u64)> {
        let mut found = Vec::new();
        let mut folders = vec![(PathBuf::new(), ROOT.0)];
        while let Some((path, folder)) = folders.pop() {
            let first = (folder, OsString::new());
            for ((parent, name), file) in self.names.range(first..) {
                if *parent != folder {
                    break;
                }
                let path = path.join(name);
                if self.kinds.get(file) == Some(&FileKind::Directory) {
                    folders.push((path.clone(), *file));
                }
                found.push((path, *file));
            }
        }
        found.sort();
        found
    }

    /// Returns a hash of the contents: of the paths, sizes and bytes.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for (path, file) in self.visible() {
            path.hash(&mut hasher);
            if let Some(content) = self.contents.get(&file) {
                content.size.hash(&mut hasher);
                for (number, block) in &content.blocks {
                    if block.iter().any(|byte| *byte != 0) {
                        (number, block).hash(&mut hasher);
                    }
                }
            }
        }
        hasher.finish()
    }

    /// Makes the files in the empty folder `folder`.
    ///
    /// # Errors
    /// [`BuildError`], with the file that could not be made.
    pub(super) fn build(&self, folder: &Path) -> Result<(), BuildError> {
        let mut made: BTreeMap<u64, PathBuf> = BTreeMap::new();
        for (path, file) in self.visible() {
            let path = folder.join(path);
            let result = match (made.get(&file), self.kinds.get(&file)) {
                (Some(other), _) => fs::hard_link(other, &path),
                (None, Some(FileKind::Directory)) => fs::create_dir(&path),
                (None, Some(FileKind::Symlink(target))) => std::os::unix::fs::symlink(target, &path),
                (None, Some(FileKind::Regular)) => self.build_file(&path, file),
                (None, Some(FileKind::Special) | None) => continue,
            };
            result.map_err(|source| BuildError { path: path.clone(), source })?;
            if self.kinds.get(&file) == Some(&FileKind::Regular) {
                made.entry(file).or_insert(path);
            }
        }
        Ok(())
    }

    fn build_file(&self, path: &Path, file: u64) -> io::Result<()> {
        let made = fs::File::create_new(path)?;
        let Some(content) = self.contents.get(&file) else { return Ok(()) };
        made.set_len(content.size)?;
        for (number, block) in &content.blocks {
            let start = number * BLOCK;
            let length = content.size.saturating_sub(start).min(BLOCK);
            made.write_all_at(&block[..usize::try_from(length).expect("a block")], start)?;
        }
        Ok(())
    }
}
