//! The messages between nodes in the mode `ring`.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::copies::{Keep, Write};
use super::placement::Member;
use super::vector::VersionVector;
use super::versioned::{Stamp, Versioned};

/// A client's request that is about siblings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SiblingsRequest {
    /// `RING.GET key`: all values, and the context of a write that replaces them.
    Get(Bytes),
    /// `RING.SET key context value` and `RING.DEL key context`: a write in place of what the context has seen.
    Write(Bytes, Write),
}

/// The answer to a client's request that is about siblings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SiblingsReply {
    /// To [`SiblingsRequest::Get`].
    Values(VersionVector, Vec<Bytes>),
    /// To [`SiblingsRequest::Write`].
    Written,
}

/// A request to another node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Request {
    /// Asks for the copy of a key that the node holds.
    Fetch(Bytes),
    /// A client's write, to be executed on the copy that the node keeps; answered when it is on disk.
    Write {
        /// The key.
        key: Bytes,
        /// The write.
        write: Write,
        /// The copy.
        keep: Keep,
    },
    /// Copies to merge with what it holds; answered when they are on disk.
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
    /// Stamps of the keys that the asker holds in some leaves of the tree.
    Exchange {
        /// The asker.
        asker: Member,
        /// The leaves.
        leaves: Vec<usize>,
        /// All keys that both own and that the asker holds there.
        stamps: BTreeMap<Bytes, Stamp>,
    },
}

/// The answer, in the variant of the request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Response {
    /// To [`Request::Fetch`].
    Fetched(Option<Versioned>),
    /// To [`Request::Write`]: the copy, now on disk.
    Written(Versioned),
    /// To [`Request::Write`]: it was not executed, since the copy would have too many values side by side.
    TooManyValues,
    /// To [`Request::Store`]: they are on disk, or something newer is.
    Stored,
    /// To [`Request::Compare`]: the places that differ.
    Differ(Vec<usize>),
    /// To [`Request::Exchange`].
    Exchanged {
        /// The copies that have something new for the asker.
        newer: Vec<(Bytes, Versioned)>,
        /// The keys of which the asker has something new.
        wanted: Vec<Bytes>,
    },
    /// To any request: the disk has failed.
    Failed,
}
