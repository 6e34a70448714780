//! Packet capture: what came into the switch and what became of it, in a file that Wireshark reads.
//!
//! In reading order: [`record`], what is noted of a packet; [`recorder`], the switch thread's side; [`ring`] and
//! [`stream`], where records go; [`transcript`], the file; [`pcapng`], its format.

mod pcapng;
mod record;
mod recorder;
mod ring;
mod stream;
mod transcript;

use std::io;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

pub(super) use record::Outcome;
pub(super) use recorder::Recorder;

use super::engine::Message;
use super::{Shared, Switch, SwitchError};
use record::{HEADER, records};
use recorder::Store;
use stream::Stream;
use transcript::Transcript;

/// What of the network is captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CaptureSpec {
    /// How many packets.
    pub extent: Extent,
    /// How many bytes of each, from the IP header on.
    pub snap_length: NonZeroU16,
}

/// How many packets are captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Extent {
    /// None.
    Off,
    /// The newest, in memory of a fixed size; they become a file when the capture is finished.
    Ring {
        /// The size of that memory. A packet takes 48 bytes beside its own.
        bytes: usize,
    },
    /// All, written to the file as they come; those for which the disk is too slow are counted instead.
    Whole,
}

impl CaptureSpec {
    /// A ring of 16 MiB, with room for the first 256 bytes of some 55,000 packets or more.
    pub const RING: Self = Self { extent: Extent::Ring { bytes: 16 << 20 }, ..Self::OFF };
    /// Every packet, up to 256 bytes of it.
    pub const WHOLE: Self = Self { extent: Extent::Whole, ..Self::OFF };
    /// Nothing.
    pub const OFF: Self = Self { extent: Extent::Off, snap_length: NonZeroU16::new(256).unwrap() };
}

impl Default for CaptureSpec {
    fn default() -> Self {
        Self::RING
    }
}

/// When a run began, by two clocks, so that a captured packet can be held against the run's history and against
/// the logs of its nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunStart {
    /// By the clock from which the run counts its nanoseconds.
    pub instant: Instant,
    /// By the machine's wall clock. It is read once: a step of that clock later moves no packet.
    pub wall: SystemTime,
}

impl RunStart {
    /// The run begins now.
    #[must_use]
    pub fn now() -> Self {
        Self { instant: Instant::now(), wall: SystemTime::now() }
    }

    /// The run began at `instant`, on a wall clock that has not been stepped since.
    #[must_use]
    pub fn at(instant: Instant) -> Self {
        Self { instant, wall: SystemTime::now() - instant.elapsed() }
    }

    /// Nanoseconds since the Unix epoch, which fit until 2262.
    fn nanoseconds(&self) -> i64 {
        self.wall.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i64)
    }
}

/// What was captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureSummary {
    /// The file.
    pub path: PathBuf,
    /// How many packets and units of TCP data that came into the switch are in it.
    pub packets: u64,
    /// How many more came while the capture went on, and are not in it: they made way for newer ones, or the disk
    /// was too slow.
    pub missing: u64,
    /// How many marks are in it.
    pub marks: u64,
}

