//! The newest records, in memory of a fixed size.

use super::record::Header;

/// Records one after the other in a circle; the oldest make way for the newest. No record is split where the
/// circle closes.
pub struct Ring {
    bytes: Box<[u8]>,
    /// The start of the oldest record.
    oldest: usize,
    /// The start of the next record, if there is room.
    next: usize,
    /// The end of the records before the wrap-around, while newer ones lie after it.
    turn: Option<usize>,
    /// How many records there are.
    count: usize,
}

impl Ring {
    /// Returns a ring of `capacity` bytes.
    pub fn new(capacity: usize) -> Self {
        // Not zero: zeroed memory is handed out by the kernel page by page as it is first written, and it would
        // be the switch thread that waits for it.
        let bytes = vec![0xff; capacity].into_boxed_slice();
        Self { bytes, oldest: 0, next: 0, turn: None, count: 0 }
    }

    /// Adds a record, which must not be longer than the ring.
    pub fn push(&mut self, header: &Header, bytes: &[u8]) {
        let length = header.record_length();
        let place = self.make_room(length);
        header.write(bytes, &mut self.bytes[place..place + length]);
        self.next = place + length;
        self.count += 1;
    }

    /// Returns the place for a record of `length` bytes, after dropping as many of the oldest as necessary.
    fn make_room(&mut self, length: usize) -> usize {
        loop {
            if self.count == 0 {
                (self.oldest, self.next, self.turn) = (0, 0, None);
            }
            let end = if self.turn.is_some() { self.oldest } else { self.bytes.len() };
            if end - self.next >= length {
                return self.next;
            }
            match self.turn {
                None => {
                    self.turn = Some(self.next);
                    self.next = 0;
                }
                Some(_) => self.drop_oldest(),
            }
        }
    }

    fn drop_oldest(&mut self) {
        self.oldest += Header::read(&self.bytes[self.oldest..]).record_length();
        self.count -= 1;
        if self.turn == Some(self.oldest) {
            self.oldest = 0;
            self.turn = None;
        }
    }

    /// Returns the records, oldest first, in two pieces.
    pub fn pieces(&self) -> [&[u8]; 2] {
        match self.turn {
            None => [&self.bytes[self.oldest..self.next], &[]],
            Some(turn) => [&self.bytes[self.oldest..turn], &self.bytes[..self.next]],
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::record::{HEADER, Occasion, Outcome, records};
    use super::*;

    fn header(number: usize, length: u16) -> Header {
        Header {
            time: number as i64,
            occasion: Occasion::Entered,
            interface: (number % 3) as u8,
            original: length.into(),
            captured: length,
            missed: 0,
            outcome: Outcome::default(),
        }
    }

    proptest! {
        /// Whatever the lengths, the ring keeps the newest records, whole and in order, and drops no more
        /// than necessary.
        #[test]
        fn the_newest_are_kept(
            capacity in HEADER + 200..2000_usize,
            lengths in prop::collection::vec(0..200_u16, 1..200),
        ) {
            let mut ring = Ring::new(capacity);
            for (number, &length) in lengths.iter().enumerate() {
                ring.push(&header(number, length), &vec![number as u8; length.into()]);
                let kept: Vec<_> = ring.pieces().into_iter().flat_map(records).collect();
                let dropped = number + 1 - kept.len();
                for ((read, bytes), number) in kept.iter().zip(dropped..) {
                    prop_assert_eq!(*read, header(number, lengths[number]));
                    prop_assert!(bytes.iter().all(|&byte| byte == number as u8));
                }
                let used: usize = kept.iter().map(|(read, _)| read.record_length()).sum();
                // The free space is at most the room left at the wrap-around, and that of one record that was
                // just dropped: each shorter than the longest record.
                let longest = HEADER + 200;
                prop_assert!(dropped == 0 || used + 2 * longest > capacity, "{} of {}", used, capacity);
            }
        }
    }
}
