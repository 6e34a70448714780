//! Faults other than power loss: each takes hold, is counted, and heals.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use duress_arena::disk::{
    Counted, DiskError, DiskEvidence, DiskFault, FilePattern, IoKind, Keep, Lasting, Trigger,
};
use libtest_mimic::{Failed, Trial};
use nix::errno::Errno;

use crate::fixture::{Stage, runs};

type Outcome = Result<(), Failed>;
type Test = (&'static str, fn() -> Outcome);

pub fn register(trials: &mut Vec<Trial>) {
    let tests: [Test; 11] = [
        ("a_slow_fsync_is_slow_and_nothing_else_is", slow),
        ("the_nth_fsync_is_held_until_it_is_let_go", held),
        ("errors_on_writes", write_errors),
        ("errors_on_reads_reach_what_was_cached", read_errors),
        ("errors_on_fsync_make_nothing_durable", fsync_errors),
        ("errors_come_by_chance_and_by_number", triggers),
        ("a_full_disk", no_space),
        ("flipped_bits", bit_flip),
        ("flipped_bits_under_names_that_are_no_text", names_that_are_no_text),
        ("lost_ends", truncate),
        ("what_is_in_force_is_known", in_force),
    ];
    for (name, test) in tests {
        trials.push(Trial::test(format!("faults::{name}"), test));
    }
}

fn errno<T>(result: io::Result<T>) -> Option<Errno> {
    result.err().and_then(|error| error.raw_os_error()).map(Errno::from_raw)
}

/// How many operations of the node's, and of the disk's own probe, a fault has touched.
fn touched(evidence: &DiskEvidence) -> (u64, u64) {
    match evidence {
        DiskEvidence::Touched { operations, probed, .. } => (*operations, *probed),
        other => panic!("a fault that lasts has another evidence: {other:?}"),
    }
}

fn pattern(text: &str) -> FilePattern {
    FilePattern(text.to_owned())
}

fn held() -> Outcome {
    let stage = Stage::new();
    let activity = stage.disk().activity();
    let file = File::create(stage.path("file"))?;
    let before = [Counted::Fsync, Counted::Write, Counted::Rename].map(|counted| activity.count(counted));
    (&file).write_all(b"content")?;
    fs::rename(stage.path("file"), stage.path("renamed"))?;
    // The second fsync from now on.
    activity.hold_fsync(1);
    file.sync_all()?;
    let (was_held, took) = std::thread::scope(|scope| {
        let (began, file) = (Instant::now(), &file);
        let sync = scope.spawn(move || file.sync_all().map(|()| began.elapsed()));
        while activity.count(Counted::Fsync) < before[0] + 2 {
            std::thread::yield_now();
        }
        // Reads go on meanwhile.
        let other = fs::metadata(stage.path("renamed")).map(|metadata| metadata.len());
        let was_held = !sync.is_finished() && other.is_ok_and(|length| length == 7);
        activity.release_held();
        (was_held, sync.join().expect("a thread that does not panic"))
    });
    assert!(was_held, "it was answered before it was let go");
    assert!(took? < Duration::from_secs(1), "it was let go, and not given up");
    let counts = [Counted::Fsync, Counted::Write, Counted::Rename].map(|counted| activity.count(counted));
    assert_eq!([counts[0] - before[0], counts[1] - before[1], counts[2] - before[2]], [2, 1, 1]);
    // What was synced survives, the one that was held included, and none is held any more.
    file.sync_all()?;
    Ok(())
}

fn slow() -> Outcome {
    let stage = Stage::new();
    let delay = Duration::from_millis(150);
    let file = File::create(stage.path("file"))?;
    stage.disk().inject(&DiskFault::SlowFsync { delay })?;
    (&file).write_all(b"content")?;
    let (synced, read) = std::thread::scope(|scope| {
        let (began, file) = (Instant::now(), &file);
        let sync = scope.spawn(move || file.sync_all().map(|()| began.elapsed()));
        let mut read = Duration::MAX;
        // While it waits, the disk serves others.
        while !sync.is_finished() {
            let one = Instant::now();
            if fs::metadata(stage.path("missing")).is_err() {
                read = read.min(one.elapsed());
            }
        }
        (sync.join().expect("a thread that does not panic"), read)
    });
    assert!(synced? >= delay);
    assert!(read < delay / 3, "{read:?}");
    let evidence = stage.disk().heal(Lasting::SlowFsync)?;
    let DiskEvidence::Touched { operations, delayed, probed, probe: Some(probe) } = evidence else {
        panic!("no probe: {evidence:?}")
    };
    // Ours, and the probe of the injection.
    assert_eq!((operations, delayed, probed), (1, delay, 1));
    assert!(probe.fsync_took < delay / 2, "{probe:?}");
    drop(file);
    stage.disk().power_loss(Keep::Nothing)?;
    assert_eq!(fs::read(stage.path("file"))?, b"content", "slow, and honest");
    Ok(())
}

fn write_errors() -> Outcome {
    let stage = Stage::new();
    let mut file = File::create(stage.path("file"))?;
    file.write_all(b"before")?;
    let fault = DiskFault::Errors {
        on: IoKind::Writes,
        trigger: Trigger::Probability(1.0),
        files: FilePattern::all(),
    };
    let evidence = stage.disk().inject(&fault)?;
    assert_eq!(touched(&evidence), (0, 1), "the probe");
    assert_eq!(errno(file.write_all(b" during")), Some(Errno::EIO));
    assert_eq!(errno(file.set_len(0)), Some(Errno::EIO));
    assert_eq!(fs::read(stage.path("file"))?, b"before");
    assert_eq!(touched(&stage.disk().heal(Lasting::Errors(IoKind::Writes))?), (2, 1));
    file.write_all(b" after")?;
    assert_eq!(fs::read(stage.path("file"))?, b"before after");
    Ok(())
}

fn read_errors() -> Outcome {
    let stage = Stage::new();
    for name in ["bad", "good"] {
        fs::write(stage.path(name), [1; 10_000])?;
        fs::read(stage.path(name))?;
    }
    let fault =
        DiskFault::Errors { on: IoKind::Reads, trigger: Trigger::Probability(1.0), files: pattern("b*") };
    assert_eq!(touched(&stage.disk().inject(&fault)?), (0, 0));
    assert_eq!(errno(fs::read(stage.path("bad"))), Some(Errno::EIO));
    assert_eq!(runs(&fs::read(stage.path("good"))?), [(10_000, 1)]);
    assert!(touched(&stage.disk().heal(Lasting::Errors(IoKind::Reads))?).0 > 0);
    assert_eq!(runs(&fs::read(stage.path("bad"))?), [(10_000, 1)]);
    Ok(())
}

fn fsync_errors() -> Outcome {
    let stage = Stage::new();
    let mut file = File::create(stage.path("file"))?;
    let fault = DiskFault::Errors {
        on: IoKind::Fsync,
        trigger: Trigger::Probability(1.0),
        files: FilePattern::all(),
    };
    stage.disk().inject(&fault)?;
    file.write_all(b"content")?;
    assert_eq!(errno(file.sync_all()), Some(Errno::EIO));
    assert_eq!(errno(file.sync_data()), Some(Errno::EIO));
    drop(file);
    stage.disk().power_loss(Keep::Nothing)?;
    assert!(!stage.path("file").exists());
    stage.disk().heal(Lasting::Errors(IoKind::Fsync))?;
    File::create(stage.path("file"))?.sync_all()?;
    Ok(())
}

fn triggers() -> Outcome {
    let stage = Stage::new();
    let file = File::create(stage.path("file"))?;
    let failures =
        |count: usize| (0..count).filter(|_| file.write_all_at(b"x", 0).is_err()).collect::<Vec<_>>();
    let on = IoKind::Writes;
    stage.disk().inject(&DiskFault::Errors { on, trigger: Trigger::Nth(5), files: pattern("file") })?;
    assert_eq!(failures(20), [4]);
    assert_eq!(touched(&stage.disk().heal(Lasting::Errors(on))?), (1, 0));
    stage.disk().inject(&DiskFault::Errors {
        on,
        trigger: Trigger::Probability(0.3),
        files: pattern("file"),
    })?;
    let failed = failures(400).len();
    // 120 expected, with a standard deviation of 9.2: six of them either way.
    assert!((65..=175).contains(&failed), "{failed} of 400");
    assert_eq!(touched(&stage.disk().heal(Lasting::Errors(on))?), (failed as u64, 0));
    // If any file may be struck, the disk probes until one is.
    let by_chance = stage.disk().inject(&DiskFault::Errors {
        on,
        trigger: Trigger::Probability(0.05),
        files: FilePattern::all(),
    })?;
    assert_eq!(touched(&by_chance), (0, 1));
    stage.disk().heal(Lasting::Errors(on))?;
    Ok(())
}

fn no_space() -> Outcome {
    let stage = Stage::new();
    fs::write(stage.path("old"), [1; 8192])?;
    let evidence = stage.disk().inject(&DiskFault::NoSpace { free_bytes: 10_000 })?;
    let DiskEvidence::Touched { probe: Some(probe), .. } = evidence else { panic!("{evidence:?}") };
    assert_eq!((probe.write_errno, probe.reserve_errno), (0, Errno::ENOSPC as i32));
    let file = File::create(stage.path("new"))?;
    let mut left = &file;
    left.write_all(&[2; 6000])?;
    assert_eq!(left.write(&[2; 6000])?, 4000, "what fits is written");
    assert_eq!(errno(left.write(b"more")), Some(Errno::ENOSPC));
    assert_eq!(errno(File::create(stage.path("another"))), Some(Errno::ENOSPC));
    assert_eq!(nix::sys::statvfs::statvfs(&stage.path(""))?.blocks_available(), 0);
    // Overwriting needs no new space.
    OpenOptions::new().write(true).open(stage.path("old"))?.write_all(&[3; 8192])?;
    file.set_len(0)?;
    file.write_all_at(&[4; 10_000], 0)?;
    assert!(touched(&stage.disk().heal(Lasting::NoSpace)?).0 >= 3);
    file.write_all_at(&[4; 20_000], 0)?;
    let evidence = stage.disk().inject(&DiskFault::NoSpace { free_bytes: 0 });
    assert!(evidence.is_ok(), "{evidence:?}");
    Ok(())
}

/// A file as a program sees it that has mapped it.
struct Mapped {
    begin: *const u8,
    bytes: usize,
}

impl Mapped {
    fn new(file: &File, bytes: usize) -> Self {
        // SAFETY: the mapping is new, at an address the kernel chooses, and only read.
        let begin = unsafe {
            libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd(), 0)
        };
        assert_ne!(begin, libc::MAP_FAILED, "{}", io::Error::last_os_error());
        Self { begin: begin.cast(), bytes }
    }

    fn copy(&self) -> Vec<u8> {
        // SAFETY: so many bytes are mapped, the file is as long, and each is read once, whatever it holds by then.
        (0..self.bytes).map(|at| unsafe { self.begin.add(at).read_volatile() }).collect()
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: it was mapped in `new`, and nothing refers to it any more.
        unsafe { libc::munmap(self.begin.cast_mut().cast(), self.bytes) };
    }
}

