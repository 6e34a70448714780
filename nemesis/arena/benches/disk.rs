//! The cost of the fault disk: the bare folder against the disk, and against the disk with real fsyncs, in
//! one run.
//!
//! Only the ratios within one run mean anything. If the disk cannot be mounted, the benchmark says so and
//! measures nothing.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use duress_arena::disk::{DiskOptions, FaultDisk, RealFsync};
use duress_arena::{Role, isolate};
use redb::{Database, TableDefinition};
use tempfile::TempDir;

const BLOCK: [u8; 4096] = [0x5a; 4096];
const BULK: usize = 64 << 20;
const TABLE: TableDefinition<u64, u64> = TableDefinition::new("bench");

fn main() -> ExitCode {
    match isolate() {
        Ok(Role::Runner) => {}
        Ok(Role::Outer(status)) => {
            return ExitCode::from(u8::try_from(status.code().unwrap_or(255)).unwrap_or(255));
        }
        Err(error) => {
            println!("not measured: {error}");
            return ExitCode::SUCCESS;
        }
    }
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let mut places = vec![Place::bare()];
    for (name, real_fsync) in [("disk", RealFsync::Kept), ("disk, real fsync", RealFsync::Forwarded)] {
        match Place::fault_disk(name, real_fsync) {
            Ok(place) => places.push(place),
            Err(error) => {
                println!("not measured: {error}");
                return ExitCode::SUCCESS;
            }
        }
    }
    append_and_sync(&mut criterion, &places);
    write_in_bulk(&mut criterion, &places);
    write_blocks(&mut criterion, &places);
    commit_to_redb(&mut criterion, &places);
    criterion.final_summary();
    ExitCode::SUCCESS
}

/// A folder to measure in. The disk is unmounted before its folders are removed.
struct Place {
    name: &'static str,
    folder: PathBuf,
    _disk: Option<FaultDisk>,
    _home: TempDir,
}

impl Place {
    fn bare() -> Self {
        let home = tempfile::tempdir().expect("a folder");
        Self { name: "bare folder", folder: home.path().to_owned(), _disk: None, _home: home }
    }

    fn fault_disk(name: &'static str, real_fsync: RealFsync) -> Result<Self, duress_arena::disk::DiskError> {
        let home = tempfile::tempdir().expect("a folder");
        let folder = home.path().join("mount");
        std::fs::create_dir(&folder).expect("a mount point");
        let options = DiskOptions { real_fsync, ..DiskOptions::new(1) };
        let disk = FaultDisk::mount(&folder, &home.path().join("backing"), options)?;
        Ok(Self { name, folder, _disk: Some(disk), _home: home })
    }

    fn file(&self, name: &str) -> File {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(self.folder.join(name))
            .expect("a file in the folder measured")
    }
}

fn append_and_sync(criterion: &mut Criterion, places: &[Place]) {
    let mut group = criterion.benchmark_group("append 4 KiB and fdatasync");
    group.throughput(Throughput::Elements(1));
    for place in places {
        let mut file = place.file("append");
        group.bench_function(place.name, |bencher| {
            bencher.iter(|| {
                file.write_all(&BLOCK).expect("space");
                file.sync_data().expect("a disk");
            });
        });
    }
}

fn write_in_bulk(criterion: &mut Criterion, places: &[Place]) {
    let mut group = criterion.benchmark_group("write 64 MiB in a row");
    group.throughput(Throughput::Bytes(BULK as u64));
    let chunk = vec![0x5a; 1 << 20];
    for place in places {
        group.bench_function(place.name, |bencher| {
            bencher.iter(|| {
                let mut file = place.file("bulk");
                for _ in 0..BULK / chunk.len() {
                    file.write_all(&chunk).expect("space");
                }
            });
        });
    }
}

fn write_blocks(criterion: &mut Criterion, places: &[Place]) {
    let mut group = criterion.benchmark_group("write 4 KiB anywhere, no sync");
    group.throughput(Throughput::Elements(1));
    for place in places {
        let file = place.file("blocks");
        file.set_len(16 << 20).expect("space");
        let mut number = 0_u64;
        group.bench_function(place.name, |bencher| {
            bencher.iter(|| {
                // A stride that meets every block before it meets one again.
                number = (number + 1021) % 4096;
                file.write_all_at(&BLOCK, number * 4096).expect("space");
            });
        });
    }
}

fn commit_to_redb(criterion: &mut Criterion, places: &[Place]) {
    let mut group = criterion.benchmark_group("redb commit");
    group.throughput(Throughput::Elements(1));
    for place in places {
        let database = open_redb(&place.folder);
        let mut key = 0;
        group.bench_function(place.name, |bencher| {
            bencher.iter(|| {
                let transaction = database.begin_write().expect("one writer");
                transaction.open_table(TABLE).expect("the table").insert(key, key).expect("space");
                transaction.commit().expect("a disk");
                key += 1;
            });
        });
    }
}

fn open_redb(folder: &Path) -> Database {
    Database::create(folder.join("bench.redb")).expect("a new database")
}
