//! `network.pcapng`, read back: the packets around a moment, and their outcomes.
//!
//! Reads the output of the switch's capture: one section, little or big endian, interfaces with names,
//! enhanced packet blocks with the packet's outcome as their comment, and the run's start in the section's
//! comment. Everything else is skipped.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::net::Ipv4Addr;
use std::path::Path;

/// A longer block is not ours.
const BLOCK_MAX: u32 = 1 << 20;
/// How many packets go into a page.
const PACKETS_MAX: usize = 12_000;
/// How far from a moment packets are kept, in nanoseconds.
const REACH_NS: i64 = 500_000_000;
/// The extent of the nearest surroundings, in nanoseconds.
const NEAR_NS: i64 = 50_000_000;

/// One packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// When, in nanoseconds since the run began; negative before.
    pub time: i64,
    /// The host it is from.
    pub from: String,
    /// The host it is for.
    pub to: String,
    /// The packet: `TCP 34512→6379 [PSH ACK]`.
    pub what: String,
    /// Its length in bytes, the IP header included.
    pub length: u32,
    /// Its outcome, unless it was simply forwarded.
    pub fate: String,
    /// Its part of a TCP connection, if it is one.
    pub segment: Option<Segment>,
}

impl Packet {
    /// Whether nothing of it was forwarded, as the comment of the capture says.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        !self.fate.is_empty() && !self.fate.contains("forwarded")
    }
}

/// A part of a TCP connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The ports of the sender and the receiver.
    pub ports: (u16, u16),
    /// The data, as much as was captured.
    pub data: Box<[u8]>,
    /// The length of all of the data, in bytes.
    pub length: u32,
}

/// The packets around some moments.
#[derive(Clone, Debug, Default)]
pub struct Packets {
    /// By time.
    pub packets: Vec<Packet>,
    /// How many packets the file has in all.
    pub total: u64,
    /// How many of the whole file met which fate.
    pub fates: BTreeMap<String, u64>,
    /// The times of the first and the last packet in the file.
    pub covered: Option<(i64, i64)>,
    /// The number of packets near the moments left out for lack of room.
    pub left_out: usize,
}

/// Reads the capture in the run's `folder`, and keeps packets within half a second of `spans`, in
/// nanoseconds. A missing file has no packets; a file that was cut short is read as far as it goes.
#[must_use]
pub fn packets(folder: &Path, spans: &[(u64, u64)]) -> Packets {
    let mut packets = Packets::default();
    if let Ok(file) = File::open(folder.join("network.pcapng"))
        && let Err(error) = read(BufReader::with_capacity(1 << 20, file), spans, &mut packets)
        && error.kind() != io::ErrorKind::UnexpectedEof
    {
        tracing::warn!(%error, "network.pcapng is read in part");
    }
    if packets.packets.len() > PACKETS_MAX {
        // Anomalies shown first come first, with their nearest surroundings; then packets with a special
        // outcome, which are more informative than the others.
        let rank = |packet: &Packet| {
            let near = spans.iter().position(|span| gap(packet.time, *span) <= NEAR_NS);
            (near.unwrap_or(usize::MAX), !packet.fate.is_empty())
        };
        let distance = |packet: &Packet| spans.iter().map(|span| gap(packet.time, *span)).min().unwrap_or(0);
        packets.packets.sort_by_cached_key(|packet| {
            let (near, told) = rank(packet);
            (near, !told, distance(packet))
        });
        packets.left_out = packets.packets.len() - PACKETS_MAX;
        packets.packets.truncate(PACKETS_MAX);
    }
    packets.packets.sort_by_key(|packet| packet.time);
    packets
}

/// How far `time` is from `span`; 0 within.
fn gap(time: i64, (from, to): (u64, u64)) -> i64 {
    (from.cast_signed() - time).max(time - to.cast_signed()).max(0)
}

#[derive(Default)]
struct Names {
    interfaces: Vec<String>,
    addresses: BTreeMap<Ipv4Addr, String>,
    run_start: i64,
}

