//! A mounted disk: served by its own threads, broken and healed through its handle.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use fuser::{Config, INodeNo, Notifier, Session, SessionACL};
use nix::unistd::syncfs;

use super::activity::{Activity, Counts};
use super::apart::apart;
use super::deferred::Deferred;
use super::device;
use super::error::DiskError;
use super::fault::{DiskEvidence, DiskFault, IoKind, Keep, Lasting, ProbeSeen, Trigger, Undone};
use super::filesystem::{Served, lock};
use super::options::DiskOptions;
use super::probe;
use super::state::{Disk, PROBE};
use super::tree::{Body, Inode, LIMBO, Node, ROOT};

/// How many probes a fault that strikes by chance is tried with: at 5 % it is missed once in five million.
const PROBES_MAX: usize = 300;
/// How long a power loss waits for the files of processes that were just killed to be closed.
const CLOSING: Duration = Duration::from_secs(2);

/// A mounted disk. Dropping it unmounts; [`FaultDisk::close`] does too, and returns whether it succeeded.
///
/// All calls block, some for as long as the disk's own fsync takes, and none may be made by the threads that
/// serve it: they can be made from any other thread.
#[derive(Debug)]
pub struct FaultDisk {
    mount_point: PathBuf,
    backing: PathBuf,
    pub(super) disk: Arc<Mutex<Disk>>,
    released: Arc<Condvar>,
    notifier: Notifier,
    deferred: Deferred,
    counts: Arc<Counts>,
    /// Held by the thread that makes the kernel forget pages.
    forgetting: Mutex<()>,
    /// Present until it is unmounted.
    threads: Option<Threads>,
}

#[derive(Debug)]
struct Threads {
    session: JoinHandle<io::Result<()>>,
    fsync: JoinHandle<()>,
}

impl FaultDisk {
    /// Mounts a disk on `mount_point`, an existing folder. Its files live in `backing/files`, where they can
    /// be looked at but must not be changed; `backing/undo` is the disk's own, and holds removed files that
    /// could come back. Both are made when they are missing.
    ///
    /// Mounting needs CAP_SYS_ADMIN in the mount namespace: as root, or inside a user namespace of our own.
    ///
    /// # Errors
    /// [`DiskError::Mount`], with what to do about it, when the machine does not allow it;
    /// [`DiskError::Backing`]; [`DiskError::Serve`].
    pub fn mount(mount_point: &Path, backing: &Path, options: DiskOptions) -> Result<Self, DiskError> {
        // First, since it is what most often is not there.
        let device = device::open()?;
        let root = open_folder(&backing.join("files"))?;
        let undo = backing.join("undo");
        let limbo = open_folder(&undo)?;
        let disk = Disk::new(root, limbo, options).map_err(|errno| DiskError::Backing {
            action: "read",
            path: undo,
            source: errno.into(),
        })?;
        let disk = Arc::new(Mutex::new(disk));
        let released = Arc::new(Condvar::new());
        let failed =
            |source| DiskError::Serve { action: "start", mount_point: mount_point.to_owned(), source };
        device::attach(&device, mount_point)?;
        let counts = Arc::new(Counts::default());
        let served = |deferred| {
            let (disk, released, counts) = (Arc::clone(&disk), Arc::clone(&released), Arc::clone(&counts));
            Served { disk, released, deferred, counts }
        };
        match serve(device.into(), served, Arc::clone(&disk)) {
            Ok((notifier, deferred, threads)) => Ok(Self {
                mount_point: mount_point.to_owned(),
                backing: backing.to_owned(),
                disk,
                released,
                notifier,
                deferred,
                counts,
                forgetting: Mutex::new(()),
                threads: Some(threads),
            }),
            Err(source) => {
                device::detach(mount_point)?;
                Err(failed(source))
            }
        }
    }

    /// Returns its mount point.
    #[must_use]
    pub fn mount_point(&self) -> &Path {
        &self.mount_point
    }

