//! The thread that answers fsyncs later: those that are made slow, and those that wait for the machine's own
//! disk.
//!
//! The thread that serves the kernel must not wait, or a slow fsync would hold up every read.

use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fuser::ReplyEmpty;
use nix::errno::Errno;
use nix::unistd::fsync;

use super::filesystem::{lock, reply_empty};
use super::state::{Disk, SharedFile};
use super::tree::Inode;

/// An fsync that is to be answered later.
#[derive(Debug)]
pub(super) struct Pending {
    /// The file or directory to make durable.
    pub(super) inode: Inode,
    /// The disk's epoch at the time of the request; after a power loss the request fails.
    pub(super) epoch: u64,
    /// When to answer.
    pub(super) due: Instant,
    /// The file to sync on the machine's own disk first.
    pub(super) forward: Option<SharedFile>,
    /// The receiver of the answer.
    pub(super) reply: ReplyEmpty,
}

#[derive(Debug)]
enum Message {
    Sync(Pending),
    /// Answer everything now.
    Release,
    Stop,
}

/// Hands fsyncs to the thread. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Deferred(Sender<Message>);

impl Deferred {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the machine has no thread left.
    pub(super) fn start(disk: Arc<Mutex<Disk>>) -> io::Result<(Self, JoinHandle<()>)> {
        let (sender, receiver) = channel();
        let thread = std::thread::Builder::new()
            .name("disk-fsync".to_owned())
            .spawn(move || Worker { disk, waiting: BTreeMap::new(), next: 0 }.run(&receiver))?;
        Ok((Self(sender), thread))
    }

    /// Hands one over. When the thread has stopped, the reply is dropped, which answers `EIO`.
    pub(super) fn sync(&self, pending: Pending) {
        let _stopped = self.0.send(Message::Sync(pending));
    }

    /// Has everything that waits answered now.
    pub(super) fn release(&self) {
        let _stopped = self.0.send(Message::Release);
    }

    /// Stops the thread. Waiting requests are answered with `EIO`.
    pub(super) fn stop(&self) {
        let _stopped = self.0.send(Message::Stop);
    }
}

struct Worker {
    disk: Arc<Mutex<Disk>>,
    /// By when they are due, then in order of arrival.
    waiting: BTreeMap<(Instant, u64), Pending>,
    next: u64,
}

impl Worker {
    fn run(mut self, receiver: &Receiver<Message>) {
        loop {
            let wait = match self.waiting.keys().next() {
                Some((due, _)) => due.saturating_duration_since(Instant::now()),
                // Nothing is due: the next message ends the wait.
                None => Duration::MAX,
            };
            match receiver.recv_timeout(wait) {
                Ok(Message::Sync(pending)) => {
                    self.next += 1;
                    self.waiting.insert((pending.due, self.next), pending);
                }
                Ok(Message::Release) => {
                    for (_, pending) in std::mem::take(&mut self.waiting) {
                        self.answer(pending);
                    }
                }
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            while let Some(entry) = self.waiting.first_entry()
                && entry.key().0 <= Instant::now()
            {
                let pending = entry.remove();
                self.answer(pending);
            }
        }
    }

    fn answer(&self, pending: Pending) {
        let synced = pending.forward.as_ref().map_or(Ok(()), |file| fsync(&**file));
        let result = synced.and_then(|()| {
            let mut disk = lock(&self.disk);
            if disk.epoch == pending.epoch { disk.commit_file(pending.inode) } else { Err(Errno::EIO) }
        });
        reply_empty(pending.reply, result);
    }
}
