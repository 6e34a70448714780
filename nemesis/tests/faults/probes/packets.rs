//! Packet faults: what becomes of datagrams that the test itself sends between hosts.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use duress_history::NodeId;
use duress_nemesis::Fault;
use duress_nemesis::packet::PacketEffect;

use super::Probe;
use crate::stage::{Stage, name, wait_until};

pub const PROBES: &[(&str, Probe)] = &[
    ("delay", delay),
    ("jitter", jitter),
    ("loss", loss),
    ("duplicate", duplicate),
    ("reorder", reorder),
    ("corrupt", corrupt),
    ("corrupt-undetected", corrupt_undetected),
    ("rate", rate),
];

/// How many datagrams chance is measured with.
const MANY: u64 = 2000;
/// How many are sent before the receiver has its turn.
const BURST: u64 = 40;
/// What became of datagrams sent from one host to another.
#[derive(Debug, Default)]
struct Flow {
    sent: u64,
    /// Those that arrived unharmed: the number, and how long it took, in order of arrival.
    arrived: Vec<(u64, Duration)>,
    /// Those that arrived with other bytes than were sent.
    damaged: u64,
    /// From the first sending to the last arrival.
    took: Duration,
}

impl Flow {
    /// Sends `count` datagrams of `bytes` bytes, at least 16.
    fn between(stage: &Stage, from: &str, to: &str, count: u64, bytes: usize) -> Self {
        let socket = |node: &str| {
            let host = stage.host(&name(node));
            let socket = host.enter(|| UdpSocket::bind((host.address(), 0))).expect("a host can be entered");
            let socket = socket.expect("the address is the host's");
            socket.set_nonblocking(true).expect("a socket");
            socket
        };
        let (sender, receiver) = (socket(from), socket(to));
        let address = receiver.local_addr().expect("a bound socket");
        let mut flow = Self::default();
        let mut sent_at: Vec<Instant> = Vec::new();
        let passed = || {
            let link = stage.switch.counters(from, to).expect("both are hosts");
            let gone = link.forwarded_packets + link.dropped_packets + link.overflowed_packets;
            gone - link.duplicated_packets
        };
        let before = passed();
        let began = Instant::now();
        while flow.sent < count {
            for _ in 0..BURST.min(count - flow.sent) {
                sent_at.push(Instant::now());
                sender.send_to(&payload(flow.sent, bytes), address).expect("room for a datagram");
                flow.sent += 1;
            }
            // However late anything has its turn, no queue on the way runs full.
            wait_until("the switch has had every datagram", || {
                flow.receive(&receiver, &sent_at, began);
                passed() >= before + flow.sent
            });
        }
        flow.receive(&receiver, &sent_at, began);
        flow
    }

    fn receive(&mut self, receiver: &UdpSocket, sent_at: &[Instant], began: Instant) {
        let mut buffer = [0; 1500];
        while let Ok(length) = receiver.recv(&mut buffer) {
            self.took = began.elapsed();
            let number = u64::from_be_bytes(buffer[..8].try_into().expect("eight bytes"));
            if buffer[..length] == payload(number, length)[..] && number < self.sent {
                let at = usize::try_from(number).expect("a position");
                self.arrived.push((number, sent_at[at].elapsed()));
            } else {
                self.damaged += 1;
            }
        }
    }

