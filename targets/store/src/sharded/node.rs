//! One node of the mode `sharded`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use duress_consensus::StartError;
use duress_consensus::peer::frame::Hello;
use duress_consensus::types::Fatal;
use futures_util::future::{join_all, select_all};
use tokio::task::JoinSet;

use super::mover::Mover;
use super::moves::{MoveStep, Progress};
use super::router::Router;
use super::shard::{Received, Shard};
use super::slots::SlotSet;
use crate::command::{Answer, Command, Query, Reply};
use crate::config::{Config, NodeName, ShardedOptions};
use crate::node::{Contents, Status};
use crate::outcome::{Failure, Unknown};
use crate::raft::RaftNode;
use crate::raft::node::Group;
use crate::wall_clock::WallClock;

/// A running node. Cheap to clone.
#[derive(Clone)]
pub struct ShardedNode {
    router: Arc<Router>,
    members: Arc<[NodeName]>,
    number: u64,
}

/// Returns the introduction of a node to the group of a shard.
fn hello_of(shard: u8, shards: u8, hello: &Hello) -> Hello {
    Hello { cluster: format!("{} shard {shard} of {shards}", hello.cluster), node: hello.node.clone() }
}

impl ShardedNode {
    /// Opens the data folder and starts a group for each shard, with a folder and connections of its own. The node's tasks run in
    /// `tasks`.
    ///
    /// # Errors
    /// The data folder cannot be used, or the consensus cannot start from its contents.
    pub async fn start(
        config: &Config,
        options: &ShardedOptions,
        clock: Arc<dyn WallClock>,
        members: Vec<NodeName>,
        hello: &Hello,
        tasks: &mut JoinSet<()>,
    ) -> Result<Self, StartError> {
        let mut groups = Vec::new();
        for shard in 0..options.shards {
            let group = Group {
                shard: Some(shard),
                folder: config.data.join(format!("shard-{shard}")),
                state: Shard::of(shard, options.shards, config.bug),
                first: u64::from(shard) % members.len() as u64,
            };
            let (hello, members) = (hello_of(shard, options.shards, hello), members.clone());
            let node =
                RaftNode::start(config, &options.raft, Arc::clone(&clock), members, &hello, group, tasks);
            groups.push(node.await?);
        }
        let router = Arc::new(Router::new(groups, config.request_timeout, options.chunk_keys, config.bug));
        let number = members.binary_search(&config.node).expect("members are all nodes") as u64;
        let mover = Mover {
            router: Arc::clone(&router),
            node: (number, config.listen),
            rebalance_every: options.rebalance_every,
            bug: config.bug,
        };
        tasks.spawn(mover.run());
        Ok(Self { router, members: members.into(), number })
    }

    /// Returns the groups, with the introduction that their peers make.
    pub fn parts(&self, hello: &Hello) -> Vec<(Hello, RaftNode)> {
        let groups = self.router.groups();
        let hello = |shard| hello_of(shard, groups.len() as u8, hello);
        (0..).zip(groups).map(|(shard, group)| (hello(shard), group.clone())).collect()
    }

    /// Executes writes. Each has its own failure, as [`Reply::Failed`].
    pub async fn write(&self, commands: Vec<Command>) -> Vec<Reply> {
        self.router.execute(commands).await
    }

    /// Answers queries. Each has its own failure, as [`Answer::Failed`].
    pub async fn read(&self, queries: Vec<Query>) -> Vec<Answer> {
        self.router.execute(queries).await
    }

    /// Begins to move those of `slots` that one other shard has to the shard `to`, and returns how many they are; `None` if another
    /// move is under way.
    ///
    /// # Errors
    /// See [`crate::outcome`].
    pub async fn move_slots(&self, slots: &SlotSet, to: u8) -> Result<Option<u64>, Failure> {
        let Some(plan) = self.router.directory(|directory| directory.plan(slots, to)) else {
            return Ok(Some(0));
        };
        let count = plan.slots.len();
        let command = Command::Move(MoveStep::Begin(plan));
        match self.router.groups()[0].write(vec![command]).await?.pop() {
            Some(Reply::Moved(Progress::Done)) => Ok(Some(count)),
            Some(Reply::Moved(_)) => Ok(None),
            _ => Err(Unknown::ConnectionLost.into()),
        }
    }

    /// Returns the router of this node.
    pub fn router(&self) -> &Router {
        &self.router
    }

    /// Returns the names of all nodes, by number.
    pub fn members(&self) -> &[NodeName] {
        &self.members
    }

    /// Returns the number of this node.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Returns the status of this node: that of shard 0, and what concerns all shards.
    pub fn status(&self) -> Status {
        let groups = self.router.groups();
        let of_groups: Vec<Status> = groups.iter().map(RaftNode::status).collect();
        let leaders = (0..)
            .zip(&of_groups)
            .map(|(shard, status): (u8, _)| format!("{shard}={}", status.leader.as_deref().unwrap_or("")));
        let leaders: Vec<String> = leaders.collect();
        let received =
            groups.iter().map(|group| group.look(Shard::received)).fold(Received::default(), |sum, one| {
                Received {
                    moves: sum.moves + one.moves,
                    slots: sum.slots + one.slots,
                    keys: sum.keys + one.keys,
                    bytes: sum.bytes + one.bytes,
                }
            });
        let moving = self.router.directory(|directory| {
            directory
                .moving()
                .map(|moving| format!("{}:{}>{}", moving.plan.number, moving.plan.from, moving.plan.to))
        });
        let cost = self.router.cost();
        let mut fields = of_groups[0].fields.clone();
        fields.extend([
            ("shards", groups.len().to_string()),
            ("shard_leaders", leaders.join(",")),
            ("moving", moving.unwrap_or_default()),
            ("moves", received.moves.to_string()),
            ("moved_slots", received.slots.to_string()),
            ("moved_keys", received.keys.to_string()),
            ("moved_bytes", received.bytes.to_string()),
            ("requests", cost.requests.load(Ordering::Relaxed).to_string()),
            ("shards_asked", cost.asked.load(Ordering::Relaxed).to_string()),
            ("refused_by_shards", cost.refused.load(Ordering::Relaxed).to_string()),
        ]);
        Status {
            mode: "sharded",
            role: of_groups[0].role,
            leader: of_groups[0].leader.clone(),
            keys: of_groups.iter().map(|status| status.keys).sum(),
            fields,
        }
    }

    /// Returns the contents of this node's copy of a shard; `None` if there is no such shard.
    pub fn contents(&self, shard: usize) -> Option<Contents> {
        self.router.groups().get(shard).map(RaftNode::contents)
    }

    /// Returns when the consensus of a shard has stopped on an error of its own, which is returned.
    pub async fn failed(&self) -> Fatal {
        let failures = self.router.groups().iter().map(|group| Box::pin(group.failed()));
        select_all(failures).await.0
    }

    /// Stops the groups and closes the data folder.
    pub async fn stop(&self) {
        join_all(self.router.groups().iter().map(RaftNode::stop)).await;
    }
}

/// Returns an identifier of a node in the form of Redis's: 40 hexadecimal digits, or more for a long name.
pub fn id_of(name: &NodeName) -> Bytes {
    let digits: String = name.as_str().bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("{digits:0<40}").into()
}
