//! Captured packets: as many as the switch has counted, each with what became of it, beside marks.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::num::NonZeroU16;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use duress_arena::capabilities::Capabilities;
use duress_arena::{
    Arena, CaptureError, CaptureSpec, Corrupt, Damage, Extent, LinkPolicy, PortKind, Probability,
    ProbeOutcome, RunStart, SwitchError,
};
use libtest_mimic::Trial;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tempfile::TempDir;

use crate::fixture::{self, arena, connect, echo_once, host, node, probe, round_trip, wait_until};
use crate::pcapng::{self, Capture, Packet};

const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;

pub fn register(trials: &mut Vec<Trial>, allowed: &Capabilities) {
    let tests: [fixture::PortTest; 7] = [
        ("a_ring_captures_an_exchange_and_a_cut", |kind| exchange_and_cut(kind, CaptureSpec::RING)),
        ("a_file_captures_an_exchange_and_a_cut", |kind| exchange_and_cut(kind, CaptureSpec::WHOLE)),
        ("what_shaping_did_is_captured", what_shaping_did_is_captured),
        ("what_a_cut_took_on_its_way_is_captured", what_a_cut_took_on_its_way),
        ("a_ring_keeps_the_newest", a_ring_keeps_the_newest),
        ("a_slow_file_costs_packets_and_nothing_else", a_slow_file),
        ("captures_take_turns_and_say_what_is_wrong", captures_take_turns),
    ];
    fixture::for_both_ports(trials, allowed, &tests);
}

/// Returns the packets that came into the switch from host `from` for host `to`.
fn entered(capture: &Capture, from: u8, to: u8) -> impl Iterator<Item = &Packet> {
    let address = |number| Ipv4Addr::new(10, 77, 0, number);
    capture.packets.iter().filter(move |packet| {
        let is_from = packet.direction == OUTBOUND && packet.interface == u32::from(from) - 1;
        assert!(!is_from || packet.source() == address(from), "{packet:?} is not from its interface");
        is_from && packet.destination() == address(to)
    })
}

/// To how many packets of a link `what` happened, according to the comments.
fn total(capture: &Capture, from: u8, to: u8, what: &str) -> u64 {
    entered(capture, from, to).map(|packet| packet.count(what)).sum()
}

fn marks(capture: &Capture) -> Vec<&str> {
    capture.marks.iter().map(|mark| mark.text.as_str()).collect()
}

fn open(file: &Path) -> Capture {
    pcapng::read(&fs::read(file).unwrap())
}

