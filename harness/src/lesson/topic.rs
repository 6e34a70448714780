//! The topics of the lesson.

use std::time::Duration;

use super::experiment::{Experiment, Measured};
use super::section::Section;
use super::topics::{cap, computation, delivery, quorum, replication, sharding, streams};

/// A topic: a claim of the lesson, the runs that measure it, and the section made of their results.
#[derive(Clone, Copy, Debug)]
pub struct Topic {
    /// Its name on the command line.
    pub name: &'static str,
    /// The claim of the lesson, in a sentence or two.
    pub claim: &'static str,
    /// Its runs.
    pub runs: fn(&Setting) -> Vec<Experiment>,
    /// Makes the section of its results, which are in the order of the runs.
    pub section: fn(&[Measured]) -> Section,
}

/// The setting of the runs on delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The fault mixes, each with runs of its own.
    pub faults: Vec<String>,
    /// How many brokers there are.
    pub nodes: usize,
    /// Mean time from one fault to the next.
    pub interval: Duration,
}

/// The options of runs in which clients give up soon and stay where they are, so that many operations begin and end while
/// a node is cut off.
pub const QUICK: &str = "--timeout 200ms --patience 200ms --no-roaming";

/// Fewer operations than this at the nodes that were cut off say nothing about the system.
pub const ENOUGH: u64 = 10;

/// All topics, in the order in which they are taught.
pub const TOPICS: [Topic; 7] = [
    replication::TOPIC,
    sharding::TOPIC,
    quorum::TOPIC,
    cap::TOPIC,
    delivery::TOPIC,
    streams::TOPIC,
    computation::TOPIC,
];
