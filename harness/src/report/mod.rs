//! Reports: what a run came to, for a person.
//!
//! - [`statistics`]: counts, latencies and availability, computed from the history alone;
//! - [`faults`]: the faults and their evidence, as the history has them;
//! - [`clocks`]: what the clocks were asked for, where the promise rests on them;
//! - [`text`]: the report printed at the end of a run.

pub mod clocks;
pub mod faults;
pub mod statistics;
pub mod text;
