//! A file that grows, line by line.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// No more than this is read at a time.
const READ_MAX: u64 = 16 << 20;

/// A file of lines, and how far it was read.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    offset: u64,
    torn: Vec<u8>,
}

impl Tail {
    /// Follows the file at `path` from its beginning. One that does not exist yet is empty.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), offset: 0, torn: Vec::new() }
    }

    /// Takes each whole line that was added since the last call. Blocks while it reads.
    pub fn take(&mut self, line: &mut dyn FnMut(&[u8])) {
        while let Some(bytes) = self.more() {
            self.torn.extend_from_slice(&bytes);
            let Some(end) = self.torn.iter().rposition(|byte| *byte == b'\n') else { continue };
            let rest = self.torn.split_off(end + 1);
            let whole = std::mem::replace(&mut self.torn, rest);
            whole[..end].split(|byte| *byte == b'\n').for_each(&mut *line);
        }
    }

    fn more(&mut self) -> Option<Vec<u8>> {
        let mut file = File::open(&self.path).ok()?;
        file.seek(SeekFrom::Start(self.offset)).ok()?;
        let mut bytes = Vec::new();
        let read = file.take(READ_MAX).read_to_end(&mut bytes).ok()?;
        self.offset += read as u64;
        (read > 0).then_some(bytes)
    }
}
