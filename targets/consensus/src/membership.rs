//! How the members of a running cluster are changed, one at a time.
//!
//! A node that is added is a learner first: it gets the log, and the leader makes it a voter once it has all of it. Any
//! later leader does so too, and completes a change that an earlier leader left half done: both follow from the log alone.
//! Each change is one voter more or less, so that any quorum before it meets any quorum after it. Source: "Consensus: Bridging
//! Theory and Practice", Diego Ongaro, 2014, chapter 4; openraft brings every change about through joint consensus.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use openraft::error::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::raft::ClientWriteResponse;
use openraft::{BasicNode, ChangeMembers};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::consensus::Consensus;
use crate::member::{ChangeError, Member, Part, place_of};
use crate::message::{Request, Response, Sender};
use crate::peer::payload::{decode_for_consensus, encode_for_consensus};
use crate::standing::Known;
use crate::types::{Metrics, TypeConfig};

/// How long a node may take to answer a question about members.
const ANSWER_MAX: Duration = Duration::from_millis(300);
/// How often a leader looks for a change to complete, and a node that starts asks whether it is still a member.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How many entries a learner may lack when it becomes a voter: those that are on their way.
const LACKS_MAX: u64 = 16;

type Changed = Result<ClientWriteResponse<TypeConfig>, RaftError<u64, ClientWriteError<u64, BasicNode>>>;

impl Consensus {
    /// Returns the members, in the order of their names, as this node knows them; only a leader knows their positions.
    pub fn members(&self) -> Vec<Member> {
        let metrics = self.metrics().borrow().clone();
        let members = metrics.membership_config.membership();
        let position = |number: u64| {
            let own = (number == self.number()).then_some(metrics.last_log_index).flatten();
            let seen = || Some((*metrics.replication.as_ref()?.get(&number)?)?.index);
            own.or_else(seen).unwrap_or(0)
        };
        let member = |(number, _): (&u64, &BasicNode)| {
            let is_voter = members.voter_ids().any(|voter| voter == *number);
            Some(Member {
                name: self.name_of(*number)?.clone(),
                number: *number,
                part: if is_voter { Part::Voter } else { Part::Learner },
                position: position(*number),
            })
        };
        let mut members: Vec<Member> = members.nodes().filter_map(member).collect();
        members.sort_by(|one, other| one.name.cmp(&other.name));
        members
    }

    /// Whether this node counts for quorums, as far as it knows.
    pub fn is_voter(&self) -> bool {
        self.standing().is_voter()
    }

    /// Whether this node stands for election when it hears from no leader: it is a voter, and since its start another node has
    /// said what it knows of it.
    pub fn may_stand(&self) -> bool {
        self.standing().may_stand()
    }

    /// Whether this node knows that it does not count for quorums: it was removed, or is still a learner.
    pub fn is_outside(&self) -> bool {
        self.standing().is_outside()
    }

    /// Whether the node that is member `number` counts for quorums, as far as this node knows.
    pub fn has_voter(&self, number: u64) -> bool {
        self.server_metrics().borrow().membership_config.voter_ids().any(|voter| voter == number)
    }

