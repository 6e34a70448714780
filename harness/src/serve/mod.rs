//! `duress serve`: the runs in a folder, browsed, compared and followed.
//!
//! - [`root`]: the folder, out of which no path leads;
//! - [`catalogue`]: the runs and matrices in it; [`comparison`]: two runs held against each other;
//! - [`live`]: a run that is still going on, as events;
//! - [`pages`]: what a person sees; [`routes`]: what is answered to which request.

pub mod catalogue;
pub mod comparison;
pub mod live;
pub mod pages;
pub mod root;
pub mod routes;
