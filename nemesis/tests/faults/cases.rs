//! The interaction of faults, and what counts as evidence of them.

use std::time::{Duration, Instant};

use duress_arena::ProbeOutcome;
use duress_arena::clock::absolute_waits_missing;
use duress_history::nemesis::{Comeback, DiskSeen};
use duress_nemesis::nemesis::{Injected, NemesisError, Restart};
use duress_nemesis::{Evidence, Proof, RoleMap};

use crate::probes::processes::{is_stopped, states};
use crate::probes::resources::comes_to;
use crate::program::{DISK_FAILED, FAREWELL, JOINS};
use crate::stage::{Allowed, Needs, Stage, name, wait_until};

/// A test.
pub struct Case {
    pub name: &'static str,
    pub needs: Needs,
    pub run: fn(&Allowed),
}

macro_rules! cases {
    ($($name:ident: $needs:ident;)*) => {
        &[$(Case { name: stringify!($name), needs: Needs::$needs, run: $name }),*]
    };
}

pub const CASES: &[Case] = cases! {
    flapping_links_are_cut_half_of_the_time: Nothing;
    a_cut_lies_over_a_flapping_link: Nothing;
    links_of_clients_are_slow_and_no_others: Nothing;
    faults_are_in_force_when_they_are_due: Nothing;
    a_flapping_link_that_a_cut_covers_is_no_failure: Nothing;
    a_delay_whose_links_a_cut_takes_meanwhile_is_no_failure: Nothing;
    what_comes_back_is_struck_again: Nothing;
    a_node_with_a_share_of_the_processor_is_left_alone: Nothing;
    a_node_that_was_killed_has_its_share_again_when_it_is_started: Nothing;
    a_node_with_a_clock_starts_while_it_has_a_share: Clocks;
    where_every_node_is_taken_nothing_is_struck_and_nothing_shown: Nothing;
    what_follows_the_leader_keeps_clear_of_nodes_that_are_down: Nothing;
    a_clock_fault_that_fails_is_set_right_where_it_succeeded: Clocks;
    a_clock_is_moved_by_one_fault_at_a_time: Clocks;
    the_clock_of_a_node_that_was_killed_is_set_right: Clocks;
    nodes_with_clocks_wait_by_them: Clocks;
    a_power_loss_that_undoes_nothing_is_told_as_such: Disks;
    a_power_loss_of_a_node_that_is_down_is_no_evidence: Disks;
    a_node_that_its_disk_fails_may_end: Disks;
    a_node_that_ends_a_moment_later_may_too: Disks;
    a_node_that_ends_for_no_reason_may_not: Disks;
    a_removed_node_may_end_and_comes_back_as_another_member: Nothing;
    errors_that_no_operation_met_are_met_by_a_probe: Disks;
    a_delay_that_a_cut_covers_is_no_failure: Nothing;
    an_effect_that_is_not_there_is_no_evidence: Nothing;
};

fn flapping_links_are_cut_half_of_the_time(allowed: &Allowed) {
    let mut stage = Stage::set(allowed, Needs::Nothing);
    let period = Duration::from_millis(200);
    let Injected { evidence, .. } = stage.inject(1, "partition:flapping=200ms").expect("it flaps");
    let Evidence::Flapping { links, seen_cut, seen_open, .. } = evidence else { panic!("{evidence}") };
    assert_eq!((seen_cut, seen_open), (links, links));
    let flapping = ["n1", "n2", "n3"].iter().flat_map(|from| ["n1", "n2", "n3"].map(|to| (*from, to))).find(
        |(from, to)| {
            // The link that drops something within a period is one of those that flap.
            let until = Instant::now() + period * 2;
            from != to
                && std::iter::repeat_with(|| stage.probe(from, to))
                    .take_while(|_| Instant::now() < until)
                    .any(|outcome| outcome == ProbeOutcome::Dropped)
        },
    );
    let (from, to) = flapping.expect("a link that flaps");
    // Looked at without pause over whole periods: the time that passes in either state is measured.
    let (mut cut, mut open, mut turns) = (Duration::ZERO, Duration::ZERO, 0);
    let (mut last, mut was_cut) = (Instant::now(), false);
    let until = last + period * 10;
    while last < until {
        let is_cut = stage.probe(from, to) == ProbeOutcome::Dropped;
        let now = Instant::now();
        *(if is_cut { &mut cut } else { &mut open }) += now - last;
        turns += u32::from(is_cut != was_cut);
        (last, was_cut) = (now, is_cut);
    }
    let share = cut.as_secs_f64() / (cut + open).as_secs_f64();
    assert!((0.35..0.65).contains(&share), "cut for {share:.2} of the time");
    // Two turns a period; a busy machine may overlook some.
    assert!((10..=22).contains(&turns), "{turns} turns in ten periods");
    stage.heal(1);
    stage.close();
}

