//! How any node has the shards answer a request.
//!
//! The node asks the shards that its copy of the directory names, side by side, each through its leader. A shard that does not
//! serve a slot refuses, which is certain to have had no effect, and the part is routed anew after a short pause, until the
//! request's time is over. Any other failure is final: what may have been executed is never sent again.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use super::directory::Directory;
use super::routed::{Part, PartResult, Routed, is_elsewhere};
use crate::bug::Bug;
use crate::outcome::NotExecuted;
use crate::raft::RaftNode;

/// The pauses before a refused part is routed anew: a move takes a few commits.
const PAUSE_MIN: Duration = Duration::from_millis(4);
const PAUSE_MAX: Duration = Duration::from_millis(64);

/// Routes requests to groups.
pub struct Router {
    groups: Vec<RaftNode>,
    request_timeout: Duration,
    chunk_keys: usize,
    bug: Option<Bug>,
    cost: Cost,
}

/// What routing has cost since the node started.
#[derive(Debug, Default)]
pub struct Cost {
    /// Requests of clients.
    pub requests: AtomicU64,
    /// Shards that were asked for them.
    pub asked: AtomicU64,
    /// Parts that a shard refused because it did not serve a slot.
    pub refused: AtomicU64,
}

impl Router {
    /// Returns a router to groups, in order of their shards, that moves keys between them in chunks of so many.
    pub fn new(
        groups: Vec<RaftNode>,
        request_timeout: Duration,
        chunk_keys: usize,
        bug: Option<Bug>,
    ) -> Self {
        Self { groups, request_timeout, chunk_keys, bug, cost: Cost::default() }
    }

    /// Returns how many keys a chunk of a move has at most.
    pub fn chunk_keys(&self) -> usize {
        self.chunk_keys
    }

    /// Returns the groups, in order of their shards.
    pub fn groups(&self) -> &[RaftNode] {
        &self.groups
    }

    /// Returns what routing has cost.
    pub fn cost(&self) -> &Cost {
        &self.cost
    }

    /// Reads this node's copy of the directory.
    pub fn directory<T>(&self, look: impl FnOnce(&Directory) -> T) -> T {
        self.groups[0].look(|shard| look(shard.directory().expect("shard 0 has the directory")))
    }

    /// Has the shards execute requests, and returns the results in the order of the requests.
    ///
    /// Requests for the same slot are executed in their order. Of others, none waits for another.
    pub async fn execute<R: Routed>(&self, requests: Vec<R>) -> Vec<R::Result> {
        let deadline = Instant::now() + self.request_timeout;
        let mut results: Vec<Vec<PartResult<R>>> = requests.iter().map(|_| Vec::new()).collect();
        // Parts that no shard has executed yet: the place of the request, those of the part's keys among the request's, the part.
        let mut waiting: Vec<(usize, Vec<usize>, R)> = requests
            .iter()
            .enumerate()
            .map(|(of, request)| (of, (0..request.keys()).collect(), request.clone()))
            .collect();
        self.cost.requests.fetch_add(requests.len() as u64, Ordering::Relaxed);
        let mut pause = PAUSE_MIN;
        loop {
            let mut batches: BTreeMap<u8, Vec<(usize, Vec<usize>, R)>> = BTreeMap::new();
            for (of, places, request) in waiting.drain(..) {
                match self.directory(|directory| request.parts(&places, |slot| directory.owner(slot))) {
                    Ok(parts) => {
                        for Part { shard, places, request } in parts {
                            batches.entry(shard).or_default().push((of, places, request));
                        }
                    }
                    Err(failure) => results[of].push((places, R::failed(failure))),
                }
            }
            self.cost.asked.fetch_add(batches.len() as u64, Ordering::Relaxed);
            let answered = join_all(batches.into_iter().map(|(shard, batch)| async move {
                let requests = batch.iter().map(|(_, _, request)| request.clone()).collect();
                let results = R::ask(&self.groups[usize::from(shard)], requests, deadline).await;
                (batch, results)
            }))
            .await;
            for (batch, answers) in answered {
                let answers = match answers {
                    Ok(answers) => answers,
                    Err(failure) => batch.iter().map(|_| R::failed(failure.clone())).collect(),
                };
                for ((of, places, request), answer) in batch.into_iter().zip(answers) {
                    if is_elsewhere::<R>(&answer) || self.distrusts(&request) {
                        waiting.push((of, places, request));
                    } else {
                        results[of].push((places, answer));
                    }
                }
            }
            if waiting.is_empty() {
                break;
            }
            self.cost.refused.fetch_add(waiting.len() as u64, Ordering::Relaxed);
            if Instant::now() + pause >= deadline {
                for (of, places, _) in waiting {
                    results[of].push((places, R::failed(NotExecuted::SlotElsewhere.into())));
                }
                break;
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
        requests.iter().zip(results).map(|(request, results)| request.merge(results)).collect()
    }

    /// The bug `retried-after-move`: whether an answer counts as a refusal, because the slots have begun to move meanwhile.
    fn distrusts(&self, request: &impl Routed) -> bool {
        self.bug == Some(Bug::RetriedAfterMove)
            && self.directory(|directory| {
                let moving = directory.moving();
                moving.is_some_and(|moving| request.slots().any(|slot| moving.plan.slots.contains(slot)))
            })
    }
}
