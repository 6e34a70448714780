//! The two sides of a fault: the nodes that it took away from the rest, and the rest.
//!
//! The answers on both sides show what the system chose: to be consistent, or to be available on both (CAP; Gilbert & Lynch,
//! "Brewer's conjecture and the feasibility of consistent, available, partition-tolerant web services", 2002).

use std::fmt;
use std::ops::Range;

use duress_history::{Completion, NodeId, Operation};
use serde::{Deserialize, Serialize};

/// The kind of the error of an operation that was refused by its own condition: the node had an answer.
const CONDITION: &str = "precondition";

/// The operations that began while a fault was in force, by the side of the node that they were sent to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sides {
    /// At the nodes that the fault took away from the majority.
    pub away: Side,
    /// At the others.
    pub others: Side,
}

/// One side of a fault.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    /// Its nodes, by name.
    pub nodes: Vec<NodeId>,
    /// How many operations began at them.
    pub asked: u64,
    /// How many of these were answered while the fault was in force: they happened, or their own condition did not hold.
    pub answered: u64,
    /// How many of these had not ended when it healed.
    pub open: u64,
}

impl Sides {
    /// Returns the sides of a fault that took `away` these of `nodes`, without operations; `None` if one has no node.
    #[must_use]
    pub fn new<'a>(away: &[NodeId], nodes: impl Iterator<Item = &'a NodeId>) -> Option<Self> {
        let (gone, others): (Vec<_>, Vec<_>) = nodes.cloned().partition(|node| away.contains(node));
        let side = |nodes| Side { nodes, asked: 0, answered: 0, open: 0 };
        (!gone.is_empty() && !others.is_empty()).then(|| Self { away: side(gone), others: side(others) })
    }

    /// Counts an operation, if it began within `window`, in nanoseconds.
    pub fn count<A>(&mut self, operation: &Operation<A>, window: &Range<u64>) {
        let (ended, has_answer) = match &operation.completion {
            Completion::Ok { time, .. } => (Some(*time), true),
            Completion::Fail { time, error, .. } => {
                let kind = error.as_ref().and_then(|error| error.kind.as_deref());
                (Some(*time), kind == Some(CONDITION))
            }
            Completion::Info { at, .. } => (at.map(|(_, time)| time), false),
        };
        let Some(node) = operation.node.as_ref().filter(|_| window.contains(&operation.time)) else { return };
        let mut sides = [&mut self.away, &mut self.others].into_iter();
        if let Some(side) = sides.find(|side| side.nodes.contains(node)) {
            let in_time = ended.is_some_and(|ended| window.contains(&ended));
            side.asked += 1;
            side.answered += u64::from(has_answer && in_time);
            side.open += u64::from(!in_time);
        }
    }
}

impl fmt::Display for Sides {
    /// Formats `0 of 41 operations at n2 (3 open as it healed), 1044 of 1050 at n1, n3`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (side, words, before) in [(&self.away, " operations", ""), (&self.others, "", ", ")] {
            let nodes: Vec<&str> = side.nodes.iter().map(NodeId::as_str).collect();
            write!(f, "{before}{} of {}{words} at {}", side.answered, side.asked, nodes.join(", "))?;
            if side.open > 0 {
                write!(f, " ({} open as it healed)", side.open)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use duress_history::{OpError, Process};

    use super::*;

    fn operation(node: &str, from: u64, completion: Completion<()>) -> Operation<()> {
        Operation {
            index: 0,
            time: from,
            process: Process(0),
            node: Some(NodeId::new(node)),
            action: (),
            completion,
        }
    }

    #[test]
    fn what_began_under_the_fault_is_counted_where_it_was_sent() {
        let nodes = ["n1", "n2", "n3"].map(NodeId::new);
        let mut sides = Sides::new(&nodes[1..2], nodes.iter()).expect("two sides");
        let fail = |time, kind: &str| {
            let error = OpError { kind: Some(kind.to_owned().into()), text: String::new(), saw: None };
            Completion::Fail { index: 1, time, error: Some(Box::new(error)) }
        };
        let ok = |time| Completion::Ok { index: 1, time, answer: () };
        for operation in [
            operation("n1", 10, ok(19)),
            operation("n3", 10, fail(19, "precondition")),
            operation("n2", 10, fail(19, "no-leader")),
            operation("n2", 12, Completion::Info { at: Some((1, 18)), error: None }),
            // Sent before.
            operation("n2", 9, ok(15)),
            // Answered after it healed, or never.
            operation("n2", 15, ok(20)),
            operation("n2", 15, Completion::Info { at: None, error: None }),
        ] {
            sides.count(&operation, &(10..20));
        }
        assert_eq!(sides.to_string(), "0 of 4 operations at n2 (2 open as it healed), 2 of 2 at n1, n3");
        assert_eq!(Sides::new(&nodes, nodes.iter()), None, "no node is left");
        assert_eq!(Sides::new(&[], nodes.iter()), None);
    }
}
