//! What a client knows of its cluster: who the brokers are, who leads which partition, and a connection to each in use.
//!
//! A client asks the node that it was given first. Everything else follows the answers, as the protocol wants it: a
//! partition's records go to and come from its leader, wherever that is.
//!
//! Leaders are known by epoch, and what is known of a partition is never replaced by what is older: a deposed leader
//! and the brokers that believe in it answer too.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::metadata_response::MetadataResponse;
use tokio::time::{Instant, sleep_until};

use crate::kafka::connection::Connection;
use crate::kafka::metadata::{Leadership, address, metadata_request};
use crate::kafka::partition::Partition;
use crate::kafka::versions::Spoken;
use crate::outcome::{CauseKind, RequestError};
use crate::place::Place;

/// How long to wait before asking again who leads a partition that has no leader.
const ELECTION_POLL: Duration = Duration::from_millis(50);

/// A view of one cluster from one place.
pub(super) struct Cluster {
    from: Arc<dyn Place>,
    bootstrap: SocketAddr,
    /// The connections that wait for a request.
    connections: BTreeMap<SocketAddr, Connection>,
    brokers: BTreeMap<i32, SocketAddr>,
    partitions: BTreeMap<Partition, Leadership>,
    /// Partitions whose leader turned out not to be it.
    doubted: BTreeSet<Partition>,
}

/// The leader of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leader {
    /// Where it is.
    pub(super) address: SocketAddr,
    /// Its epoch; -1 where the broker does not tell.
    pub(super) epoch: i32,
}

impl Cluster {
    /// A view that begins with the broker at `bootstrap`, and has not asked it yet.
    pub(super) fn new(from: Arc<dyn Place>, bootstrap: SocketAddr) -> Self {
        Self {
            from,
            bootstrap,
            connections: BTreeMap::new(),
            brokers: BTreeMap::new(),
            partitions: BTreeMap::new(),
            doubted: BTreeSet::new(),
        }
    }

    /// Takes out the connection to `to`, or opens one. The caller gives it back after a clean response only.
    ///
    /// The future borrows nothing, so that several connections can be opened at once.
    ///
    /// # Errors
    /// A definite [`RequestError`].
    pub(super) fn take(
        &mut self,
        to: SocketAddr,
        deadline: Instant,
    ) -> impl Future<Output = Result<Connection, RequestError>> + Send + use<> {
        let kept = self.connections.remove(&to).filter(Connection::is_idle);
        let from = Arc::clone(&self.from);
        async move {
            match kept {
                Some(connection) => Ok(connection),
                None => Connection::open(&*from, to, deadline).await,
            }
        }
    }

    /// Whether the broker at `to` has closed the connection that was kept.
    pub(super) fn was_closed(&self, to: SocketAddr) -> bool {
        self.connections.get(&to).is_some_and(|connection| !connection.is_idle())
    }

    /// Keeps `connection` for the next request to `to`.
    pub(super) fn keep(&mut self, to: SocketAddr, connection: Connection) {
        self.connections.insert(to, connection);
    }

    /// Sends `request` to the broker at `to` and returns its response.
    ///
    /// # Errors
    /// A [`RequestError`]: definite if no byte of it was sent.
    pub(super) async fn call<R: Spoken>(
        &mut self,
        to: SocketAddr,
        request: &R,
        deadline: Instant,
    ) -> Result<R::Response, RequestError> {
        let mut connection = self.take(to, deadline).await?;
        let response = connection.call(request, deadline).await?;
        self.keep(to, connection);
        Ok(response)
    }

    /// Sends `request` to the first broker that answers it, beginning with the bootstrap broker.
    ///
    /// # Errors
    /// The last broker's [`RequestError`].
    pub(super) async fn call_any<R: Spoken>(
        &mut self,
        request: &R,
        deadline: Instant,
    ) -> Result<R::Response, RequestError> {
        let candidates = self.candidates();
        let mut left = candidates.len();
        let mut last = None;
        for to in candidates {
            match self.call(to, request, share(deadline, left)).await {
                Ok(response) => return Ok(response),
                Err(failure) => last = Some(failure),
            }
            left -= 1;
        }
        Err(last.expect("the bootstrap broker is always a candidate"))
    }

    /// Every broker known, the bootstrap broker first.
    fn candidates(&self) -> Vec<SocketAddr> {
        let others = self.brokers.values().copied().filter(|address| *address != self.bootstrap);
        std::iter::once(self.bootstrap).chain(others).collect()
    }

