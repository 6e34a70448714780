//! The task by which a node takes part in elections: it owns the ballot.
//!
//! A node knows of a higher epoch before it looks at its own position to vote in it, and an acknowledgement to a primary
//! names the epoch that the node knows after it has looked at its position ([`super::replica`], [`super::acks`]). So
//! whatever a node has acknowledged in earlier epochs counts in its vote.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::acks::Acks;
use super::election::{Ballot, Candidacy, Lead, Round, View};
use super::ledger::Ledger;
use super::message::{Request, Response};
use super::rules::Rules;
use crate::config::NodeName;
use duress_consensus::disk::DiskError;
use duress_consensus::peer::Link;
use duress_consensus::peer::payload::{decode, encode};

/// The events that may wait.
pub const QUEUE_MAX: usize = 1_024;

/// Something that the elector must know.
#[derive(Debug)]
pub enum Event {
    /// A node says that it leads; the reply is the epoch of this one.
    Led {
        /// The epoch.
        epoch: u64,
        /// The node.
        primary: NodeName,
        /// For the answer.
        reply: oneshot::Sender<u64>,
    },
    /// A node asks for a vote; the reply is the epoch of this one, and whether it votes for the candidate.
    Asked {
        /// The candidate.
        candidacy: Candidacy,
        /// For the answer.
        reply: oneshot::Sender<(u64, bool)>,
    },
    /// A node is in this epoch.
    Met(u64),
}

/// A node's answer in an epoch and a round: its own epoch, and whether it votes.
type Vote = (NodeName, u64, Round, Option<(u64, bool)>);

/// The times of an election.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// The shortest silence after which a node stands; a node that has heard from a primary since votes for no other.
    pub election_min: Duration,
    /// The longest; also the time after which a primary that reaches no majority steps down.
    pub election_max: Duration,
}

/// The task.
pub struct Elector {
    /// This node.
    pub me: NodeName,
    /// The other nodes.
    pub peers: BTreeMap<NodeName, Link>,
    /// The rules.
    pub rules: Rules,
    /// The times.
    pub timing: Timing,
    /// The data.
    pub ledger: Ledger,
    /// The positions of replicas.
    pub acks: Acks,
    /// The durable state of elections.
    pub ballot: Ballot,
    /// The primary, as this node knows it; only this task changes it.
    pub view: Arc<watch::Sender<View>>,
    /// When the last round began in which a majority followed this node.
    pub contact: Arc<watch::Sender<Option<Instant>>>,
    /// The events.
    pub events: mpsc::Receiver<Event>,
}

/// A candidacy of this node.
struct Standing {
    epoch: u64,
    round: Round,
    votes: BTreeSet<NodeName>,
}

impl Elector {
    /// Runs until every sender of events is dropped, or the ballot cannot be saved.
    ///
    /// # Errors
    /// It cannot.
    pub async fn run(mut self) -> Result<(), DiskError> {
        let mut answers: FuturesUnordered<BoxFuture<'static, Vote>> = FuturesUnordered::new();
        let mut standing: Option<Standing> = None;
        let mut heard: Option<Instant> = None;
        let mut deadline = self.patience();
        loop {
            tokio::select! {
                event = self.events.recv() => match event {
                    None => return Ok(()),
                    Some(Event::Met(epoch)) => if self.meet(epoch) {
                        self.save().await?;
                        deadline = self.patience();
                    },
                    Some(Event::Led { epoch, primary, reply }) => {
                        if self.follow(epoch, primary).await? {
                            heard = Some(Instant::now());
                            deadline = self.patience();
                        }
                        // A primary that gave up has dropped its receiver.
                        reply.send(self.ballot.epoch).ok();
                    }
                    Some(Event::Asked { candidacy, reply }) => {
                        let granted = !self.has_primary(heard) && self.grants(&candidacy).await?;
                        if granted && candidacy.round == Round::Vote {
                            deadline = self.patience();
                        }
                        // As above.
                        reply.send((self.ballot.epoch, granted)).ok();
                    }
                },
                Some((node, epoch, round, answer)) = answers.next() => match (answer, &mut standing) {
                    (Some((theirs, _)), _) if theirs > self.ballot.epoch => {
                        self.meet(theirs);
                        self.save().await?;
                    }
                    (Some((_, true)), Some(own)) if (own.epoch, own.round) == (epoch, round) => {
                        own.votes.insert(node);
                    }
                    _ => {}
                },
                () = sleep_until(deadline) => {
                    if self.leads() {
                        deadline = self.last_contact() + self.timing.election_max;
                        if deadline <= Instant::now() {
                            tracing::info!(epoch = self.ballot.epoch, "no majority is in contact: stepping down");
                            self.see(Lead::Unknown);
                            deadline = self.patience();
                        }
                    } else {
                        if self.view.borrow().lead != Lead::Unknown {
                            self.see(Lead::Unknown);
                        }
                        standing = Some(self.stand(Round::Poll, &mut answers).await?);
                        deadline = self.patience();
                    }
                }
            }
            // Another node that was elected, or a higher epoch, ends this node's candidacy.
            if standing.as_ref().is_some_and(|own| !self.still_stands(own)) {
                standing = None;
            }
            while let Some(own) = standing.take_if(|own| own.votes.len() > self.rules.nodes / 2) {
                match own.round {
                    Round::Poll => standing = Some(self.stand(Round::Vote, &mut answers).await?),
                    Round::Vote => {
                        tracing::info!(epoch = own.epoch, "promoted");
                        self.contact.send_replace(Some(Instant::now()));
                        self.see(Lead::Own);
                    }
                }
                deadline = self.patience();
            }
        }
    }

