//! The copies of the mode `primary`, and what they promise.

use duress_history::{ConsistencyModel, Freshness, Promise};
use duress_settings::{Settings, SettingsError};
use serde::Deserialize;

use crate::deployment::TRANSACTIONS;

/// The options of the mode `primary` that decide its promise.
#[derive(Clone, Copy, Debug)]
pub(super) struct Promotion {
    nodes: usize,
    ack: Ack,
    read: ReadFrom,
    failover: Failover,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Ack {
    Async,
    Semi,
    Sync,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ReadFrom {
    Primary,
    Any,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Failover {
    Off,
    Auto,
}

impl Promotion {
    /// Returns those of a cluster of so many nodes.
    ///
    /// # Errors
    /// The settings are not those of the mode.
    pub(super) fn of(settings: &Settings, nodes: usize) -> Result<Self, SettingsError> {
        let (ack, read, failover) =
            (settings.word("ack")?, settings.word("read")?, settings.word("failover")?);
        Ok(Self { nodes, ack, read, failover })
    }

    /// Whether replicas answer reads.
    pub(super) fn reads_any(self) -> bool {
        self.read == ReadFrom::Any
    }

    /// Whether a replica is promoted when the primary is away.
    pub(super) fn has_elections(self) -> bool {
        self.failover == Failover::Auto
    }

    /// How many nodes may be away while reads and writes are still answered: none without failover, since the primary may be it.
    pub(super) fn tolerates(self) -> usize {
        match self.failover {
            Failover::Off => 0,
            Failover::Auto => self.nodes.saturating_sub(1) / 2,
        }
    }

    /// Whether a write may be lost that was acknowledged: a majority that elects a primary may be without it.
    pub(super) fn loses_writes(self) -> bool {
        let majority = self.nodes / 2 + 1;
        let copies = match self.ack {
            Ack::Async => 1,
            Ack::Semi => 2.min(self.nodes),
            Ack::Sync => majority,
        };
        self.has_elections() && copies + majority <= self.nodes
    }

    /// Returns the promise about the answers to the workload of this name.
    ///
    /// Where writes may be lost, a read returns a value that was written, and little more is promised: neither a session nor the order of two writes
    /// survives. Each state that is read is one of a primary, but of transactions that were lost and others that took their
    /// place no order is the right one: reads of lists contradict each other, which read committed forbids.
    pub(super) fn promise(self, workload: &str) -> Promise {
        match (TRANSACTIONS.contains(&workload), self.loses_writes(), self.read) {
            (false, true, _) => Promise::Freshness(Freshness::Written),
            (false, false, ReadFrom::Primary) => Promise::LINEARIZABLE,
            (false, false, ReadFrom::Any) => Promise::STALE_READS,
            (true, true, _) => Promise::Transactions(ConsistencyModel::ReadUncommitted),
            (true, false, ReadFrom::Primary) => Promise::STRICT_SERIALIZABLE,
            // A transaction that only reads sees a prefix of all transactions that write, perhaps an old one.
            (true, false, ReadFrom::Any) => Promise::Transactions(ConsistencyModel::Serializable),
        }
    }
}
