//! A replica follows the primary: it asks for the writes after its offset, again and again.

use std::time::Duration;

use tokio::time::Instant;

use super::ledger::{Following, Ledger};
use super::message::{Request, Response};
use duress_consensus::disk::DiskError;
use duress_consensus::peer::payload::{decode, encode};
use duress_consensus::peer::{CallError, Link};

/// How long the primary lets a follower wait that is up to date; less than the silence after which a link counts as lost.
pub const FOLLOW_WAIT: Duration = Duration::from_millis(200);
/// The most writes in one answer.
pub const WRITES_MAX: usize = 2_000;

const ANSWER_MAX: Duration = Duration::from_secs(2);

/// Follows the primary until the ledger fails.
///
/// # Errors
/// The ledger cannot be written.
pub async fn follow(ledger: Ledger, primary: Link) -> Result<(), DiskError> {
    loop {
        primary.connected().await;
        let request = encode(&Request::Follow(ledger.position()));
        let answer = match primary.call(request, Instant::now() + ANSWER_MAX).await {
            Ok(payload) => decode(&payload),
            Err(CallError::NotSent | CallError::Lost | CallError::TimedOut) => {
                // The link may be up and its queue full; the task that empties it must get to run.
                tokio::task::yield_now().await;
                continue;
            }
        };
        match answer {
            Some(Response::Follow(Following::Writes(writes))) => ledger.append(writes).await?,
            Some(Response::Follow(Following::Copy { position, pairs })) => {
                tracing::info!(offset = position.offset, keys = pairs.len(), "full copy received");
                ledger.replace(position, pairs).await?;
            }
            // A node that is not the primary will not become it soon; the next connection may be to the primary.
            _ => {
                tracing::warn!("the node asked is not the primary and cannot be followed");
                tokio::time::sleep(FOLLOW_WAIT).await;
            }
        }
    }
}
