use std::sync::LazyLock;

use super::*;
use crate::clock_bound;
use crate::loss::lost;
use crate::packet::PacketEffect;
use crate::selector::Targets;
use crate::variant::Kind;

fn names(prefix: &str) -> Vec<NodeId> {
    (1..=NODES).map(|at| NodeId::new(format!("{prefix}{at}"))).collect()
}

const NODES: usize = 5;

fn expanded(
    text: &str,
    seed: u64,
    change: impl Fn(&mut MixOptions<'_>),
) -> Result<Vec<ScheduledFault>, MixError> {
    let (nodes, clients) = (names("n"), names("c"));
    let mut options = MixOptions {
        nodes: &nodes,
        clients: &clients,
        roles: &[],
        seed,
        interval: Duration::from_millis(600),
        warm_up: Duration::from_secs(2),
        time_limit: Duration::from_secs(30),
        time_outs: &[Duration::from_millis(1200)],
        client_time_out: None,
        losses: LossLimit::tolerated(2),
        clock_bound: None,
        members: Members::Changeable,
        programs: Programs::Two,
        commands: None,
    };
    change(&mut options);
    expand(&FaultSpec::parse_mix(text).expect("a good mix"), &options)
}

/// Returns the faults in force at the start of each fault, except faults that wait for an event the schedule
/// cannot know.
fn moments(faults: &[ScheduledFault]) -> impl Iterator<Item = Vec<&ScheduledFault>> {
    faults.iter().filter(|begun| !begun.is_open()).map(|begun| {
        let now = |fault: &&ScheduledFault| {
            !fault.is_open() && (fault.start_ms..=fault.stop_ms).contains(&begun.start_ms)
        };
        faults.iter().filter(now).collect()
    })
}

#[test]
fn the_seed_decides_everything() {
    let one = expanded("all", 7, |_| {}).expect("expands");
    assert_eq!(one, expanded("all", 7, |_| {}).expect("expands"));
    assert_ne!(one, expanded("all", 8, |_| {}).expect("expands"));
    let json = serde_json::to_string(&one).expect("serializes");
    let back: Vec<ScheduledFault> = serde_json::from_str(&json).expect("deserializes");
    assert_eq!(one, back);
}

#[test]
fn a_storm_is_many_faults_of_every_family_inside_the_run() {
    for seed in 0..20 {
        for mix in ["partition,kill,pause,restart,story", "all"] {
            let faults = expanded(mix, seed, |_| {}).expect("expands");
            assert!(faults.len() >= 20, "{mix}, seed {seed}: {} faults", faults.len());
            assert!(faults[0].start_ms >= 2000 && faults.iter().all(|fault| fault.stop_ms <= 30_000));
            assert!(faults.windows(2).all(|pair| pair[0].start_ms <= pair[1].start_ms));
            for spec in FaultSpec::parse_mix(mix).expect("a good mix") {
                let Some(family) = spec.family() else { continue };
                let there = faults.iter().any(|fault| fault.fault.family() == family);
                assert!(there, "{mix}, seed {seed}: no {}", family.name());
            }
        }
    }
}

#[test]
fn the_faults_of_a_cluster_that_already_runs_are_its_own() {
    static COMMANDS: LazyLock<[CommandVariant; 2]> = LazyLock::new(|| {
        [("stop", true), ("slow", false)]
            .map(|(name, disables)| CommandVariant { name: name.to_owned(), disables })
    });
    let commands: &'static [CommandVariant] = &*COMMANDS;
    for seed in 0..20 {
        let faults = expanded("command:stop,command:slow,command", seed, |options| {
            options.commands = Some(commands);
            options.losses = LossLimit::tolerated(1);
        })
        .expect("expands");
        assert!(faults.len() >= 10, "seed {seed}: {} faults", faults.len());
        assert_eq!(check_kinds(&faults, Members::Changeable, Programs::Two, Some(commands)), Ok(()));
        assert!(
            check_kinds(&faults, Members::Changeable, Programs::Two, None).is_err()
                && check_kinds(&faults, Members::Changeable, Programs::Two, Some(&commands[..1])).is_err()
        );
        for now in moments(&faults) {
            let names: Vec<String> = now
                .iter()
                .map(|fault| match &fault.fault {
                    Fault::Command { name, .. } => name.clone(),
                    other => panic!("{other}"),
                })
                .collect();
            let again = names.iter().enumerate().any(|(at, name)| names[..at].contains(name));
            assert!(!again, "seed {seed}: nothing tells two faults of the same commands apart: {names:?}");
        }
    }
    for (mix, commands) in [
        ("partition", Some(commands)),
        ("story", Some(commands)),
        ("command:stpo", Some(commands)),
        ("command:stop@packet=3", Some(commands)),
        ("command", Some(&[])),
        ("command", None),
    ] {
        assert!(expanded(mix, 1, |options| options.commands = commands).is_err(), "{mix}");
    }
}

#[test]
fn a_short_run_has_a_fault_of_every_family_too() {
    let short = |options: &mut MixOptions<'_>| {
        options.interval = Duration::from_millis(500);
        options.warm_up = Duration::from_millis(1500);
        options.time_limit = Duration::from_secs(4);
    };
    for seed in 0..50 {
        let mix = "partition,kill,pause,restart,disk,resources";
        let faults = expanded(mix, seed, short).expect("expands");
        for family in Family::ALL.into_iter().filter(|family| mix.contains(family.name())) {
            let mut of_family = faults.iter().filter(|fault| fault.fault.family() == family);
            // The first fault does not wait for an event, which might not come.
            assert!(of_family.any(|fault| fault.on.is_none()), "seed {seed}: no {}", family.name());
        }
    }
}

