//! Waits until a wall clock time, by the node's clock: a library preloaded into its dynamically linked programs.
//!
//! Its source, `shim/absolute_waits.rs`, documents its limits; the build script compiles it, and this crate
//! carries it. It lives in an unnamed memory file of this process: programs find it under `/proc` as long as
//! this process lives, and nothing is left behind.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::process::{self, Command};
use std::sync::OnceLock;

use nix::sys::memfd::{MFdFlags, memfd_create};

/// The variable that lists libraries for the dynamic linker to load first.
const PRELOAD: &str = "LD_PRELOAD";

/// The library, or why this program was built without it.
static LIBRARY: Result<&[u8], &str> = include!(concat!(env!("OUT_DIR"), "/absolute_waits.in"));

/// Returns why this program carries no library, so that waits until a wall clock time end by the machine's
/// clock; `None` if it carries one.
#[must_use]
pub fn absolute_waits_missing() -> Option<&'static str> {
    LIBRARY.err()
}

/// Has the program that `command` starts load the library first, before those already named by its
/// `LD_PRELOAD`. Does nothing when this program carries none ([`absolute_waits_missing`]).
///
/// Call it in the process, and with the `/proc`, that the program will be started with; the program must run as the same
/// user.
///
/// # Errors
/// When the library cannot be put into memory.
pub fn preload_absolute_waits(command: &mut Command) -> io::Result<()> {
    static PLACE: OnceLock<File> = OnceLock::new();
    let Ok(library) = LIBRARY else { return Ok(()) };
    let file = match PLACE.get() {
        Some(file) => file,
        None => {
            let mut file = File::from(memfd_create(c"duress-absolute-waits", MFdFlags::MFD_CLOEXEC)?);
            file.write_all(library)?;
            // Another thread may have been first; its file is as good.
            PLACE.get_or_init(|| file)
        }
    };
    let mut value = OsString::from(format!("/proc/{}/fd/{}", process::id(), file.as_raw_fd()));
    let own =
        command.get_envs().find(|(name, _)| *name == PRELOAD).map(|(_, value)| value.map(OsString::from));
    if let Some(others) = own.unwrap_or_else(|| std::env::var_os(PRELOAD)).filter(|others| !others.is_empty())
    {
        value.push(":");
        value.push(others);
    }
    command.env(PRELOAD, value);
    Ok(())
}
