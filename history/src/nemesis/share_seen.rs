//! Observations of a node that has the processor for a share of the time.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::node::NodeId;

/// How long the processes of one node were held, and how long they were not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeShare {
    /// The node.
    pub node: NodeId,
    /// The share of the time that its processes may run, in percent.
    pub percent: u8,
    /// How many times every thread was seen stopped, both at the beginning of a hold and at its end.
    pub holds: u64,
    /// How long those holds took, in microseconds.
    pub held_us: u64,
    /// How long the processes were not held before them, in microseconds.
    pub ran_us: u64,
}

impl NodeShare {
    /// The fewest holds that show a share: one is a pause.
    pub const HOLDS_MIN: u64 = 2;

    /// Whether the node had no more than its share, a hundredth of the holds aside. One without processes had none.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        let [held, ran, percent] = [self.held_us, self.ran_us, u64::from(self.percent)].map(u128::from);
        held * percent * 101 >= ran * 100_u128.saturating_sub(percent) * 100
    }
}

impl fmt::Display for NodeShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, percent, holds, held_us, ran_us } = self;
        let [held, all] = [*held_us, held_us + ran_us].map(|us| us / 1000);
        write!(f, "{node} was held {holds} times, for {held} of {all} ms, to leave it {percent} %")
    }
}
