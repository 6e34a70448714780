//! Every record on its way to a file, by way of a thread that may wait for the disk as the switch may not.

use std::collections::VecDeque;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::CaptureError;
use super::record::{HEADER, Header, Occasion, Outcome, records};
use super::recorder::Mark;
use super::transcript::Transcript;

/// Bytes of records that go to the writer together: many more than the longest record.
const CHUNK: usize = 256 << 10;
/// How many chunks there are, full, empty or half full. What they hold may wait for the disk: 16 MiB.
pub const CHUNKS: usize = 64;
/// How old a record may become before it goes to the writer, in a chunk however empty, when the next one comes.
const LINGER: Duration = Duration::from_millis(250);
/// The most of a mark's text that is kept, in bytes.
const MARK: usize = 4096;

/// The switch thread's end.
pub struct Stream {
    /// The chunk being filled; it has no capacity when the writer has them all.
    chunk: Vec<u8>,
    /// The time of its first record.
    first: i64,
    full: SyncSender<Vec<u8>>,
    free: Receiver<Vec<u8>>,
    /// By interface, how many packets there was no room for since the last there was.
    missed: Vec<u32>,
    /// Marks there was no room for. They are not lost: they say what the packets are to be held against.
    marks: VecDeque<Mark>,
    writer: JoinHandle<Result<Transcript, CaptureError>>,
}

impl Stream {
    /// Starts a thread that writes to `transcript` what `hosts` hosts send.
    pub fn start(mut transcript: Transcript, hosts: usize) -> Result<Self, CaptureError> {
        // As many places as there are chunks, so that giving one to the writer never waits.
        let (full, filled) = mpsc::sync_channel::<Vec<u8>>(CHUNKS + 1);
        let (emptied, free) = mpsc::channel();
        for _ in 0..CHUNKS {
            // Written once, since it would be the switch thread that waits for the kernel to hand out the memory.
            let mut chunk = vec![0xff; CHUNK];
            chunk.clear();
            // The receiver is still here.
            let _ = emptied.send(chunk);
        }
        let write = move || {
            for mut chunk in filled {
                for (header, bytes) in records(&chunk) {
                    transcript.record(&header, bytes)?;
                }
                transcript.flush()?;
                chunk.clear();
                // At the end of the capture it is not wanted back.
                let _ = emptied.send(chunk);
            }
            Ok(transcript)
        };
        let writer =
            thread::Builder::new().name("capture".into()).spawn(write).map_err(CaptureError::Thread)?;
        Ok(Self {
            chunk: Vec::new(),
            first: 0,
            full,
            free,
            missed: vec![0; hosts],
            marks: VecDeque::new(),
            writer,
        })
    }

    /// Adds a packet, or counts it as missed when the writer is too far behind.
    pub fn push(&mut self, mut header: Header, bytes: &[u8]) {
        self.add_waiting_marks();
        let missed = &mut self.missed[usize::from(header.interface)];
        if !self.marks.is_empty()
            || !has_room(&mut self.chunk, &self.full, &self.free, header.record_length())
        {
            // One that did not arrive has been counted when it came.
            *missed = missed.saturating_add(u32::from(header.occasion != Occasion::Undelivered));
            return;
        }
        header.missed = std::mem::take(missed);
        self.write(&header, bytes);
        if header.time - self.first > LINGER.as_nanos() as i64 {
            hand_over(&mut self.chunk, &self.full);
        }
    }

    /// Adds a mark, before every packet that is added later.
    pub fn mark(&mut self, mark: Mark) {
        self.marks.push_back(mark);
        self.add_waiting_marks();
    }

    /// Waits until everything is written.
    pub fn finish(mut self) -> Result<Transcript, CaptureError> {
        if !self.chunk.is_empty() {
            hand_over(&mut self.chunk, &self.full);
        }
        for mark in std::mem::take(&mut self.marks) {
            self.chunk = Vec::with_capacity(HEADER + MARK);
            self.write_mark(&mark);
            // Waits for room, since no other thread is left to keep waiting. A writer that has ended says why below.
            let _ = self.full.send(std::mem::take(&mut self.chunk));
        }
        drop(self.full);
        match self.writer.join() {
            Ok(written) => written,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    fn add_waiting_marks(&mut self) {
        while !self.marks.is_empty() && has_room(&mut self.chunk, &self.full, &self.free, HEADER + MARK) {
            if let Some(mark) = self.marks.pop_front() {
                self.write_mark(&mark);
            }
        }
    }

    fn write_mark(&mut self, mark: &Mark) {
        let mut end = mark.text.len().min(MARK);
        while !mark.text.is_char_boundary(end) {
            end -= 1;
        }
        let header = Header {
            time: mark.time,
            occasion: Occasion::Mark,
            interface: 0,
            original: 0,
            captured: end as u16,
            missed: 0,
            outcome: Outcome::default(),
        };
        self.write(&header, &mark.text.as_bytes()[..end]);
    }

    /// Writes a record for which there is room.
    fn write(&mut self, header: &Header, bytes: &[u8]) {
        let start = self.chunk.len();
        if start == 0 {
            self.first = header.time;
        }
        self.chunk.resize(start + header.record_length(), 0);
        header.write(bytes, &mut self.chunk[start..]);
    }
}

/// Whether `chunk` has room for `length` more bytes, after exchanging it for an empty one if need be.
fn has_room(
    chunk: &mut Vec<u8>,
    full: &SyncSender<Vec<u8>>,
    free: &Receiver<Vec<u8>>,
    length: usize,
) -> bool {
    if chunk.capacity() - chunk.len() >= length {
        return true;
    }
    if !chunk.is_empty() {
        hand_over(chunk, full);
    }
    match free.try_recv() {
        Ok(empty) => {
            *chunk = empty;
            true
        }
        Err(_) => false,
    }
}

/// Gives `chunk` to the writer.
fn hand_over(chunk: &mut Vec<u8>, full: &SyncSender<Vec<u8>>) {
    // There is a place for every chunk; a writer that has ended says why when the capture is finished.
    let _ = full.try_send(std::mem::take(chunk));
}
