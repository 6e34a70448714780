//! A running broker, as clients' connections use it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use crate::cluster::state::{Assignment, Command, Refusal, Reply};
use crate::cluster::{Controller, ProposeError, TopicId};
use crate::config::Config;
use crate::coordination::Groups;
use crate::coordination::transactions::Transactions;
use crate::replica::{Replicas, Role};
use crate::topic_settings::TopicSettings;

/// How many producer ids a broker allocates at once.
const PRODUCER_IDS: u32 = 1_000;
/// How long a change of topics may take before its outcome is unknown, unless the client gives another time-out.
pub const CHANGE_MAX: Duration = Duration::from_millis(3_000);

/// A running broker. Cheap to clone.
#[derive(Clone)]
pub struct Broker {
    parts: Arc<Parts>,
}

struct Parts {
    config: Config,
    cluster: String,
    controller: Controller,
    replicas: Replicas,
    coordinators: Coordinators,
    /// The next producer id and how many are left. Held across the request for more, so that many producers cause one
    /// request.
    producer_ids: Mutex<(i64, u32)>,
}

/// The coordinators on this broker.
pub struct Coordinators {
    /// That of groups.
    pub groups: Groups,
    /// That of transactions.
    pub transactions: Transactions,
}

/// Why a change of topics failed, or has an unknown outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// The controllers refused it; nothing was changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The controllers did not answer.
    #[error(transparent)]
    Proposal(#[from] ProposeError),
}

impl Broker {
    /// Returns a broker made of its parts.
    pub fn new(
        config: Config,
        cluster: String,
        controller: Controller,
        replicas: Replicas,
        coordinators: Coordinators,
    ) -> Self {
        let producer_ids = Mutex::new((0, 0));
        Self { parts: Arc::new(Parts { config, cluster, controller, replicas, coordinators, producer_ids }) }
    }

    /// Returns its configuration.
    pub fn config(&self) -> &Config {
        &self.parts.config
    }

    /// Returns the name of the cluster.
    pub fn cluster(&self) -> &str {
        &self.parts.cluster
    }

    /// Returns its part in the consensus of the controllers.
    pub fn controller(&self) -> &Controller {
        &self.parts.controller
    }

    /// Returns its copies of partitions.
    pub fn replicas(&self) -> &Replicas {
        &self.parts.replicas
    }

    /// Returns the coordinator of its groups.
    pub fn groups(&self) -> &Groups {
        &self.parts.coordinators.groups
    }

    /// Returns the coordinator of its transactions.
    pub fn transactions(&self) -> &Transactions {
        &self.parts.coordinators.transactions
    }

    /// Whether this broker is certain that it still leads the partition `number` of an internal topic, which it led in the
    /// topic and epoch `led` when it read the coordinator's state there.
    pub fn certainly_leads(&self, number: i32, led: Option<(TopicId, i32)>) -> bool {
        let controller = self.controller();
        // The clock is read after the state: a broker that was paused between the two finds its session over. The leader is
        // checked last: a broker in session knows it.
        controller.is_in_session()
            && led.is_some_and(|(topic, epoch)| controller.leads_partition(topic, number, epoch))
    }

    /// Returns the number of replicas of a topic that does not specify it.
    pub fn default_replication(&self) -> u16 {
        let brokers = u16::try_from(self.parts.config.peers.len() + 1).unwrap_or(u16::MAX);
        self.parts.config.options.replication.min(brokers)
    }

    /// Has the controllers make a topic, and waits until this broker knows of it.
    ///
    /// # Errors
    /// It was not made, or it is not known whether it was.
    pub async fn create_topic(
        &self,
        name: &str,
        assignment: Assignment,
        settings: TopicSettings,
        deadline: Instant,
    ) -> Result<(), ChangeError> {
        let command = Command::CreateTopic { name: name.into(), assignment, settings };
        self.change(command, deadline).await?;
        let mut changes = self.parts.controller.changes();
        let known = changes.wait_for(|applied| applied.state.topics.contains_key(name));
        match tokio::time::timeout_at(deadline.into(), known).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => return Err(ProposeError::Unknown.into()),
        }
        // The next client of this broker should not learn that it does not lead a partition that it is about to lead.
        // Other brokers may take a moment longer.
        let mut roles = self.parts.replicas.roles();
        let leading = roles.wait_for(|_| self.leads_what_it_should(name));
        // A topic that was meanwhile removed, or is led by another broker, counts as made.
        let _ = tokio::time::timeout_at(deadline.into(), leading).await;
        Ok(())
    }

    fn leads_what_it_should(&self, topic: &str) -> bool {
        let me = self.parts.controller.id();
        self.parts.controller.read(|state| {
            let partitions = state.topics.get(topic).map_or(&[][..], |topic| &topic.partitions);
            let led = (0..).zip(partitions).filter(|(_, partition)| partition.leader == Some(me));
            led.into_iter().all(|(number, _)| {
                let copy = self.parts.replicas.by_name_in(state, topic, number);
                copy.is_ok_and(|copy| matches!(copy.status().role, Role::Leader { .. }))
            })
        })
    }

    /// Has the controllers remove a topic, and waits until this broker no longer knows of it.
    ///
    /// # Errors
    /// It was not removed, or it is not known whether it was.
    pub async fn delete_topic(&self, name: &str, deadline: Instant) -> Result<(), ChangeError> {
        self.change(Command::DeleteTopic { name: name.into() }, deadline).await?;
        let mut changes = self.parts.controller.changes();
        let gone = changes.wait_for(|applied| !applied.state.topics.contains_key(name));
        match tokio::time::timeout_at(deadline.into(), gone).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(ProposeError::Unknown.into()),
        }
    }

    async fn change(&self, command: Command, deadline: Instant) -> Result<Reply, ChangeError> {
        match self.parts.controller.propose(command, deadline).await? {
            Reply::Refused(refusal) => Err(refusal.into()),
            reply => Ok(reply),
        }
    }

    /// Returns a producer id that no other producer has.
    ///
    /// # Errors
    /// The reserve is used up, and the controllers allocated no more.
    pub async fn next_producer_id(&self, deadline: Instant) -> Result<i64, ChangeError> {
        let mut ids = self.parts.producer_ids.lock().await;
        if ids.1 == 0 {
            // Ids of a doubtful allocation are never used.
            let command = Command::AllocateProducerIds { count: PRODUCER_IDS };
            match self.change(command, deadline).await? {
                Reply::ProducerIds(first) => *ids = (first, PRODUCER_IDS),
                _ => return Err(ProposeError::Unknown.into()),
            }
        }
        let id = ids.0;
        *ids = (id + 1, ids.1 - 1);
        Ok(id)
    }
}