/// Small messages, data in large units, and a cut while there is something to drop, between two marks.
fn exchange_and_cut(kind: PortKind, spec: CaptureSpec) {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("network.pcapng");
    let arena = arena(3, kind);
    let switch = arena.switch().clone();
    let before = SystemTime::now();
    let start = RunStart::now();
    let capture = switch.capture(&spec, start, &file).unwrap();

    let (address, server) = echo_once(&host(&arena, 2));
    let mut stream = connect(&host(&arena, 1), address);
    for mark in 0..50 {
        round_trip(&mut stream, mark);
    }
    let mut writer = stream.try_clone().unwrap();
    let sender = thread::spawn(move || writer.write_all(&vec![7; 1 << 20]).unwrap());
    stream.read_exact(&mut vec![0; 1 << 20]).unwrap();
    sender.join().unwrap();
    let marked = switch.mark("n1 can no longer reach n2").unwrap();
    let cut = switch.apply(&[(node(1), node(2), LinkPolicy::CUT)]).unwrap();
    assert_eq!(probe(&switch, 1, 2), ProbeOutcome::Dropped);
    stream.write_all(&[9; 64]).unwrap();
    let dropped = || switch.counters(&node(1), &node(2)).unwrap().dropped_packets;
    wait_until("TCP has sent again in vain", || dropped() >= 3);
    let healed = switch.apply(&[(node(1), node(2), LinkPolicy::OPEN)]).unwrap();
    switch.mark("n1 can reach n2 again").unwrap();
    stream.read_exact(&mut [0; 64]).unwrap();
    drop(stream);
    server.join().unwrap();
    // No packet can come between the counters and the end of the capture.
    arena.close().unwrap();
    let summary = capture.finish().unwrap().unwrap();
    let after = SystemTime::now();

    let read = open(&file);
    assert_eq!((summary.path.as_path(), summary.missing, summary.marks), (file.as_path(), 0, 2));
    for (from, to) in [(1, 2), (2, 1), (1, 3), (2, 3)] {
        let link = switch.counters(&node(from), &node(to)).unwrap();
        assert_eq!(total(&read, from, to, "forwarded"), link.forwarded_packets, "{from} to {to}");
        assert_eq!(total(&read, from, to, "dropped by a cut"), link.dropped_packets, "{from} to {to}");
        let passed = entered(&read, from, to).filter(|packet| packet.count("forwarded") > 0);
        assert_eq!(passed.map(|packet| u64::from(packet.original)).sum::<u64>(), link.forwarded_bytes);
    }
    // The cut is where the marks say, and nowhere else.
    assert_eq!(marks(&read), ["n1 can no longer reach n2", "n1 can reach n2 again"]);
    let run_start = read.comment.lines().next().unwrap().strip_prefix("run-start-ns=").unwrap();
    let run_start: u64 = run_start.parse().unwrap();
    let in_the_run = |packet: &Packet| start.instant + Duration::from_nanos(packet.timestamp - run_start);
    for packet in entered(&read, 1, 2) {
        let is_cut = (cut..healed).contains(&in_the_run(packet));
        assert_eq!(packet.count("dropped by a cut") == packet.packets(), is_cut, "{packet:?}");
    }
    let mark = &read.marks[0];
    let marked_in_the_run = Duration::from_nanos(mark.run_time);
    assert_eq!(start.instant + marked_in_the_run, marked, "the file's clock is not the run's");
    assert_eq!(mark.microseconds, (run_start + mark.run_time) / 1000);
    let (earlier, later) = read.packets.split_at(mark.position);
    assert!(earlier.iter().all(|packet| in_the_run(packet) <= marked));
    assert!(later.iter().all(|packet| in_the_run(packet) >= marked));
    assert!(marked < cut);

    assert!(read.packets.is_sorted_by_key(|packet| packet.timestamp));
    let nanoseconds = |at: SystemTime| at.duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let (first, last) = (&read.packets[0], &read.packets[read.packets.len() - 1]);
    assert!(nanoseconds(before) <= first.timestamp && last.timestamp <= nanoseconds(after));

    for (interface, number) in read.interfaces.iter().zip(1..) {
        assert_eq!(interface.name, node(number).as_str());
        assert_eq!(interface.address, Ipv4Addr::new(10, 77, 0, number));
        assert_eq!(read.names[&interface.address], interface.name);
    }
    assert_eq!(read.interfaces.len(), 3);
    for interface in &read.interfaces {
        assert_eq!((interface.link_type, interface.snap_length, interface.resolution), (228, 256, 9));
    }
    let is_snapped = |packet: &Packet| packet.bytes.len() == packet.original.min(256) as usize;
    assert!(read.packets.iter().all(is_snapped));
    assert!(read.packets.iter().any(|packet| packet.packets() > 1), "no unit was large");
    let [one, two] = [0, 1].map(|host| read.statistics[&host]);
    assert_eq!((one.0 + two.0, one.1 + two.1), (summary.packets, 0));
    agrees_with_tshark(&file, &read);
}

/// Wireshark's own reader must see the same, if it is installed.
fn agrees_with_tshark(file: &Path, read: &Capture) {
    let mut command = Command::new("tshark");
    // The user's own settings could be unreadable, and could change the output.
    let folder = file.parent().unwrap();
    command.env("HOME", folder).env("XDG_CONFIG_HOME", folder);
    command.args(["-T", "fields", "-E", "separator=|", "-n", "-r"]).arg(file);
    let fields = [
        "frame.interface_name",
        "frame.time_epoch",
        "frame.cap_len",
        "frame.comment",
        "systemd_journal.message",
    ];
    command.args(fields.iter().flat_map(|field| ["-e", field]));
    let output = match command.output() {
        Ok(output) => output,
        // Permission is denied if the program does not exist and PATH names folders that this user may not
        // enter.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {
            println!("tshark skipped: {error}");
            return;
        }
        Err(error) => panic!("tshark does not run: {error}"),
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let seconds =
        |nanoseconds: u64| format!("{}.{:09}", nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000);
    let mut expected: Vec<String> = read
        .packets
        .iter()
        .map(|packet| {
            let name = &read.interfaces[packet.interface as usize].name;
            let (at, length) = (seconds(packet.timestamp), packet.bytes.len());
            format!("{name}|{at}|{length}|{}|", packet.comment)
        })
        .collect();
    let mut text: Vec<String> = text.lines().map(str::to_owned).collect();
    for (mark, earlier) in read.marks.iter().zip(0..) {
        let place = mark.position + earlier;
        // The length is that of the entry, which does not matter.
        let fields: Vec<&str> = text[place].split('|').collect();
        text[place] = [fields[0], fields[1], "", fields[3], fields[4]].join("|");
        expected.insert(place, format!("|{}|||{}", seconds(mark.microseconds * 1000), mark.text));
    }
    assert_eq!(text, expected);
}

