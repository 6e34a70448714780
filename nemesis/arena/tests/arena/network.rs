//! Packets between hosts: carried whole, cut one way at a time, counted, probed.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use duress_arena::capabilities::Capabilities;
use duress_arena::{LinkPolicy, PortKind, ProbeOutcome, Switch, SwitchError};
use libtest_mimic::Trial;

use crate::fixture::{
    self, PATIENCE, arena, arrives, connect, echo_once, host, node, probe, round_trip, wait_until,
};

pub fn register(trials: &mut Vec<Trial>, allowed: &Capabilities) {
    let tests: [fixture::PortTest; 8] = [
        ("the_first_packet_arrives", the_first_packet_arrives),
        ("tcp_passes_whole", tcp_passes_whole),
        ("a_cut_is_one_way_and_heals", a_cut_is_one_way_and_heals),
        ("a_connection_outlives_a_cut", a_connection_outlives_a_cut),
        ("changes_take_force_together_or_not_at_all", changes_take_force_together_or_not_at_all),
        ("connecting_keeps_the_kind_of_error", connecting_keeps_the_kind_of_error),
        ("counters_tell_links_apart", counters_tell_links_apart),
        ("a_stopped_switch_says_so", a_stopped_switch_says_so),
    ];
    fixture::for_both_ports(trials, allowed, &tests);
    let available = if allowed.tun.is_available() { PortKind::Tun } else { PortKind::Packet };
    trials.push(Trial::test("the_best_port_is_the_one_found_available", move || {
        assert_eq!(PortKind::best()?, available);
        Ok(())
    }));
}

/// An arena that has been built must carry packets at once: a probe that is not sent again shows whether it does.
fn the_first_packet_arrives(kind: PortKind) {
    for _ in 0..20 {
        let arena = arena(3, kind);
        let pairs = [(node(1), node(2)), (node(2), node(3)), (node(3), node(1))];
        arena.switch().probe(&pairs, PATIENCE).unwrap();
        for (from, to) in &pairs {
            let forwarded = || arena.switch().counters(from, to).unwrap().forwarded_packets;
            // It is counted when it has been handed over, which its receiver may notice first.
            wait_until("the packet is counted", || forwarded() > 0);
            // Twice would mean that the first was lost.
            assert_eq!(forwarded(), 1);
        }
        let dropped = |number| {
            let text = host(&arena, number)
                .enter(|| std::fs::read_to_string("/proc/thread-self/net/dev").unwrap())
                .unwrap();
            let line = text.lines().find_map(|line| line.trim().strip_prefix("eth0:")).unwrap().to_owned();
            line.split_whitespace().nth(11).unwrap().to_owned()
        };
        assert!((1..=3).all(|number| dropped(number) == "0"), "an interface drops what is sent through it");
    }
}

/// 16 MiB, so that data travels in large units and queues fill; every byte depends on its position.
fn tcp_passes_whole(kind: PortKind) {
    const LENGTH: usize = 16 << 20;
    let arena = arena(2, kind);
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

    let counters = arena.switch().counters(&node(1), &node(2)).unwrap();
    assert!(counters.forwarded_bytes >= LENGTH as u64, "{counters:?}");
    // Counted as on a wire: no packet holds more than 1460 bytes of data.
    assert!(counters.forwarded_packets >= (LENGTH / 1460) as u64, "{counters:?}");
    drop(reader);
    server.join().unwrap();
    arena.close().unwrap();
}

fn a_cut_is_one_way_and_heals(kind: PortKind) {
    let arena = arena(3, kind);
    let switch = arena.switch();
    assert!(arrives(switch, 1, 2) && arrives(switch, 2, 1));

    switch.apply(&[(node(1), node(2), LinkPolicy::CUT)]).unwrap();
    assert_eq!(probe(switch, 1, 2), ProbeOutcome::Dropped);
    for (from, to) in [(2, 1), (1, 3), (3, 2)] {
        assert!(arrives(switch, from, to), "only 1 to 2 is cut, but so is {from} to {to}");
    }
    let counters = switch.counters(&node(1), &node(2)).unwrap();
    assert_eq!(counters.dropped_packets, 1, "{counters:?}");
    assert_eq!(counters.dropped_probes, 1, "{counters:?}");
    assert_eq!(switch.counters(&node(2), &node(1)).unwrap().dropped_packets, 0);

    switch.apply(&[(node(1), node(2), LinkPolicy::OPEN)]).unwrap();
    assert!(arrives(switch, 1, 2));
}

