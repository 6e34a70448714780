//! The tasks by which copies converge: repair after reads, hinted hand-off, and anti-entropy.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use duress_consensus::disk::DiskError;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::copies::Keep;
use super::merkle::{LEAVES, below, leaf};
use super::message::{Request, Response};
use super::placement::Member;
use super::quorum::Part;
use super::versioned::{Stamp, Versioned};
use crate::bug::Bug;

/// Repairs that may wait.
pub const REPAIRS_MAX: usize = 1_024;

const ANSWER_MAX: Duration = Duration::from_secs(2);
const HAND_OFF_EVERY: Duration = Duration::from_millis(100);
/// Hints in one message.
const HINTS_MAX: usize = 256;
/// Leaves in one message.
const LEAVES_MAX: usize = 64;
/// Bytes of values in one message.
const BYTES_MAX: usize = 8 << 20;

/// A copy that some nodes lacked when it was read.
#[derive(Debug)]
pub struct Repair {
    /// The key.
    pub key: Bytes,
    /// The copy that was read.
    pub copy: Versioned,
    /// The nodes.
    pub nodes: Vec<Member>,
}

/// Repairs after reads that did not wait for it, until every handle is dropped.
pub async fn repair(part: Arc<Part>, mut repairs: mpsc::Receiver<Repair>) {
    while let Some(Repair { key, copy, nodes }) = repairs.recv().await {
        let request = Request::Store { copies: vec![(key, copy)], keep: Keep::Repair };
        for node in nodes {
            // A node that cannot be reached is left to anti-entropy.
            part.call(node, &request, Instant::now() + ANSWER_MAX).await.ok();
        }
    }
}

/// Hands hints off to their owners as soon as these can be reached; ends when the disk fails.
pub async fn hand_off(part: Arc<Part>) {
    let mut ticks = interval(HAND_OFF_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for (owner, hints) in part.copies.hints(HINTS_MAX) {
            let hints = at_most(hints);
            let given: Vec<(Bytes, Stamp)> =
                hints.iter().map(|(key, copy)| (key.clone(), copy.stamp())).collect();
            let request = Request::Store { copies: hints, keep: Keep::Own };
            if let Ok(Response::Stored) = part.call(owner, &request, Instant::now() + ANSWER_MAX).await {
                part.activity.hints_delivered.add(given.len());
                if let Err(error) = part.copies.forget_hints(owner, given).await {
                    part.failed(error);
                    return;
                }
            }
        }
    }
}

/// Compares the keys that this node and each other one own, again and again; ends when the disk fails.
pub async fn anti_entropy(part: Arc<Part>) {
    let mut ticks = interval(part.options.anti_entropy);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for (peer, link) in &part.links {
            if !link.is_connected() {
                continue;
            }
            if let Err(error) = part.reconcile(*peer).await {
                part.failed(error);
                return;
            }
        }
        part.activity.anti_entropy_rounds.add(1);
    }
}

impl Part {
    /// Compares this node's tree with that of a peer from the root, and exchanges the copies in the leaves that differ. Without
    /// an answer the rest is left to the next time.
    async fn reconcile(&self, peer: Member) -> Result<(), DiskError> {
        let Some(leaves) = self.differing_leaves(peer).await else { return Ok(()) };
        for leaves in leaves.chunks(LEAVES_MAX) {
            let request = Request::Exchange {
                asker: self.me,
                leaves: leaves.to_vec(),
                stamps: self.stamps_in(peer, leaves),
            };
            let answer = self.call(peer, &request, Instant::now() + ANSWER_MAX).await;
            let Ok(Response::Exchanged { newer, wanted }) = answer else { return Ok(()) };
            let newer = newer.into_iter().filter(|(key, _)| self.shares(key, peer)).collect();
            let taken = self.copies.store(Keep::Own, newer).await?;
            self.activity.anti_entropy_keys.add(taken);
            let given: Vec<(Bytes, Versioned)> = self.copies.look(|own| {
                wanted.into_iter().filter_map(|key| own.get(&key).cloned().map(|copy| (key, copy))).collect()
            });
            if !given.is_empty() {
                let given = at_most(given);
                let count = given.len();
                let request = Request::Store { copies: given, keep: Keep::Own };
                if let Ok(Response::Stored) = self.call(peer, &request, Instant::now() + ANSWER_MAX).await {
                    self.activity.anti_entropy_keys.add(count);
                }
            }
        }
        if self.bug == Some(Bug::DeletedKeyResurrected) {
            self.forget_deleted(peer, &leaves).await?;
        }
        Ok(())
    }

