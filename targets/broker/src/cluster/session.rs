//! Broker sessions: the leader of the controllers notices that a broker is gone when its heartbeats stop.
//!
//! Sessions are in memory and on the monotonic clock. A new leader of the controllers gives every broker a whole session,
//! and so does a leader that was itself stopped for a while: its own silence proves nothing about the others.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::state::{BrokerEpoch, BrokerId};

/// When each broker was last heard from. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sessions {
    // Heartbeats arrive on many connections and one task checks them; the lock is held for one look-up.
    heard: Arc<Mutex<BTreeMap<BrokerId, Session>>>,
    length: Duration,
}

/// The session of a broker that is not fenced, or waits to be readmitted.
#[derive(Debug, Clone, Copy)]
struct Session {
    epoch: BrokerEpoch,
    heard_at: Instant,
    /// It was found to be over: the broker is fenced even if it is heard from meanwhile.
    over: bool,
}

impl Sessions {
    /// Sessions of that length.
    pub fn new(length: Duration) -> Self {
        Self { heard: Arc::default(), length }
    }

    fn with<T>(&self, look: impl FnOnce(&mut BTreeMap<BrokerId, Session>) -> T) -> T {
        look(&mut self.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns the session of a broker in that incarnation. A broker that was not heard from yet has a
    /// session from now on.
    fn with_session<T>(
        &self,
        broker: BrokerId,
        epoch: BrokerEpoch,
        now: Instant,
        look: impl FnOnce(&mut Session) -> T,
    ) -> T {
        let begun = Session { epoch, heard_at: now, over: false };
        self.with(|heard| {
            let session = heard.entry(broker).or_insert(begun);
            if session.epoch != epoch {
                *session = begun;
            }
            look(session)
        })
    }

    /// Records that a broker was heard from. Returns whether that begins a whole session: not if the last one
    /// is over.
    pub fn heard(&self, broker: BrokerId, epoch: BrokerEpoch, now: Instant) -> bool {
        self.with_session(broker, epoch, now, |session| {
            session.heard_at = now;
            !session.over
        })
    }

    /// Gives every broker whose session is not over a whole session from now on.
    pub fn begin_anew(&self) {
        self.with(|heard| heard.retain(|_, session| session.over));
    }

    /// Whether a broker's session is over; if so, it stays over until the broker is [fenced](Self::fenced).
    pub fn is_over(&self, broker: BrokerId, epoch: BrokerEpoch, now: Instant) -> bool {
        self.with_session(broker, epoch, now, |session| {
            session.over |= now.saturating_duration_since(session.heard_at) > self.length;
            session.over
        })
    }

    /// The controllers agreed that a broker is fenced.
    pub fn fenced(&self, broker: BrokerId) {
        self.with(|heard| {
            if let Some(session) = heard.get_mut(&broker) {
                session.over = false;
            }
        });
    }

    /// Whether a broker in that incarnation was heard from within its session.
    pub fn is_heard(&self, broker: BrokerId, epoch: BrokerEpoch, now: Instant) -> bool {
        self.with(|heard| {
            heard.get(&broker).is_some_and(|session| {
                session.epoch == epoch && now.saturating_duration_since(session.heard_at) <= self.length
            })
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
        assert!(sessions.is_over(broker, 8, at(7)), "what was decided is carried out");
        sessions.fenced(broker);
        sessions.begin_anew();
        assert!(!sessions.is_over(broker, 8, at(7)));
    }

    #[test]
    fn a_heartbeat_that_comes_too_late_begins_no_session() {
        let sessions = Sessions::new(Duration::from_secs(2));
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let broker = BrokerId(1);
        assert!(sessions.heard(broker, 7, at(0)));
        assert!(sessions.heard(broker, 7, at(3)), "it was not found to be over");
        assert!(sessions.is_over(broker, 7, at(6)));
        assert!(!sessions.heard(broker, 7, at(6)));
        assert!(sessions.is_over(broker, 7, at(6)), "it is fenced all the same");
        sessions.fenced(broker);
        assert!(sessions.is_heard(broker, 7, at(7)), "and let in again");
        assert!(sessions.heard(broker, 7, at(7)));
        assert!(!sessions.is_over(broker, 7, at(8)));
        assert!(sessions.is_over(broker, 7, at(10)));
        assert!(sessions.heard(broker, 8, at(10)), "another incarnation");
    }
}
