//! The surface that programs expect of a file system, compared with the machine's own.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use libtest_mimic::{Failed, Trial};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, FallocateFlags, Flock, FlockArg, RenameFlags, fallocate, renameat2};
use nix::sys::stat::{Mode, SFlag, mknod};
use nix::unistd::{Whence, lseek};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::fixture::{Stage, number, runs};

type Outcome = Result<(), Failed>;
type Test = (&'static str, fn() -> Outcome);

pub fn register(trials: &mut Vec<Trial>) {
    let tests: [Test; 15] = [
        ("random_operations_end_as_on_the_bare_folder", random_operations),
        ("appends_go_to_the_end", appends),
        ("open_flags", open_flags),
        ("an_unlinked_file_can_be_used_until_it_is_closed", unlinked),
        ("renames", renames),
        ("a_listing_that_goes_on_shows_no_replaced_file", replaced_while_listing),
        ("hard_links_share_content_and_count", hard_links),
        ("directories_list_what_is_in_them", listing),
        ("ranges_are_reserved_zeroed_and_given_back", ranges),
        ("holes_are_found", holes),
        ("locks_exclude", locks),
        ("modes_owners_and_times_are_kept", attributes),
        ("pipes_sockets_and_links", special),
        ("the_file_system_tells_its_size", size),
        ("several_threads_at_once", threads),
    ];
    for (name, test) in tests {
        trials.push(Trial::test(format!("posix::{name}"), test));
    }
}

/// Returns the error number of what should have failed.
fn refused<T>(result: io::Result<T>) -> Option<Errno> {
    result.err().and_then(|error| error.raw_os_error()).map(Errno::from_raw)
}

#[derive(Clone, Debug)]
enum Step {
    Write { offset: u64, length: usize, fill: u8 },
    Append { length: usize, fill: u8 },
    Read { offset: u64, length: usize },
    Resize(u64),
    Reserve { offset: u64, length: u64 },
    Punch { offset: u64, length: u64 },
    Reopen,
    Sync,
}

fn step() -> impl Strategy<Value = Step> {
    let offset = || 0..30_000_u64;
    prop_oneof![
        6 => (offset(), 0..9_000_usize, 1..=255_u8)
            .prop_map(|(offset, length, fill)| Step::Write { offset, length, fill }),
        2 => (0..5_000_usize, 1..=255_u8).prop_map(|(length, fill)| Step::Append { length, fill }),
        4 => (offset(), 0..9_000_usize).prop_map(|(offset, length)| Step::Read { offset, length }),
        2 => offset().prop_map(Step::Resize),
        1 => (offset(), 1..9_000_u64).prop_map(|(offset, length)| Step::Reserve { offset, length }),
        1 => (offset(), 1..9_000_u64).prop_map(|(offset, length)| Step::Punch { offset, length }),
        1 => Just(Step::Reopen),
        1 => Just(Step::Sync),
    ]
}

fn random_operations() -> Outcome {
    let stage = Stage::new();
    let config =
        Config { cases: number("DURESS_DISK_CASES", 60), failure_persistence: None, ..Config::default() };
    let result = TestRunner::new(config).run(&proptest::collection::vec(step(), 1..40), |steps| {
        let mut files = [stage.path("file"), stage.beside("file")].map(|path| (create(&path), path));
        for step in &steps {
            let [(on_disk, disk_path), (on_bare, bare_path)] = &mut files;
            let seen = take(on_disk, disk_path, step);
            prop_assert_eq!(&seen, &take(on_bare, bare_path, step), "{:?}", step);
            let facts =
                |file: &File| file.metadata().map(|facts| (facts.len(), facts.nlink(), facts.mode())).ok();
            prop_assert_eq!(facts(on_disk), facts(on_bare));
        }
        let [disk, bare] = files.map(|(_, path)| fs::read(path).ok());
        prop_assert!(disk == bare && disk.is_some(), "the contents differ");
        Ok(())
    });
    result.map_err(|error| Failed::from(error.to_string()))
}

fn create(path: &Path) -> File {
    let options = OpenOptions::new().read(true).write(true).create(true).truncate(true).to_owned();
    options.open(path).expect("a new file")
}

/// Takes one step; returns its result.
fn take(file: &mut File, path: &Path, step: &Step) -> Result<Vec<u8>, Option<i32>> {
    let punch = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    let signed = |number: u64| i64::try_from(number).expect("a small number");
    let result: io::Result<Vec<u8>> = (|| match *step {
        Step::Write { offset, length, fill } => {
            file.write_all_at(&vec![fill; length], offset).map(|()| Vec::new())
        }
        Step::Append { length, fill } => {
            OpenOptions::new().append(true).open(path)?.write_all(&vec![fill; length]).map(|()| Vec::new())
        }
        Step::Read { offset, length } => {
            let mut bytes = vec![0; length];
            let count = file.read_at(&mut bytes, offset)?;
            bytes.truncate(count);
            Ok(bytes)
        }
        Step::Resize(size) => file.set_len(size).map(|()| Vec::new()),
        Step::Reserve { offset, length } => {
            fallocate(&*file, FallocateFlags::empty(), signed(offset), signed(length))?;
            Ok(Vec::new())
        }
        Step::Punch { offset, length } => {
            fallocate(&*file, punch, signed(offset), signed(length))?;
            Ok(Vec::new())
        }
        Step::Reopen => {
            *file = OpenOptions::new().read(true).write(true).open(path)?;
            Ok(Vec::new())
        }
        Step::Sync => file.sync_data().map(|()| Vec::new()),
    })();
    result.map_err(|error| error.raw_os_error())
}

fn appends() -> Outcome {
    let stage = Stage::new();
    let path = stage.path("log");
    let open = || OpenOptions::new().append(true).create(true).open(&path);
    let (mut first, mut second) = (open()?, open()?);
    first.write_all(b"one ")?;
    second.write_all(b"two ")?;
    first.write_all(b"three")?;
    assert_eq!(fs::read(&path)?, b"one two three");
    Ok(())
}

fn open_flags() -> Outcome {
    let stage = Stage::new();
    let path = stage.path("file");
    assert_eq!(refused(File::open(&path)), Some(Errno::ENOENT));
    fs::write(&path, b"content")?;
    assert_eq!(refused(OpenOptions::new().write(true).create_new(true).open(&path)), Some(Errno::EEXIST));
    assert_eq!(refused(OpenOptions::new().write(true).open(stage.path(""))), Some(Errno::EISDIR));
    let truncated = OpenOptions::new().write(true).truncate(true).open(&path)?;
    assert_eq!(truncated.metadata()?.len(), 0);
    // The disk accepts O_DIRECT: databases use it where it works. It does not require alignment here.
    let direct = OpenOptions::new().read(true).write(true).custom_flags(libc::O_DIRECT).open(&path)?;
    let aligned = vec![3; 8192];
    direct.write_all_at(&aligned, 0)?;
    assert_eq!(runs(&fs::read(&path)?), [(8192, 3)]);
    // O_TMPFILE is not; programs that know it know that it may not be.
    let nameless = OpenOptions::new().write(true).custom_flags(libc::O_TMPFILE).open(stage.path(""));
    assert_eq!(refused(nameless), Some(Errno::EOPNOTSUPP));
    Ok(())
}

fn unlinked() -> Outcome {
    let stage = Stage::new();
    let path = stage.path("file");
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
    file.write_all(b"before")?;
    fs::remove_file(&path)?;
    assert_eq!(file.metadata()?.nlink(), 0);
    file.write_all(b" and after")?;
    // Once the removal is durable the file has no name anywhere, and still its content.
    File::open(stage.path(""))?.sync_all()?;
    file.sync_all()?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.seek(SeekFrom::Start(0))?;
    let mut content = String::new();
    file.read_to_string(&mut content)?;
    assert_eq!(content, "before and after");
    fs::write(&path, b"another")?;
    assert_eq!(fs::read(&path)?, b"another");
    Ok(())
}

fn renames() -> Outcome {
    let stage = Stage::new();
    let exchange =
        |a: &str, b: &str, flags| renameat2(AT_FDCWD, &stage.path(a), AT_FDCWD, &stage.path(b), flags);
    fs::write(stage.path("a"), b"a")?;
    fs::write(stage.path("b"), b"b")?;
    fs::create_dir(stage.path("d"))?;
    fs::write(stage.path("d/inner"), b"inner")?;
    assert_eq!(exchange("a", "b", RenameFlags::RENAME_NOREPLACE), Err(Errno::EEXIST));
    exchange("a", "d", RenameFlags::RENAME_EXCHANGE)?;
    assert_eq!(fs::read(stage.path("a/inner"))?, b"inner");
    assert_eq!(fs::read(stage.path("d"))?, b"a");
    exchange("d", "c", RenameFlags::RENAME_NOREPLACE)?;
    let open = File::open(stage.path("b"))?;
    fs::rename(stage.path("c"), stage.path("b"))?;
    assert_eq!(fs::read(stage.path("b"))?, b"a");
    // A replaced file lives on for the processes that have it open.
    let mut old = [0; 1];
    open.read_exact_at(&mut old, 0)?;
    assert_eq!(&old, b"b");
    assert_eq!(open.metadata()?.nlink(), 0);
    fs::create_dir(stage.path("empty"))?;
    assert_eq!(refused(fs::rename(stage.path("empty"), stage.path("a"))), Some(Errno::ENOTEMPTY));
    assert_eq!(refused(fs::rename(stage.path("b"), stage.path("a"))), Some(Errno::EISDIR));
    assert_eq!(refused(fs::rename(stage.path("a"), stage.path("b"))), Some(Errno::ENOTDIR));
    assert_eq!(refused(fs::rename(stage.path("a"), stage.path("a/below"))), Some(Errno::EINVAL));
    fs::rename(stage.path("a"), stage.path("empty"))?;
    assert_eq!(fs::read(stage.path("empty/inner"))?, b"inner");
    Ok(())
}

/// A log that compacts lists its folder, and meanwhile renames new files over old ones that it still has open.
fn replaced_while_listing() -> Outcome {
    let stage = Stage::new();
    let folder = stage.path("log");
    fs::create_dir(&folder)?;
    let mut open = Vec::new();
    // So many that the kernel asks for the names several times.
    for number in 0..400 {
        let path = folder.join(format!("{number:020}.log"));
        fs::write(&path, b"old")?;
        open.push(File::open(&path)?);
        fs::write(path.with_extension("swap"), b"new")?;
    }
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "swap") {
            let target = path.with_extension("log");
            fs::rename(&path, &target)?;
            File::open(&folder)?.sync_all()?;
        }
    }
    for (number, old) in open.iter().enumerate() {
        let path = folder.join(format!("{number:020}.log"));
        assert_eq!(fs::read(&path)?, b"new", "{}", path.display());
        assert_eq!(old.metadata()?.nlink(), 0);
    }
    Ok(())
}

