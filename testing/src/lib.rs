//! The shared part of our own tests: tests that need something that a machine may lack.
//!
//! - [`Need`]: the need, by the name that `DURESS_REQUIRE` gives it;
//! - [`Missing`]: why it is not there; [`trial`]: a test that is ignored for that reason, or fails if it is
//!   required.

#![deny(clippy::print_stdout, clippy::print_stderr, clippy::exit)]

mod need;
mod trial;

pub use need::{Missing, Need, REQUIRE};
pub use trial::{nothing_runs, trial};
