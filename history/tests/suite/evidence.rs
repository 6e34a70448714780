//! Every kind of evidence can prove, and can fail to: beside what suffices, everything that falls just short of it.

use std::time::Duration;

use duress_history::NodeId;
use duress_history::nemesis::{
    ClockAsked, ClockSeen, CommandSeen, DiskProbe, DiskSeen, Evidence, FlippedBit, LastingFault,
    ListedMember, MembersSeen, NodeClock, NodeDisk, NodeProcesses, NodeProgram, NodeResumed, NodeShare,
    PacketsSeen, ProcessClock, Proof, Touches, Undone, UnpatchedProcess,
};

fn node(name: &str) -> NodeId {
    NodeId::new(name)
}

/// Asserts that `sufficient` proves, and that no evidence of `short` does.
#[track_caller]
fn proves_only<const N: usize>(sufficient: &Evidence, short: [Evidence; N]) {
    assert_eq!(sufficient.proves(), Proof::Proven, "{sufficient}");
    for evidence in short {
        assert_eq!(evidence.proves(), Proof::Missing, "{evidence}");
    }
}

fn processes(counts: &[usize]) -> Vec<NodeProcesses> {
    (1..)
        .zip(counts)
        .map(|(at, count)| NodeProcesses { node: node(&format!("n{at}")), processes: *count })
        .collect()
}

#[test]
fn cuts() {
    proves_only(
        &Evidence::Cut { links: 4, probes_dropped: 4 },
        [Evidence::Cut { links: 4, probes_dropped: 3 }, Evidence::Cut { links: 0, probes_dropped: 0 }],
    );
    let flapping = |links, seen_cut, seen_open| Evidence::Flapping {
        links,
        cut: 0,
        seen_cut,
        seen_open,
        period_ms: 400,
    };
    proves_only(&flapping(4, 4, 4), [flapping(4, 3, 4), flapping(4, 4, 3), flapping(0, 0, 0)]);
    let joined = |probes_arrived, still_cut| Evidence::Joined {
        links: 4,
        probes_arrived,
        still_cut,
        packets_dropped: 9,
    };
    proves_only(&joined(3, 1), [joined(2, 1), joined(0, 0)]);
    assert_eq!(joined(0, 4).proves(), Proof::Masked);
}

#[test]
fn processes_that_are_gone_stopped_or_live() {
    for of in [
        |nodes| Evidence::Killed { nodes },
        |nodes| Evidence::Paused { nodes },
        |nodes| Evidence::Ended { nodes },
    ] {
        proves_only(&of(processes(&[1, 0])), [of(processes(&[0, 0]))]);
    }
    let started = |nodes| Evidence::Started { nodes };
    proves_only(&started(processes(&[1, 2])), [started(processes(&[1, 0]))]);
}

#[test]
fn processes_that_go_on() {
    let resumed = |change: fn(&mut NodeResumed)| {
        let mut one = NodeResumed {
            node: node("n1"),
            processes: 2,
            stopped: 0,
            continued: 2,
            progressed: 2,
            replaced: false,
        };
        let other = one.clone();
        change(&mut one);
        Evidence::Resumed { nodes: vec![other, one] }
    };
    proves_only(
        &resumed(|_| {}),
        [
            resumed(|it| it.stopped = 1),
            resumed(|it| it.progressed = 1),
            // No process was still stopped: another fault had let it continue.
            resumed(|it| (it.continued, it.progressed) = (0, 0)),
            resumed(|it| (it.processes, it.continued, it.progressed) = (0, 0, 0)),
        ],
    );
    // Another fault had ended the paused processes.
    let replaced = resumed(|it| (it.processes, it.continued, it.progressed, it.replaced) = (0, 0, 0, true));
    assert_eq!(replaced.proves(), Proof::Proven);
}

