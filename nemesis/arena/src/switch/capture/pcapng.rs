//! Blocks of the pcapng file format, as in draft-ietf-opsawg-pcapng, in the machine's byte order.

use std::net::Ipv4Addr;

/// The link type of packets that begin with an IPv4 header. That of either version of IP would do as well, but
/// libpcap, and with it tcpdump, has two numbers for it and takes a second interface for one of another type.
const RAW_IPV4: u16 = 228;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const SECTION_LENGTH_UNKNOWN: u64 = u64::MAX;
/// Ten to the minus ninth of a second.
const NANOSECONDS: u8 = 9;
/// The netmask of every host.
const NETMASK: [u8; 4] = [255, 255, 255, 0];

const END_OF_OPTIONS: u16 = 0;
const COMMENT: u16 = 1;
/// Options are padded to a multiple of this, as everything is.
const ALIGNMENT: usize = 4;
/// A longer message is cut short.
const LONGEST_TEXT: usize = 4096;

/// The direction of a packet, as seen by its host's interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The host would receive it.
    Inbound = 1,
    /// The host has sent it.
    Outbound = 2,
}

/// A packet for an enhanced packet block.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// The interface, by its position in the file.
    pub interface: u32,
    /// Nanoseconds since the Unix epoch.
    pub timestamp: u64,
    /// The packet's own length in bytes.
    pub original: u32,
    /// As much of it as was captured.
    pub bytes: &'a [u8],
    /// The packet's direction.
    pub direction: Direction,
    /// How many packets of the interface are missing since the one before.
    pub missed: u64,
    /// The comment; empty for none.
    pub comment: &'a str,
}

/// The contents of an interface statistics block.
#[derive(Clone, Copy, Debug)]
pub struct Statistics {
    /// The interface, by its position in the file.
    pub interface: u32,
    /// When the capture began and ended, in nanoseconds since the Unix epoch.
    pub between: [u64; 2],
    /// How many packets the interface has seen.
    pub received: u64,
    /// How many of them are not in the file.
    pub dropped: u64,
}

/// A growing run of blocks.
#[derive(Debug, Default)]
pub struct Blocks {
    bytes: Vec<u8>,
}

impl Blocks {
    /// Returns the bytes written since the last [`Blocks::clear`].
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Forgets the written bytes, and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Begins a file.
    pub fn section(&mut self, application: &str, comment: &str) {
        const USER_APPLICATION: u16 = 4;
        self.block(0x0a0d_0d0a, |block| {
            block.four(BYTE_ORDER);
            block.two(1);
            block.two(0);
            block.eight(SECTION_LENGTH_UNKNOWN);
            block.comment(comment);
            block.option(USER_APPLICATION, application.as_bytes());
            block.end_options();
        });
    }

    /// Describes the next interface, whose packets are captured up to `snap_length` bytes.
    pub fn interface(&mut self, name: &str, address: Ipv4Addr, snap_length: u16) {
        const NAME: u16 = 2;
        const ADDRESS: u16 = 4;
        const RESOLUTION: u16 = 9;
        self.block(1, |block| {
            block.two(RAW_IPV4);
            block.two(0);
            block.four(snap_length.into());
            block.option(NAME, name.as_bytes());
            block.option(ADDRESS, &[address.octets(), NETMASK].concat());
            block.option(RESOLUTION, &[NANOSECONDS]);
            block.end_options();
        });
    }

    /// Names the addresses.
    pub fn names<'a>(&mut self, names: impl Iterator<Item = (Ipv4Addr, &'a str)>) {
        const IPV4: u16 = 1;
        const END: u16 = 0;
        self.block(4, |block| {
            for (address, name) in names {
                block.option(IPV4, &[&address.octets(), name.as_bytes(), &[0]].concat());
            }
            block.two(END);
            block.two(0);
        });
    }

    /// Adds a packet.
    pub fn packet(&mut self, packet: &Packet<'_>) {
        const FLAGS: u16 = 2;
        const DROP_COUNT: u16 = 4;
        self.block(6, |block| {
            block.four(packet.interface);
            block.timestamp(packet.timestamp);
            block.four(packet.bytes.len() as u32);
            block.four(packet.original);
            block.padded(packet.bytes);
            block.option(FLAGS, &(packet.direction as u32).to_ne_bytes());
            if packet.missed > 0 {
                block.option(DROP_COUNT, &packet.missed.to_ne_bytes());
            }
            block.comment(packet.comment);
            block.end_options();
        });
    }

    /// Adds a message between the packets, as an entry of a systemd journal: the only kind of block besides
    /// packets that Wireshark shows as a line among them. Other readers skip it.
    ///
    /// Such an entry counts in microseconds; `run_time` is in nanoseconds since the run began.
    pub fn message(&mut self, timestamp: u64, run_time: i64, text: &str) {
        let mut end = text.len().min(LONGEST_TEXT);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        // A line is a field.
        let line = text[..end].replace(['\n', '\r'], " ");
        let entry = format!(
            "__REALTIME_TIMESTAMP={}\nPRIORITY=5\nSYSLOG_IDENTIFIER=nemesis\nMESSAGE={line}\n\
             DURESS_RUN_TIME_NS={run_time}\n",
            timestamp / 1000,
        );
        self.block(9, |block| block.padded(entry.as_bytes()));
    }

    /// Adds an interface's statistics.
    pub fn statistics(&mut self, statistics: &Statistics) {
        const START: u16 = 2;
        const END: u16 = 3;
        const RECEIVED: u16 = 4;
        const DROPPED: u16 = 5;
        let [began, ended] = statistics.between;
        self.block(5, |block| {
            block.four(statistics.interface);
            block.timestamp(ended);
            for (code, timestamp) in [(START, began), (END, ended)] {
                block.two(code);
                block.two(8);
                block.timestamp(timestamp);
            }
            block.option(RECEIVED, &statistics.received.to_ne_bytes());
            block.option(DROPPED, &statistics.dropped.to_ne_bytes());
            block.end_options();
        });
    }

    /// Writes a block around the output of `fill`: its length comes before and after it.
    fn block(&mut self, kind: u32, fill: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.four(kind);
        self.four(0);
        fill(self);
        let length = (self.bytes.len() - start + 4) as u32;
        self.four(length);
        self.bytes[start + 4..start + 8].copy_from_slice(&length.to_ne_bytes());
    }

    fn comment(&mut self, text: &str) {
        if !text.is_empty() {
            self.option(COMMENT, text.as_bytes());
        }
    }

    /// Adds an option, with as much of its value as an option holds: far more than anything here is long.
    fn option(&mut self, code: u16, value: &[u8]) {
        let value = &value[..value.len().min(u16::MAX.into())];
        self.two(code);
        self.two(value.len() as u16);
        self.padded(value);
    }

    fn end_options(&mut self) {
        self.two(END_OF_OPTIONS);
        self.two(0);
    }

    fn padded(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        let padding = bytes.len().next_multiple_of(ALIGNMENT) - bytes.len();
        self.bytes.extend_from_slice(&[0; ALIGNMENT][..padding]);
    }

    /// Writes a timestamp: the upper half comes first, whatever the byte order.
    fn timestamp(&mut self, nanoseconds: u64) {
        self.four((nanoseconds >> 32) as u32);
        self.four(nanoseconds as u32);
    }

    fn two(&mut self, value: u16) {
        self.bytes.extend_from_slice(&value.to_ne_bytes());
    }

    fn four(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_ne_bytes());
    }

    fn eight(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_ne_bytes());
    }
}
