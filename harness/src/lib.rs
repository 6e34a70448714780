//! The harness: runs a cluster in an arena, breaks it on a schedule, drives it with clients, records and judges.
//!
//! The flow can be read off the folders:
//! - [`plan`]: everything about a run, resolved before anything starts;
//! - [`workload`]: what clients do, how a run of it ends, and how it is judged: a folder each;
//! - [`systems`]: what can be put under test;
//! - [`run`]: the world, the clients' dispatcher and the nemesis's conductor, side by side;
//! - [`record`]: what a run leaves behind;
//! - [`judge`]: from a history to a verdict;
//! - [`report`]: what a person sees;
//! - [`trial`]: runs as child processes, counted; [`matrix`]: many runs, each with an expectation, as a gate; [`lesson`]: what settings are worth, as a table;
//!   [`hunt`]: until one finds something, and [`shrink`]: that made small; [`serve`]: runs in a browser;
//! - [`cli`]: the command line, and how the program ends.

#![deny(clippy::print_stdout, clippy::print_stderr, clippy::exit)]

pub mod cli;
pub mod hunt;
pub mod judge;
pub mod lesson;
pub mod matrix;
pub mod plan;
pub mod record;
pub mod report;
pub mod run;
pub mod serve;
pub mod shrink;
pub mod systems;
pub mod trial;
pub mod workload;
