//! Crash states: whatever a power loss of the disk leaves is one of them, and they can be built.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use duress_arena::disk::crash::{Mark, Recording, Requests};
use duress_arena::disk::{DiskOptions, Keep};
use libtest_mimic::{Failed, Trial};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::fixture::{Stage, number, tree};

pub fn register(trials: &mut Vec<Trial>) {
    trials.push(Trial::test("crash_states::a_power_loss_leaves_one_of_them", power_losses));
    trials.push(Trial::test("crash_states::what_was_synced_is_in_all_of_them", synced));
}

/// The only request of a recording, at its end: states are listed once for each number of requests.
const END: Mark = Mark::Begun { client: 0, count: 1 };

/// The contents of a disk, file by file.
type Contents = Vec<(String, Vec<u8>)>;

/// Returns what a disk may hold at the end of a recording, which a mark of its own has set apart.
fn at_the_end(recording: &Recording) -> BTreeSet<Contents> {
    let states = recording.states(usize::MAX).filter(|state| !state.requests.is_empty());
    let built = states.map(|state| {
        let folder = tempfile::tempdir().expect("a folder");
        state.build(folder.path()).expect("a state that can be built");
        tree(folder.path())
    });
    built.collect()
}

/// One step of a program that keeps two files and a folder.
fn step(root: &Path, random: &mut ChaCha8Rng) -> std::io::Result<()> {
    let name = ["a", "b", "folder/c"][random.random_range(0..3)];
    let other = ["a", "b", "folder/c"][random.random_range(0..3)];
    let path = root.join(name);
    let open = || fs::File::options().create(true).truncate(false).write(true).open(&path);
    match random.random_range(0..8) {
        0..=2 => {
            let mut file = open()?;
            file.seek(SeekFrom::Start(random.random_range(0..3) * 4096))?;
            file.write_all(&vec![random.random_range(1..=255); random.random_range(1..5000)])
        }
        3 => open()?.set_len(random.random_range(0..9000)),
        4 => fs::rename(&path, root.join(other)).or(Ok(())),
        5 => fs::remove_file(&path).or(Ok(())),
        6 => open()?.sync_all(),
        _ => fs::File::open(root.join("folder"))?.sync_all(),
    }
}

fn power_losses() -> Result<(), Failed> {
    for seed in 0..u64::from(number("DURESS_DISK_ROUNDS", 80)) {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let stage = Stage::with(DiskOptions::new(seed));
        stage.disk().record();
        let root = stage.path("");
        fs::create_dir(root.join("folder"))?;
        for _ in 0..random.random_range(2..9) {
            step(&root, &mut random)?;
        }
        let keep = if random.random_bool(0.2) { Keep::Nothing } else { Keep::RandomSubset };
        stage.disk().mark(END);
        let recording = stage.disk().take_recording().expect("it was recorded");
        stage.disk().power_loss(keep)?;
        let states = at_the_end(&recording);
        let left = tree(&root);
        let sizes = |contents: &Contents| {
            contents.iter().map(|(name, bytes)| format!("{name} {}", bytes.len())).collect::<Vec<_>>()
        };
        assert!(states.contains(&left), "seed {seed}: {:?} is none of {} states", sizes(&left), states.len());
    }
    Ok(())
}

/// A file that is replaced the right way is old or new in every state, and new in those after the acknowledgement.
fn synced() -> Result<(), Failed> {
    let stage = Stage::new();
    stage.disk().record();
    let root = stage.path("");
    for round in 1..=5_u64 {
        stage.disk().mark(Mark::Begun { client: 0, count: round });
        let mut file = fs::File::create(root.join("next"))?;
        file.write_all(&[u8::try_from(round)?; 10_000])?;
        file.sync_all()?;
        fs::rename(root.join("next"), root.join("data"))?;
        fs::File::open(&root)?.sync_all()?;
        stage.disk().mark(Mark::Acknowledged { client: 0, count: round });
    }
    let recording = stage.disk().take_recording().expect("it was recorded");
    assert_eq!(recording.syncs(), 10);
    let mut states = 0;
    for state in recording.states(50) {
        states += 1;
        let folder = tempfile::tempdir()?;
        state.build(folder.path())?;
        let Requests { begun, acknowledged } = state.requests.first().copied().unwrap_or_default();
        match fs::read(folder.path().join("data")) {
            Ok(data) => {
                assert!(data.len() == 10_000 && data.iter().all(|byte| *byte == data[0]));
                assert!((acknowledged..=begun).contains(&data[0].into()), "{state:?}");
            }
            Err(_) => assert_eq!(acknowledged, 0),
        }
    }
    assert!(states > 30, "{states}");
    Ok(())
}