fn a_cut_lies_over_a_flapping_link(allowed: &Allowed) {
    let mut stage = Stage::set(allowed, Needs::Nothing);
    stage.inject(1, "partition:flapping=100ms").expect("it flaps");
    stage.inject(2, "partition:n1+n2").expect("it cuts");
    let until = Instant::now() + Duration::from_millis(300);
    while Instant::now() < until {
        assert_eq!(stage.probe("n1", "n3"), ProbeOutcome::Dropped);
    }
    let Evidence::Joined { still_cut, .. } = stage.heal(1) else { panic!("no partition") };
    assert!(still_cut > 0, "the other cut shares links with every split of three nodes");
    stage.heal(2);
    stage.close();
}

fn links_of_clients_are_slow_and_no_others(allowed: &Allowed) {
    let mut stage = Stage::set(allowed, Needs::Nothing);
    stage.inject(1, "packet:delay=60ms@clients").expect("it is slow");
    for (from, to) in [("c1", "n1"), ("n3", "c2")] {
        let after = stage.crossing(from, to);
        assert!(after >= Duration::from_millis(60), "from {from} to {to} it takes {after:?}");
    }
    for (from, to) in [("n1", "n2"), ("c1", "c2")] {
        let quickest = (0..5).map(|_| stage.crossing(from, to)).min().expect("five times");
        assert!(quickest < Duration::from_millis(60), "from {from} to {to} it takes {quickest:?}");
    }
    let Evidence::Unshaped { links, packets_met, .. } = stage.heal(1) else { panic!("no shaping") };
    // Two clients and three nodes, both ways.
    assert_eq!(links, 12);
    assert!(packets_met >= 12);
    stage.close();
}

fn faults_are_in_force_when_they_are_due(allowed: &Allowed) {
    let mut stage = Stage::set(allowed, Needs::Nothing);
    for (id, item) in (1..).zip(["partition:one", "packet:delay=5ms", "kill:one", "pause:all", "restart:one"])
    {
        let due = Instant::now() + Duration::from_millis(30);
        let fault = stage.fault(item);
        let injected = stage.nemesis.inject(id, &fault, &RoleMap::default(), due).expect("it takes hold");
        assert!(injected.since >= due, "{item} came too early");
        let late = injected.since - due;
        // Milliseconds on an idle machine; the bound is for a busy one.
        assert!(late < Duration::from_millis(200), "{item} was {late:?} late");
        stage.heal(id);
    }
    stage.close();
}

fn a_flapping_link_that_a_cut_covers_is_no_failure(allowed: &Allowed) {
    let mut stage = Stage::set(allowed, Needs::Nothing);
    stage.inject(1, "partition:n1").expect("a cut");
    // Some of its links are cut, or all of them: whichever it has drawn, what can be seen is seen.
    let Injected { evidence, .. } =
        stage.inject(2, "partition:flapping=100ms").expect("it flaps where it can");
    let Evidence::Flapping { links, cut, seen_cut, seen_open, .. } = evidence else { panic!("{evidence}") };
    assert!(cut > 0, "every split of three nodes shares links with that cut: {evidence}");
    assert_eq!((seen_cut + cut, seen_open + cut), (links, links));
    stage.heal(1);
    stage.heal(2);
    stage.close();
}