fn hard_links() -> Outcome {
    let stage = Stage::new();
    fs::write(stage.path("a"), b"shared")?;
    fs::hard_link(stage.path("a"), stage.path("b"))?;
    let (a, b) = (fs::metadata(stage.path("a"))?, fs::metadata(stage.path("b"))?);
    assert_eq!((a.ino(), a.nlink()), (b.ino(), 2));
    OpenOptions::new().write(true).open(stage.path("b"))?.write_all_at(b"S", 0)?;
    assert_eq!(fs::read(stage.path("a"))?, b"Shared");
    fs::remove_file(stage.path("a"))?;
    assert_eq!(fs::metadata(stage.path("b"))?.nlink(), 1);
    assert_eq!(refused(fs::hard_link(stage.path("b"), stage.path("b"))), Some(Errno::EEXIST));
    Ok(())
}

fn listing() -> Outcome {
    let stage = Stage::new();
    // More than fit into one answer to the kernel.
    let names: BTreeSet<String> =
        (0..700).map(|number| format!("a file with a rather long name, number {number}")).collect();
    for name in &names {
        fs::write(stage.path(name), name)?;
    }
    let mut listed = BTreeSet::new();
    for entry in fs::read_dir(stage.path(""))? {
        let entry = entry?;
        // The number in the directory is the number of the file.
        assert_eq!(std::os::unix::fs::DirEntryExt::ino(&entry), entry.metadata()?.ino());
        listed.insert(entry.file_name().into_string().expect("UTF-8"));
    }
    assert_eq!(listed, names);
    assert_eq!(refused(fs::remove_dir(stage.path(""))), Some(Errno::EBUSY));
    fs::create_dir(stage.path("d"))?;
    fs::write(stage.path("d/x"), b"")?;
    assert_eq!(refused(fs::remove_dir(stage.path("d"))), Some(Errno::ENOTEMPTY));
    fs::remove_file(stage.path("d/x"))?;
    fs::remove_dir(stage.path("d"))?;
    assert_eq!(refused(fs::read_dir(stage.path("d"))), Some(Errno::ENOENT));
    Ok(())
}

