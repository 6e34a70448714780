//! The kernel's requests, translated for the disk, and the disk's answers translated back.
//!
//! Left out, so that the kernel does it better by itself: locks (held locally), access checks
//! (`default_permissions`), extended attributes (answered once as not supported), flush at close (there is
//! nothing to do), copies between files (done as reads and writes). O_TMPFILE is not supported.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fuser::{
    BsdFileFlags, CopyFileRangeFlags, Errno as FuseErrno, FileAttr, FileHandle, Filesystem, FopenFlags,
    Generation, INodeNo, InitFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen,
    ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use nix::errno::Errno;
use nix::sys::stat::SFlag;
use nix::sys::statvfs::fstatvfs;
use nix::sys::time::TimeSpec;

use super::activity::{Counted, Counts, HELD_AT_MOST};
use super::contents::Sync;
use super::deferred::{Deferred, Pending};
use super::names::{Creator, New};
use super::state::Disk;
use super::tree::{Inode, ROOT};

/// How long the kernel may remember names and attributes. Only a fault changes anything behind its back, and
/// the fault tells it.
const REMEMBER: Duration = Duration::from_secs(86_400);
/// Numbers are never used again, so one generation is enough.
const GENERATION: Generation = Generation(0);
/// Bytes the kernel may send in one write: its own limit for most machines.
const WRITE_MAX: u32 = 1 << 20;

thread_local! {
    /// The buffer that a read is put into before it is sent; kept, since making one would cost as much as
    /// filling it.
    static READ_BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Locks the disk. A thread that panicked while it held the lock leaves the answers wrong, but not unsafe,
/// and has reported why.
pub(super) fn lock(disk: &Mutex<Disk>) -> MutexGuard<'_, Disk> {
    disk.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers an operation that has no result.
pub(super) fn reply_empty(reply: ReplyEmpty, result: Result<(), Errno>) {
    match result {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(fuse(errno)),
    }
}

fn fuse(errno: Errno) -> FuseErrno {
    FuseErrno::from_i32(errno as i32)
}

/// A disk as the kernel sees it.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) disk: Arc<Mutex<Disk>>,
    /// Told when a file is closed.
    pub(super) released: Arc<Condvar>,
    pub(super) deferred: Deferred,
    pub(super) counts: Arc<Counts>,
}

impl Served {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        lock(&self.disk)
    }

    fn make(&self, parent: INodeNo, name: &OsStr, new: New<'_>, creator: Creator, reply: ReplyEntry) {
        let mut disk = self.disk();
        let made = disk.make(Inode(parent.0), name, new, creator);
        entry(made.and_then(|inode| disk.attributes(inode)), reply);
    }

    fn sync(&self, inode: INodeNo, reply: ReplyEmpty) {
        let inode = Inode(inode.0);
        let held = self.counts.count_fsync();
        let mut disk = self.disk();
        if held {
            let (due, forward) = (Instant::now() + HELD_AT_MOST, None);
            return self.deferred.sync(Pending { inode, epoch: disk.epoch, due, forward, reply });
        }
        match disk.sync(inode) {
            Ok(Sync::Answered) => reply.ok(),
            Ok(Sync::Deferred { delay, forward }) => {
                let due = Instant::now() + delay;
                self.deferred.sync(Pending { inode, epoch: disk.epoch, due, forward, reply });
            }
            Err(errno) => reply.error(fuse(errno)),
        }
    }

    /// Returns the entries of an open directory, refreshed when they are read from the start.
    fn listing(
        &self,
        inode: INodeNo,
        handle: FileHandle,
        offset: u64,
    ) -> Result<MutexGuard<'_, Disk>, Errno> {
        let mut disk = self.disk();
        if !disk.listings.contains_key(&handle.0) {
            return Err(Errno::EIO);
        }
        if offset == 0 {
            let listed = disk.list(Inode(inode.0))?;
            disk.listings.insert(handle.0, listed);
        }
        Ok(disk)
    }
}

