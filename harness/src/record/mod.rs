//! The files that a run leaves: its folder, and its contents.
//!
//! - [`folder`]: the places; [`crate::plan::Plan::load`] reads the plan in it, [`duress_history::jsonl`] the
//!   history;
//! - [`faults`]: the faults and their evidence, from the history; [`situations`]: the states of the cluster that they met;
//! - [`live`]: `live.json`, while a run goes on; [`tail`]: a file that grows;
//! - [`verdict`]: `verdict.json`; [`machine`]: `machine.json`; [`curve`]: `curve.json`, if it was measured.

pub mod curve;
#[cfg(test)]
pub(crate) mod example;
pub mod faults;
pub mod folder;
pub mod live;
pub mod machine;
pub mod situations;
pub mod tail;
pub mod verdict;
