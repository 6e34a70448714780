//! Operations on the content of files: written through to the backing folder, and noted in the file's undo
//! log first.

use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::FallocateFlags;
use nix::unistd::{Whence, ftruncate, lseek};

use super::active::{Requester, SyncAnswer};
use super::crash::RecordedOperation;
use super::fault::IoKind;
use super::file_log::FileLog;
use super::journal::Change;
use super::options::RealFsync;
use super::state::{Disk, SharedFile, read_exactly, read_up_to, signed, write_all};
use super::tree::{Body, Inode};

/// How an fsync is answered.
#[derive(Debug)]
pub(super) enum Sync {
    /// At once: it is done, or it is a lie.
    Answered,
    /// Later, by the thread that waits for the delay and the machine's own disk, and then commits.
    Deferred {
        /// How long to wait.
        delay: Duration,
        /// The file to sync on the machine's own disk.
        forward: Option<SharedFile>,
    },
}

impl Disk {
    /// Opens a file once more.
    ///
    /// # Errors
    /// `EIO` when it is stale, and any error of the backing folder.
    pub(super) fn open(&mut self, inode: Inode) -> Result<(), Errno> {
        let opened = self.tree.file(inode)?;
        if let Body::Regular { file, opens, .. } = &mut self.tree.node_mut(inode)?.body {
            *file = Some(opened);
            *opens += 1;
        }
        Ok(())
    }

    /// Closes a file once; does nothing for a stale one.
    pub(super) fn release(&mut self, inode: Inode) {
        if let Ok(node) = self.tree.node_mut(inode)
            && let Body::Regular { file, opens, .. } = &mut node.body
        {
            *opens = opens.saturating_sub(1);
            if *opens == 0 {
                *file = None;
                self.tree.forget_if_gone(inode);
            }
        }
    }

    /// Reads from `offset` until `buffer` is full or the file ends. Returns the number of bytes.
    ///
    /// # Errors
    /// `EIO` when it is stale or a fault says so, and any error of the backing file.
    pub(super) fn read(&mut self, inode: Inode, offset: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
        self.check_power()?;
        let (active, tree) = (&mut self.active, &self.tree);
        active.check(IoKind::Reads, || tree.path(inode))?;
        read_up_to(&*self.tree.file(inode)?, offset, buffer)
    }

    /// Writes `data` at `offset`. Returns the number of bytes for which there was space.
    ///
    /// # Errors
    /// `EIO` when it is stale or a fault says so, `ENOSPC`, and any error of the backing file.
    pub(super) fn write(&mut self, inode: Inode, offset: u64, data: &[u8]) -> Result<usize, Errno> {
        self.check_power()?;
        let (active, tree) = (&mut self.active, &self.tree);
        active.check(IoKind::Writes, || tree.path(inode))?;
        let file = self.tree.file(inode)?;
        let requester = self.asked_by(inode);
        let Body::Regular { log, size, .. } = &mut self.tree.node_mut(inode)?.body else {
            return Err(Errno::EINVAL);
        };
        let wanted = offset.checked_add(data.len() as u64).ok_or(Errno::EFBIG)?;
        let growth = wanted.saturating_sub(*size);
        let granted = self.active.grow(growth, requester)?;
        // A write that fits in part is written in part, as on a disk that fills up; if the space does not
        // even reach from the end of the file to the offset, nothing is written.
        let end = wanted - (growth - granted);
        if end <= offset && !data.is_empty() {
            self.active.shrink(granted);
            return Err(Errno::ENOSPC);
        }
        let data = &data[..usize::try_from(end - offset).unwrap_or(data.len()).min(data.len())];
        log.get_or_insert_with(|| FileLog::new(*size))
            .replace(offset..end, |at, buffer| read_exactly(&file, at, buffer))?;
        let result = write_all(&file, offset, data);
        *size = match result {
            Ok(()) => end.max(*size),
            Err(_) => size_of(&file)?,
        };
        if result.is_ok() {
            self.record(requester, || RecordedOperation::Write {
                file: inode.0,
                offset,
                data: data.to_vec(),
            });
        }
        result.map(|()| data.len())
    }

    /// Cuts or extends a file to `to` bytes.
    ///
    /// # Errors
    /// As [`Disk::write`].
    pub(super) fn truncate(&mut self, inode: Inode, to: u64) -> Result<(), Errno> {
        self.check_power()?;
        let (active, tree) = (&mut self.active, &self.tree);
        active.check(IoKind::Writes, || tree.path(inode))?;
        let file = self.tree.file(inode)?;
        let requester = self.asked_by(inode);
        let sequence = self.journal.next_sequence();
        let Body::Regular { log, size, .. } = &mut self.tree.node_mut(inode)?.body else {
            return Err(Errno::EINVAL);
        };
        let growth = to.saturating_sub(*size);
        self.active.grow_whole(growth, requester)?;
        self.active.shrink(size.saturating_sub(to));
        if to == *size {
            return ftruncate(&*file, signed(to)?);
        }
        let log = log.get_or_insert_with(|| FileLog::new(*size));
        if to < *size {
            log.shrink(to, sequence, |at, buffer| read_exactly(&file, at, buffer))?;
        }
        ftruncate(&*file, signed(to)?)?;
        *size = to;
        self.journal.resize(inode, to);
        self.record(requester, || RecordedOperation::Changes(vec![Change::Size { inode, size: to }]));
        Ok(())
    }

