//! Trains: many datagrams sent along a link on purpose, to see at its far end what the link does to packets.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use super::probe::{BETWEEN_LOOKS, PROBE_PORT, Prober, is_full};
use super::{LinkIndex, Shared, SwitchError};

/// The longest datagram that fits into one packet.
const BYTES_MAX: usize = 1400;
/// The least that a datagram carries: its number, and the same again, so that damage shows.
const BYTES_MIN: usize = 16;

/// The datagrams to send along each link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Train {
    /// How many datagrams, one right after the other.
    pub datagrams: u32,
    /// The bytes of each datagram, clamped to 16 to 1400.
    pub bytes: usize,
    /// How long after the last was sent it may arrive.
    pub patience: Duration,
}

/// The arrivals of a train at the far end of its link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrainSeen {
    /// How many datagrams were sent.
    pub sent: u64,
    /// How many of them arrived, unharmed.
    pub arrived: u64,
    /// How many arrived once more.
    pub repeated: u64,
    /// How many arrived after one that had been sent after them.
    pub overtaken: u64,
    /// How many arrived with other bytes than were sent.
    pub damaged: u64,
    /// The number of datagrams that the receiving host's kernel refused since their checksum did not match,
    /// over all its links.
    pub refused: u64,
    /// How many the switch dropped because the link's policy said so.
    pub dropped: u64,
    /// How long the fastest took.
    pub fastest: Option<Duration>,
    /// How long the one in the middle took.
    pub median: Option<Duration>,
    /// How long the slowest took.
    pub slowest: Option<Duration>,
    /// From the sending of the first until the last arrived.
    pub took: Option<Duration>,
}

impl TrainSeen {
    /// Returns the rate in bits per second at which the link carried the arrived datagrams of `bytes` bytes
    /// each: no link is faster than it is seen to be, and a slower one cannot seem as fast.
    #[must_use]
    pub fn bits_per_second(&self, bytes: usize) -> Option<u64> {
        const HEADERS: u64 = 28;
        let bits = (length(bytes) as u64 + HEADERS) * 8 * self.arrived;
        let took = self.took.filter(|_| self.arrived > 0)?;
        Some((bits as f64 / took.as_secs_f64().max(1e-9)) as u64)
    }
}

fn length(bytes: usize) -> usize {
    bytes.clamp(BYTES_MIN, BYTES_MAX)
}

/// A train in progress along one link.
struct Passage {
    from: usize,
    to: usize,
    link: LinkIndex,
    /// How many of our own datagrams the switch had dropped on the link before.
    dropped_before: u64,
    /// When each datagram was sent, and whether it has arrived.
    datagrams: Vec<(Instant, bool)>,
    /// The last in the order of sending of those that have arrived.
    furthest: usize,
    /// How long each of those that have arrived took.
    times: Vec<Duration>,
    seen: TrainSeen,
}

impl Passage {
    /// Whether it is known what became of every datagram.
    fn is_over(&self, shared: &Shared) -> bool {
        let dropped = shared.tallies[self.link.0].read().dropped_probes.saturating_sub(self.dropped_before);
        self.seen.arrived + self.seen.damaged + dropped >= self.seen.sent
    }

    /// Datagram `at` of the train arrives unharmed.
    fn arrives(&mut self, at: usize, now: Instant) {
        let Some((sent, has_arrived)) = self.datagrams.get_mut(at) else { return };
        if std::mem::replace(has_arrived, true) {
            self.seen.repeated += 1;
            return;
        }
        let took = now.saturating_duration_since(*sent);
        let seen = &mut self.seen;
        seen.arrived += 1;
        seen.overtaken += u64::from(at < self.furthest);
        self.furthest = self.furthest.max(at);
        self.times.push(took);
        seen.took = self.datagrams.first().map(|(first, _)| now.saturating_duration_since(*first));
    }
}

/// How the datagrams of all trains of one call are numbered: those of one link one after the other.
#[derive(Clone, Copy)]
struct Numbers {
    first: u64,
    datagrams: u64,
}

impl Numbers {
    fn of(self, link: usize, at: u32) -> u64 {
        self.first + link as u64 * self.datagrams + u64::from(at)
    }

    /// Returns the link and the place in its train; `None` for one of another call.
    fn place(self, number: u64) -> Option<(usize, usize)> {
        let position = number.checked_sub(self.first)?;
        let (link, at) = (position / self.datagrams, position % self.datagrams);
        Some((usize::try_from(link).ok()?, usize::try_from(at).ok()?))
    }
}

impl Prober {
    /// Sends `train` along each of `pairs`, along all of them at once.
    pub fn train<N: AsRef<str>>(
        &self,
        shared: &Shared,
        pairs: &[(N, N)],
        train: Train,
    ) -> Result<Vec<TrainSeen>, SwitchError> {
        let mut last = self.turn();
        let mut passages = Vec::with_capacity(pairs.len());
        for (from, to) in pairs {
            let (from, to) = (shared.position(from.as_ref())?, shared.position(to.as_ref())?);
            let link = shared.link(from, to);
            let dropped_before = shared.tallies[link.0].read().dropped_probes;
            let seen = TrainSeen::default();
            passages.push(Passage {
                from,
                to,
                link,
                dropped_before,
                datagrams: Vec::new(),
                furthest: 0,
                times: Vec::new(),
                seen,
            });
        }
        let numbers = Numbers { first: *last + 1, datagrams: u64::from(train.datagrams.max(1)) };
        *last += numbers.datagrams * passages.len() as u64;
        let refused_before = refused(shared, &passages).map_err(SwitchError::Failed)?;
        self.ride(shared, &mut passages, train, numbers).map_err(SwitchError::Failed)?;
        let refused_after = refused(shared, &passages).map_err(SwitchError::Failed)?;
        for passage in &mut passages {
            let dropped = shared.tallies[passage.link.0].read().dropped_probes;
            passage.seen.dropped = dropped.saturating_sub(passage.dropped_before);
            passage.times.sort_unstable();
            passage.seen.fastest = passage.times.first().copied();
            passage.seen.median = passage.times.get(passage.times.len() / 2).copied();
            passage.seen.slowest = passage.times.last().copied();
            let at = |counts: &BTreeMap<usize, u64>| counts.get(&passage.to).copied().unwrap_or_default();
            passage.seen.refused = at(&refused_after).saturating_sub(at(&refused_before));
        }
        Ok(passages.into_iter().map(|passage| passage.seen).collect())
    }

