//! The fault mix of the command line.
//!
//! A mix is a list of items. An item is a family with an optional variant, an optional choice of nodes and an
//! optional event to wait for: `partition`, `kill:minority`, `packet:loss=10%`, `clock:drift=20ms/s@leader`,
//! `disk:power-loss@all`, `kill:leader@fsync=37`. An item can also be a story: `story:laggard`. On a cluster that already
//! runs, the variants of `command` are those that its manifest names.

use std::fmt;
use std::str::FromStr;

use crate::clock_fault::ClockEffect;
use crate::disk_fault::DiskEffect;
use crate::family::Family;
use crate::membership::MemberChange;
use crate::packet::PacketEffect;
use crate::partition::PartitionShape;
use crate::resource_fault::ResourceEffect;
use crate::selector::Selector;
use crate::story::Story;
use crate::trigger::Event;
use crate::upgrade::Upgrade;
use crate::variant::{Kind, Variant};

/// One item of a fault mix. Omitted parts are drawn from the seed, fault by fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultSpec {
    /// The requested fault.
    pub what: Wanted,
    /// The event that each of its faults waits for.
    pub on: Option<Event>,
}

/// The fault that an item of a mix requests. Omitted parts are `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A partition of this shape, or one that cuts off these nodes.
    Partition(Option<PartitionShape>, Option<Selector>),
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
    /// This effect on the processes of these nodes.
    Resources(Option<ResourceEffect>, Option<Selector>),
    /// A change of these members.
    Membership(Option<MemberChange>, Option<Selector>),
    /// A change of the program of these nodes.
    Upgrade(Option<Upgrade>, Option<Selector>),
    /// The user's own commands of this name, on these nodes.
    Command(Option<String>, Option<Selector>),
    /// Several faults that belong together.
    Story(Option<Story>),
}

/// The name of stories on the command line, in the place of a family.
pub(crate) const STORY: &str = "story";

impl FaultSpec {
    /// Returns its family; `None` for a story, whose faults have families of their own.
    #[must_use]
    pub fn family(&self) -> Option<Family> {
        Some(match self.what {
            Wanted::Partition(..) => Family::Partition,
            Wanted::Packet(..) => Family::Packet,
            Wanted::Kill(_) => Family::Kill,
            Wanted::Pause(_) => Family::Pause,
            Wanted::Restart(_) => Family::Restart,
            Wanted::Clock(..) => Family::Clock,
            Wanted::Disk(..) => Family::Disk,
            Wanted::Resources(..) => Family::Resources,
            Wanted::Membership(..) => Family::Membership,
            Wanted::Upgrade(..) => Family::Upgrade,
            Wanted::Command(..) => Family::Command,
            Wanted::Story(_) => return None,
        })
    }

    /// Returns the requested nodes, if any.
    #[must_use]
    pub fn selector(&self) -> Option<&Selector> {
        match &self.what {
            Wanted::Kill(selector) | Wanted::Pause(selector) | Wanted::Restart(selector) => selector.as_ref(),
            Wanted::Partition(_, selector)
            | Wanted::Packet(_, selector)
            | Wanted::Clock(_, selector)
            | Wanted::Disk(_, selector)
            | Wanted::Resources(_, selector)
            | Wanted::Membership(_, selector)
            | Wanted::Upgrade(_, selector)
            | Wanted::Command(_, selector) => selector.as_ref(),
            Wanted::Story(_) => None,
        }
    }

