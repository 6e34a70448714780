//! The switch thread: reads packets from every port, decides, and writes them to the port they are for.
//!
//! It owns the policy table, so that deciding takes no lock; changes come as messages, and take effect between
//! two packets.

use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::frame::{CAPACITY, Frame};
use super::policy::{LinkPolicy, Passage};
use super::probe::PROBE_PORT;
use super::{LinkIndex, Shared};
use crate::arena::port::Port;

/// Packets taken from one port before the others have their turn, and before changes are looked at again.
const BATCH: usize = 64;
/// The epoll token of the wake-up descriptor; ports have their position.
const WAKE: u64 = u64::MAX;

/// What the switch thread is told.
pub enum Message {
    /// Put these policies in force, and say when they were.
    Apply { changes: Vec<(LinkIndex, LinkPolicy)>, applied: Sender<Instant> },
    /// End.
    Stop,
}

/// The switch thread's own state.
pub struct Forwarder {
    epoll: Epoll,
    ports: Vec<Port>,
    /// Port by the last byte of the address; all hosts are in one /24.
    routes: [Option<u8>; 256],
    /// The first three bytes of every host's address.
    network: [u8; 3],
    policies: Vec<LinkPolicy>,
    shared: Arc<Shared>,
    messages: Receiver<Message>,
}

impl Forwarder {
    pub fn new(ports: Vec<Port>, shared: Arc<Shared>, messages: Receiver<Message>) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&shared.wake, EpollEvent::new(EpollFlags::EPOLLIN, WAKE))?;
        let mut routes = [None; 256];
        let mut network = [0; 3];
        for (position, (port, host)) in ports.iter().zip(&shared.hosts).enumerate() {
            epoll.add(port.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, position as u64))?;
            let [a, b, c, last] = host.address().octets();
            network = [a, b, c];
            // A /24 holds at most 254 hosts, so the position fits.
            routes[usize::from(last)] = u8::try_from(position).ok();
        }
        let policies = vec![LinkPolicy::OPEN; ports.len() * ports.len()];
        Ok(Self { epoll, ports, routes, network, policies, shared, messages })
    }

    /// Forwards until told to stop.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = [EpollEvent::empty(); 32];
        let mut buffer = vec![0; CAPACITY];
        loop {
            let ready = match self.epoll.wait(&mut events, EpollTimeout::NONE) {
                Ok(ready) => ready,
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(errno.into()),
            };
            // Changes first: a packet that was sent after a change was asked for should meet it.
            if events[..ready].iter().any(|event| event.data() == WAKE) && self.obey()? == Next::Stop {
                return Ok(());
            }
            for event in &events[..ready] {
                if event.data() != WAKE {
                    self.drain(event.data() as usize, &mut buffer)?;
                }
            }
        }
    }

    fn obey(&mut self) -> io::Result<Next> {
        self.shared.wake.read()?;
        while let Ok(message) = self.messages.try_recv() {
            match message {
                Message::Stop => return Ok(Next::Stop),
                Message::Apply { changes, applied } => {
                    for (link, policy) in changes {
                        self.policies[link.0] = policy;
                    }
                    // Whoever asked may have given up waiting; the policies are in force all the same.
                    let _ = applied.send(Instant::now());
                }
            }
        }
        Ok(Next::Continue)
    }

    /// Takes up to [`BATCH`] packets from port `from`.
    fn drain(&mut self, from: usize, buffer: &mut [u8]) -> io::Result<()> {
        for _ in 0..BATCH {
            match (&self.ports[from].file).read(buffer) {
                Ok(length) => self.forward(from, &buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The one place through which every packet goes.
    fn forward(&self, from: usize, bytes: &[u8]) {
        let Some(frame) = Frame::parse(bytes, self.ports[from].link_header) else { return };
        let Some(to) = self.route(frame.destination()) else { return };
        let link = self.shared.link(from, to);
        let tally = &self.shared.tallies[link.0];
        match self.policies[link.0].passage {
            Passage::Cut => {
                tally.dropped_packets.add(frame.segments());
                if frame.is_datagram_to(PROBE_PORT) {
                    tally.dropped_probes.add(1);
                }
            }
            Passage::Open => match (&self.ports[to].file).write(frame.bytes) {
                Ok(_) => {
                    tally.forwarded_packets.add(frame.segments());
                    tally.forwarded_bytes.add(frame.length() as u64);
                }
                // A port refuses a packet when its queue is full or its host is going down; either way the packet
                // is lost as on a real network, and TCP will send it again.
                Err(_) => tally.overflowed_packets.add(frame.segments()),
            },
        }
    }

    /// The port of the host at `address`.
    fn route(&self, address: Ipv4Addr) -> Option<usize> {
        let [a, b, c, last] = address.octets();
        if [a, b, c] != self.network {
            return None;
        }
        self.routes[usize::from(last)].map(usize::from)
    }
}

#[derive(PartialEq, Eq)]
enum Next {
    Continue,
    Stop,
}