/// A partition that comes and goes while a delay is in force on the same links leaves the delay without a packet of the
/// target's that had met it: that says nothing against the delay.
fn a_delay_whose_links_a_cut_takes_meanwhile_is_no_failure(allowed: &Allowed) {
    let mut stage = Stage::set(allowed, Needs::Nothing);
    stage.inject(1, "partition:n2").expect("a cut");
    stage.inject(2, "packet:delay=30ms@n2").expect("nothing can be seen");
    stage.heal(1);
    stage.inject(3, "partition:n2").expect("a cut");
    let healed = stage.heal(2);
    assert_eq!(healed.proves(), Proof::Masked, "{healed}");
    stage.heal(3);
    stage.close();
}

fn what_comes_back_is_struck_again(allowed: &Allowed) {
    let mut stage = Stage::set(allowed, Needs::Nothing);
    for (id, item) in [(1, "kill:n2"), (3, "pause:n3"), (5, "partition:n1")] {
        stage.inject(id, item).expect("it takes hold");
        let healed = stage.heal(id);
        assert_eq!(healed.proves(), Proof::Proven, "{healed}");
        let Injected { away, .. } = stage.inject(id + 1, "kill:returned").expect("a kill");
        assert_eq!(away, [name(&item[item.len() - 2..])], "after {item}");
        stage.heal(id + 1);
    }
    stage.close();
}

fn a_node_with_a_share_of_the_processor_is_left_alone(allowed: &Allowed) {
    let mut stage = Stage::set(allowed, Needs::Nothing);
    stage.inject(1, "resources:cpu=10%@n1").expect("a share");
    let Injected { away, .. } = stage.inject(2, "kill:leader").expect("another node is killed");
    assert!(away.len() == 1 && away[0] != name("n1"), "{away:?}");
    stage.heal(2);
    // Each would end the other's hold.
    for item in ["pause:n1", "resources:cpu=50%@n1+n2"] {
        let refused = stage.inject(3, item).expect_err("its processes are taken");
        assert!(matches!(refused, NemesisError::ProcessesTaken { by: 1, .. }), "{item}: {refused:?}");
    }
    stage.heal(1);
    stage.inject(4, "pause:n1").expect("a pause");
    let refused = stage.inject(5, "resources:cpu=10%@n1").expect_err("it is paused");
    assert!(matches!(refused, NemesisError::ProcessesTaken { by: 4, .. }), "{refused:?}");
    stage.heal(4);
    stage.close();
}

fn a_node_that_was_killed_has_its_share_again_when_it_is_started(allowed: &Allowed) {
    let mut stage = Stage::set(allowed, Needs::Nothing);
    stage.inject(1, "resources:cpu=2%@n1").expect("a share");
    // Started while it is to be held, it runs until it is to be held again.
    wait_until("it is stopped", || is_stopped(&states(&stage, &name("n1"))));
    stage.inject(2, "kill:n1").expect("a kill");
    stage.heal(2);
    comes_to(&stage, &name("n1"), 0.6..1.01);
    let healed = stage.heal(1);
    assert_eq!(healed.proves(), Proof::Proven, "{healed}");
    stage.close();
}

/// A signal to stop ends the tracer's hold on a program, which is then not made to follow the clock.
fn a_node_with_a_clock_starts_while_it_has_a_share(allowed: &Allowed) {
    let mut stage = Stage::set(allowed, Needs::Clocks);
    stage.inject(1, "resources:cpu=50%@n1").expect("a share");
    for id in 2..40 {
        stage.inject(id, "kill:n1").expect("a kill");
        stage.heal(id);
    }
    let refused = stage.inject(40, "clock:bump=-5s@n1").expect_err("its processes are taken");
    assert!(matches!(refused, NemesisError::ProcessesTaken { by: 1, .. }), "{refused:?}");
    stage.heal(1);
    stage.inject(41, "clock:bump=-5s@n1").expect("a step");
    let refused = stage.inject(42, "resources:cpu=50%@n1").expect_err("its clock is moved");
    assert!(matches!(refused, NemesisError::ProcessesTaken { by: 41, .. }), "{refused:?}");
    stage.heal(41);
    stage.close();
}

