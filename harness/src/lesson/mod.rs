//! `duress lesson`: the statements of a lesson on distributed systems, each measured by runs, on one page.
//!
//! In reading order:
//! - [`topic`]: the topics, each with its claim, its runs and its section;
//! - [`topics`]: a file for each;
//! - [`experiment`]: a run of a lesson, and its results;
//! - [`course`]: one run after the other, within the budget;
//! - [`section`]: statements, tables and charts;
//! - [`markdown`], [`html`]: the page;
//! - [`chart`]: a chart, drawn.

pub mod chart;
pub mod course;
pub mod experiment;
pub mod html;
pub mod markdown;
pub mod section;
pub mod topic;
pub mod topics;
