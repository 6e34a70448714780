//! The one owner of everything a disk knows: its files, its undo log, and the faults in force.
//!
//! The thread that answers the kernel, the one that delays fsyncs and the one that injects faults take turns
//! at it. Nothing in here calls into the mounted file system: that would wait for an answer only the owner
//! can give.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use fuser::FileAttr;
use fuser::INodeNo;
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{FileStat, Mode};
use nix::unistd::{UnlinkatFlags, unlinkat};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::active::{Active, Requester};
use super::crash::{RecordedOperation, Recording};
use super::journal::{Attributes, Journal};
use super::options::{DiskOptions, Semantics};
use super::tree::{Body, Inode, LIMBO, ROOT, Tree, file_type};

/// The file by which a disk probes itself, in the root of the mount. It is listed in no directory, and what
/// happens to it is not in the journal.
pub(super) const PROBE: &str = ".duress-probe";

/// The state of a disk.
#[derive(Debug)]
pub(super) struct Disk {
    pub(super) options: DiskOptions,
    pub(super) tree: Tree,
    pub(super) journal: Journal,
    pub(super) active: Active,
    /// Directories that the kernel has open, with their entries when they were last read from the start.
    pub(super) listings: BTreeMap<u64, Vec<Listed>>,
    /// Files whose pages the kernel is to forget when a process opens them.
    pub(super) stale: BTreeSet<Inode>,
    pub(super) random: ChaCha8Rng,
    /// The number of power losses; requests made before one are not answered after it.
    pub(super) epoch: u64,
    /// Whether the power is off: the disk does nothing until the power loss is complete.
    pub(super) power: Power,
    /// The operations in order, if they are recorded.
    pub(super) recording: Option<Recording>,
    next_handle: u64,
    next_limbo: u64,
}

/// Whether a disk works at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Power {
    /// It does.
    On,
    /// Every operation fails, and nothing becomes durable.
    Off,
}

/// An entry of a directory that is being read.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    pub(super) inode: Inode,
    pub(super) kind: fuser::FileType,
    pub(super) name: OsString,
}

impl Disk {
    /// Returns a disk over two open directories of one file system.
    ///
    /// # Errors
    /// When they cannot be read, or limbo not emptied.
    pub(super) fn new(root: OwnedFd, limbo: OwnedFd, options: DiskOptions) -> Result<Self, Errno> {
        let mut disk = Self {
            tree: Tree::new(root, limbo)?,
            journal: Journal::default(),
            active: Active::new(options.seed),
            listings: BTreeMap::new(),
            stale: BTreeSet::new(),
            random: ChaCha8Rng::seed_from_u64(options.seed),
            epoch: 0,
            power: Power::On,
            recording: None,
            next_handle: 1,
            next_limbo: 0,
            options,
        };
        disk.empty_limbo()?;
        Ok(disk)
    }

    /// Whether anything can be done at all.
    ///
    /// # Errors
    /// `EIO` when the power is off.
    pub(super) fn check_power(&self) -> Result<(), Errno> {
        if self.power == Power::On { Ok(()) } else { Err(Errno::EIO) }
    }

    /// Takes the power away: pending requests will not be carried out.
    pub(super) fn cut_power(&mut self) {
        self.power = Power::Off;
        self.epoch += 1;
    }

    /// Records an operation of the node, if operations are recorded.
    pub(super) fn record(&mut self, requester: Requester, operation: impl FnOnce() -> RecordedOperation) {
        if let (Some(recording), Requester::Node) = (&mut self.recording, requester) {
            recording.push(operation());
        }
    }

    /// Returns a handle that has not been given before.
    pub(super) fn new_handle(&mut self) -> u64 {
        self.next_handle += 1;
        self.next_handle
    }

    /// Returns a name in limbo that has not been given before.
    pub(super) fn limbo_name(&mut self) -> OsString {
        self.next_limbo += 1;
        OsString::from(self.next_limbo.to_string())
    }

