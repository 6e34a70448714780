//! Operations on names: files made, linked, renamed and removed in the backing folder, and entered in the
//! journal.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, RenameFlags, openat, readlinkat, renameat, renameat2};
use nix::sys::stat::{
    FchmodatFlags, Mode, SFlag, UtimensatFlags, fchmod, fchmodat, fstatat, futimens, mkdirat, mknodat,
    utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fchownat, linkat, symlinkat, unlinkat};

use super::active::Requester;
use super::crash::{FileKind, RecordedOperation};
use super::journal::Change;
use super::state::{Disk, Listed, PROBE};
use super::tree::{Body, Inode, LIMBO, ROOT, file_type};

/// The owner and the permissions of a new file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Creator {
    /// Permission bits, the umask taken off.
    pub(super) mode: u32,
    /// Owner.
    pub(super) uid: u32,
    /// Group.
    pub(super) gid: u32,
}

/// The kind of file that a new name refers to.
#[derive(Clone, Copy, Debug)]
pub(super) enum New<'a> {
    /// A regular file, empty.
    File,
    /// A directory, empty.
    Directory,
    /// A symbolic link to this.
    Symlink(&'a OsStr),
    /// A pipe, a socket or the like.
    Special(SFlag),
}

impl New<'_> {
    fn kind(self) -> FileKind {
        match self {
            Self::File => FileKind::Regular,
            Self::Directory => FileKind::Directory,
            Self::Symlink(target) => FileKind::Symlink(target.to_owned()),
            Self::Special(_) => FileKind::Special,
        }
    }
}

impl Disk {
    /// Returns the file that `name` in `parent` refers to.
    ///
    /// # Errors
    /// `ENOENT`; `EIO` when `parent` is stale; any error of the backing folder.
    pub(super) fn lookup(&mut self, parent: Inode, name: &OsStr) -> Result<Inode, Errno> {
        self.tree.lookup(parent, name)
    }

    /// Makes a new file under `name` of `parent`.
    ///
    /// # Errors
    /// `EEXIST`, `ENOSPC`; `EIO` when `parent` is stale; any error of the backing folder.
    pub(super) fn make(
        &mut self,
        parent: Inode,
        name: &OsStr,
        new: New<'_>,
        creator: Creator,
    ) -> Result<Inode, Errno> {
        self.check_power()?;
        if !Self::is_probe(parent, name) {
            self.active.create()?;
        }
        let directory = self.tree.directory(parent)?;
        let mode = Mode::from_bits_truncate(creator.mode);
        match new {
            New::File => {
                let flags =
                    OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                drop(openat(directory, name, flags, mode)?);
            }
            New::Directory => mkdirat(directory, name, mode)?,
            New::Symlink(target) => symlinkat(target, directory, name)?,
            New::Special(kind) => mknodat(directory, name, kind, mode, 0)?,
        }
        let is_symlink = matches!(new, New::Symlink(_));
        let remove = || {
            let flag = if matches!(new, New::Directory) {
                UnlinkatFlags::RemoveDir
            } else {
                UnlinkatFlags::NoRemoveDir
            };
            unlinkat(directory, name, flag)
        };
        if let Err(errno) = own(directory, name, creator, is_symlink) {
            remove()?;
            return Err(errno);
        }
        let stat = fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        let inode = self.tree.adopt(parent, name, &stat)?;
        let requester = if Self::is_probe(parent, name) { Requester::Probe } else { Requester::Node };
        self.record(requester, || RecordedOperation::New { file: inode.0, kind: new.kind() });
        self.renamed(vec![(parent, name.to_owned(), None, Some(inode))]);
        Ok(inode)
    }