    /// Returns the variant that it requests, if any.
    #[must_use]
    pub fn variant(&self) -> Option<&'static Variant> {
        let name = match &self.what {
            Wanted::Partition(shape, _) => shape.as_ref().map(Kind::name),
            Wanted::Packet(effect, _) => effect.as_ref().map(Kind::name),
            Wanted::Kill(selector) | Wanted::Pause(selector) | Wanted::Restart(selector) => {
                selector.as_ref().map(Kind::name)
            }
            Wanted::Clock(effect, _) => effect.as_ref().map(Kind::name),
            Wanted::Disk(effect, _) => effect.as_ref().map(Kind::name),
            Wanted::Resources(effect, _) => effect.as_ref().map(Kind::name),
            Wanted::Membership(change, _) => change.as_ref().map(Kind::name),
            Wanted::Upgrade(change, _) => change.as_ref().map(Kind::name),
            Wanted::Command(..) | Wanted::Story(_) => None,
        };
        self.family()?.variants().find(|variant| Some(variant.name) == name)
    }

    /// Returns the fewest nodes that it works with.
    #[must_use]
    pub fn nodes_min(&self) -> usize {
        match (self.variant(), self.family(), &self.what) {
            (Some(variant), ..) => variant.nodes_min(),
            // A single node can be cut off from clients only, and that shape must be requested by name.
            (None, Some(Family::Partition), _) => 2,
            (None, Some(family), _) => {
                let drawn = family.variants().filter(|variant| variant.weight > 0);
                drawn.map(Variant::nodes_min).min().unwrap_or(1)
            }
            (None, None, Wanted::Story(Some(story))) => story.nodes_min(),
            (None, None, _) => Story::ALL.map(Story::nodes_min).into_iter().min().unwrap_or(1),
        }
    }

    /// Returns whether the user decided how many nodes it strikes, so that the loss limit does not apply to
    /// it.
    #[must_use]
    pub(crate) fn names_its_size(&self) -> bool {
        match &self.what {
            Wanted::Partition(shape, selector) => {
                use PartitionShape::{Flapping, Majority, One, OneWay};
                let of_shape = !matches!(shape, None | Some(One | Majority | OneWay | Flapping(_)));
                of_shape || selector.as_ref().is_some_and(Selector::names_its_size)
            }
            Wanted::Story(story) => story.is_some(),
            _ => self.selector().is_some_and(Selector::names_its_size),
        }
    }

    /// Returns the item that requests any fault of `family`.
    #[must_use]
    pub fn any(family: Family) -> Self {
        let what = match family {
            Family::Partition => Wanted::Partition(None, None),
            Family::Packet => Wanted::Packet(None, None),
            Family::Kill => Wanted::Kill(None),
            Family::Pause => Wanted::Pause(None),
            Family::Restart => Wanted::Restart(None),
            Family::Clock => Wanted::Clock(None, None),
            Family::Disk => Wanted::Disk(None, None),
            Family::Resources => Wanted::Resources(None, None),
            Family::Membership => Wanted::Membership(None, None),
            Family::Upgrade => Wanted::Upgrade(None, None),
            Family::Command => Wanted::Command(None, None),
        };
        Self { what, on: None }
    }

    /// Parses a comma-separated mix; `none` is the empty mix, `all` has every family once, and stories.
    ///
    /// # Errors
    /// [`FaultSpecError`], naming the invalid item.
    pub fn parse_mix(text: &str) -> Result<Vec<Self>, FaultSpecError> {
        match text.trim() {
            "" | "none" => Ok(Vec::new()),
            "all" => {
                let story = Self { what: Wanted::Story(None), on: None };
                Ok(Family::ALL.into_iter().map(Self::any).chain([story]).collect())
            }
            items => items.split(',').map(|item| item.trim().parse()).collect(),
        }
    }
}

/// A fault mix that cannot be parsed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FaultSpecError {
    /// The family does not exist.
    #[error("unknown fault \"{item}\": the faults are {}, or none, or all", names())]
    Family {
        /// The item as given.
        item: String,
    },
    /// An item with two choices of nodes, or two events.
    #[error(
        "\"@{part}\" is one too many in the fault \"{item}\": a fault has one choice of nodes and one event"
    )]
    Twice {
        /// The item.
        item: String,
        /// The superfluous part.
        part: String,
    },
    /// The variant does not exist.
    #[error("unknown variant \"{variant}\" of the fault \"{family}\": its variants are {known}")]
    Variant {
        /// The family.
        family: &'static str,
        /// The variant as given.
        variant: String,
        /// The known variants.
        known: String,
    },
    /// The variant does not have this value.
    #[error(
        "the fault \"{family}\" cannot have \"{variant}\": the value is out of its range, or not in the form of {example}"
    )]
    Value {
        /// The family.
        family: &'static str,
        /// The variant as given.
        variant: String,
        /// The same variant with a value that it can have.
        example: String,
    },
}