    /// Returns the leaves in which this node's tree and that of a peer differ; `None` without an answer.
    async fn differing_leaves(&self, peer: Member) -> Option<Vec<usize>> {
        let tree = self.tree(peer);
        let mut places = vec![0];
        for level in 0..=LEAVES {
            let digests = tree.digests(level, &places);
            let request = Request::Compare { asker: self.me, level, digests };
            let answer = self.call(peer, &request, Instant::now() + ANSWER_MAX).await;
            let Ok(Response::Differ(differ)) = answer else { return None };
            places.retain(|at| differ.contains(at));
            if places.is_empty() {
                break;
            }
            if level < LEAVES {
                places = below(&places);
            }
        }
        Some(places)
    }

    /// Returns the stamps of the keys in some leaves that this node holds and both own.
    fn stamps_in(&self, peer: Member, leaves: &[usize]) -> BTreeMap<Bytes, Stamp> {
        let leaves: BTreeSet<usize> = leaves.iter().copied().collect();
        self.copies.look(|own| {
            let there = own.iter().filter(|(key, _)| leaves.contains(&leaf(key)) && self.shares(key, peer));
            there.map(|(key, copy)| (key.clone(), copy.stamp())).collect()
        })
    }

    /// Answers [`Request::Exchange`].
    pub fn exchange(&self, asker: Member, leaves: &[usize], theirs: BTreeMap<Bytes, Stamp>) -> Response {
        let ours = self.stamps_in(asker, leaves);
        let lacks = |held: Option<&Stamp>, other: &Stamp| held.is_none_or(|held| !held.covers(other));
        let newer = ours.iter().filter(|(key, stamp)| lacks(theirs.get(*key), stamp)).map(|(key, _)| key);
        let newer = self.copies.look(|own| {
            newer.filter_map(|key| Some((key.clone(), own.get(key)?.clone()))).collect::<Vec<_>>()
        });
        let wanted = theirs
            .iter()
            .filter(|(key, stamp)| lacks(ours.get(*key), stamp) && self.shares(key, asker))
            .map(|(key, _)| key.clone());
        Response::Exchanged { newer: at_most(newer), wanted: wanted.collect() }
    }

    /// The bug `deleted-key-resurrected`: forgets the tombstones in leaves that were equal, though a third owner was not asked.
    async fn forget_deleted(&self, peer: Member, differing: &[usize]) -> Result<(), DiskError> {
        let deleted = self.copies.look(|own| {
            let there = own.iter().filter(|(key, copy)| {
                copy.values().is_empty() && !differing.contains(&leaf(key)) && self.shares(key, peer)
            });
            there.map(|(key, copy)| (key.clone(), copy.stamp())).collect()
        });
        self.copies.forget_tombstones(deleted).await
    }
}

/// Returns the first of some copies, at least one: as many as fit into a message. The others follow another time.
fn at_most(mut copies: Vec<(Bytes, Versioned)>) -> Vec<(Bytes, Versioned)> {
    let mut bytes = 0;
    let fits = copies.iter().position(|(key, copy)| {
        bytes += key.len() + copy.size();
        bytes > BYTES_MAX
    });
    copies.truncate(fits.unwrap_or(copies.len()).max(1));
    copies
}
