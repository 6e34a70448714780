//! Consensus for our subjects: a durable log and state machine under openraft, and links between nodes.
//!
//! A subject brings its own [`State`], its own messages beside those of the consensus, and its own rules for proposals and
//! reads. In reading order:
//!
//! - [`name`]: the names of nodes, and where they listen for each other.
//! - [`peer`]: nodes' connections to each other; `message`: the messages of the consensus.
//! - [`disk`]: durable group commit.
//! - [`types`](mod@types): the types of the consensus, and the entries of its log.
//! - [`state`]: the state that a subject replicates.
//! - [`log_store`]: the log and the vote; [`state_machine`]: the state and its snapshots.
//! - [`member`]: members and their numbers; `membership`: how they are changed; `standing`: whether this node is one.
//! - [`network`]: consensus messages over the links; `formation`: how pristine nodes become a cluster.
//! - [`consensus`]: one node's part in the consensus; [`proposal`]: an entry that waits for its replies.
//! - [`signals`]: SIGTERM and SIGINT.

#![deny(clippy::print_stdout, clippy::print_stderr, clippy::exit)]

pub mod consensus;
pub mod disk;
mod formation;
pub mod log_store;
pub mod member;
mod membership;
mod message;
pub mod name;
pub mod network;
pub mod peer;
pub mod proposal;
pub mod signals;
mod standing;
pub mod state;
pub mod state_machine;
pub mod types;

pub use consensus::{Consensus, NotConfirmed, Setup, StartError};
pub use member::{Beginning, ChangeError, Member, Part};
pub use name::{NodeName, ParseNodeNameError, ParsePeerError, Peer};
pub use proposal::{Proposal, ProposalError};
pub use state::{Applied, State, StateView};
