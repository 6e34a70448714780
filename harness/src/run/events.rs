//! The sources of the events for which faults wait: node status, answers to clients, node output, disk
//! operations and packets.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use duress_arena::Switch;
use duress_arena::disk::{Activity, Counted};
use duress_history::NodeId;
use duress_nemesis::trigger::{DiskOperation, Event};
use duress_targets::NodeFiles;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::run::agenda::Seen;
use crate::run::clock::Clock;
use crate::run::sightings::Sightings;

/// The time between polls of files, disks and links.
const LOOK: Duration = Duration::from_millis(1);

/// The sources of events.
#[derive(Clone)]
pub struct Events {
    /// The latest status of the nodes, and changes of the leader.
    pub sightings: Rc<RefCell<Sightings>>,
    /// The number of operations answered to clients.
    pub answered: watch::Receiver<u64>,
    /// The files of each node.
    pub files: BTreeMap<NodeId, NodeFiles>,
    /// The disks of the nodes that have a faultable one.
    pub disks: BTreeMap<NodeId, Activity>,
    /// The network, if the run has one of its own.
    pub switch: Option<Switch>,
    /// The run's clock.
    pub clock: Clock,
}

impl Events {
    /// Waits for `event`, counted from now on, at one of `nodes` if it is an event of nodes. Never returns if
    /// the event does not come, nor for a phase of another fault, which the agenda tracks.
    pub async fn wait(mut self, event: Event, nodes: Vec<NodeId>) -> Seen {
        let (what, node) = match event {
            Event::LeaderChange => self.leader_change().await,
            Event::Operation { number } => (self.operation(number).await, None),
            Event::Log { text } => self.line(&text, &nodes).await,
            Event::Disk { operation, number } => self.on_disk(operation, number, &nodes).await,
            Event::Packet { number } => self.packet(number, &nodes).await,
            Event::Start { .. } | Event::Heal { .. } => std::future::pending().await,
        };
        Seen { due: self.clock.now(), what, node }
    }

    /// Releases the fsync that the disk of `node` holds for a fault that does not start after all.
    pub fn release(&self, node: Option<&NodeId>) {
        if let Some(disk) = node.and_then(|node| self.disks.get(node)) {
            disk.release_held();
        }
    }

    async fn leader_change(&self) -> (String, Option<NodeId>) {
        let mut changes = self.sightings.borrow().changes();
        loop {
            // The sender lives as long as the sightings, which this value keeps.
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            let change = changes.borrow_and_update().clone();
            if let Some(change) = change
                && let Some(before) = change.before
            {
                return (format!("{} leads, after {before}", change.node), Some(change.node));
            }
        }
    }

    async fn operation(&mut self, number: u64) -> String {
        let before = *self.answered.borrow_and_update();
        match self.answered.wait_for(|count| *count >= before + number).await {
            Ok(count) => format!("operation {} since it waits was answered", *count - before),
            // The dispatcher is gone, and the run with it.
            Err(_) => std::future::pending().await,
        }
    }

    /// Waits for the n-th operation on a disk. The disk holds the awaited fsync, so that the fault strikes
    /// before it is done.
    async fn on_disk(
        &self,
        operation: DiskOperation,
        number: u64,
        nodes: &[NodeId],
    ) -> (String, Option<NodeId>) {
        let counted = match operation {
            DiskOperation::Fsync => Counted::Fsync,
            DiskOperation::Write => Counted::Write,
            DiskOperation::Rename => Counted::Rename,
        };
        let disks = nodes.iter().filter_map(|node| Some((node, self.disks.get(node)?)));
        let disks: Vec<(&NodeId, Held<'_>, u64)> = disks
            .map(|(node, disk)| {
                if operation == DiskOperation::Fsync {
                    disk.hold_fsync(number - 1);
                }
                (node, Held(disk), disk.count(counted))
            })
            .collect();
        loop {
            for (node, Held(disk), before) in &disks {
                let count = disk.count(counted).saturating_sub(*before);
                if count >= number {
                    let what = format!("{operation} {count} on the disk of {node} since it waits");
                    let node = (*node).clone();
                    // The injection of the fault releases the held fsync of this disk.
                    for (other, held, _) in disks {
                        if *other == node {
                            std::mem::forget(held);
                        }
                    }
                    return (what, Some(node));
                }
            }
            sleep(LOOK).await;
        }
    }

    async fn packet(&self, number: u64, nodes: &[NodeId]) -> (String, Option<NodeId>) {
        let Some(switch) = &self.switch else { return std::future::pending().await };
        let all: Vec<&NodeId> = self.files.keys().collect();
        let passed = |node: &NodeId| -> u64 {
            let links = all
                .iter()
                .filter(|other| ***other != *node)
                .flat_map(|other| [(node, *other), (*other, node)]);
            let counters = links.filter_map(|(from, to)| switch.counters(from.as_str(), to.as_str()).ok());
            counters.map(|counted| counted.forwarded_packets + counted.dropped_packets).sum()
        };
        let before: Vec<u64> = nodes.iter().map(passed).collect();
        loop {
            for (node, before) in nodes.iter().zip(&before) {
                let count = passed(node).saturating_sub(*before);
                if count >= number {
                    return (format!("packet {count} from or to {node} since it waits"), Some(node.clone()));
                }
            }
            sleep(LOOK).await;
        }
    }

    async fn line(&self, text: &str, nodes: &[NodeId]) -> (String, Option<NodeId>) {
        let files = nodes.iter().filter_map(|node| Some((node, self.files.get(node)?)));
        let mut tails: Vec<(&NodeId, Tail)> = files
            .flat_map(|(node, files)| [&files.stdout, &files.stderr].map(|path| (node, Tail::of(path))))
            .collect();
        loop {
            for (node, tail) in &mut tails {
                if let Some(line) = tail.find(text) {
                    return (format!("{node} wrote \"{line}\""), Some(node.clone()));
                }
            }
            sleep(LOOK).await;
        }
    }
}

/// A disk that should hold an fsync. Dropping the value releases the fsync.
struct Held<'a>(&'a Activity);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.release_held();
    }
}

/// The end of a growing file.
struct Tail {
    file: Option<File>,
    /// The part of an unfinished line read so far.
    rest: Vec<u8>,
}

impl Tail {
    /// Returns the tail of the file at `path` from its present end.
    fn of(path: &Path) -> Self {
        let mut file = File::open(path).ok();
        // A file whose end cannot be found is treated as missing.
        file.take_if(|file| file.seek(SeekFrom::End(0)).is_err());
        Self { file, rest: Vec::new() }
    }

    /// Returns the first new line that contains `text`.
    fn find(&mut self, text: &str) -> Option<String> {
        self.file.as_mut()?.read_to_end(&mut self.rest).ok()?;
        let end = self.rest.iter().rposition(|byte| *byte == b'\n')? + 1;
        let lines: Vec<u8> = self.rest.drain(..end).collect();
        String::from_utf8_lossy(&lines).lines().find(|line| line.contains(text)).map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_line_counts_once_it_is_whole_and_was_written_since() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("stderr.log");
        let mut file = File::create(&path).expect("a file");
        let mut write = |text: &str| file.write_all(text.as_bytes()).expect("room");
        write("n1 leads\n");
        let mut tail = Tail::of(&path);
        assert_eq!(tail.find("leads"), None, "that was before");
        write("n2 le");
        assert_eq!(tail.find("n2"), None, "the line has not ended");
        write("ads\nand more\n");
        assert_eq!(tail.find("n2 leads").as_deref(), Some("n2 leads"));
        assert_eq!(tail.find("n2 leads"), None, "it was read");
    }
}
