//! A place: where a client lives. It opens connections from there, and starts client programs there.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use duress_arena::Host;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::outcome::{CauseKind, RequestError};

/// The location of a client: a host of the arena, or this program's own network.
#[async_trait]
pub trait Place: Send + Sync {
    /// Opens a connection to `to` within `deadline`.
    ///
    /// # Errors
    /// The system's own error, its kind preserved: [`io::ErrorKind::ConnectionRefused`] where no process listens,
    /// [`io::ErrorKind::TimedOut`] past the deadline. After any error not one byte has been sent.
    async fn connect(&self, to: SocketAddr, deadline: Duration) -> io::Result<TcpStream>;

    /// Starts a client program in this place, with pipes on its standard input, output and error. The program is killed
    /// when the returned child is dropped. Call it inside a tokio runtime.
    ///
    /// # Errors
    /// The system's own error, as when the program is missing; [`io::ErrorKind::Unsupported`] where programs cannot be
    /// started.
    fn spawn(&self, _: &ClientProgram) -> io::Result<Child> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// A client program: what to start, and with what.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientProgram {
    /// The program; without a slash it is searched for in `PATH`.
    pub program: PathBuf,
    /// Its arguments, without the program's name.
    pub args: Vec<OsString>,
    /// Variables added to the environment.
    pub env: Vec<(OsString, OsString)>,
    /// The working directory; this program's own if absent.
    pub cwd: Option<PathBuf>,
}

/// Whether a client program may outlive duress.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outlives {
    /// It may: duress's namespaces end with duress, and the kernel then kills everything in them.
    ThisProgram,
    /// It may not: the kernel kills it with the thread that started it.
    Nothing,
}

impl ClientProgram {
    fn start(&self, outlives: Outlives) -> io::Result<Child> {
        let mut command = Command::new(&self.program);
        if outlives == Outlives::Nothing {
            duress_arena::die_with_parent(command.as_std_mut());
        }
        if let Some(cwd) = &self.cwd {
            command.current_dir(cwd);
        }
        command
            .args(&self.args)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            // A group of its own, so that it can be killed with all that it started, and no key reaches it.
            .process_group(0)
            .spawn()
    }
}

/// A client program, or a command, that runs. Dropping it kills it with everything that it started: a shell's children
/// outlive the shell.
pub(crate) struct Group(pub(crate) Child);

impl Drop for Group {
    fn drop(&mut self) {
        // A program that was waited for has no number any more, since another process may have it.
        if let Some(group) = self.0.id() {
            duress_arena::kill_group(group);
        }
    }
}

#[async_trait]
impl Place for Host {
    async fn connect(&self, to: SocketAddr, deadline: Duration) -> io::Result<TcpStream> {
        Self::connect(self, to, deadline).await
    }

    fn spawn(&self, program: &ClientProgram) -> io::Result<Child> {
        // A child belongs to the network namespace of the thread that forks it.
        self.enter(|| program.start(Outlives::ThisProgram))?
    }
}

/// The network this program itself is in: for systems that run on loopback, without an arena.
#[derive(Clone, Copy, Debug, Default)]
pub struct OwnNetwork;

#[async_trait]
impl Place for OwnNetwork {
    async fn connect(&self, to: SocketAddr, deadline: Duration) -> io::Result<TcpStream> {
        let stream = tokio::time::timeout(deadline, TcpStream::connect(to))
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no connection in time"))??;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    fn spawn(&self, program: &ClientProgram) -> io::Result<Child> {
        program.start(Outlives::Nothing)
    }
}

/// Opens a connection for a request that must be over by `deadline`.
///
/// Every error is definite: a request that has no connection yet has not sent a byte. That holds for a time-out too,
/// since the socket is closed before anything is written to it.
pub(crate) async fn open(
    from: &dyn Place,
    to: SocketAddr,
    deadline: Instant,
) -> Result<TcpStream, RequestError> {
    let left = deadline.saturating_duration_since(Instant::now());
    from.connect(to, left).await.map_err(|cause| {
        let kind = match cause.kind() {
            io::ErrorKind::ConnectionRefused => CauseKind::Refused,
            io::ErrorKind::TimedOut => CauseKind::ConnectTimeout,
            _ => CauseKind::Unreachable,
        };
        RequestError::definite(kind, format!("connecting to {to}: {cause}"))
    })
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

    use super::*;

    #[tokio::test]
    async fn a_client_program_answers_over_its_pipes() {
        let cat = ClientProgram { program: "cat".into(), ..ClientProgram::default() };
        let mut child = OwnNetwork.spawn(&cat).unwrap();
        let (mut input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        input.write_all(b"a line\n").await.unwrap();
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).await.unwrap();
        assert_eq!(line, "a line\n");
    }

    #[tokio::test]
    async fn a_missing_program_is_an_error_of_its_kind() {
        let missing = ClientProgram { program: "/nowhere/client".into(), ..ClientProgram::default() };
        assert_eq!(OwnNetwork.spawn(&missing).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
