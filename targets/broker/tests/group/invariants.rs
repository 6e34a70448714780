//! Invariants that hold whatever members, time, the log and coordinators do.
//!
//! [`World`] checks after every answer that generations do not go back, that in no generation two members are given the
//! same partition, that a generation's assignment does not change, that a generation which is over commits nothing,
//! and that every request is answered once. This file checks that acknowledged commits stay, and that all
//! members are stable in the end.

use std::collections::BTreeSet;
use std::time::Duration;

use duress_broker::group::MemberIds;
use proptest::prelude::*;

use crate::world::{MemberActivity, PARTITIONS, World, options};

const CLIENTS: usize = 4;

#[derive(Debug, Clone)]
enum Step {
    Join(usize, MemberIds),
    Sync(usize),
    Heartbeat(usize),
    Commit(usize),
    /// As if still in the generation before.
    CommitLate(usize),
    Leave(usize),
    Crash(usize),
    Append,
    FailAppend,
    Pass(u64),
    Move(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let who = 0..CLIENTS;
    let ids = prop_oneof![Just(MemberIds::Required), Just(MemberIds::WithAnswer)];
    let step = prop_oneof![
        6 => (who.clone(), ids).prop_map(|(who, ids)| Step::Join(who, ids)),
        6 => who.clone().prop_map(Step::Sync),
        4 => who.clone().prop_map(Step::Heartbeat),
        4 => who.clone().prop_map(Step::Commit),
        1 => who.clone().prop_map(Step::CommitLate),
        1 => who.clone().prop_map(Step::Leave),
        1 => who.prop_map(Step::Crash),
        6 => Just(Step::Append),
        1 => Just(Step::FailAppend),
        3 => (100..12_000_u64).prop_map(Step::Pass),
        1 => (0..3_usize).prop_map(Step::Move),
    ];
    proptest::collection::vec(step, 1..150)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn a_partition_has_one_owner_and_offsets_do_not_go_back(steps in steps(), delay_s in 0..3_u64) {
        let mut options = options();
        options.initial_delay = Duration::from_secs(delay_s);
        let mut world = World::new(CLIENTS, options);
        for step in &steps {
            match *step {
                Step::Join(who, ids) if world.clients[who].activity == MemberActivity::Out => world.join(who, ids),
                Step::Join(..) => {}
                Step::Sync(who) => world.sync(who),
                Step::Heartbeat(who) => world.heartbeat(who),
                Step::Commit(who) => world.commit(who),
                Step::CommitLate(who) => {
                    if let MemberActivity::Reading { generation, partitions } = world.clients[who].activity.clone() {
                        world.commit_as(who, generation - 1, &partitions);
                    }
                }
                Step::Leave(who) => world.leave(who),
                Step::Crash(who) => world.crash(who),
                Step::Append => world.append(),
                Step::FailAppend => world.fail_append(),
                Step::Pass(ms) => world.pass(Duration::from_millis(ms)),
                Step::Move(kept) => world.move_coordinator(kept),
            }
            for partition in 0..PARTITIONS {
                let acknowledged = world.acknowledged.get(&partition).copied();
                prop_assert!(world.committed(partition) >= acknowledged, "partition {}", partition);
            }
        }
        world.settle();
        prop_assert!(world.open.is_empty(), "not answered: {:?}", world.open);
        let read: Vec<_> = world.clients.iter().flat_map(|client| match &client.activity {
            MemberActivity::Reading { partitions, .. } => partitions.iter().copied().collect(),
            _ => Vec::new(),
        }).collect();
        prop_assert_eq!(read.len() as i32, PARTITIONS);
        prop_assert_eq!(read.into_iter().collect::<BTreeSet<_>>().len() as i32, PARTITIONS);
    }
}