fn names() -> String {
    Family::ALL.map(Family::name).into_iter().chain([STORY]).collect::<Vec<_>>().join(", ")
}

impl FromStr for FaultSpec {
    type Err = FaultSpecError;

    fn from_str(item: &str) -> Result<Self, Self::Err> {
        let mut parts = item.split('@');
        let head = parts.next().unwrap_or_default();
        let (name, variant) = match head.split_once(':') {
            Some((name, variant)) => (name, Some(variant)),
            None => (head, None),
        };
        let (mut nodes, mut on) = (None, None);
        for part in parts {
            let taken = match Event::parse(part) {
                Some(event) => on.replace(event).is_some(),
                None => nodes.replace(part).is_some(),
            };
            if taken {
                return Err(FaultSpecError::Twice { item: item.to_owned(), part: part.to_owned() });
            }
        }
        if name == STORY {
            let story = |text: &str| {
                Story::named(text).ok_or_else(|| FaultSpecError::Variant {
                    family: STORY,
                    variant: text.to_owned(),
                    known: Story::ALL.map(Story::name).join(", "),
                })
            };
            let what = Wanted::Story(variant.map(story).transpose()?);
            let more = nodes.map(str::to_owned).or(on.map(|event| event.to_string()));
            return match more {
                None => Ok(Self { what, on: None }),
                Some(part) => story(&format!("@{part}")).map(|_| Self { what, on: None }),
            };
        }
        let family = Family::named(name).ok_or_else(|| FaultSpecError::Family { item: item.to_owned() })?;
        let unknown = |text: &str| {
            let (family_name, variant) = (family.name(), text.to_owned());
            let named = |known: &&Variant| text.split_once('=').is_some_and(|(name, _)| name == known.name);
            match family.variants().find(named) {
                Some(known) => {
                    FaultSpecError::Value { family: family_name, variant, example: known.example.clone() }
                }
                None => {
                    let known = family.variants().map(|variant| variant.example.as_str()).collect::<Vec<_>>();
                    FaultSpecError::Variant { family: family_name, variant, known: known.join(", ") }
                }
            }
        };
        fn parsed<T>(
            text: Option<&str>,
            parse: impl Fn(&str) -> Option<T>,
            unknown: impl Fn(&str) -> FaultSpecError,
        ) -> Result<Option<T>, FaultSpecError> {
            text.map(|text| parse(text).ok_or_else(|| unknown(text))).transpose()
        }
        // Nodes can be chosen for a partition only if its variant isolates nodes.
        let of_links = family == Family::Partition && !matches!(variant, None | Some("one"));
        let of_processes = matches!(family, Family::Kill | Family::Pause | Family::Restart);
        if let (Some(nodes), true) = (nodes, of_links || of_processes) {
            return Err(unknown(&format!("@{nodes}")));
        }
        let links_of = |text| parsed(text, Selector::of_links, unknown);
        let selector = |text| parsed(text, Selector::parse, unknown);
        let what = match family {
            Family::Partition => {
                Wanted::Partition(parsed(variant, PartitionShape::parse, unknown)?, selector(nodes)?)
            }
            Family::Packet => {
                Wanted::Packet(parsed(variant, PacketEffect::parse, unknown)?, links_of(nodes)?)
            }
            Family::Kill => Wanted::Kill(selector(variant)?),
            Family::Pause => Wanted::Pause(selector(variant)?),
            Family::Restart => Wanted::Restart(selector(variant)?),
            Family::Clock => Wanted::Clock(parsed(variant, ClockEffect::parse, unknown)?, selector(nodes)?),
            Family::Disk => Wanted::Disk(parsed(variant, DiskEffect::parse, unknown)?, selector(nodes)?),
            Family::Resources => {
                Wanted::Resources(parsed(variant, ResourceEffect::parse, unknown)?, selector(nodes)?)
            }
            Family::Membership => {
                Wanted::Membership(parsed(variant, MemberChange::parse, unknown)?, selector(nodes)?)
            }
            Family::Upgrade => Wanted::Upgrade(parsed(variant, Upgrade::parse, unknown)?, selector(nodes)?),
            Family::Command => Wanted::Command(variant.map(str::to_owned), selector(nodes)?),
        };
        Ok(Self { what, on })
    }
}

