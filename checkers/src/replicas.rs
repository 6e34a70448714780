//! The replicas of a history, and the last answer of each, once they had to agree.

use std::collections::{BTreeMap, BTreeSet};

use duress_history::{NodeId, Scalar};

use crate::linearizable::Convergence;
use crate::verdict::Reason;

/// A read, as far as it says something of the replica that answered it.
pub(crate) struct ReplicaRead<'a> {
    /// The object that was read.
    pub(crate) object: Option<&'a Scalar>,
    /// The node that it was sent to.
    pub(crate) node: Option<&'a NodeId>,
    /// Index of its invocation.
    pub(crate) index: u64,
    /// Whether it was answered.
    pub(crate) answered: bool,
}

/// The replicas, and when they have to agree.
pub(crate) struct Replicas<'a> {
    settled: u64,
    /// The nodes that any read was sent to.
    known: BTreeSet<&'a NodeId>,
    /// The nodes that answered a read in the final phase.
    answered: BTreeSet<&'a NodeId>,
    /// The last unanswered read of each object at each node in the final phase: an answer before it may be from before
    /// the replica had caught up.
    unanswered: BTreeMap<(Option<&'a Scalar>, &'a NodeId), u64>,
}

/// Returns why eventual consistency is not decided where no final phase is known.
pub(crate) fn never_settled() -> Reason {
    let what = "whether replicas came to agree was not checked: the history does not say when everything had been healed";
    Reason::NotExamined { what: what.to_owned() }
}

impl<'a> Replicas<'a> {
    /// Returns the replicas of a history with these `reads`, in which they have to agree from the event `settled` on.
    pub(crate) fn new(settled: u64, reads: impl Iterator<Item = ReplicaRead<'a>>) -> Self {
        let mut replicas =
            Self { settled, known: BTreeSet::new(), answered: BTreeSet::new(), unanswered: BTreeMap::new() };
        for read in reads {
            replicas.known.extend(read.node);
            match read.node.filter(|_| read.index >= settled) {
                Some(node) if read.answered => _ = replicas.answered.insert(node),
                Some(node) => {
                    let last = replicas.unanswered.entry((read.object, node)).or_default();
                    *last = read.index.max(*last);
                }
                None => {}
            }
        }
        replicas
    }

    /// Returns the last of the answered `reads` of `object` at each replica, by replica: its node, the index of its
    /// invocation, and its data. A replica that left a later read unanswered is not among them.
    pub(crate) fn last<T>(
        &self,
        object: Option<&'a Scalar>,
        reads: impl Iterator<Item = (Option<&'a NodeId>, u64, T)>,
    ) -> Vec<(&'a NodeId, u64, T)> {
        let mut last: BTreeMap<&'a NodeId, (u64, T)> = BTreeMap::new();
        for (node, index, read) in reads.filter(|(_, index, _)| *index >= self.settled) {
            let Some(node) = node else { continue };
            if last.get(node).is_none_or(|(before, _)| index > *before) {
                last.insert(node, (index, read));
            }
        }
        let later = |node, index| self.unanswered.get(&(object, node)).is_some_and(|later| *later > index);
        let last = last.into_iter().filter(|(node, (index, _))| !later(*node, *index));
        last.map(|(node, (index, read))| (node, index, read)).collect()
    }

    /// Returns the replicas that are not among `answered`.
    pub(crate) fn missing(&self, answered: impl Fn(&NodeId) -> bool) -> Vec<NodeId> {
        self.known.iter().filter(|node| !answered(node)).map(|node| (*node).clone()).collect()
    }

    /// Returns how they were compared, with `compared` objects read at more than one, and any undecided
    /// question.
    pub(crate) fn compared(&self, compared: u64) -> (Convergence, Option<Reason>) {
        let replicas: Vec<NodeId> = self.answered.iter().map(|node| (*node).clone()).collect();
        let open = self.known.len() > 1 && compared == 0;
        let reason = open.then_some(Reason::NotCompared { replicas: replicas.len() as u64 });
        (Convergence { replicas, compared }, reason)
    }
}