/// Datagrams from `n1` to `n2`, each with its number, in bursts that no queue is too short for.
fn send_numbered(arena: &Arena, count: u32) -> UdpSocket {
    let socket = |number| {
        let host = host(arena, number);
        host.enter(|| UdpSocket::bind((host.address(), 0))).unwrap().unwrap()
    };
    let (sender, receiver) = (socket(1), socket(2));
    let to = receiver.local_addr().unwrap();
    let accounted_for = |sent: u32| {
        let link = arena.switch().counters(&node(1), &node(2)).unwrap();
        link.forwarded_packets + link.dropped_packets + link.overflowed_packets
            >= u64::from(sent) + link.duplicated_packets
    };
    for number in 0..count {
        sender.send_to(&number.to_be_bytes(), to).unwrap();
        if number % 20 == 19 || number + 1 == count {
            wait_until("every datagram is accounted for", || accounted_for(number + 1));
        }
    }
    receiver
}

fn number(packet: &Packet) -> u32 {
    u32::from_be_bytes(packet.bytes[28..32].try_into().unwrap())
}

fn what_shaping_did_is_captured(kind: PortKind) {
    const SENT: u32 = 400;
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("network.pcapng");
    let arena = arena(2, kind);
    let switch = arena.switch().clone();
    let third = Probability::from_millionths(333_333).unwrap();
    let policy = LinkPolicy {
        delay: Duration::from_micros(200),
        jitter: Duration::from_micros(300),
        loss: third,
        duplicate: third,
        corrupt: Some(Corrupt { probability: third, damage: Damage::Undetected }),
        seed: 5,
        ..LinkPolicy::OPEN
    };
    switch.apply(&[(node(1), node(2), policy)]).unwrap();
    let capture = switch.capture(&CaptureSpec::RING, RunStart::now(), &file).unwrap();
    send_numbered(&arena, SENT);
    // Data in large units, which are captured as such and taken apart afterwards.
    let gentle = LinkPolicy { delay: policy.delay, ..LinkPolicy::OPEN };
    switch.apply(&[(node(1), node(2), gentle), (node(2), node(1), gentle)]).unwrap();
    let (address, server) = echo_once(&host(&arena, 2));
    let mut stream = connect(&host(&arena, 1), address);
    stream.write_all(&[7; 60_000]).unwrap();
    stream.read_exact(&mut [0; 60_000]).unwrap();
    drop(stream);
    server.join().unwrap();
    // Sent after the packets in flight, so that none is left when these have arrived.
    switch.apply(&[(node(1), node(2), LinkPolicy::OPEN), (node(2), node(1), LinkPolicy::OPEN)]).unwrap();
    assert!(fixture::arrives(&switch, 1, 2) && fixture::arrives(&switch, 2, 1));
    arena.close().unwrap();
    let summary = capture.finish().unwrap().unwrap();
    assert_eq!(summary.missing, 0);

    let read = open(&file);
    let undelivered = read.packets.iter().filter(|packet| packet.direction == INBOUND).count();
    assert_eq!(undelivered, 0, "{:?}", marks(&read));
    for (from, to) in [(1, 2), (2, 1)] {
        let link = switch.counters(&node(from), &node(to)).unwrap();
        let total = |what| total(&read, from, to, what);
        assert_eq!(total("lost by policy"), link.dropped_packets);
        assert_eq!(total("delayed"), link.delayed_packets);
        assert_eq!(total("duplicated"), link.duplicated_packets);
        assert_eq!(total("damaged"), link.damaged_packets);
        assert_eq!(total("forwarded") + total("duplicated"), link.forwarded_packets);
        assert_eq!(total("dropped"), 0);
    }
    let link = switch.counters(&node(1), &node(2)).unwrap();
    assert!(
        link.dropped_packets > 50 && link.duplicated_packets > 50 && link.damaged_packets > 50,
        "{link:?}"
    );
    // Captured as sent, the damaged ones too: every number is there, once and in order.
    let sent = entered(&read, 1, 2).filter(|packet| packet.bytes[9] == 17 && packet.original == 32);
    assert!(sent.map(number).eq(0..SENT));
    let unit = entered(&read, 1, 2).find(|packet| packet.packets() > 1).expect("a unit of several packets");
    assert_eq!(unit.count("forwarded"), unit.packets());
    assert!(unit.comment.contains("delayed by up to 200µs"), "{}", unit.comment);
}

