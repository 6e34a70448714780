//! A host: a network namespace with one address, in which processes run and from which connections are made.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use nix::unistd::Pid;
use tokio::net::{TcpSocket, TcpStream};

use crate::arena::{ArenaError, HostSpec};
use crate::clock::{ClockPage, Tracer};
use crate::name::HostName;
use crate::port::{self, Port, Workshop};
use crate::process::{NodeProcess, ProcessSpec, SpawnError};
use crate::sys::interface::{Interface, Neighbours};
use crate::sys::procfs;

/// One host of the arena.
pub struct Host {
    name: HostName,
    address: Ipv4Addr,
    namespace: Arc<File>,
    /// Identifies the namespace among those of all processes.
    inode: u64,
    /// How many processes were started on it. Held while one is being started: a signal to stop would end the tracer's hold on
    /// it.
    starts: Mutex<u64>,
}

impl Host {
    /// Makes a host and the switch's end of its port.
    pub(super) fn build(
        spec: &HostSpec,
        workshop: &Workshop,
        tcp_rto_max: Option<Duration>,
    ) -> Result<(Self, Port), ArenaError> {
        let furnish = || -> Result<_, (&'static str, io::Error)> {
            let namespace = procfs::own_network_namespace().map_err(|error| ("open its namespace", error))?;
            apply_settings(tcp_rto_max).map_err(|error| ("apply network settings", error))?;
            Interface::named("lo")
                .and_then(|loopback| loopback.raise(Neighbours::Default))
                .map_err(|error| ("bring up the loopback interface", error))?;
            let port = workshop.attach(spec.address).map_err(|error| ("attach a port", error))?;
            Ok((namespace, port))
        };
        let ((namespace, inode), port) = port::in_new_namespace(|| Ok(furnish()))
            .map_err(|error| ("make a network namespace", error))
            .flatten()
            .map_err(|(action, source)| ArenaError::Host { host: spec.name.clone(), action, source })?;
        let host = Self {
            name: spec.name.clone(),
            address: spec.address,
            namespace: Arc::new(namespace),
            inode,
            starts: Mutex::new(0),
        };
        Ok((host, port))
    }

    /// Returns the host's name.
    #[must_use]
    pub fn name(&self) -> &HostName {
        &self.name
    }

    /// Returns the host's address on the arena's network.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Runs `f` with the calling thread inside the host's network namespace: every socket that `f` makes on this
    /// thread belongs to the host, for as long as it lives. Nesting is allowed; `f` should not start threads.
    ///
    /// # Errors
    /// When the namespace cannot be entered; `f` has not run then.
    ///
    /// # Aborts
    /// The process aborts when the thread cannot go back: a thread in the wrong world would lie.
    pub fn enter<T>(&self, f: impl FnOnce() -> T) -> io::Result<T> {
        let way_back = WayBack(procfs::own_network_namespace()?.0);
        setns(&self.namespace, CloneFlags::CLONE_NEWNET)?;
        let result = f();
        drop(way_back);
        Ok(result)
    }

    /// Connects from the host to `to`, with TCP_NODELAY set, within `deadline`.
    ///
    /// # Errors
    /// What connect(2) reports, with its kind (`ConnectionRefused` when the other host answered that no process
    /// listens); `TimedOut` when `deadline` passed first.
    pub async fn connect(&self, to: SocketAddr, deadline: Duration) -> io::Result<TcpStream> {
        let socket = self.enter(TcpSocket::new_v4)??;
        socket.set_nodelay(true)?;
        match tokio::time::timeout(deadline, socket.connect(to)).await {
            Ok(connected) => connected,
            Err(elapsed) => Err(io::Error::new(io::ErrorKind::TimedOut, elapsed)),
        }
    }

    /// Starts a process on the host.
    ///
    /// # Errors
    /// [`SpawnError`] names the program or file that is at fault.
    pub fn spawn(self: &Arc<Self>, spec: &ProcessSpec) -> Result<NodeProcess, SpawnError> {
        NodeProcess::spawn(Arc::clone(self), spec, None)
    }

    /// Starts a process on the host that follows the clock of `page`, as does everything that it starts.
    ///
    /// # Errors
    /// [`SpawnError`] names the program or file at fault.
    pub fn spawn_with_clock(
        self: &Arc<Self>,
        spec: &ProcessSpec,
        tracer: &Tracer,
        page: &ClockPage,
    ) -> Result<NodeProcess, SpawnError> {
        NodeProcess::spawn(Arc::clone(self), spec, Some((tracer, page)))
    }

    /// Returns every living process on the host, in ascending order: those started here, and their
    /// descendants.
    ///
    /// # Errors
    /// When /proc cannot be read, or hides a process.
    pub fn pids(&self) -> io::Result<Vec<Pid>> {
        let mut pids = Vec::new();
        for pid in procfs::processes()? {
            if self.holds(pid)? {
                pids.push(pid);
            }
        }
        Ok(pids)
    }

    /// Whether `pid` is a living process on this host.
    pub(super) fn holds(&self, pid: Pid) -> io::Result<bool> {
        // The runner's main thread visits hosts to make sockets, and would for that moment pass for a node.
        if pid == nix::unistd::getpid() {
            return Ok(false);
        }
        Ok(procfs::network_namespace(pid)? == Some(self.inode))
    }

    /// Waits until no process is being started, and lets none be until the guard is dropped. Returns how many were started.
    pub(super) fn starts(&self) -> MutexGuard<'_, u64> {
        self.starts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the namespace itself, for a child to enter.
    pub(super) fn namespace(&self) -> Arc<File> {
        Arc::clone(&self.namespace)
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Host({} at {})", self.name, self.address)
    }
}

/// Brings the thread back to where it was, also when a panic passes by.
struct WayBack(File);

impl Drop for WayBack {
    fn drop(&mut self) {
        if setns(&self.0, CloneFlags::CLONE_NEWNET).is_err() {
            std::process::abort();
        }
    }
}

/// Settings of the calling thread's network namespace. /proc/sys/net shows each thread its own.
fn apply_settings(tcp_rto_max: Option<Duration>) -> io::Result<()> {
    // Before any interface is up: IPv6 announces itself at once, and the switch forwards IPv4 only.
    set("ipv6/conf/all/disable_ipv6", 1)?;
    set("ipv6/conf/default/disable_ipv6", 1)?;
    // A connection attempt into a cut gives up within seconds, so that the client can retry.
    set("ipv4/tcp_syn_retries", 3)?;
    if let Some(limit) = tcp_rto_max {
        set("ipv4/tcp_rto_max_ms", limit.as_millis())?;
        if setting_exists("ipv4/tcp_rto_max_ms") {
            // The kernel gives a connection up after so many retransmissions; coming sooner, they must be more,
            // or a cut of a quarter minute would break connections that in production survive it.
            set("ipv4/tcp_retries2", 255)?;
        }
    }
    Ok(())
}

fn setting_exists(name: &str) -> bool {
    fs::exists(format!("/proc/sys/net/{name}")).unwrap_or(false)
}

/// Writes a setting, if this kernel has it.
fn set(name: &str, value: impl fmt::Display) -> io::Result<()> {
    match fs::write(format!("/proc/sys/net/{name}"), value.to_string()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
