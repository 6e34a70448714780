//! The run that is recorded: one write after the other, on a disk that records its operations.

use duress_arena::disk::crash::{Mark, Recording};
use duress_arena::disk::{DiskOptions, FaultDisk};

use super::{ExploreError, KILL_MAX, Stage};
use crate::record::folder::RunFolder;

/// Runs the node on an empty disk, does `writes` writes, kills the node, and returns the operations on the disk.
pub(super) async fn record(
    stage: &Stage,
    folder: &RunFolder,
    writes: u64,
) -> Result<Recording, ExploreError> {
    let backing = folder.backing(&stage.node);
    folder.make(&stage.files.data)?;
    folder.make(&backing)?;
    duress_arena::mount_tmpfs(&backing)?;
    let disk = FaultDisk::mount(&stage.files.data, &backing, DiskOptions::new(0))?;
    disk.record();
    let mut process = stage.start()?;
    if let Some(finding) = stage.come_up(&mut process).await? {
        return Err(ExploreError::NotUp(finding));
    }
    let setup = stage.vocabulary.setup();
    let place = stage.host("c1").as_ref();
    stage.deployment.prepare(&setup, place, stage.patience()).await.map_err(ExploreError::Prepare)?;
    let mut data = stage.vocabulary.open(stage)?;
    for number in 1..=writes {
        disk.mark(Mark::Begun(number));
        data.write(number).await.map_err(|cause| ExploreError::Write { number, cause })?;
        disk.mark(Mark::Acknowledged(number));
    }
    process.kill(KILL_MAX)?;
    let recording = disk.take_recording().unwrap_or_default();
    disk.close()?;
    Ok(recording)
}
