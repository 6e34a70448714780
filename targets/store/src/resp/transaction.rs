//! A client's transaction: the requests between `MULTI` and `EXEC`.

use super::reply::RespReply;
use super::request::{Request, Session};
use crate::bug::Bug;
use crate::command::{Command, Condition, Query, Reply, Step, StepReply, Transaction};
use crate::node::Node;
use crate::outcome::{Failure, Unknown};

/// The most requests in a transaction.
pub const REQUESTS_MAX: usize = 4_096;
/// The most bytes in a transaction: it has to fit into one message to another node.
pub const BYTES_MAX: usize = 8 << 20;

/// The answer of another node is not a reply to a transaction.
const NOT_A_REPLY: Failure = Failure::Unknown(Unknown::ConnectionLost);

/// A request that waits for `EXEC`.
#[derive(Debug)]
enum Queued {
    /// A command or query; one that is answered with what its key had before has its condition beside it.
    Step(Step, Option<Condition>),
    /// A request that concerns the connection or the node alone: answered in its place.
    Session(Session),
}

/// The requests that wait for `EXEC`.
#[derive(Debug, Default)]
pub struct Queue {
    queued: Vec<Queued>,
    bytes: usize,
    refused: bool,
}

/// The outcome of one request of an executed transaction.
pub enum Outcome {
    /// Its reply.
    Reply(RespReply),
    /// The request, which the connection has to answer.
    Session(Session),
}

impl Queue {
    /// Queues a request of so many bytes, or refuses it; with a refused request the transaction is not executed.
    pub fn push(&mut self, request: Request, bytes: usize) -> RespReply {
        self.bytes += bytes;
        if self.queued.len() == REQUESTS_MAX || self.bytes > BYTES_MAX {
            let limit = format!("{REQUESTS_MAX} commands and {BYTES_MAX} bytes");
            return self.refuse(format!("ERR a transaction has at most {limit}: make several of it"));
        }
        let queued = match request {
            Request::Write(command) => Queued::Step(Step::Write(command), None),
            Request::WriteAndTell(command) => {
                let condition = command.condition().cloned();
                Queued::Step(Step::Write(command), condition)
            }
            Request::Read(query) => Queued::Step(Step::Read(query), None),
            Request::Transaction(_)
            | Request::Cluster(_)
            | Request::Members(_)
            | Request::Siblings(_)
            | Request::End(_) => {
                return self.refuse("ERR Command not allowed inside a transaction".into());
            }
            Request::Session(session) => Queued::Session(session),
        };
        self.queued.push(queued);
        RespReply::Status("QUEUED")
    }

    /// Notes that a request was refused, and returns the error.
    pub fn refuse(&mut self, error: String) -> RespReply {
        self.refused = true;
        RespReply::Error(error)
    }

    /// Executes what is queued, if none of the watched keys has changed, and returns the replies in order; `None` if one has.
    ///
    /// # Errors
    /// The error reply to `EXEC`: see [`crate::outcome`].
    pub async fn execute(
        self,
        node: &Node,
        bug: Option<Bug>,
        watched: Vec<(bytes::Bytes, u64)>,
    ) -> Result<Option<Vec<Outcome>>, RespReply> {
        if self.refused {
            let refusal = "EXECABORT Transaction discarded because of previous errors.";
            return Err(RespReply::Error(refusal.into()));
        }
        let steps = self.queued.iter().filter_map(|queued| match queued {
            Queued::Step(step, _) => Some(step.clone()),
            Queued::Session(_) => None,
        });
        let transaction = Transaction { watched, steps: steps.collect() };
        let count = transaction.steps.len();
        let Some(replies) = order(node, bug, transaction).await? else { return Ok(None) };
        if replies.len() != count {
            return Err(NOT_A_REPLY.into());
        }
        let mut replies = replies.into_iter();
        let outcomes = self.queued.into_iter().map(|queued| match queued {
            Queued::Session(session) => Outcome::Session(session),
            Queued::Step(_, told) => {
                let reply = replies.next().expect("every step has a reply");
                Outcome::Reply(match (reply, told) {
                    (StepReply::Written(reply), Some(condition)) => RespReply::previous(&condition, reply),
                    (reply, _) => reply.into(),
                })
            }
        });
        Ok(Some(outcomes.collect()))
    }
}

/// Gives a transaction its place in the order; `None` if a watched key had changed there. A transaction of reads alone needs
/// no place, unless its queries would go to shards one by one: it takes the way of all reads.
async fn order(
    node: &Node,
    bug: Option<Bug>,
    transaction: Transaction,
) -> Result<Option<Vec<StepReply>>, Failure> {
    let query = |step: &Step| match step {
        Step::Read(query) => Some(query.clone()),
        Step::Write(_) => None,
    };
    let queries: Option<Vec<Query>> = transaction.steps.iter().map(query).collect();
    match queries {
        Some(queries) if transaction.watched.is_empty() && (queries.len() < 2 || node.reads_as_one()) => {
            let answers = if queries.is_empty() { Vec::new() } else { node.read(queries).await? };
            Ok(Some(answers.into_iter().map(StepReply::Read).collect()))
        }
        _ if bug == Some(Bug::ExecPiecewise) => piecewise(node, transaction).await,
        _ => write(node, transaction).await,
    }
}

async fn write(node: &Node, transaction: Transaction) -> Result<Option<Vec<StepReply>>, Failure> {
    match node.write(vec![Command::Transaction(transaction)]).await?.pop() {
        Some(Reply::Executed(replies)) => Ok(Some(replies)),
        Some(Reply::Aborted) => Ok(None),
        Some(Reply::Failed(failure)) => Err(failure),
        _ => Err(NOT_A_REPLY),
    }
}

/// The bug `exec-piecewise`: each step is a transaction of its own.
async fn piecewise(node: &Node, transaction: Transaction) -> Result<Option<Vec<StepReply>>, Failure> {
    let Transaction { mut watched, steps } = transaction;
    let mut replies = Vec::new();
    for step in steps {
        let piece = Transaction { watched: std::mem::take(&mut watched), steps: vec![step] };
        match write(node, piece).await {
            Ok(Some(reply)) => replies.extend(reply),
            // Steps before it were executed.
            Err(Failure::NotExecuted(_)) if !replies.is_empty() => {
                return Err(Failure::Unknown(Unknown::LeaderChanged));
            }
            other => return other,
        }
    }
    Ok(Some(replies))
}