fn where_every_node_is_taken_nothing_is_struck_and_nothing_shown(allowed: &Allowed) {
    let mut stage = Stage::set(allowed, Needs::Nothing);
    stage.inject(1, "kill:all").expect("a kill");
    let Injected { evidence, away, .. } = stage.inject(2, "pause:leader").expect("there is none to pause");
    assert_eq!((evidence.proves(), away.len()), (Proof::Masked, 0), "{evidence}");
    assert_eq!(stage.heal(2).proves(), Proof::Masked);
    // Named nodes are another matter: they were to be paused, and are not.
    let refused = stage.inject(3, "pause:n1").expect_err("it is gone");
    assert!(matches!(refused, NemesisError::NoEvidence { .. }), "{refused:?}");
    let _ = stage.nemesis.heal(3);
    stage.heal(1);
    stage.close();
}

fn what_follows_the_leader_keeps_clear_of_nodes_that_are_down(allowed: &Allowed) {
    let mut stage = Stage::set(allowed, Needs::Nothing);
    stage.inject(1, "kill:n1").expect("a kill");
    // It counts as the leader still.
    let Injected { evidence, .. } = stage.inject(2, "pause:leader").expect("another node is paused");
    let Evidence::Paused { nodes } = evidence else { panic!("{evidence}") };
    assert!(nodes.len() == 1 && nodes[0].node != name("n1") && nodes[0].processes == 1, "{nodes:?}");
    stage.heal(2);
    stage.heal(1);
    stage.close();
}

fn a_clock_fault_that_fails_is_set_right_where_it_succeeded(allowed: &Allowed) {
    const YEAR: i64 = 366 * 24 * 3600 * 1_000_000_000;
    let mut stage = Stage::set(allowed, Needs::Clocks);
    // The last of the clocks is so far ahead that it cannot be moved on.
    stage.pages[2].bump(85 * YEAR).expect("a time that a clock can show");
    let failed = stage.inject(1, "clock:bump=80000h@all").expect_err("a time that no clock can show");
    assert!(matches!(&failed, NemesisError::Clock { node, .. } if *node == name("n3")), "{failed:?}");
    assert_ne!(stage.pages[0].setting().offset_ns, 0, "the first was moved");
    stage.heal(1);
    assert_eq!(stage.pages[0].setting().offset_ns, 0, "and set right again");
    assert_eq!(stage.pages[1].setting().offset_ns, 0);
    stage.pages[2].reset().expect("a clock that can be read");
    stage.close();
}

fn a_clock_is_moved_by_one_fault_at_a_time(allowed: &Allowed) {
    let mut stage = Stage::set(allowed, Needs::Clocks);
    stage.inject(1, "clock:bump=-5s@n1+n2").expect("a step");
    let refused = stage.inject(2, "clock:bump=1s@n2+n3").expect_err("n2 is moved");
    assert!(matches!(refused, NemesisError::ClockTaken { by: 1, .. }), "{refused:?}");
    assert_eq!(stage.pages[2].setting().offset_ns, 0, "no clock was moved for the refused fault");
    stage.heal(1);
    stage.close();
}

fn the_clock_of_a_node_that_was_killed_is_set_right(allowed: &Allowed) {
    let mut stage = Stage::set(allowed, Needs::Clocks);
    stage.inject(1, "clock:bump=-5s@n1").expect("a step");
    stage.inject(2, "kill:n1").expect("a kill");
    // No process can be asked, which proves no fault, but a process started there reads the true clock.
    let healed = stage.heal(1);
    assert!(healed.to_string().contains("n1 is away and could not be asked"), "{healed}");
    let refused = stage.inject(3, "clock:bump=-5s@n1").expect_err("no process sees it");
    assert!(matches!(refused, NemesisError::NoEvidence { .. }), "{refused:?}");
    stage.heal(3);
    stage.heal(2);
    stage.close();
}

