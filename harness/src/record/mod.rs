//! What a run leaves behind: its folder, and what is kept in it.
//!
//! - [`folder`]: where everything is; the plan in it is read by [`crate::plan::Plan::load`], the history by
//!   [`duress_history::jsonl`];
//! - [`faults`]: the faults and their evidence, as the history has them;
//! - [`verdict`]: `verdict.json`; [`machine`]: `machine.json`.

#[cfg(test)]
pub(crate) mod example;
pub mod faults;
pub mod folder;
pub mod machine;
pub mod verdict;
