//! Writes into the log, many requests to an entry.
//!
//! All waiting requests are proposed as one entry; a few entries may be under way at once. A request's commands are never
//! split, so they stay in order and take effect together.

use std::sync::Arc;
use std::time::Duration;

use duress_consensus::types::{Fatal, Replies};
use duress_consensus::{Consensus, ProposalError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::types::StateView;
use crate::bug::Bug;
use crate::command::{Command, Condition, Reply};
use crate::outcome::{Failure, NotExecuted, Unknown};

const REQUESTS_PER_ENTRY: usize = 256;
const COMMANDS_PER_ENTRY: usize = 4_096;
const ENTRIES_UNDER_WAY: usize = 4;
const QUEUE_MAX: usize = 4_096;

/// One request's commands on their way into the log.
#[derive(Debug)]
pub struct Proposal {
    commands: Vec<Command>,
    reply: oneshot::Sender<Result<Vec<Reply>, Failure>>,
}

/// A handle to hand requests to the proposer. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Proposals {
    queue: mpsc::Sender<Proposal>,
}

/// The task that proposes.
pub struct Proposer {
    queue: mpsc::Receiver<Proposal>,
    consensus: Consensus,
    view: StateView,
    bug: Option<Bug>,
    entry_timeout: Duration,
}

impl Proposals {
    /// Proposes commands and waits, without a deadline, until they are executed or it is unknown whether they will be.
    ///
    /// # Errors
    /// See [`crate::outcome`].
    pub async fn propose(&self, commands: Vec<Command>) -> Result<Vec<Reply>, Failure> {
        let (reply, answer) = oneshot::channel();
        self.queue.send(Proposal { commands, reply }).await.map_err(|_| NotExecuted::ShuttingDown)?;
        answer.await.unwrap_or(Err(Unknown::Stopped.into()))
    }
}

impl Proposer {
    /// A proposer and the handle to it. `entry_timeout` bounds how long an entry that never commits holds its place.
    pub fn new(
        consensus: Consensus,
        view: StateView,
        bug: Option<Bug>,
        entry_timeout: Duration,
    ) -> (Proposals, Self) {
        let (sender, queue) = mpsc::channel(QUEUE_MAX);
        (Proposals { queue: sender }, Self { queue, consensus, view, bug, entry_timeout })
    }

    /// Proposes until every handle is dropped or the consensus has stopped.
    pub async fn run(mut self) {
        let places = Arc::new(Semaphore::new(ENTRIES_UNDER_WAY));
        let mut waiting = Vec::new();
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let place = Arc::new(place);
            if self.queue.recv_many(&mut waiting, REQUESTS_PER_ENTRY).await == 0 {
                return;
            }
            // A requester that gave up while its proposal waited has received "unknown". Not executing it is allowed, and
            // after a lost quorum keeps a flood of abandoned requests out of the log.
            waiting.retain(|proposal| !proposal.reply.is_closed());
            let mut batches: Vec<Vec<Proposal>> = Vec::new();
            let mut size = 0;
            for proposal in waiting.drain(..) {
                let commands: usize = proposal.commands.iter().map(Command::count).sum();
                size += commands;
                match batches.last_mut() {
                    Some(batch) if size <= COMMANDS_PER_ENTRY => batch.push(proposal),
                    _ => {
                        size = commands;
                        batches.push(vec![proposal]);
                    }
                }
            }
            for batch in batches {
                self.propose(batch, Arc::clone(&place)).await;
            }
        }
    }

    async fn propose(&self, mut proposals: Vec<Proposal>, place: Arc<OwnedSemaphorePermit>) {
        if self.bug == Some(Bug::CasBeforeOrder) {
            proposals = proposals.into_iter().filter_map(|p| compare_before_order(&self.view, p)).collect();
        }
        let commands: Vec<Command> = proposals.iter().flat_map(|p| p.commands.iter().cloned()).collect();
        let entry = match self.consensus.propose(&commands).await {
            Ok(entry) => entry,
            Err(fatal) => return fail_all(proposals, &stopped(&fatal)),
        };
        let acknowledge_early = self.bug == Some(Bug::AckBeforeCommit);
        let entry_timeout = self.entry_timeout;
        tokio::spawn(async move {
            if acknowledge_early {
                proposals = acknowledge_appended(proposals, &entry, entry_timeout).await;
            }
            match timeout(entry_timeout, entry.replies()).await {
                Ok(Ok(replies)) => distribute(proposals, &replies),
                Ok(Err(ProposalError::LeaderChanged)) => {
                    fail_all(proposals, &Unknown::LeaderChanged.into());
                }
                Ok(Err(ProposalError::NotLeader)) => fail_all(proposals, &NotExecuted::NotLeader.into()),
                Ok(Err(ProposalError::Stopped)) => fail_all(proposals, &Unknown::Stopped.into()),
                Err(_) => fail_all(proposals, &Unknown::TimedOut.into()),
            }
            drop(place);
        });
    }
}

