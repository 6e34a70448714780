//! The switch thread: reads packets from every port, decides, and writes them to the port they are for.
//!
//! It owns the policy table, so that deciding takes no lock; changes come as messages, and take effect between
//! two packets.

use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use super::capture::{Capturing, Outcome};
use super::frame::{CAPACITY, Frame};
use super::policy::{LinkPolicy, Passage};
use super::probe::PROBE_PORT;
use super::queue::Queue;
use super::segment::{self, Damaged};
use super::shaper::{Departure, Fate, Shaper};
use super::{LinkIndex, Shared};
use crate::port::Port;
use crate::sys::tun::OFFLOAD_HEADER;

/// Packets taken from one port before the others have their turn, and before changes are looked at again.
const BATCH: usize = 64;
/// The epoll token of the wake-up descriptor; ports have their position.
const WAKE: u64 = u64::MAX;
/// The epoll token of the timer.
const TIMER: u64 = u64::MAX - 1;

/// What the switch thread is told.
pub enum Message {
    /// Put these policies in force, and say when they were.
    Apply { changes: Vec<(LinkIndex, LinkPolicy)>, applied: Sender<Instant> },
    /// Begin to capture packets, and say when that is done.
    Capture { capturing: Capturing, begun: Sender<()> },
    /// Capture no more.
    EndCapture,
    /// Mark this moment among the captured packets, and say when it was.
    Mark { text: String, marked: Sender<Instant> },
    /// End.
    Stop,
}

/// A directed link, as the switch thread sees it.
struct Link {
    passage: Passage,
    /// Since when the passage has been as it is.
    since: Instant,
    /// Absent on a link whose packets pass at once.
    shaper: Option<Box<Shaper>>,
}

impl Link {
    fn open() -> Self {
        Self { passage: Passage::Open, since: Instant::now(), shaper: None }
    }

    /// Whether packets are dropped now.
    fn is_cut(&self) -> bool {
        self.passage.is_cut(self.since)
    }
}

