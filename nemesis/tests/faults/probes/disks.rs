//! Disk faults: files that processes write and sync through the disk, and what remains of them.

use std::fs;
use std::time::Duration;

use duress_history::NodeId;
use duress_nemesis::Fault;
use duress_nemesis::disk_fault::DiskEffect;
use nix::errno::Errno;

use super::Probe;
use crate::program::{
    ACKNOWLEDGED, BLOCK, BLOCKS, BLOCKS_FILE, DURABLE, FILE, OVERWRITTEN, READY, RECORD, Tried,
};
use crate::stage::{Stage, name, wait_until};

pub const PROBES: &[(&str, Probe)] = &[
    ("power-loss", power_loss),
    ("torn", torn),
    ("lying-fsync", lying_fsync),
    ("slow-fsync", slow_fsync),
    ("eio", eio),
    ("enospc", enospc),
    ("bitflip", bitflip),
    ("truncate", truncate),
];

/// How many records there are before anything is damaged: more than a file loses at once.
const RECORDS: u64 = 32;

/// Returns the node whose disk is struck, and one whose disk is not.
fn names() -> (NodeId, NodeId) {
    (name("n2"), name("n3"))
}

/// Injects `item` on n2 and returns its effect, as the plan has it; before that, every node has its blocks
/// overwritten and some records made durable.
fn inject(stage: &mut Stage, item: &str) -> DiskEffect {
    for node in &stage.nodes {
        wait_until("there are records", || acknowledged(stage, node) >= RECORDS);
        assert_eq!(kinds(stage, node), (0, BLOCKS), "all blocks are overwritten");
    }
    let item = format!("{item}@n2");
    let Fault::Disk { effect, .. } = stage.fault(&item) else { panic!("{item} is a fault of disks") };
    stage.inject(1, &item).expect("it takes hold");
    effect
}

/// Heals fault 1, and demands that files are written and synced as ever.
fn heal(stage: &mut Stage) {
    stage.heal(1);
    let (struck, _) = names();
    let tried = Tried::by_child(&stage.data(&struck));
    assert_eq!((tried.write, tried.sync), (0, 0), "{tried:?}");
    stage.await_written();
}

/// Returns how many records a node knows to be durable.
fn acknowledged(stage: &Stage, node: &NodeId) -> u64 {
    stage.last_said(node, ACKNOWLEDGED).map_or(0, |number| number.parse().expect("a number"))
}

/// How many records a node found when it was last started.
fn found(stage: &Stage, node: &NodeId) -> u64 {
    stage.last_said(node, READY).expect("it has been started").parse().expect("a number")
}

fn records(stage: &Stage, node: &NodeId) -> u64 {
    stage.written(node) / RECORD.len() as u64
}

/// Returns how many blocks hold the durable content, and how many the overwriting one; a block holds one of
/// them.
fn kinds(stage: &Stage, node: &NodeId) -> (usize, usize) {
    let content = fs::read(stage.data(node).join(BLOCKS_FILE)).expect("it can be read");
    let blocks = || content.chunks(BLOCK);
    let of = |kind: u8| blocks().filter(|block| block.iter().all(|byte| *byte == kind)).count();
    let (durable, overwritten) = (of(DURABLE), of(OVERWRITTEN));
    assert_eq!(durable + overwritten, blocks().count(), "no block is torn itself");
    (durable, overwritten)
}

fn power_loss(stage: &mut Stage, item: &str) {
    let (struck, spared) = names();
    inject(stage, item);
    assert_eq!(kinds(stage, &struck), (BLOCKS, 0), "what was not synced is gone");
    assert!(records(stage, &struck) >= acknowledged(stage, &struck), "what was synced is there");
    assert_eq!(kinds(stage, &spared), (0, BLOCKS), "another disk");
    heal(stage);
    assert!(found(stage, &struck) >= RECORDS);
}

fn torn(stage: &mut Stage, item: &str) {
    let (struck, spared) = names();
    inject(stage, item);
    let (durable, overwritten) = kinds(stage, &struck);
    // Each block by itself: that all of them are of one kind happens once in 2^63.
    assert!(durable > 0 && overwritten > 0, "{durable} blocks are as they were, {overwritten} overwritten");
    assert!(records(stage, &struck) >= acknowledged(stage, &struck), "what was synced is there");
    assert_eq!(kinds(stage, &spared), (0, BLOCKS), "another disk");
    heal(stage);
}

