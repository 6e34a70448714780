//! The findings of a check of registers or locks besides its verdict.

use duress_history::NodeId;
use serde::{Deserialize, Serialize};

use crate::freshness::ReadAges;

/// The skipped operations, and the cost of the check.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterReport {
    /// The operations that were skipped, and why.
    pub skipped: Skipped,
    /// The cost of the check.
    pub statistics: Statistics,
    /// How replicas were compared at the end; only where reads may be stale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub convergence: Option<Convergence>,
    /// How old reads were; only where single registers were read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_ages: Option<ReadAges>,
}

/// How replicas were compared once everything had been healed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Convergence {
    /// The replicas that answered reads.
    pub replicas: Vec<NodeId>,
    /// How many registers were read at two replicas or more.
    pub compared: u64,
}

/// Operations that took no part in a check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Failed operations: they did not happen. A failed compare-and-set is not taken as an observation.
    pub failed: u64,
    /// Reads without an answer: they change nothing and prove nothing.
    pub unanswered_reads: u64,
    /// Empty reads from a register with an initial value: the client did not learn it.
    pub empty_reads: u64,
    /// Operations of unknown outcome whose effect no answer can show.
    pub unobserved: u64,
}

impl Skipped {
    /// Both counts together.
    pub(crate) fn add(&mut self, other: Self) {
        self.failed += other.failed;
        self.unanswered_reads += other.unanswered_reads;
        self.empty_reads += other.empty_reads;
        self.unobserved += other.unobserved;
    }
}

/// The cost of a check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// Registers and queues decided by the near-linear algorithms for unique values.
    pub keys_by_chains: u64,
    /// Objects that needed the search.
    pub keys_by_search: u64,
    /// Configurations that the search explored, over all registers.
    pub configurations: u64,
    /// Configurations that it explored for the hardest register.
    pub configurations_of_one_key_max: u64,
}
