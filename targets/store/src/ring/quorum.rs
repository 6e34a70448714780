//! Asks the owners of a key, or stand-ins, until enough have answered.

use std::collections::BTreeMap;
use std::sync::Arc;

use duress_consensus::disk::DiskError;
use duress_consensus::peer::payload::{decode, encode};
use duress_consensus::peer::{CallError, Link};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};

use super::activity::Activity;
use super::copies::{Copies, Keep};
use super::merkle::Tree;
use super::message::{Request, Response};
use super::placement::{Member, Ring};
use super::upkeep::Repair;
use super::version::Versions;
use crate::bug::Bug;
use crate::config::{NodeName, RingOptions};
use crate::outcome::{Failure, NotExecuted, Unknown};
use crate::wall_clock::WallClock;

/// A node's part in the ring: its copies, and its links to the others.
pub struct Part {
    /// This node.
    pub me: Member,
    /// All nodes, in order.
    pub members: Vec<NodeName>,
    /// The owners of keys.
    pub ring: Ring,
    /// The options.
    pub options: RingOptions,
    /// This node's copies and hints.
    pub copies: Copies,
    /// The links to the other nodes.
    pub links: BTreeMap<Member, Link>,
    /// The versions that this node gives out.
    pub versions: Versions,
    /// The time of day, which only a bug relies on.
    pub clock: Arc<dyn WallClock>,
    /// The repairs for which reads do not wait.
    pub repairs: mpsc::Sender<Repair>,
    /// Counters.
    pub activity: Activity,
    /// The seeded bug, if any.
    pub bug: Option<Bug>,
    /// Why the storage has failed, if it has.
    pub failure: watch::Sender<Option<DiskError>>,
}

/// The answers that came in.
#[derive(Debug, Default)]
pub struct Answers {
    /// Those that are as asked for, with the nodes that gave them.
    pub answers: Vec<(Member, Response)>,
    /// Whether the request may have reached a node that did not answer.
    pub may_have_reached: bool,
}

impl Part {
    /// How many owners a read asks.
    pub fn read_quorum(&self) -> usize {
        self.options.r.min(self.ring.copies())
    }

    /// How many owners have a write on disk when it is acknowledged.
    pub fn write_quorum(&self) -> usize {
        self.options.w.min(self.ring.copies())
    }

    /// Sends a request to a node, which may be this one.
    ///
    /// # Errors
    /// There is no answer; the variant tells whether the request may have left.
    pub async fn call(
        &self,
        to: Member,
        request: &Request,
        deadline: Instant,
    ) -> Result<Response, CallError> {
        if to == self.me {
            // Its disk may be slow.
            return timeout_at(deadline, self.answer(request.clone())).await.map_err(|_| CallError::TimedOut);
        }
        let link = self.links.get(&to).ok_or(CallError::NotSent)?;
        let payload = link.call(encode(request), deadline).await?;
        decode(&payload).ok_or(CallError::Lost)
    }

    /// Asks all owners of a key but those in `except`, and returns once `need` have answered, or no more can.
    ///
    /// `request` gives the request to an owner, or that to a node that stands in for an owner. With `sloppy=on`, the next
    /// nodes of the ring stand in for owners that did not answer.
    pub async fn ask_owners(
        &self,
        key: &[u8],
        except: &[Member],
        need: usize,
        request: impl Fn(Option<Member>) -> Request,
        deadline: Instant,
    ) -> Answers {
        let mut answers = Answers::default();
        let (owners, others) = self.ring.preference(key).split_at(self.ring.copies());
        let mut stand_ins =
            others.iter().filter(|node| self.options.sloppy && !except.contains(node)).copied();
        let ask = |to: Member, owner: Member| {
            let request = request(Some(owner).filter(|owner| *owner != to));
            async move { (to, owner, self.call(to, &request, deadline).await) }
        };
        let mut asked: FuturesUnordered<_> =
            owners.iter().filter(|owner| !except.contains(owner)).map(|owner| ask(*owner, *owner)).collect();
        while answers.answers.len() < need {
            match asked.next().await {
                Some((_, _, Ok(Response::Failed))) => answers.may_have_reached = true,
                Some((from, _, Ok(response))) => answers.answers.push((from, response)),
                Some((_, owner, Err(error))) => {
                    answers.may_have_reached |= error != CallError::NotSent;
                    asked.extend(stand_ins.next().map(|stand_in| ask(stand_in, owner)));
                }
                None => break,
            }
        }
        answers
    }

    /// Answers a request of a node.
    pub async fn answer(&self, request: Request) -> Response {
        match request {
            Request::Fetch(key) => Response::Fetched(self.copies.merged(&key)),
            Request::Write { key, write, keep } => {
                if let Keep::Hint(_) = keep {
                    self.activity.hints_taken.add(1);
                }
                let actor = match self.bug {
                    Some(Bug::ActorReused) => self.versions.node_as_actor(),
                    _ => self.versions.actor(),
                };
                match self.copies.write(keep, key, write, actor).await {
                    Ok(Some(copy)) => Response::Written(copy),
                    Ok(None) => Response::TooManyValues,
                    Err(error) => self.failed(error),
                }
            }
            Request::Store { copies, keep } => {
                if let Keep::Hint(_) = keep {
                    self.activity.hints_taken.add(copies.len());
                }
                match self.copies.store(keep, copies).await {
                    Ok(_) => Response::Stored,
                    Err(error) => self.failed(error),
                }
            }
            Request::Compare { asker, level, digests } => {
                Response::Differ(self.tree(asker).differing(level, &digests))
            }
            Request::Exchange { asker, leaves, stamps } => self.exchange(asker, &leaves, stamps),
        }
    }

    /// Notes that the disk has failed.
    pub fn failed(&self, error: DiskError) -> Response {
        self.failure.send_replace(Some(error));
        Response::Failed
    }

    /// Whether this node and another one both own a key.
    pub fn shares(&self, key: &[u8], other: Member) -> bool {
        let owners = self.ring.owners(key);
        owners.contains(&other) && owners.contains(&self.me)
    }

    /// Returns the tree of the keys that this node holds and both own.
    pub fn tree(&self, other: Member) -> Tree {
        // With the bug, deleted keys are left out: there is nothing to copy.
        let live_only = self.bug == Some(Bug::DeletedKeyResurrected);
        self.copies.look(|own| {
            let shared = own
                .iter()
                .filter(|(key, copy)| self.shares(key, other) && !(live_only && copy.values().is_empty()));
            Tree::of(shared.map(|(key, copy)| (key, copy.stamp())))
        })
    }
}

/// Returns the failure of a request for which not enough nodes answered.
pub fn too_few(may_have_reached: bool) -> Failure {
    match may_have_reached {
        false => NotExecuted::TooFewOwners.into(),
        true => Unknown::TooFewOwners.into(),
    }
}