fn what_a_cut_took_on_its_way(kind: PortKind) {
    const SENT: usize = 5;
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("network.pcapng");
    let arena = arena(2, kind);
    let switch = arena.switch().clone();
    let long = LinkPolicy { delay: Duration::from_secs(1), ..LinkPolicy::OPEN };
    switch.apply(&[(node(1), node(2), long)]).unwrap();
    let capture = switch.capture(&CaptureSpec::RING, RunStart::now(), &file).unwrap();
    let sender = host(&arena, 1);
    let socket = sender.enter(|| UdpSocket::bind((sender.address(), 0))).unwrap().unwrap();
    for _ in 0..SENT {
        socket.send_to(b"late", (host(&arena, 2).address(), 1)).unwrap();
    }
    let count = || switch.counters(&node(1), &node(2)).unwrap();
    wait_until("all are on their way", || count().delayed_packets == SENT as u64);
    switch.apply(&[(node(1), node(2), LinkPolicy::CUT)]).unwrap();
    wait_until("all are due", || count().dropped_packets == SENT as u64);
    let summary = capture.finish().unwrap().unwrap();

    let read = open(&file);
    assert_eq!(summary.packets, SENT as u64);
    assert!(entered(&read, 1, 2).all(|packet| packet.comment == "forwarded, delayed by 1s"));
    let taken: Vec<_> = read.packets.iter().filter(|packet| packet.direction == INBOUND).collect();
    assert_eq!(taken.len(), SENT);
    for (taken, sent) in taken.into_iter().zip(entered(&read, 1, 2)) {
        assert_eq!((taken.interface, &taken.bytes), (1, &sent.bytes));
        assert!(taken.timestamp - sent.timestamp >= 1_000_000_000);
        assert_eq!(taken.comment, "did not arrive, though sent on its way: dropped by a cut");
    }
}

fn a_ring_keeps_the_newest(kind: PortKind) {
    const SENT: u32 = 2000;
    const BYTES: usize = 32 << 10;
    /// The overhead of a packet in a ring, besides its own bytes.
    const HEADER: usize = 48;
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("network.pcapng");
    let arena = arena(2, kind);
    let spec = CaptureSpec { extent: Extent::Ring { bytes: BYTES }, ..CaptureSpec::RING };
    let capture = arena.switch().capture(&spec, RunStart::now(), &file).unwrap();
    arena.switch().mark("before everything").unwrap();
    send_numbered(&arena, SENT);
    arena.switch().mark("after everything").unwrap();
    assert!(!file.exists(), "a ring is written at the end only");
    let summary = capture.finish().unwrap().unwrap();

    let read = open(&file);
    assert_eq!(marks(&read), ["before everything", "after everything"]);
    let kept: Vec<u32> = entered(&read, 1, 2).map(number).collect();
    let first = SENT - kept.len() as u32;
    assert!(kept.iter().copied().eq(first..SENT), "{kept:?}");
    // All are of one length, so that the ring is full but for two gaps.
    let each = HEADER + 32;
    assert!(kept.len() * each <= BYTES && (kept.len() + 2) * each > BYTES, "{} are kept", kept.len());
    assert_eq!((summary.packets, summary.missing), (kept.len() as u64, u64::from(first)));
    assert_eq!(read.statistics[&0], (SENT.into(), first.into()));
}

