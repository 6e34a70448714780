//! The run that is recorded: clients write, each one write after the other, on a disk that records its operations.

use std::time::Duration;

use duress_arena::disk::crash::{Mark, Recording};
use duress_arena::disk::{DiskFault, DiskOptions, FaultDisk};
use futures_util::future::try_join_all;

use super::{Exploration, ExploreError, KILL_MAX, Stage};
use crate::record::folder::RunFolder;

/// How long an fsync takes while clients write. The requests of the other clients come in during it, so that the node's next
/// fsync covers several, on a disk in memory and a busy machine too.
const FSYNC: Duration = Duration::from_millis(20);

/// Runs the node on an empty disk, lets the clients do their writes, kills the node, and returns the operations on the
/// disk.
pub(super) async fn record(
    stage: &Stage,
    folder: &RunFolder,
    exploration: &Exploration,
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
    disk.begin(&DiskFault::SlowFsync { delay: FSYNC })?;
    let clients = usize::from(exploration.clients);
    let writing = (0..clients).map(async |client| {
        let mut data = stage.vocabulary.open(stage, client)?;
        // The numbers of writes of two clients differ by one at most.
        let share = (exploration.writes + (clients - 1 - client) as u64) / clients as u64;
        for count in 1..=share {
            disk.mark(Mark::Begun { client, count });
            data.write(count).await.map_err(|cause| ExploreError::Write { client, number: count, cause })?;
            disk.mark(Mark::Acknowledged { client, count });
        }
        Ok::<(), ExploreError>(())
    });
    try_join_all(writing).await?;
    process.kill(KILL_MAX)?;
    let recording = disk.take_recording().unwrap_or_default();
    disk.close()?;
    Ok(recording)
}
