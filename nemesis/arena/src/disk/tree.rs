//! The files and directories the kernel has heard of: by number, by name, and where they are in the backing
//! folder.
//!
//! A number is given once and keeps its meaning until the file is gone, or the power is lost. Every directory
//! is held open, so that what is in it can be named without its path, and a file is held open while the
//! kernel has it open.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use fuser::FileType;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, fstat, fstatat};
use rustc_hash::FxHashMap;

use super::file_log::FileLog;

/// The number by which the kernel knows a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Inode(pub(super) u64);

/// The root of the file system.
pub(super) const ROOT: Inode = Inode(1);
/// Where unlinked files stay while a power loss could bring them back: a directory beside the root, not below
/// it.
pub(super) const LIMBO: Inode = Inode(2);

/// How directories are held open.
const DIRECTORY: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// A name of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// The directory that has the name.
    pub(super) parent: Inode,
    /// The name.
    pub(super) name: OsString,
}

/// What a node is made of.
#[derive(Debug)]
pub(super) enum Body {
    /// A directory, held open, with those of its entries that are known.
    Directory {
        /// The directory in the backing folder.
        fd: OwnedFd,
        /// Known entries; a name that is missing may still exist.
        children: BTreeMap<OsString, Inode>,
    },
    /// A regular file.
    Regular {
        /// The file in the backing folder, while the kernel has it open.
        file: Option<Arc<OwnedFd>>,
        /// How many times the kernel has it open.
        opens: u32,
        /// The undo log, when it has changed since it was last durable.
        log: Option<FileLog>,
        /// Bytes in it, when the log or an open file needs to know.
        size: u64,
    },
    /// A symbolic link, a pipe or a socket: it has a name and attributes, and no content of its own here.
    Special,
}

/// A file, a directory or something else with a name.
#[derive(Debug)]
pub(super) struct Node {
    /// Device and inode number in the backing folder.
    backing: (u64, u64),
    /// Its known names; those in limbo are not seen through the mount.
    pub(super) links: Vec<Link>,
    /// What it is.
    pub(super) body: Body,
}

/// Every known node.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: BTreeMap<Inode, Node>,
    by_backing: FxHashMap<(u64, u64), Inode>,
    next: u64,
}

impl Tree {
    /// A tree of which only the root and limbo are known.
    ///
    /// # Errors
    /// When their attributes cannot be read.
    pub(super) fn new(root: OwnedFd, limbo: OwnedFd) -> Result<Self, Errno> {
        let mut tree = Self { nodes: BTreeMap::new(), by_backing: FxHashMap::default(), next: LIMBO.0 + 1 };
        for (inode, fd) in [(ROOT, root), (LIMBO, limbo)] {
            let stat = fstat(&fd)?;
            tree.insert(inode, &stat, Vec::new(), Body::Directory { fd, children: BTreeMap::new() });
        }
        Ok(tree)
    }

    /// Forgets everything but the root and limbo. Numbers are not used again: what the kernel still calls by
    /// an old one is stale.
    pub(super) fn forget_all(&mut self) {
        self.nodes.retain(|inode, _| *inode <= LIMBO);
        for node in self.nodes.values_mut() {
            if let Body::Directory { children, .. } = &mut node.body {
                children.clear();
            }
        }
        let nodes = &self.nodes;
        self.by_backing.retain(|_, inode| nodes.contains_key(inode));
    }

    /// A node that is known.
    ///
    /// # Errors
    /// `EIO` for a number from before a power loss, or one that was never given.
    pub(super) fn node(&self, inode: Inode) -> Result<&Node, Errno> {
        self.nodes.get(&inode).ok_or(Errno::EIO)
    }

    /// A node that is known, to change it.
    ///
    /// # Errors
    /// As [`Tree::node`].
    pub(super) fn node_mut(&mut self, inode: Inode) -> Result<&mut Node, Errno> {
        self.nodes.get_mut(&inode).ok_or(Errno::EIO)
    }

