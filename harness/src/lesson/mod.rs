//! `duress lesson`: the measured effect of each setting: runs of every combination, and a table of the
//! messages' outcomes.
//!
//! In reading order:
//! - [`cell`]: the combinations, and the run of each;
//! - [`row`]: the results of a run;
//! - [`course`]: one run after the other, within the budget;
//! - [`markdown`]: the table.

pub mod cell;
pub mod course;
pub mod markdown;
pub mod row;
