//! Probes: a datagram sent along a link on purpose, to see whether the link carries it.

use std::io;
use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{Host, LinkIndex, Shared, SwitchError};

/// The UDP port of probes on every host: "discard", which no system under test has a use for.
pub const PROBE_PORT: u16 = 9;
/// A datagram without an answer for so long was lost to a full queue, and is sent again.
const SEND_AGAIN_AFTER: Duration = Duration::from_millis(200);
/// How often to look whether the switch has dropped a probe; it does not announce it.
pub(super) const BETWEEN_LOOKS: Duration = Duration::from_millis(1);

/// The outcome of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeOutcome {
    /// It arrived, so long after it was (first) sent.
    Arrived(Duration),
    /// The switch dropped it because the link's policy said so.
    Dropped,
    /// It neither arrived nor was dropped by policy before the deadline.
    Silent,
}

/// One socket on every host, in the order of ports.
pub struct Prober {
    pub(super) sockets: Vec<UdpSocket>,
    /// The number of the last probe; held while probing, since the counters could not tell the answers to two
    /// concurrent ones apart.
    last: Mutex<u64>,
}

impl Prober {
    pub fn open(hosts: &[Arc<Host>]) -> io::Result<Self> {
        let sockets = hosts.iter().map(|host| {
            let socket = host.enter(|| UdpSocket::bind((host.address(), PROBE_PORT)))??;
            socket.set_nonblocking(true)?;
            Ok(socket)
        });
        Ok(Self { sockets: sockets.collect::<io::Result<_>>()?, last: Mutex::new(0) })
    }

    pub fn probe<N: AsRef<str>>(
        &self,
        shared: &Shared,
        pairs: &[(N, N)],
        deadline: Duration,
    ) -> Result<Vec<ProbeOutcome>, SwitchError> {
        let mut last = self.turn();
        let began = Instant::now();
        let mut flights = Vec::with_capacity(pairs.len());
        for (from, to) in pairs {
            let (from, to) = (shared.position(from.as_ref())?, shared.position(to.as_ref())?);
            let link = shared.link(from, to);
            *last += 1;
            let dropped_before = shared.tallies[link.0].read().dropped_probes;
            flights.push(Flight { number: *last, from, to, link, dropped_before, outcome: None });
        }
        let mut sent: Option<Instant> = None;
        while flights.iter().any(|flight| flight.outcome.is_none()) && began.elapsed() < deadline {
            if sent.is_none_or(|at| at.elapsed() >= SEND_AGAIN_AFTER) {
                sent = Some(Instant::now());
                self.send(shared, &flights).map_err(SwitchError::Failed)?;
            }
            self.receive(&mut flights, began).map_err(SwitchError::Failed)?;
            for flight in flights.iter_mut().filter(|flight| flight.outcome.is_none()) {
                if shared.tallies[flight.link.0].read().dropped_probes > flight.dropped_before {
                    flight.outcome = Some(ProbeOutcome::Dropped);
                }
            }
        }
        Ok(flights.iter().map(|flight| flight.outcome.unwrap_or(ProbeOutcome::Silent)).collect())
    }

    /// Waits for the caller's turn; the number is that of the last probe.
    pub(super) fn turn(&self) -> MutexGuard<'_, u64> {
        // It is only ever increased, so that a panic elsewhere cannot have left it in disorder.
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits up to `wait` until something has arrived at any host.
    pub(super) fn wait(&self, wait: Duration) -> io::Result<()> {
        let mut arrivals: Vec<_> =
            self.sockets.iter().map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)).collect();
        let timeout = PollTimeout::try_from(wait).unwrap_or(PollTimeout::ZERO);
        match poll(&mut arrivals, timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn send(&self, shared: &Shared, flights: &[Flight]) -> io::Result<()> {
        for flight in flights.iter().filter(|flight| flight.outcome.is_none()) {
            let to = SocketAddrV4::new(shared.hosts[flight.to].address(), PROBE_PORT);
            match self.sockets[flight.from].send_to(&flight.number.to_be_bytes(), to) {
                Ok(_) => {}
                // Sent again later.
                Err(error) if is_full(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits a moment for any probe to arrive, and takes note of those that have.
    fn receive(&self, flights: &mut [Flight], began: Instant) -> io::Result<()> {
        self.wait(BETWEEN_LOOKS)?;
        for (position, socket) in self.sockets.iter().enumerate() {
            let mut number = [0; size_of::<u64>()];
            loop {
                match socket.recv(&mut number) {
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
                let number = u64::from_be_bytes(number);
                // A number of an earlier call belongs to a datagram sent twice; it proves nothing now.
                if let Some(flight) = flights.iter_mut().find(|it| it.number == number && it.to == position) {
                    flight.outcome.get_or_insert(ProbeOutcome::Arrived(began.elapsed()));
                }
            }
        }
        Ok(())
    }
}

/// Whether a datagram was not taken because a queue is full.
pub(super) fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(libc::ENOBUFS)
}

/// A probe in progress.
struct Flight {
    number: u64,
    from: usize,
    to: usize,
    link: LinkIndex,
    dropped_before: u64,
    outcome: Option<ProbeOutcome>,
}
