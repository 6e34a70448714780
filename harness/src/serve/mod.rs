//! `duress serve`: the runs in a folder, browsed, compared and followed.
//!
//! - [`root`]: the folder, which no path leaves;
//! - [`catalogue`]: the runs and matrices in it; [`comparison`]: two runs compared;
//! - [`live`]: a run in progress, as events;
//! - [`pages`]: the pages; [`routes`]: the answer to each request.

pub mod catalogue;
pub mod comparison;
pub mod live;
pub mod pages;
pub mod root;
pub mod routes;
