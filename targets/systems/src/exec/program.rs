//! A running client program: its lines, and its end.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::time::{Instant, timeout_at};

use super::answer::quoted;
use crate::outcome::{CauseKind, RequestError};
use crate::place::{ClientProgram, Group, Place};

/// A line longer than this, in bytes, is taken for garbage.
pub(super) const LINE_BYTES_MAX: usize = 16 << 20;
/// This much of what the programs of one process slot write to their standard error is kept.
const ERROR_BYTES_KEPT: u64 = 1 << 20;

/// This much of the end of what a program writes to its standard error is at hand.
const LAST_BYTES: usize = 1 << 10;
/// The removal of a program's folder is tried this often.
const REMOVALS_MAX: usize = 100;
/// The number of programs that were started: the name of the next one's folder.
static STARTED: AtomicU64 = AtomicU64::new(0);

/// A program to start, and the nodes that each of its clients is told.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    /// The program.
    pub(crate) program: ClientProgram,
    /// Every node with its address, as the program is told.
    pub(crate) nodes: Vec<(String, String)>,
}

/// A client program that runs. Dropping it kills it, and everything that it started.
pub(super) struct Program {
    /// Dropping it kills the program.
    group: Group,
    pub(super) input: ChildStdin,
    pub(super) output: ChildStdout,
    /// What was read, and is not a whole line yet.
    pub(super) read: BytesMut,
    pub(super) errors: Errors,
    /// The folder of its temporary files, if it has one of its own: removed after the program, whose field is before.
    _scratch: Option<Scratch>,
    started: Instant,
    /// Whether it has said hello.
    pub(super) greeted: bool,
    /// The number of the latest request.
    pub(super) id: u64,
}

/// Why there is no line.
pub(super) enum NoLine {
    /// No answer, or the end of the program.
    Silent(RequestError),
    /// Output that is not a line of the protocol.
    Garbage(Vec<u8>),
}

