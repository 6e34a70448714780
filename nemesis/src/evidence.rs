//! What the arena saw, as evidence of the history.

use duress_history::nemesis::{
    ClockAsked, ClockSeen, CutFile, DiskProbe, DiskSeen, FlippedBit, ProcessClock, Undone, UnpatchedProcess,
};

use duress_arena::clock::{ClockEvidence, SeenClock, Unpatched};
use duress_arena::disk::DiskEvidence;

/// What was seen of a clock.
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

/// What was seen of a disk.
pub(crate) fn disk(evidence: DiskEvidence) -> DiskSeen {
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
        DiskEvidence::Touched { operations, delayed, probe } => DiskSeen::Touched {
            operations,
            delayed,
            probe: probe.map(|probe| DiskProbe {
                write_errno: probe.write_errno,
                fsync_errno: probe.fsync_errno,
                fsync_took: probe.fsync_took,
                durable: probe.durable,
                read_errno: probe.read_errno,
            }),
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
