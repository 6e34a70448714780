//! A disk's own probe: a small file written, synced and read back through the mount, so that a fault proves
//! that it took hold, and its healing that it is gone, even while the node does nothing.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::fcntl::{FallocateFlags, fallocate};

use super::apart::apart;
use super::fault::ProbeSeen;
use super::state::PROBE;

/// The written message.
const MESSAGE: &[u8] = b"is anybody there?";

/// The result of the writing half of a probe.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written {
    write_errno: i32,
    reserve_errno: i32,
    fsync_errno: i32,
    fsync_took: Duration,
}

/// Makes the probe's file, writes, reserves `more` bytes, and syncs.
///
/// # Errors
/// Any error of making the file; a full disk does not refuse the probe its name.
pub(super) fn write(mount_point: &Path, more: u64) -> io::Result<Written> {
    let path = mount_point.join(PROBE);
    apart(move || {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        let write_errno = number(file.write_all(MESSAGE));
        let reserve_errno = if more == 0 { 0 } else { number(reserve(&file, more)) };
        let began = Instant::now();
        let fsync_errno = number(file.sync_all());
        Ok(Written { write_errno, reserve_errno, fsync_errno, fsync_took: began.elapsed() })
    })?
}

impl Written {
    /// Whether both were done.
    pub(super) fn is_synced(&self) -> bool {
        self.write_errno == 0 && self.fsync_errno == 0
    }

    /// Reads the message back, after making the kernel drop its cached pages by opening the file, and removes
    /// the file. `durable` is the result of the sync.
    ///
    /// # Errors
    /// Any error of the mounted file system except on the read.
    pub(super) fn read_back(self, mount_point: &Path, durable: bool) -> io::Result<ProbeSeen> {
        let path = mount_point.join(PROBE);
        let read_errno = apart(move || {
            let read_errno = number(File::open(&path)?.read_at(&mut [0; 4], 0));
            std::fs::remove_file(&path)?;
            io::Result::Ok(read_errno)
        })??;
        let Self { write_errno, reserve_errno, fsync_errno, fsync_took } = self;
        Ok(ProbeSeen {
            write_errno,
            fsync_errno,
            fsync_took: round(fsync_took),
            durable,
            read_errno,
            reserve_errno,
        })
    }
}

/// Reserves `more` bytes behind the message: a request that does not fit is refused as a whole, and takes no
/// space.
fn reserve(file: &File, more: u64) -> io::Result<()> {
    let (from, more) = (MESSAGE.len() as i64, i64::try_from(more).unwrap_or(i64::MAX));
    fallocate(file, FallocateFlags::empty(), from, more).map_err(io::Error::from)
}

/// To the microsecond: the rest is noise in a record meant to be read.
fn round(took: Duration) -> Duration {
    Duration::from_micros(u64::try_from(took.as_micros()).unwrap_or(u64::MAX))
}

fn number<T>(result: io::Result<T>) -> i32 {
    result.err().map_or(0, |error| error.raw_os_error().unwrap_or(libc::EIO))
}
