//! The writer of a file of messages.
//!
//! Messages are recorded beside a run, which does not depend on them: what cannot be written is counted, and the count is
//! written once that is possible again. Files are bounded: a full one becomes the [`earlier`] one, in whose place it comes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;

use serde::Serialize;

use super::{Missing, Seen, earlier};

/// The most bytes of a file. With the earlier one there are at most twice as many.
const FILE_BYTES_MAX: u64 = 8 << 20;

/// How soon lines are handed to the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Buffering {
    /// At once: the writer may be killed.
    None,
    /// When there are 64 KiB, or it is [flushed](TrafficRecorder::flush).
    Full,
}

/// Appends what was seen to a file, after what an earlier recorder appended.
#[derive(Debug)]
pub struct TrafficRecorder {
    path: PathBuf,
    /// Opened by the first line.
    file: Option<File>,
    /// The length of the file.
    length: u64,
    /// The most bytes of a file.
    bytes_max: u64,
    buffer: Vec<u8>,
    buffer_max: usize,
    /// The number of lines in the buffer, and the times of the first and the last.
    waiting: u64,
    first: u64,
    last: u64,
    /// How many lines could not be written before these, and the time of the first.
    missing: u64,
    since: u64,
}

impl TrafficRecorder {
    /// Returns the recorder of the file at `path`, which is made with the first line.
    #[must_use]
    pub fn new(path: PathBuf, buffering: Buffering) -> Self {
        let buffer_max = match buffering {
            Buffering::None => 0,
            Buffering::Full => 1 << 16,
        };
        Self {
            path,
            file: None,
            length: 0,
            bytes_max: FILE_BYTES_MAX,
            buffer: Vec::new(),
            buffer_max,
            waiting: 0,
            first: 0,
            last: 0,
            missing: 0,
            since: 0,
        }
    }

    /// Returns it with files of at most `bytes_max` bytes.
    #[must_use]
    pub fn bounded(mut self, bytes_max: u64) -> Self {
        self.bytes_max = bytes_max;
        self
    }

    /// Records a message. What cannot be written is counted.
    pub fn record(&mut self, seen: &Seen<'_>) {
        if self.waiting == 0 {
            self.first = seen.time;
        }
        self.last = seen.time;
        self.waiting += 1;
        line(&mut self.buffer, seen);
        if self.buffer.len() > self.buffer_max {
            self.flush();
        }
    }

    /// Hands what is buffered to the system.
    pub fn flush(&mut self) {
        if self.waiting == 0 {
            return;
        }
        if self.append().is_ok() {
            self.missing = 0;
        } else {
            if self.missing == 0 {
                self.since = self.first;
            }
            self.missing += self.waiting;
        }
        self.buffer.clear();
        self.waiting = 0;
    }

    fn append(&mut self) -> io::Result<()> {
        if self.missing > 0 {
            // What failed may have been written in part.
            let mut lines = vec![b'\n'];
            line(&mut lines, &Missing { time: self.last, since: self.since, missing: self.missing });
            lines.append(&mut self.buffer);
            self.buffer = lines;
        }
        let length = self.buffer.len() as u64;
        if self.file.is_some() && self.length > 0 && self.length + length > self.bytes_max {
            fs::rename(&self.path, earlier(&self.path))?;
            self.file = None;
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(open(&self.path, &mut self.length)?),
        };
        file.write_all(&self.buffer)?;
        self.length += length;
        Ok(())
    }
}

impl Drop for TrafficRecorder {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Opens the file at `path` for lines after those that it has, of which the last may be cut short; answers also its length.
fn open(path: &PathBuf, length: &mut u64) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    *length = file.metadata()?.len();
    if *length > 0 {
        file.write_all(b"\n")?;
        *length += 1;
    }
    Ok(file)
}

/// Adds `value` as a line.
fn line(lines: &mut Vec<u8>, value: &impl Serialize) {
    // Into memory, and without a map whose keys are not strings: this cannot fail.
    if serde_json::to_writer(&mut *lines, value).is_ok() {
        lines.push(b'\n');
    }
}
