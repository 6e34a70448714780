//! The messages between nodes in the mode `ring`.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::copies::{Keep, Versioned};
use super::placement::Member;
use super::version::Version;

/// A request to another node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Request {
    /// Asks for the copy of a key that the node holds.
    Fetch(Bytes),
    /// Copies to keep if they are newer than what it holds; answered when they are on disk.
    Store {
        /// The keys and their copies.
        copies: Vec<(Bytes, Versioned)>,
        /// The place where the node keeps them, and the reason.
        keep: Keep,
    },
    /// Asks which of these digests of the asker's tree differ from the node's own. Both trees are of the keys that both own.
    Compare {
        /// The asker.
        asker: Member,
        /// The level of the tree, from its root.
        level: usize,
        /// Places in the level, and the digests there.
        digests: Vec<(usize, u64)>,
    },
    /// Versions of the keys that the asker holds in some leaves of the tree.
    Exchange {
        /// The asker.
        asker: Member,
        /// The leaves.
        leaves: Vec<usize>,
        /// All keys that both own and that the asker holds there.
        versions: Vec<(Bytes, Version)>,
    },
}

/// The answer, in the variant of the request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Response {
    /// To [`Request::Fetch`].
    Fetched(Option<Versioned>),
    /// To [`Request::Store`]: they are on disk, or something newer is.
    Stored,
    /// To [`Request::Compare`]: the places that differ.
    Differ(Vec<usize>),
    /// To [`Request::Exchange`].
    Exchanged {
        /// The copies that are newer here.
        newer: Vec<(Bytes, Versioned)>,
        /// The keys that are newer at the asker.
        wanted: Vec<Bytes>,
    },
    /// To any request: the disk has failed.
    Failed,
}
