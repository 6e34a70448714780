//! Members that follow the protocol, a log, and a coordinator between them. The test advances the time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use duress_broker::group::{
    Action, CommitFence, Committed, Content, Coordinator, Departure, GroupError, GroupOptions, JoinRequest,
    Joined, MemberIds, OffsetsOnLoad, Protocol, Reply, Stability, Token, TopicPartition,
    TransactionalOffsets, WriteId, partition_of,
};
use duress_broker::log::OwnRecord;

pub const GROUP: &str = "g";
pub const PARTITIONS: i32 = 5;
pub const SESSION: Duration = Duration::from_secs(10);
pub const REBALANCE: Duration = Duration::from_secs(30);

pub fn options() -> GroupOptions {
    GroupOptions {
        partitions: 3,
        session_timeout_min: Duration::from_secs(1),
        session_timeout_max: Duration::from_secs(60),
        initial_delay: Duration::ZERO,
        names: "start".to_owned(),
        departure: Departure::LeavesOffsets,
        offsets_on_load: OffsetsOnLoad::Replayed,
        commit_fence: CommitFence::Generation,
        transactional_offsets: TransactionalOffsets::WithTransaction,
    }
}

pub fn at(partition: i32) -> TopicPartition {
    TopicPartition { topic: "t".to_owned(), partition }
}

/// The activity of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberActivity {
    /// Nothing; it is to join.
    Out,
    Joining(Token),
    Joined(Joined),
    Syncing(Token, Joined),
    /// It reads these partitions.
    Reading {
        generation: i32,
        partitions: BTreeSet<i32>,
    },
}

/// A client that wants to be a member.
#[derive(Debug, Clone)]
pub struct Client {
    pub member_id: String,
    pub activity: MemberActivity,
    commits: BTreeMap<Token, Vec<(i32, i64)>>,
}

/// Everything.
pub struct World {
    pub coordinator: Coordinator,
    pub now: Instant,
    pub clients: Vec<Client>,
    options: GroupOptions,
    moves: u64,
    tokens: u64,
    /// Requests not answered yet.
    pub open: BTreeSet<Token>,
    /// Appends in progress.
    pub appending: VecDeque<(WriteId, Vec<OwnRecord>)>,
    pub log: Vec<OwnRecord>,
    /// By generation, the partitions given to each member.
    pub given: BTreeMap<i32, BTreeMap<String, BTreeSet<i32>>>,
    /// The generation of the last answer to a JoinGroup of this coordinator.
    pub generation: i32,
    /// Largest offset that was acknowledged as committed, by partition.
    pub acknowledged: BTreeMap<i32, i64>,
    pub offset: i64,
    /// High watermarks requested.
    pub asked: Vec<TopicPartition>,
    /// Refusals since the start.
    pub refused: Vec<GroupError>,
}

impl World {
    pub fn new(clients: usize, options: GroupOptions) -> Self {
        let client =
            Client { member_id: String::new(), activity: MemberActivity::Out, commits: BTreeMap::new() };
        let mut world = Self {
            coordinator: Coordinator::new(options.clone()),
            now: Instant::now(),
            clients: vec![client; clients],
            options,
            moves: 0,
            tokens: 0,
            open: BTreeSet::new(),
            appending: VecDeque::new(),
            log: Vec::new(),
            given: BTreeMap::new(),
            generation: 0,
            acknowledged: BTreeMap::new(),
            offset: 0,
            asked: Vec::new(),
            refused: Vec::new(),
        };
        world.load();
        world
    }

    fn load(&mut self) {
        let mut load = self.coordinator.begin_load(partition_of(GROUP, self.options.partitions));
        assert_eq!(self.coordinator.fetch(GROUP, None, Stability::Any), Err(GroupError::Loading));
        for (offset, record) in (0..).zip(&self.log) {
            load.replay(record.key.as_ref().unwrap(), record.value.as_deref(), offset, None, self.now)
                .unwrap();
        }
        self.coordinator.finish_load(load, self.now);
    }

    pub fn token(&mut self) -> Token {
        self.tokens += 1;
        self.open.insert(Token(self.tokens));
        Token(self.tokens)
    }

    /// Another broker takes over. It finds the first `kept` of the records that were being appended.
    pub fn move_coordinator(&mut self, kept: usize) {
        let actions = self.coordinator.unload(partition_of(GROUP, self.options.partitions));
        self.take(actions);
        for (_, records) in self.appending.drain(..).take(kept) {
            self.log.extend(records);
        }
        self.moves += 1;
        let names = format!("start{}", self.moves);
        self.coordinator = Coordinator::new(GroupOptions { names, ..self.options.clone() });
        self.generation = 0;
        self.load();
    }

