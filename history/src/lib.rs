//! The history of a run, from which everything else is judged.
//!
//! A history is a sequence of [`Event`]s in the order in which one recorder saw them. Each operation of a
//! client is an invocation and, later, its completion; the nemesis's events lie between them.
//!
//! In reading order:
//! - [`node`]: the names of hosts; [`scalar`]: keys and values;
//! - [`event`]: an event, its type, its process, and the [`Payload`] trait that gives an event its
//!   vocabulary;
//! - [`nemesis`]: the nemesis's actions, and the evidence for them;
//! - [`register`], [`set`], [`counter`], [`mutex`], [`fenced_mutex`], [`log`], [`table`], [`stream`], [`total_queue`],
//!   [`kv_append`], [`unique_ids`], [`echo`], [`bank`], [`job`] and [`txn`]: the vocabularies; [`initial`]: the assumptions
//!   about registers;
//! - [`recorder`]: appends events to a file as they happen; [`jsonl`]: the file's format, field by field;
//! - [`import`]: reads a history in any format, from anywhere; [`edn`]: Jepsen's format, as it is written;
//!   [`porcupine`]: Porcupine's;
//! - [`traffic`]: the messages between clients and nodes, recorded beside the history;
//! - [`pairs`]: invocations paired with their completions;
//! - [`promise`]: the promises of a system about its answers; [`consistency_model`]: those about transactions;
//!   [`freshness`]: those about the age of reads; [`session`]: those to each process.
//!
//! This crate knows no clock, process, network or async runtime: a saved run can be read anywhere.
//!
//! ```
//! use duress_history::{jsonl, pairs, register::Register};
//!
//! let text = r#"{"index":0,"time":10,"process":0,"type":"invoke","f":"write","value":["x",1],"node":"n1"}
//! {"index":1,"time":25,"process":0,"type":"ok","f":"write","value":["x",1],"node":"n1"}
//! "#;
//! let history = jsonl::read_from::<Register>(text.as_bytes())?;
//! let operations = pairs::pair(history.events)?;
//! assert_eq!(operations.len(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![deny(clippy::print_stdout, clippy::print_stderr, clippy::exit)]

pub mod bank;
pub mod consistency_model;
pub mod counter;
pub mod echo;
pub mod edn;
mod error;
pub mod event;
pub mod fenced_mutex;
pub mod freshness;
pub mod import;
pub mod initial;
pub mod job;
pub mod jsonl;
pub mod kv_append;
pub mod log;
pub mod mutex;
pub mod nemesis;
pub mod node;
pub mod pairs;
pub mod porcupine;
pub mod promise;
pub mod recorder;
pub mod register;
pub mod scalar;
pub mod session;
pub mod set;
pub mod stream;
mod syntax;
pub mod table;
pub mod total_queue;
pub mod traffic;
pub mod txn;
pub mod unique_ids;

pub use consistency_model::ConsistencyModel;
pub use error::ReadError;
pub use event::{Event, Fields, History, OpError, OpType, Payload, PayloadError, Process, Timing};
pub use freshness::Freshness;
pub use initial::{Assumed, Initial, NilReads};
pub use nemesis::{NemesisAct, NemesisEvent};
pub use node::NodeId;
pub use pairs::{Completion, Operation};
pub use promise::{Allowed, ClockBound, Consistency, Delivery, Promise};
pub use recorder::Recorder;
pub use scalar::Scalar;
pub use session::{SessionGuarantee, SessionGuarantees};
pub use syntax::SyntaxError;

/// The README, whose example is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