/// Why packets could not be captured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// A ring has no room for a single packet.
    #[error("a ring of {bytes} bytes has no room for one packet, which takes up to {needed}")]
    RingTooSmall {
        /// The ring's size.
        bytes: usize,
        /// What a packet takes.
        needed: usize,
    },
    /// Another capture goes on.
    #[error("packets of this switch are already being captured")]
    AlreadyCapturing,
    /// The file cannot be made or written.
    #[error("cannot write captured packets to {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The refusal.
        #[source]
        source: io::Error,
    },
    /// The thread that writes the file could not be started.
    #[error("cannot start a thread that writes captured packets")]
    Thread(#[source] io::Error),
    /// The switch does not answer.
    #[error("cannot reach the switch whose packets are to be captured")]
    Switch(#[from] SwitchError),
}

/// A capture that goes on until it is finished or dropped. Dropping it ends it: what has been written of a
/// [`Extent::Whole`] capture stays, and a ring is forgotten.
#[derive(Debug)]
pub struct Capture {
    path: PathBuf,
    run_start: i64,
    snap_length: u16,
    switch: Switch,
    /// Given up when the recorder is back.
    claim: Option<Claim>,
    /// Where the switch thread gives the recorder back, at the latest when it ends; nothing when nothing is captured.
    recorder: Option<Receiver<Box<Recorder>>>,
}

impl Capture {
    /// Begins; every packet that comes into the switch after this returns is captured.
    pub(super) fn begin(
        switch: &Switch,
        spec: &CaptureSpec,
        run_start: RunStart,
        path: &Path,
    ) -> Result<Self, CaptureError> {
        let mut capture = Self {
            path: path.to_owned(),
            run_start: run_start.nanoseconds(),
            snap_length: spec.snap_length.get(),
            switch: switch.clone(),
            claim: None,
            recorder: None,
        };
        let ring = match spec.extent {
            Extent::Off => return Ok(capture),
            Extent::Ring { bytes } => Some(bytes),
            Extent::Whole => None,
        };
        // Before a file is touched, which may be that of the capture that goes on.
        capture.claim = Some(Claim::new(&switch.shared)?);
        let hosts = switch.shared.hosts.len();
        let store = match ring {
            Some(bytes) => {
                let needed = HEADER + usize::from(capture.snap_length);
                if bytes < needed {
                    return Err(CaptureError::RingTooSmall { bytes, needed });
                }
                Store::ring(bytes)
            }
            None => Store::Stream(Stream::start(capture.transcript()?, hosts)?),
        };
        let recorder = Recorder::new(store, hosts, run_start.instant, capture.snap_length);
        let (give_back, given_back) = mpsc::channel();
        let (begun, answer) = mpsc::channel();
        let capturing = Capturing { recorder: Box::new(recorder), give_back };
        switch.tell(Message::Capture { capturing, begun })?;
        // From here on there is something to end, even if the answer should be late.
        capture.recorder = Some(given_back);
        switch.await_answer(&answer)?;
        Ok(capture)
    }

    /// Ends the capture and completes the file. Nothing is written when the extent was [`Extent::Off`].
    ///
    /// Blocks while what was captured is written. Works also after the switch has stopped.
    ///
    /// # Errors
    /// [`CaptureError::Write`] when the file cannot be written: of what was captured then, it holds the beginning.
    pub fn finish(mut self) -> Result<Option<CaptureSummary>, CaptureError> {
        let Some(recorder) = self.stop()? else { return Ok(None) };
        let (store, seen, between) = recorder.into_parts();
        let transcript = match store {
            Store::Stream(stream) => stream.finish()?,
            Store::Ring { ring, marks } => {
                let mut transcript = self.transcript()?;
                let mut marks = marks.into_iter().peekable();
                for (header, bytes) in ring.pieces().into_iter().flat_map(records) {
                    while let Some(mark) = marks.next_if(|mark| mark.time <= header.time) {
                        transcript.mark(mark.time, &mark.text)?;
                    }
                    transcript.record(&header, bytes)?;
                }
                for mark in marks {
                    transcript.mark(mark.time, &mark.text)?;
                }
                transcript
            }
        };
        transcript.end(&seen, between).map(Some)
    }

    fn transcript(&self) -> Result<Transcript, CaptureError> {
        Transcript::begin(&self.path, &self.switch.shared.hosts, self.run_start, self.snap_length)
    }

    /// Has the recorder back from the switch thread.
    fn stop(&mut self) -> Result<Option<Box<Recorder>>, CaptureError> {
        let Some(given_back) = self.recorder.take() else { return Ok(None) };
        match self.switch.tell(Message::EndCapture) {
            // A thread that has ended has given it back.
            Ok(()) | Err(SwitchError::Stopped) => {}
            Err(error) => return Err(error.into()),
        }
        let recorder = self.switch.await_answer(&given_back)?;
        self.claim = None;
        Ok(Some(recorder))
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let ended = self.stop().and_then(|recorder| match recorder.map(|recorder| recorder.into_parts()) {
            Some((Store::Stream(stream), seen, between)) => stream.finish()?.end(&seen, between).map(drop),
            Some((Store::Ring { .. }, ..)) | None => Ok(()),
        });
        if let Err(error) = ended {
            tracing::warn!(%error, "a capture that was not finished has not ended well");
        }
    }
}

/// The right to capture the packets of a switch.
#[derive(Debug)]
struct Claim(Arc<Shared>);

impl Claim {
    fn new(shared: &Arc<Shared>) -> Result<Self, CaptureError> {
        if shared.is_capturing.swap(true, Ordering::AcqRel) {
            return Err(CaptureError::AlreadyCapturing);
        }
        Ok(Self(Arc::clone(shared)))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.is_capturing.store(false, Ordering::Release);
    }
}

/// What the switch thread has while packets are captured.
pub(super) struct Capturing {
    pub recorder: Box<Recorder>,
    give_back: Sender<Box<Recorder>>,
}

impl Capturing {
    /// Ends it, on the switch thread's side.
    pub fn end(self) {
        // The caller of the capture may be gone.
        let _ = self.give_back.send(self.recorder);
    }
}
