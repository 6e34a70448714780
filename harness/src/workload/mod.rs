//! Workloads: what clients do, how a run of them ends, and how what they saw is judged.
//!
//! A workload is a folder here and a line in [`registry`]. In reading order:
//! - [`kind`]: what a folder implements; [`erased`]: what the rest of the program knows of it; [`option`]: its options;
//! - [`generator`]: what generators are, and the combinators that all workloads share;
//! - [`objects`]: what workloads on objects by key have in common;
//! - [`register`]: does each key keep what is promised of it?
//! - [`set`]: is every acknowledged element in its set, once, and nothing else?
//! - [`counter`]: does every read lie in the range that adds allow?
//! - [`log`]: is every acknowledged message in its partition, once, in its place, for every reader?
//! - [`queue`]: is every message given to a member of the group, and how often?
//! - [`table`]: is what remains of a compacted log the table that the whole log made?
//! - [`models`]: what histories can be checked against that no workload here makes.

pub mod counter;
mod delivery;
pub mod erased;
pub mod generator;
pub mod kind;
pub mod log;
pub mod models;
pub mod objects;
pub mod option;
pub mod queue;
pub mod register;
pub mod registry;
pub mod set;
pub mod table;

pub use erased::{Model, Workload};
pub use kind::{Ending, Kind};
pub use registry::Workloads;
