//! The options of workloads on the command line.

use std::time::Duration;

use clap::Args;

use super::words::{Weight, duration};
use crate::cli::exit::Failure;
use crate::plan::Workload;
use crate::workload::log::mix::LogOptions;
use crate::workload::queue::mix::QueueOptions;
use crate::workload::register::mix::RegisterOptions;
use crate::workload::table::mix::TableOptions;

/// Options of workloads; which workload has which is found out in [`WorkloadArgs::resolve`].
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of workloads")]
pub struct WorkloadArgs {
    /// register: how many keys are in use at a time [default: 6]; table: how many there are [default: 12]
    #[arg(long, value_name = "NUMBER")]
    keys: Option<u32>,
    /// register: after how many operations a key is left for a fresh one [default: 240]
    #[arg(long, value_name = "NUMBER")]
    operations_per_key: Option<u32>,
    /// log, queue: how many topics there are [default: 2, 1]
    #[arg(long, value_name = "NUMBER")]
    topics: Option<u32>,
    /// log, queue, table: how many partitions each topic has [default: 3, 6, 2]
    #[arg(long, value_name = "NUMBER")]
    partitions: Option<u32>,
    /// log, queue: the most messages of one send [default: 4]
    #[arg(long, value_name = "NUMBER")]
    messages: Option<u32>,
    /// log: how long, on average, a process consumes in one way; queue: how long a consumer lives [default: 6s, 10s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    tenure: Option<Duration>,
    /// How often an operation is drawn beside others, as operation=weight (register: reads, writes, cas; log: sends, polls,
    /// seeks, commits, committed; table: puts, deletes, reads); may be repeated
    #[arg(long = "weight", value_name = "OPERATION=WEIGHT", value_parser = Weight::parse)]
    weights: Vec<Weight>,
}

/// An option that the workload does not have.
#[derive(Debug, thiserror::Error)]
#[error("the workload {workload} has no {option}; it has {known}")]
struct ForeignOption {
    workload: &'static str,
    option: String,
    known: &'static str,
}

impl WorkloadArgs {
    /// The workload `name` with these options, and the defaults of those that are not given.
    ///
    /// # Errors
    /// A usage error for an unknown name, and for an option that is another workload's.
    pub fn resolve(&self, name: &str) -> Result<Workload, Failure> {
        let mut given = Given {
            args: self,
            keys: self.keys,
            operations_per_key: self.operations_per_key,
            topics: self.topics,
            partitions: self.partitions,
            messages: self.messages,
            tenure: self.tenure,
        };
        let (workload, operations) = match name {
            "register" => {
                let mut options = RegisterOptions::default();
                set(&mut options.keys, &mut given.keys);
                set(&mut options.operations_per_key, &mut given.operations_per_key);
                let RegisterOptions { reads, writes, cas, .. } = &mut options;
                let foreign = given.weigh(&mut [("reads", reads), ("writes", writes), ("cas", cas)]);
                (Workload::Register(options), foreign)
            }
            "log" => {
                let mut options = LogOptions::default();
                set(&mut options.topics, &mut given.topics);
                set(&mut options.partitions, &mut given.partitions);
                set(&mut options.sends_max, &mut given.messages);
                given.set_tenure(&mut options.tenure_ms);
                let LogOptions { sends, polls, seeks, commits, committed, .. } = &mut options;
                let foreign = given.weigh(&mut [
                    ("sends", sends),
                    ("polls", polls),
                    ("seeks", seeks),
                    ("commits", commits),
                    ("committed", committed),
                ]);
                (Workload::Log(options), foreign)
            }
            "queue" => {
                let mut options = QueueOptions::default();
                set(&mut options.topics, &mut given.topics);
                set(&mut options.partitions, &mut given.partitions);
                set(&mut options.sends_max, &mut given.messages);
                given.set_tenure(&mut options.membership_ms);
                (Workload::Queue(options), given.weigh(&mut []))
            }
            "table" => {
                let mut options = TableOptions::default();
                set(&mut options.keys, &mut given.keys);
                set(&mut options.partitions, &mut given.partitions);
                let TableOptions { puts, deletes, reads, .. } = &mut options;
                let foreign = given.weigh(&mut [("puts", puts), ("deletes", deletes), ("reads", reads)]);
                (Workload::Table(options), foreign)
            }
            other => {
                let error = anyhow::anyhow!("there is no workload \"{other}\"");
                return Err(Failure::usage(error).hint("`duress workloads` lists them"));
            }
        };
        let known = match &workload {
            Workload::Register(_) => "--keys, --operations-per-key, --weight of reads, writes, cas",
            Workload::Log(_) => {
                "--topics, --partitions, --messages, --tenure, --weight of sends, polls, seeks, commits, committed"
            }
            Workload::Queue(_) => "--topics, --partitions, --messages, --tenure",
            Workload::Table(_) => "--keys, --partitions, --weight of puts, deletes, reads",
        };
        match given.left().or(operations) {
            Some(option) => Err(Failure::usage(ForeignOption { workload: workload.name(), option, known })),
            None => Ok(workload),
        }
    }
}

/// The options that were given and not yet used.
struct Given<'a> {
    args: &'a WorkloadArgs,
    keys: Option<u32>,
    operations_per_key: Option<u32>,
    topics: Option<u32>,
    partitions: Option<u32>,
    messages: Option<u32>,
    tenure: Option<Duration>,
}

/// Uses an option, if it was given.
fn set(option: &mut u32, given: &mut Option<u32>) {
    if let Some(value) = given.take() {
        *option = value;
    }
}

impl Given<'_> {
    fn set_tenure(&mut self, option: &mut u64) {
        if let Some(value) = self.tenure.take() {
            *option = u64::try_from(value.as_millis()).unwrap_or(u64::MAX);
        }
    }

    /// Sets the weights that were given; returns the first that is of no operation.
    fn weigh(&self, operations: &mut [(&str, &mut u32)]) -> Option<String> {
        for Weight { operation, weight } in &self.args.weights {
            match operations.iter_mut().find(|(name, _)| name == operation) {
                Some((_, slot)) => **slot = *weight,
                None => return Some(format!("--weight of {operation}")),
            }
        }
        None
    }

    /// The first option that was not used.
    fn left(&self) -> Option<String> {
        let Self { keys, operations_per_key, topics, partitions, messages, tenure, .. } = self;
        let left = [
            (keys.is_some(), "--keys"),
            (operations_per_key.is_some(), "--operations-per-key"),
            (topics.is_some(), "--topics"),
            (partitions.is_some(), "--partitions"),
            (messages.is_some(), "--messages"),
            (tenure.is_some(), "--tenure"),
        ];
        left.iter().find(|(left, _)| *left).map(|(_, name)| (*name).to_owned())
    }
}
