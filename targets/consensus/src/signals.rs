//! The signals that end a node.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// Returns a future that completes once this process has received SIGTERM or SIGINT, which have no other
/// effect from now on.
///
/// # Errors
/// Signals cannot be received.
pub fn asked_to_end() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