#[test]
fn what_is_drawn_is_wide() {
    let mut seen = BTreeSet::new();
    let mut roles = BTreeSet::new();
    static KNOWN: LazyLock<[Role; 2]> = LazyLock::new(|| ["controller", "partition"].map(Role::new));
    for seed in 0..40 {
        let nodes = names("n");
        for fault in expanded("all", seed, |options| options.roles = &*KNOWN).expect("expands") {
            let size = fault.fault.targets().map(|targets| targets.count().min(nodes.len()));
            roles.extend(fault.fault.role().cloned());
            seen.insert((fault.fault.family(), fault.fault.variant(), size));
            assert!(fault.start_ms < fault.stop_ms);
        }
    }
    for count in [1, 2, 3, 5] {
        let there =
            seen.iter().any(|(family, _, size)| family.varies_by_nodes_only() && *size == Some(count));
        assert!(there, "no process fault of {count} nodes");
    }
    let any = |name: &str| seen.iter().any(|(_, variant, _)| *variant == Some(name));
    for shape in [
        "isolate-leader",
        "leader-in-minority",
        "flapping",
        "clients",
        "bridge",
        "one-way",
        "majorities-ring",
        "halves",
    ] {
        assert!(any(shape), "no {shape}");
    }
    assert!(seen.contains(&(Family::Disk, Some("power-loss"), Some(NODES))));
    for role in ["leader", "old-leader", "returned", "controller", "partition"] {
        assert!(roles.contains(&Role::new(role)), "no {role}");
    }
}

#[test]
fn no_more_nodes_are_away_than_is_tolerated_but_for_a_moment() {
    for seed in 0..20 {
        for (tolerated, most) in [(2, 2), (1, 1), (0, 1)] {
            let within = |options: &mut MixOptions<'_>| options.losses = LossLimit::tolerated(tolerated);
            let mix = "partition,kill,pause,restart,disk,clock,packet,resources";
            let faults = expanded(mix, seed, within).expect("expands");
            for now in moments(&faults) {
                let lost = |fault: &ScheduledFault| lost(&fault.fault, &names("n"));
                let away: Vec<_> = now.iter().filter(|fault| lost(fault) > 0).collect();
                let all: usize = away.iter().map(|fault| lost(fault)).sum();
                // A fault that exceeds the limit alone is alone, and short.
                let moment = away.len() == 1 && away[0].lasts() <= Duration::from_millis(400);
                assert!(all <= most || moment, "seed {seed}, {tolerated} tolerated: {away:?}");
            }
        }
        // A fault named with its size is as large as its name says, and lasts longer.
        let named = expanded("kill:all", seed, |_| {}).expect("expands");
        assert!(named.iter().all(|fault| lost(&fault.fault, &names("n")) == NODES));
        assert!(named.iter().any(|fault| fault.lasts() > Duration::from_secs(1)));
    }
}

