//! `duress matrix`: many runs, each with an expectation, as a gate on every commit.
//!
//! In reading order:
//! - [`file`]: the TOML file, from [`document`] (its words and their lines), [`section`] (its tables),
//!   [`key`] (the keys that can vary) and [`vocabulary`] (the valid words) to [`cell`]s with [`command`]s;
//! - [`selection`]: selects the cells to run; [`preflight`]: checks each with `duress run` itself;
//! - [`session`]: runs them, each as a child process;
//! - [`judgement`]: compares trials with expectations; [`outcome`]: the outcomes of cells, by severity;
//! - [`bank`]: how surely and how soon ([`detection`]) a seeded bug is found;
//! - [`results`], [`table`], [`junit`], [`markdown`], [`annotations`]: the output for a person.

pub mod annotations;
pub mod bank;
pub mod cell;
pub mod command;
pub mod detection;
pub mod document;
pub mod file;
pub mod judgement;
pub mod junit;
pub mod key;
pub mod markdown;
pub mod outcome;
pub mod preflight;
pub mod results;
pub mod section;
pub mod selection;
pub mod session;
pub mod table;
pub mod vocabulary;
