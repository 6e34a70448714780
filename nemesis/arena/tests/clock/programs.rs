//! The programs under test: compiled from the sources beside this file by the installed compilers.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use duress_arena::clock::{ClockPage, StartUp, Tracer};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

/// How to start each program, or why it cannot be had here.
pub struct Programs {
    pub folder: PathBuf,
    made: BTreeMap<&'static str, Result<Vec<String>, String>>,
}

impl Programs {
    /// Compiles into `folder`; with `Reuse::Yes` what another run has put there is taken as it is.
    pub fn make(folder: &Path, reuse: Reuse) -> Self {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clock/programs");
        let out = |name: &str| folder.join(name).display().to_string();
        let source = |name: &str| sources.join(name).display().to_string();
        let recipes: [(&'static str, Vec<&str>, &str, &str); 10] = [
            ("c", vec!["gcc", "-O1"], "reader.c", "c"),
            ("c-static", vec!["gcc", "-O1", "-static"], "reader.c", "c-static"),
            ("c-fixed", vec!["gcc", "-O1", "-static", "-no-pie", "-fno-pie"], "reader.c", "c-fixed"),
            ("rust", vec!["rustc", "--edition=2024"], "reader.rs", "rust"),
            (
                "rust-static",
                vec!["rustc", "--edition=2024", "-Ctarget-feature=+crt-static"],
                "reader.rs",
                "rust-static",
            ),
            ("go", vec!["go", "build"], "reader.go", "go"),
            ("torn", vec!["gcc", "-O1", "-pthread"], "torn.c", "torn"),
            ("waits", vec!["gcc", "-O1", "-pthread"], "waits.c", "waits"),
            ("deadlines", vec!["gcc", "-O1", "-pthread"], "deadlines.c", "deadlines"),
            ("bypass", vec!["gcc", "-O1"], "bypass.c", "bypass"),
        ];
        let mut made = BTreeMap::new();
        for (name, compiler, from, to) in recipes {
            let mut compile = Command::new(compiler[0]);
            compile.args(&compiler[1..]).args(["-o", &out(to), &source(from)]);
            compile.env("GOTOOLCHAIN", "local").env("GOPROXY", "off");
            let result = if reuse == Reuse::Yes { found(&folder.join(to)) } else { run(&mut compile) };
            made.insert(name, result.map(|()| vec![out(to)]));
        }
        let runs = run(Command::new("java").arg("-version"));
        for (name, class) in [("java", "Reader"), ("parker", "Parker")] {
            let class_path = folder.display().to_string();
            let compiled = match reuse {
                Reuse::Yes => found(&folder.join(class).with_extension("class")),
                Reuse::No => {
                    run(Command::new("javac").args(["-d", &class_path, &source(&format!("{class}.java"))]))
                }
            };
            let line = ["java", "-cp", &class_path, class].map(str::to_owned).to_vec();
            made.insert(name, compiled.and_then(|()| runs.clone()).map(|()| line));
        }
        let python = match reuse {
            Reuse::Yes => found(&folder.join("reader.py")),
            Reuse::No => std::fs::copy(sources.join("reader.py"), folder.join("reader.py"))
                .map(|_| ())
                .map_err(|error| error.to_string()),
        };
        let python = python.and_then(|()| run(Command::new("python3").arg("--version")));
        made.insert("python", python.map(|()| vec!["python3".to_owned(), out("reader.py")]));
        Self { folder: folder.to_owned(), made }
    }

    /// Returns the command line that starts program `name`.
    pub fn command_line(&self, name: &str) -> Result<&[String], String> {
        match &self.made[name] {
            Ok(line) => Ok(line),
            Err(reason) => Err(reason.clone()),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    Yes,
    No,
}

fn found(path: &Path) -> Result<(), String> {
    let readable = path.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o4 != 0);
    if readable { Ok(()) } else { Err(format!("{} is not there", path.display())) }
}

fn run(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    match command.stdin(Stdio::null()).output() {
        Err(error) => Err(format!("{program} is not installed: {error}")),
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

/// A running program that answers lines.
pub struct Running {
    pub child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

/// One answer: what each clock showed, in nanoseconds, between two looks at the machine's clocks.
pub struct Answer {
    pub values: BTreeMap<String, i64>,
    pub line: String,
    pub wall: (i64, i64),
}

impl Running {
    /// Starts `line` under `page`.
    pub fn start(tracer: &Tracer, page: &ClockPage, line: &[String]) -> Self {
        Self::of(tracer.spawn(piped(line), page, StartUp::default()).expect("spawns"))
    }

    pub fn of(mut child: Child) -> Self {
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().expect("has a piped output"));
        Self { child, stdin, stdout }
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    /// Sends `line` and reads the answer.
    pub fn ask(&mut self, line: &str) -> Answer {
        let before = machine_ns(ClockId::CLOCK_REALTIME);
        self.write(&format!("{line}\n"));
        self.answered_since(before)
    }

    /// Reads one more answer.
    pub fn answer(&mut self) -> Answer {
        self.answered_since(machine_ns(ClockId::CLOCK_REALTIME))
    }

    fn answered_since(&mut self, before: i64) -> Answer {
        let line = self.read_line();
        let after = machine_ns(ClockId::CLOCK_REALTIME);
        let values = line
            .split_ascii_whitespace()
            .filter_map(|field| field.split_once('='))
            .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
            .collect();
        Answer { values, line, wall: (before, after) }
    }

    pub fn write(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().expect("input is open");
        stdin.write_all(text.as_bytes()).and_then(|()| stdin.flush()).expect("is written");
    }

    /// Returns the next line of its output, within half a minute.
    pub fn read_line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.has_output(Duration::from_secs(30)), "the program has been silent for 30 s");
        self.stdout.read_line(&mut line).expect("is read");
        assert!(!line.is_empty(), "the program has ended: {:?}", self.child.try_wait());
        line
    }

    /// Waits until it has printed something or has ended.
    pub fn has_output(&self, limit: Duration) -> bool {
        let mut readable = [PollFd::new(self.stdout.get_ref().as_fd(), PollFlags::POLLIN)];
        let limit = PollTimeout::try_from(limit).expect("a short limit");
        !self.stdout.buffer().is_empty() || poll(&mut readable, limit).expect("polls") == 1
    }

    /// Ends its input, and waits until it has ended.
    pub fn finish(mut self) -> std::process::ExitStatus {
        drop(self.stdin.take());
        self.child.wait().expect("is waited for")
    }

    pub fn close_input(&mut self) {
        drop(self.stdin.take());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Answer {
    pub fn value(&self, name: &str) -> i64 {
        *self.values.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", self.line))
    }

    /// Asserts that wall clock `name`, which counts in `grain_ns`, was `offset_ns` ahead of the machine's.
    pub fn assert_ahead(&self, name: &str, offset_ns: (i64, i64), grain_ns: i64) {
        let seen = self.value(name);
        let earliest = self.wall.0 + offset_ns.0 - grain_ns;
        let latest = self.wall.1 + offset_ns.1;
        assert!(
            (earliest..=latest).contains(&seen),
            "{name} is {} ns ahead, asked for {offset_ns:?}, read within {} ns",
            seen - self.wall.0,
            self.wall.1 - self.wall.0
        );
    }
}

pub fn piped(line: &[String]) -> Command {
    let mut command = Command::new(&line[0]);
    command.args(&line[1..]).stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

pub fn machine_ns(clock: ClockId) -> i64 {
    let now = clock_gettime(clock).expect("the machine's clock");
    now.tv_sec() * 1_000_000_000 + now.tv_nsec()
}

/// Waits until `condition` holds.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within 20 s");
        std::thread::yield_now();
    }
}