fn bit_flip() -> Outcome {
    let stage = Stage::new();
    let content = vec![0; 20_000];
    let file = File::create(stage.path("a.db"))?;
    file.write_all_at(&content, 0)?;
    file.sync_all()?;
    fs::write(stage.path("b.log"), &content)?;
    // Not durable: no place for damage at rest.
    file.write_all_at(&[0; 4096], 4096)?;
    let open = File::open(stage.path("a.db"))?;
    let mapped = Mapped::new(&open, content.len());
    assert_eq!(runs(&mapped.copy()), [(20_000, 0)]);
    let fault = DiskFault::BitFlip { files: pattern("*.db"), bits: 30 };
    let DiskEvidence::Flipped { bits } = stage.disk().inject(&fault)? else { panic!("another evidence") };
    let mut expected = content.clone();
    for flipped in &bits {
        assert_eq!(flipped.file, "a.db");
        assert!(!(4096..8192).contains(&flipped.offset));
        expected[usize::try_from(flipped.offset)?] ^= 1 << flipped.bit;
    }
    assert_eq!(bits.len(), 30);
    let mut seen = Vec::new();
    File::open(stage.path("a.db"))?.read_to_end(&mut seen)?;
    assert_eq!(runs(&seen), runs(&expected), "what the kernel had cached is read again");
    open.read_exact_at(&mut seen, 0)?;
    assert_eq!(runs(&seen), runs(&expected), "through descriptors opened before, too");
    assert_eq!(runs(&mapped.copy()), runs(&expected), "and mapped");
    assert_eq!(runs(&fs::read(stage.path("b.log"))?), [(20_000, 0)]);
    drop((file, open, mapped));
    stage.disk().power_loss(Keep::Nothing)?;
    assert_eq!(runs(&fs::read(stage.path("a.db"))?), runs(&expected), "damage stays");
    let none = stage.disk().inject(&DiskFault::BitFlip { files: pattern("no such file"), bits: 1 });
    assert!(matches!(none, Err(DiskError::NothingToDamage { .. })), "{none:?}");
    Ok(())
}

