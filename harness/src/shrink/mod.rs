//! `duress shrink`: from a run that found an anomaly to the smallest one that still does.
//!
//! Real processes do not replay exactly, so that rates are compared, not single runs: a smaller plan is kept when it fails
//! at least as often as the one before.
//!
//! - [`candidates`]: what can be taken away of a plan;
//! - [`search`]: which of it is, by delta debugging;
//! - [`replays`]: how often a plan fails, by running it; [`story`]: what is left, in a few lines.

pub mod candidates;
pub mod replays;
pub mod search;
pub mod story;