fn stopped(fatal: &Fatal) -> Failure {
    match fatal {
        // A core that had ended refused the message, so nothing was proposed.
        Fatal::Stopped => NotExecuted::ShuttingDown.into(),
        _ => Unknown::Stopped.into(),
    }
}

fn distribute(proposals: Vec<Proposal>, replies: &Replies) {
    let replies: Vec<Reply> = replies.decode().expect("the state of this store gives its own replies");
    let mut replies = replies.into_iter();
    for proposal in proposals {
        let mine: Vec<Reply> = replies.by_ref().take(proposal.commands.len()).collect();
        debug_assert_eq!(mine.len(), proposal.commands.len(), "every command has a reply");
        // A requester that gave up has dropped its receiver.
        proposal.reply.send(Ok(mine)).ok();
    }
}

fn fail_all(proposals: Vec<Proposal>, failure: &Failure) {
    for proposal in proposals {
        // A requester that gave up has dropped its receiver.
        proposal.reply.send(Err(failure.clone())).ok();
    }
}

/// The bug `ack-before-commit`: answers requests of unconditional writes once the entry is in this node's log, and
/// returns those whose replies depend on the order.
async fn acknowledge_appended(
    proposals: Vec<Proposal>,
    entry: &duress_consensus::Proposal,
    entry_timeout: Duration,
) -> Vec<Proposal> {
    let unconditional =
        |command: &Command| matches!(command, Command::Set { condition: Condition::Always, .. });
    if !proposals.iter().any(|p| p.commands.iter().all(unconditional))
        || timeout(entry_timeout, entry.appended()).await.is_err()
    {
        return proposals;
    }
    // Requests answered here keep their place, with a closed channel, so that replies are handed out in order.
    proposals
        .into_iter()
        .map(|proposal| {
            if proposal.commands.iter().all(unconditional) {
                proposal.reply.send(Ok(vec![Reply::Done; proposal.commands.len()])).ok();
                let (closed, _) = oneshot::channel();
                Proposal { reply: closed, ..proposal }
            } else {
                proposal
            }
        })
        .collect()
}

/// The bug `cas-before-order`: compares with the state that is applied now, and orders a blind write.
///
/// `None` if the comparison failed, which is answered here. Only a pipelined command whose comparison fails is still
/// ordered as it is, because its neighbours' replies depend on the order.
fn compare_before_order(view: &StateView, mut proposal: Proposal) -> Option<Proposal> {
    let mut refused = None;
    for command in &mut proposal.commands {
        if !matches!(command, Command::Set { condition: Condition::IfEqual(_), .. }) {
            continue;
        }
        let foreseen = view.read(|applied| applied.state.values.foresee(command));
        match command {
            Command::Set { condition, .. } if foreseen == Reply::Done => *condition = Condition::Always,
            _ => refused = Some(foreseen),
        }
    }
    match refused {
        Some(reply) if proposal.commands.len() == 1 => {
            proposal.reply.send(Ok(vec![reply])).ok();
            None
        }
        _ => Some(proposal),
    }
}
