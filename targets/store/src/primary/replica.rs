//! A replica follows the primary: it asks for the writes after its offset, again and again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::acks::Acks;
use super::election::View;
use super::ledger::{Following, Ledger};
use super::message::{Pull, Pulled, Request, Response};
use crate::config::NodeName;
use duress_consensus::disk::DiskError;
use duress_consensus::peer::payload::{decode, encode};
use duress_consensus::peer::{CallError, Link};

/// How long the primary lets a follower wait that is up to date; less than the silence after which a link counts as lost.
pub const FOLLOW_WAIT: Duration = Duration::from_millis(200);
/// The most writes in one answer.
pub const WRITES_MAX: usize = 2_000;

const ANSWER_MAX: Duration = Duration::from_secs(2);

/// The counters of a replica, for `INFO`.
#[derive(Debug, Default)]
pub struct Counts {
    /// How often it took up a primary's writes where it was, after it had followed none or another.
    pub partial: AtomicU64,
    /// How often it got a full copy.
    pub full: AtomicU64,
    /// When it was last known to have everything that its primary had.
    pub fresh: Mutex<Option<Instant>>,
}

impl Counts {
    /// Returns how old the copy may be; `None` if it was never known to be up to date.
    pub fn age(&self) -> Option<Duration> {
        let fresh = *self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
        fresh.map(|fresh| fresh.elapsed())
    }
}

/// A replica.
pub struct Replica {
    /// This node.
    pub me: NodeName,
    /// The data.
    pub ledger: Ledger,
    /// The settled writes, as far as the replica knows.
    pub acks: Acks,
    /// The primary, as this node knows it.
    pub view: watch::Receiver<View>,
    /// The counters.
    pub counts: Arc<Counts>,
}

impl Replica {
    /// Follows a primary until the ledger fails or `seen` is no longer this node's view.
    ///
    /// # Errors
    /// The ledger cannot be written.
    pub async fn follow(&self, seen: &View, primary: &Link) -> Result<(), DiskError> {
        let mut view = self.view.clone();
        let mut is_resuming = true;
        loop {
            let asked = Instant::now();
            let position = self.ledger.position();
            // After the position was read: see the elector.
            if *view.borrow_and_update() != *seen {
                return Ok(());
            }
            let (replica, settled) = (self.me.clone(), self.acks.settled());
            let request = encode(&Request::Follow(Pull { replica, epoch: seen.epoch, position, settled }));
            let answer = tokio::select! {
                _ = view.changed() => continue,
                answer = ask(primary, request) => answer,
            };
            let pulled = match answer {
                Ok(Some(Response::Follow(pulled))) => pulled,
                Err(CallError::NotSent | CallError::Lost | CallError::TimedOut) => {
                    is_resuming = true;
                    // The link may be up and its queue full; the task that empties it must get to run.
                    tokio::task::yield_now().await;
                    continue;
                }
                // A node that is not the primary will not become it soon; the next connection may be to the primary.
                Ok(_) => {
                    tracing::debug!("the node asked is not the primary and cannot be followed");
                    tokio::select! {
                        _ = view.changed() => {}
                        () = tokio::time::sleep(FOLLOW_WAIT) => {}
                    }
                    continue;
                }
            };
            self.take(pulled, asked, std::mem::take(&mut is_resuming)).await?;
        }
    }

    async fn take(&self, pulled: Pulled, asked: Instant, is_resuming: bool) -> Result<(), DiskError> {
        match pulled.next {
            Following::Writes { writes, begun } => {
                self.counts.partial.fetch_add(u64::from(is_resuming), Ordering::Relaxed);
                self.ledger.append(writes, begun).await?;
            }
            Following::Copy { position, epochs, pairs } => {
                tracing::info!(offset = position.offset, keys = pairs.len(), "full copy received");
                self.counts.full.fetch_add(1, Ordering::Relaxed);
                self.ledger.replace(position, epochs, pairs).await?;
            }
        }
        let own = self.ledger.position().offset;
        self.acks.know(pulled.settled.min(own));
        if own >= pulled.last {
            *self.counts.fresh.lock().unwrap_or_else(PoisonError::into_inner) = Some(asked);
        }
        Ok(())
    }
}

async fn ask(primary: &Link, request: bytes::Bytes) -> Result<Option<Response>, CallError> {
    primary.connected().await;
    let payload = primary.call(request, Instant::now() + ANSWER_MAX).await?;
    Ok(decode(&payload))
}
