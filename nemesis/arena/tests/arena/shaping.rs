//! Links that lose, delay, duplicate, reorder, damage or slow packets down: as asked, one way, and no longer.

use std::io::{Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroU64;
use std::thread;
use std::time::{Duration, Instant};

use duress_arena::capabilities::Capabilities;
use duress_arena::{
    Arena, Corrupt, Damage, LinkCounters, LinkPolicy, PortKind, Probability, ProbeOutcome, Reorder,
};
use libtest_mimic::Trial;

use crate::fixture::{self, PATIENCE, arena, arrives, connect, echo_once, host, node, probe, wait_until};

pub fn register(trials: &mut Vec<Trial>, allowed: &Capabilities) {
    let tests: [fixture::PortTest; 8] = [
        ("loss_is_as_likely_as_asked", loss_is_as_likely_as_asked),
        ("delay_is_one_way_and_heals", delay_is_one_way_and_heals),
        ("jitter_keeps_order_and_reordering_does_not", jitter_keeps_order),
        ("duplicates_arrive_twice", duplicates_arrive_twice),
        ("damage_is_noticed_or_not", damage_is_noticed_or_not),
        ("a_rate_is_kept_to", a_rate_is_kept_to),
        ("tcp_passes_whole_through_everything", tcp_passes_whole_through_everything),
        ("a_cut_takes_what_is_on_its_way", a_cut_takes_what_is_on_its_way),
    ];
    fixture::for_both_ports(trials, allowed, &tests);
}

fn chance(millionths: u32) -> Probability {
    Probability::from_millionths(millionths).unwrap()
}

/// UDP from `n1` to `n2`, with `policy` in force on that link.
struct Flow {
    arena: Arena,
    sender: UdpSocket,
    receiver: UdpSocket,
    to: SocketAddr,
    sent: u64,
}

/// Datagrams sent before the switch and the receiver have their turn, so that no queue on the way overflows.
const BURST: u64 = 50;

impl Flow {
    fn under(policy: LinkPolicy, kind: PortKind) -> Self {
        let arena = arena(2, kind);
        let socket = |number| {
            let host = host(&arena, number);
            let socket = host.enter(|| UdpSocket::bind((host.address(), 0))).unwrap().unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        };
        let (sender, receiver) = (socket(1), socket(2));
        let to = receiver.local_addr().unwrap();
        arena.switch().apply(&[(node(1), node(2), policy)]).unwrap();
        Self { arena, sender, receiver, to, sent: 0 }
    }

    fn counters(&self) -> LinkCounters {
        self.arena.switch().counters(&node(1), &node(2)).unwrap()
    }

    /// Sends `count` datagrams that carry their number, and returns those that arrive, in order of arrival.
    /// Waits until the switch has accounted for each.
    fn send(&mut self, count: u64) -> Vec<Vec<u8>> {
        let mut arrived = Vec::new();
        while self.sent < count {
            for _ in 0..BURST.min(count - self.sent) {
                let mut datagram = [0x55; 64];
                datagram[..8].copy_from_slice(&self.sent.to_be_bytes());
                self.sender.send_to(&datagram, self.to).unwrap();
                self.sent += 1;
            }
            wait_until("every datagram is accounted for", || {
                self.receive(&mut arrived);
                let link = self.counters();
                link.forwarded_packets + link.dropped_packets + link.overflowed_packets
                    >= self.sent + link.duplicated_packets
            });
        }
        self.receive(&mut arrived);
        arrived
    }

    fn receive(&self, arrived: &mut Vec<Vec<u8>>) {
        let mut buffer = [0; 128];
        while let Ok(length) = self.receiver.recv(&mut buffer) {
            arrived.push(buffer[..length].to_vec());
        }
    }
}

/// Returns the numbers that [`Flow::send`] put into datagrams.
fn numbers(arrived: &[Vec<u8>]) -> Vec<u64> {
    arrived.iter().map(|datagram| u64::from_be_bytes(datagram[..8].try_into().unwrap())).collect()
}

/// Four standard deviations on either side; the seed is fixed, so that this does not fail by chance.
fn loss_is_as_likely_as_asked(kind: PortKind) {
    const SENT: u64 = 5000;
    let mut flow = Flow::under(LinkPolicy { loss: chance(200_000), seed: 1, ..LinkPolicy::OPEN }, kind);
    let arrived = flow.send(SENT).len() as u64;
    let link = flow.counters();
    assert_eq!(arrived, link.forwarded_packets, "{link:?}");
    assert_eq!(arrived + link.dropped_packets, SENT, "{link:?}");
    let deviation = (SENT as f64 * 0.2 * 0.8).sqrt();
    let excess = (link.dropped_packets as f64 - SENT as f64 * 0.2).abs();
    assert!(excess <= 4.0 * deviation, "{link:?} is {excess} off");
    let back = flow.arena.switch().counters(&node(2), &node(1)).unwrap();
    assert_eq!(back.dropped_packets, 0, "the way back loses too");
}

fn delay_is_one_way_and_heals(kind: PortKind) {
    const DELAY: Duration = Duration::from_millis(100);
    let arena = arena(2, kind);
    let switch = arena.switch();
    let quickest = |from, to| {
        let arrivals = (0..5).map(|_| match probe(switch, from, to) {
            ProbeOutcome::Arrived(after) => after,
            other => panic!("{other:?}"),
        });
        arrivals.min().unwrap()
    };
    switch.apply(&[(node(1), node(2), LinkPolicy { delay: DELAY, ..LinkPolicy::OPEN })]).unwrap();
    let late = quickest(1, 2);
    assert!(late >= DELAY && late < DELAY * 3 / 2, "{late:?}");
    assert!(quickest(2, 1) < DELAY / 2, "the way back is late too");
    assert!(switch.counters(&node(1), &node(2)).unwrap().delayed_packets >= 5);
    switch.apply(&[(node(1), node(2), LinkPolicy::OPEN)]).unwrap();
    assert!(quickest(1, 2) < DELAY / 2, "it has not healed");
}

fn jitter_keeps_order(kind: PortKind) {
    let jitter = LinkPolicy { jitter: Duration::from_millis(5), ..LinkPolicy::OPEN };
    let mut flow = Flow::under(jitter, kind);
    let arrived = numbers(&flow.send(1000));
    assert_eq!(arrived, (0..1000).collect::<Vec<_>>());
    assert!(flow.counters().delayed_packets > 0);

    let reorder = Some(Reorder { probability: chance(100_000), hold: Duration::from_millis(20) });
    let mut arrived = numbers(&Flow::under(LinkPolicy { reorder, ..LinkPolicy::OPEN }, kind).send(1000));
    assert!(!arrived.is_sorted(), "no datagram was overtaken");
    arrived.sort_unstable();
    assert_eq!(arrived, (0..1000).collect::<Vec<_>>(), "each must arrive, once");
}

fn duplicates_arrive_twice(kind: PortKind) {
    let mut flow = Flow::under(LinkPolicy { duplicate: Probability::ALWAYS, ..LinkPolicy::OPEN }, kind);
    let arrived = numbers(&flow.send(200));
    assert_eq!(arrived, (0..200).flat_map(|number| [number, number]).collect::<Vec<_>>());
    assert_eq!(flow.counters().duplicated_packets, 200);
}

fn damage_is_noticed_or_not(kind: PortKind) {
    let under = |damage| {
        let corrupt = Some(Corrupt { probability: Probability::ALWAYS, damage });
        Flow::under(LinkPolicy { corrupt, ..LinkPolicy::OPEN }, kind)
    };
    let mut noticed = under(Damage::BadChecksum);
    assert_eq!(noticed.send(200), Vec::<Vec<u8>>::new(), "the kernel passes damaged datagrams on");
    // The switch did not drop them: the receiver refuses them.
    let link = noticed.counters();
    assert_eq!((link.forwarded_packets, link.damaged_packets, link.dropped_packets), (200, 200, 0));

    let mut unseen = under(Damage::Undetected);
    let arrived = unseen.send(200);
    assert_eq!(arrived.len(), 200);
    for (number, datagram) in arrived.iter().enumerate() {
        let mut sent = [0x55; 64];
        sent[..8].copy_from_slice(&(number as u64).to_be_bytes());
        let flipped: u32 = datagram.iter().zip(sent).map(|(a, b)| (a ^ b).count_ones()).sum();
        assert_eq!(flipped, 1, "datagram {number}");
    }
}

/// 500 kB over 8 Mbit/s take half a second and may not take much longer.
fn a_rate_is_kept_to(kind: PortKind) {
    const LENGTH: usize = 500_000;
    let arena = arena(2, kind);
    let slow = LinkPolicy { bits_per_second: NonZeroU64::new(8_000_000), ..LinkPolicy::OPEN };
    arena.switch().apply(&[(node(1), node(2), slow)]).unwrap();
    let (address, _server) = echo_once(&host(&arena, 2));
    let mut reader = connect(&host(&arena, 1), address);
    let mut writer = reader.try_clone().unwrap();
    let began = Instant::now();
    let sender = thread::spawn(move || writer.write_all(&vec![1; LENGTH]).unwrap());
    reader.read_exact(&mut vec![0; LENGTH]).unwrap();
    sender.join().unwrap();
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(500), "{took:?} is faster than the link");
    assert!(took < Duration::from_secs(3), "{took:?} is far slower than the link");
}