/// The switch thread's own state.
pub struct Forwarder {
    epoll: Epoll,
    ports: Vec<Port>,
    /// Port by the last byte of the address; all hosts are in one /24.
    routes: [Option<u8>; 256],
    /// The first three bytes of every host's address.
    network: [u8; 3],
    links: Vec<Link>,
    /// Packets on their way along shaped links.
    queue: Queue,
    /// Goes off when the next of them is due. An epoll time-out would do, if it counted in less than milliseconds.
    timer: TimerFd,
    /// When the timer is set to go off.
    alarm: Option<Instant>,
    shared: Arc<Shared>,
    messages: Receiver<Message>,
    /// Present while packets are captured.
    capturing: Option<Capturing>,
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
        let timer =
            TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK)?;
        epoll.add(&timer, EpollEvent::new(EpollFlags::EPOLLIN, TIMER))?;
        let links: Vec<Link> = std::iter::repeat_with(Link::open).take(ports.len() * ports.len()).collect();
        let queue = Queue::new(links.len());
        Ok(Self {
            epoll,
            ports,
            routes,
            network,
            links,
            queue,
            timer,
            alarm: None,
            shared,
            messages,
            capturing: None,
        })
    }

    /// Forwards until told to stop.
    pub fn run(mut self) -> io::Result<()> {
        let ended = self.work();
        if let Some(capturing) = self.capturing.take() {
            capturing.end();
        }
        ended
    }

    fn work(&mut self) -> io::Result<()> {
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
                match event.data() {
                    WAKE => {}
                    TIMER => {
                        // Read, so that it stops being ready.
                        match self.timer.wait() {
                            Ok(()) | Err(Errno::EAGAIN) => {}
                            Err(errno) => return Err(errno.into()),
                        }
                        self.alarm = None;
                    }
                    port => self.drain(port as usize, &mut buffer)?,
                }
            }
            self.release()?;
        }
    }

    fn obey(&mut self) -> io::Result<Next> {
        self.shared.wake.read()?;
        while let Ok(message) = self.messages.try_recv() {
            match message {
                Message::Stop => return Ok(Next::Stop),
                Message::Apply { changes, applied } => {
                    // One moment for all, so that links which flap do so together.
                    let now = Instant::now();
                    for (link, policy) in changes {
                        let shaper = || Box::new(Shaper::new(policy, link.0 as u64));
                        let before = &self.links[link.0];
                        // A change of something else does not set a flapping link back to its beginning.
                        let since = if before.passage == policy.passage { before.since } else { now };
                        self.links[link.0] =
                            Link { passage: policy.passage, since, shaper: policy.is_shaped().then(shaper) };
                    }
                    // The caller may have given up waiting; the policies are in force all the same.
                    let _ = applied.send(Instant::now());
                }
                // The caller may have given up on these answers too.
                Message::Capture { capturing, begun } => {
                    self.capturing = Some(capturing);
                    let _ = begun.send(());
                }
                Message::EndCapture => {
                    if let Some(capturing) = self.capturing.take() {
                        capturing.end();
                    }
                }
                Message::Mark { text, marked } => {
                    let now = Instant::now();
                    if let Some(capturing) = &mut self.capturing {
                        capturing.recorder.mark(now, text);
                    }
                    let _ = marked.send(now);
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
    fn forward(&mut self, from: usize, bytes: &[u8]) {
        // Before it is handed on: nothing may seem to answer a packet before it came.
        let entered = self.capturing.is_some().then(Instant::now);
        let link_header = self.ports[from].link_header;
        let outcome = Frame::parse(bytes, link_header).and_then(|frame| {
            let to = self.route(frame.destination())?;
            Some(self.decide(self.shared.link(from, to), &frame))
        });
        if let (Some(capturing), Some(entered)) = (&mut self.capturing, entered) {
            let packet = bytes.get(OFFLOAD_HEADER + link_header..).unwrap_or_default();
            match outcome {
                Some(outcome) => capturing.recorder.entered(entered, from, packet, outcome),
                None => capturing.recorder.unroutable(entered, from, packet),
            }
        }
    }

    /// Does to a packet what the policy of its link says.
    fn decide(&mut self, link: LinkIndex, frame: &Frame<'_>) -> Outcome {
        if self.links[link.0].is_cut() {
            self.drop_by_policy(link, frame);
            let packets = saturating(frame.segments());
            Outcome { packets, cut: packets, ..Outcome::default() }
        } else if self.links[link.0].shaper.is_some() || self.queue.holds(link) {
            let mut outcome = Outcome::default();
            for packet in segment::packets(frame) {
                count(&mut outcome.packets);
                self.shape(link, packet, &mut outcome);
            }
            outcome
        } else {
            self.deliver(link, frame)
        }
    }

    /// Decides on one packet of a shaped link, or of a link on which packets still wait, and adds to `outcome`
    /// what became of it.
    fn shape(&mut self, link: LinkIndex, mut packet: Vec<u8>, outcome: &mut Outcome) {
        let now = Instant::now();
        let link_header = self.ports[self.shared.target(link)].link_header;
        let Some(frame) = Frame::parse(&packet, link_header) else { return };
        let tally = &self.shared.tallies[link.0];
        let fate = match &mut self.links[link.0].shaper {
            Some(shaper) => shaper.decide(now, frame.length()),
            // Behind the last that waits: of packets due together, the first to come is the first to go.
            None => Fate::Leaves(Departure {
                at: self.queue.last_due(link).unwrap_or(now),
                copies: 1,
                damage: None,
            }),
        };
        let departure = match fate {
            Fate::Lost => {
                count(&mut outcome.lost);
                return self.drop_by_policy(link, &frame);
            }
            Fate::Overflowed => {
                count(&mut outcome.overflowed);
                return tally.overflowed_packets.add(1);
            }
            Fate::Leaves(departure) => departure,
        };
        if let Some((damage, random)) = departure.damage
            && segment::damage(&mut packet, link_header, damage, random) == Damaged::Yes
        {
            tally.damaged_packets.add(1);
            count(&mut outcome.damaged);
        }
        if departure.at > now {
            tally.delayed_packets.add(1);
            count(&mut outcome.delayed);
            outcome.delay = outcome.delay.max(departure.at - now);
        }
        if departure.copies > 1 {
            tally.duplicated_packets.add(1);
            count(&mut outcome.duplicated);
        }
        for copy in 0..departure.copies {
            if self.queue.push(departure.at, link, packet.clone()).is_err() {
                tally.overflowed_packets.add(1);
                count(&mut outcome.overflowed);
            } else if copy == 0 {
                count(&mut outcome.forwarded);
            }
        }
    }

    /// Delivers every packet that is due, and sets the timer for the next.
    fn release(&mut self) -> io::Result<()> {
        let now = Instant::now();
        while let Some(waiting) = self.queue.pop_due(now) {
            let link_header = self.ports[self.shared.target(waiting.link)].link_header;
            let Some(frame) = Frame::parse(&waiting.bytes, link_header) else { continue };
            // A cut also takes what was on its way: nothing arrives after it is in force.
            let outcome = if self.links[waiting.link.0].is_cut() {
                self.drop_by_policy(waiting.link, &frame);
                Outcome { packets: 1, cut: 1, ..Outcome::default() }
            } else {
                self.deliver(waiting.link, &frame)
            };
            if let Some(capturing) = &mut self.capturing
                && outcome.forwarded == 0
            {
                let to = self.shared.target(waiting.link);
                capturing.recorder.undelivered(Instant::now(), to, &frame.bytes[frame.ip..], outcome);
            }
        }
        let next = self.queue.next_due();
        if let Some(due) = next
            && self.alarm.is_none_or(|alarm| due < alarm)
        {
            // Never zero, which would switch the timer off.
            let wait = due.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
            self.timer.set(Expiration::OneShot(TimeSpec::from(wait)), TimerSetTimeFlags::empty())?;
            self.alarm = Some(due);
        }
        Ok(())
    }

    fn drop_by_policy(&self, link: LinkIndex, frame: &Frame<'_>) {
        let tally = &self.shared.tallies[link.0];
        tally.dropped_packets.add(frame.segments());
        if frame.is_datagram_to(PROBE_PORT) {
            tally.dropped_probes.add(1);
        }
    }

    fn deliver(&self, link: LinkIndex, frame: &Frame<'_>) -> Outcome {
        let tally = &self.shared.tallies[link.0];
        let segments = frame.segments();
        let packets = saturating(segments);
        match (&self.ports[self.shared.target(link)].file).write(frame.bytes) {
            // One packet a write, whole or not at all.
            Ok(length) => {
                debug_assert_eq!(length, frame.bytes.len());
                tally.forwarded_packets.add(segments);
                tally.forwarded_bytes.add(frame.length() as u64);
                Outcome { packets, forwarded: packets, ..Outcome::default() }
            }
            // A port refuses a packet when its queue is full or its host is going down; either way the packet
            // is lost as on a real network, and TCP will send it again.
            Err(_) => {
                tally.overflowed_packets.add(segments);
                Outcome { packets, overflowed: packets, ..Outcome::default() }
            }
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

/// Counts one more.
fn count(packets: &mut u16) {
    *packets = packets.saturating_add(1);
}

/// A unit of 64 KiB stands for fewer packets than this can count.
fn saturating(packets: u64) -> u16 {
    u16::try_from(packets).unwrap_or(u16::MAX)
}

#[derive(PartialEq, Eq)]
enum Next {
    Continue,
    Stop,
}
