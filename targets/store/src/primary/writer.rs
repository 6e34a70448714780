//! The primary executes writes: one task, in order, many requests to a durable commit.

use tokio::sync::{mpsc, oneshot};

use super::ledger::{Ledger, Write};
use crate::command::{Command, Reply};
use crate::key_values::KeyValues;
use crate::outcome::{Failure, NotExecuted, Unknown};
use duress_consensus::disk::DiskError;

const REQUESTS_PER_COMMIT: usize = 512;
const QUEUE_MAX: usize = 4_096;

#[derive(Debug)]
struct Request {
    commands: Vec<Command>,
    reply: oneshot::Sender<Result<Vec<Reply>, Failure>>,
}

/// A handle to hand writes to the writer. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Writes {
    queue: mpsc::Sender<Request>,
}

impl Writes {
    /// Executes commands in order, with no other command in between.
    ///
    /// # Errors
    /// The writer has stopped.
    pub async fn execute(&self, commands: Vec<Command>) -> Result<Vec<Reply>, Failure> {
        let (reply, answer) = oneshot::channel();
        self.queue.send(Request { commands, reply }).await.map_err(|_| NotExecuted::ShuttingDown)?;
        answer.await.unwrap_or(Err(Unknown::Stopped.into()))
    }
}

/// The task that executes writes.
pub struct Writer {
    queue: mpsc::Receiver<Request>,
    ledger: Ledger,
}

impl Writer {
    /// Returns a writer and the handle to it.
    pub fn new(ledger: Ledger) -> (Writes, Self) {
        let (sender, queue) = mpsc::channel(QUEUE_MAX);
        (Writes { queue: sender }, Self { queue, ledger })
    }

    /// Executes until the ledger fails, which is returned, or every handle is dropped.
    ///
    /// # Errors
    /// The ledger cannot be written.
    pub async fn run(mut self) -> Result<(), DiskError> {
        self.ledger.found().await?;
        // The state that later commands must see while earlier ones are being made durable; clients see the ledger.
        let (mut ahead, mut offset): (KeyValues, u64) =
            self.ledger.look(|values, position| (values.clone(), position.offset));
        let mut requests = Vec::new();
        while self.queue.recv_many(&mut requests, REQUESTS_PER_COMMIT).await > 0 {
            let mut writes: Vec<Write> = Vec::new();
            let mut execute = |command: &Command| {
                let (reply, changes) = ahead.apply(offset + 1, command);
                if !changes.is_empty() {
                    offset += 1;
                    writes.push(changes);
                }
                reply
            };
            let replies: Vec<Vec<Reply>> =
                requests.iter().map(|request| request.commands.iter().map(&mut execute).collect()).collect();
            if let Err(error) = self.ledger.append(writes).await {
                for request in requests {
                    // A requester that gave up has dropped its receiver.
                    request.reply.send(Err(Unknown::Stopped.into())).ok();
                }
                return Err(error);
            }
            for (request, replies) in requests.drain(..).zip(replies) {
                // As above.
                request.reply.send(Ok(replies)).ok();
            }
        }
        Ok(())
    }
}