fn ranges() -> Outcome {
    let stage = Stage::new();
    let file = create(&stage.path("file"));
    file.write_all_at(&[1; 12_288], 0)?;
    fallocate(&file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, 65_536)?;
    assert_eq!(file.metadata()?.len(), 12_288);
    fallocate(&file, FallocateFlags::empty(), 0, 20_000)?;
    assert_eq!(file.metadata()?.len(), 20_000);
    fallocate(&file, FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE, 4096, 4096)?;
    let mut expected = vec![1; 12_288];
    expected[4096..8192].fill(0);
    expected.resize(20_000, 0);
    assert_eq!(runs(&fs::read(stage.path("file"))?), runs(&expected));
    match fallocate(&file, FallocateFlags::FALLOC_FL_ZERO_RANGE, 100, 100) {
        Ok(()) => expected[100..200].fill(0),
        // Not every machine's file system can.
        Err(errno) => assert_eq!(errno, Errno::EOPNOTSUPP),
    }
    assert_eq!(runs(&fs::read(stage.path("file"))?), runs(&expected));
    let collapsed = fallocate(&file, FallocateFlags::FALLOC_FL_COLLAPSE_RANGE, 0, 4096);
    assert_eq!(collapsed, Err(Errno::EOPNOTSUPP));
    Ok(())
}