fn lying_fsync(stage: &mut Stage, item: &str) {
    let (struck, _) = names();
    inject(stage, item);
    let before = acknowledged(stage, &struck);
    wait_until("it is lied to", || acknowledged(stage, &struck) >= before + 5);
    stage.heal(1);
    // The node was started again without some acknowledged records: the first line of that life reports how
    // many it found.
    wait_until("it is started again", || found(stage, &struck) > 0);
    let said = stage.said(&struck);
    let (earlier, _) = said.rsplit_once(READY).expect("it has been started");
    let told = earlier
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix(ACKNOWLEDGED))
        .expect("a record was acknowledged");
    let told: u64 = told.parse().expect("a number");
    assert!(found(stage, &struck) < told, "{} found of {told} acknowledged", found(stage, &struck));
    let tried = Tried::by_child(&stage.data(&struck));
    assert_eq!((tried.write, tried.sync), (0, 0), "{tried:?}");
}

fn slow_fsync(stage: &mut Stage, item: &str) {
    let (struck, spared) = names();
    let DiskEffect::SlowFsync(delay) = inject(stage, item) else { panic!("{item}") };
    let fastest = |stage: &Stage, node: &NodeId| -> Duration {
        (0..10).map(|_| Tried::by_child(&stage.data(node)).took).min().expect("ten times")
    };
    assert!(fastest(stage, &struck) >= delay);
    assert!(fastest(stage, &spared) < delay, "another disk");
    heal(stage);
    assert!(fastest(stage, &struck) < delay, "afterwards");
}

/// Writes to the disk of `node` until `shows` is true of the result, at most so many times.
fn tried_until(stage: &Stage, node: &NodeId, times: usize, shows: impl Fn(Tried) -> bool) -> bool {
    (0..times).any(|_| shows(Tried::by_child(&stage.data(node))))
}

fn eio(stage: &mut Stage, item: &str) {
    let (struck, spared) = names();
    inject(stage, item);
    let is_eio = |number: i32| number == Errno::EIO as i32;
    // One in twenty fails, of each kind: missed once in thirty million.
    assert!(tried_until(stage, &struck, 340, |tried| is_eio(tried.write)), "writes fail");
    assert!(tried_until(stage, &struck, 340, |tried| is_eio(tried.sync)), "fsyncs fail");
    assert!(!tried_until(stage, &spared, 20, |tried| tried.write != 0 || tried.sync != 0), "another disk");
    heal(stage);
}

fn enospc(stage: &mut Stage, item: &str) {
    let (struck, spared) = names();
    inject(stage, item);
    let tried = Tried::by_child(&stage.data(&struck));
    assert_eq!(tried.write, Errno::ENOSPC as i32, "{tried:?}");
    assert_eq!(Tried::by_child(&stage.data(&spared)).write, 0, "another disk");
    heal(stage);
}

/// How many bits of a node's files are not as the node wrote them.
fn wrong_bits(stage: &Stage, node: &NodeId) -> u32 {
    let of = |file: &str, kinds: &[u8]| -> u32 {
        let content = fs::read(stage.data(node).join(file)).expect("it can be read");
        let wrong = |byte: u8| kinds.iter().map(|kind| (byte ^ kind).count_ones()).min().unwrap_or_default();
        content.into_iter().map(wrong).sum()
    };
    // A block holds one of the two contents as a whole.
    let blocks = fs::read(stage.data(node).join(BLOCKS_FILE)).expect("it can be read");
    let of_block = |block: &[u8]| -> u32 {
        let wrong = |kind: u8| block.iter().map(|byte| (byte ^ kind).count_ones()).sum::<u32>();
        wrong(DURABLE).min(wrong(OVERWRITTEN))
    };
    of(FILE, &[RECORD[0]]) + blocks.chunks(BLOCK).map(of_block).sum::<u32>()
}

fn bitflip(stage: &mut Stage, item: &str) {
    let (struck, spared) = names();
    assert_eq!(wrong_bits(stage, &struck), 0, "before");
    inject(stage, item);
    let wrong = wrong_bits(stage, &struck);
    assert!((1..=64).contains(&wrong), "{wrong} bits are flipped");
    assert_eq!(wrong_bits(stage, &spared), 0, "another disk");
    heal(stage);
}

fn truncate(stage: &mut Stage, item: &str) {
    let (struck, spared) = names();
    inject(stage, item);
    assert!(records(stage, &struck) < acknowledged(stage, &struck), "the end is gone");
    let length = |node: &NodeId| fs::metadata(stage.data(node).join(BLOCKS_FILE)).expect("a file").len();
    assert!(length(&struck) < length(&spared), "the end is gone");
    assert_eq!(length(&spared), (BLOCK * BLOCKS) as u64, "another disk");
    heal(stage);
}