/// Checks that the nodes' programs have the library; the clock's own suite checks its effects.
fn nodes_with_clocks_wait_by_them(allowed: &Allowed) {
    let stage = Stage::set(allowed, Needs::Clocks);
    for maps in stage.memory_maps() {
        assert_eq!(
            maps.contains("duress-absolute-waits"),
            absolute_waits_missing().is_none(),
            "loaded where it was built, and only there: {maps}"
        );
    }
    stage.close();
}

/// Returns the undone files of the first node of a power loss, and the evidence in words.
fn undone(evidence: &Evidence) -> (u64, String) {
    let Evidence::DiskStruck { nodes } = evidence else { panic!("{evidence}") };
    match &nodes[0].disk[..] {
        [DiskSeen::Undone(undone)] => (undone.bytes + undone.metadata_operations, evidence.to_string()),
        other => panic!("{other:?}"),
    }
}

fn a_power_loss_that_undoes_nothing_is_told_as_such(allowed: &Allowed) {
    let mut stage = Stage::set(allowed, Needs::Disks);
    // A paused node has its last record made durable or in flight; sooner or later one is met without a
    // record in flight.
    for id in 1.. {
        let Injected { evidence, .. } = stage.inject(id, "disk:power-loss@n1").expect("a power loss");
        stage.heal(id);
        stage.await_written();
        if let (0, told) = undone(&evidence) {
            assert!(told.contains("processes gone") && told.contains("nothing was undone"), "{told}");
            break;
        }
        assert!(id < 100, "in a hundred power losses, the program was never between two writes");
    }
    stage.close();
}

fn a_power_loss_of_a_node_that_is_down_is_no_evidence(allowed: &Allowed) {
    let mut stage = Stage::set(allowed, Needs::Disks);
    stage.inject(1, "disk:power-loss@n1").expect("a power loss");
    let again = stage.inject(2, "disk:power-loss@n1").expect_err("no process and no data is left to lose");
    assert!(matches!(again, NemesisError::NoEvidence { .. }), "{again:?}");
    stage.heal(2);
    stage.heal(1);
    stage.close();
}

fn a_node_that_its_disk_fails_may_end(allowed: &Allowed) {
    for item in ["disk:eio@n2", "disk:enospc@n2"] {
        let mut stage = Stage::set(allowed, Needs::Disks);
        stage.inject(7, item).expect("a failing disk");
        let crash = stage.await_crash("n2");
        assert_eq!((&crash.node, crash.because, crash.restart), (&name("n2"), Some(7), Restart::WhenHealed));
        assert_eq!(crash.status.code(), Some(i32::from(DISK_FAILED)));
        assert_eq!(stage.heal(7).started(), [name("n2")]);
        stage.close();
    }
}

fn a_node_that_ends_a_moment_later_may_too(allowed: &Allowed) {
    let mut stage = Stage::set(allowed, Needs::Disks);
    // A node that its disk has failed takes a while to end: sooner or later, the fault is healed in between.
    for id in 1.. {
        stage.inject(id, "disk:eio@n2").expect("a failing disk");
        let healed = stage.heal(id);
        let Evidence::DiskHealed { started, .. } = &healed else { panic!("{healed}") };
        let until = Instant::now() + 2 * FAREWELL;
        let mut later = false;
        wait_until("the moment is over", || {
            for crash in stage.nemesis.crashes().expect("the nodes can be looked after") {
                assert_eq!((&crash.node, crash.because), (&name("n2"), Some(id)), "{crash:?}");
                if crash.restart == Restart::Now {
                    later = true;
                    stage.nemesis.start_node(&crash.node).expect("it starts");
                }
            }
            Instant::now() >= until
        });
        assert!(!later || started.is_empty(), "it had ended before, and again: {healed}");
        if later {
            break;
        }
        assert!(id < 50, "in fifty faults, none was healed between the failure and the end of the node");
    }
    stage.close();
}