/// The file is a pipe that nobody reads until everything has been sent, like a stopped disk.
fn a_slow_file(kind: PortKind) {
    const SENT: usize = 64 << 20;
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("pipe");
    mkfifo(&file, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    let reader = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&file).unwrap();
    fcntl(&reader, FcntlArg::F_SETFL(OFlag::empty())).unwrap();

    let arena = arena(2, kind);
    let switch = arena.switch().clone();
    let spec = CaptureSpec { snap_length: NonZeroU16::MAX, ..CaptureSpec::WHOLE };
    let capture = switch.capture(&spec, RunStart::now(), &file).unwrap();
    switch.mark("sending begins").unwrap();
    sink(&arena, SENT);
    switch.mark("sending has ended").unwrap();
    // None of this could have happened if the switch had waited for the pipe.
    let taken = Arc::new(AtomicUsize::new(0));
    let reading = thread::spawn({
        let (mut reader, taken) = (reader, Arc::clone(&taken));
        move || {
            let mut bytes = Vec::new();
            while (&mut reader).take(1 << 20).read_to_end(&mut bytes).unwrap() > 0 {
                taken.store(bytes.len(), Ordering::Relaxed);
            }
            bytes
        }
    });
    // There is room again: the next record has the number of those missing before it.
    wait_until("the writer goes on", || taken.load(Ordering::Relaxed) > 8 << 20);
    assert!(fixture::arrives(&switch, 1, 2) && fixture::arrives(&switch, 2, 1));
    arena.close().unwrap();
    let summary = capture.finish().unwrap().unwrap();

    let read = pcapng::read(&reading.join().unwrap());
    let forwarded = |from, to| switch.counters(&node(from), &node(to)).unwrap().forwarded_packets;
    let captured = total(&read, 1, 2, "forwarded");
    assert!(captured > 0 && captured < forwarded(1, 2), "{captured} of {}", forwarded(1, 2));
    assert!(summary.missing > 0, "{summary:?}");
    let [one, two] = [0, 1].map(|host| read.statistics[&host]);
    assert_eq!(one.0 + two.0, summary.packets + summary.missing);
    assert_eq!(one.1 + two.1, summary.missing);
    let outbound = read.packets.iter().filter(|packet| packet.direction == OUTBOUND);
    assert_eq!(outbound.clone().count() as u64, summary.packets);
    let told: u64 = outbound.map(|packet| packet.missed).sum();
    assert_eq!(told, summary.missing);
    assert_eq!(marks(&read), ["sending begins", "sending has ended"]);
}

/// Sends `length` bytes from `n1` to `n2`, which says when it has them all.
fn sink(arena: &Arena, length: usize) {
    let receiver = host(arena, 2);
    let listener = receiver.enter(|| TcpListener::bind((receiver.address(), 0))).unwrap().unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        io::copy(&mut (&mut stream).take(length as u64), &mut io::sink()).unwrap();
        stream.write_all(&[1]).unwrap();
    });
    let mut stream = connect(&host(arena, 1), address);
    let data = vec![7; 1 << 20];
    for _ in 0..length / data.len() {
        stream.write_all(&data).unwrap();
    }
    stream.read_exact(&mut [0]).unwrap();
    server.join().unwrap();
}

fn captures_take_turns(kind: PortKind) {
    let folder = TempDir::new().unwrap();
    let file = |name: &str| folder.path().join(name);
    let arena = arena(2, kind);
    let switch = arena.switch().clone();
    let begin = |spec: &CaptureSpec, name: &str| switch.capture(spec, RunStart::now(), &file(name));
    assert!(switch.mark("nobody listens").is_ok());

    let off = begin(&CaptureSpec::OFF, "off").unwrap();
    let first = begin(&CaptureSpec::RING, "first").unwrap();
    for spec in [CaptureSpec::RING, CaptureSpec::WHOLE] {
        let refused = begin(&spec, "refused").unwrap_err();
        assert!(matches!(refused, CaptureError::AlreadyCapturing), "{refused:?}");
    }
    assert_eq!(off.finish().unwrap(), None);
    // Neither attempt has ended the first capture.
    fixture::arrives(&switch, 1, 2);
    assert_eq!(first.finish().unwrap().unwrap().packets, 1);

    let snap_length = NonZeroU16::new(200).unwrap();
    let small = CaptureSpec { extent: Extent::Ring { bytes: 247 }, snap_length };
    let refused = begin(&small, "small").unwrap_err();
    assert!(matches!(refused, CaptureError::RingTooSmall { bytes: 247, needed: 248 }), "{refused:?}");
    let refused = begin(&CaptureSpec::WHOLE, "nowhere/file").unwrap_err();
    assert!(refused.to_string().contains("nowhere/file"), "{refused}");

    // Dropped unfinished, a ring leaves nothing and a file what it has; and another capture may follow.
    drop(begin(&CaptureSpec::RING, "forgotten").unwrap());
    let dropped = begin(&CaptureSpec::WHOLE, "dropped").unwrap();
    fixture::arrives(&switch, 1, 2);
    drop(dropped);
    assert_eq!(open(&file("dropped")).packets.len(), 1);
    let mut names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["dropped", "first"]);

    let full = Path::new("/dev/full");
    if full.exists() {
        let lost = switch.capture(&CaptureSpec::RING, RunStart::now(), full).unwrap().finish().unwrap_err();
        assert!(matches!(lost, CaptureError::Write { .. }), "{lost:?}");
    }
    arena.close().unwrap();
    let stopped = begin(&CaptureSpec::RING, "late").unwrap_err();
    assert!(matches!(stopped, CaptureError::Switch(SwitchError::Stopped)), "{stopped:?}");
    assert!(matches!(switch.mark("too late").unwrap_err(), SwitchError::Stopped));
}
