//! The switch: the network between the hosts, in userspace, with one policy for each directed pair of them.
//!
//! In userspace because few kernels in reach have `netem`, and because the switch can then say exactly what it did.

mod capture;
mod counters;
mod engine;
mod frame;
mod policy;
mod probe;
mod queue;
mod segment;
mod shaper;
mod train;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::eventfd::{EfdFlags, EventFd};

pub use capture::{Capture, CaptureError, CaptureSpec, CaptureSummary, Extent, RunStart};
pub use counters::LinkCounters;
pub use policy::{Corrupt, Damage, LinkPolicy, Passage, Probability, ProbabilityError, Reorder};
pub use probe::ProbeOutcome;
pub use train::{Train, TrainSeen};

use counters::LinkTally;
use engine::{Forwarder, Message};
use probe::Prober;

use crate::host::Host;
use crate::name::HostName;
use crate::port::Port;

/// How long the switch thread may take to do what it is told. It does so between two packets; only a machine that
/// does not let it run can make it this late.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Why the switch could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SwitchError {
    /// No host has this name.
    #[error("the arena has no host {0}")]
    UnknownHost(HostName),
    /// The switch thread has ended.
    #[error("the switch has stopped")]
    Stopped,
    /// The switch thread did not answer in time.
    #[error("the switch did not do what it was told within {ANSWER_WITHIN:?}")]
    Late,
    /// The switch thread met an error and ended.
    #[error("the switch failed")]
    Failed(#[source] io::Error),
    /// The switch thread, or what it needs, could not be made.
    #[error("cannot start the switch thread")]
    Start(#[source] io::Error),
}

/// A handle on the switch; cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct Switch {
    messages: Sender<Message>,
    shared: Arc<Shared>,
    prober: Arc<Prober>,
}

/// The position of a directed link in the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LinkIndex(usize);

/// What the switch thread and the handles have in common.
struct Shared {
    /// In the order of their ports.
    hosts: Vec<Arc<Host>>,
    positions: BTreeMap<HostName, usize>,
    tallies: Vec<LinkTally>,
    /// Whether packets are captured; one capture at a time there may be.
    is_capturing: AtomicBool,
    /// Wakes the switch thread to look for messages.
    wake: EventFd,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} hosts", self.hosts.len())
    }
}

impl Shared {
    fn link(&self, from: usize, to: usize) -> LinkIndex {
        LinkIndex(from * self.hosts.len() + to)
    }

    /// The position of the host to which `link` leads.
    fn target(&self, link: LinkIndex) -> usize {
        link.0 % self.hosts.len()
    }

    fn position(&self, name: &str) -> Result<usize, SwitchError> {
        self.positions.get(name).copied().ok_or_else(|| SwitchError::UnknownHost(name.into()))
    }

    fn find(&self, from: &str, to: &str) -> Result<LinkIndex, SwitchError> {
        Ok(self.link(self.position(from)?, self.position(to)?))
    }
}

/// The running switch thread. Dropping it stops the thread and waits for it.
#[derive(Debug)]
pub(super) struct Engine {
    switch: Switch,
    thread: Option<JoinHandle<io::Result<()>>>,
}

/// Starts the switch between `ports`, with every link open.
pub(super) fn start(ports: Vec<(Arc<Host>, Port)>) -> Result<(Switch, Engine), SwitchError> {
    let (hosts, ports): (Vec<_>, Vec<_>) = ports.into_iter().unzip();
    let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
        .map_err(|errno| SwitchError::Start(errno.into()))?;
    let positions =
        hosts.iter().enumerate().map(|(position, host)| (host.name().clone(), position)).collect();
    let tallies = std::iter::repeat_with(LinkTally::default).take(hosts.len() * hosts.len()).collect();
    let prober = Arc::new(Prober::open(&hosts).map_err(SwitchError::Start)?);
    let shared = Arc::new(Shared { hosts, positions, tallies, is_capturing: AtomicBool::new(false), wake });
    let (sender, receiver) = mpsc::channel();
    let forwarder = Forwarder::new(ports, Arc::clone(&shared), receiver).map_err(SwitchError::Start)?;
    let thread = thread::Builder::new()
        .name("switch".into())
        .spawn(move || {
            forwarder.run().inspect_err(|error| tracing::error!(%error, "the switch has stopped forwarding"))
        })
        .map_err(SwitchError::Start)?;
    let switch = Switch { messages: sender, shared, prober };
    Ok((switch.clone(), Engine { switch, thread: Some(thread) }))
}