fn holes() -> Outcome {
    let stage = Stage::new();
    let [on_disk, on_bare] = [stage.path("file"), stage.beside("file")].map(|path| create(&path));
    for file in [&on_disk, &on_bare] {
        file.set_len(1 << 20)?;
        file.write_all_at(&[1; 4096], 512 << 10)?;
        file.sync_all()?;
    }
    for whence in [Whence::SeekData, Whence::SeekHole] {
        for offset in [0, 512 << 10, 600 << 10, 1 << 20] {
            let whence =
                || if matches!(whence, Whence::SeekData) { Whence::SeekData } else { Whence::SeekHole };
            assert_eq!(lseek(&on_disk, offset, whence()), lseek(&on_bare, offset, whence()), "{offset}");
        }
    }
    Ok(())
}

fn locks() -> Outcome {
    let stage = Stage::new();
    let path = stage.path("lock");
    let held = Flock::lock(create(&path), FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno)?;
    let again = Flock::lock(File::open(&path)?, FlockArg::LockExclusiveNonblock);
    assert_eq!(again.map(|_| ()).map_err(|(_, errno)| errno), Err(Errno::EWOULDBLOCK));
    drop(held);
    let third = Flock::lock(File::open(&path)?, FlockArg::LockExclusiveNonblock);
    assert!(third.is_ok(), "the lock is free again");
    // POSIX locks, as SQLite takes them, exclude other processes.
    let script = "exec 9<>\"$1\"; flock -n 9 || exit 7";
    let status = std::process::Command::new("sh").args(["-c", script, "sh"]).arg(&path).status();
    if let Ok(status) = status {
        assert_eq!(status.code(), Some(7), "another process does not get what this one holds");
    }
    Ok(())
}

