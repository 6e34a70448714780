//! Workloads: the clients' operations, the end of a run, and its judgement.
//!
//! A workload is a folder here and a line in [`registry`]. In reading order:
//! - [`kind`]: the trait that a folder implements; [`erased`]: the interface for the rest of the program;
//!   [`option`]: its options;
//! - [`generator`]: generators, and the combinators that all workloads share;
//! - [`objects`]: the shared part of workloads on objects by key;
//! - [`register`]: does each key keep its promise?
//! - [`set`]: is every acknowledged element in its set, once, and nothing else?
//! - [`counter`]: does every read lie in the range that adds allow?
//! - [`log`]: is every acknowledged message in its partition, once, in its place, for every reader?
//! - [`queue`]: is every message delivered to a member of the group, and how often?
//! - [`stream`]: is every input processed exactly once?
//! - [`table`]: does a compacted log give the table of the whole log?
//! - [`txn`]: do transactions keep their consistency model?
//! - [`bank`]: do transfers between accounts keep the total?
//! - [`long_fork`]: do all reads of a group of registers fit one order of their writes?
//! - [`job`]: is what many workers counted, and what was gathered of it, exact?
//! - [`lock`]: does each lock have one owner at a time, and do its fencing tokens grow?
//! - [`echo`]: does each reply have the payload of its request?
//! - [`unique_ids`]: does every identifier differ from all others?
//! - [`models`]: models for histories that no workload here makes; [`export`]: a history in the form of another program.

pub mod bank;
pub mod counter;
mod delivery;
pub mod echo;
pub mod erased;
pub mod export;
pub mod generator;
pub mod job;
pub mod kind;
pub mod lock;
pub mod log;
pub mod long_fork;
pub mod models;
pub mod objects;
pub mod option;
pub mod queue;
pub mod register;
pub mod registry;
pub mod set;
pub mod stream;
pub mod table;
pub mod txn;
pub mod unique_ids;

pub use erased::{Follow, Model, Workload};
pub use kind::{Ending, Kind};
pub use registry::Workloads;