fn names_that_are_no_text() -> Outcome {
    let stage = Stage::new();
    let path = stage.path("").join(OsStr::from_bytes(b"caf\xe9.db"));
    let file = File::create(&path)?;
    file.write_all_at(&[0; 8192], 0)?;
    file.sync_all()?;
    assert_eq!(runs(&fs::read(&path)?), [(8192, 0)]);
    let DiskEvidence::Flipped { bits } =
        stage.disk().inject(&DiskFault::BitFlip { files: pattern("*.db"), bits: 1 })?
    else {
        panic!("another evidence")
    };
    assert_eq!(fs::read(&path)?[usize::try_from(bits[0].offset)?], 1 << bits[0].bit);
    Ok(())
}

fn truncate() -> Outcome {
    let stage = Stage::new();
    fs::create_dir(stage.path("d"))?;
    for name in ["d/log", "short"] {
        let file = File::create(stage.path(name))?;
        file.write_all_at(&vec![1; if name == "short" { 10 } else { 9000 }], 0)?;
        file.sync_all()?;
    }
    fs::read(stage.path("d/log"))?;
    let fault = DiskFault::Truncate { files: FilePattern::all(), bytes: 1000 };
    let DiskEvidence::Cut { files } = stage.disk().inject(&fault)? else { panic!("another evidence") };
    let cut: Vec<(&str, u64, u64)> =
        files.iter().map(|file| (file.file.as_str(), file.from, file.to)).collect();
    assert_eq!(cut, [("d/log", 9000, 8000), ("short", 10, 0)]);
    assert_eq!(runs(&fs::read(stage.path("d/log"))?), [(8000, 1)]);
    stage.disk().power_loss(Keep::Nothing)?;
    assert_eq!(fs::metadata(stage.path("d/log"))?.len(), 8000);
    Ok(())
}