#[test]
fn a_process_is_ended_or_stopped_by_one_fault_at_a_time() {
    for seed in 0..20 {
        for mix in [
            "partition,kill,pause,restart,story",
            "all",
            "kill:n1+n2,pause:all,restart:leader,disk:power-loss",
            "kill:majority,resources:cpu=10%@majority",
        ] {
            let faults = expanded(mix, seed, |_| {}).expect("expands");
            for now in moments(&faults) {
                let processes: Vec<&Targets> = now
                    .iter()
                    .filter(|fault| {
                        use Family::{Kill, Pause, Resources, Restart};
                        matches!(fault.fault.family(), Kill | Pause | Restart | Resources)
                    })
                    .filter_map(|fault| fault.fault.targets())
                    .collect();
                let named = processes.iter().filter(|targets| matches!(targets, Targets::Nodes(_))).count();
                // A story may name nodes of its own.
                assert!(named <= 1 || mix.contains("story") || mix == "all", "seed {seed}, {mix}: {now:?}");
                let of_chance = processes.iter().filter(|targets| !matches!(targets, Targets::Nodes(_)));
                let count: usize = of_chance.map(|targets| targets.count()).sum();
                assert!(count <= NODES, "seed {seed}, {mix}: {now:?}");
            }
        }
    }
}

#[test]
fn no_clock_moves_while_a_process_is_stopped() {
    for seed in 0..20 {
        let faults = expanded("clock,pause,resources", seed, |_| {}).expect("expands");
        for now in moments(&faults) {
            let any = |family| now.iter().any(|fault| fault.fault.family() == family && !fault.is_open());
            let stopped = any(Family::Pause) || any(Family::Resources);
            assert!(!(any(Family::Clock) && stopped), "seed {seed}: {now:?}");
        }
    }
}

#[test]
fn what_waits_for_another_fault_of_its_story_names_it() {
    let mut waits = 0;
    for seed in 0..20 {
        let faults = expanded("story", seed, |_| {}).expect("expands");
        for fault in &faults {
            let of = match fault.on.as_ref().map(|trigger| &trigger.event) {
                Some(Event::Start { fault: of, .. } | Event::Heal { fault: of, .. }) => *of,
                _ => continue,
            };
            let of = faults.iter().find(|other| Some(other.id) == of).expect("a fault of the schedule");
            assert!(of.id < fault.id && of.start_ms <= fault.start_ms, "{of:?} {fault:?}");
            waits += 1;
        }
    }
    assert!(waits > 20, "{waits}");
}

#[test]
fn a_fault_that_waits_for_an_event_has_time_for_both() {
    let faults = expanded("kill:leader@fsync=37", 1, |_| {}).expect("expands");
    assert!(faults.len() > 3, "{} faults", faults.len());
    for fault in &faults {
        let trigger = fault.on.as_ref().expect("it waits");
        assert_eq!(trigger.event.to_string(), "fsync=37");
        assert!(
            fault.latest() >= Duration::from_millis(fault.start_ms) + Duration::from_secs(2),
            "{fault:?}"
        );
    }
    // One of them waits at a time.
    assert!(faults.windows(2).all(|pair| pair[0].stop_ms < pair[1].start_ms), "{faults:?}");
}

#[test]
fn what_the_cluster_lacks_is_said() {
    let error = expanded("kill:n9", 1, |_| {}).expect_err("no such node");
    assert!(error.to_string().contains("n9") && error.to_string().contains("n1, n2"), "{error}");
    let error = expanded("kill:role=boss", 1, |_| {}).expect_err("no such role");
    assert!(error.to_string().contains("boss") && error.to_string().contains("old-leader"), "{error}");
    let error =
        expanded("story:laggard", 1, |options| options.nodes = &options.nodes[..2]).expect_err("two nodes");
    assert!(error.to_string().contains("at least 3"), "{error}");
}