    /// Asks the broker at `to` about `topics`, or about all of them, and remembers what it says.
    ///
    /// # Errors
    /// A [`RequestError`].
    pub(super) async fn ask(
        &mut self,
        to: SocketAddr,
        topics: Option<&BTreeSet<&str>>,
        deadline: Instant,
    ) -> Result<MetadataResponse, RequestError> {
        let answer = self.call(to, &metadata_request(topics), deadline).await?;
        self.learn(&answer);
        Ok(answer)
    }

    /// Asks the first broker that answers about `topics`, or about all of them, and remembers what it says.
    ///
    /// # Errors
    /// The last broker's [`RequestError`].
    pub(super) async fn refresh(
        &mut self,
        topics: Option<&BTreeSet<&str>>,
        deadline: Instant,
    ) -> Result<(), RequestError> {
        let answer = self.call_any(&metadata_request(topics), deadline).await?;
        self.learn(&answer);
        Ok(())
    }

    fn learn(&mut self, answer: &MetadataResponse) {
        for broker in &answer.brokers {
            if let Some(address) = address(broker) {
                self.brokers.insert(broker.node_id.0, address);
            }
        }
        for topic in answer.topics.iter().filter(|topic| !topic.is_internal) {
            let Some(name) = &topic.name else { continue };
            let name: Arc<str> = name.as_str().into();
            for told in &topic.partitions {
                let partition = Partition { topic: Arc::clone(&name), index: told.partition_index };
                let told = Leadership::of(told);
                let known = self.partitions.get(&partition);
                if known.is_none_or(|known| told.epoch >= known.epoch) {
                    self.partitions.insert(partition, told);
                }
            }
        }
    }

    /// The partitions known, of all topics that are not the cluster's own.
    pub(super) fn partitions(&self) -> impl Iterator<Item = &Partition> {
        self.partitions.keys()
    }

    /// Forgets to believe that the leader of `partition` is its leader.
    pub(super) fn doubt(&mut self, partition: &Partition) {
        self.doubted.insert(partition.clone());
    }

    /// The leader of `partition`, asked for where it is not known or doubted, and waited for while there is none.
    ///
    /// # Errors
    /// A definite [`RequestError`] when there is none by half the time to `deadline`: the rest is for the request that the
    /// leader is wanted for.
    pub(super) async fn leader(
        &mut self,
        partition: &Partition,
        deadline: Instant,
    ) -> Result<Leader, RequestError> {
        if !self.doubted.contains(partition)
            && let Some(leader) = self.known_leader(partition)
        {
            return Ok(leader);
        }
        let wait_until = share(deadline, 2);
        let topics = BTreeSet::from([&*partition.topic]);
        let old = self.known_leader(partition);
        loop {
            let mut last = None;
            let candidates = self.candidates();
            let mut left = candidates.len();
            for to in candidates {
                if let Err(failure) = self.ask(to, Some(&topics), share(wait_until, left)).await {
                    last = Some(failure);
                }
                left -= 1;
                if let Some(leader) = self.known_leader(partition)
                    && (!self.doubted.contains(partition) || Some(leader) != old)
                {
                    self.doubted.remove(partition);
                    return Ok(leader);
                }
            }
            // Every broker that answers still holds it to be the leader: then the doubt was for another reason.
            if let Some(leader) = self.known_leader(partition) {
                self.doubted.remove(partition);
                return Ok(leader);
            }
            let again = Instant::now() + ELECTION_POLL;
            if again >= wait_until {
                return Err(match last {
                    Some(failure) => super::connection::as_definite(failure),
                    None => RequestError::definite(
                        CauseKind::NoLeader,
                        format!("no broker knows of a leader of {partition}"),
                    ),
                });
            }
            sleep_until(again).await;
        }
    }

    fn known_leader(&self, partition: &Partition) -> Option<Leader> {
        let known = self.partitions.get(partition)?;
        let address = *self.brokers.get(&known.leader?)?;
        Some(Leader { address, epoch: known.epoch })
    }
}

/// The end of a fair share of the time to `deadline`, where `parts` are left to be done in it.
pub(super) fn share(deadline: Instant, parts: usize) -> Instant {
    let now = Instant::now();
    let parts = u32::try_from(parts.max(1)).unwrap_or(u32::MAX);
    now + deadline.saturating_duration_since(now) / parts
}
