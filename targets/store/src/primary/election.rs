//! The rules of an election: which node may be promoted, and in which epoch.
//!
//! As in Raft ("In Search of an Understandable Consensus Algorithm", sections 5.2 and 5.4.1): an epoch has at most one primary,
//! since it takes a majority, and a node votes once in an epoch. A candidate first asks whether it would be elected, so that
//! the epoch does not grow unless a majority has lost the primary (section 9.6 of Ongaro's "Consensus: Bridging Theory and
//! Practice").

use serde::{Deserialize, Serialize};

use super::ledger::Position;
use crate::bug::Bug;
use crate::config::NodeName;

/// The durable state of elections on a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ballot {
    /// The highest epoch that it has met.
    pub epoch: u64,
    /// Its vote in that epoch.
    pub vote: Option<NodeName>,
}

/// Whether a candidate only asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Round {
    /// It asks how the node would vote; the node promises nothing.
    Poll,
    /// It asks for the vote.
    Vote,
}

/// A node asks for a vote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidacy {
    /// The epoch in which it would be the primary.
    pub epoch: u64,
    /// The node.
    pub candidate: NodeName,
    /// How far it is.
    pub position: Position,
    /// Whether it only asks.
    pub round: Round,
}

impl Ballot {
    /// Whether a node at `own` votes for a candidate. It must not be called while the node hears from a primary.
    pub fn grants(&self, own: Position, candidacy: &Candidacy, bug: Option<Bug>) -> bool {
        let is_free = match candidacy.round {
            Round::Poll => candidacy.epoch > self.epoch,
            Round::Vote => {
                candidacy.epoch > self.epoch
                    || candidacy.epoch == self.epoch
                        && self.vote.as_ref().is_none_or(|vote| *vote == candidacy.candidate)
            }
        };
        is_free && (bug == Some(Bug::PromotedReplicaBehind) || candidacy.position.is_up_to_date_with(own))
    }
}

/// The primary and its epoch, as a node knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// The epoch; 0 without failover.
    pub epoch: u64,
    /// The primary.
    pub lead: Lead,
}

/// The primary, as a node knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lead {
    /// It knows none.
    Unknown,
    /// Another node.
    Other(NodeName),
    /// The node itself.
    Own,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> NodeName {
        name.parse().unwrap()
    }

    fn at(epoch: u64, offset: u64) -> Position {
        Position { lineage: 7, epoch, offset }
    }

    fn stands(epoch: u64, position: Position, round: Round) -> Candidacy {
        Candidacy { epoch, candidate: name("n2"), position, round }
    }

    #[test]
    fn a_node_votes_once_in_an_epoch_and_never_in_an_earlier_one() {
        let free = Ballot { epoch: 4, vote: None };
        let given = |to: &str| Ballot { epoch: 4, vote: Some(name(to)) };
        let grants =
            |ballot: &Ballot, epoch| ballot.grants(at(1, 5), &stands(epoch, at(1, 5), Round::Vote), None);
        assert_eq!([3, 4, 5].map(|epoch| grants(&free, epoch)), [false, true, true]);
        assert_eq!([3, 4, 5].map(|epoch| grants(&given("n2"), epoch)), [false, true, true]);
        assert_eq!([3, 4, 5].map(|epoch| grants(&given("n3"), epoch)), [false, false, true]);
        let would = |epoch| free.grants(at(1, 5), &stands(epoch, at(1, 5), Round::Poll), None);
        assert_eq!([4, 5].map(would), [false, true], "a poll is for an epoch that is to come");
    }

    #[test]
    fn a_candidate_must_be_as_far_as_the_voter_and_epochs_count_first() {
        let grants =
            |own, position, bug| Ballot::default().grants(own, &stands(9, position, Round::Vote), bug);
        for (own, candidate, granted) in [
            (at(1, 5), at(1, 5), true),
            (at(1, 5), at(1, 6), true),
            (at(1, 5), at(1, 4), false),
            (at(1, 100), at(2, 51), true),
            (at(2, 51), at(1, 100), false),
            (at(0, 0), at(0, 0), true),
        ] {
            assert_eq!(grants(own, candidate, None), granted, "{own:?} {candidate:?}");
            assert!(grants(own, candidate, Some(Bug::PromotedReplicaBehind)));
        }
    }
}
