//! One node of the mode `ring`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use duress_consensus::disk::DiskError;
use duress_consensus::peer::frame::Hello;
use duress_consensus::peer::payload::{decode, encode};
use duress_consensus::peer::{Handler, Link};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::activity::Activity;
use super::copies::Copies;
use super::message::{SiblingsReply, SiblingsRequest};
use super::placement::{Member, Ring};
use super::quorum::Part;
use super::upkeep::{REPAIRS_MAX, anti_entropy, hand_off, repair};
use super::version::Versions;
use crate::command::{Answer, Command, Query, Reply};
use crate::config::{Config, NodeName, RingOptions};
use crate::key_values::Value;
use crate::node::{self, Contents, Status};
use crate::outcome::Failure;
use crate::wall_clock::WallClock;

/// A running node. Cheap to clone.
#[derive(Clone)]
pub struct RingNode {
    part: Arc<Part>,
    request_timeout: Duration,
}

impl RingNode {
    /// Opens the data folder and starts to serve. The node's tasks run in `tasks`.
    ///
    /// # Errors
    /// The data folder cannot be used.
    pub async fn start(
        config: &Config,
        options: &RingOptions,
        clock: Arc<dyn WallClock>,
        members: Vec<NodeName>,
        hello: &Hello,
        tasks: &mut JoinSet<()>,
    ) -> Result<Self, DiskError> {
        let owner = format!("{} of {}", config.node, hello.cluster);
        let (copies, starts) = Copies::open(&config.data, &owner, config.bug).await?;
        let numbered = || (0..).map(Member).zip(&members);
        let place = |name: &NodeName| numbered().find(|(_, member)| *member == name).map(|(at, _)| at);
        let me = place(&config.node).expect("this node is a member");
        let mut links = BTreeMap::new();
        for peer in &config.peers {
            let (link, task) = Link::new(peer.name.clone(), peer.address, hello.clone());
            tasks.spawn(task.run());
            links.insert(place(&peer.name).expect("peers are members"), link);
        }
        let (repairs, to_repair) = mpsc::channel(REPAIRS_MAX);
        let ring = Ring::new(&members, options.vnodes, options.n);
        let part = Arc::new(Part {
            me,
            members,
            ring,
            options: options.clone(),
            copies,
            versions: Versions::new(me, starts),
            clock,
            links,
            repairs,
            activity: Activity::default(),
            bug: config.bug,
            failure: watch::channel(None).0,
        });
        tasks.spawn(repair(Arc::clone(&part), to_repair));
        tasks.spawn(hand_off(Arc::clone(&part)));
        tasks.spawn(anti_entropy(Arc::clone(&part)));
        Ok(Self { part, request_timeout: config.request_timeout })
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.request_timeout
    }

    /// Executes writes, one after the other.
    ///
    /// # Errors
    /// See [`crate::outcome`].
    pub async fn write(&self, commands: Vec<Command>) -> Result<Vec<Reply>, Failure> {
        self.part.write_all(commands, self.deadline()).await
    }

    /// Answers queries, one after the other.
    ///
    /// # Errors
    /// See [`crate::outcome`].
    pub async fn read(&self, queries: Vec<Query>) -> Result<Vec<Answer>, Failure> {
        self.part.read_all(queries, self.deadline()).await
    }

    /// Answers a client's request that is about siblings.
    ///
    /// # Errors
    /// See [`crate::outcome`].
    pub async fn siblings(&self, request: SiblingsRequest) -> Result<SiblingsReply, Failure> {
        self.part.siblings(request, self.deadline()).await
    }

    /// Returns the status of this node, as it knows it without asking another node.
    pub fn status(&self) -> Status {
        let part = &self.part;
        let keys = part.copies.look(|own| own.values().filter(|copy| !copy.values().is_empty()).count());
        let siblings = part.copies.look(|own| own.values().filter(|copy| copy.values().len() > 1).count());
        let connected = part.links.values().filter(|link| link.is_connected()).count();
        let mut fields = vec![
            ("copies", part.ring.copies().to_string()),
            ("read_quorum", part.read_quorum().to_string()),
            ("write_quorum", part.write_quorum().to_string()),
            ("keys_with_siblings", siblings.to_string()),
            ("peers_connected", connected.to_string()),
            ("hints_pending", part.copies.hints_count().to_string()),
        ];
        fields.extend(part.activity.fields());
        Status { mode: "ring", role: "member", leader: None, keys, fields }
    }

    /// Returns the contents of this node, at a position that is the same on all nodes without hints: for each set of owners that it is in, the keys that they own.
    pub fn copies(&self) -> Vec<(String, Contents)> {
        let part = &self.part;
        // Also those of which this node holds no key, which its other owners may hold.
        let mine = part.ring.owner_sets().into_iter().filter(|owners| owners.contains(&part.me));
        let mut by_owners: BTreeMap<Vec<Member>, Vec<(Bytes, Value)>> =
            mine.map(|owners| (owners, Vec::new())).collect();
        part.copies.look(|own| {
            for (key, copy) in own {
                let value = match copy.values()[..] {
                    [] => continue,
                    [value] => Value::String(value.clone()),
                    ref values => Value::List(values.iter().map(|value| (*value).clone()).collect()),
                };
                let mut owners = part.ring.owners(key).to_vec();
                owners.sort_unstable();
                by_owners.entry(owners).or_default().push((key.clone(), value));
            }
        });
        let named = |owners: Vec<Member>| {
            let name = |owner: &Member| part.members[usize::from(owner.0)].to_string();
            owners.iter().map(name).collect::<Vec<_>>().join(",")
        };
        // Other nodes lack what this one has hints of.
        let position = match part.copies.hints_count() {
            0 => "no hints".to_owned(),
            hints => format!("{hints} hints of {}", part.members[usize::from(part.me.0)]),
        };
        let contents = |(owners, values)| (named(owners), Contents { position: position.clone(), values });
        by_owners.into_iter().map(contents).collect()
    }

    /// Returns the contents of this node, whatever their owners.
    pub fn contents(&self) -> Contents {
        let mut values: Vec<(Bytes, Value)> =
            self.copies().into_iter().flat_map(|(_, contents)| contents.values).collect();
        values.sort_by(|(one, _), (other, _)| one.cmp(other));
        Contents { position: format!("of {}", self.part.members[usize::from(self.part.me.0)]), values }
    }

    /// Returns when the node's storage has failed.
    pub async fn failed(&self) -> DiskError {
        node::failed(self.part.failure.subscribe()).await
    }

    /// Closes the data folder.
    pub async fn stop(&self) {
        self.part.copies.close().await;
    }
}

impl Handler for RingNode {
    async fn handle(&self, payload: Bytes) -> Option<Bytes> {
        Some(encode(&self.part.answer(decode(&payload)?).await))
    }

    fn introduced(&self, peer: &NodeName) {
        let at = self.part.members.iter().position(|member| member == peer);
        let member = at.and_then(|at| at.try_into().ok()).map(Member);
        if let Some(link) = member.and_then(|member| self.part.links.get(&member)) {
            link.peer_is_back();
        }
    }
}
