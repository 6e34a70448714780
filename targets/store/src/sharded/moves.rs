//! A move of slots from one shard to another, step by step.
//!
//! | step | in the log of | afterwards |
//! |---|---|---|
//! | [`MoveStep::Begin`] | shard 0 | the directory names the move; its number is one more than that of the move before |
//! | [`MoveStep::Freeze`] | the source | the source refuses every request for these slots |
//! | [`MoveStep::Receive`], once for each chunk | the destination | it has the keys; with the last chunk it holds the slots and serves them |
//! | [`MoveStep::Flip`] | shard 0 | the directory names the destination as the owner |
//! | [`MoveStep::Drop`] | the source | it has neither the slots nor their keys |
//! | [`MoveStep::End`] | shard 0 | the directory names no move, and the next one may begin |
//!
//! At every moment at most one shard serves a slot, by its own replicated state: the source until `Freeze`, the destination from
//! the last `Receive` on. A node with an old directory asks the wrong shard, which refuses; a refusal is an entry of that shard's
//! log (or a linearizable read), so it is certain that the request had no effect, and the node may ask again elsewhere.
//!
//! Moves come one after the other, and each shard remembers the number of the last one that it had a part in. A step of an older
//! move does nothing, nor does one that was executed before: any step may be repeated, at any time, by any number of nodes that
//! believe they lead shard 0. A chunk names the key that it comes after, and is accepted only in its place. The steps of a crashed
//! leader are therefore simply executed again, from `Freeze`, or from `Drop` if the directory has flipped.

use std::net::SocketAddr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::slots::SlotSet;
use crate::key_values::Entry;

/// A move of slots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// Its place in the order of all moves, from 1.
    pub number: u64,
    /// The shard that has the slots.
    pub from: u8,
    /// The shard that gets them.
    pub to: u8,
    /// The slots.
    pub slots: SlotSet,
}

/// A step of a move, as a command of the log of a shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MoveStep {
    /// The directory takes note of a move that begins, unless another is under way.
    Begin(Move),
    /// The source serves the slots no more.
    Freeze(Move),
    /// The destination gets keys.
    Receive(Box<Chunk>),
    /// The directory names the new owner.
    Flip {
        /// The number of the move.
        number: u64,
    },
    /// The source forgets the slots and their keys.
    Drop {
        /// The number of the move.
        number: u64,
    },
    /// The directory takes note that the move is over.
    End {
        /// The number of the move.
        number: u64,
    },
    /// The directory takes note of the address on which a node listens for clients.
    Announce {
        /// The number of the node.
        node: u64,
        /// Its address.
        address: SocketAddr,
    },
}

/// Keys that the source hands over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// The move.
    pub plan: Move,
    /// The last key of the chunk before; `None` for the first chunk.
    pub after: Option<Bytes>,
    /// The keys, in order, and what is held of each.
    pub entries: Vec<(Bytes, Entry)>,
    /// Whether no more keys come after these.
    pub last: bool,
    /// The position of the source in its order of writes: no version of a key is greater.
    pub position: u64,
}

/// What became of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Progress {
    /// It is done, by this step or an earlier one.
    Done,
    /// A chunk that comes after this key is expected; `None`: the first.
    Expects(Option<Bytes>),
    /// The step belongs to no move that is under way here; nothing changed.
    Over,
}