impl Program {
    /// Starts `program`, with a folder of its own for temporary files in `scratch`.
    pub(super) fn start(
        program: &ClientProgram,
        place: &dyn Place,
        scratch: Option<&Path>,
    ) -> Result<Self, RequestError> {
        let failed = |cause: io::Error| {
            let text = format!("cannot start the client program {}: {cause}", program.program.display());
            RequestError::definite(CauseKind::Rejected, text)
        };
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        // Before the program: if that cannot be started, the folder goes.
        let scratch = scratch.map(|folder| Scratch(folder.join(number.to_string())));
        let mut program = program.clone();
        if let Some(Scratch(folder)) = &scratch {
            fs::create_dir_all(folder).map_err(failed)?;
            program.env.insert(0, ("TMPDIR".into(), folder.into()));
        }
        let mut child = place.spawn(&program).map_err(failed)?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(input), Some(output), Some(pipe)) = pipes else {
            return Err(failed(io::ErrorKind::BrokenPipe.into()));
        };
        let errors = Errors { pipe: Some(pipe), file: None, last: Vec::new() };
        Ok(Self {
            group: Group(child),
            input,
            output,
            read: BytesMut::new(),
            errors,
            _scratch: scratch,
            started: Instant::now(),
            greeted: false,
            id: 0,
        })
    }

    /// Returns the number of its process group, while it was not waited for.
    pub(super) fn group(&self) -> Option<u32> {
        self.group.0.id()
    }

    /// Returns the time at which it was started.
    pub(super) fn started(&self) -> Instant {
        self.started
    }

    /// Appends its standard error to `file` from now on.
    pub(super) fn log_to(&mut self, file: Option<PathBuf>) {
        self.errors.file = file;
    }

    /// Returns what it has written without having been asked.
    pub(super) fn unasked(&mut self) -> Option<Vec<u8>> {
        let mut bytes = [0; 4096];
        let mut buffer = ReadBuf::new(&mut bytes);
        let mut cx = Context::from_waker(Waker::noop());
        if let Poll::Ready(Ok(())) = Pin::new(&mut self.output).poll_read(&mut cx, &mut buffer) {
            self.read.extend_from_slice(buffer.filled());
        }
        (!self.read.is_empty()).then(|| self.read.to_vec())
    }

    /// Sends `line`, which may be empty, and returns the line that comes back.
    ///
    /// # Errors
    /// [`NoLine`]: definite if not one byte was accepted by the program's pipe.
    pub(super) async fn exchange(&mut self, line: &[u8], deadline: Instant) -> Result<BytesMut, NoLine> {
        let Self { input, output, read, errors, greeted, .. } = self;
        let sent = AtomicUsize::new(0);
        let send = async {
            while sent.load(Ordering::Relaxed) < line.len() {
                let more = input.write(&line[sent.load(Ordering::Relaxed)..]).await?;
                sent.fetch_add(more, Ordering::Relaxed);
            }
            Ok::<(), io::Error>(())
        };
        let receive = async {
            let mut seen = 0;
            loop {
                if let Some(at) = read[seen..].iter().position(|byte| *byte == b'\n') {
                    return Ok(Some(seen + at));
                }
                seen = read.len();
                if seen > LINE_BYTES_MAX {
                    return Ok(None);
                }
                if output.read_buf(read).await? == 0 {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
                }
            }
        };
        let both = async { tokio::try_join!(send, receive).map(|((), at)| at) };
        let exchange = async {
            tokio::select! {
                ended = both => ended,
                () = errors.keep() => unreachable!("it keeps on until it is dropped"),
            }
        };
        let (kind, text) = match timeout_at(deadline, exchange).await {
            Ok(Ok(Some(at))) => {
                let line = read.split_to(at);
                read.advance(1);
                // One line was asked for: what follows answers nothing, and the line cannot be trusted.
                if !read.is_empty() {
                    let both = [&line[..], b"\n", &read[..]].concat();
                    return Err(NoLine::Garbage(both));
                }
                return Ok(line);
            }
            Ok(Ok(None)) => return Err(NoLine::Garbage(read.to_vec())),
            Ok(Err(cause)) if cause.kind() == io::ErrorKind::UnexpectedEof && !read.is_empty() => {
                return Err(NoLine::Garbage(read.to_vec()));
            }
            Ok(Err(_)) if !*greeted => {
                errors.keep_what_is_there();
                let said = errors.last_line();
                let text = format!("the client program ended before its hello; it wrote: {said}");
                return Err(NoLine::Silent(RequestError::definite(CauseKind::ConnectionLost, text)));
            }
            Ok(Err(_)) => (CauseKind::ConnectionLost, "the client program ended, or closed its pipes"),
            Err(_) if !*greeted => {
                let said = errors.last_line();
                let text = format!("the client program has not said hello yet; it wrote: {said}");
                return Err(NoLine::Silent(RequestError::definite(CauseKind::Timeout, text)));
            }
            Err(_) => (CauseKind::Timeout, "the client program gave no answer in time"),
        };
        Err(NoLine::Silent(match sent.into_inner() {
            0 => RequestError::definite(kind, text),
            _ => RequestError::open(kind, text),
        }))
    }

    /// Tells it that its client has ended; returns whether it was told.
    fn close(&mut self) -> bool {
        let line = b"{\"type\":\"close\"}\n";
        let mut cx = Context::from_waker(Waker::noop());
        matches!(Pin::new(&mut self.input).poll_write(&mut cx, line), Poll::Ready(Ok(sent)) if sent == line.len())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.errors.keep_what_is_there();
    }
}

