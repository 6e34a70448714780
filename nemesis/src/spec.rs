//! The fault mix of the command line.
//!
//! A mix is a list of items, each a family with an optional variant and, for faults of nodes, an optional choice of
//! nodes: `partition`, `kill:minority`, `packet:loss=10%`, `clock:drift=20ms/s@leader`, `disk:power-loss@all`.

use std::fmt;
use std::str::FromStr;

use crate::clock_fault::ClockEffect;
use crate::disk_fault::DiskEffect;
use crate::family::Family;
use crate::packet::PacketEffect;
use crate::partition::PartitionShape;
use crate::selector::Selector;
use crate::variant::{Kind, Variant};

/// One item of a fault mix. Parts that are not given are drawn from the seed, fault by fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultSpec {
    /// A partition of this shape.
    Partition(Option<PartitionShape>),
    /// This effect on the links of these nodes.
    Packet(Option<PacketEffect>, Option<Selector>),
    /// A kill of these nodes.
    Kill(Option<Selector>),
    /// A pause of these nodes.
    Pause(Option<Selector>),
    /// A graceful restart of these nodes.
    Restart(Option<Selector>),
    /// This effect on the clocks of these nodes.
    Clock(Option<ClockEffect>, Option<Selector>),
    /// This effect on the disks of these nodes.
    Disk(Option<DiskEffect>, Option<Selector>),
}

impl FaultSpec {
    /// Returns the family it belongs to.
    #[must_use]
    pub fn family(&self) -> Family {
        match self {
            Self::Partition(_) => Family::Partition,
            Self::Packet(..) => Family::Packet,
            Self::Kill(_) => Family::Kill,
            Self::Pause(_) => Family::Pause,
            Self::Restart(_) => Family::Restart,
            Self::Clock(..) => Family::Clock,
            Self::Disk(..) => Family::Disk,
        }
    }

    /// Returns the requested nodes, if any.
    #[must_use]
    pub fn selector(&self) -> Option<&Selector> {
        match self {
            Self::Partition(_) => None,
            Self::Kill(selector) | Self::Pause(selector) | Self::Restart(selector) => selector.as_ref(),
            Self::Packet(_, selector) | Self::Clock(_, selector) | Self::Disk(_, selector) => {
                selector.as_ref()
            }
        }
    }

    /// Returns the variant that it asks for, if any.
    #[must_use]
    pub fn variant(&self) -> Option<&'static Variant> {
        let name = match self {
            Self::Partition(shape) => shape.as_ref().map(Kind::name),
            Self::Packet(effect, _) => effect.as_ref().map(Kind::name),
            Self::Kill(selector) | Self::Pause(selector) | Self::Restart(selector) => {
                selector.as_ref().map(Kind::name)
            }
            Self::Clock(effect, _) => effect.as_ref().map(Kind::name),
            Self::Disk(effect, _) => effect.as_ref().map(Kind::name),
        };
        self.family().variants().find(|variant| Some(variant.name) == name)
    }

    /// Returns the fewest nodes that it works with.
    #[must_use]
    pub fn nodes_min(&self) -> usize {
        match self.variant() {
            Some(variant) => variant.nodes_min(),
            None => {
                let drawn = self.family().variants().filter(|variant| variant.weight > 0);
                drawn.map(Variant::nodes_min).min().unwrap_or(1)
            }
        }
    }

    /// Whether the user decided how many nodes it strikes, so that no limit does.
    #[must_use]
    pub(crate) fn names_its_size(&self) -> bool {
        match self {
            Self::Partition(shape) => {
                use PartitionShape::{Flapping, Majority, One, OneWay};
                !matches!(shape, None | Some(One | Majority | OneWay | Flapping(_)))
            }
            other => other.selector().is_some_and(Selector::names_its_size),
        }
    }

    /// Any fault of `family`.
    #[must_use]
    pub fn any(family: Family) -> Self {
        match family {
            Family::Partition => Self::Partition(None),
            Family::Packet => Self::Packet(None, None),
            Family::Kill => Self::Kill(None),
            Family::Pause => Self::Pause(None),
            Family::Restart => Self::Restart(None),
            Family::Clock => Self::Clock(None, None),
            Family::Disk => Self::Disk(None, None),
        }
    }

    /// Parses a comma-separated mix; `none` is the empty mix, `all` has every family once.
    ///
    /// # Errors
    /// [`FaultSpecError`], naming the invalid item.
    pub fn parse_mix(text: &str) -> Result<Vec<Self>, FaultSpecError> {
        match text.trim() {
            "" | "none" => Ok(Vec::new()),
            "all" => Ok(Family::ALL.map(Self::any).to_vec()),
            items => items.split(',').map(|item| item.trim().parse()).collect(),
        }
    }
}