#[test]
fn shares_of_the_processor() {
    let share = |change: fn(&mut NodeShare)| {
        let mut one = NodeShare { node: node("n1"), percent: 10, holds: 2, held_us: 180_000, ran_us: 20_000 };
        let other = one.clone();
        change(&mut one);
        vec![other, one]
    };
    let throttled = |change| Evidence::Throttled { nodes: share(change) };
    proves_only(&throttled(|_| {}), [throttled(|it| it.ran_us = 21_000)]);
    let once = NodeShare { holds: 1, ..share(|_| {}).remove(0) };
    assert_eq!(Evidence::Throttled { nodes: vec![once] }.proves(), Proof::Missing, "that is a pause");
    // It had ended before it could be held twice.
    let gone = throttled(|it| (it.holds, it.held_us, it.ran_us) = (0, 0, 0));
    assert_eq!(gone.proves(), Proof::Proven);
    let resumed = |stopped| NodeResumed {
        node: node("n1"),
        processes: 1,
        stopped,
        continued: 1,
        progressed: 1,
        replaced: false,
    };
    let ended =
        |change, stopped| Evidence::Unthrottled { nodes: share(change), resumed: vec![resumed(stopped)] };
    proves_only(&ended(|_| {}, 0), [ended(|_| {}, 1), ended(|it| it.ran_us = 200_000, 0)]);
}

#[test]
fn packets() {
    let shaped = |links, cut, touches, probed, met| Evidence::Shaped {
        links,
        cut,
        touches,
        probes: PacketsSeen { links: probed, met, ..PacketsSeen::default() },
    };
    let (every, some) = (Touches::Every, Touches::Some);
    proves_only(
        &shaped(4, 1, every, 3, 3),
        [
            shaped(4, 1, every, 3, 2),
            shaped(4, 0, every, 3, 3),
            shaped(4, 0, every, 4, 0),
            shaped(0, 0, every, 0, 0),
        ],
    );
    proves_only(&shaped(4, 0, some, 4, 1), [shaped(4, 0, some, 4, 0), shaped(4, 0, some, 3, 1)]);
    assert_eq!(shaped(4, 4, every, 0, 0).proves(), Proof::Masked);

    let unshaped = |probes_arrived, still_cut, packets_met, met| Evidence::Unshaped {
        links: 4,
        probes_arrived,
        still_cut,
        packets_met,
        after: PacketsSeen { links: 4, met, ..PacketsSeen::default() },
    };
    proves_only(
        &unshaped(3, 1, 5, 0),
        [unshaped(2, 1, 5, 0), unshaped(4, 0, 0, 0), unshaped(4, 0, 5, 1), unshaped(3, 1, 0, 0)],
    );
    // If a partition cuts all of its links meanwhile, the effect cannot be met.
    assert_eq!(unshaped(0, 4, 0, 0).proves(), Proof::Masked);
}

#[test]
fn clocks() {
    let clock = |offset_ns: i64, change: fn(&mut NodeClock)| {
        let seen = ProcessClock { pid: 7, delta_ns: offset_ns, expected_ns: offset_ns, uncertainty_ns: 5 };
        let mut clock = NodeClock {
            node: node("n1"),
            clock: ClockSeen {
                asked: ClockAsked { since_ns: 9, offset_ns, drift_ppb: 0 },
                seen: vec![seen],
                patched_pids: vec![7],
                unpatched: Vec::new(),
            },
            away: false,
            steps: None,
            reached_ns: None,
        };
        change(&mut clock);
        clock
    };
    let set = |change| Evidence::ClockSet { nodes: vec![clock(500, |_| {}), clock(500, change)] };
    let reset =
        |offset_ns, change| Evidence::ClockReset { nodes: vec![clock(0, |_| {}), clock(offset_ns, change)] };
    let stray = |clock: &mut NodeClock| {
        let stray = UnpatchedProcess { pid: 9, program: "x".to_owned(), why: "an exec".to_owned() };
        clock.clock.unpatched.push(stray);
    };
    let off = |clock: &mut NodeClock| clock.clock.seen[0].delta_ns += 3_000_000;
    let silent = |clock: &mut NodeClock| clock.clock.seen.clear();
    let away = |clock: &mut NodeClock| {
        clock.clock.seen.clear();
        clock.away = true;
    };
    proves_only(&set(|_| {}), [set(stray), set(off), set(silent)]);
    assert_eq!(set(away).proves(), Proof::Proven);
    assert_eq!(Evidence::ClockSet { nodes: vec![clock(500, away)] }.proves(), Proof::Missing);
    proves_only(
        &reset(0, |_| {}),
        [reset(500, |_| {}), reset(0, stray), reset(0, off), reset(0, silent), reset(500, away)],
    );
    assert_eq!(Evidence::ClockReset { nodes: vec![clock(0, away)] }.proves(), Proof::Masked);
}

