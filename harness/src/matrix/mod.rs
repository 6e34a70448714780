//! `duress matrix`: many runs, each with an expectation, as a gate on every commit.
//!
//! In reading order:
//! - [`file`]: the TOML file, from [`document`] (its words and their lines), [`section`] (its tables), [`key`] (what can be
//!   varied) and [`vocabulary`] (what the words mean) to [`cell`]s with [`command`]s;
//! - [`selection`]: which of them are run; [`preflight`]: `duress run` itself is asked about each;
//! - [`session`]: they are run, each as a child process;
//! - [`judgement`]: trials held against what was expected; [`outcome`]: what became of a cell, and which is worst;
//! - [`bank`]: how surely and how soon ([`detection`]) a seeded bug is found;
//! - [`results`], [`table`], [`junit`], [`markdown`]: what a person sees of it.

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