/// TCP must repair all of it, so that a single byte out of place is the switch's fault.
fn tcp_passes_whole_through_everything(kind: PortKind) {
    const LENGTH: usize = 2 << 20;
    let arena = arena(2, kind);
    let rough = LinkPolicy {
        delay: Duration::from_millis(1),
        jitter: Duration::from_millis(1),
        loss: chance(5_000),
        duplicate: chance(10_000),
        reorder: Some(Reorder { probability: chance(10_000), hold: Duration::from_millis(2) }),
        corrupt: Some(Corrupt { probability: chance(5_000), damage: Damage::BadChecksum }),
        ..LinkPolicy::OPEN
    };
    arena.switch().apply(&[(node(1), node(2), rough), (node(2), node(1), rough)]).unwrap();
    let (address, server) = echo_once(&host(&arena, 2));
    let mut reader = connect(&host(&arena, 1), address);
    let mut writer = reader.try_clone().unwrap();
    let pattern = |position: usize| (position ^ (position >> 8) ^ (position >> 16)) as u8;
    let sender = thread::spawn(move || {
        let data: Vec<u8> = (0..LENGTH).map(pattern).collect();
        writer.write_all(&data).unwrap();
    });
    let mut back = vec![0; LENGTH];
    reader.read_exact(&mut back).unwrap();
    sender.join().unwrap();
    assert!(back.iter().enumerate().all(|(position, &byte)| byte == pattern(position)));
    drop(reader);
    server.join().unwrap();
    let link = arena.switch().counters(&node(1), &node(2)).unwrap();
    let each = [link.dropped_packets, link.duplicated_packets, link.damaged_packets, link.delayed_packets];
    assert!(each.iter().all(|&count| count > 0), "something was not exercised: {link:?}");
}

fn a_cut_takes_what_is_on_its_way(kind: PortKind) {
    let slow = LinkPolicy { delay: Duration::from_millis(200), ..LinkPolicy::OPEN };
    let flow = Flow::under(slow, kind);
    flow.sender.send_to(&[1; 64], flow.to).unwrap();
    wait_until("it is on its way", || flow.counters().delayed_packets == 1);
    let switch = flow.arena.switch();
    switch.apply(&[(node(1), node(2), LinkPolicy::CUT)]).unwrap();
    wait_until("it is dropped", || flow.counters().dropped_packets == 1);
    assert_eq!(flow.counters().forwarded_packets, 0);
    switch.apply(&[(node(1), node(2), LinkPolicy::OPEN)]).unwrap();
    assert!(arrives(switch, 1, 2));
    assert!(matches!(switch.probe(&[(node(2), node(1))], PATIENCE).unwrap()[0], ProbeOutcome::Arrived(_)));
}