fn entry(result: Result<FileAttr, Errno>, reply: ReplyEntry) {
    match result {
        Ok(attributes) => reply.entry(&REMEMBER, &attributes, GENERATION),
        Err(errno) => reply.error(fuse(errno)),
    }
}

fn creator(request: &Request, mode: u32, umask: u32) -> Creator {
    Creator { mode: mode & 0o7777 & !umask, uid: request.uid(), gid: request.gid() }
}

fn time_spec(time: Option<TimeOrNow>) -> TimeSpec {
    match time {
        None => TimeSpec::UTIME_OMIT,
        Some(TimeOrNow::Now) => TimeSpec::UTIME_NOW,
        Some(TimeOrNow::SpecificTime(time)) => match time.duration_since(UNIX_EPOCH) {
            Ok(since) => TimeSpec::from_duration(since),
            Err(before) => {
                let before = before.duration();
                // Nanoseconds count forward, also before the epoch.
                let whole = before.as_secs() + u64::from(before.subsec_nanos() > 0);
                let part = Duration::from_secs(whole) - before;
                TimeSpec::new(-i64::try_from(whole).unwrap_or(i64::MAX), i64::from(part.subsec_nanos()))
            }
        },
    }
}

impl Filesystem for Served {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let wanted = InitFlags::FUSE_DO_READDIRPLUS
            | InitFlags::FUSE_READDIRPLUS_AUTO
            | InitFlags::FUSE_PARALLEL_DIROPS
            | InitFlags::FUSE_CACHE_SYMLINKS
            | InitFlags::FUSE_EXPLICIT_INVAL_DATA;
        // Each of them only makes it faster; a kernel without one does without.
        let offered = wanted & config.capabilities();
        let _supported = config.add_capabilities(offered);
        let _nearest = config.set_max_write(WRITE_MAX);
        Ok(())
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let mut disk = self.disk();
        let found = disk.lookup(Inode(parent.0), name);
        entry(found.and_then(|inode| disk.attributes(inode)), reply);
    }

    fn getattr(&self, _request: &Request, inode: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        match self.disk().attributes(Inode(inode.0)) {
            Ok(attributes) => reply.attr(&REMEMBER, &attributes),
            Err(errno) => reply.error(fuse(errno)),
        }
    }

    fn setattr(
        &self,
        _request: &Request,
        inode: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        access: Option<TimeOrNow>,
        modification: Option<TimeOrNow>,
        _change: Option<SystemTime>,
        _handle: Option<FileHandle>,
        _creation: Option<SystemTime>,
        _changed: Option<SystemTime>,
        _backup: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let inode = Inode(inode.0);
        let mut disk = self.disk();
        let mut set = || {
            if let Some(size) = size {
                disk.truncate(inode, size)?;
            }
            if mode.is_some() || uid.is_some() || gid.is_some() {
                disk.set_ownership(inode, mode, uid, gid)?;
            }
            if access.is_some() || modification.is_some() {
                disk.set_times(inode, time_spec(access), time_spec(modification))?;
            }
            disk.attributes(inode)
        };
        match set() {
            Ok(attributes) => reply.attr(&REMEMBER, &attributes),
            Err(errno) => reply.error(fuse(errno)),
        }
    }

    fn readlink(&self, _request: &Request, inode: INodeNo, reply: ReplyData) {
        match self.disk().read_link(Inode(inode.0)) {
            Ok(target) => reply.data(target.as_bytes()),
            Err(errno) => reply.error(fuse(errno)),
        }
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _device: u32,
        reply: ReplyEntry,
    ) {
        let new = match SFlag::from_bits_truncate(mode & SFlag::S_IFMT.bits()) {
            SFlag::S_IFREG => New::File,
            kind @ (SFlag::S_IFIFO | SFlag::S_IFSOCK) => New::Special(kind),
            _ => return reply.error(FuseErrno::EPERM),
        };
        self.make(parent, name, new, creator(request, mode, umask), reply);
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        self.make(parent, name, New::Directory, creator(request, mode, umask), reply);
    }

    fn unlink(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        reply_empty(reply, self.disk().unlink(Inode(parent.0), name));
    }

    fn rmdir(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        reply_empty(reply, self.disk().remove_directory(Inode(parent.0), name));
    }

    fn symlink(&self, request: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        self.make(parent, name, New::Symlink(target.as_os_str()), creator(request, 0o777, 0), reply);
    }

    fn rename(
        &self,
        _request: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let (from, to) = ((Inode(parent.0), name), (Inode(new_parent.0), new_name));
        self.counts.count(Counted::Rename);
        reply_empty(reply, self.disk().rename(from, to, flags));
    }

    fn link(
        &self,
        _request: &Request,
        inode: INodeNo,
        new_parent: INodeNo,
        new_name: &OsStr,
        reply: ReplyEntry,
    ) {
        let mut disk = self.disk();
        let linked = disk.link(Inode(inode.0), Inode(new_parent.0), new_name);
        entry(linked.and_then(|()| disk.attributes(Inode(inode.0))), reply);
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let mut disk = self.disk();
        let parent = Inode(parent.0);
        let mut create = || {
            let inode = match disk.make(parent, name, New::File, creator(request, mode, umask)) {
                Err(Errno::EEXIST) if flags & libc::O_EXCL == 0 => disk.lookup(parent, name)?,
                result => result?,
            };
            disk.open(inode)?;
            disk.attributes(inode)
        };
        match create() {
            Ok(attributes) => {
                let handle = FileHandle(attributes.ino.0);
                reply.created(&REMEMBER, &attributes, GENERATION, handle, FopenFlags::FOPEN_KEEP_CACHE);
            }
            Err(errno) => reply.error(fuse(errno)),
        }
    }

    fn open(&self, _request: &Request, inode: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let mut disk = self.disk();
        let flags = if disk.stale.contains(&Inode(inode.0)) {
            FopenFlags::empty()
        } else {
            FopenFlags::FOPEN_KEEP_CACHE
        };
        match disk.open(Inode(inode.0)) {
            Ok(()) => reply.opened(FileHandle(inode.0), flags),
            Err(errno) => reply.error(fuse(errno)),
        }
    }

    fn read(
        &self,
        _request: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        READ_BUFFER.with_borrow_mut(|buffer| {
            let size = usize::try_from(size).unwrap_or(usize::MAX);
            if buffer.len() < size {
                buffer.resize(size, 0);
            }
            let result = self.disk().read(Inode(inode.0), offset, &mut buffer[..size]);
            match result {
                Ok(count) => reply.data(&buffer[..count]),
                Err(errno) => reply.error(fuse(errno)),
            }
        });
    }

    fn write(
        &self,
        _request: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        self.counts.count(Counted::Write);
        match self.disk().write(Inode(inode.0), offset, data) {
            Ok(count) => reply.written(u32::try_from(count).unwrap_or(u32::MAX)),
            Err(errno) => reply.error(fuse(errno)),
        }
    }

    fn flush(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        _owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        reply.error(FuseErrno::ENOSYS);
    }

    fn release(
        &self,
        _request: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.disk().release(Inode(inode.0));
        self.released.notify_all();
        reply.ok();
    }

    fn fsync(
        &self,
        _request: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        _data_only: bool,
        reply: ReplyEmpty,
    ) {
        self.sync(inode, reply);
    }

    fn fsyncdir(
        &self,
        _request: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        _data_only: bool,
        reply: ReplyEmpty,
    ) {
        self.sync(inode, reply);
    }

    fn opendir(&self, _request: &Request, inode: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let mut disk = self.disk();
        if let Err(errno) = disk.tree.directory(Inode(inode.0)) {
            return reply.error(fuse(errno));
        }
        let handle = disk.new_handle();
        disk.listings.insert(handle, Vec::new());
        reply.opened(FileHandle(handle), FopenFlags::empty());
    }

    fn readdir(
        &self,
        _request: &Request,
        inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let disk = match self.listing(inode, handle, offset) {
            Ok(disk) => disk,
            Err(errno) => return reply.error(fuse(errno)),
        };
        for (place, listed) in
            (1..).zip(&disk.listings[&handle.0]).skip(usize::try_from(offset).unwrap_or(usize::MAX))
        {
            if reply.add(INodeNo(listed.inode.0), place, listed.kind, &listed.name) {
                break;
            }
        }
        reply.ok();
    }

    fn readdirplus(
        &self,
        _request: &Request,
        inode: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let mut disk = match self.listing(inode, handle, offset) {
            Ok(disk) => disk,
            Err(errno) => return reply.error(fuse(errno)),
        };
        let mut at = usize::try_from(offset).unwrap_or(usize::MAX);
        while let Some(listed) = disk.listings[&handle.0].get(at).cloned() {
            at += 1;
            // The kernel takes the answer for what the name means now, and the listing is from when the directory was opened:
            // meanwhile the name may be gone, or another file's.
            let Ok(Some(meant)) = disk.meant(Inode(inode.0), &listed) else { continue };
            let Ok(attributes) = disk.attributes(meant) else { continue };
            if reply.add(attributes.ino, at as u64, &listed.name, &REMEMBER, &attributes, GENERATION) {
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(
        &self,
        _request: &Request,
        _inode: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.disk().listings.remove(&handle.0);
        reply.ok();
    }

    fn statfs(&self, _request: &Request, _inode: INodeNo, reply: ReplyStatfs) {
        let disk = self.disk();
        let status = match disk.tree.directory(ROOT).and_then(fstatvfs) {
            Ok(status) => status,
            Err(errno) => return reply.error(fuse(errno)),
        };
        let unit = status.fragment_size().max(1);
        let limit = |blocks: u64| disk.active.free_bytes().map_or(blocks, |free| blocks.min(free / unit));
        let narrow = |size: u64| u32::try_from(size).unwrap_or(u32::MAX);
        reply.statfs(
            status.blocks(),
            limit(status.blocks_free()),
            limit(status.blocks_available()),
            status.files(),
            status.files_free(),
            narrow(status.block_size()),
            narrow(status.name_max()),
            narrow(status.fragment_size()),
        );
    }

    fn setxattr(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _name: &OsStr,
        _value: &[u8],
        _flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        reply.error(FuseErrno::ENOSYS);
    }

    fn getxattr(&self, _request: &Request, _inode: INodeNo, _name: &OsStr, _size: u32, reply: ReplyXattr) {
        reply.error(FuseErrno::ENOSYS);
    }

    fn listxattr(&self, _request: &Request, _inode: INodeNo, _size: u32, reply: ReplyXattr) {
        reply.error(FuseErrno::ENOSYS);
    }

    fn removexattr(&self, _request: &Request, _inode: INodeNo, _name: &OsStr, reply: ReplyEmpty) {
        reply.error(FuseErrno::ENOSYS);
    }

    fn fallocate(
        &self,
        _request: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        reply_empty(reply, self.disk().fallocate(Inode(inode.0), offset, length, mode));
    }

    fn lseek(
        &self,
        _request: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        match self.disk().seek(Inode(inode.0), offset, whence) {
            Ok(offset) => reply.offset(offset),
            Err(errno) => reply.error(fuse(errno)),
        }
    }

    fn copy_file_range(
        &self,
        _request: &Request,
        _inode_in: INodeNo,
        _handle_in: FileHandle,
        _offset_in: u64,
        _inode_out: INodeNo,
        _handle_out: FileHandle,
        _offset_out: u64,
        _length: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        reply.error(FuseErrno::ENOSYS);
    }
}
