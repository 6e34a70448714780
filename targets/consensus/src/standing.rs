//! A node's standing: whether it belongs to the cluster, as far as it knows.
//!
//! A member that is removed is no longer sent the log, so its own log may not tell it. Others do: those it asks for votes,
//! or when it starts, and the leader that removed it. What they say holds until the node's own log has later members.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::state::Replicated;
use crate::types::{LogId, ServerMetrics, StoredMembership};

/// A node's knowledge of another member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Known {
    /// Nothing against it.
    Fine,
    /// The members as of this position, which are committed, do not include it.
    Removed(LogId),
}

/// The standing of one node.
pub(crate) struct Standing {
    number: u64,
    state: Arc<dyn Replicated>,
    /// Set once the consensus has started; nothing is asked or answered before.
    metrics: OnceLock<watch::Receiver<ServerMetrics>>,
    /// The latest committed members without this node that others know of.
    removed: watch::Sender<Option<LogId>>,
    /// Whether another node has said what it knows of this one since this one started, or need not.
    is_heard: AtomicBool,
}

impl Standing {
    /// Returns the standing of the member `number`, whose committed members `state` has.
    pub(crate) fn new(number: u64, state: Arc<dyn Replicated>) -> Self {
        Self {
            number,
            state,
            metrics: OnceLock::new(),
            removed: watch::Sender::new(None),
            is_heard: AtomicBool::new(false),
        }
    }

    /// The consensus has started.
    pub(crate) fn starts(&self, metrics: watch::Receiver<ServerMetrics>) {
        self.metrics.get_or_init(|| metrics);
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Looks at the members as this node's log has them, committed or not.
    fn effective<T>(&self, look: impl FnOnce(&StoredMembership) -> T) -> T {
        match self.metrics.get() {
            Some(metrics) => look(&metrics.borrow().membership_config),
            None => look(&StoredMembership::default()),
        }
    }

    /// Returns the position of the latest members that this node knows.
    pub(crate) fn known_until(&self) -> Option<LogId> {
        self.effective(|members| *members.log_id())
    }

    /// Returns what this node knows of a member that knows the members until `known_until`.
    pub(crate) fn of(&self, number: u64, known_until: Option<LogId>) -> Known {
        // Members that are not committed may never be.
        let (_, committed) = self.state.position();
        match *committed.log_id() {
            Some(at) if Some(at) > known_until && committed.membership().get_node(&number).is_none() => {
                Known::Removed(at)
            }
            _ => Known::Fine,
        }
    }

    /// Others say that the members as of `at` do not include this node.
    pub(crate) fn is_removed(&self, at: LogId) {
        self.removed.send_if_modified(|removed| {
            let news = removed.is_none_or(|before| before < at);
            if news {
                tracing::info!(at = at.index, "no longer a member");
                *removed = Some(at);
            }
            news
        });
    }

    /// Another node has said what it knows of this one, or need not.
    pub(crate) fn heard(&self) {
        self.is_heard.store(true, Ordering::Relaxed);
    }

    /// Whether this node stands for election when it hears from no leader.
    pub(crate) fn may_stand(&self) -> bool {
        self.is_heard.load(Ordering::Relaxed) && self.is_voter()
    }

    /// Whether this node may vote: its log has no members yet, or it is among them.
    pub(crate) fn belongs(&self) -> bool {
        self.look(|members, number| {
            members.log_id().is_none() || members.membership().get_node(&number).is_some()
        })
    }

    /// Whether this node counts for quorums.
    pub(crate) fn is_voter(&self) -> bool {
        self.look(|members, number| members.voter_ids().any(|voter| voter == number))
    }

    /// Whether no other node counts for quorums, so that later members would be in this node's log.
    pub(crate) fn is_only_voter(&self) -> bool {
        self.is_voter() && self.look(|members, number| members.voter_ids().all(|voter| voter == number))
    }

    fn look(&self, is: impl FnOnce(&StoredMembership, u64) -> bool) -> bool {
        let removed = *self.removed.borrow();
        self.effective(|members| {
            removed.is_none_or(|at| *members.log_id() > Some(at)) && is(members, self.number)
        })
    }

    /// Whether this node knows that it does not count for quorums.
    pub(crate) fn is_outside(&self) -> bool {
        let knows = self.known_until().is_some() || self.removed.borrow().is_some();
        knows && !self.is_voter()
    }

    /// Waits until this node is a voter where it `was` none, or the other way round. `None`: the consensus has stopped.
    pub(crate) async fn changed(&self, was: bool) -> Option<()> {
        let mut metrics = self.metrics.get()?.clone();
        let mut removed = self.removed.subscribe();
        loop {
            if self.is_voter() != was {
                return Some(());
            }
            tokio::select! {
                changed = metrics.changed() => changed.ok()?,
                changed = removed.changed() => changed.ok()?,
            }
        }
    }
}