#[test]
fn clocks_that_a_promise_rests_on_are_wrong_while_the_leader_is_cut_off() {
    let bound = ClockBound { lease: Duration::from_millis(400), slack: Duration::from_millis(300) };
    for (mix, seed) in [("clock", 1), ("clock:drift=-20ms/s", 2), ("clock:bump=-1s@leader", 3)] {
        let faults = expanded(mix, seed, |options| options.clock_bound = Some(bound)).expect("expands");
        assert!(faults.len() >= 8, "{} faults", faults.len());
        for pair in faults.chunks(2) {
            let [cut, clock] = pair else { panic!("a fault without its companion: {pair:?}") };
            assert!(matches!(cut.fault, Fault::Partition { shape: PartitionShape::IsolateLeader, .. }));
            assert!(matches!(clock.fault, Fault::Clock { .. }));
            assert_eq!((cut.start_ms, cut.stop_ms), (clock.start_ms, clock.stop_ms));
            assert!(cut.lasts() >= clock_bound::isolation_min(bound));
        }
    }
    let plain = expanded("clock", 1, |_| {}).expect("expands");
    assert!(plain.iter().all(|fault| fault.fault.family() == Family::Clock));
}

#[test]
fn links_of_clients_can_be_named_and_clients_have_nothing_else() {
    let faults = expanded("packet:loss=10%@clients,packet@c2,partition:c1", 1, |_| {}).expect("expands");
    let of_all = Fault::Packet {
        effect: PacketEffect::parse("loss=10%").expect("an effect"),
        targets: Targets::Nodes(names("c")),
    };
    assert!(faults.iter().any(|fault| fault.fault == of_all));
    let error = expanded("kill:c1", 1, |_| {}).expect_err("no node");
    assert!(error.to_string().contains("c1"), "{error}");
}

#[test]
fn faults_of_a_story_still_wait_for_each_other_in_a_later_schedule() {
    let schedule = expanded("story", 3, |_| {}).unwrap();
    let awaited = |fault: &ScheduledFault| match fault.on.as_ref().map(|trigger| &trigger.event) {
        Some(Event::Start { fault, .. } | Event::Heal { fault, .. }) => *fault,
        _ => None,
    };
    assert!(schedule.iter().any(|fault| awaited(fault).is_some()), "some wait for another");
    for fault in schedule {
        let later = fault.clone().numbered_after(40);
        assert_eq!((later.id, awaited(&later)), (fault.id + 40, awaited(&fault).map(|awaited| awaited + 40)));
    }
}

#[test]
fn a_second_program_is_needed_for_upgrades() {
    let refused =
        expanded("upgrade", 1, |options| options.programs = Programs::One).expect_err("one program");
    assert!(refused.to_string().contains("--upgrade-to"), "{refused}");
    let upgrades = expanded("upgrade", 1, |_| {}).expect("a second program");
    let is_rolling = |fault: &ScheduledFault| fault.fault.variant() == Some("rolling");
    assert!(!upgrades.is_empty() && upgrades.iter().all(is_rolling), "a rollback was not asked for");
    let refused = check_kinds(&upgrades, Members::Changeable, Programs::One, None);
    assert!(matches!(refused, Err(MixError::OneProgram { .. })), "{refused:?}");
}

#[test]
fn members_are_removed_where_they_can_be_and_leave_a_majority() {
    let fixed = |options: &mut MixOptions<'_>| options.members = Members::Fixed;
    let refused = expanded("membership", 1, fixed).expect_err("fixed members");
    assert!(refused.to_string().contains("store in the mode raft"), "{refused}");
    for item in ["all", "majority", "followers", "n1+n2+n3"] {
        let refused = expanded(&format!("membership:leave@{item}"), 1, |_| {}).expect_err("too many");
        assert!(refused.to_string().contains("at most 2"), "{refused}");
    }
    for seed in 0..40 {
        for fault in expanded("membership,kill", seed, |_| {}).expect("a good mix") {
            let Fault::Membership { targets, .. } = &fault.fault else { continue };
            assert!(targets.count() <= 2, "seed {seed}: {fault:?}");
        }
    }
}

#[test]
fn a_fault_at_an_event_is_late_only_if_the_event_was_drawn() {
    let targets = Targets::Nodes(vec![NodeId::new("n1")]);
    let fault =
        ScheduledFault { id: 1, start_ms: 1000, stop_ms: 4000, on: None, fault: Fault::Kill { targets } };
    let at = |anyway| {
        let on = Some(Trigger { event: Event::LeaderChange, lasts_ms: 500, anyway });
        ScheduledFault { on, ..fault.clone() }
    };
    assert_eq!(fault.late_after(), Some(Duration::from_millis(1000)));
    assert_eq!(at(true).late_after(), Some(Duration::from_millis(3500)));
    assert_eq!(at(false).late_after(), None);
}
