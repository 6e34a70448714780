//! The bug `exec-reads-early`: the reads of a transaction are answered before the transaction has its place in the order.

use crate::bug::Bug;
use crate::command::{Command, Reply, StepReply};
use crate::key_values::KeyValues;

/// The replies that transactions would have had where they arrived.
pub struct EarlyReads(Vec<Reply>);

impl EarlyReads {
    /// With the bug, executes commands on a copy of the state at their arrival, if there is a transaction among them.
    pub fn take(bug: Option<Bug>, state: &KeyValues, commands: &[Command]) -> Option<Self> {
        let transaction = |command: &Command| matches!(command, Command::Transaction(_));
        (bug == Some(Bug::ExecReadsEarly) && commands.iter().any(transaction)).then(|| {
            let mut copy = state.clone();
            Self(commands.iter().map(|command| copy.apply(u64::MAX, command).0).collect())
        })
    }

    /// Puts the early answers to reads in the place of those that the order gave.
    pub fn replace(self, replies: &mut [Reply]) {
        for (reply, early) in replies.iter_mut().zip(self.0) {
            if let (Reply::Executed(steps), Reply::Executed(early)) = (reply, early) {
                for (step, early) in steps.iter_mut().zip(early) {
                    if let (StepReply::Read(answer), StepReply::Read(early)) = (step, early) {
                        *answer = early;
                    }
                }
            }
        }
    }
}
