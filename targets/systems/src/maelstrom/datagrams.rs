//! Messages between nodes as UDP datagrams: what the network does to packets, it does to messages.
//!
//! A message longer than one datagram is sent in several and is lost if one of them is.

use std::collections::HashMap;

/// The length of a part's header: the message's number, the part's place, and the number of parts.
const HEADER: usize = 12;
/// The most bytes of a message in one datagram.
const PART_MAX: usize = 32 << 10;
/// The most bytes of messages of which parts are missing; then the oldest is given up.
const PARTIAL_MAX: usize = 16 << 20;

/// Returns the datagrams of message `number` of its sender.
///
/// # Errors
/// A message of more than 2 GiB.
pub(super) fn datagrams(number: u64, message: &[u8]) -> Option<Vec<Vec<u8>>> {
    let count = u16::try_from(message.len().div_ceil(PART_MAX).max(1)).ok()?;
    let mut parts = message.chunks(PART_MAX);
    let datagram = |place: u16| {
        let part = parts.next().unwrap_or_default();
        let mut datagram = Vec::with_capacity(HEADER + part.len());
        datagram.extend(number.to_be_bytes());
        datagram.extend(place.to_be_bytes());
        datagram.extend(count.to_be_bytes());
        datagram.extend(part);
        datagram
    };
    Some((0..count).map(datagram).collect())
}

/// The messages of one sender of which parts have come in.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    partial: HashMap<u64, Vec<Option<Vec<u8>>>>,
    /// The numbers of these, in the order in which their first part came in.
    order: std::collections::VecDeque<u64>,
    bytes: usize,
}

impl Assembly {
    /// Takes a datagram; returns the message that it completes, after its number.
    pub(super) fn take(&mut self, datagram: &[u8]) -> Option<(u64, Vec<u8>)> {
        let (header, part) = datagram.split_at_checked(HEADER)?;
        let number = u64::from_be_bytes(header[..8].try_into().ok()?);
        let place = usize::from(u16::from_be_bytes(header[8..10].try_into().ok()?));
        let count = usize::from(u16::from_be_bytes(header[10..].try_into().ok()?));
        if count == 1 && place == 0 {
            return Some((number, part.to_vec()));
        }
        let parts = self.partial.entry(number).or_insert_with(|| {
            self.order.push_back(number);
            vec![None; count]
        });
        let slot = parts.get_mut(place)?;
        if slot.is_none() {
            self.bytes += part.len();
            *slot = Some(part.to_vec());
        }
        if parts.iter().all(Option::is_some) {
            let message: Vec<u8> = parts.drain(..).flatten().flatten().collect();
            self.forget(number);
            self.bytes -= message.len();
            return Some((number, message));
        }
        while self.bytes > PARTIAL_MAX
            && let Some(oldest) = self.order.front().copied()
        {
            let given_up = self.partial.get(&oldest).into_iter().flatten().flatten();
            self.bytes -= given_up.map(Vec::len).sum::<usize>();
            self.forget(oldest);
        }
        None
    }

    fn forget(&mut self, number: u64) {
        self.partial.remove(&number);
        self.order.retain(|known| *known != number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_any_length_arrive_whole_in_any_order_of_their_parts() {
        for length in [0, 1, PART_MAX, PART_MAX + 1, 5 * PART_MAX - 1] {
            let message: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let mut assembly = Assembly::default();
            let mut parts = datagrams(7, &message).unwrap();
            parts.reverse();
            let arrived: Vec<_> = parts.iter().filter_map(|part| assembly.take(part)).collect();
            assert_eq!(arrived, [(7, message)]);
            assert_eq!((assembly.bytes, assembly.partial.len()), (0, 0));
        }
    }

    #[test]
    fn a_message_without_one_of_its_parts_never_arrives_and_is_given_up() {
        let mut assembly = Assembly::default();
        for number in 0..2000 {
            let parts = datagrams(number, &vec![1; 2 * PART_MAX]).unwrap();
            assert_eq!(assembly.take(&parts[0]), None);
        }
        assert!(assembly.bytes <= PARTIAL_MAX + PART_MAX, "{}", assembly.bytes);
        assert_eq!(assembly.partial.len(), assembly.order.len());
    }

    #[test]
    fn what_is_no_datagram_of_ours_is_dropped() {
        let mut assembly = Assembly::default();
        for bytes in [&b""[..], b"short", &[0; HEADER], &[255; 40]] {
            assert_eq!(assembly.take(bytes), None, "{bytes:?}");
        }
    }
}