const SOUND: DiskProbe = DiskProbe {
    write_errno: 0,
    fsync_errno: 0,
    fsync_took: Duration::from_micros(80),
    durable: true,
    read_errno: 0,
    reserve_errno: 0,
};

fn disk(processes: usize, disk: Vec<DiskSeen>) -> NodeDisk {
    NodeDisk { node: node("n2"), processes, disk, after: None, probes: 0, others: Vec::new() }
}

fn touched(fault: LastingFault, operations: u64, probed: u64, probe: Option<DiskProbe>) -> DiskSeen {
    DiskSeen::Touched { fault: Some(fault), operations, delayed: Duration::ZERO, probed, probe }
}

#[test]
fn disks_that_were_struck() {
    let struck = |seen: DiskSeen| Evidence::DiskStruck { nodes: vec![disk(0, vec![seen])] };
    let delay = Duration::from_millis(20);
    let lies = LastingFault::LyingFsync;
    let lied = DiskProbe { durable: false, ..SOUND };
    proves_only(
        &struck(touched(lies, 0, 1, Some(lied))),
        [
            struck(touched(lies, 0, 1, Some(SOUND))),
            struck(touched(lies, 0, 1, Some(DiskProbe { fsync_errno: 5, ..lied }))),
            struck(touched(lies, 3, 1, None)),
        ],
    );
    let slow = LastingFault::SlowFsync { delay };
    let slowed = |took| Some(DiskProbe { fsync_took: took, ..SOUND });
    proves_only(
        &struck(touched(slow, 0, 1, slowed(delay))),
        [
            struck(touched(slow, 0, 1, slowed(delay / 2))),
            struck(touched(slow, 9, 1, None)),
            struck(touched(slow, 0, 0, slowed(delay))),
        ],
    );
    let full = LastingFault::NoSpace;
    let refused = |reserve_errno| Some(DiskProbe { reserve_errno, ..SOUND });
    proves_only(
        &struck(touched(full, 0, 1, refused(28))),
        [struck(touched(full, 0, 1, refused(0))), struck(touched(full, 0, 1, refused(5)))],
    );
    for fails in [LastingFault::WriteErrors, LastingFault::FsyncErrors, LastingFault::ReadErrors] {
        proves_only(&struck(touched(fails, 0, 1, Some(SOUND))), [struck(touched(fails, 0, 0, Some(SOUND)))]);
        assert_eq!(struck(touched(fails, 1, 0, None)).proves(), Proof::Proven);
    }
    // One disk of two does not show it.
    let one_of_two = Evidence::DiskStruck {
        nodes: vec![
            disk(0, vec![touched(slow, 0, 1, slowed(delay))]),
            disk(0, vec![touched(slow, 0, 1, slowed(Duration::ZERO))]),
        ],
    };
    assert_eq!(one_of_two.proves(), Proof::Missing);

    let lost = |processes, bytes| {
        let undone = DiskSeen::Undone(Undone { bytes, ..Undone::default() });
        Evidence::DiskStruck { nodes: vec![disk(processes, vec![undone])] }
    };
    proves_only(&lost(1, 0), [lost(0, 0)]);
    assert_eq!(lost(0, 9).proves(), Proof::Proven);
    let bit = FlippedBit { file: "log".to_owned(), offset: 1, bit: 7 };
    proves_only(
        &struck(DiskSeen::Flipped { bits: vec![bit] }),
        [struck(DiskSeen::Flipped { bits: Vec::new() }), struck(DiskSeen::Cut { files: Vec::new() })],
    );
}

