//! The last reads of a run: every key through every node, until it is answered, and until the nodes agree.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use duress_history::recorder::RecordError;
use duress_history::{Event, NodeId, OpType};

use super::Object;
use crate::run::dispatcher::{Dispatcher, Stop};
use crate::workload::generator::{Context, Generator, Next};
use crate::workload::kind::Ending;

/// How long replicas are left alone before keys on which they differ are read again.
const BETWEEN_ROUNDS: Duration = Duration::from_millis(100);

/// Reads `keys` through every node, until `deadline` since clients began.
///
/// # Errors
/// [`RecordError`] when the history cannot be kept.
pub async fn read_all<A: Object>(
    keys: BTreeSet<A::Key>,
    dispatcher: &mut Dispatcher<A>,
    deadline: Duration,
) -> Result<Ending, RecordError> {
    let asked = keys.len();
    let mut finals = FinalReads::new(keys, dispatcher.nodes(), deadline);
    dispatcher.run(&mut finals, Stop::Now, async {}).await?;
    Ok(match finals.unanswered() {
        0 => Ending::default(),
        unanswered => Ending::undecided(format!(
            "{unanswered} of {asked} final reads were not answered by every node: a write lost there would not be seen"
        )),
    })
}

/// Reads each key through each node; retries failed reads, and keys on which nodes differ, until a deadline.
/// Replicas that lag have that long to catch up.
#[derive(Debug)]
pub struct FinalReads<A: Object> {
    /// The node that each process slot speaks to.
    nodes: Vec<NodeId>,
    /// By node, the keys still to be read through it.
    todo: BTreeMap<NodeId, VecDeque<A::Key>>,
    /// Reads that have begun and not been answered.
    open: BTreeSet<(NodeId, A::Key)>,
    /// The last answer of each node for each key.
    answers: BTreeMap<A::Key, BTreeMap<NodeId, A::Held>>,
    /// When the next round begins, while nodes differ.
    next_round: Option<Duration>,
    deadline: Duration,
}

impl<A: Object> FinalReads<A> {
    /// Reads `keys` through every node of `nodes`, which are those of the process slots; gives up at `deadline` since
    /// clients began.
    pub fn new(keys: impl IntoIterator<Item = A::Key>, nodes: Vec<NodeId>, deadline: Duration) -> Self {
        let keys: VecDeque<A::Key> = keys.into_iter().collect();
        let todo = nodes.iter().map(|node| (node.clone(), keys.clone())).collect();
        let answers = keys.into_iter().map(|key| (key, BTreeMap::new())).collect();
        Self { nodes, todo, open: BTreeSet::new(), answers, next_round: None, deadline }
    }

    /// How many keys were not read through every node.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.answers.values().filter(|answers| answers.len() < self.todo.len()).count()
    }

    /// Returns the keys on which nodes differ.
    fn disputed(&self) -> Vec<A::Key> {
        let differ = |answers: &&BTreeMap<NodeId, A::Held>| {
            let mut values = answers.values();
            values.next().is_some_and(|first| values.any(|other| other != first))
        };
        self.answers.iter().filter(|(_, answers)| differ(answers)).map(|(key, _)| key.clone()).collect()
    }
}

impl<A: Object> Generator<A> for FinalReads<A> {
    fn next(&mut self, context: &Context) -> Next<A> {
        if context.now >= self.deadline {
            return Next::Done;
        }
        let idle = self.open.is_empty() && self.todo.values().all(VecDeque::is_empty);
        if idle {
            let disputed = self.disputed();
            match self.next_round {
                _ if disputed.is_empty() => return Next::Done,
                Some(at) if context.now >= at => {
                    self.next_round = None;
                    self.todo.values_mut().for_each(|keys| keys.extend(disputed.iter().cloned()));
                }
                Some(at) => return Next::At(at),
                None => {
                    let at = context.now + BETWEEN_ROUNDS;
                    self.next_round = Some(at);
                    return Next::At(at);
                }
            }
        }
        let node = &self.nodes[context.slot];
        match self.todo.get_mut(node).and_then(VecDeque::pop_front) {
            Some(key) => {
                self.open.insert((node.clone(), key.clone()));
                Next::Op(A::reading(key))
            }
            // Other slots speak to other nodes.
            None => Next::Pending,
        }
    }

    fn update(&mut self, event: &Event<A>) {
        let (Some(node), Some(key)) = (&event.node, event.action.object()) else { return };
        if event.op_type == OpType::Invoke || !self.open.remove(&(node.clone(), key.clone())) {
            return;
        }
        match event.action.held().filter(|_| event.op_type == OpType::Ok) {
            Some(held) => {
                self.answers.entry(key.clone()).or_default().insert(node.clone(), held);
            }
            // An earlier answer may be from before the replica had caught up.
            None => {
                self.answers.entry(key.clone()).or_default().remove(node);
                self.todo.entry(node.clone()).or_default().push_back(key.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use duress_history::register::{Register, RegisterOp};
    use duress_history::{Process, Scalar};

    use super::*;

    /// Runs the reads with `answer(node, key, round)`, where a round is a time at which a node is asked.
    fn run(answer: impl Fn(&str, u64) -> Option<i64>) -> (FinalReads<Register>, Vec<String>) {
        let nodes = vec![NodeId::new("n1"), NodeId::new("n2")];
        let mut reads =
            FinalReads::<Register>::new([Scalar::from("x")], nodes.clone(), Duration::from_secs(1));
        let (mut now, mut asked) = (0, Vec::new());
        'run: loop {
            let mut wake = now + 10;
            for (slot, node) in nodes.iter().enumerate() {
                let now = Duration::from_millis(now);
                let context = Context { now, slot, slots: nodes.len(), process: Process(slot as u64) };
                match reads.next(&context) {
                    Next::Op(action) => {
                        asked.push(format!("{node}@{}", context.now.as_millis()));
                        let value = answer(node.as_str(), context.now.as_millis() as u64);
                        let op = RegisterOp::Read(value.map(Scalar::from));
                        let event = Event {
                            index: 0,
                            time: 0,
                            process: Process(slot as u64),
                            op_type: OpType::Ok,
                            action: Register { key: action.key, op },
                            node: Some(node.clone()),
                            error: None,
                        };
                        reads.update(&event);
                    }
                    Next::At(at) => wake = at.as_millis() as u64,
                    Next::Pending => {}
                    Next::Done => break 'run,
                }
            }
            now = wake;
        }
        (reads, asked)
    }

    #[test]
    fn nodes_that_agree_are_asked_once() {
        let (reads, asked) = run(|_, _| Some(3));
        assert_eq!(asked, ["n1@0", "n2@0"]);
        assert_eq!(reads.unanswered(), 0);
    }

    #[test]
    fn a_replica_that_lags_is_asked_until_it_agrees() {
        let (reads, asked) = run(|node, now| Some(if node == "n2" && now < 150 { 2 } else { 3 }));
        assert!(asked.len() > 2 && reads.disputed().is_empty(), "{asked:?}");
    }

    #[test]
    fn replicas_that_never_agree_are_left_at_the_deadline() {
        let (reads, _) = run(|node, _| Some(if node == "n2" { 2 } else { 3 }));
        assert_eq!((reads.unanswered(), reads.disputed().len()), (0, 1));
    }
}
