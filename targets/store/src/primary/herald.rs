//! The primary says that it leads, and learns whether a majority follows it: by heartbeats, and whenever it must be sure.
//!
//! A read is confirmed by a majority that still followed this primary after the read began, so that no other had been elected by
//! then: no clock has a part in it. Rounds overlap, so that a slow node delays none.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::acks::Acks;
use super::election::{Lead, View};
use super::elector::Event;
use super::message::{Request, Response};
use super::rules::Rules;
use crate::config::NodeName;
use duress_consensus::peer::Link;
use duress_consensus::peer::payload::{decode, encode};

/// The confirmations that may wait for a round to begin.
pub const QUEUE_MAX: usize = 4_096;

/// A request to confirm that this node leads; dropped if it does not.
pub type Confirm = oneshot::Sender<()>;

/// A node, the round, and the epoch that the node is in; no epoch if it did not answer.
type Answer = (NodeName, u64, Option<u64>);

/// The task that says that this node leads, while it does.
pub struct Herald {
    /// This node.
    pub me: NodeName,
    /// The other nodes.
    pub peers: BTreeMap<NodeName, Link>,
    /// The rules.
    pub rules: Rules,
    /// The positions of replicas.
    pub acks: Acks,
    /// The primary, as this node knows it.
    pub view: watch::Receiver<View>,
    /// Requests for confirmation.
    pub confirms: mpsc::Receiver<Confirm>,
    /// When the last round began that a majority agreed to.
    pub contact: Arc<watch::Sender<Option<Instant>>>,
    /// For the elector: higher epochs.
    pub events: mpsc::Sender<Event>,
    /// The time between heartbeats.
    pub heartbeat: Duration,
    /// How long an answer may take.
    pub answer_max: Duration,
}

impl Herald {
    /// Runs until every handle is dropped.
    pub async fn run(mut self) {
        loop {
            let View { epoch, lead } = self.view.borrow_and_update().clone();
            if lead == Lead::Own {
                self.lead(epoch).await;
                continue;
            }
            tokio::select! {
                changed = self.view.changed() => if changed.is_err() { return },
                confirm = self.confirms.recv() => if confirm.is_none() { return },
            }
        }
    }

    /// Leads until this node does not any more; what waits for confirmation then gets none.
    async fn lead(&mut self, epoch: u64) {
        let mut ticks = interval(self.heartbeat);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut answers: FuturesUnordered<BoxFuture<'static, Answer>> = FuturesUnordered::new();
        let mut agreed: BTreeMap<NodeName, u64> = BTreeMap::new();
        let mut open: VecDeque<(u64, Instant, Vec<Confirm>)> = VecDeque::new();
        let mut round = 0;
        loop {
            let mut confirms = Vec::new();
            tokio::select! {
                _ = self.view.changed() => return,
                _ = ticks.tick() => {}
                _ = self.confirms.recv_many(&mut confirms, QUEUE_MAX) => {}
                Some((node, of, theirs)) = answers.next() => {
                    match theirs {
                        Some(theirs) if theirs > epoch => {
                            // The elector has ended if it does not take it: the node stops.
                            self.events.send(Event::Met(theirs)).await.ok();
                        }
                        Some(theirs) if theirs == epoch => {
                            let last = agreed.entry(node).or_insert(of);
                            *last = of.max(*last);
                        }
                        _ => {}
                    }
                    self.complete(&agreed, &mut open);
                    continue;
                }
            }
            round += 1;
            open.push_back((round, Instant::now(), confirms));
            let request = encode(&Request::Lead { epoch, primary: self.me.clone() });
            let deadline = Instant::now() + self.answer_max;
            for (name, link) in &self.peers {
                let (name, link, request) = (name.clone(), link.clone(), request.clone());
                answers.push(Box::pin(async move {
                    let answer = link.call(request, deadline).await.ok().and_then(|payload| decode(&payload));
                    let epoch = if let Some(Response::Led(epoch)) = answer { Some(epoch) } else { None };
                    (name, round, epoch)
                }));
            }
            self.complete(&agreed, &mut open);
            open.retain(|(_, began, _)| began.elapsed() < self.answer_max);
        }
    }

    /// Confirms the rounds that a majority has agreed to.
    fn complete(&self, agreed: &BTreeMap<NodeName, u64>, open: &mut VecDeque<(u64, Instant, Vec<Confirm>)>) {
        let mut rounds: Vec<u64> = agreed.values().copied().collect();
        rounds.sort_unstable_by(|one, other| other.cmp(one));
        let others = self.rules.majority(self.acks.in_contact()) - 1;
        let confirmed = match others.checked_sub(1) {
            Some(place) => rounds.get(place).copied().unwrap_or(0),
            None => u64::MAX,
        };
        while open.front().is_some_and(|(round, ..)| *round <= confirmed) {
            let Some((_, began, confirms)) = open.pop_front() else { return };
            self.contact.send_replace(Some(began));
            for confirm in confirms {
                // A reader that gave up has dropped its receiver.
                confirm.send(()).ok();
            }
        }
    }
}
