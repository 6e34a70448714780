//! Programs for the tests to run: this one again, with a scene to play as its argument.

use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus};
use std::thread;

use duress_arena::{PortKind, ProcessSpec, Role, capabilities, isolate};
use tempfile::TempDir;

use crate::fixture::{DAEMON, arena, host, only_sleepers, shell, wait_until};
use crate::two_hosts;

/// How many threads [`Scene::Threads`] starts beside its first.
pub const THREADS: usize = 4;
/// The exit code of [`Scene::Leave`].
pub const LEAVING: u8 = 7;
const PREFIX: &str = "--scene=";

/// The scenes that the program may play instead of running tests.
#[derive(Clone, Copy)]
pub enum Scene {
    /// Isolates itself, starts nodes that daemonise themselves, says "ready", and stays.
    Stay,
    /// Isolates itself, and exits with [`LEAVING`].
    Leave,
    /// Starts [`THREADS`] threads, each of which writes without end.
    Threads,
    /// Starts a child by `vfork`, which does not become another program until it is continued.
    Vfork,
    /// Prints what [`capabilities::probe`] finds, and then whether it can still be isolated.
    Probe,
    /// The program that the crate's front door shows.
    Example,
}

const SCENES: [(&str, Scene); 6] = [
    ("stay", Scene::Stay),
    ("leave", Scene::Leave),
    ("threads", Scene::Threads),
    ("vfork", Scene::Vfork),
    ("probe", Scene::Probe),
    ("example", Scene::Example),
];

/// Returns the scene that the command line asks for.
pub fn asked_for() -> Option<Scene> {
    let argument = std::env::args().nth(1)?;
    let name = argument.strip_prefix(PREFIX)?;
    SCENES.iter().find(|(known, _)| *known == name).map(|(_, scene)| *scene)
}

/// Exits as the runner did: 255 when a signal ended it.
pub fn pass_on(status: ExitStatus) -> ExitCode {
    if let Some(signal) = status.signal() {
        eprintln!("the runner was ended by signal {signal}");
    }
    ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(255))
}

/// Returns the command that plays `scene`.
pub fn command(scene: Scene) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("a program has a path"));
    command.arg(argument(scene));
    command
}

/// Returns the same as a process for a host, with its output in `folder`.
pub fn spec(scene: Scene, folder: &Path) -> ProcessSpec {
    let mut spec = shell("", folder);
    spec.program = std::env::current_exe().expect("a program has a path");
    spec.args = vec![argument(scene).into()];
    spec
}

fn argument(scene: Scene) -> String {
    let position = scene as usize;
    format!("{PREFIX}{}", SCENES[position].0)
}

impl Scene {
    /// Plays it.
    pub fn play(self) -> ExitCode {
        match self {
            Self::Threads => write_without_end(),
            Self::Vfork => wait_for_a_child(),
            Self::Probe => {
                let found = capabilities::probe().expect("a machine that can fork");
                println!("{found:?}");
                isolated(|| ExitCode::SUCCESS)
            }
            Self::Leave => isolated(|| ExitCode::from(LEAVING)),
            Self::Stay => isolated(stay),
            Self::Example => two_hosts::main().expect("everything that the example shows"),
        }
    }
}

fn isolated(run: impl FnOnce() -> ExitCode) -> ExitCode {
    match isolate().expect("the tests run inside namespaces, so that more can be had") {
        Role::Runner => run(),
        Role::Outer(status) => pass_on(status),
    }
}

fn stay() -> ExitCode {
    let (arena, folder) = (arena(2, PortKind::Packet), TempDir::new().expect("a temporary folder"));
    let nodes = [1, 2].map(|number| host(&arena, number).spawn(&shell(DAEMON, folder.path())));
    assert!(nodes.iter().all(Result::is_ok), "{nodes:?}");
    wait_until("the daemons sleep", || [1, 2].iter().all(|&number| only_sleepers(&host(&arena, number), 2)));
    // No later process will remove it.
    drop(folder);
    println!("ready");
    loop {
        thread::park();
    }
}

/// The child sleeps for a while after each signal to continue; the parent waits in the kernel until it has ended.
#[allow(deprecated, reason = "the state of a parent in vfork is what is wanted")]
fn wait_for_a_child() -> ExitCode {
    // SAFETY: the child calls nothing but functions that are safe in a signal handler, and does not return.
    match unsafe { libc::vfork() } {
        0 => loop {
            // SAFETY: as above.
            unsafe { libc::usleep(1000) };
        },
        -1 => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}

fn write_without_end() -> ExitCode {
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while io::stdout().write_all(b".").and_then(|()| io::stdout().flush()).is_ok() {
                    thread::yield_now();
                }
            });
        }
    });
    ExitCode::SUCCESS
}
