//! What this machine allows, found by trying it.
//!
//! Settings, capabilities and filters overlap in so many ways that only the attempt is a reliable answer. Each
//! attempt is made in a forked process, so that the caller is left as it was.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use nix::fcntl::OFlag;
use nix::mount::{MsFlags, mount};
use nix::sys::ptrace;
use nix::sys::signal::{Signal, raise};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{geteuid, pipe2};
use serde::{Deserialize, Serialize};

use crate::isolation::{NamespaceKind, enter_process_namespace, mount_proc, unshare_surroundings};
use crate::port::{PortKind, Workshop, in_new_namespace};
use crate::sys::child::{ForkError, Forked, end_forked, fork_single_threaded};

/// What this machine allows this user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Who asks.
    pub user: User,
    /// By which right namespaces are had, if they are.
    pub namespace_kind: Option<NamespaceKind>,
    /// PID, mount, network, IPC and UTS namespaces: without them there is no arena.
    pub namespaces: Availability,
    /// A /proc of the PID namespace's own: without it processes cannot be controlled.
    pub proc: Availability,
    /// TUN ports: the faster kind.
    pub tun: Availability,
    /// AF_PACKET ports on veth pairs: the kind that needs no device node.
    pub packet_on_veth: Availability,
    /// A bound for TCP's retransmission time-out: without it connections recover late after a long cut.
    pub tcp_rto_max: Availability,
    /// Memory file systems for the nodes' data: without them the disk sets the pace.
    pub tmpfs: Availability,
    /// FUSE file systems: needed for disk faults.
    pub fuse: Availability,
    /// Tracing one's own children: needed for clock faults.
    pub ptrace: Availability,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum User {
    /// User 0.
    Root,
    /// Anyone else.
    Unprivileged,
}

/// Whether something can be had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Availability {
    /// It was had.
    Available,
    /// It was refused, for this reason.
    Unavailable(String),
}

impl Availability {
    /// Whether it can be had.
    #[must_use]
    pub fn is_available(&self) -> bool {
        *self == Self::Available
    }

    fn of<E: std::error::Error>(attempt: Result<(), E>) -> Self {
        match attempt {
            Ok(()) => Self::Available,
            Err(error) => Self::Unavailable(with_causes(&error)),
        }
    }
}

