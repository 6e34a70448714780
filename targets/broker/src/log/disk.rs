//! Files of a log: what is written, synced and renamed, and small files that are replaced as a whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::{Buf, BufMut};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::options::Durability;

/// A file operation that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {path}")]
pub struct DiskError {
    /// What was tried.
    pub operation: &'static str,
    /// On which file.
    pub path: PathBuf,
    /// Why not.
    #[source]
    pub cause: io::Error,
}

/// Attaches operation and path to an I/O result.
pub(super) trait Doing<T> {
    fn doing(self, operation: &'static str, path: &Path) -> Result<T, DiskError>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, operation: &'static str, path: &Path) -> Result<T, DiskError> {
        self.map_err(|cause| DiskError { operation, path: path.to_owned(), cause })
    }
}

/// The way to the disk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Disk {
    pub(super) durability: Durability,
}

impl Disk {
    /// Waits until what was written to `file` is on the device.
    pub(super) fn sync_file(self, file: &File, path: &Path) -> Result<(), DiskError> {
        match self.durability {
            Durability::Fsync => file.sync_data().doing("sync", path),
            Durability::Skipped => Ok(()),
        }
    }

    /// Waits until creations, renames and removals in `dir` are on the device.
    pub(super) fn sync_dir(self, dir: &Path) -> Result<(), DiskError> {
        match self.durability {
            Durability::Fsync => File::open(dir).and_then(|dir| dir.sync_all()).doing("sync", dir),
            Durability::Skipped => Ok(()),
        }
    }

    /// Replaces a small file so that at any time either the old or the new one is there.
    pub(super) fn replace<T: Serialize>(self, path: &Path, content: &T) -> Result<(), DiskError> {
        let payload = postcard::to_stdvec(content).expect("plain data with known lengths can be encoded");
        let mut bytes = Vec::with_capacity(payload.len() + 4);
        bytes.put_u32(crc32c::crc32c(&payload));
        bytes.put_slice(&payload);
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(TEMPORARY);
        let temporary = PathBuf::from(temporary);
        let mut file = File::create(&temporary).doing("create", &temporary)?;
        file.write_all(&bytes).doing("write", &temporary)?;
        self.sync_file(&file, &temporary)?;
        self.rename(&temporary, path)
    }

    /// Renames within one folder, durably.
    pub(super) fn rename(self, from: &Path, to: &Path) -> Result<(), DiskError> {
        fs::rename(from, to).doing("rename", from)?;
        self.sync_dir(to.parent().expect("a file of a log is in the log's folder"))
    }

    /// Opens a file to read and append at given positions.
    pub(super) fn open(self, path: &Path) -> Result<File, DiskError> {
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).doing("open", path)
    }
}

/// What unfinished replacements of small files end with.
pub(super) const TEMPORARY: &str = ".tmp";

/// Reads a small file written by [`Disk::replace`]. None if it is not there or not whole: such files only save work,
/// their content can be made again from the log.
pub(super) fn load<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, DiskError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(DiskError { operation: "read", path: path.to_owned(), cause }),
    };
    let mut rest = bytes.as_slice();
    if rest.len() < 4 {
        return Ok(None);
    }
    let said = rest.get_u32();
    Ok((crc32c::crc32c(rest) == said).then(|| postcard::from_bytes(rest).ok()).flatten())
}

/// Removes a file; that it is gone already is no error.
pub(super) fn remove(path: &Path) -> Result<(), DiskError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.doing("remove", path),
    }
}