    fn ride(
        &self,
        shared: &Shared,
        passages: &mut [Passage],
        train: Train,
        numbers: Numbers,
    ) -> io::Result<()> {
        for at in 0..train.datagrams {
            for (link, passage) in passages.iter_mut().enumerate() {
                let payload = payload(numbers.of(link, at), length(train.bytes));
                let to = SocketAddrV4::new(shared.hosts[passage.to].address(), PROBE_PORT);
                passage.datagrams.push((Instant::now(), false));
                match self.sockets[passage.from].send_to(&payload, to) {
                    Ok(_) => passage.seen.sent += 1,
                    // It was not sent, and does not count.
                    Err(error) if is_full(&error) => {}
                    Err(error) => return Err(error),
                }
            }
            // Taken at once, so that no queue of a receiving socket runs full.
            self.collect(shared, passages, numbers, Duration::ZERO)?;
        }
        let until = Instant::now() + train.patience;
        let mut over_since: Option<Instant> = None;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if passages.iter().all(|passage| passage.is_over(shared)) {
                // A duplicate arrives a moment after the first copy.
                if over_since.get_or_insert_with(Instant::now).elapsed() >= 2 * BETWEEN_LOOKS {
                    return Ok(());
                }
            }
            if left.is_zero() {
                return Ok(());
            }
            self.collect(shared, passages, numbers, left.min(BETWEEN_LOOKS))?;
        }
    }

    /// Takes the datagrams that have arrived, after waiting up to `wait` for one.
    fn collect(
        &self,
        shared: &Shared,
        passages: &mut [Passage],
        numbers: Numbers,
        wait: Duration,
    ) -> io::Result<()> {
        self.wait(wait)?;
        for (to, socket) in self.sockets.iter().enumerate() {
            let mut payload = [0; BYTES_MAX];
            loop {
                let (length, from) = match socket.recv_from(&mut payload) {
                    Ok(received) => received,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                };
                let now = Instant::now();
                match number(&payload[..length]) {
                    Some(number) => {
                        let place = numbers.place(number);
                        let passage = place.and_then(|(link, at)| Some((passages.get_mut(link)?, at)));
                        if let Some((passage, at)) = passage.filter(|(passage, _)| passage.to == to) {
                            passage.arrives(at, now);
                        }
                    }
                    None => {
                        let sender = |passage: &&mut Passage| {
                            passage.to == to && from.ip() == shared.hosts[passage.from].address()
                        };
                        if let Some(passage) = passages.iter_mut().find(sender) {
                            passage.seen.damaged += 1;
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// Returns the number, again and again: one damaged bit shows wherever it is.
fn payload(number: u64, length: usize) -> Vec<u8> {
    number.to_be_bytes().into_iter().cycle().take(length).collect()
}

/// Returns the number that an unharmed payload carries.
fn number(payload: &[u8]) -> Option<u64> {
    let first = payload.first_chunk::<8>()?;
    let again = payload.iter().zip(first.iter().cycle());
    (payload.len() >= BYTES_MIN && again.into_iter().all(|(byte, expected)| byte == expected))
        .then(|| u64::from_be_bytes(*first))
}

/// How many datagrams the kernel of each receiving host has refused since their checksum did not match.
fn refused(shared: &Shared, passages: &[Passage]) -> io::Result<BTreeMap<usize, u64>> {
    let receivers: BTreeSet<usize> = passages.iter().map(|passage| passage.to).collect();
    let count = |to: usize| {
        let counters = shared.hosts[to].enter(|| fs::read_to_string("/proc/thread-self/net/snmp"))??;
        Ok((to, bad_checksums(&counters)))
    };
    receivers.into_iter().map(count).collect()
}

/// Returns `InCsumErrors` of UDP: two lines, of which the first has the names and the second the values.
fn bad_checksums(counters: &str) -> u64 {
    let mut lines = counters.lines().filter_map(|line| line.strip_prefix("Udp:"));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else { return 0 };
    let mut fields = names.split_whitespace().zip(values.split_whitespace());
    let found = fields.find(|(name, _)| *name == "InCsumErrors");
    found.and_then(|(_, value)| value.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_shows_wherever_it_is() {
        let mut payload = payload(77, 100);
        assert_eq!(number(&payload), Some(77));
        for at in 0..payload.len() {
            payload[at] ^= 4;
            assert_eq!(number(&payload), None, "byte {at}");
            payload[at] ^= 4;
        }
        assert_eq!(number(&payload[..12]), None);
    }

    #[test]
    fn the_kernels_count_is_found_by_its_name() {
        let counters = "Tcp: ActiveOpens InCsumErrors\nTcp: 1 2\nUdp: InDatagrams InErrors InCsumErrors MemErrors\n\
                        Udp: 5 6 7 8\n";
        assert_eq!(bad_checksums(counters), 7);
    }
}
