//! The comparison of the nodes' copies of replicated data.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::node::NodeId;

/// The copies of every node, each read from that node alone once everything was healed and no more writes
/// were made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// When in the run.
    pub occasion: Occasion,
    /// The replicated objects, each with its copies.
    pub objects: Vec<ComparedObject>,
    /// The nodes that did not answer, and why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub untold: BTreeMap<NodeId, String>,
}

/// When copies were compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Occasion {
    /// After the last heal.
    Healed,
    /// After the restart of the whole cluster.
    Restarted,
}

/// Something that is replicated, with its copies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComparedObject {
    /// Its name; absent where there is only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The copies.
    pub copies: Vec<CopySeen>,
    /// How many keys differ between copies at one position.
    pub different: u64,
    /// The first few of those keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<Difference>,
}

/// One node's copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopySeen {
    /// The node.
    pub node: NodeId,
    /// How far in the order of all changes it is.
    pub position: String,
    /// A digest of its content.
    pub digest: String,
    /// How many keys it holds.
    pub keys: u64,
}

/// A key that copies at one position hold differently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The key.
    pub key: String,
    /// The value in each of these copies; null if it does not have the key.
    pub held: BTreeMap<NodeId, Option<String>>,
}

/// The result of comparing the copies of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Agreement<'a> {
    /// All are at one position and hold the same.
    Same,
    /// Two of them are at one position and hold different things.
    Diverged(&'a CopySeen, &'a CopySeen),
    /// They are at different positions, so that they cannot be compared.
    Apart,
}

impl ComparedObject {
    /// Returns the result of comparing its copies.
    #[must_use]
    pub fn agreement(&self) -> Agreement<'_> {
        let pairs = self
            .copies
            .iter()
            .enumerate()
            .flat_map(|(at, one)| self.copies[at + 1..].iter().map(move |other| (one, other)));
        let mut apart = false;
        for (one, other) in pairs {
            if one.position != other.position {
                apart = true;
            } else if one.digest != other.digest {
                return Agreement::Diverged(one, other);
            }
        }
        if apart { Agreement::Apart } else { Agreement::Same }
    }
}

impl Comparison {
    /// Whether two copies at one position hold different things.
    #[must_use]
    pub fn has_diverged(&self) -> bool {
        self.objects.iter().any(|object| matches!(object.agreement(), Agreement::Diverged(..)))
    }

    /// Returns the copies that were not compared, in one sentence, if there are any.
    #[must_use]
    pub fn open(&self) -> Option<String> {
        let mut open: Vec<String> = self
            .untold
            .iter()
            .map(|(node, why)| format!("{node} did not report its copies ({why})"))
            .collect();
        for object in self.objects.iter().filter(|object| object.agreement() == Agreement::Apart) {
            let at = |copy: &CopySeen| format!("{} at {}", copy.node, copy.position);
            let copies: Vec<String> = object.copies.iter().map(at).collect();
            let of = object.name.as_ref().map(|name| format!(" of {name}")).unwrap_or_default();
            open.push(format!("the copies{of} never reached the same position: {}", copies.join(", ")));
        }
        (!open.is_empty())
            .then(|| format!("{}, copies were not all compared: {}", self.occasion, open.join("; ")))
    }
}

impl fmt::Display for Occasion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Healed => "after the last heal",
            Self::Restarted => "after the restart of all nodes",
        })
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut same, mut diverged, mut copies) = (0, Vec::new(), 0);
        for object in &self.objects {
            copies = copies.max(object.copies.len());
            match object.agreement() {
                Agreement::Same => same += 1,
                Agreement::Diverged(one, other) => {
                    let of = object.name.as_ref().map(|name| format!(" of {name}")).unwrap_or_default();
                    diverged.push(format!(
                        "the copies{of} at {} and {} differ in {} keys",
                        one.node, other.node, object.different
                    ));
                }
                Agreement::Apart => {}
            }
        }
        write!(f, "{}, ", self.occasion)?;
        match (diverged.is_empty(), self.open()) {
            (false, _) => f.write_str(&diverged.join(", ")),
            (true, Some(open)) => f.write_str(&open),
            (true, None) => {
                let objects = if same == 1 { "object" } else { "objects" };
                write!(f, "{copies} nodes held the same ({same} {objects} compared)")
            }
        }
    }
}
