//! The last reads of a run: every key through every node, until it is answered.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use duress_history::register::{Register, RegisterOp};
use duress_history::{Event, NodeId, OpType, Scalar};

use crate::workload::generator::{Context, Generator, Next};

/// Reads each key once through each node; a read that fails is asked again until a deadline.
#[derive(Debug)]
pub struct FinalReads {
    /// The node that each process slot speaks to.
    nodes: Vec<NodeId>,
    /// Of each node, the keys still to be read through it.
    todo: Vec<(NodeId, VecDeque<Scalar>)>,
    /// Reads that have begun and not been answered: node and key.
    open: BTreeSet<(NodeId, Scalar)>,
    deadline: Duration,
}

impl FinalReads {
    /// Reads `keys` through every node of `nodes`, which are those of the process slots; gives up at `deadline` since
    /// clients began.
    pub fn new(keys: impl IntoIterator<Item = Scalar>, nodes: Vec<NodeId>, deadline: Duration) -> Self {
        let keys: VecDeque<Scalar> = keys.into_iter().collect();
        let distinct: BTreeSet<&NodeId> = nodes.iter().collect();
        let todo = distinct.into_iter().map(|node| (node.clone(), keys.clone())).collect();
        Self { nodes, todo, open: BTreeSet::new(), deadline }
    }

    /// How many keys were not read through every node.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        let todo = self.todo.iter().flat_map(|(_, keys)| keys);
        let keys: BTreeSet<&Scalar> = todo.chain(self.open.iter().map(|(_, key)| key)).collect();
        keys.len()
    }

    fn keys_of(&mut self, node: &NodeId) -> Option<&mut VecDeque<Scalar>> {
        self.todo.iter_mut().find(|(other, _)| other == node).map(|(_, keys)| keys)
    }
}

impl Generator<Register> for FinalReads {
    fn next(&mut self, context: &Context) -> Next<Register> {
        let left = !self.open.is_empty() || self.todo.iter().any(|(_, keys)| !keys.is_empty());
        if context.now >= self.deadline || !left {
            return Next::Done;
        }
        let node = self.nodes[context.slot].clone();
        match self.keys_of(&node).and_then(VecDeque::pop_front) {
            Some(key) => {
                self.open.insert((node, key.clone()));
                Next::Op(Register { key, op: RegisterOp::Read(None) })
            }
            // Other slots speak to other nodes.
            None => Next::Pending,
        }
    }

    fn update(&mut self, event: &Event<Register>) {
        let Some(node) = &event.node else { return };
        let key = &event.action.key;
        if event.op_type != OpType::Invoke
            && self.open.remove(&(node.clone(), key.clone()))
            && event.op_type != OpType::Ok
            && let Some(keys) = self.keys_of(node)
        {
            keys.push_back(key.clone());
        }
    }
}
