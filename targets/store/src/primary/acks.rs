//! The positions of replicas, as their primary knows them, and so which writes are settled.
//!
//! A replica acknowledges by asking for what comes next: the position that it asks from is on its disk.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::election::{Lead, View};
use super::ledger::Ledger;
use super::message::Pull;
use super::rules::{Copy, Rules};
use crate::config::NodeName;

/// The silence after which a replica counts as out of contact. One that has everything asks again within
/// [`FOLLOW_WAIT`](super::replica::FOLLOW_WAIT).
pub const CONTACT_MAX: Duration = Duration::from_millis(600);

/// A replica's progress, for `INFO`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The replica.
    pub replica: NodeName,
    /// The last write that it has acknowledged.
    pub offset: u64,
    /// For how long it has not had everything that the primary has.
    pub behind: Duration,
    /// Whether it has asked lately.
    pub in_contact: bool,
}

/// The replicas' acknowledgements. Cheap to clone.
#[derive(Clone)]
pub struct Acks {
    rules: Rules,
    ledger: Ledger,
    view: watch::Receiver<View>,
    /// The offset up to which writes of this node's history are settled, as far as it knows.
    settled: Arc<watch::Sender<u64>>,
    // Replicas' requests and the writer change it; the lock is held for a few comparisons and never across an await.
    term: Arc<Mutex<Term>>,
}

/// This node's time as the primary.
#[derive(Debug, Default)]
struct Term {
    epoch: u64,
    /// The offset of the first write of the epoch. Those before it are settled with it, and not by being counted: a later
    /// primary may not have them (section 5.4.2 of the paper on Raft).
    first: u64,
    replicas: BTreeMap<NodeName, Replica>,
}

#[derive(Debug)]
struct Replica {
    offset: u64,
    heard: Instant,
    behind_since: Option<Instant>,
}

impl Replica {
    fn is_in_contact(&self) -> bool {
        self.heard.elapsed() < CONTACT_MAX
    }
}

impl Acks {
    /// Returns acknowledgements of no replica yet.
    pub fn new(rules: Rules, ledger: Ledger, view: watch::Receiver<View>) -> Self {
        let (settled, _) = watch::channel(0);
        Self { rules, ledger, view, settled: Arc::new(settled), term: Arc::default() }
    }

    /// This node becomes the primary of an epoch. A replica counts as in contact until it has been silent.
    pub fn begin(&self, epoch: u64, first: u64, replicas: &[NodeName]) {
        let new = |name: &NodeName| {
            (name.clone(), Replica { offset: 0, heard: Instant::now(), behind_since: None })
        };
        let replicas = replicas.iter().map(new).collect();
        // Where failover may lose writes, the history that was settled further may be gone.
        self.settled.send_modify(|settled| *settled = first.saturating_sub(1).min(*settled));
        *self.term.lock().unwrap_or_else(PoisonError::into_inner) = Term { epoch, first, replicas };
    }

    /// A replica asks for what comes next.
    pub fn note(&self, pull: &Pull) {
        let mut term = self.term.lock().unwrap_or_else(PoisonError::into_inner);
        if term.epoch != pull.epoch {
            return;
        }
        if let Some(replica) = term.replicas.get_mut(&pull.replica) {
            // Looked up in the history of this epoch: one that a copy has replaced has other writes at the same offset.
            replica.offset = if self.ledger.has(pull.position) { pull.position.offset } else { 0 };
            replica.heard = Instant::now();
        }
        drop(term);
        self.settle(pull.epoch);
    }

    /// Determines which writes are settled, as the primary of an epoch.
    pub fn settle(&self, epoch: u64) {
        // Before the epoch is looked at: a node that has voted in a later epoch has told the candidate how far it was by then,
        // and nothing later may count.
        let own = self.ledger.position().offset;
        let mut term = self.term.lock().unwrap_or_else(PoisonError::into_inner);
        let leads = *self.view.borrow() == View { epoch, lead: Lead::Own };
        if !leads || term.epoch != epoch {
            return;
        }
        for replica in term.replicas.values_mut() {
            replica.behind_since =
                (replica.offset < own).then(|| replica.behind_since.unwrap_or_else(Instant::now));
        }
        let copy = |replica: &Replica| Copy { offset: replica.offset, in_contact: replica.is_in_contact() };
        let copies: Vec<Copy> = term.replicas.values().map(copy).collect();
        let settled = self.rules.settled(own, &copies);
        if settled >= term.first {
            self.know(settled);
        }
    }

    /// The writes of this node's history are settled up to an offset.
    pub fn know(&self, offset: u64) {
        self.settled.send_if_modified(|settled| {
            let is_more = offset > *settled;
            *settled = offset.max(*settled);
            is_more
        });
    }

    /// Returns the offset up to which writes are settled, as far as this node knows.
    pub fn settled(&self) -> u64 {
        *self.settled.borrow()
    }

    /// Returns a receiver of that offset.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.settled.subscribe()
    }

    /// The number of replicas that have asked lately.
    pub fn in_contact(&self) -> usize {
        let term = self.term.lock().unwrap_or_else(PoisonError::into_inner);
        term.replicas.values().filter(|replica| replica.is_in_contact()).count()
    }

    /// Returns the progress of each replica.
    pub fn progress(&self) -> Vec<Progress> {
        let term = self.term.lock().unwrap_or_else(PoisonError::into_inner);
        let progress = |(name, replica): (&NodeName, &Replica)| Progress {
            replica: name.clone(),
            offset: replica.offset,
            behind: replica.behind_since.map_or(Duration::ZERO, |since| since.elapsed()),
            in_contact: replica.is_in_contact(),
        };
        term.replicas.iter().map(progress).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::epochs::Beginning;
    use super::super::ledger::Position;
    use super::*;
    use crate::config::{Ack, Failover};

    #[tokio::test]
    async fn writes_of_earlier_epochs_are_settled_with_one_of_the_primarys_own() {
        let folder = tempfile::tempdir().unwrap();
        let (ledger, _) = Ledger::open(folder.path(), "n1", 9, None).unwrap();
        ledger.found().await.unwrap();
        let begun = |epoch, first| vec![Beginning { epoch, first }];
        ledger.append(vec![vec![]; 4], begun(1, 1)).await.unwrap();
        let inherited = ledger.position();
        let (view, seen) = watch::channel(View { epoch: 2, lead: Lead::Own });
        let rules = Rules { nodes: 3, ack: Ack::Semi, failover: Failover::Auto, bug: None };
        let acks = Acks::new(rules, ledger.clone(), seen);
        let replica: NodeName = "n2".parse().unwrap();
        let pull = |position| Pull { replica: replica.clone(), epoch: 2, position, settled: 0 };

        acks.begin(2, 5, std::slice::from_ref(&replica));
        acks.note(&pull(inherited));
        assert_eq!(acks.settled(), 0, "two of three nodes have them, and a later primary may not");
        ledger.append(vec![vec![]], begun(2, 5)).await.unwrap();
        acks.note(&pull(Position { epoch: 1, ..ledger.position() }));
        assert_eq!(acks.settled(), 0, "its fifth write is another");
        acks.note(&Pull { epoch: 1, ..pull(ledger.position()) });
        assert_eq!(acks.settled(), 0, "it was said to an earlier primary");
        acks.note(&pull(ledger.position()));
        assert_eq!(acks.settled(), 5);

        view.send_replace(View { epoch: 3, lead: Lead::Unknown });
        ledger.append(vec![vec![]], vec![]).await.unwrap();
        acks.note(&pull(ledger.position()));
        assert_eq!(acks.settled(), 5, "this node is in a later epoch");
    }
}