fn read(mut file: impl Read, spans: &[(u64, u64)], packets: &mut Packets) -> io::Result<()> {
    let mut names = Names::default();
    let mut order = Order::Little;
    let mut head = [0; 8];
    let mut body = Vec::new();
    loop {
        file.read_exact(&mut head)?;
        let kind = order.four(&head, 0).unwrap_or(0);
        if kind == SECTION {
            let mut magic = [0; 4];
            file.read_exact(&mut magic)?;
            order = if u32::from_le_bytes(magic) == BYTE_ORDER { Order::Little } else { Order::Big };
            let length = order.four(&head, 4).unwrap_or(0);
            rest(&mut file, length, 12, &mut body)?;
            for (code, value) in (Options { order, bytes: body.get(12..).unwrap_or_default() }) {
                let text = String::from_utf8_lossy(value);
                if code == COMMENT
                    && let Some(start) = text.lines().find_map(|line| line.strip_prefix("run-start-ns="))
                {
                    names.run_start = start.parse().unwrap_or(0);
                }
            }
            continue;
        }
        rest(&mut file, order.four(&head, 4).unwrap_or(0), 8, &mut body)?;
        match kind {
            INTERFACE => names.interface(order, &body),
            PACKET => packet(order, &body, &names, spans, packets),
            _ => {}
        }
    }
}

const SECTION: u32 = 0x0a0d_0d0a;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const INTERFACE: u32 = 1;
const PACKET: u32 = 6;
const COMMENT: u16 = 1;

/// Reads the rest of a block of which `had` bytes were read, without its closing length.
fn rest(file: &mut impl Read, length: u32, had: u32, body: &mut Vec<u8>) -> io::Result<()> {
    if length > BLOCK_MAX || length < had + 4 || !length.is_multiple_of(4) {
        return Err(io::Error::other(format!("a block of {length} bytes")));
    }
    body.resize((length - had) as usize, 0);
    file.read_exact(body)?;
    body.truncate(body.len() - 4);
    Ok(())
}

#[derive(Clone, Copy)]
enum Order {
    Little,
    Big,
}

impl Order {
    fn two(self, bytes: &[u8], at: usize) -> Option<u16> {
        let pair = bytes.get(at..at + 2)?.try_into().ok()?;
        Some(match self {
            Self::Little => u16::from_le_bytes(pair),
            Self::Big => u16::from_be_bytes(pair),
        })
    }

    fn four(self, bytes: &[u8], at: usize) -> Option<u32> {
        let four = bytes.get(at..at + 4)?.try_into().ok()?;
        Some(match self {
            Self::Little => u32::from_le_bytes(four),
            Self::Big => u32::from_be_bytes(four),
        })
    }
}

/// The options at the end of a block.
struct Options<'a> {
    order: Order,
    bytes: &'a [u8],
}

impl<'a> Iterator for Options<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let code = self.order.two(self.bytes, 0)?;
        let length = usize::from(self.order.two(self.bytes, 2)?);
        let value = self.bytes.get(4..4 + length)?;
        if code == 0 {
            return None;
        }
        self.bytes = self.bytes.get(4 + length.next_multiple_of(4)..).unwrap_or_default();
        Some((code, value))
    }
}

impl Names {
    fn interface(&mut self, order: Order, body: &[u8]) {
        const NAME: u16 = 2;
        const ADDRESS: u16 = 4;
        let mut name = String::new();
        for (code, value) in (Options { order, bytes: body.get(8..).unwrap_or_default() }) {
            match (code, value) {
                (NAME, text) => name = String::from_utf8_lossy(text).into_owned(),
                (ADDRESS, [a, b, c, d, ..]) => {
                    self.addresses.insert(Ipv4Addr::new(*a, *b, *c, *d), name.clone());
                }
                _ => {}
            }
        }
        self.interfaces.push(name);
    }

    fn host(&self, address: Ipv4Addr) -> String {
        self.addresses.get(&address).cloned().unwrap_or_else(|| address.to_string())
    }
}

fn packet(order: Order, body: &[u8], names: &Names, spans: &[(u64, u64)], packets: &mut Packets) {
    let field = |at| order.four(body, at);
    let (Some(high), Some(low), Some(captured), Some(length)) = (field(4), field(8), field(12), field(16))
    else {
        return;
    };
    let wall = (u64::from(high) << 32 | u64::from(low)).cast_signed();
    let time = wall.saturating_sub(names.run_start);
    let captured = captured as usize;
    let bytes = body.get(20..20 + captured).unwrap_or_default();
    let options = body.get(20 + captured.next_multiple_of(4)..).unwrap_or_default();
    let fate = Options { order, bytes: options }
        .find(|(code, _)| *code == COMMENT)
        .map(|(_, text)| String::from_utf8_lossy(text).into_owned())
        .unwrap_or_default();
    packets.total += 1;
    let (first, last) = packets.covered.get_or_insert((time, time));
    (*first, *last) = ((*first).min(time), (*last).max(time));
    *packets.fates.entry(kind_of_fate(&fate)).or_default() += 1;
    if spans.iter().any(|span| gap(time, *span) <= REACH_NS)
        && let Some((from, to, what)) = told(bytes)
    {
        let (from, to, segment) = (names.host(from), names.host(to), segment(bytes, length));
        packets.packets.push(Packet { time, from, to, what, length, fate, segment });
    }
}

