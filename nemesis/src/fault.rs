//! Faults: what the nemesis can do, as data.
//!
//! A mix names faults as the command line does: `partition,kill:minority,pause:leader`. A [`FaultSpec`] is one item of
//! it; a [`Fault`] is one drawn from the seed, with its targets, as it stands in a plan.

use std::fmt;
use std::str::FromStr;

use duress_history::NodeId;
use serde::{Deserialize, Serialize};

use crate::partition::{Cut, PartitionShape};
use crate::selector::{Selector, Targets};

/// A kind of fault, as the command line names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// Links between hosts are cut.
    Partition,
    /// Processes get SIGKILL, and are started again on the same data.
    Kill,
    /// Processes get SIGSTOP, and later SIGCONT.
    Pause,
}

impl Family {
    /// Every family, in the order of the documentation.
    pub const ALL: [Self; 3] = [Self::Partition, Self::Kill, Self::Pause];

    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Partition => "partition",
            Self::Kill => "kill",
            Self::Pause => "pause",
        }
    }

    /// What it does, how it proves that it did, and how it heals: one sentence each.
    #[must_use]
    pub fn describe(self) -> [&'static str; 3] {
        match self {
            Self::Partition => [
                "cuts directed links between hosts: packets are dropped in the switch",
                "a probe on each cut link is dropped, and the packets the cut swallowed are counted",
                "the links forward again: a probe crosses each of them",
            ],
            Self::Kill => [
                "kills every process of the chosen nodes with SIGKILL",
                "the processes are gone from the node's namespace",
                "the node is started again on its data, and is awaited until it serves",
            ],
            Self::Pause => [
                "stops every process of the chosen nodes with SIGSTOP",
                "every thread of the node is in state T",
                "SIGCONT: no thread is in state T",
            ],
        }
    }

    /// The variants that may follow the name after a colon.
    #[must_use]
    pub fn variants(self) -> &'static str {
        match self {
            Self::Partition => {
                "one, majority, halves, majorities-ring, bridge, one-way, isolate-leader, rolling-leader, clients, or nodes as n1+n2"
            }
            Self::Kill | Self::Pause => {
                "one, minority, majority, all, leader, follower, followers, or nodes as n1+n2"
            }
        }
    }
}

/// One item of a fault mix, such as `partition` or `kill:minority`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultSpec {
    /// A partition; of any shape the cluster allows unless one is given.
    Partition(Option<PartitionShape>),
    /// A kill; of one node or a minority unless a selector is given.
    Kill(Option<Selector>),
    /// A pause; of one node or a minority unless a selector is given.
    Pause(Option<Selector>),
}

impl FaultSpec {
    /// The family it belongs to.
    #[must_use]
    pub fn family(&self) -> Family {
        match self {
            Self::Partition(_) => Family::Partition,
            Self::Kill(_) => Family::Kill,
            Self::Pause(_) => Family::Pause,
        }
    }

    /// Parses a comma-separated mix; `none` is the empty mix, `all` has every family once.
    ///
    /// # Errors
    /// [`FaultSpecError`] naming the item that is not understood.
    pub fn parse_mix(text: &str) -> Result<Vec<Self>, FaultSpecError> {
        match text.trim() {
            "" | "none" => Ok(Vec::new()),
            "all" => Ok(vec![Self::Partition(None), Self::Kill(None), Self::Pause(None)]),
            items => items.split(',').map(|item| item.trim().parse()).collect(),
        }
    }
}

/// A fault mix that is not understood.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FaultSpecError {
    /// No such family.
    #[error("unknown fault \"{item}\": the faults are partition, kill, pause, or none, or all")]
    Family {
        /// What was given.
        item: String,
    },
    /// No such variant.
    #[error("unknown variant \"{variant}\" of the fault \"{family}\": its variants are {known}")]
    Variant {
        /// The family.
        family: &'static str,
        /// What was given.
        variant: String,
        /// What there is.
        known: &'static str,
    },
}

impl FromStr for FaultSpec {
    type Err = FaultSpecError;

