//! A wall clock that jumps there and back again, over and over.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use super::page::{ClockPage, ClockPageError, ClockSetting};

/// A running strobe. Stop it with [`Strobe::stop`]; dropping it stops it too, without the account.
#[derive(Debug)]
#[must_use = "the strobe ends when this is dropped"]
pub struct Strobe {
    page: Arc<ClockPage>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<StrobeAccount>>,
}

/// What a strobe did.
#[derive(Debug)]
pub struct StrobeAccount {
    /// How many steps the clock made, those back included.
    pub steps: u64,
    /// What ended it before it was stopped.
    pub failure: Option<ClockPageError>,
}

/// Why a strobe could not be started or stopped cleanly.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StrobeError {
    /// The first step was refused.
    #[error("cannot strobe the clock")]
    Step(#[from] ClockPageError),
    /// The thread could not be started.
    #[error("cannot start the strobe's thread")]
    Thread(#[source] std::io::Error),
    /// The thread panicked.
    #[error("the strobe's thread panicked")]
    Panicked,
}

impl Strobe {
    /// Steps the clock of `page` by `delta_ns` now, back after `period`, forth again after another, and so
    /// on.
    ///
    /// # Errors
    /// [`StrobeError`] when the clock cannot be stepped that far, or no thread can be started.
    pub fn start(page: Arc<ClockPage>, delta_ns: i64, period: Duration) -> Result<Self, StrobeError> {
        page.bump(delta_ns)?;
        let (stop, stopped) = channel();
        let strobed = Arc::clone(&page);
        let spawned = Builder::new().name("clock-strobe".to_owned()).spawn(move || {
            let mut account = StrobeAccount { steps: 1, failure: None };
            let mut due = Instant::now() + period;
            loop {
                let wait = due.saturating_duration_since(Instant::now());
                if stopped.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
                    return account;
                }
                let delta_ns = if account.steps.is_multiple_of(2) { delta_ns } else { -delta_ns };
                match strobed.bump(delta_ns) {
                    Ok(_) => account.steps += 1,
                    Err(failure) => {
                        account.failure = Some(failure);
                        return account;
                    }
                }
                // From the due time, so that the period does not stretch under load.
                due = (due + period).max(Instant::now());
            }
        });
        match spawned {
            Ok(thread) => Ok(Self { page, stop: Some(stop), thread: Some(thread) }),
            Err(error) => {
                page.bump(-delta_ns)?;
                Err(StrobeError::Thread(error))
            }
        }
    }

    /// Stops it and resets the clock. Returns what the strobe did and what is in force now.
    ///
    /// # Errors
    /// [`StrobeError`] when the clock cannot be reset.
    pub fn stop(mut self) -> Result<(StrobeAccount, ClockSetting), StrobeError> {
        let account = self.finish().ok_or(StrobeError::Panicked)?;
        Ok((account, self.page.reset()?))
    }

    fn finish(&mut self) -> Option<StrobeAccount> {
        drop(self.stop.take());
        self.thread.take()?.join().ok()
    }
}

impl Drop for Strobe {
    fn drop(&mut self) {
        if self.finish().is_some() {
            // The safety net: a caller that wants to know whether this worked calls `stop`.
            let _ = self.page.reset();
        }
    }
}
