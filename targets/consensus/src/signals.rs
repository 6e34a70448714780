//! How a node is told to end.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// What is ready once this process has got SIGTERM or SIGINT, which do nothing else from now on.
///
/// # Errors
/// What the system says when signals cannot be received.
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
