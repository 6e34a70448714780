//! The operations of members of the consumer group.
//!
//! A process is a member from the answer of its `subscribe` until it assigns partitions to itself. A subscription of
//! unknown outcome ends its process, so that it makes no member.

use duress_history::Process;
use duress_history::log::Log;
use duress_history::pairs::Completion;
use rustc_hash::FxHashMap;

use super::facts::{Facts, Op};

/// The operations that were a member's.
#[derive(Debug)]
pub(super) struct Members {
    /// By operation: the first subscription by which its process was a member then.
    joined: Vec<Option<Op>>,
}

impl Members {
    /// Follows every process. Time O(operations).
    pub(super) fn new(facts: &Facts<'_>) -> Self {
        let mut members: FxHashMap<Process, Op> = FxHashMap::default();
        let mut joined = Vec::with_capacity(facts.operations.len());
        for (op, operation) in facts.operations.iter().enumerate() {
            joined.push(members.get(&operation.process).copied());
            match (&operation.action, &operation.completion) {
                (Log::Subscribe(_), Completion::Ok { .. }) => {
                    members.entry(operation.process).or_insert(op as Op);
                }
                (Log::Assign { .. }, Completion::Ok { .. }) => {
                    members.remove(&operation.process);
                }
                _ => {}
            }
        }
        Self { joined }
    }

    /// Returns the first subscription by which the process of `op` was a member when `op` began; `None` if it
    /// was not.
    pub(super) fn joined(&self, op: Op) -> Option<Op> {
        self.joined[op as usize]
    }

    /// Whether the process of `op` was a member when `op` began.
    pub(super) fn is_member(&self, op: Op) -> bool {
        self.joined(op).is_some()
    }
}
