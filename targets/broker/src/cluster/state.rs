//! The state that the brokers agree on: brokers, topics, the leader of each partition and its in-sync set.
//!
//! The rules are those of Kafka's controller. A broker has an *epoch*, new with every start, so that requests of an
//! earlier incarnation do not count. A partition has a *leader epoch*, new with every leader, and a *partition epoch*, new
//! with every change, so that a change which was decided on an older state is refused.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use duress_consensus::State;
use serde::{Deserialize, Serialize};

use crate::topic_settings::{Toggle, TopicSettings};

/// The number of a broker, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BrokerId(pub i32);

impl fmt::Display for BrokerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Distinguishes a topic from earlier and later ones of the same name: the index of its creation in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TopicId(pub u64);

/// One incarnation of a broker, from its start to its end; later incarnations have greater epochs.
pub type BrokerEpoch = u64;

/// Whether a broker may lead and be in sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Liveness {
    /// It sends heartbeats.
    Active,
    /// It does not, or has not since it started.
    Fenced,
}

/// A broker that has registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broker {
    /// Its present incarnation.
    pub epoch: BrokerEpoch,
    /// The number that it gave this incarnation itself.
    pub incarnation: u64,
    /// The address that clients connect to.
    pub address: SocketAddr,
    /// Whether it may lead.
    pub liveness: Liveness,
}

/// The replicas of a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionState {
    /// Every broker that has a copy, in order of preference.
    pub replicas: Vec<BrokerId>,
    /// The in-sync set: the brokers that have every acknowledged record; never empty.
    pub isr: Vec<BrokerId>,
    /// The leader, if any broker can lead.
    pub leader: Option<BrokerId>,
    /// Counts leaders.
    pub leader_epoch: i32,
    /// Counts changes of this struct.
    pub partition_epoch: u32,
}

/// A topic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Topic {
    /// Distinguishes it from others of its name.
    pub id: TopicId,
    /// Its settings.
    pub settings: TopicSettings,
    /// Its partitions, by number.
    pub partitions: Vec<PartitionState>,
}

impl Topic {
    /// How many replicas each of its partitions was given; a client that assigns them itself may give other partitions
    /// more or fewer than the first.
    pub fn replication(&self) -> u16 {
        self.partitions.first().map_or(0, |partition| partition.replicas.len() as u16)
    }
}

/// The rule of election.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Election {
    /// A replica in sync; another one only where the topic allows it and no replica in sync is there.
    InSync,
    /// Defect: the first live replica in order of preference, and it need not wait for the present leader to end.
    Preferred,
}

/// How the replicas of a new topic are chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Assignment {
    /// Spread over the brokers.
    Spread {
        /// The number of partitions.
        partitions: u32,
        /// The number of replicas of each.
        replication: u16,
    },
    /// As a client gave them, by partition.
    Given(Vec<Vec<BrokerId>>),
}

/// A change.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Command {
    /// A broker has started; it is fenced until its first heartbeat.
    Register {
        /// Who.
        broker: BrokerId,
        /// The number that it gave this incarnation.
        incarnation: u64,
        /// The address that clients connect to.
        address: SocketAddr,
        /// The rule of election for the partitions that an earlier incarnation led.
        election: Election,
    },
    /// A broker sends heartbeats, or no longer.
    SetLiveness {
        /// Who.
        broker: BrokerId,
        /// Its incarnation.
        epoch: BrokerEpoch,
        /// Its liveness now.
        liveness: Liveness,
        /// The rule of election.
        election: Election,
    },
    /// Make a topic.
    CreateTopic {
        /// Its name, a valid one.
        name: String,
        /// The replicas of its partitions.
        assignment: Assignment,
        /// Its settings.
        settings: TopicSettings,
    },
    /// Remove a topic and everything in it.
    DeleteTopic {
        /// Its name.
        name: String,
    },
    /// A leader asks for another in-sync set.
    AlterPartition(AlterPartition),
    /// Allocate producer ids.
    AllocateProducerIds {
        /// Their number.
        count: u32,
    },
}

/// A leader's request for another in-sync set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlterPartition {
    /// The leader, and its incarnation.
    pub leader: (BrokerId, BrokerEpoch),
    /// The topic.
    pub topic: TopicId,
    /// The partition.
    pub partition: u32,
    /// Its leader epoch.
    pub leader_epoch: i32,
    /// The partition epoch of the state that it decided on.
    pub partition_epoch: u32,
    /// The new in-sync set, with the incarnation of each member that was seen to be in sync.
    pub isr: Vec<(BrokerId, BrokerEpoch)>,
}

/// The answer to a [`Command`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// Done.
    Done,
    /// To [`Command::Register`].
    Registered(BrokerEpoch),
    /// To [`Command::CreateTopic`].
    Created(TopicId),
    /// To [`Command::AlterPartition`].
    Altered(PartitionState),
    /// To [`Command::AllocateProducerIds`]: the first of them.
    ProducerIds(i64),
    /// Nothing was changed.
    Refused(Refusal),
}