/// A fault mix that is not understood.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FaultSpecError {
    /// No such family.
    #[error("unknown fault \"{item}\": the faults are {}, or none, or all", names())]
    Family {
        /// The item as given.
        item: String,
    },
    /// No such variant.
    #[error("unknown variant \"{variant}\" of the fault \"{family}\": its variants are {known}")]
    Variant {
        /// The family.
        family: &'static str,
        /// The variant as given.
        variant: String,
        /// The known variants.
        known: String,
    },
}

fn names() -> String {
    Family::ALL.map(Family::name).join(", ")
}

impl FromStr for FaultSpec {
    type Err = FaultSpecError;

    fn from_str(item: &str) -> Result<Self, Self::Err> {
        let (item_head, nodes) = match item.split_once('@') {
            Some((head, nodes)) => (head, Some(nodes)),
            None => (item, None),
        };
        let (name, variant) = match item_head.split_once(':') {
            Some((name, variant)) => (name, Some(variant)),
            None => (item_head, None),
        };
        let family = Family::named(name).ok_or_else(|| FaultSpecError::Family { item: item.to_owned() })?;
        let unknown = |text: &str| FaultSpecError::Variant {
            family: family.name(),
            variant: text.to_owned(),
            known: family.variants().map(|variant| variant.example.as_str()).collect::<Vec<_>>().join(", "),
        };
        fn parsed<T>(
            text: Option<&str>,
            parse: impl Fn(&str) -> Option<T>,
            unknown: impl Fn(&str) -> FaultSpecError,
        ) -> Result<Option<T>, FaultSpecError> {
            text.map(|text| parse(text).ok_or_else(|| unknown(text))).transpose()
        }
        if let (Some(nodes), Family::Partition | Family::Kill | Family::Pause | Family::Restart) =
            (nodes, family)
        {
            return Err(unknown(&format!("@{nodes}")));
        }
        let links_of = |text| parsed(text, Selector::of_links, unknown);
        let selector = |text| parsed(text, Selector::parse, unknown);
        Ok(match family {
            Family::Partition => Self::Partition(parsed(variant, PartitionShape::parse, unknown)?),
            Family::Packet => Self::Packet(parsed(variant, PacketEffect::parse, unknown)?, links_of(nodes)?),
            Family::Kill => Self::Kill(selector(variant)?),
            Family::Pause => Self::Pause(selector(variant)?),
            Family::Restart => Self::Restart(selector(variant)?),
            Family::Clock => Self::Clock(parsed(variant, ClockEffect::parse, unknown)?, selector(nodes)?),
            Family::Disk => Self::Disk(parsed(variant, DiskEffect::parse, unknown)?, selector(nodes)?),
        })
    }
}

impl fmt::Display for FaultSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.family().name())?;
        match self {
            Self::Partition(Some(shape)) => write!(f, ":{shape}")?,
            Self::Packet(Some(effect), _) => write!(f, ":{effect}")?,
            Self::Clock(Some(effect), _) => write!(f, ":{effect}")?,
            Self::Disk(Some(effect), _) => write!(f, ":{effect}")?,
            _ => {}
        }
        match (self, self.selector()) {
            (_, None) => Ok(()),
            (Self::Kill(_) | Self::Pause(_) | Self::Restart(_), Some(selector)) => write!(f, ":{selector}"),
            (_, Some(selector)) => write!(f, "@{selector}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_fsync_that_would_be_waited_for_too_long_is_refused() {
        assert!("disk:slow-fsync=10s".parse::<FaultSpec>().is_ok());
        assert!("disk:slow-fsync=11s".parse::<FaultSpec>().is_err());
    }

    #[test]
    fn a_mix_prints_as_it_is_parsed() {
        let text = "partition,partition:one-way,partition:flapping=400ms,packet:loss=10%@clients,packet@c1,partition:rolling-leader,partition:n1+n3,kill:minority,kill:follower,\
                    pause:leader,pause:n2,restart:all,packet,packet:loss=10%,packet:delay=50ms@one,clock,\
                    clock:drift=20ms/s@leader,clock:bump=-2s,clock@n1,disk,disk:power-loss@all,disk:slow-fsync=20ms";
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
        assert!(
            error.to_string().contains("\"halves\"") && error.to_string().contains("minority"),
            "{error}"
        );
        for bad in [
            "packet:loss=110%",
            "packet:delay=5",
            "clock:drift=20ms",
            "disk:explode",
            "disk@",
            "kill@n1",
            "clock:bump=1s@x",
            "clock:bump=1s@clients",
            "kill:clients",
            "partition:flapping=1ms",
            "partition:flapping=1h",
        ] {
            assert!(FaultSpec::parse_mix(bad).is_err(), "{bad}");
        }
    }
}