    /// Every node, by number.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (Inode, &Node)> {
        self.nodes.iter().map(|(inode, node)| (*inode, node))
    }

    /// The directory `inode`, held open.
    ///
    /// # Errors
    /// `EIO` as [`Tree::node`]; `ENOTDIR`.
    pub(super) fn directory(&self, inode: Inode) -> Result<BorrowedFd<'_>, Errno> {
        match &self.node(inode)?.body {
            Body::Directory { fd, .. } => Ok(fd.as_fd()),
            _ => Err(Errno::ENOTDIR),
        }
    }

    /// The known entries of the directory `inode`; none of anything else.
    pub(super) fn children(&self, inode: Inode) -> impl Iterator<Item = (&OsStr, Inode)> {
        let children = match self.nodes.get(&inode).map(|node| &node.body) {
            Some(Body::Directory { children, .. }) => Some(children),
            _ => None,
        };
        children.into_iter().flatten().map(|(name, inode)| (name.as_os_str(), *inode))
    }

    /// What `name` in `parent` means.
    ///
    /// # Errors
    /// `ENOENT`, and what the backing folder answers.
    pub(super) fn lookup(&mut self, parent: Inode, name: &OsStr) -> Result<Inode, Errno> {
        let Body::Directory { fd, children } = &self.node(parent)?.body else {
            return Err(Errno::ENOTDIR);
        };
        if let Some(inode) = children.get(name) {
            return Ok(*inode);
        }
        let stat = fstatat(fd, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        self.adopt(parent, name, &stat)
    }

    /// What `name` in `parent` means, if it means anything.
    ///
    /// # Errors
    /// What the backing folder answers, save `ENOENT`.
    pub(super) fn find(&mut self, parent: Inode, name: &OsStr) -> Result<Option<Inode>, Errno> {
        match self.lookup(parent, name) {
            Ok(inode) => Ok(Some(inode)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Gives a number to what is in the backing folder under `name` of `parent`; the one it has if it is
    /// known by another name.
    ///
    /// # Errors
    /// When a directory cannot be held open.
    pub(super) fn adopt(&mut self, parent: Inode, name: &OsStr, stat: &FileStat) -> Result<Inode, Errno> {
        let link = Link { parent, name: name.to_owned() };
        let known = self.by_backing.get(&(stat.st_dev, stat.st_ino)).copied();
        let inode = match known {
            Some(inode) => {
                self.node_mut(inode)?.links.push(link);
                inode
            }
            None => {
                let body = match stat.st_mode & libc::S_IFMT {
                    libc::S_IFDIR => {
                        let fd = openat(self.directory(parent)?, name, DIRECTORY, Mode::empty())?;
                        Body::Directory { fd, children: BTreeMap::new() }
                    }
                    libc::S_IFREG => {
                        let size = u64::try_from(stat.st_size).unwrap_or_default();
                        Body::Regular { file: None, opens: 0, log: None, size }
                    }
                    _ => Body::Special,
                };
                let inode = Inode(self.next);
                self.next += 1;
                self.insert(inode, stat, vec![link], body);
                inode
            }
        };
        self.set_child(parent, name, inode);
        Ok(inode)
    }

    /// A name has moved in the backing folder: from `from` to `to`.
    pub(super) fn move_link(&mut self, inode: Inode, from: (Inode, &OsStr), to: (Inode, &OsStr)) {
        self.remove_child(from.0, from.1, inode);
        if let Some(node) = self.nodes.get_mut(&inode) {
            for link in &mut node.links {
                if link.parent == from.0 && link.name == from.1 {
                    *link = Link { parent: to.0, name: to.1.to_owned() };
                    break;
                }
            }
        }
        self.set_child(to.0, to.1, inode);
    }

    /// A name has been added in the backing folder.
    pub(super) fn add_link(&mut self, inode: Inode, parent: Inode, name: &OsStr) {
        if let Some(node) = self.nodes.get_mut(&inode) {
            node.links.push(Link { parent, name: name.to_owned() });
        }
        self.set_child(parent, name, inode);
    }

    /// A name has gone from the backing folder; with the last one, and closed, the node goes too.
    pub(super) fn remove_link(&mut self, inode: Inode, parent: Inode, name: &OsStr) {
        self.remove_child(parent, name, inode);
        if let Some(node) = self.nodes.get_mut(&inode) {
            node.links.retain(|link| link.parent != parent || link.name != name);
        }
        self.forget_if_gone(inode);
    }

    /// Drops a node that has no name and is not open.
    pub(super) fn forget_if_gone(&mut self, inode: Inode) {
        let Some(node) = self.nodes.get(&inode) else { return };
        let open = matches!(node.body, Body::Regular { opens: 1.., .. });
        if inode > LIMBO && node.links.is_empty() && !open {
            self.by_backing.remove(&node.backing);
            self.nodes.remove(&inode);
        }
    }

    /// One place where `inode` is in the backing folder: an open directory and a name in it.
    ///
    /// # Errors
    /// `EIO` as [`Tree::node`]; `ENOENT` when it has no name left.
    pub(super) fn place(&self, inode: Inode) -> Result<(BorrowedFd<'_>, &OsStr), Errno> {
        let link = self.node(inode)?.links.first().ok_or(Errno::ENOENT)?;
        Ok((self.directory(link.parent)?, &link.name))
    }

    /// The attributes in the backing folder.
    ///
    /// # Errors
    /// `EIO` as [`Tree::node`], and what the backing folder answers.
    pub(super) fn stat(&self, inode: Inode) -> Result<FileStat, Errno> {
        match &self.node(inode)?.body {
            Body::Directory { fd, .. } => fstat(fd),
            Body::Regular { file: Some(file), .. } => fstat(file),
            Body::Regular { file: None, .. } | Body::Special => {
                let (directory, name) = self.place(inode)?;
                fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW)
            }
        }
    }

    /// Holds the regular file `inode` open, or answers the one that is.
    ///
    /// # Errors
    /// `EIO` as [`Tree::node`]; `EISDIR` or `EINVAL` for what is no regular file; what the backing folder
    /// answers.
    pub(super) fn file(&mut self, inode: Inode) -> Result<Arc<OwnedFd>, Errno> {
        match &self.node(inode)?.body {
            Body::Regular { file: Some(file), .. } => return Ok(Arc::clone(file)),
            Body::Regular { file: None, .. } => {}
            Body::Directory { .. } => return Err(Errno::EISDIR),
            Body::Special => return Err(Errno::EINVAL),
        }
        let (directory, name) = self.place(inode)?;
        let flags = OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = match openat(directory, name, OFlag::O_RDWR | flags, Mode::empty()) {
            // The kernel has checked what the caller may do; a file that may not be written is opened for reading.
            Err(Errno::EACCES | Errno::EPERM | Errno::EROFS | Errno::ETXTBSY) => {
                openat(directory, name, OFlag::O_RDONLY | flags, Mode::empty())?
            }
            result => result?,
        };
        Ok(Arc::new(fd))
    }

    /// The path of `inode` below the root, by its first visible name.
    pub(super) fn visible_path(&self, inode: Inode) -> Option<PathBuf> {
        let mut names = Vec::new();
        let mut at = inode;
        while at != ROOT {
            let link = self.nodes.get(&at)?.links.iter().find(|link| link.parent != LIMBO)?;
            names.push(&link.name);
            at = link.parent;
        }
        Some(names.iter().rev().collect())
    }

    /// The same for patterns and reports.
    pub(super) fn path(&self, inode: Inode) -> Option<String> {
        self.visible_path(inode).map(|path| path.to_string_lossy().into_owned())
    }

    /// How many times files are open.
    pub(super) fn opens(&self) -> usize {
        self.nodes
            .values()
            .map(|node| if let Body::Regular { opens, .. } = node.body { opens as usize } else { 0 })
            .sum()
    }

    fn insert(&mut self, inode: Inode, stat: &FileStat, links: Vec<Link>, body: Body) {
        let backing = (stat.st_dev, stat.st_ino);
        self.by_backing.insert(backing, inode);
        self.nodes.insert(inode, Node { backing, links, body });
    }

    fn set_child(&mut self, parent: Inode, name: &OsStr, inode: Inode) {
        if let Some(Node { body: Body::Directory { children, .. }, .. }) = self.nodes.get_mut(&parent) {
            children.insert(name.to_owned(), inode);
        }
    }

    /// Only if the name still means `inode`: an exchange sets the other meaning before it takes this one
    /// away.
    fn remove_child(&mut self, parent: Inode, name: &OsStr, inode: Inode) {
        if let Some(Node { body: Body::Directory { children, .. }, .. }) = self.nodes.get_mut(&parent)
            && children.get(name) == Some(&inode)
        {
            children.remove(name);
        }
    }
}

/// The type the kernel wants to know of a file.
pub(super) fn file_type(mode: libc::mode_t) -> FileType {
    match mode & libc::S_IFMT {
        libc::S_IFDIR => FileType::Directory,
        libc::S_IFLNK => FileType::Symlink,
        libc::S_IFIFO => FileType::NamedPipe,
        libc::S_IFSOCK => FileType::Socket,
        libc::S_IFCHR => FileType::CharDevice,
        libc::S_IFBLK => FileType::BlockDevice,
        _ => FileType::RegularFile,
    }
}
