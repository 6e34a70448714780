//! The transaction coordinator, and offsets that transactions commit.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use duress_broker::group::{
    self, Committed, Content, GroupError, Stability, Token, TopicPartition, partition_of,
};
use duress_broker::log::{Marker, Outcome, OwnRecord};
use duress_broker::transaction::{Action, Coordinator, Ending, Reply, Stage, TransactionError};

use crate::world::{GROUP, at, options};

const ID: &str = "worker-1";
const TIMEOUT: Duration = Duration::from_secs(10);
const TOKEN: Token = Token(1);

/// A coordinator whose records are appended at once, unless told otherwise.
struct Desk {
    coordinator: Coordinator,
    now: Instant,
    log: Vec<OwnRecord>,
    marks: VecDeque<Ending>,
    replies: Vec<Reply>,
}

impl Desk {
    fn new() -> Self {
        let coordinator = Coordinator::new(1);
        let (log, marks, replies) = Default::default();
        let mut desk = Self { coordinator, now: Instant::now(), log, marks, replies };
        desk.load();
        desk
    }

    /// Another broker takes over.
    fn load(&mut self) {
        self.coordinator = Coordinator::new(1);
        let mut load = self.coordinator.begin_load(0);
        assert_eq!(self.coordinator.describe(ID), Err(TransactionError::Loading));
        for record in &self.log {
            assert!(load.replay(record.key.as_ref().unwrap(), record.value.as_deref()));
        }
        let actions = self.coordinator.finish_load(load, self.now);
        self.take(actions);
    }

    fn take(&mut self, actions: Vec<Action>) {
        let mut actions = VecDeque::from(actions);
        while let Some(action) = actions.pop_front() {
            match action {
                Action::Reply(_, reply) => self.replies.push(reply),
                Action::Append { write, content: Content::Records(records), .. } => {
                    self.log.extend(records);
                    actions.extend(self.coordinator.appended(write, self.now));
                }
                Action::Append { content, .. } => panic!("no record of a transactional id: {content:?}"),
                Action::Mark(ending) => self.marks.push_back(ending),
            }
        }
    }

    fn reply(&mut self, actions: Vec<Action>) -> Reply {
        self.take(actions);
        assert_eq!(self.replies.len(), 1, "{:?}", self.replies);
        self.replies.pop().unwrap()
    }

    fn begin(&mut self) -> Result<(i64, i16), TransactionError> {
        let actions = self.coordinator.begin(ID, TIMEOUT, None, 70, TOKEN);
        match self.reply(actions) {
            Reply::Begun(begun) => begun,
            other => panic!("{other:?}"),
        }
    }

    fn add(&mut self, producer: (i64, i16), partition: i32) -> Result<(), TransactionError> {
        let actions = self.coordinator.add(ID, producer, vec![at(partition)], TOKEN);
        self.done(actions)
    }

    fn end(&mut self, producer: (i64, i16), outcome: Outcome) -> Result<(), TransactionError> {
        let actions = self.coordinator.end(ID, producer, outcome, TOKEN);
        self.done(actions)
    }

    fn done(&mut self, actions: Vec<Action>) -> Result<(), TransactionError> {
        match self.reply(actions) {
            Reply::Done(done) => done,
            other => panic!("{other:?}"),
        }
    }

    /// Has the next markers written; returns the outcome, the epoch and the partitions.
    fn mark(&mut self) -> (Outcome, i16, Vec<TopicPartition>) {
        let Ending { id, marker, partitions, .. } =
            self.marks.pop_front().expect("markers are to be written");
        let actions = self.coordinator.marked(&id, marker.number);
        self.take(actions);
        (marker.outcome, marker.producer_epoch, partitions)
    }

    fn stage(&mut self) -> Stage {
        self.coordinator.describe(ID).unwrap().unwrap().0
    }
}

#[test]
fn a_transaction_ends_in_every_partition_before_the_next_begins() {
    let mut desk = Desk::new();
    assert_eq!(desk.begin(), Ok((70, 0)));
    let me = (70, 0);
    assert_eq!(desk.end(me, Outcome::Commit), Err(TransactionError::InvalidState), "nothing to end");
    assert_eq!((desk.add(me, 0), desk.add(me, 1), desk.add(me, 1)), (Ok(()), Ok(()), Ok(())));
    assert_eq!(desk.end(me, Outcome::Commit), Ok(()));
    assert_eq!(desk.add(me, 2), Err(TransactionError::Concurrent));
    assert_eq!(desk.end(me, Outcome::Abort), Err(TransactionError::InvalidState), "it is decided");
    assert_eq!(desk.mark(), (Outcome::Commit, 0, vec![at(0), at(1)]));
    assert_eq!(desk.stage(), Stage::Ended(Outcome::Commit));
    assert_eq!(desk.end(me, Outcome::Commit), Ok(()), "a client that did not get the answer asks again");
    assert_eq!(desk.add(me, 2), Ok(()));
    assert_eq!(desk.end(me, Outcome::Abort), Ok(()));
    assert_eq!(desk.mark(), (Outcome::Abort, 0, vec![at(2)]), "of the second one only");
}

