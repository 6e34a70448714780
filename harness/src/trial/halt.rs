//! When many runs come to an end before their time.

use std::io;
use std::time::Duration;

use futures_util::future::select_all;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Why a trial has no finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halt {
    /// Go on.
    No,
    /// The time for the whole is up.
    OutOfBudget,
    /// The user asked for the end: Ctrl-C, SIGTERM or SIGHUP.
    Interrupted,
}

/// Does `work` to its end. It is told to halt when `budget` is used up, or when a signal asks for the end.
///
/// # Errors
/// When signals cannot be listened to.
pub async fn halting<T>(
    budget: Option<Duration>,
    work: impl AsyncFnOnce(watch::Receiver<Halt>) -> T,
) -> io::Result<T> {
    let (halting, halt) = watch::channel(Halt::No);
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let mut signals = kinds.map(signal).into_iter().collect::<Result<Vec<_>, _>>()?;
    let watch_over = async {
        let used_up = async {
            match budget {
                Some(budget) => tokio::time::sleep(budget).await,
                None => std::future::pending().await,
            }
        };
        let asked = select_all(signals.iter_mut().map(|signal| Box::pin(signal.recv())));
        let why = tokio::select! {
            () = used_up => Halt::OutOfBudget,
            _ = asked => Halt::Interrupted,
        };
        halting.send_replace(why);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        done = work(halt) => Ok(done),
        () = watch_over => unreachable!("it watches for as long as there is work"),
    }
}