fn attributes() -> Outcome {
    let stage = Stage::new();
    let path = stage.path("file");
    let options = OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).to_owned();
    let file = options.open(&path)?;
    let own = fs::metadata(stage.beside(""))?;
    let facts = fs::metadata(&path)?;
    assert_eq!((facts.mode() & 0o7777, facts.uid(), facts.gid()), (0o640, own.uid(), own.gid()));
    fs::set_permissions(&path, Permissions::from_mode(0o751))?;
    let time = SystemTime::UNIX_EPOCH + Duration::new(1_234_567, 890_123_000);
    file.set_modified(time)?;
    let facts = fs::metadata(&path)?;
    assert_eq!((facts.mode() & 0o7777, facts.modified()?), (0o751, time));
    fs::create_dir(stage.path("d"))?;
    fs::set_permissions(stage.path("d"), Permissions::from_mode(0o700))?;
    assert_eq!(fs::metadata(stage.path("d"))?.mode() & 0o7777, 0o700);
    Ok(())
}

fn special() -> Outcome {
    let stage = Stage::new();
    symlink("somewhere/else", stage.path("link"))?;
    assert_eq!(fs::read_link(stage.path("link"))?, Path::new("somewhere/else"));
    assert_eq!(refused(File::open(stage.path("link"))), Some(Errno::ENOENT));
    mknod(&stage.path("pipe"), SFlag::S_IFIFO, Mode::from_bits_truncate(0o600), 0)?;
    assert!(fs::symlink_metadata(stage.path("pipe"))?.file_type().is_fifo());
    let listener = std::os::unix::net::UnixListener::bind(stage.path("socket"))?;
    let _connected = std::os::unix::net::UnixStream::connect(stage.path("socket"))?;
    drop(listener);
    fs::remove_file(stage.path("socket"))?;
    fs::remove_file(stage.path("link"))?;
    stage.disk().power_loss(duress_arena::disk::Keep::Nothing)?;
    assert_eq!(fs::read_dir(stage.path(""))?.count(), 0);
    Ok(())
}

fn size() -> Outcome {
    let stage = Stage::new();
    let [disk, bare] = [stage.path(""), stage.beside("")].map(|path| nix::sys::statvfs::statvfs(&path));
    let (disk, bare) = (disk?, bare?);
    assert_eq!((disk.blocks(), disk.fragment_size()), (bare.blocks(), bare.fragment_size()));
    Ok(())
}

fn threads() -> Outcome {
    let stage = Stage::new();
    let work = |thread: usize| -> io::Result<()> {
        let folder = stage.path(&thread.to_string());
        fs::create_dir(&folder)?;
        for round in 0..100_usize {
            let (temporary, last) = (folder.join("temporary"), folder.join("last"));
            let mut file = create(&temporary);
            file.write_all(&vec![1; round * 50])?;
            file.sync_data()?;
            fs::rename(&temporary, &last)?;
            File::open(&folder)?.sync_all()?;
            if fs::read(&last)? != vec![1; round * 50] {
                return Err(io::Error::other("another content than was written"));
            }
            let shared = OpenOptions::new().append(true).create(true).open(stage.path("shared"))?;
            (&shared).write_all(b"x")?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|thread| scope.spawn(move || work(thread))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("a thread that does not panic"))
    })?;
    assert_eq!(fs::metadata(stage.path("shared"))?.len(), 400);
    let undone = stage.disk().power_loss(duress_arena::disk::Keep::Nothing)?;
    assert_eq!(undone.stale_handles, 0);
    Ok(())
}
