//! The last reads of a run: every key, until it is answered.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use duress_history::register::{Register, RegisterOp};
use duress_history::{Event, OpType, Scalar};

use crate::workload::generator::{Context, Generator, Next};

/// Reads each key once; a read that fails is asked again until a deadline.
#[derive(Debug)]
pub struct FinalReads {
    todo: VecDeque<Scalar>,
    /// Keys whose read has begun and not been answered.
    open: BTreeSet<Scalar>,
    deadline: Duration,
}

impl FinalReads {
    /// Reads `keys`, giving up at `deadline` since clients began.
    pub fn new(keys: impl IntoIterator<Item = Scalar>, deadline: Duration) -> Self {
        Self { todo: keys.into_iter().collect(), open: BTreeSet::new(), deadline }
    }

    /// How many keys were never answered.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.todo.len() + self.open.len()
    }
}

impl Generator<Register> for FinalReads {
    fn next(&mut self, context: &Context) -> Next<Register> {
        if context.now >= self.deadline || self.unanswered() == 0 {
            return Next::Done;
        }
        match self.todo.pop_front() {
            Some(key) => {
                self.open.insert(key.clone());
                Next::Op(Register { key, op: RegisterOp::Read(None) })
            }
            None => Next::At(self.deadline),
        }
    }

    fn update(&mut self, event: &Event<Register>) {
        let key = &event.action.key;
        if event.op_type != OpType::Invoke && self.open.remove(key) && event.op_type != OpType::Ok {
            self.todo.push_back(key.clone());
        }
    }
}
