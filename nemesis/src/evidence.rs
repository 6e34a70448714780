//! Converts the arena's observations to the history's evidence.

use duress_history::nemesis::{
    ClockAsked, ClockSeen, CutFile, DiskProbe, DiskSeen, FlippedBit, LastingFault, ProcessClock, Undone,
    UnpatchedProcess,
};

use duress_arena::clock::{ClockEvidence, SeenClock, Unpatched};
use duress_arena::disk::{DiskEvidence, DiskFault, IoKind, ProbeSeen};

/// Converts the observations of a clock.
pub(crate) fn clock(evidence: ClockEvidence) -> ClockSeen {
    let ClockEvidence { asked, seen, patched_pids, unpatched } = evidence;
    let process = |seen: SeenClock| ProcessClock {
        pid: seen.pid,
        delta_ns: seen.delta_ns,
        expected_ns: seen.expected_ns,
        uncertainty_ns: seen.uncertainty_ns,
    };
    let stray =
        |stray: Unpatched| UnpatchedProcess { pid: stray.pid, program: stray.program, why: stray.why };
    ClockSeen {
        asked: ClockAsked {
            since_ns: asked.since_ns,
            offset_ns: asked.offset_ns,
            drift_ppb: asked.drift_ppb,
        },
        seen: seen.into_iter().map(process).collect(),
        patched_pids,
        unpatched: unpatched.into_iter().map(stray).collect(),
    }
}

/// Converts the result of the disk's own probe.
pub(crate) fn disk_probe(seen: ProbeSeen) -> DiskProbe {
    DiskProbe {
        write_errno: seen.write_errno,
        fsync_errno: seen.fsync_errno,
        fsync_took: seen.fsync_took,
        durable: seen.durable,
        read_errno: seen.read_errno,
        reserve_errno: seen.reserve_errno,
    }
}

/// Returns the fault of a disk, where it is one that lasts.
pub(crate) fn lasting(fault: &DiskFault) -> Option<LastingFault> {
    Some(match fault {
        DiskFault::LyingFsync => LastingFault::LyingFsync,
        DiskFault::SlowFsync { delay } => LastingFault::SlowFsync { delay: *delay },
        DiskFault::Errors { on: IoKind::Reads, .. } => LastingFault::ReadErrors,
        DiskFault::Errors { on: IoKind::Writes, .. } => LastingFault::WriteErrors,
        DiskFault::Errors { on: IoKind::Fsync, .. } => LastingFault::FsyncErrors,
        DiskFault::NoSpace { .. } => LastingFault::NoSpace,
        DiskFault::PowerLoss { .. } | DiskFault::BitFlip { .. } | DiskFault::Truncate { .. } => return None,
    })
}

/// Converts the observations of a disk under `fault`, if they are the evidence of a lasting one.
pub(crate) fn disk(evidence: DiskEvidence, fault: Option<&DiskFault>) -> DiskSeen {
    match evidence {
        DiskEvidence::Undone(undone) => DiskSeen::Undone(Undone {
            files: undone.files,
            blocks: undone.blocks,
            bytes: undone.bytes,
            metadata_operations: undone.metadata_operations,
            blocks_kept: undone.blocks_kept,
            metadata_operations_kept: undone.metadata_operations_kept,
            stale_handles: undone.stale_handles,
        }),
        DiskEvidence::Touched { operations, delayed, probed, probe } => DiskSeen::Touched {
            fault: fault.and_then(lasting),
            operations,
            delayed,
            probed,
            probe: probe.map(disk_probe),
        },
        DiskEvidence::Flipped { bits } => DiskSeen::Flipped {
            bits: bits
                .into_iter()
                .map(|bit| FlippedBit { file: bit.file, offset: bit.offset, bit: bit.bit })
                .collect(),
        },
        DiskEvidence::Cut { files } => DiskSeen::Cut {
            files: files
                .into_iter()
                .map(|cut| CutFile { file: cut.file, from: cut.from, to: cut.to })
                .collect(),
        },
    }
}