/// Returns an outcome without its figures: `12 packets: 8 forwarded, 1 dropped by a cut` and `dropped by a
/// cut` are one kind.
fn kind_of_fate(fate: &str) -> String {
    if fate.is_empty() {
        return "forwarded at once".to_owned();
    }
    const KINDS: [&str; 8] = [
        "did not arrive",
        "no host of the arena",
        "dropped by a cut",
        "lost by policy",
        "dropped by a full queue",
        "damaged",
        "duplicated",
        "delayed",
    ];
    let kind = KINDS.iter().find(|kind| fate.contains(**kind));
    kind.map_or_else(|| "forwarded as several".to_owned(), |kind| (*kind).to_owned())
}

/// Returns the part of a TCP connection in an IPv4 packet of `length` bytes, of which `bytes` were captured.
fn segment(bytes: &[u8], length: u32) -> Option<Segment> {
    let header = usize::from(bytes.first()? & 0xf) * 4;
    if *bytes.get(9)? != 6 {
        return None;
    }
    let ports = (Order::Big.two(bytes, header)?, Order::Big.two(bytes, header + 2)?);
    let begin = header + usize::from(bytes.get(header + 12)? >> 4) * 4;
    let length = length.saturating_sub(u32::try_from(begin).ok()?);
    Some(Segment { ports, data: bytes.get(begin..).unwrap_or_default().into(), length })
}

/// Returns the sender, the receiver, and a description of an IPv4 packet.
fn told(bytes: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr, String)> {
    let address = |at: usize| {
        let four: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
        Some(Ipv4Addr::from(four))
    };
    let (from, to) = (address(12)?, address(16)?);
    let payload = usize::from(bytes[0] & 0xf) * 4;
    let port = |at: usize| Order::Big.two(bytes, payload + at);
    let what = match (bytes.get(9)?, port(0), port(2)) {
        (6, Some(source), Some(destination)) => {
            const FLAGS: [(u8, &str); 5] = [(2, "SYN"), (1, "FIN"), (4, "RST"), (8, "PSH"), (16, "ACK")];
            let set = bytes.get(payload + 13).copied().unwrap_or(0);
            let flags: Vec<&str> =
                FLAGS.iter().filter(|(bit, _)| set & bit != 0).map(|(_, name)| *name).collect();
            format!("TCP {source}→{destination} [{}]", flags.join(" "))
        }
        (17, Some(source), Some(destination)) => format!("UDP {source}→{destination}"),
        (1, ..) => "ICMP".to_owned(),
        (protocol, ..) => format!("protocol {protocol}"),
    };
    Some((from, to, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_or_senseless_file_is_read_as_far_as_it_goes() {
        for bytes in [&b""[..], b"\x0a\x0d\x0d\x0a", &[0xff; 64], b"not a capture at all, but some text"] {
            let mut packets = Packets::default();
            read(bytes, &[(0, 1)], &mut packets).expect_err("ends");
            assert_eq!(packets.total, 0);
        }
    }

    #[test]
    fn fates_are_grouped() {
        assert_eq!(kind_of_fate("12 packets: 8 forwarded, 1 dropped by a cut"), "dropped by a cut");
        assert_eq!(kind_of_fate("forwarded, delayed by 5ms"), "delayed");
        assert_eq!(kind_of_fate("2 packets: 2 forwarded"), "forwarded as several");
        assert_eq!(kind_of_fate(""), "forwarded at once");
    }

    #[test]
    fn a_tcp_header_is_told() {
        let mut bytes = vec![0; 40];
        bytes[0] = 0x45;
        bytes[9] = 6;
        bytes[12..20].copy_from_slice(&[10, 77, 0, 1, 10, 77, 0, 2]);
        bytes[20..24].copy_from_slice(&[0x86, 0xd0, 0x18, 0xeb]);
        bytes[33] = 0x18;
        let (from, to, what) = told(&bytes).expect("IPv4");
        assert_eq!((from, to), (Ipv4Addr::new(10, 77, 0, 1), Ipv4Addr::new(10, 77, 0, 2)));
        assert_eq!(what, "TCP 34512→6379 [PSH ACK]");
        assert_eq!(told(&bytes[..10]), None);
        bytes[32] = 0x50;
        bytes.extend(b"SET");
        let captured = Segment { ports: (34512, 6379), data: b"SET"[..].into(), length: 100 };
        assert_eq!(segment(&bytes, 140), Some(captured));
        for end in 0..bytes.len() {
            assert!(segment(&bytes[..end], 140).is_none_or(|segment| segment.data.len() < 3));
        }
    }
}