#[test]
fn disks_that_are_sound_again() {
    let delay = Duration::from_millis(20);
    let healed = |after: Option<DiskProbe>, others: &[LastingFault]| {
        let seen = vec![touched(LastingFault::SlowFsync { delay }, 4, 1, None)];
        let node = NodeDisk { after, others: others.to_vec(), ..disk(0, seen) };
        Evidence::DiskHealed { nodes: vec![node], started: Vec::new() }
    };
    let unsound = [
        DiskProbe { write_errno: 5, ..SOUND },
        DiskProbe { fsync_errno: 5, ..SOUND },
        DiskProbe { read_errno: 5, ..SOUND },
        DiskProbe { reserve_errno: 28, ..SOUND },
        DiskProbe { durable: false, ..SOUND },
        DiskProbe { fsync_took: delay, ..SOUND },
    ];
    proves_only(&healed(Some(SOUND), &[]), unsound.map(|probe| healed(Some(probe), &[])));
    assert_eq!(healed(None, &[]).proves(), Proof::Missing);
    // Each is excused by a fault of its own that another has in force, and by no other.
    let excuses = [
        LastingFault::WriteErrors,
        LastingFault::FsyncErrors,
        LastingFault::ReadErrors,
        LastingFault::NoSpace,
        LastingFault::LyingFsync,
        LastingFault::SlowFsync { delay },
    ];
    for (at, probe) in unsound.into_iter().enumerate() {
        assert_eq!(healed(Some(probe), &[excuses[at]]).proves(), Proof::Proven, "{probe:?}");
        let other = excuses[(at + 4) % excuses.len()];
        assert_eq!(healed(Some(probe), &[other]).proves(), Proof::Missing, "{probe:?} under {other:?}");
    }
    let started = |counts| Evidence::DiskHealed {
        nodes: vec![NodeDisk { after: Some(SOUND), ..disk(0, Vec::new()) }],
        started: processes(counts),
    };
    proves_only(&started(&[1]), [started(&[1, 0])]);
}

#[test]
fn what_a_fault_s_own_command_says() {
    let seen = |answers: &[(bool, bool)]| {
        let seen = |(before, after): &(bool, bool)| CommandSeen {
            node: node("n1"),
            before: *before,
            after: *after,
            said: String::new(),
        };
        answers.iter().map(seen).collect::<Vec<_>>()
    };
    let commanded = |answers| Evidence::Commanded { nodes: seen(answers) };
    let never = commanded(&[(false, true), (false, false)]);
    let always = commanded(&[(false, true), (true, true)]);
    proves_only(&commanded(&[(false, true), (false, true)]), [never, always]);
    let withdrawn = |answers| Evidence::Withdrawn { nodes: seen(answers) };
    proves_only(&withdrawn(&[(true, false), (false, false)]), [withdrawn(&[(true, false), (true, true)])]);
}

/// Returns what is seen of n3 when a cluster lists these members before and afterwards; `-` after a name: without a vote.
fn members(before: Option<&str>, after: Option<&str>) -> MembersSeen {
    let member = |name: &str| ListedMember {
        node: node(name.trim_end_matches('-')),
        identity: String::new(),
        votes: !name.ends_with('-'),
    };
    let list = |names: &str| names.split_whitespace().map(member).collect();
    MembersSeen {
        nodes: vec![node("n3")],
        before: before.map(list),
        after: after.map(list),
        ..MembersSeen::default()
    }
}