fn in_force() -> Outcome {
    let stage = Stage::new();
    assert!(matches!(stage.disk().heal(Lasting::LyingFsync), Err(DiskError::NotInForce { .. })));
    stage.disk().inject(&DiskFault::LyingFsync)?;
    let again = stage.disk().inject(&DiskFault::LyingFsync);
    assert!(matches!(again, Err(DiskError::AlreadyInForce { .. })), "{again:?}");
    assert_eq!(touched(&stage.disk().touched(Lasting::LyingFsync)?), (0, 1));
    // Another one is in force at the same time; healing one does not demand that the other is gone.
    stage.disk().inject(&DiskFault::SlowFsync { delay: Duration::ZERO })?;
    assert_eq!(stage.disk().in_force(), [Lasting::LyingFsync, Lasting::SlowFsync]);
    stage.disk().heal(Lasting::SlowFsync)?;
    assert!(!stage.disk().probe(0)?.is_healthy());
    stage.disk().heal(Lasting::LyingFsync)?;
    assert!(stage.disk().probe(0)?.is_healthy());
    assert_eq!(fs::read_dir(stage.path(""))?.count(), 0, "the probe leaves nothing");
    assert_eq!(stage.disk().power_loss(Keep::Nothing)?.metadata_operations, 0, "nor anything in the journal");
    Ok(())
}