    /// Whether `name` in `parent` is the probe's.
    pub(super) fn is_probe(parent: Inode, name: &OsStr) -> bool {
        parent == ROOT && name == PROBE
    }

    /// Returns the attributes of `inode` as the kernel wants them.
    ///
    /// # Errors
    /// `EIO` when it is stale, and any error of the backing folder.
    pub(super) fn attributes(&self, inode: Inode) -> Result<FileAttr, Errno> {
        let stat = self.tree.stat(inode)?;
        let in_limbo = self.tree.node(inode)?.links.iter().filter(|link| link.parent == LIMBO).count();
        Ok(file_attr(inode, &stat, u32::try_from(in_limbo).unwrap_or(u32::MAX)))
    }

    /// Owner and permissions of `inode`, as the journal keeps them.
    ///
    /// # Errors
    /// As [`Disk::attributes`].
    pub(super) fn ownership(&self, inode: Inode) -> Result<Attributes, Errno> {
        let stat = self.tree.stat(inode)?;
        Ok(Attributes { mode: stat.st_mode & 0o7777, uid: stat.st_uid, gid: stat.st_gid })
    }

    /// Makes the content of `inode` durable, and everything else that the semantics include.
    ///
    /// # Errors
    /// `EIO` when it is stale.
    pub(super) fn commit_file(&mut self, inode: Inode) -> Result<(), Errno> {
        let node = self.tree.node_mut(inode)?;
        let probe = node.links.iter().any(|link| Self::is_probe(link.parent, &link.name));
        if let Body::Regular { log, .. } = &mut node.body {
            *log = None;
        }
        if probe {
            return Ok(());
        }
        self.record(Requester::Node, || RecordedOperation::Sync { file: inode.0 });
        self.commit_metadata(inode)
    }

    /// Makes durable what an fsync of the directory `inode` does.
    ///
    /// # Errors
    /// `EIO` when the backing folder cannot be cleaned up.
    pub(super) fn commit_metadata(&mut self, inode: Inode) -> Result<(), Errno> {
        if self.journal.len() == 0 {
            return Ok(());
        }
        match self.options.semantics {
            Semantics::Journal => {
                let sizes = self.journal.commit_all();
                self.commit_sizes(sizes);
            }
            Semantics::Strict => self.journal.commit_domain(inode),
        }
        self.purge_limbo()
    }

    /// Hands sizes that became durable on to the files' own logs.
    pub(super) fn commit_sizes(&mut self, sizes: Vec<super::journal::CommittedSize>) {
        for committed in sizes {
            if let Ok(node) = self.tree.node_mut(committed.inode)
                && let Body::Regular { log: Some(log), size, .. } = &mut node.body
            {
                log.commit_size(committed.size, committed.sequence, *size);
            }
        }
    }

    /// Removes from limbo what no power loss can bring back any more.
    fn purge_limbo(&mut self) -> Result<(), Errno> {
        if self.tree.children(LIMBO).next().is_none() {
            return Ok(());
        }
        let referenced = self.journal.referenced();
        let gone: Vec<(OsString, Inode)> = self
            .tree
            .children(LIMBO)
            .filter(|(_, inode)| !referenced.contains(inode))
            .map(|(name, inode)| (name.to_owned(), inode))
            .collect();
        for (name, inode) in gone {
            let is_directory = matches!(self.tree.node(inode)?.body, Body::Directory { .. });
            let flag = if is_directory { UnlinkatFlags::RemoveDir } else { UnlinkatFlags::NoRemoveDir };
            unlinkat(self.tree.directory(LIMBO)?, name.as_os_str(), flag)?;
            self.tree.remove_link(inode, LIMBO, &name);
        }
        Ok(())
    }

    /// Removes everything in limbo, known or not, with all that is below it.
    ///
    /// # Errors
    /// Any error of the backing folder.
    pub(super) fn empty_limbo(&mut self) -> Result<(), Errno> {
        remove_below(self.tree.directory(LIMBO)?)
    }
}