/// The folder of a program's temporary files. Dropping it removes it, and the folder around it with the last of them.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let Self(folder) = self;
        // The program may still make a file while it is being killed.
        let gone =
            |()| !fs::remove_dir_all(&*folder).is_err_and(|error| error.kind() != io::ErrorKind::NotFound);
        let _: bool = std::iter::repeat_n((), REMOVALS_MAX).any(gone);
        // Refused as long as another program has a folder there.
        let _: io::Result<()> = folder.parent().map_or(Ok(()), fs::remove_dir);
    }
}

/// The standard error of a program.
pub(super) struct Errors {
    pipe: Option<ChildStderr>,
    file: Option<PathBuf>,
    /// The end of what was read.
    last: Vec<u8>,
}

impl Errors {
    /// Reads what is written, and keeps it. Does not end by itself.
    pub(super) async fn keep(&mut self) {
        let mut bytes = vec![0; 4096];
        loop {
            let read = match &mut self.pipe {
                Some(pipe) => pipe.read(&mut bytes).await.unwrap_or(0),
                None => std::future::pending().await,
            };
            match read {
                0 => self.pipe = None,
                _ => self.append(&bytes[..read]),
            }
        }
    }

    /// Keeps what was written and not read yet, as far as the pipe holds it.
    fn keep_what_is_there(&mut self) {
        let mut bytes = vec![0; 65_536];
        let mut buffer = ReadBuf::new(&mut bytes);
        let mut cx = Context::from_waker(Waker::noop());
        if let Some(pipe) = &mut self.pipe
            && let Poll::Ready(Ok(())) = Pin::new(pipe).poll_read(&mut cx, &mut buffer)
        {
            let read = buffer.filled().to_vec();
            self.append(&read);
        }
    }

    /// Returns the last line that was read.
    fn last_line(&self) -> String {
        let line = self.last.trim_ascii_end().rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
        if line.is_empty() { "nothing".to_owned() } else { quoted(line) }
    }

    fn append(&mut self, bytes: &[u8]) {
        self.last.extend_from_slice(bytes);
        self.last.drain(..self.last.len().saturating_sub(LAST_BYTES));
        append_to(self.file.as_deref(), bytes);
    }
}

/// Appends to the file of a program's standard error, as long as that is not too large.
pub(super) fn append_to(file: Option<&Path>, bytes: &[u8]) {
    let Some(path) = file.filter(|_| !bytes.is_empty()) else { return };
    let append = || {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = OpenOptions::new().append(true).create(true).open(path)?;
        let left = ERROR_BYTES_KEPT.saturating_sub(file.metadata()?.len());
        let kept = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        file.write_all(&bytes[..kept])
    };
    // It helps a reader, and decides nothing: a full disk must not end the operation.
    let _: io::Result<()> = append();
}

/// Whether both are the same place.
pub(super) fn same(one: &Arc<dyn Place>, other: &Arc<dyn Place>) -> bool {
    std::ptr::addr_eq(Arc::as_ptr(one), Arc::as_ptr(other))
}

/// A program without a client.
struct Idle {
    place: Arc<dyn Place>,
    program: Program,
}

/// Programs whose clients have ended, for other clients of the same host: an interpreter takes long to start.
#[derive(Clone, Default)]
pub(crate) struct Pool {
    idle: Arc<Mutex<Vec<Idle>>>,
}

impl Pool {
    /// Returns an idle program of `place`.
    pub(super) fn take(&self, place: &Arc<dyn Place>) -> Option<Program> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let at = idle.iter().position(|idle| same(&idle.place, place))?;
        // The one that has waited longest, so that all are used in turn.
        Some(idle.remove(at).program)
    }

    /// Whether there is an idle program of `place`.
    pub(super) fn has(&self, place: &Arc<dyn Place>) -> bool {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.iter().any(|idle| same(&idle.place, place))
    }

    /// Takes a program whose client at `place` has ended.
    pub(super) fn give(&self, place: &Arc<dyn Place>, mut program: Program) {
        if !program.greeted || program.close() {
            self.idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(Idle { place: Arc::clone(place), program });
        }
    }
}