    /// Gives `inode` another name.
    ///
    /// # Errors
    /// `EEXIST`, `ENOSPC`; `EIO` when something is stale; any error of the backing folder.
    pub(super) fn link(&mut self, inode: Inode, parent: Inode, name: &OsStr) -> Result<(), Errno> {
        self.check_power()?;
        self.active.create()?;
        let (directory, old) = self.tree.place(inode)?;
        linkat(directory, old, self.tree.directory(parent)?, name, AtFlags::empty())?;
        self.tree.add_link(inode, parent, name);
        self.renamed(vec![(parent, name.to_owned(), None, Some(inode))]);
        Ok(())
    }

    /// Removes the name of a file.
    ///
    /// # Errors
    /// `ENOENT`, `EISDIR`; `EIO` when `parent` is stale; any error of the backing folder.
    pub(super) fn unlink(&mut self, parent: Inode, name: &OsStr) -> Result<(), Errno> {
        self.check_power()?;
        let inode = self.tree.lookup(parent, name)?;
        if matches!(self.tree.node(inode)?.body, Body::Directory { .. }) {
            return Err(Errno::EISDIR);
        }
        if let Body::Regular { size, .. } = self.tree.node(inode)?.body
            && self.attributes(inode)?.nlink == 1
        {
            self.active.shrink(size);
        }
        if Self::is_probe(parent, name) {
            unlinkat(self.tree.directory(parent)?, name, UnlinkatFlags::NoRemoveDir)?;
            self.tree.remove_link(inode, parent, name);
            return Ok(());
        }
        self.move_to_limbo(inode, parent, name)?;
        self.renamed(vec![(parent, name.to_owned(), Some(inode), None)]);
        Ok(())
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR`, `ENOTEMPTY`; `EIO` when something is stale; any error of the backing folder.
    pub(super) fn remove_directory(&mut self, parent: Inode, name: &OsStr) -> Result<(), Errno> {
        self.check_power()?;
        let inode = self.tree.lookup(parent, name)?;
        self.check_empty(inode)?;
        self.move_to_limbo(inode, parent, name)?;
        self.renamed(vec![(parent, name.to_owned(), Some(inode), None)]);
        Ok(())
    }

    /// Renames, replacing the target of the new name unless `flags` say otherwise.
    ///
    /// # Errors
    /// `ENOENT`, `EEXIST`, `ENOTEMPTY`, `EISDIR`, `ENOTDIR`, `EINVAL` for flags not supported; `EIO` when
    /// something is stale; any error of the backing folder.
    pub(super) fn rename(
        &mut self,
        from: (Inode, &OsStr),
        to: (Inode, &OsStr),
        flags: fuser::RenameFlags,
    ) -> Result<(), Errno> {
        self.check_power()?;
        let moved = self.tree.lookup(from.0, from.1)?;
        let target = self.tree.find(to.0, to.1)?;
        let names = |target_after: Option<Inode>| {
            vec![
                (from.0, from.1.to_owned(), Some(moved), target_after),
                (to.0, to.1.to_owned(), target, Some(moved)),
            ]
        };
        if flags == fuser::RenameFlags::RENAME_EXCHANGE {
            let target = target.ok_or(Errno::ENOENT)?;
            let (a, b) = (self.tree.directory(from.0)?, self.tree.directory(to.0)?);
            renameat2(a, from.1, b, to.1, RenameFlags::RENAME_EXCHANGE)?;
            self.tree.move_link(moved, from, to);
            self.tree.move_link(target, to, from);
            self.renamed(names(Some(target)));
            return Ok(());
        }
        if flags != fuser::RenameFlags::empty() && flags != fuser::RenameFlags::RENAME_NOREPLACE {
            return Err(Errno::EINVAL);
        }
        match target {
            Some(_) if flags == fuser::RenameFlags::RENAME_NOREPLACE => return Err(Errno::EEXIST),
            // Both names are of one file: POSIX makes this a no-op.
            Some(target) if target == moved => return Ok(()),
            Some(target) => {
                let is_directory = |inode| Ok(matches!(self.tree.node(inode)?.body, Body::Directory { .. }));
                match (is_directory(moved)?, is_directory(target)?) {
                    (false, true) => return Err(Errno::EISDIR),
                    (true, false) => return Err(Errno::ENOTDIR),
                    (true, true) => self.check_empty(target)?,
                    (false, false) => {}
                }
                let limbo = self.move_to_limbo(target, to.0, to.1)?;
                if let Err(errno) = self.move_name(moved, from, to) {
                    self.move_name(target, (LIMBO, &limbo), to)?;
                    return Err(errno);
                }
            }
            None => self.move_name(moved, from, to)?,
        }
        self.renamed(names(None));
        Ok(())
    }

    /// Returns the target of a symbolic link.
    ///
    /// # Errors
    /// `EIO` when it is stale; any error of the backing folder.
    pub(super) fn read_link(&self, inode: Inode) -> Result<OsString, Errno> {
        let (directory, name) = self.tree.place(inode)?;
        readlinkat(directory, name)
    }

    /// Sets permissions and owner.
    ///
    /// # Errors
    /// `EIO` when it is stale; any error of the backing folder.
    pub(super) fn set_ownership(
        &mut self,
        inode: Inode,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
    ) -> Result<(), Errno> {
        self.check_power()?;
        let before = self.ownership(inode)?;
        let (owner, group) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
        let mode = mode.map(Mode::from_bits_truncate);
        match self.place_or_open(inode)? {
            Found::Open(fd) => {
                fchown(fd, owner, group)?;
                mode.map_or(Ok(()), |mode| fchmod(fd, mode))?;
            }
            Found::Named(directory, name) => {
                fchownat(directory, name, owner, group, AtFlags::AT_SYMLINK_NOFOLLOW)?;
                mode.map_or(Ok(()), |mode| fchmodat(directory, name, mode, FchmodatFlags::FollowSymlink))?;
            }
        }
        let now = self.ownership(inode)?;
        if now != before {
            self.journal.set_attributes(inode, before, now);
        }
        Ok(())
    }

    /// Sets the times of access and modification. A power loss does not bring back earlier ones.
    ///
    /// # Errors
    /// `EIO` when it is stale; any error of the backing folder.
    pub(super) fn set_times(
        &self,
        inode: Inode,
        access: TimeSpec,
        modification: TimeSpec,
    ) -> Result<(), Errno> {
        match self.place_or_open(inode)? {
            Found::Open(fd) => futimens(fd, &access, &modification),
            Found::Named(directory, name) => {
                utimensat(directory, name, &access, &modification, UtimensatFlags::NoFollowSymlink)
            }
        }
    }

    /// Returns the entries of the directory `inode`, itself and its parent first.
    ///
    /// # Errors
    /// `ENOTDIR`; `EIO` when it is stale; any error of the backing folder.
    pub(super) fn list(&mut self, inode: Inode) -> Result<Vec<Listed>, Errno> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut listing = Dir::openat(self.tree.directory(inode)?, ".", flags, Mode::empty())?;
        let parent = self.tree.node(inode)?.links.first().map_or(ROOT, |link| link.parent);
        let directory =
            |inode, name: &str| Listed { inode, kind: fuser::FileType::Directory, name: name.into() };
        let mut listed = vec![directory(inode, "."), directory(parent, "..")];
        for entry in listing.iter() {
            let entry = entry?;
            let name: &OsStr = std::os::unix::ffi::OsStrExt::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." || Self::is_probe(inode, name) {
                continue;
            }
            // The number must be the one that stat(2) will return.
            let child = self.tree.lookup(inode, name)?;
            let kind = file_type(self.tree.stat(child)?.st_mode);
            listed.push(Listed { inode: child, kind, name: name.to_owned() });
        }
        Ok(listed)
    }

    /// Returns the file that a listed name of the directory `parent` refers to by now, if any.
    ///
    /// # Errors
    /// Any error of the backing folder, save `ENOENT`.
    pub(super) fn meant(&mut self, parent: Inode, listed: &Listed) -> Result<Option<Inode>, Errno> {
        if listed.name == "." || listed.name == ".." {
            return Ok(Some(listed.inode));
        }
        self.tree.find(parent, &listed.name)
    }

    /// Moves a name into limbo, where a power loss finds it. Answers its name there.
    pub(super) fn move_to_limbo(
        &mut self,
        inode: Inode,
        parent: Inode,
        name: &OsStr,
    ) -> Result<OsString, Errno> {
        let limbo = self.limbo_name();
        self.move_name(inode, (parent, name), (LIMBO, &limbo))?;
        Ok(limbo)
    }

    /// Moves a name to an unused one.
    pub(super) fn move_name(
        &mut self,
        inode: Inode,
        from: (Inode, &OsStr),
        to: (Inode, &OsStr),
    ) -> Result<(), Errno> {
        renameat(self.tree.directory(from.0)?, from.1, self.tree.directory(to.0)?, to.1)?;
        self.tree.move_link(inode, from, to);
        Ok(())
    }

    fn renamed(&mut self, names: Vec<(Inode, OsString, Option<Inode>, Option<Inode>)>) {
        let is_probe = |(parent, name, ..): &(Inode, OsString, _, _)| *parent == ROOT && name == PROBE;
        if !names.iter().any(is_probe) {
            self.record(Requester::Node, || {
                let change =
                    |(directory, name, _, target): &(Inode, OsString, Option<Inode>, Option<Inode>)| {
                        Change::Name { directory: *directory, name: name.clone(), target: *target }
                    };
                RecordedOperation::Changes(names.iter().map(change).collect())
            });
            self.journal.rename(names);
        }
    }

    fn check_empty(&self, inode: Inode) -> Result<(), Errno> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut listing = Dir::openat(self.tree.directory(inode)?, ".", flags, Mode::empty())?;
        for entry in listing.iter() {
            if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
                return Err(Errno::ENOTEMPTY);
            }
        }
        Ok(())
    }

    /// How to get at `inode`, also when its last name is gone.
    fn place_or_open(&self, inode: Inode) -> Result<Found<'_>, Errno> {
        match &self.tree.node(inode)?.body {
            Body::Directory { fd, .. } => Ok(Found::Open(fd.as_fd())),
            Body::Regular { file: Some(file), .. } => Ok(Found::Open(file.as_fd())),
            Body::Regular { file: None, .. } | Body::Special => {
                let (directory, name) = self.tree.place(inode)?;
                Ok(Found::Named(directory, name))
            }
        }
    }
}

/// A file in the backing folder.
enum Found<'a> {
    /// Held open.
    Open(BorrowedFd<'a>),
    /// By a name in a directory that is held open.
    Named(BorrowedFd<'a>, &'a OsStr),
}

/// Gives a new file its requested owner and mode, which the umask and user of this process would not.
fn own(directory: BorrowedFd<'_>, name: &OsStr, creator: Creator, is_symlink: bool) -> Result<(), Errno> {
    let stat = fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    let set_group = fstatat(directory, "", AtFlags::AT_EMPTY_PATH)?.st_mode & libc::S_ISGID != 0;
    // In a directory with the set-group bit, a new file has the directory's group: the backing folder has
    // seen to it.
    let gid = if set_group { stat.st_gid } else { creator.gid };
    if stat.st_uid != creator.uid || stat.st_gid != gid {
        let (uid, gid) = (Some(Uid::from_raw(creator.uid)), Some(Gid::from_raw(gid)));
        fchownat(directory, name, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    }
    if !is_symlink && stat.st_mode & 0o777 != creator.mode & 0o777 {
        let mode = Mode::from_bits_truncate(creator.mode | (stat.st_mode & libc::S_ISGID));
        fchmodat(directory, name, mode, FchmodatFlags::FollowSymlink)?;
    }
    Ok(())
}