fn a_node_that_ends_for_no_reason_may_not(allowed: &Allowed) {
    let mut stage = Stage::set(allowed, Needs::Disks);
    stage.inject(1, "disk:eio@n2").expect("a failing disk");
    // Another node, whose disk is sound.
    stage.end_by_hand("n3");
    let crash = stage.await_crash("n3");
    assert_eq!((crash.because, crash.restart), (None, Restart::Now));
    stage.heal(1);
    // The node that the fault ended, and that was started again, has met no failure since.
    stage.nemesis.start_nodes().expect("they start");
    stage.await_written();
    stage.end_by_hand("n3");
    assert_eq!(stage.await_crash("n3").because, None);
    stage.nemesis.start_nodes().expect("they start");
    stage.close();
}

fn a_removed_node_may_end_and_comes_back_as_another_member(allowed: &Allowed) {
    let mut stage = Stage::set(allowed, Needs::Nothing);
    *stage.comeback.lock().expect("a lock held for a moment") = Comeback::Anew;
    stage.inject(1, "membership:leave@n2").expect("it is removed");
    stage.end_by_hand("n2");
    let crash = stage.await_crash("n2");
    assert_eq!((crash.because, crash.restart), (Some(1), Restart::WhenHealed));
    // Another may not end.
    stage.end_by_hand("n1");
    assert_eq!(stage.await_crash("n1").because, None);
    stage.nemesis.start_node(&name("n1")).expect("it starts");
    let healed = stage.heal(1);
    assert_eq!((healed.proves(), healed.started()), (Proof::Proven, vec![name("n2")]), "{healed}");
    wait_until("it says that it joins", || stage.said(&name("n2")).lines().any(|line| line == JOINS));
    stage.close();
}

fn errors_that_no_operation_met_are_met_by_a_probe(allowed: &Allowed) {
    let mut stage = Stage::set(allowed, Needs::Disks);
    stage.inject(1, "kill:n2").expect("a kill");
    let Injected { evidence, .. } = stage.inject(2, "disk:eio@n2").expect("a failing disk");
    let Evidence::DiskStruck { nodes } = evidence else { panic!("{evidence}") };
    let met = |seen: &DiskSeen| matches!(seen, DiskSeen::Touched { operations: 0, probed: 1.., .. });
    assert!(nodes[0].disk.len() == 2 && nodes[0].disk.iter().all(met), "{nodes:?}");
    stage.heal(2);
    stage.heal(1);
    stage.close();
}

fn a_delay_that_a_cut_covers_is_no_failure(allowed: &Allowed) {
    let mut stage = Stage::set(allowed, Needs::Nothing);
    let masked = |evidence: &Evidence| evidence.proves() == Proof::Masked;
    // Every link of n2 is cut before the delay comes, until after it is gone.
    stage.inject(1, "partition:n2").expect("a cut");
    let Injected { evidence, .. } = stage.inject(3, "packet:delay=30ms@n2").expect("the effect is masked");
    assert!(masked(&evidence), "{evidence}");
    let healed = stage.heal(3);
    assert!(masked(&healed), "{healed}");
    // It comes first, and is covered only as it is healed.
    stage.heal(1);
    let Injected { evidence, .. } = stage.inject(4, "packet:loss=50%@n2").expect("a loss");
    assert_eq!(evidence.proves(), Proof::Proven, "{evidence}");
    stage.inject(5, "partition:n2").expect("a cut");
    let healed = stage.heal(4);
    assert!(masked(&healed), "{healed}");
    stage.heal(5);
    // One that outlives the cut is met by probes, though the nodes are silent.
    stage.inject(6, "partition:n2").expect("a cut");
    stage.inject(7, "packet:delay=30ms@n2").expect("the effect is masked");
    stage.heal(6);
    let healed = stage.heal(7);
    assert_eq!(healed.proves(), Proof::Proven, "{healed}");
    stage.close();
}

fn an_effect_that_is_not_there_is_no_evidence(allowed: &Allowed) {
    let mut stage = Stage::set(allowed, Needs::Nothing);
    // So rare that no train of probes meets it.
    let refused = stage.inject(1, "packet:loss=0.0001%@n1").expect_err("no packet is lost");
    assert!(matches!(refused, NemesisError::NoEvidence { .. }), "{refused:?}");
    assert!(stage.nemesis.heal(1).is_err(), "nor was anything in the end");
    stage.close();
}
