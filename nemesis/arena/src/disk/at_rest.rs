//! Damage at rest: bits that flip and ends that are lost, of what was durable and not touched since.

use std::collections::BTreeSet;

use nix::errno::Errno;
use nix::unistd::ftruncate;
use rand::RngExt;

use super::fault::{CutFile, FilePattern, FlippedBit};
use super::state::{Disk, read_exactly, signed, write_all};
use super::tree::{Body, Inode, ROOT};

/// A choice that falls on a block which is not durable is made again, so many times for each bit wanted.
const TRIES_PER_BIT: usize = 200;

impl Disk {
    /// Flips `bits` bits of durable blocks, spread at random over the files that match. Answers which, and
    /// which files the kernel must read again; fewer bits, or none, when there are no durable blocks to be
    /// found.
    ///
    /// # Errors
    /// What the backing folder answers; `EIO` when a bit reads back as it was.
    pub(super) fn flip_bits(
        &mut self,
        files: &FilePattern,
        bits: u32,
    ) -> Result<(Vec<FlippedBit>, BTreeSet<Inode>), Errno> {
        let targets = self.matching(files)?;
        let total: u64 = targets.iter().map(|target| target.durable).sum();
        let (mut flipped, mut touched, mut chosen) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        if total == 0 {
            return Ok((flipped, touched));
        }
        let wanted = usize::try_from(bits).unwrap_or(usize::MAX);
        for _ in 0..wanted.saturating_mul(TRIES_PER_BIT) {
            if flipped.len() == wanted {
                break;
            }
            let mut offset = self.random.random_range(0..total);
            let bit: u8 = self.random.random_range(0..8);
            let Some(target) = targets.iter().find(|target| {
                let here = offset < target.durable;
                if !here {
                    offset -= target.durable;
                }
                here
            }) else {
                continue;
            };
            if self.is_dirty(target.inode, offset) || !chosen.insert((target.inode, offset, bit)) {
                continue;
            }
            self.flip(target.inode, offset, bit)?;
            touched.insert(target.inode);
            flipped.push(FlippedBit { file: target.path.clone(), offset, bit });
        }
        Ok((flipped, touched))
    }

    /// Takes `bytes` bytes off the end of the files that match and are not empty. Answers which, and which
    /// files the kernel must read again.
    ///
    /// # Errors
    /// What the backing folder answers; `EIO` when a file is as long as before.
    pub(super) fn cut_files(
        &mut self,
        files: &FilePattern,
        bytes: u64,
    ) -> Result<(Vec<CutFile>, BTreeSet<Inode>), Errno> {
        let (mut cut, mut touched) = (Vec::new(), BTreeSet::new());
        for target in self.matching(files)? {
            let file = self.tree.file(target.inode)?;
            let Body::Regular { log, size, .. } = &mut self.tree.node_mut(target.inode)?.body else {
                continue;
            };
            let (from, to) = (*size, size.saturating_sub(bytes));
            if from == to {
                continue;
            }
            ftruncate(&*file, signed(to)?)?;
            *size = to;
            if let Some(log) = log {
                log.damage_size(to, to);
            }
            if self.attributes(target.inode)?.size != to {
                return Err(Errno::EIO);
            }
            touched.insert(target.inode);
            cut.push(CutFile { file: target.path, from, to });
        }
        Ok((cut, touched))
    }

    /// Every regular file that matches, in order of path.
    fn matching(&mut self, files: &FilePattern) -> Result<Vec<Target>, Errno> {
        let mut targets = Vec::new();
        let mut directories = vec![(ROOT, String::new())];
        while let Some((directory, prefix)) = directories.pop() {
            for entry in self.list(directory)?.into_iter().skip(2) {
                let path = format!("{prefix}{}", entry.name.to_string_lossy());
                match &self.tree.node(entry.inode)?.body {
                    Body::Directory { .. } => directories.push((entry.inode, format!("{path}/"))),
                    Body::Regular { log, size, .. } if files.matches(&path) => {
                        let durable = log.as_ref().map_or(*size, |log| log.durable_size().min(*size));
                        targets.push(Target { inode: entry.inode, path, durable });
                    }
                    Body::Regular { .. } | Body::Special => {}
                }
            }
        }
        targets.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(targets)
    }

    fn is_dirty(&self, inode: Inode, offset: u64) -> bool {
        let log = self.tree.node(inode).ok().and_then(|node| match &node.body {
            Body::Regular { log, .. } => log.as_ref(),
            Body::Directory { .. } | Body::Special => None,
        });
        log.is_some_and(|log| log.touches(offset..offset + 1))
    }

    fn flip(&mut self, inode: Inode, offset: u64, bit: u8) -> Result<(), Errno> {
        let file = self.tree.file(inode)?;
        let mut byte = [0];
        read_exactly(&file, offset, &mut byte)?;
        let wanted = byte[0] ^ (1 << bit);
        write_all(&file, offset, &[wanted])?;
        read_exactly(&file, offset, &mut byte)?;
        if byte[0] == wanted { Ok(()) } else { Err(Errno::EIO) }
    }
}

struct Target {
    inode: Inode,
    path: String,
    /// Bytes from the start that are in the durable file and in the current one.
    durable: u64,
}
