//! `duress hunt`: many short runs of one system, each drawn differently, until one finds an anomaly.
//!
//! - [`draw`]: draws each run: mode, options, workload, faults, size, load;
//! - [`session`]: the runs, several at a time, until the first anomaly, the end of the budget, or the user's
//!   Ctrl-C;
//! - [`summary`]: the result, and what a quiet hunt excludes.

pub mod draw;
pub mod session;
pub mod summary;