#[test]
fn two_instances_of_a_new_id_do_not_both_begin() {
    let mut desk = Desk::new();
    let first = desk.coordinator.begin(ID, TIMEOUT, None, 70, TOKEN);
    assert_eq!(desk.begin(), Err(TransactionError::Concurrent), "while the first is being appended");
    assert_eq!(desk.reply(first), Reply::Begun(Ok((70, 0))));
    assert_eq!(desk.begin(), Ok((70, 1)));
}

#[test]
fn a_new_instance_fences_the_old_one_and_aborts_its_transaction() {
    let mut desk = Desk::new();
    let old = desk.begin().unwrap();
    desk.add(old, 0).unwrap();
    assert_eq!(desk.begin(), Err(TransactionError::Concurrent), "first the open one has to end");
    assert_eq!(desk.add(old, 1), Err(TransactionError::Fenced));
    assert_eq!(desk.end(old, Outcome::Commit), Err(TransactionError::Fenced));
    assert_eq!(desk.begin(), Err(TransactionError::Concurrent));
    assert_eq!(desk.mark(), (Outcome::Abort, 1, vec![at(0)]), "with an epoch that fences it in partitions");
    let new = desk.begin().unwrap();
    assert_eq!(new, (70, 2));
    assert_eq!((desk.add(old, 1), desk.add(new, 1)), (Err(TransactionError::Fenced), Ok(())));
    assert_eq!(desk.add((71, 0), 1), Err(TransactionError::InvalidMapping));
    let again = desk.coordinator.begin(ID, TIMEOUT, Some(old), 80, TOKEN);
    assert_eq!(desk.reply(again), Reply::Begun(Err(TransactionError::Fenced)));
}

#[test]
fn a_transaction_that_takes_too_long_is_aborted() {
    let mut desk = Desk::new();
    let me = desk.begin().unwrap();
    desk.now += TIMEOUT * 2;
    desk.add(me, 0).unwrap();
    assert_eq!(desk.coordinator.due(), Some(desk.now + TIMEOUT));
    desk.now += TIMEOUT;
    let actions = desk.coordinator.tick(desk.now);
    desk.take(actions);
    assert_eq!(desk.mark(), (Outcome::Abort, 1, vec![at(0)]));
    assert_eq!(desk.end(me, Outcome::Commit), Err(TransactionError::Fenced));
    assert_eq!(desk.coordinator.due(), None);
}

#[test]
fn a_successor_ends_what_was_decided_and_no_more() {
    let mut desk = Desk::new();
    let me = desk.begin().unwrap();
    desk.add(me, 0).unwrap();
    desk.load();
    assert!(desk.marks.is_empty(), "nothing is decided yet");
    assert_eq!(desk.end(me, Outcome::Commit), Ok(()));
    desk.marks.clear();
    desk.load();
    assert_eq!(desk.mark(), (Outcome::Commit, 0, vec![at(0)]), "the successor writes the markers");
    desk.load();
    assert!(desk.marks.is_empty());
    assert_eq!(desk.stage(), Stage::Ended(Outcome::Commit));
}

#[test]
fn what_could_not_be_appended_changes_nothing_and_may_be_asked_again() {
    let mut desk = Desk::new();
    let me = desk.begin().unwrap();
    desk.add(me, 0).unwrap();
    let actions = desk.coordinator.end(ID, me, Outcome::Commit, TOKEN);
    let [Action::Append { write, .. }] = actions[..] else { panic!("{actions:?}") };
    assert_eq!(desk.add(me, 1), Err(TransactionError::Concurrent), "while it is being appended");
    let failed = desk.coordinator.append_failed(write, TransactionError::NotReplicated, desk.now);
    assert_eq!(desk.done(failed), Err(TransactionError::NotReplicated));
    assert_eq!((desk.stage(), desk.marks.len()), (Stage::Ongoing, 0));
    assert_eq!(desk.end(me, Outcome::Commit), Ok(()));
    // The end itself fails once, and is repeated without a request.
    let Ending { id, marker, .. } = desk.marks.pop_front().unwrap();
    let actions = desk.coordinator.marked(&id, marker.number);
    let [Action::Append { write, .. }] = actions[..] else { panic!("{actions:?}") };
    desk.coordinator.append_failed(write, TransactionError::NotReplicated, desk.now);
    desk.now = desk.coordinator.due().expect("it is repeated");
    let actions = desk.coordinator.tick(desk.now);
    desk.take(actions);
    assert_eq!(desk.stage(), Stage::Ended(Outcome::Commit));
}