/// Why a change was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// A later incarnation of the broker, or none, is registered.
    #[error("the broker's epoch is not the registered one")]
    StaleBroker,
    /// There is a topic of that name.
    #[error("the topic exists already")]
    TopicExists,
    /// The topic does not exist.
    #[error("there is no such topic or partition")]
    NoSuchTopic,
    /// There are fewer brokers than replicas.
    #[error("there are not enough brokers for that many replicas")]
    TooFewBrokers,
    /// Replicas that are not brokers, or named twice, or none at all.
    #[error("the replicas are not distinct brokers")]
    Replicas,
    /// Another leader was elected since.
    #[error("another leader was elected")]
    StaleLeader,
    /// The partition was changed since.
    #[error("the partition was changed")]
    StalePartition,
    /// A replica that is fenced, or has restarted, cannot be in sync.
    #[error("a replica is not eligible to be in sync")]
    Ineligible,
}

/// The state that the brokers agree on.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ClusterState {
    /// Every broker that has ever registered.
    pub brokers: BTreeMap<BrokerId, Broker>,
    /// Every topic, by name.
    pub topics: BTreeMap<String, Topic>,
    next_producer_id: i64,
}

impl ClusterState {
    /// Whether a broker may lead.
    pub fn is_active(&self, broker: BrokerId) -> bool {
        self.brokers.get(&broker).is_some_and(|broker| broker.liveness == Liveness::Active)
    }

    /// Executes one command, at `index` of the log.
    pub fn execute(&mut self, index: u64, command: Command) -> Reply {
        let result = match command {
            Command::Register { broker, incarnation, address, election } => {
                Ok(self.register(index, broker, incarnation, address, election))
            }
            Command::SetLiveness { broker, epoch, liveness, election } => {
                self.set_liveness(broker, epoch, liveness, election)
            }
            Command::CreateTopic { name, assignment, settings } => {
                self.create_topic(index, name, assignment, settings)
            }
            Command::DeleteTopic { name } => {
                self.topics.remove(&name).map(|_| Reply::Done).ok_or(Refusal::NoSuchTopic)
            }
            Command::AlterPartition(change) => self.alter_partition(&change),
            Command::AllocateProducerIds { count } => {
                let first = self.next_producer_id;
                self.next_producer_id += i64::from(count);
                Ok(Reply::ProducerIds(first))
            }
        };
        result.unwrap_or_else(Reply::Refused)
    }

    fn register(
        &mut self,
        index: u64,
        id: BrokerId,
        incarnation: u64,
        address: SocketAddr,
        election: Election,
    ) -> Reply {
        if let Some(known) = self.brokers.get(&id) {
            if known.incarnation == incarnation {
                return Reply::Registered(known.epoch);
            }
            // It may have come back with less data than its earlier incarnation had.
            self.fence(id, election);
        }
        let broker = Broker { epoch: index, incarnation, address, liveness: Liveness::Fenced };
        self.brokers.insert(id, broker);
        Reply::Registered(index)
    }

    fn set_liveness(
        &mut self,
        id: BrokerId,
        epoch: BrokerEpoch,
        liveness: Liveness,
        election: Election,
    ) -> Result<Reply, Refusal> {
        let broker =
            self.brokers.get_mut(&id).filter(|broker| broker.epoch == epoch).ok_or(Refusal::StaleBroker)?;
        if broker.liveness == liveness {
            return Ok(Reply::Done);
        }
        match liveness {
            Liveness::Fenced => self.fence(id, election),
            Liveness::Active => {
                broker.liveness = Liveness::Active;
                self.elect_where_needed(id, election);
            }
        }
        Ok(Reply::Done)
    }

    /// Fences a broker: it leaves every in-sync set, unless it is the last member, and leads nothing.
    fn fence(&mut self, id: BrokerId, election: Election) {
        if let Some(broker) = self.brokers.get_mut(&id) {
            broker.liveness = Liveness::Fenced;
        }
        for topic in self.topics.values_mut() {
            for partition in &mut topic.partitions {
                if partition.isr.len() > 1 && partition.isr.contains(&id) {
                    partition.isr.retain(|replica| *replica != id);
                    partition.partition_epoch += 1;
                }
            }
        }
        self.elect_where_needed(id, election);
    }

    /// Elects leaders for every partition that has a replica on a broker that has come or gone.
    fn elect_where_needed(&mut self, id: BrokerId, election: Election) {
        let brokers = &self.brokers;
        let live = |replica: &BrokerId| {
            brokers.get(replica).is_some_and(|broker| broker.liveness == Liveness::Active)
        };
        for topic in self.topics.values_mut() {
            let unclean = topic.settings.unclean;
            for partition in topic.partitions.iter_mut().filter(|p| p.replicas.contains(&id)) {
                partition.elect(election, unclean, live);
            }
        }
    }

