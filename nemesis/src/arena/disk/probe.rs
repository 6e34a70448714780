//! A disk's own probe: a small file written, synced and read back through the mount, so that a fault proves
//! that it took hold, and its healing that it is gone, even while the node does nothing.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::fault::ProbeSeen;
use super::state::PROBE;

/// What is written.
const MESSAGE: &[u8] = b"is anybody there?";
/// How many bytes that is.
pub(super) const PROBE_BYTES: u64 = MESSAGE.len() as u64;

/// The probe of one mount.
#[derive(Debug)]
pub(super) struct Probe {
    path: PathBuf,
    file: File,
}

impl Probe {
    /// Creates the probe's file.
    ///
    /// # Errors
    /// What the mounted file system answers; a full disk does not refuse the probe its name.
    pub(super) fn create(mount_point: &Path) -> io::Result<Self> {
        let path = mount_point.join(PROBE);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        Ok(Self { path, file })
    }

    /// Writes, syncs and reads. `drop_cache` makes the kernel forget what it has read; `is_durable` tells
    /// what became of the sync.
    pub(super) fn run(
        mut self,
        drop_cache: impl FnOnce() -> io::Result<()>,
        is_durable: impl FnOnce() -> bool,
    ) -> io::Result<ProbeSeen> {
        let write_errno = number(self.file.write_all(MESSAGE));
        let began = Instant::now();
        let fsync_errno = number(self.file.sync_all());
        let fsync_took = began.elapsed();
        let durable = fsync_errno == 0 && write_errno == 0 && is_durable();
        drop_cache()?;
        let mut buffer = [0; 4];
        let read_errno = number(self.file.read_at(&mut buffer, 0));
        std::fs::remove_file(&self.path)?;
        Ok(ProbeSeen { write_errno, fsync_errno, fsync_took: round(fsync_took), durable, read_errno })
    }
}

/// To the microsecond: the rest is noise in a record meant to be read.
fn round(took: Duration) -> Duration {
    Duration::from_micros(u64::try_from(took.as_micros()).unwrap_or(u64::MAX))
}

fn number<T>(result: io::Result<T>) -> i32 {
    result.err().map_or(0, |error| error.raw_os_error().unwrap_or(libc::EIO))
}
