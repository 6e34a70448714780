//! A node's own copies of replicated data.

use std::collections::BTreeMap;

/// A node's own copy of an object that is replicated: of all there is, or of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplicaCopy {
    /// The object; `None` if there is only one.
    pub object: Option<String>,
    /// How far in the order of all changes the copy is. Two copies at one position must hold the same.
    pub position: String,
    /// The system's own fingerprint of the copy, besides its values: a digest or a revision; empty if it has
    /// none.
    pub digest: String,
    /// Its content, by key.
    pub values: BTreeMap<String, String>,
}