    /// Returns the folder of its files in the backing folder.
    #[must_use]
    pub fn files(&self) -> PathBuf {
        self.backing.join("files")
    }

    /// How it behaves.
    #[must_use]
    pub fn options(&self) -> DiskOptions {
        lock(&self.disk).options
    }

    /// What it is asked for, to be looked at from anywhere.
    #[must_use]
    pub fn activity(&self) -> Activity {
        Activity::new(Arc::clone(&self.counts), self.deferred.clone())
    }

    /// How many times files of it are open.
    #[must_use]
    pub fn open_files(&self) -> usize {
        lock(&self.disk).tree.opens()
    }

    /// Injects `fault`. A lasting one is in force when this returns; the evidence is the result of the disk's
    /// own probe, or that of the fault itself when it is over at once.
    ///
    /// # Errors
    /// [`DiskError::AlreadyInForce`], [`DiskError::NothingToDamage`], [`DiskError::Inject`].
    pub fn inject(&self, fault: &DiskFault) -> Result<DiskEvidence, DiskError> {
        match fault {
            DiskFault::PowerLoss { keep } => self.power_loss(*keep).map(DiskEvidence::Undone),
            DiskFault::LyingFsync
            | DiskFault::SlowFsync { .. }
            | DiskFault::Errors { .. }
            | DiskFault::NoSpace { .. } => {
                self.begin(fault)?;
                self.show(fault)
            }
            DiskFault::BitFlip { files, bits } => {
                let flipped = lock(&self.disk).flip_bits(files, *bits);
                let (bits, touched) = flipped.map_err(|errno| self.failed("flip bits", errno.into()))?;
                if bits.is_empty() {
                    return Err(self.nothing_to_damage(&files.0));
                }
                self.forget_cached(&touched)?;
                Ok(DiskEvidence::Flipped { bits })
            }
            DiskFault::Truncate { files, bytes } => {
                let cut = lock(&self.disk).cut_files(files, *bytes);
                let (cut, touched) = cut.map_err(|errno| self.failed("cut files", errno.into()))?;
                if cut.is_empty() {
                    return Err(self.nothing_to_damage(&files.0));
                }
                self.forget_cached(&touched)?;
                Ok(DiskEvidence::Cut { files: cut })
            }
        }
    }

    /// Puts `fault` in force, if it is a lasting one, without looking for evidence, as [`FaultDisk::show`]
    /// does.
    ///
    /// # Errors
    /// [`DiskError::AlreadyInForce`]; [`DiskError::Inject`] when the kernel does not forget what it has cached.
    pub fn begin(&self, fault: &DiskFault) -> Result<(), DiskError> {
        let Some(lasting) = fault.lasting() else { return Ok(()) };
        {
            let active = &mut lock(&self.disk).active;
            if active.is_active(lasting) {
                return Err(DiskError::AlreadyInForce {
                    fault: lasting,
                    mount_point: self.mount_point.clone(),
                });
            }
            match fault {
                DiskFault::LyingFsync => active.lie(),
                DiskFault::SlowFsync { delay } => active.slow_down(*delay),
                DiskFault::Errors { on, trigger, files } => active.fail(*on, *trigger, files.clone()),
                DiskFault::NoSpace { free_bytes } => active.fill(*free_bytes),
                DiskFault::PowerLoss { .. } | DiskFault::BitFlip { .. } | DiskFault::Truncate { .. } => {}
            }
        }
        match fault {
            DiskFault::Errors { on: IoKind::Reads, files, .. } => {
                self.forget_cached(&self.matching_inodes(files))
            }
            _ => Ok(()),
        }
    }

