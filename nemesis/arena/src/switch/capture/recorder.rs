//! The switch thread's side of a capture: it alone writes here, so that noting a packet takes no lock, and into
//! memory that is there already, so that it takes no allocation.

use std::collections::VecDeque;
use std::time::Instant;

use super::record::{Header, Occasion, Outcome};
use super::ring::Ring;
use super::stream::Stream;

/// How many marks are kept beside a ring; the oldest make way.
const MARKS: usize = 10_000;

/// Notes packets while a capture goes on.
pub struct Recorder {
    run_start: Instant,
    began: Instant,
    snap_length: u16,
    /// How many packets have come into the switch, by the position of the host that sent them.
    seen: Vec<u64>,
    store: Store,
}

/// Where records go.
pub enum Store {
    /// The newest are kept in memory, and all marks: they are few, and say what the packets are to be held against.
    Ring { ring: Ring, marks: VecDeque<Mark> },
    /// To a file.
    Stream(Stream),
}

/// A moment that the caller marked.
pub struct Mark {
    /// When, in nanoseconds since the run began.
    pub time: i64,
    pub text: String,
}

impl Store {
    /// Keeps what fits into `capacity` bytes.
    pub fn ring(capacity: usize) -> Self {
        Self::Ring { ring: Ring::new(capacity), marks: VecDeque::with_capacity(MARKS) }
    }
}

impl Recorder {
    /// A recorder for `hosts` hosts that notes up to `snap_length` bytes of each packet, beginning now.
    pub fn new(store: Store, hosts: usize, run_start: Instant, snap_length: u16) -> Self {
        Self { run_start, began: Instant::now(), snap_length, seen: vec![0; hosts], store }
    }

    /// Notes a packet that came in from host `from` at `at`, and what became of it.
    pub fn entered(&mut self, at: Instant, from: usize, packet: &[u8], outcome: Outcome) {
        self.seen[from] += 1;
        self.note(at, Occasion::Entered, from, packet, outcome);
    }

    /// Notes a packet that came in from host `from` and is for none.
    pub fn unroutable(&mut self, at: Instant, from: usize, packet: &[u8]) {
        self.seen[from] += 1;
        self.note(at, Occasion::Unroutable, from, packet, Outcome::default());
    }

    /// Notes that a packet which had been sent on its way to host `to` does not arrive there.
    pub fn undelivered(&mut self, at: Instant, to: usize, packet: &[u8], outcome: Outcome) {
        self.note(at, Occasion::Undelivered, to, packet, outcome);
    }

    /// Marks the moment `at`.
    pub fn mark(&mut self, at: Instant, text: String) {
        let mark = Mark { time: self.since_start(at), text };
        match &mut self.store {
            Store::Ring { marks, .. } => {
                if marks.len() == MARKS {
                    marks.pop_front();
                }
                marks.push_back(mark);
            }
            Store::Stream(stream) => stream.mark(mark),
        }
    }

    /// What was recorded: the store, how many packets each host has sent meanwhile, and between which two times.
    pub fn into_parts(self) -> (Store, Vec<u64>, [i64; 2]) {
        let between = [self.began, Instant::now()].map(|at| self.since_start(at));
        (self.store, self.seen, between)
    }

    fn note(&mut self, at: Instant, occasion: Occasion, host: usize, packet: &[u8], outcome: Outcome) {
        let bytes = &packet[..packet.len().min(self.snap_length.into())];
        let header = Header {
            time: self.since_start(at),
            occasion,
            // A /24 holds at most 254 hosts, a frame at most 64 KiB and a few headers, a snap length 16 bits.
            interface: host as u8,
            original: packet.len() as u32,
            captured: bytes.len() as u16,
            missed: 0,
            outcome,
        };
        match &mut self.store {
            Store::Ring { ring, .. } => ring.push(&header, bytes),
            Store::Stream(stream) => stream.push(header, bytes),
        }
    }

    /// Nanoseconds since the run began; negative before that. 292 years fit.
    fn since_start(&self, at: Instant) -> i64 {
        match at.checked_duration_since(self.run_start) {
            Some(after) => after.as_nanos() as i64,
            None => -((self.run_start - at).as_nanos() as i64),
        }
    }
}