/// Why nothing could be tried.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// No process could be forked to try things in.
    #[error("cannot fork a process to try things in")]
    Fork(#[from] ForkError),
    /// The forked process gave no complete answer.
    #[error("cannot learn what the forked process found")]
    Answer(#[source] io::Error),
}

/// Tries everything. Call it while single-threaded; it takes about a tenth of a second.
///
/// # Errors
/// [`ProbeError`] when nothing could be tried at all; what is merely forbidden is part of the answer.
pub fn probe() -> Result<Capabilities, ProbeError> {
    let (answer, report) = pipe2(OFlag::O_CLOEXEC).map_err(|errno| ProbeError::Answer(errno.into()))?;
    match fork_single_threaded()? {
        Forked::Child => {
            drop(answer);
            try_namespaces(&mut File::from(report));
            end_forked(0)
        }
        Forked::Parent(child) => {
            drop(report);
            let mut text = Vec::new();
            let read = File::from(answer).read_to_end(&mut text);
            waitpid(child, None).map_err(|errno| ProbeError::Answer(errno.into()))?;
            read.map_err(ProbeError::Answer)?;
            serde_json::from_slice(&text).map_err(|error| ProbeError::Answer(error.into()))
        }
    }
}

/// In the forked process: enters a PID namespace, which only a further process is really inside of.
fn try_namespaces(report: &mut File) {
    // Everything inside is answered by the failure to get inside, until it is tried.
    let inside = Availability::Unavailable("namespaces are not available".into());
    let mut found = Capabilities {
        user: if geteuid().is_root() { User::Root } else { User::Unprivileged },
        namespace_kind: None,
        namespaces: inside.clone(),
        proc: inside.clone(),
        tun: inside.clone(),
        packet_on_veth: inside.clone(),
        tcp_rto_max: inside.clone(),
        tmpfs: inside.clone(),
        fuse: inside,
        ptrace: try_ptrace(),
    };
    match enter_process_namespace() {
        Err(error) => found.namespaces = Availability::Unavailable(with_causes(&error)),
        Ok(kind) => {
            found.namespace_kind = Some(kind);
            match fork_single_threaded() {
                Err(error) => found.namespaces = Availability::Unavailable(with_causes(&error)),
                Ok(Forked::Child) => {
                    try_inside(&mut found);
                    answer(report, &found);
                    end_forked(0);
                }
                Ok(Forked::Parent(child)) => {
                    if matches!(waitpid(child, None), Ok(WaitStatus::Exited(_, 0))) {
                        return;
                    }
                    found.namespaces = Availability::Unavailable("a process inside them was killed".into());
                }
            }
        }
    }
    answer(report, &found);
}

fn answer(report: &mut File, found: &Capabilities) {
    // An answer that cannot be written is missed by the reader, who says so.
    let written = serde_json::to_vec(found).map(|text| report.write_all(&text));
    if !matches!(written, Ok(Ok(()))) {
        end_forked(1);
    }
}

fn try_inside(found: &mut Capabilities) {
    found.namespaces = Availability::of(unshare_surroundings());
    if !found.namespaces.is_available() {
        return;
    }
    found.proc = Availability::of(mount_proc());
    found.tun = try_port(PortKind::Tun);
    found.packet_on_veth = try_port(PortKind::Packet);
    found.tcp_rto_max = Availability::of(in_new_namespace(|| {
        OpenOptions::new().write(true).open("/proc/sys/net/ipv4/tcp_rto_max_ms").map(drop)
    }));
    // What is mounted here is not seen outside.
    let place = std::env::temp_dir();
    found.tmpfs = Availability::of(
        mount(Some("duress"), &place, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, None::<&str>)
            .map_err(io::Error::from),
    );
    found.fuse = Availability::of(try_fuse(&place));
}

fn try_port(kind: PortKind) -> Availability {
    let address = std::net::Ipv4Addr::new(10, 77, 0, 1);
    let attached = Workshop::open(kind).and_then(|shop| in_new_namespace(|| shop.attach(address).map(drop)));
    Availability::of(attached.map_err(|error| match (kind, error.kind()) {
        (PortKind::Tun, io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {
            io::Error::new(error.kind(), format!("{}: {error}", crate::sys::tun::DEVICE))
        }
        _ => error,
    }))
}

fn try_fuse(place: &Path) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let device = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/fuse")
        .map_err(|error| io::Error::new(error.kind(), format!("/dev/fuse: {error}")))?;
    let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    // mount(2) does not wait for the file system's server, so none need be running.
    mount(Some("duress"), place, Some("fuse"), flags, Some(options.as_str()))?;
    Ok(())
}

fn try_ptrace() -> Availability {
    let attempt = || -> io::Result<()> {
        match fork_single_threaded().map_err(io::Error::other)? {
            Forked::Child => {
                let traced = ptrace::traceme().and_then(|()| raise(Signal::SIGSTOP));
                end_forked(u8::from(traced.is_err()));
            }
            Forked::Parent(child) => match waitpid(child, Some(WaitPidFlag::WUNTRACED))? {
                WaitStatus::Stopped(..) => {
                    // Only a tracer may do this, which is what was to be found out.
                    let traced = ptrace::kill(child);
                    if traced.is_err() {
                        nix::sys::signal::kill(child, Signal::SIGKILL)?;
                    }
                    waitpid(child, None)?;
                    Ok(traced?)
                }
                _ => Err(io::Error::new(io::ErrorKind::PermissionDenied, scope_hint())),
            },
        }
    };
    Availability::of(attempt())
}

fn scope_hint() -> String {
    match fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope") {
        Ok(scope) if scope.trim() == "3" => {
            "tracing is switched off until the next boot (yama/ptrace_scope is 3)"
        }
        _ => "a process may not be traced even by its parent; a container's seccomp filter forbids it",
    }
    .to_owned()
}

/// The error with everything that caused it, on one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