    /// Reserves, zeroes or gives back a range of a file, as fallocate(2).
    ///
    /// # Errors
    /// `EOPNOTSUPP` for a mode that is not one of these or that the backing folder cannot do; else as
    /// [`Disk::write`].
    pub(super) fn fallocate(
        &mut self,
        inode: Inode,
        offset: u64,
        length: u64,
        mode: i32,
    ) -> Result<(), Errno> {
        const ZERO_RANGE: FallocateFlags = FallocateFlags::FALLOC_FL_ZERO_RANGE;
        const PUNCH_HOLE: FallocateFlags = FallocateFlags::FALLOC_FL_PUNCH_HOLE;
        const KEEP_SIZE: FallocateFlags = FallocateFlags::FALLOC_FL_KEEP_SIZE;
        let flags = FallocateFlags::from_bits(mode).ok_or(Errno::EOPNOTSUPP)?;
        let supported =
            [FallocateFlags::empty(), KEEP_SIZE, ZERO_RANGE, ZERO_RANGE | KEEP_SIZE, PUNCH_HOLE | KEEP_SIZE];
        if !supported.contains(&flags) {
            return Err(Errno::EOPNOTSUPP);
        }
        self.check_power()?;
        let (active, tree) = (&mut self.active, &self.tree);
        active.check(IoKind::Writes, || tree.path(inode))?;
        let file = self.tree.file(inode)?;
        let requester = self.asked_by(inode);
        let Body::Regular { log, size, .. } = &mut self.tree.node_mut(inode)?.body else {
            return Err(Errno::EINVAL);
        };
        let end = offset.checked_add(length).ok_or(Errno::EFBIG)?;
        if !flags.contains(KEEP_SIZE) {
            let growth = end.saturating_sub(*size);
            self.active.grow_whole(growth, requester)?;
        }
        if flags.intersects(ZERO_RANGE | PUNCH_HOLE) || (!flags.contains(KEEP_SIZE) && end > *size) {
            // Only zeroed ranges change; reserved ones hold zeros before and after.
            let zeroed = if flags.intersects(ZERO_RANGE | PUNCH_HOLE) {
                offset.min(*size)..end.min(*size)
            } else {
                0..0
            };
            log.get_or_insert_with(|| FileLog::new(*size))
                .replace(zeroed, |at, buffer| read_exactly(&file, at, buffer))?;
        }
        let result = nix::fcntl::fallocate(&*file, flags, signed(offset)?, signed(length)?);
        let before = std::mem::replace(size, size_of(&file)?);
        let now = *size;
        if result.is_ok() && flags.intersects(ZERO_RANGE | PUNCH_HOLE) {
            let zeroed = usize::try_from(end.min(before).saturating_sub(offset)).map_err(|_| Errno::EFBIG)?;
            self.record(requester, || RecordedOperation::Write {
                file: inode.0,
                offset,
                data: vec![0; zeroed],
            });
        }
        if now > before {
            self.record(requester, || RecordedOperation::Extend { file: inode.0, size: now });
        }
        result
    }

    /// Finds the next data or hole, as lseek(2).
    ///
    /// # Errors
    /// `ENXIO` beyond the end; `EINVAL` for another `whence`; any error of the backing file.
    pub(super) fn seek(&mut self, inode: Inode, offset: i64, whence: i32) -> Result<i64, Errno> {
        let whence = match whence {
            libc::SEEK_DATA => Whence::SeekData,
            libc::SEEK_HOLE => Whence::SeekHole,
            _ => return Err(Errno::EINVAL),
        };
        lseek(&*self.tree.file(inode)?, offset, whence)
    }

    /// Performs an fsync, fdatasync or, for a directory, fsyncdir: done, answered without being done, or to
    /// be done later.
    ///
    /// # Errors
    /// `EIO` when it is stale or a fault says so.
    pub(super) fn sync(&mut self, inode: Inode) -> Result<Sync, Errno> {
        self.check_power()?;
        let (active, tree) = (&mut self.active, &self.tree);
        active.check(IoKind::Fsync, || tree.path(inode))?;
        self.tree.node(inode)?;
        match self.active.answer_sync(self.asked_by(inode)) {
            SyncAnswer::Lie => Ok(Sync::Answered),
            SyncAnswer::Commit(delay) => {
                let forward = match self.options.real_fsync {
                    RealFsync::Kept => None,
                    RealFsync::Forwarded => Some(self.file_to_forward(inode)?),
                };
                if delay.is_zero() && forward.is_none() {
                    self.commit_file(inode)?;
                    return Ok(Sync::Answered);
                }
                Ok(Sync::Deferred { delay, forward })
            }
        }
    }

    /// Returns the source of an operation on `inode`.
    fn asked_by(&self, inode: Inode) -> Requester {
        match self.tree.node(inode) {
            Ok(node) if node.links.iter().any(|link| Self::is_probe(link.parent, &link.name)) => {
                Requester::Probe
            }
            _ => Requester::Node,
        }
    }

    fn file_to_forward(&mut self, inode: Inode) -> Result<SharedFile, Errno> {
        match &self.tree.node(inode)?.body {
            Body::Directory { fd, .. } => {
                fd.try_clone().map(std::sync::Arc::new).map_err(|error| super::state::errno(&error))
            }
            Body::Regular { .. } | Body::Special => self.tree.file(inode),
        }
    }
}

fn size_of(file: &OwnedFd) -> Result<u64, Errno> {
    Ok(u64::try_from(nix::sys::stat::fstat(file)?.st_size).unwrap_or_default())
}