    /// Probes the disk for `fault`, which lasts and is in force; the caller judges the result. For a fault
    /// that fails operations by chance, it probes until any operation has met it, up to [`PROBES_MAX`] times.
    ///
    /// # Errors
    /// [`DiskError::NotInForce`]; [`DiskError::Inject`] when a probe cannot be made.
    pub fn show(&self, fault: &DiskFault) -> Result<DiskEvidence, DiskError> {
        let Some(lasting) = fault.lasting() else {
            return Err(self.failed("show a fault that is over", io::ErrorKind::InvalidInput.into()));
        };
        let by_chance = match fault {
            DiskFault::Errors { trigger: Trigger::Probability(probability), files, .. } => {
                files.matches(PROBE) && *probability < 1.0
            }
            // A probe would use up the one operation that fails.
            DiskFault::Errors { trigger: Trigger::Nth(_), .. } => return self.touched(lasting),
            _ => false,
        };
        let more = match fault {
            DiskFault::NoSpace { free_bytes } => free_bytes.saturating_add(1),
            _ => 0,
        };
        for _ in 1..PROBES_MAX {
            let seen = self.probe(more)?;
            let touched = self.touched(lasting)?;
            let DiskEvidence::Touched { operations, delayed, probed, .. } = touched else {
                return Ok(touched);
            };
            if !by_chance || operations + probed > 0 {
                return Ok(DiskEvidence::Touched { operations, delayed, probed, probe: Some(seen) });
            }
        }
        self.touched(lasting)
    }

    /// Returns the operations that a fault in force has touched so far.
    ///
    /// # Errors
    /// [`DiskError::NotInForce`].
    pub fn touched(&self, fault: Lasting) -> Result<DiskEvidence, DiskError> {
        match lock(&self.disk).active.touched(fault) {
            Some(touched) => Ok(DiskEvidence::Touched {
                operations: touched.operations,
                delayed: touched.delayed,
                probed: touched.probed,
                probe: None,
            }),
            None => Err(DiskError::NotInForce { fault, mount_point: self.mount_point.clone() }),
        }
    }

    /// Heals `fault`. Returns the operations that it touched while it was in force, and the result of the
    /// disk's own probe afterwards, which the caller judges: other faults may still be in force
    /// ([`FaultDisk::in_force`]).
    ///
    /// Data that a lying fsync left unsynced stays so until the next fsync of the same file.
    ///
    /// # Errors
    /// [`DiskError::NotInForce`]; [`DiskError::Inject`] when the probe cannot be made.
    pub fn heal(&self, fault: Lasting) -> Result<DiskEvidence, DiskError> {
        let touched = lock(&self.disk).active.end(fault);
        let Some(touched) = touched else {
            return Err(DiskError::NotInForce { fault, mount_point: self.mount_point.clone() });
        };
        if fault == Lasting::SlowFsync {
            self.deferred.release();
        }
        Ok(DiskEvidence::Touched {
            operations: touched.operations,
            delayed: touched.delayed,
            probed: touched.probed,
            probe: Some(self.probe(0)?),
        })
    }

    /// Returns the faults in force.
    #[must_use]
    pub fn in_force(&self) -> Vec<Lasting> {
        lock(&self.disk).active.all()
    }

    /// Takes the power away: from now on nothing becomes durable and every operation fails with `EIO`, those
    /// that are waiting at once. Only [`FaultDisk::power_loss`] ends this.
    ///
    /// This is for a power loss in the middle of an fsync. A process that waits for the disk does not die,
    /// nor stop, before the disk has answered: killed alone, it would always find its fsync done. So: send
    /// the node's processes SIGSTOP and do not wait for its effect, take the power away, kill the processes,
    /// lose the power. They must have been sent SIGSTOP first, since processes on a machine without power see
    /// no errors, and report none.
    pub fn cut_power(&self) {
        lock(&self.disk).cut_power();
        self.deferred.release();
    }

