//! The program that nodes run: this one again, told to write to its disk.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

/// What it is told by.
pub const WRITE: &str = "--write-to=";
/// How it ends when its disk fails it.
pub const DISK_FAILED: u8 = 74;
/// The file it writes.
pub const FILE: &str = "written";
/// How much it writes at a time.
const RECORD: [u8; 512] = [7; 512];

/// Plays it, if that is what this process is for.
pub fn play() -> Option<ExitCode> {
    let argument = std::env::args().nth(1)?;
    let folder = argument.strip_prefix(WRITE)?;
    Some(write(Path::new(folder)))
}

/// Appends records, each made durable, without end; a failing disk ends it, as it ends a careful database.
fn write(folder: &Path) -> ExitCode {
    let Ok(mut file) = OpenOptions::new().append(true).create(true).open(folder.join(FILE)) else {
        return ExitCode::from(DISK_FAILED);
    };
    while file.write_all(&RECORD).and_then(|()| file.sync_data()).is_ok() {
        // The pace of a server with little to do.
        thread::park_timeout(Duration::from_millis(2));
    }
    ExitCode::from(DISK_FAILED)
}