/// Removes everything below an open directory.
fn remove_below(directory: std::os::fd::BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut listing = Dir::openat(directory, ".", flags, Mode::empty())?;
    let mut names = Vec::new();
    for entry in listing.iter() {
        let name = entry?.file_name().to_owned();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name);
        }
    }
    for name in names {
        match unlinkat(directory, name.as_c_str(), UnlinkatFlags::NoRemoveDir) {
            // POSIX says EPERM where Linux says EISDIR.
            Err(Errno::EISDIR | Errno::EPERM) => {
                let below = openat(directory, name.as_c_str(), flags, Mode::empty())?;
                remove_below(std::os::fd::AsFd::as_fd(&below))?;
                unlinkat(directory, name.as_c_str(), UnlinkatFlags::RemoveDir)?;
            }
            result => result?,
        }
    }
    Ok(())
}

fn file_attr(inode: Inode, stat: &FileStat, in_limbo: u32) -> FileAttr {
    let time = |seconds: i64, nanoseconds: i64| {
        let nanoseconds = Duration::from_nanos(nanoseconds.unsigned_abs());
        let whole = Duration::from_secs(seconds.unsigned_abs());
        if seconds < 0 { UNIX_EPOCH - whole + nanoseconds } else { UNIX_EPOCH + whole + nanoseconds }
    };
    FileAttr {
        ino: INodeNo(inode.0),
        size: u64::try_from(stat.st_size).unwrap_or_default(),
        blocks: u64::try_from(stat.st_blocks).unwrap_or_default(),
        atime: time(stat.st_atime, stat.st_atime_nsec),
        mtime: time(stat.st_mtime, stat.st_mtime_nsec),
        ctime: time(stat.st_ctime, stat.st_ctime_nsec),
        crtime: UNIX_EPOCH,
        kind: file_type(stat.st_mode),
        perm: u16::try_from(stat.st_mode & 0o7777).unwrap_or_default(),
        nlink: u32::try_from(stat.st_nlink).unwrap_or(u32::MAX).saturating_sub(in_limbo),
        uid: stat.st_uid,
        gid: stat.st_gid,
        rdev: u32::try_from(stat.st_rdev).unwrap_or_default(),
        blksize: 4096,
        flags: 0,
    }
}

/// Reads exactly `buffer` from `offset`; bytes beyond the end read as zeros.
///
/// # Errors
/// Any error of the backing file.
pub(super) fn read_exactly(file: &OwnedFd, offset: u64, buffer: &mut [u8]) -> Result<(), Errno> {
    let count = read_up_to(file, offset, buffer)?;
    buffer[count..].fill(0);
    Ok(())
}

/// Reads into `buffer` from `offset` until it is full or the file ends.
///
/// # Errors
/// Any error of the backing file.
pub(super) fn read_up_to(file: &OwnedFd, offset: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
    let mut done = 0;
    while done < buffer.len() {
        match nix::sys::uio::pread(file, &mut buffer[done..], signed(offset + done as u64)?) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(done)
}

/// Writes all of `data` at `offset`.
///
/// # Errors
/// Any error of the backing file.
pub(super) fn write_all(file: &OwnedFd, offset: u64, data: &[u8]) -> Result<(), Errno> {
    let mut done = 0;
    while done < data.len() {
        match nix::sys::uio::pwrite(file, &data[done..], signed(offset + done as u64)?) {
            Ok(0) => return Err(Errno::EIO),
            Ok(count) => done += count,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Returns an offset as the system calls take it.
///
/// # Errors
/// `EFBIG` when it is too large for them.
pub(super) fn signed(offset: u64) -> Result<i64, Errno> {
    i64::try_from(offset).map_err(|_| Errno::EFBIG)
}

/// Returns the number that an I/O error carries; `EIO` when it carries none.
pub(super) fn errno(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

/// A file shared between the owner and a thread that syncs it.
pub(super) type SharedFile = Arc<OwnedFd>;
