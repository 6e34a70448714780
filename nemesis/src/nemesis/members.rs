//! Removes members of a cluster and adds them again, by its administrator.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use duress_history::nemesis::{ListedMember, MembersSeen};

use super::*;
use crate::membership::{Administrator, Joining, MemberChange};

/// The time that a change of members may take while no other fault is in force.
const ALONE: Duration = Duration::from_secs(10);
/// The same while others are, which may hinder it: they have to be healed in time too.
const AMONG_OTHERS: Duration = Duration::from_millis(2000);
/// The time that one request to one node may take.
const REQUEST: Duration = Duration::from_millis(1600);
/// The pause before a node that does not serve yet is asked again.
const RETRY: Duration = Duration::from_millis(20);

impl Nemesis {
    /// Has the cluster remove `nodes`, one after the other, and ends and wipes them as `change` says. The data of a node go only
    /// if the cluster no longer lists it: a member that loses them could break the cluster's word.
    pub(super) fn inject_membership(
        &mut self,
        id: u32,
        fault: &Fault,
        change: MemberChange,
        nodes: &[NodeId],
    ) -> Result<(Evidence, Instant), NemesisError> {
        if self.administrator.is_none() {
            return Err(NemesisError::FixedMembers);
        }
        let (via, deadline) = (self.others(nodes), self.deadline());
        self.active.insert(id, (fault.clone(), Active::Membership { change, nodes: nodes.to_vec() }));
        let mut seen = self.unseen(nodes, Some(id));
        seen.before = self.listed(&via, deadline);
        if change != MemberChange::Leave {
            self.kill(nodes)?;
        }
        for node in nodes {
            self.until(deadline, |administrator| administrator.remove(node, &via, REQUEST).ok());
        }
        let since = Instant::now();
        let gone = |members: &Vec<ListedMember>| !members.iter().any(|member| nodes.contains(&member.node));
        seen.after =
            self.until(deadline, |administrator| administrator.members(&via, REQUEST).ok().filter(gone));
        if change == MemberChange::Replace && seen.after.is_some() {
            for node in nodes {
                seen.wiped.insert(node.clone(), self.wipe(node)?);
            }
        }
        seen.after = seen.after.or_else(|| self.listed(&via, deadline));
        Ok((Evidence::Removed(seen), since))
    }

    /// Starts `nodes` where they have ended, has the cluster add them, and waits until each has a vote and serves. A node that
    /// other faults keep away until then is remembered: see [`Nemesis::settle_members`].
    pub(super) fn heal_membership(
        &mut self,
        change: MemberChange,
        nodes: &[NodeId],
    ) -> Result<Evidence, NemesisError> {
        let (via, deadline) = (self.others(nodes), self.deadline());
        let mut seen = self.unseen(nodes, None);
        seen.before = self.listed(&via, deadline);
        if change != MemberChange::Leave {
            self.start(nodes)?;
            seen.started = nodes.to_vec();
        }
        self.joining.extend(nodes.iter().cloned());
        for node in nodes {
            self.until(deadline, |administrator| administrator.add(node, &via, REQUEST).ok());
        }
        let all = |members: &Vec<ListedMember>| {
            nodes.iter().all(|node| members.iter().any(|member| member.votes && member.node == *node))
        };
        let listed =
            self.until(deadline, |administrator| administrator.members(&via, REQUEST).ok().filter(all));
        if listed.is_some() {
            for node in nodes {
                let serves = self.until(deadline, |administrator| administrator.serves(node).then_some(()));
                seen.serving.extend(serves.map(|()| node.clone()));
            }
            self.joining.retain(|node| !seen.serving.contains(node));
        }
        // Asked again, so that the last word is about the moment after the nodes have served.
        seen.after = self.listed(&via, deadline).or(listed);
        Ok(Evidence::Added(seen))
    }

    /// Adds the nodes again that other faults kept away as they were to join, once no fault is in force.
    pub(super) fn settle_members(&mut self) -> Result<(), NemesisError> {
        let nodes: Vec<NodeId> = std::mem::take(&mut self.joining).into_iter().collect();
        if nodes.is_empty() {
            return Ok(());
        }
        let evidence = self.heal_membership(MemberChange::Leave, &nodes)?;
        match evidence.proves() {
            Proof::Proven => Ok(()),
            Proof::Masked | Proof::Missing => {
                Err(NemesisError::NotMembers { nodes, evidence: evidence.to_string() })
            }
        }
    }

    /// Returns the moment until which a change of members may take.
    fn deadline(&self) -> Instant {
        Instant::now() + if self.active.is_empty() { ALONE } else { AMONG_OTHERS }
    }

    /// Returns the nodes that can speak for the cluster: those that run, but for `nodes` and the ones that faults have removed or
    /// disabled.
    fn others(&self, nodes: &[NodeId]) -> Vec<NodeId> {
        let down = self.down();
        let speaks = |node: &&NodeId| !nodes.contains(node) && !down.contains(node);
        self.nodes.iter().filter(speaks).cloned().collect()
    }

    /// Returns what is seen before anything is: `own` is the fault that other faults in force may hinder.
    fn unseen(&self, nodes: &[NodeId], own: Option<u32>) -> MembersSeen {
        let others = self.active.keys().filter(|id| Some(**id) != own);
        MembersSeen {
            nodes: nodes.to_vec(),
            hindered_by: others.copied().collect(),
            ..MembersSeen::default()
        }
    }

    fn listed(&self, via: &[NodeId], deadline: Instant) -> Option<Vec<ListedMember>> {
        self.until(deadline, |administrator| administrator.members(via, REQUEST).ok())
    }

    /// Has the administrator try until there is a result, at least once.
    fn until<T>(&self, deadline: Instant, attempt: impl Fn(&dyn Administrator) -> Option<T>) -> Option<T> {
        let administrator = self.administrator.as_deref()?;
        loop {
            match attempt(administrator) {
                None if Instant::now() < deadline => std::thread::sleep(RETRY),
                result => return result,
            }
        }
    }

    /// Deletes everything that `node`, whose processes have ended, had in its data folder, for good, and has it start as one that
    /// joins from now on. Returns the number of files.
    fn wipe(&mut self, node: &NodeId) -> Result<u64, NemesisError> {
        let Joining { data, .. } = self.cluster.joins(node)?.ok_or(NemesisError::FixedMembers)?;
        empty(data).map_err(|source| NemesisError::Wipe { node: node.clone(), source })
    }
}

/// Deletes all that is in `folder`, durably, and returns the number of files.
fn empty(folder: &Path) -> io::Result<u64> {
    let mut files = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            files += empty(&entry.path())?;
            fs::remove_dir(entry.path())?;
        } else {
            files += 1;
            fs::remove_file(entry.path())?;
        }
    }
    File::open(folder)?.sync_all()?;
    Ok(files)
}
