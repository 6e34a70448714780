//! The options of the workload `lock`.

use serde::{Deserialize, Serialize};

use crate::plan::range::{RangeError, range};
use crate::workload::option::WorkloadOption;

/// The options on the command line.
pub const ON_COMMAND_LINE: &[WorkloadOption] = &[
    WorkloadOption::number("locks", "locks", "how many locks there are at a time"),
    WorkloadOption::duration("ttl", "ttl_ms", "after how long an owner loses its lock; 0s: never"),
    WorkloadOption::weight("acquires"),
    WorkloadOption::weight("releases"),
];

/// How locks are exercised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockOptions {
    /// How many locks there are at a time.
    pub locks: u32,
    /// How long a lock is asked for, in milliseconds; 0 for until it is released.
    pub ttl_ms: u64,
    /// Weight of acquisitions in what a client does that holds a lock.
    pub acquires: u32,
    /// Weight of releases.
    pub releases: u32,
}

impl Default for LockOptions {
    fn default() -> Self {
        Self { locks: 8, ttl_ms: 0, acquires: 1, releases: 1 }
    }
}

impl LockOptions {
    /// Whether every option is within its range, for so many processes at a time.
    ///
    /// # Errors
    /// [`RangeError`].
    pub fn validate(&self, concurrency: usize) -> Result<(), RangeError> {
        let Self { locks, ttl_ms, acquires, releases } = *self;
        range("concurrency", &concurrency, concurrency > 1, "a lock needs an owner and another client")?;
        range("locks", &locks, (1..=1000).contains(&locks), "1 to 1000 locks")?;
        let fine = ttl_ms == 0 || (10..=86_400_000).contains(&ttl_ms);
        range(
            "ttl",
            &ttl_ms,
            fine,
            "10 ms to one day, or 0 for locks that are held until they are released",
        )?;
        let fine = |weight| (1..=1_000_000).contains(&weight);
        range("weight of acquires", &acquires, fine(acquires), "1 to 1000000")?;
        range("weight of releases", &releases, fine(releases), "1 to 1000000")
    }
}
