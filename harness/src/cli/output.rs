//! Standard output and error, either of which may be closed early, as by `| head`.

use std::fmt::Display;
use std::io::{ErrorKind, Write};

use crate::cli::exit::Failure;

/// Prints `text` as it is; a reader that has gone away is no error.
///
/// # Errors
/// When standard output fails otherwise, as on a full disk.
pub fn print(text: impl Display) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match write!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::internal(anyhow::Error::new(error).context("cannot write to standard output")))
        }
        _ => Ok(()),
    }
}

/// Says `line` on standard error. Unlike `eprintln!` it does not panic when standard error is closed: a run goes on without
/// listeners.
pub fn tell(line: impl Display) {
    // One write, so that lines of several processes stay whole.
    let _ = std::io::stderr().lock().write_all(format!("{line}\n").as_bytes());
}
