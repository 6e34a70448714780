//! The run's clock.

use std::time::{Duration, Instant};

/// Time since clients began, from the monotonic clock. Copies agree with each other.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// Returns a clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// When it started, on the monotonic clock.
    #[must_use]
    pub fn origin(&self) -> Instant {
        self.origin
    }

    /// Time since it started.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    /// Returns the moment `at` after it started.
    #[must_use]
    pub fn instant(&self, at: Duration) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.origin + at)
    }
}

/// Nanoseconds, for the history; enough for 584 years.
#[must_use]
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
