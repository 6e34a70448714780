//! Stepping through a file of batches with bounded memory.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::batch::{BatchFault, BatchHeader, HEADER_BYTES};
use super::config::TornTail;
use super::files::{FileContext, FileError};

/// Bytes read at once; more only for a batch that is larger.
const WINDOW_BYTES: u64 = 64 << 10;

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum WalkError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("at byte {position} of {path}")]
    Batch {
        path: PathBuf,
        position: u64,
        #[source]
        fault: BatchFault,
    },
}

/// A place in a file, and the bytes from there on that have been read.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    file: &'a File,
    path: &'a Path,
    /// The beginning of the next batch.
    position: u64,
    /// The end of this walk.
    end: u64,
    torn_tail: TornTail,
    window: Vec<u8>,
    window_at: u64,
}

impl<'a> Walk<'a> {
    /// Begins at `position`, which is the beginning of a batch; bytes from `end` on are not read.
    pub(super) fn new(file: &'a File, path: &'a Path, position: u64, end: u64, torn_tail: TornTail) -> Self {
        Self { file, path, position, end, torn_tail, window: Vec::new(), window_at: position }
    }

    /// Returns the beginning of the next batch.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Returns the header of the next batch, which is neither checked nor skipped; `None` at the end.
    pub(super) fn header(&mut self) -> Result<Option<BatchHeader>, WalkError> {
        if self.torn_tail == TornTail::Keep {
            self.skip_unreadable()?;
        }
        if self.position >= self.end {
            return Ok(None);
        }
        let parsed = BatchHeader::parse(self.bytes(HEADER_BYTES)?);
        parsed.map(Some).map_err(|fault| self.fault(fault))
    }

    /// Moves to the next complete, valid batch.
    fn skip_unreadable(&mut self) -> Result<(), FileError> {
        while self.position < self.end {
            let size = BatchHeader::parse(self.bytes(HEADER_BYTES)?).map_or(0, |header| header.size);
            if size > 0 && BatchHeader::verify(self.bytes(size)?).is_ok() {
                break;
            }
            self.position += 1;
        }
        Ok(())
    }

    /// Returns the bytes of the next batch, checked against their checksum; it is not skipped.
    pub(super) fn batch(&mut self, header: &BatchHeader) -> Result<&[u8], WalkError> {
        let verified = BatchHeader::verify(self.bytes(header.size)?);
        if let Err(fault) = verified {
            return Err(self.fault(fault));
        }
        Ok(&self.bytes(header.size)?[..header.size])
    }

    /// Skips the next batch.
    pub(super) fn pass(&mut self, header: &BatchHeader) {
        self.position += header.size as u64;
    }

    /// Returns a fault of the next batch.
    pub(super) fn fault(&self, fault: BatchFault) -> WalkError {
        WalkError::Batch { path: self.path.to_owned(), position: self.position, fault }
    }

    /// At least `need` bytes from the position on, or as many as there are.
    fn bytes(&mut self, need: usize) -> Result<&[u8], FileError> {
        let need = (need as u64).min(self.end - self.position);
        let window_end = self.window_at + self.window.len() as u64;
        if self.position < self.window_at || self.position + need > window_end {
            let size = need.max(WINDOW_BYTES).min(self.end - self.position);
            self.window.resize(usize::try_from(size).expect("a batch fits into memory"), 0);
            self.file.read_exact_at(&mut self.window, self.position).doing("read", self.path)?;
            self.window_at = self.position;
        }
        let from = usize::try_from(self.position - self.window_at).expect("a window fits into memory");
        Ok(&self.window[from..])
    }
}