#[test]
fn a_member_is_removed_when_the_cluster_no_longer_lists_it() {
    let seen = |before, after| Evidence::Removed(members(before, after));
    let wiped = |files| {
        let wiped = [(node("n3"), files)].into();
        Evidence::Removed(MembersSeen { wiped, ..members(Some("n1 n2 n3"), Some("n1 n2")) })
    };
    let lists = "n1 n2 n3";
    proves_only(
        &seen(Some(lists), Some("n1 n2")),
        [
            seen(Some(lists), Some(lists)),
            seen(Some(lists), Some("n1 n2 n3-")),
            seen(Some("n1 n2"), Some("n1 n2")),
            seen(Some(lists), Some("")),
            seen(Some(lists), None),
            seen(None, Some("n1 n2")),
        ],
    );
    proves_only(&wiped(1), [wiped(0)]);
}

#[test]
fn a_member_is_added_when_it_has_a_vote_and_serves() {
    let seen = |after, serving: &[&str]| {
        let serving = serving.iter().map(|name| node(name)).collect();
        Evidence::Added(MembersSeen { serving, ..members(Some("n1 n2"), after) })
    };
    proves_only(
        &seen(Some("n1 n2 n3"), &["n3"]),
        [
            seen(Some("n1 n2 n3"), &[]),
            seen(Some("n1 n2 n3-"), &["n3"]),
            seen(Some("n1 n2"), &["n3"]),
            seen(None, &["n3"]),
        ],
    );
}

#[test]
fn a_change_of_members_that_other_faults_hinder_is_no_failure() {
    let hindered = MembersSeen { hindered_by: vec![4], ..members(Some("n1 n2 n3"), Some("n1 n2 n3")) };
    assert_eq!(Evidence::Removed(hindered.clone()).proves(), Proof::Masked);
    assert_eq!(Evidence::Added(hindered).proves(), Proof::Masked);
    let all_the_same = MembersSeen { hindered_by: vec![4], ..members(Some("n1 n2 n3"), Some("n1 n2")) };
    assert_eq!(Evidence::Removed(all_the_same).proves(), Proof::Proven);
}

#[test]
fn a_program_has_changed_if_it_was_another_before() {
    let program = |before: Option<&str>, after: Option<&str>| {
        let (before, after) = (before.map(str::to_owned), after.map(str::to_owned));
        let of = |name, before, after| NodeProgram { node: node(name), before, after, wanted: "/new".into() };
        let sound = of("n1", Some("/old".into()), Some("/new".into()));
        Evidence::Programs { nodes: vec![sound, of("n2", before, after)] }
    };
    proves_only(
        &program(Some("/old"), Some("/new")),
        [
            program(Some("/old"), Some("/old")),
            program(Some("/new"), Some("/new")),
            program(None, Some("/new")),
            program(Some("/old"), None),
        ],
    );
}

#[test]
fn a_fault_that_no_node_was_left_for_proves_nothing_and_is_no_failure() {
    for evidence in [
        Evidence::Killed { nodes: Vec::new() },
        Evidence::Paused { nodes: Vec::new() },
        Evidence::Ended { nodes: Vec::new() },
        Evidence::Started { nodes: Vec::new() },
        Evidence::Resumed { nodes: Vec::new() },
        Evidence::Throttled { nodes: Vec::new() },
        Evidence::Unthrottled { nodes: Vec::new(), resumed: Vec::new() },
        Evidence::Programs { nodes: Vec::new() },
        Evidence::ClockSet { nodes: Vec::new() },
        Evidence::ClockReset { nodes: Vec::new() },
        Evidence::Removed(MembersSeen::default()),
        Evidence::Added(MembersSeen::default()),
        Evidence::Commanded { nodes: Vec::new() },
        Evidence::Withdrawn { nodes: Vec::new() },
        Evidence::DiskStruck { nodes: Vec::new() },
        Evidence::DiskHealed { nodes: Vec::new(), started: Vec::new() },
    ] {
        assert_eq!(evidence.proves(), Proof::Masked, "{evidence:?}");
    }
}
