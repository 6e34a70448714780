//! Taking large units of TCP data apart, and damaging packets.
//!
//! A host leaves segmentation and checksums to the receiver of its packets. Where a policy decides packet by
//! packet, the switch must do that work itself.

use super::frame::Frame;
use super::policy::Damage;
use crate::sys::tun::OFFLOAD_HEADER;

/// The checksum is unfinished: it covers the pseudo-header only. In the first byte of the offload header.
const UNFINISHED: u8 = 1;
const TCP: u8 = 6;
const FIN_AND_PSH: u8 = 0x09;
const CWR: u8 = 0x80;

/// The packets that `frame` stands for, each with an offload header of its own; the frame itself when it is one
/// packet or nothing that can be taken apart.
pub fn packets(frame: &Frame<'_>) -> Vec<Vec<u8>> {
    split(frame).unwrap_or_else(|| vec![frame.bytes.to_vec()])
}

fn split(frame: &Frame<'_>) -> Option<Vec<Vec<u8>>> {
    if frame.segments() < 2 {
        return None;
    }
    let bytes = frame.bytes;
    let ip = frame.ip;
    let tcp = ip + usize::from(bytes[ip] & 0x0f) * 4;
    if bytes[ip + 9] != TCP || bytes.len() < tcp + 20 {
        return None;
    }
    let data = tcp + usize::from(bytes[tcp + 12] >> 4) * 4;
    let size = usize::from(u16::from_ne_bytes([bytes[4], bytes[5]]));
    let first = u32::from_be_bytes([bytes[tcp + 4], bytes[tcp + 5], bytes[tcp + 6], bytes[tcp + 7]]);
    let id = u16::from_be_bytes([bytes[ip + 4], bytes[ip + 5]]);
    let chunks = bytes.get(data..)?.chunks(size);
    let count = chunks.len();
    let mut packets = Vec::with_capacity(count);
    for (number, chunk) in chunks.enumerate() {
        let mut packet = Vec::with_capacity(data + chunk.len());
        packet.extend_from_slice(&bytes[..data]);
        packet.extend_from_slice(chunk);
        // No longer a large unit: type and segment size go, flags and the place of the checksum stay.
        packet[1] = 0;
        packet[4..6].fill(0);
        // A frame holds at most 64 KiB, so these fit their 16 bits.
        let length = (packet.len() - ip) as u16;
        packet[ip + 2..ip + 4].copy_from_slice(&length.to_be_bytes());
        packet[ip + 4..ip + 6].copy_from_slice(&id.wrapping_add(number as u16).to_be_bytes());
        packet[ip + 10..ip + 12].fill(0);
        let checksum = !sum(&packet[ip..tcp], 0);
        packet[ip + 10..ip + 12].copy_from_slice(&checksum.to_be_bytes());
        let sequence = first.wrapping_add((number * size) as u32);
        packet[tcp + 4..tcp + 8].copy_from_slice(&sequence.to_be_bytes());
        if number + 1 < count {
            packet[tcp + 13] &= !FIN_AND_PSH;
        }
        if number > 0 {
            packet[tcp + 13] &= !CWR;
        }
        // The unfinished checksum covers the pseudo-header, in which the length has changed.
        let length = (packet.len() - tcp) as u32;
        let pseudo = sum(&packet[ip + 12..ip + 20], u32::from(TCP) + length);
        packet[tcp + 16..tcp + 18].copy_from_slice(&pseudo.to_be_bytes());
        packet[0] |= UNFINISHED;
        packets.push(packet);
    }
    Some(packets)
}

/// Damages one packet at a place that `random` picks.
///
/// Only a packet whose checksum is still unfinished, as every TCP or UDP packet of a host here, can be damaged in
/// a chosen way; others are left alone. Says whether the packet was damaged.
pub fn damage(packet: &mut [u8], link_header: usize, damage: Damage, random: u32) -> Damaged {
    if packet[0] & UNFINISHED == 0 {
        return Damaged::No;
    }
    // Offsets in the offload header count from the end of it.
    let field = |at: usize| usize::from(u16::from_ne_bytes([packet[at], packet[at + 1]]));
    let start = OFFLOAD_HEADER + field(6);
    let checksum = start + field(8);
    let ip = OFFLOAD_HEADER + link_header;
    if checksum + 2 > packet.len() {
        return Damaged::No;
    }
    let data = match packet[ip + 9] {
        TCP => start + usize::from(packet.get(start + 12).copied().unwrap_or(0) >> 4) * 4,
        _ => start + 8,
    };
    let bit = 1 << (random % 8);
    let carried = packet.len().saturating_sub(data);
    if damage == Damage::BadChecksum {
        // Zero would mean "no checksum" to UDP; the two are the same number to this arithmetic.
        let finished = match !sum(&packet[start..], 0) {
            0 => 0xffff,
            other => other,
        };
        packet[checksum..checksum + 2].copy_from_slice(&finished.to_be_bytes());
        packet[..OFFLOAD_HEADER].fill(0);
    } else if carried == 0 {
        return Damaged::No;
    }
    let place = if carried == 0 { checksum } else { data + (random >> 3) as usize % carried };
    packet[place] ^= bit;
    Damaged::Yes
}