    fn from_str(item: &str) -> Result<Self, Self::Err> {
        let (name, variant) = match item.split_once(':') {
            Some((name, variant)) => (name, Some(variant)),
            None => (item, None),
        };
        let family = Family::ALL
            .into_iter()
            .find(|family| family.name() == name)
            .ok_or_else(|| FaultSpecError::Family { item: item.to_owned() })?;
        let unknown = |variant: &str| FaultSpecError::Variant {
            family: family.name(),
            variant: variant.to_owned(),
            known: family.variants(),
        };
        let selector = || variant.map(|text| Selector::parse(text).ok_or_else(|| unknown(text))).transpose();
        Ok(match family {
            Family::Partition => Self::Partition(
                variant.map(|text| PartitionShape::parse(text).ok_or_else(|| unknown(text))).transpose()?,
            ),
            Family::Kill => Self::Kill(selector()?),
            Family::Pause => Self::Pause(selector()?),
        })
    }
}

impl fmt::Display for FaultSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.family().name())?;
        match self {
            Self::Partition(Some(shape)) => write!(f, ":{shape}"),
            Self::Kill(Some(selector)) | Self::Pause(Some(selector)) => write!(f, ":{selector}"),
            Self::Partition(None) | Self::Kill(None) | Self::Pause(None) => Ok(()),
        }
    }
}

/// A fault with everything decided that can be decided before the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Fault {
    /// Cuts links.
    Partition {
        /// How they were chosen.
        shape: PartitionShape,
        /// Which they are.
        cut: Cut,
    },
    /// Kills nodes; healing starts them again.
    Kill {
        /// Which nodes.
        targets: Targets,
    },
    /// Pauses nodes; healing resumes them.
    Pause {
        /// Which nodes.
        targets: Targets,
    },
}

impl Fault {
    /// The family it belongs to.
    #[must_use]
    pub fn family(&self) -> Family {
        match self {
            Self::Partition { .. } => Family::Partition,
            Self::Kill { .. } => Family::Kill,
            Self::Pause { .. } => Family::Pause,
        }
    }

    /// Whether the leader must be asked for before it can be injected.
    #[must_use]
    pub fn needs_leader(&self) -> bool {
        match self {
            Self::Partition { cut, .. } => matches!(cut, Cut::IsolateLeader { .. }),
            Self::Kill { targets } | Self::Pause { targets } => targets.needs_leader(),
        }
    }

    /// The nodes it is known to touch before the run; empty where only the leader decides.
    #[must_use]
    pub fn fixed_nodes(&self) -> &[NodeId] {
        match self {
            Self::Kill { targets: Targets::Nodes(nodes) } | Self::Pause { targets: Targets::Nodes(nodes) } => nodes,
            _ => &[],
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Partition { shape, cut } => write!(f, "partition {shape}: {cut}"),
            Self::Kill { targets } => write!(f, "kill {targets}"),
            Self::Pause { targets } => write!(f, "pause {targets}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_prints_as_it_is_parsed() {
        let text = "partition,partition:one-way,partition:rolling-leader,partition:n1+n3,kill:minority,kill:follower,pause:leader,pause:n2";
        let mix = FaultSpec::parse_mix(text).expect("a good mix");
        let printed: Vec<String> = mix.iter().map(FaultSpec::to_string).collect();
        assert_eq!(printed.join(","), text);
        assert_eq!(FaultSpec::parse_mix("none"), Ok(Vec::new()));
        assert_eq!(FaultSpec::parse_mix("all").map(|mix| mix.len()), Ok(Family::ALL.len()));
    }

    #[test]
    fn what_is_not_understood_is_named_with_what_there_is() {
        let error = FaultSpec::parse_mix("partition,kil").expect_err("no such family");
        assert!(error.to_string().contains("\"kil\"") && error.to_string().contains("kill"), "{error}");
        let error = FaultSpec::parse_mix("kill:halves").expect_err("no such variant");
        assert!(error.to_string().contains("\"halves\"") && error.to_string().contains("minority"), "{error}");
    }
}