    pub fn append(&mut self) {
        if let Some((write, records)) = self.appending.pop_front() {
            self.log.extend(records);
            let actions = self.coordinator.appended(write, self.now);
            self.take(actions);
        }
    }

    pub fn fail_append(&mut self) {
        if let Some((write, _)) = self.appending.pop_front() {
            let actions = self.coordinator.append_failed(write, &GroupError::NotReplicated, self.now);
            self.take(actions);
        }
    }

    pub fn pass(&mut self, time: Duration) {
        self.now += time;
        let actions = self.coordinator.tick(self.now);
        self.take(actions);
        assert!(self.coordinator.due().is_none_or(|due| due > self.now), "what was due has been done");
    }

    pub fn take(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Append { write, partition, content: Content::Records(records) } => {
                    assert_eq!(partition, partition_of(GROUP, self.options.partitions));
                    self.appending.push_back((write, records));
                }
                Action::Append { content, .. } => panic!("{content:?} of no member"),
                Action::FindHighWatermarks { partitions, .. } => self.asked.extend(partitions),
                Action::Reply(token, reply) => {
                    assert!(self.open.remove(&token), "{token:?} is answered once");
                    self.answer(token, reply);
                }
            }
        }
    }

    fn answer(&mut self, token: Token, reply: Reply) {
        match &reply {
            Reply::Join(Err(error)) | Reply::Sync(Err(error)) | Reply::Commit(Err(error)) => {
                self.refused.push(error.clone());
            }
            _ => {}
        }
        if let Reply::Join(Ok(joined)) = &reply {
            assert!(joined.generation >= self.generation, "generations do not go back");
            assert!(
                !self.given.contains_key(&joined.generation)
                    || joined.generation == self.generation
                    || self.generation == 0
            );
            self.generation = joined.generation;
        }
        let Some(client) = self.clients.iter_mut().find(|client| client.waits_for(token)) else {
            // The answer is for a member that has crashed meanwhile; the commit stays committed.
            return;
        };
        if let Some(committed) = client.commits.remove(&token) {
            match reply {
                Reply::Commit(Ok(())) => {
                    for (partition, offset) in committed {
                        let acknowledged = self.acknowledged.entry(partition).or_insert(-1);
                        *acknowledged = offset.max(*acknowledged);
                    }
                }
                Reply::Commit(Err(GroupError::UnknownMember | GroupError::IllegalGeneration)) => {
                    client.start_over()
                }
                _ => {}
            }
            return;
        }
        match (reply, client.activity.clone()) {
            (Reply::Join(Ok(joined)), _) => {
                client.member_id.clone_from(&joined.member_id);
                client.activity = MemberActivity::Joined(joined);
            }
            (Reply::Join(Err(GroupError::MemberIdRequired { member_id })), _) => {
                client.member_id = member_id;
                client.activity = MemberActivity::Out;
            }
            (Reply::Sync(Ok(assignment)), MemberActivity::Syncing(_, joined)) => {
                let partitions: BTreeSet<_> =
                    assignment.iter().map(|partition| i32::from(*partition)).collect();
                let given = self.given.entry(joined.generation).or_default();
                let before = given.insert(client.member_id.clone(), partitions.clone());
                assert!(before.is_none_or(|before| before == partitions), "an assignment does not change");
                let all: Vec<_> = given.values().flatten().collect();
                assert_eq!(
                    all.len(),
                    all.iter().collect::<BTreeSet<_>>().len(),
                    "no partition is shared: {given:?}"
                );
                client.activity = MemberActivity::Reading { generation: joined.generation, partitions };
            }
            (
                Reply::Join(Err(GroupError::UnknownMember)) | Reply::Sync(Err(GroupError::UnknownMember)),
                _,
            ) => {
                client.start_over();
            }
            _ => client.activity = MemberActivity::Out,
        }
    }

    pub fn join(&mut self, client: usize, member_ids: MemberIds) {
        let token = self.token();
        self.clients[client].activity = MemberActivity::Joining(token);
        let request = JoinRequest {
            group: GROUP.to_owned(),
            member_id: self.clients[client].member_id.clone(),
            client_id: format!("c{client}"),
            client_host: "/127.0.0.1".to_owned(),
            session_timeout: SESSION,
            rebalance_timeout: REBALANCE,
            protocol_type: "consumer".to_owned(),
            protocols: vec![Protocol { name: "spread".to_owned(), metadata: Bytes::from_static(b"t") }],
            member_ids,
        };
        let actions = self.coordinator.join(request, token, self.now);
        self.take(actions);
    }

    pub fn sync(&mut self, client: usize) {
        let MemberActivity::Joined(joined) = self.clients[client].activity.clone() else { return };
        let mut assignments: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for partition in 0..PARTITIONS {
            if !joined.members.is_empty() {
                let to = &joined.members[partition as usize % joined.members.len()].member_id;
                assignments.entry(to.clone()).or_default().push(partition as u8);
            }
        }
        let assignments = assignments.into_iter().map(|(member, list)| (member, list.into())).collect();
        let token = self.token();
        let (member, generation) = (self.clients[client].member_id.clone(), joined.generation);
        self.clients[client].activity = MemberActivity::Syncing(token, joined);
        let actions = self.coordinator.sync(GROUP, &member, generation, assignments, token, self.now);
        self.take(actions);
    }

    /// Sends a heartbeat, and joins again if the answer demands it.
    pub fn heartbeat(&mut self, client: usize) {
        let MemberActivity::Reading { generation, .. } = self.clients[client].activity else { return };
        let token = self.token();
        let member = self.clients[client].member_id.clone();
        let actions = self.coordinator.heartbeat(GROUP, &member, generation, token, self.now);
        match &actions[..] {
            [Action::Reply(_, Reply::Heartbeat(Ok(())))] => {}
            [Action::Reply(_, Reply::Heartbeat(Err(GroupError::RebalanceInProgress)))] => {
                self.clients[client].activity = MemberActivity::Out;
            }
            [Action::Reply(_, Reply::Heartbeat(Err(_)))] => self.clients[client].start_over(),
            other => panic!("{other:?}"),
        }
        self.open.remove(&token);
    }

    /// Commits an offset larger than all before for each partition that it reads.
    pub fn commit(&mut self, client: usize) {
        let MemberActivity::Reading { generation, partitions } = self.clients[client].activity.clone() else {
            return;
        };
        self.commit_as(client, generation, &partitions);
    }

    pub fn commit_as(&mut self, client: usize, generation: i32, partitions: &BTreeSet<i32>) {
        self.offset += 1;
        let token = self.token();
        let offset = self.offset;
        let committed = || Committed { offset, leader_epoch: -1, metadata: None };
        let offsets = partitions.iter().map(|partition| (at(*partition), committed())).collect();
        let pairs = partitions.iter().map(|partition| (*partition, offset)).collect();
        self.clients[client].commits.insert(token, pairs);
        let member = self.clients[client].member_id.clone();
        let actions = self.coordinator.commit(GROUP, &member, generation, offsets, token, self.now);
        let is_accepted = actions.iter().any(|action| matches!(action, Action::Append { .. }));
        if is_accepted && generation >= 0 && self.generation > 0 {
            assert_eq!(generation, self.generation, "an old generation commits nothing");
        }
        self.take(actions);
    }

    pub fn leave(&mut self, client: usize) {
        let token = self.token();
        let member = self.clients[client].member_id.clone();
        self.clients[client].start_over();
        let actions = self.coordinator.leave(GROUP, &member, token, self.now);
        self.take(actions);
    }

    /// The client crashes without leaving, and restarts later.
    pub fn crash(&mut self, client: usize) {
        self.clients[client] =
            Client { member_id: String::new(), activity: MemberActivity::Out, commits: BTreeMap::new() };
    }

    /// Every client takes its next step until all read.
    pub fn settle(&mut self) {
        for _ in 0..200 {
            while !self.appending.is_empty() {
                self.append();
            }
            for client in 0..self.clients.len() {
                match self.clients[client].activity {
                    MemberActivity::Out => self.join(client, MemberIds::Required),
                    MemberActivity::Joined(_) => self.sync(client),
                    MemberActivity::Reading { .. } => self.heartbeat(client),
                    MemberActivity::Joining(_) | MemberActivity::Syncing(..) => {}
                }
            }
            self.pass(Duration::from_secs(1));
            let group = self.coordinator.describe(GROUP).unwrap();
            let reading =
                self.clients.iter().all(|client| matches!(client.activity, MemberActivity::Reading { .. }));
            // Members that have crashed are still members for a while.
            if reading && group.members.len() == self.clients.len() && group.state == "Stable" {
                return;
            }
        }
        let activity: Vec<_> = self.clients.iter().map(|client| &client.activity).collect();
        panic!("they do not come together: {activity:?} {:?}", self.coordinator.describe(GROUP));
    }

    pub fn committed(&self, partition: i32) -> Option<i64> {
        let fetched = self.coordinator.fetch(GROUP, Some(&[at(partition)]), Stability::Any).unwrap();
        fetched[0].1.as_ref().map(|committed| committed.offset)
    }
}

impl Client {
    fn waits_for(&self, token: Token) -> bool {
        let doing = match self.activity {
            MemberActivity::Joining(waits) | MemberActivity::Syncing(waits, _) => waits == token,
            _ => false,
        };
        doing || self.commits.contains_key(&token)
    }

    fn start_over(&mut self) {
        self.member_id.clear();
        self.activity = MemberActivity::Out;
    }
}
