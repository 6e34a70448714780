//! `duress lesson`: what each setting is worth, measured: runs of every combination, and a table of what became of messages.
//!
//! In reading order:
//! - [`cell`]: the combinations, and the run of each;
//! - [`row`]: what a run left;
//! - [`course`]: one run after the other, within the time there is;
//! - [`markdown`]: the table.

pub mod cell;
pub mod course;
pub mod markdown;
pub mod row;
