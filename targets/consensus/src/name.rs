//! The names of nodes, and where they listen for each other.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The name of a node: letters, digits, `-`, `_` and `.`, at most 64 bytes.
///
/// Names order as people count: `n2` before `n10`. The order of the names is the order of the nodes, the same on
/// every node.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NodeName(String);

impl NodeName {
    /// Returns the name as a string.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn sort_key(&self) -> (&str, Option<u64>, &str) {
        let stem = self.0.trim_end_matches(|c: char| c.is_ascii_digit());
        (stem, self.0[stem.len()..].parse().ok(), &self.0)
    }
}

impl Ord for NodeName {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.sort_key().cmp(&other.sort_key())
    }
}

impl PartialOrd for NodeName {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A string that is not the name of a node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{given}\" is not a node name: use 1 to 64 letters, digits, '-', '_' or '.'")]
pub struct ParseNodeNameError {
    given: String,
}

impl FromStr for NodeName {
    type Err = ParseNodeNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = (1..=64).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if fits { Ok(Self(text.into())) } else { Err(ParseNodeNameError { given: text.into() }) }
    }
}

/// Another node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its name.
    pub name: NodeName,
    /// The address on which it listens for its peers.
    pub address: SocketAddr,
}

/// A string that is not `NAME=ADDRESS:PORT`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParsePeerError {
    /// There is no `=`.
    #[error("\"{0}\" is not a peer: write NAME=ADDRESS:PORT")]
    Shape(String),
    /// The name is not the name of a node.
    #[error(transparent)]
    Name(#[from] ParseNodeNameError),
    /// The address is not a socket address.
    #[error("\"{given}\" is not ADDRESS:PORT")]
    Address {
        /// The invalid input.
        given: String,
        /// Why.
        #[source]
        cause: std::net::AddrParseError,
    },
}

impl FromStr for Peer {
    type Err = ParsePeerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, address) = text.split_once('=').ok_or_else(|| ParsePeerError::Shape(text.into()))?;
        let address =
            address.parse().map_err(|cause| ParsePeerError::Address { given: address.into(), cause })?;
        Ok(Self { name: name.parse()?, address })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_ordered_as_people_count() {
        let mut names: Vec<NodeName> = ["n10", "n2", "n1", "m3"].iter().map(|n| n.parse().unwrap()).collect();
        names.sort();
        assert_eq!(names.iter().map(NodeName::as_str).collect::<Vec<_>>(), ["m3", "n1", "n2", "n10"]);
    }

    #[test]
    fn a_peer_is_a_name_and_an_address() {
        let peer: Peer = "n2=10.77.0.2:7379".parse().unwrap();
        assert_eq!((peer.name.as_str(), peer.address.port()), ("n2", 7379));
        assert!(
            "n2".parse::<Peer>().is_err()
                && "n2=host".parse::<Peer>().is_err()
                && "=1.2.3.4:5".parse::<Peer>().is_err()
        );
    }
}
