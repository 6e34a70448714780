//! Removes members of a cluster and adds them again, by its administrator.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::slice;

use duress_history::nemesis::{Comeback, ListedMember, MembersSeen};

use super::*;
use crate::membership::{Administrator, Joining, MemberChange};

/// The time that a change of members may take while no other fault is in force.
const ALONE: Duration = Duration::from_secs(10);
/// The same while others are, which may hinder it: they have to be healed in time too.
const AMONG_OTHERS: Duration = Duration::from_millis(2000);
/// The same for a node that is renewed: it starts without data, and waits for a leader.
const RENEWAL_AMONG_OTHERS: Duration = Duration::from_secs(4);
/// The time that one request to one node may take.
const REQUEST: Duration = Duration::from_millis(1600);
/// The time in which a removed node that came back on its data may be refused.
const REFUSAL: Duration = Duration::from_millis(700);
/// The pause before a node that does not serve yet is asked again.
const RETRY: Duration = Duration::from_millis(20);

/// A node that was removed, and is to be a member again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Removed {
    /// The fault that removed it.
    pub(super) fault: u32,
    /// Whether it has started as another member since.
    pub(super) renewed: bool,
}

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
        let (via, deadline) = (self.others(nodes), self.deadline(AMONG_OTHERS));
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
        if change == MemberChange::Replace
            && let Some(listed) = &seen.after
        {
            for node in nodes {
                seen.wiped.insert(node.clone(), self.wipe(node, listed)?);
            }
        }
        seen.after = seen.after.or_else(|| self.listed(&via, deadline));
        Ok((Evidence::Removed(seen), since))
    }

    /// Starts `nodes` where they have ended, has the cluster add them, one after the other, and waits until each has a vote and
    /// serves. A node that other faults keep away until then is remembered: see [`Nemesis::settle_members`].
    pub(super) fn heal_membership(
        &mut self,
        change: MemberChange,
        nodes: &[NodeId],
    ) -> Result<Evidence, NemesisError> {
        let anew = self.comes_back() == Some(Comeback::Anew);
        let (via, deadline) =
            (self.others(nodes), self.deadline(if anew { RENEWAL_AMONG_OTHERS } else { AMONG_OTHERS }));
        let mut seen = self.unseen(nodes, None);
        seen.before = self.listed(&via, deadline);
        if change == MemberChange::Join || change == MemberChange::Replace && !anew {
            self.start(nodes)?;
            seen.started = nodes.to_vec();
        }
        if anew && change == MemberChange::Join {
            self.await_refusal(nodes, deadline.min(Instant::now() + REFUSAL))?;
        }
        for node in nodes {
            let mut is_new = !anew || self.joining.get(node).is_some_and(|joining| joining.renewed);
            // Where it was renewed before and something is wrong, there is time left to renew it again.
            let half = Instant::now() + deadline.saturating_duration_since(Instant::now()) / 2;
            let mut within = if anew && is_new { half } else { deadline };
            while is_new || self.renew(node, &via, deadline, &mut seen)? {
                if self.await_member(node, &via, within)? {
                    seen.serving.push(node.clone());
                    break;
                }
                if !anew || Instant::now() >= deadline {
                    break;
                }
                (is_new, within) = (false, deadline);
            }
        }
        self.joining.retain(|node, _| !seen.serving.contains(node));
        // Asked again, so that the last word is about the moment after the nodes have served.
        seen.after = self.listed(&via, deadline);
        Ok(Evidence::Added(seen))
    }

    /// Has the cluster add `node`, if it is not a member, and waits until it has a vote and serves; returns whether it does. One that
    /// starts without data ends if it meets a member who does not know yet that it was removed, and takes the old member's place.
    fn await_member(
        &mut self,
        node: &NodeId,
        via: &[NodeId],
        deadline: Instant,
    ) -> Result<bool, NemesisError> {
        let votes = |members: &Vec<ListedMember>| members.iter().any(|one| one.votes && one.node == *node);
        let mut listed = false;
        loop {
            let Some(administrator) = self.administrator.as_deref() else { return Ok(false) };
            listed = listed
                || administrator.add(node, via, REQUEST).is_ok()
                    && administrator.members(via, REQUEST).is_ok_and(|members| votes(&members));
            if listed && administrator.serves(node) {
                return Ok(true);
            }
            self.sweep()?;
            if Instant::now() >= deadline || !self.cluster.running().contains(node) {
                return Ok(false);
            }
            std::thread::sleep(RETRY);
        }
    }

    /// Waits until `nodes`, which came back on their data although they were removed, have ended: the others refuse them.
    fn await_refusal(&mut self, nodes: &[NodeId], deadline: Instant) -> Result<(), NemesisError> {
        let runs = |cluster: &Cluster| cluster.running().iter().any(|node| nodes.contains(node));
        while runs(&self.cluster) && Instant::now() < deadline {
            std::thread::sleep(RETRY);
            self.sweep()?;
        }
        Ok(())
    }

    /// Has `node` become another member, without data, and starts it; returns whether it was listed in time. A request to remove it
    /// that was never answered may still be carried out, and does not concern the member that it becomes.
    fn renew(
        &mut self,
        node: &NodeId,
        via: &[NodeId],
        deadline: Instant,
        seen: &mut MembersSeen,
    ) -> Result<bool, NemesisError> {
        let lists = |members: &[ListedMember]| members.iter().any(|member| member.node == *node);
        let gone = self.until(deadline, |administrator| {
            administrator.remove(node, via, REQUEST).ok()?;
            administrator.members(via, REQUEST).ok().filter(|members| !lists(members))
        });
        if gone.is_none() {
            // It may be a member all the same, and its data are whole.
            self.start(slice::from_ref(node))?;
            return Ok(false);
        }
        self.kill(slice::from_ref(node))?;
        self.note_renewed(node, false);
        let listed = self.until(deadline, |administrator| {
            // It may have been added by a request that was not answered: the list decides.
            let _ = administrator.add(node, via, REQUEST);
            administrator.members(via, REQUEST).ok().filter(|members| lists(members))
        });
        let Some(listed) = listed else { return Ok(false) };
        self.wipe(node, &listed)?;
        self.start(slice::from_ref(node))?;
        self.note_renewed(node, true);
        if !seen.started.contains(node) {
            seen.started.push(node.clone());
        }
        Ok(true)
    }

    fn note_renewed(&mut self, node: &NodeId, renewed: bool) {
        if let Some(joining) = self.joining.get_mut(node) {
            joining.renewed = renewed;
        }
    }

    /// Returns the fault that removed `node`, if a node that was removed ends by itself.
    pub(super) fn removed_by(&self, node: &NodeId) -> Option<u32> {
        if self.comes_back() != Some(Comeback::Anew) {
            return None;
        }
        let removed = |(id, (_, active)): (&u32, &(Fault, Active))| {
            matches!(active, Active::Membership { nodes, .. } if nodes.contains(node)).then_some(*id)
        };
        self.active.iter().find_map(removed).or_else(|| self.joining.get(node).map(|joining| joining.fault))
    }

    fn comes_back(&self) -> Option<Comeback> {
        self.administrator.as_deref().map(Administrator::comeback)
    }

    /// Adds the nodes again that other faults kept away as they were to join, once no fault is in force.
    pub(super) fn settle_members(&mut self) -> Result<(), NemesisError> {
        let nodes: Vec<NodeId> = self.joining.keys().cloned().collect();
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
    fn deadline(&self, among_others: Duration) -> Instant {
        Instant::now() + if self.active.is_empty() { ALONE } else { among_others }
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
    /// joins these members from now on. Returns the number of files.
    fn wipe(&mut self, node: &NodeId, listed: &[ListedMember]) -> Result<u64, NemesisError> {
        let administrator = self.administrator.as_deref().ok_or(NemesisError::FixedMembers)?;
        let Joining { spec, data } = administrator
            .joining(node, listed)
            .map_err(|source| NemesisError::Joining { node: node.clone(), source })?;
        self.cluster.starts_by(node, spec)?;
        empty(&data).map_err(|source| NemesisError::Wipe { node: node.clone(), source })
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
