//! Waits until a wall clock time, by the node's clock: a library preloaded into its dynamically linked programs.
//!
//! Its source, and what it does and does not reach, is `shim/absolute_waits.rs`; the build script compiles it, and
//! this crate carries it. It lies in an unnamed file in memory that belongs to this process: programs find it under
//! `/proc` as long as this process lives, and nothing stays.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::process::{self, Command};
use std::sync::OnceLock;

use nix::sys::memfd::{MFdFlags, memfd_create};

/// The variable by which the dynamic linker is told of libraries to load first.
const PRELOAD: &str = "LD_PRELOAD";

/// The library, or why this program was built without it.
static LIBRARY: Result<&[u8], &str> = include!(concat!(env!("OUT_DIR"), "/absolute_waits.in"));

/// Why this program carries no library, and waits until a wall clock time end by the machine's clock; none if it
/// carries one.
#[must_use]
pub fn absolute_waits_missing() -> Option<&'static str> {
    LIBRARY.err()
}

/// Has the library loaded first into the program that `command` starts, before what its `LD_PRELOAD` names already. Does
/// nothing when this program carries none ([`absolute_waits_missing`]).
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