    /// How many of the datagrams arrived at least once.
    fn distinct(&self) -> u64 {
        let mut numbers: Vec<u64> = self.arrived.iter().map(|(number, _)| *number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers.len() as u64
    }

    fn overtaken(&self) -> usize {
        self.arrived.windows(2).filter(|pair| pair[1].0 < pair[0].0).count()
    }

    fn fastest(&self) -> Duration {
        self.arrived.iter().map(|(_, took)| *took).min().expect("some arrive")
    }

    fn slowest(&self) -> Duration {
        self.arrived.iter().map(|(_, took)| *took).max().expect("some arrive")
    }

    /// Demands that nothing happened to any of them.
    fn assert_unharmed(&self) {
        assert_eq!((self.arrived.len() as u64, self.distinct()), (self.sent, self.sent));
        assert_eq!((self.damaged, self.overtaken()), (0, 0));
    }
}

/// The number, and then bytes that follow from it.
fn payload(number: u64, bytes: usize) -> Vec<u8> {
    let mut payload = number.to_be_bytes().to_vec();
    payload.resize(bytes.max(16), number.to_le_bytes()[0] ^ 0x5a);
    payload
}

/// What `item` on the links of n1 is, as the plan has it.
fn inject(stage: &mut Stage, item: &str) -> PacketEffect {
    let item = format!("{item}@n1");
    let Fault::Packet { effect, .. } = stage.fault(&item) else { panic!("{item} is a fault of packets") };
    stage.inject(1, &item).expect("it takes hold");
    effect
}

/// The links that lead to n1 and from it.
const SHAPED: [(&str, &str); 3] = [("n1", "n2"), ("n3", "n1"), ("n1", "n5")];
/// Links of other hosts.
const OTHERS: [(&str, &str); 2] = [("n2", "n3"), ("c1", "n2")];

/// Heals fault 1, and demands that nothing happens to datagrams on the links of n1.
fn heal(stage: &mut Stage) {
    stage.heal(1);
    for (from, to) in SHAPED {
        Flow::between(stage, from, to, 200, 64).assert_unharmed();
    }
}

/// Demands that nothing happens to datagrams on other links than those of n1.
fn spares_others(stage: &Stage) {
    for (from, to) in OTHERS {
        Flow::between(stage, from, to, 200, 64).assert_unharmed();
    }
}

/// How long it takes to connect, which crosses the link both ways.
fn handshake(stage: &Stage, from: &NodeId, to: &NodeId) -> Duration {
    let (from, to) = (stage.host(from), stage.host(to));
    let listener = to.enter(|| TcpListener::bind((to.address(), 0))).expect("a host can be entered");
    let address = listener.expect("the address is the host's").local_addr().expect("a bound listener");
    let listener = to.enter(|| TcpListener::bind(address)).expect("a host can be entered");
    let _open = listener.expect("the address is free again");
    let began = Instant::now();
    let connected = from.enter(|| TcpStream::connect_timeout(&address, Duration::from_secs(10)));
    connected.expect("a host can be entered").expect("it answers");
    began.elapsed()
}

fn delay(stage: &mut Stage, item: &str) {
    let PacketEffect::Delay(delay) = inject(stage, item) else { panic!("{item}") };
    for (from, to) in SHAPED {
        let flow = Flow::between(stage, from, to, 20, 64);
        flow.assert_unharmed();
        assert!(flow.fastest() >= delay, "{from} to {to}: {:?}", flow.fastest());
    }
    assert!(handshake(stage, &name("n1"), &name("n2")) >= 2 * delay);
    for (from, to) in OTHERS {
        assert!(Flow::between(stage, from, to, 20, 64).fastest() < delay, "{from} to {to}");
    }
    heal(stage);
    for (from, to) in SHAPED {
        assert!(Flow::between(stage, from, to, 20, 64).fastest() < delay, "{from} to {to}");
    }
}

fn jitter(stage: &mut Stage, item: &str) {
    let PacketEffect::Jitter(jitter) = inject(stage, item) else { panic!("{item}") };
    for (from, to) in SHAPED {
        // Far enough apart that none is held up by one before it.
        let took: Vec<Duration> = (0..20).map(|_| Flow::between(stage, from, to, 1, 64).slowest()).collect();
        let (fastest, slowest) = (took.iter().min().expect("twenty"), took.iter().max().expect("twenty"));
        // Each of twenty is uniform: that all are below the half, or all above it, happens once in half a million.
        assert!(*slowest >= jitter / 2 && *fastest <= jitter / 2, "{from} to {to}: {took:?}");
        Flow::between(stage, from, to, 200, 64).assert_unharmed();
    }
    heal(stage);
    // Half of twenty would be late by half of it; on a busy machine some are.
    let is_late = || Flow::between(stage, "n1", "n2", 1, 64).slowest() >= jitter / 2;
    wait_until("datagrams are quick", || (0..20).filter(|_| is_late()).count() <= 3);
}

/// Demands that `count` of [`MANY`] is what `millionths` promises, within five deviations.
fn is_plausible(count: u64, millionths: u32) {
    let (many, share) = (MANY as f64, f64::from(millionths) / 1e6);
    let deviation = (many * share * (1.0 - share)).sqrt();
    let off = (count as f64 - many * share).abs();
    assert!(off <= 5.0 * deviation, "{count} of {MANY}, where {share} was asked for");
}

fn loss(stage: &mut Stage, item: &str) {
    let PacketEffect::Loss(asked) = inject(stage, item) else { panic!("{item}") };
    for (from, to) in SHAPED {
        let flow = Flow::between(stage, from, to, MANY, 64);
        is_plausible(flow.sent - flow.distinct(), asked.millionths());
        assert_eq!((flow.damaged, flow.overtaken()), (0, 0));
    }
    spares_others(stage);
    heal(stage);
}

fn duplicate(stage: &mut Stage, item: &str) {
    let PacketEffect::Duplicate(asked) = inject(stage, item) else { panic!("{item}") };
    for (from, to) in SHAPED {
        let flow = Flow::between(stage, from, to, MANY, 64);
        assert_eq!(flow.distinct(), flow.sent);
        is_plausible(flow.arrived.len() as u64 - flow.distinct(), asked.millionths());
    }
    spares_others(stage);
    heal(stage);
}

fn reorder(stage: &mut Stage, item: &str) {
    let PacketEffect::Reorder(asked) = inject(stage, item) else { panic!("{item}") };
    for (from, to) in SHAPED {
        let flow = Flow::between(stage, from, to, MANY, 64);
        assert_eq!((flow.arrived.len() as u64, flow.distinct()), (flow.sent, flow.sent));
        // Several that are held back one after the other come in their order: not each shows by itself.
        assert!(flow.overtaken() > 0, "{from} to {to}");
        let quarter = u128::from(flow.sent) * u128::from(asked.millionths()) / 1_000_000 / 4;
        let late = flow.arrived.iter().filter(|(_, took)| *took >= Duration::from_millis(20)).count();
        assert!(late as u128 >= quarter, "{late} of {} are held back", flow.sent);
    }
    spares_others(stage);
    heal(stage);
}

fn corrupt(stage: &mut Stage, item: &str) {
    let PacketEffect::Corrupt(asked) = inject(stage, item) else { panic!("{item}") };
    for (from, to) in SHAPED {
        let flow = Flow::between(stage, from, to, MANY, 64);
        is_plausible(flow.sent - flow.distinct(), asked.millionths());
        assert_eq!(flow.damaged, 0, "the kernel notices");
    }
    spares_others(stage);
    heal(stage);
}

fn corrupt_undetected(stage: &mut Stage, item: &str) {
    let PacketEffect::CorruptUndetected(asked) = inject(stage, item) else { panic!("{item}") };
    for (from, to) in SHAPED {
        let flow = Flow::between(stage, from, to, MANY, 64);
        is_plausible(flow.damaged, asked.millionths());
        assert_eq!(flow.distinct() + flow.damaged, flow.sent, "the application gets them all");
    }
    spares_others(stage);
    heal(stage);
}

fn rate(stage: &mut Stage, item: &str) {
    let PacketEffect::Rate(asked) = inject(stage, item) else { panic!("{item}") };
    // What it carries in an eighth of a second, which its queue holds.
    let bytes: usize = 972;
    let count = asked.get() / 8 / 8 / (bytes as u64 + 28);
    let needed = Duration::from_secs_f64((count * (bytes as u64 + 28) * 8) as f64 / asked.get() as f64);
    for (from, to) in SHAPED {
        let flow = Flow::between(stage, from, to, count, bytes);
        flow.assert_unharmed();
        assert!(flow.took >= needed, "{from} to {to}: {:?} for what takes {needed:?}", flow.took);
    }
    // A busy machine may be as slow as the link, now and then.
    let is_quick = |stage: &Stage, from, to| Flow::between(stage, from, to, count, bytes).took < needed;
    wait_until("other links are quick", || is_quick(stage, "n2", "n3"));
    heal(stage);
    wait_until("the link is quick again", || is_quick(stage, "n1", "n2"));
}