impl Switch {
    /// Puts policies in force, each for the link from the first host to the second, all between the same two
    /// packets; links not named keep theirs. Returns when they are in force, and since when.
    ///
    /// # Errors
    /// [`SwitchError`]; when a host is unknown, nothing has changed.
    pub fn apply<N: AsRef<str>>(&self, changes: &[(N, N, LinkPolicy)]) -> Result<Instant, SwitchError> {
        let changes = changes
            .iter()
            .map(|(from, to, policy)| Ok((self.shared.find(from.as_ref(), to.as_ref())?, *policy)))
            .collect::<Result<_, SwitchError>>()?;
        let (applied, answer) = mpsc::channel();
        self.tell(Message::Apply { changes, applied })?;
        self.await_answer(&answer)
    }

    /// What has happened so far on the link from `from` to `to`.
    ///
    /// # Errors
    /// [`SwitchError::UnknownHost`].
    pub fn counters(&self, from: &str, to: &str) -> Result<LinkCounters, SwitchError> {
        Ok(self.shared.tallies[self.shared.find(from, to)?.0].read())
    }

    /// Sends a datagram along each of `pairs` (from, to) and says what became of each, in their order, within
    /// `deadline`: proof that a cut took hold, or has healed, even when the hosts themselves are silent.
    ///
    /// Blocks; probes that different threads ask for at the same time take turns.
    ///
    /// # Errors
    /// [`SwitchError::UnknownHost`]; [`SwitchError::Failed`] when a datagram cannot be sent or awaited at all.
    pub fn probe<N: AsRef<str>>(
        &self,
        pairs: &[(N, N)],
        deadline: Duration,
    ) -> Result<Vec<ProbeOutcome>, SwitchError> {
        self.prober.probe(&self.shared, pairs, deadline)
    }

    /// Sends `train` along each of `pairs` (from, to), along all of them at once, and says what was seen at their far
    /// ends, in the order of the pairs: proof of what a link does to packets, taken from outside of the switch.
    ///
    /// Blocks, for the train's patience at the most once all of it was sent; takes turns with [`Switch::probe`].
    ///
    /// # Errors
    /// As [`Switch::probe`].
    pub fn train<N: AsRef<str>>(
        &self,
        pairs: &[(N, N)],
        train: Train,
    ) -> Result<Vec<TrainSeen>, SwitchError> {
        self.prober.train(&self.shared, pairs, train)
    }

    /// Captures every packet that comes into the switch from now on, in pcapng at `file`, until the capture is
    /// finished: an interface for each host, what became of each packet as its comment, and timestamps from which
    /// the run's own time follows. One capture goes on at a time.
    ///
    /// # Errors
    /// [`CaptureError`]; nothing is captured then.
    pub fn capture(
        &self,
        spec: &CaptureSpec,
        run_start: RunStart,
        file: &Path,
    ) -> Result<Capture, CaptureError> {
        Capture::begin(self, spec, run_start, file)
    }

    /// Marks this moment in the capture that goes on, if one does, and says when it was: packets that came into
    /// the switch before it stand before the mark, later ones behind it.
    ///
    /// # Errors
    /// [`SwitchError::Stopped`] and [`SwitchError::Late`].
    pub fn mark(&self, text: impl Into<String>) -> Result<Instant, SwitchError> {
        let (marked, answer) = mpsc::channel();
        self.tell(Message::Mark { text: text.into(), marked })?;
        self.await_answer(&answer)
    }

    /// As [`Switch::mark`], for a caller that has no time to wait until it is done: what the switch is told afterwards takes
    /// effect after the mark.
    ///
    /// # Errors
    /// [`SwitchError::Stopped`].
    pub fn announce(&self, text: impl Into<String>) -> Result<(), SwitchError> {
        let (marked, _) = mpsc::channel();
        self.tell(Message::Mark { text: text.into(), marked })
    }

    fn await_answer<T>(&self, answer: &Receiver<T>) -> Result<T, SwitchError> {
        answer.recv_timeout(ANSWER_WITHIN).map_err(|error| match error {
            mpsc::RecvTimeoutError::Timeout => SwitchError::Late,
            mpsc::RecvTimeoutError::Disconnected => SwitchError::Stopped,
        })
    }

    fn tell(&self, message: Message) -> Result<(), SwitchError> {
        self.messages.send(message).map_err(|_| SwitchError::Stopped)?;
        self.shared.wake.write(1).map_err(|errno| SwitchError::Failed(errno.into()))?;
        Ok(())
    }
}

impl fmt::Debug for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Switch({:?})", self.shared)
    }
}

impl Engine {
    /// Stops the thread, and says how it ended.
    pub fn stop(mut self) -> Result<(), SwitchError> {
        self.end()
    }

    fn end(&mut self) -> Result<(), SwitchError> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        // If it has stopped by itself it does not hear this, and joining says why it did.
        let _ = self.switch.tell(Message::Stop);
        match thread.join() {
            Ok(ended) => ended.map_err(SwitchError::Failed),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::warn!(%error, "the switch had failed before it was stopped");
        }
    }
}