/// The connection must answer soon after healing: within the 1 s bound on retransmission, where the kernel has it.
fn a_connection_outlives_a_cut(kind: PortKind) {
    const CUT: Duration = Duration::from_secs(3);
    let arena = arena(2, kind);
    let switch = arena.switch().clone();
    let (address, _server) = echo_once(&host(&arena, 2));
    let mut stream = connect(&host(&arena, 1), address);
    round_trip(&mut stream, 1);

    let both = |policy| [(node(1), node(2), policy), (node(2), node(1), policy)];
    switch.apply(&both(LinkPolicy::CUT)).unwrap();
    let healer = thread::spawn({
        let (switch, both) = (switch.clone(), both(LinkPolicy::OPEN));
        let dropped = move |switch: &Switch| switch.counters(&node(1), &node(2)).unwrap().dropped_packets;
        move || {
            let began = Instant::now();
            wait_until("the cut has lasted", || began.elapsed() >= CUT && dropped(&switch) >= 3);
            switch.apply(&both).unwrap()
        }
    });
    round_trip(&mut stream, 2);
    let answered = Instant::now();
    let healed = healer.join().unwrap();
    assert!(answered > healed, "an answer came through the cut");
    if std::fs::exists("/proc/sys/net/ipv4/tcp_rto_max_ms").unwrap() {
        // One bound, and as much again for a busy machine.
        assert!(answered - healed < Duration::from_secs(2), "answered {:?} after", answered - healed);
    }
}

fn changes_take_force_together_or_not_at_all(kind: PortKind) {
    let arena = arena(2, kind);
    let switch = arena.switch();
    let unknown = switch
        .apply(&[(node(1), node(2), LinkPolicy::CUT), (node(1), node(9), LinkPolicy::CUT)])
        .unwrap_err();
    assert!(matches!(&unknown, SwitchError::UnknownHost(name) if name.as_str() == "n9"), "{unknown:?}");
    assert!(arrives(switch, 1, 2), "half of a refused change is in force");

    let asked = Instant::now();
    let applied =
        switch.apply(&[(node(1), node(2), LinkPolicy::CUT), (node(2), node(1), LinkPolicy::CUT)]).unwrap();
    assert!(asked <= applied && applied <= Instant::now());
    let results = switch.probe(&[(node(1), node(2)), (node(2), node(1))], PATIENCE).unwrap();
    assert!(results.iter().all(|outcome| *outcome == ProbeOutcome::Dropped), "{results:?}");
}

fn connecting_keeps_the_kind_of_error(kind: PortKind) {
    let arena = arena(2, kind);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let from = host(&arena, 1);
    let attempt =
        |to: SocketAddr, deadline| runtime.block_on(from.connect(to, deadline)).map_err(|error| error.kind());
    let nobody = SocketAddr::from((host(&arena, 2).address(), 1));
    assert_eq!(attempt(nobody, PATIENCE).unwrap_err(), io::ErrorKind::ConnectionRefused);

    let (somebody, _server) = echo_once(&host(&arena, 2));
    arena.switch().apply(&[(node(1), node(2), LinkPolicy::CUT)]).unwrap();
    let deadline = Duration::from_millis(300);
    let began = Instant::now();
    assert_eq!(attempt(somebody, deadline).unwrap_err(), io::ErrorKind::TimedOut);
    assert!(began.elapsed() >= deadline);

    arena.switch().apply(&[(node(1), node(2), LinkPolicy::OPEN)]).unwrap();
    let stream = attempt(somebody, PATIENCE).unwrap();
    assert!(stream.nodelay().unwrap());
    assert_eq!(stream.local_addr().unwrap().ip(), from.address());
}

/// Hosts that are not talked to must not be counted for.
fn counters_tell_links_apart(kind: PortKind) {
    let arena = arena(3, kind);
    let (address, server) = echo_once(&host(&arena, 2));
    let mut stream = connect(&host(&arena, 1), address);
    for mark in 0..100 {
        round_trip(&mut stream, mark);
    }
    drop(stream);
    server.join().unwrap();
    let count = |from, to| arena.switch().counters(&node(from), &node(to)).unwrap();
    for (from, to) in [(1, 2), (2, 1)] {
        let link = count(from, to);
        assert!(link.forwarded_packets >= 100, "{from} to {to}: {link:?}");
        assert!(link.forwarded_bytes >= 100 * (64 + 40), "{from} to {to}: {link:?}");
        assert_eq!(link.dropped_packets + link.overflowed_packets, 0, "{from} to {to}: {link:?}");
    }
    for (from, to) in [(1, 3), (3, 1), (2, 3), (3, 2)] {
        assert_eq!(count(from, to).forwarded_packets, 0, "{from} to {to}");
    }
    assert!(arena.switch().counters(&node(1), &node(4)).is_err());
}

fn a_stopped_switch_says_so(kind: PortKind) {
    let arena = arena(2, kind);
    let (switch, host) = (arena.switch().clone(), host(&arena, 1));
    arena.close().unwrap();
    let refused = switch.apply(&[(node(1), node(2), LinkPolicy::CUT)]).unwrap_err();
    assert!(matches!(refused, SwitchError::Stopped), "{refused:?}");
    assert_eq!(Arc::strong_count(&host) - 1, 1, "only the handle still knows the host");
}
