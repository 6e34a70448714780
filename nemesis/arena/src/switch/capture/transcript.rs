//! A capture as a file: records put into blocks and into words.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::pcapng::{Blocks, Direction, Packet, Statistics};
use super::record::{Header, Occasion};
use super::{CaptureError, CaptureSummary};
use crate::host::Host;

/// Bytes that are written together.
const BATCH: usize = 256 << 10;

/// A file being written.
pub struct Transcript {
    file: File,
    path: PathBuf,
    blocks: Blocks,
    /// When the run began, in nanoseconds since the Unix epoch.
    run_start: i64,
    /// By the position of the host that sent them, how many packets are in the file.
    packets: Vec<u64>,
    marks: u64,
}

impl Transcript {
    /// Begins a file at `path`, with an interface for each of `hosts`.
    pub fn begin(
        path: &Path,
        hosts: &[Arc<Host>],
        run_start: i64,
        snap_length: u16,
    ) -> Result<Self, CaptureError> {
        let file =
            File::create(path).map_err(|source| CaptureError::Write { path: path.to_owned(), source })?;
        let mut blocks = Blocks::default();
        blocks.section(concat!("duress ", env!("CARGO_PKG_VERSION")), &introduction(run_start));
        for host in hosts {
            blocks.interface(host.name().as_str(), host.address(), snap_length);
        }
        blocks.names(hosts.iter().map(|host| (host.address(), host.name().as_str())));
        let mut transcript =
            Self { file, path: path.to_owned(), blocks, run_start, packets: vec![0; hosts.len()], marks: 0 };
        transcript.flush()?;
        Ok(transcript)
    }

    /// Adds one record.
    pub fn record(&mut self, header: &Header, bytes: &[u8]) -> Result<(), CaptureError> {
        let (direction, comment) = match header.occasion {
            // Recorded from a string, so that nothing is lost here.
            Occasion::Mark => return self.mark(header.time, &String::from_utf8_lossy(bytes)),
            Occasion::Entered if header.outcome.is_plain() => (Direction::Outbound, String::new()),
            Occasion::Entered => (Direction::Outbound, header.outcome.to_string()),
            Occasion::Unroutable => (Direction::Outbound, "ignored: it is for no host of the arena".into()),
            Occasion::Undelivered => {
                (Direction::Inbound, format!("did not arrive, though sent on its way: {}", header.outcome))
            }
        };
        if direction == Direction::Outbound {
            self.packets[usize::from(header.interface)] += 1;
        }
        self.blocks.packet(&Packet {
            interface: header.interface.into(),
            timestamp: self.timestamp(header.time),
            original: header.original,
            bytes,
            direction,
            missed: header.missed.into(),
            comment: &comment,
        });
        self.flush_if_due()
    }

    /// Adds a mark.
    pub fn mark(&mut self, time: i64, text: &str) -> Result<(), CaptureError> {
        self.marks += 1;
        self.blocks.message(self.timestamp(time), time, text);
        self.flush_if_due()
    }

    /// Ends the file with statistics: `seen` packets have come from each host `between` these times.
    pub fn end(mut self, seen: &[u64], between: [i64; 2]) -> Result<CaptureSummary, CaptureError> {
        let between = between.map(|time| self.timestamp(time));
        let mut missing = 0;
        for ((&received, &written), interface) in seen.iter().zip(&self.packets).zip(0..) {
            let dropped = received - written;
            missing += dropped;
            self.blocks.statistics(&Statistics { interface, between, received, dropped });
        }
        self.flush()?;
        Ok(CaptureSummary { path: self.path, packets: self.packets.iter().sum(), missing, marks: self.marks })
    }

    /// Writes what has been added.
    pub fn flush(&mut self) -> Result<(), CaptureError> {
        self.file
            .write_all(self.blocks.as_bytes())
            .map_err(|source| CaptureError::Write { path: self.path.clone(), source })?;
        self.blocks.clear();
        Ok(())
    }

    fn flush_if_due(&mut self) -> Result<(), CaptureError> {
        if self.blocks.as_bytes().len() >= BATCH { self.flush() } else { Ok(()) }
    }

    /// `time` nanoseconds after the run's start, as the file says it; nothing here was before the Unix epoch.
    fn timestamp(&self, time: i64) -> u64 {
        self.run_start.saturating_add(time).max(0).cast_unsigned()
    }
}

/// What a reader of the file must know.
fn introduction(run_start: i64) -> String {
    format!(
        "run-start-ns={run_start}\n\
         A packet's time in the run's history, in nanoseconds, is its timestamp less the run's start.\n\
         Each host is an interface. A packet stands once, on the interface of the host that sent it (outbound), as \
         it came into the switch and before anything was done to it; without a comment it was forwarded at once. \
         One that was sent on its way and did not arrive stands again on the interface of its destination \
         (inbound).\n\
         TCP data travels in units of up to 64 KiB, and with checksums left to the receiver.\n\
         Entries of a journal mark moments between packets, to the microsecond."
    )
}
