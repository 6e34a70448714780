//! The whole answer of a checker.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{AnomalyKind, Verdict};
use crate::counter::CounterReport;
use crate::delivery::DeliveryReport;
use crate::freshness::ReadAges;
use crate::job::JobReport;
use crate::linearizable::RegisterReport;
use crate::set::SetReport;
use crate::transactions::TransactionsReport;

/// A verdict, how much it covers, and what else the checker found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckReport {
    /// The verdict on the history.
    pub verdict: Verdict,
    /// The number of objects: registers, sets, counters, locks; for logs and tables, partitions.
    pub keys: u64,
    /// How many operations took part in the check.
    pub operations: u64,
    /// The checker's findings besides the verdict.
    pub details: Details,
}

/// The findings of a checker besides its verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Details {
    /// Findings about registers and locks.
    Registers(RegisterReport),
    /// Findings about logs, queues, tables and streams.
    Delivery(DeliveryReport),
    /// Findings about sets.
    Set(SetReport),
    /// Findings about counters.
    Counter(CounterReport),
    /// Findings about transactions.
    Transactions(TransactionsReport),
    /// Findings about jobs.
    Job(JobReport),
    /// Findings about identifiers, banks and long forks.
    Found(FoundReport),
}

/// How often each anomaly was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundReport {
    /// By kind. The verdict has witnesses of the first few of each kind only.
    pub found: BTreeMap<AnomalyKind, u64>,
}

impl Details {
    /// Returns the place for how old reads of registers were; `None` for anything else.
    pub fn read_ages_mut(&mut self) -> Option<&mut Option<ReadAges>> {
        match self {
            Self::Registers(report) => Some(&mut report.read_ages),
            Self::Transactions(report) => Some(&mut report.read_ages),
            Self::Delivery(_) | Self::Set(_) | Self::Counter(_) | Self::Job(_) | Self::Found(_) => None,
        }
    }

    /// Returns how old reads of registers were, if that was measured.
    #[must_use]
    pub fn read_ages(&self) -> Option<&ReadAges> {
        match self {
            Self::Registers(report) => report.read_ages.as_ref(),
            Self::Transactions(report) => report.read_ages.as_ref(),
            Self::Delivery(_) | Self::Set(_) | Self::Counter(_) | Self::Job(_) | Self::Found(_) => None,
        }
    }

    /// Returns the findings about delivery; `None` for anything else than logs, queues, tables and streams.
    #[must_use]
    pub fn delivery(&self) -> Option<&DeliveryReport> {
        match self {
            Self::Delivery(report) => Some(report),
            Self::Registers(_)
            | Self::Set(_)
            | Self::Counter(_)
            | Self::Transactions(_)
            | Self::Job(_)
            | Self::Found(_) => None,
        }
    }

    /// Returns the findings about a job; `None` for anything else.
    #[must_use]
    pub fn job(&self) -> Option<&JobReport> {
        if let Self::Job(report) = self { Some(report) } else { None }
    }
}
