//! Pure functions from a history to a verdict with a witness.
//!
//! In reading order:
//! - [`verdict`]: a checker's answer, down to the operations and sentences that prove an anomaly;
//! - [`linearizable`]: is there one order of all operations, agreeing with real time, in which every answer
//!   is right?
//! - [`stale_reads`]: is there one of all writes, of which every read saw some prefix, and do replicas come
//!   to agree?
//! - [`freshness`]: how old are the values that reads of a register return?
//! - [`set`]: is every added element there, once, and nothing else?
//! - [`counter`]: does every read lie in the range that adds allow?
//! - [`delivery`]: is every message that a log acknowledged delivered, once, in order, and nothing else?
//! - [`kv_append`]: linearizability of strings with appends;
//! - [`lock`]: linearizability of locks with an owner;
//! - [`queue`]: linearizability of queues, stacks and priority queues;
//! - [`total_queue`]: does everything that went into a queue come out?
//! - [`transactions`]: which consistency model do transactions on lists and registers keep?
//! - [`unique_ids`]: was each identifier generated once? [`echo`]: does each reply have the payload of its request? [`bank`]: does
//!   every read see the same amount of money? [`long_fork`]: did two reads see two writes in opposite orders?
//! - [`stream`]: has every input exactly one output, in order, and is the table in them the one that was kept?
//! - [`growing`]: registers, sets and logs, while the history grows;
//! - [`job`]: is the gathered result the word count of the loaded documents?
//! - [`table`]: does a compacted log give the same table as the whole log?
//!
//! This crate knows no clock, file, process or async runtime, and prints nothing: everything it returns is
//! data.
//!
//! ```
//! use std::sync::atomic::AtomicBool;
//!
//! use duress_checkers::linearizable::{Budget, check_registers};
//! use duress_checkers::verdict::{AnomalyKind, Verdict};
//! use duress_history::{Assumed, jsonl, pairs, register::Register};
//!
//! // 1 is written, then 2; a read that begins after both have been acknowledged still sees 1.
//! let text = r#"{"process":0,"type":"invoke","f":"write","value":["x",1]}
//! {"process":0,"type":"ok","f":"write","value":["x",1]}
//! {"process":0,"type":"invoke","f":"write","value":["x",2]}
//! {"process":0,"type":"ok","f":"write","value":["x",2]}
//! {"process":1,"type":"invoke","f":"read","value":["x",null]}
//! {"process":1,"type":"ok","f":"read","value":["x",1]}
//! {"process":2,"type":"invoke","f":"read","value":["x",null]}
//! {"process":2,"type":"ok","f":"read","value":["x",2]}
//! "#;
//! let history = jsonl::read_from::<Register>(text.as_bytes())?;
//! let operations = pairs::pair(history.events)?;
//! let report = check_registers(&operations, &Assumed::default(), &Budget::default(), &AtomicBool::new(false));
//! let Verdict::Invalid(anomalies) = report.verdict else { panic!("a stale read must be found") };
//! assert_eq!(anomalies[0].kind, AnomalyKind::StaleRead);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![deny(clippy::print_stdout, clippy::print_stderr, clippy::exit)]

pub mod bank;
pub mod counter;
pub mod delivery;
pub mod echo;
mod findings;
pub mod freshness;
pub mod growing;
pub mod job;
pub mod kv_append;
pub mod linearizable;
pub mod lock;
pub mod long_fork;
pub mod queue;
mod replicas;
mod sequential;
pub mod set;
pub mod stale_reads;
pub mod stream;
pub mod table;
pub mod total_queue;
pub mod transactions;
pub mod unique_ids;
pub mod verdict;
mod witness;

pub use verdict::{Anomaly, AnomalyKind, CheckReport, Verdict};

/// The README, whose example is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
