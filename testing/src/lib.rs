//! What our own tests share: tests that need what a machine may lack.
//!
//! - [`Need`]: what a machine may lack, by the name that `DURESS_REQUIRE` gives it;
//! - [`Missing`]: why it is not there; [`trial`]: a test that is ignored for that reason, or fails where it is required.

#![deny(clippy::print_stdout, clippy::print_stderr, clippy::exit)]

mod need;
mod trial;

pub use need::{Missing, Need, REQUIRE};
pub use trial::{nothing_runs, trial};
