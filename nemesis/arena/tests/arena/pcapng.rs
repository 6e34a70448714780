//! A separate reader of pcapng files, after the format's description, so that the switch's output is not read
//! by the code that wrote it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Everything in a file of one section.
#[derive(Debug, Default)]
pub struct Capture {
    pub comment: String,
    pub interfaces: Vec<Interface>,
    pub names: BTreeMap<Ipv4Addr, String>,
    pub packets: Vec<Packet>,
    pub marks: Vec<Mark>,
    /// By interface: received and dropped.
    pub statistics: BTreeMap<u32, (u64, u64)>,
}

#[derive(Debug)]
pub struct Interface {
    pub name: String,
    pub address: Ipv4Addr,
    pub link_type: u16,
    pub snap_length: u32,
    /// Timestamps count in ten to the minus so many seconds.
    pub resolution: u8,
}

#[derive(Clone, Debug)]
pub struct Packet {
    pub interface: u32,
    pub timestamp: u64,
    pub original: u32,
    pub bytes: Vec<u8>,
    /// 1 for inbound, 2 for outbound.
    pub direction: u32,
    pub missed: u64,
    pub comment: String,
}

/// An entry of a journal.
#[derive(Debug)]
pub struct Mark {
    /// The number of packets before it.
    pub position: usize,
    pub text: String,
    pub microseconds: u64,
    /// In nanoseconds since the run began.
    pub run_time: u64,
}

impl Packet {
    pub fn source(&self) -> Ipv4Addr {
        self.address(12)
    }

    pub fn destination(&self) -> Ipv4Addr {
        self.address(16)
    }

    fn address(&self, at: usize) -> Ipv4Addr {
        let octets: [u8; 4] = self.bytes[at..at + 4].try_into().unwrap();
        octets.into()
    }

    /// Returns the number of packets that the comment stands for.
    pub fn packets(&self) -> u64 {
        self.comment.split_once(" packets: ").map_or(1, |(count, _)| count.parse().unwrap())
    }

    /// Returns the number of them that had this outcome, by the comment.
    pub fn count(&self, what: &str) -> u64 {
        let parts = match self.comment.split_once(" packets: ") {
            None if self.comment.is_empty() => "forwarded",
            None => self.comment.as_str(),
            Some((_, parts)) => {
                let part = parts.split(", ").find(|part| part.contains(what));
                let number = part.map(|part| part.split(' ').next().unwrap().parse().unwrap());
                return number.unwrap_or(0);
            }
        };
        u64::from(parts.split(", ").any(|part| part.starts_with(what)))
    }
}

/// Reads a file that ends with a whole block.
pub fn read(mut bytes: &[u8]) -> Capture {
    let mut capture = Capture::default();
    while !bytes.is_empty() {
        let (kind, length) = (four(bytes, 0), four(bytes, 4) as usize);
        assert_eq!(length % 4, 0, "a block that is not aligned");
        assert_eq!(four(bytes, length - 4) as usize, length, "the lengths before and after a block differ");
        let body = &bytes[8..length - 4];
        match kind {
            0x0a0d_0d0a => {
                assert_eq!(four(body, 0), 0x1a2b_3c4d);
                capture.comment = text(&options(&body[16..]), 1);
            }
            1 => capture.interfaces.push(interface(body)),
            4 => capture.names = names(body),
            5 => {
                let options = options(&body[12..]);
                let count = |code| u64::from_ne_bytes(options[&code].as_slice().try_into().unwrap());
                capture.statistics.insert(four(body, 0), (count(4), count(5)));
            }
            6 => capture.packets.push(packet(body)),
            9 => capture.marks.push(mark(body, capture.packets.len())),
            other => panic!("a block of kind {other:#x}"),
        }
        bytes = &bytes[length..];
    }
    capture
}

fn interface(body: &[u8]) -> Interface {
    let options = options(&body[8..]);
    Interface {
        name: text(&options, 2),
        address: <[u8; 4]>::try_from(&options[&4][..4]).unwrap().into(),
        link_type: two(body, 0),
        snap_length: four(body, 4),
        resolution: options[&9][0],
    }
}

fn packet(body: &[u8]) -> Packet {
    let captured = four(body, 12) as usize;
    let options = options(&body[20 + captured.next_multiple_of(4)..]);
    Packet {
        interface: four(body, 0),
        timestamp: u64::from(four(body, 4)) << 32 | u64::from(four(body, 8)),
        original: four(body, 16),
        bytes: body[20..20 + captured].to_vec(),
        direction: options.get(&2).map_or(0, |value| four(value, 0)),
        missed: options.get(&4).map_or(0, |value| u64::from_ne_bytes(value.as_slice().try_into().unwrap())),
        comment: text(&options, 1),
    }
}

fn mark(body: &[u8], position: usize) -> Mark {
    let text = str::from_utf8(body).unwrap();
    let field = |name| text.lines().find_map(|line: &str| line.strip_prefix(name)).unwrap();
    Mark {
        position,
        text: field("MESSAGE=").into(),
        microseconds: field("__REALTIME_TIMESTAMP=").parse().unwrap(),
        run_time: field("DURESS_RUN_TIME_NS=").parse().unwrap(),
    }
}

fn names(mut body: &[u8]) -> BTreeMap<Ipv4Addr, String> {
    let mut names = BTreeMap::new();
    while two(body, 0) == 1 {
        let length = usize::from(two(body, 2));
        let value = &body[4..4 + length];
        let name = String::from_utf8(value[4..length - 1].to_vec()).unwrap();
        names.insert(Ipv4Addr::new(value[0], value[1], value[2], value[3]), name);
        body = &body[4 + length.next_multiple_of(4)..];
    }
    names
}

fn options(mut bytes: &[u8]) -> BTreeMap<u16, Vec<u8>> {
    let mut options = BTreeMap::new();
    while !bytes.is_empty() && two(bytes, 0) != 0 {
        let length = usize::from(two(bytes, 2));
        options.insert(two(bytes, 0), bytes[4..4 + length].to_vec());
        bytes = &bytes[4 + length.next_multiple_of(4)..];
    }
    assert_eq!(bytes, [0; 4], "options must end with the end of options");
    options
}

fn text(options: &BTreeMap<u16, Vec<u8>>, code: u16) -> String {
    options.get(&code).map_or_else(String::new, |value| String::from_utf8(value.clone()).unwrap())
}

fn two(bytes: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes(bytes[at..at + 2].try_into().unwrap())
}

fn four(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
}