    /// Loses the power: undoes everything that is not durable, except for the part that `keep` names.
    ///
    /// Every process that uses the disk must be dead: a machine without power runs none. Their files are
    /// closed a moment after they are reaped, and this call waits for that. Files that are open even then are
    /// counted in [`Undone::stale_handles`], and fail with `EIO` from then on. The disk itself is up again
    /// when this returns, lasting faults included, as if the machine had been started.
    ///
    /// # Errors
    /// [`DiskError::Inject`].
    pub fn power_loss(&self, keep: Keep) -> Result<Undone, DiskError> {
        // Pages that were changed in memory only are written first, so that a torn power loss may find them
        // on the disk, and none comes afterwards. The result does not matter: a page that is not written is
        // one that the power loss took.
        let mount_point = self.mount_point.clone();
        let synced = apart(move || {
            if let Ok(root) = File::open(mount_point) {
                let _lost = syncfs(&root);
            }
        });
        synced.map_err(|source| self.failed("write the pages in memory", source))?;
        let guard = lock(&self.disk);
        let waited = self.released.wait_timeout_while(guard, CLOSING, |disk| disk.tree.opens() > 0);
        let (mut disk, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let names: Vec<OsString> = disk.tree.children(ROOT).map(|(name, _)| name.to_owned()).collect();
        let undone = disk.lose_power(keep);
        drop(disk);
        self.deferred.release();
        let undone =
            undone.map_err(|errno| self.failed("undo the changes that are not durable", errno.into()))?;
        // The kernel must ask for every name again, and gets a new number for it: nothing in its cache is
        // found any more.
        for name in names {
            let forgotten = self.notifier.inval_entry(INodeNo(ROOT.0), &name);
            forgotten.map_err(|source| self.failed("make the kernel forget a name", source))?;
        }
        self.forget_cached(&BTreeSet::from([ROOT]))?;
        Ok(undone)
    }

    /// Unmounts and waits until the threads have ended. Processes that still use the disk are cut off. The
    /// files stay in the backing folder as they are, durable or not.
    ///
    /// # Errors
    /// [`DiskError::Mount`], [`DiskError::Serve`], [`DiskError::Backing`].
    pub fn close(mut self) -> Result<(), DiskError> {
        self.shut_down()
    }

    fn shut_down(&mut self) -> Result<(), DiskError> {
        let Some(threads) = self.threads.take() else { return Ok(()) };
        device::detach(&self.mount_point)?;
        self.deferred.stop();
        let ended = threads.session.join().unwrap_or_else(|_| Err(io::Error::other("a thread panicked")));
        let fsync = threads.fsync.join().map_err(|_| io::Error::other("a thread panicked"));
        ended.and(fsync).map_err(|source| DiskError::Serve {
            action: "end",
            mount_point: self.mount_point.clone(),
            source,
        })?;
        let undo = self.backing.join("undo");
        let emptied = lock(&self.disk).empty_limbo().map_err(io::Error::from);
        emptied.and_then(|()| std::fs::remove_dir(&undo)).map_err(|source| DiskError::Backing {
            action: "remove",
            path: undo,
            source,
        })
    }

    /// Runs the disk's own probe: writes a small file, reserves `more` bytes for it, syncs it, reads it back
    /// and removes it, through the mount, as the node would.
    ///
    /// # Errors
    /// [`DiskError::Inject`] when the probe cannot be made; the effect of faults is part of its result.
    pub fn probe(&self, more: u64) -> Result<ProbeSeen, DiskError> {
        let failed = |source| self.failed("probe", source);
        let written = probe::write(&self.mount_point, more).map_err(failed)?;
        let inode = lock(&self.disk).lookup(ROOT, PROBE.as_ref()).map_err(|errno| failed(errno.into()))?;
        let is_clean = |node: &Node| matches!(node.body, Body::Regular { log: None, .. });
        let durable = written.is_synced() && lock(&self.disk).tree.node(inode).is_ok_and(is_clean);
        let seen =
            self.with_stale(&BTreeSet::from([inode]), || written.read_back(&self.mount_point, durable));
        seen.map_err(failed)
    }

    /// Returns every file the kernel may have cached that matches.
    fn matching_inodes(&self, files: &super::fault::FilePattern) -> BTreeSet<Inode> {
        let disk = lock(&self.disk);
        let known = disk.tree.nodes().map(|(inode, _)| inode).filter(|inode| *inode > LIMBO);
        known.filter(|inode| disk.tree.path(*inode).is_some_and(|path| files.matches(&path))).collect()
    }

    /// Makes the kernel ask for the attributes of `inodes` again, and read those of them that are files again.
    ///
    /// To forget a page the kernel waits for a read of it that is in progress. Opening the file makes it
    /// forget, which can be done apart; a notification would block a thread that has the device open.
    fn forget_cached(&self, inodes: &BTreeSet<Inode>) -> Result<(), DiskError> {
        let failed = |source| self.failed("make the kernel drop its cache", source);
        for inode in inodes {
            // A negative offset means attributes alone, so the kernel does not wait.
            self.notifier.inval_inode(INodeNo(inode.0), -1, 0).map_err(failed)?;
        }
        let disk = lock(&self.disk);
        let files = inodes.iter().filter(|inode| {
            disk.tree.node(**inode).is_ok_and(|node| matches!(node.body, Body::Regular { .. }))
        });
        let paths =
            files.filter_map(|inode| disk.tree.visible_path(*inode)).map(|path| self.mount_point.join(path));
        let paths: Vec<PathBuf> = paths.collect();
        drop(disk);
        self.with_stale(inodes, || open_each(paths)).map_err(failed)
    }

    /// Does `work` while a process that opens one of `stale` makes the kernel forget its pages.
    fn with_stale<T>(&self, stale: &BTreeSet<Inode>, work: impl FnOnce() -> T) -> T {
        let _one_at_a_time = self.forgetting.lock().unwrap_or_else(PoisonError::into_inner);
        lock(&self.disk).stale.clone_from(stale);
        let done = work();
        lock(&self.disk).stale.clear();
        done
    }

    fn failed(&self, action: &'static str, source: io::Error) -> DiskError {
        DiskError::Inject { action, mount_point: self.mount_point.clone(), source }
    }

    fn nothing_to_damage(&self, files: &str) -> DiskError {
        DiskError::NothingToDamage { files: files.to_owned(), mount_point: self.mount_point.clone() }
    }
}

impl Drop for FaultDisk {
    fn drop(&mut self) {
        // The safety net: a caller that wants to know calls `close`.
        let _unheard = self.shut_down();
    }
}

/// Opens each of these files of a mounted disk once; one that is gone by now needs no opening.
fn open_each(paths: Vec<PathBuf>) -> io::Result<()> {
    apart(move || {
        paths.iter().try_for_each(|path| match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            opened => opened.map(drop),
        })
    })?
}

