//! The high watermark over restarts: a number in a file beside the log.
//!
//! It is only a lower bound, written periodically and never synced: it decides only what a restarted broker serves before
//! it has heard from the others.

use std::io;
use std::path::{Path, PathBuf};

/// The file of one partition.
#[derive(Debug)]
pub struct HighWatermarkFile {
    path: PathBuf,
    written: i64,
}

impl HighWatermarkFile {
    /// Reads the file in a partition's folder; a missing or incomplete file counts as 0.
    pub fn open(folder: &Path) -> Self {
        let path = folder.join("high-watermark");
        let written = std::fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
        Self { path, written: written.unwrap_or(0) }
    }

    /// Returns the value last written.
    pub fn written(&self) -> i64 {
        self.written
    }

    /// Writes the high watermark, if it has changed.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&mut self, high_watermark: i64) -> io::Result<()> {
        if high_watermark == self.written {
            return Ok(());
        }
        let new = self.path.with_extension("new");
        std::fs::write(&new, format!("{high_watermark}\n"))?;
        std::fs::rename(&new, &self.path)?;
        self.written = high_watermark;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_whole_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut checkpoint = HighWatermarkFile::open(folder.path());
        assert_eq!(checkpoint.written(), 0);
        checkpoint.write(42).unwrap();
        assert_eq!(HighWatermarkFile::open(folder.path()).written(), 42);
        std::fs::write(folder.path().join("high-watermark"), [0; 8]).unwrap();
        assert_eq!(HighWatermarkFile::open(folder.path()).written(), 0);
    }
}
