//! Programs for the tests to run: this one again, with a scene to play as its argument.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use redb::{Database, ReadableTable, TableDefinition};

/// The table in which [`Scene::Redb`] counts: every number it has committed.
pub const COUNTED: TableDefinition<u64, u64> = TableDefinition::new("counted");
const PREFIX: &str = "--scene=";

/// The scenes that the program may play instead of running tests. The path of the second argument is the file
/// or folder to work on.
#[derive(Clone, Copy)]
pub enum Scene {
    /// Commits numbers to a redb database without end, and prints each when it is committed.
    Redb,
    /// Changes a file through a shared mapping: the first page is synced, the second is not. Then prints a
    /// line, and stays.
    Mapping,
}

const SCENES: [(&str, Scene); 2] = [("redb", Scene::Redb), ("mapping", Scene::Mapping)];

/// A scene, and the file or folder that it works on.
pub struct Play {
    scene: Scene,
    path: PathBuf,
}

/// Returns the scene that the command line asks for.
pub fn asked_for() -> Option<Play> {
    let mut arguments = std::env::args().skip(1);
    let argument = arguments.next()?;
    let name = argument.strip_prefix(PREFIX)?;
    let (_, scene) = SCENES.iter().find(|(known, _)| *known == name)?;
    Some(Play { scene: *scene, path: arguments.next().expect("a scene has a path").into() })
}

/// Exits as the runner did: 255 when a signal ended it.
pub fn pass_on(status: ExitStatus) -> ExitCode {
    if let Some(signal) = status.signal() {
        eprintln!("the runner was ended by signal {signal}");
    }
    ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(255))
}

/// Returns the command that plays `scene` on `path`.
pub fn command(scene: Scene, path: &std::path::Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("a program has a path"));
    command.arg(format!("{PREFIX}{}", SCENES[scene as usize].0)).arg(path);
    command
}

/// A child that is killed and reaped at the latest when this is dropped.
pub struct Mortal(pub Child);

impl Mortal {
    /// Starts `command` with its standard output to be read.
    pub fn start(command: &mut Command) -> Self {
        Self(
            command
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn()
                .expect("a program that can be started"),
        )
    }

    /// SIGSTOP, not waited for: what waits for the disk stops when the disk has answered.
    pub fn stop(&self) {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).expect("a process id"));
        kill(pid, Signal::SIGSTOP).expect("our own child");
    }

    /// SIGKILL, and reaped.
    pub fn kill(&mut self) {
        self.0.kill().expect("our own child");
        self.0.wait().expect("our own child");
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        let _gone_already = self.0.kill();
        let _reaped_already = self.0.wait();
    }
}

/// The lines a child prints, read by a thread of their own so that waiting for one can end. It ends with the
/// child.
pub struct Lines(Receiver<String>);

impl Lines {
    /// Returns the lines of `output`.
    pub fn of(output: impl Read + Send + 'static) -> Self {
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self(receiver)
    }

    /// Returns the next line; `None` when there are no more, or it does not come in time.
    pub fn next(&mut self, patience: Duration) -> Option<String> {
        self.0.recv_timeout(patience).ok()
    }
}

impl Play {
    /// Plays it.
    pub fn play(self) -> ExitCode {
        match self.scene {
            Scene::Redb => self.count(),
            Scene::Mapping => self.map(),
        }
    }

    fn count(&self) -> ExitCode {
        let database = Database::create(&self.path).expect("a database that opens");
        let mut next = {
            let transaction = database.begin_write().expect("one writer");
            let last = {
                let table = transaction.open_table(COUNTED).expect("the table");
                let last = table.last().expect("rows");
                last.map_or(0, |row| row.0.value())
            };
            transaction.commit().expect("a disk");
            last + 1
        };
        loop {
            let transaction = database.begin_write().expect("one writer");
            transaction.open_table(COUNTED).expect("the table").insert(next, next).expect("space");
            transaction.commit().expect("a disk");
            let mut out = io::stdout().lock();
            if writeln!(out, "{next}").and_then(|()| out.flush()).is_err() {
                return ExitCode::SUCCESS;
            }
            next += 1;
        }
    }

    fn map(&self) -> ExitCode {
        let file = std::fs::OpenOptions::new().read(true).write(true).open(&self.path).expect("the file");
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the mapping is new, at an address the kernel chooses, and lives until the process ends; the
        // file is as long, and no process cuts it meanwhile.
        let mapping =
            unsafe { libc::mmap(std::ptr::null_mut(), 8192, access, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        assert_ne!(mapping, libc::MAP_FAILED, "{}", io::Error::last_os_error());
        // SAFETY: both pages are mapped writable, and nothing else in this process refers to them.
        unsafe {
            mapping.cast::<u8>().write_bytes(b'a', 4096);
            assert_eq!(libc::msync(mapping, 4096, libc::MS_SYNC), 0, "{}", io::Error::last_os_error());
            mapping.cast::<u8>().add(4096).write_bytes(b'b', 4096);
        }
        println!("written");
        loop {
            std::thread::park();
        }
    }
}
