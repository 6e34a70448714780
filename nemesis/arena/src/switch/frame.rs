//! A packet as a port delivers it: an offload header, a link header on some ports, and IPv4.

use std::net::Ipv4Addr;

use crate::sys::tun::OFFLOAD_HEADER;

/// The largest frame a port can deliver: an offload header, an Ethernet header, and 64 KiB.
pub const CAPACITY: usize = OFFLOAD_HEADER + 14 + (64 << 10);

const IPV4_HEADER: usize = 20;
const UDP: u8 = 17;
/// The mask of the fragment offset: a later fragment has no UDP header in the usual place.
const FRAGMENT_OFFSET: u16 = 0x1fff;

/// A view of one frame.
#[derive(Clone, Copy)]
pub struct Frame<'a> {
    /// Everything, as it was read and is to be written.
    pub bytes: &'a [u8],
    /// The offset of the IP header.
    pub ip: usize,
}

impl<'a> Frame<'a> {
    /// Reads a frame from a port whose link header is `link_header` bytes long; `None` when it is not IPv4.
    pub fn parse(bytes: &'a [u8], link_header: usize) -> Option<Self> {
        let ip = OFFLOAD_HEADER + link_header;
        let complete = bytes.len() >= ip + IPV4_HEADER;
        (complete && bytes[ip] >> 4 == 4).then_some(Self { bytes, ip })
    }

    /// Returns the host the packet is for.
    pub fn destination(&self) -> Ipv4Addr {
        let at = self.ip + 16;
        Ipv4Addr::new(self.bytes[at], self.bytes[at + 1], self.bytes[at + 2], self.bytes[at + 3])
    }

    /// Length of the IP packet in bytes, headers included.
    pub fn length(&self) -> usize {
        self.bytes.len() - self.ip
    }

    /// How many packets this would be on a wire: TCP data travels here in units of up to 64 KiB.
    pub fn segments(&self) -> u64 {
        // The offload header's fields, in the machine's byte order: flags and type (one byte each), the length
        // of all headers, and the size of a segment.
        let field = |at: usize| usize::from(u16::from_ne_bytes([self.bytes[at], self.bytes[at + 1]]));
        let (headers, segment) = (field(2), field(4));
        if self.bytes[1] == 0 || segment == 0 {
            return 1;
        }
        let payload = self.bytes.len().saturating_sub(OFFLOAD_HEADER + headers);
        payload.div_ceil(segment).max(1) as u64
    }

    /// Whether this is a UDP datagram to `port`.
    pub fn is_datagram_to(&self, port: u16) -> bool {
        let header = &self.bytes[self.ip..];
        let options_end = usize::from(header[0] & 0x0f) * 4;
        let fragment = u16::from_be_bytes([header[6], header[7]]) & FRAGMENT_OFFSET;
        let to = header.get(options_end + 2..options_end + 4);
        header[9] == UDP && fragment == 0 && to == Some(&port.to_be_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(to: u16) -> Vec<u8> {
        let mut bytes = vec![0; OFFLOAD_HEADER + 28];
        let ip = &mut bytes[OFFLOAD_HEADER..];
        ip[0] = 0x45;
        ip[9] = UDP;
        ip[16..20].copy_from_slice(&[10, 77, 0, 2]);
        ip[22..24].copy_from_slice(&to.to_be_bytes());
        bytes
    }

    #[test]
    fn a_datagram_is_known_by_its_port_unless_it_is_a_later_fragment() {
        let mut bytes = datagram(9);
        let frame = Frame::parse(&bytes, 0).unwrap();
        assert_eq!(frame.destination(), Ipv4Addr::new(10, 77, 0, 2));
        assert!(frame.is_datagram_to(9));
        assert!(!frame.is_datagram_to(10));
        bytes[OFFLOAD_HEADER + 7] = 1;
        assert!(!Frame::parse(&bytes, 0).unwrap().is_datagram_to(9));
    }

    #[test]
    fn a_large_unit_counts_as_the_segments_it_stands_for() {
        let mut bytes = vec![0; OFFLOAD_HEADER + 40 + 3000];
        bytes[OFFLOAD_HEADER] = 0x45;
        assert_eq!(Frame::parse(&bytes, 0).unwrap().segments(), 1);
        bytes[1] = 1;
        bytes[2..4].copy_from_slice(&40_u16.to_ne_bytes());
        bytes[4..6].copy_from_slice(&1460_u16.to_ne_bytes());
        assert_eq!(Frame::parse(&bytes, 0).unwrap().segments(), 3);
    }

    #[test]
    fn what_is_not_ipv4_is_no_frame() {
        assert!(Frame::parse(&[0; 12], 0).is_none());
        let mut bytes = datagram(9);
        bytes[OFFLOAD_HEADER] = 0x60;
        assert!(Frame::parse(&bytes, 0).is_none());
    }
}
