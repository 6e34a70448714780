//! The protocol, case by case.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use duress_broker::group::{
    Action, CommitFence, Committed, Departure, GroupError, GroupOptions, MemberIds, OffsetsOnLoad,
    TopicPartition, partition_of,
};
use kafka_protocol::messages::ConsumerProtocolAssignment;
use kafka_protocol::messages::consumer_protocol_assignment::TopicPartition as AssignedTopic;
use kafka_protocol::protocol::{Encodable, StrBytes};

use crate::world::{Doing, GROUP, PARTITIONS, REBALANCE, SESSION, World, at, options};

fn settled(clients: usize) -> World {
    let mut world = World::new(clients, options());
    world.settle();
    world
}

fn reads(world: &World, client: usize) -> usize {
    match &world.clients[client].doing {
        Doing::Reading { partitions, .. } => partitions.len(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_new_member_is_named_before_it_joins() {
    let mut world = World::new(1, options());
    world.join(0, MemberIds::Required);
    assert!(matches!(world.refused[..], [GroupError::MemberIdRequired { .. }]));
    assert!(world.clients[0].member_id.starts_with("c0-start-"));
    world.join(0, MemberIds::Required);
    assert!(matches!(world.clients[0].doing, Doing::Joined(_)));
}

#[test]
fn a_name_that_is_not_used_is_forgotten() {
    let mut world = World::new(1, options());
    world.join(0, MemberIds::Required);
    world.pass(SESSION);
    world.join(0, MemberIds::Required);
    assert_eq!(world.refused.last(), Some(&GroupError::UnknownMember));
    assert_eq!(world.coordinator.describe(GROUP).unwrap().state, "Dead");
}

#[test]
fn nobody_reads_before_the_assignment_is_replicated() {
    let mut world = World::new(1, options());
    world.join(0, MemberIds::WithAnswer);
    world.sync(0);
    assert!(matches!(world.clients[0].doing, Doing::Syncing(..)));
    assert_eq!(world.coordinator.describe(GROUP).unwrap().state, "CompletingRebalance");
    world.append();
    assert_eq!(reads(&world, 0), PARTITIONS as usize);
}

#[test]
fn who_joins_gets_a_share_and_who_leaves_gives_it_back() {
    let mut world = settled(2);
    assert_eq!((reads(&world, 0), reads(&world, 1)), (3, 2));
    world.leave(1);
    world.clients.pop();
    world.settle();
    assert_eq!(reads(&world, 0), 5);
}

#[test]
fn who_is_silent_is_gone_and_cannot_commit_any_more() {
    let mut world = settled(2);
    let Doing::Reading { generation, partitions } = world.clients[1].doing.clone() else { panic!() };
    for _ in 0..10 {
        world.heartbeat(0);
        world.pass(SESSION / 10);
    }
    world.join(0, MemberIds::Required);
    assert!(matches!(&world.clients[0].doing, Doing::Joined(joined) if joined.members.len() == 1));
    world.commit_as(1, generation, &partitions);
    assert_eq!(world.refused.last(), Some(&GroupError::UnknownMember));
}

#[test]
fn who_is_left_behind_cannot_commit() {
    let mut world = settled(2);
    let Doing::Reading { generation, partitions } = world.clients[0].doing.clone() else { panic!() };
    world.leave(1);
    world.commit_as(0, generation, &partitions);
    world.append();
    assert_eq!(
        world.acknowledged.len(),
        partitions.len(),
        "while others are awaited, the old generation may"
    );
    world.join(0, MemberIds::Required);
    let Doing::Joined(joined) = world.clients[0].doing.clone() else { panic!() };
    world.commit_as(0, generation, &partitions);
    assert_eq!(world.refused.last(), Some(&GroupError::IllegalGeneration));
    world.clients[0].member_id.clone_from(&joined.member_id);
    world.commit_as(0, joined.generation, &partitions);
    assert_eq!(world.refused.last(), Some(&GroupError::RebalanceInProgress));
}

#[test]
fn without_a_fence_a_member_that_was_replaced_still_commits() {
    for (commit_fence, expected) in [(CommitFence::Generation, false), (CommitFence::None, true)] {
        let mut world = World::new(2, GroupOptions { commit_fence, ..options() });
        world.settle();
        let Doing::Reading { generation, .. } = world.clients[1].doing.clone() else { panic!() };
        let member = world.clients[1].member_id.clone();
        world.leave(1);
        world.clients.pop();
        world.settle();
        let committed = Committed { offset: 7, leader_epoch: -1, metadata: None };
        let token = world.token();
        let offsets = vec![(at(0), committed)];
        let actions = world.coordinator.commit(GROUP, &member, generation, offsets, token, world.now);
        let is_taken = actions.iter().any(|action| matches!(action, Action::Append { .. }));
        assert_eq!(is_taken, expected);
    }
}

#[test]
fn who_does_not_join_again_in_time_is_out() {
    let mut world = settled(2);
    world.clients[1].doing = Doing::Out;
    world.leave(1);
    world.crash(1);
    world.join(1, MemberIds::WithAnswer);
    assert!(matches!(world.clients[1].doing, Doing::Joining(_)), "the other is awaited");
    let mut waited = Duration::ZERO;
    while waited < REBALANCE {
        world.pass(Duration::from_secs(1));
        waited += Duration::from_secs(1);
    }
    assert!(matches!(&world.clients[1].doing, Doing::Joined(joined) if joined.members.len() == 1));
}

#[test]
fn a_leader_that_never_assigns_is_out() {
    let mut world = World::new(2, options());
    for client in [0, 1, 0] {
        world.join(client, MemberIds::WithAnswer);
    }
    let leads = |world: &World, client: usize| matches!(&world.clients[client].doing, Doing::Joined(joined) if !joined.members.is_empty());
    let (leader, other) = if leads(&world, 0) { (0, 1) } else { (1, 0) };
    world.sync(other);
    world.crash(leader);
    world.pass(REBALANCE);
    world.clients.truncate(2);
    world.settle();
    assert_eq!(reads(&world, 0) + reads(&world, 1), PARTITIONS as usize);
}

#[test]
fn offsets_of_a_group_without_members_are_anybodys() {
    let mut world = World::new(1, options());
    world.commit_as(0, -1, &BTreeSet::from([2]));
    world.append();
    assert_eq!(world.committed(2), Some(1));
    assert_eq!(world.committed(1), None);
    world.settle();
    world.clients[0].member_id.clear();
    world.commit_as(0, -1, &BTreeSet::from([2]));
    assert_eq!(world.refused.last(), Some(&GroupError::UnknownMember));
    assert_eq!(world.coordinator.list().unwrap().len(), 1);
}

#[test]
fn a_new_coordinator_knows_members_and_offsets() {
    let mut world = settled(2);
    world.commit(0);
    world.append();
    let (doing, acknowledged) = (world.clients[0].doing.clone(), world.acknowledged.clone());
    world.move_coordinator(0);
    world.heartbeat(0);
    assert_eq!(world.clients[0].doing, doing, "it goes on as if nothing had happened");
    for (partition, offset) in acknowledged {
        assert_eq!(world.committed(partition), Some(offset));
    }
    assert_eq!(world.coordinator.describe(GROUP).unwrap().members.len(), 2);
}

#[test]
fn a_coordinator_that_forgets_offsets_begins_again() {
    let mut world = World::new(1, GroupOptions { offsets_on_load: OffsetsOnLoad::Forgotten, ..options() });
    world.settle();
    world.commit(0);
    world.append();
    assert_eq!(world.committed(0), Some(1));
    world.move_coordinator(0);
    assert_eq!(world.committed(0), None);
}

#[test]
fn a_departure_that_commits_asks_for_the_ends_of_what_the_member_had() {
    let assignment = |partitions: &[i32]| {
        let topic = AssignedTopic::default()
            .with_topic(StrBytes::from_static_str("t").into())
            .with_partitions(partitions.to_vec());
        let mut bytes = BytesMut::new();
        bytes.put_i16(1);
        ConsumerProtocolAssignment::default()
            .with_assigned_partitions(vec![topic])
            .encode(&mut bytes, 1)
            .unwrap();
        bytes.freeze()
    };
    for (departure, expected) in
        [(Departure::LeavesOffsets, vec![]), (Departure::CommitsHighWatermarks, vec![at(1), at(3)])]
    {
        let mut world = World::new(1, GroupOptions { departure, ..options() });
        world.join(0, MemberIds::WithAnswer);
        let Doing::Joined(joined) = world.clients[0].doing.clone() else { panic!() };
        let member = joined.member_id.clone();
        let assignments = BTreeMap::from([(member.clone(), assignment(&[1, 3]))]);
        let token = world.token();
        let actions =
            world.coordinator.sync(GROUP, &member, joined.generation, assignments, token, world.now);
        world.take(actions);
        world.append();
        world.pass(SESSION);
        assert_eq!(world.asked, expected);
        let ends: Vec<(TopicPartition, i64)> = world.asked.clone().into_iter().map(|at| (at, 77)).collect();
        let actions = world.coordinator.commit_departed(GROUP, ends);
        world.take(actions);
        while !world.appending.is_empty() {
            world.append();
        }
        assert_eq!(world.committed(3), expected.first().map(|_| 77));
    }
}

#[test]
fn a_group_is_where_clients_expect_it() {
    // "g".hashCode() is 103; "polygenelubricants".hashCode() is the smallest integer, whose absolute value is none.
    assert_eq!(partition_of("g", 50), 3);
    assert_eq!(partition_of("polygenelubricants", 50), 0);
    let long = "console-consumer-12345";
    let hash = long.chars().fold(0_i32, |hash, c| hash.wrapping_mul(31).wrapping_add(c as i32));
    assert_eq!(partition_of(long, 50), hash.abs() % 50);
}
