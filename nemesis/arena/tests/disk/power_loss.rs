//! Losing the power: which changes are undone, which are not, and how they are counted.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};

use std::time::Duration;

use duress_arena::disk::{DiskFault, DiskOptions, Keep, Lasting, RealFsync, Undone};
use libtest_mimic::{Failed, Trial};
use nix::errno::Errno;

use crate::fixture::{Stage, runs, tree};
use crate::scene::{self, Lines, Mortal, Scene};

type Outcome = Result<(), Failed>;
type Test = (&'static str, fn() -> Outcome);

pub fn register(trials: &mut Vec<Trial>) {
    let tests: [Test; 16] = [
        ("counts_what_it_undoes", counted),
        ("spares_what_was_synced", spared),
        ("brings_back_what_was_removed", brought_back),
        ("brings_back_what_was_cut_off", cut_off),
        ("commits_earlier_names_with_any_fsync", earlier_names),
        ("commits_earlier_cuts_with_any_fsync", earlier_cuts),
        ("takes_unsynced_names_where_semantics_are_strict", strict_names),
        ("undoes_modes", modes),
        ("keeps_what_was_opened_for_synchronous_writes", synchronous_writes),
        ("makes_open_files_stale", stale),
        ("finds_an_fsync_undone_when_the_power_was_cut_in_its_middle", cut_in_the_middle),
        ("undoes_memory_that_was_mapped_and_not_synced", mapped),
        ("undoes_everything_under_a_lying_fsync", lies),
        ("tears_differently_with_another_seed_and_alike_with_the_same", seeds),
        ("never_mixes_a_file_with_what_was_written_after_it_was_cut", cut_and_written),
        ("leaves_nothing_of_its_own_behind", traces),
    ];
    for (name, test) in tests {
        trials.push(Trial::test(format!("power_loss::{name}"), test));
    }
}

fn sync_root(stage: &Stage) -> Outcome {
    Ok(File::open(stage.path(""))?.sync_all()?)
}

fn counted() -> Outcome {
    let stage = Stage::new();
    let file = File::create(stage.path("file"))?;
    file.write_all_at(&[1; 40_960], 0)?;
    file.sync_all()?;
    // Two blocks in one write across their border, one elsewhere, and an append of 100 bytes.
    file.write_all_at(&[2; 10], 4090)?;
    file.write_all_at(&[2; 10], 20_480)?;
    file.write_all_at(&[2; 100], 40_960)?;
    File::create(stage.path("new"))?.write_all(&[3; 5000])?;
    drop(file);
    let undone = stage.disk().power_loss(Keep::Nothing)?;
    let expected = Undone {
        files: 2,
        blocks: 4 + 2,
        bytes: 3 * 4096 + 100 + 5000,
        metadata_operations: 1,
        ..Undone::default()
    };
    assert_eq!(undone, expected);
    assert!(tree(&stage.path("")) == [("file".to_owned(), vec![1; 40_960])], "only the synced data");
    assert_eq!(stage.disk().power_loss(Keep::Nothing)?, Undone::default(), "there is nothing left to undo");
    Ok(())
}

fn spared() -> Outcome {
    let stage = Stage::new();
    for number in 0..20_u8 {
        let mut file = OpenOptions::new().append(true).create(true).open(stage.path("log"))?;
        file.write_all(&[number; 1000])?;
        file.sync_data()?;
        file.write_all(b"not synced")?;
        drop(file);
        stage.disk().power_loss(if number % 2 == 0 { Keep::Nothing } else { Keep::RandomSubset })?;
        let content = fs::read(stage.path("log"))?;
        // Torn, the end may have survived; it is cut off, as a database does that finds half a record.
        assert!(content.len() == 1000 || content.len() == 1010, "{} bytes", content.len());
        assert_eq!(runs(&content[..1000]), [(1000, number)]);
        let file = OpenOptions::new().write(true).open(stage.path("log"))?;
        file.set_len(0)?;
        file.sync_all()?;
    }
    Ok(())
}

fn brought_back() -> Outcome {
    let stage = Stage::new();
    fs::create_dir_all(stage.path("d/e"))?;
    for name in ["kept", "d/removed", "d/e/replaced", "d/e/by"] {
        let file = File::create(stage.path(name))?;
        (&file).write_all(name.as_bytes())?;
        file.sync_all()?;
    }
    sync_root(&stage)?;
    let before = tree(&stage.path(""));
    fs::remove_file(stage.path("d/removed"))?;
    fs::rename(stage.path("d/e/by"), stage.path("d/e/replaced"))?;
    fs::rename(stage.path("d/e"), stage.path("e"))?;
    fs::remove_dir(stage.path("d"))?;
    fs::rename(stage.path("kept"), stage.path("e/kept"))?;
    // A file in the place of a directory, and a directory in that of a file.
    fs::write(stage.path("d"), b"no directory")?;
    fs::create_dir(stage.path("kept"))?;
    fs::write(stage.path("kept/x"), b"below")?;
    let undone = stage.disk().power_loss(Keep::Nothing)?;
    assert_eq!(tree(&stage.path("")), before);
    assert_eq!(undone.metadata_operations, 8);
    Ok(())
}

fn cut_off() -> Outcome {
    let stage = Stage::new();
    let content: Vec<u8> = (0..50_000_u32).map(|number| (number % 251) as u8).collect();
    let file = File::create(stage.path("file"))?;
    file.write_all_at(&content, 0)?;
    file.sync_all()?;
    file.set_len(10_000)?;
    file.write_all_at(&[0xff; 3000], 9000)?;
    file.set_len(5)?;
    file.set_len(70_000)?;
    drop(File::create(stage.path("file"))?);
    drop(file);
    stage.disk().power_loss(Keep::Nothing)?;
    assert!(fs::read(stage.path("file"))? == content, "another content");
    Ok(())
}

fn earlier_names() -> Outcome {
    let stage = Stage::new();
    fs::write(stage.path("a"), b"content")?;
    fs::rename(stage.path("a"), stage.path("b"))?;
    File::create(stage.path("other"))?.sync_all()?;
    fs::rename(stage.path("b"), stage.path("c"))?;
    stage.disk().power_loss(Keep::Nothing)?;
    // The rename before the fsync is durable, the one after is not; the unsynced content is gone.
    let expected = [("b".to_owned(), Vec::new()), ("other".to_owned(), Vec::new())];
    assert_eq!(tree(&stage.path("")), expected);
    Ok(())
}

fn earlier_cuts() -> Outcome {
    let stage = Stage::new();
    let file = File::create(stage.path("file"))?;
    file.write_all_at(&[1; 9000], 0)?;
    file.sync_all()?;
    file.set_len(100)?;
    file.set_len(6000)?;
    File::create(stage.path("other"))?.sync_all()?;
    file.write_all_at(&[2; 6000], 50)?;
    file.set_len(70)?;
    drop(file);
    stage.disk().power_loss(Keep::Nothing)?;
    // The file was cut and extended before the fsync of the other, and the cut part does not come back.
    let mut expected = vec![1; 100];
    expected.resize(6000, 0);
    assert_eq!(runs(&fs::read(stage.path("file"))?), runs(&expected));
    Ok(())
}

fn strict_names() -> Outcome {
    let stage = Stage::strict();
    fs::create_dir(stage.path("d"))?;
    for name in ["synced", "d/lost with its directory"] {
        let file = File::create(stage.path(name))?;
        (&file).write_all(b"content")?;
        file.sync_all()?;
    }
    File::open(stage.path("d"))?.sync_all()?;
    stage.disk().power_loss(Keep::Nothing)?;
    assert_eq!(tree(&stage.path("")), [], "the root was not synced");
    let file = File::create(stage.path("synced"))?;
    (&file).write_all(b"content")?;
    file.sync_all()?;
    sync_root(&stage)?;
    drop(file);
    // Removed, but the root is not synced again; other syncs do not matter.
    fs::create_dir(stage.path("d"))?;
    fs::remove_file(stage.path("synced"))?;
    File::create(stage.path("d/another"))?.sync_all()?;
    File::open(stage.path("d"))?.sync_all()?;
    stage.disk().power_loss(Keep::Nothing)?;
    assert_eq!(tree(&stage.path("")), [("synced".to_owned(), b"content".to_vec())]);
    Ok(())
}

fn modes() -> Outcome {
    let stage = Stage::new();
    fs::write(stage.path("file"), b"")?;
    fs::set_permissions(stage.path("file"), fs::Permissions::from_mode(0o640))?;
    sync_root(&stage)?;
    fs::set_permissions(stage.path("file"), fs::Permissions::from_mode(0o444))?;
    assert_eq!(stage.disk().power_loss(Keep::Nothing)?.metadata_operations, 1);
    assert_eq!(fs::metadata(stage.path("file"))?.mode() & 0o7777, 0o640);
    Ok(())
}

fn synchronous_writes() -> Outcome {
    let stage = Stage::new();
    for (name, flag) in
        [("sync", libc::O_SYNC), ("dsync", libc::O_DSYNC), ("direct", libc::O_DSYNC | libc::O_DIRECT)]
    {
        let options =
            OpenOptions::new().write(true).create(true).truncate(true).custom_flags(flag).to_owned();
        options.open(stage.path(name))?.write_all(&[9; 4096])?;
    }
    stage.disk().power_loss(Keep::Nothing)?;
    for name in ["sync", "dsync", "direct"] {
        assert_eq!(runs(&fs::read(stage.path(name))?), [(4096, 9)], "{name}");
    }
    Ok(())
}

fn stale() -> Outcome {
    let stage = Stage::new();
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(true).open(stage.path("file"))?;
    file.write_all_at(b"synced", 0)?;
    file.sync_all()?;
    assert_eq!(stage.disk().open_files(), 1);
    let undone = stage.disk().power_loss(Keep::Nothing)?;
    assert_eq!(undone.stale_handles, 1);
    let number = |result: std::io::Result<()>| result.err().and_then(|error| error.raw_os_error());
    let eio = Some(Errno::EIO as i32);
    assert_eq!(number(file.write_all_at(b"late", 0)), eio);
    assert_eq!(number(file.sync_all()), eio);
    assert_eq!(number(file.set_len(0)), eio);
    drop(file);
    assert_eq!(fs::read(stage.path("file"))?, b"synced");
    Ok(())
}

fn cut_in_the_middle() -> Outcome {
    let stage = Stage::new();
    fs::write(stage.path("file"), b"old")?;
    File::open(stage.path("file"))?.sync_all()?;
    stage.disk().inject(&DiskFault::SlowFsync { delay: Duration::from_millis(400) })?;
    let file = OpenOptions::new().write(true).open(stage.path("file"))?;
    file.write_all_at(b"new", 0)?;
    let before = stage.disk().touched(Lasting::SlowFsync)?;
    let synced = std::thread::scope(|scope| {
        let sync = scope.spawn(|| file.sync_all());
        while stage.disk().touched(Lasting::SlowFsync).is_ok_and(|now| now == before) {
            std::thread::yield_now();
        }
        stage.disk().cut_power();
        sync.join().expect("a thread that does not panic")
    });
    let eio =
        |result: std::io::Result<()>| result.err().and_then(|error| error.raw_os_error()) == Some(libc::EIO);
    assert!(eio(synced), "no caller gets a success");
    assert!(eio(file.write_all_at(b"newer", 0)));
    assert!(eio(fs::remove_file(stage.path("file"))));
    assert!(eio(fs::write(stage.path("another"), b"")));
    drop(file);
    assert_eq!(stage.disk().power_loss(Keep::Nothing)?.blocks, 1);
    assert_eq!(tree(&stage.path("")), [("file".to_owned(), b"old".to_vec())]);
    fs::write(stage.path("file"), b"the power is back")?;
    Ok(())
}

fn mapped() -> Outcome {
    let stage = Stage::new();
    let file = File::create(stage.path("file"))?;
    file.write_all_at(&[b'0'; 8192], 0)?;
    file.sync_all()?;
    drop(file);
    let mut child = Mortal::start(&mut scene::command(Scene::Mapping, &stage.path("file")));
    let mut lines = Lines::of(child.0.stdout.take().expect("a pipe"));
    assert_eq!(lines.next(Duration::from_secs(30)).as_deref(), Some("written"));
    assert_eq!(
        runs(&fs::read(stage.path("file"))?),
        [(4096, b'a'), (4096, b'b')],
        "every process sees the mapped data"
    );
    child.kill();
    let undone = stage.disk().power_loss(Keep::Nothing)?;
    assert_eq!(
        (undone.blocks, undone.stale_handles),
        (1, 0),
        "the page that was not synced had reached the disk"
    );
    assert_eq!(runs(&fs::read(stage.path("file"))?), [(4096, b'a'), (4096, b'0')]);
    Ok(())
}

fn lies() -> Outcome {
    let stage = Stage::new();
    fs::write(stage.path("before"), b"honest")?;
    File::open(stage.path("before"))?.sync_all()?;
    stage.disk().inject(&DiskFault::LyingFsync)?;
    let file = File::create(stage.path("during"))?;
    (&file).write_all(b"acknowledged")?;
    file.sync_all()?;
    sync_root(&stage)?;
    drop(file);
    let undone = stage.disk().power_loss(Keep::Nothing)?;
    assert_eq!((undone.files, undone.bytes), (1, 12));
    assert_eq!(tree(&stage.path("")), [("before".to_owned(), b"honest".to_vec())]);
    stage.disk().heal(Lasting::LyingFsync)?;
    File::create(stage.path("after"))?.sync_all()?;
    stage.disk().power_loss(Keep::Nothing)?;
    assert!(stage.path("after").exists(), "healed, an fsync is an fsync");
    Ok(())
}

/// Returns the remains of a file of which every block was overwritten.
fn torn(seed: u64) -> Result<(Vec<u8>, Undone), Failed> {
    let stage = Stage::with(DiskOptions::new(seed));
    let file = File::create(stage.path("file"))?;
    file.write_all_at(&[1; 64 * 4096], 0)?;
    file.sync_all()?;
    file.write_all_at(&[2; 64 * 4096], 0)?;
    drop(file);
    let undone = stage.disk().power_loss(Keep::RandomSubset)?;
    Ok((fs::read(stage.path("file"))?, undone))
}

fn seeds() -> Outcome {
    let (first, undone) = torn(1)?;
    assert_eq!(undone.blocks + undone.blocks_kept, 64);
    let kept = first.chunks(4096).filter(|block| **block == [2; 4096]).count();
    assert_eq!(kept as u64, undone.blocks_kept);
    assert!(
        first.chunks(4096).all(|block| *block == [1; 4096] || *block == [2; 4096]),
        "a block is old or new"
    );
    assert!((10..55).contains(&kept), "of 64 blocks about half survive, not {kept}");
    assert_eq!(runs(&torn(1)?.0), runs(&first));
    assert_ne!(runs(&torn(2)?.0), runs(&first));
    Ok(())
}

fn cut_and_written() -> Outcome {
    let (mut old, mut new) = (0, 0);
    for seed in 0..16 {
        let stage = Stage::with(DiskOptions::new(seed));
        let file = File::create(stage.path("file"))?;
        file.write_all_at(&[1; 8 * 4096], 0)?;
        file.sync_all()?;
        file.set_len(0)?;
        file.write_all_at(&[2; 8 * 4096], 0)?;
        drop(file);
        stage.disk().power_loss(Keep::RandomSubset)?;
        let content = fs::read(stage.path("file"))?;
        match content.contains(&1) {
            true => {
                assert_eq!(
                    runs(&content),
                    [(8 * 4096, 1)],
                    "seed {seed}: the cut is undone, and all that came after it"
                );
                old += 1;
            }
            false => new += 1,
        }
    }
    assert!(old > 0 && new > 0, "the cut was undone {old} times, and {new} times not");
    Ok(())
}

/// How many threads of this process serve a disk.
fn serving() -> usize {
    let tasks = fs::read_dir("/proc/self/task").expect("a /proc").flatten();
    let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|name| matches!(name.trim_end(), "disk" | "disk-fsync") || name.starts_with("fuser")).count()
}

fn traces() -> Outcome {
    for real_fsync in [RealFsync::Kept, RealFsync::Forwarded] {
        let stage = Stage::with(DiskOptions { real_fsync, ..DiskOptions::new(1) });
        fs::write(stage.path("removed"), b"")?;
        fs::write(stage.path("left"), b"left")?;
        File::open(stage.path("left"))?.sync_all()?;
        fs::remove_file(stage.path("removed"))?;
        let mount_point = stage.path("");
        assert!(serving() > 0);
        let home = stage.close();
        assert_eq!(fs::read_dir(mount_point)?.count(), 0, "nothing is mounted any more");
        let backing = tree(&home.path().join("backing"));
        assert_eq!(backing, [("files/".to_owned(), vec![]), ("files/left".to_owned(), b"left".to_vec())]);
        assert_eq!(serving(), 0);
    }
    // Also when something still has a file open.
    let stage = Stage::new();
    let file = File::create(stage.path("open"))?;
    let mount_point = stage.path("");
    drop(stage.close());
    assert!(file.sync_all().is_err(), "cut off");
    assert!(!mount_point.exists());
    Ok(())
}