    fn leads(&self) -> bool {
        self.view.borrow().lead == Lead::Own
    }

    fn last_contact(&self) -> Instant {
        // With the bug, a primary without replicas is always in contact with its majority: itself.
        let alone = self.rules.majority(self.acks.in_contact()) == 1;
        let contact = *self.contact.borrow();
        contact.filter(|_| !alone).unwrap_or_else(Instant::now)
    }

    /// Whether a primary has been heard from too lately to vote for another node.
    fn has_primary(&self, heard: Option<Instant>) -> bool {
        let last = if self.leads() { Some(self.last_contact()) } else { heard };
        last.is_some_and(|last| last.elapsed() < self.timing.election_min)
    }

    /// Returns the end of a silence of a random length.
    fn patience(&self) -> Instant {
        let Timing { election_min, election_max } = self.timing;
        // The hasher's keys are random.
        let spread = (election_max - election_min).as_millis().max(1) as u64;
        let drawn = RandomState::new().hash_one(self.ballot.epoch) % spread;
        Instant::now() + election_min + Duration::from_millis(drawn)
    }

    fn see(&self, lead: Lead) {
        self.view.send_replace(View { epoch: self.ballot.epoch, lead });
    }

    async fn save(&self) -> Result<(), DiskError> {
        self.ledger.save_ballot(self.ballot.clone()).await
    }

    /// Enters a higher epoch, if this is one; it is to be saved before another node learns of it.
    fn meet(&mut self, epoch: u64) -> bool {
        if epoch <= self.ballot.epoch {
            return false;
        }
        self.ballot = Ballot { epoch, vote: None };
        self.see(Lead::Unknown);
        true
    }

    /// Follows a primary, unless its epoch is over; whether it does.
    async fn follow(&mut self, epoch: u64, primary: NodeName) -> Result<bool, DiskError> {
        if epoch < self.ballot.epoch {
            return Ok(false);
        }
        if self.meet(epoch) {
            self.save().await?;
        }
        let lead = Lead::Other(primary);
        if self.view.borrow().lead != lead {
            self.see(lead);
        }
        Ok(true)
    }

    /// Votes, or says how it would.
    async fn grants(&mut self, candidacy: &Candidacy) -> Result<bool, DiskError> {
        let mut changed = candidacy.round == Round::Vote && self.meet(candidacy.epoch);
        // After the epoch is known here: see above.
        let granted = self.ballot.grants(self.ledger.position(), candidacy, self.rules.bug);
        if granted && candidacy.round == Round::Vote {
            changed |= self.ballot.vote.is_none();
            self.ballot.vote = Some(candidacy.candidate.clone());
        }
        if changed {
            self.save().await?;
        }
        Ok(granted)
    }

    /// Asks all others, and votes for itself if that is the question.
    async fn stand(
        &mut self,
        round: Round,
        answers: &mut FuturesUnordered<BoxFuture<'static, Vote>>,
    ) -> Result<Standing, DiskError> {
        let epoch = self.ballot.epoch + 1;
        if round == Round::Vote {
            self.meet(epoch);
            self.ballot.vote = Some(self.me.clone());
            self.save().await?;
        }
        let (candidate, position) = (self.me.clone(), self.ledger.position());
        let request = encode(&Request::Stand(Candidacy { epoch, candidate, position, round }));
        let deadline = Instant::now() + self.timing.election_max;
        for (name, link) in &self.peers {
            let (name, link, request) = (name.clone(), link.clone(), request.clone());
            answers.push(Box::pin(async move {
                let answer = link.call(request, deadline).await.ok().and_then(|payload| decode(&payload));
                let vote = match answer {
                    Some(Response::Voted { epoch, granted }) => Some((epoch, granted)),
                    _ => None,
                };
                (name, epoch, round, vote)
            }));
        }
        Ok(Standing { epoch, round, votes: [self.me.clone()].into() })
    }

    fn still_stands(&self, own: &Standing) -> bool {
        let epoch = match own.round {
            Round::Poll => self.ballot.epoch + 1,
            Round::Vote => self.ballot.epoch,
        };
        own.epoch == epoch && self.view.borrow().lead == Lead::Unknown
    }
}