/// Whether a packet could be damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damaged {
    /// One bit is flipped.
    Yes,
    /// It is as it was.
    No,
}

/// The Internet checksum's sum (RFC 1071) of `bytes`, added to `initial`; not complemented.
fn sum(bytes: &[u8], initial: u32) -> u16 {
    let mut total = u64::from(initial);
    for pair in bytes.chunks(2) {
        total += u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    }
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A TCP unit of `data` bytes in segments of `size`, as a TUN port delivers it.
    fn unit(data: usize, size: u16) -> Vec<u8> {
        let mut bytes = vec![0; OFFLOAD_HEADER + 40];
        bytes.extend((0..data).map(|position| position as u8));
        bytes[0] = UNFINISHED;
        bytes[1] = 1;
        bytes[2..4].copy_from_slice(&40_u16.to_ne_bytes());
        bytes[4..6].copy_from_slice(&size.to_ne_bytes());
        bytes[6..8].copy_from_slice(&20_u16.to_ne_bytes());
        bytes[8..10].copy_from_slice(&16_u16.to_ne_bytes());
        let ip = &mut bytes[OFFLOAD_HEADER..];
        ip[0] = 0x45;
        ip[9] = TCP;
        ip[12..20].copy_from_slice(&[10, 77, 0, 1, 10, 77, 0, 2]);
        ip[24..28].copy_from_slice(&u32::MAX.to_be_bytes());
        ip[32] = 5 << 4;
        ip[33] = FIN_AND_PSH | CWR | 0x10;
        let length = (ip.len() - 20) as u32;
        let pseudo = sum(&ip[12..20], u32::from(TCP) + length);
        ip[36..38].copy_from_slice(&pseudo.to_be_bytes());
        bytes
    }

    #[test]
    fn a_unit_is_taken_apart_without_a_byte_changed() {
        let bytes = unit(3000, 1400);
        let packets = packets(&Frame::parse(&bytes, 0).unwrap());
        let lengths: Vec<usize> = packets.iter().map(|packet| packet.len() - OFFLOAD_HEADER - 40).collect();
        assert_eq!(lengths, [1400, 1400, 200]);
        let data: Vec<u8> =
            packets.iter().flat_map(|packet| packet[OFFLOAD_HEADER + 40..].to_vec()).collect();
        assert_eq!(data, bytes[OFFLOAD_HEADER + 40..]);
        let flags: Vec<u8> = packets.iter().map(|packet| packet[OFFLOAD_HEADER + 33]).collect();
        assert_eq!(flags, [CWR | 0x10, 0x10, FIN_AND_PSH | 0x10]);
        for (packet, sequence) in packets.iter().zip([u32::MAX, 1399, 2799]) {
            assert_eq!(packet[OFFLOAD_HEADER + 24..OFFLOAD_HEADER + 28], sequence.to_be_bytes());
            assert_eq!(sum(&packet[OFFLOAD_HEADER..OFFLOAD_HEADER + 20], 0), 0xffff, "IP checksum");
            assert_eq!(Frame::parse(packet, 0).unwrap().segments(), 1);
        }
    }

    #[test]
    fn bad_checksums_do_not_match_and_undetected_damage_stays_unfinished() {
        let whole = packets(&Frame::parse(&unit(100, 1400), 0).unwrap()).remove(0);
        for random in [0, 12_345, u32::MAX] {
            let mut bad = whole.clone();
            assert_eq!(damage(&mut bad, 0, Damage::BadChecksum, random), Damaged::Yes);
            assert_eq!(bad[0], 0, "the receiver must check");
            let check = |packet: &[u8]| {
                let (ip, tcp) = packet[OFFLOAD_HEADER..].split_at(20);
                sum(tcp, u32::from(sum(&ip[12..20], u32::from(TCP) + tcp.len() as u32)))
            };
            assert_ne!(check(&bad), 0xffff);
            // With the data as it was the checksum would match: the damage is that one bit.
            let data = OFFLOAD_HEADER + 40;
            bad[data..].copy_from_slice(&whole[data..]);
            assert_eq!(check(&bad), 0xffff);

            let mut unseen = whole.clone();
            assert_eq!(damage(&mut unseen, 0, Damage::Undetected, random), Damaged::Yes);
            let different: Vec<usize> = (0..whole.len()).filter(|&at| unseen[at] != whole[at]).collect();
            assert_eq!(different.len(), 1);
            assert!(different[0] >= OFFLOAD_HEADER + 40, "a header is damaged");
        }
    }
}
