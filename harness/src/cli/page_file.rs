//! A page's file: opened before the work whose result it shows, so that a bad path is found first.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// The beginning of every page.
const DOCTYPE: &str = "<!DOCTYPE html>";

/// A file to be written at the end; removed if that never happens and it was not there before.
pub struct PageFile {
    path: PathBuf,
    file: File,
    leftover: bool,
}

/// Why a page cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// The system refuses.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// Something else is there: perhaps the history itself.
    #[error("{} exists and is not a page: choose another file for the page", path.display())]
    Other {
        /// The file.
        path: PathBuf,
    },
}

impl PageFile {
    /// Opens the file at `path`, still without changing one that exists, which must be a page or empty.
    ///
    /// # Errors
    /// [`PageError`].
    pub fn open(path: &Path) -> Result<Self, PageError> {
        if path.is_file() && !is_page(path).unwrap_or(false) {
            return Err(PageError::Other { path: path.to_owned() });
        }
        let leftover = fs::symlink_metadata(path).is_err();
        let opened = OpenOptions::new().write(true).create(true).truncate(false).open(path);
        let file = opened.map_err(|source| PageError::Write { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), file, leftover })
    }

    /// Writes the whole file.
    ///
    /// # Errors
    /// [`PageError::Write`].
    pub fn write(mut self, text: &str) -> Result<(), PageError> {
        // A pipe or a device has no length.
        let shorten = |file: &File| if file.metadata()?.is_file() { file.set_len(0) } else { Ok(()) };
        shorten(&self.file)
            .and_then(|()| self.file.write_all(text.as_bytes()))
            .map_err(|source| PageError::Write { path: self.path.clone(), source })?;
        self.leftover = false;
        Ok(())
    }
}

/// Whether the file at `path` begins as a page does, or is empty.
fn is_page(path: &Path) -> io::Result<bool> {
    let mut begin = Vec::new();
    File::open(path)?.take(DOCTYPE.len() as u64).read_to_end(&mut begin)?;
    Ok(begin.is_empty() || begin == DOCTYPE.as_bytes())
}

impl Drop for PageFile {
    fn drop(&mut self) {
        if self.leftover {
            // Best effort: an empty file says nothing wrong.
            let _ = fs::remove_file(&self.path);
        }
    }
}
