//! The harness: runs a cluster in an arena, breaks it on a schedule, drives it with clients, records and judges.
//!
//! In reading order:
//! - [`plan`]: everything about a run, resolved before anything starts; [`folder`]: what a run leaves behind;
//! - [`workload`]: what clients do, and how it is judged; [`generator`]: the operations, one after the other;
//!   [`dispatcher`]: gives them to processes and records them;
//! - [`world`]: the arena and the cluster in it; [`cluster_access`]: speaks to it as an operator would;
//! - [`conductor`]: plays the fault schedule, through the [`nemesis_thread`]: its [`agenda`], and the [`scout`] that finds
//!   out who leads;
//! - [`observer`]: notes who leads, what clocks show and how much nodes have written;
//! - [`run`]: all of it together; [`judge`]: from a history to a verdict;
//! - [`verdict`], [`report`], [`machine`], [`progress`], [`log`], [`output`]: what a person sees;
//! - [`matrix`]: many runs, each with an expectation, as a gate; [`lesson`]: what settings are worth, as a table;
//! - [`serve`]: runs in a browser;
//! - [`cli`]: the command line; [`exit`]: how the program ends.

pub mod agenda;
pub mod cli;
pub mod clock;
pub mod cluster_access;
pub mod conductor;
pub mod dispatcher;
pub mod exit;
pub mod folder;
pub mod generator;
pub mod judge;
pub mod lesson;
pub mod log;
pub mod machine;
pub mod matrix;
pub mod nemesis_thread;
pub mod observer;
pub mod output;
pub mod plan;
pub mod progress;
pub mod report;
pub mod run;
pub mod scout;
pub mod serve;
pub mod verdict;
pub mod workload;
pub mod world;