    fn create_topic(
        &mut self,
        index: u64,
        name: String,
        assignment: Assignment,
        settings: TopicSettings,
    ) -> Result<Reply, Refusal> {
        if self.topics.contains_key(&name) {
            return Err(Refusal::TopicExists);
        }
        let assigned = match assignment {
            Assignment::Given(replicas) => replicas,
            Assignment::Spread { partitions, replication } => self.spread(partitions, replication)?,
        };
        let mut partitions = Vec::new();
        for replicas in assigned {
            let distinct = replicas.iter().collect::<std::collections::BTreeSet<_>>().len() == replicas.len();
            if replicas.is_empty() || !distinct || !replicas.iter().all(|r| self.brokers.contains_key(r)) {
                return Err(Refusal::Replicas);
            }
            let isr: Vec<BrokerId> = replicas.iter().copied().filter(|r| self.is_active(*r)).collect();
            let leader = isr.first().copied();
            if leader.is_none() {
                return Err(Refusal::TooFewBrokers);
            }
            partitions.push(PartitionState { replicas, isr, leader, leader_epoch: 0, partition_epoch: 0 });
        }
        let id = TopicId(index);
        self.topics.insert(name, Topic { id, settings, partitions });
        Ok(Reply::Created(id))
    }

    /// Replicas for new partitions: around the active brokers, beginning where the last topic ended.
    fn spread(&self, partitions: u32, replication: u16) -> Result<Vec<Vec<BrokerId>>, Refusal> {
        let active: Vec<BrokerId> = self.brokers.keys().copied().filter(|id| self.is_active(*id)).collect();
        let replication = usize::from(replication);
        if active.len() < replication || replication == 0 {
            return Err(Refusal::TooFewBrokers);
        }
        let before: usize = self.topics.values().map(|topic| topic.partitions.len()).sum();
        let ring = |at: usize| active[at % active.len()];
        Ok((0..partitions as usize)
            .map(|number| (0..replication).map(|replica| ring(before + number + replica)).collect())
            .collect())
    }

    fn alter_partition(&mut self, change: &AlterPartition) -> Result<Reply, Refusal> {
        let (leader, leader_epoch_of) = change.leader;
        let is_incarnation = |id: BrokerId, epoch: BrokerEpoch| {
            self.brokers.get(&id).is_some_and(|broker| broker.epoch == epoch)
        };
        if !is_incarnation(leader, leader_epoch_of) {
            return Err(Refusal::StaleBroker);
        }
        let eligible = change
            .isr
            .iter()
            .all(|(id, epoch)| *id == leader || (is_incarnation(*id, *epoch) && self.is_active(*id)));
        let partition = self
            .topics
            .values_mut()
            .find(|topic| topic.id == change.topic)
            .and_then(|topic| topic.partitions.get_mut(change.partition as usize))
            .ok_or(Refusal::NoSuchTopic)?;
        if partition.leader != Some(leader) || partition.leader_epoch != change.leader_epoch {
            return Err(Refusal::StaleLeader);
        }
        if partition.partition_epoch != change.partition_epoch {
            return Err(Refusal::StalePartition);
        }
        let wanted: Vec<BrokerId> = change.isr.iter().map(|(id, _)| *id).collect();
        if !eligible || !wanted.contains(&leader) || !wanted.iter().all(|id| partition.replicas.contains(id))
        {
            return Err(Refusal::Ineligible);
        }
        partition.isr = partition.replicas.iter().copied().filter(|id| wanted.contains(id)).collect();
        partition.partition_epoch += 1;
        Ok(Reply::Altered(partition.clone()))
    }
}

impl PartitionState {
    fn elect(&mut self, election: Election, unclean: Toggle, live: impl Fn(&BrokerId) -> bool) {
        let elected = match election {
            Election::Preferred => self.replicas.iter().find(|replica| live(replica)).copied(),
            // The present leader continues.
            Election::InSync if self.leader.as_ref().is_some_and(&live) => return,
            Election::InSync => {
                let in_sync =
                    self.replicas.iter().find(|replica| self.isr.contains(replica) && live(replica));
                match unclean {
                    Toggle::Off => in_sync.copied(),
                    Toggle::On => in_sync.or_else(|| self.replicas.iter().find(|r| live(r))).copied(),
                }
            }
        };
        if elected == self.leader {
            return;
        }
        if let Some(leader) = elected
            && !self.isr.contains(&leader)
        {
            // Records that only the others have are given up.
            self.isr.retain(&live);
            self.isr.push(leader);
        }
        self.leader = elected;
        self.leader_epoch += 1;
        self.partition_epoch += 1;
    }
}

impl State for ClusterState {
    type Command = Command;
    type Reply = Reply;
    const FORMAT: u32 = 1;

    fn apply(&mut self, index: u64, command: Command) -> Reply {
        self.execute(index, command)
    }
}
