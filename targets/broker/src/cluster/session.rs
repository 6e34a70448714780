//! How the leader of the controllers notices that a broker is gone: it no longer sends heartbeats.
//!
//! Sessions are in memory and on the monotonic clock. A new leader of the controllers gives everybody a whole session,
//! and so does one that was itself stopped for a while: its own silence says nothing about the others.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::state::{BrokerEpoch, BrokerId};

/// When each broker was last heard from. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sessions {
    // Heartbeats arrive on many connections and one task looks; the lock is held for one look-up.
    heard: Arc<Mutex<BTreeMap<BrokerId, (BrokerEpoch, Instant)>>>,
    length: Duration,
}

impl Sessions {
    /// Sessions of that length.
    pub fn new(length: Duration) -> Self {
        Self { heard: Arc::default(), length }
    }

    fn with<T>(&self, look: impl FnOnce(&mut BTreeMap<BrokerId, (BrokerEpoch, Instant)>) -> T) -> T {
        look(&mut self.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A broker was heard from.
    pub fn heard(&self, broker: BrokerId, epoch: BrokerEpoch, now: Instant) {
        self.with(|heard| heard.insert(broker, (epoch, now)));
    }

    /// Gives every broker a whole session from now on.
    pub fn begin_anew(&self) {
        self.with(BTreeMap::clear);
    }

    /// Whether a broker's session is over. One that was not heard from yet has a session from now on.
    pub fn is_over(&self, broker: BrokerId, epoch: BrokerEpoch, now: Instant) -> bool {
        self.with(|heard| {
            let last = heard.entry(broker).or_insert((epoch, now));
            if last.0 != epoch {
                *last = (epoch, now);
            }
            now.saturating_duration_since(last.1) > self.length
        })
    }

    /// Whether a broker in that life was heard from within its session.
    pub fn is_heard(&self, broker: BrokerId, epoch: BrokerEpoch, now: Instant) -> bool {
        self.with(|heard| {
            heard
                .get(&broker)
                .is_some_and(|(life, at)| *life == epoch && now.saturating_duration_since(*at) <= self.length)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_ends_a_session_and_a_new_life_begins_another() {
        let sessions = Sessions::new(Duration::from_secs(2));
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let broker = BrokerId(1);
        assert!(!sessions.is_over(broker, 7, at(0)));
        assert!(!sessions.is_heard(broker, 6, at(0)));
        sessions.heard(broker, 7, at(1));
        assert!(sessions.is_heard(broker, 7, at(3)));
        assert!(!sessions.is_over(broker, 7, at(3)));
        assert!(sessions.is_over(broker, 7, at(4)));
        assert!(!sessions.is_over(broker, 8, at(4)));
        assert!(sessions.is_over(broker, 8, at(7)));
        sessions.begin_anew();
        assert!(!sessions.is_over(broker, 8, at(7)));
    }
}