fn open_folder(path: &Path) -> Result<OwnedFd, DiskError> {
    let failed = |action| move |source| DiskError::Backing { action, path: path.to_owned(), source };
    std::fs::create_dir_all(path).map_err(failed("create"))?;
    Ok(File::open(path).map_err(failed("open"))?.into())
}

fn serve(
    device: OwnedFd,
    served: impl FnOnce(Deferred) -> Served,
    disk: Arc<Mutex<Disk>>,
) -> io::Result<(Notifier, Deferred, Threads)> {
    let (deferred, fsync) = Deferred::start(disk)?;
    let session = Session::from_fd(served(deferred.clone()), device, SessionACL::All, Config::default());
    let running = session.and_then(|session| {
        let notifier = session.notifier();
        let thread = std::thread::Builder::new().name("disk".to_owned()).spawn(move || session.run())?;
        Ok((notifier, thread))
    });
    match running {
        Ok((notifier, session)) => Ok((notifier, deferred, Threads { session, fsync })),
        Err(source) => {
            deferred.stop();
            fsync.join().map_err(|_| io::Error::other("a thread panicked"))?;
            Err(source)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Instant;

    use nix::mount::{MsFlags, mount};
    use nix::sched::{CloneFlags, unshare};

    use super::*;

    /// A thread of this process.
    #[derive(Debug)]
    struct Thread {
        id: OsString,
        name: String,
        /// It waits for something that no signal ends.
        waits: bool,
        has_device: bool,
    }

    fn threads() -> Vec<Thread> {
        let thread = |id: OsString| {
            let task = Path::new("/proc/self/task").join(&id);
            let stat = std::fs::read_to_string(task.join("stat")).ok()?;
            let (before, after) = stat.rsplit_once(')')?;
            let mut open = std::fs::read_dir(task.join("fd")).ok()?.flatten();
            let has_device = open.any(|file| {
                std::fs::read_link(file.path()).is_ok_and(|place| place == Path::new("/dev/fuse"))
            });
            let name = before.split_once('(')?.1.to_owned();
            Some(Thread { id, name, waits: after.trim_start().starts_with('D'), has_device })
        };
        let ids = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().file_name());
        ids.filter_map(thread).collect()
    }

    fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
        let began = Instant::now();
        while !is_so() {
            assert!(began.elapsed() < Duration::from_secs(20), "{what}: {:?}", threads());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Returns a disk in a mount namespace of the calling thread, or why there cannot be one.
    fn private_disk(home: &Path) -> Result<FaultDisk, String> {
        unshare(CloneFlags::CLONE_NEWNS).map_err(|errno| format!("a mount namespace: {errno}"))?;
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
            .map_err(|errno| format!("private mounts: {errno}"))?;
        let mount_point = home.join("mount");
        std::fs::create_dir(&mount_point).unwrap();
        match FaultDisk::mount(&mount_point, &home.join("backing"), DiskOptions::new(7)) {
            Err(DiskError::Mount(error)) => Err(error.to_string()),
            disk => Ok(disk.unwrap()),
        }
    }

    #[test]
    fn who_waits_for_a_page_has_the_device_not_open() {
        let home = tempfile::tempdir().unwrap();
        let disk = match private_disk(home.path()) {
            Ok(disk) => disk,
            // This runner cannot say of a running test that it is ignored.
            Err(reason) => return assert!(!duress_testing::Need::Fuse.is_required(), "{reason}"),
        };
        let path = disk.mount_point().join("file");
        let written = path.clone();
        apart(move || std::fs::write(written, [1; 65_536])).unwrap().unwrap();
        let inode = lock(&disk.disk).lookup(ROOT, "file".as_ref()).unwrap();
        disk.forget_cached(&BTreeSet::from([inode])).unwrap();

        let (opened, is_open) = channel();
        let (go, begin) = channel::<()>();
        std::thread::scope(|scope| {
            let reader = scope.spawn(move || {
                apart(move || {
                    let file = File::open(path).unwrap();
                    opened.send(()).unwrap();
                    begin.recv().unwrap();
                    std::os::unix::fs::FileExt::read_exact_at(&file, &mut [0; 4096], 0)
                })
            });
            is_open.recv().unwrap();
            // While the lock is held, the disk answers no request.
            let held = lock(&disk.disk);
            go.send(()).unwrap();
            wait_until("a reader waits for its page", || {
                threads().iter().any(|thread| thread.name == "disk-user" && thread.waits)
            });
            let files = vec![disk.mount_point().join("file")];
            let forgetting = scope.spawn(move || open_each(files));
            wait_until("another thread waits as well", || {
                threads().iter().filter(|thread| thread.name == "disk-user").count() >= 2
            });
            // Other tests' threads may wait for a moment, but not all the time.
            let waiting = || -> BTreeSet<OsString> {
                let waiting = threads().into_iter().filter(|thread| thread.waits && thread.has_device);
                waiting.map(|thread| thread.id).collect()
            };
            let mut all_the_time = waiting();
            for _ in 0..20 {
                std::thread::sleep(Duration::from_millis(5));
                all_the_time = all_the_time.intersection(&waiting()).cloned().collect();
            }
            assert!(all_the_time.is_empty(), "{all_the_time:?} of {:?}", threads());
            drop(held);
            forgetting.join().unwrap().unwrap();
            reader.join().unwrap().unwrap().unwrap();
        });
        disk.close().unwrap();
    }
}
