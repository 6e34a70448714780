//! Every small history: all orders of the events of a few processes, with all operations and outcomes.

use duress_history::{Completion, NodeId, Operation, Process};

/// How an operation ends.
#[derive(Clone)]
pub enum Outcome<A> {
    /// It is answered, with this.
    Ok(A),
    /// It certainly did not happen.
    Fail,
    /// It may have happened.
    Info,
}

/// Calls `check` with every history of processes that do so many operations as `counts` has for each, out of `choices`.
///
/// Processes with equal counts invoke their first operations in the order of their numbers; any other history is one of these
/// with the processes renamed. The event that ends a failed operation, or one of unknown outcome, follows its invocation at
/// once, since nothing depends on it; the process goes on.
pub fn histories<A: Clone>(
    counts: &[usize],
    choices: &[(A, Outcome<A>)],
    check: &mut dyn FnMut(&[Operation<A>]),
) {
    let mut state = State {
        counts,
        choices,
        left: counts.to_vec(),
        open: vec![None; counts.len()],
        operations: Vec::new(),
    };
    state.go_on(0, check);
}

struct State<'a, A> {
    counts: &'a [usize],
    choices: &'a [(A, Outcome<A>)],
    /// By process: how many operations are not invoked yet, and the one that is open, with its answer.
    left: Vec<usize>,
    open: Vec<Option<(usize, A)>>,
    operations: Vec<Operation<A>>,
}

impl<A: Clone> State<'_, A> {
    fn go_on(&mut self, index: u64, check: &mut dyn FnMut(&[Operation<A>])) {
        let mut ended = true;
        for process in 0..self.counts.len() {
            if let Some((at, answer)) = self.open[process].take() {
                ended = false;
                let info = self.operations[at].completion.clone();
                self.operations[at].completion =
                    Completion::Ok { index, time: index, answer: answer.clone() };
                self.go_on(index + 1, check);
                self.operations[at].completion = info;
                self.open[process] = Some((at, answer));
                continue;
            }
            let has_begun = |process: usize| self.left[process] < self.counts[process];
            let is_later =
                process > 0 && self.counts[process - 1] == self.counts[process] && !has_begun(process - 1);
            if self.left[process] == 0 {
                continue;
            }
            ended = false;
            if is_later {
                continue;
            }
            self.left[process] -= 1;
            for (asked, outcome) in self.choices {
                let completion = match outcome {
                    Outcome::Fail => Completion::Fail { index: index + 1, time: index + 1, error: None },
                    Outcome::Ok(_) | Outcome::Info => Completion::Info { at: None, error: None },
                };
                if let Outcome::Ok(answer) = outcome {
                    self.open[process] = Some((self.operations.len(), answer.clone()));
                }
                self.operations.push(Operation {
                    process: Process(process as u64),
                    node: None::<NodeId>,
                    index,
                    time: index,
                    action: asked.clone(),
                    completion,
                });
                self.go_on(index + 2, check);
                self.operations.pop();
                self.open[process] = None;
            }
            self.left[process] += 1;
        }
        if ended {
            check(&self.operations);
        }
    }
}
