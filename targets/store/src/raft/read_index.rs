//! Linearizable reads by ReadIndex, many reads to a round.
//!
//! A leader that answers a read must know that no other leader had replaced it when the read arrived. It notes its committed
//! position, has a quorum confirm its leadership, waits until that position is applied, and answers ("In Search of an
//! Understandable Consensus Algorithm", extended version, section 8). One round serves every read that arrived
//! before it began; a read that arrives during a round waits for the next.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use duress_consensus::{Consensus, NotConfirmed};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::types::{StateView, answer_all};
use crate::bug::Bug;
use crate::command::{Answer, Query};
use crate::outcome::{Failure, NotExecuted, Unknown};

const READS_PER_ROUND: usize = 1_024;
const QUEUE_MAX: usize = 4_096;

#[derive(Debug)]
struct Read {
    queries: Vec<Query>,
    reply: oneshot::Sender<Result<Vec<Answer>, Failure>>,
}

/// A handle to hand reads to the rounds. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Reads {
    queue: mpsc::Sender<Read>,
    rounds: Arc<AtomicU64>,
}

/// The task that runs the rounds.
pub struct ReadIndex {
    queue: mpsc::Receiver<Read>,
    consensus: Consensus,
    view: StateView,
    bug: Option<Bug>,
    round_timeout: Duration,
    rounds: Arc<AtomicU64>,
}

impl Reads {
    /// Answers queries as of one moment after the call.
    ///
    /// # Errors
    /// This node is not the leader, or cannot make sure of it.
    pub async fn read(&self, queries: Vec<Query>) -> Result<Vec<Answer>, Failure> {
        let (reply, answer) = oneshot::channel();
        self.queue.send(Read { queries, reply }).await.map_err(|_| NotExecuted::ShuttingDown)?;
        answer.await.unwrap_or(Err(Unknown::Stopped.into()))
    }

    /// How many times a quorum has been asked since the node started.
    pub fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }
}

impl ReadIndex {
    /// Returns the rounds and the handle to them.
    pub fn new(
        consensus: Consensus,
        view: StateView,
        bug: Option<Bug>,
        round_timeout: Duration,
    ) -> (Reads, Self) {
        let (sender, queue) = mpsc::channel(QUEUE_MAX);
        let rounds = Arc::new(AtomicU64::new(0));
        let reads = Reads { queue: sender, rounds: Arc::clone(&rounds) };
        (reads, Self { queue, consensus, view, bug, round_timeout, rounds })
    }

    /// Runs rounds until every handle is dropped.
    pub async fn run(mut self) {
        let mut reads = Vec::new();
        while self.queue.recv_many(&mut reads, READS_PER_ROUND).await > 0 {
            reads.retain(|read: &Read| !read.reply.is_closed());
            if reads.is_empty() {
                continue;
            }
            let confirmed = self.confirm_leadership().await;
            for read in reads.drain(..) {
                let answers = match &confirmed {
                    Ok(()) => Ok(self.view.read(|applied| answer_all(applied, &read.queries))),
                    Err(reason) => Err(reason.clone().into()),
                };
                // A reader that gave up has dropped its receiver.
                read.reply.send(answers).ok();
            }
        }
    }

    async fn confirm_leadership(&self) -> Result<(), NotExecuted> {
        if self.bug == Some(Bug::StaleLeaderRead) {
            return if self.consensus.leads() { Ok(()) } else { Err(NotExecuted::NotLeader) };
        }
        self.rounds.fetch_add(1, Ordering::Relaxed);
        match timeout(self.round_timeout, self.consensus.confirm_leadership()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(NotConfirmed::NotLeader)) => Err(NotExecuted::NotLeader),
            Ok(Err(NotConfirmed::NoQuorum)) | Err(_) => Err(NotExecuted::NoQuorum),
            Ok(Err(NotConfirmed::Stopped)) => Err(NotExecuted::ShuttingDown),
        }
    }
}
