//! The time of day, as a node reads it.
//!
//! Only reads by lease use it, and the bug `lww-by-clock`. All other times are measured with monotonic clocks.

use std::fmt;
use std::time::SystemTime;

/// Reads the time of day.
///
/// It may be set, forwards or backwards, between two readings.
pub trait WallClock: fmt::Debug + Send + Sync {
    /// Returns the time of day now.
    fn now(&self) -> SystemTime;
}

/// The clock of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SystemClock;

impl WallClock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}