/// A group without members, whose offsets a producer commits in transactions.
struct Offsets {
    coordinator: group::Coordinator,
    appending: VecDeque<(group::WriteId, Content)>,
    log: Vec<Content>,
    number: u64,
}

impl Offsets {
    fn new() -> Self {
        let coordinator = group::Coordinator::new(options());
        let mut offsets = Self { coordinator, appending: VecDeque::new(), log: Vec::new(), number: 0 };
        offsets.load();
        offsets
    }

    fn partition() -> i32 {
        partition_of(GROUP, options().partitions)
    }

    fn load(&mut self) {
        self.coordinator.unload(Self::partition());
        let now = Instant::now();
        let mut load = self.coordinator.begin_load(Self::partition());
        for (offset, content) in (0..).zip(&self.log) {
            let (records, transaction) = match content {
                Content::Records(records) => (records, None),
                Content::Transactional(records, (producer, _)) => (records, Some(*producer)),
                Content::Marker(marker) => {
                    load.replay_marker(marker, offset);
                    continue;
                }
            };
            for record in records {
                let (key, value) = (record.key.as_ref().unwrap(), record.value.as_deref());
                load.replay(key, value, offset, transaction, now).unwrap();
            }
        }
        self.coordinator.finish_load(load, now);
    }

    fn take(&mut self, actions: Vec<group::Action>) {
        for action in actions {
            if let group::Action::Append { write, content, .. } = action {
                self.appending.push_back((write, content));
            }
        }
    }

    fn append_all(&mut self) {
        while let Some((write, content)) = self.appending.pop_front() {
            self.log.push(content);
            let actions = self.coordinator.appended(write, Instant::now());
            self.take(actions);
        }
    }

    fn pend(&mut self, offset: i64) {
        let committed = Committed { offset, leader_epoch: -1, metadata: None };
        let now = Instant::now();
        let offsets = vec![(at(0), committed)];
        let actions = self.coordinator.commit_in_transaction(GROUP, "", -1, (7, 0), offsets, TOKEN, now);
        self.take(actions);
    }

    fn end(&mut self, outcome: Outcome, number: u64) {
        self.number = number;
        let marker = Marker { producer_id: 7, producer_epoch: 0, number, outcome, coordinator_epoch: 0 };
        let actions = self.coordinator.end_transaction(Self::partition(), marker, TOKEN);
        self.take(actions);
    }

    fn fetch(&self, stability: Stability) -> Result<Option<i64>, GroupError> {
        let fetched = self.coordinator.fetch(GROUP, Some(&[at(0)]), stability)?;
        Ok(fetched[0].1.as_ref().map(|committed| committed.offset))
    }
}

#[test]
fn offsets_count_with_their_transaction_and_are_unstable_before() {
    let mut offsets = Offsets::new();
    offsets.pend(5);
    assert_eq!(
        offsets.fetch(Stability::Required),
        Err(GroupError::Unstable),
        "already while they are appended"
    );
    offsets.append_all();
    assert_eq!(offsets.fetch(Stability::Any), Ok(None));
    offsets.load();
    assert_eq!(offsets.fetch(Stability::Required), Err(GroupError::Unstable), "and with a successor");
    offsets.end(Outcome::Commit, 1);
    offsets.append_all();
    assert_eq!(offsets.fetch(Stability::Required), Ok(Some(5)));
    offsets.pend(9);
    offsets.append_all();
    // The marker of the first transaction arrives once more.
    offsets.end(Outcome::Commit, 1);
    offsets.append_all();
    assert_eq!(offsets.fetch(Stability::Any), Ok(Some(5)));
    assert_eq!(offsets.fetch(Stability::Required), Err(GroupError::Unstable));
    offsets.end(Outcome::Abort, 2);
    offsets.append_all();
    assert_eq!(offsets.fetch(Stability::Required), Ok(Some(5)));
}

#[test]
fn offsets_that_may_have_been_appended_end_with_their_transaction_and_fenced_ones_at_once() {
    for (error, expected) in
        [(GroupError::NotReplicated, Err(GroupError::Unstable)), (GroupError::Fenced, Ok(None))]
    {
        let mut offsets = Offsets::new();
        offsets.pend(5);
        let (write, _) = offsets.appending.pop_front().unwrap();
        offsets.coordinator.append_failed(write, &error, Instant::now());
        assert_eq!(offsets.fetch(Stability::Required), expected, "{error}");
        offsets.end(Outcome::Abort, 1);
        offsets.append_all();
        assert_eq!(offsets.fetch(Stability::Required), Ok(None));
    }
}
