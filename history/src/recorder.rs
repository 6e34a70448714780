//! The recorder: the single owner of a history that is being made.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::event::{Event, OpError, OpType, Payload, Process};
use crate::nemesis::{NemesisAct, NemesisEvent};
use crate::node::NodeId;

/// Buffered lines are handed to the system when they reach this size, asked or not.
const BUFFER_BYTES: usize = 1 << 16;

/// Why an event could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file could not be made.
    #[error("cannot create the history {}", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The file could not be appended to; its earlier content is still there.
    #[error("cannot append to the history {} (what was recorded before is kept)", path.display())]
    Append {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

/// Gives each event its index, keeps time from falling, and appends it to the history file.
///
/// Time is a parameter: the owner of the recorder reads the clock, before a request can leave and after its
/// answer has come. Lines are buffered until [`Recorder::flush`], which the owner calls before it lets a
/// request leave; flushed lines survive the death of this process, with at most the last line torn.
#[derive(Debug)]
pub struct Recorder {
    path: PathBuf,
    file: File,
    buffer: Vec<u8>,
    next_index: u64,
    last_time: u64,
}

impl Recorder {
    /// Starts a new history at `path`, which must not exist: a record is never overwritten.
    ///
    /// # Errors
    /// [`RecordError::Create`].
    pub fn create(path: &Path) -> Result<Self, RecordError> {
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(path)
            .map_err(|source| RecordError::Create { path: path.to_owned(), source })?;
        let buffer = Vec::with_capacity(2 * BUFFER_BYTES);
        Ok(Self { path: path.to_owned(), file, buffer, next_index: 0, last_time: 0 })
    }

    /// Stamps and keeps an event of a client, and returns it as it was kept.
    ///
    /// # Errors
    /// [`RecordError::Append`].
    pub fn record<A: Payload>(
        &mut self,
        now: u64,
        process: Process,
        op_type: OpType,
        action: A,
        node: Option<NodeId>,
        error: Option<OpError>,
    ) -> Result<Event<A>, RecordError> {
        let (index, time) = self.stamp(now);
        let event = Event { index, time, process, op_type, action, node, error: error.map(Box::new) };
        self.append(&event)?;
        Ok(event)
    }

    /// Stamps and keeps something that the nemesis did; returns its index.
    ///
    /// # Errors
    /// [`RecordError::Append`].
    pub fn record_nemesis(&mut self, now: u64, act: NemesisAct) -> Result<u64, RecordError> {
        let (index, time) = self.stamp(now);
        self.append(&NemesisEvent { index, time, act })?;
        Ok(index)
    }

    /// How many events there are so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.next_index
    }

    /// Whether no event was recorded yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.next_index == 0
    }

    /// Hands every buffered line to the system, which keeps it even if this process is killed.
    ///
    /// # Errors
    /// [`RecordError::Append`], as when the disk is full.
    pub fn flush(&mut self) -> Result<(), RecordError> {
        let result = self.file.write_all(&self.buffer);
        // Cleared on failure too: part of it may be in the file, and must not be written twice.
        self.buffer.clear();
        result.map_err(|source| RecordError::Append { path: self.path.clone(), source })
    }

    /// Flushes, and waits until the disk has it.
    ///
    /// # Errors
    /// [`RecordError::Append`].
    pub fn close(mut self) -> Result<(), RecordError> {
        self.flush()?;
        self.file.sync_all().map_err(|source| RecordError::Append { path: self.path.clone(), source })
    }

    fn stamp(&mut self, now: u64) -> (u64, u64) {
        let index = self.next_index;
        self.next_index += 1;
        self.last_time = self.last_time.max(now);
        (index, self.last_time)
    }

    fn append(&mut self, line: &impl serde::Serialize) -> Result<(), RecordError> {
        serde_json::to_writer(&mut self.buffer, line)
            .map_err(|error| RecordError::Append { path: self.path.clone(), source: error.into() })?;
        self.buffer.push(b'\n');
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // The safety net for an unwinding owner; an error has nowhere to go, and `close` is the way that reports it.
        let _ = self.flush();
    }
}
