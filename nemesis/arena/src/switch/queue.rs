//! Packets on their way: each waits on a shaped link until it is due.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use super::LinkIndex;

/// How many bytes may wait on one link: a bound on memory, far above the data that a delayed TCP connection
/// has in flight.
const LINK_CAPACITY: usize = 64 << 20;

/// One packet that waits.
#[derive(Debug, PartialEq, Eq)]
pub struct Waiting {
    /// When it is due.
    pub due: Instant,
    /// The link it is on.
    pub link: LinkIndex,
    /// The packet, as it is to be written.
    pub bytes: Vec<u8>,
    /// The order of arrival, which decides between packets that are due together.
    number: u64,
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// All packets that wait, and how many bytes of them on each link.
pub struct Queue {
    waiting: BinaryHeap<Reverse<Waiting>>,
    bytes: Vec<usize>,
    /// The latest time at which a packet on each link was or is due.
    last_due: Vec<Option<Instant>>,
    last_number: u64,
}

impl Queue {
    /// Returns a queue for this many links.
    pub fn new(links: usize) -> Self {
        Self {
            waiting: BinaryHeap::new(),
            bytes: vec![0; links],
            last_due: vec![None; links],
            last_number: 0,
        }
    }

    /// Adds a packet, unless its link is full; gives it back then.
    pub fn push(&mut self, due: Instant, link: LinkIndex, bytes: Vec<u8>) -> Result<(), Vec<u8>> {
        if self.bytes[link.0] + bytes.len() > LINK_CAPACITY {
            return Err(bytes);
        }
        self.bytes[link.0] += bytes.len();
        self.last_due[link.0] = self.last_due[link.0].max(Some(due));
        self.last_number += 1;
        self.waiting.push(Reverse(Waiting { due, link, bytes, number: self.last_number }));
        Ok(())
    }

    /// Takes the next packet that is due by `now`.
    pub fn pop_due(&mut self, now: Instant) -> Option<Waiting> {
        if self.next_due()? > now {
            return None;
        }
        let Reverse(next) = self.waiting.pop()?;
        self.bytes[next.link.0] -= next.bytes.len();
        Some(next)
    }

    /// When the next packet is due.
    pub fn next_due(&self) -> Option<Instant> {
        self.waiting.peek().map(|Reverse(next)| next.due)
    }

    /// Returns the latest time at which a packet on `link` was or is due.
    pub fn last_due(&self, link: LinkIndex) -> Option<Instant> {
        self.last_due[link.0]
    }

    /// Whether packets wait on `link`: those that come now must not overtake them.
    pub fn holds(&self, link: LinkIndex) -> bool {
        self.bytes[link.0] > 0
    }
}
