//! The source of a history's bytes: a file, a folder, standard input; compressed or not.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::error::{OPERATION_BYTES_MAX, ReadError};

/// The size of one read.
const CHUNK_BYTES: usize = 1 << 18;

/// The file names of a history in the folder of a run: ours, and Jepsen's.
const NAMES: [&str; 4] = ["history.jsonl", "history.edn", "history.txt", "jepsen.log"];

/// Returns the history at `path`: that in it, if it is a folder.
///
/// # Errors
/// [`ReadError::NoHistory`].
fn file(path: &Path) -> Result<PathBuf, ReadError> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    // A store has a folder for each run, and a link to the latest.
    let folders = [path.to_owned(), path.join("latest"), path.join("current")];
    let candidates = folders.iter().flat_map(|folder| {
        NAMES.iter().flat_map(|name| ["", ".gz", ".zst"].map(|packed| folder.join(format!("{name}{packed}"))))
    });
    candidates
        .into_iter()
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| ReadError::NoHistory { path: path.to_owned(), looked_for: NAMES.to_vec() })
}

/// Returns the bytes of the history at `path`, unpacked; `-` is standard input.
///
/// # Errors
/// [`ReadError`].
pub(super) fn open(path: &Path) -> Result<Box<dyn Read>, ReadError> {
    if path == Path::new("-") {
        return unpacked(io::stdin().lock());
    }
    let path = file(path)?;
    let failed = |source| ReadError::Open { path: path.clone(), source };
    // A pipe can hold a history as well as a file can; an unreadable path fails here.
    fs::metadata(&path).map_err(failed)?;
    unpacked(File::open(&path).map_err(failed)?)
}

/// `input`, unpacked if it is packed.
fn unpacked(mut input: impl Read + 'static) -> Result<Box<dyn Read>, ReadError> {
    let mut magic = Vec::with_capacity(6);
    let failed = |source| ReadError::Io { line: 0, source };
    (&mut input).take(6).read_to_end(&mut magic).map_err(failed)?;
    let whole = io::Cursor::new(magic.clone()).chain(input);
    match magic[..] {
        [0x1f, 0x8b, ..] => Ok(Box::new(flate2::read::MultiGzDecoder::new(whole))),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let decoder = ruzstd::decoding::StreamingDecoder::new(whole);
            Ok(Box::new(decoder.map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidData, error)))?))
        }
        [b'B', b'Z', b'h', ..] => Err(ReadError::Packed { format: "bzip2" }),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => Err(ReadError::Packed { format: "xz" }),
        [b'P', b'K', 3, 4, ..] => Err(ReadError::Packed { format: "zip" }),
        [b'J', b'E', b'P', b'S', b'E', b'N'] => {
            Err(ReadError::Packed { format: "Jepsen's binary (take history.edn)" })
        }
        _ => Ok(Box::new(whole)),
    }
}

/// A window on a text that is read piece by piece.
///
/// Bytes that are not UTF-8 become private use characters, one for each byte: in a message they are
/// irrelevant, and elsewhere different ones remain different.
pub(super) struct Window<'a> {
    input: Box<dyn Read + 'a>,
    text: String,
    /// The number of bytes of `text` already processed.
    done: usize,
    /// Bytes of a character that has not ended.
    begun: Vec<u8>,
    /// The line that begins at, or contains, `done`.
    line: u64,
    ended: bool,
    /// Whether the end is missing, as of a packed file that was cut short.
    cut: bool,
}

/// The first of the 128 characters that encode bytes that are not UTF-8, from 0x80.
const STRAY: u32 = 0x10_ff00;

/// Returns the byte that `stray` encodes, if it encodes one.
fn stray_byte(stray: char) -> Option<u8> {
    u32::from(stray).checked_sub(STRAY).and_then(|byte| u8::try_from(byte).ok()).filter(|byte| *byte >= 0x80)
}

impl<'a> Window<'a> {
    pub(super) fn new(input: Box<dyn Read + 'a>) -> Self {
        Self { input, text: String::new(), done: 0, begun: Vec::new(), line: 1, ended: false, cut: false }
    }

    /// Returns the text that was read and not yet processed.
    pub(super) fn text(&self) -> &str {
        &self.text[self.done..]
    }

    /// Returns the number of the line in which [`Window::text`] begins, from 1.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// Whether [`Window::text`] reaches the end of the source.
    pub(super) fn is_last(&self) -> bool {
        self.ended
    }

    /// Whether the end of the file is missing; known once [`Window::is_last`].
    pub(super) fn is_cut(&self) -> bool {
        self.cut
    }

    /// Returns `error`, which occurred in this window; if the content is not text, returns that error
    /// instead.
    pub(super) fn explained(&self, error: ReadError) -> ReadError {
        let text = self.text();
        let binary = |next: char| next == '\0' || stray_byte(next).is_some();
        let soon = text.char_indices().take(256).find(|(_, next)| binary(*next));
        match (&error, soon) {
            (ReadError::Syntax { .. } | ReadError::NotAnEvent { .. }, Some((at, found))) => {
                let line = self.line + text[..at].matches('\n').count() as u64;
                ReadError::Binary { line, byte: stray_byte(found).unwrap_or(0) }
            }
            _ => error,
        }
    }

    /// Marks `bytes` bytes as processed, ending in line `line`.
    pub(super) fn advance(&mut self, bytes: usize, line: u64) {
        self.done += bytes;
        self.line = line;
    }

    /// Reads on: as much again as there is, so that what does not fit is looked at a few times only.
    ///
    /// # Errors
    /// [`ReadError::Io`], and [`ReadError::TooLong`] where one operation would take all memory.
    pub(super) fn more(&mut self) -> Result<(), ReadError> {
        self.text.drain(..self.done);
        self.done = 0;
        if self.text.len() > OPERATION_BYTES_MAX {
            return Err(ReadError::TooLong { line: self.line });
        }
        let room = OPERATION_BYTES_MAX + 1 - self.text.len();
        let wanted = CHUNK_BYTES.max(self.text.len()).min(room) as u64;
        let mut bytes = std::mem::take(&mut self.begun);
        match (&mut self.input).take(wanted).read_to_end(&mut bytes) {
            Ok(read) => self.ended = (read as u64) < wanted,
            // The decoder misses the end of a packed file that was cut short.
            Err(error) if is_cut_short(&error) => (self.ended, self.cut) = (true, true),
            Err(source) => return Err(ReadError::Io { line: self.line, source }),
        }
        // Mostly it is UTF-8 from one end to the other, which is validated much faster as a whole.
        if let Ok(text) = std::str::from_utf8(&bytes) {
            self.text.push_str(text);
            return Ok(());
        }
        for chunk in bytes.utf8_chunks() {
            self.text.push_str(chunk.valid());
            let invalid = chunk.invalid();
            let begun = std::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none());
            if begun {
                // Half a character is a cut, and as good as one anywhere else.
                self.cut |= self.ended;
                self.begun = invalid.to_vec();
            } else {
                let stray = |byte: &u8| char::from_u32(STRAY + u32::from(*byte)).unwrap_or_default();
                self.text.extend(invalid.iter().map(stray));
            }
        }
        Ok(())
    }
}

/// Whether a decoder reports that its input ended too early.
fn is_cut_short(error: &io::Error) -> bool {
    // ruzstd wraps the error of the reader below it in errors of its own.
    let mut cause: Option<&(dyn std::error::Error + 'static)> = error.get_ref().map(|error| error as _);
    let mut cut = error.kind() == io::ErrorKind::UnexpectedEof;
    while let Some(error) = cause {
        cut |= error
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof);
        cause = error.source();
    }
    cut
}
