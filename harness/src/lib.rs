//! The harness: runs a cluster in an arena, breaks it on a schedule, drives it with clients, records and judges.
//!
//! The folders follow the flow:
//! - [`plan`]: everything about a run, resolved before anything starts;
//! - [`workload`]: the clients' operations, the end of a run, and its judgement: a folder each;
//! - [`systems`]: the systems that can be tested;
//! - [`run`]: the world, the clients' dispatcher and the nemesis's conductor, side by side;
//! - [`record`]: the files that a run leaves;
//! - [`judge`]: from a history to a verdict;
//! - [`report`]: what a person sees;
//! - [`trial`]: runs as child processes, counted; [`matrix`]: many runs, each with an expectation, as a gate;
//!   [`lesson`]: what settings are worth, as a table; [`hunt`]: until one finds something, and [`shrink`]: that made small;
//!   [`serve`]: runs in a browser;
//! - [`crash_states`]: a node started on each state of its disk that a crash may leave;
//! - [`cli`]: the command line, and how the program ends.

#![deny(clippy::print_stdout, clippy::print_stderr, clippy::exit)]

pub mod cli;
pub mod crash_states;
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
