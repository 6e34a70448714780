//! The run that is recorded: one write after the other, on a disk that records its operations.

use duress_arena::disk::crash::{Mark, Recording};
use duress_arena::disk::{DiskOptions, FaultDisk};
use duress_history::Scalar;
use duress_history::register::{Register, RegisterOp};
use duress_targets::{NotReady, Outcome};
use tokio::time::{Instant, sleep};

use super::{ATTEMPT, ExploreError, KILL_MAX, READY_MAX, RETRY, Stage};
use crate::record::folder::RunFolder;

/// The number of keys, which are written in turn, so that each is overwritten.
const KEYS: u64 = 7;

/// Returns the key of write `number`.
pub(super) fn key_of(number: u64) -> Scalar {
    Scalar::from(format!("k{}", number % KEYS).as_str())
}

/// Returns every key, with the last write to it among the first `count`, if there is one.
pub(super) fn last_writes(count: u64) -> impl Iterator<Item = (Scalar, Option<u64>)> {
    (1..=KEYS).map(move |first| {
        let last = (first..=count).step_by(usize::try_from(KEYS).unwrap_or(1)).last();
        (key_of(first), last)
    })
}

/// Returns the value of write `number`.
pub(super) fn value_of(number: u64) -> Scalar {
    Scalar::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

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
    await_ready(stage).await.map_err(ExploreError::NotReady)?;
    let mut client = stage.client()?;
    for number in 1..=writes {
        disk.mark(Mark::Begun(number));
        let op = RegisterOp::Write(value_of(number));
        match client.invoke(&Register { key: key_of(number), op }).await {
            Outcome::Ok(_) => disk.mark(Mark::Acknowledged(number)),
            Outcome::Fail(cause) | Outcome::Info(cause) => {
                return Err(ExploreError::Write { number, cause: cause.to_string() });
            }
        }
    }
    process.kill(KILL_MAX)?;
    let recording = disk.take_recording().unwrap_or_default();
    disk.close()?;
    Ok(recording)
}

async fn await_ready(stage: &Stage) -> Result<(), NotReady> {
    let end = Instant::now() + READY_MAX;
    loop {
        let place = stage.host("c1").as_ref();
        match stage.deployment.ready(&stage.node, place, ATTEMPT).await {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() >= end => return Err(error),
            Err(_) => sleep(RETRY).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_write_to_each_key() {
        let last: Vec<Option<u64>> = last_writes(9).map(|(_, last)| last).collect();
        assert_eq!(last, [Some(8), Some(9), Some(3), Some(4), Some(5), Some(6), Some(7)]);
        assert_eq!(last_writes(0).filter(|(_, last)| last.is_some()).count(), 0);
        for (key, last) in last_writes(20) {
            assert_eq!(key, key_of(last.unwrap()));
        }
    }
}
