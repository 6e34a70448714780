//! Stepping through a file of batches with bounded memory.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::batch::{BatchFault, BatchHeader, HEADER_BYTES};
use super::disk::{DiskError, Doing};
use super::options::TornTail;

/// Bytes read at once; more only for a batch that is larger.
const WINDOW_BYTES: u64 = 64 << 10;

/// Why a step could not be taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum WalkError {
    #[error(transparent)]
    Disk(#[from] DiskError),
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
    /// Where the next batch begins.
    position: u64,
    /// Where the file ends for this walk.
    end: u64,
    torn_tail: TornTail,
    window: Vec<u8>,
    window_at: u64,
}

impl<'a> Walk<'a> {
    /// Begins at `position`, which is the beginning of a batch; nothing from `end` on is looked at.
    pub(super) fn new(file: &'a File, path: &'a Path, position: u64, end: u64, torn_tail: TornTail) -> Self {
        Self { file, path, position, end, torn_tail, window: Vec::new(), window_at: position }
    }

    /// Where the next batch begins.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The header of the next batch, which is neither checked nor passed; none at the end.
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

    /// Goes on to the next place where a whole and valid batch is.
    fn skip_unreadable(&mut self) -> Result<(), DiskError> {
        while self.position < self.end {
            let size = BatchHeader::parse(self.bytes(HEADER_BYTES)?).map_or(0, |header| header.size);
            if size > 0 && BatchHeader::verify(self.bytes(size)?).is_ok() {
                break;
            }
            self.position += 1;
        }
        Ok(())
    }

    /// The bytes of the next batch, checked against their checksum; not passed.
    pub(super) fn batch(&mut self, header: &BatchHeader) -> Result<&[u8], WalkError> {
        let verified = BatchHeader::verify(self.bytes(header.size)?);
        if let Err(fault) = verified {
            return Err(self.fault(fault));
        }
        Ok(&self.bytes(header.size)?[..header.size])
    }

    /// Passes the next batch.
    pub(super) fn pass(&mut self, header: &BatchHeader) {
        self.position += header.size as u64;
    }

    /// A fault of the next batch.
    pub(super) fn fault(&self, fault: BatchFault) -> WalkError {
        WalkError::Batch { path: self.path.to_owned(), position: self.position, fault }
    }

    /// At least `need` bytes from the position on, or as many as there are.
    fn bytes(&mut self, need: usize) -> Result<&[u8], DiskError> {
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
