//! `duress hunt`: many short runs of one system, each drawn differently, until one finds an anomaly.
//!
//! - [`draw`]: what each run is: mode, options, workload, faults, size, load;
//! - [`session`]: the runs, several at a time, until the first anomaly, the end of the budget, or the user's Ctrl-C;
//! - [`summary`]: what it all came to, and what a quiet hunt excludes.

pub mod draw;
pub mod session;
pub mod summary;
