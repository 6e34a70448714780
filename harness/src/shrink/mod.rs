//! `duress shrink`: from a run that found an anomaly to the smallest one that still does.
//!
//! Real processes do not replay exactly, so that rates are compared, not single runs: a smaller plan is kept when it fails
//! at least as often as the one before.
//!
//! - [`curve`]: from when on the anomaly is likely;
//! - [`candidates`]: the parts of a plan that can be removed;
//! - [`search`]: decides which are, by delta debugging;
//! - [`replays`]: how often a plan fails, by running it; [`story`]: the result, in a few lines.

pub mod candidates;
pub mod curve;
pub mod replays;
pub mod search;
pub mod story;
