//! The programs that tests run: this one again, with its role as the argument.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::{SigSet, Signal};
use nix::time::{ClockId, clock_gettime};

/// Tells a node where to write.
pub const WRITE: &str = "--write-to=";
/// The argument for writing and syncing a file in a folder, and printing the result.
const TRY: &str = "--try-to-write-to=";
/// The variable that a node which joins has in its environment.
pub const JOINED: &str = "JOINED";
/// Its line when it does.
pub const JOINS: &str = "joins";
/// How a node ends when its disk fails it.
pub const DISK_FAILED: u8 = 74;
/// How long it takes to end then.
pub const FAREWELL: Duration = Duration::from_millis(200);
/// The file whose records are each made durable before the next.
pub const FILE: &str = "written";
/// How much is written at a time.
pub const RECORD: [u8; 512] = [7; 512];
/// The file whose second content is never made durable.
pub const BLOCKS_FILE: &str = "blocks";
/// How many blocks it has.
pub const BLOCKS: usize = 64;
/// How large a block is.
pub const BLOCK: usize = 4096;
/// The content of its blocks once they are durable; next, the content that they are overwritten with.
pub const DURABLE: u8 = b'a';
pub const OVERWRITTEN: u8 = b'b';
/// A node's line when its blocks are ready: from then on it writes records.
pub const READY: &str = "ready, records found: ";
/// Its line for a record that was made durable.
pub const ACKNOWLEDGED: &str = "acknowledged: ";
/// Its line for its clocks: the wall clock's and the monotonic clock's nanoseconds.
pub const CLOCKS: &str = "clocks: ";
/// Its line when it is asked to end.
pub const ASKED_TO_END: &str = "asked to end";

/// Plays it, if that is what this process is for.
pub fn play() -> Option<ExitCode> {
    let argument = std::env::args().nth(1)?;
    if let Some(folder) = argument.strip_prefix(TRY) {
        println!("{}", Tried::at(Path::new(folder)).printed());
        return Some(ExitCode::SUCCESS);
    }
    let folder = argument.strip_prefix(WRITE)?;
    let asked = SigSet::from_iter([Signal::SIGTERM]);
    asked.thread_block().expect("a signal can be blocked");
    thread::spawn(move || {
        asked.wait().expect("a signal can be waited for");
        println!("{ASKED_TO_END}");
        std::process::exit(0);
    });
    // A failing disk ends it, as it ends a careful database.
    let Err(_failed) = write(Path::new(folder));
    thread::park_timeout(FAREWELL);
    Some(ExitCode::from(DISK_FAILED))
}

/// Appends records, each made durable, without end.
fn write(folder: &Path) -> io::Result<std::convert::Infallible> {
    let mut file = OpenOptions::new().append(true).create(true).open(folder.join(FILE))?;
    let mut records = file.metadata()?.len() / RECORD.len() as u64;
    let blocks = folder.join(BLOCKS_FILE);
    if !blocks.exists() {
        let made = File::create_new(&blocks)?;
        (&made).write_all(&[DURABLE; BLOCK * BLOCKS])?;
        made.sync_all()?;
        OpenOptions::new().write(true).open(&blocks)?.write_all(&[OVERWRITTEN; BLOCK * BLOCKS])?;
    }
    if std::env::var_os(JOINED).is_some() {
        println!("{JOINS}");
    }
    println!("{READY}{records}");
    loop {
        file.write_all(&RECORD)?;
        file.sync_data()?;
        records += 1;
        println!("{ACKNOWLEDGED}{records}");
        println!("{CLOCKS}{} {}", wall_ns(), monotonic_ns());
        // The pace of a server with little to do.
        thread::park_timeout(Duration::from_millis(2));
    }
}

/// Returns the wall clock as this process sees it, in nanoseconds since 1970.
pub fn wall_ns() -> i64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().expect("after 1970");
    i64::try_from(since.as_nanos()).expect("before 2262")
}

/// Returns the machine's monotonic clock, in nanoseconds.
pub fn monotonic_ns() -> i64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("a clock that every kernel has");
    now.tv_sec() * 1_000_000_000 + now.tv_nsec()
}

/// The result of writing a file of 64 KiB and syncing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tried {
    /// The error number of the write, or 0.
    pub write: i32,
    /// The error number of the fsync, or 0.
    pub sync: i32,
    /// How long the fsync took.
    pub took: Duration,
}

impl Tried {
    /// Has a process of its own try it in `folder`.
    pub fn by_child(folder: &Path) -> Self {
        let mut command = std::process::Command::new(std::env::current_exe().expect("a program has a path"));
        let output = command.arg(format!("{TRY}{}", folder.display())).output().expect("it can be started");
        let printed = String::from_utf8(output.stdout).expect("numbers");
        let numbers: Vec<u64> = printed.split_whitespace().map(|it| it.parse().expect("a number")).collect();
        let [write, sync, took_us] = numbers[..] else { panic!("three numbers: {printed}") };
        let errno = |number| i32::try_from(number).expect("an error number");
        Self { write: errno(write), sync: errno(sync), took: Duration::from_micros(took_us) }
    }

    fn at(folder: &Path) -> Self {
        let path = folder.join("tried");
        let errno =
            |result: io::Result<()>| result.err().map_or(0, |error| error.raw_os_error().unwrap_or(-1));
        let tried = match File::create(&path) {
            Err(error) => Self { write: errno(Err(error)), sync: 0, took: Duration::ZERO },
            Ok(mut file) => {
                let write = errno(file.write_all(&[9; 65_536]));
                let began = Instant::now();
                let sync = errno(file.sync_all());
                Self { write, sync, took: began.elapsed() }
            }
        };
        // On a disk that fails it may stay; the next one overwrites it.
        let _stays = fs::remove_file(&path);
        tried
    }

    fn printed(self) -> String {
        format!("{} {} {}", self.write, self.sync, self.took.as_micros())
    }
}