impl fmt::Display for FaultSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.family().map_or(STORY, Family::name))?;
        match &self.what {
            Wanted::Partition(Some(shape), _) => write!(f, ":{shape}")?,
            Wanted::Packet(Some(effect), _) => write!(f, ":{effect}")?,
            Wanted::Clock(Some(effect), _) => write!(f, ":{effect}")?,
            Wanted::Disk(Some(effect), _) => write!(f, ":{effect}")?,
            Wanted::Resources(Some(effect), _) => write!(f, ":{effect}")?,
            Wanted::Membership(Some(change), _) => write!(f, ":{change}")?,
            Wanted::Upgrade(Some(change), _) => write!(f, ":{change}")?,
            Wanted::Command(Some(name), _) => write!(f, ":{name}")?,
            Wanted::Story(Some(story)) => write!(f, ":{}", story.name())?,
            _ => {}
        }
        match (&self.what, self.selector()) {
            (_, None) => {}
            (Wanted::Kill(_) | Wanted::Pause(_) | Wanted::Restart(_), Some(selector)) => {
                write!(f, ":{selector}")?;
            }
            (_, Some(selector)) => write!(f, "@{selector}")?,
        }
        self.on.as_ref().map_or(Ok(()), |event| write!(f, "@{event}"))
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
        let text = "partition,command,command:stop@leader,partition:one-way,partition:flapping=400ms,packet:loss=10%@clients,packet@c1,partition:one@role=controller,partition@old-leader,story,story:laggard,partition:n1+n3,kill:minority,kill:follower,\
                    pause:leader,pause:n2,restart:all,packet,packet:loss=10%,packet:delay=50ms@one,clock,\
                    clock:drift=20ms/s@leader,clock:bump=-2s,clock@n1,disk,disk:power-loss@all,disk:slow-fsync=20ms,\
                    resources,resources:cpu=5%@leader,membership,membership:replace@leader,membership:leave@n1,\
                    kill:leader@fsync=37,pause:role=log-0@leader-change,disk:power-loss@all@op=200,kill@log=elected leader";
        let mix = FaultSpec::parse_mix(text).expect("a good mix");
        let printed: Vec<String> = mix.iter().map(FaultSpec::to_string).collect();
        assert_eq!(printed.join(","), text);
        assert_eq!(FaultSpec::parse_mix("none"), Ok(Vec::new()));
        assert_eq!(FaultSpec::parse_mix("all").map(|mix| mix.len()), Ok(Family::ALL.len() + 1));
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
        let error = FaultSpec::parse_mix("packet:loss=110%").expect_err("a value out of range").to_string();
        assert!(
            error.contains("\"loss=110%\"") && error.contains("loss=10%") && !error.contains("delay"),
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
            "partition:halves@leader",
            "story:none-such",
            "story:laggard@leader",
            "story@op=3",
            "kill@fsync=1@fsync=2",
            "disk@all@leader",
            "kill:role",
            "resources:cpu",
            "resources:cpu=0%",
            "resources:cpu=96%",
            "resources:cpu=10",
            "resources:disk=10%",
        ] {
            assert!(FaultSpec::parse_mix(bad).is_err(), "{bad}");
        }
    }
}
