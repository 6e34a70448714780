//! The primary executes writes: one task, in order, many requests to a durable commit.

use tokio::sync::{mpsc, oneshot};

use super::ledger::{Change, Ledger};
use crate::command::{Command, KeyValues, Reply};
use crate::outcome::{Failure, NotExecuted, Unknown};
use duress_consensus::disk::DiskError;

const REQUESTS_PER_COMMIT: usize = 512;
const QUEUE_MAX: usize = 4_096;

#[derive(Debug)]
struct Write {
    commands: Vec<Command>,
    reply: oneshot::Sender<Result<Vec<Reply>, Failure>>,
}

/// A handle to hand writes to the writer. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Writes {
    queue: mpsc::Sender<Write>,
}

impl Writes {
    /// Executes commands in order, with no other command in between.
    ///
    /// # Errors
    /// The writer has stopped.
    pub async fn execute(&self, commands: Vec<Command>) -> Result<Vec<Reply>, Failure> {
        let (reply, answer) = oneshot::channel();
        self.queue.send(Write { commands, reply }).await.map_err(|_| NotExecuted::ShuttingDown)?;
        answer.await.unwrap_or(Err(Unknown::Stopped.into()))
    }
}

/// The task that executes writes.
pub struct Writer {
    queue: mpsc::Receiver<Write>,
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
        let mut ahead: KeyValues = self.ledger.look(|values, _| values.clone());
        let mut writes = Vec::new();
        while self.queue.recv_many(&mut writes, REQUESTS_PER_COMMIT).await > 0 {
            let mut changes = Vec::new();
            let mut replies = Vec::with_capacity(writes.len());
            for write in &writes {
                let executed =
                    write.commands.iter().map(|command| execute(&mut ahead, command, &mut changes));
                replies.push(executed.collect::<Vec<Reply>>());
            }
            if let Err(error) = self.ledger.append(changes).await {
                for write in writes {
                    // A requester that gave up has dropped its receiver.
                    write.reply.send(Err(Unknown::Stopped.into())).ok();
                }
                return Err(error);
            }
            for (write, replies) in writes.drain(..).zip(replies) {
                // As above.
                write.reply.send(Ok(replies)).ok();
            }
        }
        Ok(())
    }
}

/// Executes a command and notes the keys that it changed.
fn execute(values: &mut KeyValues, command: &Command, changes: &mut Vec<Change>) -> Reply {
    let reply = values.apply(command);
    if matches!(reply, Reply::Done | Reply::Integer(_)) {
        let changed = command.keys().iter();
        changes.extend(changed.map(|key| Change { key: key.clone(), value: values.get(key).cloned() }));
    }
    reply
}
