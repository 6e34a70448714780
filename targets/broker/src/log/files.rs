//! The files of a log: writing, syncing, renaming, and small files that are replaced as a whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::{Buf, BufMut};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::config::Durability;

/// A file operation that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {path}")]
pub struct FileError {
    /// The operation.
    pub operation: &'static str,
    /// The file.
    pub path: PathBuf,
    /// The cause.
    #[source]
    pub cause: io::Error,
}

/// Attaches operation and path to an I/O result.
pub(super) trait FileContext<T> {
    fn doing(self, operation: &'static str, path: &Path) -> Result<T, FileError>;
}

impl<T> FileContext<T> for io::Result<T> {
    fn doing(self, operation: &'static str, path: &Path) -> Result<T, FileError> {
        self.map_err(|cause| FileError { operation, path: path.to_owned(), cause })
    }
}

/// File operations with the log's durability.
#[derive(Debug, Clone, Copy)]
pub(super) struct LogFiles {
    pub(super) durability: Durability,
}

impl LogFiles {
    /// Waits until everything written to `file` is on the device.
    pub(super) fn sync_file(self, file: &File, path: &Path) -> Result<(), FileError> {
        match self.durability {
            Durability::Fsync => file.sync_data().doing("sync", path),
            Durability::Skipped => Ok(()),
        }
    }

    /// Waits until creations, renames and removals in `dir` are on the device.
    pub(super) fn sync_dir(self, dir: &Path) -> Result<(), FileError> {
        match self.durability {
            Durability::Fsync => File::open(dir).and_then(|dir| dir.sync_all()).doing("sync", dir),
            Durability::Skipped => Ok(()),
        }
    }

    /// Replaces a small file so that at any time either the old or the new one is there.
    pub(super) fn replace<T: Serialize>(self, path: &Path, content: &T) -> Result<(), FileError> {
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
    pub(super) fn rename(self, from: &Path, to: &Path) -> Result<(), FileError> {
        fs::rename(from, to).doing("rename", from)?;
        self.sync_dir(to.parent().expect("a file of a log is in the log's folder"))
    }

    /// Opens a file to read and append at given positions.
    pub(super) fn open(self, path: &Path) -> Result<File, FileError> {
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).doing("open", path)
    }
}

/// Extension of unfinished replacements of small files.
pub(super) const TEMPORARY: &str = ".tmp";

/// Reads a small file written by [`LogFiles::replace`]. `None` if it is missing or incomplete: such files
/// only save work, and their content can be rebuilt from the log.
pub(super) fn load<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, FileError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(FileError { operation: "read", path: path.to_owned(), cause }),
    };
    let mut rest = bytes.as_slice();
    if rest.len() < 4 {
        return Ok(None);
    }
    let said = rest.get_u32();
    Ok((crc32c::crc32c(rest) == said).then(|| postcard::from_bytes(rest).ok()).flatten())
}

/// Removes a file; a file that is already gone is not an error.
pub(super) fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.doing("remove", path),
    }
}
