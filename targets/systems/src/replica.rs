//! What a node holds by itself: its copy of what is replicated.

use std::collections::BTreeMap;

/// A node's own copy of an object that is replicated: of all there is, or of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplicaCopy {
    /// The object; `None` where there is only one.
    pub object: Option<String>,
    /// How far in the order of all changes the copy is. Two copies at one position must hold the same.
    pub position: String,
    /// What the system itself says of the copy, beyond its values: a digest or a revision; empty where it says nothing.
    pub digest: String,
    /// What it holds, by key.
    pub values: BTreeMap<String, String>,
}