    /// Adds the node at `place`, as the leader: as a learner, which becomes a voter by itself. Nothing changes if it is a
    /// member already.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub fn add_member(&self, place: u64) -> BoxFuture<'_, Result<(), ChangeError>> {
        Box::pin(async move {
            let _one_at_a_time = self.changing().lock().await;
            let Some(name) = self.name_of(place).cloned() else { return Ok(()) };
            let number = match self.ask(place, &Request::Number).await {
                _ if place == place_of(self.number()) => self.number(),
                Some(Response::Number(number)) => number,
                _ => return Err(ChangeError::Unreachable(name)),
            };
            let members = self.members();
            match members.iter().find(|member| member.name == name) {
                Some(member) if member.number == number => Ok(()),
                Some(_) => Err(ChangeError::OtherData(name)),
                None => {
                    let node = BasicNode::new(&name);
                    let change = ChangeMembers::AddNodes(BTreeMap::from([(number, node)]));
                    let changed = self.change(change).await;
                    tracing::info!(node = %name, number, ?changed, "member to add");
                    changed
                }
            }
        })
    }

    /// Removes the node at `place`, as the leader, which may be this one itself. Nothing changes if it is not a member.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub fn remove_member(&self, place: u64) -> BoxFuture<'_, Result<(), ChangeError>> {
        Box::pin(async move {
            let _one_at_a_time = self.changing().lock().await;
            let members = self.members();
            let Some(member) = members.iter().find(|member| place_of(member.number) == place) else {
                return Ok(());
            };
            let voters = members.iter().filter(|member| member.part == Part::Voter).count();
            let change = match member.part {
                Part::Voter if voters == 1 => return Err(ChangeError::LastVoter(member.name.clone())),
                Part::Voter => ChangeMembers::RemoveVoters([member.number].into()),
                Part::Learner => ChangeMembers::RemoveNodes([member.number].into()),
            };
            let changed = self.change(change).await;
            tracing::info!(node = %member.name, number = member.number, ?changed, "member to remove");
            changed?;
            // It is no longer sent the log. If this does not arrive, the node learns of it from the nodes that it asks for votes.
            if let Known::Removed(at) = self.standing().of(member.number, None) {
                self.ask(place, &Request::Removed(at)).await;
            }
            Ok(())
        })
    }

    async fn change(&self, change: ChangeMembers<u64, BasicNode>) -> Result<(), ChangeError> {
        outcome(self.raft().change_membership(change, false).await)
    }

    async fn ask(&self, place: u64, request: &Request) -> Option<Response> {
        let deadline = Instant::now() + ANSWER_MAX;
        let payload = self.link(place)?.call(encode_for_consensus(request), deadline).await.ok()?;
        decode_for_consensus(&payload)
    }

    /// Stands for election while this node is a voter, and asks the others first whether it still is.
    pub(crate) async fn stand_while_voter(self) {
        self.inquire().await;
        self.standing().heard();
        let mut is_voter = self.is_voter();
        loop {
            self.raft().runtime_config().elect(is_voter);
            if self.standing().changed(is_voter).await.is_none() {
                return;
            }
            is_voter = !is_voter;
        }
    }

    /// Returns once another node has said what it knows of this one; at once if there is no other, or none that could have
    /// changed the members without this one.
    async fn inquire(&self) {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            if self.standing().is_only_voter() {
                return;
            }
            let known_until = self.standing().known_until();
            let request = Request::Standing(Sender { number: self.number(), known_until });
            let others = (0..self.nodes().len() as u64).filter(|place| *place != place_of(self.number()));
            let answers: Vec<Option<Response>> =
                join_all(others.map(|place| self.ask(place, &request))).await;
            for answer in &answers {
                if let Some(Response::Standing(Known::Removed(at))) = answer {
                    self.standing().is_removed(*at);
                }
            }
            if answers.is_empty() || answers.iter().any(Option::is_some) {
                return;
            }
        }
    }

    /// Completes changes of members, whenever this node leads.
    pub(crate) async fn complete_changes(self) {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            let metrics = self.metrics().borrow().clone();
            if metrics.running_state.is_err() {
                return;
            }
            // A change that an administrator asked for is under way.
            let Ok(_one_at_a_time) = self.changing().try_lock() else { continue };
            if let Some(change) = next(&metrics).filter(|_| self.leads()) {
                let changed = self.change(change.clone()).await;
                tracing::info!(?change, ?changed, "change of members to complete");
            }
        }
    }
}

/// Returns the change that a leader has to complete.
fn next(metrics: &Metrics) -> Option<ChangeMembers<u64, BasicNode>> {
    let members = metrics.membership_config.membership();
    if let [_, goal] = &members.get_joint_config()[..] {
        return Some(ChangeMembers::ReplaceAllVoters(goal.clone()));
    }
    let (positions, end) = (metrics.replication.as_ref()?, metrics.last_log_index?);
    let has_all = |number: &u64| {
        let position = positions.get(number).copied().flatten();
        position
            .is_some_and(|at| at.index + LACKS_MAX >= end && Some(at) >= *metrics.membership_config.log_id())
    };
    let learner = members.learner_ids().find(has_all)?;
    Some(ChangeMembers::AddVoterIds([learner].into()))
}

fn outcome(changed: Changed) -> Result<(), ChangeError> {
    match changed {
        Ok(_) => Ok(()),
        Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_))) => Err(ChangeError::NotLeader),
        Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error))) => match error {
            ChangeMembershipError::InProgress(_) => Err(ChangeError::UnderWay),
            // The members have changed since this node looked.
            ChangeMembershipError::EmptyMembership(_) | ChangeMembershipError::LearnerNotFound(_) => {
                Err(ChangeError::UnderWay)
            }
        },
        Err(RaftError::Fatal(_)) => Err(ChangeError::Unknown),
    }
}
